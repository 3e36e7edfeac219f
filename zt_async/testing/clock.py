"""Simulated time, and what a node takes from outside while it lives in it."""

from __future__ import annotations

import random

from zt_async.context import Context


class SimClock:
    """Time that stands still until somebody moves it. Shared by all that is simulated together."""

    __slots__ = ("_epoch_ms", "now")

    def __init__(self, now: float = 0.0, epoch_ms: int = 1_700_000_000_000) -> None:
        self.now = now
        """Monotonic seconds."""
        self._epoch_ms = epoch_ms - round(now * 1000)

    def wall_ms(self) -> int:
        """Milliseconds since the Unix epoch; moves with ``now``."""
        return self._epoch_ms + int(self.now * 1000)

    def advance_to(self, when: float) -> None:
        """Move to ``when``; never back."""
        self.now = max(self.now, when)


def seeded_context(seed: int | str, clock: SimClock) -> Context:
    """A node's context in which every key and packet ID follows from ``seed``. Never for real use."""
    return Context(random_bytes=random.Random(seed).randbytes, wall_ms=clock.wall_ms)
