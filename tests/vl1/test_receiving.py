"""What a core does with packets of known and unknown nodes, verb by verb (vl1.md 2.11, 3 and 7)."""

from ipaddress import ip_network

import pytest

from zt_async.config import NodeConfig
from zt_async.events import PathAdded, PathRemoved, PeerUnreachable, UserMessage
from zt_async.testing.identities import throwaway_identity
from zt_async.types import Endpoint, NodeAddress
from zt_async.vl1.whois import MAX_PACKETS, MAX_PACKETS_PER_SOURCE
from zt_async.wire.compression import compress
from zt_async.wire.packet import COMPRESSED, ErrorCode, Suite, Verb, split
from zt_async.wire.verbs import (
    DirectPath,
    Rendezvous,
    decode_direct_paths,
    decode_ok,
    decode_whois,
    encode_direct_paths,
    encode_user_message,
    encode_whois,
)

from .remote import HOME, Bench
from .world import make_planet

AT = Endpoint("10.0.2.1", 9993)
ELSEWHERE = Endpoint("10.0.9.9", 999)


@pytest.fixture
def bench():
    return Bench()


@pytest.fixture
def a(bench):
    """A node that the core has met."""
    remote = bench.remote(1, AT)
    remote.meet()
    return remote


# Suites and sources


@pytest.mark.parametrize("suite", [Suite.CLEAR, Suite.SALSA, Suite.AES])
def test_every_suite_is_accepted_for_any_verb(bench, a, suite):
    (ok,) = a.say(a.packet(Verb.ECHO, b"x", suite=suite))
    assert decode_ok(ok.payload)[2] == b"x"


def test_aes_is_accepted_from_a_peer_whose_version_is_not_known(bench):
    a = bench.remote(1, AT)
    bench.core.topology.add_peer(a.identity, bench.now)
    assert a.say(a.packet(Verb.ECHO, suite=Suite.AES))


@pytest.mark.parametrize("suite", range(4, 8))
def test_suites_that_do_not_exist_are_dropped_and_nobody_is_asked(bench, suite):
    stranger = bench.remote(2, AT)
    packet = bytearray(stranger.packet(Verb.ECHO))
    packet[18] = suite << 3
    assert stranger.say(bytes(packet)) == []
    assert bench.upstream.take() == []
    assert bench.fates() == {"unknown suite": 1}


def test_damage_anywhere_but_in_the_hops_is_noticed(bench, a):
    for suite in (Suite.CLEAR, Suite.SALSA, Suite.AES):
        packet = a.packet(Verb.ECHO, b"hello", suite=suite)
        for bit in range(len(packet) * 8):
            byte, mask = bit >> 3, 1 << (bit & 7)
            if 8 <= byte < 18 or (byte == 18 and mask & 0x3F):
                continue  # other addresses, suites, hops: other rules
            damaged = packet[:byte] + bytes((packet[byte] ^ mask,)) + packet[byte + 1 :]
            bench.clock.advance_to(bench.now + 0.2)
            assert a.say(damaged) == [], (suite, bit)
        bench.clock.advance_to(bench.now + 0.2)
        assert [g.verb for g in a.say(packet[:18] + bytes((packet[18] | 7,)) + packet[19:])] == [Verb.OK]


def test_our_own_address_as_source_is_dropped(bench, a):
    packet = bytearray(a.packet(Verb.ECHO))
    packet[13:18] = bench.core.address.packed
    a.say(bytes(packet))
    assert bench.fates() == {"own address": 1}


def test_sizes_that_are_nothing(bench, a):
    datagrams = [bytes(size) for size in (0, 1, 4, 13, 16, 17, 27, 10_025, 65_000)]
    a.say(*datagrams)
    assert bench.core.counters["datagram: wrong size"] == len(datagrams)


def test_trusted_paths(bench):
    config = NodeConfig(trusted_paths={ip_network("10.0.2.0/24"): 0x1122334455667788})
    bench = Bench(config=config)
    a = bench.remote(1, AT)
    a.meet()

    def in_the_clear(trusted_path_id):
        packet = a.packet(Verb.ECHO, b"x", suite=Suite.CLEAR)
        return b"".join((packet[:18], b"\x10", trusted_path_id.to_bytes(8, "big"), packet[27:]))

    right = in_the_clear(0x1122334455667788)
    (ok,) = a.say(right)
    assert (ok.verb, ok.suite) == (Verb.OK, Suite.AES)  # answers are always armored (vl1.md 2.9)
    assert a.say(in_the_clear(0x1122334455667789)) == []
    assert a.say(in_the_clear(0)) == []
    assert a.say(right, at=ELSEWHERE) == []
    assert bench.fates() == {"untrusted path": 3}
    stranger = bench.remote(2, "10.0.2.9")
    packet = stranger.packet(Verb.ECHO, suite=Suite.CLEAR)
    stranger.say(packet[:18] + right[18:27] + packet[27:])
    assert [decode_whois(got.payload) for got in bench.upstream.take(Verb.WHOIS)] == [[stranger.address]]

    bench.core.send_all(a.address, [bytes((Verb.USER_MESSAGE,)) + bytes(8) + b"open"], bench.now)
    for flight in bench.core.flights_to_send(bench.now):
        (packet,) = flight.datagrams
    assert packet[18:] == b"\x10" + right[19:27] + bytes((Verb.USER_MESSAGE,)) + bytes(8) + b"open"


def test_any_of_the_trusted_prefixes_that_hold_an_address_will_do():
    config = NodeConfig(trusted_paths={ip_network("10.0.0.0/8"): 1, ip_network("10.0.2.0/24"): 2})
    bench = Bench(config=config)
    a = bench.remote(1, AT)
    a.meet()
    packet = a.packet(Verb.USER_MESSAGE, encode_user_message(70_000, b"x"), suite=Suite.CLEAR)
    for number in (1, 2, 3):
        a.say(b"".join((packet[:18], b"\x10", number.to_bytes(8, "big"), packet[27:])))
    assert bench.core.heard() == [b"x", b"x"]
    assert bench.fates() == {"untrusted path": 1}


# Compression


def test_compressed_payloads_of_any_verb_are_taken(bench, a):
    payload = b"abcd" * 300
    (ok,) = a.say(a.packet(Verb.ECHO | COMPRESSED, compress(payload)))
    assert decode_ok(ok.payload)[2] == payload


@pytest.mark.parametrize("block", [b"\0", b"\xff" * 50, b"\x1f\x00\x01\x00" + b"\xff" * 60 + b"\0"])
def test_bad_compression_is_dropped(bench, a, block):
    """Not LZ4, or more than a packet holds."""
    before = bench.core.counters["packet: accepted"]
    assert a.say(a.packet(Verb.ECHO | COMPRESSED, block)) == []
    assert bench.core.counters["packet: accepted"] == before
    assert bench.fates() == {"bad compression": 1}


# Fragments


def test_a_packet_in_seven_pieces_in_any_order(bench, a):
    payload = bytes(i & 0xFF for i in range(9000))
    packet = bytearray(a.packet(Verb.ECHO, payload))
    packet_id = bytes(packet[:8])
    packet = bytearray(
        a.key.seal(packet_id, bytes(packet[8:18]), 0x40, bytes((Verb.ECHO,)) + payload, Suite.SALSA)
    )
    pieces = split(bytes(packet), 1432, 1416)
    assert len(pieces) == 7
    for turn in range(7):
        bench.clock.advance_to(bench.now + 1)
        got = a.say(*pieces[turn:], *pieces[:turn])
        assert [decode_ok(g.payload)[2] == payload for g in got] == [True]
    bench.clock.advance_to(bench.now + 1)
    assert a.say(*pieces[::-1], *pieces)
    assert bench.core.counters["datagram: repeated fragment"] == 0
    bench.clock.advance_to(bench.now + 1)
    a.say(pieces[3], pieces[3], pieces[3])
    assert bench.core.counters["datagram: repeated fragment"] == 2


# ECHO


def test_echo_is_answered_six_times_a_second_on_each_path(bench, a):
    def answered(at, times):
        return sum(len(a.say(a.packet(Verb.ECHO), at=at)) for _ in range(times))

    assert answered(AT, 50) == 1
    assert bench.fates() == {"rate limit": 49}
    bench.clock.advance_to(bench.now + 0.16)
    assert answered(AT, 1) == 0
    bench.clock.advance_to(bench.now + 0.01)
    assert answered(AT, 1) == 1
    elsewhere = a.say(a.packet(Verb.ECHO), at=ELSEWHERE)
    assert [g.verb for g in elsewhere] == [Verb.OK, Verb.ECHO]  # the answer, and a probe of that address


def test_what_the_gate_refuses_is_no_sign_of_life(bench, a):
    bench.clock.advance_to(bench.now + 10)
    a.ask(Verb.ECHO)
    at = a.peer.last_receive
    bench.clock.advance_to(bench.now + 0.1)
    a.ask(Verb.ECHO)
    assert a.peer.last_receive == at


# OK and ERROR


def test_an_ok_must_quote_a_packet_to_that_peer_of_that_verb(bench, a):
    root = bench.upstream
    bench.wait(10.4)
    (echo,) = root.take(Verb.ECHO)
    assert a.say(a.ok(echo)) == []
    root.say(root.ok(echo._replace(verb=Verb.HELLO)))
    root.say(root.ok(echo._replace(packet=b"12345678" + echo.packet[8:])))
    assert bench.fates() == {"unexpected reply": 3}
    bench.clock.advance_to(bench.now + 0.15)
    root.say(root.ok(echo))
    latency = root.peer.entries[0].path.latency_ms
    assert latency == pytest.approx(150, abs=1)  # 0 ms of the meeting, 300 ms now


def test_questions_are_forgotten_after_a_while(bench):
    root = bench.upstream
    bench.wait(10.4)
    (echo,) = root.take(Verb.ECHO)
    bench.wait(120)
    root.say(root.ok(echo))
    assert bench.fates()["unexpected reply"] == 1


def test_errors_and_cut_replies(bench, a):
    a.say(a.packet(Verb.OK, bytes(8)), a.packet(Verb.ERROR, bytes(9)), a.packet(Verb.ERROR))
    assert bench.fates() == {"malformed, truncated": 3}
    a.say(a.error(ErrorCode.INVALID_REQUEST))
    assert [packet[2] for packet in bench.core.take_packets()] == [Verb.ERROR]


# WHOIS


def test_whois_is_answered_from_memory_and_ten_times_a_second(bench, a):
    question = encode_whois([bench.core.address, a.address])
    (ok,) = a.ask(Verb.WHOIS, question)
    identities = bench.core.identity.to_bytes() + a.identity.to_bytes()
    assert decode_ok(ok.payload)[2] == identities
    assert a.ask(Verb.WHOIS, question) == []
    bench.clock.advance_to(bench.now + 0.11)
    assert a.ask(Verb.WHOIS, question) != []


def test_a_root_answers_every_whois():
    bench = Bench(root=True)
    a = bench.remote(1, AT)
    a.meet()
    for _ in range(200):
        assert len(a.ask(Verb.WHOIS, encode_whois([bench.core.address]))) == 1


def test_a_question_about_somebody_unknown_is_passed_on_once(bench, a):
    unknown = NodeAddress(0x1234567890)
    assert a.ask(Verb.WHOIS, encode_whois([unknown])) == []
    (got,) = bench.upstream.take()
    assert (got.verb, decode_whois(got.payload)) == (Verb.WHOIS, [unknown])
    bench.wait(4)
    assert bench.upstream.take(Verb.WHOIS) == []
    a.ask(Verb.WHOIS, encode_whois([unknown]))
    assert len(bench.upstream.take(Verb.WHOIS)) == 1


def test_the_answer_to_a_question_passed_on_is_kept_for_the_next(bench, a):
    b = bench.remote(2, "10.0.3.1")
    a.ask(Verb.WHOIS, encode_whois([b.address]))
    (got,) = bench.upstream.take(Verb.WHOIS)
    bench.upstream.say(bench.upstream.ok(got, b.identity.to_bytes()))
    bench.clock.advance_to(bench.now + 0.2)
    assert decode_ok(a.ask(Verb.WHOIS, encode_whois([b.address]))[0].payload)[2] == b.identity.to_bytes()


def test_a_roots_question_is_not_passed_on(bench):
    assert bench.upstream.ask(Verb.WHOIS, encode_whois([NodeAddress(0x1234567890)])) == []
    bench.wait(5)
    assert bench.upstream.take(Verb.WHOIS) == []


def test_nobody_is_asked_for_what_no_node_can_be(bench, a):
    for address in (bench.core.address, NodeAddress(0), NodeAddress(0xFF00000001)):
        bench.core.send_all(address, [bytes((Verb.NOP,))], bench.now)
    bench.wait(1)
    assert bench.upstream.take(Verb.WHOIS) == []
    bench.wait(6)
    assert bench.core.address not in bench.core.topology.peers
    assert len(bench.core.saw(PeerUnreachable)) == 3


def test_identities_are_believed_from_roots_and_only_those_asked_for(bench, a):
    b, c = bench.remote(2, "10.0.3.1"), bench.remote(3, "10.0.4.1")
    bench.core.send_all(b.address, [bytes((Verb.USER_MESSAGE,)) + bytes(8) + b"hi"], bench.now)
    bench.collect()
    (got,) = bench.upstream.take(Verb.WHOIS)
    a.say(a.ok(got, b.identity.to_bytes()))
    assert b.peer is None
    bench.upstream.say(bench.upstream.ok(got, c.identity.to_bytes() + b.identity.to_bytes()))
    assert c.peer is None
    assert b.peer.identity == b.identity.public()
    (message,) = b.take()
    assert (message.verb, message.at, message.suite) == (
        Verb.USER_MESSAGE,
        bench.upstream.at,
        Suite.SALSA,
    )


def test_what_follows_the_identities_is_nobodys_business(bench):
    """Bytes at the end are always tolerated (vl1.md 0)."""
    b = bench.remote(2, "10.0.3.1")
    bench.core.send_all(b.address, [bytes((Verb.NOP,))], bench.now)
    bench.collect()
    (got,) = bench.upstream.take(Verb.WHOIS)
    bench.upstream.say(bench.upstream.ok(got, b""), bench.upstream.ok(got, b"\1" * 70))
    assert bench.fates() == {"malformed, identity: truncated": 2}
    bench.upstream.say(bench.upstream.ok(got, b.identity.to_bytes() + b"more"))
    assert b.peer is not None
    assert bench.fates() == {"malformed, identity: truncated": 2}


def test_whois_is_repeated_every_half_second_for_five_seconds(bench):
    bench.core.send_all(0x1234567890, [bytes((Verb.NOP,))], bench.now)
    bench.wait(20)
    assert 10 <= len(bench.upstream.take(Verb.WHOIS)) <= 21  # while the packet waits, and 5 s after
    assert [event.address for event in bench.core.saw(PeerUnreachable)] == [0x1234567890]
    assert bench.core.counters["send: no way found"] == 1


def test_packets_of_a_stranger_wait_for_its_identity(bench):
    b = bench.remote(2, "10.0.3.1")
    packets = [b.packet(Verb.USER_MESSAGE, encode_user_message(70_000, b"%d" % i)) for i in range(12)]
    b.say(*packets, at=bench.upstream.at)
    (got,) = bench.upstream.take(Verb.WHOIS)
    assert bench.core.counters["packet: waiting"] == MAX_PACKETS_PER_SOURCE
    bench.upstream.say(bench.upstream.ok(got, b.identity.to_bytes()))
    assert bench.core.heard() == [b"%d" % i for i in range(MAX_PACKETS_PER_SOURCE)]
    assert bench.fates() == {"unknown source": 12 - MAX_PACKETS_PER_SOURCE}


def test_strangers_that_nobody_knows_are_given_up(bench):
    b = bench.remote(2, "10.0.3.1")
    b.say(b.packet(Verb.NOP), b.packet(Verb.NOP))
    bench.wait(6)
    assert bench.fates() == {"unknown source": 2}


def test_strangers_leave_room_for_those_who_come_through_a_root(bench):
    b = bench.remote(2, "10.0.3.1")
    forged = b.packet(Verb.NOP)
    for i in range(500):
        b.say(forged[:13] + i.to_bytes(5, "big") + forged[18:])
    assert bench.core.counters["packet: waiting"] == MAX_PACKETS // 2
    b.say(b.packet(Verb.USER_MESSAGE, encode_user_message(70_000, b"hi")), at=bench.upstream.at)
    got = next(g for g in bench.upstream.take(Verb.WHOIS) if decode_whois(g.payload) == [b.address])
    bench.upstream.say(bench.upstream.ok(got, b.identity.to_bytes()))
    assert bench.core.heard() == [b"hi"]


def test_hints_are_tried_when_there_is_something_to_say_and_no_path():
    b_identity = throwaway_identity(2)
    bench = Bench(config=NodeConfig(path_hints={b_identity.address: (ELSEWHERE,)}))
    b = bench.remote(2, ELSEWHERE)
    bench.core.topology.add_peer(b_identity, bench.now)
    bench.wait(10)
    assert b.take() == []

    def tried():
        bench.core.send_all(b.address, [bytes((Verb.USER_MESSAGE,)) + bytes(9)], bench.now)
        bench.collect()
        return ELSEWHERE in {got.at for got in b.take(Verb.HELLO)}

    assert tried()
    assert len(b.take(Verb.USER_MESSAGE)) == 1  # which meanwhile goes through the root
    bench.wait(20)
    b.take()
    assert not tried()
    bench.wait(11)
    b.take()
    assert tried()


# RENDEZVOUS


def test_rendezvous_opens_the_nat_and_probes(bench, a):
    b = bench.remote(2, "10.0.3.1")
    bench.core.topology.add_peer(b.identity, bench.now)
    bench.upstream.ask(Verb.RENDEZVOUS, Rendezvous(b.address, ELSEWHERE).encode())
    ((to, data, ttl),) = bench.dying
    assert (to, len(data), ttl) == (ELSEWHERE, 4, 2)
    assert [(g.verb, g.at, g.socket) for g in b.take()] == [(Verb.HELLO, ELSEWHERE, 0)]
    bench.wait(20)
    assert len(b.take(Verb.HELLO)) == 4


def test_rendezvous_over_ipv6_sends_no_junk(bench):
    b = bench.remote(2, "10.0.3.1")
    bench.core.topology.add_peer(b.identity, bench.now)
    bench.upstream.ask(Verb.RENDEZVOUS, Rendezvous(b.address, Endpoint("fd00::9", 9)).encode())
    assert bench.dying == []
    assert [g.at for g in b.take()] == [Endpoint("fd00::9", 9)]


def test_rendezvous_counts_from_roots_only(bench, a):
    b = bench.remote(2, "10.0.3.1")
    bench.core.topology.add_peer(b.identity, bench.now)
    a.ask(Verb.RENDEZVOUS, Rendezvous(b.address, ELSEWHERE).encode())
    assert b.take() == []
    assert bench.fates() == {"not from a root": 1}


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "169.254.1.1", "0.0.0.0", "224.0.0.1", "fe80::1", "2001:470::1"]
)
def test_rendezvous_at_addresses_that_cannot_be_paths_is_ignored(bench, host):
    b = bench.remote(2, "10.0.3.1")
    bench.core.topology.add_peer(b.identity, bench.now)
    bench.upstream.ask(Verb.RENDEZVOUS, Rendezvous(b.address, Endpoint(host, 9)).encode())
    assert b.take() == []
    assert bench.dying == []
    assert bench.core.counters["paths: refused"] == 1


def test_rendezvous_with_an_unknown_peer_waits_for_its_identity(bench):
    b = bench.remote(2, "10.0.3.1")
    (got,) = bench.upstream.ask(Verb.RENDEZVOUS, Rendezvous(b.address, ELSEWHERE).encode())
    assert decode_whois(got.payload) == [b.address]
    bench.upstream.say(bench.upstream.ok(got, b.identity.to_bytes()))
    assert [(g.verb, g.at) for g in b.take()] == [(Verb.HELLO, ELSEWHERE)]


def until_housekeeping(bench):
    """Let time pass until shortly before the core forgets what is old."""
    bench.wait(bench.core.pulse._next_housekeeping - bench.now - 0.1)


def test_what_a_root_said_just_now_outlives_the_next_clearing(bench):
    b = bench.remote(2, "10.0.3.1")
    until_housekeeping(bench)
    bench.upstream.take()
    (got,) = bench.upstream.ask(Verb.RENDEZVOUS, Rendezvous(b.address, ELSEWHERE).encode())
    bench.wait(0.3)
    bench.upstream.say(bench.upstream.ok(got, b.identity.to_bytes()))
    assert [(g.verb, g.at) for g in b.take()] == [(Verb.HELLO, ELSEWHERE)]


def test_what_a_root_said_long_ago_is_forgotten(bench):
    b = bench.remote(2, "10.0.3.1")
    (got,) = bench.upstream.ask(Verb.RENDEZVOUS, Rendezvous(b.address, ELSEWHERE).encode())
    bench.wait(50)
    bench.upstream.say(bench.upstream.ok(got, b.identity.to_bytes()))
    bench.core.topology.add_peer(b.identity, bench.now)
    bench.core.peer_learned(b.address, bench.now)
    bench.collect()
    assert b.take() == []


# PUSH_DIRECT_PATHS


def push(*endpoints, flags=0):
    (payload,) = encode_direct_paths(endpoints)
    if flags:
        data = bytearray(payload)
        data[2] = flags
        payload = bytes(data)
    return payload


def test_pushed_paths_are_probed_from_all_sockets(bench, a):
    got = a.ask(Verb.PUSH_DIRECT_PATHS, push(ELSEWHERE, Endpoint("fd00::9", 9)))
    assert [(g.verb, g.at, g.socket) for g in got] == [
        (Verb.ECHO, ELSEWHERE, -1),
        (Verb.ECHO, Endpoint("fd00::9", 9), -1),
    ]
    assert [entry.path.endpoint for entry in a.peer.entries] == [AT]


def test_known_paths_forgotten_ones_and_forbidden_ones_are_not_probed(bench, a):
    assert a.ask(Verb.PUSH_DIRECT_PATHS, push(AT)) == []
    assert a.ask(Verb.PUSH_DIRECT_PATHS, push(ELSEWHERE, flags=1)) == []
    assert a.ask(Verb.PUSH_DIRECT_PATHS, push(Endpoint("127.0.0.1", 9), Endpoint("10.0.9.9", 0))) == []


def test_at_most_eight_of_a_scope_and_family_are_probed(bench, a):
    private = [Endpoint(f"10.0.9.{i}", 9) for i in range(1, 20)]
    world = [Endpoint(f"5.0.9.{i}", 9) for i in range(1, 20)]
    six = [Endpoint(f"fd00::{i}", 9) for i in range(1, 20)]
    got = a.ask(Verb.PUSH_DIRECT_PATHS, push(*private, *world, *six))
    assert len(got) == 24
    assert len({g.at for g in got}) == 24


def test_after_eight_pushes_there_must_be_a_pause(bench, a):
    probed = 0
    for i in range(20):
        probed += bool(a.ask(Verb.PUSH_DIRECT_PATHS, push(Endpoint(f"10.0.9.{i + 1}", 9))))
        bench.clock.advance_to(bench.now + 1)
    assert probed == 8
    assert bench.core.counters["paths: too many pushes"] == 12
    bench.clock.advance_to(bench.now + 31)
    assert a.ask(Verb.PUSH_DIRECT_PATHS, push(Endpoint("10.0.9.99", 9)))


def test_a_push_cut_short_counts_up_to_there(bench, a):
    whole = push(*(Endpoint(f"10.0.9.{i}", 9) for i in range(1, 4)))
    assert decode_direct_paths(whole[:-1]) == [DirectPath(Endpoint(f"10.0.9.{i}", 9)) for i in (1, 2)]
    assert len(a.ask(Verb.PUSH_DIRECT_PATHS, whole[:-1])) == 2
    a.ask(Verb.PUSH_DIRECT_PATHS, b"\0\1\0")
    assert bench.fates() == {"malformed, truncated": 1}


def test_a_cluster_that_wants_to_be_met_elsewhere_is_followed_once_it_is_there(bench, a):
    (probe, *_) = a.ask(Verb.PUSH_DIRECT_PATHS, push(ELSEWHERE, flags=2))
    assert probe.at == ELSEWHERE
    assert [entry.path.endpoint for entry in a.peer.entries] == [AT]
    a.say(a.ok(probe), at=ELSEWHERE)
    assert [(e.path.endpoint, e.priority) for e in a.peer.entries] == [(ELSEWHERE, 3)]
    # Another port of the same host takes the place of this one.
    other = ELSEWHERE._replace(port=1000)
    (probe, *_) = a.say(a.packet(Verb.PUSH_DIRECT_PATHS, push(other, flags=2)), at=ELSEWHERE)
    a.say(a.ok(probe), at=other)
    assert [(e.path.endpoint, e.priority) for e in a.peer.entries] == [(other, 5)]
    bench.collect()
    assert [event.endpoint for event in bench.core.saw(PathRemoved)] == [AT, ELSEWHERE]


def test_a_cluster_may_want_to_be_met_at_one_of_its_known_addresses(bench, a):
    (probe,) = a.ask(Verb.PUSH_DIRECT_PATHS, push(ELSEWHERE))
    a.say(a.ok(probe), at=ELSEWHERE)
    assert [e.path.endpoint for e in a.peer.entries] == [AT, ELSEWHERE]
    added = len(bench.core.saw(PathAdded))
    a.ask(Verb.PUSH_DIRECT_PATHS, push(ELSEWHERE, flags=2))
    assert [(e.path.endpoint, e.priority) for e in a.peer.entries] == [(ELSEWHERE, 3)]
    bench.collect()
    assert [event.endpoint for event in bench.core.saw(PathRemoved)] == [AT]
    assert len(bench.core.saw(PathAdded)) == added


def test_a_cluster_may_want_to_be_met_at_a_known_address_that_has_been_silent(bench, a):
    (probe,) = a.ask(Verb.PUSH_DIRECT_PATHS, push(ELSEWHERE))
    a.say(a.ok(probe), at=ELSEWHERE)
    for _ in range(14):
        bench.wait(3)
        for sent in a.take():
            if sent.at == AT and sent.verb in (Verb.HELLO, Verb.ECHO):
                a.say(a.ok(sent), at=AT)
        a.say(a.packet(Verb.NOP, b""), at=AT)
    assert [e.path.endpoint for e in a.peer.entries if e.path.is_alive(bench.now)] == [AT]
    a.take()
    probes = [
        sent for sent in a.ask(Verb.PUSH_DIRECT_PATHS, push(ELSEWHERE, flags=2)) if sent.at == ELSEWHERE
    ]
    a.say(a.ok(probes[0]), at=ELSEWHERE)
    assert [(e.path.endpoint, e.priority) for e in a.peer.entries] == [(ELSEWHERE, 3)]


def test_a_cluster_is_followed_also_while_the_core_forgets_what_is_old(bench, a):
    a.peer.last_nontrivial = bench.now
    until_housekeeping(bench)
    a.take()
    (probe, *_) = a.ask(Verb.PUSH_DIRECT_PATHS, push(ELSEWHERE, flags=2))
    bench.wait(0.2)
    a.say(a.ok(probe), at=ELSEWHERE)
    assert [(e.path.endpoint, e.priority) for e in a.peer.entries] == [(ELSEWHERE, 3)]


# The others


def test_user_messages_become_events(bench, a):
    a.ask(Verb.USER_MESSAGE, encode_user_message(2**64 - 1, b"data"))
    assert bench.core.saw(UserMessage) == [UserMessage(source=a.address, type=2**64 - 1, data=b"data")]


@pytest.mark.parametrize("verb", [0x0F, 0x11, 0x17, 0x1F])
def test_unknown_verbs_are_counted_and_signs_of_life(bench, a, verb):
    bench.clock.advance_to(bench.now + 5)
    assert a.ask(verb, b"anything") == []
    assert bench.fates() == {"unknown verb": 1}
    assert a.peer.last_receive == bench.now


@pytest.mark.parametrize("verb", [Verb.ACK, Verb.QOS_MEASUREMENT, Verb.PATH_NEGOTIATION_REQUEST])
def test_verbs_of_bonded_links_are_ignored(bench, a, verb):
    at = a.peer.last_receive
    bench.clock.advance_to(bench.now + 5)
    assert a.ask(verb, b"anything") == []
    assert bench.fates() == {"ignored verb": 1}
    assert a.peer.last_receive == at


@pytest.mark.parametrize("bits", [0x20, 0x40, 0x60])
def test_unused_bits_of_the_verb_are_ignored(bench, a, bits):
    assert [g.verb for g in a.ask(Verb.ECHO | bits)] == [Verb.OK]


def test_packets_for_vl2_are_handed_on_as_they_are(bench, a):
    packet = a.packet(Verb.FRAME, b"x" * 30)
    a.say(packet)
    ((peer, path, verb, packet_id, body),) = bench.core.take_packets()
    assert (peer.address, path.endpoint, verb) == (a.address, AT, Verb.FRAME)
    assert packet_id == int.from_bytes(packet[:8], "big")
    assert body == bytes((Verb.FRAME,)) + b"x" * 30


# Surface


def test_what_roots_and_others_see_of_us_is_told_in_pushes(bench, a):
    seen = Endpoint("10.200.0.1", 4242)
    a.say(a.hello(sent_to=seen))
    assert bench.core.own_endpoints(bench.now) == [HOME, seen]
    bench.core.local_endpoints = (HOME,)
    a.take()
    bench.core.trust(a.peer, a.peer.entries[0].path, bench.now)
    bench.collect()
    (got,) = a.take(Verb.PUSH_DIRECT_PATHS)
    assert decode_direct_paths(got.payload) == [DirectPath(HOME), DirectPath(seen)]
    assert got.at == AT


def test_a_surface_of_another_scope_than_the_reporters_is_ignored(bench, a):
    a.say(a.hello(sent_to=Endpoint("5.5.5.5", 5)))
    a.say(a.hello(sent_to=Endpoint("127.0.0.1", 5)))
    assert bench.core.own_endpoints(bench.now) == [HOME]


def test_nobody_drowns_what_roots_say_of_us(bench, a):
    for i in range(3000):
        bench.clock.advance_to(bench.now + 0.1)
        at = Endpoint("10.0.2.1", i + 1)
        a.say(a.hello(sent_to=Endpoint(f"10.{i >> 8}.{i & 255}.7", 7)), at=at)
    endpoints = bench.core.own_endpoints(bench.now)
    assert endpoints[0] == HOME
    assert len(endpoints) <= 17
    assert len(bench.core._surface._reports) <= 17


def test_when_a_root_sees_us_elsewhere_paths_have_to_prove_themselves_again(bench, a):
    b = bench.remote(2, Endpoint("fd00::2", 9993))
    b.meet()
    bench.wait(3)
    a.take()
    at = bench.upstream.at
    bench.upstream.say(bench.upstream.hello(sent_to=Endpoint("10.0.0.77", 1)), at=at)
    assert [e.last_receive > 0 for e in a.peer.entries] == [False]
    assert [e.last_receive > 0 for e in b.peer.entries] == [True]
    (probe,) = a.take()
    assert bench.core.sender.route(a.peer, bench.now).endpoint == at
    a.say(a.ok(probe))
    assert bench.core.sender.route(a.peer, bench.now).endpoint == AT
    # Another port is no other place, and others than roots are not believed.
    bench.upstream.say(bench.upstream.hello(sent_to=Endpoint("10.0.0.77", 2)), at=at)
    a.say(a.hello(sent_to=Endpoint("10.0.0.78", 2)))
    a.say(a.hello(sent_to=Endpoint("10.0.0.79", 2)))
    assert bench.core.sender.route(a.peer, bench.now).endpoint == AT


def test_identities_of_worlds_come_before_those_of_strangers(bench):
    """Nobody can take a root's place by being known under its address first."""
    impostor = bench.remote(7, "10.0.7.1")
    real = throwaway_identity(8)
    forged = type(real)(real.address, impostor.identity.public_key)
    bench.core.topology.add_peer(forged, bench.now)
    planet = make_planet([(real, [ELSEWHERE])], timestamp=2_000_000_000_000)
    assert bench.core.topology.offer(planet)
    assert bench.core.topology.peers[real.address].identity == real.public()
