"""Multicast: who is in a group, who hears what, and what routers are told."""

import errno
import ipaddress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.stack.network import Host, Network, Wire, seeded_context, settled
from tests.stack.script import OWN_MAC, REMOTE_MAC, Script
from zt_async.accel import checksum
from zt_async.config import StackConfig
from zt_async.stack.stack import Stack
from zt_async.types import BROADCAST, MACAddress, MulticastGroup
from zt_async.wire import icmpv6, igmp, ip, ipv4, ipv6, mld
from zt_async.wire.igmp import Record

GROUPS = {4: "239.1.2.3", 6: "ff05::1234"}
PACKED = {family: ipaddress.ip_address(group).packed for family, group in GROUPS.items()}
FAMILIES = pytest.mark.parametrize("family", [4, 6])


def mac(text: str) -> MulticastGroup:
    return MulticastGroup(MACAddress.parse(text))


def two_hosts(family: int, count: int = 2) -> tuple[Network, list[Host]]:
    network = Network()
    return network, [network.add_host(Wire(delay=0.001), family=family) for _ in range(count)]


# -- what the network is asked to bring


def test_the_groups_of_an_interface_follow_its_addresses():
    stack = Stack(seeded_context(1), StackConfig())
    interface = stack.add_interface("net", MACAddress(0x020000000001), 2800, 0.0)
    link_local = {mac("33:33:00:00:00:01"), mac("33:33:ff:00:00:01")}
    assert interface.groups == link_local
    generation = interface.groups_generation
    interface.add_address(ipaddress.ip_interface("10.1.2.3/24"), 0.0)
    interface.add_address(ipaddress.ip_interface("10.9.0.1/16"), 0.0)
    interface.add_address(ipaddress.ip_interface("fd00::12:3456/64"), 0.0)
    assert interface.groups == link_local | {
        MulticastGroup(BROADCAST, 0x0A010203),
        MulticastGroup(BROADCAST, 0x0A090001),
        mac("01:00:5e:00:00:01"),
        mac("33:33:ff:12:34:56"),
    }
    assert interface.groups_generation > generation
    generation = interface.groups_generation
    interface.remove_address(ipaddress.ip_interface("10.9.0.1/16"), 0.0)
    assert MulticastGroup(BROADCAST, 0x0A090001) not in interface.groups
    assert MulticastGroup(BROADCAST, 0x0A010203) in interface.groups
    assert interface.groups_generation > generation
    generation = interface.groups_generation
    interface.add_address(ipaddress.ip_interface("10.1.2.3/16"), 0.0)
    assert interface.groups_generation == generation
    interface.remove_address(ipaddress.ip_interface("10.1.2.3/16"), 0.0)
    interface.remove_address(ipaddress.ip_interface("fd00::12:3456/64"), 0.0)
    assert interface.groups == link_local


def test_addresses_that_end_alike_share_their_group():
    stack = Stack(seeded_context(1), StackConfig())
    interface = stack.add_interface("net", MACAddress(0x020000000001), 2800, 0.0)
    for text in ("fd00::12:3456/64", "fd01::12:3456/64"):
        interface.add_address(ipaddress.ip_interface(text), 0.0)
    interface.remove_address(ipaddress.ip_interface("fd00::12:3456/64"), 0.0)
    assert mac("33:33:ff:12:34:56") in interface.groups


@FAMILIES
def test_the_groups_of_sockets_are_those_of_their_interface(family):
    s = Script(family=family)
    expected = mac("01:00:5e:01:02:03" if family == 4 else "33:33:00:00:12:34")
    endpoints = [s.stack.open_udp(now=s.now) for _ in range(2)]
    generation = s.interface.groups_generation
    for endpoint in endpoints:
        endpoint.join_group(GROUPS[family])
    assert expected in s.interface.groups
    assert s.interface.groups_generation == generation + 1
    endpoints[0].leave_group(GROUPS[family])
    assert expected in s.interface.groups
    endpoints[1].close()
    assert expected not in s.interface.groups
    assert s.interface.groups_generation == generation + 2


def test_mistakes_are_told():
    s = Script(config={"max_groups": 3})
    endpoint = s.stack.open_udp(now=s.now)
    for bad, code in (
        ("10.0.0.1", errno.EINVAL),
        ("fd00::1", errno.EINVAL),
        ("239.1.1.1", errno.ENETUNREACH),
    ):
        with pytest.raises(OSError) as caught:
            endpoint.join_group(bad)
        assert caught.value.errno == code
    with pytest.raises(ValueError):
        endpoint.join_group("no address")
    endpoint.join_group("ff05::1")
    for call, code in ((endpoint.join_group, errno.EADDRINUSE), (endpoint.leave_group, errno.EADDRNOTAVAIL)):
        with pytest.raises(OSError) as caught:
            call("ff05::1" if code == errno.EADDRINUSE else "ff05::2")
        assert caught.value.errno == code
    endpoint.join_group("ff05::2")
    endpoint.join_group("ff05::3")
    with pytest.raises(OSError) as caught:
        endpoint.join_group("ff05::4")
    assert caught.value.errno == errno.ENOBUFS
    endpoint.close()
    with pytest.raises(OSError) as caught:
        endpoint.join_group("ff05::4")
    assert caught.value.errno == errno.EBADF


@FAMILIES
def test_with_several_interfaces_one_is_named_or_follows_from_address_or_route(family):
    stack = Stack(seeded_context(1), StackConfig())
    interfaces = [stack.add_interface(n, MACAddress(0x020000000001 + n), 2800, 0.0) for n in range(2)]
    for number, interface in enumerate(interfaces):
        interface.add_address(ipaddress.ip_interface(f"10.{number}.0.1/24"), 0.0)
        interface.add_address(ipaddress.ip_interface(f"fd0{number}::1/64"), 0.0)
    settled(stack, 0.0)
    group, own = GROUPS[family], ("10.1.0.1" if family == 4 else "fd01::1")
    anywhere = stack.open_udp(now=0.0)
    with pytest.raises(OSError, match="needs an interface") as caught:
        anywhere.join_group(group)
    assert caught.value.errno == errno.EINVAL
    anywhere.join_group(group, interfaces[0])
    stack.open_udp((own, 0), now=0.0).join_group(group)
    assert [PACKED[family] in interface.memberships(PACKED[family]) for interface in interfaces] == [True] * 2
    anywhere.leave_group(group, interfaces[0])
    assert PACKED[family] not in interfaces[0].memberships(PACKED[family])
    stack.add_route(ipaddress.ip_network("224.0.0.0/4" if family == 4 else "ff00::/8"), interfaces[0])
    anywhere.join_group(group)
    assert PACKED[family] in interfaces[0].memberships(PACKED[family])


@FAMILIES
def test_an_interface_that_goes_takes_its_memberships(family):
    s = Script(family=family)
    endpoint = s.stack.open_udp(now=s.now)
    endpoint.join_group(GROUPS[family])
    endpoint.multicast_interface = s.interface
    s.stack.remove_interface(s.interface, s.now)
    assert endpoint.groups == {}
    assert endpoint.multicast_interface is None
    assert s.stack.next_timer() in (0.0, None)
    s.quiet()
    assert s.stack.next_timer() is None
    endpoint.close()


# -- who hears what


@FAMILIES
def test_members_hear_and_others_do_not(family):
    network, (a, b, c) = two_hosts(family, 3)
    group = GROUPS[family]
    member = b.stack.open_udp(("", 53), now=network.now)
    member.join_group(group)
    at_the_group = b.stack.open_udp((group, 54), now=network.now)
    at_the_group.join_group(group)
    no_member = b.stack.open_udp(("", 55), now=network.now)
    bound = b.stack.open_udp((b.address, 56), now=network.now)
    bound.join_group(group)
    stranger = c.stack.open_udp(("", 53), now=network.now)
    sender = a.stack.open_udp((a.address, 9), now=network.now)
    for port in (53, 54, 55, 56):
        sender.send(b"to the group", (group, port), now=network.now)
    network.run(limit=1)
    heard = [(b"to the group", (a.address, 9))]
    assert [e.receive() for e in (member, at_the_group, no_member, bound, stranger)] == [
        heard,
        heard,
        [],
        [],
        [],
    ]
    assert b.stack.counters == {}
    member.leave_group(group)
    sender.send(b"again", (group, 53), now=network.now)
    network.run(limit=1)
    assert member.receive() == []


@FAMILIES
def test_all_who_share_a_port_hear(family):
    network, (a, b) = two_hosts(family)
    members = [b.stack.open_udp(("", 53), reuse_port=True, now=network.now) for _ in range(3)]
    for member in members:
        member.join_group(GROUPS[family])
    a.stack.open_udp(now=network.now).send(b"x", (GROUPS[family], 53), now=network.now)
    network.run(limit=1)
    assert [len(member.receive()) for member in members] == [1, 1, 1]


@FAMILIES
def test_a_connected_member_hears_its_remote_only(family):
    network, (a, b) = two_hosts(family)
    member = b.stack.open_udp(("", 53), (a.address, 9), now=network.now)
    member.join_group(GROUPS[family])
    assert member.local == (b.address, 53)
    group_bound = b.stack.open_udp((GROUPS[family], 53), (a.address, 9), now=network.now)
    group_bound.join_group(GROUPS[family])
    for port in (8, 9):
        sender = a.stack.open_udp(("", port), now=network.now)
        sender.send(b"%d" % port, (GROUPS[family], 53), now=network.now)
    network.run(limit=1)
    assert [data for data, _ in group_bound.receive()] == [b"9"]


@FAMILIES
def test_all_hosts_are_in_their_group_without_asking(family):
    network, (a, b) = two_hosts(family)
    listener = b.stack.open_udp(("", 53), now=network.now)
    everybody = "224.0.0.1" if family == 4 else "ff02::1"
    a.stack.open_udp(now=network.now).send(b"x", (everybody, 53), now=network.now)
    network.run(limit=1)
    assert len(listener.receive()) == 1


@FAMILIES
def test_own_members_hear_as_well_unless_they_are_not_to(family):
    network, (a, b) = two_hosts(family)
    members = [host.stack.open_udp(("", 53), now=network.now) for host in (a, b)]
    for member in members:
        member.join_group(GROUPS[family])
    sender = a.stack.open_udp(now=network.now)
    sender.send(bytes(9000), (GROUPS[family], 53), now=network.now)
    network.run(limit=1)
    assert [len(member.receive()) for member in members] == [1, 1]
    sender.multicast_loop = False
    sender.send(b"x", (GROUPS[family], 53), now=network.now)
    network.run(limit=1)
    assert [len(member.receive()) for member in members] == [0, 1]
    assert not a.stack.counters


@FAMILIES
def test_hops_of_groups_are_their_own(family):
    s = Script(family=family)
    endpoint = s.stack.open_udp(now=s.now)
    at = 7 if family == 6 else 8
    hops = []
    for value in (None, 9):
        if value is not None:
            endpoint.multicast_hops = value
        endpoint.send(b"x", (GROUPS[family], 53), now=s.now)
        ((_, ((_, _, _, packet),)),) = s.stack.frames_to_send(s.now)
        hops.append(packet[at])
    assert hops == [1, 9]
    endpoint.send(b"x", (s.remote, 53), now=s.now)
    s.collect()
    assert s.others[-1][at] == 64


@FAMILIES
def test_without_hops_what_is_sent_to_a_group_stays_on_this_host(family):
    network, (a, b) = two_hosts(family)
    members = [host.stack.open_udp(("", 53), now=network.now) for host in (a, b)]
    for member in members:
        member.join_group(GROUPS[family])
    network.run(limit=2)
    sent = a.wire.sent
    sender = a.stack.open_udp(now=network.now)
    sender.multicast_hops = 0
    sender.send(b"x", (GROUPS[family], 53), now=network.now)
    network.run(limit=1)
    assert [len(member.receive()) for member in members] == [1, 0]
    assert a.wire.sent == sent


@FAMILIES
def test_a_group_is_sent_to_its_mac_and_no_error_comes_back(family):
    network, (a, b) = two_hosts(family)
    frames = []
    a.wire.drop = lambda _, frame: frames.append(frame) or False
    member = b.stack.open_udp(("", 53), now=network.now)
    member.join_group(GROUPS[family])
    member.close()
    network.run(limit=2)
    sender = a.stack.open_udp(now=network.now)
    sender.send(b"x", (GROUPS[family], 53), now=network.now)
    network.run(limit=1)
    assert [str(MACAddress(frame[0])) for frame in frames] == [
        "01:00:5e:01:02:03" if family == 4 else "33:33:00:00:12:34"
    ]
    assert sender.take_errors() == []


# -- reports


def told(s: Script) -> list[Record]:
    """Records in reports of the newest versions sent now; the groups are checked to be the right ones."""
    records = []
    for _, frames in s.stack.frames_to_send(s.now):
        for to, source, ethertype, packet in frames:
            assert (source, ethertype) == (OWN_MAC, 0x0800 if s.family == 4 else 0x86DD)
            records += read_report(s.family, to, packet)
    return records


def read_report(family: int, to: int, packet: bytes) -> list[Record]:
    if family == 4:
        header = ipv4.parse_header(packet)
        assert (header.protocol, header.ttl, header.options) == (ip.IGMP, 1, ipv4.ROUTER_ALERT)
        assert (header.destination, to) == (igmp.REPORTS, 0x01005E000016)
        message = packet[header.size :]
        assert (message[0], checksum(message)) == (igmp.REPORT, 0xFFFF)
    else:
        assert (packet[6:8], to) == (bytes((0, 1)), 0x333300000016)
        assert packet[24:40] == mld.REPORTS
        assert packet[40:48] == bytes((58, 0)) + mld.ROUTER_ALERT + bytes((1, 0))
        content = icmpv6.parse(packet[48:], packet[8:24], packet[24:40])
        assert content.kind == mld.REPORT
        message = packet[48:]
    size = len(PACKED[family])
    records, at = [], 8
    for _ in range(int.from_bytes(message[6:8], "big")):
        count = int.from_bytes(message[at + 2 : at + 4], "big")
        end = at + 4 + size * (1 + count)
        group, *sources = (message[start : start + size] for start in range(at + 4, end, size))
        records.append(Record(message[at], group, tuple(sources)))
        at = end
    assert at == len(message)
    return records


def old_messages(s: Script) -> list[tuple[int, bytes, bytes]]:
    """Type, group and destination of the messages of older versions sent now."""
    result = []
    for _, frames in s.stack.frames_to_send(s.now):
        for *_, packet in frames:
            if s.family == 4:
                result.append((packet[24], packet[28:32], packet[16:20]))
            else:
                result.append((packet[48], packet[56:72], packet[24:40]))
    return result


def query(
    s: Script, group: bytes | None = None, *sources: bytes, seconds: float = 1.0, version: int = 3
) -> None:
    """A router asks; ``version`` is IGMP's, that of MLD is one less."""
    if s.family == 4:
        group = group or bytes(4)
        code = bytes((0 if version == 1 else round(seconds * 10),))
        message = b"\x11" + code + bytes(2) + group
        if version == 3:
            message += b"\x02\x7d" + len(sources).to_bytes(2, "big") + b"".join(sources)
        check = (checksum(message) ^ 0xFFFF).to_bytes(2, "big")
        message = message[:2] + check + message[4:]
        to = group if any(group) else ipv4.ALL_SYSTEMS
        header = ipv4.Header(bytes((10, 0, 0, 2)), to, ip.IGMP, len(message), 1, options=ipv4.ROUTER_ALERT)
        s.send_packets(header.encode() + message)
        return
    group = group or bytes(16)
    body = round(seconds * 1000).to_bytes(2, "big") + bytes(2) + group
    if version == 3:
        body += b"\x02\x7d" + len(sources).to_bytes(2, "big") + b"".join(sources)
    mld_packet(s, mld.QUERY, body, group if any(group) else ipv6.ALL_NODES)


def mld_packet(s: Script, kind: int, body: bytes, to: bytes, **changes: object) -> None:
    source = changes.get("source", ipv6.link_local_address(REMOTE_MAC))
    options = bytes((58, 0)) + changes.get("alert", mld.ROUTER_ALERT) + bytes((1, 0))
    message = icmpv6.Message(kind, 0, body).encode(source, to)
    header = ipv6.Header(source, to, ipv6.HOP_BY_HOP, len(options) + len(message), changes.get("hops", 1))
    s.send_packets(header.encode() + options + message)


@FAMILIES
def test_joins_and_leaves_are_told_twice(family):
    s = Script(family=family)
    endpoint = s.stack.open_udp(now=s.now)
    group = PACKED[family]
    for call, kind in (
        (endpoint.join_group, igmp.CHANGE_TO_EXCLUDE),
        (endpoint.leave_group, igmp.CHANGE_TO_INCLUDE),
    ):
        call(GROUPS[family])
        assert told(s) == [Record(kind, group)]
        at = s.stack.next_timer()
        assert at is not None
        assert s.now <= at <= s.now + 1
        s.now = at
        s.stack.handle_timer(s.now)
        assert told(s) == [Record(kind, group)]
        assert s.stack.next_timer() is None


@FAMILIES
def test_what_is_joined_together_is_told_together(family):
    s = Script(family=family)
    endpoint = s.stack.open_udp(now=s.now)
    groups = [f"239.1.1.{n}" if family == 4 else f"ff05::{n:x}" for n in range(1, 250)]
    for group in groups:
        endpoint.join_group(group)
    frames = [frame for _, batch in s.stack.frames_to_send(s.now) for frame in batch]
    assert len(frames) == (1 if family == 4 else 2)
    assert all(len(frame[3]) <= 2800 for frame in frames)
    records = [record for frame in frames for record in read_report(family, frame[0], frame[3])]
    assert [record.group for record in records] == [ipaddress.ip_address(group).packed for group in groups]


@FAMILIES
def test_a_general_question_is_answered_within_its_time(family):
    s = Script(family=family)
    s.stack.open_udp(now=s.now).join_group(GROUPS[family])
    settled(s.stack, s.now)
    query(s, seconds=5.0)
    query(s, seconds=5.0)
    at = s.stack.next_timer()
    assert at is not None
    assert s.now <= at <= s.now + 5
    s.now = at
    s.stack.handle_timer(s.now)
    records = told(s)
    assert Record(igmp.MODE_IS_EXCLUDE, PACKED[family]) in records
    everybody = ipv4.ALL_SYSTEMS if family == 4 else ipv6.ALL_NODES
    assert everybody not in [record.group for record in records]
    assert len(records) == (1 if family == 4 else 2)
    assert s.stack.next_timer() is None


@FAMILIES
def test_a_question_for_a_group_is_answered_by_its_members(family):
    s = Script(family=family)
    s.stack.open_udp(now=s.now).join_group(GROUPS[family])
    settled(s.stack, s.now)
    sources = [bytes((n,)) * len(PACKED[family]) for n in (9, 8)]
    query(s, PACKED[family], *sources)
    s.now += 1
    s.stack.handle_timer(s.now)
    (record,) = told(s)
    assert (record.kind, set(record.sources)) == (igmp.MODE_IS_INCLUDE, set(sources))
    query(s, PACKED[family], sources[0])
    query(s, PACKED[family])
    s.now += 1
    s.stack.handle_timer(s.now)
    assert told(s) == [Record(igmp.MODE_IS_EXCLUDE, PACKED[family])]
    query(s, ipaddress.ip_address("239.9.9.9" if family == 4 else "ff05::9999").packed)
    assert s.stack.next_timer() is None


@FAMILIES
def test_questions_about_ever_more_sources_are_bounded(family):
    s = Script(family=family)
    s.stack.open_udp(now=s.now).join_group(GROUPS[family])
    settled(s.stack, s.now)
    size = len(PACKED[family])
    for number in range(1, 40):
        query(
            s, PACKED[family], *[bytes((number, other)) + bytes(size - 2) for other in range(5)], seconds=10
        )
    s.now += 10
    s.stack.handle_timer(s.now)
    assert told(s) == [Record(igmp.MODE_IS_EXCLUDE, PACKED[family])]


@pytest.mark.parametrize(
    ("family", "version", "kind"), [(4, 1, igmp.REPORT_V1), (4, 2, igmp.REPORT_V2), (6, 2, mld.REPORT_V1)]
)
def test_older_routers_are_answered_in_their_own_way_for_a_while(family, version, kind):
    s = Script(family=family)
    endpoint = s.stack.open_udp(now=s.now)
    endpoint.join_group(GROUPS[family])
    settled(s.stack, s.now)
    group = PACKED[family]
    query(s, version=version)
    s.now += 10
    s.stack.handle_timer(s.now)
    assert (kind, group, group) in old_messages(s)
    other = ipaddress.ip_address("239.7.7.7" if family == 4 else "ff05::7").packed
    endpoint.join_group("239.7.7.7" if family == 4 else "ff05::7")
    assert old_messages(s) == [(kind, other, other)]
    s.now += 1
    s.stack.handle_timer(s.now)
    old_messages(s)
    endpoint.leave_group(GROUPS[family])
    leave = (mld.DONE, group, mld.ALL_ROUTERS) if family == 6 else (igmp.LEAVE, group, igmp.ALL_ROUTERS)
    assert old_messages(s) == ([] if version == 1 else [leave])
    s.now += 300
    s.stack.handle_timer(s.now)
    old_messages(s)
    endpoint.join_group(GROUPS[family])
    assert told(s) == [Record(igmp.CHANGE_TO_EXCLUDE, group)]


@FAMILIES
def test_with_an_older_router_one_answer_for_a_group_is_enough(family):
    s = Script(family=family)
    s.stack.open_udp(now=s.now).join_group(GROUPS[family])
    settled(s.stack, s.now)
    group = PACKED[family]
    query(s, group, version=2)
    assert s.stack.next_timer() is not None
    if family == 4:
        message = igmp.encode_old(igmp.REPORT_V2, group)
        s.send_packets(ipv4.Header(bytes((10, 0, 0, 2)), group, ip.IGMP, 8, 1).encode() + message)
    else:
        mld_packet(s, mld.REPORT_V1, mld.encode_old(group), group)
    s.now += 2
    s.stack.handle_timer(s.now)
    assert old_messages(s) == []


@pytest.mark.parametrize(
    "changes", [{"hops": 2}, {"source": ipaddress.IPv6Address("fd00::2").packed}, {"alert": b"\1\2\0\0"}]
)
def test_questions_of_mld_from_beyond_the_link_are_refused(changes):
    s = Script()
    mld_packet(s, mld.QUERY, bytes(20) + b"\2\x7d\0\0", ipv6.ALL_NODES, **changes)
    assert s.stack.next_timer() is None
    assert s.stack.counters == {"mld source, hop limit or router alert": 1}


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from([4, 6]),
    st.lists(
        st.tuples(
            st.sampled_from([igmp.QUERY, igmp.REPORT_V1, igmp.REPORT_V2, igmp.LEAVE, igmp.REPORT]),
            st.sampled_from(
                [PACKED, {4: bytes(4), 6: bytes(16)}, {4: b"\xef\1\1\1", 6: b"\xff\5" + bytes(14)}]
            ),
            st.integers(0, 255),
            st.binary(max_size=40),
            st.floats(0, 3),
        ),
        max_size=20,
    ),
)
def test_whatever_routers_and_others_say(family, contents):
    """Reports stay within what one host may say, and stop when nobody asks any more."""
    s = Script(family=family)
    s.stack.open_udp(now=s.now).join_group(GROUPS[family])
    for kind, groups, code, rest, wait in contents:
        group = groups[family]
        if family == 4:
            message = bytes((kind, code, 0, 0)) + group + rest
            check = (checksum(message) ^ 0xFFFF).to_bytes(2, "big")
            message = message[:2] + check + message[4:]
            header = ipv4.Header(bytes((10, 0, 0, 2)), PACKED[4], ip.IGMP, len(message), 1)
            s.send_packets(header.encode() + message)
        else:
            kinds = {igmp.QUERY: mld.QUERY, igmp.REPORT_V1: mld.REPORT_V1, igmp.LEAVE: mld.DONE}
            mld_packet(s, kinds.get(kind, mld.REPORT), bytes((code, code, 0, 0)) + group + rest, PACKED[6])
        s.now += wait
        s.stack.handle_timer(s.now)
        assert sum(len(batch) for _, batch in s.stack.frames_to_send(s.now)) <= 6
    s.now += 10_000
    s.stack.handle_timer(s.now)
    s.stack.frames_to_send(s.now)
    s.stack.handle_timer(s.now + 2)
    s.stack.frames_to_send(s.now + 2)
    assert s.stack.next_timer() is None
