"""IPv6 headers and extension headers (RFC 8200)."""

from __future__ import annotations

import struct
from typing import NamedTuple

from zt_async.errors import DecodeError

HEADER_SIZE = 40
FRAGMENT_HEADER_SIZE = 8
MINIMUM_MTU = 1280
HOP_LIMIT = 64

UNSPECIFIED = bytes(16)
LOOPBACK = bytes(15) + b"\x01"
ALL_NODES = bytes.fromhex("ff020000000000000000000000000001")

HOP_BY_HOP, ROUTING, FRAGMENT, NO_NEXT_HEADER, DESTINATION_OPTIONS = 0, 43, 44, 59, 60

ERRONEOUS_FIELD, UNRECOGNIZED_NEXT_HEADER, UNRECOGNIZED_OPTION, INCOMPLETE_FIRST_FRAGMENT = range(4)
"""Codes of the ICMPv6 message "parameter problem" (RFC 4443 section 3.4, RFC 7112 section 5)."""

_MAPPED = bytes(10) + b"\xff\xff"
_HEADER = struct.Struct("!IHBB16s16s")
_FRAGMENT_HEADER = struct.Struct("!BxHI")
_EXTENSIONS = (HOP_BY_HOP, ROUTING, FRAGMENT, DESTINATION_OPTIONS)
_MAX_EXTENSION_HEADERS = 8


class ParameterProblem(DecodeError):
    """A header that RFC 8200 wants answered: the ICMPv6 code and the offset of the field in the packet."""

    def __init__(self, reason: str, code: int, pointer: int, *, answer_multicast: bool = False) -> None:
        super().__init__(reason)
        self.code = code
        self.pointer = pointer
        self.answer_multicast = answer_multicast


class Header(NamedTuple):
    """The fixed header; addresses are 16 packed bytes."""

    source: bytes
    destination: bytes
    next_header: int
    payload_length: int
    hop_limit: int = HOP_LIMIT
    traffic_class: int = 0
    flow_label: int = 0

    def encode(self) -> bytes:
        first = 6 << 28 | self.traffic_class << 20 | self.flow_label
        return _HEADER.pack(
            first, self.payload_length, self.next_header, self.hop_limit, self.source, self.destination
        )


class Fragment(NamedTuple):
    """A fragment header: where the piece lies in the fragmentable part, and of which packet."""

    next_header: int
    offset: int
    more: bool
    identification: int

    def encode(self) -> bytes:
        """``offset`` is in bytes and a multiple of 8."""
        return _FRAGMENT_HEADER.pack(self.next_header, self.offset | self.more, self.identification)


class Upper(NamedTuple):
    """Where a packet's extension headers end."""

    protocol: int
    """What follows them; for a fragment, what the fragment header says."""
    offset: int
    """Of the upper-layer header, or of a fragment's piece, in the packet."""
    named_at: int
    """Offset of the byte that names ``protocol``, for ICMPv6."""
    fragment: Fragment | None


def parse_header(packet: bytes) -> Header:
    """Read the fixed header and check it against the packet's size. Raises DecodeError."""
    if len(packet) < HEADER_SIZE:
        raise DecodeError("ipv6 truncated")
    first, length, next_header, hop_limit, source, destination = _HEADER.unpack_from(packet)
    if first >> 28 != 6:
        raise DecodeError("ipv6 version")
    if HEADER_SIZE + length > len(packet):
        raise DecodeError("ipv6 truncated")
    return Header(source, destination, next_header, length, hop_limit, first >> 20 & 0xFF, first & 0xFFFFF)


def find_upper(packet: bytes, end: int, protocol: int, offset: int = HEADER_SIZE, named_at: int = 6) -> Upper:
    """Walk the extension headers from ``offset``, where ``protocol`` begins, to what they lead to.

    That is the upper layer or a fragment. Raises DecodeError, or ParameterProblem for what RFC 8200 section 4
    wants answered.
    """
    for _ in range(_MAX_EXTENSION_HEADERS + 1):
        if protocol not in _EXTENSIONS:
            return Upper(protocol, offset, named_at, None)
        if offset + 8 > end:
            raise DecodeError("ipv6 extension header truncated")
        following = packet[offset]
        if protocol == FRAGMENT:
            _, position, identification = _FRAGMENT_HEADER.unpack_from(packet, offset)
            fragment = Fragment(following, position & 0xFFF8, bool(position & 1), identification)
            return Upper(following, offset + FRAGMENT_HEADER_SIZE, offset, fragment)
        stop = offset + 8 + 8 * packet[offset + 1]
        if stop > end:
            raise DecodeError("ipv6 extension header truncated")
        if protocol == ROUTING:
            if packet[offset + 3]:  # segments left: we are no router (RFC 5095 also ends type 0)
                raise ParameterProblem("ipv6 routing header", ERRONEOUS_FIELD, offset + 2)
        else:
            if protocol == HOP_BY_HOP and offset != HEADER_SIZE:
                raise ParameterProblem("ipv6 hop-by-hop misplaced", UNRECOGNIZED_NEXT_HEADER, named_at)
            _check_options(packet, offset + 2, stop)
        protocol, named_at, offset = following, offset, stop
    raise DecodeError("ipv6 too many extension headers")


def skip_extensions(packet: bytes) -> tuple[int, int]:
    """The upper-layer protocol and where it begins, by the lengths of the extension headers alone."""
    protocol, offset = packet[6], HEADER_SIZE
    while protocol in _EXTENSIONS and offset + 8 <= len(packet):
        length = 0 if protocol == FRAGMENT else packet[offset + 1]
        protocol, offset = packet[offset], offset + 8 + 8 * length
    return protocol, offset


def _check_options(packet: bytes, offset: int, stop: int) -> None:
    """Unknown options say in their two highest bits what to do with the packet (RFC 8200 section 4.2)."""
    while offset < stop:
        kind = packet[offset]
        if kind == 0:  # Pad1
            offset += 1
            continue
        if offset + 2 > stop or offset + 2 + packet[offset + 1] > stop:
            raise DecodeError("ipv6 option truncated")
        action = kind >> 6
        if action == 1:
            raise DecodeError("ipv6 option refused")
        if action:
            raise ParameterProblem(
                "ipv6 option refused", UNRECOGNIZED_OPTION, offset, answer_multicast=action == 2
            )
        offset += 2 + packet[offset + 1]


def is_multicast(address: bytes) -> bool:
    return address[0] == 0xFF


def is_unicast(address: bytes) -> bool:
    """Whether a host on a network may have it: no group, not ``::`` or ``::1``, no IPv4 address that is mapped."""
    return address[0] != 0xFF and address[:15] != UNSPECIFIED[:15] and address[:12] != _MAPPED


def is_link_local(address: bytes) -> bool:
    return address[0] == 0xFE and address[1] & 0xC0 == 0x80


def solicited_node(address: bytes) -> bytes:
    """The group in which an address is asked for (RFC 4291 section 2.7.1)."""
    return bytes.fromhex("ff0200000000000000000001ff") + address[13:]


def link_local_address(mac: int) -> bytes:
    """fe80::/64 with the modified EUI-64 of a MAC address (RFC 4291 appendix A)."""
    upper, lower = mac >> 24 ^ 0x020000, mac & 0xFFFFFF
    return b"\xfe\x80" + bytes(6) + (upper << 40 | 0xFFFE << 24 | lower).to_bytes(8, "big")
