import errno
import ipaddress

import pytest

from tests.stack.network import Network, Wire
from zt_async.types import MACAddress
from zt_async.wire import udp


def two_hosts(**config):
    network = Network()
    return (
        network,
        network.add_host(Wire(delay=0.001), **config),
        network.add_host(Wire(delay=0.001), **config),
    )


def test_datagrams_go_both_ways():
    network, a, b = two_hosts()
    server = b.stack.open_udp(("::", 53), now=network.now)
    client = a.stack.open_udp(now=network.now)
    client.send(b"question", (b.address, 53), now=network.now)
    assert network.run(lambda: server.ready or bool(b.stack.take_ready()), 1)
    ((data, sender),) = server.receive()
    assert (data, sender) == (b"question", (a.address, client.local[1]))
    server.send(b"answer", sender, now=network.now)
    network.run(limit=1)
    assert a.stack.take_ready() == [client]
    assert client.receive() == [(b"answer", (b.address, 53))]
    assert client.receive() == []


@pytest.mark.parametrize("size", [0, 1, 2752, 2753, 2760, 20_000, udp.MAX_PAYLOAD - 40])
def test_datagrams_of_any_size(size):
    network, a, b = two_hosts()
    server = b.stack.open_udp(("::", 53), now=network.now)
    data = bytes(i % 251 for i in range(size))
    a.stack.open_udp(now=network.now).send(data, (b.address, 53), now=network.now)
    network.run(limit=1)
    assert [received for received, _ in server.receive()] == [data]


def test_a_datagram_may_be_too_large():
    network, a, b = two_hosts()
    endpoint = a.stack.open_udp(now=network.now)
    with pytest.raises(OSError) as caught:
        endpoint.send(bytes(udp.MAX_PAYLOAD + 1), (b.address, 53), now=network.now)
    assert caught.value.errno == errno.EMSGSIZE


def test_a_connected_endpoint_hears_only_its_remote():
    network, a, b = two_hosts()
    c = network.add_host()
    endpoint = b.stack.open_udp(("::", 53), (a.address, 99), now=network.now)
    assert endpoint.local == (b.address, 53)
    a.stack.open_udp(("::", 99), now=network.now).send(b"yes", (b.address, 53), now=network.now)
    a.stack.open_udp(("::", 98), now=network.now).send(b"no", (b.address, 53), now=network.now)
    c.stack.open_udp(("::", 99), now=network.now).send(b"no", (b.address, 53), now=network.now)
    network.run(limit=1)
    assert endpoint.receive() == [(b"yes", (a.address, 99))]


def test_a_connected_endpoint_is_preferred():
    network, a, b = two_hosts()
    everyone = b.stack.open_udp(("::", 53), reuse_port=True, now=network.now)
    someone = b.stack.open_udp(("::", 53), (a.address, 99), reuse_port=True, now=network.now)
    a.stack.open_udp(("::", 99), now=network.now).send(b"x", (b.address, 53), now=network.now)
    a.stack.open_udp(("::", 98), now=network.now).send(b"y", (b.address, 53), now=network.now)
    network.run(limit=1)
    assert [data for data, _ in someone.receive()] == [b"x"]
    assert [data for data, _ in everyone.receive()] == [b"y"]


def test_endpoints_that_share_a_port_share_the_remotes():
    network, a, b = two_hosts()
    servers = [b.stack.open_udp(("::", 53), reuse_port=True, now=network.now) for _ in range(2)]
    for port in range(1000, 1020):
        client = a.stack.open_udp(("::", port), now=network.now)
        client.send(b"x", (b.address, 53), now=network.now)
        client.send(b"y", (b.address, 53), now=network.now)
    network.run(limit=1)
    remotes = [{remote for _, remote in server.receive()} for server in servers]
    assert [len(each) for each in remotes] == [10, 10]
    assert not remotes[0] & remotes[1]


@pytest.mark.parametrize(("port", "error"), [(0, OSError), (-1, ValueError), (65536, ValueError)])
def test_where_nothing_can_be_sent(port, error):
    network, a, b = two_hosts()
    with pytest.raises(error, match="port"):
        a.stack.open_udp(now=network.now).send(b"x", (b.address, port), now=network.now)


def test_a_port_that_is_picked_is_not_one_that_others_share():
    network = Network()
    a = network.add_host(ephemeral_ports=(40000, 40003))
    sockets = [a.stack.open_udp(("::", 0), reuse_port=True, now=network.now) for _ in range(4)]
    assert {socket.local[1] for socket in sockets} == {40000, 40001, 40002, 40003}
    a.stack.open_udp(("::", 40000), reuse_port=True, now=network.now)
    with pytest.raises(OSError) as caught:
        a.stack.open_udp(("::", 0), reuse_port=True, now=network.now)
    assert caught.value.errno == errno.EADDRINUSE


def test_where_to_is_said_once():
    network, a, b = two_hosts()
    connected = a.stack.open_udp(None, (b.address, 53), now=network.now)
    connected.send(b"x", now=network.now)
    connected.send(b"x", (b.address, 53), now=network.now)
    connected.send(b"x", (ipaddress.ip_address(b.address).exploded, 53), now=network.now)
    with pytest.raises(OSError) as caught:
        connected.send(b"x", (b.address, 54), now=network.now)
    assert caught.value.errno == errno.EISCONN
    with pytest.raises(OSError) as caught:
        a.stack.open_udp(now=network.now).send(b"x", now=network.now)
    assert caught.value.errno == errno.EDESTADDRREQ


def test_the_queue_is_bounded_and_counts_what_it_drops():
    network, a, b = two_hosts(udp_queue=5000)
    server = b.stack.open_udp(("::", 53), now=network.now)
    client = a.stack.open_udp(now=network.now)
    for _ in range(10):
        client.send(bytes(744), (b.address, 53), now=network.now)
    network.run(limit=1)
    assert len(server.receive()) == 5
    assert server.dropped == 5
    assert b.stack.counters["udp queue full"] == 5
    client.send(b"again", (b.address, 53), now=network.now)
    network.run(limit=1)
    assert len(server.receive()) == 1


def test_a_closed_port_is_told_to_the_sender():
    network, a, b = two_hosts()
    client = a.stack.open_udp(now=network.now)
    client.send(b"x", (b.address, 54), now=network.now)
    network.run(limit=1)
    assert a.stack.take_ready() == [client]
    ((error, remote),) = client.take_errors()
    assert isinstance(error, ConnectionRefusedError)
    assert remote == (b.address, 54)
    assert client.take_errors() == []


def test_errors_kept_are_bounded():
    network, a, b = two_hosts()
    client = a.stack.open_udp(now=network.now)
    for port in range(100, 150):
        client.send(b"x", (b.address, port), now=network.now)
    network.run(limit=1)
    errors = client.take_errors()
    assert [remote[1] for _, remote in errors] == list(range(134, 150))


def test_a_closed_endpoint():
    network, a, b = two_hosts()
    endpoint = a.stack.open_udp(("::", 53), now=network.now)
    endpoint.close()
    endpoint.close()
    with pytest.raises(OSError) as caught:
        endpoint.send(b"x", (b.address, 1), now=network.now)
    assert caught.value.errno == errno.EBADF
    a.stack.open_udp(("::", 53), now=network.now)


def test_a_port_in_use():
    network, a, _ = two_hosts()
    a.stack.open_udp(("::", 53), now=network.now)
    for local in (("::", 53), (a.address, 53)):
        with pytest.raises(OSError) as caught:
            a.stack.open_udp(local, now=network.now)
        assert caught.value.errno == errno.EADDRINUSE


def test_hop_limit_and_traffic_class():
    network, a, b = two_hosts()
    endpoint = a.stack.open_udp(now=network.now)
    endpoint.send(b"", (b.address, 1), now=network.now)
    network.run(limit=1)
    endpoint.hop_limit, endpoint.traffic_class = 3, 0xB8
    endpoint.send(b"x", (b.address, 1), now=network.now)
    ((_, ((*_, packet),)),) = a.stack.frames_to_send(network.now)
    assert packet[7] == 3
    assert int.from_bytes(packet[:2], "big") >> 4 & 0xFF == 0xB8
    for name, bad in (("hop_limit", 0), ("hop_limit", 256), ("traffic_class", 256), ("multicast_hops", 256)):
        with pytest.raises(ValueError):
            setattr(endpoint, name, bad)


def test_a_changed_route_is_followed():
    network, a, b = two_hosts()
    endpoint = a.stack.open_udp(now=network.now)
    endpoint.send(b"x", (b.address, 9), now=network.now)
    ((_, ((_, first, *_),)),) = a.stack.frames_to_send(network.now)
    other = a.stack.add_interface("other", MACAddress(0x020000000099), 2800, network.now)
    other.add_address(ipaddress.IPv6Interface("fd00::99/96"), network.now)
    a.stack.frames_to_send(network.now)
    endpoint.send(b"x", ("fd00::2", 9), now=network.now)
    ((_, ((_, second, *_),)),) = a.stack.frames_to_send(network.now)
    assert [first, second] == [a.interface.mac, other.mac]
