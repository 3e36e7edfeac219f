"""The small tables: questions, limits, surfaces, peers in memory, packets that wait for a way."""

from collections import Counter
from ipaddress import ip_address

import pytest

from zt_async.config import NodeConfig
from zt_async.crypto.identity import Identity
from zt_async.testing import SimClock, seeded_context
from zt_async.testing.identities import throwaway_identity
from zt_async.types import Endpoint, NodeAddress
from zt_async.vl1.expected import EXPIRY, MAX_EXPECTED, ExpectedReplies
from zt_async.vl1.limits import MAX_PREFIXES, PrefixLimit
from zt_async.vl1.path import Path
from zt_async.vl1.sender import MAX_WAITING, MAX_WAITING_PER_PEER, WAITING_TIMEOUT, Sender
from zt_async.vl1.surface import MAX_ENTRIES, MAX_ENTRIES_PER_REPORTER, SelfAwareness
from zt_async.vl1.topology import MAX_SEEDS, Topology
from zt_async.wire.inetaddress import Scope

from .world import make_moon, make_planet

AT = Endpoint("10.0.0.1", 1)


# Expected replies


def test_questions_are_matched_by_packet_verb_and_peer_and_stay():
    expected = ExpectedReplies()
    expected.add(1, 2, 3, AT, 0.0)
    assert expected.match(1, 2, 3).asked_at == AT
    assert expected.match(1, 2, 3) is not None
    assert [expected.match(*key) for key in ((0, 2, 3), (1, 0, 3), (1, 2, 0))] == [None] * 3


def test_questions_are_bounded_in_number_and_time():
    expected = ExpectedReplies()
    for i in range(MAX_EXPECTED + 5):
        expected.add(i, 0, 0, AT, i / 1000)
    assert len(expected) == MAX_EXPECTED
    assert expected.match(4, 0, 0) is None
    assert expected.match(5, 0, 0) is not None
    expected.expire(1.0 + EXPIRY)
    assert expected.match(1000, 0, 0) is None
    assert expected.match(1001, 0, 0) is not None
    expected.expire(1000.0)
    assert len(expected) == 0


# Rate limits


def test_a_prefix_has_a_burst_and_then_one_in_an_interval():
    limit = PrefixLimit(3, 2.0)
    inside = [ip_address(f"10.0.0.{i}") for i in range(10)]
    assert [limit.allow(ip, 0.0) for ip in inside] == [True] * 3 + [False] * 7
    assert limit.allow(ip_address("10.0.1.0"), 0.0)
    assert not limit.allow(inside[0], 1.9)
    assert limit.allow(inside[0], 2.0)
    assert not limit.allow(inside[0], 2.1)
    assert [limit.allow(inside[0], 100.0) for _ in range(5)] == [True] * 3 + [False] * 2


def test_a_prefix_of_ipv6_is_a_48():
    limit = PrefixLimit(1, 2.0)
    assert limit.allow(ip_address("fd00:0:0:1::1"), 0.0)
    assert not limit.allow(ip_address("fd00:0:0:2::1"), 0.0)
    assert limit.allow(ip_address("fd00:0:1::1"), 0.0)


def test_the_whole_burst_is_there_at_any_time_of_the_clock():
    """Also where the numbers of a clock become too large for their last digit."""
    for power in range(1, 22):
        for since in range(1, 20):
            limit = PrefixLimit(3, 2.0)
            allowed = [limit.allow(ip_address("10.0.0.1"), 2.0**power - since / 9.7) for _ in range(4)]
            assert allowed == [True, True, True, False]


def test_what_is_refused_costs_nothing():
    limit = PrefixLimit(1, 2.0)
    ip = ip_address("10.0.0.1")
    assert limit.allow(ip, 0.0)
    for i in range(1, 100):
        assert not limit.allow(ip, i / 100)
    assert limit.allow(ip, 2.0)


def test_prefixes_are_bounded():
    limit = PrefixLimit(1, 2.0)
    for i in range(MAX_PREFIXES + 100):
        limit.allow(ip_address(0x0A000000 + (i << 8)), 0.0)
    assert len(limit._buckets) == MAX_PREFIXES


# Surfaces


def report(surface, reporter=1, *, seen_as="10.0.0.5", port=1, path=None, trusted=False, now=0.0):
    return surface.report(reporter, path or Path(0, AT), Endpoint(seen_as, port), trusted=trusted, now=now)


def test_a_change_counts_when_a_root_reports_it_of_the_same_path():
    surface = SelfAwareness()
    assert report(surface, trusted=True) is None
    assert report(surface, trusted=True, port=2) is None
    assert report(surface, trusted=True, seen_as="10.0.0.6") == Scope.PRIVATE
    assert report(surface, trusted=True, seen_as="10.0.0.7", path=Path(1, AT)) is None
    assert report(surface, 2, seen_as="10.0.0.8") is None
    assert report(surface, 2, seen_as="10.0.0.9") is None


def test_a_change_makes_the_reports_of_others_worthless():
    surface = SelfAwareness()
    report(surface, 1, trusted=True, seen_as="10.0.0.5")
    report(surface, 2, seen_as="10.0.0.6")
    report(surface, 3, seen_as="5.0.0.6", path=Path(0, Endpoint("5.0.0.1", 1)))
    assert report(surface, 1, trusted=True, seen_as="10.0.0.9") == Scope.PRIVATE
    assert surface.endpoints(0.0) == [Endpoint("10.0.0.9", 1), Endpoint("5.0.0.6", 1)]


def test_reports_grow_old():
    surface = SelfAwareness()
    report(surface, trusted=True)
    assert report(surface, trusted=True, seen_as="10.0.0.6", now=600.0) is None
    assert surface.endpoints(1199.0) == [Endpoint("10.0.0.6", 1)]
    assert surface.endpoints(1200.0) == []
    surface.expire(1200.0)
    assert surface._reports == {}


def test_those_of_roots_come_first():
    surface = SelfAwareness()
    report(surface, 1, seen_as="10.0.0.1")
    report(surface, 2, seen_as="10.0.0.2", trusted=True)
    report(surface, 3, seen_as="10.0.0.1")
    assert [e.host for e in surface.endpoints(0.0)] == ["10.0.0.2", "10.0.0.1"]


def test_reports_are_bounded_for_each_and_for_all():
    surface = SelfAwareness()
    report(surface, 9, trusted=True)
    for i in range(100):
        report(surface, 1, path=Path(0, Endpoint("10.0.0.1", i)))
    assert len(surface._reports) == MAX_ENTRIES_PER_REPORTER + 1
    for i in range(2000):
        report(surface, 100 + i)
    assert len(surface._reports) == MAX_ENTRIES
    assert any(key.reporter == 9 for key in surface._reports)


# Topology


def test_beyond_the_limit_the_peer_silent_longest_is_forgotten_but_no_root():
    planet = make_planet([(throwaway_identity(0), [AT])])
    topology = Topology(throwaway_identity(100), planet, max_peers=3)
    for i in range(1, 4):
        topology.add_peer(throwaway_identity(i), float(i))
    topology.peers[throwaway_identity(1).address].last_receive = 50.0
    topology.add_peer(throwaway_identity(4), 60.0)
    known = {throwaway_identity(i).address for i in (0, 1, 3, 4)}
    assert topology.peers.keys() == known


def test_where_there_are_many_peers_some_are_forgotten_at_once():
    """To look at all of them for each new one would take a crowded root's time."""
    topology = Topology(throwaway_identity(100), None, max_peers=200)
    public_key = throwaway_identity(1).public_key
    for number in range(1, 202):
        topology.add_peer(Identity(NodeAddress(number), public_key), float(number))
    assert topology.peers.keys() == set(range(5, 202))


def test_wishes_for_moons_are_bounded():
    topology = Topology(throwaway_identity(100), None, max_peers=3)
    for i in range(MAX_SEEDS):
        topology.want_moon(i + 1, NodeAddress(7))
    topology.want_moon(1, NodeAddress(8))
    with pytest.raises(ValueError, match="64 moons"):
        topology.want_moon(1000, NodeAddress(7))


def test_we_are_a_root_by_being_listed_with_our_key():
    own = throwaway_identity(100)
    impostor = type(own)(own.address, throwaway_identity(1).public_key)
    assert Topology(own, make_planet([(own, [AT])]), 10).is_root
    topology = Topology(own, make_planet([(impostor, [AT])]), 10)
    assert not topology.is_root
    assert topology.upstreams == {}
    assert topology.offer(make_moon([(own, [])]), always_accept_new=True)
    assert topology.is_root


def test_endpoints_of_a_root_in_several_worlds_add_up():
    other = Endpoint("10.0.0.2", 2)
    root = throwaway_identity(0)
    topology = Topology(throwaway_identity(100), make_planet([(root, [AT])]), 10)
    topology.offer(make_moon([(root, [other, AT])]), always_accept_new=True)
    assert topology.upstreams == {root.address: (AT, other)}
    assert topology.stable_ips(root.address) == {AT.ip, other.ip}
    assert topology.role(root.address) == "PLANET"


def test_where_worlds_contradict_each_other_the_planet_is_right():
    planet = make_planet([(throwaway_identity(0), [AT])])
    topology = Topology(throwaway_identity(100), planet, 10)
    root = topology.peers[throwaway_identity(0).address]
    impostor = type(root.identity)(root.address, throwaway_identity(1).public_key)
    topology.offer(make_moon([(impostor, [Endpoint("10.0.0.2", 2)])]), always_accept_new=True)
    assert topology.peers[root.address] is root
    assert topology.upstreams == {root.address: (AT,)}


# Packets that wait


def make_sender():
    topology = Topology(throwaway_identity(100), None, 10)
    return topology, Sender(topology, seeded_context(1, SimClock()), 1432, Counter(), ExpectedReplies())


def test_packets_without_a_way_wait_for_a_while_in_bounded_number():
    _, sender = make_sender()
    for i in range(100):
        assert not sender.send_all(1, [b"%d" % i], 0.0)
    assert sender._counters["send: too many waiting"] == 100 - MAX_WAITING_PER_PEER
    for address in range(2, 100):
        sender.send_all(address, [b"x"] * 50, 1.0)
    assert sender._waiting_count == MAX_WAITING
    assert sender.give_up(WAITING_TIMEOUT - 0.1) == []
    assert sender.give_up(WAITING_TIMEOUT) == [1]
    assert len(sender.give_up(WAITING_TIMEOUT + 1)) == len(set(range(2, 100)) & set(range(2, 22)))
    assert sender._waiting_count == 0
    assert sender.waiting == []


def test_all_packets_that_find_no_room_are_counted():
    _, sender = make_sender()
    assert not sender.send_all(1, [b"x"] * (MAX_WAITING_PER_PEER + 7), 0.0)
    assert sender._counters["send: too many waiting"] == 7
    assert sender._waiting_count == MAX_WAITING_PER_PEER


def test_packets_that_are_too_large_leave_nothing_to_send():
    topology, sender = make_sender()
    peer, path = topology.add_peer(throwaway_identity(1), 0.0), Path(0, AT)
    sender.transmit(peer, path, bytes(sender.largest_body + 1), 0.0)
    assert path.last_send < 0.0
    sender.transmit(peer, path, b"\x14x", 0.0)
    (flight,) = sender.flights_to_send()
    assert len(flight.datagrams) == 1


def test_a_question_that_is_too_large_lets_no_answer_through():
    topology, sender = make_sender()
    peer = topology.add_peer(throwaway_identity(1), 0.0)
    sender.ask_over(peer, Path(0, AT), bytes(sender.largest_body + 1), 0.0)
    assert len(sender._expected) == 0


def test_waiting_packets_leave_when_there_is_a_way():
    topology, sender = make_sender()
    identity = throwaway_identity(1)
    sender.send_all(identity.address, [b"\x14one", b"\x14two"], 0.0)
    peer = topology.add_peer(identity, 0.0)
    sender.retry(identity.address, 0.0)
    assert sender.flights_to_send() == []
    path = Path(0, AT)
    path.last_receive = 0.0
    peer.learn(path, 0.0)
    sender.retry(identity.address, 0.5)
    (flight,) = sender.flights_to_send()
    key = identity.agree(throwaway_identity(100))
    assert [key.open(packet) for packet in flight.datagrams] == [b"\x14one", b"\x14two"]
    assert sender._waiting_count == 0
    sender.retry(identity.address, 0.5)
    assert sender.flights_to_send() == []


def test_what_takes_one_path_leaves_in_one_flight():
    topology, sender = make_sender()
    peer = topology.add_peer(throwaway_identity(1), 0.0)
    near, far = Path(0, AT), Path(1, AT)
    for path in (near, far, near, far, near):
        sender.transmit(peer, path, b"\x14x", 0.0)
    flights = sender.flights_to_send()
    assert [(flight.socket, len(flight.datagrams)) for flight in flights] == [(0, 3), (1, 2)]
    assert sender.flights_to_send() == []


def test_mtu_of_the_configuration_is_kept():
    assert NodeConfig(mtu=1400).mtu == 1400
    topology = Topology(throwaway_identity(100), None, 10)
    peer = topology.add_peer(throwaway_identity(1), 0.0)
    for mtu in (1400, 1432, 9000, 10_324):
        sender = Sender(topology, seeded_context(1, SimClock()), mtu, Counter(), ExpectedReplies())
        largest = min(7 * (mtu - 16) + 16, 9928) - 27  # more is too much for others (vl1.md 2.7)
        for size in (10, min(mtu - 27, largest), min(mtu - 26, largest), largest):
            sender.transmit(peer, Path(0, AT), bytes((0x14,)) * size, 0.0)
        sizes = [len(d) for flight in sender.flights_to_send() for d in flight.datagrams]
        assert max(sizes) <= mtu
        assert not sender._counters
        sender.transmit(peer, Path(0, AT), bytes((0x14,)) * (largest + 1), 0.0)
        assert sender._counters == {"send: too large": 1}
