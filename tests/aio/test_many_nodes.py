"""Nodes that come and go: what they leave behind is nothing."""

from __future__ import annotations

import asyncio
import gc
import os
import tracemalloc

import pytest

import zt_async as zt
from zt_async.testing import private_world, throwaway_identity

from .places import REAL, address_of, echo

DESCRIPTORS = "/proc/self/fd"
ROUNDS = 100
PORT = 20_202


async def live_once(world) -> None:
    """A node starts, talks to another one over TCP and UDP, and stops."""
    settings = {"bind": (world.ip(2),), "port": PORT, "secondary_port": None, "allow_loopback_paths": True}
    async with zt.start(identity=throwaway_identity(2), roots=world.planet, **settings) as node:
        await node.online()
        await node.join(world.network_id)
        reader, writer = await node.open_connection(address_of(world.members[0]), 7)
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"hello"
        writer.close()
        await writer.wait_closed()


@pytest.mark.skipif(not os.path.isdir(DESCRIPTORS), reason="counts file descriptors as Linux lists them")
@REAL
async def test_a_hundred_nodes_one_after_the_other_leave_nothing(reports):
    async with private_world(1) as world:
        await world.members[0].start_server(echo, None, 7)
        await live_once(world)
        tasks = len(asyncio.all_tasks())
        descriptors = len(os.listdir(DESCRIPTORS))
        tracemalloc.start()
        try:
            for number in range(ROUNDS):
                await live_once(world)
                if number == 10:
                    gc.collect()
                    settled = tracemalloc.get_traced_memory()[0]
            gc.collect()
            grown = tracemalloc.get_traced_memory()[0] - settled
        finally:
            tracemalloc.stop()
        assert len(asyncio.all_tasks()) == tasks
        assert len(os.listdir(DESCRIPTORS)) == descriptors
        assert grown < 256 << 10  # bytes; a node that stayed behind would be a multiple of it in 90 rounds


@REAL
async def test_a_hundred_nodes_at_once(reports):
    async with private_world(0) as world:
        descriptors = len(os.listdir(DESCRIPTORS))
        nodes = [await world.start(number + 1) for number in range(ROUNDS)]
        async with asyncio.timeout(60):
            await asyncio.gather(*(node.online() for node in nodes))
        assert len({node.address for node in nodes}) == ROUNDS
        await asyncio.gather(*(node.stop() for node in nodes))
        assert len(os.listdir(DESCRIPTORS)) == descriptors
        assert all(not node.is_running for node in nodes)


async def test_starting_and_stopping_at_once_is_a_start_and_a_stop(reports):
    async with private_world(0) as world:
        for _ in range(3):
            node = await world.start(1)
            await node.stop()
            with pytest.raises(zt.NodeNotRunning):
                await node.online()
