"""Servers on networks: ``create_server`` and ``start_server``."""

from __future__ import annotations

import asyncio
import errno
import os
import ssl as ssl_module
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any

from zt_async.aio.connect import wrap
from zt_async.aio.resolve import Host, resolve_host, resolve_port
from zt_async.aio.vsocket import VirtualSocket
from zt_async.stack.tcp.connection import TcpConnection
from zt_async.stack.tcp.listener import TcpListener

if TYPE_CHECKING:
    from zt_async.aio.node import Node

ClientConnected = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None] | None]


class Server(asyncio.AbstractServer):
    """A TCP server on one or more addresses of a node; behaves as ``asyncio.Server``."""

    def __init__(
        self,
        node: Node,
        factory: Callable[[], asyncio.BaseProtocol],
        addresses: list[tuple[str, int]],
        *,
        backlog: int,
        context: ssl_module.SSLContext | None,
        handshake_timeout: float | None,
        shutdown_timeout: float | None,
    ) -> None:
        self._node = node
        self._factory = factory
        self._addresses = addresses
        self._backlog = backlog
        self._context = context
        self._handshake_timeout = handshake_timeout
        self._shutdown_timeout = shutdown_timeout
        self._listeners: list[TcpListener] = []
        self._transports: set[asyncio.Transport] = set()
        self._active = 0
        self._closed = False
        self._waiters: list[asyncio.Future[None]] = []
        self._forever: asyncio.Future[None] | None = None

    def listen(self) -> None:
        """Bind all addresses, or none. Raises OSError."""
        stack = self._node.core.stack
        for address in self._addresses:
            try:
                listener = stack.listen_tcp(address, backlog=self._backlog, now=self._node.driver.now())
            except OSError as error:
                for bound in self._listeners:
                    bound.close()
                self._listeners = []
                reason = os.strerror(error.errno) if error.errno else str(error)
                raise OSError(
                    error.errno or errno.EINVAL, f"error while attempting to bind on address {address!r}: {reason}"
                ) from None
            self._listeners.append(listener)
            listener.owner = self

    def on_ready(self) -> None:
        """Take the connections that were established."""
        for listener in self._listeners:
            while (connection := listener.accept()) is not None:
                self._serve(connection)

    def _serve(self, connection: TcpConnection) -> None:
        node = self._node
        try:
            protocol = self._factory()
        except Exception as error:
            connection.abort()
            node.loop.call_exception_handler({"message": "Protocol factory failed.", "exception": error})
            return
        self._active += 1
        transport, waiter = wrap(
            node,
            connection,
            protocol,
            self._context,
            server_side=True,
            server_hostname=None,
            handshake_timeout=self._handshake_timeout,
            shutdown_timeout=self._shutdown_timeout,
            on_lost=lambda: self._detach(transport),
        )
        self._transports.add(transport)
        if waiter is not None:
            waiter.add_done_callback(_retrieve)

    def _detach(self, transport: asyncio.Transport) -> None:
        self._transports.discard(transport)
        self._active -= 1
        self._wake()

    def _wake(self) -> None:
        if self._closed and not self._active:
            for waiter in self._waiters:
                if not waiter.done():
                    waiter.set_result(None)
            self._waiters = []

    @property
    def sockets(self) -> tuple[VirtualSocket, ...]:
        """The listening sockets, with ``getsockname`` and the like."""
        return tuple(VirtualSocket(listener, self._node) for listener in self._listeners)

    def close(self) -> None:
        """Take no more connections; those that are open go on."""
        if self._closed:
            return
        self._closed = True
        for listener in self._listeners:
            listener.owner = None
            listener.close()
        self._listeners = []
        self._node.servers.discard(self)
        if self._forever is not None and not self._forever.done():
            self._forever.cancel()
        self._node.driver.schedule()
        self._wake()

    def close_clients(self) -> None:
        """Close all connections."""
        for transport in list(self._transports):
            transport.close()

    def abort_clients(self) -> None:
        """Reset all connections."""
        for transport in list(self._transports):
            transport.abort()

    def get_loop(self) -> asyncio.AbstractEventLoop:
        return self._node.loop

    def is_serving(self) -> bool:
        return bool(self._listeners)

    async def start_serving(self) -> None:
        if not self._listeners and not self._closed:
            self.listen()

    async def serve_forever(self) -> None:
        """Serve until cancelled, or until the server is closed."""
        if self._forever is not None:
            raise RuntimeError(f"server {self!r} is already being awaited on serve_forever()")
        if self._closed:
            raise RuntimeError(f"server {self!r} is closed")
        await self.start_serving()
        self._forever = self._node.loop.create_future()
        try:
            await self._forever
        except asyncio.CancelledError:
            self.close()
            await self.wait_closed()
            raise
        finally:
            self._forever = None

    async def wait_closed(self) -> None:
        """Wait until the server is closed and its last connection is gone."""
        if self._closed and not self._active:
            return
        waiter = self._node.loop.create_future()
        self._waiters.append(waiter)
        await waiter

    def __repr__(self) -> str:
        return f"<Server {', '.join(f'{host}/{port}' for host, port in self._addresses)}>"


def _retrieve(waiter: asyncio.Future[Any]) -> None:
    """A failed TLS handshake of a client is its own affair; the transport is closed already."""
    if not waiter.cancelled():
        waiter.exception()


async def create_server(
    node: Node,
    protocol_factory: Callable[[], asyncio.BaseProtocol],
    host: Host | Iterable[Host] = None,
    port: Any = None,
    *,
    backlog: int = 100,
    ssl: ssl_module.SSLContext | None = None,
    ssl_handshake_timeout: float | None = None,
    ssl_shutdown_timeout: float | None = None,
    start_serving: bool = True,
) -> Server:
    """As ``loop.create_server``; without a host on all addresses of all networks."""
    if isinstance(ssl, bool):
        raise TypeError("ssl argument must be an SSLContext or None")
    if ssl is None and (ssl_handshake_timeout is not None or ssl_shutdown_timeout is not None):
        raise ValueError("ssl_handshake_timeout and ssl_shutdown_timeout are only meaningful with ssl")
    hosts: list[Any] = [host] if host is None or not _is_list(host) else list(host)  # type: ignore[arg-type]
    number = resolve_port(port)
    server = Server(
        node,
        protocol_factory,
        [(resolve_host(one, passive=True), number) for one in hosts],
        backlog=backlog,
        context=ssl,
        handshake_timeout=ssl_handshake_timeout,
        shutdown_timeout=ssl_shutdown_timeout,
    )
    if start_serving:
        server.listen()
    node.servers.add(server)
    return server


def _is_list(host: object) -> bool:
    return isinstance(host, (list, tuple, set, frozenset))


async def start_server(
    node: Node,
    client_connected_cb: ClientConnected,
    host: Host | Iterable[Host] = None,
    port: Any = None,
    *,
    limit: int = 2**16,
    **kwargs: Any,
) -> Server:
    """As ``asyncio.start_server``."""

    def factory() -> asyncio.StreamReaderProtocol:
        reader = asyncio.StreamReader(limit=limit, loop=node.loop)
        return asyncio.StreamReaderProtocol(reader, client_connected_cb, loop=node.loop)

    return await create_server(node, factory, host, port, **kwargs)
