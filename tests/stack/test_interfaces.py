"""Several interfaces, routes, and packets to oneself."""

import errno
import gc
import ipaddress
import weakref

import pytest

from tests.stack.network import PORT, Network, Wire, seeded_context, settled
from zt_async.config import StackConfig
from zt_async.stack.stack import Stack
from zt_async.stack.tcp.connection import TcpConnection
from zt_async.stack.tcp.state import State
from zt_async.types import MACAddress

NOW = 1000.0


def address(text: str) -> ipaddress.IPv6Interface:
    return ipaddress.IPv6Interface(text)


def a_stack(*addresses: str) -> Stack:
    """With an interface for each address."""
    stack = Stack(seeded_context(1), StackConfig())
    for number, text in enumerate(addresses, 1):
        interface = stack.add_interface(f"net{number}", MACAddress(0x020000000000 + number), 2800, NOW)
        interface.add_address(address(text), NOW)
    return settled(stack, NOW)


# -- to oneself


@pytest.mark.parametrize("target", ["::1", "fd00::1", "fd01::1"])
def test_own_addresses_reach_oneself_and_nothing_leaves(target):
    stack = a_stack("fd00::1/64", "fd01::1/64")
    listener = stack.listen_tcp(("::", PORT), now=NOW)
    near = stack.connect_tcp((target, PORT), now=NOW)
    near.send(bytes(500_000))
    assert stack.frames_to_send(NOW) == []
    far = listener.accept()
    assert near.local == (target, near.local[1])
    received = bytearray()
    now = NOW
    while len(received) < 500_000:
        received += far.receive()
        now += 0.001
        stack.frames_to_send(now)
    far.close()
    near.close()
    assert stack.frames_to_send(now) == []
    assert stack.counters == {}


def test_a_ping_and_a_datagram_to_oneself():
    stack = a_stack("fd00::1/64")
    ping = stack.ping("fd00::1", b"me", now=NOW)
    server = stack.open_udp(("::", 53), now=NOW)
    client = stack.open_udp(now=NOW)
    client.send(b"x" * 60_000, ("::1", 53), now=NOW)
    client.send(b"x", ("::1", 54), now=NOW)
    assert stack.frames_to_send(NOW) == []
    assert ping.rtt == 0
    assert [len(data) for data, _ in server.receive()] == [60_000]
    assert isinstance(client.take_errors()[0][0], ConnectionRefusedError)


def test_a_closed_port_of_oneself_refuses():
    stack = a_stack("fd00::1/64")
    connection = stack.connect_tcp(("fd00::1", 1), now=NOW)
    stack.frames_to_send(NOW)
    assert isinstance(connection.error, ConnectionRefusedError)


def test_a_port_connected_to_itself():
    stack = a_stack("fd00::1/64")
    connection = stack.connect_tcp(("fd00::1", 5000), local=("fd00::1", 5000), now=NOW)
    stack.frames_to_send(NOW)
    assert connection.state is State.ESTABLISHED
    connection.send(b"hello, me")
    stack.frames_to_send(NOW)
    assert connection.receive() == b"hello, me"


def test_a_source_for_oneself_must_be_own():
    stack = a_stack("fd00::1/64", "fd01::1/64")
    stack.listen_tcp(("::", PORT), now=NOW)
    connection = stack.connect_tcp(("fd00::1", PORT), local=("fd01::1", 0), now=NOW)
    stack.frames_to_send(NOW)
    assert connection.state is State.ESTABLISHED
    assert connection.local[0] == "fd01::1"
    with pytest.raises(OSError) as caught:
        stack.connect_tcp(("fd00::1", PORT), local=("fd02::1", 0), now=NOW)
    assert caught.value.errno == errno.EADDRNOTAVAIL


def test_a_listener_of_an_interface_hears_its_addresses_from_oneself():
    stack = a_stack("fd00::1/64", "fd01::1/64")
    first, _ = stack.interfaces
    listener = stack.listen_tcp(("::", PORT), interface=first, now=NOW)
    stack.connect_tcp(("fd00::1", PORT), now=NOW)
    refused = stack.connect_tcp(("fd01::1", PORT), now=NOW)
    stack.frames_to_send(NOW)
    assert listener.accept() is not None
    assert isinstance(refused.error, ConnectionRefusedError)


# -- which way


def test_without_any_address_there_is_no_network():
    stack = Stack(seeded_context(1), StackConfig())
    for _ in range(2):
        with pytest.raises(OSError) as caught:
            stack.connect_tcp(("fd00::2", 1), now=NOW)
        assert caught.value.errno == errno.ENETUNREACH
        stack.add_interface("net", MACAddress(0x020000000001), 2800, NOW)


def test_outside_all_prefixes_there_is_no_route():
    stack = a_stack("fd00::1/64")
    for call in (stack.connect_tcp, lambda remote, now: stack.open_udp(None, remote, now=now)):
        with pytest.raises(OSError) as caught:
            call(("fd01::2", 1), now=NOW)
        assert caught.value.errno == errno.EHOSTUNREACH


def test_the_longest_prefix_decides():
    stack = a_stack("fd00::1/16", "fd00:0:0:1::1/64", "fd00:0:0:1::ff/120")
    remotes = ("fd00:9::2", "fd00:0:0:1:9::2", "fd00:0:0:1::8")
    connections = [stack.connect_tcp((remote, 1), now=NOW) for remote in remotes]
    assert [connection.local[0] for connection in connections] == [
        "fd00::1",
        "fd00:0:0:1::1",
        "fd00:0:0:1::ff",
    ]
    assert [connection.flow.interface.name for connection in connections] == ["net1", "net2", "net3"]


def test_of_several_addresses_the_nearest_is_the_source():
    stack = a_stack("fd00::1/64")
    (interface,) = stack.interfaces
    interface.add_address(address("fd01::1/64"), NOW)
    assert stack.connect_tcp(("fd01::2", 1), now=NOW).local[0] == "fd01::1"
    assert stack.connect_tcp(("fd00::2", 1), now=NOW).local[0] == "fd00::1"
    assert interface.addresses == (address("fd00::1/64"), address("fd01::1/64"))


def test_a_route_through_a_gateway():
    stack = a_stack("fd00::1/64")
    (interface,) = stack.interfaces
    route = stack.add_route(ipaddress.ip_network("2001:db8::/32"), interface, "fd00::fe")
    stack.connect_tcp(("2001:db8::5", 1), now=NOW)
    ((_, ((*_, packet),)),) = stack.frames_to_send(NOW)
    assert ipaddress.IPv6Address(packet[48:64]) == ipaddress.IPv6Address("fd00::fe")
    stack.remove_route(route)
    with pytest.raises(OSError):
        stack.connect_tcp(("2001:db8::5", 1), now=NOW)
    with pytest.raises(ValueError):
        stack.remove_route(route)


def test_a_named_interface_and_a_source_restrict_the_way():
    stack = a_stack("fd00::1/64", "fd00::2/64")
    first, second = stack.interfaces
    assert stack.connect_tcp(("fd00::9", 1), interface=second, now=NOW).local[0] == "fd00::2"
    assert stack.connect_tcp(("fd00::9", 1), local=("fd00::2", 0), now=NOW).flow.interface is second
    with pytest.raises(OSError) as caught:
        stack.connect_tcp(("fd00::9", 1), local=("fd00::2", 0), interface=first, now=NOW)
    assert caught.value.errno == errno.EADDRNOTAVAIL


def test_link_local_addresses_need_their_interface():
    network = Network()
    a, b = network.add_host(Wire(delay=0.001)), network.add_host(Wire(delay=0.001))
    a.stack.add_interface("other", MACAddress(0x020000000077), 2800, network.now)
    remote = str(ipaddress.IPv6Address(b.interface.link_local))
    with pytest.raises(OSError) as caught:
        a.stack.ping(remote, now=network.now)
    assert caught.value.errno == errno.EINVAL
    ping = a.stack.ping(remote, interface=a.interface, now=network.now)
    assert network.run(lambda: ping.rtt is not None, 1)


@pytest.mark.parametrize("remote", [("::", 1), ("ff02::1", 1), ("fd00::2", 0)])
def test_where_no_connection_can_go(remote):
    with pytest.raises(OSError) as caught:
        a_stack("fd00::1/64").connect_tcp(remote, now=NOW)
    assert caught.value.errno == errno.EADDRNOTAVAIL


def test_without_an_address_of_the_family_there_is_no_network():
    with pytest.raises(OSError) as caught:
        a_stack("fd00::1/64").connect_tcp(("10.0.0.1", 1), now=NOW)
    assert caught.value.errno == errno.ENETUNREACH


# -- changes


def test_groups_follow_the_addresses():
    stack = a_stack("fd00::12:3456/64")
    (interface,) = stack.interfaces
    groups = {str(group.mac) for group in interface.groups}
    assert groups == {"33:33:00:00:00:01", "33:33:ff:00:00:01", "33:33:ff:12:34:56"}
    interface.remove_address(address("fd00::12:3456/64"), NOW)
    assert "33:33:ff:12:34:56" not in {str(group.mac) for group in interface.groups}
    with pytest.raises(ValueError):
        interface.remove_address(address("fd00::12:3456/64"), NOW)
    for bad in ("ff02::1/128", "::/128"):
        with pytest.raises(ValueError):
            interface.add_address(address(bad), NOW)


def test_a_removed_address_ends_its_connections_and_no_others():
    network = Network()
    a, b = network.add_host(), network.add_host()
    a.interface.add_address(address("fd00::aa/64"), network.now)
    stays, _ = network.connect(a, b, local=("fd00::1", 0))
    goes, _ = network.connect(a, b, local=("fd00::aa", 0))
    a.stack.take_ready()
    a.interface.remove_address(address("fd00::aa/64"), network.now)
    assert goes.error.errno == errno.ENETDOWN
    assert a.stack.take_ready() == [goes]
    assert stays.state is State.ESTABLISHED
    assert stays.error is None


@pytest.mark.parametrize("source", ["", "::1"])
@pytest.mark.parametrize("target", ["fd00::1", "fe80::ff:fe00:1"])
def test_connections_to_oneself_end_with_their_address(source, target):
    stack = a_stack("fd00::1/64", "fd01::1/64")
    listener = stack.listen_tcp(("::", PORT), now=NOW)
    ends = []
    for remote in (target, "fd01::1"):
        near = stack.connect_tcp((remote, PORT), local=(source, 0), now=NOW)
        stack.frames_to_send(NOW)
        ends.append((near, listener.accept()))
    stack.remove_interface(stack.interfaces[0], NOW)
    (near, far), others = ends
    assert near.error.errno == far.error.errno == errno.ENETDOWN
    assert {end.state for end in others} == {State.ESTABLISHED}


def test_a_removed_interface_takes_everything_with_it():
    network = Network()
    a, b = network.add_host(), network.add_host()
    near, _ = network.connect(a, b)
    everywhere = a.stack.listen_tcp(("::", 1), now=network.now)
    here = a.stack.listen_tcp(("::", 2), interface=a.interface, now=network.now)
    endpoint = a.stack.open_udp(("::", 3), interface=a.interface, now=network.now)
    waiting = a.stack.connect_tcp(("fd00::77", 1), now=network.now)
    near.send(b"never sent")
    a.stack.take_ready()
    a.stack.remove_interface(a.interface, network.now)
    assert {near.error.errno, here.error.errno, endpoint.error.errno, waiting.error.errno} == {errno.ENETDOWN}
    assert set(a.stack.take_ready()) == {near, here, endpoint, waiting}
    assert not everywhere.closed
    assert a.stack.interfaces == ()
    assert a.stack.frames_to_send(network.now) == []
    assert a.stack.next_timer() is None
    with pytest.raises(OSError) as caught:
        endpoint.send(b"x", ("fd00::2", 1), now=network.now)
    assert caught.value.errno == errno.ENETDOWN
    with pytest.raises(ValueError):
        a.stack.remove_interface(a.interface, network.now)


def test_nothing_can_be_done_with_an_interface_that_was_removed():
    stack = a_stack("fd00::1/64")
    (gone,) = stack.interfaces
    endpoint = stack.open_udp(now=NOW)
    stack.remove_interface(gone, NOW)
    for call in (
        lambda: stack.connect_tcp(("fe80::9", 9), interface=gone, now=NOW),
        lambda: stack.connect_tcp(("fe80::ff:fe00:1", 9), interface=gone, now=NOW),
        lambda: stack.listen_tcp(("", 9), interface=gone, now=NOW),
        lambda: stack.open_udp(("", 9), interface=gone, now=NOW),
        lambda: stack.ping("fe80::9", interface=gone, now=NOW),
        lambda: endpoint.join_group("ff05::9", gone),
    ):
        with pytest.raises(OSError) as caught:
            call()
        assert caught.value.errno == errno.ENETDOWN
    assert stack.frames_to_send(NOW) == []
    assert stack.next_timer() is None
    assert not gone.link.outgoing


def test_an_interface_can_come_back():
    network = Network()
    a, b = network.add_host(), network.add_host()
    listener = a.stack.listen_tcp(("::", PORT), now=network.now)
    a.stack.remove_interface(a.interface, network.now)
    a.interface = a.stack.add_interface("net", MACAddress(0x020000000001), 2800, network.now)
    a.interface.add_address(address("fd00::1/64"), network.now)
    network.connect(b, a, listener)


def test_networks_side_by_side_stay_apart():
    """RFC 1122's strong model: an address cannot be reached through another interface."""
    network = Network()
    a, b = network.add_host(), network.add_host()
    other = b.stack.add_interface("other", MACAddress(0x020000000088), 2800, network.now)
    other.add_address(address("fd01::1/64"), network.now)
    b.stack.listen_tcp(("::", PORT), now=network.now)
    a.stack.add_route(ipaddress.ip_network("fd01::/64"), a.interface, b.address)
    connection = a.stack.connect_tcp(("fd01::1", PORT), now=network.now)
    network.run(limit=5)
    assert connection.state is State.SYN_SENT
    assert b.stack.counters["ipv6 not for this host"] > 0


def test_two_stacks_with_the_same_addresses_in_one_process():
    stacks = [a_stack("fd00::1/64") for _ in range(2)]
    for stack in stacks:
        listener = stack.listen_tcp(("fd00::1", PORT), now=NOW)
        stack.connect_tcp(("fd00::1", PORT), now=NOW)
        stack.frames_to_send(NOW)
        assert listener.accept() is not None


# -- nothing is left


def test_ten_thousand_idle_connections_cost_no_timers():
    network = Network()
    a, b = network.add_host(Wire(delay=0.001)), network.add_host(Wire(delay=0.001))
    listener = b.stack.listen_tcp(("::", PORT), backlog=10_000, now=network.now)
    connections = [a.stack.connect_tcp((b.address, PORT), now=network.now) for _ in range(1000)]
    assert network.run(lambda: all(c.state is State.ESTABLISHED for c in connections), 10)
    network.run(limit=1)
    assert a.stack.next_timer() is None
    assert b.stack.next_timer() is None
    assert sum(listener.accept() is not None for _ in range(1001)) == 1000


def test_a_finished_connection_is_forgotten():
    network = Network()
    a, b = network.add_host(), network.add_host()
    near, far = network.connect(a, b)
    near.send(bytes(100_000))
    near.close()
    received = bytearray()

    def drained(far: TcpConnection = far) -> bool:
        received.extend(far.receive())
        return far.eof_received

    assert network.run(drained, 60)
    far.close()
    network.settle()
    for host in (a, b):
        host.stack.take_ready()
    gone = [weakref.ref(near), weakref.ref(far)]
    near = far = drained = None
    gc.collect()
    assert [ref() for ref in gone] == [None, None]
    assert not a.interface.tcp
    assert not b.interface.tcp
