"""Deadlines of everything in a stack, in one heap.

A deadline that is moved later, as TCP does with every acknowledgement, costs an assignment: the heap keeps the
earlier time, finds it outlived when it comes up, and queues the timer again. A deadline that is moved earlier
leaves a stale entry behind; when these outnumber the timers, the heap is built anew.
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

    __slots__ = ("queued", "target", "when")

    def __init__(self, target: Timed) -> None:
        self.target = target
        self.when = inf
        self.queued = inf  # the time of its entry in the heap that counts


class TimerQueue:
    """All timers of a stack. Cost depends on how many come due, not on how many there are."""

    __slots__ = ("_order", "_timers", "entries")

    def __init__(self) -> None:
        self.entries: list[tuple[float, int, Timer]] = []
        self._order = count()
        self._timers = 0

    def set(self, timer: Timer, when: float) -> None:
        """Move the deadline; ``inf`` cancels."""
        timer.when = when
        if when < timer.queued:
            self._push(timer, when)

    def next(self) -> float | None:
        """When to call :meth:`due` next. It may be early, for a deadline that was moved; never late."""
        heap = self.entries
        while heap:
            queued, _, timer = heap[0]
            if queued == timer.queued:
                if timer.when != inf:
                    return queued
                self._forget(timer)
            heappop(heap)
        return None

    def due(self, now: float) -> list[Timer]:
        """The timers whose deadline is ``now`` or was before; they are cancelled."""
        heap = self.entries
        result = []
        while heap and heap[0][0] <= now:
            queued, _, timer = heappop(heap)
            if queued != timer.queued:
                continue
            self._forget(timer)
            if timer.when <= now:
                timer.when = inf
                result.append(timer)
            elif timer.when != inf:
                self._push(timer, timer.when)
        return result

    def __len__(self) -> int:
        """How many timers have a deadline."""
        return sum(queued == timer.queued and timer.when != inf for queued, _, timer in self.entries)

    def _push(self, timer: Timer, when: float) -> None:
        if timer.queued == inf:
            self._timers += 1
        timer.queued = when
        heappush(self.entries, (when, next(self._order), timer))
        if len(self.entries) > 2 * self._timers + 64:
            self.entries = [entry for entry in self.entries if entry[0] == entry[2].queued]
            heapify(self.entries)

    def _forget(self, timer: Timer) -> None:
        timer.queued = inf
        self._timers -= 1
