"""IPv6 addresses that follow from a network ID and a node address. vl2.md 1.3."""

from __future__ import annotations

from ipaddress import IPv6Interface


def sixplane(network_id: int, address: int) -> IPv6Interface:
    """The member's first 6PLANE address, of the /80 that is all its own; /40 is the whole network."""
    short_id = (network_id ^ network_id >> 32) & 0xFFFFFFFF
    return IPv6Interface((0xFC << 120 | short_id << 88 | address << 48 | 1, 40))


def rfc4193(network_id: int, address: int) -> IPv6Interface:
    """The member's RFC 4193 address; /88 is the whole network."""
    return IPv6Interface((0xFD << 120 | network_id << 56 | 0x9993 << 40 | address, 88))
