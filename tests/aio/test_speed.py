"""How quickly things happen on a local wire: asserted on simulated time, told for the real one."""

import asyncio
import time

import pytest
import uvloop

from zt_async.testing import Link, VirtualLoop

from .places import REAL, SIMULATED, address_of, echo

START_TO_ONLINE = 0.5
FIRST_CONNECT = 0.3


async def measure(world, node_settings):
    """Seconds from start to online, from join to ready, and of the first connect to a new peer."""
    loop = asyncio.get_running_loop()
    clock = loop.time if isinstance(loop, VirtualLoop) else time.perf_counter
    server = await world.add_member(**node_settings)
    async with await server.start_server(echo, address_of(server), 7000):
        began = clock()
        client = await world.start(2, **node_settings)
        await client.online()
        online = clock() - began
        began = clock()
        await client.join(world.network_id)
        ready = clock() - began
        began = clock()
        reader, writer = await client.open_connection(address_of(server), 7000)
        connected = clock() - began
        writer.write_eof()
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()
    return online, ready, connected


@SIMULATED
@pytest.mark.parametrize("delay", [0.0, 0.0005, 0.005])
async def test_on_simulated_time(bare_world, delay):
    bare_world.net.set_default(Link(delay=delay))
    online, ready, connected = await measure(bare_world, {})
    assert online < START_TO_ONLINE / 4
    assert ready == 0
    assert connected < FIRST_CONNECT / 4


@SIMULATED
@pytest.mark.parametrize("seed", range(5))
async def test_with_some_loss(bare_world, seed):
    """The first packets may be those that get lost; they are repeated soon."""
    bare_world.net._rng.seed(seed)
    bare_world.net.set_default(Link(delay=0.001, loss=0.05))
    online, ready, connected = await measure(bare_world, {})
    assert online < 1.5
    assert ready == 0
    assert connected < 1.5


@REAL
async def test_in_reality(bare_world):
    loop = "uvloop" if isinstance(asyncio.get_running_loop(), uvloop.Loop) else "asyncio"
    online, ready, connected = await measure(bare_world, {})
    print(  # noqa: T201 - so that "pytest -s" tells
        f"{loop}: online after {online:.3f} s, ready after {ready:.6f} s, connected after {connected:.3f} s"
    )
    assert online < START_TO_ONLINE * 10  # a busy machine is no failure
    assert connected < FIRST_CONNECT * 10
