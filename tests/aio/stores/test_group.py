"""Group commit: who writes with whom, and who hears of what went wrong."""

import asyncio
import gc

import pytest

from zt_async.aio.stores import group as module
from zt_async.aio.stores.group import GroupCommit
from zt_async.errors import StoreError


class Writer:
    """Notes the groups; each waits for ``free``."""

    def __init__(self):
        self.groups = []
        self.free = asyncio.Event()
        self.free.set()
        self.commits = GroupCommit(self.write)

    async def write(self, group):
        self.groups.append(group)
        await self.free.wait()
        if "broken" in group:
            raise RuntimeError("no store's error")
        return [StoreError(work) if work == "bad" else None for work in group]

    def begin(self, *works):
        return [asyncio.ensure_future(self.commits.commit(work)) for work in works]


async def turns(number=5):
    for _ in range(number):
        await asyncio.sleep(0)


async def test_those_who_come_while_a_group_is_written_are_the_next_one(monkeypatch):
    monkeypatch.setattr(module, "MAX_GROUP", 3)
    writer = Writer()
    writer.free.clear()
    tasks = writer.begin("a", "b")
    await turns()
    tasks += writer.begin(*"cdefg")
    await turns()
    assert writer.groups == [["a", "b"]]
    settling = asyncio.ensure_future(writer.commits.settle())
    await turns()
    assert not settling.done()
    writer.free.set()
    await settling
    assert writer.groups == [["a", "b"], ["c", "d", "e"], ["f", "g"]]
    assert await asyncio.gather(*tasks) == [None] * 7
    await writer.commits.commit("h")
    assert writer.groups[3:] == [["h"]]


async def test_each_has_its_own_error_and_all_have_that_of_the_group():
    writer = Writer()
    results = await asyncio.gather(*writer.begin("a", "bad", "c"), return_exceptions=True)
    assert [type(result) for result in results] == [type(None), StoreError, type(None)]
    results = await asyncio.gather(*writer.begin("a", "broken"), return_exceptions=True)
    assert [type(result) for result in results] == [RuntimeError, RuntimeError]
    await writer.commits.commit("d")
    await writer.commits.settle()
    assert writer.groups == [["a", "bad", "c"], ["a", "broken"], ["d"]]


async def test_what_nobody_waits_for_any_more_is_written():
    writer = Writer()
    writer.free.clear()
    first, second = writer.begin("a", "b")
    await turns()
    (third,) = writer.begin("c")
    await turns()
    for task in (first, third):
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    writer.free.set()
    await second
    await writer.commits.settle()
    assert writer.groups == [["a", "b"], ["c"]]


async def test_nobody_is_bothered_with_the_error_of_what_nobody_waits_for():
    reported = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: reported.append(context))
    writer = Writer()
    writer.free.clear()
    (task,) = writer.begin("broken")
    await turns()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    writer.free.set()
    await writer.commits.settle()
    del writer
    gc.collect()
    assert reported == []
