"""Group commit: changes that are asked for while others are being written share the next transaction."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")

MAX_GROUP = 512  # commits of one transaction: one that waits behind them waits for milliseconds


class GroupCommit(Generic[T]):
    """Hands commits to ``write`` in groups, one group at a time and each in the order of arrival.

    ``write`` returns for each commit None or the error that it has. What it raises is the error of the whole group.
    """

    def __init__(self, write: Callable[[list[T]], Awaitable[Sequence[Exception | None]]]) -> None:
        self._write = write
        self._group: list[T] = []  # that commits still join; empty where the next one begins another
        self._task: asyncio.Task[Sequence[Exception | None]] | None = None  # of the latest group

    async def commit(self, work: T) -> None:
        """Returns when it is written. It is written even where the caller stops waiting."""
        if self._task is None or not self._group or len(self._group) == MAX_GROUP:
            self._group = []
            self._task = asyncio.get_running_loop().create_task(self._run(self._task, self._group))
            self._task.add_done_callback(_look)  # also where nobody waits any more
        place = len(self._group)
        self._group.append(work)
        errors = await asyncio.shield(self._task)
        error = errors[place]
        if error is not None:
            raise error

    async def settle(self) -> None:
        """Wait until all that was asked for is written."""
        while self._task is not None and not self._task.done():
            await asyncio.wait([self._task])

    async def _run(
        self, before: asyncio.Task[Sequence[Exception | None]] | None, group: list[T]
    ) -> Sequence[Exception | None]:
        if before is not None:
            await asyncio.wait([before])
        if self._group is group:
            self._group = []
        return await self._write(group)


def _look(task: asyncio.Task[Sequence[Exception | None]]) -> None:
    """Who waits is told of the error; asyncio need not be."""
    if not task.cancelled():
        task.exception()
