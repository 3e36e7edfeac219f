"""The path records of a node: those its peers are reached through, and those of strangers, for a while."""

from __future__ import annotations

from collections.abc import Set
from typing import Final

from zt_async.types import Endpoint
from zt_async.vl1.path import Path, PathPolicy

MAX_LEARNED: Final = 32_768
MAX_VISITORS: Final = 1024


class PathTable:
    """Finds the record for a local socket and a remote endpoint. Bounded."""

    __slots__ = ("_policy", "learned", "visitors")

    def __init__(self, policy: PathPolicy) -> None:
        self._policy = policy
        self.learned: dict[tuple[int, Endpoint], Path] = {}
        """Those that peers are reached through."""
        self.visitors: dict[tuple[int, Endpoint], Path] = {}
        """Those that something authentic came over, and that did not prove themselves (yet)."""

    def find(self, socket: int, remote: Endpoint) -> Path:
        """The record; a new one is not kept, as it may be anybody's."""
        key = (socket, remote)
        path = self.learned.get(key) or self.visitors.get(key)
        if path is None:
            path = Path(socket, remote)
            path.trusted_path_ids = self._policy.trusted_path_ids(remote)
        return path

    def is_learned(self, path: Path) -> bool:
        """Peers are reached through it."""
        return (path.socket, path.endpoint) in self.learned

    def keep(self, path: Path) -> Path:
        """Keep a record for a while, because something authentic came over it; returns the one that is there."""
        key = (path.socket, path.endpoint)
        known = self.learned.get(key) or self.visitors.get(key)
        if known is not None:
            return known
        if len(self.visitors) >= MAX_VISITORS:
            del self.visitors[next(iter(self.visitors))]
        self.visitors[key] = path
        return path

    def learn(self, path: Path) -> bool:
        """Keep a record as long as peers use it; False if there are too many."""
        key = (path.socket, path.endpoint)
        if key not in self.learned:
            if len(self.learned) >= MAX_LEARNED:
                return False
            self.visitors.pop(key, None)
            self.learned[key] = path
        return True

    def forget(self, used: Set[Path], idle: float, now: float) -> None:
        """Drop the records that are not ``used`` and were silent for ``idle`` seconds."""
        for paths in (self.learned, self.visitors):
            for key, path in list(paths.items()):
                if path not in used and now - path.last_receive >= idle:
                    del paths[key]
