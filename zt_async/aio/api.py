"""The calls of the package that name no node: each is that of the one node on the running loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar, Unpack

from zt_async.aio.connect import ConnectOptions
from zt_async.aio.datagram import DatagramOptions, DatagramProtocolT, DatagramTransport
from zt_async.aio.registry import the_node
from zt_async.aio.resolve import Host, Port
from zt_async.aio.server import ClientConnected, Hosts, Server, ServerOptions

ProtocolT = TypeVar("ProtocolT", bound=asyncio.BaseProtocol)


async def open_connection(
    host: Host = None, port: Port = None, *, limit: int = 2**16, **options: Unpack[ConnectOptions]
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """As ``asyncio.open_connection``, on the networks of the one node that runs on this loop.

    Raises NodeNotRunning where no node runs, or several do; OSError as sockets do.
    """
    return await the_node().open_connection(host, port, limit=limit, **options)


async def start_server(
    client_connected_cb: ClientConnected,
    host: Hosts = None,
    port: Port = None,
    *,
    limit: int = 2**16,
    **options: Unpack[ServerOptions],
) -> Server:
    """As ``asyncio.start_server``; see ``open_connection``."""
    return await the_node().start_server(client_connected_cb, host, port, limit=limit, **options)


async def create_connection(
    protocol_factory: Callable[[], ProtocolT],
    host: Host = None,
    port: Port = None,
    **options: Unpack[ConnectOptions],
) -> tuple[asyncio.Transport, ProtocolT]:
    """As ``loop.create_connection``; see ``open_connection``."""
    return await the_node().create_connection(protocol_factory, host, port, **options)


async def create_server(
    protocol_factory: Callable[[], asyncio.BaseProtocol],
    host: Hosts = None,
    port: Port = None,
    **options: Unpack[ServerOptions],
) -> Server:
    """As ``loop.create_server``; see ``open_connection``."""
    return await the_node().create_server(protocol_factory, host, port, **options)


async def create_datagram_endpoint(
    protocol_factory: Callable[[], DatagramProtocolT],
    local_addr: tuple[Host, Port] | None = None,
    remote_addr: tuple[Host, Port] | None = None,
    **options: Unpack[DatagramOptions],
) -> tuple[DatagramTransport, DatagramProtocolT]:
    """As ``loop.create_datagram_endpoint``; see ``open_connection``."""
    return await the_node().create_datagram_endpoint(protocol_factory, local_addr, remote_addr, **options)
