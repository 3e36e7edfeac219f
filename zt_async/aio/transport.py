"""TCP connections as asyncio transports: flow control both ways, half-close, abort."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable, Iterable
from typing import Any, Final

from zt_async.aio.driver import Driver
from zt_async.aio.resolve import socket_address
from zt_async.aio.vsocket import VirtualSocket
from zt_async.stack.tcp.connection import TcpConnection
from zt_async.stack.tcp.state import State
from zt_async.types import NetworkId, NodeAddress

_FIN_ACKED: Final = (State.FIN_WAIT_2, State.TIME_WAIT, State.CLOSED)
"""The peer knows that nothing more comes, or will never know."""

_HIGH_WATER: Final = 256 << 10  # bytes; more that waits for an acknowledgement to be sent only adds delay


class StreamTransport(asyncio.Transport):
    """One TCP connection on a ZeroTier network.

    Extra info: ``peername`` and ``sockname`` as sockets have them, ``socket`` (a socket-like object for options),
    ``peer`` (NodeAddress of the other end; None for addresses of no member, which are behind a bridge),
    ``network`` (NetworkId; None for a connection to oneself) and ``tcp_info`` (TcpInfo).
    """

    _start_tls_compatible = True

    def __init__(
        self,
        driver: Driver,
        connection: TcpConnection,
        protocol: asyncio.BaseProtocol,
        on_lost: Callable[[], None] | None = None,
    ) -> None:
        super().__init__()
        self._driver = driver
        self._connection = connection
        self._on_lost = on_lost
        self._network, self._peer = _whereabouts(driver, connection)
        self._socket = VirtualSocket(connection, driver)
        self._limits: tuple[int, int] | None = None
        self._is_new = True
        self._reading_paused = False
        self._unread = memoryview(b"")  # what a BufferedProtocol has yet to take
        self._protocol_paused = False
        self._eof_delivered = False
        self._eof_written = False
        self._closing = False
        self._lost = False
        self.set_protocol(protocol)
        connection.owner = self
        driver.add(self)

    def begin(self) -> None:
        """Tell the protocol; whom it wakes has a turn before it is told of what has arrived, as in asyncio."""
        self._call(self._protocol.connection_made, self)
        self._driver.loop.call_soon(self._begin_reading)

    def _begin_reading(self) -> None:
        self._is_new = False
        self.on_ready()

    # What the stack reports

    def on_ready(self) -> None:
        """Look at the connection: data, end of file, room to write, end."""
        if self._is_new:
            return
        if self._closing:
            self._drain()
            return
        connection = self._connection
        if not self._reading_paused:
            self._read()
        if connection.error is not None:
            can_be_read = self._reading_paused and (self._unread or connection.receiver.buffered)
            if not can_be_read or self._protocol_paused:
                self._lose(connection.error)
        else:
            self._maybe_resume()

    def _drain(self) -> None:
        """The application has closed: see to it that its data and the FIN get across."""
        connection = self._connection
        connection.receive()  # for nobody; but a full window would hold up what is still to be sent
        if not self._lost and connection.error is None:
            self._maybe_resume()
        if not self._lost and not connection.undelivered:
            connection.close()
            self._lose(connection.error)
        if connection.state in _FIN_ACKED:
            self._lose(connection.error)
            connection.owner = None
            self._driver.remove(self)

    def _read(self) -> None:
        connection = self._connection
        if self._unread:
            self._fill(self._unread)
            if not self.is_reading():
                return
        data = connection.receive()
        if data:
            if self._buffered is not None:
                self._fill(memoryview(data))
            else:
                self._call(self._data_received, data)
            self._driver.schedule()  # the window has opened
        if connection.eof_received and not (self._eof_delivered or self._reading_paused or self._closing):
            self._eof_delivered = True
            self._call(self._deliver_eof)

    def _deliver_eof(self) -> None:
        protocol: Any = self._protocol
        if not protocol.eof_received():
            self.close()

    def _fill(self, view: memoryview) -> None:
        """Give data to a BufferedProtocol until it pauses, closes, or lets another protocol take over."""
        while view and self.is_reading():
            protocol = self._buffered
            size = len(view)
            if protocol is None:
                self._call(self._data_received, view.tobytes())
            else:
                try:
                    buffer = memoryview(protocol.get_buffer(size)).cast("B")
                    size = min(len(buffer), size)
                    if not size:
                        raise RuntimeError("get_buffer() returned an empty buffer")
                    buffer[:size] = view[:size]
                    protocol.buffer_updated(size)
                except (SystemExit, KeyboardInterrupt):
                    raise
                except BaseException as error:
                    self._fatal(error)
            view = view[size:]
        self._unread = view

    def _call(self, method: Callable[..., object], *arguments: object) -> None:
        """Call the protocol; its failure ends this connection and nothing else, as in asyncio's transports."""
        try:
            method(*arguments)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:  # also the CancelledError of a future that it looked at
            self._fatal(error)

    def _fatal(self, error: BaseException) -> None:
        if not isinstance(error, OSError):  # of which connection_lost tells
            self._driver.loop.call_exception_handler(
                {
                    "message": "The protocol of a ZeroTier connection failed.",
                    "exception": error,
                    "transport": self,
                    "protocol": self._protocol,
                }
            )
        self._force_close(error)

    def _force_close(self, error: BaseException | None) -> None:
        """Reset the connection; ``asyncio.sslproto`` calls this as well."""
        if not self._lost:
            self._connection.abort()
            self._driver.schedule()
            self._lose(error)

    def _lose(self, error: BaseException | None) -> None:
        """The end for the application, once; the FIN may still be under way."""
        if not self._lost:
            self._lost = self._closing = True
            self._driver.linger(self)
            self._driver.loop.call_soon(self._tell_lost, error)
            self._driver.loop.call_soon(self.on_ready)

    def _tell_lost(self, error: BaseException | None) -> None:
        try:
            self._protocol.connection_lost(error)  # type: ignore[arg-type]
        finally:
            if self._on_lost is not None:
                self._on_lost()

    @property
    def is_draining(self) -> bool:
        """Closed, with data under way."""
        return self._closing

    def end(self, error: Exception) -> None:
        """The node ends."""
        lost = ConnectionAbortedError(errno.ECONNABORTED, f"{os.strerror(errno.ECONNABORTED)}: {error}")
        lost.__cause__ = error
        self._force_close(lost)

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
        """Send what is queued, then FIN. ``connection_lost`` comes when all data has arrived at the other node.

        What the peer still sends is dropped, and from then on it resets the connection.
        """
        if self._closing:
            return
        self._closing = True
        if self._connection.options.linger is None:
            self._connection.send_eof()
        else:
            self._connection.close()
        self._driver.schedule()
        self._driver.loop.call_soon(self.on_ready)

    def abort(self) -> None:
        """Send RST and drop what is queued."""
        self._force_close(None)

    def is_reading(self) -> bool:
        return not self._reading_paused and not self._closing

    def pause_reading(self) -> None:
        """Deliver nothing for now; the peer has to stop when the receive window is full."""
        self._reading_paused = True

    def resume_reading(self) -> None:
        if self._reading_paused and not self._closing:
            self._reading_paused = False
            self._driver.loop.call_soon(self.on_ready)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise TypeError(f"data argument must be a bytes-like object, not {type(data).__name__!r}")
        if self._eof_written:
            raise RuntimeError("Cannot call write() after write_eof()")
        connection = self._connection
        if self._closing or not data:
            return
        if connection.error is not None:
            if self._reading_paused:  # else connection_lost comes by itself
                self._lose(connection.error)
            return
        idle = not connection.unsent and not connection.unacked
        connection.send(data.tobytes() if isinstance(data, memoryview) else data)
        if idle:
            self._driver.flush()
        else:
            self._driver.schedule()
        self._maybe_pause()

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        self.write(b"".join(list_of_data))

    def write_eof(self) -> None:
        """Send FIN after what is queued; reading goes on."""
        if self._eof_written or self._closing:
            return
        self._eof_written = True
        self._connection.send_eof()
        self._driver.schedule()

    def can_write_eof(self) -> bool:
        return True

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Bytes queued and not yet sent, above which the protocol is paused, and down to which it stays so.

        By default that is no more than keeps the path busy.
        """
        if high is None and low is None:
            self._limits = None
        else:
            high = 4 * (low or 0) if high is None else high
            low = high // 4 if low is None else low
            if not high >= low >= 0:
                raise ValueError(f"high ({high!r}) must be >= low ({low!r}) must be >= 0")
            self._limits = low, high
        if self._protocol_paused:
            self._connection.wake_at = self.get_write_buffer_limits()[0]
        self._maybe_pause()

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """(low, high)."""
        if self._limits is not None:
            return self._limits
        connection = self._connection
        high = max(0, min(_HIGH_WATER, connection.send_target - connection.unacked))
        return high // 4, high

    def get_write_buffer_size(self) -> int:
        """Bytes queued and not yet sent."""
        return self._connection.unsent

    def _maybe_pause(self) -> None:
        if self._protocol_paused or self._closing:
            return
        low, high = self.get_write_buffer_limits()
        if self._connection.unsent > high:
            self._protocol_paused = True
            self._connection.wake_at = low
            self._call(self._protocol.pause_writing)

    def _maybe_resume(self) -> None:
        connection = self._connection
        if self._protocol_paused and connection.unsent <= connection.wake_at:
            self._protocol_paused = False
            connection.wake_at = -1
            self._call(self._protocol.resume_writing)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        connection = self._connection
        match name:
            case "peername":
                return socket_address(connection.remote)
            case "sockname":
                return socket_address(connection.local)
            case "socket":
                return self._socket
            case "peer":
                return self._peer
            case "network":
                return self._network
            case "tcp_info":
                return connection.info()
        return default

    def __repr__(self) -> str:
        state = "closed" if self._lost else "closing" if self._closing else "open"
        return f"<StreamTransport {self._connection.local} -> {self._connection.remote} {state}>"


def _whereabouts(driver: Driver, connection: TcpConnection) -> tuple[NetworkId | None, NodeAddress | None]:
    """The network that a connection runs over, and the node at its other end."""
    flow = connection.flow
    network_id = flow.interface.name
    if flow.is_local or not isinstance(network_id, NetworkId):
        return None, driver.core.address
    neighbor = flow.interface.neighbors.find(flow.destination)
    network = driver.core.vl2.networks.get(network_id)
    if neighbor is None or neighbor.mac is None or network is None:
        return network_id, None
    return network_id, network.member(neighbor.mac)


def _no_data(data: bytes) -> None:
    raise TypeError("this protocol takes no stream data")
