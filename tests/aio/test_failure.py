"""What a defect inside a node leads to: the end of that node, with its reason, for everybody who asks."""

import asyncio

import pytest

import zt_async as zt
from zt_async.aio.storage import Kind
from zt_async.testing.identities import throwaway_identity

from .places import SIMULATED, Recorder, address_of, echo, on, turns

EVERY = on("simulated", "asyncio", "uvloop")


class Defect(Exception):
    """Injected."""


def broken(*_, **__):
    raise Defect("injected")


PLACES = {
    "receiving": lambda node: (node.core, "receive_datagrams"),
    "a timer": lambda node: (node.core, "handle_timer"),
    "sending": lambda node: (node.core, "flights_to_send"),
    "arrivals": lambda node: (node.core, "take_arrivals"),
    "events": lambda node: (node.core, "take_events"),
    "the next timer": lambda node: (node.core, "next_timer"),
}


@EVERY
@pytest.mark.parametrize("place", PLACES)
async def test_a_defect_ends_the_node_with_its_reason(world, reports, monkeypatch, place):
    client, server = world.members
    host = address_of(server)
    stream = server.events()
    listening = await server.create_server(Recorder, host, 7000)
    serving = asyncio.create_task(listening.serve_forever())
    _, near = await client.create_connection(Recorder, host, 7000)
    connecting = asyncio.create_task(server.open_connection(host.replace("::1", ":2::1"), 7000))
    await turns(5)
    target, method = PLACES[place](server)
    with monkeypatch.context() as patch:
        patch.setattr(target, method, broken)
        near.transport.write(b"this goes wrong")
        with pytest.raises(zt.NodeFailed, match="injected"):
            await serving
    with pytest.raises(zt.NodeFailed) as caught:
        await connecting
    assert isinstance(caught.value.__cause__, Defect)
    await server.stop()
    events = [event async for event in stream]
    assert isinstance(events[-1], zt.NodeDown)
    assert isinstance(events[-1].error, Defect)
    assert sum(isinstance(event, zt.NodeDown) for event in events) == 1
    assert {type(report["exception"]) for report in reports} == {Defect}
    assert all("defect" in report["message"] for report in reports)
    reports.clear()
    for call in (lambda: server.join(world.network_id), server.online, lambda: server.ping(host)):
        with pytest.raises(zt.NodeFailed, match="injected"):
            await call()
    assert not server.is_running
    assert client.is_running
    near.transport.abort()


@SIMULATED
async def test_what_was_open_is_told(world, reports, monkeypatch):
    node, other = world.members
    accepted = asyncio.get_running_loop().create_future()

    def factory():
        accepted.set_result(protocol := Recorder())
        return protocol

    await node.create_server(factory, address_of(node), 7000)
    _, near = await other.create_connection(Recorder, address_of(node), 7000)
    far = await accepted
    with monkeypatch.context() as patch:
        patch.setattr(node.core, "flights_to_send", broken)
        near.transport.write(b"this goes wrong")
        error = await far.lost
    assert isinstance(error, ConnectionAbortedError)
    assert isinstance(error.__cause__, zt.NodeFailed)
    reports.clear()
    near.transport.abort()


@SIMULATED
async def test_a_node_that_failed_can_be_started_anew(bare_world, reports, monkeypatch, tmp_path):
    node = await bare_world.start(1, tmp_path)
    await node.join(bare_world.network_id)
    stream = node.events()
    monkeypatch.setattr(node.core, "handle_timer", broken)
    assert [type(event) for event in [event async for event in stream]][-1] is zt.NodeDown
    await node.stop()
    reports.clear()
    async with await bare_world.start(1, tmp_path) as again:
        await again.online()
        assert list(again.networks) == [bare_world.network_id]


@SIMULATED
async def test_a_defect_in_checking_an_identity(bare_world, reports, monkeypatch):
    node = await bare_world.start(1)
    await node.online()
    monkeypatch.setattr(bare_world.root.core.vl1, "validated", broken)
    stream = bare_world.root.events()
    newcomer = await bare_world.start(2)
    events = [event async for event in stream]
    assert isinstance(events[-1].error, Defect)
    assert newcomer.is_running
    reports.clear()


@SIMULATED
async def test_an_identity_collision_ends_the_node(bare_world, reports):
    node = await bare_world.start(1)
    await node.online()
    stream = node.events()
    node.core.vl1.events.append(zt.IdentityCollided(reporter=bare_world.root.address))
    node._driver.schedule()
    collided, *_, down = [event async for event in stream]
    assert collided == zt.IdentityCollided(reporter=bare_world.root.address)
    assert isinstance(down, zt.NodeDown)
    assert isinstance(down.error, zt.IdentityCollision)
    with pytest.raises(zt.NodeFailed, match="knows another node under the address") as caught:
        await node.online()
    assert isinstance(caught.value.__cause__, zt.IdentityCollision)
    assert reports == []


class Unreliable(zt.MemoryStorage):
    """Storage that breaks."""

    broken = False

    async def save(self, kind, data, name=""):
        if self.broken:
            raise zt.StorageError(f"cannot save a {kind.name}")
        await super().save(kind, data, name)


@SIMULATED
async def test_what_cannot_be_stored_at_the_end_is_reported_and_the_node_stops_all_the_same(
    bare_world, reports
):
    storage = Unreliable()
    node = await bare_world.start(1, storage=storage)
    await node.online()
    storage.broken = True
    stream = node.events()
    await node.stop()
    assert [event async for event in stream][-1] == zt.NodeDown()
    assert [str(report["exception"]) for report in reports] == ["cannot save a PEER"]
    reports.clear()
    await storage.open()  # it is free


@SIMULATED
async def test_a_world_that_cannot_be_stored_is_reported_and_the_node_goes_on(bare_world, reports):
    storage = Unreliable()
    node = await bare_world.start(1, storage=storage)
    storage.broken = True
    node.core.vl1.events.append(zt.WorldChanged(world_id=1, kind="planet", timestamp=1))
    node._driver.schedule()
    await turns(10)
    assert [str(report["exception"]) for report in reports] == ["cannot save a PLANET"]
    reports.clear()
    assert node.is_running
    await node.online()
    storage.broken = False


@SIMULATED
async def test_a_network_that_cannot_be_stored_is_not_joined(bare_world):
    storage = Unreliable()
    node = await bare_world.start(1, storage=storage)
    storage.broken = True
    with pytest.raises(zt.StorageError, match="cannot save a NETWORK"):
        await node.join(bare_world.network_id)
    assert node.networks == {}
    storage.broken = False
    await node.join(bare_world.network_id)
    assert (Kind.NETWORK, str(bare_world.network_id)) in storage.blobs


@SIMULATED
async def test_a_start_that_fails_late_leaves_nothing(bare_world, monkeypatch):
    storage = zt.MemoryStorage()
    identity = throwaway_identity(1)

    class Udp:
        closed = 0

        def open(self, on_datagrams, on_drained, /):
            raise zt.PortUnavailable(98, "taken")

        def close(self):
            self.closed += 1

    udp = Udp()
    with pytest.raises(zt.PortUnavailable):
        await zt.start(identity=identity, storage=storage, udp=udp)
    assert udp.closed == 1
    await storage.open()  # it is free


@SIMULATED
async def test_a_handler_of_an_application_is_no_part_of_the_node(world, reports):
    client, server = world.members

    class Exits(Recorder):
        def data_received(self, data):
            raise asyncio.CancelledError

    async with await server.start_server(echo, address_of(server), 7000):
        _, near = await client.create_connection(Exits, address_of(server), 7000)
        near.transport.write(b"x")
        await asyncio.sleep(1)
        near.transport.abort()
    assert client.is_running
    assert server.is_running
    reports.clear()
