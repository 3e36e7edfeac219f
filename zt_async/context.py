"""What the core takes from outside instead of reading clocks and random sources itself (DESIGN 3)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(slots=True)
class Context:
    """The two things besides datagrams, calls and ``now`` that a node depends on."""

    random_bytes: Callable[[int], bytes]
    """``n`` bytes fit for keys (``secrets.token_bytes``); a seeded source makes a run repeatable."""

    wall_ms: Callable[[], int]
    """Milliseconds since the Unix epoch; goes into HELLO, credentials and worlds, never into a timer."""

    _pool: bytes = field(default=b"", repr=False)
    _used: int = field(default=0, repr=False)

    def packet_id(self) -> bytes:
        """Eight random bytes. Drawn from a pool, because a system call per packet would show."""
        used = self._used
        if used == len(self._pool):
            self._pool = self.random_bytes(4096)
            used = 0
        self._used = used + 8
        return self._pool[used : used + 8]

    def random_below(self, bound: int) -> int:
        """A uniform integer in ``range(bound)``, ``bound`` at least 1."""
        size = (bound.bit_length() + 7) // 8 + 8  # 64 spare bits leave no bias worth speaking of
        return int.from_bytes(self.random_bytes(size), "big") % bound
