"""Private networks of whole nodes: joining, resolving each other, being refused, cut off and let in again."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.vl2.club import MAX_DELTA, Club
from zt_async.crypto.credentials import issue_com
from zt_async.events import NetworkReady, NetworkStatus, NetworkUpdated
from zt_async.testing import Link
from zt_async.types import NetworkId
from zt_async.wire.network_config import ROLE_BRIDGE
from zt_async.wire.rules import Rule, RuleType

pytestmark = pytest.mark.sim


def test_a_member_is_ready_within_a_few_round_trips():
    club = Club(2)
    assert club.ready() < 0.5
    for member in club.members:
        (ready,) = club.saw(member, NetworkReady)
        assert ready.network.name == "club"
        assert len(ready.network.addresses) == 2


@pytest.mark.parametrize("version", [4, 6])
def test_the_first_ping_finds_its_way_at_once(version):
    club = Club(2)
    club.ready()
    a, b = club.members
    assert club.ping(a, b, version=version) < 0.5
    assert club.ping(b, a, version=version) < 0.1
    counters = club.root.vl2.counters
    assert not counters["in: not a member"]


def test_who_is_refused_gets_in_when_it_is_admitted():
    club = Club(1, strangers=1)
    member, stranger = club.members
    club.run_until(lambda: stranger.network(club.id).status == NetworkStatus.ACCESS_DENIED)
    club.net.run_for(12)
    assert club.ready(member) == 0
    club.admit(stranger)
    assert club.ready(stranger) <= 5.1
    assert club.ping(member, stranger) < 1


def test_strangers_on_the_same_wire_get_nothing_through():
    club = Club(1, strangers=1)
    member, stranger = club.members
    club.ready(member)
    # The stranger makes itself a configuration, with a certificate that it signs as if it were the controller.
    certificate = replace(
        issue_com(
            stranger.identity, club.id, stranger.identity, club.controller.context.wall_ms(), MAX_DELTA
        ),
        signed_by=club.controller.address,
    )
    club.admit(stranger, certificate=certificate, timestamp=certificate.timestamp)
    forged = club.controller.config_for(stranger.identity)
    del club.controller.members[stranger.address]
    stranger.vl2.configurations.apply(stranger.vl2.networks[club.id], forged, club.now)
    assert stranger.network(club.id).status == NetworkStatus.OK
    club.net.run_for(0.1)
    with pytest.raises(TimeoutError):
        club.ping(stranger, member, version=6, timeout=5)


def test_an_expelled_member_is_cut_off_at_once_and_knows_it():
    club = Club(3)
    club.ready()
    a, b, c = club.members
    for x, y in ((a, b), (a, c), (b, c)):
        club.ping(x, y)
    club.expel(c)
    spent = club.run_until(lambda: c.network(club.id).status == NetworkStatus.ACCESS_DENIED)
    assert spent < 2
    with pytest.raises((TimeoutError, OSError)):
        club.ping(c, a, timeout=3)
    with pytest.raises((TimeoutError, OSError)):
        club.ping(b, c, timeout=3)
    assert club.ping(a, b) < 0.1
    club.net.run_for(1)
    club.admit(c)
    club.run_until(lambda: c.network(club.id).status == NetworkStatus.OK, 6)
    assert club.ping(c, a) < 2
    assert len(club.saw(c, NetworkReady)) == 2


def test_a_revocation_reaches_members_that_the_controller_does_not():
    club = Club(3)
    club.ready()
    a, b, c = club.members
    for x, y in ((a, b), (b, c), (a, c)):
        club.ping(x, y)
    del club.controller.asked[b.address]  # the controller thinks that it is gone
    club.expel(c)
    club.run_until(lambda: b.vl2.networks[club.id].memberships.get(c.address).com is None, 2)
    assert b.vl2.counters["credentials: passed on"] >= 1


def test_a_push_changes_everybody_at_once():
    club = Club(2)
    club.ready()
    club.controller.options["mtu"] = 1500
    club.controller.options["name"] = "house"
    club.push()
    club.run_until(lambda: all(m.network(club.id).mtu == 1500 for m in club.members), 0.5)
    for member in club.members:
        assert member.network(club.id).name == "house"
        assert club.saw(member, NetworkUpdated)[-1].changed == {"mtu", "name"}


@pytest.mark.parametrize("mtu", [1280, 10_000])
def test_the_smallest_and_the_largest_mtu(mtu):
    """More than seven datagrams hold has to be cut by IP, and TCP has to know."""
    club = Club(2)
    club.controller.options["mtu"] = mtu
    club.ready()
    a, b = club.members
    assert a.network(club.id).mtu == mtu
    for version in (4, 6):
        ping = a.stack.ping(club.ip(b, version), bytes(20_000), now=club.now)
        club.run_until(lambda ping=ping: ping.rtt is not None, 5)
    listener = b.stack.listen_tcp((club.ip(b), 7000), now=club.now)
    connection = a.stack.connect_tcp((club.ip(b), 7000), now=club.now)
    accepted = []
    club.run_until(lambda: accepted.append(listener.accept()) or accepted[-1])
    connection.send(bytes(50_000))
    received = bytearray()

    def all_there():
        received.extend(accepted[-1].receive())
        return len(received) == 50_000

    club.run_until(all_there, 5)
    for node in club.members:
        assert node.vl1.counters["send: too large"] == 0


def test_rules_hold_on_both_sides():
    club = Club(2)
    club.controller.options["rules"] = (
        Rule(RuleType.MATCH_ETHERTYPE, (0x86DD,)),
        Rule(RuleType.ACTION_DROP),
        Rule(RuleType.ACTION_ACCEPT),
    )
    club.ready()
    a, b = club.members
    assert club.ping(a, b) < 1
    with pytest.raises(TimeoutError):
        club.ping(a, b, version=6, timeout=3)


def test_members_go_on_without_their_controller():
    club = Club(2)
    club.ready()
    a, b = club.members
    club.ping(a, b)
    club.net.detach(club.host(club.controller))
    for _ in range(14):  # minutes
        club.net.run_for(60)
        assert club.ping(a, b) < 1
    assert a.network(club.id).status == NetworkStatus.OK


def test_a_member_that_restarts_with_its_cache_is_back_at_once():
    club = Club(2)
    club.ready()
    a, b = club.members
    club.ping(a, b)
    (cached,) = b.take_configs().values()
    c = club.start(20, join=False)
    c.join(club.id, club.now, cached)  # somebody else's cache is of no use
    assert c.network(club.id).status == NetworkStatus.REQUESTING_CONFIGURATION
    host = club.host(b)
    club.net.detach(host)
    b2 = club.start(3, join=False, host=host)
    b2.join(club.id, club.now, cached)
    assert b2.network(club.id).status == NetworkStatus.OK
    assert club.ping(b2, a) < 2


def test_all_works_over_a_lossy_wire():
    club = Club(3, link=Link(delay=0.02, loss=0.1), seed=5)
    club.ready(timeout=30)
    a, b, c = club.members
    for x, y in ((a, b), (b, c), (c, a)):
        for _ in range(5):
            try:
                club.ping(x, y, timeout=4)
                break
            except (TimeoutError, OSError):
                continue
        else:
            raise AssertionError("no ping came through")


def test_a_bridge_carries_frames_of_cards_that_are_not_its_own():
    club = Club(3)
    a, b, bridge = club.members
    club.controller.options["specialists"] = (bridge.address | ROLE_BRIDGE,)
    club.ready()
    card = 0x0E1234567890
    payload = b"\0\x01\x08\0\6\4\0\1" + bytes(20)
    bridge.watch(club.id)
    b.watch(club.id)
    a.watch(club.id)
    # A broadcast of the card behind the bridge reaches everybody, who then know where it is.
    bridge.send_frames(club.id, [(0xFFFFFFFFFFFF, card, 0x88B5, payload)], club.now)
    club.net.wake()
    got: dict[int, list] = {a.address: [], b.address: [], bridge.address: []}

    def look():
        for node in (a, b, bridge):
            for _, received, _ in node.take_watched():
                got[node.address] += received
        return got

    club.run_until(lambda: all(look()[n.address] for n in (a, b)), 3)
    assert (0xFFFFFFFFFFFF, card, 0x88B5, payload) in got[a.address]
    a.send_frames(club.id, [(card, a.vl2.networks[club.id].mac, 0x88B5, b"answer")], club.now)
    club.net.wake()
    frame = (card, a.vl2.networks[club.id].mac, 0x88B5, b"answer")
    club.run_until(lambda: frame in look()[bridge.address], 3)
    assert frame not in got[b.address]


def test_many_members_find_each_other():
    club = Club(12)
    club.ready()
    first = club.members[0]
    for other in club.members[1:]:
        assert club.ping(first, other) < 0.6
        assert club.ping(other, first, version=6) < 0.3


def test_the_controller_may_be_a_member_itself():
    club = Club(1)
    club.admit(club.controller)
    club.controller.join(club.id, club.now)
    (member,) = club.members
    club.ready(member, club.controller)
    assert club.ping(member, club.controller) < 1
    assert club.ping(club.controller, member, version=6) < 1


def test_a_network_that_does_not_exist():
    club = Club(0)
    node = club.start(9, join=False)
    nowhere = NetworkId(throwaway_address(club) << 24 | 1)
    node.join(nowhere, club.now)
    club.run_until(lambda: node.network(nowhere).status == NetworkStatus.NOT_FOUND, 2)


def throwaway_address(club):
    """A node that is no controller."""
    return club.root.address
