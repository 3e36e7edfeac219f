"""Floods of one kind: each is bounded in what it costs, in what is kept, and in what is sent because of it."""

import random

import pytest

from tests.vl1.remote import HOME, Bench
from zt_async.crypto import curve25519
from zt_async.crypto.identity import Identity
from zt_async.testing.identities import throwaway_identity
from zt_async.types import Endpoint, NodeAddress
from zt_async.vl1.contact import MAX_ATTEMPTS, MAX_ATTEMPTS_PER_PEER
from zt_async.vl1.handshake import MAX_VALIDATIONS
from zt_async.vl1.whois import MAX_PACKETS
from zt_async.wire.packet import Verb, split
from zt_async.wire.verbs import (
    Rendezvous,
    encode_direct_paths,
    encode_user_message,
    encode_whois,
)

AT = Endpoint("10.0.2.1", 9993)


@pytest.fixture(params=[False, True], ids=["leaf", "root"])
def bench(request):
    return Bench(root=request.param)


@pytest.fixture
def friend(bench):
    """A node that the core knows, and that is served whatever comes."""
    remote = bench.remote(1, AT)
    remote.meet()
    bench.wait(3)
    remote.take()
    bench.sent.clear()
    return remote


def sent_to_others(bench, *remotes):
    """Bytes that went to anybody but these nodes."""
    known = {remote.at for remote in remotes} | ({bench.upstream.at} if not bench.root else set())
    return sum(len(data) for to, data in bench.sent if to not in known)


def is_served(bench, friend):
    bench.clock.advance_to(bench.now + 1)
    friend.take()
    return [got.verb for got in friend.say(friend.packet(Verb.ECHO))] == [Verb.OK]


def forged(number):
    """An identity whose key is good and whose address is made up."""
    seed = number.to_bytes(64, "big")
    return Identity(NodeAddress(number + 1), curve25519.public_key_of(seed), seed)


def hello_of(bench, identity):
    remote = bench.remote(2, AT)
    remote.identity, remote.address = identity, identity.address
    remote.key = identity.agree(bench.core.identity)
    return remote.hello()


def hold_back(bench):
    """Answer no question about a proof of work; returns where the questions go."""
    asked = []
    take = bench.core.take_validations

    def take_validations():
        asked.extend(take())
        return []

    bench.core.take_validations = take_validations
    return asked


def test_hellos_of_made_up_identities_from_one_prefix(bench, friend):
    for i in range(400):
        source = Endpoint(f"203.0.113.{i % 256}", 1000 + i)
        bench.core.receive_datagrams(0, source, [hello_of(bench, forged(i))], bench.now)
    bench.collect()
    assert bench.core.counters["packet: invalid identity"] == 8
    assert bench.core.counters["packet: rate limit"] == 392
    assert sent_to_others(bench, friend) == 0
    assert len(bench.core.topology.peers) == 2 - bench.root
    assert is_served(bench, friend)


def test_hellos_of_made_up_identities_from_everywhere(bench, friend):
    """More than a few are not looked at before the proofs of work of those have been."""
    asked = hold_back(bench)
    for i in range(1000):
        source = Endpoint(f"{20 + i // 256}.{i % 256}.0.1", 9)
        bench.core.receive_datagrams(0, source, [hello_of(bench, forged(i))], bench.now)
    bench.collect()
    assert len(asked) == MAX_VALIDATIONS == len(bench.core.handshake._validations)
    assert bench.core.counters["packet: rate limit"] == 1000 - MAX_VALIDATIONS
    for identity in asked:
        bench.core.validated(identity, False, bench.now)
    bench.collect()
    assert bench.core.handshake._validations == {}
    assert bench.core.counters["packet: waiting"] == 0
    assert sent_to_others(bench, friend) == 0
    assert is_served(bench, friend)


def test_hellos_that_are_not_authentic(bench, friend):
    for i in range(2000):
        packet = hello_of(bench, throwaway_identity(10 + i % 50))
        source = Endpoint(f"{20 + i // 256}.{i % 256}.0.1", 9)
        bench.core.receive_datagrams(0, source, [packet[:-1] + bytes((packet[-1] ^ 1,))], bench.now)
    bench.collect()
    assert bench.core.counters["packet: not authentic"] == 2000
    assert sent_to_others(bench, friend) == 0
    assert len(bench.core.topology.peers) == 2 - bench.root


def test_a_hello_replayed_from_the_addresses_of_others(bench, friend):
    """The only thing that a stranger can make us send somewhere: less than a third party would notice."""
    packet = friend.hello()
    rounds, victims = 50, 40
    for _ in range(rounds):
        for i in range(victims):
            bench.core.receive_datagrams(0, Endpoint(f"203.0.113.{i}", 9), [packet], bench.now)
        bench.collect()
        bench.wait(0.5)
    received = rounds * victims * len(packet)
    assert sent_to_others(bench, friend) < 1.5 * received
    each = {}
    for to, data in bench.sent:
        each[to] = each.get(to, 0) + len(data)
    each.pop(AT, None)
    assert max(each.values()) < 4 * rounds * len(packet)
    assert len(bench.core.paths.visitors) <= 1024
    assert is_served(bench, friend)


def test_one_hello_replayed_once_makes_a_bounded_echo(bench, friend):
    packet = friend.hello()
    victim = Endpoint("203.0.113.9", 9)
    bench.core.receive_datagrams(0, victim, [packet], bench.now)
    bench.collect()
    bench.wait(60)
    assert sum(len(data) for to, data in bench.sent if to == victim) < 3 * len(packet)


def test_packets_of_unknown_sources(bench, friend):
    """They cost a bounded number of questions to a root, and nothing else."""
    packet = friend.packet(Verb.USER_MESSAGE, bytes(30))
    for i in range(5000):
        source = (i + 10).to_bytes(5, "big")
        at = Endpoint(f"{20 + i // 256}.{i % 256}.0.1", 9)
        bench.core.receive_datagrams(0, at, [packet[:13] + source + packet[18:]], bench.now)
    bench.collect()
    bench.wait(10)
    questions = 0 if bench.root else len(bench.upstream.take(Verb.WHOIS))
    assert questions <= MAX_PACKETS // 2 * 11
    assert bench.core.counters["packet: unknown source"] == 5000
    assert bench.core.counters["packet: waiting"] == 0
    assert bench.core.whois.is_idle
    assert sent_to_others(bench, friend) == 0
    assert is_served(bench, friend)


def test_fragments_that_never_complete(bench, friend):
    packet = friend.packet(Verb.ECHO, bytes(9000))
    pieces = split(packet, 1432, 1416)
    for i in range(5000):
        piece = pieces[i % len(pieces)]
        friend.say(i.to_bytes(8, "big") + piece[8:18] + bytes((piece[18] | 0x40,)) + piece[19:])
    assert len(bench.core._assembler) <= 1024
    assert bench.core._assembler._bytes <= 4 << 20
    assert is_served(bench, friend)
    bench.wait(40)
    assert len(bench.core._assembler) == 0
    assert bench.core.counters["fragments: abandoned"] == 5000


def test_echoes_of_a_peer(bench, friend):
    for _ in range(5000):
        bench.core.receive_datagrams(0, AT, [friend.packet(Verb.ECHO, bytes(1000))], bench.now)
        bench.clock.advance_to(bench.now + 0.001)
    bench.collect()
    assert len(friend.take(Verb.OK)) <= 31
    assert bench.core.counters["packet: rate limit"] >= 4969


def test_echoes_of_a_peer_with_the_addresses_of_others(bench, friend):
    packet = friend.packet(Verb.ECHO, bytes(1000))
    for i in range(3000):
        at = Endpoint(f"203.0.{i % 4}.{i % 256}", 9)
        bench.core.receive_datagrams(0, at, [packet], bench.now)
    bench.collect()
    bench.wait(5)
    assert sent_to_others(bench, friend) < 3000 * len(packet) / 2


def test_questions_of_a_peer(bench, friend):
    """A root answers every one. What it does not know itself it asks for only so often."""
    unknown = [NodeAddress(0x1000000000 + i) for i in range(10_000)]
    for i in range(0, 10_000, 50):
        bench.core.receive_datagrams(
            0, AT, [friend.packet(Verb.WHOIS, encode_whois(unknown[i : i + 50]))], bench.now
        )
        bench.clock.advance_to(bench.now + 0.01)
    bench.collect()
    if not bench.root:
        assert len(bench.upstream.take(Verb.WHOIS)) <= 20 * 50
    assert len(bench.core.whois._requests) == 0
    assert len(bench.core.whois._passed_on) <= 256
    bench.core.send_all(throwaway_identity(9).address, [bytes((Verb.NOP,))], bench.now)
    assert len(bench.core.whois._requests) == 1  # there is room for our own


def test_meetings_told_by_a_root():
    bench = Bench()
    remotes = [bench.remote(number, AT) for number in range(1, 40)]
    for remote in remotes:
        bench.core.topology.add_peer(remote.identity, bench.now)
    bench.sent.clear()
    count = 4000
    for i in range(count):
        peer = remotes[i % len(remotes)].address if i % 2 else NodeAddress(0x1000000000 + i)
        where = Endpoint(f"{20 + i // 256}.{i % 256}.0.1", 9)
        packet = bench.upstream.packet(Verb.RENDEZVOUS, Rendezvous(peer, where).encode())
        bench.core.receive_datagrams(0, bench.upstream.at, [packet], bench.now)
    bench.collect()
    assert len(bench.core.contact._attempts) <= MAX_ATTEMPTS
    assert len(bench.core.contact._awaited) <= 256
    bench.wait(30)
    assert sum(len(data) for to, data in bench.sent if to != bench.upstream.at) < MAX_ATTEMPTS * 5 * 150
    assert bench.core.contact._attempts == []
    assert bench.core.contact._under_way == {}


def test_paths_pushed_by_peers(bench, friend):
    others = [bench.remote(number, f"10.0.{number}.1") for number in range(2, 8)]
    for other in others:
        other.meet()
    bench.wait(3)
    bench.sent.clear()
    rng = random.Random(5)
    for _ in range(300):
        for remote in (friend, *others):
            victims = [
                Endpoint(f"203.0.113.{rng.randrange(256)}", rng.randrange(1, 65536)) for _ in range(50)
            ]
            (payload,) = encode_direct_paths(victims)
            packet = remote.packet(Verb.PUSH_DIRECT_PATHS, payload)
            bench.core.receive_datagrams(0, remote.at, [packet], bench.now)
            assert len(bench.core.contact._under_way.get(remote.address, ())) <= MAX_ATTEMPTS_PER_PEER
        bench.collect()
        bench.wait(0.02)
    bench.wait(20)
    # Eight pushes of each peer count, and eight addresses of each push.
    assert sent_to_others(bench, friend, *others) <= 7 * 8 * 8 * 5 * 150
    assert is_served(bench, friend)


def test_messages_of_a_peer_that_nobody_fetches_are_not_kept_by_the_core(bench, friend):
    for i in range(1000):
        bench.core.receive_datagrams(
            0, AT, [friend.packet(Verb.USER_MESSAGE, encode_user_message(70_000, b"%d" % i))], bench.now
        )
    assert len(bench.core.take_events()) == 1000
    assert bench.core.take_events() == []


def test_a_peer_that_moves_all_the_time(bench, friend):
    """Every address it sends from is probed, a bounded number at a time, and none is kept."""
    for i in range(3000):
        at = Endpoint(f"{20 + i // 256}.{i % 256}.0.1", 9)
        bench.core.receive_datagrams(0, at, [friend.packet(Verb.USER_MESSAGE, bytes(9))], bench.now)
        if i % 10 == 0:
            bench.collect()
            bench.wait(0.01)
    bench.wait(5)
    assert [entry.path.endpoint for entry in friend.peer.entries] == [AT]
    assert len(bench.core.paths.learned) <= 2
    bench.wait(100)
    assert len(bench.core.paths.visitors) <= 1
    assert HOME in bench.core.own_endpoints(bench.now) or bench.root
