"""IPv4, ICMP and broadcasts: everything between frames and transports that is not as in IPv6."""

import errno
import ipaddress

import pytest

from tests.stack.network import Network, Transfer, Wire
from tests.stack.script import OWN_MAC, REMOTE_MAC, Script, Seg
from zt_async.stack.tcp.state import State
from zt_async.types import BROADCAST, MACAddress
from zt_async.wire import icmpv4, icmpv6, ip, ipv4, udp

OWN, REMOTE = "10.0.0.1", "10.0.0.2"
OWN_ADDRESS, REMOTE_ADDRESS = (ipaddress.IPv4Address(a).packed for a in (OWN, REMOTE))
ECHO = icmpv4.Message(icmpv4.ECHO_REQUEST, 0, icmpv6.Echo(7, 1, b"hello").encode())


def packed(address: str) -> bytes:
    return ipaddress.IPv4Address(address).packed


def script(**kwargs: object) -> Script:
    return Script(family=4, **kwargs)  # type: ignore[arg-type]


def packet(
    protocol: int, payload: bytes, source: str = REMOTE, destination: str = OWN, **fields: object
) -> bytes:
    header = ipv4.Header(packed(source), packed(destination), protocol, len(payload), **fields)
    return header.encode() + payload


def datagram(payload: bytes, port: int = 53, source: str = REMOTE, destination: str = OWN) -> bytes:
    pseudo = ip.pseudo_header_sum(packed(source), packed(destination), ip.UDP)
    return udp.Datagram(4000, port, payload).encode(pseudo)


def messages(s: Script) -> list[icmpv4.Message]:
    """ICMP messages sent since the last call."""
    s.collect()
    result = []
    for sent in s.others:
        header = ipv4.parse_header(sent)
        assert header.protocol == ip.ICMPV4
        result.append(icmpv4.parse(sent[header.size :]))
    s.others.clear()
    return result


# -- echo


def test_an_echo_request_is_answered():
    s = script()
    s.send_icmpv4(ECHO)
    assert messages(s) == [icmpv4.Message(icmpv4.ECHO_REPLY, 0, ECHO.body)]


@pytest.mark.parametrize("destination", ["224.0.0.1", "10.0.0.255", "255.255.255.255"])
def test_an_echo_request_to_everybody_is_not_answered(destination):
    s = script()
    s.send_packets(packet(ip.ICMPV4, ECHO.encode(), destination=destination))
    assert messages(s) == []
    assert s.stack.counters == {}


@pytest.mark.parametrize("size", [0, 56, 60_000])
def test_hosts_ping_each_other(size):
    network = Network()
    a, b = (network.add_host(Wire(delay=0.005), family=4) for _ in range(2))
    ping = a.stack.ping(b.address, bytes(size), now=network.now)
    assert network.run(lambda: ping.rtt is not None, 5)
    assert ping.rtt == pytest.approx(0.02, abs=0.002)  # with that of ARP
    assert ping.error is None


def test_a_ping_to_everybody_needs_a_group():
    s = script()
    for destination in ("10.0.0.255", "255.255.255.255"):
        with pytest.raises(PermissionError):
            s.stack.ping(destination, now=s.now)
    s.stack.ping("224.0.0.1", now=s.now)
    assert len(messages(s)) == 1


@pytest.mark.parametrize(
    ("kind", "code", "number"),
    [
        (icmpv4.DESTINATION_UNREACHABLE, icmpv4.HOST_UNREACHABLE, errno.EHOSTUNREACH),
        (icmpv4.DESTINATION_UNREACHABLE, icmpv4.PROHIBITED, errno.EACCES),
        (icmpv4.TIME_EXCEEDED, 0, errno.EHOSTUNREACH),
    ],
)
def test_a_ping_fails_by_icmp(kind, code, number):
    s = script()
    ping = s.stack.ping(REMOTE, b"hello", now=s.now)
    s.collect()
    s.send_icmpv4(icmpv4.error(kind, code, 0, s.others[0]))
    assert ping.error is not None
    assert ping.error.errno == number


# -- which packets are taken


@pytest.mark.parametrize(
    ("source", "destination", "reason"),
    [
        ("10.0.0.2", "10.0.0.9", "ipv4 not for this host"),
        ("10.0.0.2", "239.1.1.1", "ipv4 not for this host"),
        ("10.0.0.2", "10.0.1.255", "ipv4 not for this host"),
        ("10.0.0.2", "127.0.0.1", "ipv4 not for this host"),
        ("10.0.0.1", "10.0.0.1", "ipv4 source"),
        ("127.0.0.1", "10.0.0.1", "ipv4 source"),
        ("224.0.0.1", "10.0.0.1", "ipv4 source"),
        ("10.0.0.255", "10.0.0.1", "ipv4 source"),
        ("255.255.255.255", "10.0.0.1", "ipv4 source"),
        ("240.0.0.1", "10.0.0.1", "ipv4 source"),
        ("0.0.0.0", "10.0.0.1", "ipv4 source"),
    ],
)
def test_packets_that_cannot_be_for_this_host(source, destination, reason):
    s = script()
    endpoint = s.stack.open_udp(("0.0.0.0", 53), now=s.now)
    s.send_packets(packet(ip.UDP, datagram(b"x", 53, source, destination), source, destination))
    assert endpoint.receive() == []
    assert s.stack.counters == {reason: 1}
    assert messages(s) == []


def test_who_has_no_address_yet_may_ask_everybody():
    s = script()
    server = s.stack.open_udp(("0.0.0.0", 67), now=s.now)
    source, destination = "0.0.0.0", "255.255.255.255"
    s.send_packets(packet(ip.UDP, datagram(b"DHCP", 67, source, destination), source, destination))
    assert server.receive() == [(b"DHCP", ("0.0.0.0", 4000))]


def test_options_are_passed_over_but_a_route_that_leads_on_is_refused():
    s = script().established()
    endpoint = s.stack.open_udp(("0.0.0.0", 53), now=s.now)
    record_route = b"\x07\x07\x04\0\0\0\0\0"
    s.send_packets(packet(ip.UDP, datagram(b"x"), options=record_route))
    assert endpoint.receive() == [(b"x", (REMOTE, 4000))]
    segment = s.packet(Seg(".", 1, 1, b"data"))[20:]
    s.send_packets(packet(ip.TCP, segment, options=record_route))
    assert s.read() == b"data"
    s.send_packets(packet(ip.UDP, datagram(b"x"), options=b"\x83\x07\x04\x0a\0\0\x09\0"))
    s.send_packets(packet(ip.UDP, datagram(b"x"), options=b"\x99\x09\0\0"))
    assert endpoint.receive() == []
    assert s.stack.counters == {"ipv4 source route": 1, "ipv4 option length": 1}


@pytest.mark.parametrize("established", [True, False])
def test_a_damaged_header_is_noticed(established):
    s = script()
    if established:
        s.established()
    else:
        s.listen()
    data = bytearray(s.packet(Seg(".", 1, 1, b"data") if established else Seg("S")))
    data[8] -= 1  # the time to live; nothing else covers it
    s.send_packets(bytes(data))
    s.quiet()
    assert s.stack.counters == {"ipv4 checksum": 1}


@pytest.mark.parametrize("size", [19, 20, 39, 43])
def test_a_truncated_segment_of_a_connection(size):
    s = script().established()
    s.send_packets(s.packet(Seg(".", 1, 1, b"data"))[:size])
    s.quiet()
    assert sum(s.stack.counters.values()) == 1
    short = packet(ip.TCP, s.packet(Seg(".", 1, 1))[20:30])
    s.send_packets(short)
    assert s.stack.counters["tcp truncated"] == 1


def test_trailing_bytes_of_a_short_frame_are_padding():
    s = script().established()
    s.send_packets(s.packet(Seg(".", 1, 1, b"data")) + bytes(6))
    assert s.read() == b"data"


def test_ipv4_in_a_frame_of_ipv6_is_refused():
    s = script()
    s.stack.receive_frames(
        s.interface, [(OWN_MAC, REMOTE_MAC, 0x86DD, packet(ip.UDP, datagram(bytes(40))))], s.now
    )
    assert s.stack.counters == {"ipv6 version": 1}


def test_an_ipv4_address_that_is_mapped_into_ipv6_has_no_business_on_the_wire():
    s = Script()
    mapped = ipaddress.IPv6Address("::ffff:10.0.0.2").packed
    s.remote_address = mapped
    s.listen()
    s.send(Seg("S"))
    s.quiet()
    assert s.stack.counters == {"ipv6 source": 1}


# -- errors about packets


def test_a_closed_udp_port_and_an_unknown_protocol_are_reported():
    s = script()
    for protocol, code in ((ip.UDP, icmpv4.PORT_UNREACHABLE), (132, icmpv4.PROTOCOL_UNREACHABLE)):
        sent = packet(protocol, datagram(bytes(1000)))
        s.send_packets(sent)
        (error,) = messages(s)
        assert (error.kind, error.code) == (icmpv4.DESTINATION_UNREACHABLE, code)
        assert error.body == bytes(4) + sent[:548]


def test_no_error_about_an_error_a_group_or_nobody():
    s = script()
    quoted = packet(ip.UDP, datagram(b"x"), OWN, REMOTE)
    for payload, destination in ((datagram(b"x"), "10.0.0.255"), (datagram(b"x"), "224.0.0.1")):
        s.send_packets(
            packet(ip.UDP, payload, destination=destination), packet(132, b"", destination=destination)
        )
    s.send_icmpv4(icmpv4.error(icmpv4.TIME_EXCEEDED, 0, 0, quoted[:10]))
    later = packet(132, bytes(16), more_fragments=False, dont_fragment=False, offset=8)
    s.send_packets(later)
    assert messages(s) == []


def test_errors_are_limited():
    s = script(config={"icmp_errors_per_second": 10})
    s.send_packets(*[packet(ip.UDP, datagram(b"x"))] * 30)
    assert len(messages(s)) == 10
    assert s.stack.counters["icmpv4 error limit"] == 20


@pytest.mark.parametrize(
    ("kind", "code", "number"),
    [
        (icmpv4.DESTINATION_UNREACHABLE, icmpv4.NET_UNREACHABLE, errno.ENETUNREACH),
        (icmpv4.DESTINATION_UNREACHABLE, icmpv4.HOST_UNREACHABLE, errno.EHOSTUNREACH),
        (icmpv4.DESTINATION_UNREACHABLE, icmpv4.PROTOCOL_UNREACHABLE, errno.ENOPROTOOPT),
        (icmpv4.DESTINATION_UNREACHABLE, icmpv4.PORT_UNREACHABLE, errno.ECONNREFUSED),
        (icmpv4.DESTINATION_UNREACHABLE, icmpv4.HOST_PROHIBITED, errno.EACCES),
        (icmpv4.DESTINATION_UNREACHABLE, 12, errno.EHOSTUNREACH),
        (icmpv4.TIME_EXCEEDED, 0, errno.EHOSTUNREACH),
        (icmpv4.PARAMETER_PROBLEM, 0, errno.EPROTO),
    ],
)
def test_an_error_ends_a_connect_and_is_told_to_udp(kind, code, number):
    s = script().connect()
    syn = packet(ip.TCP, s.last.encode(0), OWN, REMOTE)
    s.send_icmpv4(icmpv4.error(kind, code, 0, syn))
    assert s.connection.error is not None
    assert s.connection.error.errno == number
    endpoint = s.stack.open_udp(now=s.now)
    endpoint.send(b"x", (REMOTE, 53), now=s.now)
    s.collect()
    s.send_icmpv4(icmpv4.error(kind, code, 0, s.others[0]))
    ((error, remote),) = endpoint.take_errors()
    assert (error.errno, remote) == (number, (REMOTE, 53))


@pytest.mark.parametrize("kind", [icmpv4.SOURCE_QUENCH, icmpv4.REDIRECT, 13, 17])
def test_what_anybody_might_have_sent_is_ignored(kind):
    s = script().connect()
    s.send_icmpv4(icmpv4.error(kind, 1, 0, packet(ip.TCP, s.last.encode(0), OWN, REMOTE)))
    assert s.connection.state is State.SYN_SENT
    assert s.stack.counters == {"icmpv4 ignored": 1}


@pytest.mark.parametrize(
    "quoted",
    [
        b"",
        bytes(19),
        packet(ip.TCP, bytes(20), "10.0.0.9", REMOTE),
        packet(ip.TCP, bytes(20), OWN, REMOTE, offset=8),
        b"\x41" + packet(ip.TCP, bytes(20), OWN, REMOTE)[1:],
        b"\x65" + packet(ip.TCP, bytes(20), OWN, REMOTE)[1:],
    ],
)
def test_errors_about_what_was_never_sent_are_refused(quoted):
    s = script()
    s.send_icmpv4(icmpv4.error(icmpv4.DESTINATION_UNREACHABLE, icmpv4.HOST_UNREACHABLE, 0, quoted))
    assert s.stack.counters == {"icmpv4 quoted packet": 1}


# -- fragments


def pieces(payload: bytes, size: int, protocol: int = ip.UDP, identification: int = 77) -> list[bytes]:
    return [
        packet(
            protocol,
            payload[offset : offset + size],
            identification=identification,
            dont_fragment=False,
            more_fragments=offset + size < len(payload),
            offset=offset,
        )
        for offset in range(0, len(payload), size)
    ]


@pytest.mark.parametrize("order", [1, -1])
def test_fragments_are_put_together_in_any_order(order):
    s = script()
    endpoint = s.stack.open_udp(("0.0.0.0", 53), now=s.now)
    data = bytes(range(250)) * 40
    s.send_packets(*pieces(datagram(data), 1000)[::order])
    assert endpoint.receive() == [(data, (REMOTE, 4000))]
    assert s.stack.next_timer() is None


def test_packets_of_other_protocols_and_senders_do_not_mix():
    s = script()
    endpoint = s.stack.open_udp(("0.0.0.0", 53), now=s.now)
    (first, second), (other, _) = pieces(datagram(bytes(800)), 408), pieces(bytes(808), 408, 132)
    s.send_packets(other, first, pieces(bytes(808), 408, identification=78)[1], second)
    assert len(endpoint.receive()) == 1


def test_a_segment_in_fragments():
    s = script().established()
    s.send_packets(*pieces(s.packet(Seg(".", 1, 1, bytes(900)))[20:], 400, ip.TCP))
    assert s.read() == bytes(900)


def test_overlapping_fragments_end_the_packet():
    s = script()
    endpoint = s.stack.open_udp(("0.0.0.0", 53), now=s.now)
    first, second, third = pieces(datagram(bytes(1200)), 408)
    forged = packet(ip.UDP, b"forged!!", identification=77, more_fragments=True, offset=400)
    s.send_packets(first, forged, second, third)
    assert endpoint.receive() == []
    assert s.stack.counters["ipv4 fragments overlap"] == 1


@pytest.mark.parametrize(
    ("fields", "size", "reason"),
    [
        ({"more_fragments": True}, 12, "ipv4 fragment length"),
        ({"more_fragments": True}, 0, "ipv4 fragment length"),
        ({"offset": 65528}, 16, "ipv4 fragment offset"),
    ],
)
def test_fragments_of_impossible_size(fields, size, reason):
    s = script()
    s.send_packets(packet(ip.UDP, bytes(size), **fields))
    assert s.stack.counters == {reason: 1}
    assert s.stack.next_timer() is None


def test_a_first_fragment_with_many_options_makes_no_packet_that_is_too_large():
    """Each fragment fits a packet of 65535 bytes; all of them behind the header of the first do not."""
    s = script()
    first, *rest = pieces(bytes(0xFFFF - ipv4.HEADER_SIZE), 2000)
    nops = bytes((1,)) * 40
    first = packet(ip.UDP, first[20:], identification=77, more_fragments=True, options=nops)
    s.send_packets(first, *rest)
    assert s.stack.counters == {"ipv4 fragments too large": 1}
    assert s.stack.next_timer() is None


def test_an_incomplete_packet_is_dropped_and_reported_after_half_a_minute():
    s = script()
    first = pieces(datagram(bytes(1200)), 408)[0]
    s.send_packets(first)
    s.wait(29.9)
    assert messages(s) == []
    s.pass_time(0.2)
    (error,) = messages(s)
    assert (error.kind, error.code) == (icmpv4.TIME_EXCEEDED, icmpv4.REASSEMBLY_TIME_EXCEEDED)
    assert error.body[4:] == first
    assert s.stack.counters["ipv4 reassembly timeout"] == 1


def test_the_families_share_the_memory_for_fragments_and_keep_their_times():
    network = Network()
    host = network.add_host(reassembly_memory=100_000)
    host.interface.add_address(ipaddress.IPv4Interface("10.0.0.1/24"), network.now)
    frames = [
        (host.interface.mac, REMOTE_MAC, 0x0800, pieces(bytes(2400), 1200, identification=i)[0])
        for i in range(500)
    ]
    network.inject(host, frames)
    assert host.stack.counters["ipv4 reassembly memory"] >= 500 - 100_000 // 1456
    assert network.run(lambda: host.stack.counters["ipv4 reassembly timeout"] > 60, 31)


def test_own_fragments_have_numbers_of_their_own():
    s = script()
    endpoint = s.stack.open_udp(now=s.now)
    for _ in range(3):
        endpoint.send(bytes(5000), (REMOTE, 53), now=s.now)
    endpoint.send(bytes(2000), (REMOTE, 53), now=s.now)
    s.collect()
    headers = [ipv4.parse_header(sent) for sent in s.others]
    assert len({header.identification for header in headers[:6]}) == 3
    assert [header.offset for header in headers[:2]] == [0, 2776]
    assert not any(header.dont_fragment for header in headers[:6])
    assert headers[6].dont_fragment
    assert all(len(sent) <= 2800 for sent in s.others)


# -- path MTU


def too_big(s: Script, mtu: int) -> None:
    sent = packet(ip.TCP, s.last.encode(0), OWN, REMOTE)
    s.send_icmpv4(icmpv4.error(icmpv4.DESTINATION_UNREACHABLE, icmpv4.FRAGMENTATION_NEEDED, mtu, sent[:28]))


def test_a_smaller_path_cuts_what_is_out_and_sends_it_again():
    s = script(mss=2760, sack=True).established()
    s.connection.send(bytes(2760))
    (segment,) = s.collect()
    assert len(segment.payload) == 2760
    too_big(s, 1400)
    sizes = [len(again.payload) for again in s.collect()]
    assert sizes == [1360, 1360, 40]
    assert s.stack.connect_tcp((REMOTE, 9), now=s.now).flow.mtu == 1400


@pytest.mark.parametrize(("mtu", "expected"), [(100, 552), (1000, 1000), (0, 2002)])
def test_what_is_believed_of_a_path(mtu, expected):
    """A router from before RFC 1191 says 0: then it is the next usual MTU below the size of the packet."""
    s = script(mss=2760).established()
    s.connection.send(bytes(2760))
    s.collect()
    too_big(s, mtu)
    assert s.interface.path_mtu(REMOTE_ADDRESS, s.now) == expected
    assert s.interface.path_mtu(REMOTE_ADDRESS, s.now + 601) == 2800


def test_a_path_does_not_grow_by_icmp():
    s = script(mss=2760).established()
    s.connection.send(bytes(2760))
    s.collect()
    too_big(s, 2800)
    assert s.stack.counters == {"icmpv4 fragmentation needed mtu": 1}


def test_datagrams_follow_the_path():
    s = script()
    endpoint = s.stack.open_udp(now=s.now)
    endpoint.send(bytes(2000), (REMOTE, 53), now=s.now)
    s.collect()
    (sent,) = s.others
    s.others.clear()
    s.send_icmpv4(icmpv4.error(icmpv4.DESTINATION_UNREACHABLE, icmpv4.FRAGMENTATION_NEEDED, 1400, sent))
    assert endpoint.take_errors() == []
    endpoint.send(bytes(2000), (REMOTE, 53), now=s.now)
    s.collect()
    assert [len(piece) for piece in s.others] == [1396, 20 + 2008 - 1376]


# -- broadcast


@pytest.mark.parametrize("destination", ["10.0.0.255", "255.255.255.255"])
def test_a_broadcast_needs_consent_and_reaches_everybody(destination):
    network = Network()
    hosts = [network.add_host(Wire(delay=0.001), family=4) for _ in range(3)]
    everywhere = [host.stack.open_udp(("0.0.0.0", 53), now=network.now) for host in hosts]
    dual = hosts[1].stack.open_udp(("::", 53), now=network.now)
    bound = hosts[1].stack.open_udp((hosts[1].address, 54), now=network.now)
    itself = hosts[2].stack.open_udp((destination, 55), now=network.now)
    sender = hosts[0].stack.open_udp((hosts[0].address, 9), now=network.now)
    with pytest.raises(PermissionError):
        sender.send(b"x", (destination, 53), now=network.now)
    sender.broadcast = True
    for port in (53, 54, 55):
        sender.send(b"to all", (destination, port), now=network.now)
    network.run(limit=1)
    assert [endpoint.receive() for endpoint in (*everywhere, dual, itself)] == [
        [(b"to all", ("10.0.0.1", 9))]
    ] * 5
    assert bound.receive() == []
    assert not any(host.stack.counters for host in hosts)


def test_a_large_broadcast_goes_in_fragments():
    network = Network()
    a, b = (network.add_host(Wire(delay=0.001), family=4) for _ in range(2))
    receiver = b.stack.open_udp(("0.0.0.0", 53), now=network.now)
    sender = a.stack.open_udp(now=network.now)
    sender.broadcast = True
    sender.send(bytes(9000), ("10.0.0.255", 53), now=network.now)
    network.run(limit=1)
    assert [len(data) for data, _ in receiver.receive()] == [9000]


def test_a_broadcast_goes_to_the_broadcast_mac():
    s = script()
    endpoint = s.stack.open_udp(now=s.now)
    endpoint.broadcast = True
    endpoint.send(b"x", ("10.0.0.255", 53), now=s.now)
    ((_, ((to, source, ethertype, _),)),) = s.stack.frames_to_send(s.now)
    assert (to, source, ethertype) == (BROADCAST, OWN_MAC, 0x0800)


def test_an_address_that_ends_its_prefix_is_no_broadcast_when_it_is_own():
    s = script()
    s.interface.add_address(ipaddress.IPv4Interface("10.0.0.255/24"), s.now)
    assert not s.interface.is_broadcast(packed("10.0.0.255"))
    s.interface.remove_address(ipaddress.IPv4Interface("10.0.0.255/24"), s.now)
    assert s.interface.is_broadcast(packed("10.0.0.255"))
    s.interface.add_address(ipaddress.IPv4Interface("10.9.0.0/31"), s.now)
    assert not s.interface.is_broadcast(packed("10.9.0.1"))


@pytest.mark.parametrize("destination", ["255.255.255.255", "10.0.0.255"])
def test_tcp_connects_to_no_broadcast_address_and_hears_none(destination):
    s = script()
    with pytest.raises(PermissionError):
        s.stack.connect_tcp((destination, 1), now=s.now)
    s.listen()
    s.own_address = packed(destination)
    s.send(Seg("S"))
    s.quiet()
    assert s.stack.counters == {"tcp to a group": 1}


def test_a_limited_broadcast_needs_to_know_the_interface():
    s = script()
    other = s.stack.add_interface("other", MACAddress(0x020000000099), 2800, s.now)
    endpoint = s.stack.open_udp(now=s.now)
    endpoint.broadcast = True
    endpoint.send(b"x", ("255.255.255.255", 53), now=s.now)  # the other one has no IPv4
    other.add_address(ipaddress.IPv4Interface("10.1.0.1/24"), s.now)
    with pytest.raises(OSError, match="needs an interface") as caught:
        endpoint.send(b"x", ("255.255.255.255", 53), now=s.now)
    assert caught.value.errno == errno.EINVAL
    s.stack.frames_to_send(s.now)
    endpoint.multicast_interface = other
    endpoint.send(b"x", ("255.255.255.255", 53), now=s.now)
    bound = s.stack.open_udp(("10.1.0.1", 0), now=s.now)
    bound.broadcast = True
    bound.send(b"x", ("255.255.255.255", 53), now=s.now)
    ((interface, frames),) = s.stack.frames_to_send(s.now)
    assert interface is other
    assert len(frames) == 2


# -- the largest


def test_a_datagram_may_be_too_large_by_twenty_bytes_fewer():
    s = script()
    endpoint = s.stack.open_udp(now=s.now)
    endpoint.send(bytes(65_507), (REMOTE, 53), now=s.now)
    with pytest.raises(OSError) as caught:
        endpoint.send(bytes(65_508), (REMOTE, 53), now=s.now)
    assert caught.value.errno == errno.EMSGSIZE


# -- TCP


@pytest.mark.parametrize(("loss", "jitter"), [(0.0, 0.0), (0.03, 0.002)])
def test_a_transfer(loss, jitter):
    network = Network(3)
    wire = {"delay": 0.01, "loss": loss, "jitter": jitter, "duplication": loss}
    a, b = (network.add_host(Wire(**wire), family=4) for _ in range(2))
    near, far = network.connect(a, b)
    assert near.local == ("10.0.0.1", near.local[1])
    assert near.remote == far.local
    data = bytes(range(256)) * 4000
    transfer = Transfer(near, far, data)
    assert network.run(transfer, 120)
    assert bytes(transfer.received) == data
    assert near.info().mss == 2800 - 40 - 12


def test_a_peer_that_says_no_segment_size_gets_the_smallest():
    s = script(mss=None).established()
    s.connection.send(bytes(1000))
    assert [len(segment.payload) for segment in s.collect()] == [536, 464]
