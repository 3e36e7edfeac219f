"""Servers on networks: ``create_server`` and ``start_server``."""

from __future__ import annotations

import asyncio
import os
import ssl as ssl_module
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any, TypeAlias, TypedDict, Unpack

from zt_async.aio.connect import check_tls_options, wrap
from zt_async.aio.driver import Driver
from zt_async.aio.resolve import Host, Port, resolve_addresses
from zt_async.aio.vsocket import VirtualSocket
from zt_async.stack.tcp.connection import TcpConnection
from zt_async.stack.tcp.listener import TcpListener

ClientConnected: TypeAlias = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None] | None]
Hosts: TypeAlias = Host | Iterable[Host]


class ServerOptions(TypedDict, total=False):
    """What ``create_server`` and ``start_server`` take besides host and port, as asyncio's own do."""

    backlog: int
    """Connections that are about to be established; at least the stack's own ``listen_backlog``."""
    ssl: ssl_module.SSLContext | None
    """Speak TLS."""
    ssl_handshake_timeout: float | None
    ssl_shutdown_timeout: float | None
    reuse_address: bool | None
    """Without effect: former connections never keep an address from being used again."""
    reuse_port: bool | None
    """Share the port with other servers of the node that say so as well."""
    start_serving: bool
    """False binds the addresses only; connections are refused until ``start_serving``."""
    family: int
    """``socket.AF_INET`` or ``AF_INET6``: addresses of this family only."""
    flags: int
    """Without effect."""


class Server(asyncio.AbstractServer):
    """A TCP server on one or more addresses of a node; behaves as ``asyncio.Server``."""

    is_draining = False

    def __init__(
        self,
        driver: Driver,
        factory: Callable[[], asyncio.BaseProtocol],
        *,
        context: ssl_module.SSLContext | None = None,
        handshake_timeout: float | None = None,
        shutdown_timeout: float | None = None,
    ) -> None:
        self._driver = driver
        self._factory = factory
        self._context = context
        self._handshake_timeout = handshake_timeout
        self._shutdown_timeout = shutdown_timeout
        self._listeners: list[TcpListener] = []
        self._sockets: tuple[VirtualSocket, ...] = ()
        self._transports: dict[asyncio.Transport, None] = {}
        self._serving = False
        self._closed = False
        self._waiters: list[asyncio.Future[None]] = []
        self._forever: asyncio.Future[None] | None = None
        driver.add(self)

    def bind(self, addresses: Iterable[tuple[str, int]], *, backlog: int, reuse_port: bool) -> None:
        """Bind all addresses, or none. Raises OSError."""
        driver = self._driver
        # Connections are taken at once, so that it is the half-open ones that the backlog bounds.
        backlog = max(backlog, driver.core.config.stack.listen_backlog)
        try:
            for address in addresses:
                listener = driver.core.stack.listen_tcp(
                    address, backlog=backlog, reuse_port=reuse_port, now=driver.now()
                )
                listener.listening = False
                listener.owner = self
                self._listeners.append(listener)
        except OSError as error:
            self.close()
            reason = os.strerror(error.errno) if error.errno else str(error)
            raise OSError(
                error.errno, f"error while attempting to bind on address {address!r}: {reason}"
            ) from None
        self._sockets = tuple(VirtualSocket(listener, driver) for listener in self._listeners)

    def listen(self) -> None:
        """Take connections from now on."""
        self._serving = True
        for listener in self._listeners:
            listener.listening = True

    def on_ready(self) -> None:
        """Take the connections that were established."""
        for listener in self._listeners:
            while (connection := listener.accept()) is not None:
                self._serve(connection)

    def _serve(self, connection: TcpConnection) -> None:
        try:
            protocol = self._factory()
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:  # also the CancelledError of a future that it looked at
            connection.abort()
            self._driver.loop.call_exception_handler(
                {"message": "A server's protocol factory failed.", "exception": error}
            )
            return
        transport, handshake = wrap(
            self._driver,
            connection,
            protocol,
            self._context,
            server_side=True,
            handshake_timeout=self._handshake_timeout,
            shutdown_timeout=self._shutdown_timeout,
            on_lost=lambda: self._forget(transport),
        )
        self._transports[transport] = None
        if handshake is not None:
            handshake.add_done_callback(_take_result)

    def _forget(self, transport: asyncio.Transport) -> None:
        del self._transports[transport]
        self._wake()

    def _wake(self) -> None:
        if self._closed and not self._transports:
            for waiter in self._waiters:
                if not waiter.done():
                    waiter.set_result(None)
            self._waiters = []

    @property
    def sockets(self) -> tuple[VirtualSocket, ...]:
        """The listening sockets, with ``getsockname`` and the like; none once the server is closed."""
        return self._sockets

    def close(self) -> None:
        """Take no more connections; those that are open go on."""
        if self._closed:
            return
        self._closed = True
        self._serving = False
        for listener in self._listeners:
            listener.owner = None
            listener.close()
        self._listeners = []
        self._sockets = ()
        self._driver.remove(self)
        self._driver.schedule()
        if self._forever is not None and not self._forever.done():
            self._forever.cancel()
        self._wake()

    def end(self, error: Exception) -> None:
        """The node ends."""
        if self._forever is not None and not self._forever.done():
            self._forever.set_exception(error)
        self.close()

    def close_clients(self) -> None:
        """Close all connections."""
        for transport in list(self._transports):
            transport.close()

    def abort_clients(self) -> None:
        """Reset all connections."""
        for transport in list(self._transports):
            transport.abort()

    def get_loop(self) -> asyncio.AbstractEventLoop:
        return self._driver.loop

    def is_serving(self) -> bool:
        return self._serving

    async def start_serving(self) -> None:
        """Take connections from now on; again, it has no effect. Raises RuntimeError once the server is closed."""
        if self._closed:
            raise RuntimeError(f"server {self!r} is closed")
        self.listen()

    async def serve_forever(self) -> None:
        """Serve until cancelled, or until the server is closed. When cancelled it closes all connections as well.

        Raises NodeNotRunning or NodeFailed when the node ends.
        """
        if self._forever is not None:
            raise RuntimeError(f"server {self!r} is already being awaited on serve_forever()")
        await self.start_serving()
        self._forever = self._driver.loop.create_future()
        try:
            await self._forever
        except asyncio.CancelledError:
            if not self._closed:
                self.close()
                self.close_clients()
            await self.wait_closed()
            raise
        finally:
            self._forever = None

    async def wait_closed(self) -> None:
        """Wait until the server is closed and its last connection is gone."""
        if self._closed and not self._transports:
            return
        waiter = self._driver.loop.create_future()
        self._waiters.append(waiter)
        await waiter

    def __repr__(self) -> str:
        return f"<Server sockets={self.sockets!r}>"


def _take_result(handshake: asyncio.Future[Any]) -> None:
    """A failed TLS handshake of a client is its own affair; the transport is closed already."""
    if not handshake.cancelled():
        handshake.exception()


async def create_server(
    driver: Driver,
    protocol_factory: Callable[[], asyncio.BaseProtocol],
    host: Hosts,
    port: Port,
    *,
    backlog: int = 100,
    ssl: ssl_module.SSLContext | None = None,
    ssl_handshake_timeout: float | None = None,
    ssl_shutdown_timeout: float | None = None,
    reuse_address: bool | None = None,
    reuse_port: bool | None = None,
    start_serving: bool = True,
    family: int = 0,
    flags: int = 0,
) -> Server:
    """As ``loop.create_server``; without a host on all addresses of all networks."""
    check_tls_options(
        ssl, ssl_handshake_timeout=ssl_handshake_timeout, ssl_shutdown_timeout=ssl_shutdown_timeout
    )
    hosts = [host] if isinstance(host, (str, bytes)) or not isinstance(host, Iterable) else host
    addresses = dict.fromkeys(
        address for one in hosts for address in resolve_addresses((one, port), family, passive=True)
    )
    server = Server(
        driver,
        protocol_factory,
        context=ssl,
        handshake_timeout=ssl_handshake_timeout,
        shutdown_timeout=ssl_shutdown_timeout,
    )
    server.bind(addresses, backlog=backlog, reuse_port=bool(reuse_port))
    if start_serving:
        server.listen()
    return server


async def start_server(
    driver: Driver,
    client_connected_cb: ClientConnected,
    host: Hosts,
    port: Port,
    *,
    limit: int,
    **options: Unpack[ServerOptions],
) -> Server:
    """As ``asyncio.start_server``."""

    def client_connected(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> Coroutine[Any, Any, None] | None:
        handling = client_connected_cb(reader, writer)
        return _supervise(driver, handling, writer.transport) if asyncio.iscoroutine(handling) else None

    def factory() -> asyncio.StreamReaderProtocol:
        reader = asyncio.StreamReader(limit=limit, loop=driver.loop)
        return asyncio.StreamReaderProtocol(reader, client_connected, loop=driver.loop)

    return await create_server(driver, factory, host, port, **options)


async def _supervise(
    driver: Driver, handling: Coroutine[Any, Any, None], transport: asyncio.WriteTransport
) -> None:
    """Run an application's handler; its failure is reported, and ends its connection and nothing else."""
    try:
        await handling
    except asyncio.CancelledError:
        transport.close()
        raise
    except Exception as error:
        transport.close()
        if not (isinstance(error, OSError) and driver.ended):
            driver.loop.call_exception_handler(
                {
                    "message": "Unhandled exception in client_connected_cb",
                    "exception": error,
                    "transport": transport,
                }
            )
