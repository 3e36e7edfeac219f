"""Members of controlled networks, as applications see them: what libzt does wrong here has its test, by its number
in the list of its known defects."""

import asyncio
import contextlib
import errno
import random
import re
from ipaddress import IPv4Address, ip_interface, ip_network

import pytest

import zt_async as zt
from zt_async.vl2.addressing import rfc4193, sixplane

from .places import SIMULATED, echo, turns

pytestmark = SIMULATED


class Office:
    """A private network of the root's controller, and members of it."""

    def __init__(self, world, controller, network):
        self.world = world
        self.controller = controller
        self.network = network

    async def start(self, number, path=None, **settings):
        node = await self.world.start(number, path, **settings)
        await node.online()
        return node

    async def member(self, number, path=None, **settings):
        """A running node, authorized and on the network."""
        node = await self.start(number, path)
        await self.network.authorize(node.address, **settings)
        return node, await node.join(self.network.id)

    async def settle(self, network):
        """Wait until a member has what the controller has for it."""
        with network._node.events() as events:
            while network.info.revision < self.network.record.revision:
                await anext(events)


@pytest.fixture
async def office(bare_world):
    async with bare_world.root.controller() as controller:
        network = await controller.create_network(name="office", ipv4="10.1.2.0/24", sixplane=True)
        yield Office(bare_world, controller, network)


async def until(node, condition):
    """Wait for the events of a node until something holds."""
    with node.events() as events:
        while not condition():
            await anext(events)


async def echo_while_it_lasts(reader, writer):
    with contextlib.suppress(OSError):
        await echo(reader, writer)


async def answers(network, host):
    try:
        async with asyncio.timeout(5):
            await network.ping(host)
    except TimeoutError:
        return False
    return True


# Waiting, and what is told


async def test_a_join_waits_for_authorization(office):
    node = await office.start(1)
    joining = asyncio.create_task(node.join(office.network.id))
    await until(office.world.root, lambda: office.network.members)
    await asyncio.sleep(60)
    assert not joining.done()
    (network,) = node.networks.values()
    assert network.status == zt.NetworkStatus.ACCESS_DENIED
    assert network.addresses == ()
    with pytest.raises(zt.AccessDenied, match="authorize"):
        await node.join(office.network.id, wait_for_authorization=False)
    began = asyncio.get_running_loop().time()
    await office.network.authorize(node.address)
    assert (await joining).ipv4 in ip_network("10.1.2.0/24")
    assert asyncio.get_running_loop().time() - began < 1


async def test_a_network_that_its_controller_does_not_know(office):
    node = await office.start(1)
    nowhere = zt.NetworkId(office.network.id ^ 1)
    with pytest.raises(zt.NetworkNotFound):
        await node.join(nowhere)
    assert node.networks == {}


async def test_a_node_without_controller(office):
    node = await office.start(1)
    other = await office.start(2)
    with pytest.raises(zt.NetworkNotFound):
        await node.join(zt.NetworkId(other.address << 24 | 5))


async def test_readiness_is_told_each_time(office):
    """Defect 7: also when a family comes later, and on return from a lost authorization. Defect 8: ready is when
    sockets can use the addresses."""
    node, network = await office.member(1)
    stream = node.events()
    await office.network.update(rfc4193=True)
    added = ip_interface(rfc4193(network.id, node.address))
    await until(node, lambda: added in network.addresses)
    server = await node.start_server(echo, str(added.ip), 7000)
    server.close()
    await office.network.deauthorize(node.address)
    await until(node, lambda: network.status == zt.NetworkStatus.ACCESS_DENIED)
    await office.network.authorize(node.address)
    await until(node, lambda: network.status == zt.NetworkStatus.OK)
    await node.stop()
    told = [e for e in [e async for e in stream] if isinstance(e, (zt.AddressAdded, zt.NetworkReady))]
    assert told[0] == zt.AddressAdded(network_id=network.id, address=added)
    assert [type(event) for event in told[1:]] == [zt.NetworkReady]


async def test_ready_means_that_sockets_work(office):
    """Defect 8."""
    other, there = await office.member(1)
    await other.start_server(echo, None, 7000)
    node = await office.start(2)
    await office.network.authorize(node.address)
    stream = node.events()
    joining = asyncio.create_task(node.join(office.network.id))
    async for event in stream:
        if isinstance(event, zt.NetworkReady):
            for host in (there.ipv4, there.ipv6):
                reader, writer = await node.open_connection(host, 7000)
                writer.write(b"at once")
                assert await reader.readexactly(7) == b"at once"
                writer.close()
            break
    await joining


# Addresses


async def test_several_addresses_of_each_family(office):
    """Defect 9."""
    await office.network.update(rfc4193=True, routes=["10.1.2.0/24", "172.16.0.0/16", "fd00:1::/64"])
    node, network = await office.member(1, addresses=["10.1.2.7", "172.16.9.9", "fd00:1::7"])
    assert set(network.addresses) == {
        *(ip_interface(text) for text in ("10.1.2.7/24", "172.16.9.9/16", "fd00:1::7/64")),
        *(ip_interface(make(network.id, node.address)) for make in (sixplane, rfc4193)),
    }
    other, _ = await office.member(2, addresses=["10.1.2.8", "172.16.9.8", "fd00:1::8"])
    await node.start_server(echo, None, 7000)
    for address in network.addresses:
        reader, writer = await other.open_connection(address.ip, 7000)
        assert ip_network(writer.get_extra_info("sockname")[0]).subnet_of(address.network)
        writer.write(b"x")
        assert await reader.readexactly(1) == b"x"
        writer.close()


async def test_one_address_less_leaves_the_others(office):
    """Defect 13."""
    node, network = await office.member(1, addresses=["10.1.2.7", "10.1.2.8"])
    other, _ = await office.member(2)
    await node.start_server(echo_while_it_lasts, None, 7000)
    stays, goes = [await other.open_connection(host, 7000) for host in ("10.1.2.7", "10.1.2.8")]
    stream = node.events()
    await office.network.update_member(node.address, addresses=["10.1.2.7"])
    removed = zt.AddressRemoved(network_id=network.id, address=ip_interface("10.1.2.8/24"))
    async for event in stream:
        if event == removed:
            break
    stays[1].write(b"still here")
    assert await stays[0].readexactly(10) == b"still here"
    with pytest.raises(OSError, match="assign"):
        await node.start_server(echo, "10.1.2.8", 7001)
    assert not await answers(other.networks[network.id], "10.1.2.8")
    assert await answers(other.networks[network.id], "10.1.2.7")
    assert network.ipv6 is not None
    for _, writer in (stays, goes):
        writer.close()


async def test_own_addresses_and_loopback_are_reached(office):
    """Defect 11."""
    node, network = await office.member(1)
    server = await node.start_server(echo, None, 7000)
    for host in (network.ipv4, network.ipv6, "127.0.0.1", "::1"):
        reader, writer = await node.open_connection(host, 7000)
        writer.write(b"myself")
        assert await reader.readexactly(6) == b"myself"
        writer.close()
        assert await node.ping(host) < 1
    server.close()


async def test_the_mtu_is_followed(office):
    """Defect 14."""
    node, network = await office.member(1)
    other, there = await office.member(2)
    await other.start_server(echo, None, 7000)
    reader, writer = await node.open_connection(there.ipv4, 7000)
    transport = writer.transport
    assert transport.get_extra_info("tcp_info").mss > 2700
    await office.network.update(mtu=1300)
    await until(node, lambda: network.mtu == 1300)
    await until(other, lambda: there.mtu == 1300)
    writer.write(bytes(200_000))
    assert await reader.readexactly(200_000) == bytes(200_000)
    assert transport.get_extra_info("tcp_info").mss <= 1260
    writer.close()
    reader, writer = await node.open_connection(there.ipv6, 7000)
    assert writer.get_extra_info("tcp_info").mss <= 1240
    writer.close()


# Routes


async def test_a_route_with_a_gateway_is_used(office):
    """Defect 10: what goes to the prefix goes to the gateway's card."""
    gateway, there = await office.member(1)
    await office.network.update(routes=["10.1.2.0/24", {"target": "192.168.7.0/24", "via": str(there.ipv4)}])
    node, network = await office.member(2)
    await until(node, lambda: network.routes)
    assert network.routes == (zt.Route(ip_network("192.168.7.0/24"), there.ipv4),)
    await until(gateway, lambda: there.info.assigned_routes)
    assert there.routes == ()  # not to itself
    with there.frames() as frames:
        ping = asyncio.create_task(node.ping("192.168.7.5"))
        async for frame in frames:
            if frame.ethertype == 0x0800:
                break
        assert frame.destination == there.mac
        assert frame.payload[16:20] == IPv4Address("192.168.7.5").packed
        ping.cancel()
    await office.network.update(routes=["10.1.2.0/24"])
    await until(node, lambda: not network.routes)
    with pytest.raises(OSError, match="route") as caught:
        await node.ping("192.168.7.5")
    assert caught.value.errno == errno.EHOSTUNREACH


async def test_default_routes_need_consent(office):
    _gateway, there = await office.member(1)
    await office.network.update(routes=["10.1.2.0/24", {"target": "0.0.0.0/0", "via": str(there.ipv4)}])
    node, network = await office.member(2)
    await until(node, lambda: len(network.info.assigned_routes) == 2)
    assert network.routes == ()
    await network.configure(allow_default=True)
    assert network.settings.allow_default
    assert [str(route.target) for route in network.routes] == ["0.0.0.0/0"]
    with there.frames() as frames:
        ping = asyncio.create_task(node.ping("198.18.0.1"))
        frame = await anext(frames)
        while frame.ethertype != 0x0800:
            frame = await anext(frames)
        assert frame.payload[16:20] == IPv4Address("198.18.0.1").packed
        ping.cancel()


async def test_global_addresses_and_dns_need_consent(office):
    await office.network.update(ipv4="8.8.8.0/24", dns=zt.DNS("example.org", (IPv4Address("10.1.2.1"),)))
    _node, network = await office.member(1, addresses=["8.8.8.8", "10.1.2.9"])
    assert [str(a) for a in network.addresses if a.version == 4] == ["10.1.2.9/24"]
    assert network.dns is None
    await network.configure(allow_global=True, allow_dns=True)
    assert {str(a) for a in network.addresses if a.version == 4} == {"8.8.8.8/24", "10.1.2.9/24"}
    assert network.dns == zt.DNS("example.org", (IPv4Address("10.1.2.1"),))
    await network.configure(allow_managed=False)
    assert network.addresses == ()
    assert network.status == zt.NetworkStatus.OK


# Multicast


class Ears(asyncio.DatagramProtocol):
    def __init__(self):
        self.heard = asyncio.Queue()

    def datagram_received(self, data, addr):
        self.heard.put_nowait((data, addr[0]))


@pytest.mark.parametrize(("anywhere", "group"), [("0.0.0.0", "239.1.2.3"), ("::", "ff15::1234")])
async def test_groups_that_are_joined_reach_the_network(office, anywhere, group):
    """Defect 12."""
    node, network = await office.member(1)
    other, there = await office.member(2)
    own = str(network.ipv6 if ":" in group else network.ipv4)
    listening, ears = await other.create_datagram_endpoint(Ears, (anywhere, 9000))
    speaking, _ = await node.create_datagram_endpoint(asyncio.DatagramProtocol, (own, 0))
    speaking.sendto(b"nobody listens", (group, 9000))
    await asyncio.sleep(10)
    listening.join_group(group, network=there.id)
    await turns(10)
    speaking.sendto(b"all", (group, 9000))
    async with asyncio.timeout(10):
        assert await ears.heard.get() == (b"all", own)
    listening.close()
    speaking.close()


async def test_a_multicast_waits_for_who_is_just_starting(office):
    node, network = await office.member(1)
    other, there = await office.member(2)
    listening, ears = await other.create_datagram_endpoint(Ears, ("0.0.0.0", 9000))
    speaking, _ = await node.create_datagram_endpoint(asyncio.DatagramProtocol, (str(network.ipv4), 0))
    speaking.sendto(b"early", ("239.1.2.3", 9000))
    await asyncio.sleep(2)
    listening.join_group("239.1.2.3", network=there.id)
    async with asyncio.timeout(2.5):
        assert await ears.heard.get() == (b"early", str(network.ipv4))
    listening.close()
    speaking.close()


# Rules


async def test_rules_count_what_they_match(office):
    await office.network.update(rules="drop ethertype arp and ipprotocol 254; drop ipprotocol udp; accept;")
    node, network = await office.member(1)
    other, there = await office.member(2)
    assert await answers(network, str(there.ipv6))
    transport, _ = await node.create_datagram_endpoint(asyncio.DatagramProtocol, (str(network.ipv6), 0))
    before = network.rule_counts
    for _ in range(3):
        transport.sendto(b"dropped", (str(there.ipv6), 9))
        await turns(5)
    transport.close()
    drop = next(i for i, rule in enumerate(network.rules) if rule.operand == (17,))
    assert [rule.type.name for rule in network.rules[drop:]] == [
        "MATCH_IP_PROTOCOL",
        "ACTION_DROP",
        "ACTION_ACCEPT",
    ]
    assert network.rule_counts[drop] - before[drop] == 3
    assert len(network.rule_counts) == len(network.rules)
    assert other.is_running


async def test_tags_that_change_for_both_at_once(office):
    """While one still has the old tag of the other, each refuses to send; so nothing would be said before a frame."""
    rules = """
        tag department id 100 enum 1 red enum 2 blue;
        drop ethertype ipv6 and not tdiff department 0;
        accept;
    """
    await office.network.update(rules=rules)
    (node, network), (other, there) = [await office.member(i, tags={100: 1}) for i in (1, 2)]
    assert await answers(network, str(there.ipv6))
    for member in (node, other):
        await office.network.update_member(member.address, tags={100: 2})
    await asyncio.sleep(5)
    assert await answers(network, str(there.ipv6))
    assert await answers(there, str(network.ipv6))
    await office.network.update_member(other.address, tags={100: 1})
    await asyncio.sleep(5)
    assert not await answers(network, str(there.ipv6))
    assert await answers(network, str(there.ipv4))


# What is kept


async def test_a_configuration_is_kept_for_the_next_start(office, tmp_path):
    """With the controller away, members that know each other go on."""
    node, network = await office.member(1, tmp_path)
    _other, there = await office.member(2)
    addresses = network.addresses
    await node.stop()
    await office.controller.close()
    node = await office.world.start(1, tmp_path)
    network = node.networks[office.network.id]
    assert network.status == zt.NetworkStatus.OK
    assert network.addresses == addresses
    await node.online()
    assert await answers(network, str(there.ipv4))


async def test_settings_are_kept_for_the_next_start(office, tmp_path):
    node, network = await office.member(1, tmp_path)
    await network.configure(allow_global=True)
    await node.stop()
    node = await office.world.start(1, tmp_path)
    assert node.networks[office.network.id].settings == zt.NetworkSettings(allow_global=True)
    await node.online()
    await node.leave(office.network.id)
    await node.stop()
    assert not list((tmp_path / "networks.d").iterdir())


# Raw frames and bridges


async def test_the_largest_raw_frame_arrives_and_a_larger_one_is_refused(office):
    await office.network.update(mtu=10_000)
    node, network = await office.member(1)
    _other, there = await office.member(2)
    await node.ping(there.ipv4)
    with network.frames() as mine, there.frames() as theirs:
        with pytest.raises(ValueError, match=r"up to (\d+) bytes") as refusal:
            mine.send(there.mac, 0x88B5, bytes(10_000))
        size = int(re.search(r"up to (\d+)", str(refusal.value))[1])
        assert size > 9800
        for destination in (there.mac, zt.MACAddress.parse("ff:ff:ff:ff:ff:ff")):
            mine.send(destination, 0x88B5, random.Random(1).randbytes(size))
            async for frame in theirs:
                if frame.ethertype == 0x88B5:
                    break
            assert (frame.destination, len(frame.payload)) == (destination, size)


async def test_raw_frames_between_cards(office):
    _node, network = await office.member(1)
    other, there = await office.member(2)
    with there.frames() as frames:
        with network.frames() as mine:
            mine.send(there.mac, 0x88B5, b"experiment")
            assert await anext(frames) == (there.mac, network.mac, 0x88B5, b"experiment")
            with pytest.raises(ValueError, match="2800 bytes"):
                mine.send(there.mac, 0x88B5, bytes(2801))
            with pytest.raises(ValueError, match="16 bits"):
                mine.send(there.mac, 0x12345, b"")
            with pytest.raises(ValueError, match="48 bits"):
                mine.send(1 << 48, 0x88B5, b"")
            with pytest.raises(TypeError):
                mine.send(there.mac, 0x88B5, "text")
            payload = bytearray(b"as it is now")
            mine.send(there.mac, 0x88B5, payload)
            payload[:] = b"later"
            assert (await anext(frames)).payload == b"as it is now"
        await other.leave(there.id)
        assert [frame async for frame in frames] == []
    with pytest.raises(zt.NetworkNotJoined):
        there.frames()


async def test_a_bridge_carries_frames_of_other_cards(office):
    bridge, inside = await office.member(1)
    node, network = await office.member(2)
    foreign = zt.MACAddress.parse("00:16:3e:01:02:03")
    with network.frames() as frames, inside.frames() as port:
        port.send(network.mac, 0x88B5, b"from behind", source=foreign)
        await turns(20)
        await office.network.update_member(bridge.address, active_bridge=True)
        await office.network.update(name="bridged")  # which others are told of at once
        await until(node, lambda: network.name == "bridged")
        await until(bridge, lambda: inside.info.bridge)
        port.send(network.mac, 0x88B5, b"now a bridge", source=foreign)
        assert await anext(frames) == (network.mac, foreign, 0x88B5, b"now a bridge")
        frames.send(foreign, 0x88B5, b"back to it")
        assert await anext(port) == (foreign, network.mac, 0x88B5, b"back to it")
