"""Frames in and out of networks: MACs, members, neighbours, refusals, and what is told of them (vl2.md 2 and 5)."""

from __future__ import annotations

import struct
from ipaddress import IPv6Address, ip_interface

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.vl2.desk import AD_HOC, IPV6, Desk, icmp_packet
from zt_async.errors import NetworkNotJoined
from zt_async.events import NetworkStatus
from zt_async.types import BROADCAST, Endpoint, NetworkId, NodeAddress
from zt_async.vl2.addressing import member_mac, rfc4193, sixplane
from zt_async.vl2.membership import MAX_MEMBERS
from zt_async.vl2.ndp import emulated_advertisement
from zt_async.wire import icmpv6, ipv6, ndp
from zt_async.wire.credentials import CertificateOfMembership, Qualifier
from zt_async.wire.network_config import FLAG_NDP_EMULATION, ROLE_BRIDGE
from zt_async.wire.packet import ErrorCode, Verb
from zt_async.wire.verbs import EXT_ACKNOWLEDGE, decode_error, decode_ok, encode_frame


@pytest.fixture
def desk():
    return Desk()


# In


def test_a_frame_is_delivered_with_the_macs_that_follow(desk):
    frames, answers = desk.receive(desk.frame())
    assert frames == [(desk.own_mac, desk.a_mac, IPV6, icmp_packet())]
    assert answers == []
    assert desk.a.peer.is_trusted(desk.bench.now)


def test_frames_keep_their_order(desk):
    packets = [desk.frame(icmp_packet(size=40 + i)) for i in range(20)]
    frames, _ = desk.receive(*packets)
    assert [len(frame[3]) for frame in frames] == [80 + i for i in range(20)]


def test_frames_of_other_networks_and_cut_ones_are_dropped(desk):
    cut = desk.a.packet(Verb.FRAME, encode_frame(AD_HOC, IPV6, b"")[:-1])
    short = desk.a.packet(Verb.FRAME, b"x")
    empty = desk.frame(b"")
    frames, answers = desk.receive(desk.frame(network=NetworkId.ad_hoc(5, 5)), cut, short, empty)
    assert frames == answers == []
    assert desk.fates() == {"in: not joined": 1, "in: malformed, truncated": 2, "in: empty": 1}


def test_frames_against_the_rules_are_dropped(desk):
    frames, answers = desk.receive(desk.frame(bytes(40), 0x0800))
    assert frames == answers == []
    assert desk.vl2.counters["in: rules"] == 1


def test_a_network_without_configuration_takes_nothing_and_says_so_once_a_second():
    desk = Desk(NetworkId(0x8056C2E21C000001))
    refusals = []
    for _ in range(30):
        frames, answers = desk.receive(*(desk.frame() for _ in range(3)))
        assert frames == []
        refusals += answers
        desk.wait(0.1)
        refusals += desk.a.take(Verb.ERROR)
    assert len(refusals) == 4  # at once, and after 1, 2 and 3 s
    for refusal in refusals:
        in_re, _, code, data = decode_error(refusal.payload)
        assert (in_re, code, data) == (Verb.FRAME, ErrorCode.NEED_MEMBERSHIP_CERTIFICATE, desk.id.packed)
    assert not desk.a.peer.is_trusted(desk.now)
    desk.wait(5)
    assert desk.fates() == {"in: not a member": 90}


def test_an_extended_frame_for_us_is_delivered(desk):
    frames, answers = desk.receive(desk.ext())
    assert frames == [(desk.own_mac, desk.a_mac, IPV6, icmp_packet())]
    assert answers == []


def test_an_extended_frame_may_carry_an_old_certificate(desk):
    for ids, frames in (((0, 1), 1), ((1, 0), 0)):  # out of order it is none
        certificate = CertificateOfMembership(tuple(Qualifier(number, 0, 0) for number in ids))
        assert len(desk.receive(desk.ext(flags=1, certificate=certificate))[0]) == frames


def test_an_acknowledgement_is_sent_even_where_the_rules_refuse(desk):
    for payload, ethertype, delivered in ((None, IPV6, 1), (bytes(40), 0x0800, 0)):
        packet = desk.ext(payload, flags=EXT_ACKNOWLEDGE, ethertype=ethertype)
        frames, answers = desk.receive(packet)
        assert len(frames) == delivered
        (answer,) = answers
        assert decode_ok(answer.payload) == (
            Verb.EXT_FRAME,
            int.from_bytes(packet[:8], "big"),
            AD_HOC.packed,
        )


def test_extended_frames_that_loop_or_come_from_behind_nowhere_are_dropped(desk):
    loops = [desk.ext(source=0, flags=EXT_ACKNOWLEDGE), desk.ext(source=desk.own_mac, flags=EXT_ACKNOWLEDGE)]
    foreign = [
        desk.ext(source=0x020000000001, flags=EXT_ACKNOWLEDGE),
        desk.ext(destination=0x020000000001),
        desk.ext(destination=0x3333FF000001),
    ]
    assert desk.receive(*loops, *foreign) == ([], [])
    assert desk.fates() == {"in: own card": 2, "in: foreign card": 3}


def test_bridges_bring_frames_of_other_cards():
    desk = Desk()
    desk.configure(specialists=(desk.a.address | ROLE_BRIDGE,), multicast_limit=32)
    behind = 0x020000000001
    frames, _ = desk.receive(desk.ext(source=behind), desk.ext(destination=0x3333FF000001))
    assert [(frame[0], frame[1]) for frame in frames] == [
        (desk.own_mac, behind),
        (0x3333FF000001, desk.a_mac),
    ]
    assert desk.network.bridge_routes == {behind: desk.a.address}


def test_requests_for_configurations_are_refused_as_we_are_no_controller(desk):
    packet = desk.a.packet(Verb.NETWORK_CONFIG_REQUEST, AD_HOC.packed + bytes(2))
    _, (answer,) = desk.receive(packet)
    in_re, packet_id, code, data = decode_error(answer.payload)
    assert (in_re, code, data) == (
        Verb.NETWORK_CONFIG_REQUEST,
        ErrorCode.UNSUPPORTED_OPERATION,
        AD_HOC.packed,
    )
    assert packet_id == int.from_bytes(packet[:8], "big")
    assert desk.receive(desk.a.packet(Verb.NETWORK_CONFIG_REQUEST, bytes(7))) == ([], [])


def test_a_configuration_clears_the_failure_and_keeps_flowing_meanwhile():
    desk = Desk()
    desk.network.failure = NetworkStatus.ACCESS_DENIED
    assert desk.network.status == NetworkStatus.ACCESS_DENIED
    assert len(desk.receive(desk.frame())[0]) == 1
    desk.configure()
    assert desk.network.status == NetworkStatus.OK


# Out


def test_a_frame_for_a_member_becomes_a_packet(desk):
    packets, back = desk.send((desk.a_mac, desk.own_mac, IPV6, icmp_packet()))
    assert packets == [(Verb.FRAME, encode_frame(AD_HOC, IPV6, icmp_packet()))]
    assert back == []


def test_frames_for_ourselves_come_straight_back(desk):
    frame = (desk.own_mac, desk.own_mac, IPV6, icmp_packet())
    assert desk.send(frame) == ([], [frame])
    assert desk.fates() == {"out: own card": 1}


def test_what_cannot_leave_is_counted(desk):
    desk.send(
        (desk.a_mac, desk.a_mac, IPV6, icmp_packet()),
        (0x52_0000000001, desk.own_mac, IPV6, icmp_packet()),
        (desk.a_mac, desk.own_mac, 0x0800, bytes(40)),
        (BROADCAST, desk.own_mac, 0x0806, bytes(28)),
        (0x3333FF000001, desk.own_mac, IPV6, icmp_packet()),
    )
    desk.vl2.send_frames(NetworkId.ad_hoc(5, 5), [(1, 2, 3, b"")], desk.bench.now)
    assert desk.fates() == {
        "out: foreign card": 1,
        "out: unknown card": 1,
        "out: rules": 1,
        "out: broadcast": 1,
        "out: no multicast": 1,
        "out: not joined": 1,
    }
    other = Desk(NetworkId(0x8056C2E21C000001))
    assert other.send((other.a_mac, other.own_mac, IPV6, icmp_packet())) == ([], [])
    assert other.fates() == {"out: not configured": 1}


def test_a_first_frame_to_somebody_unknown_asks_who_that_is(desk):
    b = desk.bench.remote(2, "10.0.3.1")
    mac = member_mac(AD_HOC, b.address)
    desk.send((mac, desk.own_mac, IPV6, icmp_packet()))
    (got,) = desk.bench.upstream.take(Verb.WHOIS)
    desk.bench.upstream.say(desk.bench.upstream.ok(got, b.identity.to_bytes()))
    assert [(g.verb, g.at) for g in b.take(Verb.FRAME)] == [(Verb.FRAME, desk.bench.upstream.at)]


# Neighbours


def solicitation(source, target):
    group = ipv6.solicited_node(target)
    body = icmpv6.Message(135, 0, bytes(4) + target).encode(source, group)
    header = struct.pack("!IHBB", 6 << 28, len(body), 58, 255) + source + group
    return header + body


members = st.integers(1, 0xFEFFFFFFFF).map(NodeAddress)
networks = st.integers(0, 2**64 - 1).map(NetworkId)


@given(networks, members, members, st.sampled_from((sixplane, rfc4193)), st.data())
def test_derived_neighbours_are_emulated(network, own, other, scheme, data):
    address = scheme(network, own)
    target = scheme(network, other).ip.packed
    if scheme is sixplane:  # each member has a /80
        target = target[:10] + data.draw(st.binary(min_size=6, max_size=6))
    payload = solicitation(address.ip.packed, target)
    requester = member_mac(network, own)
    answer = emulated_advertisement(payload, requester, network, own, [address])
    if other == own:
        assert answer is None
        return
    to_mac, from_mac, ethertype, packet = answer
    assert (to_mac, from_mac, ethertype) == (requester, member_mac(network, other), IPV6)
    assert len(packet) == 72
    assert packet[8:24] == target
    assert packet[24:40] == address.ip.packed
    assert (packet[6], packet[7]) == (58, 255)
    message = icmpv6.parse(packet[40:], packet[8:24], packet[24:40])  # checks the checksum
    advertisement = ndp.parse_advertisement(message.body)
    assert message.kind == 136
    assert advertisement == ndp.NeighborAdvertisement(
        target, from_mac, router=False, solicited=True, override=True
    )


@given(networks, members, st.binary(min_size=16, max_size=16))
def test_other_neighbours_are_not(network, own, target):
    for scheme in (sixplane, rfc4193):
        address = scheme(network, own)
        if IPv6Address(target) in address.network:
            continue
        payload = solicitation(address.ip.packed, target)
        assert emulated_advertisement(payload, 1, network, own, [address]) is None


@given(st.binary(max_size=120))
def test_any_bytes_are_answered_or_not(payload):
    own = NodeAddress(5)
    emulated_advertisement(payload, 1, AD_HOC, own, [sixplane(AD_HOC, own), ip_interface("10.0.0.1/8")])


def test_a_network_without_emulation_asks_the_wire():
    desk = Desk()
    address = sixplane(AD_HOC, desk.vl1.address)
    payload = solicitation(address.ip.packed, sixplane(AD_HOC, desk.a.address).ip.packed)
    frame = (0x3333FF000001, desk.own_mac, IPV6, payload)
    assert len(desk.send(frame)[1]) == 1
    desk.configure(addresses=(address,), flags=0)
    assert desk.send(frame) == ([], [])
    desk.configure(addresses=(address,), flags=FLAG_NDP_EMULATION)
    assert len(desk.send(frame)[1]) == 1


# Membership


def test_paths_do_not_run_through_our_own_networks(desk):
    own = sixplane(AD_HOC, desk.vl1.address)
    inside = Endpoint(str(own.ip + 5), 9993)
    assert not desk.vl1.policy.allows(inside)
    desk.vl2.leave(AD_HOC)
    assert desk.vl1.policy.allows(inside)
    with pytest.raises(NetworkNotJoined):
        desk.vl2.leave(AD_HOC)


def test_a_member_cache_is_bounded(desk):
    for number in range(MAX_MEMBERS + 10):
        desk.network.record(desk.a.address + number)
    assert len(desk.network.members) <= MAX_MEMBERS
