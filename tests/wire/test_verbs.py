import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.wire.strategies import coms, macs, network_ids, u8, u16, u64
from tests.wire.strategies import nodes as addresses
from zt_async.errors import DecodeError
from zt_async.types import Endpoint, NetworkId
from zt_async.wire import verbs
from zt_async.wire.buffer import Reader
from zt_async.wire.verbs import ExtFrame, Hello, HelloReply, MoonRevision, Rendezvous, Version

ports = st.integers(1, 0xFFFF)
endpoints = st.builds(lambda ip, port: Endpoint.make(ip, port), st.ip_addresses(), ports)
versions = st.builds(Version, u8, u8, u8, u16)
identities = st.binary(min_size=70, max_size=70).map(lambda data: data + b"\0")


@given(versions, u64, identities, st.none() | endpoints, st.tuples(u64, u64), st.binary(max_size=80))
def test_hello_is_read_as_it_was_written(version, clock, identity, sent_to, planet, tail):
    hello = Hello(version, clock, identity, sent_to, planet, tail)
    assert Hello.decode(hello.encode()) == hello


def test_hello_of_old_senders_ends_early():
    full = Hello(Version(5, 1, 1, 1), 7, bytes(71), Endpoint("10.0.0.1", 9993), (1, 2)).encode()
    assert Hello.decode(full[:84]) == Hello(Version(5, 1, 1, 1), 7, bytes(71))
    assert Hello.decode(full[:91]).planet == (0, 0)


@given(versions, u64, st.none() | endpoints, st.binary(max_size=2000))
def test_hello_reply_is_read_as_it_was_written(version, clock, seen_as, worlds):
    reply = HelloReply(clock, version, seen_as, worlds)
    assert HelloReply.decode(reply.encode() + b"more") == reply


@given(st.lists(st.builds(MoonRevision, u64, u64), max_size=20))
def test_moons_are_read_as_they_were_written(moons):
    assert verbs.decode_moons(verbs.encode_moons(moons)) == moons


def test_entries_that_are_no_moons_are_skipped():
    entry = b"\x01" + bytes(16)
    assert verbs.decode_moons(b"\0\2" + entry + b"\x7f" + bytes(15) + b"\1") == [MoonRevision(0, 1)]


def test_a_moon_count_beyond_the_bytes_costs_nothing():
    with pytest.raises(DecodeError, match="truncated"):
        verbs.decode_moons(b"\xff\xff" + bytes(17))


@given(addresses, endpoints)
def test_rendezvous_is_read_as_it_was_written(peer, endpoint):
    rendezvous = Rendezvous(peer, endpoint)
    assert Rendezvous.decode(rendezvous.encode()) == rendezvous


@given(st.lists(endpoints, max_size=200))
def test_direct_paths_stay_below_1200_bytes_and_arrive_in_order(paths):
    payloads = verbs.encode_direct_paths(paths)
    assert all(len(payload) + 28 < 1200 for payload in payloads)
    assert [path.endpoint for payload in payloads for path in verbs.decode_direct_paths(payload)] == paths


@given(network_ids, st.sampled_from([0, 0x10, 0x02]), macs, macs, u16, st.binary(max_size=100), coms)
def test_ext_frame_is_read_as_it_was_written(network, flags, destination, source, ethertype, data, com):
    for frame in (
        ExtFrame(network, flags, destination, source, ethertype, data),
        ExtFrame(network, flags | 0x01, destination, source, ethertype, data, com),
    ):
        assert ExtFrame.decode(frame.encode()) == frame


def test_ext_frame_with_a_bad_certificate():
    with pytest.raises(DecodeError, match="certificate"):
        ExtFrame.decode(NetworkId(1).packed + b"\1" + b"\2\0\0" + bytes(200))


@given(u8, u64, st.binary(max_size=50))
def test_replies_are_read_as_they_were_written(verb, packet_id, data):
    assert verbs.decode_ok(verbs.encode_ok(verb, packet_id, data)) == (verb, packet_id, data)


DECODERS = [
    Hello.decode,
    HelloReply.decode,
    Rendezvous.decode,
    ExtFrame.decode,
    verbs.decode_moons,
    verbs.decode_ok,
    verbs.decode_error,
    verbs.decode_whois,
    verbs.decode_direct_paths,
    verbs.decode_user_message,
]


@pytest.mark.parametrize("decode", DECODERS, ids=lambda d: d.__qualname__)
@given(data=st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(decode, data):
    with contextlib.suppress(DecodeError):
        decode(data)


@given(st.binary(max_size=40), st.integers(0, 50))
def test_the_reader_never_reads_past_the_end(data, size):
    reader = Reader(data)
    if size <= len(data):
        assert reader.take(size) == data[:size]
        assert reader.remaining == len(data) - size
    else:
        with pytest.raises(DecodeError, match="truncated"):
            reader.take(size)
    reader.rest()
    assert not reader.remaining
