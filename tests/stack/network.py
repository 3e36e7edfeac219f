"""Stacks on a simulated wire and clock: seeded, and the same every time."""

from __future__ import annotations

import heapq
import ipaddress
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import count

from zt_async.config import StackConfig
from zt_async.context import Context
from zt_async.stack.interface import Interface
from zt_async.stack.stack import Stack
from zt_async.stack.tcp.connection import TcpConnection
from zt_async.stack.tcp.listener import TcpListener
from zt_async.types import BROADCAST, Frame, MACAddress, MulticastGroup
from zt_async.wire.ethernet import ETHERTYPE_ARP

PORT = 7000


def seeded_context(seed: int) -> Context:
    return Context(random_bytes=random.Random(seed).randbytes, wall_ms=lambda: 0)


def settled(stack: Stack, now: float) -> Stack:
    """The same, with what it had to tell of its addresses and groups sent, and not looked at."""
    for at in (now, now + 1):
        stack.handle_timer(at)
        stack.frames_to_send(at)
    assert stack.next_timer() is None
    return stack


@dataclass(kw_only=True)
class Wire:
    """What happens to frames on their way. Times are seconds, probabilities per frame."""

    delay: float = 0.01
    jitter: float = 0.0
    """Added uniformly; more than the spacing of frames reorders them."""
    loss: float = 0.0
    duplication: float = 0.0
    corruption: float = 0.0
    """One byte of the payload is changed."""
    rate: float | None = None
    """Bytes a second."""
    queue: int = 1 << 30
    """Bytes that wait for a slow wire; beyond that frames are lost."""
    drop: Callable[[int, Frame], bool] | None = None
    """Called with the number and the frame: lose this one?"""
    sent: int = 0
    dropped: int = 0
    busy_until: float = 0.0

    def deliveries(self, frame: Frame, now: float, rng: random.Random) -> list[tuple[float, Frame]]:
        self.sent += 1
        if (self.drop and self.drop(self.sent, frame)) or rng.random() < self.loss:
            self.dropped += 1
            return []
        leaves = now
        if self.rate is not None:
            leaves = max(now, self.busy_until)
            if (leaves - now) * self.rate > self.queue:
                self.dropped += 1
                return []
            leaves += len(frame[3]) / self.rate
            self.busy_until = leaves
        if rng.random() < self.corruption:
            payload = bytearray(frame[3])
            payload[rng.randrange(len(payload))] ^= 1 << rng.randrange(8)
            frame = (*frame[:3], bytes(payload))
        copies = 2 if rng.random() < self.duplication else 1
        return [(leaves + self.delay + rng.random() * self.jitter, frame) for _ in range(copies)]


def wants(interface: Interface, frame: Frame) -> bool:
    """Whether a network would bring the frame: by MAC, by group, and ARP questions by the address asked for."""
    destination, _, ethertype, payload = frame
    if destination == interface.mac:
        return True
    if destination == BROADCAST and ethertype == ETHERTYPE_ARP and payload[7] == 1:
        return MulticastGroup(BROADCAST, int.from_bytes(payload[24:28], "big")) in interface.groups
    return destination == BROADCAST or MulticastGroup(MACAddress(destination)) in interface.groups


@dataclass
class Host:
    stack: Stack
    interface: Interface
    wire: Wire
    address: str


@dataclass
class Network:
    """Hosts on one Ethernet. Each frame goes through the wire of the host that sends it."""

    seed: int = 0
    now: float = 1000.0
    hosts: list[Host] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self._flying: list[tuple[float, int, Host, Frame]] = []
        self._order = count()

    def add_host(
        self, wire: Wire | None = None, mtu: int = 2800, *, family: int = 6, **config: object
    ) -> Host:
        number = len(self.hosts) + 1
        stack = Stack(seeded_context(self.seed * 1000 + number), StackConfig(**config))
        interface = stack.add_interface("net", MACAddress(0x020000000000 + number), mtu, self.now)
        address = f"fd00::{number:x}" if family == 6 else f"10.0.0.{number}"
        prefix = 64 if family == 6 else 24
        interface.add_address(ipaddress.ip_interface(f"{address}/{prefix}"), self.now)
        settled(stack, self.now)
        host = Host(stack, interface, wire or Wire(), address)
        self.hosts.append(host)
        return host

    def connect(
        self, client: Host, server: Host, listener: TcpListener | None = None, **kwargs: object
    ) -> tuple[TcpConnection, TcpConnection]:
        """An established connection, both ends."""
        own_listener = listener is None
        if listener is None:
            listener = server.stack.listen_tcp(("::", PORT), now=self.now)
        near = client.stack.connect_tcp((server.address, listener.local[1]), now=self.now, **kwargs)
        accepted: list[TcpConnection] = []

        def done() -> bool:
            if not accepted and (connection := listener.accept()) is not None:
                accepted.append(connection)
            return bool(accepted) and near.state.name == "ESTABLISHED"

        assert self.run(done, 60), f"no connection: {near}"
        if own_listener:
            listener.close()
        return near, accepted[0]

    def run(self, until: Callable[[], bool] | None = None, limit: float = 600.0) -> bool:
        """Let time pass, for ``limit`` seconds at most; whether ``until`` came true."""
        deadline = self.now + limit
        while True:
            self._send()
            if until is not None and until():
                self._send()
                return True
            at = self._next_event()
            if at > deadline or (until is None and at == float("inf")):
                if until is None:
                    self.now = deadline if at != float("inf") else self.now
                return False
            self.now = max(self.now, at)
            self._deliver()
            for host in self.hosts:
                timer = host.stack.next_timer()
                if timer is not None and timer <= self.now:
                    host.stack.handle_timer(self.now)

    def settle(self) -> None:
        """Until nothing is on the wire and no timer runs."""
        assert not self.run(None, 1e6)
        assert self._next_event() == float("inf")

    def inject(self, host: Host, frames: Iterable[Frame]) -> None:
        host.stack.receive_frames(host.interface, list(frames), self.now)

    def _next_event(self) -> float:
        times = [timer for host in self.hosts if (timer := host.stack.next_timer()) is not None]
        if self._flying:
            times.append(self._flying[0][0])
        return min(times, default=float("inf"))

    def _send(self) -> None:
        for host in self.hosts:
            for _, frames in host.stack.frames_to_send(self.now):
                for frame in frames:
                    for at, copy in host.wire.deliveries(frame, self.now, self.rng):
                        heapq.heappush(self._flying, (at, next(self._order), host, copy))

    def _deliver(self) -> None:
        batches: dict[int, list[Frame]] = {}
        while self._flying and self._flying[0][0] <= self.now:
            _, _, sender, frame = heapq.heappop(self._flying)
            for index, host in enumerate(self.hosts):
                if host is not sender and wants(host.interface, frame):
                    batches.setdefault(index, []).append(frame)
        for index, frames in batches.items():
            self.hosts[index].stack.receive_frames(self.hosts[index].interface, frames, self.now)


@dataclass
class Transfer:
    """Sends ``data`` from one end to the other, then a FIN; ``chunk`` bytes are queued at a time."""

    sender: TcpConnection
    receiver: TcpConnection
    data: bytes
    chunk: int = 1 << 16
    received: bytearray = field(default_factory=bytearray)
    _queued: int = 0
    _finished: bool = False

    def __call__(self) -> bool:
        """Move on; whether the receiver has seen the end."""
        sender = self.sender
        while self._queued < len(self.data) and sender.unsent + sender.unacked < sender.send_target:
            piece = self.data[self._queued : self._queued + self.chunk]
            sender.send(piece)
            self._queued += len(piece)
        if self._queued == len(self.data) and not self._finished:
            self._finished = True
            sender.send_eof()
        self.received += self.receiver.receive()
        return self.receiver.eof_received
