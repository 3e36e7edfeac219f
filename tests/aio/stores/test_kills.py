"""What was acknowledged stays, however the one who wrote it ends."""

import asyncio
import random
import sys

import pytest
import pytest_asyncio

from zt_async.aio.stores.sqlite import SqliteStore

from .records import CONTROLLER, member, network, put
from .test_contract import load

KILLS = 6


@pytest_asyncio.fixture(params=["sqlite", "postgres"])
async def store(request):
    store = request.getfixturevalue(request.param)()
    await store.open()
    await store.commit([put(network())])
    yield store
    await store.close()


@pytest.fixture
def place(store, request):
    """What another process needs to open it."""
    if isinstance(store, SqliteStore):
        return [str(store.path)]
    return [request.getfixturevalue("postgres_server").url, store.schema]


async def adder(place, first):
    arguments = [sys.executable, "-m", f"{__package__}.adder", str(first), *place]
    return await asyncio.create_subprocess_exec(*arguments, stdout=asyncio.subprocess.PIPE)


async def acknowledged(process, count=None):
    """The numbers of members that it says to be written: so many, or all until it ends."""
    numbers = []
    async with asyncio.timeout(60):
        while count is None or len(numbers) < count:
            line = await process.stdout.readline()
            if not line.endswith(b"\n"):
                break
            numbers.append(int(line))
    return numbers


async def test_a_writer_that_is_killed_loses_no_acknowledged_change(store, place):
    rng = random.Random(1)
    acked, first = set(), 1
    for _ in range(KILLS):
        process = await adder(place, first)
        acked |= set(await acknowledged(process, rng.randrange(1, 200)))
        process.kill()
        acked |= set(await acknowledged(process))
        await process.wait()
        found = (await load(store)).members
        numbers = {int(record.address) for record in found}
        assert numbers >= acked
        assert len(numbers - acked) <= 8 * KILLS  # written, and killed before it was said
        first = max(numbers) + 100  # the server may still be at work on what the killed one sent last
        assert len({ip for record in found for ip in record.addresses}) == len(found)
    if isinstance(store, SqliteStore):
        assert await store._run(store._database._value, "PRAGMA integrity_check") == "ok"


async def test_a_server_that_crashes_loses_no_acknowledged_change(postgres_server, postgres):
    store = postgres(patience=60.0)  # a busy machine may take long to start the server
    await store.open()
    await store.commit([put(network())])
    acked = set()

    async def add(numbers):
        for number in numbers:
            await store.commit([put(member(number))])
            acked.add(number)

    for turn in range(2):
        adding = [
            asyncio.ensure_future(add(range(1000 * turn + n, 1000 * turn + 400, 8))) for n in range(1, 9)
        ]
        while len(acked) < 400 * turn + 100:
            await asyncio.wait(adding, timeout=0.01)
        await asyncio.to_thread(postgres_server.crash)
        seen = set(acked)
        await asyncio.to_thread(postgres_server.start)
        reader = postgres()
        await reader.open()
        assert {int(record.address) for record in (await reader.load(CONTROLLER)).members} >= seen
        await reader.close()
        await asyncio.gather(*adding)  # each of them went on by itself, and none was made twice
    assert {int(record.address) for record in (await store.load(CONTROLLER)).members} == acked
    await store.close()
