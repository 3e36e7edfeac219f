"""A node's life: starting, stopping, what stopping does to what is open, and several nodes side by side."""

import asyncio
import errno
import gc
import weakref

import pytest

import zt_async as zt
from zt_async.aio.node import OFFLINE_NEW_PORT, REBIND_INTERVAL
from zt_async.testing import SimUdp, private_world
from zt_async.testing.identities import throwaway_identity

from .places import REAL, SIMULATED, Recorder, address_of, echo, on, open_connections, turns

EVERY = on("simulated", "asyncio", "uvloop")
BLOB = bytes(range(256)) * 4096


@EVERY
async def test_a_node_is_awaited_or_entered(bare_world):
    node = await bare_world.start(1)
    assert node.is_running
    assert node.address == throwaway_identity(1).address
    assert str(node.address) in repr(node)
    await node.stop()
    assert not node.is_running
    async with await bare_world.start(1) as node:
        assert node.is_running
    assert not node.is_running


@REAL
async def test_entering_what_start_gives():
    settings = {"identity": throwaway_identity(1), "bind": ("127.0.0.1",), "allow_loopback_paths": True}
    async with zt.start(**settings) as node:
        assert node.is_running
        assert not node.is_online
    assert not node.is_running
    starting = zt.start(**settings)
    node = await starting
    with pytest.raises(RuntimeError, match="started before"):
        await starting
    await node.stop()


@SIMULATED
async def test_an_error_in_the_block_stops_the_node(bare_world):
    node = await bare_world.start(1)
    with pytest.raises(LookupError):
        async with node:
            raise LookupError
    assert not node.is_running


@EVERY
async def test_what_a_node_tells_of_itself(world):
    node = world.members[0]
    assert node.is_online
    assert node.identity == throwaway_identity(1)
    assert not node.identity.has_secret
    status = node.status
    assert status.address == node.address
    assert status.online
    assert not status.is_root
    assert status.planet_id == world.planet.id
    assert status.planet_timestamp == world.planet.timestamp
    assert status.moons == ()
    assert [sock.local.host for sock in status.sockets] == [world.ip(1)]
    assert status.counters["udp: sent"] > 0
    assert world.root.status.is_root
    assert world.root.is_online
    assert node.peer(world.root.address).role == "PLANET"
    assert node.peer(str(world.root.address)).address in {peer.address for peer in node.peers}
    assert node.peer("0123456789") is None


@EVERY
async def test_stopping_again_is_no_error(bare_world):
    node = await bare_world.start(1)
    await asyncio.gather(node.stop(), node.stop())
    await node.stop()


@EVERY
async def test_every_call_on_a_stopped_node_says_so(world):
    node = world.members[0]
    host = address_of(node)
    (network,) = node.networks.values()
    await node.stop()
    for call in (
        lambda: node.join(world.network_id),
        lambda: node.leave(world.network_id),
        node.online,
        lambda: node.open_connection(host, 7000),
        lambda: node.create_connection(Recorder, host, 7000),
        lambda: node.start_server(echo, host, 7000),
        lambda: node.create_server(Recorder, host, 7000),
        lambda: node.create_datagram_endpoint(asyncio.DatagramProtocol),
        lambda: node.ping(host),
        lambda: node.orbit(1, 2),
        lambda: node.deorbit(1),
        network.ready,
        network.leave,
        lambda: network.ping(host),
    ):
        with pytest.raises(zt.NodeNotRunning, match="was stopped"):
            await call()
    with pytest.raises(zt.NodeNotRunning):
        node.send_user_message(world.root.address, 70_000, b"")
    with pytest.raises(zt.NetworkNotJoined):
        network.addresses  # noqa: B018
    assert node.networks == {}
    assert not node.is_online
    assert not node.status.online
    assert [event async for event in node.events()] == []
    assert str(node.address) in repr(node)


@EVERY
async def test_stopping_resets_what_is_open(world):
    client, server = world.members
    accepted = asyncio.get_running_loop().create_future()

    def factory():
        accepted.set_result(protocol := Recorder())
        return protocol

    listening = await server.create_server(factory, address_of(server), 7000)
    _, near = await client.create_connection(Recorder, address_of(server), 7000)
    near.transport.write(b"hello")
    far = await accepted
    await far.received(5)
    await client.stop()
    error = near.lost.result()
    assert isinstance(error, ConnectionAbortedError)
    assert error.errno == errno.ECONNABORTED
    assert isinstance(error.__cause__, zt.NodeNotRunning)
    assert isinstance(await far.lost, ConnectionResetError)
    near.transport.write(b"nobody hears this")
    near.transport.close()
    near.transport.abort()
    listening.close()
    await listening.wait_closed()


@EVERY
async def test_stopping_sends_what_was_closed(world):
    client, server = world.members
    received = asyncio.get_running_loop().create_future()

    async def take(reader, writer):
        received.set_result(await reader.read())
        writer.close()

    listening = await server.start_server(take, address_of(server), 7000)
    _, writer = await client.open_connection(address_of(server), 7000)
    writer.write(BLOB)
    writer.close()
    await client.stop()
    assert await received == BLOB
    listening.abort_clients()


@SIMULATED
async def test_stopping_does_not_wait_for_ever(world):
    client, server = world.members
    loop = asyncio.get_running_loop()

    async with await server.create_server(lambda: Recorder(), address_of(server), 7000) as listening:
        _, near = await client.create_connection(Recorder, address_of(server), 7000)
        world.net.partition([world.net.hosts[1]])
        near.transport.write(BLOB)
        near.transport.close()
        before = loop.time()
        await client.stop()
        assert loop.time() - before == pytest.approx(2.0)
        assert isinstance(near.lost.result(), ConnectionAbortedError)
        listening.abort_clients()


@EVERY
@pytest.mark.parametrize("turns_between", range(12))
@pytest.mark.parametrize("options", [{}, {"happy_eyeballs_delay": 0.1}], ids=["one by one", "race"])
async def test_stopping_at_any_moment_ends_a_connect(bare_world, turns_between, options):
    node = await bare_world.start(1)
    await node.create_server(Recorder, port=7000)
    connecting = asyncio.create_task(node.create_connection(Recorder, "localhost", 7000, **options))
    await turns(turns_between)
    await node.stop()
    async with asyncio.timeout(1):
        try:
            _, protocol = await connecting
        except zt.NodeNotRunning:
            return
        assert isinstance(await protocol.lost, ConnectionError)


async def test_stopping_ends_servers_endpoints_and_waits(world):
    node = world.members[0]
    host = address_of(node)
    server = await node.start_server(echo, host, 7000)
    serving = asyncio.create_task(server.serve_forever())
    _, endpoint = await node.create_datagram_endpoint(Datagrams)
    absent = host.replace("::1", ":2::1")
    connecting = asyncio.create_task(node.open_connection(absent, 7000))
    pinging = asyncio.create_task(node.ping(absent))
    await turns(5)
    await node.stop()
    for waiting in (serving, connecting, pinging):
        with pytest.raises(zt.NodeNotRunning, match="was stopped"):
            await waiting
    await server.wait_closed()
    assert await endpoint.lost is None
    assert open_connections(node) == []


class Datagrams(asyncio.DatagramProtocol):
    def __init__(self):
        self.lost = asyncio.get_running_loop().create_future()

    def connection_lost(self, error):
        self.lost.set_result(error)


@EVERY
async def test_waiting_for_a_root_ends_with_the_node(bare_world):
    node = await bare_world.start(1)
    await bare_world.root.stop()
    waiting = asyncio.create_task(node.online())
    await turns(5)
    assert not waiting.done()
    await node.stop()
    with pytest.raises(zt.NodeNotRunning):
        await waiting


@EVERY
async def test_handlers_end_in_silence_when_their_node_stops(world):
    client, server = world.members
    ended = []

    async def handle(reader, writer):
        try:
            await reader.read()
        finally:
            ended.append(writer)

    await server.start_server(handle, address_of(server), 7000)
    streams = [await client.open_connection(address_of(server), 7000) for _ in range(3)]
    await client.ping(address_of(server))
    await server.stop()
    await turns(5)
    assert len(ended) == 3
    for reader, writer in streams:
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()


@SIMULATED
async def test_a_handler_may_stop_its_own_node(world):
    client, server = world.members
    handled = asyncio.get_running_loop().create_future()

    async def handle(reader, writer):
        await reader.readline()
        await server.stop()
        handled.set_result(server.is_running)

    await server.start_server(handle, address_of(server), 7000)
    reader, writer = await client.open_connection(address_of(server), 7000)
    writer.write(b"stop\n")
    assert await handled is False
    with pytest.raises(ConnectionResetError):
        await reader.read()
    writer.close()


@EVERY
async def test_a_node_starts_again_and_again(bare_world, tmp_path):
    for round_number in range(5):
        node = await bare_world.start(1, tmp_path)
        await node.online()
        network = await node.join(bare_world.network_id)
        async with await node.start_server(echo, network.ipv6, 7000):
            reader, writer = await node.open_connection(network.ipv6, 7000)
            writer.write(b"%d" % round_number)
            assert await reader.readexactly(1) == b"%d" % round_number
            writer.close()
        await node.stop()


# The calls that name no node


@EVERY
async def test_the_calls_of_the_package_use_the_one_node(bare_world):
    node = await bare_world.add_member()
    await bare_world.root.stop()
    async with await zt.start_server(echo, address_of(node), 7000):
        reader, writer = await zt.open_connection(address_of(node), 7000)
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"hello"
        writer.close()
        transport, protocol = await zt.create_connection(Recorder, address_of(node), 7000)
        transport.close()
        await protocol.lost
    async with await zt.create_server(Recorder, address_of(node), 7000):
        pass
    transport, _ = await zt.create_datagram_endpoint(asyncio.DatagramProtocol, (address_of(node), 7000))
    transport.close()


CALLS = {
    "open_connection": lambda: zt.open_connection("::1", 1),
    "create_connection": lambda: zt.create_connection(Recorder, "::1", 1),
    "start_server": lambda: zt.start_server(echo, "::1", 1),
    "create_server": lambda: zt.create_server(Recorder, "::1", 1),
    "create_datagram_endpoint": lambda: zt.create_datagram_endpoint(asyncio.DatagramProtocol),
}


@EVERY
@pytest.mark.parametrize("name", CALLS)
async def test_the_calls_of_the_package_with_no_node_or_two(world, name):
    with pytest.raises(zt.NodeNotRunning, match="3 nodes run on this event loop; call the method"):
        await CALLS[name]()
    await world.stop()
    with pytest.raises(zt.NodeNotRunning, match=r"no node runs .* zt.start\(\)"):
        await CALLS[name]()


def test_a_loop_that_is_dropped_with_its_node_is_not_kept():
    async def forget():
        node = await zt.start(
            identity=throwaway_identity(1),
            bind=("127.0.0.1",),
            allow_loopback_paths=True,
            secondary_port=None,
        )
        node._udp.close()  # or there would be a warning about its sockets
        return weakref.ref(node), weakref.ref(asyncio.get_running_loop())

    kept = asyncio.run(forget())
    gc.collect()
    assert [ref() for ref in kept] == [None, None]


@EVERY
async def test_nodes_in_one_process_are_apart(bare_world):
    """Three members, of which two share each of two networks."""
    one, two = zt.NetworkId.ad_hoc(7000, 7000), zt.NetworkId.ad_hoc(8000, 8000)
    nodes = [await bare_world.start(number) for number in (1, 2, 3)]
    a, b, c = nodes
    for node, networks in ((a, [one]), (b, [one, two]), (c, [two])):
        await node.online()
        for network_id in networks:
            await node.join(network_id)
    for network_id, port, client in ((one, 7000, a), (two, 8000, c)):
        host = b.networks[network_id].ipv6
        async with await b.start_server(echo, host, port):
            reader, writer = await client.open_connection(host, port)
            assert writer.get_extra_info("network") == network_id
            writer.write_eof()
            assert await reader.read() == b""
            writer.close()
    with pytest.raises(OSError, match="No route"):
        await a.open_connection(b.networks[two].ipv6, 8000)


@SIMULATED
async def test_a_world_of_ones_own_has_what_it_promises():
    async with private_world(3) as world:
        assert len(world.members) == 3
        assert all(node.is_online for node in world.members)
        assert all(list(node.networks) == [world.network_id] for node in world.members)
        later = await world.add_member(event_queue=5)
        assert later.config.event_queue == 5
        assert await later.ping(address_of(world.members[0])) > 0
        nodes = [world.root, *world.members]
    assert not any(node.is_running for node in nodes)


# Following the host


@SIMULATED
async def test_a_node_follows_its_host_to_new_addresses(bare_world):
    node = await bare_world.add_member()
    net, host = bare_world.net, bare_world.net.hosts[1]

    def bound():
        return {sock.local.host for sock in node.status.sockets}

    assert bound() == {"10.0.1.1"}
    net.add_address(host, "10.0.77.1")
    await asyncio.sleep(REBIND_INTERVAL)
    assert bound() == {"10.0.1.1", "10.0.77.1"}
    net.remove_address(host, "10.0.1.1")
    await asyncio.sleep(REBIND_INTERVAL + 30)
    assert bound() == {"10.0.77.1"}
    assert node.is_online
    best, *_ = bare_world.root.peer(node.address).paths
    assert best.endpoint.host == "10.0.77.1"


@SIMULATED
async def test_a_node_that_stays_offline_tries_another_port(bare_world):
    net = bare_world.net
    host = net.add_host("behind a NAT", "10.5.0.1", ports=(9993, 20_000))
    async with zt.start(
        identity=throwaway_identity(1), roots=bare_world.planet, udp=SimUdp(net, host), offline_after=10.0
    ) as node:
        await node.online()
        ports = [sock.local.port for sock in node.status.sockets]
        assert ports == [9993, 20_000]
        net.partition([host])
        await asyncio.sleep(OFFLINE_NEW_PORT)
        assert [sock.local.port for sock in node.status.sockets] == ports
        await asyncio.sleep(2 * REBIND_INTERVAL + 10)
        first, second = [sock.local.port for sock in node.status.sockets]
        assert first == 9993
        assert second != 20_000
        net.heal()
        await node.online()


@SIMULATED
async def test_a_node_looks_around_when_its_host_has_slept(bare_world, monkeypatch):
    node = await bare_world.start(1)
    looks = []
    monkeypatch.setattr(node.core.vl1.pulse, "check_now", lambda: looks.append(1))
    await asyncio.sleep(3 * REBIND_INTERVAL)
    assert looks == []
    asyncio.get_running_loop().clock._epoch_ms += 60_000  # monotonic clocks stand still meanwhile
    await asyncio.sleep(REBIND_INTERVAL)
    assert looks
