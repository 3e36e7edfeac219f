"""One node of ours as a process for the benchmarks: load loops in plain asyncio over the public API.

Requests and answers are those of ``tests/interop/lab/libzt_node.py``, which has the same loops for libzt, in C.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import secrets
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import zt_async as zt

CHUNK = 1 << 16
ENDLESS = 2**64 - 1


class Server:
    """One of the servers that ``tests/interop/lab/load.cpp`` describes."""

    def __init__(self, mode: str) -> None:
        self.mode = mode
        self.received = self.sent = self.accepted = self.open = self.datagrams = 0
        self._held: set[asyncio.StreamWriter] = set()

    async def on_client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        self.open += 1
        with contextlib.suppress(OSError, EOFError):  # the client may leave when it likes
            await getattr(self, self.mode)(reader, writer)
        self.open -= 1
        writer.close()

    async def echo(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(CHUNK):
            self.received += len(data)
            writer.write(data)
            self.sent += len(data)
            await writer.drain()

    async def discard(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        count = 0
        while data := await reader.read(CHUNK):
            count += len(data)
            self.received += len(data)
        writer.write(count.to_bytes(8, "little"))
        await writer.drain()

    async def source(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readexactly(24)
        rate = int.from_bytes(request[16:], "little")
        pace, data = Pace(rate), secrets.token_bytes(CHUNK)
        while True:
            writer.write(data)
            self.sent += CHUNK
            await writer.drain()
            await pace.sent(CHUNK)

    async def hold(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._held.add(writer)
        await reader.read()
        self._held.discard(writer)

    def release(self) -> int:
        count = len(self._held)
        for writer in self._held:
            writer.close()
        return count


class UdpEcho(asyncio.DatagramProtocol):
    def __init__(self, server: Server) -> None:
        self._server = server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.DatagramTransport)
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        self._server.datagrams += 1
        self._transport.sendto(data, addr)


class UdpClient(asyncio.DatagramProtocol):
    """Waits for one datagram at a time; those given up come too late to count."""

    def __init__(self) -> None:
        self.expected: asyncio.Future[bytes] | None = None
        self.given_up: set[bytes] = set()

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        if self.expected and not self.expected.done() and data not in self.given_up:
            self.expected.set_result(data)


class Pace:
    """Holds a sender to ``rate`` bytes a second; 0 lets it go."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._due = time.monotonic()

    async def sent(self, size: int) -> None:
        if self._rate:
            self._due += size / self._rate
            await asyncio.sleep(max(0.0, self._due - time.monotonic()))


class Peer:
    """The verbs, each a coroutine that returns its answer."""

    def __init__(self) -> None:
        self._servers: list[Server] = []
        self._held: list[asyncio.StreamWriter] = []
        self._running = contextlib.AsyncExitStack()
        self.node: zt.Node

    async def close(self) -> None:
        await self._running.aclose()

    async def new_identity(self) -> dict[str, Any]:
        identity = await asyncio.to_thread(zt.Identity.generate, secrets.token_bytes)
        return {"identity": identity.secret_text()}

    async def make_planet(
        self, roots: list[tuple[str, list[str]]], world_id: int, timestamp: int
    ) -> dict[str, Any]:
        parsed = [(zt.Identity.parse(text), [zt.Endpoint.parse(e) for e in ends]) for text, ends in roots]
        key = zt.WorldKey.generate(secrets.token_bytes)
        world = zt.World.make(zt.WorldType.PLANET, world_id, parsed, signing_key=key, timestamp=timestamp)
        return {"planet": world.to_bytes().hex()}

    async def start(self, home: str, planet: str, port: int) -> dict[str, Any]:
        began = time.monotonic()
        starting = zt.start(home, roots=bytes.fromhex(planet), port=port, secondary_port=None)
        self.node = await self._running.enter_async_context(starting)
        return {"address": self.node.address, "port": port, "began": began}

    async def online(self, timeout: float) -> dict[str, Any]:
        async with asyncio.timeout(timeout):
            await self.node.online()
        return {"at": time.monotonic()}

    async def join(self, network: int, timeout: float) -> dict[str, Any]:
        began = time.monotonic()
        async with asyncio.timeout(timeout):
            joined = await self.node.join(network)
        at = time.monotonic()
        return {"began": began, "at": at, "ipv4": None, "ipv6": str(joined.ipv6)}

    # servers

    async def serve(self, mode: str, port: int, family: int) -> dict[str, Any]:
        server = Server(mode)
        host = "::" if family == 6 else "0.0.0.0"
        if mode == "udp_echo":
            await self.node.create_datagram_endpoint(lambda: UdpEcho(server), (host, port))
        else:
            await self.node.start_server(server.on_client, host, port)
        self._servers.append(server)
        return {"server": len(self._servers) - 1}

    async def server_stats(self, server: int) -> dict[str, Any]:
        s = self._servers[server]
        names = ("received", "sent", "accepted", "open", "datagrams")
        return {name: getattr(s, name) for name in names}

    async def server_release(self, server: int) -> dict[str, Any]:
        return {"released": self._servers[server].release()}

    # clients

    async def connect(self, ip: str, port: int, patience: float) -> dict[str, Any]:
        began = time.monotonic()
        while True:
            try:
                _, writer = await self.node.open_connection(ip, port)
            except OSError as e:
                if e.errno != errno.EHOSTUNREACH or time.monotonic() > began + patience:
                    return {"seconds": None, "errno": e.errno}
                await asyncio.sleep(0.005)
            else:
                seconds = time.monotonic() - began
                await close(writer)
                return {"seconds": seconds, "errno": 0}

    async def ping_pong(self, ip: str, port: int, count: int, size: int) -> dict[str, Any]:
        reader, writer = await self.node.open_connection(ip, port)
        message, us = b"x" * size, []
        for _ in range(count):
            began = time.perf_counter()
            writer.write(message)
            await reader.readexactly(size)
            us.append((time.perf_counter() - began) * 1e6)
        await close(writer)
        return {"done": count, **percentiles(us)}

    async def udp_echo(
        self, ip: str, port: int, count: int, size: int, seed: int, timeout: float
    ) -> dict[str, Any]:
        client: UdpClient
        transport, client = await self.node.create_datagram_endpoint(UdpClient, remote_addr=(ip, port))
        loop = asyncio.get_running_loop()
        us: list[float] = []
        lost = wrong = 0
        for i in range(count):
            message = (seed + i).to_bytes(8, "little")[:size].ljust(size, b"x")
            client.expected = loop.create_future()
            client.given_up.discard(message)
            began = time.perf_counter()
            transport.sendto(message)
            try:
                async with asyncio.timeout(timeout):
                    reply = await client.expected
            except TimeoutError:
                lost += 1
                client.given_up.add(message)
                continue
            if reply == message:
                us.append((time.perf_counter() - began) * 1e6)
            else:
                wrong += 1
        transport.close()
        return {"echoed": len(us), "lost": lost, "wrong": wrong, **percentiles(us)}

    async def connect_rate(self, ip: str, port: int, count: int, seconds: float) -> dict[str, Any]:
        began = time.monotonic()
        us: list[float] = []
        failed = error = 0
        while len(us) < count and failed <= 20 and time.monotonic() < began + seconds:
            started = time.perf_counter()
            try:
                reader, writer = await self.node.open_connection(ip, port)
                with contextlib.closing(writer):
                    writer.write(b"x")
                    await reader.readexactly(1)
                    us.append((time.perf_counter() - started) * 1e6)
            except (OSError, EOFError) as e:
                failed, error = failed + 1, getattr(e, "errno", None) or 0
        took = time.monotonic() - began
        return {"done": len(us), "failed": failed, "errno": error, "seconds": took, **percentiles(us)}

    async def bulk(
        self, ip: str, discard_port: int, source_port: int, up: int, down: int, seconds: float, rate: float
    ) -> dict[str, Any]:
        flows = [self._upload(ip, discard_port, seconds, rate) for _ in range(up)]
        flows += [self._download(ip, source_port, seconds, rate) for _ in range(down)]
        done = await asyncio.gather(*flows, return_exceptions=True)
        answer: dict[str, Any] = {}
        for name, part in (("up", done[:up]), ("down", done[up:])):
            spans = [d for d in part if not isinstance(d, BaseException)]
            answer[f"{name}_bytes"] = sum(count for count, _, _ in spans)
            times = [t for _, begin, end in spans for t in (begin, end)]
            answer[f"{name}_seconds"] = max(times) - min(times) if times else 0
        errors = [d for d in done if isinstance(d, BaseException)]
        return {**answer, "failed": len(errors), "errno": getattr(errors[0], "errno", -1) if errors else 0}

    async def _upload(self, ip: str, port: int, seconds: float, rate: float) -> tuple[int, float, float]:
        reader, writer = await self.node.open_connection(ip, port)
        pace, data = Pace(rate), secrets.token_bytes(CHUNK)
        began = time.monotonic()
        while time.monotonic() < began + seconds:
            writer.write(data)
            await writer.drain()
            await pace.sent(CHUNK)
        writer.write_eof()
        count = int.from_bytes(await reader.readexactly(8), "little")
        ended = time.monotonic()
        await close(writer)
        return count, began, ended

    async def _download(self, ip: str, port: int, seconds: float, rate: float) -> tuple[int, float, float]:
        reader, writer = await self.node.open_connection(ip, port)
        count, began = 0, time.monotonic()
        writer.write(b"".join(n.to_bytes(8, "little") for n in (ENDLESS, 0, int(rate))))
        while time.monotonic() < began + seconds:
            data = await reader.read(CHUNK)
            if not data:
                raise ConnectionResetError(errno.ECONNRESET, "the source ended")
            count += len(data)
        ended = time.monotonic()
        writer.transport.abort()
        return count, began, ended

    async def hold(self, ip: str, port: int, count: int) -> dict[str, Any]:
        opened = 0
        try:
            for _ in range(count):
                self._held.append((await self.node.open_connection(ip, port))[1])
                opened += 1
        except OSError as e:
            return {"held": opened, "errno": e.errno}
        return {"held": opened, "errno": 0}

    async def release(self) -> dict[str, Any]:
        count = len(self._held)
        for writer in self._held:
            writer.close()
        self._held.clear()
        return {"released": count}


async def close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    await writer.wait_closed()


def percentiles(us: list[float]) -> dict[str, float | None]:
    us = sorted(us)
    return {f"p{p}_us": us[min(len(us) - 1, len(us) * p // 100)] if us else None for p in (50, 99)}


async def main() -> None:
    peer, loop = Peer(), asyncio.get_running_loop()
    requests, tasks = asyncio.StreamReader(), set()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(requests), sys.stdin)

    async def answer(
        number: int, verb: Callable[..., Awaitable[dict[str, Any]]], arguments: dict[str, Any]
    ) -> None:
        try:
            message = {"id": number, "result": await verb(**arguments)}
        except Exception as e:  # the other side decides what it means
            message = {"id": number, "error": f"{type(e).__name__}: {e}"}
        os.write(1, json.dumps(message).encode() + b"\n")

    async for line in requests:
        request = json.loads(line)
        task = asyncio.create_task(answer(request.pop("id"), getattr(peer, request.pop("do")), request))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    await peer.close()


if __name__ == "__main__":
    asyncio.run(main())
