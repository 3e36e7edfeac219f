"""Hypothesis strategies for rules and for frames that they are about: few values, so that much of it meets."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address

from hypothesis import strategies as st

from zt_async.types import BROADCAST, MACAddress, NetworkId, NodeAddress
from zt_async.vl2.addressing import member_mac, rfc4193, sixplane
from zt_async.wire.rules import Rule, RuleType

OWN, OTHER, THIRD = NodeAddress(0x1111111111), NodeAddress(0x2222222222), NodeAddress(0x3333333333)
NETWORK = NetworkId(0x2222222222000007)

NODES = (OWN, OTHER, THIRD)
MACS = (member_mac(NETWORK, OWN), member_mac(NETWORK, OTHER), BROADCAST, MACAddress(0x3333FF000001))
IPV4S = (IPv4Address("10.0.0.1"), IPv4Address("10.0.0.2"), IPv4Address("10.9.0.1"))
IPV6S = (
    IPv6Address("fd00::1"),
    IPv6Address("fd00::2:1"),
    sixplane(NETWORK, OTHER).ip,
    sixplane(NETWORK, OTHER).ip + 5,
    rfc4193(NETWORK, OTHER).ip,
    rfc4193(NETWORK, THIRD).ip,
)
PORTS = (0, 80, 81, 443, 65535)
ETHERTYPES = (0x86DD, 0x0800, 0x0806, 0x9999)
PROTOCOLS = (6, 17, 58, 1, 132, 44)
TAG_IDS, TAG_VALUES = (1, 2), (0, 1, 3, 5)
SIZES = (0, 20, 40, 55, 60, 80, 65535)

nodes = st.sampled_from(NODES)
macs = st.sampled_from(MACS)
tags = st.dictionaries(st.sampled_from(TAG_IDS), st.sampled_from(TAG_VALUES))
owned = st.lists(st.sampled_from((*IPV4S, *IPV6S, *MACS)), max_size=3).map(tuple)


@st.composite
def transports(draw):
    protocol = draw(st.sampled_from((6, 6, 6, 17, 17, *PROTOCOLS)))
    ports = draw(st.sampled_from(PORTS)), draw(st.sampled_from(PORTS))
    flags = draw(st.sampled_from((0x02, 0x12, 0x10, 0x18, 0x04, 0x00, 0xFF)))
    offset = draw(st.sampled_from((0x50, 0x51, 0x8F)))
    header = struct.pack("!HHIIBBHHH", *ports, 1, 2, offset, flags, 9, 9, 0)
    if protocol in (1, 58):
        header = draw(st.sampled_from((b"\x80\0", b"\x87\0", b"\x88\0", b"\x08\1", b"\x03\1"))) + bytes(6)
        header += draw(st.sampled_from(IPV6S)).packed
    cut = draw(st.sampled_from((len(header), len(header), len(header), 15, 14, 13, 5, 4, 1, 0)))
    return protocol, header[:cut] + bytes(draw(st.sampled_from((0, 0, 1, 20))))


@st.composite
def ipv6_packets(draw):
    protocol, rest = draw(transports())
    chain = b""
    for kind in draw(st.lists(st.sampled_from((0, 43, 60, 135)), max_size=2)):
        units = draw(st.integers(0, 2))
        chain = bytes((protocol, units)) + bytes(6 + 8 * units) + chain
        protocol = kind
    addresses = draw(st.sampled_from(IPV6S)).packed, draw(st.sampled_from(IPV6S)).packed
    tos = draw(st.sampled_from((0, 0x10, 0xB8)))
    head = struct.pack("!IHBB16s16s", 6 << 28 | tos << 20, len(chain + rest), protocol, 64, *addresses)
    whole = head + chain + rest
    return whole[: draw(st.sampled_from((len(whole), len(whole), len(whole), 39, 40, 47, 54, 55, 60)))]


@st.composite
def ipv4_packets(draw):
    protocol, rest = draw(transports())
    words = draw(st.sampled_from((5, 5, 5, 6, 15, 0)))
    addresses = draw(st.sampled_from(IPV4S)).packed + draw(st.sampled_from(IPV4S)).packed
    tos = draw(st.sampled_from((0, 0x10, 0xB8)))
    head = bytes((0x40 | words, tos)) + bytes(7) + bytes((protocol, 0, 0)) + addresses
    whole = head + bytes(max(0, 4 * words - 20)) + rest
    return whole[: draw(st.sampled_from((len(whole), len(whole), len(whole), 19, 20, 33, 34)))]


@st.composite
def arp_packets(draw):
    whole = bytes(14) + draw(st.sampled_from(IPV4S)).packed + bytes(10)
    return whole[: draw(st.sampled_from((28, 28, 27)))]


frames = st.one_of(
    st.tuples(ipv6_packets(), st.just(0x86DD)),
    st.tuples(ipv4_packets(), st.just(0x0800)),
    st.tuples(arp_packets(), st.just(0x0806)),
    st.tuples(st.binary(max_size=80), st.sampled_from(ETHERTYPES)),
)
"""Payload and ethertype."""

_OPERANDS = {
    "NODE": st.tuples(nodes),
    "MAC": st.tuples(macs),
    "IPV4": st.tuples(st.sampled_from(IPV4S).map(int), st.sampled_from((0, 8, 16, 31, 32))),
    "IPV6": st.one_of(
        st.tuples(st.sampled_from(IPV6S).map(int), st.just(128)),
        st.sampled_from(((0xFD << 120, 8), (0xFD << 120, 16), (0, 0), (0xFD << 120, 0), (1, 8))),
    ),
    "TOS": st.tuples(*3 * (st.sampled_from((0, 0x10, 0xB8, 0xFF)),)),
    "PROTOCOL": st.tuples(st.sampled_from(PROTOCOLS)),
    "ETHERTYPE": st.tuples(st.sampled_from(ETHERTYPES)),
    "ICMP": st.tuples(
        st.sampled_from((0x80, 0x87, 8, 3)), st.sampled_from((0, 1)), st.sampled_from((0, 1, 2, 3))
    ),
    "PORTS": st.tuples(st.sampled_from(PORTS), st.sampled_from(PORTS)),
    "SIZES": st.tuples(st.sampled_from(SIZES), st.sampled_from(SIZES)),
    "MASK": st.lists(
        st.sampled_from((0, 1, 1, 2, 4, 8, 10, 59, 60, 61, 62, 63, 40)), min_size=1, max_size=2, unique=True
    ).map(lambda bits: (sum(1 << bit for bit in bits),)),
    "CHANCE": st.sampled_from(((0xFFFFFFFF,), (0xFFFFFFFE,), (0,))),
    "TAG": st.tuples(st.sampled_from(TAG_IDS), st.sampled_from(TAG_VALUES)),
    "SMALL": st.tuples(st.sampled_from((0, 1))),
    "INTEGER": st.tuples(
        st.just(0),
        st.sampled_from((0, 5, 80, 0xFFFF, 0xFFFFFFFF)),
        st.sampled_from((0, 5, 34, 40, 300, 65535)),
        st.sampled_from((0, 6, 7, 11, 15, 31, 63, 64, 0x80, 0x8B, 0x8F, 0xBF)),
    ),
    "COPY": st.tuples(st.sampled_from(NODES), st.just(0), st.sampled_from((0, 10, 65535))),
}
_KINDS = {
    RuleType.MATCH_SOURCE_ZEROTIER_ADDRESS: "NODE",
    RuleType.MATCH_DEST_ZEROTIER_ADDRESS: "NODE",
    RuleType.MATCH_VLAN_ID: "SMALL",
    RuleType.MATCH_VLAN_PCP: "SMALL",
    RuleType.MATCH_VLAN_DEI: "SMALL",
    RuleType.MATCH_MAC_SOURCE: "MAC",
    RuleType.MATCH_MAC_DEST: "MAC",
    RuleType.MATCH_IPV4_SOURCE: "IPV4",
    RuleType.MATCH_IPV4_DEST: "IPV4",
    RuleType.MATCH_IPV6_SOURCE: "IPV6",
    RuleType.MATCH_IPV6_DEST: "IPV6",
    RuleType.MATCH_IP_TOS: "TOS",
    RuleType.MATCH_IP_PROTOCOL: "PROTOCOL",
    RuleType.MATCH_ETHERTYPE: "ETHERTYPE",
    RuleType.MATCH_ICMP: "ICMP",
    RuleType.MATCH_IP_SOURCE_PORT_RANGE: "PORTS",
    RuleType.MATCH_IP_DEST_PORT_RANGE: "PORTS",
    RuleType.MATCH_CHARACTERISTICS: "MASK",
    RuleType.MATCH_FRAME_SIZE_RANGE: "SIZES",
    RuleType.MATCH_RANDOM: "CHANCE",
    RuleType.MATCH_TAGS_DIFFERENCE: "TAG",
    RuleType.MATCH_TAGS_BITWISE_AND: "TAG",
    RuleType.MATCH_TAGS_BITWISE_OR: "TAG",
    RuleType.MATCH_TAGS_BITWISE_XOR: "TAG",
    RuleType.MATCH_TAGS_EQUAL: "TAG",
    RuleType.MATCH_TAG_SENDER: "TAG",
    RuleType.MATCH_TAG_RECEIVER: "TAG",
    RuleType.INTEGER_RANGE: "INTEGER",
}
_LONELY = {RuleType.MATCH_RANDOM, RuleType.INTEGER_RANGE}
"""Tables with one of these are never remembered, so that others are drawn too."""

_PLAIN_ACTIONS = (
    RuleType.ACTION_ACCEPT,
    RuleType.ACTION_DROP,
    RuleType.ACTION_BREAK,
    RuleType.ACTION_PRIORITY,
)


def _matches(kinds):
    return st.sampled_from(kinds).flatmap(
        lambda kind: st.builds(Rule, st.just(kind), _OPERANDS[_KINDS[kind]], st.booleans(), st.booleans())
    )


_actions = st.builds(
    Rule, st.sampled_from((*_PLAIN_ACTIONS, RuleType.ACTION_ACCEPT, RuleType.ACTION_DROP, 9))
)
_copies = st.builds(
    Rule,
    st.sampled_from((RuleType.ACTION_TEE, RuleType.ACTION_WATCH, RuleType.ACTION_REDIRECT)),
    _OPERANDS["COPY"],
)
_unknown = st.builds(Rule, st.sampled_from((17, 60)), st.just(()), st.booleans(), st.booleans())


def _tables(kinds, *more):
    entries = st.one_of(_matches(kinds), _matches(kinds), _actions, *more)
    # Without a match of no kind, a table hardly gets beyond its first set.
    return st.lists(entries, max_size=10).map(tuple)


tables = st.one_of(
    _tables(sorted(_KINDS.keys() - _LONELY), _copies, _unknown),
    _tables(sorted(_KINDS.keys() - _LONELY)),
    _tables(sorted(_KINDS), _copies),
    st.sets(st.sampled_from(sorted(_KINDS.keys() - _LONELY)), min_size=1, max_size=2).flatmap(
        lambda kinds: _tables(sorted(kinds))
    ),
)
