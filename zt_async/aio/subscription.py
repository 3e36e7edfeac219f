"""The asynchronous iterator of events: one bounded queue for each subscriber."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Self

from zt_async.events import Event, EventsLost


class EventStream:
    """The events of a node from the moment this was made, for one reader.

    Ends when the node has stopped. A reader that falls behind by more than the queue holds loses the oldest
    events, is told so by an EventsLost in their place, and slows nobody else. It receives for as long as somebody
    holds it; ``close``, or leaving a ``with`` block, ends that earlier.
    """

    def __init__(self, limit: int) -> None:
        self._events: deque[Event] = deque()
        self._limit = limit
        self._lost = 0
        self._ended = False
        self._waiter: asyncio.Future[None] | None = None

    def put(self, event: Event) -> None:
        """Add an event; never waits."""
        if self._ended:
            return
        if len(self._events) >= self._limit:
            self._events.popleft()
            self._lost += 1
        self._events.append(event)
        self._wake()

    def end(self) -> None:
        """No more events: the iteration ends after those that are queued."""
        self._ended = True
        self._wake()

    def close(self) -> None:
        """Receive no more; what is queued is dropped."""
        self._events.clear()
        self._lost = 0
        self.end()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        while not self._events:
            if self._ended:
                raise StopAsyncIteration
            if self._waiter is not None:
                raise RuntimeError("another task waits for the next event of this stream: give each its own")
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        if self._lost:
            lost, self._lost = self._lost, 0
            return EventsLost(count=lost)
        return self._events.popleft()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
