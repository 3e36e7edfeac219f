"""Relaying and introductions (vl1.md 5.10), on a root and on others."""

import pytest

from zt_async.testing.identities import throwaway_identity
from zt_async.types import Endpoint
from zt_async.wire.packet import Verb, split
from zt_async.wire.verbs import Rendezvous

from .remote import Bench

A_AT = Endpoint("10.0.2.1", 9993)
B_AT = Endpoint("10.0.3.1", 9993)


@pytest.fixture
def bench():
    return Bench(root=True)


@pytest.fixture
def a(bench):
    remote = bench.remote(1, A_AT)
    remote.meet()
    return remote


@pytest.fixture
def b(bench):
    remote = bench.remote(2, B_AT)
    remote.meet()
    return remote


def relayed(bench, remote, *datagrams, at=None):
    """What a root sends on of these datagrams, to whom, without introductions."""
    bench.sent.clear()
    remote.say(*datagrams, at=at)
    ids = {datagram[:8] for datagram in datagrams}
    return [(to, datagram) for to, datagram in bench.sent if datagram[:8] in ids]


@pytest.mark.parametrize("hops", range(8))
def test_a_packet_goes_on_up_to_three_times(bench, a, b, hops):
    packet = a.packet(Verb.USER_MESSAGE, b"x" * 20, to=b.identity, hops=hops)
    onward = relayed(bench, a, packet)
    if hops < 3:
        ((to, datagram),) = onward
        assert to == B_AT
        assert datagram[18] & 7 == hops + 1
        assert datagram[:18] + bytes((datagram[18] - 1,)) + datagram[19:] == packet
    else:
        assert onward == []
        assert bench.core.counters["datagram: too many hops"] == 1


@pytest.mark.parametrize("hops", range(5))
def test_fragments_go_on_like_packets(bench, a, b, hops):
    packet = a.packet(Verb.USER_MESSAGE, bytes(4000), to=b.identity)
    head, *fragments = split(packet, 1432, 1416)
    fragments = [f[:15] + bytes((hops,)) + f[16:] for f in fragments]
    onward = relayed(bench, a, head, *fragments)
    assert onward[0][1][16:] == head[16:18] + bytes((head[18] + 1,)) + head[19:]
    expected = [(B_AT, f[:15] + bytes((hops + 1,)) + f[16:]) for f in fragments] if hops < 3 else []
    assert onward[1:] == expected


def test_nothing_is_relayed_that_says_it_is_ours_or_for_nobody_known(bench, a, b):
    packet = a.packet(Verb.NOP, to=b.identity)
    ours = packet[:13] + bench.core.address.packed + packet[18:]
    unknown = a.packet(Verb.NOP, to=throwaway_identity(9))
    assert relayed(bench, a, ours, unknown) == []
    assert bench.core.counters["datagram: own source"] == 1
    assert bench.core.counters["datagram: no way onward"] == 1


def test_nothing_goes_back_to_where_it_came_from(bench, a, b):
    packet = a.packet(Verb.NOP, to=b.identity)
    assert relayed(bench, a, packet, at=B_AT) == []


def test_the_damaged_and_the_forged_are_relayed_unseen(bench, a, b):
    """A relay has no key to look into what it carries."""
    packet = a.packet(Verb.USER_MESSAGE, b"x" * 20, to=b.identity)
    assert len(relayed(bench, a, packet[:-1] + b"?")) == 1


def test_two_are_introduced_once_in_thirty_seconds(bench, a, b):
    told = {a: [], b: []}
    for _ in range(29):
        told[a] += a.say(a.packet(Verb.NOP, to=b.identity))
        told[b] += b.say(b.packet(Verb.NOP, to=a.identity))
        bench.clock.advance_to(bench.now + 1)
    for remote, other in ((a, b), (b, a)):
        (got,) = told[remote]
        assert got.verb == Verb.RENDEZVOUS
        assert Rendezvous.decode(got.payload) == Rendezvous(other.address, other.at)
        assert got.at == remote.at
    bench.clock.advance_to(bench.now + 2)
    a.say(a.packet(Verb.NOP, to=b.identity))
    assert len(b.take(Verb.RENDEZVOUS)) == 1


def test_fragments_alone_introduce_nobody(bench, a, b):
    packet = a.packet(Verb.NOP, bytes(4000), to=b.identity)
    _, fragment, _ = split(packet, 1432, 1416)
    a.say(fragment)
    assert a.take(Verb.RENDEZVOUS) == []


def test_nobody_is_introduced_by_packets_that_come_from_elsewhere(bench, a, b):
    """Otherwise anybody could have a root send to any two."""
    packet = a.packet(Verb.NOP, to=b.identity)
    assert len(relayed(bench, a, packet, at=Endpoint("10.66.0.1", 6))) == 1
    assert a.take(Verb.RENDEZVOUS) == b.take(Verb.RENDEZVOUS) == []
    assert len(relayed(bench, a, packet, at=Endpoint(A_AT.host, 6))) == 1
    assert len(b.take(Verb.RENDEZVOUS)) == 1


def learn(bench, remote, at):
    """Let the core learn one more path to a node."""
    for got in remote.say(remote.hello(), at=at):
        if got.verb == Verb.ECHO:
            remote.say(remote.ok(got), at=at)
    assert at in [entry.path.endpoint for entry in remote.peer.entries]
    remote.take()


def test_the_nearest_scope_that_both_have_is_chosen_and_ipv6_before_ipv4(bench, a, b):
    def introduced():
        bench.wait(31)
        a.take(), b.take()
        (got,) = [g for g in a.say(a.packet(Verb.NOP, to=b.identity)) if g.verb == Verb.RENDEZVOUS]
        return Rendezvous.decode(got.payload).endpoint, got.at

    def refresh():
        for remote in (a, b):
            for entry in list(remote.peer.entries):
                bench.clock.advance_to(bench.now + 0.2)
                remote.say(remote.packet(Verb.ECHO), at=entry.path.endpoint)

    learn(bench, a, Endpoint("5.0.0.1", 1))
    assert introduced() == (B_AT, A_AT)
    refresh()
    learn(bench, b, Endpoint("5.0.0.2", 2))
    assert introduced() == (B_AT, A_AT)  # private addresses before global ones
    refresh()
    learn(bench, a, Endpoint("fd00::1", 1))
    assert introduced() == (B_AT, A_AT)  # only one has IPv6
    refresh()
    learn(bench, b, Endpoint("fd00::2", 2))
    assert introduced() == (Endpoint("fd00::2", 2), Endpoint("fd00::1", 1))


def test_two_without_a_common_scope_and_family_are_not_introduced():
    bench = Bench(root=True)
    a, b = bench.remote(1, "5.0.0.1"), bench.remote(2, "10.0.0.1")
    a.meet()
    b.meet()
    assert len(relayed(bench, a, a.packet(Verb.NOP, to=b.identity))) == 1
    assert a.take(Verb.RENDEZVOUS) == b.take(Verb.RENDEZVOUS) == []


def test_a_member_relays_nothing_unless_the_wire_is_trusted():
    bench = Bench()
    a, b = bench.remote(1, A_AT), bench.remote(2, B_AT)
    a.meet()
    b.meet()
    packet = a.packet(Verb.NOP, to=b.identity)
    head, fragment, _ = split(a.packet(Verb.NOP, bytes(4000), to=b.identity), 1432, 1416)
    assert relayed(bench, a, packet, head, fragment) == []
    assert bench.core.counters["datagram: relay refused"] == 3
    bench.core.trust(a.peer, a.peer.entries[0].path, bench.now)
    assert len(relayed(bench, a, packet, head, fragment)) == 3
    assert relayed(bench, a, packet, at=Endpoint("10.0.2.1", 5)) == []
    # What no peer of ours takes goes to a root, which may know more.
    unknown = a.packet(Verb.NOP, to=throwaway_identity(9))
    assert [to for to, _ in relayed(bench, a, unknown)] == [bench.upstream.at]
    own = bench.upstream.packet(Verb.NOP, to=throwaway_identity(9))
    assert relayed(bench, a, own) == []  # not what that root sent itself
