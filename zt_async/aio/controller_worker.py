"""What runs a controller: requests in, records to the store, and only then answers out.

Three tasks share the core. One writes: it decides on what needs a change of records, a batch at a time, and commits
it. One sends, a few messages for each turn of the loop, because a configuration costs signatures. One watches what
others change in the store.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any, Protocol, TypeVar

from zt_async.controller.batch import Batch
from zt_async.controller.core import ControllerCore
from zt_async.controller.messages import Message, Request
from zt_async.controller.records import MemberRecord, NetworkRecord
from zt_async.controller.store import RecordKey, Snapshot, Store
from zt_async.errors import Conflict, ControllerError, FenceLost, StoreError, ZeroTierError
from zt_async.events import Event

logger = logging.getLogger("zt_async.controller")

MAX_EDITS = 128  # of a batch
MAX_CONFLICTS = 8  # after which a batch is given up
MESSAGES_PER_TURN = 8  # each takes up to half a millisecond
RECORDS_PER_TURN = 64  # that are taken over from the store
SEEN_INTERVAL = 30.0  # s between two times that it is written how members were seen
SEEN_PER_COMMIT = 256
TRY_AGAIN = 1.0  # s after a failure of the store

T = TypeVar("T")


class Door(Protocol):
    """The way from a controller to the nodes."""

    def now(self) -> float:
        """The time that cores are given, in seconds."""

    def send(self, messages: Sequence[Message]) -> None:
        """Send messages."""

    def tell(self, events: Iterable[Event]) -> None:
        """Tell applications."""

    def failed(self, error: Exception) -> None:
        """The controller cannot go on."""


@dataclass(slots=True, eq=False)
class _Edit:
    work: Callable[[Batch], Any]
    done: asyncio.Future[Any]
    result: Any = None

    def fail(self, error: Exception) -> None:
        if not self.done.done():
            self.done.set_exception(error)


class Worker:
    """Runs a core on a store."""

    def __init__(self, core: ControllerCore, store: Store, fence: int | None, door: Door) -> None:
        self.core = core
        self._store = store
        self._fence = fence
        self._door = door
        self._loop = asyncio.get_running_loop()
        self._edits: deque[_Edit] = deque()
        self._foreign: dict[RecordKey, None] = {}  # what others changed, to be read
        self._is_stale = False  # what the store has is not known
        self._to_write = asyncio.Event()
        self._to_send = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = inf
        self._tasks: list[asyncio.Task[None]] = []
        self._ended: Exception | None = None

    # Life

    async def start(self) -> None:
        """Take over what the store has, and begin to serve. Raises StoreError."""
        core = self.core
        snapshot = await self._store.load(core.identity.address)
        core.load(Snapshot(networks=snapshot.networks))
        for start in range(0, len(snapshot.members), RECORDS_PER_TURN):
            core.load(Snapshot(members=snapshot.members[start : start + RECORDS_PER_TURN]))
            await asyncio.sleep(0)
        core.load(Snapshot(seen=snapshot.seen))
        core.start(self._door.now())
        for work in (self._write(), self._send(), self._watch(), self._save()):
            task = self._loop.create_task(work)
            task.add_done_callback(self._task_ended)
            self._tasks.append(task)
        self._arm()

    async def stop(self) -> None:
        """Finish what is being written, and write how members were seen. What was not begun fails."""
        had_failed = self._ended is not None
        self._end(ControllerError("the controller was closed"))
        for task in self._tasks[1:]:  # all but the one that writes
            task.cancel()
        await asyncio.wait(self._tasks)
        if not had_failed:
            with contextlib.suppress(StoreError):
                await self._save_seen()

    def _end(self, error: Exception) -> None:
        if self._ended is None:
            self._ended = error
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._edits:
            self._edits.popleft().fail(error)
        self._to_write.set()

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if isinstance(error, Exception) and self._ended is None:
            failed = ControllerError(f"the controller came to an end: {error or type(error).__name__}")
            failed.__cause__ = error
            self._end(failed)
            for other in self._tasks:
                other.cancel()
            self._door.failed(error)

    def check(self) -> None:
        """Raises ControllerError once this has ended."""
        if self._ended is not None:
            raise self._ended

    @property
    def is_ready(self) -> bool:
        """It runs, and knows what the store has."""
        return self._ended is None and not self._is_stale

    # Entries

    def receive(self, requests: Iterable[Request]) -> None:
        """Take requests of nodes."""
        if self._ended is None:
            self.core.receive_requests(requests, self._door.now())
            self._follow_up()

    async def edit(self, work: Callable[[Batch], T]) -> T:
        """Make an edit, and wait until it is committed. Raises what it raises, StoreError, and ControllerError.

        When a StoreError says that the store cannot be reached, it may still have been made; likewise when the caller
        stops waiting.
        """
        self.check()
        edit = _Edit(work, self._loop.create_future())
        self._edits.append(edit)
        self._to_write.set()
        result: T = await edit.done
        return result

    def _follow_up(self) -> None:
        """See to what the core has made."""
        events = self.core.take_events()
        if events:
            self._door.tell(events)
        if self.core.has_messages:
            self._to_send.set()
        if self.core.has_undecided:
            self._to_write.set()
        self._arm()

    def _arm(self) -> None:
        at = self.core.next_timer()
        if self._timer is not None:
            if self._timer_at <= at:
                return
            self._timer.cancel()
        if self._ended is None:
            self._timer_at = at
            self._timer = self._loop.call_later(max(at - self._door.now(), 0.0), self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self.core.handle_timer(max(self._timer_at, self._door.now()))
        self._follow_up()

    # Writing

    async def _write(self) -> None:
        while self._ended is None:
            await self._to_write.wait()
            self._to_write.clear()
            while self._ended is None and (
                self._edits or self._foreign or self._is_stale or self.core.has_undecided
            ):
                edits = [self._edits.popleft() for _ in range(min(len(self._edits), MAX_EDITS))]
                try:
                    await self._refresh()
                    await self._write_batch(edits)
                except StoreError as error:
                    for edit in edits:
                        edit.fail(error)
                    if isinstance(error, FenceLost):
                        raise
                    if not self._is_stale:
                        logger.error("controller %s cannot write: %s", self.core.identity.address, error)
                    self._is_stale = True
                    self.core.drop_undecided()  # nodes ask again
                    self._loop.call_later(TRY_AGAIN, self._to_write.set)
                    break
                finally:
                    for edit in edits:
                        edit.fail(self._ended or ControllerError("the controller came to an end"))
                self._follow_up()
                await asyncio.sleep(0)

    async def _write_batch(self, edits: list[_Edit]) -> None:
        """Decide and commit. Raises StoreError, Conflict if others are quicker time and again."""
        for attempt in itertools.count():
            batch = self.core.begin()
            edits = [edit for edit in edits if not edit.done.done() and _make(edit, batch)]
            changes = batch.changes()
            try:
                if changes:
                    await self._store.commit(changes, self._fence)
            except Conflict:
                self.core.abort(batch, again=True)
                if attempt == MAX_CONFLICTS:
                    raise
                self._foreign |= dict.fromkeys(batch.records)
                if attempt:  # the conflict is with a record that is not in the batch
                    self._is_stale = True
                await self._refresh()
            except BaseException:
                self.core.abort(batch, again=False)
                raise
            else:
                self.core.finish(batch, self._door.now())
                for edit in edits:
                    if not edit.done.done():
                        edit.done.set_result(edit.result)
                return

    async def _refresh(self) -> None:
        """Take over what others changed. Raises StoreError."""
        if self._is_stale:
            self._foreign.clear()
            snapshot = await self._store.load(self.core.identity.address)
            await self._replace(self.core.stored(snapshot))
            self._is_stale = False
        while self._foreign:
            keys, self._foreign = list(self._foreign), {}
            records = await self._store.read(keys)
            await self._replace(dict(zip(keys, records, strict=True)))

    async def _replace(self, records: Mapping[RecordKey, NetworkRecord | MemberRecord | None]) -> None:
        keys = sorted(records, key=lambda key: key.address is not None)
        for start in range(0, len(keys), RECORDS_PER_TURN):
            some = {key: records[key] for key in keys[start : start + RECORDS_PER_TURN]}
            self.core.replace(some, self._door.now())
            self._follow_up()
            await asyncio.sleep(0)

    # The other tasks

    async def _send(self) -> None:
        while True:
            await self._to_send.wait()
            messages: list[Message] = []
            while len(messages) < MESSAGES_PER_TURN:
                message = self.core.next_message(self._door.now())
                if message is None:
                    self._to_send.clear()
                    break
                messages.append(message)
            self._door.send(messages)
            self._follow_up()
            await asyncio.sleep(0)

    async def _watch(self) -> None:
        while True:
            try:
                async for keys in self._store.watch(self.core.identity.address):
                    self._foreign |= dict.fromkeys(keys)
                    self._to_write.set()
                return
            except StoreError as error:
                logger.error("cannot see what others change: %s", error)
            await asyncio.sleep(TRY_AGAIN)
            self._is_stale = True
            self._to_write.set()

    async def _save(self) -> None:
        while True:
            await asyncio.sleep(SEEN_INTERVAL)
            try:
                await self._save_seen()
            except FenceLost:
                raise
            except StoreError as error:
                logger.warning("cannot write how members were seen: %s", error)

    async def _save_seen(self) -> None:
        while taken := self.core.take_seen(SEEN_PER_COMMIT):
            try:
                await self._store.commit(taken, self._fence)
            except (StoreError, asyncio.CancelledError):
                self.core.return_seen(taken)
                raise


def _make(edit: _Edit, batch: Batch) -> bool:
    """Make an edit in a batch; False if it fails, which concerns nobody else."""
    try:
        edit.result = edit.work(batch)
    except ZeroTierError as error:
        edit.fail(error)
        return False
    return True
