"""Outgoing connections: ``create_connection`` and ``open_connection`` on networks."""

from __future__ import annotations

import asyncio
import errno
import os
import ssl as ssl_module
from asyncio import sslproto
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from zt_async.aio.resolve import Host, resolve_host, resolve_port
from zt_async.aio.transport import StreamTransport
from zt_async.stack.tcp.connection import TcpConnection
from zt_async.stack.tcp.state import HANDSHAKE, State

if TYPE_CHECKING:
    from zt_async.aio.node import Node

ProtocolT = TypeVar("ProtocolT", bound=asyncio.BaseProtocol)
SSLArgument = ssl_module.SSLContext | bool | None


class _Handshake:
    """Owns a connection until it is established, or will not be."""

    def __init__(self, connection: TcpConnection, done: asyncio.Future[None]) -> None:
        self._connection = connection
        self._done = done
        connection.owner = self

    def on_ready(self) -> None:
        if self._done.done():
            return
        if self._connection.error is not None:
            self._done.set_exception(self._connection.error)
        elif self._connection.state is State.CLOSED:
            self._done.set_exception(ConnectionAbortedError(errno.ECONNABORTED, os.strerror(errno.ECONNABORTED)))
        elif self._connection.state not in HANDSHAKE:
            self._done.set_result(None)


async def connect_tcp(node: Node, host: Host, port: Any, local_addr: tuple[Host, Any] | None) -> TcpConnection:
    """An established connection. Raises OSError of the kind that says why there is none."""
    remote = (resolve_host(host), resolve_port(port))
    local = None if local_addr is None else (resolve_host(local_addr[0], passive=True), resolve_port(local_addr[1]))
    connection = node.core.stack.connect_tcp(remote, local=local, now=node.driver.now())
    done = node.loop.create_future()
    handshake = _Handshake(connection, done)
    node.driver.schedule()
    handshake.on_ready()
    try:
        await done
    except BaseException:  # cancelled or failed: either way nothing may stay behind
        connection.owner = None
        connection.abort()
        node.driver.schedule()
        raise
    return connection


def ssl_context(ssl: SSLArgument) -> ssl_module.SSLContext | None:
    """The context to use; True stands for the default one of clients."""
    if ssl is True:
        return ssl_module.create_default_context()
    return ssl or None


def wrap(
    node: Node,
    connection: TcpConnection,
    protocol: asyncio.BaseProtocol,
    context: ssl_module.SSLContext | None,
    *,
    server_side: bool,
    server_hostname: str | None,
    handshake_timeout: float | None,
    shutdown_timeout: float | None,
    on_lost: Callable[[], None] | None = None,
) -> tuple[asyncio.Transport, asyncio.Future[Any] | None]:
    """Put a transport, and TLS if there is a context, between a connection and a protocol.

    With TLS the future ends with the handshake.
    """
    if context is None:
        transport = StreamTransport(node, connection, protocol, on_lost)
        transport.begin()
        return transport, None
    waiter = node.loop.create_future()
    tls = sslproto.SSLProtocol(
        node.loop,
        protocol,
        context,
        waiter,
        server_side,
        server_hostname,
        ssl_handshake_timeout=handshake_timeout,  # type: ignore[arg-type]
        ssl_shutdown_timeout=shutdown_timeout,
    )
    transport = StreamTransport(node, connection, tls, on_lost)
    transport.begin()
    return tls._app_transport or transport, waiter


async def create_connection(
    node: Node,
    protocol_factory: Callable[[], ProtocolT],
    host: Host = None,
    port: Any = None,
    *,
    ssl: SSLArgument = None,
    server_hostname: str | None = None,
    ssl_handshake_timeout: float | None = None,
    ssl_shutdown_timeout: float | None = None,
    local_addr: tuple[Host, Any] | None = None,
) -> tuple[asyncio.Transport, ProtocolT]:
    """As ``loop.create_connection``."""
    context = ssl_context(ssl)
    if context is None:
        for name, value in (
            ("server_hostname", server_hostname),
            ("ssl_handshake_timeout", ssl_handshake_timeout),
            ("ssl_shutdown_timeout", ssl_shutdown_timeout),
        ):
            if value is not None:
                raise ValueError(f"{name} is only meaningful with ssl")
    elif server_hostname is None:
        if host is None:
            raise ValueError("You must set server_hostname when using ssl without a host")
        server_hostname = host.decode("ascii") if isinstance(host, bytes) else str(host)
    connection = await connect_tcp(node, host, port, local_addr)
    protocol = protocol_factory()
    transport, waiter = wrap(
        node,
        connection,
        protocol,
        context,
        server_side=False,
        server_hostname=server_hostname,
        handshake_timeout=ssl_handshake_timeout,
        shutdown_timeout=ssl_shutdown_timeout,
    )
    if waiter is not None:
        try:
            await waiter
        except BaseException:  # cancelled or failed: either way nothing may stay behind
            transport.abort()
            raise
    return transport, protocol


async def open_connection(
    node: Node, host: Host = None, port: Any = None, *, limit: int = 2**16, **kwargs: Any
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """As ``asyncio.open_connection``."""
    reader = asyncio.StreamReader(limit=limit, loop=node.loop)
    protocol = asyncio.StreamReaderProtocol(reader, loop=node.loop)
    transport, _ = await create_connection(node, lambda: protocol, host, port, **kwargs)
    return reader, asyncio.StreamWriter(transport, protocol, reader, node.loop)
