"""Whatever is awaited can be cancelled at any moment, and leaves nothing behind."""

import asyncio
import itertools
import threading

import pytest

import zt_async as zt
from zt_async.testing.identities import throwaway_identity

from .certificates import contexts
from .places import REAL, SIMULATED, Recorder, address_of, echo, on, open_connections, turns

BOTH = on("simulated", "asyncio")
TURNS = 40


def what_is_open(node):
    """Everything that a call might forget."""
    stack, loop = node.core.stack, asyncio.get_running_loop()
    return {
        "tasks": asyncio.all_tasks(),
        "connections": open_connections(node),
        "listeners": stack._tcp.listeners,
        "endpoints": stack._udp.endpoints,
        "pings": list(stack._pings),
        "owners": list(node._driver._owners),
        "streams": streams_of(node),
        "timers": [
            timer
            for timer in loop._scheduled
            if not timer.cancelled() and timer._callback.__qualname__ not in OWN_TIMERS
        ],
    }


OWN_TIMERS = ("Driver._on_timer", "Node._on_rebind", "SimNet._run_due")


def streams_of(node):
    return sum(not stream._ended for stream in node._streams.values())


async def cancel_at_every_step(call, check):
    """Cancel ``call`` after 0, 1, 2, ... turns of the loop, and then later and later, until it ends by itself.

    ``check`` is called after each time.
    """
    for step in itertools.count():
        task = asyncio.create_task(call())
        await turns(min(step, TURNS))
        if step > TURNS:
            await asyncio.sleep((step - TURNS) * 0.0007)
        if task.done():
            await task
            return step
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await turns(5)
        await check()
    raise AssertionError


@SIMULATED
async def test_connecting(world):
    client, server = world.members
    listening = await server.create_server(Recorder, address_of(server), 7000)
    before = what_is_open(client)

    async def connect():
        _, writer = await client.open_connection(address_of(server), 7000)
        writer.transport.abort()

    async def check():
        assert what_is_open(client) == before

    assert await cancel_at_every_step(connect, check) > TURNS
    listening.close()


@SIMULATED
async def test_connecting_with_tls(world, tmp_path):
    client, server = world.members
    host = address_of(server)
    tls = contexts(host, tmp_path)
    listening = await server.start_server(echo, host, 7000, ssl=tls[0])
    before = what_is_open(client)

    async def connect():
        _, writer = await client.open_connection(host, 7000, ssl=tls[1])
        writer.transport.abort()

    async def check():
        await asyncio.sleep(0.1)  # in which the server hears of it
        assert what_is_open(client) == before

    assert await cancel_at_every_step(connect, check) > TURNS
    listening.close()


@SIMULATED
async def test_pinging(world):
    client, server = world.members
    before = what_is_open(client)

    async def check():
        assert what_is_open(client) == before

    assert await cancel_at_every_step(lambda: client.ping(address_of(server)), check) > TURNS
    await check()


@on("simulated", "asyncio", "uvloop")
async def test_a_timeout(world):
    client, server = world.members
    absent = address_of(server).replace("::1", ":2::1")
    for call in (client.open_connection(absent, 7000), client.ping(absent)):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await call
        assert open_connections(client) == []
        assert list(client._driver._owners) == []
        assert list(client.core.stack._pings) == []
        assert streams_of(client) == 0


@SIMULATED
async def test_waiting_for_a_root(bare_world):
    node = await bare_world.start(1)
    await bare_world.root.stop()
    before = what_is_open(node)
    for count in range(5):
        waiting = asyncio.create_task(node.online())
        await turns(count)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert what_is_open(node) == before


@BOTH
async def test_joining(bare_world, tmp_path):
    network_id = bare_world.network_id
    file = tmp_path / "networks.d" / f"{network_id}.conf"
    node = await bare_world.start(1, tmp_path)

    async def check():
        assert node.networks == {}
        assert streams_of(node) == 0

    await cancel_at_every_step(lambda: node.join(network_id), check)
    assert list(node.networks) == [network_id]
    await node.stop()
    assert file.exists()


@BOTH
async def test_a_join_that_was_cancelled_leaves_no_file(bare_world, tmp_path):
    for step in range(1, 12):
        node = await bare_world.start(1, tmp_path / str(step))
        joining = asyncio.create_task(node.join(bare_world.network_id))
        await turns(step)
        done = joining.done()
        joining.cancel()
        await asyncio.wait([joining])
        await node.stop()
        assert done or list((tmp_path / str(step)).glob("networks.d/*")) == []


@BOTH
async def test_a_join_that_was_cancelled_does_not_end_another(bare_world, tmp_path):
    for step in range(8):
        node = await bare_world.start(1, tmp_path / str(step))
        first, second = (asyncio.create_task(node.join(bare_world.network_id)) for _ in range(2))
        await turns(step)
        first.cancel()
        network = await second
        assert node.networks == {bare_world.network_id: network}
        await asyncio.wait([first])
        await node.stop()
        assert len(list((tmp_path / str(step)).glob("networks.d/*"))) == 1


@BOTH
async def test_leaving_goes_on(bare_world, tmp_path):
    for step in range(8):
        node = await bare_world.start(1, tmp_path)
        await node.join(bare_world.network_id)
        leaving = asyncio.create_task(node.leave(bare_world.network_id))
        await turns(step)
        leaving.cancel()
        await asyncio.wait([leaving])
        left = node.networks == {}
        assert left or step == 0
        await node.stop()
        assert left == (list(tmp_path.glob("networks.d/*")) == [])


@BOTH
async def test_starting(bare_world, tmp_path):
    async def start():
        node = await bare_world.start(1, tmp_path)
        await node.stop()

    async def check():
        assert asyncio.all_tasks() == tasks
        assert bare_world.net is None or all(host.on_datagrams is None for host in bare_world.net.hosts[1:])

    tasks = asyncio.all_tasks()
    assert await cancel_at_every_step(start, check) > 3
    async with await bare_world.start(1, tmp_path) as node:
        assert node.address == throwaway_identity(1).address


@REAL
async def test_starting_with_a_new_identity(tmp_path, reports, monkeypatch):
    """Cancelled in the middle of the search for one."""
    began, found = threading.Event(), threading.Event()

    def generate(random_bytes):
        began.set()
        found.wait()
        return throwaway_identity(1)

    monkeypatch.setattr(zt.Identity, "generate", generate)
    starting = asyncio.create_task(start_and_stop(tmp_path))
    while not began.is_set():
        await turns(1)
    starting.cancel()
    found.set()
    await asyncio.wait([starting])
    assert starting.cancelled()
    first = await start_and_stop(tmp_path)
    assert await start_and_stop(tmp_path) == first


async def start_and_stop(folder):
    async with zt.start(folder, bind=("127.0.0.1",), allow_loopback_paths=True, secondary_port=None) as node:
        return node.address


@BOTH
async def test_stopping_goes_on(bare_world, tmp_path):
    for step in range(12):
        node = await bare_world.start(1, tmp_path)
        stream = node.events()
        await node.join(bare_world.network_id)
        stopping = asyncio.create_task(node.stop())
        await turns(step)
        stopping.cancel()
        await asyncio.wait([stopping])
        await node.stop()
        assert not node.is_running
        events = [event async for event in stream]
        assert [type(event) for event in events].count(zt.NodeDown) == 1
        assert events[-1] == zt.NodeDown()


@SIMULATED
async def test_a_stop_that_was_cancelled_needs_nobody_to_wait(bare_world, tmp_path):
    node = await bare_world.start(1, tmp_path)
    stopping = asyncio.create_task(node.stop())
    await turns(2)
    stopping.cancel()
    await asyncio.wait([stopping])
    await asyncio.sleep(1)
    async with await bare_world.start(1, tmp_path):
        pass


@SIMULATED
async def test_waiting_for_a_server(world):
    client, server = world.members
    listening = await server.create_server(Recorder, address_of(server), 7000)
    _, near = await client.create_connection(Recorder, address_of(server), 7000)
    await client.ping(address_of(server))
    listening.close()
    for _ in range(3):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await listening.wait_closed()
    near.transport.close()
    await listening.wait_closed()
