"""Small networks of VL1 cores on a good and on a bad wire."""

import pytest

from zt_async.config import NodeConfig
from zt_async.events import PathAdded, PeerDirect, PeerRelayed
from zt_async.testing import Link

from .world import SmallWorld, dual_stack, peer_of, two_ports

LARGEST = 1432 + 6 * 1416 - 28 - 8  # bytes of a message's data


def test_members_are_online_within_two_round_trips():
    world = SmallWorld(3)
    world.online()
    assert world.now < 0.05


def test_a_first_message_to_a_stranger_arrives_and_a_direct_path_follows():
    world = SmallWorld(2)
    a, b = world.members
    world.online()
    start = world.now
    assert world.tell(a, b, b"hello") < 0.1
    world.run_until(lambda: world.is_direct(a, b))
    assert world.now - start < 0.3
    assert [event.peer.address for event in a.saw(PeerDirect)][-1] == b.address
    assert [event.peer.address for event in b.saw(PeerDirect)][-1] == a.address
    assert world.tell(b, a, b"back") < 0.02
    assert a.saw(PathAdded)


def test_with_the_direct_path_blocked_packets_go_through_the_root():
    world = SmallWorld(2)
    a, b = world.members
    world.net.partition([world.hosts[0]], [world.hosts[1]])
    world.online()
    assert world.chat(a, b, 25, 0.5) == []
    assert not peer_of(a, b).entries
    assert world.root.counters["datagram: relayed"] >= 100
    assert [event.peer.address for event in a.saw(PeerRelayed)] == [b.address]


def test_members_stay_online_while_their_root_only_relays():
    world = SmallWorld(2)
    a, b = world.members
    world.net.partition([world.hosts[0]], [world.hosts[1]])
    world.online()
    for _ in range(10):
        assert world.chat(a, b, 60, 2.0) == []
        assert a.is_online(world.now)
        assert b.is_online(world.now)
        for member in world.members:
            assert peer_of(world.root, member).is_direct(world.now)


def test_large_packets_cross_in_fragments():
    world = SmallWorld(2, link=Link(delay=0.01, jitter=0.002, reorder=0.2))
    a, b = world.members
    world.online()
    for size in (1396, 1397, 2800, 9000, LARGEST):
        data = bytes(i * 7 & 0xFF for i in range(size))
        world.tell(a, b, data)
    assert b.counters["fragments: joined"] == 4


def test_a_packet_that_no_seven_fragments_carry_is_dropped_and_counted():
    world = SmallWorld(2)
    a, b = world.members
    world.online()
    world.tell(a, b, b"x")
    world.say(a, b, bytes(LARGEST + 1))
    world.net.run_for(1)
    assert b.heard() == [b"x"]
    assert a.counters["send: too large"] == 1


@pytest.mark.parametrize("seed", range(5))
def test_a_lossy_wire_delays_but_does_not_prevent(seed):
    world = SmallWorld(2, seed=seed, link=Link(loss=0.3, delay=0.04, jitter=0.02, reorder=0.1, duplicate=0.1))
    a, b = world.members
    world.online()
    lost = world.chat(a, b, 65, 0.5)  # a root introduces the two again after 30 s, and after 60
    assert len(lost) < 150
    assert peer_of(a, b).entries
    assert peer_of(b, a).entries


def test_copies_of_a_hello_from_several_sockets_are_answered_where_they_came_from():
    world = SmallWorld(2, add_host=two_ports)
    a, b = world.members
    world.online()
    world.tell(a, b, b"x")
    world.run_until(lambda: world.is_direct(a, b))
    assert world.chat(a, b, 60, 1.0) == []
    # Both sockets of each reach a port of the other; two ports of one host are no two paths (vl1.md 5.3).
    for x, y in ((a, b), (b, a)):
        paths = [entry.path for entry in peer_of(x, y).entries]
        assert len({(path.socket, path.endpoint.host) for path in paths}) == len(paths)
        assert all(path.is_alive(world.now) for path in paths)
    assert len(peer_of(a, world.root).entries) == 2


def test_hosts_with_both_families_use_both_and_survive_the_loss_of_one():
    world = SmallWorld(2, add_host=dual_stack)
    a, b = world.members
    world.online()
    world.tell(a, b, b"x")
    world.run_until(lambda: world.is_direct(a, b))
    world.net.run_for(5)
    families = {entry.path.endpoint.family for entry in peer_of(a, world.root).entries}
    assert families == {4, 6}
    world.net.remove_address(world.hosts[1], world.hosts[1].addresses[0])
    lost = world.chat(a, b, 30)
    assert not lost or max(lost) < 5
    assert world.is_direct(a, b)
    assert peer_of(a, b).best_path(world.now).endpoint.family == 6


def test_a_member_with_one_family_meets_one_with_the_other_through_the_root():
    world = SmallWorld(0, add_host=dual_stack)
    four = world.add(10, world.net.add_host("four", "10.1.0.2"))
    six = world.add(11, world.net.add_host("six", "fd01::2"))
    world.run_until(lambda: four.is_online(world.now) and six.is_online(world.now))
    assert world.chat(four, six, 60, 0.5) == []
    assert not peer_of(four, six).entries


def test_many_members_of_one_prefix_come_online_one_after_the_other():
    """The burst of new identities is limited for each /24: 8 at once, then one in 2 s (vl1.md 3.4)."""
    world = SmallWorld(0)
    members = [world.add(20 + i, world.net.add_host(f"near{i}", f"10.9.9.{i + 1}")) for i in range(12)]
    world.run_until(lambda: sum(m.is_online(world.now) for m in members) == 8, 0.5)
    world.run_until(lambda: all(m.is_online(world.now) for m in members), 30)
    assert world.root.counters["packet: rate limit"] > 0


def test_the_reference_rule_for_new_identities_can_be_set():
    config = NodeConfig(identity_validation_burst=1)
    world = SmallWorld(0, config=config)
    members = [world.add(20 + i, world.net.add_host(f"near{i}", f"10.9.9.{i + 1}")) for i in range(3)]
    world.net.run_for(1)
    assert sum(m.is_online(world.now) for m in members) == 1
    world.run_until(lambda: all(m.is_online(world.now) for m in members), 30)


def test_a_run_is_the_same_every_time_for_its_seed():
    runs = []
    for seed in (7, 7, 8):
        world = SmallWorld(3, seed=seed, link=Link(loss=0.1, delay=0.03, jitter=0.01, duplicate=0.05))
        world.net.observers.append(lambda entry, run=(run := []): run.append(entry))
        world.online()
        world.chat(world.members[0], world.members[1], 5)
        runs.append(run)
    assert runs[0] == runs[1] != runs[2]


def test_a_peer_that_was_started_again_on_another_port_is_met_there_within_seconds():
    world = SmallWorld(2)
    a, b = world.members
    world.online()
    world.chat(a, b, 2, 0.2)
    assert world.is_direct(a, b)
    host = world.hosts[1]
    world.net.detach(host)
    host.close()
    host.bind(host.addresses[0], 10_000)
    again = world.add(2, host)
    world.run_until(lambda: again.is_online(world.now))
    assert all(lost < 2 for lost in world.chat(a, again, 5, 0.1))
    assert world.tell(a, again, b"after") < 0.02
    path = peer_of(a, again).best_path(world.now)
    assert path.endpoint == host.sockets[1]
