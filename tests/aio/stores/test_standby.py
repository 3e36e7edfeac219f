"""Processes that take over from each other: who is online with an identity, and when no more."""

import asyncio
import signal
import sys

import asyncpg
import pytest
import pytest_asyncio

import zt_async as zt
from zt_async.aio.standby import ControllerService
from zt_async.aio.stores.lease import lease_clock
from zt_async.controller.records import NetworkRecord
from zt_async.controller.store import PutNetwork
from zt_async.errors import NodeNotRunning, PortUnavailable, StoreError
from zt_async.events import NetworkStatus
from zt_async.testing import private_world, throwaway_identity
from zt_async.types import NetworkId
from zt_async.wire.packet import Verb

IDENTITY, OTHER_IDENTITY = throwaway_identity(20), throwaway_identity(21)
TTL = 1.0  # s
SETTINGS = {
    "private": False,
    "ipv4_auto": True,
    "routes": ("10.5.0.0/24",),
    "pools": (("10.5.0.1", "10.5.0.200"),),
}


@pytest_asyncio.fixture
async def world():
    """A root, and members to be, on loopback."""
    async with private_world(0) as world:
        yield world


@pytest.fixture(params=["sqlite", "postgres"])
def make_store(request):
    make = request.getfixturevalue(request.param)
    return lambda ttl=TTL: make(**({"ttl": ttl} if request.param == "postgres" else {}))


@pytest.fixture
def expiring_store(postgres):
    return lambda: postgres(ttl=TTL)


async def add_identities(store, *identities):
    await store.open()
    for identity in identities:
        await store.add_identity(identity)
    await store.close()


def service_at(world, number, store, **options):
    """A service on a computer of its own."""
    settings = {"bind": (world.ip(number),), "port": 0, "secondary_port": None, "allow_loopback_paths": True}
    return ControllerService(store, roots=world.planet, **(settings | options))


async def soon(awaitable):
    async with asyncio.timeout(20):
        return await awaitable


class Arrivals:
    """When datagrams arrived at a node, by the IP address that they came from."""

    def __init__(self, node):
        self.times = {}
        udp = node._udp
        take = udp._on_datagrams

        def note(number, remote, datagrams):
            self.times.setdefault(remote.host, []).append(lease_clock())
            take(number, remote, datagrams)

        udp._on_datagrams = note


def network_of(identity):
    """A network of that controller, which takes everybody."""
    return NetworkRecord(id=NetworkId(identity.address << 24 | 1), revision=1).updated(**SETTINGS)


def address_of(network):
    (address,) = network.addresses
    return address


async def test_the_next_one_serves_as_soon_as_one_stops(world, make_store):
    ttl = 60.0  # more than ``soon`` waits: it is the release that lets the next one in
    await add_identities(make_store(ttl), IDENTITY)
    member = await world.start(1)
    async with service_at(world, 10, make_store(ttl)) as first:
        controller = await soon(first.serving())
        assert controller.address == IDENTITY.address
        network_id = (await controller.create_network(**SETTINGS)).id
        network = await soon(member.join(network_id))
        second = service_at(world, 11, make_store(ttl))
        async with second:
            waiting = asyncio.ensure_future(second.serving())
            await asyncio.wait([waiting], timeout=0.2)
            assert not waiting.done()
            assert second.controller is None
            await soon(first.stop())
            assert first.controller is None
            successor = await soon(waiting)
            assert second.controller is successor
            assert successor.member(network_id, member.address).addresses == (address_of(network).ip,)
            newcomer = await world.start(2)
            assert address_of(await soon(newcomer.join(network_id))) != address_of(network)
    with pytest.raises(NodeNotRunning):
        await second.serving()


async def test_each_service_has_another_identity(world, make_store):
    await add_identities(make_store(), IDENTITY, OTHER_IDENTITY)
    async with service_at(world, 10, make_store()) as one, service_at(world, 11, make_store()) as two:
        controllers = [await soon(service.serving()) for service in (one, two)]
        assert {controller.address for controller in controllers} == {
            IDENTITY.address,
            OTHER_IDENTITY.address,
        }
        for controller in controllers:
            await controller.create_network()
            assert len(controller.networks) == 1


async def test_a_service_can_be_for_one_identity_only(world, make_store):
    store = make_store()
    await add_identities(store, IDENTITY, OTHER_IDENTITY)
    async with service_at(world, 10, store, address=str(OTHER_IDENTITY.address)) as service:
        assert (await soon(service.serving())).address == OTHER_IDENTITY.address
    with pytest.raises(StoreError, match="no identity 0123456789"):
        async with service_at(world, 10, store, address="0123456789"):
            pass


async def test_an_identity_that_is_added_later_is_taken(world, make_store):
    async with service_at(world, 10, make_store()) as service:
        serving = asyncio.ensure_future(service.serving())
        await add_identities(make_store(), IDENTITY)
        assert (await soon(serving)).address == IDENTITY.address


async def test_one_who_cannot_renew_is_off_the_wire_before_the_lease_is_anothers(
    world, expiring_store, monkeypatch
):
    await add_identities(expiring_store(), IDENTITY)
    arrivals = Arrivals(world.root)
    store = expiring_store()

    async def hang(lease):
        await asyncio.Event().wait()

    async with service_at(world, 10, store) as first, service_at(world, 11, expiring_store()) as second:
        controller = await soon(first.serving())
        node, counts, lease = controller._driver, controller._driver._udp.counts, first._lease

        def talk():
            node.core.vl1.send(world.root.address, Verb.ECHO, b"", node.now())
            node.pump()

        monkeypatch.setattr(store, "renew", hang)
        waiting = asyncio.ensure_future(second.serving())
        while lease.is_valid:
            talk()
            await asyncio.sleep(0)
        sent, deadline = counts["sent"], lease.deadline
        assert counts["send: not allowed"] <= 1
        for _ in range(100):  # nothing else of the process has run since the deadline
            talk()
        assert first.controller is None
        await soon(first.standing_by())
        await soon(waiting)
        assert counts["sent"] == sent
        assert counts["send: not allowed"] >= 100
        assert arrivals.times[world.ip(10)]
        assert arrivals.times[world.ip(11)][0] > deadline


async def test_what_others_write_to_the_database_reaches_members(world, expiring_store, postgres_server):
    store = expiring_store()
    await add_identities(store, IDENTITY)
    member = await world.start(1)
    async with service_at(world, 10, expiring_store()) as service:
        controller = await soon(service.serving())
        network = await controller.create_network(**SETTINGS)
        joined = await soon(member.join(network.id))
        plain = await asyncpg.connect(postgres_server.url)
        await plain.execute(f"SET search_path TO {store.schema}")
        with member.events() as events:
            await plain.execute('UPDATE network SET record = record || \'{"name": "by SQL"}\'')
            async with asyncio.timeout(20):
                while joined.info.name != "by SQL":
                    await anext(events)
            await plain.execute("UPDATE network SET record = record || '{\"private\": true}'")
            await plain.execute("UPDATE member SET record = record || '{\"authorized\": false}'")
            async with asyncio.timeout(20):
                while joined.status != NetworkStatus.ACCESS_DENIED:
                    await anext(events)
        await plain.close()


async def test_a_database_that_is_away_for_long_costs_the_turn_only(world, postgres_server, expiring_store):
    await add_identities(expiring_store(), IDENTITY)
    async with service_at(world, 10, expiring_store()) as service:
        controller = await soon(service.serving())
        network = await controller.create_network()
        await asyncio.to_thread(postgres_server.halt)
        try:
            await soon(service.standing_by())
            assert service.controller is None
        finally:
            await asyncio.to_thread(postgres_server.start)
        assert network.id in (await soon(service.serving())).networks


async def test_one_whose_identity_is_removed_stops(world, make_store):
    store = make_store()
    await add_identities(store, IDENTITY)
    service = service_at(world, 10, make_store())
    async with service:
        controller = await soon(service.serving())
        await store.open()
        await store.remove_identity(IDENTITY.address)
        with pytest.raises(StoreError):
            await controller.create_network()
        await soon(service.standing_by())
        await store.add_identity(IDENTITY)
        await store.close()
        await soon(service.serving())


async def test_what_ends_the_node_ends_the_service(world, make_store, caplog):
    store = make_store()
    await add_identities(store, IDENTITY)
    taken = next(iter(world.root.status.sockets)).local
    async with service_at(world, 10, make_store(), bind=(taken.host,), port=taken.port) as service:
        with pytest.raises(PortUnavailable):
            await soon(service.serving())
        await store.open()
        (status,) = await store.identities()
        assert status.holder is None
        assert "stands ready no more: PortUnavailable" in caplog.text
        await store.close()


async def test_a_service_is_started_once(make_store):
    service = ControllerService(make_store())
    with pytest.raises(NodeNotRunning):
        await service.serving()
    await service.stop()
    async with service:
        with pytest.raises(RuntimeError):
            await service.start()


async def test_a_service_can_be_made_with_a_place(world, tmp_path):
    await add_identities(zt.aio.stores.sqlite.SqliteStore(tmp_path / "c.db"), IDENTITY)
    async with service_at(world, 10, str(tmp_path / "c.db"), path=tmp_path / "node") as service:
        await soon(service.serving())
    assert (tmp_path / "node" / str(IDENTITY.address) / "identity.public").exists()


# Processes


class Process:
    """A process that stands ready; see ``controller_process``."""

    def __init__(self, process):
        self._process = process
        self.send_signal = process.send_signal

    async def says(self, text):
        """Wait until it says that."""
        async with asyncio.timeout(30):
            while (line := await self._process.stdout.readline()).decode().strip() != text:
                assert line, "the process has ended"

    async def said_first(self):
        async with asyncio.timeout(30):
            return (await self._process.stdout.readline()).decode().strip()

    async def stop(self):
        self._process.stdin.close()
        assert await soon(self._process.wait()) == 0

    async def end(self):
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()


@pytest.fixture
def planet(world, tmp_path):
    path = tmp_path / "planet"
    path.write_bytes(world.planet.to_bytes())
    return path


@pytest_asyncio.fixture
async def start_process(world, planet, postgres_server, expiring_store):
    """Starts processes, each on a computer of its own."""
    schema = expiring_store().schema
    processes = []

    async def start(number):
        arguments = [planet, world.ip(number), TTL, postgres_server.url, schema]
        process = Process(
            await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", f"{__package__}.controller_process", *map(str, arguments)),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
            )
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        await process.end()


async def test_two_controllers_and_a_standby(world, start_process, expiring_store):
    """One is killed: the standby serves its networks within seconds, and nobody's address changes."""
    store = expiring_store()
    await add_identities(store, IDENTITY, OTHER_IDENTITY)
    await store.open()
    networks = [network_of(identity) for identity in (IDENTITY, OTHER_IDENTITY)]
    await store.commit([PutNetwork(network, 0) for network in networks])
    processes = [await start_process(number) for number in (10, 11)]
    serving = {await process.said_first(): process for process in processes}
    victim = serving[f"serves {IDENTITY.address}"]
    assert f"serves {OTHER_IDENTITY.address}" in serving
    standby = await start_process(12)
    member = await world.start(1)
    joined = [await soon(member.join(network.id)) for network in networks]
    addresses = [address_of(network) for network in joined]
    killed = lease_clock()
    await victim.end()
    await standby.says(f"serves {IDENTITY.address}")
    assert lease_clock() - killed < 3 * TTL
    newcomer = await world.start(2)
    for network, address in zip(networks, addresses, strict=True):
        assert address_of(await soon(newcomer.join(network.id))) != address
        # The one who was there asks the new controller, and keeps what it has.
        await member.leave(network.id)
        assert address_of(await soon(member.join(network.id))) == address
    rows = (await store.load(IDENTITY.address)).members + (await store.load(OTHER_IDENTITY.address)).members
    assert len({(row.network_id, row.addresses) for row in rows}) == len(rows) == 4
    await store.close()


async def test_one_that_was_paused_wakes_up_silent(world, start_process, expiring_store):
    """Its timers are due, and packets wait for it in its sockets; the standby has had its place for long."""
    store = expiring_store()
    await add_identities(store, IDENTITY)
    await store.open()
    network = network_of(IDENTITY)
    await store.commit([PutNetwork(network, 0)])
    first = await start_process(10)
    await first.says(f"serves {IDENTITY.address}")
    second = await start_process(11)
    member = await world.start(1)
    address = address_of(await soon(member.join(network.id)))
    arrivals = [Arrivals(node) for node in (world.root, member)]
    first.send_signal(signal.SIGSTOP)
    for _ in range(20):  # what would be answered
        for node in (world.root, member):
            node.core.vl1.send(IDENTITY.address, Verb.ECHO, b"x", node._driver.now())
            node._driver.pump()
    await second.says(f"serves {IDENTITY.address}")
    for heard in arrivals:
        heard.times.clear()
    first.send_signal(signal.SIGCONT)
    await first.says("stands by")
    newcomer = await world.start(2)
    await soon(newcomer.join(network.id))
    await member.leave(network.id)
    assert address_of(await soon(member.join(network.id))) == address
    assert not any(world.ip(10) in heard.times for heard in arrivals)
    assert any(world.ip(11) in heard.times for heard in arrivals)
    await store.close()


async def test_a_process_that_stops_in_order_gives_its_place_away_at_once(
    world, start_process, expiring_store
):
    await add_identities(expiring_store(), IDENTITY)
    first = await start_process(10)
    await first.says(f"serves {IDENTITY.address}")
    second = await start_process(11)
    stopping = asyncio.ensure_future(first.stop())
    await second.says(f"serves {IDENTITY.address}")
    await stopping
