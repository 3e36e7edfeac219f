"""Hosts and ports as callers give them, to addresses as the stack takes them."""

from __future__ import annotations

import ipaddress
import socket
from typing import TypeAlias

from zt_async.types import IPAddress

Host: TypeAlias = str | bytes | IPAddress | None
Port: TypeAlias = int | str | bytes | None
SocketAddress: TypeAlias = tuple[str, int] | tuple[str, int, int, int]


def resolve_host(host: Host, *, passive: bool = False) -> str:
    """An IP address as text. Without one it is the wildcard for servers (``passive``), else this node itself.

    Raises socket.gaierror for names, which networks do not resolve.
    """
    if host is None or host in ("", b""):
        return "::" if passive else "::1"
    if isinstance(host, (ipaddress.IPv4Address, ipaddress.IPv6Address)):
        return str(host)
    if not isinstance(host, (str, bytes)):
        raise TypeError(f"a host is an IP address, its text, or None, not {type(host).__name__}")
    text = host.decode("ascii", "replace") if isinstance(host, bytes) else host
    if text == "localhost":
        return "::1"
    if "%" in text:
        raise socket.gaierror(socket.EAI_NONAME, f"{text!r}: addresses with a scope cannot be used here")
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise socket.gaierror(
            socket.EAI_NONAME,
            f"{text!r} is not an IP address, and names are not resolved on ZeroTier networks",
        ) from None


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


def resolve_address(address: tuple[Host, Port], *, passive: bool = False) -> tuple[str, int]:
    """Host and port of an address, of which any further parts do not matter."""
    return resolve_host(address[0], passive=passive), resolve_port(address[1])


def socket_address(address: tuple[str, int]) -> SocketAddress:
    """An address in the form that sockets of its family give it."""
    host, port = address
    return (host, port, 0, 0) if ":" in host else (host, port)
