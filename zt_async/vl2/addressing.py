"""What follows from a network ID and a node address: MAC, IPv6 addresses, multicast groups. vl2.md 1.2, 1.3.

Network IDs and node addresses may be plain integers.
"""

from __future__ import annotations

from ipaddress import IPv4Address

from zt_async.types import BROADCAST, IPAddress, MACAddress, NodeAddress
from zt_async.wire.addressing import rfc4193 as rfc4193
from zt_async.wire.addressing import sixplane as sixplane

_SOLICITED_NODE = 0x3333FF000000
_LOW_40 = (1 << 40) - 1


def first_octet(network_id: int) -> int:
    """The first octet of every member's MAC; another one is that of something bridged."""
    octet = network_id & 0xFE | 0x02
    return octet if octet != 0x52 else 0x32


def member_mac(network_id: int, address: int) -> MACAddress:
    """The MAC of a member."""
    return MACAddress(first_octet(network_id) << 40 | address ^ _mac_mask(network_id))


def address_of_mac(network_id: int, mac: int) -> NodeAddress:
    """The node address behind a MAC, which means something only if the first octet is right."""
    return NodeAddress(mac & _LOW_40 ^ _mac_mask(network_id))


def resolution_group(ip: IPAddress) -> tuple[MACAddress, int]:
    """The multicast group that resolves an IP address: its MAC, and ADI, which tells IPv4 addresses apart."""
    if isinstance(ip, IPv4Address):
        return BROADCAST, int(ip)
    return MACAddress(_SOLICITED_NODE | int(ip) & 0xFFFFFF), 0


def _mac_mask(network_id: int) -> int:
    """Bytes 1 to 5 of the network ID, counted from its least significant one, in reverse."""
    return int.from_bytes((network_id >> 8 & _LOW_40).to_bytes(5, "little"), "big")
