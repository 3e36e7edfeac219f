"""Asking roots who an address is, answering that question, and what waits for the answer. vl1.md 3.6."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from zt_async.crypto.identity import Identity
from zt_async.errors import DecodeError
from zt_async.types import NodeAddress
from zt_async.vl1.counters import UNKNOWN_SOURCE, WAITING, Refused
from zt_async.vl1.path import ANY_SOCKET, NEVER, Path
from zt_async.vl1.peer import Peer
from zt_async.wire.packet import Verb
from zt_async.wire.verbs import decode_whois, encode_whois

if TYPE_CHECKING:
    from zt_async.vl1.core import VL1

RETRY_DELAY: Final = 0.5  # s
REQUEST_TIMEOUT: Final = 5.0  # s
RATE_LIMIT: Final = 0.1  # s between answers to one peer, unless we are a root
MAX_REQUESTS: Final = 1024
MAX_PASSED_ON: Final = 256
MAX_QUESTIONS: Final = 64  # of one WHOIS
MAX_PACKETS: Final = 128  # waiting, of all strangers together; half of them over paths of nobody known
MAX_PACKETS_PER_SOURCE: Final = 8


class _Arrived(NamedTuple):
    packet: bytes
    path: Path
    at: float


class _Request:
    __slots__ = ("asked", "since")

    def __init__(self, now: float) -> None:
        self.since = now
        self.asked = NEVER


class Whois:
    """Requests under way, and packets from sources that are not known yet."""

    def __init__(self, vl1: VL1) -> None:
        self._vl1 = vl1
        self._requests: dict[int, _Request] = {}
        self._passed_on: dict[int, float] = {}
        """When we asked for an address on behalf of a peer."""
        self._packets: dict[int, list[_Arrived]] = {}
        self._packet_count = 0

    @property
    def is_idle(self) -> bool:
        return not self._requests and not self._packets

    def request(self, address: int, now: float) -> None:
        """Ask the best upstream, now and again every 500 ms until somebody answers or 5 s are over."""
        if not self._can_be_peer(address):
            return
        request = self._requests.get(address)
        if request is None:
            if len(self._requests) >= MAX_REQUESTS:
                self._vl1.counters["whois: too many"] += 1
                return
            request = self._requests[address] = _Request(now)
            self._vl1.pulse.wake(now)
        request.since = now
        if now - request.asked >= RETRY_DELAY and self._ask(address, now):
            request.asked = now

    def _can_be_peer(self, address: int) -> bool:
        return address != self._vl1.address and not NodeAddress(address).is_reserved

    def _pass_on(self, address: int, requester: Peer, now: float) -> None:
        """Ask what a peer asked us, once: it repeats its question if it has to (vl1.md 3.6).

        A root's question is not passed on: two roots would ask each other for ever.
        """
        if (
            not self._can_be_peer(address)
            or address in self._requests
            or now - self._passed_on.get(address, NEVER) < RETRY_DELAY
            or self._vl1.topology.is_upstream(requester.address)
        ):
            return
        self._passed_on.pop(address, None)
        if len(self._passed_on) >= MAX_PASSED_ON:
            del self._passed_on[next(iter(self._passed_on))]
        self._passed_on[address] = now
        self._ask(address, now)

    def _ask(self, address: int, now: float) -> bool:
        """Send the question, if there is an upstream to ask."""
        vl1 = self._vl1
        upstream = vl1.topology.best_upstream(now)
        if upstream is None or upstream.address == address:
            return False
        path = vl1.sender.route(upstream, now)
        if path is None:
            stable = vl1.topology.upstreams[upstream.address]
            if not stable:
                return False
            path = vl1.paths.find(ANY_SOCKET, stable[0])
        body = bytes((Verb.WHOIS,)) + encode_whois((NodeAddress(address),))
        vl1.sender.ask_over(upstream, path, body, now)
        return True

    def keep_packet(self, source: int, packet: bytes, path: Path, now: float) -> None:
        """Hold a packet from an unknown source for up to 5 s, and ask who that is."""
        vl1 = self._vl1
        packets = self._packets.setdefault(source, [])
        limit = MAX_PACKETS if vl1.paths.is_learned(path) else MAX_PACKETS // 2
        if len(packets) >= MAX_PACKETS_PER_SOURCE or self._packet_count >= limit:
            vl1.counters[UNKNOWN_SOURCE] += 1
            if not packets:
                del self._packets[source]
            return
        packets.append(_Arrived(packet, path, now))
        self._packet_count += 1
        vl1.counters[WAITING] += 1
        self.request(source, now)

    def learned(self, address: int) -> list[_Arrived]:
        """The node is known now: what came from it before."""
        self._requests.pop(address, None)
        packets = self._packets.pop(address, [])
        self._packet_count -= len(packets)
        return packets

    def handle_timer(self, now: float) -> None:
        """Repeat open requests, and give up those that are too old."""
        for address, request in list(self._requests.items()):
            if now - request.since >= REQUEST_TIMEOUT:
                del self._requests[address]
            elif now - request.asked >= RETRY_DELAY and self._ask(address, now):
                request.asked = now
        for source, packets in list(self._packets.items()):
            while packets and now - packets[0].at >= REQUEST_TIMEOUT:
                del packets[0]
                self._packet_count -= 1
                self._vl1.counters[WAITING] -= 1
                self._vl1.counters[UNKNOWN_SOURCE] += 1
            if not packets:
                del self._packets[source]

    def receive(self, peer: Peer, path: Path, packet_id: int, payload: bytes, now: float) -> None:
        """Answer WHOIS from memory; ask on about the unknown. Raises Refused if the peer asks too often."""
        vl1 = self._vl1
        if not vl1.topology.is_root:
            if now - peer.whois_gate < RATE_LIMIT:
                raise Refused("rate limit")
            peer.whois_gate = now
        found = []
        for address in decode_whois(payload)[:MAX_QUESTIONS]:
            identity = vl1.identity_of(address)
            if identity is not None:
                found.append(identity.to_bytes())
            else:
                self._pass_on(address, peer, now)
        if found:
            vl1.reply(peer, path, Verb.WHOIS, packet_id, b"".join(found), now)

    def receive_ok(self, peer: Peer, data: bytes, now: float) -> None:
        """Take identities, from upstreams only (vl1.md 3.6). Raises DecodeError or Refused."""
        vl1 = self._vl1
        if not vl1.topology.is_upstream(peer.address):
            raise Refused("not from a root")
        for identity in _read_identities(data):
            # Only what was asked for is kept: an answer may not fill the memory.
            asked = now - self._passed_on.get(identity.address, NEVER) < REQUEST_TIMEOUT
            if asked or identity.address in self._requests or identity.address in self._packets:
                vl1.topology.add_peer(identity, now)
                vl1.peer_learned(identity.address, now)


def _read_identities(data: bytes) -> list[Identity]:
    """One identity or more; bytes behind them that are none are tolerated. Raises DecodeError."""
    identities: list[Identity] = []
    while data or not identities:
        try:
            identity, used = Identity.from_bytes(data)
        except DecodeError:
            if not identities:
                raise
            break
        identities.append(identity)
        data = data[used:]
    return identities
