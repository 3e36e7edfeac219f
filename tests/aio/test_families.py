"""IPv4 and IPv6 side by side, and groups that members of a network join."""

import asyncio
import errno
import ipaddress
import socket
import struct

import pytest
import pytest_asyncio

import zt_async as zt
from zt_async.testing import private_world
from zt_async.types import BROADCAST, MulticastGroup, NetworkId

from .places import IPV4_NETWORK, REAL, address_of, ipv4_of, on, turns

pytestmark = on("simulated", "asyncio")
GROUP4, GROUP6 = "239.1.2.3", "ff05::1234"
FAMILIES = pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6], ids=["IPv4", "IPv6"])


@pytest_asyncio.fixture
async def both(reports):
    """Two members of a network with addresses of both families."""
    async with private_world(2, network_id=IPV4_NETWORK) as world:
        yield world


class Endpoint(asyncio.DatagramProtocol):
    def __init__(self):
        self.received = asyncio.Queue()
        self.errors = asyncio.Queue()

    def datagram_received(self, data, addr):
        self.received.put_nowait((data, addr))

    def error_received(self, error):
        self.errors.put_nowait(error)


async def endpoint(node, *args, **options):
    transport, protocol = await node.create_datagram_endpoint(Endpoint, *args, **options)
    protocol.transport = transport
    return protocol


async def echo(reader, writer):
    writer.write(await reader.read())
    await writer.drain()
    writer.close()


async def answers(node, host, port, **options):
    """Whether a server echoes what it is sent; the names of both ends of the connection."""
    reader, writer = await node.open_connection(host, port, **options)
    writer.write(b"hello")
    writer.write_eof()
    assert await reader.read() == b"hello"
    writer.close()
    return writer.get_extra_info("sockname"), writer.get_extra_info("peername")


# -- streams


async def test_a_server_at_an_ipv4_address(both):
    client, server = both.members
    async with await server.start_server(echo, ipv4_of(server), 7000) as serving:
        assert serving.sockets[0].getsockname() == (ipv4_of(server), 7000)
        assert serving.sockets[0].family == socket.AF_INET
        sockname, peername = await answers(client, ipv4_of(server), 7000)
        assert sockname == (ipv4_of(client), sockname[1])
        assert peername == (ipv4_of(server), 7000)
        mapped = f"::ffff:{ipv4_of(server)}"
        for host in (ipaddress.IPv4Address(ipv4_of(server)), ipv4_of(server).encode(), mapped):
            assert (await answers(client, host, 7000))[1] == (ipv4_of(server), 7000)
        with pytest.raises(ConnectionRefusedError):
            await client.open_connection(address_of(server), 7000)


@pytest.mark.parametrize(
    ("host", "families"),
    [(None, "46"), ("", "46"), ("::", "46"), ("0.0.0.0", "4"), (["0.0.0.0", "::"], "46")],
)
async def test_a_server_at_all_addresses(both, host, families):
    client, server = both.members
    async with await server.start_server(echo, host, 7000):
        for address, family in ((ipv4_of(server), "4"), (address_of(server), "6")):
            if family in families:
                await answers(client, address, 7000)
                await answers(server, address, 7000)
            else:
                with pytest.raises(ConnectionRefusedError):
                    await client.open_connection(address, 7000)


async def test_servers_of_either_family_at_one_port(both):
    client, server = both.members

    def saying(word):
        async def serve(reader, writer):
            writer.write(word)
            writer.close()

        return serve

    six = await server.start_server(saying(b"six"), "::", 7000)
    four = await server.start_server(saying(b"four"), "0.0.0.0", 7000)
    for host, word in ((ipv4_of(server), b"four"), (address_of(server), b"six")):
        reader, writer = await client.open_connection(host, 7000)
        assert await reader.read() == word
        writer.close()
    with pytest.raises(OSError, match="in use"):
        await server.start_server(echo, None, 7000)
    for one in (six, four):
        one.close()
        await one.wait_closed()


@FAMILIES
async def test_a_family_is_asked_for(both, family):
    client, server = both.members
    host, other = (ipv4_of, address_of) if family == socket.AF_INET else (address_of, ipv4_of)
    async with await server.start_server(echo, None, 7000, family=family) as serving:
        assert [sock.family for sock in serving.sockets] == [family]
        await answers(client, host(server), 7000, family=family)
        with pytest.raises(socket.gaierror):
            await client.open_connection(other(server), 7000, family=family)
        with pytest.raises(socket.gaierror):
            await server.start_server(echo, other(server), 7001, family=family)
        sockname, _ = await answers(server, "localhost", 7000, family=family)
        assert sockname[0] == ("127.0.0.1" if family == socket.AF_INET else "::1")


@pytest.mark.parametrize(
    "options", [{}, {"happy_eyeballs_delay": 0.05}, {"happy_eyeballs_delay": 0.05, "interleave": 2}]
)
@FAMILIES
async def test_all_addresses_of_a_host_are_tried(both, family, options):
    _, server = both.members
    own = "127.0.0.1" if family == socket.AF_INET else "::1"
    async with await server.start_server(echo, own, 7000):
        assert (await answers(server, "localhost", 7000, **options))[1][0] == own
        assert (await answers(server, None, 7000, **options))[1][0] == own
    with pytest.raises(ConnectionRefusedError):
        await server.open_connection("localhost", 7001, **options)
    with pytest.raises(ExceptionGroup) as caught:
        await server.open_connection("localhost", 7001, all_errors=True, **options)
    assert [type(error) for error in caught.value.exceptions] == [ConnectionRefusedError] * 2


async def test_an_own_address_of_the_right_family_is_chosen(both):
    client, server = both.members
    async with await server.start_server(echo, None, 7000):
        sockname, _ = await answers(client, ipv4_of(server), 7000, local_addr=(ipv4_of(client), 5000))
        assert sockname == (ipv4_of(client), 5000)
        await answers(client, ipv4_of(server), 7000, local_addr=(None, 5001))
        with pytest.raises(OSError, match="families") as caught:
            await client.open_connection(ipv4_of(server), 7000, local_addr=(address_of(client), 0))
        assert caught.value.errno == errno.EAFNOSUPPORT


def two_addresses(monkeypatch, *hosts):
    """Every host has these; so far no other than "localhost" has several."""
    addresses = [(host, 7000) for host in hosts]
    monkeypatch.setattr("zt_async.aio.connect.resolve_addresses", lambda *_, **__: list(addresses))


async def test_the_second_address_wins_where_the_first_says_nothing(both, monkeypatch):
    client, server = both.members
    two_addresses(monkeypatch, "10.255.255.1", address_of(server), ipv4_of(server))
    async with await server.start_server(echo, None, 7000):
        _, peername = await answers(client, "name", 7000, happy_eyeballs_delay=0.01)
        assert peername[0] in (address_of(server), ipv4_of(server))
        await turns(3)
        silent = ipaddress.ip_address("10.255.255.1").packed
        assert not any(key.startswith(silent) for key in client.core.stack.interfaces[0].tcp)


@pytest.mark.parametrize("end", ["cancel", "stop"])
async def test_a_race_that_ends_leaves_nothing(both, monkeypatch, end):
    client, _ = both.members
    two_addresses(monkeypatch, "10.255.255.1", "10.255.255.2")
    task = asyncio.create_task(client.open_connection("name", 7000, happy_eyeballs_delay=0.01))
    await asyncio.sleep(0.1)
    table = client.core.stack.interfaces[0].tcp
    assert len(table) == 2
    if end == "cancel":
        task.cancel()
    else:
        await client.stop()
    with pytest.raises(asyncio.CancelledError if end == "cancel" else zt.NodeNotRunning):
        await task
    await turns(3)
    assert not table


# -- datagrams


@pytest.mark.parametrize("local", [None, (None, 0), ("::", 0)])
async def test_an_endpoint_of_both_families(both, local):
    client, server = both.members
    near, far = await endpoint(client, local), await endpoint(server, (None, 7000))
    assert far.transport.get_extra_info("sockname") == ("::", 7000, 0, 0)
    for host in (ipv4_of(server), address_of(server), f"::ffff:{ipv4_of(server)}"):
        near.transport.sendto(b"question", (host, 7000))
        data, source = await far.received.get()
        assert (data, len(source)) == (b"question", 4 if host == address_of(server) else 2)
        far.transport.sendto(b"answer", source)
        assert (await near.received.get())[0] == b"answer"
    for one in (near, far):
        one.transport.close()


@FAMILIES
async def test_endpoints_of_one_family(both, family):
    client, server = both.members
    host, other = (ipv4_of, address_of) if family == socket.AF_INET else (address_of, ipv4_of)
    far = await endpoint(server, (host(server), 7000))
    near = await endpoint(client, remote_addr=(host(server), 7000), family=family)
    assert near.transport.get_extra_info("peername")[:2] == (host(server), 7000)
    assert near.transport.get_extra_info("sockname")[0] == host(client)
    assert near.transport.get_extra_info("socket").family == family
    near.transport.sendto(b"x")
    assert (await far.received.get())[1] == near.transport.get_extra_info("sockname")
    with pytest.raises(socket.gaierror):
        await endpoint(client, remote_addr=(other(server), 7000), family=family)
    with pytest.raises(ValueError, match="address information"):
        await endpoint(client, (host(client), 0), (other(server), 7000))
    far.transport.sendto(b"x", (other(client), 9))
    assert (await far.errors.get()).errno == errno.EAFNOSUPPORT
    for one in (near, far):
        one.transport.close()


async def test_localhost_is_of_the_family_of_the_endpoint(both):
    _, server = both.members
    for own in ("127.0.0.1", "::1"):
        far, near = await endpoint(server, (own, 7000)), await endpoint(server, (own, 0))
        near.transport.sendto(b"x", ("localhost", 7000))
        assert (await far.received.get())[0] == b"x"
        near.transport.close()
        far.transport.close()
        connected = await endpoint(server, (own, 0), ("localhost", 7000))
        assert connected.transport.get_extra_info("peername")[0] == own
        connected.transport.close()


async def test_broadcast_needs_consent(both):
    client, _ = both.members
    far = await endpoint(client, ("0.0.0.0", 7000))
    near = await endpoint(client, (ipv4_of(client), 0))
    near.transport.sendto(b"x", ("10.255.255.255", 7000))
    assert isinstance(await near.errors.get(), PermissionError)
    near.transport.set_broadcast(allowed=True)
    near.transport.sendto(b"1", ("10.255.255.255", 7000))
    allowed = await endpoint(client, (ipv4_of(client), 0), allow_broadcast=True)
    allowed.transport.sendto(b"2", ("255.255.255.255", 7000))
    assert [(await far.received.get())[0] for _ in range(2)] == [b"1", b"2"]
    for one in (far, near, allowed):
        one.transport.close()


# -- groups


async def hears(near, far, address, attempts=50):
    """Send to an address until it is heard: the members may not know of each other's groups yet."""
    for _ in range(attempts):
        near.transport.sendto(b"to the group", address)
        try:
            async with asyncio.timeout(0.2):
                return await far.received.get()
        except TimeoutError:
            continue
    return None


@pytest.mark.parametrize("group", [GROUP4, GROUP6])
@pytest.mark.parametrize("by", ["method", "network", "setsockopt"])
async def test_joins_reach_the_network(both, group, by):
    """What libzt never did: who joins a group of a network is sent what goes there."""
    client, server = both.members
    far, near = await endpoint(server, (None, 7000)), await endpoint(client)
    sock = far.transport.get_extra_info("socket")
    is_ipv4 = group == GROUP4
    level = socket.IPPROTO_IP if is_ipv4 else socket.IPPROTO_IPV6
    packed = ipaddress.ip_address(group).packed
    if by == "setsockopt" and is_ipv4:
        request = packed + socket.inet_aton(ipv4_of(server))
        change = (socket.IP_ADD_MEMBERSHIP, socket.IP_DROP_MEMBERSHIP)
    else:
        request = packed + struct.pack("@I", 0)
        change = (socket.IPV6_JOIN_GROUP, socket.IPV6_LEAVE_GROUP)
    network = server.networks[both.network_id] if by == "network" else None
    if by == "setsockopt":
        sock.setsockopt(level, change[0], request)
    else:
        far.transport.join_group(group, network)
    heard = await hears(near, far, (group, 7000))
    assert heard is not None
    assert heard[1][0] == (ipv4_of(client) if is_ipv4 else address_of(client))
    if by == "setsockopt":
        sock.setsockopt(level, change[1], request)
        with pytest.raises(OSError) as caught:
            sock.setsockopt(level, change[1], request)
    else:
        far.transport.leave_group(group, network)
        with pytest.raises(OSError) as caught:
            far.transport.leave_group(group, network)
    assert caught.value.errno == errno.EADDRNOTAVAIL
    assert await hears(near, far, (group, 7000), 3) is None
    for one in (near, far):
        one.transport.close()


async def test_the_network_is_told_of_addresses_and_groups(both):
    _, server = both.members
    network = server.core.vl2.networks[both.network_id]
    assert MulticastGroup(BROADCAST, int(ipaddress.IPv4Address(ipv4_of(server)))) in network.groups
    group = MulticastGroup(zt.MACAddress.parse("01:00:5e:01:02:03"))
    far = await endpoint(server)
    for _ in range(2):
        far.transport.join_group(GROUP4)
        await turns(3)
        assert group in network.groups
        far.transport.leave_group(GROUP4)
        await turns(3)
        assert group not in network.groups
    far.transport.join_group(GROUP4)
    await turns(3)
    far.transport.close()
    await turns(3)
    assert group not in network.groups


async def test_a_network_is_named_where_there_are_several(both):
    client, _ = both.members
    other = await client.join(NetworkId(0xFF0B000000000001))
    one = await endpoint(client, (None, 7000))
    with pytest.raises(OSError, match="needs an interface") as caught:
        one.transport.join_group(GROUP4)
    assert caught.value.errno == errno.EINVAL
    for network in (other, other.id, str(both.network_id)):
        one.transport.join_group(GROUP4 if network is not other.id else "239.9.9.9", network)
    with pytest.raises(zt.NetworkNotJoined):
        one.transport.join_group(GROUP4, NetworkId(0xFF0C000000000001))
    one.transport.sendto(b"x", (GROUP4, 7000))
    assert (await one.errors.get()).errno == errno.EINVAL
    one.transport.set_multicast(network=other)
    one.transport.sendto(b"x", (GROUP4, 7000))
    assert (await one.received.get())[1][0] == str(other.ipv4)
    await other.leave()
    one.transport.sendto(b"x", (GROUP4, 7000))
    assert (await one.received.get())[1][0] == ipv4_of(client)
    one.transport.close()


async def test_own_members_hear_unless_they_are_not_to(both):
    client, _ = both.members
    one = await endpoint(client, (None, 7000))
    one.transport.join_group(GROUP4)
    one.transport.sendto(b"1", (GROUP4, 7000))
    one.transport.set_multicast(loop=False)
    one.transport.sendto(b"2", (GROUP4, 7000))
    one.transport.set_multicast(loop=True, hops=5)
    one.transport.sendto(b"3", (GROUP4, 7000))
    assert [(await one.received.get())[0] for _ in range(2)] == [b"1", b"3"]
    for bad in ({"hops": 256}, {"hops": -1}):
        with pytest.raises(ValueError):
            one.transport.set_multicast(**bad)
    one.transport.set_traffic(hop_limit=7, traffic_class=0xB8)
    for bad in ({"hop_limit": 0}, {"traffic_class": 256}):
        with pytest.raises(ValueError):
            one.transport.set_traffic(**bad)
    sock = one.transport.get_extra_info("socket")
    assert sock.getsockopt(socket.IPPROTO_IP, socket.IP_TTL) == 7
    assert sock.getsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL) == 5
    one.transport.close()


@pytest.mark.parametrize(
    ("level", "option", "default", "values"),
    [
        (socket.SOL_SOCKET, socket.SO_BROADCAST, 0, (1, 0)),
        (socket.IPPROTO_IP, socket.IP_TTL, 64, (1, 255)),
        (socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, 64, (1, 255)),
        (socket.IPPROTO_IP, socket.IP_TOS, 0, (0xB8, 0)),
        (socket.IPPROTO_IPV6, socket.IPV6_TCLASS, 0, (0xB8, 0)),
        (socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 1, (0, 32)),
        (socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 1, (0, 32)),
        (socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 1, (0, 1)),
        (socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP, 1, (0, 1)),
    ],
)
async def test_options_of_datagram_sockets(both, level, option, default, values):
    one = await endpoint(both.members[0])
    sock = one.transport.get_extra_info("socket")
    assert sock.getsockopt(level, option) == default
    for value in values:
        for form in (value, struct.pack("i", value), struct.pack("B", value)):
            sock.setsockopt(level, option, default)
            sock.setsockopt(level, option, form)
            assert sock.getsockopt(level, option) == value
            assert sock.getsockopt(level, option, 4) == struct.pack("i", value)
    if option != socket.SO_BROADCAST:
        sock.setsockopt(level, option, -1)
        assert sock.getsockopt(level, option) == default
    if option in (socket.IP_TTL, socket.IP_MULTICAST_TTL):
        for bad in (256, b"too long"):
            with pytest.raises(OSError) as caught:
                sock.setsockopt(level, option, bad)
            assert caught.value.errno == errno.EINVAL
    one.transport.close()


async def test_options_of_groups_say_what_is_wrong(both):
    client, _ = both.members
    one = await endpoint(client)
    sock = one.transport.get_extra_info("socket")
    group, own = socket.inet_aton(GROUP4), socket.inet_aton(ipv4_of(client))
    (interface,) = client.core.stack.interfaces
    add, drop = socket.IP_ADD_MEMBERSHIP, socket.IP_DROP_MEMBERSHIP
    for request, code in (
        (group, errno.EINVAL),
        (7, errno.EINVAL),
        (own + own, errno.EINVAL),
        (group + socket.inet_aton("10.0.0.77"), errno.ENODEV),
        (group + bytes(4) + struct.pack("i", 99), errno.ENODEV),
    ):
        with pytest.raises(OSError) as caught:
            sock.setsockopt(socket.IPPROTO_IP, add, request)
        assert caught.value.errno == code
    for request in (group + bytes(4), group + bytes(4) + struct.pack("i", interface.index)):
        sock.setsockopt(socket.IPPROTO_IP, add, request)
        with pytest.raises(OSError) as caught:
            sock.setsockopt(socket.IPPROTO_IP, add, group + own)
        assert caught.value.errno == errno.EADDRINUSE
        sock.setsockopt(socket.IPPROTO_IP, drop, group + own)
    packed = socket.inet_pton(socket.AF_INET6, GROUP6)
    for request, code in ((packed, errno.EINVAL), (packed + struct.pack("I", 99), errno.ENODEV)):
        with pytest.raises(OSError) as caught:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, request)
        assert caught.value.errno == code
    one.transport.close()


async def test_the_interface_of_groups_by_option(both):
    client, _ = both.members
    one = await endpoint(client)
    sock = one.transport.get_extra_info("socket")
    (interface,) = client.core.stack.interfaces
    own = socket.inet_aton(ipv4_of(client))
    v4, v6 = (socket.IPPROTO_IP, socket.IP_MULTICAST_IF), (socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF)
    assert (sock.getsockopt(*v4), sock.getsockopt(*v6)) == (bytes(4), 0)
    for option, value in (
        *((v4, own), (v4, bytes(4)), (v4, bytes(4) + own), (v4, bytes(4) + own + bytes(4))),
        *((v6, interface.index), (v6, 0), (v6, struct.pack("i", interface.index))),
    ):
        sock.setsockopt(*option, value)
        is_set = value not in (0, bytes(4))
        assert sock.getsockopt(*v4) == (own if is_set else bytes(4))
        assert sock.getsockopt(*v6) == (interface.index if is_set else 0)
    for option, value, code in (
        *((v4, socket.inet_aton("10.0.0.77"), errno.ENODEV), (v4, b"long", errno.ENODEV)),
        *((v4, b"odd", errno.EINVAL), (v6, 99, errno.ENODEV)),
    ):
        with pytest.raises(OSError) as caught:
            sock.setsockopt(*option, value)
        assert caught.value.errno == code
    one.transport.close()


# -- on the wire of this host


@REAL
async def test_everything_of_ipv4_at_once(both):
    client, server = both.members
    assert 0 < await client.ping(ipv4_of(server)) < 5
    async with await server.start_server(echo, "0.0.0.0", 7000):
        reader, writer = await client.open_connection(ipv4_of(server), 7000)
        writer.write(bytes(3_000_000))
        writer.write_eof()
        assert len(await reader.read()) == 3_000_000
        assert writer.get_extra_info("peer") == server.address
        writer.close()
