"""Cards that are no members': bridges, their routes, and copies that rules send aside (vl2.md 5.2, 5.6 and 5.7)."""

from __future__ import annotations

import pytest

from tests.vl1.remote import Bench
from tests.vl2.desk import IPV6, Desk, icmp_packet
from zt_async.types import BROADCAST, MACAddress, MulticastGroup
from zt_async.vl2 import network as network_module
from zt_async.vl2.groups import GroupKey
from zt_async.vl2.network import BRIDGED_GROUP_LIFETIME, MAX_BRIDGE_RECIPIENTS, MAX_BRIDGED_GROUPS
from zt_async.wire.multicast import MulticastFrame, decode_likes
from zt_async.wire.network_config import FLAG_BROADCAST, ROLE_BRIDGE
from zt_async.wire.packet import Verb
from zt_async.wire.rules import Rule, RuleType
from zt_async.wire.verbs import ExtFrame

OWN = Bench().core.address
A = Desk().a.address
BEHIND = MACAddress(0x0E0000000001)
ELSEWHERE = MACAddress(0x0E0000000002)
GROUP = MulticastGroup(MACAddress(0x3333FF000001))


def bridged(*bridges, **options):
    """A node on a network with these bridges."""
    desk = Desk()
    specialists = tuple(bridge | ROLE_BRIDGE for bridge in bridges)
    desk.configure(specialists=specialists, multicast_limit=32, flags=FLAG_BROADCAST, **options)
    desk.a.take()
    return desk


def sent(desk, to_mac, from_mac=None, payload=None):
    """What ``a`` gets of a frame of ours."""
    packets, _ = desk.send((to_mac, from_mac or desk.own_mac, IPV6, payload or icmp_packet()))
    return packets


def test_frames_for_unknown_cards_go_to_the_bridges():
    desk = bridged(A)
    ((verb, payload),) = sent(desk, BEHIND)
    assert verb == Verb.EXT_FRAME
    assert ExtFrame.decode(payload) == ExtFrame(desk.id, 0, BEHIND, desk.own_mac, IPV6, icmp_packet())
    assert desk.fates() == {"out: bridged": 1}


def test_a_bridge_sends_frames_of_the_cards_behind_it():
    desk = bridged(OWN)
    ((verb, payload),) = sent(desk, desk.a_mac, BEHIND)
    assert verb == Verb.EXT_FRAME
    assert ExtFrame.decode(payload) == ExtFrame(desk.id, 0, desk.a_mac, BEHIND, IPV6, icmp_packet())
    assert sent(desk, ELSEWHERE, BEHIND) == []  # there is no other bridge
    assert desk.fates() == {"out: sent": 1, "out: unknown card": 1}
    assert bridged(A).send((A, BEHIND, IPV6, icmp_packet())) == ([], [])


def test_a_bridge_is_known_by_what_it_sent():
    desk = bridged(A, 0x1234567890)
    frames, _ = desk.receive(desk.ext(source=BEHIND))
    assert frames[0][:2] == (desk.own_mac, BEHIND)
    assert desk.network.bridge_routes == {BEHIND: A}
    sent(desk, BEHIND)
    assert list(desk.vl1.sender._waiting) == []  # nothing waits for the other bridge
    sent(desk, ELSEWHERE)
    assert list(desk.vl1.sender._waiting) == [0x1234567890]
    desk.configure(specialists=(0x1234567890 | ROLE_BRIDGE,))
    assert sent(desk, BEHIND) == []  # it is a bridge no longer
    desk.receive(desk.ext(source=ELSEWHERE))
    assert desk.fates()["in: foreign card"] == 1
    assert ELSEWHERE not in desk.network.bridge_routes


def test_with_very_many_bridges_some_are_tried():
    bridges = [0x1000000000 + n for n in range(50)]
    desk = bridged(OWN, *bridges)
    sent(desk, BEHIND)
    first = set(desk.vl1.sender._waiting)
    assert len(first) == MAX_BRIDGE_RECIPIENTS
    sent(desk, BEHIND)
    assert len(set(desk.vl1.sender._waiting)) > MAX_BRIDGE_RECIPIENTS


def test_a_bridge_takes_frames_for_the_cards_behind_it():
    desk = bridged(OWN)
    frames, _ = desk.receive(desk.ext(destination=BEHIND))
    assert frames[0][:2] == (BEHIND, desk.a_mac)


def test_multicasts_of_cards_behind_say_so_and_their_groups_are_told():
    desk = bridged(OWN)
    root = desk.bench.upstream
    desk.receive(desk.frame())  # so that ``a`` counts as a member
    desk.a.take()
    root.take()
    for _ in range(2):
        sent(desk, GROUP.mac, BEHIND)
    (told,) = root.take(Verb.MULTICAST_LIKE)
    assert [like.group for like in decode_likes(told.payload)] == [GROUP]
    assert GROUP in desk.network.announced_groups()
    assert desk.network.listens(GROUP)
    desk.vl2.multicast.learn(GroupKey(desk.id, GROUP), [A], desk.now)
    desk.vl2.send_frames(desk.id, [(GROUP.mac, BEHIND, IPV6, icmp_packet())], desk.now)
    desk.bench.collect()
    frame = MulticastFrame.decode(desk.a.take(Verb.MULTICAST_FRAME)[-1].payload)
    assert frame.source == BEHIND
    desk.wait(BRIDGED_GROUP_LIFETIME + 31)
    assert desk.network.bridged_groups == {}


def test_who_is_a_bridge_no_longer_has_no_groups_behind_it():
    desk = bridged(OWN)
    sent(desk, GROUP.mac, BEHIND)
    desk.configure(multicast_limit=32)
    assert GROUP not in desk.network.announced_groups()
    assert not desk.network.listens(GROUP)


def test_groups_behind_us_are_bounded():
    desk = bridged(OWN)
    for number in range(MAX_BRIDGED_GROUPS + 5):
        sent(desk, MACAddress(0x333300000000 + number), BEHIND)
        if number % 1000 == 0:
            sent(desk, GROUP.mac, BEHIND)
    assert len(desk.network.bridged_groups) == MAX_BRIDGED_GROUPS
    assert GROUP in desk.network.bridged_groups  # the one that is in use all the time


def test_routes_are_bounded_and_the_greediest_bridge_pays(monkeypatch):
    monkeypatch.setattr(network_module, "MAX_BRIDGE_ROUTES", 10)
    desk = bridged(A, 0x1234567890)
    desk.network.bridge_routes = dict.fromkeys(range(3), 0x1234567890)
    for number in range(8):
        desk.receive(desk.ext(source=MACAddress(0x0E0000000000 + number)))
    routes = desk.network.bridge_routes
    assert sorted(routes.values()) == sorted([A, *[0x1234567890] * 3])


def test_rules_are_asked_for_each_bridge():
    desk = bridged(A, 0x1234567890, rules=(Rule(RuleType.ACTION_DROP),))
    assert sent(desk, BEHIND) == []
    assert desk.fates() == {"out: rules": 1}
    not_a = (
        Rule(RuleType.MATCH_DEST_ZEROTIER_ADDRESS, (A,)),
        Rule(RuleType.ACTION_DROP),
        Rule(RuleType.ACTION_ACCEPT),
    )
    desk = bridged(A, 0x1234567890, rules=not_a)
    assert sent(desk, BEHIND) == []
    assert list(desk.vl1.sender._waiting) == [0x1234567890]


# Copies


@pytest.mark.parametrize(
    ("action", "flags", "passes"),
    [
        (RuleType.ACTION_TEE, 0x02, True),
        (RuleType.ACTION_WATCH, 0x16, True),
        (RuleType.ACTION_REDIRECT, 0x04, False),
    ],
)
def test_rules_send_frames_aside_on_their_way_out(action, flags, passes):
    watcher = 0x1234567890
    desk = bridged(rules=(Rule(action, (A, 0, 0)), Rule(RuleType.ACTION_ACCEPT)))
    to_mac = MACAddress(desk.a_mac ^ A ^ watcher)
    packets = sent(desk, to_mac)
    ((verb, payload),) = packets
    assert verb == Verb.EXT_FRAME
    assert ExtFrame.decode(payload) == ExtFrame(desk.id, flags, to_mac, desk.own_mac, IPV6, icmp_packet())
    assert desk.fates() == {"out: sent" if passes else "out: rules": 1}
    assert desk.vl2.counters["copies: sent"] == 1


@pytest.mark.parametrize(
    ("action", "flags", "passes"),
    [
        (RuleType.ACTION_TEE, 0x08, True),
        (RuleType.ACTION_WATCH, 0x1C, True),
        (RuleType.ACTION_REDIRECT, 0x0A, False),
    ],
)
def test_rules_send_frames_aside_on_their_way_in(action, flags, passes):
    desk = Desk()
    watcher = desk.meet(2, "10.0.5.1")
    desk.configure(rules=(Rule(action, (watcher.address, 0, 0)), Rule(RuleType.ACTION_ACCEPT)))
    for packet in (desk.frame(), desk.ext()):
        frames, _ = desk.receive(packet)
        assert len(frames) == passes
        (copy,) = watcher.take(Verb.EXT_FRAME)
        assert ExtFrame.decode(copy.payload) == ExtFrame(
            desk.id, flags, desk.own_mac, desk.a_mac, IPV6, icmp_packet()
        )


def test_who_is_to_get_copies_takes_them_whatever_the_macs():
    desk = Desk()
    desk.configure(rules=(Rule(RuleType.ACTION_TEE, (OWN, 0, 0)), Rule(RuleType.ACTION_ACCEPT)))
    frames, _ = desk.receive(desk.ext(source=BEHIND, destination=ELSEWHERE, flags=2))
    assert frames == [(ELSEWHERE, BEHIND, IPV6, icmp_packet())]
    assert desk.network.bridge_routes == {}


def test_broadcasts_reach_bridges_though_they_listen_to_nothing():
    desk = bridged(A)
    desk.vl2.send_frames(desk.id, [(BROADCAST, desk.own_mac, 0x0800, bytes(30))], desk.now)
    desk.bench.collect()
    (got,) = desk.a.take(Verb.MULTICAST_FRAME)
    assert MulticastFrame.decode(got.payload).group.mac == BROADCAST
