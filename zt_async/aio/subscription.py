"""Asynchronous iterators of what a node tells: one bounded queue for each reader."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Generic, Self, TypeVar

from zt_async.events import Event, EventsLost

T = TypeVar("T")


class Subscription(Generic[T]):
    """A bounded queue with one reader, who loses the oldest entries when it falls behind, and slows nobody."""

    def __init__(self, limit: int) -> None:
        self._queue: deque[T] = deque(maxlen=limit)
        self._lost = 0
        self._ended = False
        self._waiter: asyncio.Future[None] | None = None

    @property
    def is_ended(self) -> bool:
        return self._ended

    def put(self, *entries: T) -> None:
        """Add entries; never waits."""
        if self._ended:
            return
        queue = self._queue
        for entry in entries:
            self._lost += len(queue) == queue.maxlen
            queue.append(entry)
        self._wake()

    def end(self) -> None:
        """No more comes: the iteration ends after what is queued."""
        self._ended = True
        self._wake()

    def close(self) -> None:
        """Receive no more; what is queued is dropped."""
        self._queue.clear()
        self._lost = 0
        self.end()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _wait(self) -> None:
        """Wait until something is queued. Raises StopAsyncIteration at the end."""
        while not self._queue:
            if self._ended:
                raise StopAsyncIteration
            if self._waiter is not None:
                raise RuntimeError("another task waits for what this stream brings next: give each its own")
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class EventStream(Subscription[Event]):
    """The events of a node from the moment this was made, for one reader.

    Ends when the node has stopped. A reader that falls behind by more than the queue holds loses the oldest
    events, is told so by an EventsLost in their place, and slows nobody else. It receives for as long as somebody
    holds it; ``close``, or leaving a ``with`` block, ends that earlier.
    """

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        await self._wait()
        if self._lost:
            lost, self._lost = self._lost, 0
            return EventsLost(count=lost)
        return self._queue.popleft()
