"""UDP on networks as asyncio transports."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from zt_async.aio.resolve import Host, resolve_host, resolve_port, socket_address
from zt_async.aio.vsocket import VirtualSocket
from zt_async.stack.udp import UdpEndpoint

if TYPE_CHECKING:
    from zt_async.aio.node import Node

ProtocolT = TypeVar("ProtocolT", bound=asyncio.BaseProtocol)


class DatagramTransport(asyncio.DatagramTransport):
    """A UDP socket on ZeroTier networks. Datagrams may have up to 65,527 bytes; beyond the MTU they are fragmented.

    Extra info: ``sockname``, ``peername``, ``socket``, ``network``.
    """

    def __init__(self, node: Node, endpoint: UdpEndpoint, protocol: asyncio.BaseProtocol) -> None:
        super().__init__()
        self._node = node
        self._endpoint = endpoint
        self._protocol = protocol
        self._closing = False
        endpoint.owner = self
        node.datagram_transports.add(self)

    def begin(self) -> None:
        """Tell the protocol, then whatever has arrived meanwhile."""
        self._protocol.connection_made(self)
        self.on_ready()

    def on_ready(self) -> None:
        """Deliver what arrived."""
        if self._closing:
            return
        protocol: Any = self._protocol
        for error, _ in self._endpoint.take_errors():
            protocol.error_received(error)
        for data, source in self._endpoint.receive():
            if self.is_closing():  # the protocol may have closed it meanwhile
                return
            protocol.datagram_received(data, socket_address(source))
        if self._endpoint.closed:
            self._finish(self._endpoint.error)

    def sendto(self, data: bytes | bytearray | memoryview, addr: Any = None) -> None:
        """Send one datagram; what cannot be sent is reported to ``error_received``."""
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise TypeError(f"data argument must be a bytes-like object, not {type(data).__name__!r}")
        peer = self._endpoint.remote
        if peer is not None and addr is not None and (str(addr[0]), addr[1]) != peer[:2]:
            raise ValueError(f"Invalid address: must be None or {peer}")
        if self._closing:
            return
        remote = None if addr is None or peer is not None else (resolve_host(addr[0]), resolve_port(addr[1]))
        try:
            self._endpoint.send(data, remote, now=self._node.driver.now())
        except OSError as error:
            protocol: Any = self._protocol
            protocol.error_received(error)
            return
        self._node.driver.schedule()

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        self._finish(None)

    def abort(self) -> None:
        self._finish(None)

    def _finish(self, error: Exception | None) -> None:
        if self._closing:
            return
        self._closing = True
        self._endpoint.owner = None
        self._endpoint.close()
        self._node.datagram_transports.discard(self)
        self._node.driver.schedule()
        self._node.loop.call_soon(self._protocol.connection_lost, error)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._protocol

    def get_write_buffer_size(self) -> int:
        """Always 0: datagrams do not wait here."""
        return 0

    def get_write_buffer_limits(self) -> tuple[int, int]:
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
                return VirtualSocket(endpoint, self._node)
        return default

    def __repr__(self) -> str:
        return f"<DatagramTransport {self._endpoint.local} {'closed' if self._closing else 'open'}>"


async def create_datagram_endpoint(
    node: Node,
    protocol_factory: Callable[[], ProtocolT],
    local_addr: tuple[Host, Any] | None = None,
    remote_addr: tuple[Host, Any] | None = None,
    *,
    reuse_port: bool | None = None,
    allow_broadcast: bool | None = None,
) -> tuple[DatagramTransport, ProtocolT]:
    """As ``loop.create_datagram_endpoint``. Raises OSError."""
    local = ("::", 0) if local_addr is None else (resolve_host(local_addr[0], passive=True), resolve_port(local_addr[1]))
    remote = None if remote_addr is None else (resolve_host(remote_addr[0]), resolve_port(remote_addr[1]))
    endpoint = node.core.stack.open_udp(local, remote, now=node.driver.now())
    protocol = protocol_factory()
    transport = DatagramTransport(node, endpoint, protocol)
    transport.begin()
    return transport, protocol
