"""Joining and leaving networks."""

import asyncio
import errno
from ipaddress import IPv4Address, IPv6Address

import pytest

import zt_async as zt
from zt_async.aio.storage import Kind
from zt_async.wire.packet import ErrorCode

from .places import SIMULATED, Recorder, address_of, echo, on, turns

pytestmark = SIMULATED

EVERY = on("simulated", "asyncio", "uvloop")


@EVERY
async def test_an_ad_hoc_network_is_ready_at_once(bare_world):
    node = await bare_world.start(1)
    network_id = zt.NetworkId.ad_hoc(7000, 7999)
    joining = node.join(network_id)
    network = await joining
    assert network.id == network_id
    assert network.status == zt.NetworkStatus.OK
    assert network.name == "adhoc-1b58-1f3f"
    assert network.mtu == 2800
    assert network.mac.is_local
    assert isinstance(network.ipv6, IPv6Address)
    assert network.ipv4 is None
    assert [interface.ip for interface in network.addresses] == [network.ipv6]
    assert network.routes == ()
    assert network.info.id == network_id
    assert node.networks == {network_id: network}
    assert str(network_id) in repr(network)
    await network.ready()


@pytest.mark.parametrize(
    "form", [zt.NetworkId.ad_hoc(7000, 7000), "ff1b581b58000000", " FF1B581B58000000\n", 0xFF1B581B58000000]
)
async def test_forms_of_a_network_id(bare_world, form):
    node = await bare_world.start(1)
    network = await node.join(form)
    assert network.id == 0xFF1B581B58000000
    await node.leave(form)
    assert node.networks == {}


@pytest.mark.parametrize("bad", ["", "ff", "ff1b581b5800000g", "ff1b581b580000001", -1, 1 << 64])
async def test_what_is_no_network_id(bare_world, bad):
    node = await bare_world.start(1)
    for call in (node.join, node.leave):
        with pytest.raises(ValueError, match="network ID"):
            await call(bad)
    assert node.networks == {}


@pytest.mark.parametrize("nowhere", ["ff1f401b58000000", "ff00010000000002"])
async def test_an_ad_hoc_id_that_stands_for_no_network(bare_world, nowhere):
    """Ports that run backwards, and an ID of neither form."""
    node = await bare_world.start(1)
    async with asyncio.timeout(1):
        with pytest.raises(zt.NetworkNotFound, match="does not exist"):
            await node.join(nowhere)
    assert node.networks == {}


async def test_joining_again_is_no_error(bare_world):
    node = await bare_world.start(1)
    first = await node.join(bare_world.network_id)
    again, at_once = await asyncio.gather(*(node.join(bare_world.network_id) for _ in range(2)))
    assert first is again is at_once
    await first.leave()
    assert node.networks == {}
    with pytest.raises(zt.NetworkNotJoined):
        await first.leave()


async def test_leaving_what_was_never_joined(bare_world):
    node = await bare_world.start(1)
    with pytest.raises(zt.NetworkNotJoined, match="is not joined") as caught:
        await node.leave(bare_world.network_id)
    assert caught.value.network_id == bare_world.network_id


@EVERY
async def test_leaving_ends_what_runs_over_the_network(world):
    client, server = world.members
    host = address_of(server)
    async with await server.create_server(Recorder, "::", 7000) as listening:
        _, near = await client.create_connection(Recorder, host, 7000)
        (network,) = client.networks.values()
        await network.leave()
        assert (await near.lost).errno == errno.ENETDOWN
        with pytest.raises(zt.NetworkNotJoined):
            network.info  # noqa: B018
        with pytest.raises(zt.NetworkNotJoined):
            await network.ready()
        with pytest.raises(OSError, match="unreachable") as caught:
            await client.open_connection(host, 7000)
        assert caught.value.errno == errno.ENETUNREACH
        await client.join(network.id)
        _, again = await client.create_connection(Recorder, host, 7000)
        again.transport.close()
        await again.lost
        listening.abort_clients()


@EVERY
async def test_what_waits_for_an_answer_ends_when_the_network_is_left(world):
    client, server = world.members
    absent = address_of(server).replace("::1", ":2::1")
    waiting = [
        asyncio.create_task(call) for call in (client.open_connection(absent, 7000), client.ping(absent))
    ]
    await turns(5)
    await client.leave(world.network_id)
    for call in waiting:
        with pytest.raises(OSError, match="down") as caught:
            await call
        assert caught.value.errno == errno.ENETDOWN


async def test_the_ports_of_an_ad_hoc_network(bare_world):
    network_id = zt.NetworkId.ad_hoc(7000, 7001)
    nodes = [await bare_world.start(number) for number in (1, 2)]
    for node in nodes:
        await node.online()
        await node.join(network_id)
    client, server = nodes
    host = address_of(server)
    async with await server.start_server(echo, host, 7001), await server.start_server(echo, host, 7002):
        reader, writer = await client.open_connection(host, 7001)
        writer.write_eof()
        assert await reader.read() == b""
        writer.close()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(5):
                await client.open_connection(host, 7002)


async def test_an_ad_hoc_network_with_ipv4(bare_world):
    node = await bare_world.start(1)
    network = await node.join("ff1c000000000001")
    assert network.ipv4 == IPv4Address(28 << 24 | node.address & 0xFFFFFF)
    assert await node.ping(network.ipv6) >= 0


async def test_both_ends_of_a_wait_for_a_network_that_is_left(bare_world):
    """A network that never becomes ready, as the node is made to believe."""
    node = await bare_world.start(1)
    network = await node.join(bare_world.network_id)
    core = node.core.vl2.networks[network.id]
    core.config = None
    waiting = asyncio.create_task(network.ready())
    await turns(3)
    assert not waiting.done()
    await network.leave()
    with pytest.raises(zt.NetworkNotJoined):
        await waiting


@pytest.mark.parametrize(
    ("code", "text"),
    [(ErrorCode.NETWORK_ACCESS_DENIED, "authorize"), (ErrorCode.AUTHENTICATION_REQUIRED, "log in")],
)
async def test_a_refusal_reaches_who_waits(bare_world, code, text):
    node = await bare_world.start(1)
    network = await node.join(bare_world.network_id)
    vl2 = node.core.vl2
    core = vl2.networks[network.id]
    core.config = None
    waiting = asyncio.create_task(network.ready(wait_for_authorization=False))
    await turns(3)
    vl2.configurations.refused(core.id, code, b"", 0.0)
    node._driver.schedule()
    with pytest.raises(zt.AccessDenied, match=text):
        async with asyncio.timeout(10):
            await waiting


@pytest.mark.parametrize("turns_between", range(8))
async def test_leaving_while_a_join_is_written_down(bare_world, turns_between):
    storage = zt.MemoryStorage()
    node = await bare_world.start(1, storage=storage)
    joining = asyncio.create_task(node.join(bare_world.network_id, allow_dns=True))
    await asyncio.sleep(0)  # it has begun
    await turns(turns_between)
    await node.leave(bare_world.network_id)
    await asyncio.gather(joining, return_exceptions=True)
    await node.stop()
    assert not any([await storage.names(kind) for kind in (Kind.NETWORK, Kind.NETWORK_SETTINGS)])


async def test_a_join_whose_settings_cannot_be_kept(bare_world):
    class Full(zt.MemoryStorage):
        async def save(self, kind, data, name=""):
            if kind is Kind.NETWORK_SETTINGS:
                raise zt.StorageError("the disk is full")
            await super().save(kind, data, name)

    storage = Full()
    node = await bare_world.start(1, storage=storage)
    with pytest.raises(zt.StorageError, match="full"):
        await node.join(bare_world.network_id, allow_dns=True)
    assert node.networks == {}
    await node.stop()
    assert await storage.names(Kind.NETWORK) == []


async def test_settings_that_make_no_sense_change_nothing(world):
    (network,) = world.members[0].networks.values()
    before = network.settings
    for changes in ({"allow_dsn": True}, {"managed_prefixes": ("10.0.0.0/8",)}):
        with pytest.raises(TypeError):
            await network.configure(**changes)
        with pytest.raises(TypeError):
            await world.members[0].join(network.id, **changes)
    assert network.settings == before
