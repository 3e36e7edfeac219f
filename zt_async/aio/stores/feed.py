"""What others changed, on its way from a store to those who watch."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence

from zt_async.aio.stores.rows import by_controller
from zt_async.controller.store import RecordKey
from zt_async.types import NodeAddress


class Feed:
    """Names of changed records for the watchers of each controller. Each name waits once, however often it comes."""

    def __init__(self) -> None:
        self._watchers: dict[NodeAddress, list[_Watcher]] = {}
        self._unwatched: dict[NodeAddress, dict[RecordKey, None]] = {}
        self._closed = False

    @property
    def is_wanted(self) -> bool:
        """Somebody has loaded records, or watches them."""
        return bool(self._watchers or self._unwatched)

    def expect_watcher(self, controller: NodeAddress) -> None:
        """The records of a controller are about to be loaded: keep what changes from now on for its first watcher."""
        if controller not in self._watchers:
            self._unwatched.setdefault(controller, {})

    def tell(self, keys: Iterable[RecordKey]) -> None:
        """These records were changed, or deleted."""
        for controller, ours in by_controller(keys).items():
            waiting = dict.fromkeys(ours)
            for watcher in self._watchers.get(controller, ()):
                watcher.keys |= waiting
                watcher.woken.set()
            if controller in self._unwatched:
                self._unwatched[controller] |= waiting

    def close(self) -> None:
        """Nothing more will come."""
        self._closed = True
        for watchers in self._watchers.values():
            for watcher in watchers:
                watcher.woken.set()

    async def watch(self, controller: NodeAddress) -> AsyncIterator[Sequence[RecordKey]]:
        """The changes, in batches; ends when the feed is closed."""
        watcher = _Watcher(self._unwatched.pop(controller, {}))
        self._watchers.setdefault(controller, []).append(watcher)
        try:
            while True:
                if watcher.keys:
                    keys, watcher.keys = list(watcher.keys), {}
                    yield keys
                elif self._closed:
                    return
                else:
                    watcher.woken.clear()
                    await watcher.woken.wait()
        finally:
            self._watchers[controller].remove(watcher)
            if not self._watchers[controller]:
                del self._watchers[controller]


class _Watcher:
    def __init__(self, keys: dict[RecordKey, None]) -> None:
        self.keys = keys
        self.woken = asyncio.Event()
