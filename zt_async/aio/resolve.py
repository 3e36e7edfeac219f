"""Hosts and ports as callers give them, to addresses as the stack takes them."""

from __future__ import annotations

import ipaddress
import socket

from zt_async.types import IPAddress

Host = str | bytes | IPAddress | None


def resolve_host(host: Host, *, passive: bool = False) -> str:
    """An IP address as text. Without one it is the wildcard for servers (``passive``), else this node itself.

    Raises socket.gaierror for names, which networks do not resolve.
    """
    if host is None or host in ("", b""):
        return "::" if passive else "::1"
    if isinstance(host, (ipaddress.IPv4Address, ipaddress.IPv6Address)):
        return str(host)
    text = host.decode("ascii", "replace") if isinstance(host, bytes) else host
    if text == "localhost":
        return "::1"
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise socket.gaierror(
            socket.EAI_NONAME, f"{text!r} is not an IP address, and names are not resolved on ZeroTier networks"
        ) from None


def resolve_port(port: int | str | bytes | None) -> int:
    """A port number. Raises OverflowError or socket.gaierror for what is none, as sockets do."""
    if port is None:
        return 0
    try:
        number = int(port)
    except ValueError:
        raise socket.gaierror(socket.EAI_SERVICE, f"{port!r} is not a port number") from None
    if not 0 <= number <= 0xFFFF:
        raise OverflowError("port must be 0-65535.")
    return number


def socket_address(address: tuple[str, int]) -> tuple[str, int] | tuple[str, int, int, int]:
    """An address in the form that sockets of its family give it."""
    host, port = address[:2]
    return (host, port, 0, 0) if ":" in host else (host, port)
