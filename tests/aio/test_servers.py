"""Servers: the same properties hold for asyncio's own and for ours."""

import asyncio
import errno
import socket
import sys

import pytest

from .places import ANYWHERE, OURS, SIMULATED, Recorder, echo, open_connections, pair, port_of, turns

pytestmark = ANYWHERE


async def says_hello(place, port, host=None):
    reader, writer = await place.client.open_connection(host or place.host, port)
    writer.write(b"hello")
    writer.write_eof()
    try:
        return await reader.read() == b"hello"
    finally:
        writer.close()


async def assert_refused(place, port):
    with pytest.raises(ConnectionRefusedError):
        await place.client.open_connection(place.host, port)


async def test_several_addresses(place):
    hosts = [place.host, "127.0.0.2" if place.is_kernel else "::1"]
    async with await place.server.start_server(echo, hosts, 0) as server:
        names = [sock.getsockname()[:2] for sock in server.sockets]
        assert {host for host, _ in names} == set(hosts)
        assert all(port for _, port in names)
        for name in names:
            reader, writer = await place.server.open_connection(*name)
            writer.write_eof()
            assert await reader.read() == b""
            writer.close()


async def test_an_address_in_use(place):
    async with await place.server.start_server(echo, place.host, 0) as server:
        port = port_of(server)
        with pytest.raises(OSError, match="bind on address") as caught:
            await place.server.start_server(echo, place.host, port)
        assert caught.value.errno == errno.EADDRINUSE
        assert await says_hello(place, port)
    again = await place.server.start_server(echo, place.host, port)
    assert await says_hello(place, port)
    again.close()


async def test_all_addresses_are_bound_or_none(place):
    other = "127.0.0.2" if place.is_kernel else "::1"
    async with await place.server.start_server(echo, place.host, 0) as server:
        port = port_of(server)
        with pytest.raises(OSError, match="in use"):
            await place.server.start_server(echo, [other, place.host], port)
        async with await place.server.start_server(echo, other, port):
            pass


async def test_an_address_of_somebody_else(place):
    with pytest.raises(OSError, match="bind on a") as caught:
        await place.server.start_server(echo, "192.0.2.1" if place.is_kernel else "fd00::1", 0)
    if not place.is_kernel:  # asyncio's own has no errno for it any more
        assert caught.value.errno == errno.EADDRNOTAVAIL


async def test_a_closed_server_refuses_and_its_connections_go_on(place):
    server = await place.server.start_server(echo, place.host, 0)
    port = port_of(server)
    reader, writer = await place.client.open_connection(place.host, port)
    writer.write(b"before")
    assert await reader.readexactly(6) == b"before"
    assert server.is_serving()
    server.close()
    server.close()
    assert not server.is_serving()
    assert server.sockets == ()
    await assert_refused(place, port)
    writer.write(b"after")
    assert await reader.readexactly(5) == b"after"
    closed = asyncio.create_task(server.wait_closed())
    if not place.is_kernel or sys.version_info >= (3, 12):  # before, asyncio's own did not wait
        await turns(5)
        assert not closed.done()
    writer.close()
    await closed


async def test_serving_forever_until_cancelled(place):
    server = await place.server.start_server(echo, place.host, 0, start_serving=False)
    port = port_of(server)
    serving = asyncio.create_task(server.serve_forever())
    await turns(3)
    with pytest.raises(RuntimeError, match="already"):
        await server.serve_forever()
    assert await says_hello(place, port)
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving
    await assert_refused(place, port)
    with pytest.raises(RuntimeError, match="closed"):
        await server.serve_forever()


@OURS
async def test_serving_forever_ends_with_all_connections(place):
    """Or Ctrl-C would wait for the last client to leave."""
    client, server, listening = await pair(place)
    serving = asyncio.create_task(listening.serve_forever())
    await turns(3)
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving
    assert server.lost.result() is None
    assert await client.lost is None


async def test_serving_forever_until_closed(place):
    server = await place.server.start_server(echo, place.host, 0)
    serving = asyncio.create_task(server.serve_forever())
    await turns(3)
    server.close()
    with pytest.raises(asyncio.CancelledError):
        await serving


async def test_serving_begins_later(place):
    server = await place.server.start_server(echo, place.host, 0, start_serving=False)
    port = port_of(server)
    assert port
    assert not server.is_serving()
    await assert_refused(place, port)
    if not place.is_kernel:  # where that depends on SO_REUSEADDR
        with pytest.raises(OSError, match="in use"):
            await place.server.start_server(echo, place.host, port)
    await server.start_serving()
    await server.start_serving()
    assert server.is_serving()
    assert await says_hello(place, port)
    assert server.get_loop() is asyncio.get_running_loop()
    server.close()
    await server.wait_closed()


async def test_a_plain_callback(place):
    writers = []

    def connected(reader, writer):
        writer.write(b"no coroutine")
        writer.close()
        writers.append(writer)

    async with await place.server.start_server(connected, place.host, 0) as server:
        reader, writer = await place.client.open_connection(place.host, port_of(server))
        assert await reader.read() == b"no coroutine"
        writer.close()
        await writers[0].wait_closed()


async def test_a_handler_that_fails_ends_its_own_connection(place, reports):
    if place.is_kernel and sys.version_info < (3, 12):
        pytest.skip("asyncio's own left the connection open")
    error = LookupError("a mistake in an application")

    async def fail(reader, writer):
        if await reader.readline() == b"fail\n":
            raise error
        writer.write(b"fine")
        writer.close()

    async with await place.server.start_server(fail, place.host, 0) as server:
        good, bad = [await place.client.open_connection(place.host, port_of(server)) for _ in range(2)]
        bad[1].write(b"fail\n")
        assert await bad[0].read() == b""
        (report,) = reports
        assert report["exception"] is error
        assert report["transport"] is not None
        reports.clear()
        good[1].write(b"work\n")
        assert await good[0].read() == b"fine"
        for _, writer in (good, bad):
            writer.close()


@OURS
async def test_more_connections_than_the_backlog(place):
    async with await place.server.start_server(echo, place.host, 0, backlog=1) as server:
        async with asyncio.TaskGroup() as group:
            talks = [group.create_task(says_hello(place, port_of(server))) for _ in range(20)]
        assert all(talk.result() for talk in talks)


@pytest.mark.parametrize("method", ["close_clients", "abort_clients"])
async def test_all_clients_are_sent_away(place, method):
    if place.is_kernel and sys.version_info < (3, 13):
        pytest.skip("asyncio's own cannot do that yet")
    client, server, listening = await pair(place)
    server.transport.write(b"bye")
    await client.received(3)
    listening.close()
    getattr(listening, method)()
    assert await server.lost is None
    await client.lost
    await listening.wait_closed()


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"port": 70_000}, OverflowError),
        ({"port": -1}, OverflowError),
        ({"ssl": True}, TypeError),
        ({"ssl_handshake_timeout": 1.0}, ValueError),
        ({"no_such_option": 1}, TypeError),
    ],
)
async def test_arguments_that_make_no_sense(place, options, error):
    with pytest.raises(error):
        await place.server.start_server(echo, place.host, **{"port": 0, **options})


# Ours alone


async def connect_and_read(place, port):
    reader, writer = await place.client.open_connection(place.host, port)
    try:
        return await reader.read()
    finally:
        writer.close()


@OURS
async def test_without_a_host_on_all_addresses(place):
    async with await place.server.start_server(echo, port=7000) as server:
        assert server.sockets[0].getsockname()[:2] == ("::", 7000)
        assert await says_hello(place, 7000)
        reader, writer = await place.server.open_connection("localhost", 7000)
        writer.write_eof()
        assert await reader.read() == b""
        writer.close()


@OURS
async def test_servers_share_a_port_if_all_agree(place):
    shared = {"host": place.host, "port": 7000, "reuse_port": True}
    counts = [0, 0]

    def counted(number):
        async def serve(reader, writer):
            counts[number] += 1
            await echo(reader, writer)

        return serve

    async with (
        await place.server.start_server(counted(0), **shared),
        await place.server.start_server(counted(1), **shared),
    ):
        for _ in range(20):
            assert await says_hello(place, 7000)
        with pytest.raises(OSError, match="in use"):
            await place.server.start_server(echo, place.host, 7000)
    assert sum(counts) == 20
    assert all(counts)


@OURS
@pytest.mark.parametrize("error", [LookupError, asyncio.CancelledError])
async def test_a_protocol_factory_that_fails(place, reports, error):
    def factory():
        raise error("a mistake in an application")

    async with await place.server.create_server(factory, place.host, 0) as server:
        with pytest.raises(ConnectionResetError):
            await connect_and_read(place, port_of(server))
    (report,) = reports
    assert isinstance(report["exception"], error)
    reports.clear()


@OURS
async def test_a_client_factory_that_fails(place):
    def factory():
        raise LookupError("a mistake in an application")

    async with await place.server.create_server(Recorder, place.host, 0) as server:
        with pytest.raises(LookupError):
            await place.client.create_connection(factory, place.host, port_of(server))
        await turns(5)
        assert open_connections(place.client) == []


@OURS
async def test_a_protocol_that_fails_at_once(place, reports):
    class Failing(Recorder):
        def connection_made(self, transport):
            raise LookupError("a mistake in an application")

    async with await place.server.create_server(Failing, place.host, 0) as server:
        with pytest.raises(ConnectionResetError):
            await connect_and_read(place, port_of(server))
    assert [type(report["exception"]) for report in reports] == [LookupError]
    reports.clear()


@SIMULATED
async def test_options_of_a_listening_socket_are_those_of_its_connections(place):
    async with await place.server.create_server(Recorder, place.host, 0) as server:
        (sock,) = server.sockets
        first, _ = await place.client.create_connection(Recorder, place.host, port_of(server))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        second, _ = await place.client.create_connection(Recorder, place.host, port_of(server))
        assert [accepted.options.keepalive for accepted in open_connections(place.server)] == [False, True]
        with pytest.raises(OSError, match="not connected"):
            sock.getpeername()
        first.close()
        second.close()


@SIMULATED
async def test_two_ends_within_a_node_that_never_tire_leave_the_loop_to_others(bare_world):
    """Each answers at once, so their packets would go round for ever within one turn of the node."""
    (node,) = [await bare_world.add_member()]

    class Tireless(asyncio.Protocol):
        def connection_made(self, transport):
            self.transport = transport
            transport.write(b"x")

        def data_received(self, data):
            self.transport.write(data)

    async with await node.create_server(Tireless, "::1", 7000) as server:
        transport, _ = await node.create_connection(Tireless, "::1", 7000)
        await turns(10)
        transport.abort()
        server.abort_clients()
