"""What the matches of rules ask of a frame, compiled into closures over it. vl2.md 6.4."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, IPv6Interface
from operator import attrgetter
from typing import Final, Protocol, TypeAlias

from zt_async.types import BROADCAST, IPAddress, MACAddress
from zt_async.wire.credentials import CertificateOfOwnership
from zt_async.wire.ethernet import ETHERTYPE_ARP as ARP
from zt_async.wire.ethernet import ETHERTYPE_IPV4 as IPV4
from zt_async.wire.ethernet import ETHERTYPE_IPV6 as IPV6
from zt_async.wire.rules import Rule, RuleType

_ICMP: Final = 1
_TCP: Final = 6
_ICMPV6: Final = 58
_PORT_PROTOCOLS: Final = frozenset((6, 17, 132, 136))
_HEADERS_TO_SKIP: Final = frozenset((0, 43, 60, 135))
_SOLICITATION: Final = 0x87
_ADVERTISEMENT: Final = 0x88

_INBOUND: Final = 1 << 63
_MULTICAST: Final = 1 << 62
_TO_ALL: Final = 1 << 61
_IP_AUTHENTICATED: Final = 1 << 60
_MAC_AUTHENTICATED: Final = 1 << 59
_TCP_BITS: Final = 0xFFF


class Looks:
    """Bits: what a table looks at in a TCP or UDP packet without IP options."""

    ETHERTYPE = 1 << 0
    TOS = 1 << 1
    PROTOCOL = 1 << 2
    SOURCE_IP = 1 << 3
    DESTINATION_IP = 1 << 4
    SOURCE_PORT = 1 << 5
    DESTINATION_PORT = 1 << 6
    TCP_FLAGS = 1 << 7
    SOURCE_MAC = 1 << 8
    DESTINATION_MAC = 1 << 9
    MEMBER = 1 << 10
    """The ZeroTier address at the other end."""
    CREDENTIALS = 1 << 11
    """What the member at the other end may do and owns."""
    LENGTH = 1 << 12
    ANYTHING = 1 << 13
    """All of the frame, or chance."""


class Remote(Protocol):
    """What is known of the member at the other end; only credentials that are valid now count (vl2.md 4.9)."""

    def tag(self, tag_id: int) -> int | None:
        """The value of its tag."""

    def owns(self, thing: IPAddress | MACAddress) -> bool:
        """Whether one of its certificates of ownership names this IP or MAC address."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Local:
    """Our own side of all evaluations under one configuration."""

    address: int
    random: Callable[[], int]
    """A fresh 32-bit number."""
    tags: Mapping[int, int] = field(default_factory=dict)
    """Values of our tags by ID."""
    ownerships: tuple[CertificateOfOwnership, ...] = ()
    derived: tuple[tuple[Callable[[int], IPv6Interface], int], ...] = ()
    """With NDP emulation, kinds of addresses that need no certificate: one of a member, and the size in bits of what
    follows it that is the member's too."""
    unknown_matches: bool = False
    """What matches of unknown types amount to."""


class Packet:
    """A frame under evaluation, with what the matches ask for worked out when they ask."""

    __slots__ = (
        *("_ownership", "_transport", "destination", "ethertype", "from_mac", "inbound", "local", "payload"),
        *("remote", "skip_drop", "source", "super_accept", "to_mac", "vlan_id"),
    )

    def __init__(
        self,
        local: Local,
        payload: bytes,
        ethertype: int,
        to_mac: int,
        from_mac: int,
        source: int,
        destination: int,
        inbound: bool,
        remote: Remote | None = None,
        vlan_id: int = 0,
    ) -> None:
        self.local = local
        self.payload = payload
        self.ethertype = ethertype
        self.to_mac = to_mac
        self.from_mac = from_mac
        self.source = source
        self.destination = destination
        self.inbound = inbound
        self.remote = remote
        self.vlan_id = vlan_id
        self.super_accept = False
        self.skip_drop = False
        self._transport: tuple[int, int] | None = None
        self._ownership: int | None = None

    def transport(self) -> tuple[int, int]:
        """IP protocol and offset of its header; (-1, 0) where there is none (vl2.md 6.4)."""
        if self._transport is None:
            self._transport = self._find_transport()
        return self._transport

    def _find_transport(self) -> tuple[int, int]:
        payload = self.payload
        if self.ethertype == IPV4 and len(payload) >= 20:
            return payload[9], (payload[0] & 0x0F) * 4
        if self.ethertype == IPV6 and len(payload) >= 40:
            protocol, offset = payload[6], 40
            while protocol in _HEADERS_TO_SKIP:
                if offset + 8 > len(payload):
                    return -1, 0
                protocol, offset = payload[offset], offset + payload[offset + 1] * 8 + 8
            return (protocol, offset) if offset <= len(payload) else (-1, 0)
        return -1, 0

    def characteristics(self) -> int:
        """The bits of vl2.md 6.4 that need no credentials."""
        bits = _INBOUND if self.inbound else 0
        if self.to_mac >> 40 & 1:
            bits |= _MULTICAST
            if self.to_mac == BROADCAST:
                bits |= _TO_ALL
        protocol, offset = self.transport()
        if protocol == _TCP and len(self.payload) >= offset + (14 if self.ethertype == IPV4 else 15):
            bits |= self.payload[offset + 13] | (self.payload[offset + 12] & 0x0F) << 8
        return bits

    def ownership(self) -> int:
        """The bits that tell whether the sender may use its IP and MAC addresses."""
        if self._ownership is None:
            ip = self._sender_ip()
            self._ownership = _IP_AUTHENTICATED if ip is True or (ip and self._is_owned(ip)) else 0
            if self._is_owned(MACAddress(self.from_mac)):
                self._ownership |= _MAC_AUTHENTICATED
        return self._ownership

    def _sender_ip(self) -> IPAddress | bool:
        """The address that the frame claims to come from, if any; True where it need not prove one."""
        payload = self.payload
        if self.ethertype == IPV4 and len(payload) >= 20:
            return IPv4Address(payload[12:16])
        if self.ethertype == ARP and len(payload) >= 28:
            return IPv4Address(payload[14:18])
        if self.ethertype != IPV6 or len(payload) < 40:
            return False
        if payload[6] == _ICMPV6 and len(payload) >= 64:
            if payload[40] == _SOLICITATION:
                return True
            if payload[40] == _ADVERTISEMENT:
                return IPv6Address(payload[48:64])
        return IPv6Address(payload[8:24])

    def _is_owned(self, thing: IPAddress | MACAddress) -> bool:
        if not self.inbound:
            return any(certificate.owns(thing) for certificate in self.local.ownerships)
        for scheme, bits in self.local.derived if isinstance(thing, IPv6Address) else ():
            if int(thing) >> bits == int(scheme(self.source)) >> bits:
                return True
        return self.remote is not None and self.remote.owns(thing)


# Matches

Match: TypeAlias = Callable[[Packet], bool]
"""What an entry contributes to its set. NOT is in it: where a match does not apply, NOT does not make it true."""


def _equals(attribute: str) -> Callable[[Rule], Match]:
    get = attrgetter(attribute)

    def compiler(rule: Rule) -> Match:
        (wanted,), no = rule.operand, rule.inverted
        return lambda packet: (get(packet) == wanted) != no

    return compiler


def _vlan_bits(rule: Rule) -> Match:
    result = (rule.operand[0] == 0) != rule.inverted
    return lambda packet: result


def _ip(ethertype: int, header: int, start: int, size: int) -> Callable[[Rule], Match]:
    def compiler(rule: Rule) -> Match:
        (wanted, prefix), no, stop = rule.operand, rule.inverted, start + size
        bits = 8 * size
        mask = (1 << bits) - (1 << bits - min(prefix, bits))
        if ethertype == IPV4:  # an IPv6 operand with host bits matches nothing
            wanted &= mask

        def match(packet: Packet) -> bool:
            payload = packet.payload
            if packet.ethertype != ethertype or len(payload) < header:
                return False
            return (int.from_bytes(payload[start:stop], "big") & mask == wanted) != no

        return match

    return compiler


def _tos(rule: Rule) -> Match:
    (mask, low, high), no = rule.operand, rule.inverted

    def match(packet: Packet) -> bool:
        payload = packet.payload
        if packet.ethertype == IPV4 and len(payload) >= 20:
            tos = payload[1]
        elif packet.ethertype == IPV6 and len(payload) >= 40:
            tos = (payload[0] & 0x0F) << 4 | payload[1] >> 4
        else:
            return False
        return (low <= tos & mask <= high) != no

    return match


def _ip_protocol(rule: Rule) -> Match:
    (wanted,), no = rule.operand, rule.inverted

    def match(packet: Packet) -> bool:
        protocol = packet.transport()[0]
        return protocol >= 0 and (protocol == wanted) != no

    return match


def _icmp(rule: Rule) -> Match:
    (kind, code, by_code), no = rule.operand, rule.inverted

    def match(packet: Packet) -> bool:
        protocol, offset = packet.transport()
        payload = packet.payload
        if protocol != (_ICMP if packet.ethertype == IPV4 else _ICMPV6) or len(payload) < offset + 2:
            return False
        return payload[offset] == kind and (not by_code & 1 or (payload[offset + 1] == code) != no)

    return match


def _port(at: int) -> Callable[[Rule], Match]:
    def compiler(rule: Rule) -> Match:
        (low, high), no = rule.operand, rule.inverted

        def match(packet: Packet) -> bool:
            protocol, offset = packet.transport()
            if protocol < 0:
                return False
            payload = packet.payload
            if protocol not in _PORT_PROTOCOLS or len(payload) <= offset + 4:
                return no
            port = payload[offset + at] << 8 | payload[offset + at + 1]
            return (low <= port <= high and (port > 0 or packet.ethertype == IPV4)) != no

        return match

    return compiler


def _characteristics(rule: Rule) -> Match:
    (mask,), no = rule.operand, rule.inverted
    owned = mask & (_IP_AUTHENTICATED | _MAC_AUTHENTICATED)

    def match(packet: Packet) -> bool:
        holds = packet.characteristics() & mask or (owned and packet.ownership() & owned)
        return (holds != 0) != no

    return match


def _frame_size(rule: Rule) -> Match:
    (low, high), no = rule.operand, rule.inverted
    return lambda packet: (low <= len(packet.payload) <= high) != no


def _random(rule: Rule) -> Match:
    (probability,), no = rule.operand, rule.inverted
    return lambda packet: (packet.local.random() <= probability) != no


def _tags(compare: Callable[[int, int, int], bool]) -> Callable[[Rule], Match]:
    def compiler(rule: Rule) -> Match:
        (tag_id, value), no = rule.operand, rule.inverted

        def match(packet: Packet) -> bool:
            local = packet.local.tags.get(tag_id)
            if local is None:
                return False
            remote = packet.remote.tag(tag_id) if packet.remote is not None else None
            if remote is None:
                if packet.inbound and not packet.super_accept:
                    return False
                packet.skip_drop = True
                return True
            return compare(local, remote, value) != no

        return match

    return compiler


def _tag_of(sender: bool) -> Callable[[Rule], Match]:
    def compiler(rule: Rule) -> Match:
        (tag_id, value), no = rule.operand, rule.inverted

        def match(packet: Packet) -> bool:
            if packet.super_accept:
                packet.skip_drop = True
                return True
            if packet.inbound != sender:
                tag = packet.local.tags.get(tag_id)
            else:
                tag = packet.remote.tag(tag_id) if packet.remote is not None else None
                if tag is None and not sender:  # which we may not have been told yet
                    packet.skip_drop = True
                    return True
            return tag is not None and (tag == value) != no

        return match

    return compiler


def _integer_range(rule: Rule) -> Match:
    (first, last, index, form), no = rule.operand, rule.inverted
    width = (form & 0x3F) + 1
    size = (width + 7) // 8
    little = bool(form & 0x80)
    start = index if little else index + 8 - size
    stop = start + size

    def match(packet: Packet) -> bool:
        payload = packet.payload
        if stop > len(payload):
            value = 0
        elif little:
            value = int.from_bytes(payload[start:stop], "little") >> 8 * size - width
        else:
            value = int.from_bytes(payload[start:stop], "big") & (1 << width) - 1
        return (first <= value <= last) != no

    return match


def _unknown(rule: Rule) -> Match:
    no = rule.inverted
    return lambda packet: packet.local.unknown_matches != no


def _looks_at_characteristics(rule: Rule) -> int:
    (mask,) = rule.operand
    looks = 0
    if mask & (_MULTICAST | _TO_ALL):
        looks |= Looks.DESTINATION_MAC
    if mask & _IP_AUTHENTICATED:
        looks |= Looks.ETHERTYPE | Looks.SOURCE_IP | Looks.MEMBER | Looks.CREDENTIALS
    if mask & _MAC_AUTHENTICATED:
        looks |= Looks.SOURCE_MAC | Looks.CREDENTIALS
    if mask & _TCP_BITS:
        looks |= Looks.ETHERTYPE | Looks.PROTOCOL | Looks.TCP_FLAGS
    return looks


_IP: Final = Looks.ETHERTYPE
_PORTED: Final = Looks.ETHERTYPE | Looks.PROTOCOL

_KINDS: Final[dict[int, tuple[Callable[[Rule], Match], int]]] = {
    RuleType.MATCH_SOURCE_ZEROTIER_ADDRESS: (_equals("source"), Looks.MEMBER),
    RuleType.MATCH_DEST_ZEROTIER_ADDRESS: (_equals("destination"), Looks.MEMBER),
    RuleType.MATCH_VLAN_ID: (_equals("vlan_id"), 0),
    RuleType.MATCH_VLAN_PCP: (_vlan_bits, 0),
    RuleType.MATCH_VLAN_DEI: (_vlan_bits, 0),
    RuleType.MATCH_MAC_SOURCE: (_equals("from_mac"), Looks.SOURCE_MAC),
    RuleType.MATCH_MAC_DEST: (_equals("to_mac"), Looks.DESTINATION_MAC),
    RuleType.MATCH_IPV4_SOURCE: (_ip(IPV4, 20, 12, 4), _IP | Looks.SOURCE_IP),
    RuleType.MATCH_IPV4_DEST: (_ip(IPV4, 20, 16, 4), _IP | Looks.DESTINATION_IP),
    RuleType.MATCH_IPV6_SOURCE: (_ip(IPV6, 40, 8, 16), _IP | Looks.SOURCE_IP),
    RuleType.MATCH_IPV6_DEST: (_ip(IPV6, 40, 24, 16), _IP | Looks.DESTINATION_IP),
    RuleType.MATCH_IP_TOS: (_tos, _IP | Looks.TOS),
    RuleType.MATCH_IP_PROTOCOL: (_ip_protocol, _PORTED),
    RuleType.MATCH_ETHERTYPE: (_equals("ethertype"), Looks.ETHERTYPE),
    RuleType.MATCH_ICMP: (_icmp, _PORTED),
    RuleType.MATCH_IP_SOURCE_PORT_RANGE: (_port(0), _PORTED | Looks.SOURCE_PORT),
    RuleType.MATCH_IP_DEST_PORT_RANGE: (_port(2), _PORTED | Looks.DESTINATION_PORT),
    RuleType.MATCH_FRAME_SIZE_RANGE: (_frame_size, Looks.LENGTH),
    RuleType.MATCH_RANDOM: (_random, Looks.ANYTHING),
    RuleType.MATCH_TAGS_DIFFERENCE: (_tags(lambda a, b, value: abs(a - b) <= value), Looks.CREDENTIALS),
    RuleType.MATCH_TAGS_BITWISE_AND: (_tags(lambda a, b, value: a & b == value), Looks.CREDENTIALS),
    RuleType.MATCH_TAGS_BITWISE_OR: (_tags(lambda a, b, value: a | b == value), Looks.CREDENTIALS),
    RuleType.MATCH_TAGS_BITWISE_XOR: (_tags(lambda a, b, value: a ^ b == value), Looks.CREDENTIALS),
    RuleType.MATCH_TAGS_EQUAL: (_tags(lambda a, b, value: a == b == value), Looks.CREDENTIALS),
    RuleType.MATCH_TAG_SENDER: (_tag_of(sender=True), Looks.CREDENTIALS),
    RuleType.MATCH_TAG_RECEIVER: (_tag_of(sender=False), Looks.CREDENTIALS),
    RuleType.INTEGER_RANGE: (_integer_range, Looks.ANYTHING),
}
"""How each match is compiled, and what it looks at."""


def compile_match(rule: Rule) -> tuple[Match, int]:
    """A match, and the bits of ``Looks`` that its result depends on."""
    if rule.type == RuleType.MATCH_CHARACTERISTICS:
        return _characteristics(rule), _looks_at_characteristics(rule)
    compiler, looks = _KINDS.get(rule.type, (_unknown, 0))
    return compiler(rule), looks
