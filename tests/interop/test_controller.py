"""libzt nodes on networks of our controller, beside one of our members.

The controller is in the same node as the root. libzt tells nobody that it was refused, neither by an event nor by its
status: that it waits is seen at our side.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass

import pytest

import zt_async as zt
from zt_async.vl2.addressing import sixplane

from . import ours
from .libzt_peer import LibztPeer
from .namespaces import Lab
from .peer import SERVERS, Status

WORLDS = ("1.8.4", "1.4.2")
RATE = 8_000_000
OK = 1
MODES = ("echo", "udp_echo", "sink", "source")
DROP_PORT_81 = [
    {"type": "MATCH_IP_PROTOCOL", "ipProtocol": 6},
    {"type": "MATCH_IP_DEST_PORT_RANGE", "start": 81, "end": 81},
    {"type": "ACTION_DROP"},
    {"type": "ACTION_ACCEPT"},
]

pytestmark = [
    pytest.mark.interop,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.xdist_group("controller"),
    pytest.mark.timeout(300),
]


@dataclass
class World:
    """Anna and bert are libzt nodes, mine is ours: all are members of one private network with both families."""

    lab: Lab
    root: zt.Node
    network: zt.ControlledNetwork
    controller: zt.Controller
    peers: dict[str, LibztPeer]
    mine: zt.Node
    ips: dict[str, tuple[str, ...]]
    """An IPv4 and an IPv6 address of each."""
    waited: dict[str, Status]
    """How the network was for libzt when we knew that it waits."""

    @property
    def card(self) -> zt.Network:
        return self.mine.networks[self.network.id]


def is_configured(status: Status) -> bool:
    return status.status == OK and len(status.addresses) >= 2


async def start_world(version: str, stack: contextlib.AsyncExitStack) -> World:
    lab = stack.enter_context(Lab("root", "anna", "bert", "mine"))
    identity = await asyncio.to_thread(zt.Identity.generate, secrets.token_bytes)
    planet = ours.planet_of(identity, lab["root"])
    root = await stack.enter_async_context(ours.our_node(lab["root"], roots=planet, identity=identity))
    controller = await stack.enter_async_context(root.controller())
    network = await controller.create_network(
        name="interop", ipv4="10.9.8.0/24", sixplane=True, routes=["10.77.0.0/16"]
    )
    mine = await stack.enter_async_context(ours.our_node(lab["mine"], roots=planet))
    await mine.online()
    await network.authorize(mine.address)
    card = await mine.join(network.id)
    await ours.serve_all(mine)
    peers = {
        name: await stack.enter_async_context(LibztPeer(lab[name], version)) for name in ("anna", "bert")
    }
    ips = {"mine": (str(card.ipv4), str(card.ipv6))}
    waited = {}

    async def bring_up(name: str, events: zt.EventStream) -> None:
        peer = peers[name]
        address = (await peer.start(planet.to_bytes())).address
        await peer.online()
        await peer.begin_join(network.id)
        async with asyncio.timeout(30):
            async for event in events:
                if isinstance(event, zt.MemberWaiting) and event.address == address:
                    break
        waited[name] = await peer.status(network.id)
        await network.authorize(address, name=name)
        await peer.until(network.id, is_configured)
        joined = await peer.join(network.id)
        ips[name] = (joined.ipv4 or "", joined.ipv6 or "")
        for family in (4, 6):
            for mode in MODES:
                await peer.serve(mode, SERVERS[mode], family)

    await asyncio.gather(*(bring_up(name, root.events()) for name in peers))
    return World(lab, root, network, controller, peers, mine, ips, waited)


FAMILIES = pytest.mark.parametrize("family", [0, 1], ids=["ipv4", "ipv6"])


# Joining


async def test_a_private_network_waits_for_authorization(world: World) -> None:
    assert {status.status for status in world.waited.values()} == {0}
    assert {status.addresses for status in world.waited.values()} == {()}


async def test_members_get_addresses_of_both_families(world: World) -> None:
    for name, peer in world.peers.items():
        record = world.network.member(peer.address)
        assert world.ips[name][0] in map(str, record.addresses)
        assert world.ips[name][1] == str(sixplane(world.network.id, peer.address).ip)
        assert record.name == name
        seen = world.network.seen(peer.address)
        assert seen.version[:2] in ((1, 8), (1, 4))
        assert seen.endpoint is not None
        assert seen.endpoint.host == world.lab[name].ipv4
    assert len({ip for ips in world.ips.values() for ip in ips}) == 6


async def test_a_public_network_is_joined_at_once(world: World) -> None:
    public = await world.controller.create_network(name="open", private=False, ipv4="10.50.0.0/24")
    anna = world.peers["anna"]
    await anna.begin_join(public.id)
    await anna.until(public.id, lambda status: status.status == OK and bool(status.addresses))
    record = public.member(anna.address)
    assert record.authorized
    assert record.credential_type == "public"
    await anna.leave(public.id)


# Talking


@FAMILIES
async def test_ours_talks_to_libzt(world: World, family: int) -> None:
    ip = world.ips["anna"][family]
    await ours.connect_patiently(world.mine, ip, SERVERS["echo"])
    assert await ours.upload(world.mine, ip, 500_000, RATE)
    assert await ours.download(world.mine, ip, 500_000, RATE)
    for size in (1, 1400, 2700):
        assert await ours.udp_echo(world.mine, ip, 1, size)
    async with asyncio.timeout(10):
        assert await world.card.ping(ip) < 5


@FAMILIES
@pytest.mark.parametrize("other", ["mine", "bert"])
async def test_libzt_talks_to_the_others(world: World, family: int, other: str) -> None:
    anna, ip = world.peers["anna"], world.ips[other][family]
    assert (await anna.connect(ip, SERVERS["echo"], patience=30)).errno == 0
    await anna.echo(ip, SERVERS["echo"], 200_000, rate=RATE)
    echoes = await anna.udp_echo(ip, SERVERS["udp_echo"], 20, 1400)
    assert (echoes.echoed, echoes.lost, echoes.wrong) == (20, 0, 0)


# Rules


async def test_a_rule_that_drops_a_port_is_obeyed_on_both_sides(world: World) -> None:
    anna = world.peers["anna"]
    for family, any_ip in ((4, "0.0.0.0"), (6, "::")):
        for port in (81, 82):
            await anna.serve("echo", port, family)
            await world.mine.start_server(ours.echo, any_ip, port)
    revision = (await world.network.update(rules=DROP_PORT_81)).revision
    with world.mine.events() as events:
        while world.card.info.revision < revision:
            await anext(events)
    for family in (0, 1):
        theirs, our = world.ips["anna"][family], world.ips["mine"][family]
        await ours.connect_patiently(world.mine, theirs, 82)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2):
                await world.mine.open_connection(theirs, 81)
        assert (await anna.connect(our, 82, patience=30)).errno == 0
        arrived = world.mine.status.counters.get("vl2: in: rules", 0)
        connecting = asyncio.create_task(anna.connect(our, 81))
        await asyncio.wait([connecting], timeout=2)  # it goes on for a minute
        assert not connecting.done()
        connecting.cancel()
        assert world.mine.status.counters.get("vl2: in: rules", 0) == arrived  # libzt did not even send
    await world.network.update(rules=[{"type": "ACTION_ACCEPT"}])


# Changes reach members


async def test_changes_are_pushed(world: World) -> None:
    network, bert = world.network, world.peers["bert"]
    asked = {network.seen(bert.address).time}

    async def reaches(holds: Callable[[Status], bool]) -> None:
        await bert.until(network.id, holds)
        asked.add(network.seen(bert.address).time)

    record = network.member(bert.address)
    await network.update_member(bert.address, addresses=[*record.addresses, "10.9.8.250"])
    await reaches(lambda status: "10.9.8.250" in status.addresses)
    assert "10.77.0.0" in (await bert.status(network.id)).routes
    await network.update(routes=["10.9.8.0/24"])
    await reaches(lambda status: "10.77.0.0" not in status.routes)
    await network.update(mtu=1400)
    await reaches(lambda status: status.mtu == 1400)
    assert (
        len(asked) <= 2
    )  # no more than one of three reached it by its own request, as it makes one a minute
    with world.mine.events() as events:
        while world.card.mtu != 1400:
            await anext(events)
    await ours.connect_patiently(world.mine, world.ips["bert"][0], SERVERS["echo"])
    await network.update(mtu=2800)
    await bert.until(network.id, lambda status: status.mtu == 2800)


# The end of a membership


async def answers(network: zt.Network, ip: str) -> bool:
    """Whether a ping comes back within a second."""
    try:
        async with asyncio.timeout(1):
            await network.ping(ip)
    except TimeoutError:
        return False
    return True


async def test_a_deauthorized_member_is_cut_off(world: World) -> None:
    anna, bert = world.peers["anna"], world.peers["bert"]
    ip = world.ips["anna"][0]
    await ours.connect_patiently(world.mine, ip, SERVERS["echo"])
    assert (await bert.connect(ip, SERVERS["echo"], patience=30)).errno == 0
    await world.network.deauthorize(anna.address)
    async with asyncio.timeout(10):
        while await answers(world.card, ip):
            pass
    echoes = await bert.udp_echo(ip, SERVERS["udp_echo"], 3, 100, timeout=1)
    assert echoes.echoed == 0
    await world.network.authorize(anna.address)
    async with asyncio.timeout(60):
        await ours.connect_patiently(world.mine, ip, SERVERS["echo"], patience=60)
    assert (await bert.connect(ip, SERVERS["echo"], patience=60)).errno == 0
