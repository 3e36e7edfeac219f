"""Physical addresses: wire form, text form, scope, and the networks that prefix lengths make of them.

vl1.md 3.2 and 5.2. One form serves UDP endpoints and prefixes, which have their length where an endpoint has
its port. Both are an ``Endpoint`` here; ``None`` is no address.
"""

from __future__ import annotations

import re
from enum import IntEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import Final

from zt_async.errors import DecodeError
from zt_async.types import Endpoint, IPAddress
from zt_async.wire.buffer import Reader

_NONE: Final = 0
_ETHERNET: Final = 1
_BLUETOOTH: Final = 2
_OTHER: Final = 3
_IPV4: Final = 4
_IPV6: Final = 6

_LONGEST_TEXT: Final = 63
_NUMBER = re.compile(r"^[ \t\n\v\f\r]*(?:\+|(-))?([0-9]*)")
_ULONG_MAX: Final = (1 << 64) - 1


def read_endpoint(reader: Reader) -> Endpoint | None:
    """Read one address; None for the null address and for kinds that are not IP. Raises DecodeError."""
    kind = reader.u8()
    if kind == _IPV4:
        return Endpoint.make(IPv4Address(reader.take(4)), reader.u16())
    if kind == _IPV6:
        return Endpoint.make(IPv6Address(reader.take(16)), reader.u16())
    # Other nodes do not check that what they skip is there: the next read fails.
    if kind in (_ETHERNET, _BLUETOOTH):
        reader.offset += 6
    elif kind == _OTHER:
        size = reader.u16()
        reader.offset += size
    elif kind != _NONE:
        raise DecodeError("unknown kind of address")
    return None


def pack_endpoint(endpoint: Endpoint | None) -> bytes:
    """The wire form: 7 bytes for IPv4, 19 for IPv6, 1 for None."""
    if endpoint is None:
        return b"\0"
    ip = endpoint.ip
    return b"%c%b%b" % (ip.version, ip.packed, endpoint.port.to_bytes(2, "big"))


def parse_address(text: str) -> Endpoint | None:
    """Read ``ip/port`` or ``ip/length`` as leniently as other nodes do (``Endpoint.parse`` is strict).

    The number may be missing, is read as C reads one and taken modulo 65536, an IP that is not one is zero, and an
    empty text is no address. Raises ValueError for a text without both dot and colon, or of 64 characters or more.
    """
    if not text:
        return None
    host, _, number = text.partition("/")
    if len(text) > _LONGEST_TEXT or (":" not in host and "." not in host):
        raise ValueError(f"not an IP address: {text!r}")
    sign, digits = _NUMBER.findall(number)[0]
    value = int(digits or "0")
    port = 0xFFFF if value > _ULONG_MAX else (-value if sign else value) & 0xFFFF
    family = IPv6Address if ":" in host else IPv4Address
    try:
        return Endpoint.make(family(host), port)
    except ValueError:
        return Endpoint.make(family(0), port)


class Scope(IntEnum):
    """How far an IP address reaches; between two addresses of a peer the higher value is preferred."""

    NONE = 0
    MULTICAST = 1
    LOOPBACK = 2
    PSEUDO_PRIVATE = 3
    GLOBAL = 4
    LINK_LOCAL = 5
    SHARED = 6
    PRIVATE = 7


_SCOPES: tuple[tuple[Scope, str], ...] = (
    (Scope.NONE, "0.0.0.0/8 255.0.0.0/8 ::/128"),
    (Scope.MULTICAST, "224.0.0.0/4 ff00::/8"),
    (Scope.LOOPBACK, "127.0.0.0/8 ::1/128 fe80::1/128 ::ffff:127.0.0.0/104"),
    (Scope.PSEUDO_PRIVATE, "6.0.0.0/8 11.0.0.0/8 21.0.0.0/8 22.0.0.0/8 25.0.0.0/8 26.0.0.0/8 28.0.0.0/8"),
    (Scope.PSEUDO_PRIVATE, "29.0.0.0/8 30.0.0.0/8 51.0.0.0/8 55.0.0.0/8 56.0.0.0/8 240.0.0.0/4"),
    (Scope.LINK_LOCAL, "169.254.0.0/16 fe80::/10"),
    (Scope.PRIVATE, "10.0.0.0/8 172.16.0.0/12 192.168.0.0/16 100.64.0.0/10 192.0.2.0/24 198.18.0.0/15"),
    (Scope.PRIVATE, "198.51.100.0/24 203.0.113.0/24 fc00::/7"),
)
_SCOPE_TABLE: dict[int, list[tuple[int, int, Scope]]] = {4: [], 6: []}
for _scope, _networks in _SCOPES:
    for _text in _networks.split():
        _network = ip_network(_text)
        _entry = (int(_network.netmask), int(_network.network_address), _scope)
        _SCOPE_TABLE[_network.version].append(_entry)


def ip_scope(ip: IPAddress) -> Scope:
    """The scope of an address; the first range of the table that holds it decides."""
    number = int(ip)
    for mask, network, scope in _SCOPE_TABLE[ip.version]:
        if number & mask == network:
            return scope
    return Scope.GLOBAL


def prefix_netmask(prefix: Endpoint) -> IPAddress:
    """The netmask. Lengths that do not fit wrap around as on other nodes, which shift modulo the word size."""
    ip, length = prefix.ip, prefix.port
    if isinstance(ip, IPv4Address):
        return IPv4Network((0, 32 - (-length & 31))).netmask
    return IPv6Network((0, length if length <= 64 else 128 - (-length & 63))).netmask


def prefix_network(prefix: Endpoint) -> IPAddress:
    """The network's own address; with an IPv6 length of 0 it keeps the upper half, as on other nodes."""
    ip = prefix.ip
    if isinstance(ip, IPv4Address):
        return IPv4Address(int(ip) & int(prefix_netmask(prefix)))
    return IPv6Address(int(ip) & int(prefix_netmask(prefix._replace(port=prefix.port or 64))))


def prefix_broadcast(prefix: Endpoint) -> IPv4Address | None:
    """The broadcast address of an IPv4 prefix; IPv6 has none."""
    ip = prefix.ip
    return IPv4Address(int(ip) | 0xFFFFFFFF >> (prefix.port & 31)) if isinstance(ip, IPv4Address) else None


def is_network(prefix: Endpoint) -> bool:
    """Whether there are host bits, though not only such, and all are zero."""
    ip = prefix.ip
    return 0 < prefix.port < ip.max_prefixlen and prefix_network(prefix) == ip


def prefix_contains(prefix: Endpoint, ip: IPAddress) -> bool:
    """Whether ``ip`` is in the prefix: in IPv4 whatever its own host bits are, in IPv6 only if they are zero."""
    own = prefix.ip
    if own.version != ip.version:
        return False
    mask = int(prefix_netmask(prefix))
    if own.version == 6:
        return int(ip) & mask == int(own)
    return prefix.port == 0 or (int(ip) ^ int(own)) & mask == 0
