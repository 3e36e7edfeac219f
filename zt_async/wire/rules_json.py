"""Rules as JSON objects, in upstream's form. vl2.md 8.8."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Any, Final, Protocol

from zt_async.types import MACAddress, NodeAddress
from zt_async.wire.rules import Rule, RuleType

_U64: Final = (1 << 64) - 1

_Values = tuple[int, ...]


def rule_from_json(value: object) -> Rule:
    """Read a rule. Raises ValueError saying what is wrong with it.

    INTEGER_RANGE and ACTION_PRIORITY, which upstream's controller does not take, are taken: its members know them.
    """
    if not isinstance(value, Mapping):
        raise ValueError(f"a rule is an object, not {value!r}")
    name = value.get("type")
    kind = _BY_NAME.get(name) if isinstance(name, str) else None
    if kind is None:
        raise ValueError(f"a rule has a type such as ACTION_ACCEPT or MATCH_ETHERTYPE, not {name!r}")
    fields = _FIELDS[kind]
    keys = {"type", "not", "or"}.union(*(field.keys for field in fields))
    operand: list[int] = []
    try:
        unknown = [key for key in value if key not in keys]
        if unknown:
            raise ValueError(f"has no {unknown[0]!r}")
        for field in fields:
            operand += field.read(value)
        return Rule(kind, tuple(operand), _flag(value, "not"), _flag(value, "or"))
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def rule_to_json(rule: Rule) -> dict[str, Any]:
    """Write a rule. Raises ValueError for a type that has no name."""
    fields = _FIELDS.get(rule.type)
    if fields is None:
        raise ValueError(f"rules of type {rule.type} have no form in JSON")
    written: dict[str, Any] = {"type": RuleType(rule.type).name}
    start = 0
    for field in fields:
        stop = start + field.size
        written |= field.write(rule.operand[start:stop])
        start = stop
    if not rule.is_action or rule.inverted or rule.alternative:
        written |= {"not": rule.inverted, "or": rule.alternative}
    return written


# Fields: one or more numbers of an operand under one or more keys


class _Field(Protocol):
    @property
    def keys(self) -> tuple[str, ...]: ...

    @property
    def size(self) -> int:
        """Numbers of the operand."""

    def read(self, value: Mapping[str, Any]) -> _Values:
        """Raises ValueError."""

    def write(self, numbers: _Values) -> dict[str, Any]: ...


class _OneNumber:
    """A field of one number under one key."""

    size = 1
    key: str

    @property
    def keys(self) -> tuple[str, ...]:
        return (self.key,)


@dataclass(frozen=True, slots=True)
class _Number(_OneNumber):
    key: str
    bits: int
    default: int | None = None
    """What a missing one stands for; None if there has to be one."""
    lowest: int = 0

    def read(self, value: Mapping[str, Any]) -> _Values:
        number = value.get(self.key, self.default)
        top = (1 << self.bits) - 1
        if type(number) is not int or not self.lowest <= number <= top:
            raise ValueError(f"{self.key} is a number from {self.lowest} to {top}, not {number!r}")
        return (number & top,)

    def write(self, numbers: _Values) -> dict[str, Any]:
        return {self.key: numbers[0]}


@dataclass(frozen=True, slots=True)
class _Range:
    """A first and a last 16-bit number; the first is the default of the last."""

    keys = "start", "end"
    size = 2

    def read(self, value: Mapping[str, Any]) -> _Values:
        (start,) = _Number("start", 16).read(value)
        return start, *_Number("end", 16, start).read(value)

    def write(self, numbers: _Values) -> dict[str, Any]:
        return dict(zip(self.keys, numbers, strict=True))


@dataclass(frozen=True, slots=True)
class _Node(_OneNumber):
    """The address of a node."""

    key: str

    def read(self, value: Mapping[str, Any]) -> _Values:
        return (NodeAddress.parse(_text(value, self.key, "a node address of 10 hexadecimal digits")),)

    def write(self, numbers: _Values) -> dict[str, Any]:
        return {self.key: f"{numbers[0] & 0xFFFFFFFFFF:010x}"}


class _Mac(_OneNumber):
    key = "mac"

    def read(self, value: Mapping[str, Any]) -> _Values:
        return (MACAddress.parse(_text(value, self.key, "a MAC address of 12 hexadecimal digits")),)

    def write(self, numbers: _Values) -> dict[str, Any]:
        return {self.key: str(MACAddress(numbers[0]))}


@dataclass(frozen=True, slots=True)
class _Prefix:
    """An IP address and the number of its bits that count."""

    version: type[IPv4Address] | type[IPv6Address]
    keys = ("ip",)
    size = 2

    def read(self, value: Mapping[str, Any]) -> _Values:
        example = "10.0.0.0/8" if self.version is IPv4Address else "fd00::/8"
        what = f"an IP address and the number of its bits that count, such as {example}"
        text = _text(value, "ip", what)
        address, _, bits = text.partition("/")
        try:
            ip = self.version(address)
        except ValueError:
            raise ValueError(f"ip is {what}, not {text!r}") from None
        if not _DIGITS.fullmatch(bits) or int(bits) > ip.max_prefixlen or "%" in address:
            raise ValueError(f"ip is {what}, not {text!r}")
        return int(ip), int(bits)

    def write(self, numbers: _Values) -> dict[str, Any]:
        ip, bits = numbers
        return {"ip": f"{self.version(ip)}/{bits}"}


class _IcmpCode:
    """A code, and whether it counts."""

    keys = ("icmpCode",)
    size = 2

    def read(self, value: Mapping[str, Any]) -> _Values:
        if value.get("icmpCode") is None:
            return 0, 0
        return *_Number("icmpCode", 8).read(value), 1

    def write(self, numbers: _Values) -> dict[str, Any]:
        code, counts = numbers
        return {"icmpCode": code if counts & 1 else None}


class _Mask(_OneNumber):
    key = "mask"

    def read(self, value: Mapping[str, Any]) -> _Values:
        return (_hex_or_number(value, self.key),)

    def write(self, numbers: _Values) -> dict[str, Any]:
        return {self.key: f"{numbers[0]:016x}"}


class _IntegerRange:
    """All of INTEGER_RANGE, which upstream's controller drops."""

    keys = "start", "end", "idx", "little", "bits"
    size = 4

    def read(self, value: Mapping[str, Any]) -> _Values:
        start, end = _hex_or_number(value, "start"), _hex_or_number(value, "end")
        if not 0 <= end - start < 1 << 32:
            raise ValueError(f"end is start and up to 2^32 - 1 more, not {end - start} more")
        (index,) = _Number("idx", 16).read(value)
        bits = value.get("bits")
        if type(bits) is not int or not 1 <= bits <= 64:
            raise ValueError(f"bits is a number from 1 to 64, not {bits!r}")
        return start, end, index, bits - 1 | (0x80 if _flag(value, "little") else 0)

    def write(self, numbers: _Values) -> dict[str, Any]:
        start, end, index, form = numbers
        return {
            "start": f"{start:016x}",
            "end": f"{end:016x}",
            "idx": index,
            "little": bool(form & 0x80),
            "bits": (form & 0x3F) + 1,
        }


class _Bucket:
    """The bucket of a PRIORITY, if it has one."""

    keys = ("qosBucket",)
    size = 1

    def read(self, value: Mapping[str, Any]) -> _Values:
        return _Number("qosBucket", 8).read(value) if "qosBucket" in value else ()

    def write(self, numbers: _Values) -> dict[str, Any]:
        return {"qosBucket": numbers[0]} if numbers else {}


class _NoLength:
    """The length that a REDIRECT has on the wire and nowhere else."""

    keys: tuple[str, ...] = ()
    size = 1

    def read(self, value: Mapping[str, Any]) -> _Values:
        return (0,)

    def write(self, numbers: _Values) -> dict[str, Any]:
        return {}


_COPY: Final = (_Node("address"), _Number("flags", 32, 0), _Number("length", 16, 0, lowest=-1))
_TAG: Final = (_Number("id", 32), _Number("value", 32))
_IPV4: Final = (_Prefix(IPv4Address),)
_IPV6: Final = (_Prefix(IPv6Address),)

_FIELDS: Final[dict[int, tuple[_Field, ...]]] = {
    RuleType.ACTION_DROP: (),
    RuleType.ACTION_ACCEPT: (),
    RuleType.ACTION_TEE: _COPY,
    RuleType.ACTION_WATCH: _COPY,
    RuleType.ACTION_REDIRECT: (_Node("address"), _Number("flags", 32, 0), _NoLength()),
    RuleType.ACTION_BREAK: (),
    RuleType.ACTION_PRIORITY: (_Bucket(),),
    RuleType.MATCH_SOURCE_ZEROTIER_ADDRESS: (_Node("zt"),),
    RuleType.MATCH_DEST_ZEROTIER_ADDRESS: (_Node("zt"),),
    RuleType.MATCH_VLAN_ID: (_Number("vlanId", 16),),
    RuleType.MATCH_VLAN_PCP: (_Number("vlanPcp", 8),),
    RuleType.MATCH_VLAN_DEI: (_Number("vlanDei", 8),),
    RuleType.MATCH_MAC_SOURCE: (_Mac(),),
    RuleType.MATCH_MAC_DEST: (_Mac(),),
    RuleType.MATCH_IPV4_SOURCE: _IPV4,
    RuleType.MATCH_IPV4_DEST: _IPV4,
    RuleType.MATCH_IPV6_SOURCE: _IPV6,
    RuleType.MATCH_IPV6_DEST: _IPV6,
    RuleType.MATCH_IP_TOS: (_Number("mask", 8), _Number("start", 8), _Number("end", 8)),
    RuleType.MATCH_IP_PROTOCOL: (_Number("ipProtocol", 8),),
    RuleType.MATCH_ETHERTYPE: (_Number("etherType", 16),),
    RuleType.MATCH_ICMP: (_Number("icmpType", 8), _IcmpCode()),
    RuleType.MATCH_IP_SOURCE_PORT_RANGE: (_Range(),),
    RuleType.MATCH_IP_DEST_PORT_RANGE: (_Range(),),
    RuleType.MATCH_CHARACTERISTICS: (_Mask(),),
    RuleType.MATCH_FRAME_SIZE_RANGE: (_Range(),),
    RuleType.MATCH_RANDOM: (_Number("probability", 32),),
    RuleType.MATCH_TAGS_DIFFERENCE: _TAG,
    RuleType.MATCH_TAGS_BITWISE_AND: _TAG,
    RuleType.MATCH_TAGS_BITWISE_OR: _TAG,
    RuleType.MATCH_TAGS_BITWISE_XOR: _TAG,
    RuleType.MATCH_TAGS_EQUAL: _TAG,
    RuleType.MATCH_TAG_SENDER: _TAG,
    RuleType.MATCH_TAG_RECEIVER: _TAG,
    RuleType.INTEGER_RANGE: (_IntegerRange(),),
}
_BY_NAME: Final = {kind.name: kind for kind in RuleType}

_DIGITS: Final = re.compile("[0-9]{1,3}")


def _text(value: Mapping[str, Any], key: str, what: str) -> str:
    text = value.get(key)
    if not isinstance(text, str):
        raise ValueError(f"{key} is {what}, not {text!r}")
    return text


def _flag(value: Mapping[str, Any], key: str) -> bool:
    flag = value.get(key, False)
    if not isinstance(flag, bool):
        raise ValueError(f"{key} is true or false, not {flag!r}")
    return flag


def _hex_or_number(value: Mapping[str, Any], key: str) -> int:
    number = value.get(key)
    if isinstance(number, str) and re.fullmatch("[0-9a-fA-F]{1,16}", number):
        return int(number, 16)
    if type(number) is not int or not 0 <= number <= _U64:
        raise ValueError(f"{key} is up to 16 hexadecimal digits, or a number, not {number!r}")
    return number
