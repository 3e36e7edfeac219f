"""Where applications are apt to lean on what asyncio's own transports happen to do: the same calls act the same."""

import asyncio
import socket
import struct

import pytest

from .places import ANYWHERE, OURS, Recorder, pair, port_of, turns

pytestmark = ANYWHERE


class Vessel(asyncio.BufferedProtocol):
    """Of a few bytes; takes no more while it is full."""

    def __init__(self):
        loop = asyncio.get_running_loop()
        self.buffer = bytearray(5)
        self.used = 0
        self.data = bytearray()
        self.full = asyncio.Event()
        self.ended = loop.create_future()
        self.lost = loop.create_future()
        self.transport = None

    def get_buffer(self, sizehint):
        return memoryview(self.buffer)[self.used :]

    def buffer_updated(self, size):
        self.used += size
        if self.used == len(self.buffer):
            self.transport.pause_reading()
            self.full.set()

    def empty(self):
        self.data += self.buffer[: self.used]
        self.used = 0
        self.full.clear()
        self.transport.resume_reading()

    def eof_received(self):
        self.data += self.buffer[: self.used]
        self.ended.set_result(None)

    def connection_lost(self, error):
        self.lost.set_result(error)


async def test_a_buffered_protocol_that_pauses(place, reports):
    client, server, listening = await pair(place)
    vessel = Vessel()
    vessel.transport = server.transport
    server.transport.set_protocol(vessel)
    client.transport.write(b"0123456789abc")
    client.transport.write_eof()
    for _ in range(2):
        await vessel.full.wait()
        await turns(5)
        assert not vessel.ended.done()
        vessel.empty()
    await vessel.ended
    assert vessel.data == b"0123456789abc"
    assert await vessel.lost is None
    await client.lost
    listening.close()


async def test_a_buffered_protocol_that_hands_over(place, reports):
    """As where one protocol reads a head and another what follows."""
    client, server, listening = await pair(place)
    successor = Recorder()
    successor.told.append("made")

    class Head(Vessel):
        def buffer_updated(self, size):
            self.used += size
            if self.used == len(self.buffer):
                server.transport.set_protocol(successor)

    head = Head()
    head.transport = server.transport
    server.transport.set_protocol(head)
    client.transport.write(b"head!body")
    assert await successor.received(4) == b"body"
    assert head.buffer == b"head!"
    client.transport.close()
    await successor.lost
    listening.close()


async def test_a_buffered_protocol_that_pauses_and_closes(place):
    client, server, listening = await pair(place)
    vessel = Vessel()
    vessel.transport = server.transport
    server.transport.set_protocol(vessel)
    client.transport.write(b"0123456789abc")
    await vessel.full.wait()
    server.transport.close()
    assert await vessel.lost is None
    await client.lost
    listening.close()


@pytest.mark.parametrize(
    ("error", "is_reported"),
    [(asyncio.CancelledError(), True), (LookupError("a mistake"), True), (OSError("no such file"), False)],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("method", ["data_received", "eof_received"])
async def test_what_a_protocol_raises_ends_its_own_connection(place, reports, error, is_reported, method):
    """A CancelledError as well: that of a future that the protocol asked for its result."""
    client, server, listening = await pair(place)
    other_client, other_server, other_listening = await pair(place)

    def fail(*_):
        raise error

    setattr(server, method, fail)
    server.transport.set_protocol(server)
    client.transport.write(b"x")
    client.transport.write_eof()
    other_client.transport.write(b"y")
    assert await server.lost is error
    await client.lost
    await other_server.received(1)
    assert [report["exception"] for report in reports] == [error] * is_reported
    reports.clear()
    other_client.transport.close()
    await other_server.lost
    listening.close()
    other_listening.close()


async def test_a_writer_goes_on_while_its_connection_closes(place):
    client, server, listening = await pair(place)
    server.transport.pause_reading()
    client.transport.set_write_buffer_limits(high=1000)
    while "pause" not in client.told:
        client.transport.write(bytes(1 << 20))
        await turns(1)
    client.transport.close()
    server.transport.resume_reading()
    await client.lost
    assert client.told == ["made", "pause", "resume", "lost"]
    await server.lost
    listening.close()


@OURS
async def test_watermarks_that_change_while_a_writer_waits(place):
    client, server, listening = await pair(place)
    sizes = []
    client.resume_writing = lambda: sizes.append(client.transport.get_write_buffer_size())
    server.transport.pause_reading()
    client.transport.set_write_buffer_limits(high=1000)
    client.transport.write(bytes(32 << 20))
    assert client.told == ["made", "pause"]
    client.transport.set_write_buffer_limits(high=32 << 20, low=16 << 20)
    server.transport.resume_reading()
    await server.received(32 << 20)
    (size,) = sizes
    assert 8 << 20 < size <= 16 << 20
    client.transport.close()
    await server.lost
    listening.close()


async def test_a_writer_learns_of_a_reset_though_its_protocol_reads_no_more(place):
    client, server, listening = await pair(place, keep_open=True)
    server.transport.pause_reading()
    client.transport.write(b"data")
    sock = client.transport.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.transport.abort()
    while not server.lost.done():
        await asyncio.sleep(0.01)
        server.transport.write(b"x")
    assert isinstance(server.lost.result(), ConnectionResetError)
    assert server.told == ["made", "lost"]
    listening.close()


@pytest.mark.parametrize("kind", ["value", "task"])
async def test_what_a_plain_callback_returns_is_nobodys_business(place, reports, kind):
    answers = []

    async def answer(reader, writer):
        writer.write(await reader.readexactly(1))
        writer.close()

    def connected(reader, writer):
        answers.append(asyncio.ensure_future(answer(reader, writer)))
        return answers[0] if kind == "task" else 7

    async with await place.server.start_server(connected, place.host, 0) as server:
        reader, writer = await place.client.open_connection(place.host, port_of(server))
        await turns(10)
        writer.write(b"a")
        assert await reader.read() == b"a"
        writer.close()
        await writer.wait_closed()
    await asyncio.gather(*answers)


@pytest.mark.parametrize("end", ["close", "abort"])
async def test_a_protocol_that_ends_its_connection_at_once(place, end):
    class Hasty(Recorder):
        def connection_made(self, transport):
            super().connection_made(transport)
            transport.write(b"bye")
            getattr(transport, end)()

    client, server, listening = await pair(place)
    transport, hasty = await place.client.create_connection(Hasty, place.host, port_of(listening))
    assert transport.is_closing()
    assert await hasty.lost is None
    assert hasty.told == ["made", "lost"]
    client.transport.close()
    await server.lost
    listening.close()


@OURS
async def test_a_factory_that_closes_its_server(place):
    made = asyncio.get_running_loop().create_future()

    def factory():
        server.close()
        made.set_result(protocol := Recorder())
        return protocol

    server = await place.server.create_server(factory, place.host, 0)
    transport, _ = await place.client.create_connection(Recorder, place.host, port_of(server))
    transport.write(b"a")
    await (await made).received(1)
    transport.close()
    await server.wait_closed()
    assert made.result().lost.done()


async def test_connecting_to_nothing(place):
    with pytest.raises(ValueError, match="host"):
        await place.client.create_connection(Recorder, None, None)
    for host in (None, ""):
        with pytest.raises(ValueError, match="server_hostname"):
            await place.client.create_connection(Recorder, host, 80, ssl=True)


@pytest.mark.parametrize("address", ["ab", ("::1",), 5, ["::1", 5]])
async def test_what_is_no_address(place, address):
    for name in ("local_addr", "remote_addr"):
        with pytest.raises(TypeError):
            await place.client.create_datagram_endpoint(asyncio.DatagramProtocol, **{name: address})


@OURS
@pytest.mark.parametrize("address", ["ab", ("::1",), 5])
async def test_where_no_datagram_can_go(place, address):
    """Unlike asyncio's own, of which such a call is the end."""
    transport, _ = await place.client.create_datagram_endpoint(
        asyncio.DatagramProtocol, local_addr=(place.client_host, 0)
    )
    with pytest.raises(TypeError):
        transport.sendto(b"x", address)
    transport.close()


async def test_values_of_socket_options(place, reports):
    """Whatever a program sets, it must never be the node that fails."""
    client, server, listening = await pair(place)
    sock = client.transport.get_extra_info("socket")
    is_ipv4 = "." in place.host
    hops = (socket.IPPROTO_IP, socket.IP_TTL) if is_ipv4 else (socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS)
    before = sock.getsockopt(*hops)
    for value in (7, -1):
        sock.setsockopt(*hops, value)
    assert sock.getsockopt(*hops) == before
    with pytest.raises(OSError, match="22"):
        sock.setsockopt(*hops, 300)
    for level, option in (
        hops,
        (socket.IPPROTO_TCP, socket.TCP_NODELAY),
        (socket.SOL_SOCKET, socket.SO_PRIORITY),
    ):
        for bad in (1.5, "x", 1 << 40):
            with pytest.raises(TypeError):
                sock.setsockopt(level, option, bad)
    for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        for size in (0, 1, 1 << 30, memoryview(struct.pack("i", 1 << 20))):
            sock.setsockopt(socket.SOL_SOCKET, option, size)
            assert sock.getsockopt(socket.SOL_SOCKET, option) > 0
    client.transport.write(bytes(100_000))
    client.transport.close()
    await server.lost
    assert len(server.data) == 100_000
    listening.close()


class Opener(Recorder):
    """Sends at once, so that the data may arrive together with the connection."""

    def connection_made(self, transport):
        super().connection_made(transport)
        transport.write(b"first words")


async def test_a_protocol_has_a_turn_before_the_first_data(place):
    """As for a server that speaks TLS, or has another protocol take over, from the first byte on."""
    loop = asyncio.get_running_loop()
    successors = asyncio.Queue()

    def take_over(transport):
        successor = Recorder()
        successor.told.append("made")
        transport.set_protocol(successor)
        successors.put_nowait((transport, successor))

    class Herald(Recorder):
        def connection_made(self, transport):
            loop.call_soon(take_over, transport)

    async with await place.server.create_server(Herald, place.host, 0) as server:
        transport, client = await place.client.create_connection(Opener, place.host, port_of(server))
        _, successor = await successors.get()
        assert await successor.received(11) == b"first words"
        transport.close()
        await successor.lost
        await client.lost


async def test_who_connects_has_a_turn_before_the_first_data(place):
    async with await place.server.create_server(Opener, place.host, 0) as server:
        transport, client = await place.client.create_connection(Recorder, place.host, port_of(server))
        assert client.told == ["made"]
        transport.pause_reading()
        await turns(20)
        assert client.told == ["made"]
        transport.resume_reading()
        assert await client.received(11) == b"first words"
        transport.close()
        await client.lost
