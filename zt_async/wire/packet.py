"""The frame of VL1: packet header, fragments, verbs and codes. vl1.md 2.1, 2.7 and 3.1."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

HEADER_SIZE: Final = 28  # with the verb byte, which is the first byte under the cipher
FRAGMENT_HEADER_SIZE: Final = 16
BODY_OFFSET: Final = 27
MAX_DATAGRAM: Final = 10_024
MAX_FRAGMENTS: Final = 7
DEFAULT_MTU: Final = 1432  # UDP payload bytes
FRAGMENT_MARK: Final = 0xFF  # stands where a whole packet has the first byte of its source, never 0xff

FLAG_FRAGMENTED: Final = 0x40
SUITE_MASK: Final = 0x38
HOPS_MASK: Final = 0x07
MAX_RELAY_HOPS: Final = 3

VERB_MASK: Final = 0x1F
COMPRESSED: Final = 0x80

PROTOCOL_VERSION: Final = 12
MIN_PROTOCOL_VERSION: Final = 4
FIRST_AES_PROTOCOL: Final = 12
FIRST_ECHO_PROTOCOL: Final = 5


class Suite(IntEnum):
    """Cipher suites (vl1.md 2.3)."""

    CLEAR = 0
    SALSA = 1
    TRUSTED_PATH = 2
    AES = 3


class Verb(IntEnum):
    """What a packet asks or says (vl1.md 3.1)."""

    NOP = 0x00
    HELLO = 0x01
    ERROR = 0x02
    OK = 0x03
    WHOIS = 0x04
    RENDEZVOUS = 0x05
    FRAME = 0x06
    EXT_FRAME = 0x07
    ECHO = 0x08
    MULTICAST_LIKE = 0x09
    NETWORK_CREDENTIALS = 0x0A
    NETWORK_CONFIG_REQUEST = 0x0B
    NETWORK_CONFIG = 0x0C
    MULTICAST_GATHER = 0x0D
    MULTICAST_FRAME = 0x0E
    PUSH_DIRECT_PATHS = 0x10
    ACK = 0x12
    QOS_MEASUREMENT = 0x13
    USER_MESSAGE = 0x14
    REMOTE_TRACE = 0x15
    PATH_NEGOTIATION_REQUEST = 0x16


class ErrorCode(IntEnum):
    """The code of an ERROR (vl1.md 3.3)."""

    NONE = 0x00
    INVALID_REQUEST = 0x01
    BAD_PROTOCOL_VERSION = 0x02
    OBJECT_NOT_FOUND = 0x03
    IDENTITY_COLLISION = 0x04
    UNSUPPORTED_OPERATION = 0x05
    NEED_MEMBERSHIP_CERTIFICATE = 0x06
    NETWORK_ACCESS_DENIED = 0x07
    UNWANTED_MULTICAST = 0x08
    AUTHENTICATION_REQUIRED = 0x09


def split(packet: bytes, head_size: int, piece_size: int) -> list[bytes]:
    """Cut an armored packet into a head of ``head_size`` bytes and fragments of ``piece_size`` data bytes each.

    The fragmented flag must have been set before arming, because it is authenticated. Raises ValueError when
    more than seven datagrams would be needed. vl1.md 2.7.
    """
    total = 1 + -(-(len(packet) - head_size) // piece_size)
    if total > MAX_FRAGMENTS:
        raise ValueError(f"a packet of {len(packet)} bytes does not fit into {MAX_FRAGMENTS} fragments")
    prefix = packet[:13] + b"\xff"
    pieces = [packet[:head_size]]
    for number in range(1, total):
        start = head_size + (number - 1) * piece_size
        pieces.append(b"%b%c\x00%b" % (prefix, total << 4 | number, packet[start : start + piece_size]))
    return pieces


def split_evenly(packet: bytes, mtu: int) -> list[bytes]:
    """Cut an armored packet into as few datagrams of equal size (the last may be shorter) as ``mtu`` allows.

    Receivers only concatenate, and equal sizes let one system call carry a whole flight (DESIGN 6).
    """
    size = len(packet)
    total = -(-(size - FRAGMENT_HEADER_SIZE) // (mtu - FRAGMENT_HEADER_SIZE))
    datagram = -(-(size + FRAGMENT_HEADER_SIZE * (total - 1)) // total)
    if total == 2:  # the usual case: one full frame of a network
        return [packet[:datagram], b"%b\xff\x21\x00%b" % (packet[:13], packet[datagram:])]
    return split(packet, datagram, datagram - FRAGMENT_HEADER_SIZE)
