"""Going direct: probing addresses, RENDEZVOUS and PUSH_DIRECT_PATHS, both ways. vl1.md 3.7, 3.18, 5.6 to 5.10."""

from __future__ import annotations

import heapq
from collections import Counter
from typing import TYPE_CHECKING, Final, NamedTuple

from zt_async.types import Endpoint
from zt_async.vl1.counters import Refused
from zt_async.vl1.path import ANY_SOCKET, NEVER, Path
from zt_async.vl1.peer import Peer
from zt_async.vl1.sender import make_body
from zt_async.wire.inetaddress import Scope, ip_scope
from zt_async.wire.packet import Verb
from zt_async.wire.verbs import (
    PATH_FORGET,
    PATH_REDIRECT,
    Rendezvous,
    decode_direct_paths,
    encode_direct_paths,
)

if TYPE_CHECKING:
    from zt_async.vl1.core import VL1

RETRY_DELAYS: Final = (0.25, 0.75, 1.5, 3.0, 1.0)  # s; the reference waits for a next occasion
CONFIRM_DELAYS: Final = (0.25, 0.75, 0.5)  # s
MAX_ATTEMPTS: Final = 1024
MAX_ATTEMPTS_PER_PEER: Final = 64
PUSH_INTERVAL_RELAYED: Final = 15.0  # s
PUSH_INTERVAL_DIRECT: Final = 120.0  # s
FIRST_PUSH_INTERVAL: Final = 1.0  # s; doubles up to the interval for relayed peers
PUSH_CUTOFF: Final = 30.0  # s
PUSH_LIMIT: Final = 8
MAX_PER_SCOPE_AND_FAMILY: Final = 8
INTRODUCTION_INTERVAL: Final = 30.0  # s between introductions of one pair
INTRODUCTION_RETRY: Final = 1.0  # s until it is looked again whether two can meet
MAX_INTRODUCTIONS: Final = 8192
PLACE_LIFETIME: Final = 10.0  # s for which it is remembered where peers want to be met
MAX_AWAITED: Final = 256
MAX_REDIRECTS: Final = 256


class _Attempt:
    """An address of a peer that is being probed."""

    __slots__ = ("delays", "endpoint", "peer", "since", "socket", "tries", "where")

    def __init__(
        self, peer: Peer, socket: int, endpoint: Endpoint, delays: tuple[float, ...], now: float
    ) -> None:
        self.peer = peer
        self.socket = socket
        self.endpoint = endpoint
        self.where = (socket, endpoint)
        self.delays = delays
        """Between the probes, and after the last one."""
        self.since = now
        self.tries = 0


class _Redirect(NamedTuple):
    priority: int
    """That the path will have."""
    since: float


class _Awaited(NamedTuple):
    socket: int
    endpoint: Endpoint
    since: float


class Contact:
    """Finds direct paths to peers, and helps others to find theirs."""

    def __init__(self, vl1: VL1) -> None:
        self._vl1 = vl1
        self._attempts: list[tuple[float, int, _Attempt]] = []
        self._under_way: dict[int, set[tuple[int, Endpoint]]] = {}
        self._counter = 0
        self._introduced: dict[tuple[int, int], float] = {}
        self._redirects: dict[tuple[int, Endpoint], _Redirect] = {}
        """Addresses at which peers want to be met."""
        self._awaited: dict[int, _Awaited] = {}
        """Where to meet peers that are not known yet."""

    # Probing

    def probe(self, peer: Peer, path: Path, now: float) -> None:
        """Send HELLO or ECHO there: its OK is what makes a path (vl1.md 5.6)."""
        if peer.needs_hello:
            self._vl1.handshake.say_hello(peer, path, now)
        else:
            self._vl1.sender.ask_over(peer, path, bytes((Verb.ECHO,)), now)

    def attempt(self, peer: Peer, socket: int, endpoint: Endpoint, now: float) -> None:
        """Probe an address now, and a few times more until it proves to be a path."""
        self._begin(_Attempt(peer, socket, endpoint, RETRY_DELAYS, now), MAX_ATTEMPTS_PER_PEER, now)

    def confirm(self, peer: Peer, path: Path, now: float) -> None:
        """Probe the address that a packet came from: anybody may have sent it, if it was replayed.

        Hence less is sent there, so that nobody can have us flood a third party.
        """
        attempt = _Attempt(peer, path.socket, path.endpoint, CONFIRM_DELAYS, now)
        self._begin(attempt, MAX_ATTEMPTS_PER_PEER // 2, now)

    def _begin(self, attempt: _Attempt, limit: int, now: float) -> None:
        address = attempt.peer.address
        under_way = self._under_way.get(address, ())
        if attempt.where in under_way:
            return
        if len(under_way) >= limit or len(self._attempts) >= MAX_ATTEMPTS:
            self._vl1.counters["paths: too many attempts"] += 1
            return
        self._under_way.setdefault(address, set()).add(attempt.where)
        self._try(attempt, now)

    def _try(self, attempt: _Attempt, now: float) -> None:
        path = self._vl1.paths.find(attempt.socket, attempt.endpoint)
        if attempt.tries:
            # Whoever answered no ECHO may have forgotten us.
            self._vl1.handshake.say_hello(attempt.peer, path, now)
        else:
            self.probe(attempt.peer, path, now)
        self._counter += 1
        heapq.heappush(self._attempts, (now + attempt.delays[attempt.tries], self._counter, attempt))
        attempt.tries += 1

    def next_timer(self) -> float | None:
        return self._attempts[0][0] if self._attempts else None

    def handle_timer(self, now: float) -> None:
        """Repeat the probes that are due and still wanted."""
        while self._attempts and self._attempts[0][0] <= now:
            _, _, attempt = heapq.heappop(self._attempts)
            if self._is_over(attempt):
                under_way = self._under_way[attempt.peer.address]
                under_way.discard(attempt.where)
                if not under_way:
                    del self._under_way[attempt.peer.address]
            else:
                self._try(attempt, now)

    def _is_over(self, attempt: _Attempt) -> bool:
        peer = attempt.peer
        if attempt.tries == len(attempt.delays) or self._vl1.topology.peers.get(peer.address) is not peer:
            return True
        return any(
            entry.path.endpoint == attempt.endpoint and entry.path.last_answer >= attempt.since
            for entry in peer.entries
        )

    def allowed(self, peer: Peer, endpoint: Endpoint) -> bool:
        """Whether the peer may be met there (vl1.md 5.2)."""
        return self._vl1.policy.allows(endpoint, self._vl1.topology.stable_ips(peer.address))

    # Direct paths

    def push_again(self, peer: Peer, now: float) -> None:
        """Tell a peer our addresses though it is silent just now: what was told before may have been lost."""
        path = self._vl1.sender.route(peer, now)
        if path is not None:
            self.maybe_push(peer, path, 1, now)

    def maybe_push(self, peer: Peer, path: Path, hops: int, now: float) -> None:
        """Tell a trusted peer our addresses, when the last time was long enough ago (vl1.md 5.7)."""
        interval = peer.push_interval if hops else PUSH_INTERVAL_DIRECT
        if now - peer.paths_pushed < interval:
            return
        # Relayed peers hear of us often at first: most first probes fail while NATs open (DESIGN 4).
        doubled = max(FIRST_PUSH_INTERVAL, peer.push_interval * 2)
        peer.push_interval = min(doubled, PUSH_INTERVAL_RELAYED) if hops else FIRST_PUSH_INTERVAL
        peer.paths_pushed = now
        vl1 = self._vl1
        for payload in encode_direct_paths(vl1.own_endpoints(now)):
            vl1.sender.transmit(
                peer, path, make_body(Verb.PUSH_DIRECT_PATHS, payload, compressible=True), now
            )

    def receive_push(self, peer: Peer, path: Path, payload: bytes, now: float) -> None:
        """Probe the addresses a peer says it has (vl1.md 3.18)."""
        peer.pushes_in_a_row = peer.pushes_in_a_row + 1 if now - peer.push_received <= PUSH_CUTOFF else 0
        peer.push_received = now
        if peer.pushes_in_a_row >= PUSH_LIMIT:
            self._vl1.counters["paths: too many pushes"] += 1
            return
        probed: Counter[tuple[Scope, int]] = Counter()
        for endpoint, flags in decode_direct_paths(payload):
            if flags & PATH_FORGET or not self.allowed(peer, endpoint):
                continue
            if flags & PATH_REDIRECT:
                self._redirect(peer, path, endpoint, now)
            elif not any(e.path.endpoint == endpoint and e.path.is_alive(now) for e in peer.entries):
                group = (ip_scope(endpoint.ip), endpoint.family)
                probed[group] += 1
                if probed[group] <= MAX_PER_SCOPE_AND_FAMILY:
                    self.attempt(peer, ANY_SOCKET, endpoint, now)

    def _redirect(self, peer: Peer, path: Path, endpoint: Endpoint, now: float) -> None:
        """Follow a cluster that wants to be met elsewhere, once it is there (vl1.md 5.12).

        The reference sends all there without an answer from the address, which anybody could be made to bear.
        """
        entry = peer.entry_of(path)
        self._redirects.pop((peer.address, endpoint), None)
        if len(self._redirects) >= MAX_REDIRECTS:
            del self._redirects[next(iter(self._redirects))]
        self._redirects[peer.address, endpoint] = _Redirect((entry.priority if entry else 1) + 2, now)
        there = next((e.path for e in peer.entries if e.path.endpoint == endpoint), None)
        if there is not None and there.is_alive(now):
            self._vl1.learn(peer, there, now)
        else:
            for entry in peer.drop_entries(
                lambda entry: entry.path is there
            ):  # to be learned anew, if it answers
                self._vl1.reporter.removed(peer, entry.path.endpoint, now)
            self.attempt(peer, path.socket, endpoint, now)

    def is_redirected(self, peer: Peer, endpoint: Endpoint) -> bool:
        """The peer asked to be met at this address instead of all others."""
        return (peer.address, endpoint) in self._redirects

    def take_priority(self, peer: Peer, endpoint: Endpoint) -> int:
        """The priority of a new path: more than 1 makes it the only one."""
        redirect = self._redirects.pop((peer.address, endpoint), None)
        return redirect.priority if redirect is not None else 1

    # Introductions

    def receive_rendezvous(self, peer: Peer, path: Path, payload: bytes, now: float) -> None:
        """A root tells where a peer is to be met: open our NAT towards it, and probe (vl1.md 3.7)."""
        vl1 = self._vl1
        if not vl1.topology.is_upstream(peer.address):
            raise Refused("not from a root")
        rendezvous = Rendezvous.decode(payload)
        other = vl1.topology.peers.get(rendezvous.peer)
        if other is None:
            # It comes along with the stranger's first packet, before the root could tell who that is.
            if len(self._awaited) < MAX_AWAITED:
                self._awaited[rendezvous.peer] = _Awaited(path.socket, rendezvous.endpoint, now)
                vl1.whois.request(rendezvous.peer, now)
            return
        self._meet(other, path.socket, rendezvous.endpoint, now)

    def _meet(self, other: Peer, socket: int, endpoint: Endpoint, now: float) -> None:
        vl1 = self._vl1
        if not self.allowed(other, endpoint):
            vl1.counters["paths: refused"] += 1
            return
        if endpoint.family == 4:
            vl1.sender.send_dying(socket, endpoint, vl1.context.packet_id()[:4], 2)
        self.attempt(other, socket, endpoint, now)

    def learned(self, peer: Peer, now: float) -> None:
        """A peer became known: meet it where a root said before."""
        awaited = self._awaited.pop(peer.address, None)
        if awaited is not None:
            self._meet(peer, awaited.socket, awaited.endpoint, now)

    def introduce(self, source: int, destination: int, path: Path, now: float) -> None:
        """Tell two peers, for whom we relay, where to meet: at most once in 30 s (vl1.md 5.10).

        What we relay is not authenticated: the host it came from has to be one of the source's, or of a root's.
        """
        pair = (source, destination) if source < destination else (destination, source)
        if now - self._introduced.get(pair, NEVER) < INTRODUCTION_INTERVAL:
            return
        peers = self._vl1.topology.peers
        a, b = peers.get(source), peers.get(destination)
        if a is None or b is None:
            return
        host = path.endpoint.host
        if not any(peer.is_met_at(host) for peer in (a, *self._vl1.topology.upstream_peers())):
            return
        self._introduced.pop(pair, None)
        if len(self._introduced) >= MAX_INTRODUCTIONS:
            del self._introduced[next(iter(self._introduced))]
        paths_a, paths_b = a.best_by_scope(now), b.best_by_scope(now)
        shared = paths_a.keys() & paths_b.keys()
        self._introduced[pair] = now if shared else now - INTRODUCTION_INTERVAL + INTRODUCTION_RETRY
        if not shared:
            return
        group = max(shared)
        for peer, way, other, meet in (
            (a, paths_a[group], b, paths_b[group].endpoint),
            (b, paths_b[group], a, paths_a[group].endpoint),
        ):
            body = bytes((Verb.RENDEZVOUS,)) + Rendezvous(other.address, meet).encode()
            self._vl1.sender.transmit(peer, way, body, now)

    def moved(self, peer: Peer) -> None:
        """The peer is elsewhere now: those who were told where it was may be told anew."""
        for pair in [pair for pair in self._introduced if peer.address in pair]:
            del self._introduced[pair]

    def expire(self, now: float) -> None:
        for address in [a for a, awaited in self._awaited.items() if now - awaited.since >= PLACE_LIFETIME]:
            del self._awaited[address]
        for where in [w for w, redirect in self._redirects.items() if now - redirect.since >= PLACE_LIFETIME]:
            del self._redirects[where]
        for pair in [p for p, at in self._introduced.items() if now - at >= 8 * INTRODUCTION_INTERVAL]:
            del self._introduced[pair]
