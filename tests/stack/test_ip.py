"""ICMPv6, neighbours, fragments, path MTU: everything between frames and transports."""

import errno
import ipaddress

import pytest

from tests.stack.script import OWN, OWN_ADDRESS, OWN_MAC, REMOTE, REMOTE_ADDRESS, REMOTE_MAC, Script, Seg
from zt_async.stack.tcp.options import TcpOptions
from zt_async.stack.tcp.state import State
from zt_async.types import MACAddress
from zt_async.wire import icmpv6, ip, ipv6, ndp, udp

ECHO = icmpv6.Message(icmpv6.ECHO_REQUEST, 0, icmpv6.Echo(7, 1, b"hello").encode())


def packed(address: str) -> bytes:
    return ipaddress.IPv6Address(address).packed


def packet(
    protocol: int,
    payload: bytes,
    source: bytes = REMOTE_ADDRESS,
    destination: bytes = OWN_ADDRESS,
    hops: int = 64,
) -> bytes:
    return ipv6.Header(source, destination, protocol, len(payload), hops).encode() + payload


def datagram(payload: bytes, port: int = 53) -> bytes:
    return udp.Datagram(4000, port, payload).encode(ip.pseudo_header_sum(REMOTE_ADDRESS, OWN_ADDRESS, ip.UDP))


def messages(s: Script) -> list[icmpv6.Message]:
    """ICMPv6 messages sent since the last call, without neighbour discovery."""
    s.collect()
    result = []
    for sent in s.others:
        header = ipv6.parse_header(sent)
        assert header.next_header == ip.ICMPV6
        result.append(icmpv6.parse(sent[40:], header.source, header.destination))
    s.others.clear()
    return result


def error_about(sent: bytes, kind: int, code: int, value: int = 0) -> icmpv6.Message:
    return icmpv6.error(kind, code, value, sent)


# -- echo


def test_an_echo_request_is_answered():
    s = Script()
    s.send_icmp(ECHO)
    assert messages(s) == [icmpv6.Message(icmpv6.ECHO_REPLY, 0, ECHO.body)]


def test_an_echo_request_to_a_group_is_not_answered():
    s = Script()
    s.send_packets(packet(ip.ICMPV6, ECHO.encode(REMOTE_ADDRESS, ipv6.ALL_NODES), destination=ipv6.ALL_NODES))
    assert messages(s) == []


def test_a_large_echo_comes_back_in_fragments():
    s = Script()
    body = icmpv6.Echo(1, 1, bytes(range(256)) * 20).encode()
    whole = icmpv6.Message(icmpv6.ECHO_REQUEST, 0, body).encode(REMOTE_ADDRESS, OWN_ADDRESS)
    for offset in range(0, len(whole), 1024):
        piece = whole[offset : offset + 1024]
        fragment = ipv6.Fragment(ip.ICMPV6, offset, offset + 1024 < len(whole), 99).encode()
        s.send_packets(packet(ipv6.FRAGMENT, fragment + piece))
    s.collect()
    assert [len(sent) <= 2800 for sent in s.others] == [True, True]
    pieces = [ipv6.find_upper(sent, len(sent), sent[6]) for sent in s.others]
    assert b"".join(sent[upper.offset :] for sent, upper in zip(s.others, pieces, strict=True))[4:] == body


def test_a_ping_is_answered():
    s = Script()
    ping = s.stack.ping(REMOTE, b"payload", now=s.now)
    (request,) = messages(s)
    assert request.kind == icmpv6.ECHO_REQUEST
    assert ping.rtt is None
    s.now += 0.125
    s.send_icmp(icmpv6.Message(icmpv6.ECHO_REPLY, 0, request.body[:-1] + b"X"))
    assert ping.rtt is None
    s.send_icmp(icmpv6.Message(icmpv6.ECHO_REPLY, 0, request.body))
    assert ping.rtt == pytest.approx(0.125)
    assert s.stack.take_ready() == [ping]
    s.send_icmp(icmpv6.Message(icmpv6.ECHO_REPLY, 0, request.body))
    assert s.stack.take_ready() == []


def test_a_ping_fails_by_icmp():
    s = Script()
    ping = s.stack.ping(REMOTE, now=s.now)
    s.collect()
    s.send_icmp(error_about(s.others[-1], icmpv6.DESTINATION_UNREACHABLE, icmpv6.NO_ROUTE))
    assert ping.error.errno == errno.ENETUNREACH
    assert s.stack.take_ready() == [ping]


@pytest.mark.parametrize(("family", "largest"), [(6, 65527), (4, 65507)])
def test_a_ping_may_be_too_large(family, largest):
    s = Script(family=family, config={"max_pings": 1})
    with pytest.raises(OSError) as caught:
        s.stack.ping(s.remote, bytes(largest + 1), now=s.now)
    assert caught.value.errno == errno.EMSGSIZE
    s.stack.ping(s.remote, bytes(largest), now=s.now)


def test_pings_are_bounded_and_can_be_cancelled():
    s = Script(config={"max_pings": 2})
    first, _ = (s.stack.ping(REMOTE, now=s.now) for _ in range(2))
    with pytest.raises(OSError, match="buffer") as caught:
        s.stack.ping(REMOTE, now=s.now)
    assert caught.value.errno == errno.ENOBUFS
    first.cancel()
    s.stack.ping(REMOTE, now=s.now)


# -- neighbours


def solicited(frames) -> list[bytes]:
    """Targets of the solicitations among frames."""
    return [frame[3][48:64] for frame in frames if frame[3][6] == ip.ICMPV6 and frame[3][40] == 135]


def frames(s: Script):
    return [frame for _, batch in s.stack.frames_to_send(s.now) for frame in batch]


def advertise(
    s: Script, mac: int | None = REMOTE_MAC, *, solicited: bool = True, override: bool = True
) -> None:
    body = ndp.NeighborAdvertisement(
        REMOTE_ADDRESS, mac, router=False, solicited=solicited, override=override
    )
    s.send_icmp(icmpv6.Message(icmpv6.NEIGHBOR_ADVERTISEMENT, 0, body.encode()), 255)


def send_datagram(s: Script, destination: str = REMOTE) -> None:
    endpoint = s.stack.open_udp(now=s.now)
    endpoint.send(b"x", (destination, 9), now=s.now)
    endpoint.close()


def test_an_address_is_asked_for_and_the_packet_follows():
    s = Script()
    send_datagram(s)
    (asked,) = frames(s)
    assert asked[0] == MACAddress.parse("33:33:ff:00:00:02")
    assert asked[1] == OWN_MAC
    header = ipv6.parse_header(asked[3])
    assert (header.source, header.hop_limit) == (OWN_ADDRESS, 255)
    message = icmpv6.parse(asked[3][40:], header.source, header.destination)
    assert ndp.parse_solicitation(message.body) == ndp.NeighborSolicitation(REMOTE_ADDRESS, OWN_MAC)
    advertise(s)
    (sent,) = frames(s)
    assert sent[0] == REMOTE_MAC
    assert sent[3][6] == ip.UDP
    send_datagram(s)
    assert len(frames(s)) == 1


def test_an_advertisement_as_zerotier_emulates_it():
    """It is addressed to the managed address, comes from the target, and its frame from the neighbour's MAC."""
    s = Script()
    send_datagram(s)
    frames(s)
    advertise(s)
    assert len(frames(s)) == 1


def test_a_question_is_repeated_quickly_at_first_and_given_up_after_seven_seconds():
    s = Script()
    connection = s.stack.connect_tcp((REMOTE, 1), now=s.now)
    begin, asked = s.now, []
    asked += [0.0] * len(solicited(frames(s)))
    while connection.error is None:
        s.now = s.stack.next_timer()
        s.stack.handle_timer(s.now)
        asked += [round(s.now - begin, 2)] * len(solicited(frames(s)))
    assert asked == [0, 0.25, 0.75, 1.75, 2.75, 3.75, 4.75, 5.75, 6.75]
    assert s.now - begin == pytest.approx(7)
    assert connection.error.errno == errno.EHOSTUNREACH
    assert s.stack.take_ready() == [connection]
    assert s.stack.next_timer() is None


def test_an_unreachable_neighbour_is_told_to_udp_and_ping():
    s = Script()
    endpoint = s.stack.open_udp(now=s.now)
    endpoint.send(b"x", (REMOTE, 9), now=s.now)
    ping = s.stack.ping(REMOTE, now=s.now)
    frames(s)
    while s.stack.next_timer() is not None:
        s.now = s.stack.next_timer()
        s.stack.handle_timer(s.now)
        frames(s)
    assert [(error.errno, remote) for error, remote in endpoint.take_errors()] == [
        (errno.EHOSTUNREACH, (REMOTE, 9))
    ]
    assert ping.error.errno == errno.EHOSTUNREACH


def test_the_queue_of_an_unresolved_address_is_bounded():
    s = Script(config={"neighbor_queue": 3})
    for _ in range(10):
        send_datagram(s)
    frames(s)
    advertise(s)
    assert len(frames(s)) == 3
    assert s.stack.counters["neighbor queue full"] == 7


def test_the_neighbour_cache_is_bounded():
    s = Script(config={"max_neighbors": 10})
    for i in range(1000):
        solicitation = ndp.NeighborSolicitation(OWN_ADDRESS, 0x020000001000 + i)
        source = packed(f"fd00::{i + 100:x}")
        message = icmpv6.Message(icmpv6.NEIGHBOR_SOLICITATION, 0, solicitation.encode())
        s.send_packets(packet(ip.ICMPV6, message.encode(source, OWN_ADDRESS), source, OWN_ADDRESS, 255))
    assert len(s.interface.neighbors) == 10


def test_strangers_do_not_push_out_a_neighbour_in_use():
    s = reachable(Script(config={"max_neighbors": 10}))
    for i in range(100):
        source = packed(f"fd00::{i + 100:x}")
        message = icmpv6.Message(
            icmpv6.NEIGHBOR_SOLICITATION,
            0,
            ndp.NeighborSolicitation(OWN_ADDRESS, 0x020000001000 + i).encode(),
        )
        s.send_packets(packet(ip.ICMPV6, message.encode(source, OWN_ADDRESS), source, OWN_ADDRESS, 255))
    frames(s)
    send_datagram(s)
    assert [frame[0] for frame in frames(s)] == [REMOTE_MAC]


def test_a_solicitation_is_answered_and_teaches_the_askers_address():
    s = Script()
    message = icmpv6.Message(
        icmpv6.NEIGHBOR_SOLICITATION, 0, ndp.NeighborSolicitation(OWN_ADDRESS, REMOTE_MAC).encode()
    )
    group = ipv6.solicited_node(OWN_ADDRESS)
    s.send_packets(packet(ip.ICMPV6, message.encode(REMOTE_ADDRESS, group), destination=group, hops=255))
    (answer,) = frames(s)
    assert answer[0] == REMOTE_MAC
    body = icmpv6.parse(answer[3][40:], OWN_ADDRESS, REMOTE_ADDRESS).body
    assert ndp.parse_advertisement(body) == ndp.NeighborAdvertisement(
        OWN_ADDRESS, OWN_MAC, router=False, solicited=True, override=True
    )
    send_datagram(s)
    assert solicited(frames(s)) == []


def test_a_probe_for_a_duplicate_address_is_answered_to_all():
    s = Script()
    group = ipv6.solicited_node(OWN_ADDRESS)
    message = icmpv6.Message(
        icmpv6.NEIGHBOR_SOLICITATION, 0, ndp.NeighborSolicitation(OWN_ADDRESS, None).encode()
    )
    s.send_packets(packet(ip.ICMPV6, message.encode(ipv6.UNSPECIFIED, group), ipv6.UNSPECIFIED, group, 255))
    (answer,) = frames(s)
    assert answer[0] == MACAddress.parse("33:33:00:00:00:01")
    assert not ndp.parse_advertisement(answer[3][44:]).solicited


@pytest.mark.parametrize(
    ("mac", "destination"),
    [(REMOTE_MAC, ipv6.solicited_node(OWN_ADDRESS)), (None, OWN_ADDRESS), (None, ipv6.ALL_NODES)],
)
def test_a_probe_that_no_host_makes_is_dropped(mac, destination):
    """RFC 4861 section 7.1.1."""
    s = Script()
    body = ndp.NeighborSolicitation(OWN_ADDRESS, mac).encode()
    message = icmpv6.Message(icmpv6.NEIGHBOR_SOLICITATION, 0, body).encode(ipv6.UNSPECIFIED, destination)
    s.send_packets(packet(ip.ICMPV6, message, ipv6.UNSPECIFIED, destination, 255))
    assert frames(s) == []
    assert s.stack.counters == {"ndp probe": 1}


def test_a_solicitation_for_another_address_is_not_answered():
    s = Script()
    message = icmpv6.Message(
        icmpv6.NEIGHBOR_SOLICITATION, 0, ndp.NeighborSolicitation(packed("fd00::77"), REMOTE_MAC).encode()
    )
    s.send_icmp(message, 255)
    assert frames(s) == []
    assert len(s.interface.neighbors) == 0


@pytest.mark.parametrize("hops", [1, 64, 254])
def test_neighbour_discovery_from_beyond_the_link_is_dropped(hops):
    s = Script()
    message = icmpv6.Message(
        icmpv6.NEIGHBOR_SOLICITATION, 0, ndp.NeighborSolicitation(OWN_ADDRESS, REMOTE_MAC).encode()
    )
    s.send_icmp(message, hops)
    assert frames(s) == []
    assert s.stack.counters["ndp hop limit or code"] == 1


def test_an_advertisement_nobody_asked_for_teaches_nothing():
    s = Script()
    advertise(s)
    assert len(s.interface.neighbors) == 0


@pytest.mark.parametrize(("mac", "conflicts"), [(0x02BADBADBAD0, 1), (OWN_MAC, 0)])
def test_an_advertisement_cannot_steal_an_own_address(mac, conflicts):
    s = Script()
    body = ndp.NeighborAdvertisement(OWN_ADDRESS, mac, router=False, solicited=False, override=True)
    s.send_icmp(icmpv6.Message(icmpv6.NEIGHBOR_ADVERTISEMENT, 0, body.encode()), 255)
    assert s.interface.neighbors.find(OWN_ADDRESS) is None
    assert s.stack.counters["ndp conflict"] == conflicts


def reachable(s: Script) -> Script:
    send_datagram(s)
    frames(s)
    advertise(s)
    frames(s)
    return s


def test_a_silent_neighbour_is_probed_when_it_is_used_again_and_then_asked_for_anew():
    """RFC 4861 section 7.3."""
    s = reachable(Script())
    s.now += 31
    send_datagram(s)
    assert [frame[3][6] for frame in frames(s)] == [ip.UDP]  # goes out meanwhile
    probes = []
    begin = s.now
    while (at := s.stack.next_timer()) is not None:
        s.now = at
        s.stack.handle_timer(s.now)
        probes += [(round(s.now - begin), frame[0]) for frame in frames(s)]
    assert probes == [(5, REMOTE_MAC), (6, REMOTE_MAC), (7, REMOTE_MAC)]
    assert s.interface.neighbors.find(REMOTE_ADDRESS) is None
    send_datagram(s)
    assert solicited(frames(s)) == [REMOTE_ADDRESS]


def test_a_probed_neighbour_that_answers_stays():
    s = reachable(Script())
    s.now += 31
    send_datagram(s)
    frames(s)
    s.now += 5
    s.stack.handle_timer(s.now)
    assert solicited(frames(s)) == [REMOTE_ADDRESS]
    advertise(s, None)
    assert s.stack.next_timer() is None
    send_datagram(s)
    assert len(frames(s)) == 1


def test_progress_of_tcp_makes_probes_needless():
    s = Script().established()
    for i in range(20):
        s.now += 10
        s.connection.send(b"x")
        assert len(s.collect()) == 1
        s.send(Seg(".", 1, 2 + i))
        s.collect()
    assert s.stack.next_timer() is None


def test_a_neighbour_may_move():
    s = reachable(Script())
    advertise(s, 0x020000000099, solicited=False)
    send_datagram(s)
    assert frames(s)[0][0] == 0x020000000099


def test_without_override_another_address_only_raises_doubt():
    s = reachable(Script())
    advertise(s, 0x020000000099, solicited=False, override=False)
    send_datagram(s)
    assert frames(s)[0][0] == REMOTE_MAC
    begin = s.now
    while not (asked := solicited(frames(s))):
        s.now = s.stack.next_timer()
        s.stack.handle_timer(s.now)
    assert asked == [REMOTE_ADDRESS]
    assert s.now == pytest.approx(begin + 5)


# -- errors about received packets


def test_a_closed_udp_port_is_reported():
    s = Script()
    cause = packet(ip.UDP, datagram(b"x" * 3000))
    s.send_packets(cause)
    (answer,) = messages(s)
    assert (answer.kind, answer.code) == (icmpv6.DESTINATION_UNREACHABLE, icmpv6.PORT_UNREACHABLE)
    assert answer.body[4:] == cause[: 1280 - 48]


def test_errors_are_limited():
    s = Script(config={"icmp_errors_per_second": 5.0})
    for _ in range(50):
        s.send_packets(packet(ip.UDP, datagram(b"x")))
    assert len(messages(s)) == 5
    assert s.stack.counters["icmpv6 error limit"] == 45
    s.now += 1
    s.send_packets(packet(ip.UDP, datagram(b"x")))
    assert len(messages(s)) == 1


@pytest.mark.parametrize(
    ("protocol", "payload", "code", "pointer"),
    [
        (132, bytes(8), ipv6.UNRECOGNIZED_NEXT_HEADER, 6),
        (ipv6.ROUTING, bytes((ip.UDP, 0, 0, 1, 0, 0, 0, 0)), ipv6.ERRONEOUS_FIELD, 42),
        (ipv6.DESTINATION_OPTIONS, bytes((ip.UDP, 0, 0xC0, 4, 0, 0, 0, 0)), ipv6.UNRECOGNIZED_OPTION, 42),
    ],
)
def test_headers_that_cannot_be_processed_are_reported(protocol, payload, code, pointer):
    s = Script()
    s.send_packets(packet(protocol, payload))
    (answer,) = messages(s)
    assert (answer.kind, answer.code) == (icmpv6.PARAMETER_PROBLEM, code)
    assert int.from_bytes(answer.body[:4], "big") == pointer


def test_no_error_about_an_error_a_group_or_nobody():
    s = Script()
    closed = packet(ip.UDP, datagram(b"x"))
    s.send_packets(
        packet(132, bytes(8), destination=ipv6.ALL_NODES),
        packet(132, bytes(8), source=ipv6.UNSPECIFIED),
        packet(ipv6.DESTINATION_OPTIONS, bytes((ip.ICMPV6, 0, 0x80, 4, 0, 0, 0, 0)) + b"\x01\x00" + bytes(6)),
    )
    s.send_icmp(error_about(closed, icmpv6.DESTINATION_UNREACHABLE, 4))
    assert messages(s) == []


def test_extension_headers_are_passed_over():
    s = Script()
    endpoint = s.stack.open_udp(("::", 53), now=s.now)
    header = bytes((ip.UDP, 0, 1, 4, 0, 0, 0, 0))
    s.send_packets(packet(ipv6.DESTINATION_OPTIONS, header + datagram(b"hello")))
    assert endpoint.receive() == [(b"hello", (REMOTE, 4000))]


def test_tcp_behind_extension_headers():
    s = Script().established()
    plain = s.packet(Seg("P.", 1, 1, b"hello"))
    s.send_packets(packet(ipv6.DESTINATION_OPTIONS, bytes((ip.TCP, 0, 1, 4, 0, 0, 0, 0)) + plain[40:]))
    assert s.read() == b"hello"


@pytest.mark.parametrize(
    ("source", "destination"),
    [
        (OWN, OWN),
        ("::1", OWN),
        ("ff02::1", OWN),
        (REMOTE, "::1"),
        (REMOTE, "fd00::3"),
        (REMOTE, "ff02::2"),
    ],
)
def test_packets_that_cannot_be_for_this_host(source, destination):
    s = Script()
    endpoint = s.stack.open_udp(("::", 53), now=s.now)
    body = udp.Datagram(4000, 53, b"x").encode(
        ip.pseudo_header_sum(packed(source), packed(destination), ip.UDP)
    )
    s.send_packets(packet(ip.UDP, body, packed(source), packed(destination)))
    assert endpoint.receive() == []
    assert s.stack.counters.total() == 1


def test_frames_of_other_kinds_and_for_others_are_counted():
    s = Script()
    good = packet(ip.UDP, datagram(b"x"))
    s.stack.receive_frames(
        s.interface,
        [(int(OWN_MAC), int(REMOTE_MAC), 0x88B5, good), (0x02FFFFFFFFFF, int(REMOTE_MAC), 0x86DD, good)],
        s.now,
    )
    assert s.stack.counters == {"ethertype": 1, "ethernet not for this host": 1}


# -- fragments


def pieces(payload: bytes, *, size: int = 64, identification: int = 5) -> list[bytes]:
    result = []
    for offset in range(0, len(payload), size):
        fragment = ipv6.Fragment(ip.UDP, offset, offset + size < len(payload), identification)
        result.append(packet(ipv6.FRAGMENT, fragment.encode() + payload[offset : offset + size]))
    return result


@pytest.mark.parametrize("order", [1, -1])
def test_fragments_are_put_together_in_any_order(order):
    s = Script()
    endpoint = s.stack.open_udp(("::", 53), now=s.now)
    s.send_packets(*pieces(datagram(bytes(range(200))))[::order])
    assert endpoint.receive() == [(bytes(range(200)), (REMOTE, 4000))]
    assert s.stack.next_timer() is None


def test_a_repeated_fragment_is_dropped_alone():
    s = Script()
    endpoint = s.stack.open_udp(("::", 53), now=s.now)
    first, second, *rest = pieces(datagram(bytes(range(200))))
    s.send_packets(first, second, second, first, *rest)
    assert len(endpoint.receive()) == 1
    assert s.stack.counters["ipv6 fragment repeated"] == 2


def test_overlapping_fragments_end_the_packet():
    """RFC 5722."""
    s = Script()
    endpoint = s.stack.open_udp(("::", 53), now=s.now)
    first, second, *rest = pieces(datagram(bytes(range(200))))
    overlap = packet(
        ipv6.FRAGMENT, ipv6.Fragment(ip.UDP, 56, more=True, identification=5).encode() + bytes(16)
    )
    s.send_packets(first, overlap, second, *rest)
    assert endpoint.receive() == []
    assert s.stack.counters["ipv6 fragments overlap"] == 1


@pytest.mark.parametrize("more", [True, False])
def test_fragments_beyond_the_end_end_the_packet(more):
    s = Script()
    endpoint = s.stack.open_udp(("::", 53), now=s.now)
    *begin, last = pieces(datagram(bytes(range(200))))
    beyond = packet(ipv6.FRAGMENT, ipv6.Fragment(ip.UDP, 512, more, 5).encode() + bytes(8))
    s.send_packets(last, beyond, *begin)
    assert endpoint.receive() == []


def test_an_atomic_fragment_stands_alone():
    """RFC 6946."""
    s = Script()
    endpoint = s.stack.open_udp(("::", 53), now=s.now)
    s.send_packets(pieces(datagram(bytes(100)), size=64)[0])
    s.send_packets(*pieces(datagram(b"atom"), size=64))
    assert endpoint.receive() == [(b"atom", (REMOTE, 4000))]


def test_fragments_behind_other_extension_headers():
    s = Script()
    endpoint = s.stack.open_udp(("::", 53), now=s.now)
    for piece in pieces(datagram(bytes(range(200)))):
        hops = bytes((ipv6.FRAGMENT, 0, 1, 4, 0, 0, 0, 0))
        s.send_packets(packet(ipv6.HOP_BY_HOP, hops + piece[40:]))
    assert len(endpoint.receive()) == 1


def test_a_first_fragment_with_more_headers_makes_no_packet_that_is_too_large():
    """Each fragment fits a payload of 65535 bytes; all of them behind the headers of the first do not."""
    s = Script()
    first, *rest = pieces(bytes(0xFFFF), size=2000)
    options = bytes((ipv6.FRAGMENT, 0, 1, 4, 0, 0, 0, 0))
    s.send_packets(packet(ipv6.DESTINATION_OPTIONS, options + first[40:]), *rest)
    assert s.stack.counters == {"ipv6 fragments too large": 1}
    assert s.stack.next_timer() is None


def test_an_incomplete_packet_is_dropped_and_reported_after_a_minute():
    s = Script()
    first, *rest = pieces(datagram(bytes(200)))
    s.send_packets(first, rest[0])
    s.now += 59
    s.stack.handle_timer(s.now)
    assert messages(s) == []
    s.now += 1.01
    s.stack.handle_timer(s.now)
    (answer,) = messages(s)
    assert (answer.kind, answer.code) == (icmpv6.TIME_EXCEEDED, icmpv6.REASSEMBLY_TIME_EXCEEDED)
    assert answer.body[4:] == first
    assert s.stack.counters["ipv6 reassembly timeout"] == 1
    s.pass_time(10)
    assert s.stack.next_timer() is None


def test_without_the_first_fragment_nothing_is_reported():
    s = Script()
    s.send_packets(pieces(datagram(bytes(200)))[1])
    s.now += 61
    s.stack.handle_timer(s.now)
    assert messages(s) == []


def test_fragments_held_are_bounded_in_bytes():
    s = Script(config={"reassembly_memory": 100_000})
    for i in range(1000):
        piece = packet(
            ipv6.FRAGMENT, ipv6.Fragment(ip.UDP, 0, more=True, identification=i).encode() + bytes(1000)
        )
        s.send_packets(piece)
    assert s.stack.counters["ipv6 reassembly memory"] >= 1000 - 100_000 // 1256


def test_fragments_of_one_packet_are_bounded_in_number():
    s = Script()
    for i in range(1000):
        fragment = ipv6.Fragment(ip.UDP, 8 + 16 * i, more=True, identification=1)
        s.send_packets(packet(ipv6.FRAGMENT, fragment.encode() + bytes(8)))
    assert s.stack.counters["ipv6 too many fragments"] == 1000 // 129


@pytest.mark.parametrize(
    ("fragment", "size", "pointer"),
    [
        (ipv6.Fragment(ip.UDP, 0, more=True, identification=1), 13, 4),
        (ipv6.Fragment(ip.UDP, 0, more=True, identification=1), 0, 4),
        (ipv6.Fragment(ip.UDP, 65528, more=False, identification=1), 100, 42),
    ],
)
def test_fragments_of_impossible_size_are_reported(fragment, size, pointer):
    s = Script()
    s.send_packets(packet(ipv6.FRAGMENT, fragment.encode() + bytes(size)))
    (answer,) = messages(s)
    assert (answer.kind, answer.code) == (icmpv6.PARAMETER_PROBLEM, ipv6.ERRONEOUS_FIELD)
    assert int.from_bytes(answer.body[:4], "big") == pointer


# -- path MTU


def too_big(s: Script, mtu: int, cause: Seg) -> None:
    quoted = ipv6.Header(OWN_ADDRESS, REMOTE_ADDRESS, ip.TCP, 20 + len(cause.payload)).encode()
    ports = (4321).to_bytes(2, "big") + (4000).to_bytes(2, "big")
    tcp_header = ports + (cause.seq + s.own_iss & 0xFFFFFFFF).to_bytes(4, "big") + bytes(12)
    s.send_icmp(error_about(quoted + tcp_header + cause.payload, icmpv6.PACKET_TOO_BIG, 0, mtu))


def test_a_smaller_path_cuts_what_is_out_and_sends_it_again():
    s = Script(mss=9000, config={"pacing": False}).established()
    s.connection.send(bytes(6000))
    sent = s.collect()
    assert [len(segment.payload) for segment in sent] == [2740, 2740, 520]
    too_big(s, 1500, sent[0])
    again = s.collect()
    assert [(segment.seq, len(segment.payload)) for segment in again] == [
        (1, 1440),
        (1441, 1300),
        (2741, 1440),
        (4181, 1300),
    ]
    assert s.connection.info().mss == 1440
    s.send(Seg(".", 1, 6001))
    assert s.connection.info().in_flight == 0
    s.connection.send(bytes(3000))
    assert [len(segment.payload) for segment in s.collect()] == [1440, 1440, 120]
    assert s.connection.info().congestion_window >= 10 * 1440


def test_new_connections_know_the_path():
    s = Script(mss=9000).established()
    s.connection.send(bytes(3000))
    too_big(s, 1400, s.collect()[0])
    s.collect()
    assert s.interface.path_mtu(REMOTE_ADDRESS, s.now) == 1400
    assert s.interface.path_mtu(REMOTE_ADDRESS, s.now + 601) == 2800


@pytest.mark.parametrize("mtu", [2800, 9000, 0xFFFFFFFF])
def test_a_path_does_not_grow_by_icmp(mtu):
    s = Script(mss=9000).established()
    s.connection.send(bytes(3000))
    too_big(s, mtu, s.collect()[0])
    s.quiet()
    assert s.connection.info().mss == 2740


def test_a_path_does_not_shrink_below_1280():
    s = Script(mss=9000).established()
    s.connection.send(bytes(3000))
    too_big(s, 68, s.collect()[0])
    assert len(s.collect()[0].payload) == 1220


def test_icmp_about_what_is_not_in_flight_is_not_believed():
    """RFC 5927."""
    s = Script(mss=9000).established()
    s.connection.send(bytes(3000))
    s.collect()
    too_big(s, 1280, Seg(".", 500_000))
    s.quiet()
    assert s.connection.info().mss == 2740
    assert s.stack.counters["tcp icmp out of window"] == 1
    assert s.interface.path_mtu(REMOTE_ADDRESS, s.now) == 2800


@pytest.mark.parametrize("protocol", [ip.UDP, ip.TCP, ip.ICMPV6, 132])
def test_icmp_about_what_nobody_sent_says_nothing_of_the_path(protocol):
    s = Script()
    quoted = ipv6.Header(OWN_ADDRESS, REMOTE_ADDRESS, protocol, 2000).encode() + bytes((128,)) + bytes(1999)
    s.send_icmp(error_about(quoted, icmpv6.PACKET_TOO_BIG, 0, 1300))
    assert s.interface.path_mtu(REMOTE_ADDRESS, s.now) == 2800


def test_a_ping_that_was_too_big_goes_in_fragments_next_time():
    s = Script()
    ping = s.stack.ping(REMOTE, bytes(2000), now=s.now)
    s.collect()
    s.send_icmp(error_about(s.others[0], icmpv6.PACKET_TOO_BIG, 0, 1300))
    assert ping.error is None
    s.others.clear()
    s.stack.ping(REMOTE, bytes(2000), now=s.now)
    s.collect()
    assert [sent[6] for sent in s.others] == [ipv6.FRAGMENT] * 2


def test_nobody_shrinks_the_path_to_another_host_by_quoting_a_ping_to_himself():
    s = Script()
    ping = s.stack.ping(REMOTE, b"y", now=s.now)
    s.collect()
    other = ipaddress.IPv6Address("fd00::77").packed
    quoted = s.others[0][:24] + other + s.others[0][40:]
    s.send_icmp(error_about(quoted, icmpv6.PACKET_TOO_BIG, 0, 1300))
    s.send_icmp(error_about(quoted, icmpv6.DESTINATION_UNREACHABLE, 0))
    assert s.interface.path_mtu(other, s.now) == 2800
    assert ping.error is None


def test_an_echo_that_was_too_big_goes_back_in_fragments_next_time():
    s = Script()
    request = icmpv6.Message(icmpv6.ECHO_REQUEST, 0, b"\1\2\3\4" + bytes(2000))
    s.send_icmp(request)
    s.collect()
    s.send_icmp(error_about(s.others.pop(), icmpv6.PACKET_TOO_BIG, 0, 1300))
    s.send_icmp(request)
    s.collect()
    assert [sent[6] for sent in s.others] == [ipv6.FRAGMENT] * 2


def test_an_interface_with_another_mtu():
    s = Script(mss=9000, config={"pacing": False}).established()
    s.connection.send(bytes(3000))
    s.collect()
    s.interface.set_mtu(1400, s.now)
    s.mtu = 1400
    assert [(segment.seq, len(segment.payload)) for segment in s.collect()] == [
        (1, 1340),
        (1341, 1340),
        (2681, 60),
    ]
    s.send(Seg(".", 1, 3001))
    s.connection.send(bytes(2000))
    assert [len(segment.payload) for segment in s.collect()] == [1340, 660]
    s.interface.set_mtu(5000, s.now)
    s.mtu = 5000
    s.send(Seg(".", 1, 5001))
    s.connection.send(bytes(6000))
    assert [len(segment.payload) for segment in s.collect()] == [4940, 1060]
    for bad in (1279, 65536):
        with pytest.raises(ValueError):
            s.interface.set_mtu(bad, s.now)


def test_a_datagram_that_was_too_big_is_sent_in_fragments_next_time():
    s = Script()
    endpoint = s.stack.open_udp(now=s.now)
    endpoint.send(bytes(2000), (REMOTE, 9), now=s.now)
    s.collect()
    s.send_icmp(error_about(s.others[0], icmpv6.PACKET_TOO_BIG, 0, 1300))
    endpoint.send(bytes(2000), (REMOTE, 9), now=s.now)
    s.others.clear()
    s.collect()
    assert [sent[6] for sent in s.others] == [ipv6.FRAGMENT] * 2
    assert max(map(len, s.others)) <= 1300


def test_a_socket_at_a_group_learns_of_the_path_though_it_sends_from_another_address():
    s = Script()
    endpoint = s.stack.open_udp(("ff02::99", 5555), now=s.now)
    endpoint.send(bytes(2000), (REMOTE, 9), now=s.now)
    s.collect()
    s.send_icmp(error_about(s.others[0], icmpv6.PACKET_TOO_BIG, 0, 1300))
    assert s.interface.path_mtu(REMOTE_ADDRESS, s.now) == 1300


# -- ICMP errors to TCP


def unreachable(s: Script, code: int, seq: int = 0) -> None:
    quoted = ipv6.Header(OWN_ADDRESS, REMOTE_ADDRESS, ip.TCP, 20).encode()
    ports = (4321).to_bytes(2, "big") + (4000).to_bytes(2, "big")
    quoted += ports + (seq + s.own_iss & 0xFFFFFFFF).to_bytes(4, "big") + bytes(12)
    s.send_icmp(error_about(quoted, icmpv6.DESTINATION_UNREACHABLE, code))


@pytest.mark.parametrize(
    ("code", "number"),
    [
        (icmpv6.NO_ROUTE, errno.ENETUNREACH),
        (icmpv6.PROHIBITED, errno.EACCES),
        (icmpv6.ADDRESS_UNREACHABLE, errno.EHOSTUNREACH),
        (icmpv6.PORT_UNREACHABLE, errno.ECONNREFUSED),
    ],
)
def test_an_error_ends_a_connect(code, number):
    s = Script().connect()
    unreachable(s, code)
    assert s.connection.state is State.CLOSED
    assert s.connection.error.errno == number
    assert s.stack.take_ready() == [s.connection]


def test_an_error_does_not_end_an_established_connection_but_explains_its_end():
    s = Script().established(options=TcpOptions(user_timeout=5.0))
    s.connection.send(b"x")
    s.collect()
    unreachable(s, icmpv6.ADDRESS_UNREACHABLE, 1)
    assert s.connection.state is State.ESTABLISHED
    s.pass_time(6)
    assert s.connection.error.errno == errno.EHOSTUNREACH


def test_an_error_that_was_overcome_explains_nothing():
    s = Script().established(options=TcpOptions(user_timeout=5.0))
    s.connection.send(b"x")
    s.collect()
    unreachable(s, icmpv6.ADDRESS_UNREACHABLE, 1)
    s.send(Seg(".", 1, 2))
    s.connection.send(b"y")
    s.collect()
    s.pass_time(6)
    assert isinstance(s.connection.error, TimeoutError)
