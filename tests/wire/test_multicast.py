import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.wire.strategies import coms, groups, macs, network_ids, nodes, u16, u32
from zt_async.errors import DecodeError
from zt_async.types import MACAddress, MulticastGroup, NetworkId, NodeAddress
from zt_async.wire.multicast import (
    MAX_LIKES,
    Gather,
    Gathered,
    GatherReply,
    Like,
    MulticastFrame,
    MulticastFrameReply,
    decode_likes,
    encode_likes,
)

NETWORK = NetworkId(0x8E4DF28B72000001)
GROUP = MulticastGroup(MACAddress(0xFFFFFFFFFFFF), 0x0A000001)
gathered = st.builds(Gathered, u32, st.lists(nodes, max_size=10).map(tuple))
maybe_coms = st.none() | coms
payloads = st.one_of(
    st.builds(Gather, network_ids, groups, u32, maybe_coms),
    st.builds(GatherReply, network_ids, groups, gathered),
    st.builds(MulticastFrameReply, network_ids, groups, st.none() | gathered, maybe_coms),
    st.builds(
        MulticastFrame,
        network_ids,
        groups,
        u16,
        st.binary(max_size=50),
        st.none() | macs,
        u32,
        st.booleans(),
        maybe_coms,
    ),
)


@given(payloads)
def test_a_payload_is_read_as_it_was_written(value):
    assert type(value).decode(value.encode()) == value


@given(payloads)
def test_a_payload_cut_short_is_refused(value):
    data = value.encode()
    end = len(data) - (len(value.data) if isinstance(value, MulticastFrame) else 0)
    for size in range(end):
        with pytest.raises(DecodeError):
            type(value).decode(data[:size])


@given(st.sampled_from([Gather, GatherReply, MulticastFrameReply, MulticastFrame]), st.binary(max_size=200))
def test_garbage_raises_nothing_but_decode_errors(kind, payload):
    with contextlib.suppress(DecodeError):
        kind.decode(payload)


@given(network_ids, st.lists(groups, max_size=20))
def test_likes_are_read_as_they_were_written(network_id, liked):
    entries = [like for payload in encode_likes(network_id, liked) for like in decode_likes(payload)]
    assert entries == [Like(network_id, group) for group in liked]


@given(st.binary(max_size=200))
def test_any_likes_are_read_up_to_the_one_that_is_cut_short(payload):
    assert len(decode_likes(payload)) == len(payload) // 18


def test_many_likes_come_in_several_packets():
    liked = [MulticastGroup(MACAddress(0xFFFFFFFFFFFF), i) for i in range(2 * MAX_LIKES + 1)]
    likes = encode_likes(NETWORK, liked)
    assert [len(payload) for payload in likes] == [MAX_LIKES * 18, MAX_LIKES * 18, 18]
    assert len(likes[0]) < 9928 - 28  # what seven datagrams of 1432 bytes carry
    assert encode_likes(NETWORK, []) == []


def test_more_members_than_there_are_bytes_are_refused():
    reply = GatherReply(NETWORK, GROUP, Gathered(9, (NodeAddress(1),))).encode()
    with pytest.raises(DecodeError, match="truncated"):
        GatherReply.decode(reply[:22] + b"\xff\xff" + reply[24:])


def test_frames_look_as_on_the_wire():
    frame = MulticastFrame(NETWORK, GROUP, 0x0806, b"arp", gather_limit=1)
    assert frame.encode().hex() == "8e4df28b720000010200000001ffffffffffff0a0000010806617270"
    replicated = MulticastFrame(NETWORK, GROUP, 0x0806, b"arp", source=MACAddress(2), replicate=True)
    assert replicated.encode().hex() == "8e4df28b720000010c000000000002ffffffffffff0a0000010806617270"
