"""A node in a process of its own on a host of the lab, driven by JSON lines, whatever implements it.

The program gets requests on stdin and answers on stdout; ``lab/libzt_node.py`` says in which form. Its verbs
are the methods here. Waits have deadlines, and a failure says what the process last wrote to stderr.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import ipaddress
import itertools
import json
import os
import signal
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from zt_async.types import NetworkId, NodeAddress

from .namespaces import Host

ROOT_PORT = 9993
WORLD_ID = 0x7A745F6173796E63
"""Of the private planets made here: any number but the public planet's."""
SERVERS = {"echo": 7, "udp_echo": 7, "sink": 9, "discard": 10, "hold": 11, "source": 19}
"""The kinds of servers a peer offers, and the port each has in the tests and benchmarks."""
PAGE = os.sysconf("SC_PAGE_SIZE")
TICKS = os.sysconf("SC_CLK_TCK")


class PeerFailed(Exception):
    """A request failed, did not end in time, or what came back is not what was sent."""


class PeerDied(PeerFailed):
    """The process of the peer ``name`` ended; ``reason`` is its signal or exit status in words."""

    def __init__(self, message: str, name: str, reason: str) -> None:
        super().__init__(message)
        self.name = name
        self.reason = reason


@dataclass(frozen=True)
class Event:
    """An event of libzt (``event`` is its code) at a time of the monotonic clock."""

    event: int
    about: int
    at: float


@dataclass(frozen=True)
class Started:
    address: NodeAddress
    port: int
    began: float


@dataclass(frozen=True)
class Joined:
    began: float
    at: float
    ipv4: str | None
    ipv6: str | None


@dataclass(frozen=True)
class Status:
    """``status`` is a number of libzt, as in NetworkStatus; ``addresses`` are all that were assigned."""

    status: int
    mtu: int
    addresses: tuple[str, ...]
    routes: tuple[str, ...]


@dataclass(frozen=True)
class ServerStats:
    received: int
    sent: int
    accepted: int
    open: int
    datagrams: int


@dataclass(frozen=True)
class Connected:
    """``seconds`` it took, or None and the errno."""

    seconds: float | None
    errno: int


@dataclass(frozen=True)
class Exchange:
    """One TCP connection. Digests are SHA-256; that of the received bytes leaves out the tail."""

    sent: int
    received: int
    seconds: float
    failed_in: str
    errno: int
    end_of_stream: bool
    sent_digest: str
    received_digest: str
    tail: bytes


@dataclass(frozen=True)
class Echoes:
    """Datagrams that came back whole, did not come back, or came back as something else; round trip times."""

    echoed: int
    lost: int
    wrong: int
    p50_us: float | None
    p99_us: float | None


@dataclass(frozen=True)
class RoundTrips:
    done: int
    p50_us: float | None
    p99_us: float | None


@dataclass(frozen=True)
class ConnectRate:
    done: int
    failed: int
    errno: int
    seconds: float
    p50_us: float | None
    p99_us: float | None


@dataclass(frozen=True)
class Bulk:
    """Bytes delivered each way and the seconds it took; how many streams failed, and the errno of one."""

    up_bytes: int
    up_seconds: float
    down_bytes: int
    down_seconds: float
    failed: int
    errno: int


@dataclass(frozen=True)
class Held:
    held: int
    errno: int


@dataclass(frozen=True)
class Usage:
    cpu_seconds: float
    rss_bytes: int


@dataclass(eq=False)
class Peer:
    """``async with`` starts the process and ends it; its files live in a temporary folder until then."""

    host: Host
    program: list[str]
    name: str
    events: list[Event] = field(default_factory=list, init=False)

    async def __aenter__(self) -> Self:
        self._folder = tempfile.TemporaryDirectory(prefix=f"{self.name}-")
        self.home = Path(self._folder.name)
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._changed = asyncio.Condition()
        self._stderr: collections.deque[str] = collections.deque(maxlen=40)
        pipe = asyncio.subprocess.PIPE
        self._process = await asyncio.create_subprocess_exec(
            *self.host.command(*self.program), stdin=pipe, stdout=pipe, stderr=pipe, cwd=self.home
        )
        self._readers = asyncio.gather(self._read_output(), self._read_errors())
        return self

    async def __aexit__(self, *_: object) -> None:
        self.kill()
        await self._readers
        await self._process.wait()
        self._folder.cleanup()

    async def _read_output(self) -> None:
        assert self._process.stdout
        async for line in self._process.stdout:
            message = json.loads(line)
            if "event" in message:
                async with self._changed:
                    self.events.append(Event(**message))
                    self._changed.notify_all()
            elif (answer := self._answers.pop(message["id"], None)) and not answer.done():
                if "error" in message:
                    answer.set_exception(PeerFailed(self._report(message["error"])))
                else:
                    answer.set_result(message["result"])
        await self._process.wait()
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(self._death())

    async def _read_errors(self) -> None:
        assert self._process.stderr
        async for line in self._process.stderr:
            self._stderr.append(line.decode(errors="replace"))

    def _report(self, text: str) -> str:
        return f"{self.name}: {text}" + "".join(["\n", *self._stderr] if self._stderr else [])

    def _death(self) -> PeerDied:
        status = self._process.returncode
        reason = f"exit status {status}" if status is None or status >= 0 else signal.Signals(-status).name
        return PeerDied(self._report(f"the process ended with {reason}"), self.name, reason)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.returncode is None

    async def until_dead(self) -> PeerDied:
        """Wait until the process ends."""
        await self._process.wait()
        return self._death()

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    async def ask(self, verb: str, *, within: float = 60, **arguments: Any) -> dict[str, Any]:
        """Send one request and wait for its answer. Raises PeerFailed or PeerDied."""
        if not self.alive:
            raise self._death()
        number = next(self._numbers)
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._answers[number] = answer
        assert self._process.stdin
        self._process.stdin.write(json.dumps({"id": number, "do": verb, **arguments}).encode() + b"\n")
        try:
            async with asyncio.timeout(within):
                return await answer
        except TimeoutError:
            raise PeerFailed(self._report(f"{verb} was not answered within {within} s")) from None
        finally:
            self._answers.pop(number, None)

    async def wait_event(self, code: int, about: int | None = None, within: float = 30) -> Event:
        """The first event of that kind, past or to come."""

        def found() -> Event | None:
            return next((e for e in self.events if e.event == code and about in (None, e.about)), None)

        try:
            async with asyncio.timeout(within), self._changed:
                await self._changed.wait_for(found)
        except TimeoutError:
            raise PeerFailed(self._report(f"no event {code} within {within} s")) from None
        event = found()
        assert event
        return event

    def usage(self) -> Usage:
        """What the process has used. Raises PeerDied."""
        try:
            fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        except FileNotFoundError:
            raise self._death() from None
        return Usage((int(fields[11]) + int(fields[12])) / TICKS, int(fields[21]) * PAGE)

    # the node

    async def new_identity(self) -> str:
        """An identity with its secret, as text."""
        return str((await self.ask("new_identity"))["identity"])

    async def make_planet(self, roots: dict[str, list[str]]) -> bytes:
        """A signed planet of these roots: identity (a secret in it is left out) to its ``ip/port`` endpoints."""
        pairs = [(public(identity), endpoints) for identity, endpoints in roots.items()]
        answer = await self.ask("make_planet", roots=pairs, world_id=WORLD_ID, timestamp=1)
        return bytes.fromhex(answer["planet"])

    async def start_as_root(self) -> bytes:
        """Start as the only root of a planet of its own, which is returned."""
        identity = await self.new_identity()
        planet = await self.make_planet({identity: [f"{self.host.ipv4}/{ROOT_PORT}"]})
        await self.start(planet, identity)
        return planet

    async def start(self, planet: bytes, identity: str | None = None, port: int = ROOT_PORT) -> Started:
        """Start the node; returns once it is bound to its UDP port."""
        if identity:
            (self.home / "identity.secret").write_text(identity)
            (self.home / "identity.public").write_text(public(identity))
        answer = await self.ask("start", home=str(self.home), planet=planet.hex(), port=port)
        self.address = NodeAddress(answer["address"])
        return Started(self.address, answer["port"], answer["began"])

    async def online(self, timeout: float = 30) -> float:
        """When, by the monotonic clock, a root was first known to answer."""
        return float((await self.ask("online", within=timeout + 10, timeout=timeout))["at"])

    async def join(self, network: NetworkId, timeout: float = 30) -> Joined:
        answer = await self.ask("join", within=timeout + 10, network=network, timeout=timeout)
        ipv4, ipv6 = (ip and str(ipaddress.ip_address(ip)) for ip in (answer["ipv4"], answer["ipv6"]))
        return Joined(answer["began"], answer["at"], ipv4, ipv6)

    async def begin_join(self, network: NetworkId) -> None:
        """Join, and wait for nothing."""
        await self.ask("begin_join", network=network)

    async def status(self, network: NetworkId) -> Status:
        """Where a network stands, by what the node says."""
        answer = await self.ask("status", network=network)
        return Status(answer["status"], answer["mtu"], tuple(answer["addresses"]), tuple(answer["routes"]))

    async def until(self, network: NetworkId, holds: Callable[[Status], bool], within: float = 90) -> Status:
        """Wait until a network's state is as wanted. Raises PeerFailed."""
        status = None
        try:
            async with asyncio.timeout(within):
                while not holds(status := await self.status(network)):  # noqa: ASYNC110 - it tells no event
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise PeerFailed(self._report(f"not within {within:g} s: it is {status}")) from None
        return status

    async def leave(self, network: NetworkId) -> None:
        await self.ask("leave", network=network)

    # servers

    async def serve(self, mode: str, port: int, family: int = 6) -> int:
        """Start a server of a kind in SERVERS (``lab/load.cpp`` says what each does); its number."""
        return int((await self.ask("serve", mode=mode, port=port, family=family))["server"])

    async def serve_all(self, *modes: str) -> dict[str, int]:
        """Start a server of each of these kinds, or of all, on its port in SERVERS; their numbers."""
        return {mode: await self.serve(mode, SERVERS[mode]) for mode in modes or SERVERS}

    async def server_stats(self, server: int) -> ServerStats:
        return ServerStats(**await self.ask("server_stats", server=server))

    async def until_open(self, server: int, connections: int, within: float = 10) -> None:
        """Wait until a server has accepted, and not yet lost, so many. Raises PeerFailed."""
        try:
            async with asyncio.timeout(within):
                while True:
                    if (await self.server_stats(server)).open == connections:
                        return
                    await asyncio.sleep(0.01)
        except TimeoutError:
            raise PeerFailed(self._report(f"not {connections} connections open within {within} s")) from None

    async def server_release(self, server: int) -> int:
        """Close all that a hold server keeps; how many."""
        return int((await self.ask("server_release", server=server))["released"])

    # clients

    async def connect(self, ip: str, port: int, patience: float = 0, within: float = 60) -> Connected:
        """Connect and close. For ``patience`` seconds the lack of a route is no failure: try again.

        libzt calls a network ready a second before its stack finds a route to it.
        """
        return Connected(**await self.ask("connect", within=within, ip=ip, port=port, patience=patience))

    async def until_direct(self, ip: str, port: int, root: Host, within: float = 40) -> None:
        """Talk to a UDP echo server until the root carries none of it any more. Raises PeerFailed.

        libzt looks for a direct path only while there is traffic, finds it at once or after 15 seconds, and
        does not tell reliably.
        """
        try:
            async with asyncio.timeout(within):
                while True:
                    before = root.counters()
                    await self.udp_echo(ip, port, 10, 1)
                    if (root.counters() - before).rx_packets < 10:  # of 20, besides the root's own
                        return
                    await asyncio.sleep(0.2)
        except TimeoutError:
            raise PeerFailed(self._report(f"still talks through the root after {within:g} s")) from None

    async def exchange(
        self,
        ip: str,
        port: int,
        size: int = 0,
        *,
        seed: int = 1,
        rate: float = 0,
        prefix: bytes = b"",
        half_close: bool = True,
        tail: int = 0,
        timeout: float = 20,
        within: float = 120,
    ) -> Exchange:
        """Send ``prefix`` and ``size`` bytes of the seed's pattern while receiving, on one connection.

        ``rate`` is in bytes a second, 0 for no limit. Receiving ends at the end of stream or, once all is
        sent, after ``timeout`` seconds without any byte. The last ``tail`` bytes are returned as they are.
        """
        answer = await self.ask(
            "exchange",
            within=within,
            ip=ip,
            port=port,
            prefix=prefix.hex(),
            size=size,
            seed=seed,
            rate=rate,
            half_close=half_close,
            tail=tail,
            timeout=timeout,
        )
        return Exchange(**{**answer, "tail": bytes.fromhex(answer["tail"])})

    async def echo(self, ip: str, port: int, size: int, **options: Any) -> Exchange:
        """Send to an echo server, half-close, read the rest. Raises PeerFailed unless all of it came back."""
        done = await self.exchange(ip, port, size, **options)
        whole = done.sent == done.received == size and done.sent_digest == done.received_digest
        return self._checked(done, whole and done.end_of_stream)

    async def upload(self, ip: str, port: int, size: int, **options: Any) -> Exchange:
        """Send to a sink server. Raises PeerFailed unless it received just that, by hash."""
        done = await self.exchange(ip, port, size, tail=40, **options)
        count, digest = int.from_bytes(done.tail[:8], "little"), done.tail[8:].hex()
        return self._checked(done, done.sent == count == size and done.sent_digest == digest)

    async def download(
        self, ip: str, port: int, size: int, *, seed: int = 1, rate: int = 0, **options: Any
    ) -> Exchange:
        """Fetch from a source server. Raises PeerFailed unless all of it arrived, by hash."""
        request = b"".join(n.to_bytes(8, "little") for n in (size, seed, rate))
        done = await self.exchange(ip, port, prefix=request, tail=32, half_close=False, **options)
        whole = done.received == size + 32 and done.received_digest == done.tail.hex()
        return self._checked(done, whole and done.end_of_stream)

    def _checked(self, done: Exchange, whole: bool) -> Exchange:
        if done.failed_in or not whole:
            raise PeerFailed(self._report(f"not all came through, or not as it was sent: {done}"))
        return done

    async def udp_echo(
        self,
        ip: str,
        port: int,
        count: int,
        size: int,
        *,
        seed: int = 1,
        timeout: float = 2,
        within: float = 60,
    ) -> Echoes:
        """Datagrams of ``size`` bytes, each of another content, to a UDP echo server one after the other."""
        plan = {"ip": ip, "port": port, "count": count, "size": size, "seed": seed, "timeout": timeout}
        return Echoes(**await self.ask("udp_echo", within=within, **plan))

    async def ping_pong(self, ip: str, port: int, count: int, size: int = 1) -> RoundTrips:
        """Messages to a TCP echo server one after the other on one connection."""
        plan = {"ip": ip, "port": port, "count": count, "size": size}
        return RoundTrips(**await self.ask("ping_pong", within=120, **plan))

    async def connect_rate(self, ip: str, port: int, count: int, seconds: float) -> ConnectRate:
        """Connections to an echo server one after the other, a byte there and back on each.

        Ends when ``count`` are done or ``seconds`` are over, or after more than 20 failures.
        """
        plan = {"ip": ip, "port": port, "count": count, "seconds": seconds}
        return ConnectRate(**await self.ask("connect_rate", within=seconds + 120, **plan))

    async def bulk(
        self,
        ip: str,
        discard_port: int,
        source_port: int,
        *,
        up: int = 0,
        down: int = 0,
        seconds: float,
        rate: float = 0,
        within: float = 120,
    ) -> Bulk:
        """For so many seconds, ``up`` streams to a discard server and ``down`` from a source server."""
        plan = {"ip": ip, "discard_port": discard_port, "source_port": source_port, "rate": rate}
        return Bulk(**await self.ask("bulk", within=within, up=up, down=down, seconds=seconds, **plan))

    async def hold(self, ip: str, port: int, count: int, within: float = 120) -> Held:
        """Open ``count`` connections and keep them."""
        return Held(**await self.ask("hold", within=within, ip=ip, port=port, count=count))

    async def release(self) -> int:
        """Close the connections kept; how many."""
        return int((await self.ask("release"))["released"])


def public(identity: str) -> str:
    """An identity's text without its secret."""
    return ":".join(identity.split(":")[:3])
