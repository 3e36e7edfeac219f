"""Starting a node: ``await zt.start(...)`` or ``async with zt.start(...) as node``."""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Mapping
from typing import Any, TypedDict, Unpack

from zt_async.aio.node import Node
from zt_async.aio.state import Roots, StrPath
from zt_async.aio.storage import Storage
from zt_async.aio.udp import Udp
from zt_async.config import NodeConfig, StackConfig
from zt_async.context import Context
from zt_async.crypto.identity import Identity
from zt_async.types import Endpoint, IPNetwork, NodeAddress


class Settings(TypedDict, total=False):
    """The settings that ``start`` takes by name: the fields of NodeConfig, which tells what they mean."""

    port: int
    secondary_port: int | None
    bind: tuple[str, ...]
    interface_blacklist: tuple[str, ...]
    allow_loopback_paths: bool
    path_blacklist: tuple[IPNetwork, ...]
    trusted_paths: Mapping[IPNetwork, int]
    path_hints: Mapping[NodeAddress, tuple[Endpoint, ...]]
    mtu: int
    batched_udp: bool
    offline_after: float
    identity_validation_burst: int
    max_peers: int
    cache_peers: bool
    cache_networks: bool
    event_queue: int
    stack: StackConfig


class Starting:
    """A node on its way up. Await it, or enter it: then leaving the block stops the node."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def __await__(self) -> Generator[Any, None, Node]:
        return self._node._start().__await__()

    async def __aenter__(self) -> Node:
        return await self._node._start()

    async def __aexit__(self, *_: object) -> None:
        await self._node.stop()


def start(
    path: StrPath | None = None,
    *,
    roots: Roots | None = None,
    identity: Identity | None = None,
    storage: Storage | None = None,
    config: NodeConfig | None = None,
    udp: Udp | None = None,
    context: Context | None = None,
    **settings: Unpack[Settings],
) -> Starting:
    """Start a node, whose folder is ``path``; without one it lives in memory only.

    Returns when the node runs; ``await node.online()`` waits for a root.

    Args:
        path: Folder of the identity, the planet, moons, peers and joined networks, in the layout of other ZeroTier
            nodes. Made if it is missing.
        roots: A planet to use instead of the public one: a World, its bytes, or the path of a file.
        identity: The identity to use. A folder that has another one is not touched.
        storage: Where state is kept instead of a folder.
        config: All settings; ``settings`` are changes to it, by the names of NodeConfig.
        udp: What carries datagrams, instead of this host's UDP sockets.
        context: Randomness and the time of day, instead of this host's; for simulations.

    Raises:
        StorageError: The folder, or a file in it, is not usable. Nothing was changed.
        IdentityError: A StorageError: the identity is damaged, or not the given one. Nothing was changed.
        WorldError: ``roots``, or a planet or moon in the folder, is none. Nothing was changed.
        PortUnavailable: A UDP port is taken.
        ValueError, TypeError: A setting has no such value, or does not exist.
    """
    unknown = settings.keys() - {field.name for field in dataclasses.fields(NodeConfig)}
    if unknown:
        raise TypeError(f"no such setting: {', '.join(sorted(unknown))} (NodeConfig lists them)")
    merged = dataclasses.replace(config or NodeConfig(), **settings)
    return Starting(
        Node(path, roots=roots, identity=identity, storage=storage, config=merged, udp=udp, context=context)
    )
