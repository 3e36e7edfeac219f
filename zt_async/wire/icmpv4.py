"""ICMP messages of IPv4 (RFC 792): a type, a code and a body, under a checksum."""

from __future__ import annotations

from typing import NamedTuple

from zt_async.accel import checksum
from zt_async.errors import DecodeError

ECHO_REPLY = 0
DESTINATION_UNREACHABLE = 3
SOURCE_QUENCH = 4
REDIRECT = 5
ECHO_REQUEST = 8
TIME_EXCEEDED = 11
PARAMETER_PROBLEM = 12

NET_UNREACHABLE, HOST_UNREACHABLE, PROTOCOL_UNREACHABLE, PORT_UNREACHABLE, FRAGMENTATION_NEEDED = range(5)
"""Codes of "destination unreachable"."""
SOURCE_ROUTE_FAILED = 5
NET_PROHIBITED, HOST_PROHIBITED, PROHIBITED = 9, 10, 13
REASSEMBLY_TIME_EXCEEDED = 1

ERRORS = (DESTINATION_UNREACHABLE, SOURCE_QUENCH, REDIRECT, TIME_EXCEEDED, PARAMETER_PROBLEM)
"""Types that quote a packet."""

_LARGEST_ERROR = 576 - 20  # RFC 1812 section 4.3.2.3
_PLATEAUS = (65535, 32000, 17914, 8166, 4352, 2002, 1492, 1006, 508, 296, 68)  # RFC 1191 section 7.1


class Message(NamedTuple):
    """What follows the checksum is the body: four bytes that depend on the type, then the rest."""

    kind: int
    code: int
    body: bytes

    @property
    def is_error(self) -> bool:
        return self.kind in ERRORS

    def encode(self) -> bytes:
        check = checksum(bytes((self.kind, self.code)) + self.body) ^ 0xFFFF
        return bytes((self.kind, self.code)) + check.to_bytes(2, "big") + self.body


def parse(data: bytes) -> Message:
    """Read and verify a message. Raises DecodeError."""
    if len(data) < 8:
        raise DecodeError("icmpv4 truncated")
    if checksum(data) != 0xFFFF:
        raise DecodeError("icmpv4 checksum")
    return Message(data[0], data[1], data[4:])


def error(kind: int, code: int, value: int, cause: bytes) -> Message:
    """An error about the packet ``cause``, of which it quotes what fits; ``value``: MTU or 0."""
    return Message(kind, code, value.to_bytes(4, "big") + cause[: _LARGEST_ERROR - 8])


def next_hop_mtu(value: int, quoted_length: int) -> int:
    """What "fragmentation needed" says the path takes (RFC 1191 section 3).

    Routers from before that RFC say 0; then it is the next usual MTU below the size of the packet that did not fit.
    """
    mtu = value & 0xFFFF
    if mtu:
        return mtu
    return next((plateau for plateau in _PLATEAUS if plateau < quoted_length), _PLATEAUS[-1])
