"""What filters decide, against a slow reading of vl2.md 6.5 and 6.6 that remembers nothing."""

from __future__ import annotations

import struct
from dataclasses import replace
from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.vl2.drawing import NETWORK, OTHER, OWN, THIRD, frames, macs, nodes, owned, tables, tags
from tests.vl2.reading import Frame, Side, read_filter
from zt_async.context import Context
from zt_async.types import MACAddress
from zt_async.vl2 import filter as filter_module
from zt_async.vl2.addressing import member_mac, rfc4193, sixplane
from zt_async.vl2.filter import (
    ACCEPTED,
    MAX_REMEMBERED,
    REFUSED,
    SUPER_ACCEPTED,
    Copy,
    Decision,
    Filter,
    Verdict,
)
from zt_async.wire.credentials import Capability, CertificateOfOwnership, Tag, Thing
from zt_async.wire.network_config import FLAG_NDP_EMULATION, FLAG_UNKNOWN_RULES_MATCH, NetworkConfig
from zt_async.wire.rules import Rule, RuleType

OWN_MAC, OTHER_MAC = member_mac(NETWORK, OWN), member_mac(NETWORK, OTHER)
ACCEPT, DROP = Rule(RuleType.ACTION_ACCEPT), Rule(RuleType.ACTION_DROP)


def make_context(draw=lambda size: b"\xff" * size):
    return Context(draw, lambda: 0)


def capability(number, *rules):
    return Capability(NETWORK, 0, number, rules)


def config_of(*rules, **fields):
    return NetworkConfig(network_id=NETWORK, issued_to=OWN, rules=rules, **fields)


def filter_of(*rules, **fields):
    return Filter(config_of(*rules, **fields), OWN, make_context())


def incoming(tested, payload=bytes(60), ethertype=0x9999, source=OTHER, remote=None):
    return tested.incoming(payload, ethertype, OWN_MAC, member_mac(NETWORK, source), source, remote)


def outgoing(tested, payload=bytes(60), ethertype=0x9999, destination=OTHER, remote=None, copies=True):
    return tested.outgoing(
        payload, ethertype, member_mac(NETWORK, destination), OWN_MAC, destination, remote, copies
    )


granted = st.lists(tables.map(lambda rules: rules[:6]), max_size=2).map(
    lambda found: tuple(capability(number, *rules) for number, rules in enumerate(found))
)
sides = st.tuples(tags, owned, granted)


def derived(source, ip):
    return int(sixplane(NETWORK, source)) >> 48 == int(ip) >> 48 or int(rfc4193(NETWORK, source)) == int(ip)


@given(
    tables,
    sides,
    st.lists(st.none() | sides, min_size=1, max_size=2),
    st.lists(
        st.tuples(frames, macs, macs, nodes, st.integers(0, 1), st.booleans(), st.booleans()),
        min_size=1,
        max_size=8,
    ),
    st.booleans(),
    st.booleans(),
)
def test_decisions_are_those_of_the_page_remembered_or_not(rules, ours, theirs, looks, emulation, unknown):
    ours_tags, ours_owned, ours_granted = ours
    own = Side(OWN, *ours, emulated=derived if emulation else None, unknown_matches=unknown)
    remotes = [side and Side(OTHER, *side) for side in theirs]
    tested = Filter(
        config_of(
            *rules,
            addresses=(sixplane(NETWORK, OWN), rfc4193(NETWORK, OWN)),
            flags=FLAG_NDP_EMULATION * emulation | FLAG_UNKNOWN_RULES_MATCH * unknown,
            tags=tuple(Tag(NETWORK, 0, number, value, OWN) for number, value in ours_tags.items()),
            ownerships=(CertificateOfOwnership(NETWORK, 0, 0, 0, tuple(map(Thing.of, ours_owned)), OWN),),
            capabilities=ours_granted,
        ),
        OWN,
        make_context(),
    )
    counts = [0] * len(rules)
    for (payload, ethertype), to_mac, from_mac, member, which, inbound, copies in looks * 3:
        remote = remotes[which % len(remotes)]
        addresses = (member, OWN) if inbound else (OWN, member)
        copies = copies or inbound
        result, aside, matched = read_filter(
            rules, Frame(payload, ethertype, to_mac, from_mac, *addresses, inbound, own, remote), copies
        )
        if inbound:
            decision = tested.incoming(payload, ethertype, to_mac, from_mac, member, remote)
        else:
            decision = tested.outgoing(payload, ethertype, to_mac, from_mac, member, remote, copies)
        assert decision.verdict == result
        assert [(copy.target, copy.flags, payload[: copy.length]) for copy in decision.copies] == aside
        for index in matched:
            counts[index] += 1
    assert tested.matched == tuple(counts)
    assert tested.matched == tuple(counts)  # asking does not count


# Frames that differ in one thing


def ip_packet(
    version, *, tos=0, protocol=6, source=1, destination=1, ports=(80, 81), flags=0x0010, extra=0, options=0
):
    header = struct.pack("!HHIIHHHH", *ports, 1, 2, 0x5000 | flags, 9, 9, 0)
    if protocol == 17:
        header = struct.pack("!HHHH", *ports, 20, 0) + bytes((tos, flags & 0xFF)) + bytes(10)
    elif protocol == 58:
        header = bytes((0x88,)) + bytes(7) + rfc4193(NETWORK, source).ip.packed
    body = header + bytes(extra)
    if version == 4:
        head = struct.pack("!BBHHHBBH", 0x45 + options, tos, 40, 0, 0, 64, protocol, 0)
        return head + bytes((10, 0, 0, source, 10, 0, 0, destination)) + bytes(4 * options) + body
    addresses = rfc4193(NETWORK, source).ip.packed, rfc4193(NETWORK, destination).ip.packed
    chain = bytes((protocol, 0)) + bytes(6) if options else b""
    first = 60 if options else protocol
    return struct.pack("!IHBB16s16s", 6 << 28 | tos << 20, 40, first, 64, *addresses) + chain + body


DIFFERENCES = (
    *(
        {},
        {"tos": 0x10},
        {"tos": 0x01},
        {"source": 2},
        {"source": 0},
        {"destination": 2},
        {"ports": (80, 80)},
    ),
    *({"ports": (81, 81)}, {"ports": (336, 81)}, {"ports": (80, 337)}, {"protocol": 17}, {"protocol": 58}),
    *(
        {"protocol": 132},
        {"flags": 0x0002},
        {"flags": 0x0110},
        {"flags": 0x0C10},
        {"extra": 1},
        {"options": 1},
    ),
    {"protocol": 17, "flags": 0x0002},
)
WELL_FORMED = [
    (packet[:size], 0x0800 if version == 4 else 0x86DD)
    for version in (4, 6)
    for difference in DIFFERENCES
    for packet in [ip_packet(version, **difference)]
    for size in (len(packet), 34 if version == 4 else 55, 33 if version == 4 else 54)
]
BARE = [(b"", 0x0800), (b"", 0x86DD), (bytes(28), 0x0806), (bytes(28), 0x9999)]
GROUP = MACAddress(0x3333FF000001)
CIRCUMSTANCES = [
    # Member, its tags, what it owns (None: nothing is known of it), destination and source MAC.
    *((OTHER, known, OWN_MAC, OTHER_MAC) for known in (None, ({}, ()), ({1: 1}, ()), ({1: 5}, ()))),
    *((OTHER, ({1: 5}, (thing,)), OWN_MAC, OTHER_MAC) for thing in (IPv4Address("10.0.0.1"), OTHER_MAC)),
    (THIRD, None, OWN_MAC, OTHER_MAC),
    (OTHER, None, OTHER_MAC, OTHER_MAC),
    (OTHER, None, OWN_MAC, OWN_MAC),
    (OTHER, None, GROUP, OTHER_MAC),
]
QUESTIONS = [
    *(Rule(RuleType.MATCH_IPV4_SOURCE, (10 << 24 | 2, bits)) for bits in (24, 32)),
    *(Rule(RuleType.MATCH_IPV4_DEST, (10 << 24 | 2, bits)) for bits in (24, 32)),
    Rule(RuleType.MATCH_IPV6_SOURCE, (int(rfc4193(NETWORK, 2)), 128)),
    Rule(RuleType.MATCH_IPV6_DEST, (int(rfc4193(NETWORK, 2)), 128)),
    *(Rule(RuleType.MATCH_IP_TOS, (0xFF, tos, tos)) for tos in (0x10, 0x01)),
    *(Rule(RuleType.MATCH_IP_PROTOCOL, (protocol,)) for protocol in (6, 17, 58)),
    *(Rule(kind, ports) for kind in (39, 40) for ports in ((80, 80), (81, 81), (256, 400))),
    *(Rule(RuleType.MATCH_CHARACTERISTICS, (1 << bit,)) for bit in (1, 4, 8, 11, 59, 60, 61, 62, 63)),
    *(Rule(RuleType.MATCH_ETHERTYPE, (ethertype,)) for ethertype in (0x0800, 0x86DD)),
    *(Rule(RuleType.MATCH_FRAME_SIZE_RANGE, (0, size)) for size in (40, 60)),
    *(Rule(kind, (node,)) for kind in (24, 25) for node in (OWN, OTHER)),
    *(Rule(kind, (mac,)) for kind in (29, 30) for mac in (OWN_MAC, OTHER_MAC)),
    *(Rule(kind, (1, value)) for kind in range(44, 51) for value in (1, 5)),
    Rule(RuleType.MATCH_ICMP, (0x88, 0, 0)),
    Rule(RuleType.ACTION_TEE, (OTHER, 0, 9)),
    Rule(RuleType.ACTION_REDIRECT, (OTHER, 0, 0)),
]


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda rule: f"{int(rule.type)}-{rule.operand}")
@pytest.mark.parametrize("granted", [False, True], ids=["rule", "capability"])
def test_what_one_match_tells_apart_is_told_apart_from_memory(question, granted):
    """Each is asked as a rule of the network, and as a capability of the sender."""
    rules, grants = ((), (capability(1, question, ACCEPT),)) if granted else ((question, ACCEPT, DROP), ())
    owned = IPv4Address("10.0.0.2")
    own = Side(OWN, {1: 1}, (owned,), grants, emulated=derived)
    tested = filter_of(
        *rules,
        tags=(Tag(NETWORK, 0, 1, 1, OWN),),
        ownerships=(CertificateOfOwnership(NETWORK, 0, 0, 0, (Thing.of(owned),), OWN),),
        addresses=(rfc4193(NETWORK, OWN),),
        flags=FLAG_NDP_EMULATION,
        capabilities=grants,
    )
    for member, known, to_mac, from_mac in CIRCUMSTANCES:
        remote = Side(member, *known, grants) if known else None
        for payload, ethertype in (*WELL_FORMED, *BARE):
            for inbound, decide in ((False, tested.outgoing), (True, tested.incoming)):
                decision = decide(payload, ethertype, to_mac, from_mac, member, remote)
                addresses = (member, OWN) if inbound else (OWN, member)
                frame = Frame(payload, ethertype, to_mac, from_mac, *addresses, inbound, own, remote)
                assert decision.verdict == read_filter(rules, frame, True)[0]


# What that means

TCP = Rule(RuleType.MATCH_IP_PROTOCOL, (6,))


def tcp(port, flags=0x10, size=20):
    header = struct.pack("!HHIIBBHHH", 5555, port, 1, 2, 0x50, flags, 9, 9, 0)
    return (
        struct.pack("!BBHHHBBH4s4s", 0x45, 0, 40, 0, 0, 64, 6, 0, b"\x0a\0\0\1", b"\x0a\0\0\2")
        + header
        + bytes(size - 20)
    )


def port(number):
    return Rule(RuleType.MATCH_IP_DEST_PORT_RANGE, (number, number))


def evaluations(monkeypatch):
    """Counts how many frames are really evaluated."""
    made = []
    packet = filter_module.Packet

    def counted(*arguments):
        made.append(arguments)
        return packet(*arguments)

    monkeypatch.setattr(filter_module, "Packet", counted)
    return made


def test_frames_of_a_network_without_restrictions_are_judged_once(monkeypatch):
    made = evaluations(monkeypatch)
    tested = filter_of(ACCEPT)
    for number in range(100):
        assert outgoing(tested, tcp(number), 0x0800) is ACCEPTED
        assert incoming(tested, tcp(number), 0x0800) is ACCEPTED
    assert len(made) == 2
    assert tested.matched == (200,)


def test_frames_of_a_flow_are_judged_once(monkeypatch):
    made = evaluations(monkeypatch)
    tested = filter_of(TCP, port(80), DROP, ACCEPT)
    for size in range(20, 120):
        assert outgoing(tested, tcp(80, size=size), 0x0800) is REFUSED
        assert outgoing(tested, tcp(81, size=size), 0x0800) is ACCEPTED
    assert len(made) == 2
    assert tested.matched == (200, 100, 100, 100)


@pytest.mark.parametrize(
    "rule", [Rule(RuleType.MATCH_RANDOM, (0x7FFFFFFF,)), Rule(RuleType.INTEGER_RANGE, (9, 9, 39, 7))]
)
def test_what_depends_on_chance_or_any_byte_is_judged_anew(rule):
    numbers = iter((b"\0\0\0\0", b"\xff\xff\xff\xff") * 10)
    tested = Filter(config_of(rule, ACCEPT), OWN, make_context(lambda size: next(numbers)))
    payloads = (tcp(80, size=40)[:46] + b"\x09" + bytes(13), tcp(80, size=40)[:46] + b"\x08" + bytes(13)) * 10
    decisions = [outgoing(tested, payload, 0x0800) for payload in payloads]
    assert decisions == [ACCEPTED, REFUSED] * 10
    assert tested.matched == (10, 10)


def test_another_size_is_another_question():
    tested = filter_of(Rule(RuleType.MATCH_FRAME_SIZE_RANGE, (0, 60)), ACCEPT)
    for size, wanted in ((20, ACCEPTED), (40, ACCEPTED), (41, REFUSED), (20, ACCEPTED), (41, REFUSED)):
        assert outgoing(tested, tcp(80, size=size), 0x0800) is wanted


def test_what_a_member_shows_later_counts_at_once():
    tagged = Rule(RuleType.MATCH_TAG_SENDER, (1, 7))
    tested = filter_of(tagged, ACCEPT)
    before, after = Side(OTHER), Side(OTHER, {1: 7})
    for remote, wanted in ((None, REFUSED), (before, REFUSED), (after, ACCEPTED), (before, REFUSED)):
        for _ in range(2):
            assert incoming(tested, tcp(80), 0x0800, remote=remote) is wanted


def test_a_capability_that_looks_closer_than_the_rules_is_not_overlooked(monkeypatch):
    made = evaluations(monkeypatch)
    tested = filter_of(Rule(RuleType.MATCH_ETHERTYPE, (0x0806,)), ACCEPT)
    remote = Side(OTHER, capabilities=(capability(1, TCP, port(22), ACCEPT),))
    for _ in range(3):
        assert incoming(tested, tcp(22), 0x0800, remote=remote) is ACCEPTED
        assert incoming(tested, tcp(23), 0x0800, remote=remote) is REFUSED
        assert incoming(tested, tcp(22), 0x0800) is REFUSED
        assert incoming(tested, tcp(22), 0x0800, THIRD, Side(THIRD)) is REFUSED
    assert len(made) < 12
    assert tested.matched == (0, 0)


def test_own_capabilities_are_tried_in_the_order_of_their_ids():
    to_other, to_third = (Rule(RuleType.ACTION_TEE, (node, 0, 0)) for node in (THIRD, OTHER))
    tested = filter_of(
        capabilities=(capability(9, to_third, ACCEPT), capability(3, DROP), capability(5, to_other, ACCEPT))
    )
    decision = outgoing(tested)
    assert decision == Decision(Verdict.ACCEPTED, (Copy(THIRD, 0x02, None),))
    assert tested.capabilities_matched == {3: (1,), 5: (1, 1), 9: (0, 0)}


def test_the_copies_of_both_the_accepting_capability_and_the_rules_are_sent():
    rules = (Rule(RuleType.ACTION_WATCH, (THIRD, 0, 9)), Rule(RuleType.ACTION_BREAK))
    grant = capability(1, Rule(RuleType.ACTION_TEE, (THIRD, 0, 5)), ACCEPT)
    wanted = (Copy(THIRD, 0x02, 5), Copy(THIRD, 0x16, 9))
    assert outgoing(filter_of(*rules, capabilities=(grant,))).copies == wanted
    remote = Side(OTHER, capabilities=(grant,))
    assert incoming(filter_of(*rules), remote=remote).copies == (Copy(THIRD, 0x08, 5), Copy(THIRD, 0x1C, 9))


def test_without_copies_a_frame_is_still_redirected():
    tee, redirect = Rule(RuleType.ACTION_TEE, (THIRD, 0, 0)), Rule(RuleType.ACTION_REDIRECT, (THIRD, 0, 0))
    tested = filter_of(tee, redirect)
    assert outgoing(tested) == Decision(Verdict.REFUSED, (Copy(THIRD, 0x02, None), Copy(THIRD, 0x04, None)))
    assert outgoing(tested, copies=False) == Decision(Verdict.REFUSED, (Copy(THIRD, 0x04, None),))
    assert outgoing(tested, destination=THIRD) == REFUSED  # whom nothing can be kept from


def test_a_refused_frame_is_not_copied_and_a_copy_is_always_taken():
    assert outgoing(filter_of(Rule(RuleType.ACTION_TEE, (THIRD, 0, 0)), DROP)) is REFUSED
    assert incoming(filter_of(Rule(RuleType.ACTION_TEE, (OWN, 0, 0)), DROP)) is SUPER_ACCEPTED


def test_nothing_is_copied_to_nobody():
    nobody = (0, 0, 0)
    assert incoming(filter_of(Rule(RuleType.ACTION_TEE, nobody), ACCEPT)) is ACCEPTED
    assert incoming(filter_of(Rule(RuleType.ACTION_REDIRECT, nobody), ACCEPT)) == REFUSED


def test_derived_addresses_need_no_certificate_but_have_to_be_the_senders_own():
    tested = filter_of(
        Rule(RuleType.MATCH_CHARACTERISTICS, (1 << 60,)),
        ACCEPT,
        addresses=(sixplane(NETWORK, OWN), rfc4193(NETWORK, OWN)),
        flags=FLAG_NDP_EMULATION,
    )

    def packet_from(ip):
        return struct.pack("!IHBB16s16s", 6 << 28, 20, 6, 64, ip.packed, bytes(16)) + tcp(80)[20:]

    for scheme in (sixplane, rfc4193):
        assert incoming(tested, packet_from(scheme(NETWORK, OTHER).ip), 0x86DD) is ACCEPTED
        assert incoming(tested, packet_from(scheme(NETWORK, THIRD).ip), 0x86DD) is REFUSED
        assert outgoing(tested, packet_from(scheme(NETWORK, OWN).ip), 0x86DD) is REFUSED
    assert incoming(tested, packet_from(sixplane(NETWORK, OTHER).ip + 77), 0x86DD) is ACCEPTED
    without = filter_of(Rule(RuleType.MATCH_CHARACTERISTICS, (1 << 60,)), ACCEPT, flags=FLAG_NDP_EMULATION)
    assert incoming(without, packet_from(sixplane(NETWORK, OTHER).ip), 0x86DD) is REFUSED


def test_what_is_remembered_is_bounded_and_counted_all_the_same():
    tested = filter_of(TCP, Rule(RuleType.MATCH_IP_DEST_PORT_RANGE, (0, 99)), DROP, ACCEPT)
    frames = MAX_REMEMBERED + 100
    for number in range(frames):
        incoming(tested, tcp(number), 0x0800)
        _, remembered = tested._memories[True].ipv4[6]
        assert len(remembered) <= MAX_REMEMBERED
    assert tested.matched == (frames, 100, 100, frames - 100)


def test_a_stranger_cannot_fill_the_memory_with_ethertypes():
    tested = filter_of(ACCEPT)
    for ethertype in range(0x10000):
        incoming(tested, b"x", ethertype)
    assert len(tested._memories[True].by_ethertype) <= MAX_REMEMBERED
    assert tested.matched == (0x10000,)


def test_capabilities_of_many_members_are_compiled_within_bounds():
    tested = filter_of()
    grant = capability(1, ACCEPT)
    for member in range(1, MAX_REMEMBERED + 50):
        remote = Side(member, capabilities=(grant,))
        assert tested.incoming(b"x", 1, OWN_MAC, 1, member, remote) is ACCEPTED
    assert len(tested._granted) <= MAX_REMEMBERED


def test_a_renewed_capability_counts_in_its_new_form():
    tested = filter_of()
    old, new = (Side(OTHER, capabilities=(capability(1, rule),)) for rule in (ACCEPT, DROP))
    assert incoming(tested, remote=old) is ACCEPTED
    assert incoming(tested, remote=new) is REFUSED


def test_counts_go_on_with_the_next_configuration_where_the_rules_are_the_same():
    grants = (capability(1, ACCEPT), capability(2, ACCEPT))
    config = config_of(TCP, DROP, capabilities=grants)
    first = Filter(config, OWN, make_context())
    outgoing(first, tcp(80), 0x0800)
    outgoing(first)
    renewed = replace(config, timestamp=60_000, capabilities=(grants[0], capability(2, DROP, ACCEPT)))
    second = Filter(renewed, OWN, make_context(), first)
    outgoing(second, tcp(80), 0x0800)
    assert second.matched == (2, 2)
    assert second.capabilities_matched == {1: (1,), 2: (0, 0)}
    other = Filter(config_of(ACCEPT), OWN, make_context(), second)
    assert other.matched == (0,)


def test_the_first_pass_of_a_multicast_has_no_destination():
    tested = filter_of(Rule(RuleType.MATCH_DEST_ZEROTIER_ADDRESS, (OTHER,)), ACCEPT)
    group = MACAddress(0xFFFFFFFFFFFF)
    assert tested.outgoing(b"x", 0x0806, group, OWN_MAC, 0) is REFUSED
    assert tested.outgoing(b"x", 0x0806, group, OWN_MAC, OTHER, None, False) is ACCEPTED
