"""What other sessions tell by NOTIFY, and what they told while nobody listened.

A notification is lost when the connection is. So each change of a record is also noted with its transaction, and who
has connected again looks up those that were not finished yet when it last was sure to have heard everything.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Any, Final

from zt_async.aio.stores.postgres_pool import FAILURES, Pool
from zt_async.aio.stores.rows import key_of
from zt_async.controller.store import RecordKey
from zt_async.errors import StoreError

logger = logging.getLogger("zt_async.aio.stores")

HEARTBEAT: Final = 5.0  # s between two looks whether the connection still works
RETRY: Final = 0.2  # s
HORIZON: Final = "SELECT pg_snapshot_xmin(pg_current_snapshot())::text"
"""Transactions from this number on may not be finished yet."""
CHANGES: Final = "SELECT network, address FROM change WHERE transaction >= $1::text::xid8"


class Listener:
    """A connection that listens, and is made again when it breaks."""

    def __init__(
        self,
        pool: Pool,
        channel: str,
        name: str,
        on_change: Callable[[Iterable[RecordKey]], None],
        on_free: Callable[[], None],
    ) -> None:
        """``name`` is that of our own sessions, whose changes are no news."""
        self._pool = pool
        self._channel = channel
        self._name = name
        self._on_change = on_change
        self._on_free = on_free
        self._horizons: list[str] = []  # the last two that were asked for
        self._listening = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Returns when it listens. Raises StoreError."""
        self._task = asyncio.get_running_loop().create_task(self._run())
        try:
            async with asyncio.timeout(self._pool.patience):
                await self._listening.wait()
        except TimeoutError:
            raise StoreError("the database takes no connection that listens for changes") from None

    async def stop(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    def loaded(self, horizon: str) -> None:
        """Records were loaded; what is before that horizon is among them."""
        if not self._horizons:
            self._horizons = [horizon]

    async def _run(self) -> None:
        failing = False
        while True:
            try:
                connection = await self._pool.connect()
                try:
                    failing = False
                    await self._listen(connection)
                finally:
                    connection.terminate()
            except FAILURES as error:
                if not failing:
                    logger.warning("cannot hear what others change: %s", error or type(error).__name__)
                failing = True
            await asyncio.sleep(RETRY)

    async def _listen(self, connection: Any) -> None:
        """Returns when the connection is lost."""
        lost = asyncio.Event()
        connection.add_termination_listener(lambda _: lost.set())
        await connection.add_listener(self._channel, self._on_notification)
        if self._horizons:
            self._on_change([key_of(*row) for row in await connection.fetch(CHANGES, self._horizons[0])])
        self._on_free()  # it may have become free meanwhile
        self._listening.set()
        while not lost.is_set():
            horizon = await connection.fetchval(HORIZON)
            # A transaction becomes visible a moment before it is told, so only the one before is safe to go by.
            self._horizons = [*self._horizons[-1:], horizon]
            try:
                async with asyncio.timeout(HEARTBEAT):
                    await lost.wait()
            except TimeoutError:
                continue

    def _on_notification(self, _: object, __: int, ___: str, payload: str) -> None:
        what, _, origin = payload.partition(" ")
        if what == "free":
            self._on_free()
        elif origin != self._name:
            network, _, address = what.partition("/")
            self._on_change([key_of(network, address)])
