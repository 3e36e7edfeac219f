"""ICMP echo."""

import asyncio
import errno
import ipaddress
import socket

import pytest

from zt_async.testing import Link

from .places import OURS, SIMULATED, address_of

pytestmark = OURS


def largest(place):
    return 65_507 if "." in place.host else 65_527


@pytest.mark.parametrize("size", [0, 1, 56, 2700, 60_000, None])
async def test_the_other_node_answers(place, size):
    for number in (1, largest(place) if size is None else size):  # the nodes meet over the first one
        assert 0 <= await place.client.ping(place.host, size=number) < 5


async def test_oneself(place):
    for host in ("localhost", "::1", "127.0.0.1", place.client_host, "::ffff:127.0.0.1", None):
        assert 0 <= await place.client.ping(host) < 1


async def test_a_size_that_no_packet_has(place):
    for size in (-1, largest(place) + 1):
        with pytest.raises(ValueError, match=f"0 to {largest(place)}"):
            await place.client.ping(place.host, size=size)


async def test_where_no_ping_can_go(place):
    with pytest.raises(OSError, match="route") as caught:
        await place.client.ping("2001:db8::1")
    assert caught.value.errno == errno.EHOSTUNREACH
    with pytest.raises(socket.gaierror):
        await place.client.ping("some.name.example")


@SIMULATED
async def test_the_round_trip_is_measured(world):
    client, server = world.members
    host = address_of(server)
    await client.ping(host)
    await asyncio.sleep(1)  # by then the direct path is in use
    world.net.set_default(Link(delay=0.050))
    assert await client.ping(host) == pytest.approx(0.100, abs=0.001)
    (network,) = client.networks.values()
    assert await network.ping(host) == pytest.approx(0.100, abs=0.001)


@SIMULATED
@pytest.mark.parametrize("bit", [1, 60], ids=["another address of the node", "an absent node"])
async def test_an_address_that_nobody_has(world, bit):
    """It waits for as long as the caller does, as nobody says that the address does not exist."""
    client, server = world.members
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(2):
            await client.ping(ipaddress.ip_address(int(ipaddress.ip_address(address_of(server))) ^ 1 << bit))


@SIMULATED
async def test_pings_side_by_side(world):
    client, server = world.members
    await client.ping(address_of(server))
    rtts = await asyncio.gather(*(client.ping(address_of(server)) for _ in range(50)))
    assert len(rtts) == 50
