"""A controller beside its node: networks of one's own, and their members."""

import asyncio
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface

import pytest

import zt_async as zt
from zt_async.aio.controller_worker import SEEN_INTERVAL
from zt_async.aio.stores.memory import MemoryStore
from zt_async.controller.store import PutMember, PutNetwork, PutSeen, RecordKey
from zt_async.errors import Conflict, FenceLost, NoSuchMember, NoSuchNetwork, RecordError, StoreError
from zt_async.testing import throwaway_identity

from .places import REAL, SIMULATED, echo, on, port_of, turns

pytestmark = SIMULATED
EVERY = on("simulated", "asyncio", "uvloop")

STRANGER = throwaway_identity(9).address


class Office:
    """A controller on computer 1, and members from computer 2 on."""

    def __init__(self, world, node, store):
        self.world = world
        self.node = node
        self.store = store
        self.controller = node.controller(store)
        self.members = []

    async def start_member(self):
        member = await self.world.start(len(self.members) + 2)
        self.members.append(member)
        await member.online()
        return member

    async def add_member(self, network):
        """A member of a network."""
        member = await self.start_member()
        await network.authorize(member.address)
        return member, await member.join(network.id)


@pytest.fixture
async def store():
    return TestableStore()


@pytest.fixture
async def office(bare_world, store):
    node = await bare_world.start(1)
    await node.online()
    office = Office(bare_world, node, store)
    async with office.controller:
        yield office


class TestableStore(MemoryStore):
    """A store that a test can hold, break and look into."""

    __test__ = False

    def __init__(self):
        super().__init__()
        self.commits = []
        self.asked = asyncio.Event()
        self.free = asyncio.Event()
        self.free.set()
        self.error = None
        self.written_before_error = False

    async def commit(self, changes, fence=None):
        self.asked.set()
        await self.free.wait()
        error, self.error = self.error, None
        if error is None or self.written_before_error:
            await super().commit(changes, fence)
        if error is not None:
            raise error
        self.commits.append(changes)


async def until(events, kind, **fields):
    """The next event of a kind."""
    async for event in events:
        if isinstance(event, kind) and all(getattr(event, name) == value for name, value in fields.items()):
            return event
    raise AssertionError("no more events")


async def until_changed(network, is_so):
    """Wait until a network of a member is so."""
    with network._node.events() as events:
        while not is_so(network):
            await anext(events)


async def answers(node, host):
    """Whether a ping comes back."""
    try:
        async with asyncio.timeout(0.5):
            await node.ping(host)
    except TimeoutError:
        return False
    return True


# Members


@EVERY
async def test_members_are_authorized_as_they_ask_and_talk_until_one_is_cut_off(bare_world):
    node = await bare_world.start(1)
    async with node.controller() as controller:
        network = await controller.create_network(name="home", ipv4="10.1.0.0/24", sixplane=True)

        async def admit():
            async for event in node.events():
                if isinstance(event, zt.MemberWaiting):
                    await network.authorize(event.address)

        admitting = asyncio.create_task(admit())
        office = Office(bare_world, node, None)
        nodes = [await office.start_member() for _ in range(3)]
        alice, bob, carol = [await member.join(network.id) for member in nodes]
        for joined in (alice, bob, carol):
            assert joined.name == "home"
            assert joined.ipv4 in network.record.routes[0].target
            assert joined.ipv6.exploded.startswith("fc")
        await nodes[0].ping(bob.ipv4)
        await nodes[0].ping(bob.ipv6)
        server = await nodes[1].start_server(echo, None, 0)
        for host in (bob.ipv4, bob.ipv6):
            reader, writer = await nodes[2].open_connection(str(host), port_of(server))
            writer.write(b"hello")
            assert await reader.readexactly(5) == b"hello"
            writer.close()
            await writer.wait_closed()

        await network.deauthorize(nodes[1].address)
        await until_changed(bob, lambda joined: joined.status == zt.NetworkStatus.ACCESS_DENIED)
        started = asyncio.get_running_loop().time()
        while await answers(nodes[0], bob.ipv4):
            pass
        assert asyncio.get_running_loop().time() - started < 2.0
        await nodes[0].ping(carol.ipv4)
        admitting.cancel()


async def test_the_events_tell_the_story(office):
    network = await office.controller.create_network(ipv4="10.1.0.0/24")
    member = await office.start_member()
    with office.node.events() as events:
        joining = asyncio.create_task(member.join(network.id))
        waiting = await until(events, zt.MemberWaiting)
        assert (waiting.network_id, waiting.address) == (network.id, member.address)
        assert waiting.version == (1, 14, 1)
        await network.authorize(waiting.address, name="alice")
        authorized = await until(events, zt.MemberAuthorized)
        assert authorized.credential_type == "api"
        configured = await until(events, zt.MemberConfigured)
        joined = await joining
        assert configured.addresses == joined.addresses
        await network.deauthorize(member.address)
        assert (await until(events, zt.MemberDeauthorized)).address == member.address


async def test_a_public_network_takes_everybody(office):
    network = await office.controller.create_network(private=False, rfc4193=True)
    member = await office.start_member()
    joined = await member.join(network.id)
    assert [address.network.prefixlen for address in joined.addresses] == [88]
    assert network.member(member.address).credential_type == "public"


async def test_the_controllers_node_is_a_member_like_others(office):
    network = await office.controller.create_network(ipv4="10.1.0.0/24")
    own = asyncio.create_task(office.node.join(network.id))
    with office.node.events() as events:
        assert (await until(events, zt.MemberWaiting)).address == office.node.address
    await network.authorize(office.node.address)
    own = await own
    member, joined = await office.add_member(network)
    await member.ping(own.ipv4)
    await office.node.ping(joined.ipv4)
    await network.update(mtu=1400)
    await until_changed(own, lambda joined: joined.mtu == 1400)
    await network.deauthorize(office.node.address)
    await until_changed(own, lambda joined: joined.status == zt.NetworkStatus.ACCESS_DENIED)


async def test_changes_reach_members_by_push(office):
    network = await office.controller.create_network(ipv4="10.1.0.0/24")
    member, joined = await office.add_member(network)
    await network.update(mtu=1500, ipv6="fd00:1::/64", name="new")
    await until_changed(joined, lambda joined: joined.ipv6 is not None)
    assert (joined.mtu, joined.name) == (1500, "new")
    await network.update_member(member.address, addresses=["10.1.0.77"])
    await until_changed(joined, lambda joined: joined.ipv4 == IPv4Address("10.1.0.77"))
    await network.update(routes=["10.1.0.0/16"])
    await until_changed(joined, lambda joined: IPv4Interface("10.1.0.77/16") in joined.addresses)
    assert joined.ipv6 is None


async def test_a_rule_set_that_drops_a_port_is_obeyed(office):
    network = await office.controller.create_network(
        ipv4="10.1.0.0/24", rules="drop ipprotocol tcp and dport 81; accept;"
    )
    assert network.record.rules_source.startswith("drop")
    client, _ = await office.add_member(network)
    server, joined = await office.add_member(network)
    for port in (80, 81):
        await server.start_server(echo, joined.ipv4, port)
    _, writer = await client.open_connection(str(joined.ipv4), 80)
    writer.close()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(5):
            await client.open_connection(str(joined.ipv4), 81)
    assert (await network.update(rules=[{"type": "ACTION_ACCEPT"}])).rules_source == ""
    _, writer = await client.open_connection(str(joined.ipv4), 81)
    writer.close()


async def test_a_deleted_network_is_gone(office):
    network = await office.controller.create_network(ipv4="10.1.0.0/24")
    _, joined = await office.add_member(network)
    record = await network.delete()
    assert record.id == network.id
    await until_changed(joined, lambda joined: joined.status == zt.NetworkStatus.NOT_FOUND)
    assert office.controller.networks == {}
    with pytest.raises(NoSuchNetwork):
        _ = network.name
    with pytest.raises(NoSuchNetwork):
        await network.update(name="x")
    other = await office.start_member()
    with pytest.raises(zt.NetworkNotFound):
        await other.join(network.id)


# The API


async def test_networks_as_they_are_kept(office):
    controller = office.controller
    assert controller.address == office.node.address
    network = await controller.create_network(name="a")
    assert network.id.controller == controller.address
    assert controller.networks.keys() == {network.id}
    again = controller.network(str(network.id))
    assert (again.id, again.name, str(network.id) in repr(again)) == (network.id, "a", True)
    chosen = zt.NetworkId(controller.address << 24 | 0x42)
    assert (await controller.create_network(chosen, name="b")).id == chosen
    with pytest.raises(zt.ControllerError, match="already"):
        await controller.create_network(chosen)
    with pytest.raises(RecordError, match="begin with"):
        await controller.create_network(0x42)
    assert str(controller.address) in repr(controller)


async def test_members_as_they_are_kept(office):
    network = await office.controller.create_network(ipv4="10.1.0.0/24")
    record = await network.authorize(str(STRANGER), name="later", addresses=["10.1.0.5"], tags={1: 2})
    assert record == network.member(STRANGER) == network.members[STRANGER]
    assert (record.authorized, record.name, record.tags) == (True, "later", ((1, 2),))
    assert network.seen(STRANGER).time == 0
    assert not network.is_online(STRANGER)
    assert (await network.update_member(STRANGER, active_bridge=True)).active_bridge
    assert not (await network.deauthorize(STRANGER)).authorized
    assert (await network.delete_member(STRANGER)).address == STRANGER
    for call in (network.deauthorize, network.delete_member):
        with pytest.raises(NoSuchMember):
            await call(STRANGER)
    with pytest.raises(NoSuchMember):
        network.member(STRANGER)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"ipv4": "10.1.0.0"}, ValueError, "ipv4 is written ip/length"),
        ({"ipv4": "fd00::/8"}, ValueError, "ipv4 is fd00::/8, which is of the other family"),
        ({"mtu": "much"}, ValueError, "mtu is a whole number"),
        ({"rules": "drop sometimes;"}, ValueError, "sometimes"),
        ({"rules": [{"type": "?"}]}, ValueError, "rules"),
        ({"colour": "red"}, TypeError, "colour"),
        ({"revision": 7}, TypeError, "revision"),
    ],
)
async def test_settings_that_are_none(office, settings, error, message):
    network = await office.controller.create_network()
    for call in (office.controller.create_network, network.update):
        with pytest.raises(error, match=message):
            await call(**settings)
    assert len(office.store.commits) == 1


async def test_subnets_make_a_route_and_a_pool(office):
    network = await office.controller.create_network(ipv4="10.1.0.0/24", ipv6="fd00::/64")
    record = network.record
    assert [str(route.target) for route in record.routes] == ["10.1.0.0/24", "fd00::/64"]
    assert [tuple(map(str, pool)) for pool in record.pools] == [
        ("10.1.0.1", "10.1.0.254"),
        ("fd00::1", "fd00::ffff:ffff:ffff:ffff"),
    ]
    assert (record.ipv4_auto, record.ipv6_auto) == (True, True)
    assert await network.update(ipv4="10.1.0.0/24") == record
    assert len((await network.update(ipv4="10.2.0.0/31")).pools) == 3


async def test_json_comes_in_as_upstream_has_it(office):
    controller = office.controller
    record = await controller.patch_network(None, {"name": "a", "v4AssignMode": {"zt": True}, "unknown": 1})
    assert (record.name, record.ipv4_auto) == ("a", True)
    chosen = zt.NetworkId(controller.address << 24 | 0x42)
    assert (await controller.patch_network(chosen, {"name": "b"})).revision == 1
    assert (await controller.patch_network(chosen, {"name": "c"})).revision == 2
    member = await controller.patch_member(
        chosen, STRANGER, {"authorized": True, "ipAssignments": ["10.0.0.1"]}
    )
    assert (member.authorized, member.last_authorized > 0) == (True, True)
    for changes in ({"name": 7}, {"routes": [{}]}, None, 7, [["name", "d"]]):
        with pytest.raises(RecordError):
            await controller.patch_network(chosen, changes)
    assert controller.record(chosen).name == "c"
    with pytest.raises(RecordError):
        await controller.patch_member(chosen, STRANGER, {"authorized": "yes"})
    with pytest.raises(RecordError, match="address of member"):
        await controller.patch_member(chosen, office.node.address, {"ipAssignments": ["10.0.0.1"]})
    assert (await controller.delete_member(chosen, STRANGER)) == member
    assert (await controller.delete_network(chosen)).name == "c"


# Written before it is told


async def test_nobody_is_answered_before_it_is_written(office):
    network = await office.controller.create_network(private=False, ipv4="10.1.0.0/24")
    member = await office.start_member()
    office.store.free.clear()
    office.store.asked.clear()
    joining = asyncio.create_task(member.join(network.id))
    await office.store.asked.wait()
    await asyncio.sleep(3)
    assert not joining.done()
    assert network.members == {}
    office.store.free.set()
    joined = await joining
    assert [ip.ip for ip in joined.addresses] == list(network.member(member.address).addresses)


async def test_what_needs_no_writing_is_answered_meanwhile(office):
    network = await office.controller.create_network(ipv4="10.1.0.0/24")
    _, joined = await office.add_member(network)
    office.store.free.clear()
    waiting = asyncio.create_task(network.update(name="late"))
    updated = joined.info
    counters = office.controller._core.counters
    before = counters["answered"]
    await asyncio.sleep(70)
    assert counters["answered"] > before
    assert joined.info.name == updated.name
    office.store.free.set()
    assert (await waiting).name == "late"


async def test_a_change_that_cannot_be_written_is_no_change(office):
    network = await office.controller.create_network(name="a")
    office.store.error = StoreError("disk full")
    with pytest.raises(StoreError, match="disk full"):
        await network.update(name="b")
    assert network.name == "a"
    await network.update(name="c")
    assert network.name == "c"


async def test_a_change_that_was_written_after_all_is_found(office):
    """The connection was lost before the answer came: the records are read anew."""
    network = await office.controller.create_network(name="a")
    office.store.error = StoreError("connection lost")
    office.store.written_before_error = True
    with pytest.raises(StoreError):
        await network.update(name="b")
    await network.update(mtu=1400)
    assert (network.name, network.record.mtu) == ("b", 1400)


async def test_a_member_whose_record_cannot_be_written_asks_again(office):
    network = await office.controller.create_network(private=False, ipv4="10.1.0.0/24")
    member = await office.start_member()
    office.store.error = StoreError("disk full")
    joined = await member.join(network.id)
    assert joined.ipv4 in network.member(member.address).addresses


async def test_two_that_write_the_same_database_agree(office):
    network = await office.controller.create_network(name="a", ipv4="10.1.0.0/29")
    member, joined = await office.add_member(network)
    other = office.store.view()
    (record,) = await other.read([RecordKey(network.id, member.address)])
    elsewhere = record.updated(name="by another", addresses=["10.1.0.6"])
    await other.commit([PutMember(replace(elsewhere, revision=record.revision + 1), record.revision)])
    assert (await network.update_member(member.address, tags={1: 2})).name == "by another"
    await until_changed(joined, lambda joined: joined.ipv4 == IPv4Address("10.1.0.6"))
    stranger = record.updated(addresses=["10.1.0.5"])
    stranger = replace(stranger, address=STRANGER, identity=None, revision=1)
    await other.commit([PutMember(stranger, 0)])
    with pytest.raises(RecordError, match=r"10\.1\.0\.5, which is the address of member"):
        await network.update_member(member.address, addresses=["10.1.0.5"])


async def test_conflicts_without_end_are_told(office, monkeypatch):
    network = await office.controller.create_network(name="a")

    async def commit(changes, fence=None):
        raise Conflict("others were quicker")

    monkeypatch.setattr(office.store, "commit", commit)
    with pytest.raises(Conflict, match="quicker"):
        await network.update(name="b")
    monkeypatch.undo()
    await network.update(name="b")


async def test_changes_made_at_once_are_committed_together(office):
    network = await office.controller.create_network()
    before = len(office.store.commits)
    members = [zt.NodeAddress(number) for number in range(1, 51)]
    records = await asyncio.gather(*(network.authorize(address) for address in members))
    assert [record.address for record in records] == members
    assert len(office.store.commits) == before + 1


async def test_one_bad_change_does_no_harm_to_others(office):
    network = await office.controller.create_network(routes=["10.1.0.0/24"])
    results = await asyncio.gather(
        network.authorize(1, addresses=["10.1.0.5"]),
        network.authorize(2, addresses=["10.1.0.5"]),
        network.deauthorize(3),
        network.authorize(4, addresses=["10.1.0.6"]),
        return_exceptions=True,
    )
    assert [type(result) for result in results][1:3] == [RecordError, NoSuchMember]
    assert network.members.keys() == {1, 4}


async def test_a_caller_that_stops_waiting_harms_nobody(office):
    network = await office.controller.create_network(name="a")
    office.store.free.clear()
    office.store.asked.clear()
    given_up = [asyncio.create_task(network.update(name=name)) for name in ("b", "c")]
    await office.store.asked.wait()
    for task in given_up:
        task.cancel()
    office.store.free.set()
    await network.update(mtu=1400)
    assert (network.name, network.record.mtu) == ("c", 1400)


# Life


async def test_a_controller_that_lost_its_lease_serves_no_more(bare_world, store):
    node = await bare_world.start(1)
    async with node.controller(store, fence=7) as controller:
        network = await controller.create_network(name="a")
        store.error = FenceLost("another has it")
        with node.events() as events:
            with pytest.raises(FenceLost):
                await network.update(name="b")
            assert isinstance((await until(events, zt.ControllerFailed)).error, FenceLost)
        with pytest.raises(zt.ControllerError, match="another has it"):
            await network.update(name="c")
        with pytest.raises(zt.ControllerError):
            _ = controller.networks
        member = await bare_world.start(2)
        await member.online()
        joined = await member.join(network.id, wait=False)
        await asyncio.sleep(30)
        assert joined.status == zt.NetworkStatus.REQUESTING_CONFIGURATION
    assert [len(changes) for changes in store.commits] == [1]


async def test_a_controller_lives_once_and_alone(bare_world):
    node = await bare_world.start(1)
    controller = node.controller()
    with pytest.raises(zt.ControllerError, match="not open"):
        _ = controller.networks
    async with controller:
        with pytest.raises(RuntimeError, match="has a controller already"):
            await node.controller().open()
        network = await controller.create_network()
    for _ in range(2):
        await controller.close()
    with pytest.raises(zt.ControllerError, match="closed"):
        await network.update(name="x")
    with pytest.raises(RuntimeError, match="opened before"):
        await controller.open()
    async with node.controller() as second:
        assert second.networks == {}
    await node.stop()
    with pytest.raises(zt.NodeNotRunning):
        node.controller()


async def test_a_stopping_node_takes_its_controller_along(bare_world, store):
    node = await bare_world.start(1)
    controller = node.controller(store)
    await controller.open()
    network = await controller.create_network(name="a")
    store.free.clear()
    store.asked.clear()
    begun = asyncio.create_task(network.update(name="b"))
    await store.asked.wait()
    late = asyncio.create_task(network.update(name="c"))
    await turns(3)
    stopping = asyncio.create_task(node.stop())
    await turns(3)
    store.free.set()
    await stopping
    with pytest.raises(zt.ControllerError, match="closed"):
        await late
    await asyncio.wait([begun])
    (record,) = await store.read([RecordKey(network.id)])
    assert record.name == "b"


async def test_a_store_that_does_not_open_leaves_nothing_behind(bare_world, monkeypatch):
    node = await bare_world.start(1)
    store = TestableStore()

    async def load(controller):
        raise StoreError("unreadable")

    monkeypatch.setattr(store, "load", load)
    with pytest.raises(StoreError, match="unreadable"):
        await node.controller(store).open()
    assert not node.core.vl2.serves
    async with node.controller():
        pass


async def test_members_keep_their_addresses_when_the_controller_comes_back(bare_world, store):
    node = await bare_world.start(1)
    async with node.controller(store) as controller:
        network = await controller.create_network(private=False, ipv4="10.1.0.0/24")
        member = await bare_world.start(2)
        await member.online()
        joined = await member.join(network.id)
        addresses = joined.addresses
    await member.leave(network.id)
    async with node.controller(store) as controller:
        network = controller.network(network.id)
        assert network.seen(member.address).version == (1, 14, 1)
        assert (await member.join(network.id)).addresses == addresses
        assert await network.update(name="again")


async def test_how_members_were_seen_is_written_now_and_then(office):
    network = await office.controller.create_network(private=False)
    member = await office.start_member()
    await member.join(network.id)
    before = len(office.store.commits)
    await asyncio.sleep(SEEN_INTERVAL + 1)
    (changes,) = office.store.commits[before:]
    assert [type(change) for change in changes] == [PutSeen]
    snapshot = await office.store.load(office.node.address)
    assert snapshot.seen[network.id, member.address] == network.seen(member.address)
    office.store.error = StoreError("disk full")
    await asyncio.sleep(2 * SEEN_INTERVAL)
    await asyncio.sleep(SEEN_INTERVAL)
    snapshot = await office.store.load(office.node.address)
    assert snapshot.seen[network.id, member.address].time > changes[0].seen.time
    assert network.is_online(member.address)


async def test_what_was_being_written_of_members_at_the_end_is_written(bare_world, store):
    node = await bare_world.start(1)
    async with node.controller(store) as controller:
        network = await controller.create_network(private=False)
        member = await bare_world.start(2)
        await member.online()
        await member.join(network.id)
        store.free.clear()
        store.asked.clear()
        await store.asked.wait()
        closing = asyncio.create_task(controller.close())
        await turns(3)
        store.free.set()
        await closing
    assert (await store.load(node.address)).seen[network.id, member.address].time > 0


async def test_a_watch_that_fails_is_taken_up_again(bare_world, monkeypatch):
    node = await bare_world.start(1)
    store = TestableStore()
    watch = store.watch
    tries = []

    async def failing(controller):
        tries.append(controller)
        if len(tries) == 1:
            raise StoreError("connection lost")
        async for keys in watch(controller):
            yield keys

    monkeypatch.setattr(store, "watch", failing)
    async with node.controller(store) as controller:
        network = await controller.create_network(name="a")
        other = store.view()
        await other.commit([PutNetwork(replace(network.record, name="b", revision=2), 1)])
        await asyncio.sleep(5)
        assert network.name == "b"
        await other.commit([PutNetwork(replace(network.record, name="c", revision=3), 2)])
        await turns(20)
        assert network.name == "c"
    assert len(tries) == 2


@REAL
async def test_an_sqlite_file_keeps_networks(bare_world, tmp_path):
    node = await bare_world.start(1)
    for path in (tmp_path / "a.db", str(tmp_path / "b.db")):
        async with node.controller(path) as controller:
            network = await controller.create_network(name="kept", ipv4="10.1.0.0/24")
            await network.authorize(STRANGER)
        async with node.controller(path) as controller:
            assert controller.network(network.id).record == network_of(controller, "kept").record
            assert controller.network(network.id).members.keys() == {STRANGER}


def network_of(controller, name):
    (found,) = [network for network in controller.networks.values() if network.name == name]
    return found
