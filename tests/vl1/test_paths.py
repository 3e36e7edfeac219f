"""Paths on a wire that breaks and heals, hosts that move, NATs that change, floods of packets one way."""

from ipaddress import ip_network

import pytest

from zt_async.config import NodeConfig
from zt_async.events import PathRemoved, PeerDirect, PeerRelayed
from zt_async.testing import Link
from zt_async.types import Endpoint

from .world import SmallWorld, dual_stack, peer_of, two_ports


def met(seed=1, **options):
    """Two members that have met directly."""
    world = SmallWorld(2, seed=seed, **options)
    a, b = world.members
    world.online()
    world.tell(a, b, b"x")
    world.run_until(lambda: world.is_direct(a, b))
    return world, a, b


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("broken", [10, 60, 300])
@pytest.mark.parametrize("add_host", [None, two_ports, dual_stack])
def test_a_direct_path_breaks_and_heals_under_traffic(seed, broken, add_host):
    options = {} if add_host is None else {"add_host": add_host}
    world, a, b = met(seed, link=Link(delay=0.02, jitter=0.005), **options)
    assert world.chat(a, b, 5) == []
    world.net.partition([world.hosts[0]], [world.hosts[1]])
    lost = world.chat(a, b, broken)
    assert lost
    assert max(lost) < 4
    assert not world.is_direct(a, b)
    assert peer_of(a, world.root).is_direct(world.now)
    world.net.heal()
    # Within the path's life it is probed every 5 s; later the root's next introduction does it.
    assert world.chat(a, b, 10 if broken < 200 else 35) == []
    assert world.is_direct(a, b)
    before = world.root.counters["datagram: relayed"]
    assert world.chat(a, b, 3) == []
    assert world.root.counters["datagram: relayed"] == before


def test_events_tell_of_a_path_that_breaks_and_heals():
    world, a, b = met()
    world.net.partition([world.hosts[0]], [world.hosts[1]])
    world.chat(a, b, 20)
    world.net.heal()
    world.chat(a, b, 20)
    told = [event for event in a.seen if isinstance(event, PeerDirect | PeerRelayed)]
    told = [type(event) for event in told if event.peer.address == b.address]
    assert told[-3:] == [PeerDirect, PeerRelayed, PeerDirect]


def test_a_path_that_works_one_way_only_is_left_by_those_who_hear_nothing():
    """The packets of one side are lost, those of the other (its probes, too) arrive."""
    world, a, b = met()
    world.net.set_path(world.hosts[0], world.hosts[1], Link(loss=1.0), Link(delay=0.01))
    lost = world.chat(a, b, 60)
    assert max(lost) < 6


def test_a_silent_path_expires_and_is_forgotten():
    world, a, b = met()
    world.net.partition([world.hosts[0]], [world.hosts[1]])
    world.net.run_for(300)
    assert peer_of(a, b).entries == []
    assert [e.endpoint for e in a.saw(PathRemoved)] == [world.hosts[1].sockets[0]]
    assert (0, world.hosts[1].sockets[0]) not in a.paths.learned


def test_peers_that_are_silent_for_long_are_forgotten_but_roots_never():
    world, a, b = met()
    world.net.partition([world.hosts[0]])
    world.net.run_for(600)
    assert peer_of(a, b) is None
    assert peer_of(a, world.root) is not None
    world.net.heal()
    world.run_until(lambda: a.is_online(world.now))
    world.tell(b, a, b"who are you")


def test_packets_one_way_keep_their_direct_path():
    """Nothing but answers to probes comes back; that is enough."""
    world, a, b = met()
    world.net.run_for(1)
    before = world.root.counters["datagram: relayed"]
    for i in range(300):
        world.say(a, b, b"one way %d" % i)
        world.net.run_for(0.1)
    assert b"one way 299" in b.heard()
    assert world.root.counters["datagram: relayed"] == before
    assert world.hosts[1].sent < 300


def test_a_host_moves_to_another_address():
    world, a, b = met()
    host = world.hosts[0]
    world.chat(a, b, 3)
    world.net.remove_address(host, host.addresses[0])
    host.bind(world.net.add_address(host, "10.77.0.2"), 9993)
    a.use_sockets(host.sockets, world.now)
    lost = world.chat(a, b, 15)
    assert not lost or max(lost) < 4
    assert world.is_direct(a, b)
    assert peer_of(b, a).best_path(world.now).endpoint == Endpoint("10.77.0.2", 9993)
    assert all(entry.path.socket in host.sockets for entry in peer_of(a, b).entries)


def test_a_new_socket_meets_the_roots_at_once():
    world, a, _ = met()
    host = world.hosts[0]
    host.bind(world.net.add_address(host, "10.78.0.2"), 9993)
    a.use_sockets(host.sockets, world.now)
    world.net.run_for(0.1)
    assert {entry.path.socket for entry in peer_of(a, world.root).entries} == {0, 1}


class Nat:
    """Gives a host's socket another outside port from time to time, and lets everything in."""

    def __init__(self, outside):
        self.outside = outside
        self.port = 40000
        self.inside = None

    def outward(self, datagram, now):
        self.inside = datagram.source
        return datagram._replace(source=Endpoint(self.outside, self.port))

    def inward(self, datagram, now):
        if datagram.destination.port != self.port or self.inside is None:
            return None
        return datagram._replace(destination=self.inside)


def test_a_nat_that_changes_its_port_is_followed():
    nat = Nat("10.50.0.1")

    def add_host(net, name):
        if name != "m0":
            return net.add_host(name)
        return net.add_host(name, "10.50.0.1", middleboxes=[nat])

    world, a, b = met(add_host=add_host)
    assert peer_of(b, a).best_path(world.now).endpoint == Endpoint("10.50.0.1", 40000)
    nat.port = 41000
    lost = world.chat(a, b, 20)
    assert not lost or max(lost) < 5
    assert peer_of(b, a).best_path(world.now).endpoint == Endpoint("10.50.0.1", 41000)
    assert world.is_direct(a, b)


def test_nothing_is_learned_of_forbidden_addresses():
    world = SmallWorld(1)
    (b,) = world.members
    world.online()
    forbidden = NodeConfig(path_blacklist=tuple(ip_network(ip) for ip in world.hosts[0].addresses))
    a = world.add(5, world.net.add_host("picky"), config=forbidden)
    world.run_until(lambda: a.is_online(world.now))
    assert world.chat(a, b, 20, 0.5) == []
    assert peer_of(a, b).entries == []


def test_memory_of_a_conversation_is_flat():
    world, a, b = met()
    world.chat(a, b, 60)
    sizes = []
    for _ in range(3):
        world.chat(a, b, 60)
        sizes.append(
            (len(a.paths.learned), len(a.paths.visitors), len(a.contact._attempts), len(a.topology.peers))
        )
    assert len(set(sizes)) == 1
    assert len(a.expected) < 100
