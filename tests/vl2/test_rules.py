"""The rules engine against a slow and literal reading of vl2.md 6.3 and 6.4."""

from __future__ import annotations

import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from zt_async.types import NetworkId, NodeAddress
from zt_async.vl2.addressing import member_mac
from zt_async.vl2.adhoc import NoSuchNetwork, ad_hoc_config, port_range_rules
from zt_async.vl2.rules import MAX_REMEMBERED, Rule, RuleTable, RuleType, Verdict

OWN, OTHER, THIRD = NodeAddress(0x1111111111), NodeAddress(0x2222222222), NodeAddress(0x3333333333)
NETWORK = NetworkId.ad_hoc(7000, 7999)
COPIES = (RuleType.ACTION_TEE, RuleType.ACTION_WATCH, RuleType.ACTION_REDIRECT)

# The slow reading


def evaluate(rules, payload, ethertype, to_mac, source, destination, inbound):
    """vl2.md 6.3, sentence by sentence."""
    the_set, super_accept = 1, 0
    for rule in rules:
        if rule.type < 16 and the_set == 1:
            if rule.type == RuleType.ACTION_ACCEPT:
                return Verdict.SUPER_ACCEPT if super_accept else Verdict.ACCEPT
            if rule.type == RuleType.ACTION_DROP:
                return Verdict.DROP
            if rule.type == RuleType.ACTION_BREAK:
                return Verdict.NO_MATCH
            (target,) = rule.operand
            if target == source:
                continue
            if target == OWN and inbound:
                return Verdict.SUPER_ACCEPT
        elif rule.type < 16:
            if inbound and rule.type in COPIES and rule.operand == (OWN,):
                super_accept = 1
            the_set = 1
        else:
            if the_set == 0 and not rule.alternative:
                continue
            applies, true = match(rule, payload, ethertype, to_mac, inbound)
            m = int(true) ^ int(rule.inverted) if applies else 0
            the_set = the_set | m if rule.alternative else the_set & m
    return Verdict.NO_MATCH


def match(rule, payload, ethertype, to_mac, inbound):
    """vl2.md 6.4: whether the match applies, and whether it is true."""
    final, rest = final_header(payload, ethertype)
    if rule.type == RuleType.MATCH_ETHERTYPE:
        return True, rule.operand[0] == ethertype
    if rule.type == RuleType.MATCH_IP_PROTOCOL:
        return final is not None, rule.operand[0] == final
    if rule.type == RuleType.MATCH_IP_DEST_PORT_RANGE:
        if final is None:
            return False, False
        if final not in (6, 17, 132, 136) or len(rest) <= 4:
            return True, False
        (port,) = struct.unpack("!H", rest[2:4])
        if ethertype == 0x86DD and port == 0:
            return True, False
        return True, rule.operand[0] <= port <= rule.operand[1]
    assert rule.type == RuleType.MATCH_CHARACTERISTICS
    bits = 0
    if inbound:
        bits |= 1 << 63
    first_octet = to_mac >> 40
    if first_octet & 1:
        bits |= 1 << 62
    if to_mac == 0xFFFFFFFFFFFF:
        bits |= 1 << 61
    if final == 6 and len(rest) >= 14:
        bits |= rest[13]
        bits |= (rest[12] & 0x0F) << 8
    return True, bits & rule.operand[0] != 0


def final_header(payload, ethertype):
    """The protocol and what follows from its header on; None where the packet cannot be read."""
    if ethertype == 0x0800 and len(payload) >= 20:
        return payload[9], payload[(payload[0] & 15) * 4 :]
    if ethertype == 0x86DD and len(payload) >= 40:
        header, at = payload[6], 40
        while header in (0, 43, 60, 135):
            if len(payload) < at + 8:
                return None, b""
            header, at = payload[at], at + payload[at + 1] * 8 + 8
        if at > len(payload):
            return None, b""
        return header, payload[at:]
    return None, b""


# Frames and tables


@st.composite
def transports(draw):
    protocol = draw(st.sampled_from((6, 6, 6, 17, 58, 132, 44, 1)))
    port = draw(st.sampled_from((0, 1, 6999, 7000, 7500, 7999, 8000, 65535)))
    flags = draw(st.sampled_from((0x02, 0x12, 0x10, 0x18, 0x04, 0x11, 0x00, 0xC2, 0xFF)))
    header = struct.pack(
        "!HHIIBBHHH", 5555, port, 1, 2, draw(st.sampled_from((0x50, 0x51, 0x5F))), flags, 9, 9, 0
    )
    return protocol, header[: draw(st.sampled_from((20, 20, 20, 14, 13, 5, 4, 0)))] + bytes(
        draw(st.integers(0, 3))
    )


@st.composite
def ipv6_packets(draw):
    protocol, rest = draw(transports())
    chain = b""
    for kind in draw(st.lists(st.sampled_from((0, 43, 60, 135)), max_size=2)):
        units = draw(st.integers(0, 2))
        chain = bytes((protocol, units)) + bytes(6 + 8 * units) + chain
        protocol = kind
    head = struct.pack("!IHBB16s16s", 6 << 28, len(chain + rest), protocol, 64, b"\xfc" * 16, b"\xfd" * 16)
    whole = head + chain + rest
    return whole[: draw(st.sampled_from((len(whole), len(whole), len(whole), 39, 40, 47, 60)))]


@st.composite
def ipv4_packets(draw):
    protocol, rest = draw(transports())
    words = draw(st.sampled_from((5, 5, 6, 15)))
    head = bytes((0x40 | words,)) + bytes(8) + bytes((protocol,)) + bytes(10 + 4 * (words - 5))
    whole = head + rest
    return whole[: draw(st.sampled_from((len(whole), len(whole), 19, 20)))]


frames = st.one_of(
    st.tuples(ipv6_packets(), st.just(0x86DD)),
    st.tuples(ipv4_packets(), st.just(0x0800)),
    st.tuples(st.binary(max_size=80), st.sampled_from((0x86DD, 0x0800, 0x0806, 0x9999))),
)
macs = st.sampled_from((member_mac(NETWORK, OTHER), 0xFFFFFFFFFFFF, 0x3333FF000001, 0x010203040506))
nodes = st.sampled_from((OWN, OTHER, THIRD))

matches = st.one_of(
    st.builds(lambda n: (RuleType.MATCH_ETHERTYPE, (n,)), st.sampled_from((0x86DD, 0x0800, 0x0806))),
    st.builds(lambda n: (RuleType.MATCH_IP_PROTOCOL, (n,)), st.sampled_from((6, 17, 58, 44, 1))),
    st.builds(
        lambda a, b: (RuleType.MATCH_IP_DEST_PORT_RANGE, (a, b)),
        st.sampled_from((0, 1, 7000)),
        st.sampled_from((0, 7000, 7999, 65535)),
    ),
    st.builds(
        lambda n: (RuleType.MATCH_CHARACTERISTICS, (n,)),
        st.sampled_from((2, 0x10, 0x12, 0x100, 0xF00, 1 << 63, 1 << 62, 1 << 61, 1 << 60)),
    ),
)
actions = st.sampled_from(
    (
        (RuleType.ACTION_DROP, ()),
        (RuleType.ACTION_ACCEPT, ()),
        (RuleType.ACTION_BREAK, ()),
    )
)
copies = st.builds(
    lambda kind, target: (kind, (target,)), st.sampled_from(COPIES[:2]), st.sampled_from((OWN, OTHER, THIRD))
)


def rules_of(*kinds):
    made = st.builds(
        lambda kind, inverted, alternative: Rule(kind[0], kind[1], inverted, alternative),
        st.one_of(matches, matches, *kinds),
        st.booleans(),
        st.booleans(),
    )
    return st.lists(made, max_size=12).map(tuple)


@given(rules_of(actions), st.lists(st.tuples(frames, macs, nodes, nodes, st.booleans()), max_size=12))
def test_tables_of_matches_give_what_the_page_says_also_when_they_remember(rules, looks):
    table = RuleTable(rules, OWN)
    for (payload, ethertype), to_mac, source, destination, inbound in looks + looks:
        wanted = evaluate(rules, payload, ethertype, to_mac, source, destination, inbound)
        assert table.check(payload, ethertype, to_mac, source, destination, inbound) == wanted


@given(rules_of(actions, copies), st.lists(st.tuples(frames, macs, nodes, nodes, st.booleans()), max_size=12))
def test_tables_with_copies_super_accept_for_their_target(rules, looks):
    table = RuleTable(rules, OWN)
    for (payload, ethertype), to_mac, source, destination, inbound in looks + looks:
        wanted = evaluate(rules, payload, ethertype, to_mac, source, destination, inbound)
        assert table.check(payload, ethertype, to_mac, source, destination, inbound) == wanted


@given(
    st.lists(st.tuples(frames, macs, st.booleans()), max_size=30),
    st.sampled_from(((7000, 7999), (0, 65535), (80, 80), (0, 0))),
)
def test_the_rules_of_ad_hoc_networks_in_both_directions(looks, ports):
    rules = port_range_rules(*ports)
    table = RuleTable(rules, OWN)
    for (payload, ethertype), to_mac, inbound in looks + looks:
        source, destination = (OTHER, OWN) if inbound else (OWN, OTHER)
        wanted = evaluate(rules, payload, ethertype, to_mac, source, destination, inbound)
        assert table.check(payload, ethertype, to_mac, source, destination, inbound) == wanted


# What that means


def tcp(port, flags, source_port=5555):
    header = struct.pack("!HHIIBBHHH", source_port, port, 1, 2, 0x50, flags, 9, 9, 0)
    return struct.pack("!IHBB16s16s", 6 << 28, 20, 6, 64, b"\xfc" * 16, b"\xfd" * 16) + header


def udp(port):
    return struct.pack("!IHBB16s16s", 6 << 28, 9, 17, 64, b"\xfc" * 16, b"\xfd" * 16) + struct.pack(
        "!HHHHB", 5, port, 9, 0, 0
    )


def icmp(kind):
    return (
        struct.pack("!IHBB16s16s", 6 << 28, 8, 58, 64, b"\xfc" * 16, b"\xfd" * 16) + bytes((kind,)) + bytes(7)
    )


@pytest.mark.parametrize("inbound", [False, True])
@pytest.mark.parametrize(
    ("payload", "ethertype", "passes"),
    [
        (tcp(7000, 0x02), 0x86DD, True),
        (tcp(7999, 0x02), 0x86DD, True),
        (tcp(6999, 0x02), 0x86DD, False),
        (tcp(8000, 0x02), 0x86DD, False),
        (tcp(8000, 0x12), 0x86DD, True),
        (tcp(8000, 0x10), 0x86DD, True),
        (tcp(8000, 0x04), 0x86DD, True),
        (udp(7000), 0x86DD, True),
        (udp(53), 0x86DD, True),
        (icmp(128), 0x86DD, True),
        (icmp(135), 0x86DD, True),
        (bytes(40), 0x0800, False),
        (bytes(28), 0x0806, False),
    ],
)
def test_who_may_pass_on_an_ad_hoc_network(payload, ethertype, passes, inbound):
    """Only a bare SYN to another port is refused, and what is not IPv6."""
    table = RuleTable(port_range_rules(7000, 7999), OWN)
    mac = member_mac(NETWORK, OTHER)
    for _ in range(2):
        verdict = table.check(payload, ethertype, mac, OTHER, OWN, inbound)
        assert verdict == (Verdict.ACCEPT if passes else Verdict.DROP)


@pytest.mark.parametrize("inbound", [False, True])
def test_what_is_remembered_of_one_flow_does_not_leak_into_others(inbound):
    table = RuleTable(port_range_rules(7000, 7999), OWN)
    mac = member_mac(NETWORK, OTHER)

    def check(payload):
        return table.check(payload, 0x86DD, mac, OTHER, OWN, inbound)

    assert check(tcp(7000, 0x02)) == Verdict.ACCEPT
    assert check(tcp(7000, 0x10)) == Verdict.ACCEPT
    assert check(tcp(80, 0x02, source_port=7000)) == Verdict.DROP
    assert check(tcp(80, 0x10)) == Verdict.ACCEPT
    assert check(tcp(80, 0x02)) == Verdict.DROP
    assert check(tcp(80, 0x02)[:59]) == Verdict.DROP
    # A header between the IPv6 and the TCP header is not looked over.
    hidden = bytearray(tcp(80, 0x02))
    hidden[6] = 60
    hidden[40:40] = b"\x06\0" + bytes(6)
    assert check(bytes(hidden)) == Verdict.DROP


def test_what_is_remembered_is_bounded():
    table = RuleTable(port_range_rules(7000, 7999), OWN)
    mac = member_mac(NETWORK, OTHER)
    for port in range(MAX_REMEMBERED + 100):
        table.check(tcp(port, 0x02), 0x86DD, mac, OTHER, OWN, True)
        assert len(table._remembered[True]) <= MAX_REMEMBERED


def test_matches_combine_from_left_to_right():
    def verdict(*rules):
        return RuleTable((*rules, Rule(RuleType.ACTION_ACCEPT)), OWN).check(
            tcp(80, 0x02), 0x86DD, member_mac(NETWORK, OTHER), OTHER, OWN, True
        )

    yes, no = Rule(RuleType.MATCH_IP_PROTOCOL, (6,)), Rule(RuleType.MATCH_IP_PROTOCOL, (17,))
    assert verdict(yes) == verdict(yes, no._replace(alternative=True)) == Verdict.ACCEPT
    assert verdict(no, yes._replace(alternative=True)) == Verdict.ACCEPT
    assert verdict(yes, yes._replace(alternative=True), no) == Verdict.NO_MATCH  # (A or B) and C
    assert verdict(no._replace(alternative=True)) == Verdict.ACCEPT  # the set starts true
    assert verdict(no._replace(inverted=True)) == Verdict.ACCEPT
    assert verdict(no, Rule(RuleType.ACTION_DROP)) == Verdict.ACCEPT  # an unmatched action ends its set


def test_not_does_not_rescue_a_match_that_does_not_apply():
    rules = (Rule(RuleType.MATCH_IP_PROTOCOL, (6,), inverted=True), Rule(RuleType.ACTION_ACCEPT))
    table = RuleTable(rules, OWN)
    assert table.check(bytes(28), 0x0806, 0, OTHER, OWN, True) == Verdict.NO_MATCH
    assert table.check(udp(1), 0x86DD, 0, OTHER, OWN, True) == Verdict.ACCEPT


# Configurations


@given(st.integers(0, 65535), st.integers(0, 65535))
@example(80, 79)
def test_every_ad_hoc_network_of_ports(first, last):
    network = NetworkId(0xFF << 56 | first << 40 | last << 24)
    if last < first:
        with pytest.raises(NoSuchNetwork, match="backwards"):
            ad_hoc_config(network, OWN, 0)
        return
    config = ad_hoc_config(network, OWN, 5)
    assert config.name == f"adhoc-{first:04x}-{last:04x}"
    assert (config.mtu, config.multicast_limit, config.private, config.timestamp) == (2800, 0, False, 5)
    assert len(config.rules) == 14
    assert config.ndp_emulation


@given(st.integers(0, 2**56 - 1))
def test_other_ids_of_that_prefix(number):
    network = NetworkId(0xFF << 56 | number & ~0xFF | 2)
    assert ad_hoc_config(network, OWN, 0) is None
    assert ad_hoc_config(NetworkId(number), OWN, 0) is None
