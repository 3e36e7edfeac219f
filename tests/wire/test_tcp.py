import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zt_async.errors import DecodeError
from zt_async.wire import ip, tcp

A, B = (ipaddress.IPv6Address(a).packed for a in ("fd00::1", "fd00::2"))
PSEUDO = ip.pseudo_header_sum(A, B, ip.TCP)
_u16, _u32 = st.integers(0, 0xFFFF), st.integers(0, 0xFFFFFFFF)
_port = st.integers(1, 0xFFFF)
_handshake_options = st.builds(
    tcp.Options,
    st.none() | _u16,
    st.none() | st.integers(0, 14),
    st.booleans(),
    st.none() | st.tuples(_u32, _u32),
    st.just(()),
)
_later_options = st.builds(
    lambda timestamps, sacks: tcp.Options(
        timestamps=timestamps, sacks=tuple(sacks[: 3 if timestamps else 4])
    ),
    st.none() | st.tuples(_u32, _u32),
    st.lists(st.tuples(_u32, _u32), max_size=4),
)
_segment = st.builds(
    tcp.Segment,
    _port,
    _port,
    _u32,
    _u32,
    st.integers(0, 0x3F),
    _u16,
    _handshake_options | _later_options,
    st.binary(max_size=99),
)


@given(_segment)
def test_what_is_encoded_is_parsed(segment):
    data = segment.encode(PSEUDO)
    assert len(data) % 4 == len(segment.payload) % 4
    assert ip.checksum_holds(data, PSEUDO)
    assert tcp.parse(data) == segment
    assert tcp.parse(b"xx" + data + b"y", 2, 2 + len(data)) == segment


def test_a_syn_of_linux():
    data = bytes.fromhex(
        "d3f4 1f90 8f3c2a11 00000000 a002 fd20 0000 0000 0204 0ab4 0402 080a 5b0a1c2d 00000000 0103 0307"
    )
    assert tcp.parse(data) == tcp.Segment(
        54260,
        8080,
        0x8F3C2A11,
        0,
        tcp.SYN,
        0xFD20,
        tcp.Options(mss=2740, window_scale=7, sack_permitted=True, timestamps=(0x5B0A1C2D, 0)),
    )


def test_a_segment_takes_sequence_space_for_syn_and_fin():
    segment = tcp.Segment(1, 2, 0, 0, tcp.SYN | tcp.FIN | tcp.ACK, 0, payload=b"abc")
    assert segment.size == 5
    assert str(segment) == "SYN|FIN|ACK seq=0 ack=0 win=0 len=3"


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ("02", "truncated"),
        ("0200", "option length"),
        ("0201", "option length"),
        ("0203 05", "option length"),
        ("0204 05", "option length"),
        ("030400 00", "option length"),
        ("0403 00", "option length"),
        ("0502", "option length"),
        ("050b 0000000000000000 00", "option length"),
        ("0809 00000000 000000", "option length"),
        ("fe05", "option length"),
    ],
)
def test_bad_options(options, reason):
    data = bytes.fromhex(options)
    with pytest.raises(DecodeError, match=reason):
        tcp.parse_options(data, 0, len(data))


def test_unknown_options_are_passed_over():
    data = bytes.fromhex("01 fe04abcd 0204 0578 00 0300")
    assert tcp.parse_options(data, 0, len(data)) == tcp.Options(mss=1400)


def test_a_window_scale_beyond_14_counts_as_14():
    data = bytes.fromhex("0303 ff")
    assert tcp.parse_options(data, 0, 3).window_scale == 14


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (bytes(19), "truncated"),
        (bytes.fromhex("0001 0002") + bytes(8) + bytes.fromhex("4010") + bytes(6), "data offset"),
        (bytes.fromhex("0001 0002") + bytes(8) + bytes.fromhex("6010") + bytes(6), "data offset"),
        (bytes.fromhex("0000 0002") + bytes(8) + bytes.fromhex("5010") + bytes(6), "port"),
        (bytes.fromhex("0001 0000") + bytes(8) + bytes.fromhex("5010") + bytes(6), "port"),
    ],
)
def test_bad_segments(data, reason):
    with pytest.raises(DecodeError, match=reason):
        tcp.parse(data)


@given(st.binary(max_size=80))
def test_any_bytes_are_a_segment_or_refused(data):
    try:
        segment = tcp.parse(data)
    except DecodeError:
        return
    assert len(segment.payload) <= len(data) - 20
    assert len(segment.options.sacks) <= 4


@given(st.binary(max_size=40))
def test_any_bytes_are_options_or_refused(data):
    try:
        options = tcp.parse_options(data, 0, len(data))
    except DecodeError:
        return
    assert options.window_scale is None or options.window_scale <= 14
