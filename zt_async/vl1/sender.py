"""The way out of VL1: choosing a path, arming, splitting, and what waits for a way. vl1.md 2 and 5.4."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from typing import Final, NamedTuple

from zt_async.context import Context
from zt_async.crypto.keys import seal_trusted
from zt_async.types import Endpoint, Flight
from zt_async.vl1.expected import ExpectedReplies
from zt_async.vl1.path import PATH_QUIET, Path
from zt_async.vl1.peer import HINT_INTERVAL, Peer
from zt_async.vl1.topology import Topology
from zt_async.wire.compression import compress
from zt_async.wire.packet import (
    BODY_OFFSET,
    COMPRESSED,
    DEFAULT_MTU,
    FLAG_FRAGMENTED,
    FRAGMENT_HEADER_SIZE,
    MAX_FRAGMENTS,
    VERB_MASK,
    Suite,
    Verb,
    split_evenly,
)

MAX_WAITING: Final = 1024
MAX_WAITING_PER_PEER: Final = 64
WAITING_TIMEOUT: Final = 5.0  # s


class _Waiting(NamedTuple):
    body: bytes
    since: float
    asks: bool
    """An OK to it is let through."""


class Doubt(NamedTuple):
    """A path to a peer that is in use and from which nothing comes back; None where something is sent without one."""

    peer: Peer
    path: Path | None
    at: float


def make_body(verb: Verb, payload: bytes, *, compressible: bool = False) -> bytes:
    """The protected part of a packet: verb byte and payload, compressed where that helps (vl1.md 2.8)."""
    if compressible and (packed := compress(payload)) is not None:
        return bytes((verb | COMPRESSED,)) + packed
    return bytes((verb,)) + payload


class Sender:
    """Turns bodies into datagrams, collected by path until the driver fetches them."""

    def __init__(
        self,
        topology: Topology,
        context: Context,
        mtu: int,
        counters: Counter[str],
        expected: ExpectedReplies,
    ) -> None:
        self._topology = topology
        self._context = context
        self._mtu = mtu
        self._expected = expected
        piece = min(mtu, DEFAULT_MTU) - FRAGMENT_HEADER_SIZE
        self.largest_body = MAX_FRAGMENTS * piece + FRAGMENT_HEADER_SIZE - BODY_OFFSET
        """Bytes of verb byte and payload that a packet holds: no more than others can take, whatever the MTU."""
        self._counters = counters
        self._pending: list[Path] = []
        self._special: list[Flight] = []
        self._doubts: list[Doubt] = []
        self._waiting: dict[int, deque[_Waiting]] = {}
        self._waiting_count = 0

    @property
    def waiting(self) -> list[int]:
        """Addresses for which packets wait."""
        return list(self._waiting)

    def transmit(self, peer: Peer, path: Path, body: bytes, now: float, suite: Suite | None = None) -> None:
        """Send one packet, armored on trusted paths too: replies and probes always are (vl1.md 2.9)."""
        self.transmit_all(peer, path, (body,), now, peer.suite if suite is None else suite)

    def transmit_all(
        self, peer: Peer, path: Path, bodies: Sequence[bytes], now: float, suite: Suite | None = None
    ) -> None:
        """Arm, split and queue packets; those that no seven fragments can carry are counted and dropped."""
        out = path.outbox
        queued = len(out)
        seal = peer.key.seal
        packet_id = self._context.packet_id
        addresses = peer.wire_addresses
        mtu = self._mtu
        whole = mtu - BODY_OFFSET
        largest = self.largest_body
        trusted = path.trusted_path_ids if suite is None else ()
        chosen = peer.suite if suite is None else suite
        for body in bodies:
            size = len(body)
            if size > largest:
                self._counters["send: too large"] += 1
                continue
            flags = 0 if size <= whole else FLAG_FRAGMENTED
            if trusted:
                packet = seal_trusted(packet_id(), addresses, flags, body, trusted[0])
            else:
                packet = seal(packet_id(), addresses, flags, body, chosen)
            if flags:
                out += split_evenly(packet, mtu)
            else:
                out.append(packet)
        if len(out) > queued:
            path.last_send = now
            if not queued:
                self._pending.append(path)

    def send_all(self, address: int, bodies: Sequence[bytes], now: float) -> bool:
        """Send packets to a node by the best way there is; False if they wait, because there is none yet."""
        peer = self._topology.peers.get(address)
        path = self.route(peer, now) if peer is not None else None
        if peer is None or path is None:
            self._wait(address, bodies, now)
            return False
        self.transmit_all(peer, path, bodies, now)
        return True

    def ask(self, address: int, body: bytes, now: float) -> bool:
        """The same with one packet, to which an OK is let through."""
        peer = self._topology.peers.get(address)
        path = self.route(peer, now) if peer is not None else None
        if peer is None or path is None:
            self._wait(address, (body,), now, asks=True)
            return False
        self.ask_over(peer, path, body, now)
        return True

    def ask_over(self, peer: Peer, path: Path, body: bytes, now: float) -> None:
        """Send one packet over a path, and let the OK through that answers it."""
        queued = len(path.outbox)
        self.transmit(peer, path, body, now)
        for datagram in path.outbox[queued : queued + 1]:
            packet_id = int.from_bytes(datagram[:8], "big")
            self._expected.add(packet_id, body[0] & VERB_MASK, peer.address, path.endpoint, now)

    def route(self, peer: Peer, now: float) -> Path | None:
        """The way to a peer: direct, else through a root, else a direct path that has expired (vl1.md 5.4)."""
        path = peer.best_path(now)
        if path is not None:
            if now - path.last_answer < PATH_QUIET:
                return path
            if path.is_doubtful(now):
                self._doubts.append(Doubt(peer, path, now))
            if path.is_alive(now) or self._topology.is_upstream(peer.address):
                return path
        elif now - peer.hints_tried >= HINT_INTERVAL:
            self._doubts.append(Doubt(peer, None, now))
        relay = self._topology.best_upstream(now)
        if relay is not None and relay is not peer:
            through = relay.best_path(now)
            if through is not None and (path is None or through.is_alive(now)):
                self.doubt(relay, through, now)
                return through
        return path or peer.expired_path(now)

    def doubt(self, peer: Peer, path: Path, now: float) -> None:
        """Have a path probed that something is sent over, if it answers nothing."""
        if now - path.last_answer >= PATH_QUIET and path.is_doubtful(now):
            self._doubts.append(Doubt(peer, path, now))

    def take_doubts(self) -> list[Doubt]:
        """The paths that are to be probed because they answer nothing, and peers for which one is to be looked for."""
        doubts = self._doubts
        self._doubts = []
        return doubts

    def forward(self, path: Path, datagram: bytes, now: float) -> None:
        """Queue a datagram that is armed already."""
        if not path.outbox:
            self._pending.append(path)
        path.outbox.append(datagram)
        path.last_send = now

    def send_dying(self, socket: int, endpoint: Endpoint, data: bytes, ttl: int) -> None:
        """Send bytes that open a NAT here and are meant to die before they arrive (vl1.md 3.7)."""
        self._special.append(Flight(socket, endpoint, [data], ttl))

    def flights_to_send(self) -> list[Flight]:
        """All datagrams since the last call, those of one path in one flight."""
        flights = self._special
        self._special = []
        for path in self._pending:
            flights.append(Flight(path.socket, path.endpoint, path.outbox))
            path.outbox = []
        self._pending = []
        return flights

    # Packets that have no way yet

    def has_waiting(self, address: int) -> bool:
        return address in self._waiting

    def _wait(self, address: int, bodies: Sequence[bytes], now: float, *, asks: bool = False) -> None:
        queue = self._waiting.get(address, deque())
        room = min(MAX_WAITING_PER_PEER - len(queue), MAX_WAITING - self._waiting_count)
        kept = bodies[:room]
        if len(kept) < len(bodies):
            self._counters["send: too many waiting"] += len(bodies) - len(kept)
        if kept:
            queue.extend(_Waiting(body, now, asks) for body in kept)
            self._waiting_count += len(kept)
            self._waiting[address] = queue

    def retry(self, address: int, now: float) -> None:
        """Send what waits for a node, if there is a way now."""
        queue = self._waiting.pop(address, None)
        if queue is None:
            return
        self._waiting_count -= len(queue)
        peer = self._topology.peers.get(address)
        path = self.route(peer, now) if peer is not None else None
        if peer is not None and path is not None:
            for waiting in queue:
                if waiting.asks:
                    self.ask_over(peer, path, waiting.body, now)
                else:
                    self.transmit_all(peer, path, (waiting.body,), now)
        else:
            self._waiting[address] = queue
            self._waiting_count += len(queue)

    def give_up(self, now: float) -> list[int]:
        """Drop what has waited too long; returns the addresses of which nothing is left."""
        unreachable = []
        for address, queue in list(self._waiting.items()):
            while queue and now - queue[0].since >= WAITING_TIMEOUT:
                queue.popleft()
                self._waiting_count -= 1
                self._counters["send: no way found"] += 1
            if not queue:
                del self._waiting[address]
                unreachable.append(address)
        return unreachable
