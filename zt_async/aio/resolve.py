"""Hosts and ports as callers give them, to addresses as the stack takes them."""

from __future__ import annotations

import ipaddress
import socket
from typing import TypeAlias

from zt_async.types import IPAddress

Host: TypeAlias = str | bytes | IPAddress | None
Port: TypeAlias = int | str | bytes | None
SocketAddress: TypeAlias = tuple[str, int] | tuple[str, int, int, int]

_WILDCARDS = {socket.AF_UNSPEC: "", socket.AF_INET: "0.0.0.0", socket.AF_INET6: "::"}
_LOOPBACKS = ["::1", "127.0.0.1"]
_EAI_ADDRFAMILY = getattr(socket, "EAI_ADDRFAMILY", socket.EAI_FAMILY)


def resolve_hosts(host: Host, family: int = socket.AF_UNSPEC, *, passive: bool = False) -> list[str]:
    """The IP addresses of a host as text, as ``getaddrinfo`` orders them; an IPv4 address mapped into IPv6 is itself.

    Without a host it is all own addresses for servers (``passive``; "" is those of both families), else this node
    itself. Raises socket.gaierror for names, which networks do not resolve, and where the host is of another family.
    """
    if family not in _WILDCARDS:
        raise socket.gaierror(socket.EAI_FAMILY, f"there is no family {family} on ZeroTier networks")
    if host is None or host in ("", b""):
        return [_WILDCARDS[socket.AddressFamily(family)]] if passive else _of_family(_LOOPBACKS, family)
    if isinstance(host, (ipaddress.IPv4Address, ipaddress.IPv6Address)):
        address = host
    elif isinstance(host, (str, bytes)):
        text = host.decode("ascii", "replace") if isinstance(host, bytes) else host
        if text == "localhost":
            return _of_family(_LOOPBACKS, family)
        address = _parse(text)
    else:
        raise TypeError(f"a host is an IP address, its text, or None, not {type(host).__name__}")
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id is not None:
            raise socket.gaierror(
                socket.EAI_NONAME, f"'{address}': addresses with a scope cannot be used here"
            )
        if address.ipv4_mapped is not None:
            return [str(address.ipv4_mapped)]
    found = _of_family([str(address)], family)
    if not found:
        raise socket.gaierror(_EAI_ADDRFAMILY, f"{address} is not of the family that was asked for")
    return found


def resolve_host(host: Host) -> str:
    """The first IP address of a host; see :func:`resolve_hosts`."""
    return resolve_hosts(host)[0]


def _parse(text: str) -> IPAddress:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        raise socket.gaierror(
            socket.EAI_NONAME,
            f"{text!r} is not an IP address, and names are not resolved on ZeroTier networks",
        ) from None


def _of_family(hosts: list[str], family: int) -> list[str]:
    return [host for host in hosts if family in (socket.AF_UNSPEC, family_of(host))]


def family_of(host: str) -> socket.AddressFamily:
    """Of an address as text; "", all own addresses, is told to be IPv6."""
    return socket.AF_INET if "." in host and ":" not in host else socket.AF_INET6


def resolve_port(port: Port) -> int:
    """A port number; None is 0. Raises OverflowError or socket.gaierror for what is none, as sockets do."""
    if port is None:
        return 0
    if not isinstance(port, (int, str, bytes)):
        raise TypeError(f"a port is a number, its text, or None, not {type(port).__name__}")
    try:
        number = int(port)
    except ValueError:
        raise socket.gaierror(socket.EAI_SERVICE, f"{port!r} is not a port number") from None
    if not 0 <= number <= 0xFFFF:
        raise OverflowError("port must be 0-65535.")
    return number


def resolve_addresses(
    address: tuple[Host, Port], family: int = socket.AF_UNSPEC, *, passive: bool = False
) -> list[tuple[str, int]]:
    """Hosts and port of an address, of which any further parts do not matter; see :func:`resolve_hosts`."""
    if not isinstance(address, tuple) or len(address) < 2:
        raise TypeError(f"an address is a tuple of host and port, not {address!r}")
    hosts = resolve_hosts(address[0], family, passive=passive)
    port = resolve_port(address[1])
    return [(host, port) for host in hosts]


def socket_address(address: tuple[str, int]) -> SocketAddress:
    """An address in the form that sockets of its family give it."""
    host, port = address
    return (host, port, 0, 0) if ":" in host else (host, port)
