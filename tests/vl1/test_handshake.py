"""HELLO and its OK, rule by rule (vl1.md 3.4 and 7)."""

import pytest

from zt_async.config import NodeConfig
from zt_async.crypto.identity import Identity
from zt_async.testing.identities import throwaway_identity
from zt_async.types import Endpoint, NodeAddress
from zt_async.vl1.peer import MAX_HELLOS
from zt_async.wire.packet import ErrorCode, Suite, Verb
from zt_async.wire.verbs import (
    Hello,
    HelloReply,
    MoonRevision,
    Version,
    decode_error,
    decode_moons,
    decode_ok,
)

from .remote import HOME, Bench
from .world import make_moon, make_planet

AT = Endpoint("10.0.2.1", 9993)


def reply_of(got):
    verb, packet_id, data = decode_ok(got.payload)
    assert verb == Verb.HELLO
    return packet_id, HelloReply.decode(data)


def test_a_strangers_hello_is_answered_and_its_address_confirmed():
    bench = Bench()
    a = bench.remote(1, AT)
    packet = a.hello(clock_ms=777)
    ok, hello = a.say(packet)
    packet_id, reply = reply_of(ok)
    assert packet_id == int.from_bytes(packet[:8], "big")
    assert reply == HelloReply(777, Version(12, 1, 14, 1), AT, b"")
    assert (ok.suite, ok.at, ok.socket) == (Suite.SALSA, AT, 0)
    assert (hello.verb, hello.suite, hello.at) == (Verb.HELLO, Suite.CLEAR, AT)
    assert a.peer.version == a.version
    assert a.peer.entries == []
    a.say(a.ok_hello(hello))
    assert [entry.path.endpoint for entry in a.peer.entries] == [AT]


def test_what_a_hello_of_ours_says():
    bench = Bench()
    bench.core.topology.offer(make_moon([(throwaway_identity(5), [])], timestamp=99), always_accept_new=True)
    bench.core.topology.want_moon(0x1234, NodeAddress(0x1122334455))
    a = bench.remote(1, AT)
    _, got = a.say(a.hello())
    hello = Hello.decode(got.payload)
    assert hello.version == Version(12, 1, 14, 1)
    assert hello.clock_ms == bench.clock.wall_ms()
    assert hello.identity == bench.core.identity.to_bytes()
    assert hello.sent_to == AT
    assert hello.planet == (bench.planet.id, bench.planet.timestamp)
    moons = decode_moons(a.key.crypt_field(got.packet[:8], hello.tail))
    assert moons == [MoonRevision(throwaway_identity(5).address, 99), MoonRevision(0x1234, 0)]


def test_a_hello_of_ours_to_ipv4_without_moons_has_137_bytes():
    bench = Bench()
    a = bench.remote(1, AT)
    _, got = a.say(a.hello())
    assert len(got.packet) == 137


def test_every_copy_is_answered_on_the_path_it_came_from():
    bench = Bench()
    a = bench.remote(1, AT)
    packet = a.hello()
    bench.core.receive_datagrams(0, AT, [packet], bench.now)
    bench.core.receive_datagrams(1, AT, [packet], bench.now)
    bench.core.receive_datagrams(0, Endpoint("10.0.2.1", 555), [packet], bench.now)
    bench.collect()
    oks = a.take(Verb.OK)
    assert {(ok.socket, ok.at) for ok in oks} == {(0, AT), (1, AT), (0, Endpoint("10.0.2.1", 555))}
    assert {reply_of(ok)[0] for ok in oks} == {int.from_bytes(packet[:8], "big")}
    assert {reply_of(ok)[1].seen_as for ok in oks} == {ok.at for ok in oks}
    assert len(a.take(Verb.HELLO)) == 3


def test_copies_that_wait_for_the_proof_of_work_are_bounded_and_add_up():
    bench = Bench()
    a = bench.remote(1, AT)
    packet = a.hello()
    for port in range(1, 21):
        bench.core.receive_datagrams(0, Endpoint("10.0.2.1", port), [packet], bench.now)
    assert bench.core.counters["packet: waiting"] == 8
    assert bench.core.counters["packet: rate limit"] == 12
    bench.collect()
    assert len(a.take(Verb.OK)) == 8
    assert bench.core.counters["packet: waiting"] == 0


def test_the_first_ok_is_salsa_and_later_ones_aes():
    bench = Bench()
    a = bench.remote(1, AT)
    a.meet()
    ok = a.say(a.hello())[0]
    assert (ok.verb, ok.suite) == (Verb.OK, Suite.AES)


def test_aes_is_used_only_after_an_ok_to_a_hello_of_ours():
    bench = Bench()
    a = bench.remote(1, AT)
    a.say(a.hello())
    assert a.peer.version.protocol == 12
    assert a.peer.suite == Suite.SALSA
    ok = next(got for got in a.say(a.hello()) if got.verb == Verb.OK)
    assert ok.suite == Suite.SALSA


@pytest.mark.parametrize("protocol", range(4, 12))
def test_an_old_peer_is_spoken_to_in_salsa_only(protocol):
    bench = Bench()
    a = bench.remote(1, AT, version=Version(protocol, 1, 0, 5))
    a.meet()
    assert a.peer.version == Version(protocol, 1, 0, 5)
    got = a.ask(Verb.ECHO, b"x")
    assert [(g.verb, g.suite) for g in got] == [(Verb.OK, Suite.SALSA)]
    bench.core.send_all(a.address, [bytes((Verb.USER_MESSAGE,)) + bytes(9)], bench.now)
    bench.collect()
    assert [g.suite for g in a.take(Verb.USER_MESSAGE)] == [Suite.SALSA]


def test_the_address_of_a_very_old_peer_is_reported_without_port():
    bench = Bench()
    a = bench.remote(1, AT, version=Version(4, 1, 0, 0))
    assert reply_of(a.say(a.hello())[0])[1].seen_as == Endpoint(AT.host, 0)


@pytest.mark.parametrize(
    ("version", "verb"),
    [
        (Version(4, 1, 0, 0), Verb.HELLO),
        (Version(5, 1, 1, 0), Verb.HELLO),
        (Version(5, 1, 1, 1), Verb.ECHO),
        (Version(12, 1, 14, 1), Verb.ECHO),
    ],
)
def test_probes_are_echoes_where_the_peer_understands_them(version, verb):
    bench = Bench()
    a = bench.remote(1, AT, version=version)
    a.meet()
    got = a.say(a.packet(Verb.NOP), at=Endpoint("10.0.2.2", 1))
    assert [g.verb for g in got] == [verb]


def hello_parts(a, **changes):
    """A HELLO with some of its bytes changed before it is sealed."""
    hello = bytearray(Hello(a.version, 1, a.identity.to_bytes(), HOME).encode())
    for offset, value in changes.items():
        hello[int(offset[1:])] = value
    return a.packet(Verb.HELLO, bytes(hello), suite=Suite.CLEAR)


@pytest.mark.parametrize("changes", [{"_0": 3}, {"_0": 0}, {"_17": 1}, {"_18": 1}, {"_83": 1}])
def test_a_hello_that_breaks_the_rules_is_dropped(changes):
    """Its protocol is too old, its identity is another's or of no known type."""
    bench = Bench()
    a = bench.remote(1, AT)
    assert a.say(hello_parts(a)) != []
    b = bench.remote(2, AT)
    assert b.say(hello_parts(b, **changes)) == []
    assert b.peer is None


def test_parts_at_the_end_may_be_missing():
    bench = Bench()
    a = bench.remote(1, AT)
    whole = Hello(a.version, 1, a.identity.to_bytes(), HOME, planet=(1, 2)).encode()
    for size in (84, 91, 107):
        (ok, *_) = a.say(a.packet(Verb.HELLO, whole[:size], suite=Suite.CLEAR))
        assert ok.verb == Verb.OK
    for size in (0, 1, 13, 83, 85, 90):
        assert a.say(a.packet(Verb.HELLO, whole[:size], suite=Suite.CLEAR)) == []


def test_a_damaged_hello_is_not_answered_and_costs_no_proof_of_work():
    bench = Bench()
    a = bench.remote(1, AT)
    packet = bytearray(a.hello())
    packet[-1] ^= 1
    bench.core.receive_datagrams(0, AT, [bytes(packet)], bench.now)
    assert bench.core.take_validations() == []
    assert bench.fates() == {"not authentic": 1}


def test_an_identity_without_proof_of_work_is_refused():
    bench = Bench()
    honest = throwaway_identity(1)
    forged = Identity(NodeAddress(0x1111111111), honest.public_key, honest.to_bytes(secret=True)[71:])
    a = bench.remote(1, AT)
    a.identity, a.address, a.key = forged, forged.address, forged.agree(bench.core.identity)
    assert a.say(a.hello(), a.hello()) == []
    assert bench.core.topology.peers.get(forged.address) is None
    assert bench.fates() == {"invalid identity": 2}


def test_a_forged_identity_takes_nothing_from_the_true_one_of_its_address():
    """Anybody can make a key pair that claims an address; only its proof of work takes time to check."""
    bench = Bench()
    a, b = bench.remote(1, AT), bench.remote(2, "10.0.3.1")
    b.identity = Identity(a.address, b.identity.public_key, b.identity.to_bytes(secret=True)[71:])
    b.address = a.address
    for remote in (a, b, a):
        bench.core.receive_datagrams(0, remote.at, [remote.hello()], bench.now)
    assert bench.core.counters["packet: waiting"] == 3
    bench.collect()
    assert a.peer.identity == a.identity.public()
    assert len(a.take(Verb.OK)) == 2
    assert bench.fates() == {"invalid identity": 1}


def test_a_reserved_address_is_refused():
    bench = Bench()
    honest = throwaway_identity(1)
    forged = Identity(NodeAddress(0), honest.public_key, honest.to_bytes(secret=True)[71:])
    a = bench.remote(1, AT)
    a.identity, a.address, a.key = forged, forged.address, forged.agree(bench.core.identity)
    assert a.say(a.hello()) == []
    assert bench.fates() == {"malformed, reserved address": 1}


def test_a_collision_is_told_under_the_newcomers_key_and_changes_nothing():
    bench = Bench()
    a = bench.remote(1, AT)
    a.meet()
    other = throwaway_identity(2)
    b = bench.remote(2, Endpoint("10.0.3.1", 1))
    b.identity = Identity(a.address, other.public_key, other.to_bytes(secret=True)[71:])
    b.address = a.address
    bench.remotes[a.address] = b
    packet = b.hello()
    (got,) = b.say(packet)
    assert got.verb == Verb.ERROR
    assert (got.suite, got.at) == (Suite.SALSA, b.at)
    in_re, packet_id, code, _ = decode_error(got.payload)
    assert (in_re, packet_id, code) == (
        Verb.HELLO,
        int.from_bytes(packet[:8], "big"),
        ErrorCode.IDENTITY_COLLISION,
    )
    assert a.peer.identity == a.identity.public()
    damaged = bytearray(b.hello())
    damaged[20] ^= 1
    assert b.say(bytes(damaged)) == []
    # These cost work, and so are limited as strangers are.
    for _ in range(30):
        b.say(b.hello())
    assert bench.core.counters["packet: identity collision"] == 7


def test_only_a_root_can_say_that_our_address_is_taken():
    bench = Bench()
    a = bench.remote(1, AT)
    a.meet()
    a.say(a.error(ErrorCode.IDENTITY_COLLISION))
    assert not bench.core.collided
    bench.upstream.say(bench.upstream.error(ErrorCode.IDENTITY_COLLISION, Verb.ECHO))
    assert not bench.core.collided
    bench.upstream.say(bench.upstream.error(ErrorCode.IDENTITY_COLLISION))
    assert bench.core.collided
    assert not bench.core.is_online(bench.now)


def test_new_identities_of_one_prefix_are_limited_others_are_not():
    bench = Bench(config=NodeConfig(identity_validation_burst=2))
    answered = []
    for number in range(1, 6):
        a = bench.remote(number, f"10.0.2.{number}")
        answered.append(bool(a.say(a.hello())))
    assert answered == [True, True, False, False, False]
    b = bench.remote(6, "10.0.3.1")
    assert b.say(b.hello())
    bench.wait(2.1)
    c = bench.remote(7, "10.0.2.99")
    assert c.say(c.hello())


def test_hellos_of_a_known_peer_from_anywhere_are_answered_up_to_a_bound():
    """Somebody may replay one with the addresses of others."""
    bench = Bench()
    a = bench.remote(1, AT)
    a.meet()
    packet = a.hello()
    bench.sent.clear()
    for i in range(500):
        bench.core.receive_datagrams(0, Endpoint(f"172.16.{i >> 8}.{i & 255}", 9), [packet], bench.now)
    bench.collect()
    assert len(a.take(Verb.OK)) == MAX_HELLOS - 1
    bench.wait(5)
    assert sum(len(data) for to, data in bench.sent if to != AT) < 2 * 500 * len(packet)
    # On its own path it is heard all the same.
    assert a.say(packet)


def test_a_sealed_hello_is_taken_like_one_in_the_clear():
    bench = Bench()
    a = bench.remote(1, AT)
    assert a.say(a.hello(suite=Suite.SALSA)) == []  # nobody knows its key yet
    a.say(a.hello())
    a.take()
    ok = a.say(a.hello(suite=Suite.SALSA))[0]
    assert ok.verb == Verb.OK
    assert a.say(a.hello(suite=Suite.SALSA, identity=throwaway_identity(2))) == []


def test_a_newer_planet_and_moons_go_to_those_who_have_older_ones():
    bench = Bench(root=True)
    planet = bench.planet
    moon = make_moon([(throwaway_identity(5), [])], timestamp=50)
    bench.core.topology.offer(moon, always_accept_new=True)
    a = bench.remote(1, AT)

    def worlds(planet=(0, 0), moons=()):
        ok = next(g for g in a.say(a.hello(planet=planet, moons=moons)) if g.verb == Verb.OK)
        return reply_of(ok)[1].worlds

    assert worlds() == b""
    assert worlds((planet.id, planet.timestamp)) == b""
    assert worlds((planet.id, planet.timestamp + 1)) == b""
    assert worlds((planet.id + 1, 0)) == b""
    assert worlds((planet.id, planet.timestamp - 1)) == planet.to_bytes()
    assert worlds(moons=(MoonRevision(moon.id, 0),)) == moon.to_bytes()
    assert worlds(moons=(MoonRevision(moon.id, 49),)) == moon.to_bytes()
    assert worlds(moons=(MoonRevision(moon.id, 50), MoonRevision(7, 0))) == b""
    both = worlds((planet.id, 1), (MoonRevision(7, 0), MoonRevision(moon.id, 1)))
    assert both == planet.to_bytes() + moon.to_bytes()


def test_many_wanted_moons_do_not_make_a_reply_without_end():
    bench = Bench(root=True)
    endpoints = [Endpoint(f"10.8.0.{i}", 1) for i in range(32)]
    roots = [(throwaway_identity(i), endpoints) for i in range(4)]
    for number in range(60):
        world = make_moon(roots)
        moon = type(world)(world.type, number + 1, 5, world.update_key, world.signature, world.roots)
        bench.core.topology.offer(moon, always_accept_new=True)
    a = bench.remote(10, AT)
    moons = tuple(MoonRevision(number + 1, 0) for number in range(60))
    ok = next(g for g in a.say(a.hello(moons=moons)) if g.verb == Verb.OK)
    assert len(ok.packet) < 9928


def test_worlds_come_from_roots_only():
    bench = Bench()
    newer = make_planet([(bench.upstream.identity, [bench.upstream.at])], timestamp=2_000_000_000_000)
    a = bench.remote(1, AT)
    _, hello = a.say(a.hello())
    a.say(a.ok_hello(hello, worlds=newer.to_bytes()))
    assert bench.core.topology.planet == bench.planet
    _, hello = bench.upstream.say(bench.upstream.hello(), at=Endpoint(bench.upstream.at.host, 5)), None
    bench.wait(300)
    got = bench.upstream.take(Verb.HELLO)[-1]
    bench.upstream.say(bench.upstream.ok_hello(got, worlds=newer.to_bytes() + b"\x09junk"))
    assert bench.core.topology.planet == newer
    assert bench.core.counters["world: malformed"] == 1


def test_an_unsolicited_or_foreign_ok_changes_nothing():
    bench = Bench()
    a = bench.remote(1, AT)
    b = bench.remote(2, "10.0.5.1")
    _, hello = a.say(a.hello())
    b.say(b.hello())
    forged = hello._replace(packet=bytes(8) + hello.packet[8:])
    for remote, got in ((a, forged), (b, hello)):
        remote.take()
        remote.say(remote.ok_hello(got, version=Version(11, 9, 9, 9)))
        assert remote.peer.version == remote.version
        assert remote.peer.entries == []
    assert bench.core.counters["packet: unexpected reply"] == 2


def test_an_ok_from_elsewhere_makes_no_path_but_is_looked_into():
    """It may be a replay: the address has to answer a question of its own."""
    bench = Bench()
    a = bench.remote(1, AT)
    _, hello = a.say(a.hello())
    elsewhere = Endpoint("10.66.6.6", 6)
    got = a.say(a.ok_hello(hello), at=elsewhere)
    assert a.peer.entries == []
    assert [(g.verb, g.at) for g in got] == [(Verb.ECHO, elsewhere)]
    a.say(a.ok(got[0]), at=elsewhere)
    assert [entry.path.endpoint for entry in a.peer.entries] == [elsewhere]


def test_a_relayed_hello_and_ok_bring_a_version_but_no_path_and_no_surface():
    bench = Bench()
    a = bench.remote(1, AT)
    surface = Endpoint("10.0.0.99", 1)
    (ok,) = a.say(a.hello(hops=1, sent_to=surface), at=bench.upstream.at)
    assert (ok.verb, ok.at) == (Verb.OK, bench.upstream.at)
    assert a.peer.entries == []
    bench.core.handshake.say_hello(a.peer, bench.core.paths.find(0, bench.upstream.at), bench.now)
    bench.collect()
    (hello,) = a.take()
    a.say(a.ok_hello(hello, seen_as=surface, version=Version(12, 1, 9, 9), hops=1), at=bench.upstream.at)
    assert a.peer.version == Version(12, 1, 9, 9)
    assert a.peer.entries == []
    assert surface not in bench.core.own_endpoints(bench.now)


def test_a_reply_of_too_old_a_protocol_or_cut_short_changes_nothing():
    bench = Bench()
    a = bench.remote(1, AT)
    _, hello = a.say(a.hello())
    a.say(a.ok_hello(hello, version=Version(3, 1, 1, 1)))
    a.say(a.ok(hello, bytes(12)))
    assert not a.peer.replied_hello
    assert a.peer.entries == []
    assert bench.fates() == {"malformed, bad hello reply": 1, "malformed, truncated": 1}
