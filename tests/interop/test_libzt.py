"""libzt with libzt: what the harness sees where both ends are known to work.

In each of three private worlds bert is on anna's network with a direct path, and carl only reaches the others through
the root.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
from dataclasses import dataclass

import pytest

from zt_async.types import NetworkId

from .libzt_peer import LibztPeer
from .namespaces import Lab
from .peer import SERVERS, Held, PeerDied, PeerFailed

NETWORK = NetworkId.ad_hoc(0, 65535)
WORLDS = {
    "1.8.4": {"root": "1.8.4", "anna": "1.8.4", "bert": "1.8.4", "carl": "1.8.4"},
    "1.4.2": {"root": "1.4.2", "anna": "1.4.2", "bert": "1.4.2", "carl": "1.4.2"},
    "mixed": {"root": "1.8.4", "anna": "1.8.4", "bert": "1.4.2", "carl": "1.4.2"},
}
MB = 1_000_000
NODE_ONLINE = 201

pytestmark = [pytest.mark.interop, pytest.mark.asyncio(loop_scope="module"), pytest.mark.xdist_group("libzt")]


@dataclass
class World:
    lab: Lab
    peers: dict[str, LibztPeer]
    ips: dict[str, str]


async def start_world(name: str, stack: contextlib.AsyncExitStack) -> World:
    versions = WORLDS[name]
    lab = stack.enter_context(Lab(*versions))
    for other in ("anna", "bert"):
        lab.block("carl", other)
    peers = {
        name: await stack.enter_async_context(LibztPeer(lab[name], version))
        for name, version in versions.items()
    }
    world = World(lab, peers, {})
    planet = await peers["root"].start_as_root()

    async def bring_up(name: str) -> None:
        await peers[name].start(planet)
        await peers[name].online()
        world.ips[name] = (await peers[name].join(NETWORK)).ipv6 or ""
        await peers[name].serve_all()

    await asyncio.gather(*(bring_up(name) for name in ("anna", "bert", "carl")))
    return world


@pytest.fixture(params=[("anna", "bert"), ("bert", "anna")], ids="-".join)
def pair(request: pytest.FixtureRequest) -> tuple[str, str]:
    """Client and server."""
    return request.param


async def meet(world: World, client: str, server: str) -> tuple[LibztPeer, str]:
    """The client, which has connected to the server before, and the server's IP address."""
    peer, ip = world.peers[client], world.ips[server]
    first = await peer.connect(ip, SERVERS["echo"], patience=30)
    assert first.errno == 0
    return peer, ip


async def test_events_are_found_however_late_one_asks(world: World) -> None:
    peer, event = next((peer, event) for peer in world.peers.values() for event in peer.events)
    assert await peer.wait_event(event.event, event.about) == event


async def test_tcp_echo(world: World, pair: tuple[str, str]) -> None:
    client, ip = await meet(world, *pair)
    for size in (1, 2_740, 2_741, 100_000):
        await client.echo(ip, SERVERS["echo"], size, rate=20 * MB)


def pattern(seed: int, size: int) -> bytes:
    """The words of splitmix64."""
    words, mask = [], 2**64 - 1
    for i in range(1, size // 8 + 2):
        z = (seed + i * 0x9E3779B97F4A7C15) & mask
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & mask
        z = (z ^ z >> 27) * 0x94D049BB133111EB & mask
        words.append((z ^ z >> 31).to_bytes(8, "little"))
    return b"".join(words)[:size]


@pytest.mark.parametrize("size", [0, 1, 55, 56, 63, 64, 65, 119, 120, 128, 10_001])
async def test_digests_are_sha256_of_the_pattern(worlds: dict[str, World], size: int) -> None:
    client, ip = await meet(worlds["1.8.4"], "anna", "bert")
    data = pattern(size, size)
    done = await client.upload(ip, SERVERS["sink"], size, seed=size)
    assert done.sent_digest == hashlib.sha256(data).hexdigest()
    head = await client.exchange(ip, SERVERS["echo"], size, seed=size, tail=min(size, 60))
    assert head.tail == data[max(0, size - 60) :]
    assert head.received_digest == hashlib.sha256(data[: max(0, size - 60)]).hexdigest()


async def test_bulk_each_way_by_hash(world: World, pair: tuple[str, str]) -> None:
    client, ip = await meet(world, *pair)
    await client.upload(ip, SERVERS["sink"], 8 * MB, rate=20 * MB)
    await client.download(ip, SERVERS["source"], 8 * MB, rate=20 * MB, seed=2)


async def test_half_close_leaves_the_other_half_open(world: World, pair: tuple[str, str]) -> None:
    client, ip = await meet(world, *pair)
    done = await client.exchange(ip, SERVERS["sink"], 5_000, tail=40)
    assert done.tail == (5_000).to_bytes(8, "little") + bytes.fromhex(done.sent_digest)
    assert done.end_of_stream


async def test_closed_port_is_refused(world: World, pair: tuple[str, str]) -> None:
    client, ip = await meet(world, *pair)
    assert (await client.connect(ip, 4)).errno == errno.ECONNRESET  # what libzt makes of a refusal


async def test_a_thousand_short_connections(world: World) -> None:
    client, ip = await meet(world, "anna", "bert")
    rate = await client.connect_rate(ip, SERVERS["echo"], 1_000, seconds=60)
    assert (rate.done, rate.failed) == (1_000, 0)


async def test_connections_are_held_open(world: World) -> None:
    client, ip = await meet(world, "bert", "anna")
    server = await world.peers["anna"].serve("hold", 12)
    assert await client.hold(ip, 12, 100) == Held(held=100, errno=0)
    await world.peers["anna"].until_open(server, 100)
    assert await client.release() == 100
    assert await world.peers["anna"].server_release(server) == 100


@pytest.mark.parametrize("size", [1, 8, 1_400, 2_700])
async def test_udp_echo(world: World, pair: tuple[str, str], size: int) -> None:
    client, ip = await meet(world, *pair)
    echoes = await client.udp_echo(ip, SERVERS["udp_echo"], 50, size)
    assert (echoes.echoed, echoes.lost, echoes.wrong) == (50, 0, 0)


async def test_round_trips_are_measured(world: World) -> None:
    client, ip = await meet(world, "anna", "bert")
    trips = await client.ping_pong(ip, SERVERS["echo"], 200)
    assert trips.done == 200
    assert trips.p50_us
    assert trips.p99_us
    assert 0 < trips.p50_us <= trips.p99_us


async def test_timed_bulk_counts_what_arrived(world: World) -> None:
    client, ip = await meet(world, "anna", "bert")
    server = world.peers["bert"]
    ports = {"discard_port": 13, "source_port": 14}
    discard, source = await server.serve("discard", 13), await server.serve("source", 14)
    before = client.usage()
    bulk = await client.bulk(ip, **ports, up=2, down=1, seconds=0.5, rate=4 * MB)
    assert bulk.failed == 0
    assert 0 < bulk.up_bytes == (await server.server_stats(discard)).received < 5 * MB
    assert 0 < bulk.down_bytes <= (await server.server_stats(source)).sent < 3 * MB
    after = client.usage()
    assert after.cpu_seconds > before.cpu_seconds
    assert after.rss_bytes > 1 * MB


async def test_traffic_takes_the_direct_path(world: World) -> None:
    client, ip = await meet(world, "anna", "bert")
    await client.until_direct(ip, SERVERS["udp_echo"], world.lab["root"])
    before = world.lab["root"].counters()
    await client.upload(ip, SERVERS["sink"], MB, rate=10 * MB)
    assert (world.lab["root"].counters() - before).rx_bytes < MB / 10


@pytest.mark.parametrize("pair", [("anna", "carl"), ("carl", "bert")], ids="-".join)
async def test_without_a_direct_path_the_root_relays(world: World, pair: tuple[str, str]) -> None:
    client, ip = await meet(world, *pair)
    before = world.lab["root"].counters()
    await client.upload(ip, SERVERS["sink"], MB, rate=5 * MB)
    carried = world.lab["root"].counters() - before
    assert carried.rx_bytes > MB
    assert carried.tx_bytes > MB
    with pytest.raises(PeerFailed, match=r"through the root after 0.5 s"):
        await client.until_direct(ip, SERVERS["udp_echo"], world.lab["root"], within=0.5)


async def test_libzt_loads_as_it_was_published(world: World) -> None:
    async with LibztPeer(world.lab["anna"], repaired=False) as peer:
        assert (await peer.new_identity()).count(":") == 3


async def test_failures_say_what_happened(world: World) -> None:
    async with LibztPeer(world.lab["anna"]) as peer:
        with pytest.raises(PeerFailed, match=r"libzt-1.8.4-anna: RuntimeError: zts_net_join failed with -2"):
            await peer.join(NETWORK)
        with pytest.raises(PeerFailed, match=r"online: not within 0.1 s"):
            await peer.online(timeout=0.1)
        with pytest.raises(PeerFailed, match=r"no event 201 within 0.1 s"):
            await peer.wait_event(NODE_ONLINE, within=0.1)
        peer.kill()
        with pytest.raises(PeerDied, match="ended with SIGKILL") as death:
            await peer.new_identity()
        assert death.value.reason == "SIGKILL"
        with pytest.raises(PeerDied):
            peer.usage()
    assert not peer.home.exists()
