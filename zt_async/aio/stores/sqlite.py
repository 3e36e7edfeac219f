"""The embedded store: an SQLite file, for one controller or several on one machine.

SQLite's calls block, so a thread of the store's own makes them; with one hop to it for a whole group of commits, which
a wrapper of single statements (aiosqlite) would make for each of them. Several processes can use one file, each
controller one of them; what others write is noticed within ``poll_interval``.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TypeVar

from zt_async.aio.stores.feed import Feed
from zt_async.aio.stores.group import GroupCommit
from zt_async.aio.stores.lease import IdentityStatus, Lease, take
from zt_async.aio.stores.sqlite_database import Database
from zt_async.controller.records import MemberRecord, NetworkRecord
from zt_async.controller.store import Change, RecordKey, Snapshot
from zt_async.crypto.identity import Identity
from zt_async.errors import StoreError
from zt_async.types import NodeAddress

logger = logging.getLogger("zt_async.aio.stores")

POLL_INTERVAL = 0.2  # s
T = TypeVar("T")


class SqliteStore:
    """Keeps records in an SQLite file, which is made if it is missing. Implements ``Store`` and ``Leases``.

    A lease on an identity ends with its process, and never before: the operating system frees it.
    """

    def __init__(self, path: str | os.PathLike[str], *, poll_interval: float = POLL_INTERVAL) -> None:
        """``poll_interval`` is in seconds: how often to look for what other processes wrote."""
        if not poll_interval > 0:
            raise ValueError(f"poll_interval is in seconds and more than 0, not {poll_interval}")
        self.path = Path(path).expanduser()
        self._poll_interval = poll_interval
        self._database = Database(self.path)
        self._feed = Feed()
        self._group = GroupCommit(self._write)
        self._executor: ThreadPoolExecutor | None = None
        self._poller: asyncio.Task[None] | None = None

    async def open(self) -> None:
        if self._executor is not None:
            raise StoreError(f"{self.path} is open already")
        self._feed = Feed()
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="zt_async store")
        opening = asyncio.ensure_future(self._run(self._database.open))
        try:
            await asyncio.shield(opening)
        except BaseException:
            try:
                with suppress(StoreError):  # the thread cannot be stopped in the middle
                    await opening
                    await self._run(self._database.close)
            finally:
                self._executor.shutdown(wait=False)
                self._executor = None
            raise
        self._poller = asyncio.get_running_loop().create_task(self._poll())

    async def close(self) -> None:
        if self._executor is None or self._poller is None:
            return
        self._poller.cancel()
        self._poller = None
        self._feed.close()
        await self._group.settle()
        try:
            await self._run(self._database.close)
        finally:
            self._executor.shutdown(wait=False)
            self._executor = None

    # Records

    async def load(self, controller: NodeAddress) -> Snapshot:
        self._feed.expect_watcher(controller)
        return await self._run(self._database.load, controller)

    async def read(self, keys: Sequence[RecordKey]) -> list[NetworkRecord | MemberRecord | None]:
        return await self._run(self._database.read, keys)

    async def commit(self, changes: Sequence[Change], fence: int | None = None) -> None:
        self._check_open()
        await self._group.commit((changes, fence))

    def watch(self, controller: NodeAddress) -> AsyncIterator[Sequence[RecordKey]]:
        return self._feed.watch(controller)

    async def _write(self, group: list[tuple[Sequence[Change], int | None]]) -> list[StoreError | None]:
        errors, others = await self._run(self._database.write, group)
        self._feed.tell(others)
        return errors

    async def _poll(self) -> None:
        failing = False
        while True:
            await asyncio.sleep(self._poll_interval)
            if self._feed.is_wanted:
                try:
                    self._feed.tell(await self._run(self._database.look))
                    failing = False
                except StoreError as error:
                    if not failing:
                        logger.error("cannot see what others change: %s", error)
                    failing = True

    # Identities

    @asynccontextmanager
    async def claim(self, controller: NodeAddress) -> AsyncIterator[None]:
        """Be the only one to control the networks of that node with this file. Raises StoreError if somebody is."""
        await self._run(self._database.lock, controller)
        try:
            yield
        finally:
            if self._executor is not None:
                await self._run(self._database.unlock, controller)

    async def add_identity(self, identity: Identity) -> None:
        await self._run(self._database.add_identity, identity)

    async def remove_identity(self, address: NodeAddress) -> bool:
        return await self._run(self._database.remove_identity, address)

    async def identities(self) -> list[IdentityStatus]:
        return await self._run(self._database.identities)

    async def acquire(self, address: NodeAddress | None = None) -> Lease:
        while True:
            # The thread cannot be stopped in the middle.
            lease = await take(self._run(self._database.acquire, address), self.release, None)
            if lease is not None:
                return lease
            await asyncio.sleep(self._poll_interval)

    async def renew(self, lease: Lease) -> None:
        await self._run(self._database.check, lease)

    async def release(self, lease: Lease) -> None:
        await self._run(self._database.release, lease)

    # The thread

    def _check_open(self) -> ThreadPoolExecutor:
        if self._executor is None:
            raise StoreError(f"{self.path} is not open")
        return self._executor

    async def _run(self, work: Callable[..., T], *arguments: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._check_open(), work, *arguments)
