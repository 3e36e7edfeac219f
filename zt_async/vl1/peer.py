"""What is known of another node: identity, keys, version, paths and the times its rate limits hang on. vl1.md 5.1."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from zt_async.crypto.identity import Identity
from zt_async.crypto.keys import SessionKey
from zt_async.types import Endpoint, NodeAddress
from zt_async.vl1.path import NEVER, PATH_EXPIRATION, TRUST_EXPIRATION, UNKNOWN_LATENCY, Path
from zt_async.wire.inetaddress import Scope
from zt_async.wire.packet import FIRST_AES_PROTOCOL, FIRST_ECHO_PROTOCOL, Suite
from zt_async.wire.verbs import Version

MAX_PATHS: Final = 64
MAX_HELLOS: Final = 64  # answered in a second, of those that come over no known path
PEER_ACTIVITY: Final = 500.0  # s for which a peer counts as alive, or as active
HINT_INTERVAL: Final = 30.0  # s between trials of the addresses that a peer without a path may have
CHOICE_LIFETIME: Final = 0.1  # s for which the choice of the best path is kept
_HELLO_ONLY = (1, 1, 0)  # the one release that must be probed with HELLO


class PathEntry:
    """A learned path of one peer."""

    __slots__ = ("last_receive", "path", "priority")

    def __init__(self, path: Path, now: float, priority: int = 1) -> None:
        self.path = path
        self.last_receive = now  # of an authentic, direct packet
        self.priority = priority

    def is_expired(self, now: float) -> bool:
        return now - self.last_receive >= PATH_EXPIRATION


class Peer:
    """Another node. Everything in it was authenticated with the key the two identities agree on."""

    __slots__ = (
        "_best",
        "_best_until",
        "address",
        "credentials_asked",
        "credentials_received",
        "entries",
        "hello_window",
        "hellos",
        "hints",
        "hints_tried",
        "identity",
        "key",
        "known_since",
        "last_full_hello",
        "last_nontrivial",
        "last_receive",
        "last_trusted",
        "paths_pushed",
        "push_interval",
        "push_received",
        "pushes_in_a_row",
        "replied_hello",
        "reported",
        "version",
        "whois_gate",
        "wire_addresses",
    )

    def __init__(self, identity: Identity, key: SessionKey, own_address: NodeAddress) -> None:
        self.identity = identity
        self.address = identity.address
        self.key = key
        self.wire_addresses = identity.address.packed + own_address.packed
        self.version = Version()
        self.replied_hello = False
        """It answered a HELLO of ours, so it knows our version, and AES is safe with every core (vl1.md 8)."""
        self.known_since = NEVER
        self.last_receive = NEVER
        self.last_nontrivial = NEVER
        self.last_trusted = NEVER
        self.last_full_hello = NEVER
        self.entries: list[PathEntry] = []
        self.hints: tuple[Endpoint, ...] = ()
        self.hints_tried = NEVER
        self.hello_window = NEVER
        self.hellos = 0
        self.whois_gate = NEVER
        self.credentials_asked = NEVER
        self.credentials_received = NEVER
        self.paths_pushed = NEVER
        self.push_interval = 0.0
        self.push_received = NEVER
        self.pushes_in_a_row = 0
        self.reported: bool | None = None
        """Direct (True) or relayed (False), as the last event said."""
        self._best: Path | None = None
        self._best_until = NEVER

    @property
    def suite(self) -> Suite:
        """The cipher to send with."""
        return (
            Suite.AES if self.replied_hello and self.version.protocol >= FIRST_AES_PROTOCOL else Suite.SALSA
        )

    @property
    def needs_hello(self) -> bool:
        """Probes must be HELLO: one side does not know the other's version, or it is too old (vl1.md 5.6)."""
        if not self.replied_hello:
            return True
        return self.version.protocol < FIRST_ECHO_PROTOCOL or self.version[1:] == _HELLO_ONLY

    def may_say_hello(self, now: float) -> bool:
        """Whether one more HELLO from an address without proof is answered: one that is replayed may be anybody's."""
        if now - self.hello_window >= 1.0:
            self.hello_window = now
            self.hellos = 0
        self.hellos += 1
        return self.hellos <= MAX_HELLOS

    def is_alive(self, now: float) -> bool:
        return now - max(self.last_receive, self.known_since) < PEER_ACTIVITY

    def is_active(self, now: float) -> bool:
        return now - self.last_nontrivial < PEER_ACTIVITY

    def is_direct(self, now: float) -> bool:
        """There is a live path to it."""
        return any(entry.path.is_alive(now) for entry in self.entries)

    def is_trusted(self, now: float) -> bool:
        return now - self.last_trusted < TRUST_EXPIRATION

    def best_path(self, now: float) -> Path | None:
        """The learned path to use now, None where there is none that has not expired."""
        if now < self._best_until:
            return self._best
        best = None
        best_quality = 0
        for entry in self.entries:
            if not entry.is_expired(now):
                quality = entry.path.quality(now, entry.priority)
                if best is None or quality <= best_quality:
                    best, best_quality = entry.path, quality
        self._best = best
        self._best_until = now + CHOICE_LIFETIME
        return best

    def paths_changed(self) -> None:
        """Choose anew at the next look."""
        self._best_until = NEVER

    def expired_path(self, now: float) -> Path | None:
        """The path to fall back on when neither a direct nor a relayed one exists."""
        entries = [entry for entry in self.entries if entry.last_receive > NEVER]
        return min(entries, key=lambda e: e.path.quality(now, e.priority)).path if entries else None

    def entry_of(self, path: Path) -> PathEntry | None:
        for entry in self.entries:
            if entry.path is path:
                return entry
        return None

    def is_met_at(self, host: str) -> bool:
        """One of its paths leads to this IP address."""
        return any(entry.path.endpoint.host == host for entry in self.entries)

    def live_twin(self, path: Path, now: float) -> Path | None:
        """A live path that differs by its port only: learning both would make peers flap (vl1.md 5.3)."""
        for entry in self.entries:
            twin = entry.path
            same_host = twin.socket == path.socket and twin.endpoint.host == path.endpoint.host
            if same_host and not entry.is_expired(now) and twin.is_alive(now):
                return twin
        return None

    def learn(self, path: Path, now: float, priority: int = 1) -> list[Path]:
        """Add a confirmed path; returns those that had to make room for it (vl1.md 5.3).

        With a priority above 1 it takes the place of all lower ones, and of all to the same host (vl1.md 5.12).
        """
        host = path.endpoint.host

        def makes_room(old: PathEntry) -> bool:
            same_host = old.path.endpoint.host == host
            if priority > 1:
                return same_host or old.priority < priority
            return same_host and old.path.socket == path.socket

        gone = self.drop_entries(makes_room)
        if len(self.entries) >= MAX_PATHS:
            oldest = min(self.entries, key=lambda entry: entry.last_receive)
            gone += self.drop_entries(lambda entry: entry is oldest)
        self.entries.append(PathEntry(path, now, priority))
        self.paths_changed()
        return [entry.path for entry in gone]

    def drop_entries(self, is_gone: Callable[[PathEntry], bool]) -> list[PathEntry]:
        """Forget some paths; returns them."""
        gone = [entry for entry in self.entries if is_gone(entry)]
        if gone:
            self.entries = [entry for entry in self.entries if entry not in gone]
            self.paths_changed()
        return gone

    def best_by_scope(self, now: float) -> dict[tuple[Scope, int], Path]:
        """The best path of each scope and family (4 or 6), for introductions (vl1.md 5.10)."""
        best: dict[tuple[Scope, int], tuple[int, Path]] = {}
        for entry in self.entries:
            if entry.is_expired(now):
                continue
            path = entry.path
            quality = path.quality(now, entry.priority)
            group = (path.scope, path.endpoint.family)
            if group not in best or quality <= best[group][0]:
                best[group] = (quality, path)
        return {group: path for group, (_, path) in best.items()}

    def score(self, now: float) -> float:
        """How good an upstream it is, lower is better (vl1.md 4.4)."""
        silence = now - self.last_receive
        if silence >= PEER_ACTIVITY:
            return float(0xFFFFFFFF)
        path = self.best_path(now)
        latency = (path.latency_ms if path else None) or UNKNOWN_LATENCY
        return latency * (silence // 61 + 1)

    def __repr__(self) -> str:
        return f"<Peer {self.address}>"
