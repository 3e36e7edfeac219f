"""Sockets of one family and of both; several addresses, routes and MTUs of each."""

import errno
import ipaddress

import pytest

from tests.stack.network import PORT, Network, Transfer, Wire, seeded_context, settled
from tests.stack.script import REMOTE_MAC, Script, Seg
from zt_async.config import StackConfig
from zt_async.stack.stack import Stack
from zt_async.stack.tcp.state import State
from zt_async.types import MACAddress

NOW = 1000.0


def address(text: str) -> ipaddress.IPv4Interface | ipaddress.IPv6Interface:
    return ipaddress.ip_interface(text)


def a_stack(*addresses: str) -> Stack:
    """With one interface that has them all."""
    stack = Stack(seeded_context(1), StackConfig())
    interface = stack.add_interface("net", MACAddress(0x020000000001), 2800, NOW)
    for text in addresses:
        interface.add_address(address(text), NOW)
    return settled(stack, NOW)


def accepts(stack: Stack, listener: object, remote: str) -> bool:
    """Whether a connection to oneself, at this address, comes to the listener."""
    connection = stack.connect_tcp((remote, PORT), now=NOW)
    stack.frames_to_send(NOW)
    accepted = listener.accept()  # type: ignore[attr-defined]
    if accepted is None:
        return False
    assert (accepted.remote, accepted.local[0]) == (connection.local, remote)
    return True


# -- to oneself


@pytest.mark.parametrize(
    "target", ["127.0.0.1", "127.8.8.8", "10.0.0.1", "10.0.0.255", "172.16.0.1", "fd00::1", "::1"]
)
def test_all_own_addresses_reach_oneself_and_nothing_leaves(target):
    stack = a_stack("10.0.0.1/24", "10.0.0.255/24", "172.16.0.1/32", "fd00::1/64")
    listener = stack.listen_tcp(("", PORT), now=NOW)
    assert accepts(stack, listener, target)
    ping = stack.ping(target, b"me", now=NOW)
    server, client = stack.open_udp(("", 53), now=NOW), stack.open_udp(now=NOW)
    client.send(bytes(60_000), (target, 53), now=NOW)
    client.send(b"x", (target, 54), now=NOW)
    assert stack.frames_to_send(NOW) == []
    assert ping.rtt == 0
    assert [(len(data), host) for data, (host, _) in server.receive()] == [(60_000, target)]
    assert isinstance(client.take_errors()[0][0], ConnectionRefusedError)
    assert stack.counters["udp port closed"] == 1


def test_loopback_works_without_any_network():
    stack = Stack(seeded_context(1), StackConfig())
    listener = stack.listen_tcp(("127.0.0.1", PORT), now=NOW)
    assert accepts(stack, listener, "127.0.0.1")


def test_the_largest_datagrams_to_oneself():
    stack = a_stack("10.0.0.1/24")
    server = stack.open_udp(("", 53), now=NOW)
    stack.open_udp(now=NOW).send(bytes(65_507), ("10.0.0.1", 53), now=NOW)
    stack.open_udp(now=NOW).send(bytes(65_527), ("::1", 53), now=NOW)
    stack.frames_to_send(NOW)
    assert [len(data) for data, _ in server.receive()] == [65_507, 65_527]


# -- which socket


def test_wildcards_of_one_family_and_of_both():
    stack = a_stack("10.0.0.1/24", "fd00::1/64")
    both = stack.listen_tcp(("", PORT), now=NOW)
    assert both.local == ("::", PORT)
    for taken in ("", "::", "0.0.0.0", "10.0.0.1", "fd00::1"):
        with pytest.raises(OSError) as caught:
            stack.listen_tcp((taken, PORT), now=NOW)
        assert caught.value.errno == errno.EADDRINUSE
    both.close()
    six = stack.listen_tcp(("::", PORT), now=NOW)
    assert accepts(stack, six, "10.0.0.1")
    four = stack.listen_tcp(("0.0.0.0", PORT), now=NOW)
    assert four.local == ("0.0.0.0", PORT)
    assert not accepts(stack, six, "10.0.0.1")
    assert four.accept() is not None
    assert not accepts(stack, four, "fd00::1")
    assert six.accept() is not None
    six.close()
    assert accepts(stack, four, "10.0.0.1")
    refused = stack.connect_tcp(("fd00::1", PORT), now=NOW)
    stack.frames_to_send(NOW)
    assert isinstance(refused.error, ConnectionRefusedError)


def test_the_most_closely_bound_socket_gets_it():
    stack = a_stack("10.0.0.1/24", "10.0.0.2/24", "fd00::1/64")
    six = stack.open_udp(("::", 53), now=NOW)
    four = stack.open_udp(("0.0.0.0", 53), now=NOW)
    sender = stack.open_udp(now=NOW)
    sender.send(b"1", ("10.0.0.2", 53), now=NOW)
    stack.frames_to_send(NOW)
    assert (len(four.receive()), six.receive()) == (1, [])
    with pytest.raises(OSError) as caught:
        stack.open_udp(("10.0.0.1", 53), now=NOW)
    assert caught.value.errno == errno.EADDRINUSE
    four.close()
    one = stack.open_udp(("10.0.0.1", 53), now=NOW)
    for destination in ("10.0.0.1", "10.0.0.2", "fd00::1"):
        sender.send(destination.encode(), (destination, 53), now=NOW)
    stack.frames_to_send(NOW)
    assert [data for data, _ in one.receive()] == [b"10.0.0.1"]
    assert [data for data, _ in six.receive()] == [b"10.0.0.2", b"fd00::1"]


@pytest.mark.parametrize("local", [("", 0), ("::", 0), None])
def test_one_endpoint_speaks_both_families(local):
    stack = a_stack("10.0.0.1/24", "fd00::1/64")
    server = stack.open_udp(("", 53), now=NOW)
    client = stack.open_udp(local, now=NOW)
    for remote in ("10.0.0.1", "fd00::1", "::ffff:10.0.0.1"):
        client.send(remote.encode(), (remote, 53), now=NOW)
    stack.frames_to_send(NOW)
    got = server.receive()
    assert [source[0] for _, source in got] == ["10.0.0.1", "fd00::1", "10.0.0.1"]
    for data, source in got:
        server.send(data, source, now=NOW)
    stack.frames_to_send(NOW)
    assert len(client.receive()) == 3


def test_families_that_do_not_fit():
    stack = a_stack("10.0.0.1/24", "fd00::1/64")
    for local, remote in (("0.0.0.0", "fd00::1"), ("10.0.0.1", "fd00::1"), ("fd00::1", "10.0.0.1")):
        for call in (
            lambda local, remote: stack.connect_tcp(remote, local=local, now=NOW),
            lambda local, remote: stack.open_udp(local, remote, now=NOW),
            lambda local, remote: stack.open_udp(local, now=NOW).send(b"x", remote, now=NOW),
        ):
            with pytest.raises(OSError) as caught:
                call((local, 0), (remote, 9))
            assert caught.value.errno == errno.EAFNOSUPPORT
    stack.connect_tcp(("10.0.0.9", 9), local=("::", 0), now=NOW)


@pytest.mark.parametrize("remote", ["0.0.0.0", "224.0.0.1", "239.255.1.1"])
def test_where_no_connection_can_go(remote):
    with pytest.raises(OSError) as caught:
        a_stack("10.0.0.1/24").connect_tcp((remote, 1), now=NOW)
    assert caught.value.errno == errno.EADDRNOTAVAIL


@pytest.mark.parametrize(("default", "nowhere"), [("0.0.0.0/0", "0.0.0.0"), ("::/0", "::")])
def test_no_route_leads_to_the_unspecified_address(default, nowhere):
    stack = a_stack("10.0.0.1/24", "fd00::1/64")
    stack.add_route(ipaddress.ip_network(default), stack.interfaces[0])
    for call in (
        lambda: stack.connect_tcp((nowhere, 1), now=NOW),
        lambda: stack.open_udp(None, (nowhere, 1), now=NOW),
        lambda: stack.open_udp(now=NOW).send(b"x", (nowhere, 1), now=NOW),
        lambda: stack.ping(nowhere, now=NOW),
    ):
        with pytest.raises(OSError) as caught:
            call()
        assert caught.value.errno == errno.EADDRNOTAVAIL
    assert stack.frames_to_send(NOW) == []


@pytest.mark.parametrize(
    ("source", "remote"),
    [
        ("127.0.0.1", "10.0.0.9"),
        ("127.0.0.1", "239.1.2.3"),
        ("127.0.0.1", "255.255.255.255"),
        ("::1", "fd00::9"),
        ("::1", "fe80::9"),
        ("::1", "ff05::9"),
    ],
)
def test_nothing_leaves_from_a_loopback_address(source, remote):
    stack = a_stack("10.0.0.1/24", "fd00::1/64")
    endpoint = stack.open_udp((source, 0), now=NOW)
    endpoint.broadcast = True
    with pytest.raises(OSError) as caught:
        endpoint.send(b"x", (remote, 9), now=NOW)
    assert caught.value.errno == errno.EHOSTUNREACH
    with pytest.raises(OSError) as caught:
        endpoint.join_group("ff05::9" if ":" in source else "239.1.2.3")
    assert caught.value.errno == errno.ENETUNREACH
    assert stack.frames_to_send(NOW) == []
    assert stack.next_timer() is None


def test_mapped_addresses_are_the_ipv4_ones():
    stack = a_stack("10.0.0.1/24")
    listener = stack.listen_tcp(("::ffff:10.0.0.1", PORT), now=NOW)
    assert listener.local == ("10.0.0.1", PORT)
    connection = stack.connect_tcp(("::ffff:10.0.0.1", PORT), now=NOW)
    assert connection.remote == ("10.0.0.1", PORT)


def test_ports_of_one_family_are_free_for_the_other():
    stack = a_stack("10.0.0.1/24", "fd00::1/64")
    for local in ("10.0.0.1", "fd00::1"):
        stack.listen_tcp((local, PORT), now=NOW)
        stack.open_udp((local, 53), now=NOW)


# -- which way


def test_without_any_address_of_the_family_there_is_no_network():
    with pytest.raises(OSError) as caught:
        a_stack("fd00::1/64").connect_tcp(("10.0.0.2", 1), now=NOW)
    assert caught.value.errno == errno.ENETUNREACH
    with pytest.raises(OSError) as caught:
        a_stack("10.0.0.1/24").connect_tcp(("10.0.1.2", 1), now=NOW)
    assert caught.value.errno == errno.EHOSTUNREACH


def next_hops(stack: Stack, *remotes: str) -> list[str]:
    """Whom the stack asks for on the way to each."""
    result = []
    for remote in remotes:
        stack.open_udp(now=NOW).send(b"x", (remote, 9), now=NOW)
        ((_, (frame,)),) = stack.frames_to_send(NOW)
        payload = frame[3]
        target = payload[24:28] if frame[2] == 0x0806 else payload[48:64]
        result.append(str(ipaddress.ip_address(target)))
    return result


def test_routes_with_gateways_of_both_families():
    stack = a_stack("10.0.0.1/24", "fd00::1/64")
    (interface,) = stack.interfaces
    network = ipaddress.ip_network
    routes = [
        stack.add_route(network("192.168.0.0/16"), interface, "10.0.0.254"),
        stack.add_route(network("192.168.5.0/24"), interface, ipaddress.IPv4Address("10.0.0.253"), metric=5),
        stack.add_route(network("192.168.5.0/24"), interface, "10.0.0.252", metric=1),
        stack.add_route(network("192.168.9.0/24"), interface),
        stack.add_route(network("0.0.0.0/0"), interface, "10.0.0.99"),
        stack.add_route(network("::/0"), interface, "fe80::99"),
        stack.add_route(network("2001:db8::/32"), interface, "fd00::fe"),
    ]
    remotes = (
        "192.168.1.1",
        "192.168.5.1",
        "192.168.9.1",
        "8.8.8.8",
        "2001:db8::1",
        "2606::1",
        "10.0.0.3",
        "fd00::3",
    )
    expected = [
        "10.0.0.254",
        "10.0.0.252",
        "192.168.9.1",
        "10.0.0.99",
        "fd00::fe",
        "fe80::99",
        "10.0.0.3",
        "fd00::3",
    ]
    assert next_hops(stack, *remotes) == expected
    stack.remove_route(routes[2])
    assert next_hops(stack, "192.168.5.2") == ["10.0.0.253"]
    for route in routes:
        if route is not routes[2]:
            stack.remove_route(route)
    with pytest.raises(OSError) as caught:
        next_hops(stack, "8.8.8.9")
    assert caught.value.errno == errno.EHOSTUNREACH
    with pytest.raises(ValueError, match="another family"):
        stack.add_route(network("0.0.0.0/0"), interface, "fd00::fe")


def test_a_conversation_through_a_gateway():
    """The other side has a route back; between them stands a host that forwards what it gets."""
    network = Network()
    a, router, b = (network.add_host(Wire(delay=0.001), family=4) for _ in range(3))
    b.interface.add_address(address("192.168.5.1/24"), network.now)
    a.stack.add_route(ipaddress.ip_network("192.168.0.0/16"), a.interface, router.address)
    entry_mac = router.interface.mac

    def forward(number: int, frame: tuple[int, int, int, bytes]) -> bool:
        if frame[0] == entry_mac and frame[2] == 0x0800:
            network.inject(b, [(b.interface.mac, entry_mac, 0x0800, frame[3])])
            return True
        return False

    a.wire.drop = forward
    listener = b.stack.listen_tcp(("192.168.5.1", PORT), now=network.now)
    b.address = "192.168.5.1"
    near, far = network.connect(a, b, listener)
    transfer = Transfer(near, far, bytes(100_000))
    assert network.run(transfer, 30)
    assert router.stack.counters == {}


# -- several addresses, and changes of them


@pytest.mark.parametrize("family", [4, 6])
def test_an_address_goes_and_all_else_stays(family):
    network = Network()
    a, b = (network.add_host(Wire(delay=0.001)) for _ in range(2))
    texts = {
        4: ("10.0.0.1/24", "10.0.0.9/24", "172.16.0.1/16"),
        6: ("fd00::aa/64", "fd01::1/64", "fd02::1/64"),
    }
    for text in (*texts[4], *texts[6]):
        a.interface.add_address(address(text), network.now)
    for text in ("10.0.0.2/24", "172.16.0.2/16", "fd01::2/64", "fd02::2/64"):
        b.interface.add_address(address(text), network.now)
    assert [str(own) for own in a.interface.addresses] == ["fd00::1/64", *texts[4], *texts[6]]
    server = b.stack.listen_tcp(("", PORT), now=network.now)
    gone = texts[family][0].split("/")[0]
    connections = {}
    for local, remote in (
        *(("10.0.0.1", "10.0.0.2"), ("10.0.0.9", "10.0.0.2"), ("172.16.0.1", "172.16.0.2")),
        *(("fd00::aa", "fd00::2"), ("fd01::1", "fd01::2"), ("fd02::1", "fd02::2")),
    ):
        b.address = remote
        connections[local], _ = network.connect(a, b, server, local=(local, 0))
    a.interface.remove_address(address(texts[family][0]), network.now)
    for local, connection in connections.items():
        if local == gone:
            assert connection.error.errno == errno.ENETDOWN
        else:
            connection.send(b"still here")
            assert network.run(lambda: not connection.undelivered, 5)  # noqa: B023
    with pytest.raises(ValueError):
        a.interface.remove_address(address(texts[family][0]), network.now)
    assert network.run(None, 5) is False
    a.interface.add_address(address(texts[family][0]), network.now)
    b.address = "10.0.0.2" if family == 4 else "fd00::2"
    network.connect(a, b, server, local=(gone, 0))


def test_a_changed_prefix_keeps_connections():
    s = Script(family=4).established()
    s.interface.add_address(address("10.0.0.1/16"), s.now)
    s.connection.send(b"x")
    s.expect(Seg("P.", 1, 1, b"x"))
    assert s.connection.state is State.ESTABLISHED
    assert s.stack.connect_tcp(("10.0.9.9", 1), now=s.now).flow.destination


@pytest.mark.parametrize("bad", ["0.0.0.0/32", "224.0.0.1/24", "255.255.255.255/32", "ff02::1/64", "::/0"])
def test_what_no_interface_can_have(bad):
    stack = a_stack("10.0.0.1/24")
    with pytest.raises(ValueError, match="cannot be the address"):
        stack.interfaces[0].add_address(address(bad), NOW)


@pytest.mark.parametrize("family", [4, 6])
def test_the_mtu_is_followed_at_once(family):
    s = Script(family=family, mss=9000, mtu=2800, window=60_000).established()
    headers = 20 + (20 if family == 4 else 40)
    endpoint = s.stack.open_udp(now=s.now)
    for mtu in (1280, 1500, 9000, 2800):
        s.interface.set_mtu(mtu, s.now)
        s.mtu = mtu
        s.connection.send(bytes(20_000))
        s.pass_time(0.1)
        assert s.connection.info().mss == min(9000, mtu - headers)
        s.others.clear()
        endpoint.send(bytes(mtu - headers + 12), (s.remote, 9), now=s.now)
        endpoint.send(bytes(mtu - headers + 13), (s.remote, 9), now=s.now)
        s.collect()
        assert len(s.others) == 3
    assert s.interface.mtu == 2800


def test_two_interfaces_with_the_same_network_stay_apart():
    """RFC 1122's strong model: what comes in by one is not for the other's addresses."""
    stack = Stack(seeded_context(1), StackConfig())
    first, second = (stack.add_interface(n, MACAddress(0x020000000001 + n), 2800, NOW) for n in range(2))
    first.add_address(address("10.0.0.1/24"), NOW)
    second.add_address(address("10.0.0.2/24"), NOW)
    settled(stack, NOW)
    question = bytes.fromhex("0001 0800 06 04 0001 020000000009 0a000009 000000000000 0a000002")
    stack.receive_frames(first, [(0xFFFFFFFFFFFF, 0x020000000009, 0x0806, question)], NOW)
    assert stack.frames_to_send(NOW) == []
    stack.receive_frames(second, [(0xFFFFFFFFFFFF, 0x020000000009, 0x0806, question)], NOW)
    ((interface, _),) = stack.frames_to_send(NOW)
    assert interface is second


def test_numbers_of_interfaces_are_never_used_again():
    stack = a_stack("10.0.0.1/24")
    (first,) = stack.interfaces
    stack.remove_interface(first, NOW)
    second = stack.add_interface("net", REMOTE_MAC, 2800, NOW)
    assert (first.index, second.index) == (1, 2)
