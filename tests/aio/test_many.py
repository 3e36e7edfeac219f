"""A hundred nodes in one process, one after the other and side by side: nothing is left of them."""

import asyncio
import gc
import os
import socket
import sys
import tracemalloc

import pytest

import zt_async as zt
from zt_async.testing.identities import throwaway_identity

from .places import REAL, SIMULATED, address_of, echo, turns

NODES = 100
GROWTH = 20_000  # bytes for ninety nodes, each of which has more than that while it runs
LARGE = 1 << 19  # bytes of one block


def open_files():
    """What each descriptor is of; but for the folder that is looked at."""
    numbers = os.listdir("/proc/self/fd")
    return sorted(
        os.readlink(path) for number in numbers if os.path.lexists(path := f"/proc/self/fd/{number}")
    )


def memory():
    """Bytes in use; and how many large blocks there are, with tables of the interpreter that double at any time."""
    sizes = [trace.size for trace in tracemalloc.take_snapshot().traces]
    small = [size for size in sizes if size < LARGE]
    return sum(small), len(sizes) - len(small)


def nodes_but(root):
    """All nodes in memory besides that one."""
    return [thing for thing in gc.get_objects() if isinstance(thing, zt.Node) and thing is not root]


@REAL
@pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc/self/fd")
async def test_nothing_is_left_of_a_hundred_nodes(bare_world, tmp_path):
    """Each is online, on a network, and talks to itself and to the root before it stops."""
    loop = asyncio.get_running_loop()
    if isinstance(loop, asyncio.BaseEventLoop):
        asyncio.BaseEventLoop.set_debug(loop, False)  # which would take longer than all the rest

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind((bare_world.ip(1), 0))
        port = probe.getsockname()[1]  # the same for all, as the root remembers where it met whom

    async def live(number):
        node = await zt.start(
            tmp_path / str(number % 5),
            identity=throwaway_identity(1 + number % 5),
            roots=bare_world.planet,
            bind=(bare_world.ip(1),),
            port=port,
            allow_loopback_paths=True,
            secondary_port=None,
        )
        stream = node.events()
        await node.online()
        network = await node.join(bare_world.network_id)
        server = await node.start_server(echo, network.ipv6, 7000)
        transport, _ = await node.create_datagram_endpoint(
            asyncio.DatagramProtocol, (str(network.ipv6), 7000)
        )
        reader, writer = await node.open_connection(network.ipv6, 7000)
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"hello"
        if number % 2:  # some are tidy, some leave it all to the node
            writer.close()
            await writer.wait_closed()
            server.close()
            transport.close()
        await node.stop()
        writer.close()
        assert [event async for event in stream][-1] == zt.NodeDown()

    tasks = asyncio.all_tasks()
    tracemalloc.start()
    try:
        for number in range(NODES):
            await live(number)
            if number == 9:
                await turns(5)
                gc.collect()
                files, (small, large) = open_files(), memory()
        async with asyncio.timeout(30):
            while True:
                await turns(5)
                gc.collect()
                if not nodes_but(bare_world.root):  # threads that worked for a node may end after it
                    break
        small_now, large_now = memory()
    finally:
        tracemalloc.stop()
    assert asyncio.all_tasks() == tasks
    assert open_files() == files
    timers = [timer for timer in getattr(loop, "_scheduled", ()) if not timer.cancelled()]
    assert len(timers) < 10
    assert small_now - small < GROWTH
    assert large_now - large < 3


@SIMULATED
async def test_a_hundred_nodes_side_by_side(bare_world):
    """All meet one of them; then all stop at once."""
    nodes = [await bare_world.start(number) for number in range(1, NODES + 1)]
    for node in nodes:
        await node.online()
        await node.join(bare_world.network_id)
    hub = nodes[0]

    async def greet(node):
        reader, writer = await node.open_connection(address_of(hub), 7000)
        writer.write(str(node.address).encode())
        writer.write_eof()
        assert await reader.read() == str(node.address).encode()
        writer.close()
        await writer.wait_closed()

    async with await hub.start_server(echo, address_of(hub), 7000), asyncio.TaskGroup() as group:
        for node in nodes:
            group.create_task(greet(node))
    with pytest.raises(zt.NodeNotRunning, match="101 nodes"):
        await zt.open_connection("::1", 7000)
    async with asyncio.TaskGroup() as group:
        for node in nodes:
            group.create_task(node.stop())
    assert len(asyncio.all_tasks()) == 1
