"""The node core, whole: VL1, VL2 and the stack together, many nodes in one process on the simulated wire."""

import contextlib
from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.vl1.world import dual_stack, two_ports
from tests.vl2.lan import NETWORK, Lan
from tests.wire import strategies
from zt_async.config import NetworkSettings, NodeConfig
from zt_async.errors import NetworkNotJoined
from zt_async.events import (
    AddressAdded,
    AddressRemoved,
    NetworkDown,
    NetworkJoined,
    NetworkReady,
    NetworkStatus,
    NetworkUpdated,
    NodeOffline,
    NodeOnline,
)
from zt_async.node import Node
from zt_async.testing import Link, SimClock, seeded_context
from zt_async.testing.identities import throwaway_identity
from zt_async.types import NetworkId, Route
from zt_async.vl2.addressing import member_mac, sixplane
from zt_async.wire.network_config import NetworkConfig

BAD = Link(loss=0.05, delay=0.02, jitter=0.01, reorder=0.1, duplicate=0.05)


def alone(number=1):
    """A node without roots."""
    return Node(throwaway_identity(number), seeded_context(number, SimClock()), NodeConfig())


# One node


def test_joining_an_ad_hoc_network_makes_it_ready_at_once():
    node = alone()
    info = node.join(NETWORK, 0.0)
    address = sixplane(NETWORK, node.address)
    assert info.status == NetworkStatus.OK
    assert info.addresses == (address,)
    assert info.mac == member_mac(NETWORK, node.address)
    assert (info.name, info.mtu, info.private) == ("adhoc-1b58-1f3f", 2800, False)
    assert node.networks() == [info] == [node.network(NETWORK)]
    events = node.take_events()
    assert [type(event) for event in events] == [NetworkJoined, AddressAdded, NetworkReady]
    assert node.take_events() == []


def test_joining_twice_is_the_same_as_once():
    node = alone()
    assert node.join(NETWORK, 0.0) == node.join(NETWORK, 1.0)
    node.leave(NETWORK, 2.0)
    node.take_events()
    with pytest.raises(NetworkNotJoined):
        node.leave(NETWORK, 3.0)
    with pytest.raises(NetworkNotJoined):
        node.network(NETWORK)
    assert node.networks() == []
    node.join(NETWORK, 4.0)
    assert [type(event) for event in node.take_events()] == [NetworkJoined, AddressAdded, NetworkReady]


def test_leaving_tells_and_takes_addresses_and_connections_with_it():
    node = alone()
    node.join(NETWORK, 0.0)
    node.take_events()
    own = str(sixplane(NETWORK, node.address).ip)
    node.stack.open_udp((own, 5000), now=0.0)
    connection = node.stack.connect_tcp((own[:-1] + "2", 7000), now=0.0)
    node.leave(NETWORK, 1.0)
    assert [type(event) for event in node.take_events()] == [AddressRemoved, NetworkDown]
    assert connection.error is not None
    with pytest.raises(OSError, match=r"No route|unreachable"):
        node.stack.connect_tcp((own, 7000), now=1.0)


def test_an_ad_hoc_network_whose_ports_run_backwards_does_not_exist():
    node = alone()
    info = node.join(NetworkId(0xFF << 56 | 9 << 40 | 8 << 24), 0.0)
    assert info.status == NetworkStatus.NOT_FOUND
    assert info.addresses == ()
    assert [type(event) for event in node.take_events()] == [NetworkJoined, NetworkUpdated]


@pytest.mark.parametrize("number", [0x8056C2E21C000001, 0xFF00000000000002, 0xFFFFFFFFFFFFFF00])
def test_other_networks_wait_for_a_configuration(number):
    node = alone()
    info = node.join(NetworkId(number), 0.0)
    assert info.status == NetworkStatus.REQUESTING_CONFIGURATION
    assert node.flights_to_send(0.0) == []


def test_a_node_without_roots_has_nothing_to_say_and_stays_offline():
    node = alone()
    node.join(NETWORK, 0.0)
    now = 0.0
    for _ in range(50):
        now = max(now, node.next_timer())
        node.handle_timer(now)
        assert node.flights_to_send(now) == []
    assert not node.online
    assert NodeOnline not in [type(event) for event in node.take_events()]


def test_ones_own_address_reaches_oneself():
    lan = Lan(1)
    (node,) = lan.members
    assert lan.ping(node, node) == 0
    lan.transfer(node, node, 50_000)
    lan.echo(node, node, [0, 1, 1400, 2700])
    assert lan.net.counts["sent"] < 10  # nothing of it left the node


def test_addresses_and_routes_that_no_host_can_use_are_left_out():
    node = alone()
    number = NetworkId(0x8056C2E21C000001)
    good = Route(ip_network("10.9.0.0/16"), ip_address("10.1.0.1"))
    config = NetworkConfig(
        network_id=number,
        issued_to=node.address,
        addresses=(ip_interface("10.1.0.5/16"), ip_interface("fd00::5/64"), ip_interface("240.0.0.5/8")),
        routes=(
            Route(ip_network("10.8.0.0/16"), ip_address("fd00::1")),
            Route(ip_network("fd01::/64"), ip_address("::ffff:10.1.0.1")),
            good,
        ),
    )
    node.join(number, 0.0, config.encode())
    assert node.stack.counters["assigned address unusable"] == 1
    assert node.stack.counters["assigned route unusable"] == 1
    assert good in node.network(number).routes
    assert node.network(number).status == NetworkStatus.OK
    node.flights_to_send(0.0)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(strategies.configs, min_size=1, max_size=3),
    st.lists(st.tuples(strategies.macs, strategies.macs, strategies.u16, st.binary(max_size=80)), max_size=3),
    strategies.ips,
)
def test_whatever_a_controller_says_does_no_harm(configs, frames, ip):
    """Any configuration can come from a controller of anybody; it may be senseless, and nothing is raised."""
    node = alone()
    number = NetworkId(0x8056C2E21C000001)
    everything = NetworkSettings(allow_global=True, allow_default=True, allow_dns=True)
    now = 0.0
    for order, config in enumerate(configs):
        told = replace(config, network_id=number, issued_to=node.address, timestamp=order + 1)
        if order == 0:
            node.join(number, now, told.encode(), everything)
        else:
            node.vl2.serving.push(number, node.address, told.encode(), now)
        with contextlib.suppress(OSError):
            node.stack.open_udp(None, None, now=now).send(b"x", (str(ip), 9), now=now)
        node.send_frames(number, frames, now)
        for _ in range(5):
            node.flights_to_send(now)
            now = max(now, node.next_timer())
            node.handle_timer(now)
    assert node.network(number).mtu == configs[-1].mtu
    node.leave(number, now)
    assert node.flights_to_send(now) == []


# Networks of nodes


def test_members_online_ready_and_connected_in_a_blink():
    lan = Lan(2)
    a, b = lan.members
    lan.online()
    assert lan.now < 0.05
    start = lan.now
    listener = lan.listen(b)
    connection = lan.connect(a, b)
    lan.run_until(lambda: connection.state.name == "ESTABLISHED")
    assert lan.now - start < 0.1
    lan.run_until(lambda: listener.accept() is not None)
    assert [type(e) for e in a.events if type(e) in (NodeOnline, NodeOffline)] == [NodeOnline]


def test_a_connection_begun_before_the_node_is_online_is_made_once_it_is():
    lan = Lan(2, link=Link(delay=0.05))
    a, b = lan.members
    lan.listen(b)
    connection = lan.connect(a, b)
    lan.run_until(lambda: connection.state.name == "ESTABLISHED")
    assert lan.now < 1.0


@pytest.mark.parametrize("add_host", [None, two_ports, dual_stack])
def test_tcp_udp_and_ping_both_ways_on_a_bad_wire(add_host):
    options = {} if add_host is None else {"add_host": add_host}
    lan = Lan(3, link=BAD, **options)
    lan.online()
    a, b, c = lan.members
    for client, server in ((a, b), (b, a), (c, a)):
        lan.transfer(client, server, 60_000)
        lan.echo(client, server, [0, 1, 100, 1400, 2700, 5000])
    assert all(node.peer(other.address, lan.now).direct for node, other in ((a, b), (b, a), (a, c)))


def test_many_nodes_each_with_the_next():
    lan = Lan(12, roots=2, link=Link(delay=0.02, loss=0.02))
    lan.online()
    sides = []
    for i, node in enumerate(lan.members):
        server = lan.members[(i + 1) % 12]
        sides += lan.begin(node, server, lan.listen(server), b"%d" % i * 10_000, b"back" * 5000)
    lan.run_until(lambda: min([side.done for side in sides]), 60)
    for here, there in zip(sides[::2], sides[1::2], strict=True):
        assert here.received.digest() == there.sent
        assert there.received.digest() == here.sent


def test_a_transfer_survives_the_loss_of_its_direct_path_and_comes_back_to_it():
    lan = Lan(2, link=Link(delay=0.01, bandwidth=10e6))
    a, b = lan.members
    lan.online()
    lan.ping(a, b)
    here, there = lan.begin(a, b, lan.listen(b), bytes(25_000_000), b"")

    def go_on(seconds):
        """Read for a while; how many datagrams the root relayed meanwhile."""
        before, end = lan.roots[0].vl1.counters["datagram: relayed"], lan.now + seconds
        lan.net.call_at(end, lambda: None)
        lan.run_until(lambda: there.done or lan.now >= end, seconds + 1)
        return lan.roots[0].vl1.counters["datagram: relayed"] - before

    go_on(2)
    assert a.peer(b.address, lan.now).direct
    lan.net.partition([lan.hosts[0]], [lan.hosts[1]])
    assert go_on(8) > 1000
    assert not a.peer(b.address, lan.now).direct
    lan.net.heal()
    go_on(6)
    assert a.peer(b.address, lan.now).direct
    assert go_on(30) < 100
    assert there.done
    assert there.received.digest() == here.sent


def test_the_root_is_gone_and_those_who_have_met_go_on():
    lan = Lan(2)
    a, b = lan.members
    lan.online()
    lan.transfer(a, b, 10_000)
    lan.net.detach(lan.root_hosts[0])
    lan.net.run_for(60)
    assert not a.online
    assert type(a.events[-1]) is NodeOffline
    lan.transfer(a, b, 200_000)


def test_the_rules_of_the_network_hold_at_both_ends():
    lan = Lan(2)
    a, b = lan.members
    lan.online()
    lan.ping(a, b)
    refused = lan.connect(a, b, 8000)  # the network is open from 7000 to 7999
    lan.net.run_for(3)
    assert refused.state.name == "SYN_SENT"
    assert a.vl2.counters["out: rules"] >= 2
    nobody = lan.connect(a, b, 7001)
    lan.run_until(lambda: nobody.error is not None)
    assert isinstance(nobody.error, ConnectionRefusedError)


def test_nodes_on_several_networks_keep_them_apart():
    other = NetworkId.ad_hoc(1, 65535)
    lan = Lan(3)
    a, b, c = lan.members
    a.join(other, lan.now)
    c.join(other, lan.now)
    lan.online()
    lan.transfer(a, b, 10_000)
    server = c.stack.listen_tcp(("::", 80), now=lan.now)
    address = str(c.network(other).addresses[0].ip)
    reached = a.stack.connect_tcp((address, 80), now=lan.now)
    with pytest.raises(OSError, match=r"No route|unreachable"):
        b.stack.connect_tcp((address, 80), now=lan.now)
    lan.run_until(lambda: server.accept() is not None)
    assert reached.state.name == "ESTABLISHED"
    c.leave(NETWORK, lan.now)
    lan.net.run_for(1)
    assert reached.state.name == "ESTABLISHED"
    assert c.vl2.counters["in: not joined"] == 0


def test_frames_of_a_network_that_was_left_are_counted_and_answered_by_nothing():
    lan = Lan(2)
    a, b = lan.members
    lan.online()
    lan.ping(a, b)
    b.leave(NETWORK, lan.now)
    ping = a.stack.ping(str(sixplane(NETWORK, b.address).ip), b"x", now=lan.now)
    lan.net.run_for(2)
    assert ping.rtt is None
    assert b.vl2.counters["in: not joined"] == 1


def test_neighbours_are_emulated_and_nothing_is_asked_on_the_wire():
    lan = Lan(2)
    a, b = lan.members
    lan.online()
    lan.net.run_for(2.0)
    reports = a.vl2.counters["out: multicast"]
    lan.ping(a, b)
    assert a.vl2.counters["out: neighbour emulated"] == 1
    assert a.vl2.counters["out: multicast"] == reports


def test_a_raw_frame_that_is_answered_on_the_spot_is_answered_at_once():
    node = alone()
    mac = node.join(NETWORK, 0.0).mac
    node.flights_to_send(0.0)
    node.watch(NETWORK)
    node.send_frames(NETWORK, [(mac, mac, 0x86DD, b"to myself")], 0.0)
    node.flights_to_send(0.0)
    assert node.take_watched() == [(NETWORK, [(mac, mac, 0x86DD, b"to myself")], [])]


def test_all_that_arrives_adds_up_in_every_room():
    lan = Lan(3, link=BAD, add_host=dual_stack)
    given = {}
    for node in (*lan.roots, *lan.members):
        given[node] = 0

        def count(socket, remote, datagrams, now, node=node, receive=node.receive_datagrams):
            given[node] += len(datagrams)
            receive(socket, remote, datagrams, now)

        node.receive_datagrams = count
    lan.online()
    a, b, c = lan.members
    for x, y in ((a, b), (b, c), (c, a)):
        lan.transfer(x, y, 30_000)
    for node, number in given.items():
        assert number > 50
        counters = node.vl1.counters
        assert sum(n for name, n in counters.items() if name.startswith("datagram: ")) == number
        packets = counters["datagram: packet"] + counters["fragments: joined"]
        assert sum(n for name, n in counters.items() if name.startswith("packet: ")) == packets


def test_a_thousand_seconds_of_nothing_cost_little():
    lan = Lan(3)
    lan.online()
    lan.transfer(lan.members[0], lan.members[1], 1000)
    lan.net.run_for(700)
    sent = lan.net.counts["sent"]
    lan.net.run_for(1000)
    each = (lan.net.counts["sent"] - sent) / 1000 / 4
    assert each < 0.5  # datagrams a second and node
    assert all(node.online for node in lan.members)
    assert lan.transfer(lan.members[0], lan.members[1], 1000) < 1


def test_peers_are_told_as_copies():
    lan = Lan(2)
    a, b = lan.members
    lan.online()
    lan.ping(a, b)
    lan.run_until(lambda: a.peer(b.address, lan.now).direct)
    root, peer = sorted(a.peers(lan.now), key=lambda info: info.role, reverse=True)
    assert (root.address, root.role) == (lan.roots[0].address, "PLANET")
    assert (peer.address, peer.role, peer.version, peer.protocol) == (b.address, "LEAF", (1, 14, 1), 12)
    assert peer.paths[0].endpoint == lan.hosts[1].sockets[0]
    assert peer.latency == pytest.approx(20, abs=1)
    assert a.peer(throwaway_identity(99).address, lan.now) is None


@pytest.mark.parametrize("seed", [1, 2])
def test_a_run_is_the_same_every_time_for_its_seed(seed):
    digests = set()
    for _ in range(2):
        lan = Lan(3, seed=seed, link=BAD)
        lan.net.observers.append(lan.net.trace)
        lan.online()
        lan.transfer(lan.members[0], lan.members[1], 20_000)
        digests.add(lan.net.trace.digest())
    assert len(digests) == 1
