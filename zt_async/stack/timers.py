"""Deadlines of everything in a stack, in one heap.

A deadline that is moved later, as TCP does with every acknowledgement, costs an assignment: the heap keeps
the earlier time, finds it outlived when it comes up, and queues the timer again. A deadline that is moved
earlier leaves a stale entry behind; when these outnumber the timers, the heap is built anew.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from itertools import count
from math import inf
from typing import Protocol


class Timed(Protocol):
    """Whatever has a timer."""

    def handle_timer(self, now: float) -> None: ...


class Timer:
    """One moving deadline, in monotonic seconds; ``inf`` is none."""

    __slots__ = ("entry", "queued", "target", "when")

    def __init__(self, target: Timed) -> None:
        self.target = target
        self.when = inf
        self.queued = inf
        """When its entry in the heap comes up."""
        self.entry = -1
        """The number of that entry; others are stale."""


class TimerQueue:
    """All timers of a stack. Cost depends on how many come due, not on how many there are."""

    __slots__ = ("_numbers", "_queued", "entries")

    def __init__(self) -> None:
        self.entries: list[tuple[float, int, Timer]] = []
        self._numbers = count()
        self._queued = 0  # timers that have an entry

    def __len__(self) -> int:
        """How many timers have a deadline."""
        return sum(number == timer.entry and timer.when != inf for _, number, timer in self.entries)

    def set(self, timer: Timer, when: float) -> None:
        """Move the deadline; ``inf`` cancels."""
        timer.when = when
        if when < timer.queued:
            self._push(timer)

    def next(self) -> float | None:
        """When to call :meth:`due` next. It may be early, for a deadline that was moved; never late."""
        entries = self.entries
        while entries:
            queued, number, timer = entries[0]
            if number == timer.entry:
                if timer.when != inf:
                    return queued
                self._forget(timer)
            heappop(entries)
        return None

    def due(self, now: float) -> list[Timer]:
        """The timers whose deadline is ``now`` or was before; they are cancelled."""
        entries = self.entries
        result = []
        while entries and entries[0][0] <= now:
            _, number, timer = heappop(entries)
            if number != timer.entry:
                continue
            self._forget(timer)
            if timer.when <= now:
                timer.when = inf
                result.append(timer)
            elif timer.when != inf:
                self._push(timer)
                entries = self.entries
        return result

    def _push(self, timer: Timer) -> None:
        if timer.entry < 0:
            self._queued += 1
        timer.queued = timer.when
        timer.entry = next(self._numbers)
        heappush(self.entries, (timer.queued, timer.entry, timer))
        if len(self.entries) > 2 * self._queued + 64:
            self.entries = [entry for entry in self.entries if entry[1] == entry[2].entry]
            heapify(self.entries)

    def _forget(self, timer: Timer) -> None:
        timer.queued = inf
        timer.entry = -1
        self._queued -= 1
