"""TCP connections as asyncio transports: flow control both ways, half-close, abort."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

from zt_async.aio.resolve import socket_address
from zt_async.aio.vsocket import VirtualSocket
from zt_async.stack.tcp.connection import TcpConnection
from zt_async.stack.tcp.state import State

if TYPE_CHECKING:
    from zt_async.aio.node import Node

_ALL_DELIVERED: Final = (State.FIN_WAIT_2, State.TIME_WAIT, State.CLOSED)
"""The peer has acknowledged all that was sent, FIN included."""

HIGH_WATER: Final = 256 << 10  # bytes queued and not yet sent; a flight of a fast path is about as much


class StreamTransport(asyncio.Transport):
    """One TCP connection on a ZeroTier network.

    Extra info: ``peername`` and ``sockname`` as sockets have them, ``socket`` (a socket-like object for options),
    ``peer`` (NodeAddress of the other end, None for addresses of no member), ``network`` (NetworkId, None for
    a connection to oneself), ``tcp_info``.
    """

    _start_tls_compatible = True

    def __init__(
        self,
        node: Node,
        connection: TcpConnection,
        protocol: asyncio.BaseProtocol,
        on_lost: Callable[[], None] | None = None,
    ) -> None:
        super().__init__()
        self._node = node
        self._connection = connection
        self._on_lost = on_lost
        self._high = HIGH_WATER
        self._low = HIGH_WATER // 4
        self._reading_paused = False
        self._protocol_paused = False
        self._eof_delivered = False
        self._eof_written = False
        self._closing = False
        self._lost = False
        self._lost_waiters: list[asyncio.Future[None]] = []
        self.set_protocol(protocol)
        connection.owner = self
        node.transports.add(self)

    def begin(self) -> None:
        """Tell the protocol, then whatever has arrived meanwhile."""
        self._protocol.connection_made(self)
        self.on_ready()

    # What the stack reports

    def on_ready(self) -> None:
        """Look at the connection: data, end of file, room to write, end."""
        if self._lost:
            return
        connection = self._connection
        if not self._reading_paused and not self._closing:
            self._read()
        if self._protocol_paused and connection.unsent <= self._low:
            self._protocol_paused = False
            self._call(self._protocol.resume_writing)
        if connection.error is not None:
            self._lose(connection.error)
        elif self._closing and connection.state in _ALL_DELIVERED:
            self._lose(None)

    def _read(self) -> None:
        connection = self._connection
        data = connection.receive()
        if data:
            if self._buffered is not None:
                self._fill(self._buffered, data)
            else:
                self._call(self._data_received, data)
            self._node.driver.schedule()  # the window has opened
        if connection.eof_received and not self._eof_delivered and not self._reading_paused and not self._lost:
            self._eof_delivered = True
            try:
                keep_open = self._protocol.eof_received()  # type: ignore[attr-defined]
            except Exception as error:
                self._fatal(error, "eof_received")
                return
            if not keep_open:
                self.close()

    def _fill(self, protocol: asyncio.BufferedProtocol, data: bytes) -> None:
        view = memoryview(data)
        while view and not self._lost:
            try:
                buffer = memoryview(protocol.get_buffer(len(view))).cast("B")
                size = min(len(buffer), len(view))
                if not size:
                    raise RuntimeError("get_buffer() returned an empty buffer")
                buffer[:size] = view[:size]
                protocol.buffer_updated(size)
            except Exception as error:
                self._fatal(error, "buffer_updated")
                return
            view = view[size:]

    def _call(self, method: Callable[..., object], *args: object) -> None:
        """Call the protocol; its failure ends this connection and nothing else, as in asyncio's transports."""
        try:
            method(*args)
        except Exception as error:
            self._fatal(error, getattr(method, "__name__", "protocol"))

    def _fatal(self, error: Exception, what: str) -> None:
        self._node.loop.call_exception_handler(
            {
                "message": f"Fatal error: protocol.{what}() call failed.",
                "exception": error,
                "transport": self,
                "protocol": self._protocol,
            }
        )
        if not self._lost:
            self._connection.abort()
            self._lose(error)

    def _lose(self, error: Exception | None) -> None:
        """The end of this transport, once."""
        if self._lost:
            return
        self._lost = self._closing = True
        self._connection.owner = None
        self._node.loop.call_soon(self._protocol_lost, error)
        self._node.driver.schedule()

    def _protocol_lost(self, error: Exception | None) -> None:
        try:
            self._protocol.connection_lost(error)
        finally:
            self._node.transports.discard(self)
            for waiter in self._lost_waiters:
                if not waiter.done():
                    waiter.set_result(None)
            if self._on_lost is not None:
                self._on_lost()

    async def wait_lost(self) -> None:
        """Wait until ``connection_lost`` was called."""
        if self in self._node.transports:
            waiter = self._node.loop.create_future()
            self._lost_waiters.append(waiter)
            await waiter

    # asyncio.Transport

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol
        self._buffered = protocol if isinstance(protocol, asyncio.BufferedProtocol) else None
        self._data_received: Callable[[bytes], object] = getattr(protocol, "data_received", _no_data)

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._protocol

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        """Send what is queued, then FIN. ``connection_lost`` comes when the other side has taken all of it."""
        if self._closing:
            return
        self._closing = True
        self._connection.close()
        self._node.driver.schedule()
        self._node.loop.call_soon(self.on_ready)

    def abort(self) -> None:
        """Send RST and drop what is queued."""
        if not self._lost:
            self._connection.abort()
            self._lose(None)

    def is_reading(self) -> bool:
        return not self._reading_paused and not self._closing

    def pause_reading(self) -> None:
        """Deliver nothing for now; the peer is told to stop when the receive window is full."""
        self._reading_paused = True

    def resume_reading(self) -> None:
        if self._reading_paused and not self._closing:
            self._reading_paused = False
            self._node.loop.call_soon(self.on_ready)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise TypeError(f"data: a bytes-like object is required, not {type(data).__name__!r}")
        if self._eof_written:
            raise RuntimeError("Cannot call write() after write_eof()")
        if self._closing or not data:
            return
        connection = self._connection
        if connection.error is not None:
            return  # connection_lost is about to be called
        connection.send(data)
        if connection.unsent > self._high and not self._protocol_paused:
            self._protocol_paused = True
            self._call(self._protocol.pause_writing)
        self._node.driver.schedule()

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        self.write(b"".join(list_of_data))

    def write_eof(self) -> None:
        """Send FIN after what is queued; reading goes on."""
        if self._eof_written or self._closing:
            return
        self._eof_written = True
        self._connection.send_eof()
        self._node.driver.schedule()

    def can_write_eof(self) -> bool:
        return True

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Bytes queued and not yet sent, above which the protocol is paused, and down to which it stays so."""
        if high is None:
            high = HIGH_WATER if low is None else 4 * low
        if low is None:
            low = high // 4
        if not high >= low >= 0:
            raise ValueError(f"high ({high!r}) must be >= low ({low!r}) must be >= 0")
        self._high = high
        self._low = low
        if self._connection.unsent > high and not self._protocol_paused and not self._lost:
            self._protocol_paused = True
            self._call(self._protocol.pause_writing)

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """(low, high)."""
        return self._low, self._high

    def get_write_buffer_size(self) -> int:
        """Bytes queued and not yet sent."""
        return 0 if self._lost else self._connection.unsent

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        connection = self._connection
        match name:
            case "peername":
                return socket_address(connection.remote)
            case "sockname":
                return socket_address(connection.local)
            case "socket":
                return VirtualSocket(connection, self._node)
            case "peer":
                return self._node.peer_of(connection)
            case "network":
                return self._node.network_of(connection)
            case "tcp_info":
                return connection.info()
        return default

    def __repr__(self) -> str:
        state = "closed" if self._lost else "closing" if self._closing else "open"
        return f"<StreamTransport {self._connection.local} -> {self._connection.remote} {state}>"


def _no_data(data: bytes) -> None:
    raise OSError(errno.EINVAL, "this protocol takes no stream data")
