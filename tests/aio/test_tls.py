"""TLS through ``ssl=``: the same properties hold over the kernel's TCP and over ours."""

import asyncio
import contextlib
import random
import ssl

import pytest

from .certificates import contexts
from .places import ANYWHERE, Recorder, echo, on, port_of

pytestmark = ANYWHERE

BLOB = random.Random(2).randbytes(400_000)
FAILURES = (ssl.SSLError, ConnectionError)


@pytest.fixture
def tls(place, tmp_path):
    """Contexts of the server and of a client."""
    return contexts(place.host, tmp_path)


async def serve(place, tls, handler=echo, **options):
    return await place.server.start_server(handler, place.host, 0, ssl=tls[0], **options)


async def connect(place, tls, server, **options):
    return await place.client.open_connection(place.host, port_of(server), ssl=tls[1], **options)


async def test_echo(place, tls):
    async with await serve(place, tls) as server:
        reader, writer = await connect(place, tls, server)
        assert writer.get_extra_info("ssl_object").version() == "TLSv1.3"
        assert writer.get_extra_info("sslcontext") is tls[1]
        assert writer.get_extra_info("cipher")
        assert writer.get_extra_info("peercert")["subject"]
        assert writer.get_extra_info("peername")[:2] == (place.host, port_of(server))
        if not place.is_kernel:
            assert writer.get_extra_info("peer") == place.server.address
        assert not writer.can_write_eof()
        for message in (b"x", bytes(100_000)):
            writer.write(message)
            assert await reader.readexactly(len(message)) == message
        writer.close()
        await writer.wait_closed()


async def test_large_transfers_both_ways_at_once(place, tls):
    received = asyncio.get_running_loop().create_future()

    async def send(writer, data):
        for start in range(0, len(data), 30_000):
            writer.write(data[start : start + 30_000])
            await writer.drain()

    async def both(reader, writer):
        _, data = await asyncio.gather(send(writer, BLOB[::-1]), reader.readexactly(len(BLOB)))
        received.set_result(data)
        await reader.read()
        writer.close()

    async with await serve(place, tls, both) as server:
        reader, writer = await connect(place, tls, server)
        _, data = await asyncio.gather(send(writer, BLOB), reader.readexactly(len(BLOB)))
        assert data == BLOB[::-1]
        assert await received == BLOB
        writer.close()
        await writer.wait_closed()


async def test_the_end_of_a_stream(place, tls):
    async def talk(reader, writer):
        writer.write(BLOB)
        writer.close()
        await writer.wait_closed()

    async with await serve(place, tls, talk) as server:
        reader, writer = await connect(place, tls, server, server_hostname="server.example")
        assert await reader.read() == BLOB
        writer.close()
        await writer.wait_closed()


async def test_protocols_over_tls(place, tls):
    accepted = asyncio.Queue()

    def factory():
        accepted.put_nowait(protocol := Recorder())
        return protocol

    server = await place.server.create_server(factory, place.host, 0, ssl=tls[0])
    _, client = await place.client.create_connection(Recorder, place.host, port_of(server), ssl=tls[1])
    served = await accepted.get()
    client.transport.write(b"question")
    assert await served.received(8) == b"question"
    served.transport.write(b"answer")
    assert await client.received(6) == b"answer"
    client.transport.close()
    assert await client.lost is None
    assert await served.lost is None
    assert served.told[:2] == ["made", "data"]
    assert served.told[-1] == "lost"
    server.close()


async def test_a_server_that_is_not_trusted(place, tls, reports):
    async with await serve(place, tls) as server:
        with pytest.raises(ssl.SSLCertVerificationError, match="self-signed"):
            await connect(place, (None, ssl.create_default_context()), server)
        with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
            await connect(place, tls, server, server_hostname="other.example")
        reader, writer = await connect(place, tls, server)
        writer.write(b"fine")
        assert await reader.readexactly(4) == b"fine"
        writer.close()
        await writer.wait_closed()
    forgive_the_kernel(place, reports)


async def test_a_client_that_speaks_no_tls(place, tls, reports):
    async with await serve(place, tls) as server:
        reader, writer = await place.client.open_connection(place.host, port_of(server))
        writer.write(b"GET / HTTP/1.0\r\n\r\n")
        assert b"HTTP" not in await all_until_the_end(reader)
        writer.close()
        reader, writer = await connect(place, tls, server)
        writer.close()
        await writer.wait_closed()
    forgive_the_kernel(place, reports)


async def all_until_the_end(reader):
    """What can be read before the connection is closed or reset."""
    data = b""
    with contextlib.suppress(ConnectionError):
        while more := await reader.read(1000):
            data += more
    return data


def forgive_the_kernel(place, reports):
    """In debug mode asyncio reports every handshake that failed."""
    if place.is_kernel:
        reports.clear()


async def test_a_server_that_speaks_no_tls(place, tls):
    async def talk(reader, writer):
        writer.write(b"220 welcome to another protocol\r\n")
        await reader.read(100)
        writer.close()

    async with await place.server.start_server(talk, place.host, 0) as server:
        with pytest.raises(FAILURES):
            await connect(place, tls, server)


async def test_a_handshake_that_takes_too_long(place, tls):
    async def silence(reader, writer):
        await all_until_the_end(reader)
        writer.close()

    async with await place.server.start_server(silence, place.host, 0) as server:
        with pytest.raises(ConnectionAbortedError, match="handshake"):
            await connect(place, tls, server, ssl_handshake_timeout=0.1)


async def test_a_server_gives_up_on_a_handshake(place, tls, reports):
    async with await serve(place, tls, ssl_handshake_timeout=0.1) as server:
        reader, writer = await place.client.open_connection(place.host, port_of(server))
        assert await all_until_the_end(reader) == b""
        writer.close()
    forgive_the_kernel(place, reports)


async def test_a_peer_that_does_not_answer_the_end(place, tls):
    """TLS is shut down by both sides; after a time without an answer the connection is cut."""
    accepted = asyncio.get_running_loop().create_future()

    def factory():
        accepted.set_result(protocol := Recorder())
        return protocol

    listening = await place.server.create_server(factory, place.host, 0, ssl=tls[0])
    _, client = await place.client.create_connection(
        Recorder, place.host, port_of(listening), ssl=tls[1], ssl_shutdown_timeout=0.1
    )
    server = await accepted
    await server.made
    server.transport.pause_reading()
    client.transport.write(bytes(1_000_000))
    client.transport.close()
    assert isinstance(await client.lost, TimeoutError)
    server.transport.abort()
    await server.lost
    listening.close()


@on("kernel", "simulated", "one node", "asyncio")
async def test_a_stream_is_upgraded(place, tls):
    """As for STARTTLS; uvloop upgrades nothing but its own transports."""

    async def upgrade(reader, writer):
        assert await reader.readline() == b"STARTTLS\n"
        writer.write(b"go ahead\n")
        await writer.drain()
        await writer.start_tls(tls[0])
        writer.write(await reader.readline())
        await writer.drain()
        writer.close()

    async with await place.server.start_server(upgrade, place.host, 0) as server:
        reader, writer = await place.client.open_connection(place.host, port_of(server))
        writer.write(b"STARTTLS\n")
        assert await reader.readline() == b"go ahead\n"
        await writer.start_tls(tls[1], server_hostname=place.host)
        assert writer.get_extra_info("ssl_object").version() == "TLSv1.3"
        writer.write(b"in secret\n")
        assert await reader.readline() == b"in secret\n"
        writer.close()
        await writer.wait_closed()
