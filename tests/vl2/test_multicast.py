"""Groups, questions for their members, and frames to all of them (vl2.md 5.3 and 7)."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.vl1.remote import Bench
from tests.vl2.desk import IPV6, START, ControlledDesk, Desk, icmp_packet
from zt_async.testing import SimClock, seeded_context
from zt_async.types import BROADCAST, MACAddress, MulticastGroup, NetworkId, NodeAddress
from zt_async.vl2 import groups as groups_module
from zt_async.vl2.groups import MEMBERSHIP_LIFETIME, GroupKey, GroupTable, shuffled
from zt_async.vl2.multicast import MAX_PENDING
from zt_async.wire.multicast import (
    Gather,
    Gathered,
    GatherReply,
    MulticastFrame,
    MulticastFrameReply,
    decode_likes,
    encode_likes,
)
from zt_async.wire.network_config import (
    FLAG_BROADCAST,
    FLAG_PLAIN_MULTICAST,
    ROLE_ANCHOR,
    ROLE_BRIDGE,
    ROLE_REPLICATOR,
)
from zt_async.wire.packet import ErrorCode, Verb
from zt_async.wire.rules import Rule, RuleType
from zt_async.wire.verbs import ExtFrame, decode_ok, encode_error, encode_ok

GROUP = MulticastGroup(MACAddress(0x3333FF000001))
OTHER = MulticastGroup(MACAddress(0x01005E000001))
ALL = MulticastGroup(BROADCAST)
ARP = 0x0806


def arp_request(target: int) -> bytes:
    return b"\0\x01\x08\0\6\4\0\1" + bytes(6) + bytes(4) + bytes(6) + target.to_bytes(4, "big")


class Party(ControlledDesk):
    """A private network with members ``a``, ``b`` and ``c``, all of whom have shown their certificates."""

    def __init__(self, **options):
        super().__init__()
        self.b, self.c = self.meet(2, "10.0.5.1"), self.meet(4, "10.0.6.1")
        self.configure_private(**{"multicast_limit": 32, "flags": FLAG_BROADCAST, **options})
        for member in (self.a, self.b, self.c):
            self.admit(member)
        self.everything()

    @property
    def others(self):
        return {
            "a": self.a,
            "b": self.b,
            "c": self.c,
            "controller": self.controller,
            "root": self.bench.upstream,
        }

    def everything(self, *verbs):
        """What the others got since the last look, of some verbs or all: by name, lists of packets."""
        self.bench.collect()
        got = {name: remote.take() for name, remote in self.others.items()}
        return {
            name: taken
            for name, packets in got.items()
            if (taken := [packet for packet in packets if not verbs or packet.verb in verbs])
        }

    def likes(self):
        """Which groups the others were told of."""
        return {
            name: [like.group for packet in packets for like in decode_likes(packet.payload)]
            for name, packets in self.everything(Verb.MULTICAST_LIKE).items()
        }

    def listen(self, remote, *groups):
        """Have a member say that it listens to groups."""
        (payload,) = encode_likes(self.id, groups)
        self.tell(remote, Verb.MULTICAST_LIKE, payload)

    def known(self, group=GROUP):
        return set(self.vl2.multicast.table.members(GroupKey(self.id, group)))

    def multicast(self, to=GROUP.mac, payload=None, ethertype=IPV6, source=None):
        """Send a frame to a group; the frames that the others get, by name."""
        frame = (to, source or self.own_mac, ethertype, payload or icmp_packet())
        self.vl2.send_frames(self.id, [frame], self.now)
        return self.frames()

    def frames(self):
        return {
            name: [MulticastFrame.decode(packet.payload) for packet in packets]
            for name, packets in self.everything(Verb.MULTICAST_FRAME).items()
        }


@pytest.fixture
def party():
    return Party()


# Announcing


def test_new_groups_are_told_at_once_to_all_who_may_be_asked_and_to_members(party):
    party.vl2.set_groups(party.id, frozenset((GROUP, OTHER)), party.now)
    assert party.likes() == {name: [OTHER, GROUP] for name in party.others}
    party.vl2.set_groups(party.id, frozenset((GROUP,)), party.now)
    assert party.likes() == {}
    party.vl2.set_groups(party.id, frozenset((OTHER,)), party.now)
    assert party.likes() == {name: [OTHER] for name in party.others}


def test_members_get_our_certificate_before_they_hear_of_groups(party):
    party.wait(1.1)
    party.push(party.private(multicast_limit=32))
    party.everything()
    party.vl2.set_groups(party.id, frozenset((GROUP,)), party.now)
    got = party.everything()
    for name in "abc":
        assert [packet.verb for packet in got[name]] == [Verb.NETWORK_CREDENTIALS, Verb.MULTICAST_LIKE]
    assert [packet.verb for packet in got["root"]] == [Verb.MULTICAST_LIKE]


def test_all_groups_are_told_again_every_minute(party):
    party.vl2.set_groups(party.id, frozenset((GROUP,)), party.now)
    party.likes()
    counts: Counter[str] = Counter()
    for _ in range(180):
        party.wait(1)
        for member in (party.a, party.b, party.c):  # members whom VL1 knows
            member.peer.last_receive = party.now
        for name, groups in party.likes().items():
            assert groups == [GROUP, ALL]
            counts[name] += 1
    assert counts == dict.fromkeys(party.others, 3)


def test_new_groups_do_not_keep_the_others_from_being_told_again(party):
    party.vl2.set_groups(party.id, frozenset((GROUP,)), party.now)
    party.likes()
    told: Counter[str] = Counter()
    for number in range(9):  # a new one every 20 s
        new = MulticastGroup(MACAddress(0x333300000000 + number))
        party.vl2.set_groups(party.id, frozenset((GROUP, new)), party.now)
        party.wait(20)
        for member in (party.a, party.b, party.c):
            member.peer.last_receive = party.now
        for name, groups in party.likes().items():
            told[name] += GROUP in groups
    assert told == dict.fromkeys(party.others, 3)


def test_who_shows_its_certificate_is_told(party):
    party.vl2.set_groups(party.id, frozenset((GROUP,)), party.now)
    d = party.meet(5, "10.0.7.1")
    party.admit(d)
    ours, like = (got for got in d.take() if got.verb != Verb.PUSH_DIRECT_PATHS)
    assert ours.verb == Verb.NETWORK_CREDENTIALS
    assert [like.group for like in decode_likes(like.payload)] == [GROUP, ALL]
    party.receive(party.frame(remote=d), remote=d)
    assert d.take(Verb.MULTICAST_LIKE) == []


def test_the_first_configuration_has_everything_told():
    desk = ControlledDesk()
    desk.vl2.set_groups(desk.id, frozenset((GROUP,)), desk.now)
    desk.bench.collect()
    assert desk.bench.upstream.take(Verb.MULTICAST_LIKE) == []
    desk.push(desk.private(flags=FLAG_BROADCAST))
    desk.bench.collect()
    for remote in (desk.controller, desk.bench.upstream):
        (like,) = remote.take(Verb.MULTICAST_LIKE)
        assert [like.group for like in decode_likes(like.payload)] == [GROUP, ALL]


def test_coming_online_all_is_told_again(party):
    party.vl2.came_online(party.now)
    party.wait(0.01)
    assert party.likes()["root"] == [ALL]


def test_anchors_are_told_though_they_never_said_anything():
    desk = ControlledDesk()
    desk.configure_private(specialists=(desk.a.address | ROLE_ANCHOR,))
    desk.a.take()
    desk.vl2.set_groups(desk.id, frozenset((GROUP,)), desk.now)
    desk.bench.collect()
    assert [got.verb for got in desk.a.take()] == [Verb.NETWORK_CREDENTIALS, Verb.MULTICAST_LIKE]


def test_anchors_who_are_members_are_told_once_a_minute():
    desk = ControlledDesk()
    desk.configure_private(specialists=(desk.a.address | ROLE_ANCHOR,), flags=FLAG_BROADCAST)
    desk.admit(desk.a)
    desk.wait(61)
    desk.a.take()
    told = 0
    for _ in range(12):
        desk.receive(desk.frame())
        told += len(desk.a.take(Verb.MULTICAST_LIKE))
        desk.wait(10)
        told += len(desk.a.take(Verb.MULTICAST_LIKE))
    assert told == 2


def test_many_groups_need_several_packets(party):
    groups = frozenset(MulticastGroup(MACAddress(0x333300000000 + n)) for n in range(1500))
    party.vl2.set_groups(party.id, groups, party.now)
    likes = party.likes()
    assert all(len(told) == 1500 for told in likes.values())
    assert party.vl1.counters["send: too large"] == 0


# Listening


def test_members_are_listened_to_and_others_are_not(party):
    party.listen(party.a, GROUP, OTHER)
    assert party.known() == party.known(OTHER) == {party.a.address}
    stranger = party.meet(6, "10.0.8.1")
    party.listen(stranger, GROUP)
    assert party.known() == {party.a.address}
    assert party.vl2.counters["likes: refused"] == 1
    assert party.fates()["in: likes"] == 2


def test_what_is_said_of_other_networks_is_no_matter_of_ours(party):
    (payload,) = encode_likes(NetworkId(party.id + 1), [GROUP])
    party.tell(party.a, Verb.MULTICAST_LIKE, payload)
    assert len(party.vl2.multicast.table) == 0


def test_a_membership_ends_ten_minutes_after_it_was_last_told(party):
    party.listen(party.a, GROUP)
    party.wait(500)
    party.listen(party.b, GROUP)
    party.wait(140)
    assert party.known() == {party.b.address}


def test_who_says_that_a_group_is_unwanted_leaves_it(party):
    party.listen(party.a, GROUP)
    party.listen(party.b, GROUP)
    data = party.id.packed + GROUP.mac.packed + bytes(4)
    error = encode_error(Verb.MULTICAST_FRAME, 1, ErrorCode.UNWANTED_MULTICAST, data)
    stranger = party.meet(6, "10.0.8.1")
    for remote in (stranger, party.a):
        party.tell(remote, Verb.ERROR, error)
    assert party.known() == {party.b.address}
    party.tell(party.b, Verb.ERROR, error[:-1])
    assert party.known() == {party.b.address}


def gather(desk, remote, group=GROUP, limit=10, network_id=None, certificate=None):
    """What a node is told of a group: the total and the addresses; None if nothing."""
    question = Gather(network_id or desk.id, group, limit, certificate).encode()
    answers = desk.tell(remote, Verb.MULTICAST_GATHER, question)
    if not answers:
        return None
    in_re, _, data = decode_ok(answers[0].payload)
    assert in_re == Verb.MULTICAST_GATHER
    reply = GatherReply.decode(data)
    assert (reply.network_id, reply.group) == (network_id or desk.id, group)
    return reply.gathered.total, set(reply.gathered.members)


def test_members_may_ask_who_listens(party):
    party.listen(party.a, GROUP)
    party.listen(party.b, GROUP)
    own = party.own.address
    assert gather(party, party.c) == (2, {party.a.address, party.b.address})
    for limit in (1, 2, 1, 1, 1, 1, 1, 1):  # who asks takes nobody's place
        assert gather(party, party.a, limit=limit) == (2, {party.b.address})
    assert gather(party, party.a, OTHER) is None
    assert gather(party, party.c, limit=0) is None
    party.vl2.set_groups(party.id, frozenset((GROUP,)), party.now)
    assert gather(party, party.c, limit=1) == (3, {own})
    assert gather(party, party.c, ALL) is None  # ourselves only if somebody listens to it
    stranger = party.meet(6, "10.0.8.1")
    assert gather(party, stranger) is None
    assert not stranger.peer.is_trusted(party.now)
    assert gather(party, stranger, certificate=party.certificate(stranger.identity))
    assert stranger.peer.is_trusted(party.now)
    assert party.fates()["in: gather refused"] == 1


def test_a_large_group_is_told_in_part(party):
    members = [NodeAddress(0x1000000000 + n) for n in range(5000)]
    party.vl2.multicast.learn(GroupKey(party.id, GROUP), members, party.now)
    total, told = gather(party, party.a, limit=0xFFFFFFFF)
    assert total == 5000
    assert 1000 < len(told) < 2000
    assert told <= set(members)
    _, again = gather(party, party.a, limit=100)
    assert len(again) == 100
    assert gather(party, party.a, limit=100)[1] != again  # at random


def test_roots_serve_all_networks_and_ask_for_no_certificates():
    bench = Bench(root=True)
    desk = Desk(bench=bench)
    b = desk.meet(2, "10.0.5.1")
    network_id = NetworkId(0x8056C2E21C000001)
    (payload,) = encode_likes(network_id, [GROUP])
    desk.tell(desk.a, Verb.MULTICAST_LIKE, payload)
    assert gather(desk, b, network_id=network_id) == (1, {desk.a.address})
    assert not b.peer.is_trusted(desk.now)


def test_others_serve_no_networks_that_they_are_not_on():
    desk = Desk()
    network_id = NetworkId(0x8056C2E21C000001)
    (payload,) = encode_likes(network_id, [GROUP])
    desk.tell(desk.a, Verb.MULTICAST_LIKE, payload)
    assert gather(desk, desk.a, network_id=network_id) is None
    assert len(desk.vl2.multicast.table) == 0


# Sending


def test_a_multicast_goes_to_all_who_listen_and_asks_for_more_of_them(party):
    party.listen(party.a, GROUP)
    party.listen(party.b, GROUP)
    payload = icmp_packet()
    got = party.multicast(payload=payload)
    frame = MulticastFrame(party.id, GROUP, IPV6, payload, gather_limit=31)
    assert got == {"a": [frame], "b": [frame]}


def test_others_are_asked_for_members_in_time(party):
    party.multicast()
    asked = party.everything()  # the first frame went to nobody
    assert asked == {}
    party.multicast(to=OTHER.mac)
    party.wait(0.6)
    party.everything()
    frame = (OTHER.mac, party.own_mac, IPV6, icmp_packet())
    party.vl2.send_frames(party.id, [frame, frame], party.now)
    asked = party.everything(Verb.MULTICAST_GATHER)
    assert {name: len(packets) for name, packets in asked.items()} == {"root": 1, "controller": 1}
    question = Gather.decode(asked["root"][0].payload)
    assert question == Gather(party.id, OTHER, 33, party.network.config.certificate)
    party.listen(party.a, OTHER)
    party.everything()
    party.wait(30)
    party.everything()
    party.vl2.send_frames(party.id, [frame], party.now)
    assert party.everything(Verb.MULTICAST_GATHER) == {}
    party.wait(31)
    party.everything()
    party.vl2.send_frames(party.id, [frame], party.now)
    assert len(party.everything(Verb.MULTICAST_GATHER)) == 2


def test_others_are_asked_again_while_something_waits_and_nobody_is_known(party):
    party.multicast()
    party.everything()
    asked = []
    for _ in range(8):
        party.wait(1.0)
        asked.append(len(party.everything(Verb.MULTICAST_GATHER).get("root", ())))
    assert 3 <= sum(asked) <= 5
    assert asked[6:] == [0, 0]


def test_a_frame_waits_for_members_who_become_known(party):
    frame = (GROUP.mac, party.own_mac, IPV6, icmp_packet())
    party.vl2.send_frames(party.id, [frame], party.now)
    questions = party.everything(Verb.MULTICAST_GATHER)
    reply = GatherReply(party.id, GROUP, Gathered(1, (party.a.address, party.own.address)))
    root = party.bench.upstream
    packet = root.packet(
        Verb.OK, encode_ok(Verb.MULTICAST_GATHER, questions["root"][0].packet_id, reply.encode())
    )
    party.receive(packet, remote=root)
    assert list(party.frames()) == ["a"]
    party.listen(party.b, GROUP)
    assert list(party.frames()) == ["b"]
    party.listen(party.b, GROUP)
    party.receive(packet, remote=root)
    assert party.frames() == {}
    party.wait(5.1)
    party.listen(party.c, GROUP)
    assert party.frames() == {}
    assert party.known() == {party.a.address, party.b.address, party.c.address}


def test_members_that_nobody_asked_for_are_not_learned(party):
    party.vl2.send_frames(party.id, [(GROUP.mac, party.own_mac, IPV6, icmp_packet())], party.now)
    questions = party.everything(Verb.MULTICAST_GATHER)
    reply = GatherReply(party.id, GROUP, Gathered(1, (party.b.address,))).encode()
    ok = encode_ok(Verb.MULTICAST_GATHER, questions["root"][0].packet_id, reply)
    party.tell(party.a, Verb.OK, ok)  # it was not asked
    party.tell(party.bench.upstream, Verb.OK, encode_ok(Verb.MULTICAST_GATHER, 5, reply))
    assert party.known() == set()


def test_receivers_may_tell_of_members(party):
    party.listen(party.a, GROUP)
    party.vl2.send_frames(party.id, [(GROUP.mac, party.own_mac, IPV6, icmp_packet())] * 2, party.now)
    first, second = party.everything(Verb.MULTICAST_FRAME)["a"]
    certificate = party.certificate(party.c.identity, START + 1)
    reply = MulticastFrameReply(party.id, GROUP, Gathered(1, (party.b.address,)), certificate).encode()
    party.tell(party.a, Verb.OK, encode_ok(Verb.MULTICAST_FRAME, second.packet_id, reply))
    assert party.known() == {party.a.address}  # once a second is enough
    party.tell(party.a, Verb.OK, encode_ok(Verb.MULTICAST_FRAME, first.packet_id, reply))
    assert party.known() == {party.a.address, party.b.address}
    assert party.network.memberships.get(party.c.address).com == certificate
    party.tell(party.a, Verb.OK, encode_ok(Verb.MULTICAST_FRAME, first.packet_id, reply[:-3]))


def test_the_limit_of_the_network_holds():
    party = Party(multicast_limit=2)
    for member in (party.a, party.b, party.c):
        party.listen(member, GROUP)
    seen = set()
    for _ in range(20):
        got = party.multicast()
        assert len(got) == 2
        assert all(frame.gather_limit == 1 for frames in got.values() for frame in frames)
        seen |= set(got)
    assert seen == {"a", "b", "c"}  # not always the same
    assert party.everything(Verb.MULTICAST_GATHER) == {}


def test_a_limit_of_zero_is_no_multicast():
    party = Party(multicast_limit=0)
    party.listen(party.a, GROUP)
    assert party.multicast() == {}
    assert party.multicast(BROADCAST, arp_request(1), ARP) == {}
    assert party.fates()["out: no multicast"] == 2


def test_resolution_has_a_group_for_each_ipv4_address(party):
    wanted = MulticastGroup(BROADCAST, 0x0A010005)
    party.listen(party.a, wanted)
    party.listen(party.b, ALL)
    assert list(party.multicast(BROADCAST, arp_request(0x0A010005), ARP)) == ["a"]
    assert list(party.multicast(BROADCAST, arp_request(0x0A010006), ARP)) == []
    reply = arp_request(0x0A010005).replace(b"\4\0\1", b"\4\0\2")
    assert list(party.multicast(BROADCAST, reply, ARP)) == ["b"]
    assert list(party.multicast(BROADCAST, arp_request(0x0A010005)[:27], ARP)) == ["b"]
    assert list(party.multicast(BROADCAST)) == ["b"]


def test_resolution_works_where_broadcast_is_off():
    party = Party(flags=0)
    party.listen(party.a, MulticastGroup(BROADCAST, 5), ALL)
    assert list(party.multicast(BROADCAST, arp_request(5), ARP)) == ["a"]
    assert party.multicast(BROADCAST) == {}
    assert party.fates()["out: broadcast"] == 1


def test_rules_decide_for_each_receiver():
    rules = (
        Rule(RuleType.MATCH_DEST_ZEROTIER_ADDRESS, (ControlledDesk().a.address,)),
        Rule(RuleType.ACTION_DROP),
        Rule(RuleType.ACTION_ACCEPT),
    )
    party = Party(rules=rules)
    party.listen(party.a, GROUP)
    party.listen(party.b, GROUP)
    assert list(party.multicast()) == ["b"]
    party.push(party.private(rules=(Rule(RuleType.ACTION_DROP),), multicast_limit=32))
    party.everything()
    assert party.multicast() == {}
    assert party.fates()["out: rules"] == 1


def test_a_multicast_is_copied_aside_once():
    watcher = ControlledDesk().controller.address
    rules = (Rule(RuleType.ACTION_TEE, (watcher, 0, 10)), Rule(RuleType.ACTION_ACCEPT))
    party = Party(rules=rules)
    party.listen(party.a, GROUP)
    party.listen(party.b, GROUP)
    party.vl2.send_frames(party.id, [(GROUP.mac, party.own_mac, IPV6, icmp_packet())], party.now)
    got = party.everything(Verb.MULTICAST_FRAME, Verb.EXT_FRAME)
    assert sorted((name, packet.verb) for name, packets in got.items() for packet in packets) == [
        ("a", Verb.MULTICAST_FRAME),
        ("b", Verb.MULTICAST_FRAME),
        ("controller", Verb.EXT_FRAME),
    ]
    copy = ExtFrame.decode(got["controller"][0].payload)
    assert copy == ExtFrame(party.id, 2, GROUP.mac, party.own_mac, IPV6, icmp_packet()[:10])


def test_compression_can_be_switched_off():
    sizes = {}
    for flags in (0, FLAG_PLAIN_MULTICAST):
        party = Party(flags=flags)
        party.listen(party.a, GROUP)
        party.vl2.send_frames(party.id, [(GROUP.mac, party.own_mac, IPV6, bytes(500))], party.now)
        (packet,) = party.everything(Verb.MULTICAST_FRAME)["a"]
        sizes[flags] = len(packet.packet)
    assert sizes[0] < 200 < sizes[FLAG_PLAIN_MULTICAST]


def test_bridges_get_every_multicast():
    party = Party(specialists=(ControlledDesk().a.address | ROLE_BRIDGE,))
    party.listen(party.b, GROUP)
    assert sorted(party.multicast()) == ["a", "b"]
    party.listen(party.a, GROUP)
    assert {name: len(frames) for name, frames in party.multicast().items()} == {"a": 1, "b": 1}


def test_too_many_frames_do_not_wait(party):
    frame = (GROUP.mac, party.own_mac, IPV6, icmp_packet())
    party.vl2.send_frames(party.id, [frame] * (MAX_PENDING + 10), party.now)
    party.everything()
    party.listen(party.a, GROUP)
    assert len(party.frames()["a"]) == MAX_PENDING
    for number in range(60):
        mac = MACAddress(0x333300000000 + number)
        party.vl2.send_frames(party.id, [(mac, party.own_mac, IPV6, b"x")] * MAX_PENDING, party.now)
    assert party.vl2.counters["multicasts: too many pending"] > 0
    party.wait(6.1)
    assert party.vl2.multicast._pending_count == 0
    party.vl2.leave(party.id)
    assert party.vl2.multicast._sendings == {}


# Receiving


def send_from(desk, remote, group=GROUP, payload=None, **options):
    """A multicast of another member: the frames delivered, and the answers."""
    frame = MulticastFrame(
        desk.id, group, IPV6, icmp_packet() if payload is None else payload, **options
    ).encode()
    return desk.receive(remote.packet(Verb.MULTICAST_FRAME, frame), remote=remote)


def test_a_multicast_is_delivered_with_the_mac_of_its_sender(party):
    frames, answers = send_from(party, party.a)
    assert frames == [(GROUP.mac, party.a_mac, IPV6, icmp_packet())]
    assert answers == []
    assert send_from(party, party.a, source=party.a_mac)[0] == frames


def test_multicasts_of_strangers_wait(party):
    stranger = party.meet(6, "10.0.8.1")
    frames, (refusal,) = send_from(party, stranger)
    assert (frames, refusal.payload[0]) == ([], Verb.MULTICAST_FRAME)
    certificate = party.certificate(stranger.identity)
    frames, _ = send_from(party, stranger, certificate=certificate)
    assert len(frames) == 2


@pytest.mark.parametrize(
    ("options", "fate"),
    [
        ({"group": MulticastGroup(MACAddress(0x020000000001))}, "in: bad multicast"),
        ({"source": MACAddress(0)}, "in: bad multicast"),
        ({"source": MACAddress(0x333300000001)}, "in: bad multicast"),
        ({"source": "own"}, "in: bad multicast"),
        ({"source": MACAddress(0x020000000001)}, "in: foreign card"),
        ({"payload": b""}, "in: empty"),
    ],
)
def test_impossible_multicasts_are_dropped(party, options, fate):
    if options.get("source") == "own":
        options = {"source": party.own_mac}
    frames, answers = send_from(party, party.a, gather_limit=9, **options)
    assert frames == answers == []
    assert party.fates()[fate] == 1


def test_the_sender_is_told_of_members_if_it_wants_to_know(party):
    party.listen(party.b, GROUP)
    _, (answer,) = send_from(party, party.a, gather_limit=9)
    in_re, _, data = decode_ok(answer.payload)
    assert in_re == Verb.MULTICAST_FRAME
    assert MulticastFrameReply.decode(data).gathered == Gathered(1, (party.b.address,))


# Replicators


def test_multicasts_go_to_the_nearest_replicator_alone():
    names = ControlledDesk()
    roles = (names.a.address | ROLE_REPLICATOR, 0x1234567890 | ROLE_REPLICATOR)
    party = Party(specialists=roles)
    party.listen(party.b, GROUP)
    payload = icmp_packet()
    (frame,) = party.multicast(payload=payload)["a"]
    assert frame == MulticastFrame(party.id, GROUP, IPV6, payload, source=party.own_mac, replicate=True)
    party.bench.clock.advance_to(party.now + 300)  # it is gone
    assert "a" not in party.multicast()


def test_a_replicator_sends_on_for_others():
    own = Bench().core.address
    party = Party(specialists=(own | ROLE_REPLICATOR,))
    for member in (party.a, party.b, party.c):
        party.listen(member, GROUP)
    party.everything()
    frames, _ = send_from(party, party.a, source=party.a_mac, replicate=True)
    assert len(frames) == 1
    got = party.frames()
    assert sorted(got) == ["b", "c"]
    assert got["b"][0].source == party.a_mac
    assert party.vl2.counters["multicasts: replicated"] == 1
    assert sorted(party.multicast()) == ["a", "b", "c"]


def test_who_is_no_replicator_does_not(party):
    party.listen(party.b, GROUP)
    party.everything()
    send_from(party, party.a, source=party.a_mac, replicate=True)
    assert party.frames() == {}


# The table


def test_the_table_is_bounded(monkeypatch):
    counters: Counter[str] = Counter()
    table = GroupTable(counters)
    keys = [GroupKey(NetworkId(n), GROUP) for n in range(groups_module.MAX_GROUPS + 10)]
    for key in keys:
        table.add(key, 1, 0.0)
    assert len(table) == groups_module.MAX_GROUPS
    assert counters == {"groups: full": 10}
    for member in range(groups_module.MAX_MEMBERS + 10):
        table.add(keys[0], member, 1.0)
    assert len(table.members(keys[0])) == groups_module.MAX_MEMBERS
    monkeypatch.setattr(groups_module, "MAX_MEMBERSHIPS", len(table))
    assert not table.add(GroupKey(NetworkId(5000), GROUP), 99, 1.0)
    table.expire(MEMBERSHIP_LIFETIME)
    assert len(table) == groups_module.MAX_MEMBERS  # those of the second 1.0
    table.expire(MEMBERSHIP_LIFETIME + 1)
    assert len(table) == 0
    assert table._groups == table._groups_of == {}
    table.remove(keys[0], 1)
    assert table.add(keys[0], 1, 0.0)
    assert not table.add(keys[0], 1, 0.0)


@given(st.lists(st.integers(), max_size=30), st.integers(0, 40))
def test_shuffling_loses_nothing(items, limit):
    context = seeded_context(5, SimClock())
    assert sorted(shuffled(items, context)) == sorted(items)
    some = Counter(shuffled(items, context, limit))
    assert some.total() == min(limit, len(items))
    assert some <= Counter(items)


def test_every_order_and_every_choice_is_as_likely_as_another():
    context = seeded_context(5, SimClock())
    for limit, kinds in ((None, 24), (2, 12), (1, 4)):
        seen = Counter(tuple(shuffled("abcd", context, limit)) for _ in range(200 * kinds))
        assert len(seen) == kinds
        assert all(130 < times < 270 for times in seen.values())
