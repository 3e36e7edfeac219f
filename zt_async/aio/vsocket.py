"""What ``get_extra_info("socket")`` gives: options and addresses in the words of sockets, without a descriptor."""

from __future__ import annotations

import dataclasses
import errno
import os
import socket
import struct
from typing import Any

from zt_async.aio.driver import Driver
from zt_async.aio.resolve import SocketAddress, socket_address
from zt_async.aio.udp_options import UdpOptions, c_int, number
from zt_async.stack.tcp.connection import TcpConnection
from zt_async.stack.tcp.listener import TcpListener
from zt_async.stack.tcp.options import TcpOptions
from zt_async.stack.udp import UdpEndpoint

_INT = struct.Struct("i")
_LINGER = struct.Struct("ii")
_LEAST_BUFFER, _MOST_BUFFER = 2048, 1 << 30  # bytes
_DEFAULTS = TcpOptions()

_OPTIONS = {
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE): "keepalive",
    (socket.SOL_SOCKET, socket.SO_RCVBUF): "receive_buffer",
    (socket.SOL_SOCKET, socket.SO_SNDBUF): "send_buffer",
    (socket.IPPROTO_TCP, socket.TCP_NODELAY): "nodelay",
    (socket.IPPROTO_TCP, getattr(socket, "TCP_KEEPIDLE", None)): "keepalive_idle",
    (socket.IPPROTO_TCP, getattr(socket, "TCP_KEEPALIVE", None)): "keepalive_idle",
    (socket.IPPROTO_TCP, getattr(socket, "TCP_KEEPINTVL", None)): "keepalive_interval",
    (socket.IPPROTO_TCP, getattr(socket, "TCP_KEEPCNT", None)): "keepalive_count",
    (socket.IPPROTO_TCP, getattr(socket, "TCP_USER_TIMEOUT", None)): "user_timeout",
    (socket.IPPROTO_IP, socket.IP_TTL): "hop_limit",
    (socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS): "hop_limit",
    (socket.IPPROTO_IP, socket.IP_TOS): "traffic_class",
    (socket.IPPROTO_IPV6, getattr(socket, "IPV6_TCLASS", None)): "traffic_class",
}
"""Options of sockets, where the host's Python has them, and the settings of a TCP connection that they are."""


class VirtualSocket:
    """A socket of a ZeroTier network, as much as libraries ask of one.

    Options that mean something here take effect, those of a listening socket for its connections to come; others
    are accepted and remembered, because many programs set them on every socket they see.
    """

    def __init__(self, target: TcpConnection | TcpListener | UdpEndpoint, driver: Driver) -> None:
        self._target = target
        self._driver = driver
        self._udp = UdpOptions(driver.core.stack, target) if isinstance(target, UdpEndpoint) else None
        self._remembered: dict[tuple[int, int], Any] = {}

    @property
    def family(self) -> socket.AddressFamily:
        return socket.AF_INET6 if ":" in self._target.local[0] else socket.AF_INET

    @property
    def type(self) -> socket.SocketKind:
        return socket.SOCK_DGRAM if isinstance(self._target, UdpEndpoint) else socket.SOCK_STREAM

    @property
    def proto(self) -> int:
        return socket.IPPROTO_UDP if isinstance(self._target, UdpEndpoint) else socket.IPPROTO_TCP

    def fileno(self) -> int:
        """Always -1: the operating system knows nothing of it."""
        return -1

    def getsockname(self) -> SocketAddress:
        return socket_address(self._target.local)

    def getpeername(self) -> SocketAddress:
        """Raises OSError for a socket that is not connected."""
        remote = None if isinstance(self._target, TcpListener) else self._target.remote
        if remote is None:
            raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN))
        return socket_address(remote)

    def getsockopt(self, level: int, option: int, buflen: int = 0) -> Any:
        """The value of an option: as set, or what is in force; 0 for one that is not known here."""
        value = self._get(level, option)
        return _INT.pack(value)[:buflen] if buflen and isinstance(value, int) else value

    def setsockopt(self, level: int, option: int, value: Any, optlen: int | None = None) -> None:
        """Set an option; integers may come as packed bytes. Raises OSError for a value that makes no sense."""
        value = bytes(value) if isinstance(value, (bytes, bytearray, memoryview)) else c_int(value)
        if self._udp is not None and self._udp.set(level, option, value):
            self._driver.schedule()
            return
        target = self._target
        name = _OPTIONS.get((level, option))
        is_packed = isinstance(value, bytes)
        if is_packed and (level, option, len(value)) == (socket.SOL_SOCKET, socket.SO_LINGER, _LINGER.size):
            name = "linger"
        if name is None or isinstance(target, UdpEndpoint):
            self._remembered[level, option] = (
                number(value) if is_packed and len(value) == _INT.size else value
            )
            return
        try:
            target.options = dataclasses.replace(target.options, **{name: _setting(name, value)})
        except ValueError as error:
            raise OSError(errno.EINVAL, str(error)) from None
        self._driver.schedule()

    def _get(self, level: int, option: int) -> Any:
        target = self._target
        if (level, option) == (socket.SOL_SOCKET, socket.SO_TYPE):
            return int(self.type)
        if (level, option) == (socket.SOL_SOCKET, socket.SO_ERROR):
            return (target.error.errno or 0) if target.error is not None else 0
        if (level, option) == (socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            return int(isinstance(target, TcpListener))
        if self._udp is not None and (known := self._udp.get(level, option)) is not None:
            return known
        name = _OPTIONS.get((level, option))
        if name is None or isinstance(target, UdpEndpoint):
            return self._remembered.get((level, option), 0)
        value = getattr(target.options, name) or 0
        if name == "hop_limit" and not value:
            return self._driver.core.config.stack.hop_limit
        return int(value * 1000) if name == "user_timeout" else int(value)

    def setblocking(self, flag: bool) -> None:
        """Raises ValueError for True: as all sockets of an event loop it never blocks."""
        if flag:
            raise ValueError("the socket cannot be blocking")

    def settimeout(self, value: float | None) -> None:
        """Raises ValueError for anything but 0: as all sockets of an event loop it never blocks."""
        if value != 0:
            raise ValueError("the socket cannot be blocking")

    def gettimeout(self) -> float:
        return 0.0

    def __repr__(self) -> str:
        return f"<VirtualSocket {self.type.name} {self._target.local}>"


def _setting(name: str, value: int | bytes) -> Any:
    """The value of an option as TcpOptions has it."""
    if isinstance(value, bytes) and name == "linger":
        lingers, seconds = _LINGER.unpack(value)
        return float(seconds) if lingers else None
    given = number(value)
    match name:
        case "nodelay" | "keepalive":
            return bool(given)
        case "user_timeout":
            return given / 1000 if given else None
        case "receive_buffer" | "send_buffer":  # kernels take any size
            return min(max(given, _LEAST_BUFFER), _MOST_BUFFER)
        case "hop_limit" | "traffic_class" if given == -1:
            return getattr(_DEFAULTS, name)
    return given
