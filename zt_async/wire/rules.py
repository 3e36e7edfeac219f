"""Network rules as they travel: in the configuration and inside capabilities. vl2.md 6.2."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from typing import Final, NamedTuple

from zt_async.wire.buffer import Reader

MAX_RULES: Final = 1024
"""Entries of a network's table; what follows is not read (vl2.md 0.2)."""

FIRST_MATCH: Final = 16
"""Types below are actions, from here on matches."""

_NOT: Final = 0x80
_OR: Final = 0x40
_TYPE: Final = 0x3F


class RuleType(IntEnum):
    """Types of rules; the names are those of JSON."""

    ACTION_DROP = 0
    ACTION_ACCEPT = 1
    ACTION_TEE = 2
    ACTION_WATCH = 3
    ACTION_REDIRECT = 4
    ACTION_BREAK = 5
    ACTION_PRIORITY = 6
    MATCH_SOURCE_ZEROTIER_ADDRESS = 24
    MATCH_DEST_ZEROTIER_ADDRESS = 25
    MATCH_VLAN_ID = 26
    MATCH_VLAN_PCP = 27
    MATCH_VLAN_DEI = 28
    MATCH_MAC_SOURCE = 29
    MATCH_MAC_DEST = 30
    MATCH_IPV4_SOURCE = 31
    MATCH_IPV4_DEST = 32
    MATCH_IPV6_SOURCE = 33
    MATCH_IPV6_DEST = 34
    MATCH_IP_TOS = 35
    MATCH_IP_PROTOCOL = 36
    MATCH_ETHERTYPE = 37
    MATCH_ICMP = 38
    MATCH_IP_SOURCE_PORT_RANGE = 39
    MATCH_IP_DEST_PORT_RANGE = 40
    MATCH_CHARACTERISTICS = 41
    MATCH_FRAME_SIZE_RANGE = 42
    MATCH_RANDOM = 43
    MATCH_TAGS_DIFFERENCE = 44
    MATCH_TAGS_BITWISE_AND = 45
    MATCH_TAGS_BITWISE_OR = 46
    MATCH_TAGS_BITWISE_XOR = 47
    MATCH_TAGS_EQUAL = 48
    MATCH_TAG_SENDER = 49
    MATCH_TAG_RECEIVER = 50
    INTEGER_RANGE = 51


_COPY: Final = (8, 4, 2)
_RANGE: Final = (2, 2)
_TAG: Final = (4, 4)

_WIDTHS: Final[dict[int, tuple[int, ...]]] = {
    RuleType.ACTION_TEE: _COPY,
    RuleType.ACTION_WATCH: _COPY,
    RuleType.ACTION_REDIRECT: _COPY,
    RuleType.MATCH_SOURCE_ZEROTIER_ADDRESS: (5,),
    RuleType.MATCH_DEST_ZEROTIER_ADDRESS: (5,),
    RuleType.MATCH_VLAN_ID: (2,),
    RuleType.MATCH_VLAN_PCP: (1,),
    RuleType.MATCH_VLAN_DEI: (1,),
    RuleType.MATCH_MAC_SOURCE: (6,),
    RuleType.MATCH_MAC_DEST: (6,),
    RuleType.MATCH_IPV4_SOURCE: (4, 1),
    RuleType.MATCH_IPV4_DEST: (4, 1),
    RuleType.MATCH_IPV6_SOURCE: (16, 1),
    RuleType.MATCH_IPV6_DEST: (16, 1),
    RuleType.MATCH_IP_TOS: (1, 1, 1),
    RuleType.MATCH_IP_PROTOCOL: (1,),
    RuleType.MATCH_ETHERTYPE: (2,),
    RuleType.MATCH_ICMP: (1, 1, 1),
    RuleType.MATCH_IP_SOURCE_PORT_RANGE: _RANGE,
    RuleType.MATCH_IP_DEST_PORT_RANGE: _RANGE,
    RuleType.MATCH_CHARACTERISTICS: (8,),
    RuleType.MATCH_FRAME_SIZE_RANGE: _RANGE,
    RuleType.MATCH_RANDOM: (4,),
    RuleType.MATCH_TAGS_DIFFERENCE: _TAG,
    RuleType.MATCH_TAGS_BITWISE_AND: _TAG,
    RuleType.MATCH_TAGS_BITWISE_OR: _TAG,
    RuleType.MATCH_TAGS_BITWISE_XOR: _TAG,
    RuleType.MATCH_TAGS_EQUAL: _TAG,
    RuleType.MATCH_TAG_SENDER: _TAG,
    RuleType.MATCH_TAG_RECEIVER: _TAG,
    RuleType.INTEGER_RANGE: (8, 8, 2, 1),
}
"""Bytes of each number of an operand; types that are not here have none on the wire."""

_KNOWN: Final[dict[int, RuleType]] = {int(kind): kind for kind in RuleType}


class Rule(NamedTuple):
    """One entry of a table: a match (with NOT and OR), or the action that closes a set of matches.

    ``operand`` holds unsigned integers, by type: TEE, WATCH, REDIRECT (node address, flags, length); node
    addresses, MACs, VLAN numbers, IP protocol, ethertype (the number,); IPs (address, prefix length); TOS (mask,
    low, high); ICMP (type, code, 1 if the code counts); port and size ranges (low, high); characteristics (mask,);
    RANDOM (probability of 2^32 - 1,); tags (ID, value); INTEGER_RANGE (first, last, index, format). PRIORITY may
    have a (bucket,), which does not travel. ``type`` is a RuleType, or the number of a type that is not known.
    """

    type: int
    operand: tuple[int, ...] = ()
    inverted: bool = False
    alternative: bool = False

    @property
    def is_action(self) -> bool:
        return self.type < FIRST_MATCH


def encode_rules(rules: Iterable[Rule]) -> bytes:
    """A table on the wire. Raises ValueError for an operand that its type does not have."""
    parts = []
    for kind, operand, inverted, alternative in rules:
        widths = _WIDTHS.get(kind, ())
        if not 0 <= kind <= _TYPE:
            raise ValueError(f"types of rules are 0 to {_TYPE}, not {kind}")
        travels = kind != RuleType.ACTION_PRIORITY
        try:
            encoded = b"".join(
                value.to_bytes(width, "big") for value, width in zip(operand, widths, strict=travels)
            )
            flags = (_NOT if inverted else 0) | (_OR if alternative else 0)
            parts.append(bytes((kind | flags, len(encoded))) + encoded)
        except (OverflowError, ValueError) as error:
            sizes = ", ".join(f"{8 * width} bits" for width in widths) or "nothing"
            raise ValueError(f"a rule of type {kind!r} has {sizes}, not {operand}") from error
    return b"".join(parts)


def decode_rules(data: bytes, limit: int = MAX_RULES) -> tuple[Rule, ...]:
    """The first ``limit`` entries of a table. Raises DecodeError."""
    return read_rules(Reader(data), limit)


def read_rules(reader: Reader, limit: int) -> tuple[Rule, ...]:
    """Read entries to the end, ``limit`` at most. Raises DecodeError.

    Each begins where the length of the one before says, even inside its operand, or past the end after the last one.
    """
    rules: list[Rule] = []
    while len(rules) < limit and reader.remaining > 0:
        head = reader.u8()
        length = reader.u8()
        start = reader.offset
        kind = head & _TYPE
        operand = tuple(map(reader.uint, _WIDTHS.get(kind, ())))
        if kind == RuleType.INTEGER_RANGE:
            first, last, *rest = operand
            operand = (first, first + (last - first & 0xFFFFFFFF) & 0xFFFFFFFFFFFFFFFF, *rest)
        rules.append(Rule(_KNOWN.get(kind, kind), operand, bool(head & _NOT), bool(head & _OR)))
        reader.offset = start + length
    return tuple(rules)
