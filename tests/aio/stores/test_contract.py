"""What every store holds to, in the same words for all of them."""

import asyncio

import pytest

from zt_async.controller.records import NetworkRecord, Seen
from zt_async.controller.store import PutSeen, Snapshot
from zt_async.crypto.identity import Identity
from zt_async.errors import Conflict
from zt_async.testing import throwaway_identity
from zt_async.types import Endpoint

from .records import CONTROLLER, NETWORK, OTHER_CONTROLLER, OTHERS_NETWORK, delete, key, member, network, put


async def load(store, controller=CONTROLLER):
    snapshot = await store.load(controller)
    return Snapshot(
        sorted(snapshot.networks, key=lambda record: record.id),
        sorted(snapshot.members, key=lambda record: (record.network_id, record.address)),
        snapshot.seen,
    )


async def next_keys(watching, wanted, also=()):
    """Watch until all of these were named; nothing else may be, but for what is in ``also``."""
    found = set()
    async with asyncio.timeout(10):
        while not found >= set(wanted):
            found |= set(await anext(watching))
            assert found <= {*wanted, *also}


async def test_an_empty_store_has_nothing(store):
    assert await store.load(CONTROLLER) == Snapshot()
    assert await store.read([key(network()), key(member(1))]) == [None, None]
    assert await store.read([]) == []


async def test_what_was_committed_is_there_for_all(open_store):
    store = await open_store()
    records = [network(name="Büro \N{SNOWMAN}"), member(1, "10.0.0.1", "fd00::1", name="x"), member(2)]
    await store.commit([put(record) for record in records])
    for reader in (store, await open_store()):
        assert await load(reader) == Snapshot(records[:1], records[1:], {})
        assert await reader.read([key(records[1]), key(member(3)), key(records[0])]) == [
            records[1],
            None,
            records[0],
        ]


async def test_all_fields_of_records_survive(open_store):
    full = NetworkRecord.from_json(
        {
            "id": str(NETWORK),
            "name": "n",
            "private": False,
            "creationTime": 1_700_000_000_000,
            "revision": 1,
            "enableBroadcast": False,
            "multicastLimit": 0,
            "mtu": 1400,
            "v4AssignMode": {"zt": True},
            "v6AssignMode": {"zt": True, "rfc4193": True, "6plane": True},
            "routes": [{"target": "10.0.0.0/8", "via": "10.0.0.1"}, {"target": "fd00::/8", "via": None}],
            "ipAssignmentPools": [{"ipRangeStart": "10.0.0.1", "ipRangeEnd": "10.0.0.9"}],
            "rules": [{"type": "ACTION_DROP"}],
            "capabilities": [{"id": 1, "default": True, "rules": [{"type": "ACTION_ACCEPT"}]}],
            "tags": [{"id": 2, "default": None}, {"id": 3, "default": 4_294_967_295}],
            "dns": {"domain": "x.y", "servers": ["10.0.0.1"]},
            "authTokens": {"token": 5},
            "remoteTraceTarget": "0123456789",
            "remoteTraceLevel": 3,
            "rulesSource": "drop; # \\u0001 'quotes' \"too\"\n",
            "certificateTimeoutWindowSize": 400_000,
        }
    )
    one = throwaway_identity(0).public()
    seen = Seen(time=9, endpoint=Endpoint("192.0.2.1", 9993), version=(1, 8, 4), protocol=12)
    someone = member(
        one.address,
        "10.0.0.3",
        identity=one,
        authorized=True,
        tags=((1, 2),),
        capabilities=(1,),
        credential="t",
    )
    store = await open_store()
    await store.commit([put(full), put(someone), PutSeen(NETWORK, one.address, seen)])
    loaded = await load(await open_store())
    assert loaded == Snapshot([full], [someone], {(NETWORK, one.address): seen})
    assert isinstance(loaded.members[0].identity, Identity)


async def test_a_controller_loads_its_own_networks_only(store):
    await store.commit(
        [put(network()), put(network(OTHERS_NETWORK)), put(member(1, network_id=OTHERS_NETWORK))]
    )
    assert await load(store) == Snapshot([network()], [], {})
    assert (await load(store, OTHER_CONTROLLER)).members == [member(1, network_id=OTHERS_NETWORK)]


@pytest.mark.parametrize("record", [network(name="a"), member(1, name="a")], ids=["network", "member"])
async def test_a_record_is_written_by_who_knows_its_revision(store, record):
    await store.commit([put(network(name="a")), put(member(1, name="a"))])
    with pytest.raises(Conflict):
        await store.commit([put(record)])
    newer = record.updated(name="b")
    for revision in (0, 1, 3):
        wrong = type(newer)(
            **{name: getattr(newer, name) for name in newer.__slots__} | {"revision": revision}
        )
        with pytest.raises(Conflict):
            await store.commit(
                [put(wrong)._replace(expected_revision=revision)] if revision != 1 else [put(record)]
            )
    assert await store.read([key(record)]) == [record]


async def test_a_revision_counts_on(store):
    await store.commit([put(network()), put(member(1))])
    for revision in range(2, 5):
        await store.commit([put(network(revision=revision)), put(member(1, revision=revision))])
    assert await load(store) == Snapshot([network(revision=4)], [member(1, revision=4)], {})


async def test_a_member_needs_its_network(store):
    with pytest.raises(Conflict):
        await store.commit([put(member(1))])
    assert await load(store) == Snapshot()


async def test_an_address_is_one_members_only(store):
    await store.commit([put(network()), put(network(OTHERS_NETWORK)), put(member(1, "10.0.0.1", "fd00::1"))])
    for ip in ("10.0.0.1", "fd00::1"):
        with pytest.raises(Conflict):
            await store.commit([put(member(2, "10.0.0.2", ip))])
    await store.commit([put(member(2, "10.0.0.1", network_id=OTHERS_NETWORK)), put(member(2, "10.0.0.2"))])
    with pytest.raises(Conflict):
        await store.commit([put(member(2, "10.0.0.2", "fd00::1", revision=2))])
    assert (await load(store)).members == [member(1, "10.0.0.1", "fd00::1"), member(2, "10.0.0.2")]


async def test_an_address_is_free_again_when_it_is_given_up(store):
    await store.commit([put(network()), put(member(1, "10.0.0.1")), put(member(2, "10.0.0.2"))])
    # Within a commit changes are made in order: one member gives up what the next one takes.
    await store.commit([put(member(1, revision=2)), put(member(3, "10.0.0.1"))])
    await store.commit([delete(member(2)), put(member(4, "10.0.0.2"))])
    with pytest.raises(Conflict):
        await store.commit([put(member(1, "10.0.0.2", revision=3))])
    await store.commit([delete(network()), put(network()), put(member(1, "10.0.0.1", "10.0.0.2"))])
    assert (await load(store)).members == [member(1, "10.0.0.1", "10.0.0.2")]


async def test_a_commit_is_made_wholly_or_not_at_all(store):
    await store.commit(
        [put(network()), put(member(1, "10.0.0.1")), PutSeen(NETWORK, member(1).address, Seen(time=3))]
    )
    before = await load(store)
    changes = [
        put(network(revision=2, name="new")),
        delete(member(1)),
        put(member(2, "10.0.0.1")),
        PutSeen(NETWORK, member(2).address, Seen(time=4)),
        put(network(OTHERS_NETWORK)),
        delete(network(OTHERS_NETWORK)),
        put(member(1)),
        put(member(2)),  # there by now
    ]
    with pytest.raises(Conflict):
        await store.commit(changes)
    assert await load(store) == before
    await store.commit(changes[:-1])
    assert (await load(store)).members == [member(1), member(2, "10.0.0.1")]


async def test_a_network_goes_with_its_members(store):
    seen = PutSeen(NETWORK, member(1).address, Seen(time=3))
    await store.commit([put(network()), put(member(1, "10.0.0.1")), put(member(2)), seen])
    await store.commit([delete(network())])
    assert await load(store) == Snapshot()
    await store.commit([delete(network()), delete(member(1)), seen])  # gone already
    assert await load(store) == Snapshot()


async def test_how_a_member_was_seen_is_no_change_of_its_record(open_store):
    store, other = await open_store(), await open_store()
    await other.load(CONTROLLER)
    watching = other.watch(CONTROLLER)
    await store.commit([put(network()), put(member(1))])
    await next_keys(watching, [key(network()), key(member(1))])
    for time in (3, 4):
        await store.commit([PutSeen(NETWORK, member(1).address, Seen(time=time))])
    await store.commit([put(network(revision=2))])
    await next_keys(watching, [key(network())])
    assert await load(other) == Snapshot(
        [network(revision=2)], [member(1)], {(NETWORK, member(1).address): Seen(time=4)}
    )
    await watching.aclose()


async def test_commits_at_the_same_time_fail_each_for_itself(store):
    await store.commit([put(network())])
    takers = [member(number, f"10.0.0.{number // 2}") for number in range(2, 42)]
    done = await asyncio.gather(*(store.commit([put(taker)]) for taker in takers), return_exceptions=True)
    assert [type(result) for result in done] == [type(None), Conflict] * 20
    assert (await load(store)).members == takers[::2]


async def test_one_of_those_who_write_a_revision_does(open_store):
    stores = [await open_store() for _ in range(3)]
    await stores[0].commit([put(network()), put(member(1))])
    for revision in range(2, 6):
        done = await asyncio.gather(
            *(
                store.commit([put(member(1, revision=revision, name=f"{n}"))])
                for n, store in enumerate(stores)
            ),
            return_exceptions=True,
        )
        (winner,) = (number for number, result in enumerate(done) if result is None)
        assert sum(isinstance(result, Conflict) for result in done) == 2
        assert (await load(stores[0])).members == [member(1, revision=revision, name=f"{winner}")]


async def test_a_commit_without_changes(store):
    await store.commit([])
    assert await load(store) == Snapshot()


async def test_changes_by_others_are_told_and_own_ones_not(open_store):
    store, other = await open_store(), await open_store()
    await store.load(CONTROLLER)
    watching = store.watch(CONTROLLER)
    await store.commit([put(network()), put(member(1))])
    await other.commit([put(member(2)), put(network(OTHERS_NETWORK))])
    await next_keys(watching, [key(member(2))])
    await other.commit([put(network(revision=2))])
    await other.commit([delete(member(1))])
    await next_keys(watching, [key(network()), key(member(1))])
    assert await store.read([key(member(1))]) == [None]
    await other.commit([delete(network())])
    await next_keys(watching, [key(network()), key(member(2))])
    await watching.aclose()


async def test_no_change_is_missed_between_loading_and_watching(open_store):
    store, other = await open_store(), await open_store()
    await other.commit([put(network()), put(member(1))])
    await store.load(CONTROLLER)
    await other.commit([put(member(1, revision=2))])
    await other.commit([put(member(2))])
    await next_keys(store.watch(CONTROLLER), [key(member(1)), key(member(2))], also=[key(network())])


async def test_several_watch(open_store):
    store, other = await open_store(), await open_store()
    await store.load(CONTROLLER)
    watching = [store.watch(CONTROLLER), store.watch(CONTROLLER)]
    tasks = [asyncio.ensure_future(anext(one)) for one in watching]
    foreign = asyncio.ensure_future(anext(store.watch(OTHER_CONTROLLER)))
    await asyncio.sleep(0)
    await other.commit([put(network())])
    async with asyncio.timeout(10):
        assert await asyncio.gather(*tasks) == [[key(network())]] * 2
    assert not foreign.done()
    await store.close()
    with pytest.raises(StopAsyncIteration):
        await foreign


async def test_closing_is_harmless_and_opening_again_works(open_store):
    store = await open_store()
    await store.commit([put(network())])
    await store.close()
    await store.close()
    await store.open()
    assert (await load(store)).networks == [network()]


async def test_one_who_waits_no_more_does_no_harm(store):
    await store.commit([put(network())])
    tasks = [asyncio.ensure_future(store.commit([put(member(number))])) for number in range(1, 30)]
    await asyncio.sleep(0)
    for task in tasks[::3]:
        task.cancel()
    await asyncio.wait(tasks)
    found = (await load(store)).members
    await store.close()
    await store.open()
    assert {record.address for record in found} >= {n + 1 for n in range(29) if n % 3}
