"""Streams and transports: the same properties hold over the kernel's TCP and over ours."""

import asyncio
import errno
import hashlib
import ipaddress
import random
import socket
import struct

import pytest

from .places import ANYWHERE, OURS, SIMULATED, Recorder, echo, pair, port_of, turns

pytestmark = ANYWHERE

BLOB = random.Random(1).randbytes(1 << 20)
RESET_ON_CLOSE = struct.pack("ii", 1, 0)


async def serve(place, handler, **options):
    return await place.server.start_server(handler, place.host, 0, **options)


async def connect(place, server, **options):
    return await place.client.open_connection(place.host, port_of(server), **options)


async def finish(writer, server):
    writer.close()
    await writer.wait_closed()
    server.close()
    await server.wait_closed()


async def test_echo(place):
    server = await serve(place, echo)
    reader, writer = await connect(place, server)
    for message in (b"x", b"hello\n", bytes(5000)):
        writer.write(message)
        assert await reader.readexactly(len(message)) == message
    writer.write_eof()
    assert await reader.read() == b""
    assert reader.at_eof()
    await finish(writer, server)


async def test_large_transfers_both_ways_at_once(place):
    received = asyncio.get_running_loop().create_future()

    async def both(reader, writer):
        _, data = await asyncio.gather(send(writer, BLOB[::-1]), reader.read())
        received.set_result(data)
        writer.close()

    async def send(writer, data):
        for start in range(0, len(data), 50_000):
            writer.write(data[start : start + 50_000])
            await writer.drain()
        writer.write_eof()

    server = await serve(place, both)
    reader, writer = await connect(place, server)
    _, data = await asyncio.gather(send(writer, BLOB), reader.read())
    assert data == BLOB[::-1]
    assert await received == BLOB
    await finish(writer, server)


async def test_many_small_writes_arrive_in_order(place):
    server = await serve(place, echo)
    reader, writer = await connect(place, server)
    lines = [b"%d\n" % number for number in range(2000)]
    for number, line in enumerate(lines):
        writer.write(line)
        if number % 100 == 0:
            await writer.drain()
    writer.write_eof()
    assert [line async for line in reader] == lines
    await finish(writer, server)


async def test_the_ways_of_reading(place):
    async def talk(reader, writer):
        writer.write(b"first line\nrecord;0123456789rest")
        writer.close()

    server = await serve(place, talk)
    reader, writer = await connect(place, server)
    assert await reader.readline() == b"first line\n"
    assert await reader.readuntil(b";") == b"record;"
    assert await reader.readexactly(10) == b"0123456789"
    with pytest.raises(asyncio.IncompleteReadError) as caught:
        await reader.readexactly(10)
    assert caught.value.partial == b"rest"
    assert await reader.read(10) == b""
    await finish(writer, server)


async def test_a_line_longer_than_the_limit(place):
    async def talk(reader, writer):
        writer.write(bytes(5000))
        writer.close()

    server = await serve(place, talk)
    reader, writer = await connect(place, server, limit=1000)
    with pytest.raises(asyncio.LimitOverrunError):
        await reader.readuntil(b"\n")
    await finish(writer, server)


async def test_a_read_that_was_cancelled_loses_nothing(place):
    server = await serve(place, echo)
    reader, writer = await connect(place, server)
    reading = asyncio.create_task(reader.readexactly(5))
    await turns(3)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    writer.write(b"12345")
    assert await reader.readexactly(5) == b"12345"
    await finish(writer, server)


async def test_the_client_closes_its_half_and_reads_on(place):
    async def digest(reader, writer):
        data = await reader.read()
        writer.write(hashlib.sha256(data).digest())
        writer.write(b"more")
        writer.close()

    server = await serve(place, digest)
    reader, writer = await connect(place, server)
    writer.write(BLOB[:100_000])
    assert writer.can_write_eof()
    writer.write_eof()
    assert await reader.read() == hashlib.sha256(BLOB[:100_000]).digest() + b"more"
    await finish(writer, server)


async def test_the_server_closes_its_half_and_reads_on(place):
    received = asyncio.get_running_loop().create_future()

    async def greet(reader, writer):
        writer.write(b"go ahead")
        writer.write_eof()
        received.set_result(await reader.read())
        writer.close()

    server = await serve(place, greet)
    reader, writer = await connect(place, server)
    assert await reader.read() == b"go ahead"
    writer.write(BLOB[:100_000])
    writer.write_eof()
    assert await received == BLOB[:100_000]
    await finish(writer, server)


async def test_both_ends_close_at_once(place):
    client, server, listening = await pair(place)
    client.transport.close()
    server.transport.close()
    assert await client.lost is None
    assert await server.lost is None
    listening.close()


async def test_a_refused_connection(place):
    server = await serve(place, echo)
    port = port_of(server)
    server.close()
    await server.wait_closed()
    with pytest.raises(ConnectionRefusedError) as caught:
        await place.client.open_connection(place.host, port)
    assert caught.value.errno == errno.ECONNREFUSED


async def test_a_reset_reaches_the_other_end(place):
    client, server, listening = await pair(place)
    server.transport.write(b"before")
    await client.received(6)
    sock = client.transport.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    client.transport.abort()
    assert await client.lost is None
    assert isinstance(await server.lost, ConnectionResetError)
    assert server.told == ["made", "lost"]
    listening.close()


async def test_a_reader_learns_of_a_reset(place):
    async def drop(reader, writer):
        await reader.readline()
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        writer.close()

    server = await serve(place, drop)
    reader, writer = await connect(place, server)
    writer.write(b"please\n")
    with pytest.raises(ConnectionResetError) as caught:
        await reader.read()
    assert caught.value.errno == errno.ECONNRESET
    writer.close()
    with pytest.raises(ConnectionResetError):
        await writer.wait_closed()
    server.close()


async def test_abort_drops_what_is_queued(place):
    client, server, listening = await pair(place)
    server.transport.pause_reading()
    client.transport.write(BLOB * 16)
    assert client.transport.get_write_buffer_size() > 0
    client.transport.abort()
    assert client.transport.is_closing()
    assert await client.lost is None
    server.transport.resume_reading()
    await server.lost
    assert len(server.data) < 16 * len(BLOB)
    listening.close()


@SIMULATED
async def test_abort_is_heard_of_at_once_also_where_nothing_else_happens(place):
    loop = asyncio.get_running_loop()
    client, server, listening = await pair(place)
    await asyncio.sleep(0.5)
    aborted = loop.time()
    client.transport.abort()
    assert isinstance(await server.lost, ConnectionResetError)
    assert loop.time() - aborted < 0.1
    listening.close()


async def test_what_is_queued_at_close_arrives(place):
    received = asyncio.get_running_loop().create_future()

    async def take(reader, writer):
        received.set_result(await reader.read())
        writer.close()

    server = await serve(place, take)
    _, writer = await connect(place, server)
    writer.write(BLOB)
    await finish(writer, server)
    assert await received == BLOB


async def test_wait_closed_waits_for_the_data(place):
    client, server, listening = await pair(place)
    server.transport.pause_reading()
    client.transport.write(BLOB * 16)
    client.transport.close()
    assert client.transport.is_closing()
    done, _ = await asyncio.wait([client.lost], timeout=0.2)
    assert not done
    server.transport.resume_reading()
    assert await client.lost is None
    await server.lost
    assert len(server.data) == 16 * len(BLOB)
    listening.close()


async def test_drain_waits_for_a_reader_that_pauses(place):
    client, server, listening = await pair(place)
    reader = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(reader)
    protocol.connection_made(client.transport)
    client.transport.set_protocol(protocol)
    writer = asyncio.StreamWriter(client.transport, protocol, reader, asyncio.get_running_loop())
    server.transport.pause_reading()
    assert not server.transport.is_reading()
    written = 0

    async def write_without_end():
        nonlocal written
        while written < 64 << 20:
            writer.write(BLOB)
            written += len(BLOB)
            async with asyncio.timeout(0.3):
                await writer.drain()

    with pytest.raises(TimeoutError):
        await write_without_end()
    assert not server.data
    server.transport.resume_reading()
    assert server.transport.is_reading()
    await writer.drain()
    writer.close()
    await server.lost
    assert len(server.data) == written
    listening.close()


async def test_writing_is_paused_between_the_watermarks(place):
    client, server, listening = await pair(place)
    transport = client.transport
    transport.set_write_buffer_limits(high=100_000, low=20_000)
    assert transport.get_write_buffer_limits() == (20_000, 100_000)
    server.transport.pause_reading()
    while "pause" not in client.told:
        transport.write(bytes(50_000))
        size = transport.get_write_buffer_size()
        await turns(2)
    assert size > 100_000
    server.transport.resume_reading()
    await client.resumed
    assert transport.get_write_buffer_size() <= 20_000
    assert client.told == ["made", "pause", "resume"]
    transport.close()
    await server.lost
    listening.close()


async def test_watermarks_that_make_no_sense(place):
    client, server, listening = await pair(place)
    for limits in ({"high": 10, "low": 20}, {"high": -1}):
        with pytest.raises(ValueError, match=r"high .* must be >= low"):
            client.transport.set_write_buffer_limits(**limits)
    client.transport.set_write_buffer_limits(high=0)
    assert client.transport.get_write_buffer_limits() == (0, 0)
    client.transport.set_write_buffer_limits(low=1000)
    assert client.transport.get_write_buffer_limits() == (1000, 4000)
    client.transport.set_write_buffer_limits()
    low, high = client.transport.get_write_buffer_limits()
    assert 0 < low < high
    client.transport.abort()
    await server.lost
    listening.close()


async def test_nothing_is_delivered_while_reading_is_paused(place):
    client, server, listening = await pair(place)
    server.transport.pause_reading()
    client.transport.write(b"later")
    client.transport.write_eof()
    await asyncio.sleep(0.05)
    assert server.told == ["made"]
    server.transport.resume_reading()
    await server.lost
    assert server.told == ["made", "data", "eof", "lost"]
    assert server.data == b"later"
    await client.lost
    listening.close()


@pytest.mark.parametrize("keep_open", [False, True])
async def test_what_a_protocol_is_told(place, keep_open):
    client, server, listening = await pair(place, keep_open=keep_open)
    client.transport.write(b"question")
    client.transport.write_eof()
    await server.ended
    assert server.transport.is_closing() is not keep_open
    if keep_open:
        server.transport.write(b"answer")
        server.transport.close()
        assert await client.received(6) == b"answer"
        await client.ended
        client.transport.close()
    assert await server.lost is None
    assert await client.lost is None
    assert server.told == ["made", "data", "eof", "lost"]
    assert client.told == ["made", *(["data"] if keep_open else []), "eof", "lost"]
    listening.close()


class Bucket(asyncio.BufferedProtocol):
    """Takes the stream through a buffer of seven bytes."""

    def __init__(self):
        self.buffer = bytearray(7)
        self.data = bytearray()
        self.ended = asyncio.get_running_loop().create_future()
        self.lost = asyncio.get_running_loop().create_future()

    def get_buffer(self, sizehint):
        return self.buffer

    def buffer_updated(self, size):
        self.data += self.buffer[:size]

    def eof_received(self):
        self.ended.set_result(None)

    def connection_lost(self, error):
        self.lost.set_result(error)


async def test_a_buffered_protocol(place):
    client, server, listening = await pair(place)
    bucket = Bucket()
    server.transport.set_protocol(bucket)
    client.transport.write(BLOB[:1000])
    client.transport.write_eof()
    await bucket.ended
    assert bucket.data == BLOB[:1000]
    await bucket.lost
    await client.lost
    listening.close()


async def test_another_protocol_takes_over(place):
    client, server, listening = await pair(place)
    client.transport.write(b"old")
    await server.received(3)
    successor = Recorder()
    successor.told.append("made")
    server.transport.set_protocol(successor)
    assert server.transport.get_protocol() is successor
    client.transport.write(b"new")
    assert await successor.received(3) == b"new"
    assert server.data == b"old"
    client.transport.close()
    await successor.lost
    assert "lost" not in server.told
    listening.close()


async def test_what_can_be_written(place):
    client, server, listening = await pair(place)
    mutable = bytearray(b"abc")
    client.transport.write(mutable)
    mutable[:] = b"xyz"
    client.transport.write(memoryview(b"-def-")[1:4])
    client.transport.write(memoryview(bytearray(b"\1\0\0\0\2\0\0\0")).cast("I"))
    client.transport.write(b"")
    client.transport.writelines([b"ghi", bytearray(b"jkl"), memoryview(b"mno")])
    client.transport.writelines([])
    assert await server.received(23) == b"abcdef\1\0\0\0\2\0\0\0ghijklmno"
    for nonsense in ("text", 7, None, [b"list"]):
        with pytest.raises(TypeError):
            client.transport.write(nonsense)
    client.transport.close()
    await server.lost
    listening.close()


async def test_writing_after_the_end(place):
    client, server, listening = await pair(place, keep_open=True)
    client.transport.write(b"one")
    client.transport.write_eof()
    client.transport.write_eof()
    with pytest.raises(RuntimeError):
        client.transport.write(b"two")
    await server.ended
    server.transport.write(b"last")
    server.transport.close()
    server.transport.write(b"too late")
    server.transport.close()
    await client.ended
    client.transport.close()
    await client.lost
    assert server.data == b"one"
    assert client.data == b"last"
    listening.close()


async def test_addresses_and_other_information(place):
    client, server, listening = await pair(place)
    for here, there in ((client, server), (server, client)):
        name, peer = (here.transport.get_extra_info(what) for what in ("sockname", "peername"))
        assert (peer, name) == tuple(
            there.transport.get_extra_info(what) for what in ("sockname", "peername")
        )
        sock = here.transport.get_extra_info("socket")
        assert sock.getsockname() == name
        assert sock.getpeername() == peer
        assert sock.type == socket.SOCK_STREAM
        assert sock.family == (socket.AF_INET if "." in place.host else socket.AF_INET6)
        assert len(name) == len(peer) == (2 if "." in place.host else 4)
        assert here.transport.get_extra_info("ssl_object") is None
        assert here.transport.get_extra_info("sslcontext") is None
        assert here.transport.get_extra_info("no such thing", "default") == "default"
    assert client.transport.get_extra_info("peername")[:2] == (place.host, port_of(listening))
    assert client.transport.get_extra_info("sockname")[0] == place.client_host
    client.transport.close()
    await server.lost
    listening.close()


async def test_options_of_the_socket(place):
    client, server, listening = await pair(place)
    sock = client.transport.get_extra_info("socket")
    assert client.transport.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE) == socket.SOCK_STREAM
    for level, option, value in (
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
        (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
        (socket.IPPROTO_TCP, socket.TCP_NODELAY, 0),
        (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30),
        (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
        (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 5000),
        (socket.SOL_SOCKET, socket.SO_PRIORITY, 3),
    ):
        sock.setsockopt(level, option, value)
        again = client.transport.get_extra_info("socket")
        assert again.getsockopt(level, option) == value
        assert again.getsockopt(level, option, 4) == struct.pack("i", value)
    assert isinstance(sock.fileno(), int)
    with pytest.raises(ValueError, match="blocking"):
        sock.setblocking(True)
    client.transport.close()
    await server.lost
    listening.close()


async def test_a_protocol_that_fails_ends_its_own_connection(place, reports):
    client, server, listening = await pair(place)
    error = LookupError("a mistake in an application")

    class Failing(Recorder):
        def data_received(self, data):
            raise error

    failing = Failing()
    server.transport.set_protocol(failing)
    client.transport.write(b"data")
    assert await failing.lost is error
    await client.lost
    (report,) = reports
    assert report["exception"] is error
    assert report["transport"] is server.transport
    reports.clear()
    _, other = await place.client.create_connection(Recorder, place.host, port_of(listening))
    other.transport.close()
    await other.lost
    listening.close()


async def test_the_own_port_of_a_connection(place):
    server = await serve(place, echo)
    first = await connect(place, server)
    port = first[1].get_extra_info("sockname")[1]
    other = await serve(place, echo)
    if not place.is_kernel:  # which would want SO_REUSEADDR for it
        reader, writer = await connect(place, other, local_addr=(place.client_host, port))
        assert writer.get_extra_info("sockname")[:2] == (place.client_host, port)
        writer.write_eof()
        assert await reader.read() == b""
        await finish(writer, other)
    with pytest.raises(OSError) as caught:
        await connect(place, server, local_addr=(place.client_host, port))
    assert caught.value.errno == errno.EADDRINUSE
    other.close()
    await finish(first[1], server)


@pytest.mark.parametrize("form", [str, str.encode, ipaddress.ip_address], ids=["text", "bytes", "address"])
async def test_forms_of_hosts_and_ports(place, form):
    if place.is_kernel and form is not str:
        pytest.skip("asyncio takes only text everywhere")
    server = await place.server.start_server(echo, form(place.host), 0)
    reader, writer = await place.client.open_connection(form(place.host), str(port_of(server)))
    writer.write_eof()
    assert await reader.read() == b""
    await finish(writer, server)


async def test_a_hundred_connections_at_once(place):
    server = await serve(place, echo)

    async def talk(number):
        reader, writer = await connect(place, server)
        writer.write(b"%d" % number)
        writer.write_eof()
        assert await reader.read() == b"%d" % number
        writer.close()
        await writer.wait_closed()

    async with asyncio.TaskGroup() as group:
        for number in range(100):
            group.create_task(talk(number))
    server.close()
    await server.wait_closed()


async def test_what_arrived_before_a_reset_can_still_be_read(place):
    client, server, listening = await pair(place)
    server.transport.pause_reading()
    client.transport.write(b"data")
    await asyncio.sleep(0.1)
    sock = client.transport.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    client.transport.abort()
    await asyncio.sleep(0.1)
    assert server.told == ["made"]
    server.transport.resume_reading()
    assert isinstance(await server.lost, ConnectionResetError)
    assert server.data == b"data"
    server.transport.resume_reading()
    assert not server.transport.is_reading()
    listening.close()


async def test_a_writer_that_waits_learns_of_a_reset_though_nobody_reads(place):
    client, server, listening = await pair(place)
    client.transport.pause_reading()
    server.transport.pause_reading()
    server.transport.write(b"unread")
    client.transport.set_write_buffer_limits(high=0)
    for _ in range(16):
        client.transport.write(BLOB)
    assert client.told[-1] == "pause"
    await asyncio.sleep(0.1)
    sock = server.transport.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    server.transport.abort()
    assert isinstance(await client.lost, ConnectionError)
    await server.lost
    listening.close()


# Where ours does more than asyncio promises


@OURS
async def test_what_is_queued_arrives_though_the_peer_still_sends(place):
    """A kernel would reset the connection, and what was queued would be lost."""
    client, server, listening = await pair(place)
    server.transport.write(BLOB)
    client.transport.write(BLOB)
    client.transport.close()
    assert await server.received(len(BLOB)) == BLOB
    server.transport.write(b"anybody there?")
    assert await client.lost is None
    await server.lost
    listening.close()


@OURS
async def test_who_is_at_the_other_end(place):
    client, server, listening = await pair(place)
    for here, there, peer in ((client, server, place.server), (server, client, place.client)):
        transport = here.transport
        assert transport.get_extra_info("peer") == peer.address
        local = place.client is place.server
        assert transport.get_extra_info("network") == (None if local else next(iter(peer.networks)))
        assert transport.get_extra_info("tcp_info").state == "ESTABLISHED"
        there.transport.write(b"x")
    client.transport.close()
    await server.lost
    assert server.transport.get_extra_info("peer") == place.client.address
    listening.close()
