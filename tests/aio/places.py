"""Where a test of sockets runs: the kernel's own TCP/IP as the reference, or ZeroTier nodes; and on which loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvloop

import zt_async as zt
from zt_async.stack.tcp.connection import TcpConnection
from zt_async.testing import VirtualLoop, private_world
from zt_async.types import NetworkId

TIME_LIMIT = 3600.0  # simulated seconds

IPV4_NETWORK = NetworkId(0xFF0A000000000001)
"""An ad-hoc network with addresses of both families, which lets everything through."""


class DebugLoop(asyncio.SelectorEventLoop):
    """asyncio's own loop, in debug mode whatever the runner says."""

    def set_debug(self, enabled: bool) -> None:
        super().set_debug(True)


class KernelLoop(DebugLoop):
    """The place is the kernel."""


class SimulatedLoop(VirtualLoop):
    """Simulated time, and the end of it for what would wait for ever."""

    def __init__(self) -> None:
        super().__init__(limit=TIME_LIMIT)


class OneNodeLoop(SimulatedLoop):
    """The place is a single node that talks to itself."""


class IPv4Loop(SimulatedLoop):
    """The place is a network of IPv4."""


LOOPS = {
    "kernel": KernelLoop,
    "simulated": SimulatedLoop,
    "one node": OneNodeLoop,
    "ipv4": IPv4Loop,
    "asyncio": DebugLoop,
    "uvloop": uvloop.new_event_loop,
}


def on(*names: str) -> pytest.MarkDecorator:
    """Run a test on these loops."""
    return pytest.mark.asyncio(loop_factories=list(names))


ANYWHERE = on(*LOOPS)
OURS = on("simulated", "one node", "ipv4", "asyncio", "uvloop")
REAL = on("asyncio", "uvloop")
SIMULATED = on("simulated")


class Kernel:
    """What a node offers, from the running loop."""

    async def open_connection(self, *args: Any, **kwargs: Any) -> Any:
        return await asyncio.open_connection(*args, **kwargs)

    async def start_server(self, *args: Any, **kwargs: Any) -> Any:
        return await asyncio.start_server(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(asyncio.get_running_loop(), name)


class Place:
    """Two ends of a network: ``client`` and ``server`` take calls, ``host`` is the server's address."""

    def __init__(self, client: Any, server: Any, host: str, client_host: str) -> None:
        self.client = client
        self.server = server
        self.host = host
        self.client_host = client_host
        self.is_kernel = isinstance(client, Kernel)


@asynccontextmanager
async def place_of_this_loop() -> AsyncIterator[Place]:
    loop = asyncio.get_running_loop()
    if isinstance(loop, KernelLoop):
        yield Place(Kernel(), Kernel(), "127.0.0.1", "127.0.0.1")
    elif isinstance(loop, OneNodeLoop):
        async with private_world(1) as world:
            (node,) = world.members
            host = address_of(node)
            yield Place(node, node, host, host)
    elif isinstance(loop, IPv4Loop):
        async with private_world(2, network_id=IPV4_NETWORK) as world:
            client, server = world.members
            yield Place(client, server, ipv4_of(server), ipv4_of(client))
    else:
        async with private_world(2) as world:
            client, server = world.members
            yield Place(client, server, address_of(server), address_of(client))


def address_of(node: zt.Node) -> str:
    """The text of a node's IPv6 address."""
    (network,) = node.networks.values()
    return str(network.ipv6)


def ipv4_of(node: zt.Node) -> str:
    """The text of a node's IPv4 address."""
    (network,) = node.networks.values()
    return str(network.ipv4)


def open_connections(node: zt.Node) -> list[TcpConnection]:
    """What the node's stack holds, but for TIME-WAIT."""
    stack = node.core.stack
    tables = [interface.tcp for interface in (*stack.interfaces, stack._ip.local)]
    return [held for table in tables for held in table.values() if isinstance(held, TcpConnection)]


class Recorder(asyncio.Protocol):
    """A protocol that notes what it is told, and whose user waits for it."""

    def __init__(self, *, keep_open: bool = False) -> None:
        loop = asyncio.get_running_loop()
        self.keep_open = keep_open
        self.told: list[str] = []
        self.data = bytearray()
        self.made: asyncio.Future[asyncio.Transport] = loop.create_future()
        self.ended: asyncio.Future[None] = loop.create_future()
        self.lost: asyncio.Future[Exception | None] = loop.create_future()
        self.resumed: asyncio.Future[None] = loop.create_future()
        self._waiters: list[tuple[int, asyncio.Future[None]]] = []

    def connection_made(self, transport: Any) -> None:
        self.told.append("made")
        self.transport = transport
        self.made.set_result(transport)

    def data_received(self, data: bytes) -> None:
        if self.told[-1] != "data":
            self.told.append("data")
        self.data += data
        for size, waiter in self._waiters:
            if len(self.data) >= size and not waiter.done():
                waiter.set_result(None)

    def eof_received(self) -> bool:
        self.told.append("eof")
        self.ended.set_result(None)
        return self.keep_open

    def connection_lost(self, error: Exception | None) -> None:
        self.told.append("lost")
        self.lost.set_result(error)

    def pause_writing(self) -> None:
        self.told.append("pause")

    def resume_writing(self) -> None:
        self.told.append("resume")
        self.resumed.set_result(None)

    async def received(self, size: int) -> bytes:
        """Wait until so many bytes are here."""
        if len(self.data) < size:
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append((size, waiter))
            await waiter
        return bytes(self.data)


async def pair(place: Place, *, keep_open: bool = False) -> tuple[Recorder, Recorder, Any]:
    """Recorders at both ends of a connection, and the server."""
    accepted: asyncio.Queue[Recorder] = asyncio.Queue()

    def factory() -> Recorder:
        accepted.put_nowait(protocol := Recorder(keep_open=keep_open))
        return protocol

    server = await place.server.create_server(factory, place.host, 0)
    _, client = await place.client.create_connection(
        lambda: Recorder(keep_open=keep_open), place.host, port_of(server)
    )
    return client, await accepted.get(), server


def port_of(server: Any) -> int:
    port: int = server.sockets[0].getsockname()[1]
    return port


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A handler that sends back what comes, and ends when its client does."""
    while data := await reader.read(1 << 16):
        writer.write(data)
        await writer.drain()
    writer.close()


async def turns(count: int) -> None:
    """Let the loop run so many iterations."""
    for _ in range(count):
        await asyncio.sleep(0)
