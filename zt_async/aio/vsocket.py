"""What ``get_extra_info("socket")`` gives: options and addresses in the words of sockets, without a descriptor."""

from __future__ import annotations

import dataclasses
import errno
import os
import socket
import struct
from typing import TYPE_CHECKING, Any

from zt_async.aio.resolve import socket_address
from zt_async.stack.tcp.connection import TcpConnection
from zt_async.stack.tcp.listener import TcpListener
from zt_async.stack.udp import UdpEndpoint

if TYPE_CHECKING:
    from zt_async.aio.node import Node

_KEEPIDLE = getattr(socket, "TCP_KEEPIDLE", getattr(socket, "TCP_KEEPALIVE", None))
_KEEPINTVL = getattr(socket, "TCP_KEEPINTVL", None)
_KEEPCNT = getattr(socket, "TCP_KEEPCNT", None)
_USER_TIMEOUT = getattr(socket, "TCP_USER_TIMEOUT", None)


class VirtualSocket:
    """A socket of a ZeroTier network, as much as libraries ask of one.

    Options that mean something here take effect; others are accepted and remembered, because many programs set
    them on every socket they see.
    """

    def __init__(self, target: TcpConnection | TcpListener | UdpEndpoint, node: Node) -> None:
        self._target = target
        self._node = node
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

    def getsockname(self) -> tuple[Any, ...]:
        return socket_address(self._target.local)

    def getpeername(self) -> tuple[Any, ...]:
        """Raises OSError for a socket that is not connected."""
        remote = getattr(self._target, "remote", None)
        if remote is None:
            raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN))
        return socket_address(remote)

    def getsockopt(self, level: int, option: int, buflen: int = 0) -> Any:
        """The value of an option: as set, or what is in force; 0 for one that is not known here."""
        value = self._get(level, option)
        return struct.pack("i", value)[:buflen] if buflen and isinstance(value, int) else value

    def _get(self, level: int, option: int) -> Any:
        if (level, option) == (socket.SOL_SOCKET, socket.SO_TYPE):
            return int(self.type)
        if (level, option) == (socket.SOL_SOCKET, socket.SO_ERROR):
            return getattr(getattr(self._target, "error", None), "errno", None) or 0
        name = self._option(level, option)
        if name is not None and isinstance(self._target, TcpConnection):
            value = getattr(self._target.options, name) or 0
            return int(value * 1000) if name == "user_timeout" else int(value)
        return self._remembered.get((level, option), 0)

    def setsockopt(self, level: int, option: int, value: Any, optlen: int | None = None) -> None:
        """Set an option; integers may come as packed bytes."""
        number = struct.unpack("i", value[:4])[0] if isinstance(value, (bytes, bytearray)) and len(value) >= 4 else value
        name = self._option(level, option)
        if name is not None and isinstance(self._target, TcpConnection):
            self._set(self._target, name, number)
        else:
            self._remembered[level, option] = number

    def _set(self, connection: TcpConnection, name: str, number: int) -> None:
        value: Any = number
        if name in ("nodelay", "keepalive"):
            value = bool(number)
        elif name == "user_timeout":
            value = number / 1000 if number else None
        connection.options = dataclasses.replace(connection.options, **{name: value})
        self._node.driver.schedule()

    @staticmethod
    def _option(level: int, option: int) -> str | None:
        if level == socket.SOL_SOCKET:
            return {
                socket.SO_KEEPALIVE: "keepalive",
                socket.SO_RCVBUF: "receive_buffer",
                socket.SO_SNDBUF: "send_buffer",
            }.get(option)
        if level == socket.IPPROTO_TCP:
            return {
                socket.TCP_NODELAY: "nodelay",
                _KEEPIDLE: "keepalive_idle",
                _KEEPINTVL: "keepalive_interval",
                _KEEPCNT: "keepalive_count",
                _USER_TIMEOUT: "user_timeout",
            }.get(option)
        return None

    def setblocking(self, flag: bool) -> None:
        """Without effect, as asyncio's own socket-likes allow only False."""
        if flag:
            raise ValueError("the socket cannot be blocking")

    def gettimeout(self) -> float:
        return 0.0

    def __repr__(self) -> str:
        return f"<VirtualSocket {self.type.name} {self._target.local}>"
