"""What IPv4 and IPv6 share: protocol numbers and the checksum of upper layers over a pseudo-header.

Addresses are their packed bytes, 4 or 16; the length tells the family.
"""

from __future__ import annotations

from zt_async.accel import BytesLike, checksum
from zt_async.wire import ipv4, ipv6
from zt_async.wire.ethernet import ETHERTYPE_IPV4, ETHERTYPE_IPV6

ICMPV4 = 1
IGMP = 2
TCP = 6
UDP = 17
ICMPV6 = 58


def is_ipv6(address: bytes) -> bool:
    return len(address) == 16


def is_unicast(address: bytes) -> bool:
    """Whether a host on a network may have it."""
    return ipv6.is_unicast(address) if is_ipv6(address) else ipv4.is_unicast(address)


def ethertype(address: bytes) -> int:
    """Of frames with packets of the address's family."""
    return ETHERTYPE_IPV6 if len(address) == 16 else ETHERTYPE_IPV4


def is_multicast(address: bytes) -> bool:
    """Whether an address is a group's."""
    return address[0] == 0xFF if len(address) == 16 else address[0] >> 4 == 0xE


def addresses_of(packet: bytes) -> tuple[bytes, bytes]:
    """Source and destination of a packet whose header is whole."""
    if packet[0] >> 4 == 6:
        return packet[8:24], packet[24:40]
    return packet[12:16], packet[16:20]


def pseudo_header_sum(source: bytes, destination: bytes, protocol: int) -> int:
    """The pseudo-header's sum without the upper layer's length, which the caller adds.

    The families lay it out differently (RFC 9293 section 3.1, RFC 8200 section 8.1), but a sum of words
    does not see that.
    """
    return checksum(source + destination, protocol)


def upper_checksum(data: BytesLike, pseudo_sum: int) -> int:
    """The checksum field for an upper-layer packet whose own field is zero."""
    return checksum(data, pseudo_sum + len(data)) ^ 0xFFFF


def checksum_holds(data: BytesLike, pseudo_sum: int) -> bool:
    """Whether a received upper-layer packet sums up right."""
    return checksum(data, pseudo_sum + len(data)) == 0xFFFF
