"""Starting a node: ``await zt.start(...)`` or ``async with zt.start(...) as node``."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Generator
from types import TracebackType
from typing import Any

from zt_async.aio.node import Node
from zt_async.aio.storage import Storage
from zt_async.aio.udp import Udp
from zt_async.config import NodeConfig
from zt_async.context import Context
from zt_async.crypto.identity import Identity
from zt_async.vl1.world import World


class Starting:
    """A node on its way up. Await it, or enter it: then leaving the block stops the node."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def __await__(self) -> Generator[Any, None, Node]:
        return self._node._start().__await__()

    async def __aenter__(self) -> Node:
        return await self._node._start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._node.stop()


def start(
    path: str | os.PathLike[str] | None = None,
    *,
    roots: World | bytes | str | os.PathLike[str] | None = None,
    identity: Identity | None = None,
    storage: Storage | None = None,
    config: NodeConfig | None = None,
    udp: Udp | None = None,
    context: Context | None = None,
    **settings: Any,
) -> Starting:
    """Start a node, whose folder is ``path``; without one it lives in memory only.

    Args:
        path: Folder of the identity, the planet, moons, peers and joined networks, in the layout of other ZeroTier
            nodes. Made if it is missing.
        roots: A planet to use instead of the public one: a World, its bytes, or the path of a file.
        identity: The identity to use instead of the folder's.
        storage: Where state is kept instead of a folder.
        config: All settings; ``settings`` are changes to it, by the names of NodeConfig.
        udp: What carries datagrams, instead of this host's UDP sockets.
        context: Randomness and the time of day, instead of this host's; for simulations.

    Returns when the node runs; ``await node.online()`` waits for a root.

    Raises:
        StorageError: The folder, or a file in it, is not usable. Nothing was changed.
        WorldError: ``roots`` is not a planet.
        PortUnavailable: A UDP port is taken.
        ValueError, TypeError: A setting has no such value, or does not exist.
    """
    merged = dataclasses.replace(config or NodeConfig(), **settings)
    return Starting(
        Node(path, roots=roots, identity=identity, storage=storage, config=merged, udp=udp, context=context)
    )
