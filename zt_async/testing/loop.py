"""An event loop on simulated time: it never sleeps, it moves the clock to the next timer.

net = SimNet(seed=7)
run(main(net), net.clock)
"""

from __future__ import annotations

import asyncio
import contextvars
import math
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar, TypeVarTuple

from zt_async.testing.clock import SimClock

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class _ClockSelector(selectors.DefaultSelector):
    """Looks at files without waiting, and has simulated time pass instead."""

    def __init__(self, let_pass: Callable[[float | None], None]) -> None:
        super().__init__()
        self._let_pass = let_pass

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready and timeout != 0:
            self._let_pass(timeout)
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """asyncio's loop on a ``SimClock``: an hour of sleep takes no time, and a deadlock is a RuntimeError.

    What is meant for threads (``asyncio.to_thread``, files, resolving names) runs in the loop itself, at once:
    so a run is the same every time. Sockets and pipes work within the process, but time does not wait for
    anybody outside of it.
    """

    def __init__(self, clock: SimClock | None = None, *, limit: float = math.inf) -> None:
        """After ``limit`` simulated seconds the loop gives up with a TimeoutError."""
        self.clock = clock or SimClock()
        self._limit = limit
        self._give_up_at = self.clock.now + limit
        super().__init__(_ClockSelector(self._let_pass))

    def time(self) -> float:
        """Simulated monotonic seconds."""
        return self.clock.now

    def run_in_executor(self, executor: object, func: Callable[[*Ts], T], *args: *Ts) -> asyncio.Future[T]:
        """Call ``func`` now, in whatever executor's place."""
        future: asyncio.Future[T] = self.create_future()
        try:
            result = contextvars.copy_context().run(func, *args)
        except Exception as error:
            future.set_exception(error)
        else:
            future.set_result(result)
        return future

    def _let_pass(self, timeout: float | None) -> None:
        """Let ``timeout`` seconds pass in which nothing happens; None is for ever."""
        if timeout is None:
            raise RuntimeError(f"deadlock at {self.clock.now:.3f} s: nothing can wake {self._waiting()}")
        if self.clock.now + timeout > self._give_up_at:
            self._give_up_at = math.inf  # let the tasks clean up
            raise TimeoutError(f"not done after {self._limit} simulated seconds: {self._waiting()}")
        self.clock.now += timeout

    def _waiting(self) -> str:
        return ", ".join(sorted(map(_place, asyncio.all_tasks(self)))) or "the loop"


def _place(task: asyncio.Task[Any]) -> str:
    """Where a task waits."""
    coroutine: Any = task.get_coro()
    while hasattr(inner := getattr(coroutine, "cr_await", None), "cr_await"):
        coroutine = inner
    frame = coroutine.cr_frame if hasattr(coroutine, "cr_frame") else coroutine.gi_frame
    return f"{task.get_name()} (in {coroutine.__qualname__}, line {frame.f_lineno})"


def run(main: Coroutine[Any, Any, T], clock: SimClock | None = None, *, limit: float = 3600.0) -> T:
    """``asyncio.run`` on simulated time. Give it the ``clock`` of the SimNet that ``main`` uses.

    Raises RuntimeError when nothing can happen any more, and TimeoutError when ``main`` has not ended after
    ``limit`` simulated seconds: a wait for ever is no deadlock as long as anything else goes on.
    """
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(clock, limit=limit)) as runner:
        return runner.run(main)
