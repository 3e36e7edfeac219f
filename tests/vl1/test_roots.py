"""Roots that restart, fail, come back, change and are several; worlds on their way; collisions of identities."""

import pytest

from zt_async.config import NodeConfig
from zt_async.crypto.identity import Identity
from zt_async.events import IdentityCollided, PeerUnreachable, WorldChanged
from zt_async.testing import Link
from zt_async.testing.identities import throwaway_identity
from zt_async.types import NodeAddress

from .world import SimVL1, SmallWorld, make_moon, make_planet, peer_of


def restart(world, number, host):
    """Start the root anew, as a process that knows nobody."""
    world.net.detach(host)
    world.roots[number] = root = world.add(number, host)
    return root


def test_after_a_restart_of_its_root_a_member_is_known_to_it_within_seconds():
    world = SmallWorld(2)
    a, b = world.members
    world.online()
    world.net.run_for(100)
    root = restart(world, 0, world.root_host)
    start = world.now
    world.run_until(lambda: a.address in root.topology.peers and b.address in root.topology.peers, 30)
    assert world.now - start < 16
    assert all(m.is_online(world.now) for m in world.members)
    world.tell(a, b, b"through the new one")


def test_a_member_that_has_something_to_say_finds_its_restarted_root_sooner():
    world = SmallWorld(2)
    a, b = world.members
    world.net.partition([world.hosts[0]], [world.hosts[1]])
    world.online()
    world.chat(a, b, 5)
    restart(world, 0, world.root_host)
    lost = world.chat(a, b, 10)
    assert not lost or max(lost) < 4


def test_a_node_that_is_back_at_another_address_is_found_through_its_root_within_seconds():
    """The root knows a nearer address of it, at which it was heard of just now."""
    world = SmallWorld(3)
    gone, other, _ = world.members
    here, there, elsewhere = world.hosts
    world.net.partition([there], [here, elsewhere])
    world.net.set_path(world.root_host, elsewhere, Link(delay=0.03))
    world.online()
    world.chat(gone, other, 5)
    world.net.detach(here)
    world.net.detach(elsewhere)
    back = world.add(1, elsewhere)
    lost = world.chat(back, other, 10)
    assert max(lost, default=0.0) < 4


def test_offline_and_online_again():
    config = NodeConfig(offline_after=30.0)
    world = SmallWorld(1, config=config)
    (a,) = world.members
    world.online()
    world.net.partition([world.root_host])
    start = world.now
    world.run_until(lambda: not a.is_online(world.now), 60)
    assert 29 < world.now - start < 41
    world.net.run_for(300)
    world.net.heal()
    assert world.run_until(lambda: a.is_online(world.now), 60) < 6


def test_the_better_root_is_used_and_the_other_one_when_that_fails():
    world = SmallWorld(2, roots=2)
    a, b = world.members
    near, far = world.roots
    for host in world.hosts:
        world.net.set_path(host, world.root_hosts[1], Link(delay=0.2))
    world.net.partition([world.hosts[0]], [world.hosts[1]])
    world.online()
    world.net.run_for(2)
    assert a.topology.best_upstream(world.now).address == near.address
    world.chat(a, b, 5)
    before = far.counters["datagram: relayed"]
    world.net.detach(world.root_hosts[0])
    lost = world.chat(a, b, 15)
    assert lost
    assert max(lost) < 5
    assert far.counters["datagram: relayed"] > before
    assert a.topology.best_upstream(world.now).address == far.address
    world.roots[0] = near = world.add(0, world.root_hosts[0])
    world.run_until(lambda: a.topology.best_upstream(world.now).address == near.address, 30)


def test_members_of_different_roots_reach_each_other_through_both():
    world = SmallWorld(2, roots=2)
    a, b = world.members
    world.net.partition([world.hosts[0]], [world.root_hosts[1], world.hosts[1]])
    world.net.partition([world.hosts[1]], [world.root_hosts[0]])
    world.run_until(lambda: all(m.is_online(world.now) for m in (a, b)))
    world.net.run_for(1)
    assert world.chat(a, b, 10, 0.5) == []
    assert all(root.counters["datagram: relayed"] for root in world.roots)


def test_two_roots_do_not_ask_each_other_for_ever():
    world = SmallWorld(1, roots=2)
    (a,) = world.members
    world.online()
    world.net.run_for(1)
    nobody = NodeAddress(0x1234567890)
    a.send_all(nobody, [b"\x14" + bytes(9)], world.now)
    world.net.run_for(10)
    assert [event.address for event in a.saw(PeerUnreachable)] == [nobody]
    sent = [host.sent for host in world.root_hosts]
    world.net.run_for(20)
    # Heartbeats and HELLOs alone: a few each 10 s with each of three nodes.
    assert all(host.sent - before < 30 for host, before in zip(world.root_hosts, sent, strict=True))


def test_a_root_is_online_by_itself_and_answers_for_itself():
    world = SmallWorld(1)
    assert world.root.is_online(0.0)
    assert world.root.topology.is_root
    (a,) = world.members
    world.online()
    assert not a.topology.is_root
    assert a.topology.role(world.root.address) == "PLANET"
    assert a.topology.role(a.address) == "LEAF"


def test_a_newer_planet_comes_with_the_next_hello_and_its_roots_are_met_at_once():
    world = SmallWorld(2)
    a, b = world.members
    world.online()
    world.net.run_for(1)
    second = world.net.add_host("second root")
    newer = make_planet(
        [
            (throwaway_identity(0), world.root_host.sockets.values()),
            (throwaway_identity(9), second.sockets.values()),
        ],
        timestamp=world.planet.timestamp + 1,
    )
    new_root = world.add(9, second, planet=newer)
    assert world.root.topology.offer(newer)
    world.run_until(lambda: a.topology.planet == newer and b.topology.planet == newer, 300)
    start = world.now
    world.run_until(lambda: all(peer_of(m, new_root).is_direct(world.now) for m in (a, b)))
    assert world.now - start < 1
    assert [(e.world_id, e.kind, e.timestamp) for e in a.saw(WorldChanged)] == [
        (77, "planet", newer.timestamp)
    ]


def test_an_older_or_foreign_planet_is_not_handed_out():
    world = SmallWorld(1)
    (a,) = world.members
    newest = make_planet(
        [(throwaway_identity(0), world.root_host.sockets.values())], timestamp=world.planet.timestamp + 5
    )
    assert a.topology.offer(newest)
    world.online()
    world.net.run_for(300)
    assert a.topology.planet == newest
    assert not a.saw(WorldChanged)


@pytest.mark.parametrize("seed_is_root", [False, True])
def test_a_moon_comes_from_its_seed_and_is_dropped_again(seed_is_root):
    world = SmallWorld(2)
    a, b = world.members
    mooned = world.root if seed_is_root else b
    host = world.root_host if seed_is_root else world.hosts[1]
    world.online()
    world.net.run_for(2)
    moon = make_moon([(mooned.identity, host.sockets.values())])
    assert mooned.topology.offer(moon, always_accept_new=True)
    assert mooned.topology.is_root
    a.want_moon(moon.id, mooned.address)
    assert world.run_until(lambda: moon.id in a.topology.moons, 10) < 2
    assert [(e.world_id, e.kind) for e in a.saw(WorldChanged)] == [(moon.id, "moon")]
    assert a.topology.is_upstream(mooned.address)
    assert a.topology.seeds == {}
    world.run_until(lambda: peer_of(a, mooned).is_direct(world.now))
    if not seed_is_root:
        assert a.topology.role(b.address) == "MOON"
        # A moon carries on where the planet fails.
        world.net.detach(world.root_host)
        world.net.run_for(100)
        assert a.is_online(world.now)
    assert a.drop_moon(moon.id)
    assert not a.drop_moon(moon.id)
    world.net.run_for(0.1)
    assert [(e.world_id, e.dropped) for e in a.saw(WorldChanged)] == [(moon.id, False), (moon.id, True)]
    assert a.topology.is_upstream(mooned.address) is seed_is_root


def test_a_newer_moon_reaches_those_who_have_the_old_one():
    world = SmallWorld(2)
    a, b = world.members
    old = make_moon([(b.identity, world.hosts[1].sockets.values())])
    for vl1 in (a, b):
        vl1.topology.offer(old, always_accept_new=True)
    world.online()
    world.net.run_for(2)
    new = make_moon([(b.identity, world.hosts[1].sockets.values())], timestamp=old.timestamp + 1)
    assert b.topology.offer(new)
    world.run_until(lambda: a.topology.moons[old.id] == new, 300)


def test_a_moon_that_nobody_wanted_or_from_another_than_its_seed_is_refused():
    world = SmallWorld(2)
    a, b = world.members
    world.online()
    world.net.run_for(2)
    moon = make_moon([(b.identity, world.hosts[1].sockets.values())])
    assert not a.topology.offer(moon)
    a.topology.want_moon(moon.id, world.root.address)
    assert not a.topology.offer(moon)


def test_a_root_tells_the_second_node_of_an_address_that_it_has_to_go():
    world = SmallWorld(2)
    a, _ = world.members
    world.online()
    world.net.run_for(1)
    other = throwaway_identity(50)
    identity = Identity(a.address, other.public_key, other.to_bytes(secret=True)[71:])
    host = world.net.add_host("impostor")
    impostor = SimVL1(identity, world.net.context("impostor"), world.config, world.planet)
    world.net.attach(impostor, host)
    world.run_until(lambda: impostor.collided, 5)
    assert [event.reporter for event in impostor.saw(IdentityCollided)] == [world.root.address]
    assert not impostor.is_online(world.now)
    world.net.run_for(60)
    assert len(impostor.saw(IdentityCollided)) == 1
    assert not a.collided
    assert a.is_online(world.now)
    assert world.root.topology.peers[a.address].identity == a.identity.public()
    assert world.root.counters["packet: identity collision"] >= 1
