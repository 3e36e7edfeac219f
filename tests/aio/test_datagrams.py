"""Datagram endpoints: the same properties hold over the kernel's UDP and over ours."""

import asyncio
import errno
import random
import socket

import pytest

from .places import ANYWHERE, OURS, turns

pytestmark = ANYWHERE

BLOB = random.Random(3).randbytes(65_528)


class Endpoint(asyncio.DatagramProtocol):
    """Notes what it is told, and whose user waits for it."""

    def __init__(self):
        self.received = asyncio.Queue()
        self.errors = asyncio.Queue()
        self.lost = asyncio.get_running_loop().create_future()

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, addr):
        self.received.put_nowait((data, addr))

    def error_received(self, error):
        self.errors.put_nowait(error)

    def connection_lost(self, error):
        self.lost.set_result(error)

    @property
    def name(self):
        return self.transport.get_extra_info("sockname")

    async def end(self):
        self.transport.close()
        assert await self.lost is None


class Echo(Endpoint):
    def datagram_received(self, data, addr):
        self.transport.sendto(data, addr)


async def open_endpoint(node, kind=Endpoint, **options):
    transport, protocol = await node.create_datagram_endpoint(kind, **options)
    assert protocol.transport is transport
    return protocol


async def test_two_endpoints_that_are_not_connected(place):
    client = await open_endpoint(place.client, local_addr=(place.client_host, 0))
    server = await open_endpoint(place.server, local_addr=(place.host, 0))
    client.transport.sendto(b"question", server.name)
    data, source = await server.received.get()
    assert (data, source) == (b"question", client.name)
    server.transport.sendto(b"answer", source)
    assert await client.received.get() == (b"answer", server.name)
    assert client.transport.get_extra_info("peername") is None
    await client.end()
    await server.end()


async def test_a_connected_endpoint(place):
    server = await open_endpoint(place.server, Echo, local_addr=(place.host, 0))
    stranger = await open_endpoint(place.server, local_addr=(place.host, 0))
    client = await open_endpoint(place.client, remote_addr=server.name[:2])
    assert client.transport.get_extra_info("peername") == server.name
    assert client.name[0] == place.client_host
    client.transport.sendto(b"one")
    assert await client.received.get() == (b"one", server.name)
    client.transport.sendto(b"two", server.name)
    assert await client.received.get() == (b"two", server.name)
    with pytest.raises(ValueError, match="Invalid address"):
        client.transport.sendto(b"three", stranger.name)
    stranger.transport.sendto(b"let me in", client.name)
    client.transport.sendto(b"four")
    assert await client.received.get() == (b"four", server.name)
    for endpoint in (client, server, stranger):
        await endpoint.end()


@pytest.mark.parametrize("size", [1, 1432, 2700, 2753, 20_000, 60_000, 65_507])
async def test_sizes(place, size):
    server = await open_endpoint(place.server, Echo, local_addr=(place.host, 0))
    client = await open_endpoint(place.client, remote_addr=server.name[:2])
    for number in (
        1,
        size,
    ):  # the nodes meet over the first one; of many packets at once, they would drop some
        client.transport.sendto(BLOB[:number])
        assert await client.received.get() == (BLOB[:number], server.name)
    await client.end()
    await server.end()


async def test_a_datagram_that_is_too_large(place):
    server = await open_endpoint(place.server, local_addr=(place.host, 0))
    client = await open_endpoint(place.client, remote_addr=server.name[:2])
    client.transport.sendto(BLOB)
    assert (await client.errors.get()).errno == errno.EMSGSIZE
    client.transport.sendto(b"smaller")
    assert (await server.received.get())[0] == b"smaller"
    await client.end()
    await server.end()


async def test_a_burst_in_order(place):
    server = await open_endpoint(place.server, local_addr=(place.host, 0))
    client = await open_endpoint(place.client, remote_addr=server.name[:2])
    client.transport.sendto(b"the path is found meanwhile")
    await server.received.get()
    messages = [b"%d" % number for number in range(50)]
    for message in messages:
        client.transport.sendto(message)
    assert [(await server.received.get())[0] for _ in messages] == messages
    await client.end()
    await server.end()


async def test_nobody_is_there(place):
    server = await open_endpoint(place.server, local_addr=(place.host, 0))
    name = server.name[:2]
    await server.end()
    client = await open_endpoint(place.client, remote_addr=name)
    client.transport.sendto(b"anybody there?")
    error = await client.errors.get()
    assert isinstance(error, ConnectionRefusedError)
    assert not client.transport.is_closing()
    await client.end()


async def test_the_end(place):
    endpoint = await open_endpoint(place.client, local_addr=(place.client_host, 0))
    name = endpoint.name
    assert not endpoint.transport.is_closing()
    endpoint.transport.close()
    endpoint.transport.close()
    assert endpoint.transport.is_closing()
    assert await endpoint.lost is None
    if not place.is_kernel:  # asyncio's own fails there
        endpoint.transport.sendto(b"too late", name)
    again = await open_endpoint(place.client, local_addr=name[:2])
    assert again.name == name
    again.transport.abort()
    await again.lost


async def test_an_address_in_use(place):
    endpoint = await open_endpoint(place.client, local_addr=(place.client_host, 0))
    with pytest.raises(OSError, match="in use") as caught:
        await open_endpoint(place.client, local_addr=endpoint.name[:2])
    assert caught.value.errno == errno.EADDRINUSE
    await endpoint.end()


async def test_an_address_of_somebody_else(place):
    with pytest.raises(OSError, match="assign") as caught:
        await open_endpoint(place.client, local_addr=("192.0.2.1" if place.is_kernel else "fd00::1", 0))
    assert caught.value.errno == errno.EADDRNOTAVAIL


async def test_a_protocol_that_fails_goes_on(place, reports):
    class Failing(Endpoint):
        def datagram_received(self, data, addr):
            if data == b"fail":
                raise LookupError("a mistake in an application")
            super().datagram_received(data, addr)

    server = await open_endpoint(place.server, Failing, local_addr=(place.host, 0))
    client = await open_endpoint(place.client, remote_addr=server.name[:2])
    client.transport.sendto(b"fail")
    client.transport.sendto(b"work")
    assert (await server.received.get())[0] == b"work"
    assert [type(report["exception"]) for report in reports] == [LookupError]
    reports.clear()
    await client.end()
    await server.end()


async def test_what_can_be_sent(place):
    server = await open_endpoint(place.server, local_addr=(place.host, 0))
    client = await open_endpoint(place.client, remote_addr=server.name[:2])
    for data in (b"bytes", bytearray(b"bytearray"), memoryview(b"-memoryview-")[1:-1]):
        client.transport.sendto(data)
        assert (await server.received.get())[0] == bytes(data)
    for nonsense in ("text", 7, None):
        with pytest.raises(TypeError):
            client.transport.sendto(nonsense)
    await client.end()
    await server.end()


async def test_the_socket(place):
    endpoint = await open_endpoint(place.client, local_addr=(place.client_host, 0))
    sock = endpoint.transport.get_extra_info("socket")
    assert sock.getsockname() == endpoint.name
    assert sock.type == socket.SOCK_DGRAM
    with pytest.raises(OSError, match="not connected"):
        sock.getpeername()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    assert endpoint.transport.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST) == 1
    assert endpoint.transport.get_extra_info("nothing of the kind", 7) == 7
    assert endpoint.transport.get_write_buffer_size() == 0
    await endpoint.end()


# Ours alone


@OURS
async def test_an_empty_datagram(place):
    server = await open_endpoint(place.server, local_addr=(place.host, 0))
    client = await open_endpoint(place.client, remote_addr=server.name[:2])
    client.transport.sendto(b"")
    assert (await server.received.get())[0] == b""
    await client.end()
    await server.end()


@OURS
async def test_without_addresses_on_all_networks(place):
    server = await open_endpoint(place.server, Echo, local_addr=(None, 7000))
    assert server.name[:2] == ("::", 7000)
    client = await open_endpoint(place.client)
    client.transport.sendto(b"hello", (place.host, 7000))
    data, source = await client.received.get()
    assert (data, source[:2]) == (b"hello", (place.host, 7000))
    near = await open_endpoint(place.server, remote_addr=("localhost", 7000))
    near.transport.sendto(b"hello, me")
    assert (await near.received.get())[0] == b"hello, me"
    for endpoint in (client, near, server):
        await endpoint.end()


@OURS
async def test_endpoints_share_a_port_if_all_agree(place):
    shared = {"local_addr": (place.host, 7000), "reuse_port": True}
    counts = [0, 0]

    def counting(number):
        class Counting(Echo):
            def datagram_received(self, data, addr):
                counts[number] += 1
                super().datagram_received(data, addr)

        return Counting

    servers = [await open_endpoint(place.server, counting(number), **shared) for number in range(2)]
    clients = [await open_endpoint(place.client, remote_addr=(place.host, 7000)) for _ in range(20)]
    for client in clients:
        client.transport.sendto(b"x")
        await client.received.get()
    assert sum(counts) == 20
    assert all(counts)
    for endpoint in (*servers, *clients):
        await endpoint.end()


@OURS
async def test_where_no_datagram_can_go(place):
    endpoint = await open_endpoint(place.client)
    without_ipv4 = errno.EHOSTUNREACH if "." in place.host else errno.ENETUNREACH
    for address, code in ((("2001:db8::1", 1), errno.EHOSTUNREACH), (("192.0.2.1", 1), without_ipv4)):
        endpoint.transport.sendto(b"lost", address)
        assert (await endpoint.errors.get()).errno == code
    endpoint.transport.sendto(b"to nobody")
    assert (await endpoint.errors.get()).errno == errno.EDESTADDRREQ
    with pytest.raises(socket.gaierror, match="not an IP address"):
        endpoint.transport.sendto(b"lost", ("some.name.example", 1))
    with pytest.raises(OverflowError):
        endpoint.transport.sendto(b"lost", (place.host, 70_000))
    await endpoint.end()


@OURS
async def test_a_protocol_may_close_while_it_is_told(place):
    class Once(Endpoint):
        def datagram_received(self, data, addr):
            super().datagram_received(data, addr)
            self.transport.close()

    server = await open_endpoint(place.server, Once, local_addr=(place.host, 0))
    client = await open_endpoint(place.client, remote_addr=server.name[:2])
    for number in range(3):
        client.transport.sendto(b"%d" % number)
    assert await server.lost is None
    await turns(3)
    assert server.received.qsize() == 1
    await client.end()


@OURS
async def test_a_factory_that_fails(place):
    def factory():
        raise LookupError("a mistake in an application")

    for _ in range(2):
        with pytest.raises(LookupError):
            await place.client.create_datagram_endpoint(factory, (place.client_host, 7000))
