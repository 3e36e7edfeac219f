"""The IP addresses of this host's network interfaces."""

from __future__ import annotations

import ctypes
import ipaddress
import socket
import sys
from collections.abc import Iterable
from typing import NamedTuple

from zt_async.types import Endpoint, IPAddress, IPNetwork
from zt_async.wire.inetaddress import Scope, ip_scope

NEVER = ("lo", "zt", "tun", "tap", "feth", "utun")
"""Interfaces that are no wires: loopback, and those that ZeroTier and other tunnels make (vl1.md 5.15)."""

USABLE = {Scope.PSEUDO_PRIVATE, Scope.GLOBAL, Scope.SHARED, Scope.PRIVATE}

IFF_UP = 1
IFA_F_TEMPORARY = 1
IN6_FLAGS_FILE = "/proc/net/if_inet6"


class LocalAddress(NamedTuple):
    """An IP address of an interface that is up."""

    interface: str
    ip: IPAddress
    temporary: bool
    """An IPv6 privacy address (RFC 8981), which changes every day."""


class _Interface(ctypes.Structure):
    """``struct ifaddrs``, as far as it is alike everywhere."""


_Interface._fields_ = [
    ("next", ctypes.POINTER(_Interface)),
    ("name", ctypes.c_char_p),
    ("flags", ctypes.c_uint),
    ("address", ctypes.c_void_p),
]


def local_addresses() -> list[LocalAddress]:
    """All addresses of this host. Raises OSError if the system does not tell them."""
    if sys.platform == "win32":
        found = socket.getaddrinfo(socket.gethostname(), None)
        return [LocalAddress("", _ip(str(entry[4][0])), temporary=False) for entry in found]
    library = ctypes.CDLL(None, use_errno=True)
    first = ctypes.POINTER(_Interface)()
    if library.getifaddrs(ctypes.byref(first)) != 0:
        raise OSError(ctypes.get_errno(), "getifaddrs failed")
    try:
        temporary = _temporary_addresses()
        addresses = []
        entry = first
        while entry:
            interface = entry.contents
            if interface.address and interface.flags & IFF_UP:
                ip = _address_at(interface.address)
                if ip is not None:
                    addresses.append(LocalAddress(interface.name.decode(), ip, ip in temporary))
            entry = interface.next
        return addresses
    finally:
        library.freeifaddrs(first)


def usable_addresses(
    addresses: Iterable[LocalAddress],
    *,
    allow_loopback: bool = False,
    interface_blacklist: Iterable[str] = (),
    blacklist: Iterable[IPNetwork] = (),
) -> list[str]:
    """Those on which a node binds sockets (vl1.md 5.15), as the host of an ``Endpoint``, each once.

    ``interface_blacklist`` has beginnings of interface names, ``blacklist`` prefixes of addresses.
    """
    skipped = (*interface_blacklist, *NEVER)
    blacklist = list(blacklist)
    usable = []
    for interface, ip, temporary in addresses:
        scope = ip_scope(ip)
        if scope == Scope.LOOPBACK:
            wanted = allow_loopback
        else:
            wanted = scope in USABLE and not temporary and not interface.startswith(skipped)
        if wanted and not any(ip in network for network in blacklist):
            usable.append(Endpoint.make(ip, 0).host)
    return list(dict.fromkeys(usable))


def _ip(text: str) -> IPAddress:
    return ipaddress.ip_address(text.partition("%")[0])


def _address_at(pointer: int) -> IPAddress | None:
    """The IP address in a ``struct sockaddr``. BSDs keep a length before the family, in one byte each."""
    head = ctypes.string_at(pointer, 2)
    family = int.from_bytes(head, sys.byteorder) if sys.platform == "linux" else head[1]
    if family == socket.AF_INET:
        return ipaddress.IPv4Address(ctypes.string_at(pointer + 4, 4))
    if family == socket.AF_INET6:
        return ipaddress.IPv6Address(ctypes.string_at(pointer + 8, 16))
    return None


def _temporary_addresses() -> set[IPAddress]:
    """On Linux. Elsewhere they are not told apart."""
    try:
        with open(IN6_FLAGS_FILE) as file:
            lines = [line.split() for line in file]
    except FileNotFoundError:
        return set()
    return {
        ipaddress.IPv6Address(bytes.fromhex(fields[0]))
        for fields in lines
        if int(fields[4], 16) & IFA_F_TEMPORARY
    }
