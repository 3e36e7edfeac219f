"""Paths: where a peer can be reached, and which addresses may be used at all. vl1.md 5.1, 5.2 and 5.4."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from ipaddress import IPv6Network
from typing import Final

from zt_async.types import Endpoint, IPAddress, IPNetwork
from zt_async.wire.inetaddress import Scope, ip_scope

NEVER: Final = float("-inf")
ANY_SOCKET: Final = -1

PATH_ALIVE: Final = 19.0  # s since something was received
PATH_QUIET: Final = 0.5  # s of silence after which packets sent count as unanswered, and so long till a probe
PROBE_TIME: Final = 1.5  # s that a path under traffic has to answer
TWIN_TIME: Final = 0.4  # s that a path has to answer when its peer was heard on another port
BLAME_INTERVAL: Final = 30.0  # s
PROBE_INTERVAL: Final = 5.0  # s between rounds of probes of a path that traffic goes around
PATH_EXPIRATION: Final = 243.0  # s since an authentic packet came
TRUST_EXPIRATION: Final = 600.0  # s
UNKNOWN_LATENCY: Final = 65_535  # ms, as the choice between paths counts it

_TUNNEL_BROKER = IPv6Network("2001:470::/32")
_USABLE = frozenset((Scope.PRIVATE, Scope.PSEUDO_PRIVATE, Scope.SHARED, Scope.GLOBAL))


class Path:
    """A local UDP socket and a remote endpoint; shared by the peers that are reached through it."""

    __slots__ = (
        "asked",
        "blamed",
        "doubted",
        "echo_answered",
        "endpoint",
        "last_answer",
        "last_receive",
        "last_send",
        "last_trusted",
        "latency_ms",
        "outbox",
        "scope",
        "socket",
        "trusted_path_ids",
    )

    def __init__(self, socket: int, endpoint: Endpoint) -> None:
        self.socket = socket
        self.endpoint = endpoint
        self.scope = ip_scope(endpoint.ip)
        self.last_send = NEVER
        self.last_receive = NEVER
        self.last_answer = NEVER
        """When anything but a probe came: probes come, too, where nothing of ours gets through."""
        self.last_trusted = NEVER
        self.echo_answered = NEVER
        self.doubted = NEVER
        """When a packet went out that nothing came back for, or the last round of probes after that."""
        self.asked = NEVER
        """When the first of these rounds began."""
        self.blamed = NEVER
        """When its peer last seemed to go around it."""
        self.latency_ms: float | None = None
        self.outbox: list[bytes] = []
        self.trusted_path_ids: tuple[int, ...] = ()
        """Where the configuration vouches for the wire: packets go in the clear with the first (vl1.md 2.9)."""

    def is_alive(self, now: float) -> bool:
        """Heard of lately; under traffic, it also has to answer when it is asked.

        The reference waits for 19 s of silence, in which all that is sent is lost.
        """
        if now - self.last_receive >= PATH_ALIVE:
            return False
        return not self.last_answer < self.asked <= now - PROBE_TIME

    def is_doubtful(self, now: float) -> bool:
        """To be asked of a path that something is sent over: whether it is time to probe it."""
        answered = self.last_answer
        if self.doubted <= answered:
            self.doubted = now
            return False
        if now - self.doubted < (PATH_QUIET if self.asked <= answered else PROBE_INTERVAL):
            return False
        if self.asked <= answered:
            self.asked = now
        self.doubted = now
        return True

    def ask(self, now: float) -> bool:
        """Begin to wait for an answer; False if one is waited for already."""
        if self.asked > self.last_answer:
            return False
        self.asked = self.doubted = now
        return True

    def is_trusted(self, now: float) -> bool:
        return now - self.last_trusted < TRUST_EXPIRATION

    def blame(self, now: float) -> bool:
        """Hold the path for dead until it answers, because its peer goes around it; at most every 30 s.

        False where something came over it just now, or it was blamed in vain: some peers can only be met one way.
        """
        silence = now - self.last_answer
        if not PROBE_TIME < silence < PATH_EXPIRATION or now - self.blamed < BLAME_INTERVAL:
            return False
        self.blamed = self.doubted = now
        self.asked = now - PROBE_TIME
        return True

    def is_vouched_for(self, trusted_path_id: bytes) -> bool:
        """Whether packets in the clear with this ID are believed when they come over this path."""
        return int.from_bytes(trusted_path_id, "big") in self.trusted_path_ids

    def add_latency(self, sample_ms: float) -> None:
        """Average a measured round trip in (vl1.md 5.4)."""
        old = self.latency_ms
        self.latency_ms = sample_ms if old is None else (old + sample_ms) / 2

    def quality(self, now: float, priority: int) -> int:
        """Lower is better (vl1.md 5.4)."""
        latency = UNKNOWN_LATENCY if self.latency_ms is None else int(self.latency_ms)
        age_ms = min(int((now - self.last_receive) * 1000), 140_000) if self.last_receive > NEVER else 140_000
        base = latency if self.is_alive(now) else latency + 65_535 + age_ms
        return base * (8 - self.scope) // priority

    def __repr__(self) -> str:
        return f"<Path {self.socket}:{self.endpoint}>"


class PathPolicy:
    """Says which physical addresses may be learned and probed (vl1.md 5.2)."""

    def __init__(
        self,
        *,
        allow_loopback: bool = False,
        blacklist: Iterable[IPNetwork] = (),
        trusted: Mapping[IPNetwork, int] | None = None,
    ) -> None:
        self.virtual: Collection[IPNetwork] = ()
        """Prefixes assigned to us on networks: a path through them would run through itself."""
        self._usable = _USABLE | {Scope.LOOPBACK} if allow_loopback else _USABLE
        self._blacklist = tuple(blacklist)
        self._trusted = dict(trusted or {})

    def trusted_path_ids(self, endpoint: Endpoint) -> tuple[int, ...]:
        """The trusted path IDs configured for prefixes that hold this physical address (vl1.md 2.9)."""
        if not self._trusted:
            return ()
        ip = endpoint.ip
        return tuple(id_ for net, id_ in self._trusted.items() if ip.version == net.version and ip in net)

    def allows(self, endpoint: Endpoint, stable_ips: Collection[IPAddress] = ()) -> bool:
        """``stable_ips`` are the only ones at which an upstream with stable endpoints may be reached."""
        ip = endpoint.ip
        if not endpoint.port or ip_scope(ip) not in self._usable:
            return False
        if stable_ips and ip not in stable_ips:
            return False
        if ip.version == 6 and ip in _TUNNEL_BROKER:
            return False
        return not any(ip.version == net.version and ip in net for net in (*self.virtual, *self._blacklist))
