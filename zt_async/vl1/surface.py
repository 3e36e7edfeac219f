"""Self-awareness: the external addresses under which other nodes see this one. vl1.md 5.8."""

from __future__ import annotations

from typing import Final, NamedTuple

from zt_async.types import Endpoint
from zt_async.vl1.path import Path
from zt_async.wire.inetaddress import Scope, ip_scope

ENTRY_TIMEOUT: Final = 600.0  # s
MAX_ENTRIES: Final = 1024
MAX_ENTRIES_PER_REPORTER: Final = 16


class _Key(NamedTuple):
    reporter: int
    socket: int
    seen_from: Endpoint
    scope: Scope


class _Report(NamedTuple):
    surface: Endpoint
    trusted: bool
    at: float


class SelfAwareness:
    """Reports of our own address, by who made them and about which socket."""

    def __init__(self) -> None:
        self._reports: dict[_Key, _Report] = {}

    def report(
        self, reporter: int, path: Path, surface: Endpoint, *, trusted: bool, now: float
    ) -> Scope | None:
        """Take a report that came directly over ``path``.

        Returns the scope in which our address has changed according to a trusted reporter: the paths of that
        scope have to prove themselves again. None in all other cases.
        """
        scope = ip_scope(surface.ip)
        if scope != path.scope or scope in (Scope.NONE, Scope.MULTICAST, Scope.LOOPBACK):
            return None
        key = _Key(reporter, path.socket, path.endpoint, scope)
        old = self._reports.pop(key, None)
        if old is None:
            self._make_room(reporter)
        self._reports[key] = _Report(surface, trusted, now)
        if not trusted or old is None or now - old.at >= ENTRY_TIMEOUT or old.surface.host == surface.host:
            return None
        for other in [k for k in self._reports if k.scope == scope and k.reporter != reporter]:
            del self._reports[other]
        return scope

    def _make_room(self, reporter: int) -> None:
        """Nobody gets in more than a few reports, so that nobody can drown those of the others."""
        own = [key for key in self._reports if key.reporter == reporter]
        if len(own) >= MAX_ENTRIES_PER_REPORTER:
            del self._reports[own[0]]
        elif len(self._reports) >= MAX_ENTRIES:
            victim = next((key for key, report in self._reports.items() if not report.trusted), None)
            del self._reports[victim or next(iter(self._reports))]

    def endpoints(self, now: float) -> list[Endpoint]:
        """The distinct addresses reported lately, those that roots reported first."""
        recent = [report for report in self._reports.values() if now - report.at < ENTRY_TIMEOUT]
        recent.sort(key=lambda report: not report.trusted)
        return list(dict.fromkeys(report.surface for report in recent))

    def expire(self, now: float) -> None:
        for key in [k for k, r in self._reports.items() if now - r.at >= ENTRY_TIMEOUT]:
            del self._reports[key]
