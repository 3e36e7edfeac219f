"""The iterator of events: what comes in which order, to how many, and what becomes of slow readers."""

import asyncio

import pytest

import zt_async as zt
from zt_async.aio.subscription import EventStream
from zt_async.testing import Link

from .places import SIMULATED, address_of, on, turns

pytestmark = SIMULATED


async def all_of(stream):
    return [event async for event in stream]


def kinds(events):
    return [type(event) for event in events]


@on("simulated", "asyncio", "uvloop")
async def test_events_come_in_the_order_of_what_happens(bare_world):
    node = await bare_world.start(1)
    stream = node.events()
    await node.online()
    network = await node.join(bare_world.network_id)
    info = network.info
    await network.leave()
    await node.join(bare_world.network_id)
    await node.stop()
    events = await all_of(stream)
    assert events[0] == zt.NodeUp(address=node.address)
    assert events[-1] == zt.NodeDown()
    root, online = (kinds(events).index(kind) for kind in (zt.PeerDirect, zt.NodeOnline))
    assert events[root].peer.address == bare_world.root.address
    assert events[root].path.endpoint.host == bare_world.ip(0)
    assert root < online
    (address,) = info.addresses
    added = zt.AddressAdded(network_id=network.id, address=address)
    removed = zt.AddressRemoved(network_id=network.id, address=address)
    there = [zt.NetworkJoined, added, zt.NetworkReady]
    gone = [removed, zt.NetworkDown]
    seen = [event for event in events if isinstance(event, NETWORK_EVENTS)]
    for expected, event in zip([*there, *gone, *there, *gone], seen, strict=True):
        assert expected in (event, type(event))
    assert all(event.network.id == network.id for event in seen if hasattr(event, "network"))


NETWORK_EVENTS = (
    zt.NetworkJoined,
    zt.NetworkReady,
    zt.NetworkUpdated,
    zt.NetworkDown,
    zt.AddressAdded,
    zt.AddressRemoved,
)


async def test_peers_are_told_of_as_they_are_met(world):
    client, server = world.members
    stream = client.events()
    await client.ping(address_of(server))
    await asyncio.sleep(1)
    stream.end()
    told = [event for event in await all_of(stream) if event.peer.address == server.address]
    assert kinds(told) == [zt.PathAdded, zt.PeerDirect]
    for event in told:
        assert event.peer.direct
        assert event.path.endpoint.host == world.ip(2)
    assert client.peer(server.address).direct


async def test_peers_that_cannot_meet_are_relayed(world):
    client, server = world.members
    for number in (1, 2):
        world.net.set_path(world.net.hosts[number], world.net.hosts[3 - number], Link(loss=1.0))
    stream = client.events()
    await client.ping(address_of(server))
    stream.end()
    assert kinds(await all_of(stream)) == [zt.PeerRelayed]
    assert not client.peer(server.address).direct


async def test_a_node_goes_offline_and_online_again(bare_world):
    node = await bare_world.start(1, offline_after=10.0)
    await node.online()
    stream = node.events()
    root_host = bare_world.net.hosts[0]
    bare_world.net.partition([root_host])
    assert isinstance(await next_of(stream, zt.NodeOffline), zt.NodeOffline)
    assert not node.is_online
    assert node.is_running
    waiting = asyncio.create_task(node.online())
    await turns(3)
    assert not waiting.done()
    bare_world.net.heal()
    await waiting
    assert node.is_online
    assert isinstance(await next_of(stream, zt.NodeOnline), zt.NodeOnline)


async def next_of(stream, kind):
    async for event in stream:
        if isinstance(event, kind):
            return event
    raise AssertionError("the events ended")


async def test_a_message_outside_of_networks(world):
    client, server = world.members
    stream = server.events()
    client.send_user_message(server.address, 70_000, b"hello")
    event = await next_of(stream, zt.UserMessage)
    assert event == zt.UserMessage(source=client.address, type=70_000, data=b"hello")
    client.send_user_message(str(server.address), 2**64 - 1, bytes(9000))
    assert await next_of(stream, zt.UserMessage) == zt.UserMessage(
        source=client.address, type=2**64 - 1, data=bytes(9000)
    )


@pytest.mark.parametrize(
    ("message_type", "size", "text"), [(2**64, 1, "64 bits"), (-1, 1, "64 bits"), (1, 10_000, "too many")]
)
async def test_messages_that_cannot_be_sent(world, message_type, size, text):
    with pytest.raises(ValueError, match=text):
        world.members[0].send_user_message(world.root.address, message_type, bytes(size))
    with pytest.raises(ValueError, match="node address"):
        world.members[0].send_user_message("no address", 1, b"")


async def test_a_node_that_nobody_knows(world):
    client = world.members[0]
    stream = client.events()
    client.send_user_message("0123456789", 70_000, b"hello")
    assert (await next_of(stream, zt.PeerUnreachable)).address == zt.NodeAddress(0x0123456789)


# Streams


async def test_every_subscriber_has_all_events_from_its_beginning(bare_world):
    node = await bare_world.start(1)
    early = node.events()
    await node.join(bare_world.network_id)
    late = node.events()
    await node.leave(bare_world.network_id)
    await node.stop()
    early, late = await all_of(early), await all_of(late)
    assert zt.NetworkReady in kinds(early)
    assert early[len(early) - len(late) :] == late
    assert kinds(late)[-3:] == [zt.AddressRemoved, zt.NetworkDown, zt.NodeDown]


async def test_a_slow_subscriber_is_told_what_it_lost_and_slows_nobody(bare_world):
    node = await bare_world.start(1, event_queue=10)
    slow, quick = node.events(), node.events()
    seen = []

    async def read():
        async for event in quick:
            seen.append(event)

    reading = asyncio.create_task(read())
    for _ in range(20):
        await node.join(bare_world.network_id)
        await node.leave(bare_world.network_id)
        await turns(5)
    await node.stop()
    await reading
    assert zt.EventsLost not in kinds(seen)
    lost, *kept = await all_of(slow)
    assert lost == zt.EventsLost(count=len(seen) - 10)
    assert kept == seen[-10:]


async def test_events_are_lost_again_only_when_the_queue_is_full_again():
    stream = EventStream(3)
    events = [zt.NodeUp(address=zt.NodeAddress(number)) for number in range(1, 11)]
    for event in events[:5]:
        stream.put(event)
    assert await anext(stream) == zt.EventsLost(count=2)
    assert await anext(stream) == events[2]
    stream.put(events[5])
    assert [await anext(stream) for _ in range(3)] == events[3:6]
    for event in events[6:]:
        stream.put(event)
    stream.end()
    assert await all_of(stream) == [zt.EventsLost(count=1), *events[7:]]
    stream.put(events[0])
    assert await all_of(stream) == []


async def test_a_stream_that_was_closed():
    stream = EventStream(3)
    for _ in range(5):
        stream.put(zt.NodeOnline())
    with stream as same:
        assert same is stream
    stream.close()
    stream.put(zt.NodeOnline())
    assert await all_of(stream) == []


async def test_a_reader_that_was_cancelled_loses_nothing():
    stream = EventStream(3)
    reading = asyncio.ensure_future(anext(stream))
    await turns(2)
    reading.cancel()
    stream.put(zt.NodeOnline())
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert await anext(stream) == zt.NodeOnline()


async def test_one_stream_has_one_reader():
    stream = EventStream(3)
    reading = asyncio.create_task(all_of(stream))
    await turns(2)
    with pytest.raises(RuntimeError, match="another task"):
        await anext(stream)
    stream.end()
    assert await reading == []


async def test_streams_that_nobody_holds_are_forgotten(world):
    node = world.members[0]
    for _ in range(10):
        node.events()
    with node.events() as held:
        await node.ping("::1")
        assert len(node._streams) == 1
    del held
    assert len(node._streams) == 0


async def test_events_are_copies_that_do_not_change(world):
    client, server = world.members
    await client.ping(address_of(server))
    before = client.peer(server.address)
    copy = str(before)
    await asyncio.sleep(5)
    assert str(before) == copy != str(client.peer(server.address))
    with pytest.raises(AttributeError):
        before.role = "PLANET"
