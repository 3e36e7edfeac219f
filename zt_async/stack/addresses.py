"""Addresses between applications, who write text, and packets, which have bytes."""

from __future__ import annotations

import ipaddress
from functools import lru_cache
from typing import TypeAlias

from zt_async.wire import ipv4, ipv6

Address: TypeAlias = tuple[str, int]
"""Host, as canonical text, and port."""

ANY = b""
"""All own addresses of both families. Sockets are told that this is ``::``."""

IPV4_ANY = ipv4.UNSPECIFIED
IPV6_ANY = ipv6.UNSPECIFIED
"""All own IPv6 addresses, and the IPv4 ones where no other socket is bound to them."""


@lru_cache(maxsize=1024)
def pack_address(host: str) -> bytes:
    """The bytes of an IP address; of an IPv4 address that is mapped into IPv6, its own four.

    Raises ValueError for anything else than an address.
    """
    address = ipaddress.ip_address(host)
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id is not None:
            raise ValueError(f"name the interface with interface=, not in the address {host}")
        address = address.ipv4_mapped or address
    return address.packed


@lru_cache(maxsize=1024)
def address_text(packed: bytes) -> str:
    """The canonical text of a packed address."""
    return str(ipaddress.ip_address(packed or IPV6_ANY))


def is_wildcard(packed: bytes) -> bool:
    """Whether it stands for all own addresses, or all of a family."""
    return not any(packed)


def check_port(port: int) -> int:
    """Raises ValueError for anything but 0 to 65535."""
    if not 0 <= port <= 0xFFFF:
        raise ValueError(f"a port is 0 to 65535, not {port}")
    return port
