"""ICMPv6 messages (RFC 4443): a type, a code and a body, under a checksum that covers the IPv6 addresses."""

from __future__ import annotations

from typing import NamedTuple

from zt_async.errors import DecodeError
from zt_async.wire import ip

DESTINATION_UNREACHABLE = 1
PACKET_TOO_BIG = 2
TIME_EXCEEDED = 3
PARAMETER_PROBLEM = 4
ECHO_REQUEST = 128
ECHO_REPLY = 129
NEIGHBOR_SOLICITATION = 135
NEIGHBOR_ADVERTISEMENT = 136
REDIRECT = 137

NO_ROUTE, PROHIBITED, BEYOND_SCOPE, ADDRESS_UNREACHABLE, PORT_UNREACHABLE = range(5)
"""Codes of "destination unreachable" (RFC 4443 section 3.1)."""
REASSEMBLY_TIME_EXCEEDED = 1

_LARGEST_ERROR = 1280 - 40  # an error must fit the smallest MTU of IPv6 (RFC 4443 section 2.4 c)


class Message(NamedTuple):
    """What follows the checksum is the body: four bytes that depend on the type, then the rest."""

    kind: int
    code: int
    body: bytes

    @property
    def is_error(self) -> bool:
        return self.kind < 128

    def encode(self, source: bytes, destination: bytes) -> bytes:
        blank = bytes((self.kind, self.code, 0, 0)) + self.body
        pseudo = ip.pseudo_header_sum(source, destination, ip.ICMPV6)
        return blank[:2] + ip.upper_checksum(blank, pseudo).to_bytes(2, "big") + self.body


def parse(data: bytes, source: bytes, destination: bytes) -> Message:
    """Read and verify a message. Raises DecodeError."""
    if len(data) < 8:
        raise DecodeError("icmpv6 truncated")
    if not ip.checksum_holds(data, ip.pseudo_header_sum(source, destination, ip.ICMPV6)):
        raise DecodeError("icmpv6 checksum")
    return Message(data[0], data[1], data[4:])


def error(kind: int, code: int, value: int, cause: bytes) -> Message:
    """An error about the packet ``cause``, of which it quotes what fits; ``value``: MTU, pointer or 0."""
    return Message(kind, code, value.to_bytes(4, "big") + cause[: _LARGEST_ERROR - 8])


class Echo(NamedTuple):
    """The body of an echo request or reply."""

    identifier: int
    sequence: int
    payload: bytes

    def encode(self) -> bytes:
        return (self.identifier << 16 | self.sequence).to_bytes(4, "big") + self.payload


def parse_echo(body: bytes) -> Echo:
    """``body`` has at least the four bytes that every message has."""
    return Echo(int.from_bytes(body[0:2], "big"), int.from_bytes(body[2:4], "big"), body[4:])
