"""Outgoing connections: ``create_connection`` and ``open_connection`` on networks."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import itertools
import os
import ssl as ssl_module
from asyncio import sslproto, staggered
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypedDict, TypeVar, Unpack

from zt_async.aio.driver import Driver
from zt_async.aio.resolve import Host, Port, family_of, resolve_addresses
from zt_async.aio.transport import StreamTransport
from zt_async.stack.addresses import Address
from zt_async.stack.tcp.connection import TcpConnection
from zt_async.stack.tcp.state import HANDSHAKE, State

ProtocolT = TypeVar("ProtocolT", bound=asyncio.BaseProtocol)


class ConnectOptions(TypedDict, total=False):
    """What ``create_connection`` and ``open_connection`` take besides host and port, as asyncio's own do."""

    ssl: ssl_module.SSLContext | bool | None
    """Speak TLS; True is for the default context of clients."""
    server_hostname: str | None
    """The name to find in the server's certificate, instead of the host."""
    ssl_handshake_timeout: float | None
    ssl_shutdown_timeout: float | None
    local_addr: tuple[Host, Port] | None
    """The own address and port to connect from."""
    family: int
    """``socket.AF_INET`` or ``AF_INET6``, where a host has addresses of both."""
    proto: int
    flags: int
    """Both without effect."""
    happy_eyeballs_delay: float | None
    """Seconds after which the next address of a host is tried beside the one before it (RFC 8305)."""
    interleave: int | None
    """Of the first family's addresses, how many are tried before the families take turns."""
    all_errors: bool
    """Raise an ExceptionGroup with what failed for each address."""


async def connect_any(
    driver: Driver,
    remotes: Sequence[Address],
    locals_: Sequence[Address] | None,
    delay: float | None,
    *,
    all_errors: bool,
) -> TcpConnection:
    """A connection to the first of these addresses that takes one. Raises OSError as ``loop.create_connection``.

    With a ``delay`` an address that does not answer within so many seconds is given company by the next.
    """
    errors: list[OSError] = []

    async def attempt(remote: Address) -> TcpConnection:
        try:
            return await connect_tcp(driver, remote, _local_for(remote, locals_))
        except OSError as error:
            errors.append(error)
            raise

    if delay is None or len(remotes) == 1:
        for remote in remotes:
            with contextlib.suppress(OSError):
                return await attempt(remote)
    else:
        attempts = [partial(attempt, remote) for remote in remotes]
        connection: TcpConnection | None
        connection, _, failures = await staggered.staggered_race(attempts, delay)
        if connection is not None:
            return connection
        for failure in failures:
            if failure is not None and not isinstance(failure, OSError):  # the node has ended
                raise failure
    if all_errors:
        raise ExceptionGroup("create_connection failed", errors)
    if len({str(error) for error in errors}) == 1:
        raise errors[0]
    raise OSError(f"Multiple exceptions: {', '.join(map(str, errors))}")


def _local_for(remote: Address, locals_: Sequence[Address] | None) -> Address | None:
    """The own address to connect from. Raises OSError where none is of the remote's family."""
    if locals_ is None:
        return None
    for local in locals_:
        if not local[0] or family_of(local[0]) == family_of(remote[0]):
            return local
    raise OSError(errno.EAFNOSUPPORT, f"{locals_[0][0]} and {remote[0]} are of different families")


def _interleaved(addresses: list[Address], first: int) -> list[Address]:
    """The families by turns, after ``first`` addresses of the one that comes first (RFC 8305 section 4)."""
    own = [address for address in addresses if family_of(address[0]) == family_of(addresses[0][0])]
    others = [address for address in addresses if address not in own]
    head, own = own[: first - 1], own[first - 1 :]
    turns = itertools.zip_longest(own, others)
    return head + [address for turn in turns for address in turn if address is not None]


async def connect_tcp(driver: Driver, remote: Address, local: Address | None) -> TcpConnection:
    """An established connection. Raises OSError of the kind that says why there is none."""
    connection = driver.core.stack.connect_tcp(remote, local=local, now=driver.now())

    def is_established() -> bool:
        if connection.error is not None:
            raise connection.error
        if connection.state is State.CLOSED:
            raise ConnectionAbortedError(errno.ECONNABORTED, os.strerror(errno.ECONNABORTED))
        return connection.state not in HANDSHAKE

    try:
        await driver.wait(connection, is_established)
    except BaseException:  # cancelled or failed: either way nothing may stay behind
        connection.abort()
        driver.schedule()
        raise
    return connection


def wrap(
    driver: Driver,
    connection: TcpConnection,
    protocol: asyncio.BaseProtocol,
    context: ssl_module.SSLContext | None,
    *,
    server_side: bool = False,
    server_hostname: str | None = None,
    handshake_timeout: float | None,
    shutdown_timeout: float | None,
    on_lost: Callable[[], None] | None = None,
) -> tuple[asyncio.Transport, asyncio.Future[Any] | None]:
    """Put a transport, and TLS if there is a context, between a connection and a protocol.

    With TLS the future ends with the handshake.
    """
    if context is None:
        transport = StreamTransport(driver, connection, protocol, on_lost)
        transport.begin()
        return transport, None
    waiter = driver.loop.create_future()
    tls: Any = sslproto.SSLProtocol(
        driver.loop,
        protocol,
        context,
        waiter,
        server_side,
        server_hostname,
        ssl_handshake_timeout=handshake_timeout,  # type: ignore[arg-type]
        ssl_shutdown_timeout=shutdown_timeout,
    )
    StreamTransport(driver, connection, tls, on_lost).begin()
    return tls._app_transport, waiter


async def create_connection(
    driver: Driver,
    protocol_factory: Callable[[], ProtocolT],
    host: Host,
    port: Port,
    *,
    ssl: ssl_module.SSLContext | bool | None = None,
    server_hostname: str | None = None,
    ssl_handshake_timeout: float | None = None,
    ssl_shutdown_timeout: float | None = None,
    local_addr: tuple[Host, Port] | None = None,
    family: int = 0,
    proto: int = 0,
    flags: int = 0,
    happy_eyeballs_delay: float | None = None,
    interleave: int | None = None,
    all_errors: bool = False,
) -> tuple[asyncio.Transport, ProtocolT]:
    """As ``loop.create_connection``."""
    context = ssl_module.create_default_context() if ssl is True else ssl or None
    check_tls_options(
        context,
        server_hostname=server_hostname,
        ssl_handshake_timeout=ssl_handshake_timeout,
        ssl_shutdown_timeout=ssl_shutdown_timeout,
    )
    if host is None and port is None:
        raise ValueError("neither host nor port were given")
    if context is not None and server_hostname is None:
        if not host:
            raise ValueError("You must set server_hostname when using ssl without a host")
        server_hostname = host.decode("ascii") if isinstance(host, bytes) else str(host)
    remotes = resolve_addresses((host, port), family)
    locals_ = None if local_addr is None else resolve_addresses(local_addr, family, passive=True)
    if interleave is None and happy_eyeballs_delay is not None:
        interleave = 1
    if interleave:
        remotes = _interleaved(remotes, interleave)
    connection = await connect_any(driver, remotes, locals_, happy_eyeballs_delay, all_errors=all_errors)
    try:
        protocol = protocol_factory()
    except BaseException:
        connection.abort()
        driver.schedule()
        raise
    transport, handshake = wrap(
        driver,
        connection,
        protocol,
        context,
        server_hostname=server_hostname,
        handshake_timeout=ssl_handshake_timeout,
        shutdown_timeout=ssl_shutdown_timeout,
    )
    if handshake is not None:
        try:
            await handshake
        except BaseException:  # cancelled or failed: either way nothing may stay behind
            transport.abort()
            raise
    return transport, protocol


def check_tls_options(context: ssl_module.SSLContext | None, **options: str | float | None) -> None:
    """Raises as asyncio does for a context that is none, and for options that make no sense or none without one."""
    if context is not None and not isinstance(context, ssl_module.SSLContext):
        raise TypeError(f"ssl argument must be an SSLContext or None, not {context!r}")
    for name, value in options.items():
        if value is not None and context is None:
            raise ValueError(f"{name} is only meaningful with ssl")
        if isinstance(value, (int, float)) and value <= 0:
            raise ValueError(f"{name} should be a positive number, not {value}")


async def open_connection(
    driver: Driver, host: Host, port: Port, *, limit: int, **options: Unpack[ConnectOptions]
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """As ``asyncio.open_connection``."""
    reader = asyncio.StreamReader(limit=limit, loop=driver.loop)
    protocol = asyncio.StreamReaderProtocol(reader, loop=driver.loop)
    transport, _ = await create_connection(driver, lambda: protocol, host, port, **options)
    return reader, asyncio.StreamWriter(transport, protocol, reader, driver.loop)
