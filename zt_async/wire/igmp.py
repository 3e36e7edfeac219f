"""IGMP, the messages by which hosts tell routers which IPv4 groups they want (RFC 3376, RFC 2236, RFC 1112).

What MLD, its counterpart for IPv6, shares with it is here as well.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from zt_async.accel import checksum
from zt_async.errors import DecodeError

QUERY = 0x11
REPORT_V1, REPORT_V2, LEAVE, REPORT = 0x12, 0x16, 0x17, 0x22

ALL_ROUTERS = bytes((224, 0, 0, 2))
REPORTS = bytes((224, 0, 0, 22))
"""The group that reports of version 3 are sent to."""

MODE_IS_INCLUDE, MODE_IS_EXCLUDE, CHANGE_TO_INCLUDE, CHANGE_TO_EXCLUDE = 1, 2, 3, 4

_V1_MAX_RESPONSE = 10.0


class Query(NamedTuple):
    """Who wants which group? Times are seconds."""

    version: int
    group: bytes
    """Unspecified when all groups are meant."""
    sources: tuple[bytes, ...]
    """Not empty when the question is for packets of these to the group."""
    max_response: float
    """The answer has to come within this time."""
    robustness: int
    """How often what matters is said, so that it is heard; 0 where the querier does not say."""
    interval: float
    """Between the queries of this querier; 0 where it does not say."""

    @property
    def is_general(self) -> bool:
        return not any(self.group)


class Record(NamedTuple):
    """What a host has to say of one group."""

    kind: int
    group: bytes
    sources: tuple[bytes, ...] = ()

    def encode(self) -> bytes:
        return (
            bytes((self.kind, 0)) + len(self.sources).to_bytes(2, "big") + self.group + b"".join(self.sources)
        )


def encode_report(records: Iterable[Record]) -> bytes:
    """A report of version 3."""
    parts = [record.encode() for record in records]
    return _sealed(bytes((REPORT, 0, 0, 0)) + len(parts).to_bytes(4, "big") + b"".join(parts))


def encode_old(kind: int, group: bytes) -> bytes:
    """A report of version 1 or 2, or a leave."""
    return _sealed(bytes((kind, 0, 0, 0)) + group)


def parse(data: bytes) -> tuple[int, Query | bytes | None]:
    """Type and content of a message: a query; the group of an old report; None for what hosts need not know.

    Raises DecodeError.
    """
    if len(data) < 8:
        raise DecodeError("igmp truncated")
    if checksum(data) != 0xFFFF:
        raise DecodeError("igmp checksum")
    kind = data[0]
    if kind == QUERY:
        return kind, _parse_query(data)
    return kind, data[4:8] if kind in (REPORT_V1, REPORT_V2) else None


def _parse_query(data: bytes) -> Query:
    """The size tells the version (RFC 3376 section 7.1)."""
    group = data[4:8]
    if any(group) and group[0] >> 4 != 0xE:
        raise DecodeError("igmp group")
    if len(data) < 12:
        if len(data) != 8:
            raise DecodeError("igmp query size")
        if not data[1]:
            return Query(1, group, (), _V1_MAX_RESPONSE, 0, 0.0)
        return Query(2, group, (), data[1] / 10, 0, 0.0)
    sources = parse_sources(data, 8, 4)
    if sources and not any(group):
        raise DecodeError("igmp group")
    return Query(3, group, sources, parse_code(data[1], 4) / 10, data[8] & 7, float(parse_code(data[9], 4)))


def parse_sources(data: bytes, offset: int, size: int) -> tuple[bytes, ...]:
    """The end of a query: flags, interval, number of sources, sources of ``size`` bytes. Raises DecodeError."""
    first = offset + 4
    count = int.from_bytes(data[offset + 2 : first], "big")
    if first + count * size > len(data):
        raise DecodeError("query truncated")
    return tuple(data[at : at + size] for at in range(first, first + count * size, size))


def parse_code(code: int, bits: int) -> int:
    """A number, or from the highest bit on a mantissa of so many bits and an exponent (RFC 3376 section 4.1.1)."""
    exponent = code >> bits
    if not exponent & 8:
        return code
    return (code & (1 << bits) - 1 | 1 << bits) << (exponent & 7) + 3


def _sealed(blank: bytes) -> bytes:
    return blank[:2] + (checksum(blank) ^ 0xFFFF).to_bytes(2, "big") + blank[4:]
