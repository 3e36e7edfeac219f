"""Multicast listener discovery, as bodies of ICMPv6 messages (RFC 3810 section 5, RFC 2710)."""

from __future__ import annotations

from collections.abc import Iterable

from zt_async.errors import DecodeError
from zt_async.wire import ipv6
from zt_async.wire.igmp import Query, Record, parse_code, parse_sources

QUERY, REPORT_V1, DONE, REPORT = 130, 131, 132, 143

ALL_ROUTERS = bytes.fromhex("ff020000000000000000000000000002")
REPORTS = bytes.fromhex("ff020000000000000000000000000016")
"""The group that reports of version 2 are sent to."""

HOP_LIMIT = 1
ROUTER_ALERT = bytes.fromhex("05020000")
"""The hop-by-hop option of RFC 2711 that every message has."""

_V1_SIZE, _V2_SIZE = 20, 24


def encode_report(records: Iterable[Record]) -> bytes:
    """A report of version 2."""
    parts = [record.encode() for record in records]
    return len(parts).to_bytes(4, "big") + b"".join(parts)


def encode_old(group: bytes) -> bytes:
    """A report or "done" of version 1."""
    return bytes(4) + group


def parse_query(body: bytes) -> Query:
    """The size tells the version (RFC 3810 section 8.1). Raises DecodeError."""
    group = parse_group(body)
    delay = int.from_bytes(body[:2], "big")
    if len(body) < _V2_SIZE:
        if len(body) != _V1_SIZE:
            raise DecodeError("mld query size")
        return Query(1, group, (), delay / 1000, 0, 0.0)
    sources = parse_sources(body, 20, 16)
    if sources and not any(group):
        raise DecodeError("mld group")
    robustness, interval = body[20] & 7, float(parse_code(body[21], 4))
    return Query(2, group, sources, parse_code(delay, 12) / 1000, robustness, interval)


def parse_group(body: bytes) -> bytes:
    """The group of a query, where it may be unspecified, or of a report of version 1. Raises DecodeError."""
    if len(body) < _V1_SIZE:
        raise DecodeError("mld truncated")
    group = body[4:20]
    if group != ipv6.UNSPECIFIED and not ipv6.is_multicast(group):
        raise DecodeError("mld group")
    return group
