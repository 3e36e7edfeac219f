"""Ethernet II frames as a TAP device carries them, and the MAC addresses of IP groups."""

from __future__ import annotations

from zt_async.errors import DecodeError
from zt_async.types import Frame, MACAddress

HEADER_SIZE = 14
ETHERTYPE_IPV4 = 0x0800
ETHERTYPE_ARP = 0x0806
ETHERTYPE_IPV6 = 0x86DD


def parse(data: bytes) -> Frame:
    """Split a frame. Raises DecodeError for fewer bytes than a header has."""
    if len(data) < HEADER_SIZE:
        raise DecodeError("ethernet truncated")
    return (
        int.from_bytes(data[0:6], "big"),
        int.from_bytes(data[6:12], "big"),
        int.from_bytes(data[12:14], "big"),
        data[14:],
    )


def encode(frame: Frame) -> bytes:
    destination, source, ethertype, payload = frame
    addresses = (destination << 64 | source << 16 | ethertype).to_bytes(HEADER_SIZE, "big")
    return addresses + payload


def multicast_mac(group: bytes) -> MACAddress:
    """Where packets to a packed group address go.

    IPv6: 33:33 and the last four bytes (RFC 2464 section 7). IPv4: 01:00:5e and the last 23 bits (RFC 1112
    section 6.4).
    """
    if len(group) == 16:
        return MACAddress(0x3333 << 32 | int.from_bytes(group[12:], "big"))
    return MACAddress(0x01005E << 24 | int.from_bytes(group[1:], "big") & 0x7FFFFF)
