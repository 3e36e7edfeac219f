"""UDP on networks as asyncio transports."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from zt_async.aio.driver import Driver
from zt_async.aio.resolve import Host, Port, resolve_address, socket_address
from zt_async.aio.vsocket import VirtualSocket
from zt_async.errors import NodeFailed
from zt_async.stack.udp import UdpEndpoint

DatagramProtocolT = TypeVar("DatagramProtocolT", bound=asyncio.DatagramProtocol)


class DatagramTransport(asyncio.DatagramTransport):
    """A UDP socket on ZeroTier networks. Datagrams may have up to 65,527 bytes; beyond the MTU they are fragmented.

    Extra info: ``sockname``, ``peername``, and ``socket`` (a socket-like object).
    """

    is_draining = False  # what is sent is out of our hands

    def __init__(self, driver: Driver, endpoint: UdpEndpoint, protocol: asyncio.BaseProtocol) -> None:
        super().__init__()
        self._driver = driver
        self._endpoint = endpoint
        self._protocol: Any = protocol
        self._socket = VirtualSocket(endpoint, driver)
        self._closing = False
        endpoint.owner = self
        driver.add(self)

    def begin(self) -> None:
        """Tell the protocol, then whatever has arrived meanwhile."""
        self._call(self._protocol.connection_made, self)
        self.on_ready()

    # What the stack reports

    def on_ready(self) -> None:
        """Deliver what arrived."""
        endpoint = self._endpoint
        for error, _ in endpoint.take_errors():
            self._call(self._protocol.error_received, error)
        for data, source in endpoint.receive():
            self._call(self._protocol.datagram_received, data, socket_address(source))
        if endpoint.closed:
            self._finish(endpoint.error)

    def end(self, error: Exception) -> None:
        """The node ends."""
        self._finish(error if isinstance(error, NodeFailed) else None)

    def _call(self, method: Callable[..., object], *arguments: object) -> None:
        """Call the protocol, unless it is told of nothing any more; what it raises is reported, and that is all."""
        if self._closing:
            return
        try:
            method(*arguments)
        except Exception as error:
            self._driver.loop.call_exception_handler(
                {
                    "message": "The protocol of a ZeroTier datagram endpoint failed.",
                    "exception": error,
                    "transport": self,
                    "protocol": self._protocol,
                }
            )

    def _finish(self, error: Exception | None) -> None:
        if self._closing:
            return
        self._closing = True
        self._endpoint.owner = None
        self._endpoint.close()
        self._driver.remove(self)
        self._driver.loop.call_soon(self._protocol.connection_lost, error)

    # asyncio.DatagramTransport

    def sendto(self, data: bytes | bytearray | memoryview, addr: Any = None) -> None:
        """Send one datagram; what cannot be sent is reported to ``error_received``.

        Raises ValueError for another address than the one it is connected to, and socket.gaierror for a name.
        """
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise TypeError(f"data argument must be a bytes-like object, not {type(data).__name__!r}")
        remote = None if addr is None else resolve_address((addr[0], addr[1]))
        peer = self._endpoint.remote
        if peer is not None and remote not in (None, peer):
            raise ValueError(f"Invalid address: must be None or {peer}")
        if self._closing:
            return
        if isinstance(data, memoryview):
            data = data.tobytes()
        try:
            self._endpoint.send(data, remote, now=self._driver.now())
        except OSError as error:
            self._call(self._protocol.error_received, error)
        else:
            self._driver.schedule()

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        """Give the port back. What was sent is on its way already."""
        self._finish(None)

    def abort(self) -> None:
        """As ``close``."""
        self._finish(None)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        protocol: asyncio.BaseProtocol = self._protocol
        return protocol

    def get_write_buffer_size(self) -> int:
        """Always 0: datagrams do not wait here."""
        return 0

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """Always zeros: datagrams do not wait here."""
        return 0, 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Without effect: datagrams do not wait here."""

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        endpoint = self._endpoint
        match name:
            case "sockname":
                return socket_address(endpoint.local)
            case "peername":
                return default if endpoint.remote is None else socket_address(endpoint.remote)
            case "socket":
                return self._socket
        return default

    def __repr__(self) -> str:
        return f"<DatagramTransport {self._endpoint.local} {'closed' if self._closing else 'open'}>"


async def create_datagram_endpoint(
    driver: Driver,
    protocol_factory: Callable[[], DatagramProtocolT],
    local_addr: tuple[Host, Port] | None,
    remote_addr: tuple[Host, Port] | None,
    *,
    reuse_port: bool,
) -> tuple[DatagramTransport, DatagramProtocolT]:
    """As ``loop.create_datagram_endpoint``. Raises OSError."""
    local = None if local_addr is None else resolve_address(local_addr, passive=True)
    remote = None if remote_addr is None else resolve_address(remote_addr)
    endpoint = driver.core.stack.open_udp(local, remote, reuse_port=reuse_port, now=driver.now())
    try:
        protocol = protocol_factory()
    except BaseException:
        endpoint.close()
        raise
    transport = DatagramTransport(driver, endpoint, protocol)
    transport.begin()
    return transport, protocol
