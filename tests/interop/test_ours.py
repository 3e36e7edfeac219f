"""Our nodes with libzt: as the root of two libzt nodes, beside libzt on one network, and with a libzt root.

Core 1.8.4 brings AES-GMAC-SIV, core 1.4.6 (libzt 1.4.2) Salsa20/12 alone. libzt dies under fast IPv6 bulk, so
what it sends and receives is paced here.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import secrets
from dataclasses import dataclass

import pytest

import zt_async as zt
from zt_async.wire.packet import Suite

from . import ours
from .libzt_peer import LibztPeer
from .namespaces import Lab
from .peer import SERVERS

NETWORK = zt.NetworkId.ad_hoc(0, 65535)
WORLDS = ("1.8.4", "1.4.2")
MB = 1_000_000
RATE = 16 * MB

pytestmark = [
    pytest.mark.interop,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.xdist_group("ours"),
    pytest.mark.timeout(300),
]


@dataclass
class World:
    """Anna and bert are libzt nodes, mine and far are ours; carl and far have no direct path to each other."""

    lab: Lab
    root: zt.Node
    peers: dict[str, LibztPeer]
    mine: zt.Node
    far: zt.Node
    ips: dict[str, str]
    nodes: dict[str, zt.NodeAddress]


async def start_world(version: str, stack: contextlib.AsyncExitStack) -> World:
    lab = stack.enter_context(Lab("root", "anna", "bert", "mine", "far"))
    lab.block("far", "anna")
    identity = await asyncio.to_thread(zt.Identity.generate, secrets.token_bytes)
    planet = ours.planet_of(identity, lab["root"])
    root = await stack.enter_async_context(ours.our_node(lab["root"], roots=planet, identity=identity))
    peers = {
        name: await stack.enter_async_context(LibztPeer(lab[name], version)) for name in ("anna", "bert")
    }
    nodes, ips = {}, {}

    async def bring_up(name: str) -> None:
        nodes[name] = (await peers[name].start(planet.to_bytes())).address
        await peers[name].online()
        ips[name] = (await peers[name].join(NETWORK)).ipv6 or ""
        await peers[name].serve_all()

    async def bring_up_ours(name: str) -> zt.Node:
        node = await stack.enter_async_context(ours.our_node(lab[name], roots=planet))
        await node.online()
        network = await node.join(NETWORK)
        await ours.serve_all(node)
        nodes[name], ips[name] = node.address, str(network.ipv6)
        return node

    mine = await bring_up_ours("mine")
    far = await bring_up_ours("far")
    await asyncio.gather(*(bring_up(name) for name in peers))
    return World(lab, root, peers, mine, far, ips, nodes)


# Our node as the root


async def test_libzt_nodes_come_online_and_meet_through_our_root(world: World) -> None:
    anna = world.peers["anna"]
    assert (await anna.connect(world.ips["bert"], SERVERS["echo"], patience=30)).errno == 0
    await anna.echo(world.ips["bert"], SERVERS["echo"], 100_000, rate=RATE)
    await anna.until_direct(world.ips["bert"], SERVERS["udp_echo"], world.lab["root"])
    assert world.root.status.is_root
    known = {peer.address for peer in world.root.peers}
    assert set(world.nodes.values()) <= known


# libzt as the client, ours as the server


async def met(world: World) -> LibztPeer:
    """A libzt node that has connected to ours before."""
    anna = world.peers["anna"]
    assert (await anna.connect(world.ips["mine"], SERVERS["echo"], patience=30)).errno == 0
    return anna


async def test_tcp_echo_from_libzt(world: World) -> None:
    anna = await met(world)
    for size in (1, 2_728, 2_740, 100_000):
        await anna.echo(world.ips["mine"], SERVERS["echo"], size, rate=RATE)


@pytest.mark.slow
async def test_64_mib_each_way_with_libzt_as_the_client(world: World) -> None:
    anna = await met(world)
    await anna.upload(world.ips["mine"], SERVERS["sink"], 64 << 20, rate=RATE)
    await anna.download(world.ips["mine"], SERVERS["source"], 64 << 20, rate=RATE)


async def test_half_close_by_libzt(world: World) -> None:
    anna = await met(world)
    done = await anna.exchange(world.ips["mine"], SERVERS["sink"], 5_000, tail=40)
    assert done.tail == (5_000).to_bytes(8, "little") + bytes.fromhex(done.sent_digest)
    assert done.end_of_stream


async def test_our_closed_port_is_refused_to_libzt(world: World) -> None:
    anna = await met(world)
    assert (
        await anna.connect(world.ips["mine"], 4)
    ).errno == errno.ECONNRESET  # what libzt makes of a refusal


async def test_a_thousand_short_connections_from_libzt(world: World) -> None:
    anna = await met(world)
    rate = await anna.connect_rate(world.ips["mine"], SERVERS["echo"], 1_000, seconds=60)
    assert (rate.done, rate.failed) == (1_000, 0)


@pytest.mark.parametrize("size", [1, 1_400, 2_700])
async def test_udp_echo_from_libzt(world: World, size: int) -> None:
    anna = await met(world)
    echoes = await anna.udp_echo(world.ips["mine"], SERVERS["udp_echo"], 50, size)
    assert (echoes.echoed, echoes.lost, echoes.wrong) == (50, 0, 0)


# Ours as the client, libzt as the server


async def test_a_first_connection_to_libzt_becomes_direct(world: World) -> None:
    await ours.connect_patiently(world.mine, world.ips["bert"], SERVERS["echo"])
    await wait_direct(world.mine, world.nodes["bert"])


async def test_the_cipher_is_the_best_that_both_know(world: World) -> None:
    await ours.connect_patiently(world.mine, world.ips["anna"], SERVERS["echo"])
    peer = world.mine.core.vl1.topology.peers[world.nodes["anna"]]
    expected = Suite.AES if peer.version.protocol >= 12 else Suite.SALSA
    assert peer.suite == expected
    assert peer.version[1:3] in ((1, 8), (1, 4))


@pytest.mark.slow
async def test_64_mib_each_way_with_libzt_as_the_server(world: World) -> None:
    await ours.connect_patiently(world.mine, world.ips["anna"], SERVERS["echo"])
    assert await ours.upload(world.mine, world.ips["anna"], 64 << 20, RATE)
    assert await ours.download(world.mine, world.ips["anna"], 64 << 20, RATE)


async def test_half_close_by_us(world: World) -> None:
    assert await ours.upload(world.mine, world.ips["anna"], 5_000, 0)


async def test_libzts_closed_port_is_refused_to_us(world: World) -> None:
    await ours.connect_patiently(world.mine, world.ips["anna"], SERVERS["echo"])
    with pytest.raises(ConnectionRefusedError):
        await world.mine.open_connection(world.ips["anna"], 4)


async def test_a_thousand_short_connections_to_libzt(world: World) -> None:
    for number in range(1_000):
        reader, writer = await world.mine.open_connection(world.ips["anna"], SERVERS["echo"])
        writer.write(b"%d" % number)
        writer.write_eof()
        assert await reader.read() == b"%d" % number
        writer.close()
        await writer.wait_closed()


@pytest.mark.parametrize("size", [1, 1_400, 2_700])
async def test_udp_echo_to_libzt(world: World, size: int) -> None:
    assert await ours.udp_echo(world.mine, world.ips["anna"], 50, size)


async def test_ping_libzt(world: World) -> None:
    async with asyncio.timeout(10):
        assert await world.mine.ping(world.ips["anna"]) < 5


async def test_traffic_takes_the_direct_path(world: World) -> None:
    await ours.connect_patiently(world.mine, world.ips["anna"], SERVERS["echo"])
    await wait_direct(world.mine, world.nodes["anna"])
    before = world.lab["root"].counters()
    assert await ours.upload(world.mine, world.ips["anna"], MB, RATE)
    assert (world.lab["root"].counters() - before).rx_bytes < MB / 10


async def wait_direct(node: zt.Node, address: zt.NodeAddress) -> None:
    with node.events() as events:
        while True:
            peer = node.peer(address)
            if peer is not None and peer.direct:
                return
            await anext(events)


# With the direct path blocked


async def test_without_a_direct_path_our_root_relays(world: World) -> None:
    await ours.connect_patiently(world.far, world.ips["anna"], SERVERS["echo"])
    before = world.lab["root"].counters()
    assert await ours.upload(world.far, world.ips["anna"], MB, 4 * MB)
    assert await ours.download(world.far, world.ips["anna"], MB, 4 * MB)
    anna = world.peers["anna"]
    await anna.upload(world.ips["far"], SERVERS["sink"], MB, rate=4 * MB)
    carried = world.lab["root"].counters() - before
    assert carried.rx_bytes > 3 * MB
    peer = world.far.peer(world.nodes["anna"])
    assert peer is not None
    assert not peer.direct
    assert await ours.udp_echo(world.far, world.ips["anna"], 50, 2_700)
    echoes = await anna.udp_echo(world.ips["far"], SERVERS["udp_echo"], 50, 2_700)
    assert (echoes.echoed, echoes.lost, echoes.wrong) == (50, 0, 0)
    with pytest.raises(ConnectionRefusedError):
        await world.far.open_connection(world.ips["anna"], 4)
    assert (await anna.connect(world.ips["far"], 4)).errno == errno.ECONNRESET


# A libzt node as our root


@pytest.mark.parametrize("version", WORLDS)
async def test_with_a_libzt_root(libzt: None, version: str) -> None:
    async with contextlib.AsyncExitStack() as stack:
        lab = stack.enter_context(Lab("root", "one", "two"))
        root = await stack.enter_async_context(LibztPeer(lab["root"], version))
        planet = await root.start_as_root()
        one = await stack.enter_async_context(ours.our_node(lab["one"], roots=planet))
        two = await stack.enter_async_context(ours.our_node(lab["two"], roots=planet))
        async with asyncio.timeout(20):
            await asyncio.gather(one.online(), two.online())
            await one.join(NETWORK)
            server = await two.join(NETWORK)
            await ours.serve_all(two)
            assert await ours.upload(one, str(server.ipv6), MB, 0)
            await wait_direct(one, two.address)
