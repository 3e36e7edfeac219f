"""Our node on a host of the lab, in this process: its UDP sockets are bound in the host's namespace."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import random
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import zt_async as zt
from zt_async.aio.udp import OnDrained, UdpSockets
from zt_async.aio.udp_socket import OnDatagrams

from .namespaces import Host
from .peer import ROOT_PORT, SERVERS

CHUNK = 1 << 16


class HostUdp(UdpSockets):
    """The UDP sockets of a node that lives on another host than its process."""

    def __init__(self, host: Host, config: zt.NodeConfig) -> None:
        super().__init__(config)
        self._host = host

    def open(self, on_datagrams: OnDatagrams, on_drained: OnDrained, /) -> None:
        with self._host.entered():
            super().open(on_datagrams, on_drained)

    def refresh(self, *, new_secondary: bool = False) -> bool:
        with self._host.entered():
            return super().refresh(new_secondary=new_secondary)


@asynccontextmanager
async def our_node(host: Host, **arguments: Any) -> AsyncIterator[zt.Node]:
    """A node on ``host``; arguments are those of ``zt.start``."""
    names = {"path", "roots", "identity", "storage"}
    start = {name: value for name, value in arguments.items() if name in names}
    config = zt.NodeConfig(
        **{
            "port": ROOT_PORT,
            "secondary_port": None,
            **{k: v for k, v in arguments.items() if k not in names},
        }
    )
    async with zt.start(config=config, udp=HostUdp(host, config), **start) as node:
        yield node


def planet_of(identity: zt.Identity, host: Host) -> zt.World:
    """A planet whose only root is on ``host``."""
    key = zt.WorldKey.generate(secrets.token_bytes)
    endpoint = zt.Endpoint(host.ipv4, ROOT_PORT)
    now = time.time_ns() // 1_000_000
    return zt.World.make(
        zt.WorldType.PLANET, 0x7A74, [(identity, [endpoint])], signing_key=key, timestamp=now
    )


# The servers of a libzt peer, for ours (see lab/load.cpp)


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(CHUNK):
        writer.write(data)
        await writer.drain()
    writer.close()


async def sink(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    count, digest = 0, hashlib.sha256()
    while data := await reader.read(CHUNK):
        count += len(data)
        digest.update(data)
    writer.write(count.to_bytes(8, "little") + digest.digest())
    await writer.drain()
    writer.close()


async def source(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    request = await reader.readexactly(24)
    size, seed, rate = (int.from_bytes(request[i : i + 8], "little") for i in (0, 8, 16))
    writer.write(await send_paced(writer, random.Random(seed), size, rate))
    writer.close()


class UdpEcho(asyncio.DatagramProtocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        self.transport.sendto(data, addr)  # type: ignore[attr-defined]


async def serve_all(node: zt.Node) -> None:
    """The same servers on the same ports as a libzt peer has."""
    for mode, handler in (("echo", echo), ("sink", sink), ("source", source)):
        await node.start_server(handler, None, SERVERS[mode])
    await node.create_datagram_endpoint(UdpEcho, ("::", SERVERS["udp_echo"]))


# Clients


async def send_paced(writer: asyncio.StreamWriter, rng: random.Random, size: int, rate: float) -> bytes:
    """Send random bytes at ``rate`` bytes a second, 0 for no limit; returns their SHA-256."""
    loop = asyncio.get_running_loop()
    digest = hashlib.sha256()
    began = loop.time()
    for offset in range(0, size, CHUNK):
        data = rng.randbytes(min(CHUNK, size - offset))
        digest.update(data)
        writer.write(data)
        await writer.drain()
        if rate and (early := began + (offset + len(data)) / rate - loop.time()) > 0:
            await asyncio.sleep(early)
    return digest.digest()


async def upload(node: zt.Node, ip: str, size: int, rate: float) -> bool:
    """Send to a peer's sink; whether it says it got just that."""
    reader, writer = await node.open_connection(ip, SERVERS["sink"])
    digest = await send_paced(writer, random.Random(size), size, rate)
    writer.write_eof()
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer == size.to_bytes(8, "little") + digest


async def download(node: zt.Node, ip: str, size: int, rate: int) -> bool:
    """Fetch from a peer's source; whether the hash behind the data is that of the data."""
    reader, writer = await node.open_connection(ip, SERVERS["source"])
    writer.write(b"".join(n.to_bytes(8, "little") for n in (size, 7, rate)))
    digest, tail, count = hashlib.sha256(), b"", 0
    while data := await reader.read(CHUNK):
        count += len(data)
        tail += data
        digest.update(tail[:-32])
        tail = tail[-32:]
    writer.close()
    await writer.wait_closed()
    return count == size + 32 and tail == digest.digest()


class UdpClient(asyncio.DatagramProtocol):
    """Sends a datagram and waits for its echo."""

    def __init__(self) -> None:
        self.replies: asyncio.Queue[bytes] = asyncio.Queue()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        self.replies.put_nowait(data)

    def error_received(self, error: Exception) -> None:
        raise error

    async def echo(self, data: bytes) -> bool:
        self.transport.sendto(data)  # type: ignore[attr-defined]
        async with asyncio.timeout(5):
            return await self.replies.get() == data


async def udp_echo(node: zt.Node, ip: str, count: int, size: int) -> bool:
    """Datagrams of random bytes to a peer's UDP echo server, one after the other; whether each came back."""
    remote = (ip, SERVERS["udp_echo"])
    transport, client = await node.create_datagram_endpoint(UdpClient, remote_addr=remote)
    whole = [await client.echo(secrets.token_bytes(size)) for _ in range(count)]
    transport.close()
    return all(whole)


async def connect_patiently(node: zt.Node, ip: str, port: int, patience: float = 30) -> None:
    """Connect, twice a second again while libzt's stack has no way back or no server yet."""
    async with asyncio.timeout(patience):
        while True:
            try:
                async with asyncio.timeout(10):
                    _, writer = await node.open_connection(ip, port)
            except OSError as error:
                if error.errno not in (errno.ECONNREFUSED, errno.EHOSTUNREACH):
                    raise
                await asyncio.sleep(0.5)
                continue
            writer.close()
            await writer.wait_closed()
            return
