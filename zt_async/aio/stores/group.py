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
        self._waiting: list[tuple[T, asyncio.Future[None]]] = []
        self._task: asyncio.Task[None] | None = None

    async def commit(self, work: T) -> None:
        """Returns when it is written. It is written even where the caller stops waiting."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        self._waiting.append((work, done))
        if self._task is None:
            self._task = loop.create_task(self._run())
        await done

    async def settle(self) -> None:
        """Wait until all that was asked for is written."""
        while self._task is not None:
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        try:
            while group := self._waiting[:MAX_GROUP]:
                del self._waiting[:MAX_GROUP]
                await self._write_group(group)
        finally:
            self._task = None
            for _, done in self._waiting:  # only where this task was cancelled with the loop
                done.cancel()
            self._waiting.clear()

    async def _write_group(self, group: list[tuple[T, asyncio.Future[None]]]) -> None:
        errors: Sequence[Exception | None]
        try:
            errors = await self._write([work for work, _ in group])
        except Exception as failure:
            errors = [failure] * len(group)
        except asyncio.CancelledError:
            for _, done in group:
                done.cancel()
            raise
        for (_, done), error in zip(group, errors, strict=True):
            if done.done():
                continue  # its caller waits no more
            if error is None:
                done.set_result(None)
            else:
                done.set_exception(error)
