"""A store that ends with its process, for tests and for networks that need not outlive it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext

from zt_async.aio.stores.feed import Feed
from zt_async.controller.records import MemberRecord, NetworkRecord
from zt_async.controller.store import Change, RecordKey, Snapshot, Tables
from zt_async.types import NodeAddress


class MemoryStore:
    """Records in memory. What is committed through one view of it is news for the watchers of the others."""

    def __init__(self) -> None:
        self._tables = Tables()
        self._views: list[MemoryStore] = [self]
        self._feed = Feed()

    def view(self) -> MemoryStore:
        """The same records, as another process would have them."""
        other = MemoryStore()
        other._tables, other._views = self._tables, self._views
        self._views.append(other)
        return other

    async def open(self) -> None:
        self._feed = Feed()

    async def close(self) -> None:
        """End what watches; the records stay for as long as the object does."""
        self._feed.close()

    def claim(self, controller: NodeAddress) -> AbstractAsyncContextManager[None]:
        """Nothing to do: whoever shares the records has got them from here."""
        return nullcontext()

    async def load(self, controller: NodeAddress) -> Snapshot:
        self._feed.expect_watcher(controller)
        return self._tables.snapshot(controller)

    async def commit(self, changes: Sequence[Change], fence: int | None = None) -> None:
        keys = self._tables.apply(changes)
        for view in self._views:
            if view is not self:
                view._feed.tell(keys)

    def watch(self, controller: NodeAddress) -> AsyncIterator[Sequence[RecordKey]]:
        return self._feed.watch(controller)

    async def read(self, keys: Sequence[RecordKey]) -> list[NetworkRecord | MemberRecord | None]:
        return [self._tables.get(key) for key in keys]
