"""Identities that several processes share: one holder at a time."""

import asyncio
import logging
from functools import partial

import pytest
import pytest_asyncio

from zt_async.aio.stores.lease import lease_clock
from zt_async.crypto.identity import Identity
from zt_async.errors import FenceLost, IdentityError, StoreError
from zt_async.testing import throwaway_identity

from .opening import opening
from .records import CONTROLLER, key, member, network, put

ONE, TWO = sorted((throwaway_identity(0), throwaway_identity(1)), key=lambda identity: identity.address)
TTL = 0.4  # s


@pytest_asyncio.fixture(params=["sqlite", "postgres"])
async def open_store(request):
    options = {"ttl": TTL} if request.param == "postgres" else {}
    async with opening(partial(request.getfixturevalue(request.param), **options)) as open_one:
        yield open_one


@pytest_asyncio.fixture
async def expiring(postgres):
    """Two stores whose leases end by themselves."""
    async with opening(partial(postgres, ttl=TTL)) as open_one:
        stores = [await open_one(), await open_one()]
        await stores[0].add_identity(ONE)
        yield stores


async def soon(awaitable):
    async with asyncio.timeout(10):
        return await awaitable


def waits(task):
    """Whether a task still waits, for as long as one can be sure of without waiting for it."""
    return asyncio.wait([task], timeout=0.1)


async def end_of(lease):
    await asyncio.sleep(lease.remaining + 0.01)
    assert not lease.is_valid


async def test_identities_are_kept_with_their_secrets_and_shown_without(open_store):
    store, other = await open_store(), await open_store()
    assert await store.identities() == []
    await store.add_identity(TWO)
    await store.add_identity(ONE)
    await other.add_identity(ONE)  # there already
    found = await other.identities()
    assert [status.identity for status in found] == [ONE, TWO]
    assert not any(status.identity.has_secret or status.holder for status in found)
    lease = await soon(other.acquire(TWO.address))
    assert lease.identity == TWO
    assert lease.identity.secret_text() == TWO.secret_text()
    (_, held) = await store.identities()
    assert "process" in held.holder
    assert await store.remove_identity(ONE.address)
    assert not await store.remove_identity(ONE.address)
    assert [status.identity for status in await store.identities()] == [TWO]


async def test_many_add_an_identity_at_the_same_time(open_store):
    stores = [await open_store() for _ in range(4)]
    for identity in (ONE, TWO):
        await asyncio.gather(*(store.add_identity(identity) for store in stores))
    assert [status.identity for status in await stores[0].identities()] == [ONE, TWO]


async def test_another_identity_of_the_same_address_is_refused(open_store):
    store = await open_store()
    await store.add_identity(ONE)
    with pytest.raises(StoreError, match=f"another identity of the address {ONE.address}"):
        await store.add_identity(Identity(ONE.address, TWO.public_key, bytes(64)))
    assert [status.identity for status in await store.identities()] == [ONE]


async def test_no_secret_is_told(open_store, caplog):
    caplog.set_level(logging.DEBUG)
    store = await open_store()
    await store.add_identity(ONE)
    lease = await soon(store.acquire())
    told = [repr(lease), str(lease), repr(await store.identities()), repr(store), caplog.text]
    secret = ONE.secret_text().rpartition(":")[2]
    assert not any(secret in text for text in told)


async def test_an_identity_without_a_secret_is_refused(open_store):
    with pytest.raises(IdentityError):
        await (await open_store()).add_identity(ONE.public())


async def test_an_identity_that_is_not_there_cannot_be_held(open_store):
    store = await open_store()
    with pytest.raises(StoreError, match=f"no identity {ONE.address}"):
        await store.acquire(ONE.address)


async def test_one_holds_it_and_the_next_when_it_is_given_up(open_store):
    store, other = await open_store(), await open_store()
    await store.add_identity(ONE)
    lease = await soon(store.acquire(ONE.address))
    assert lease.is_valid
    waiting = asyncio.ensure_future(other.acquire(ONE.address))
    await store.renew(lease)
    await waits(waiting)
    assert not waiting.done()
    await store.release(lease)
    assert not lease.is_valid
    assert lease.remaining == 0
    successor = await soon(waiting)
    assert successor.token > lease.token
    with pytest.raises(FenceLost):
        await store.renew(lease)
    await store.release(lease)  # of no effect any more
    await other.renew(successor)
    await other.release(successor)
    again = await soon(store.acquire())
    await store.release(lease)  # nor now
    waiting = asyncio.ensure_future(other.acquire())
    await waits(waiting)
    assert not waiting.done()
    await store.release(again)
    await soon(waiting)


async def test_any_free_identity_is_taken(open_store):
    store, other = await open_store(), await open_store()
    waiting = asyncio.ensure_future(other.acquire())
    await waits(waiting)
    await store.add_identity(ONE)
    assert (await soon(waiting)).identity == ONE
    await store.add_identity(TWO)
    assert (await soon(store.acquire())).identity == TWO


async def test_each_of_many_gets_another_identity(open_store):
    identities = [throwaway_identity(number) for number in range(4)]
    stores = [await open_store() for _ in identities]
    for identity in identities:
        await stores[0].add_identity(identity)
    leases = await soon(asyncio.gather(*(store.acquire() for store in stores)))
    assert {lease.identity for lease in leases} == set(identities)
    assert len({lease.token for lease in leases}) == 4


async def test_who_gives_up_waiting_takes_nothing(open_store):
    """Wherever it is cancelled: nobody has to wait for the end of a lease that nobody has."""
    store, other = await open_store(), await open_store()
    await store.add_identity(ONE)
    for turns in range(30):
        taking = asyncio.ensure_future(other.acquire())
        for _ in range(turns):
            await asyncio.sleep(0)
        taking.cancel()
        await asyncio.wait([taking])
        if not taking.cancelled():
            await other.release(taking.result())
        (status,) = await store.identities()
        assert status.holder is None
    assert (await soon(store.acquire())).identity == ONE


async def test_who_gives_up_when_the_server_has_given_it_gives_it_back(expiring, monkeypatch):
    store, other = expiring
    run, given, go_on = store._pool.run, asyncio.Event(), asyncio.Event()

    async def run_slowly(work, **options):
        result = await run(work, **options)
        given.set()
        await go_on.wait()
        return result

    monkeypatch.setattr(store._pool, "run", run_slowly)
    taking = asyncio.ensure_future(store.acquire())
    await given.wait()
    taking.cancel()
    await asyncio.sleep(0)
    go_on.set()
    await asyncio.wait([taking])
    assert taking.cancelled()
    (status,) = await other.identities()
    assert status.holder is None


async def test_a_commit_needs_the_present_token(open_store):
    store, other = await open_store(), await open_store()
    await store.add_identity(ONE)
    lease = await soon(store.acquire())
    await store.commit([put(network())], lease.token)
    await store.release(lease)
    with pytest.raises(FenceLost):
        await store.commit([put(member(1))], lease.token)
    successor = await soon(other.acquire())
    with pytest.raises(FenceLost):
        await store.commit([put(member(1))], lease.token)
    done = await asyncio.gather(
        other.commit([put(member(1))], successor.token),
        other.commit([put(member(2))], lease.token),
        other.commit([put(member(3))]),
        return_exceptions=True,
    )
    assert [type(result) for result in done] == [type(None), FenceLost, type(None)]
    assert await store.read([key(member(2))]) == [None]


async def test_an_identity_that_is_removed_ends_its_lease(open_store):
    store = await open_store()
    await store.add_identity(ONE)
    lease = await soon(store.acquire())
    await (await open_store()).remove_identity(ONE.address)
    with pytest.raises(FenceLost):
        await store.renew(lease)
    with pytest.raises(FenceLost):
        await store.commit([put(network())], lease.token)
    await store.add_identity(ONE)
    await store.release(lease)
    assert (await soon(store.acquire())).token != lease.token


async def test_who_is_removed_and_added_again_is_nobodys_before_its_lease_is_over(expiring):
    """Its holder hears of it when it next renews, and is online with it until then."""
    store, other = expiring
    lease = await store.acquire()
    assert await other.remove_identity(ONE.address)
    assert await other.identities() == []
    with pytest.raises(StoreError, match="no identity"):
        await other.acquire(ONE.address)
    await other.add_identity(ONE)
    successor = await soon(other.acquire(ONE.address))
    assert lease_clock() > lease.deadline
    assert successor.identity.secret_text() == ONE.secret_text()
    await other.release(successor)


async def test_a_lease_ends_unless_it_is_renewed(expiring):
    store, other = expiring
    begin = lease_clock()
    lease = await store.acquire()
    assert begin < lease.deadline < lease_clock() + TTL
    waiting = asyncio.ensure_future(other.acquire())
    while lease_clock() < begin + 3 * TTL:
        await store.renew(lease)
        await asyncio.wait([waiting], timeout=TTL / 4)
        assert not waiting.done()
    last = lease.deadline
    successor = await soon(waiting)
    assert lease_clock() > last  # its holder had noticed before
    assert not lease.is_valid
    with pytest.raises(FenceLost):
        await store.renew(lease)
    with pytest.raises(FenceLost):
        await store.commit([put(network())], lease.token)
    await other.commit([put(network())], successor.token)


async def test_a_lease_that_nobody_took_can_be_renewed_late(expiring):
    store, _ = expiring
    lease = await store.acquire()
    await end_of(lease)
    await store.renew(lease)
    assert lease.is_valid
    await store.commit([put(network())], lease.token)


async def test_the_time_of_a_lease_is_told(expiring):
    store, other = expiring
    lease = await store.acquire()
    (status,) = await other.identities()
    assert lease.remaining - 0.1 < status.remaining <= TTL
    await store.release(lease)
    (status,) = await other.identities()
    assert (status.holder, status.remaining) == (None, 0)


async def test_a_commit_under_way_is_finished_before_its_identity_is_anothers(expiring, postgres_server):
    """The old holder's commit waits for a lock until its lease is over: it is made, and only then another's turn."""
    import asyncpg

    store, other = expiring
    lease = await store.acquire()
    await store.commit([put(network()), put(member(1))], lease.token)
    blocker = await asyncpg.connect(postgres_server.url)
    block = blocker.transaction()
    await block.start()
    await blocker.execute(f"LOCK TABLE {store.schema}.member")
    commit = asyncio.ensure_future(store.commit([put(member(2))], lease.token))
    waiting = asyncio.ensure_future(other.acquire())
    await end_of(lease)
    await asyncio.wait([waiting, commit], timeout=TTL)
    assert not waiting.done()
    await block.commit()
    await blocker.close()
    await soon(commit)
    await soon(waiting)
    assert await other.read([key(member(2))]) == [member(2)]


def test_the_clock_of_leases_runs():
    before = lease_clock()
    assert before <= lease_clock() < before + 10


async def test_records_and_identities_do_not_mix(open_store):
    store = await open_store()
    await store.add_identity(ONE)
    await store.commit([put(network())])
    await store.remove_identity(ONE.address)
    assert (await store.load(CONTROLLER)).networks == [network()]
