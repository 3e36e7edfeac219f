"""A private ZeroTier world in one process, for tests of applications: a root, and members of one network.

async def main():
    async with private_world(2) as world:
        alice, bob = world.members
        ...

zt_async.testing.run(main())  # on simulated time; asyncio.run(main()) uses loopback sockets
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Unpack

from zt_async.aio.node import Node
from zt_async.aio.start import Settings, start
from zt_async.aio.state import StrPath
from zt_async.aio.storage import Storage
from zt_async.testing.host import Host
from zt_async.testing.identities import throwaway_identity
from zt_async.testing.link import Link
from zt_async.testing.loop import VirtualLoop
from zt_async.testing.simnet import SimNet
from zt_async.testing.udp import SimUdp
from zt_async.types import Endpoint, NetworkId
from zt_async.vl1.world import World, WorldKey, WorldType

ANY_PORT = NetworkId.ad_hoc(1, 65535)
"""An ad-hoc network that is open to all ports."""

_PLANET_ID = 0x7A74
_PLANET_TIMESTAMP = 1_600_000_000_000


class PrivateWorld:
    """Computers by number, each with a throw-away identity and a subnet of its own; number 0 is the root.

    On a ``VirtualLoop`` they are hosts of a SimNet, on any other loop addresses within 127.0.0.0/8.
    """

    def __init__(self, network_id: NetworkId, link: Link, seed: int) -> None:
        self.network_id = network_id
        loop = asyncio.get_running_loop()
        self.net = SimNet(seed, link=link, clock=loop.clock) if isinstance(loop, VirtualLoop) else None
        """The wire, where it is simulated: its links can be changed and cut."""
        self.members: list[Node] = []
        """Those started by ``add_member``."""
        endpoint = Endpoint(self.ip(0), 9993 if self.net else _free_port(self.ip(0)))
        self._root_port = endpoint.port
        self.planet = World.make(
            WorldType.PLANET,
            _PLANET_ID,
            [(throwaway_identity(0), [endpoint])],
            signing_key=WorldKey.generate(bytes),
            timestamp=_PLANET_TIMESTAMP,
        )
        """The private planet, for nodes that are started otherwise."""
        self.root: Node
        """The node on computer 0."""
        self._hosts: dict[int, Host] = {}
        self._started: list[Node] = []

    def ip(self, number: int) -> str:
        """The physical address of a computer."""
        return f"10.0.{number}.1" if self.net else f"127.0.{100 + number}.1"

    async def start(
        self,
        number: int,
        path: StrPath | None = None,
        *,
        storage: Storage | None = None,
        **settings: Unpack[Settings],
    ) -> Node:
        """Start a node on a computer on which none runs; it is stopped at the end of the world, if not before."""
        ip = self.ip(number)
        identity = throwaway_identity(number)
        if self.net is None:
            defaults: Settings = {
                "port": 0 if number else self._root_port,
                "secondary_port": None,
                "bind": (ip,),
                "allow_loopback_paths": True,
            }
            settings = {**defaults, **settings}
            udp = context = None
        else:
            if number not in self._hosts:
                self._hosts[number] = self.net.add_host(f"computer {number}", ip)
            udp = SimUdp(self.net, self._hosts[number])
            context = self.net.context(f"start {len(self._started)}")
        node = await start(
            path, storage=storage, identity=identity, roots=self.planet, udp=udp, context=context, **settings
        )
        self._started.append(node)
        return node

    async def add_member(self, **settings: Unpack[Settings]) -> Node:
        """Start a node on the next computer, and wait until it is online and on the network."""
        node = await self.start(len(self.members) + 1, **settings)
        self.members.append(node)
        await node.online()
        await node.join(self.network_id)
        return node

    async def stop(self) -> None:
        """Stop all nodes, the latest first."""
        for node in reversed(self._started):
            await node.stop()


@asynccontextmanager
async def private_world(
    members: int = 2,
    *,
    network_id: NetworkId = ANY_PORT,
    link: Link = Link(delay=0.001),  # noqa: B008 - frozen
    seed: int = 1,
    **settings: Unpack[Settings],
) -> AsyncIterator[PrivateWorld]:
    """A running root, and so many members that are online and on the network.

    ``link`` and ``seed`` are those of the simulated wire; ``settings`` are the members' own.
    """
    world = PrivateWorld(network_id, link, seed)
    try:
        world.root = await world.start(0)
        for _ in range(members):
            await world.add_member(**settings)
        yield world
    finally:
        await world.stop()


def _free_port(ip: str) -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind((ip, 0))
        port: int = probe.getsockname()[1]
        return port
