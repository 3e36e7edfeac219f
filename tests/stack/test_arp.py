"""Resolution of IPv4 addresses, and whose they are."""

import errno
import ipaddress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.stack.network import Network, Wire
from tests.stack.script import OWN_MAC, REMOTE_MAC, Script, Seg
from zt_async.types import BROADCAST, MACAddress
from zt_async.wire import arp, ipv4

OWN, REMOTE, OTHER = (ipaddress.IPv4Address(a).packed for a in ("10.0.0.1", "10.0.0.2", "10.0.0.77"))
OTHER_MAC = MACAddress(0x020000000077)


def script(**config: object) -> Script:
    return Script(family=4, config=config)


def sent(s: Script) -> list[tuple[int, arp.Packet]]:
    """ARP packets that the stack sends now, and where to."""
    frames = [frame for _, batch in s.stack.frames_to_send(s.now) for frame in batch]
    return [(to, arp.parse(payload)) for to, _, ethertype, payload in frames if ethertype == 0x0806]


def request(target: bytes, sender: bytes = REMOTE, mac: int = REMOTE_MAC) -> arp.Packet:
    return arp.Packet(arp.REQUEST, mac, sender, 0, target)


def reply(sender: bytes, mac: int = REMOTE_MAC) -> arp.Packet:
    return arp.Packet(arp.REPLY, mac, sender, OWN_MAC, OWN)


def mac_of(s: Script, address: bytes) -> int | None:
    neighbor = s.interface.neighbors.find(address)
    return neighbor.mac if neighbor else None


# -- asking


def test_an_address_is_asked_for_and_the_packets_follow():
    s = script()
    endpoint = s.stack.open_udp(now=s.now)
    for _ in range(2):
        endpoint.send(b"x", ("10.0.0.77", 53), now=s.now)
    assert sent(s) == [(BROADCAST, arp.Packet(arp.REQUEST, OWN_MAC, OWN, 0, OTHER))]
    s.send_arp(reply(OTHER, OTHER_MAC))
    ((_, frames),) = s.stack.frames_to_send(s.now)
    assert [frame[:3] for frame in frames] == [(OTHER_MAC, OWN_MAC, 0x0800)] * 2


def test_a_question_is_repeated_and_given_up():
    s = script()
    endpoint = s.stack.open_udp(now=s.now)
    ping = s.stack.ping("10.0.0.77", now=s.now)
    connection = s.stack.connect_tcp(("10.0.0.77", 1), now=s.now)
    endpoint.send(b"x", ("10.0.0.77", 53), now=s.now)
    s.pass_time(7.1)
    assert len(s.arps) >= 4
    assert ping.error is not None
    assert {ping.error.errno, connection.error.errno} == {errno.EHOSTUNREACH}
    ((error, remote),) = endpoint.take_errors()
    assert (error.errno, remote) == (errno.EHOSTUNREACH, ("10.0.0.77", 53))


def test_a_silent_neighbour_is_probed_by_itself_and_then_asked_for_anew():
    s = script()
    endpoint = s.stack.open_udp(now=s.now)
    endpoint.send(b"x", ("10.0.0.77", 53), now=s.now)
    s.collect()
    s.send_arp(reply(OTHER, OTHER_MAC))
    s.pass_time(31)
    endpoint.send(b"x", ("10.0.0.77", 53), now=s.now)
    s.stack.frames_to_send(s.now)
    probes = []
    for _ in range(6):
        s.now += 1.5
        s.stack.handle_timer(s.now)
        probes += [to for to, packet in sent(s) if packet.target == OTHER]
    assert probes == [OTHER_MAC] * 3
    s.now += 1.5
    s.stack.handle_timer(s.now)
    assert mac_of(s, OTHER) is None
    endpoint.send(b"x", ("10.0.0.77", 53), now=s.now)
    assert sent(s)[0][0] == BROADCAST


def test_progress_of_tcp_makes_probes_needless():
    s = script().established()
    for _ in range(30):
        s.connection.send(b"x")
        (segment,) = s.collect()
        s.send(Seg(".", 1, segment.seq + 1))
        s.pass_time(5)
    assert s.arps == []


def test_the_cache_is_one_for_both_families_and_bounded():
    s = script(max_neighbors=8)
    s.interface.add_address(ipaddress.IPv6Interface("fd00::1/64"), s.now)
    endpoint = s.stack.open_udp(now=s.now)
    for number in range(1, 20):
        endpoint.send(b"x", (f"10.0.0.{100 + number}", 1), now=s.now)
        endpoint.send(b"x", (f"fd00::{number}:1", 1), now=s.now)
    assert len(s.interface.neighbors) == 8
    assert s.stack.counters["neighbor cache full"] == 30


# -- answering


def test_a_question_for_an_own_address_is_answered_and_teaches_the_askers():
    s = script()
    s.interface.add_address(ipaddress.IPv4Interface("10.5.0.1/24"), s.now)
    s.stack.frames_to_send(s.now)
    for own in (OWN, ipaddress.IPv4Address("10.5.0.1").packed):
        s.send_arp(request(own), to=BROADCAST)
        assert sent(s) == [(REMOTE_MAC, arp.Packet(arp.REPLY, OWN_MAC, own, REMOTE_MAC, REMOTE))]
    assert mac_of(s, REMOTE) == REMOTE_MAC


def test_a_question_for_another_address_is_not_answered_and_teaches_nothing():
    s = script()
    s.send_arp(request(OTHER), to=BROADCAST)
    s.send_arp(request(ipv4.LOOPBACK), to=BROADCAST)
    assert sent(s) == []
    assert len(s.interface.neighbors) == 0


def test_a_probe_is_answered_and_teaches_nothing():
    """RFC 5227: so its sender learns that the address is taken."""
    s = script()
    s.send_arp(request(OWN, ipv4.UNSPECIFIED), to=BROADCAST)
    assert sent(s) == [(REMOTE_MAC, arp.Packet(arp.REPLY, OWN_MAC, OWN, REMOTE_MAC, ipv4.UNSPECIFIED))]
    assert len(s.interface.neighbors) == 0


@pytest.mark.parametrize("sender", ["224.0.0.9", "255.255.255.255", "10.0.0.255", "127.0.0.1", "240.0.0.1"])
def test_what_is_no_host_is_not_learned(sender):
    s = script()
    address = ipaddress.IPv4Address(sender).packed
    s.send_arp(request(OWN, address), to=BROADCAST)
    s.send_arp(reply(address))
    assert len(s.interface.neighbors) == 0


# -- news


def test_nobody_is_learned_who_was_not_asked():
    s = script()
    s.send_arp(reply(OTHER, OTHER_MAC))
    s.send_arp(arp.Packet(arp.REQUEST, OTHER_MAC, OTHER, 0, OTHER), to=BROADCAST)
    assert len(s.interface.neighbors) == 0


@pytest.mark.parametrize("operation", [arp.REQUEST, arp.REPLY])
def test_an_announcement_moves_a_neighbour(operation):
    s = script().established()
    s.send_arp(arp.Packet(operation, OTHER_MAC, REMOTE, 0, REMOTE), to=BROADCAST)
    s.connection.send(b"x")
    ((_, (frame,)),) = s.stack.frames_to_send(s.now)
    assert frame[0] == OTHER_MAC


def test_a_repeated_announcement_proves_nothing():
    """Only an answer to a question, or data acknowledged, shows that a neighbour hears us."""
    s = script()
    s.stack.ping("10.0.0.2", now=s.now)
    s.collect()
    s.pass_time(29)
    s.send_arp(reply(REMOTE))
    neighbor = s.interface.neighbors.find(REMOTE)
    assert neighbor is not None
    assert neighbor.fresh_until == pytest.approx(s.now + 1, abs=0.1)


def test_an_address_is_announced_when_it_comes():
    s = script()
    s.interface.add_address(ipaddress.IPv4Interface("10.5.0.1/24"), s.now)
    own = ipaddress.IPv4Address("10.5.0.1").packed
    assert sent(s) == [(BROADCAST, arp.Packet(arp.REQUEST, OWN_MAC, own, 0, own))]
    s.interface.add_address(ipaddress.IPv4Interface("10.5.0.1/16"), s.now)
    assert sent(s) == []


def test_an_own_address_is_defended_now_and_then():
    """RFC 5227 section 2.4 (c)."""
    s = script()
    announcement = (BROADCAST, arp.Packet(arp.REQUEST, OWN_MAC, OWN, 0, OWN))
    for second in range(25):
        s.send_arp(request(OTHER, OWN, OTHER_MAC), to=BROADCAST)
        assert sent(s) == ([announcement] if second % 10 == 0 else [])
        s.now += 1
    assert s.stack.counters == {"arp conflict": 25}
    assert len(s.interface.neighbors) == 0


def test_own_packets_that_come_back_are_no_conflict():
    s = script()
    s.send_arp(arp.Packet(arp.REQUEST, OWN_MAC, OWN, 0, OWN), to=BROADCAST)
    assert sent(s) == []
    assert s.stack.counters == {}


# -- addresses that go


def test_after_an_address_went_others_are_asked_from_what_is_left():
    s = script()
    extra = ipaddress.IPv4Interface("10.0.0.9/24")
    s.interface.add_address(extra, s.now)
    endpoint = s.stack.open_udp(("10.0.0.9", 9), now=s.now)
    endpoint.send(b"x", ("10.0.0.77", 53), now=s.now)
    assert sent(s)[-1][1].sender == extra.packed
    s.interface.remove_address(extra, s.now)
    s.now += 0.3
    s.stack.handle_timer(s.now)
    assert [packet.sender for _, packet in sent(s)] == [OWN]
    s.interface.remove_address(ipaddress.IPv4Interface("10.0.0.1/24"), s.now)
    s.pass_time(5)
    assert s.arps == []


def test_a_replaced_member_is_found_again():
    """The address of one host goes to another; whoever talks to it finds the new one by itself."""
    network = Network()
    a, b, c = (network.add_host(Wire(delay=0.001), family=4) for _ in range(3))
    shared = ipaddress.IPv4Interface("10.0.0.50/24")
    b.interface.add_address(shared, network.now)
    ping = a.stack.ping("10.0.0.50", now=network.now)
    assert network.run(lambda: ping.rtt is not None, 5)
    b.interface.remove_address(shared, network.now)
    c.interface.add_address(shared, network.now)
    for _ in range(60):
        ping = a.stack.ping("10.0.0.50", now=network.now)
        if network.run(lambda: ping.rtt is not None, 1):  # noqa: B023
            return
        network.now += 1
    pytest.fail("the new owner was not found")


# -- hostile


@settings(max_examples=150, deadline=None)
@given(st.lists(st.binary(max_size=60) | st.binary(min_size=20, max_size=20), max_size=30), st.booleans())
def test_whatever_comes_as_arp(payloads, has_form):
    s = script(max_neighbors=4).established()
    for payload in payloads:
        data = bytes.fromhex("0001080006040001") + payload if has_form else payload
        s.stack.receive_frames(s.interface, [(BROADCAST, REMOTE_MAC, 0x0806, data)], s.now)
        sent(s)
    assert len(s.interface.neighbors) <= 4


def test_strangers_do_not_push_out_a_neighbour_in_use():
    s = script(max_neighbors=4).established()
    for number in range(100):
        stranger = ipaddress.IPv4Address(f"10.0.0.{100 + number}").packed
        s.send_arp(request(OWN, stranger, 0x020000000100 + number), to=BROADCAST)
    s.stack.frames_to_send(s.now)
    assert mac_of(s, REMOTE) == REMOTE_MAC
    assert len(s.interface.neighbors) == 4
