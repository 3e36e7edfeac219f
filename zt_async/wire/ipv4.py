"""IPv4 headers and their options (RFC 791)."""

from __future__ import annotations

import struct
from typing import NamedTuple

from zt_async.accel import checksum
from zt_async.errors import DecodeError

HEADER_SIZE = 20
TTL = 64
MINIMUM_PATH_MTU = 552
"""Of paths that routers speak of. 68 is the protocol's own, but whoever claims so little means no good."""

UNSPECIFIED = bytes(4)
BROADCAST = b"\xff" * 4
LOOPBACK = bytes((127, 0, 0, 1))
ALL_SYSTEMS = bytes((224, 0, 0, 1))

ROUTER_ALERT = bytes((0x94, 4, 0, 0))
"""The option of RFC 2113."""

_HEADER = struct.Struct("!BBHHHBBH4s4s")
_DONT_FRAGMENT, _MORE_FRAGMENTS = 0x4000, 0x2000
_END, _NOP, _LOOSE_ROUTE, _STRICT_ROUTE = 0, 1, 131, 137


class Header(NamedTuple):
    """A header; addresses are 4 packed bytes, sizes and offsets bytes."""

    source: bytes
    destination: bytes
    protocol: int
    payload_length: int
    ttl: int = TTL
    tos: int = 0
    identification: int = 0
    """Means nothing in a packet that may not be fragmented (RFC 6864)."""
    dont_fragment: bool = True
    more_fragments: bool = False
    offset: int = 0
    """Of the payload in the packet that was fragmented; a multiple of 8."""
    options: bytes = b""
    """Padded to whole words."""

    @property
    def size(self) -> int:
        return HEADER_SIZE + len(self.options)

    @property
    def is_fragment(self) -> bool:
        return self.more_fragments or self.offset > 0

    def encode(self) -> bytes:
        size = self.size
        flags = self.dont_fragment * _DONT_FRAGMENT | self.more_fragments * _MORE_FRAGMENTS
        blank = _HEADER.pack(
            0x40 | size >> 2,
            self.tos,
            size + self.payload_length,
            self.identification,
            flags | self.offset >> 3,
            self.ttl,
            self.protocol,
            0,
            self.source,
            self.destination,
        )
        check = checksum(blank + self.options) ^ 0xFFFF
        return blank[:10] + check.to_bytes(2, "big") + blank[12:] + self.options


def parse_header(packet: bytes) -> Header:
    """Read the header, check it against the packet's size, and verify its checksum. Raises DecodeError."""
    if len(packet) < HEADER_SIZE:
        raise DecodeError("ipv4 truncated")
    first, tos, total, identification, place, ttl, protocol, _, source, destination = _HEADER.unpack_from(
        packet
    )
    if first >> 4 != 4:
        raise DecodeError("ipv4 version")
    size = (first & 0xF) << 2
    if size < HEADER_SIZE:
        raise DecodeError("ipv4 header length")
    if not size <= total <= len(packet):
        raise DecodeError("ipv4 truncated")
    if checksum(packet[:size]) != 0xFFFF:
        raise DecodeError("ipv4 checksum")
    return Header(
        source,
        destination,
        protocol,
        total - size,
        ttl,
        tos,
        identification,
        bool(place & _DONT_FRAGMENT),
        bool(place & _MORE_FRAGMENTS),
        (place & 0x1FFF) << 3,
        packet[HEADER_SIZE:size],
    )


def check_options(options: bytes) -> None:
    """Options mean nothing to a host, but for a route that does not end here (RFC 1122 section 3.2.1.8).

    Raises DecodeError for such a route, and for options that are malformed.
    """
    at = 0
    while at < len(options):
        kind = options[at]
        if kind == _END:
            return
        if kind == _NOP:
            at += 1
            continue
        size = options[at + 1] if at + 1 < len(options) else 0
        if size < 2 or at + size > len(options):
            raise DecodeError("ipv4 option length")
        if kind in (_LOOSE_ROUTE, _STRICT_ROUTE) and (size < 3 or options[at + 2] <= size):
            raise DecodeError("ipv4 source route")
        at += size


def is_loopback(address: bytes) -> bool:
    return address[0] == 127


def is_unicast(address: bytes) -> bool:
    """Whether a host on a network may have it (RFC 1122 section 3.2.1.3)."""
    return 0 < address[0] < 224 and address[0] != 127
