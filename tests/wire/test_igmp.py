"""IGMP and MLD: what routers ask, and what hosts say."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.wire.spoiling import spoiled, with_checksum
from zt_async.accel import checksum
from zt_async.errors import DecodeError
from zt_async.wire import igmp, mld
from zt_async.wire.igmp import Query, Record

GROUP, SOURCE = (ipaddress.IPv4Address(a).packed for a in ("239.1.2.3", "10.0.0.9"))
GROUP6, SOURCE6 = (ipaddress.IPv6Address(a).packed for a in ("ff05::1234", "fd00::9"))
ALL = bytes(4)


def sealed(text: str) -> bytes:
    """Hexadecimal digits of a message, whose checksum is put in."""
    data = bytes.fromhex(text)
    return data[:2] + (checksum(data) ^ 0xFFFF).to_bytes(2, "big") + data[4:]


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("11 00 0000 00000000", Query(1, ALL, (), 10.0, 0, 0.0)),
        ("11 64 0000 00000000", Query(2, ALL, (), 10.0, 0, 0.0)),
        ("11 0a 0000 ef010203", Query(2, GROUP, (), 1.0, 0, 0.0)),
        ("11 18 0000 00000000 02 7d 0000", Query(3, ALL, (), 2.4, 2, 125.0)),
        ("11 ff 0000 ef010203 0f 8a 0001 0a000009", Query(3, GROUP, (SOURCE,), 3174.4, 7, 208.0)),
    ],
)
def test_queries_of_igmp(message, expected):
    assert igmp.parse(sealed(message)) == (igmp.QUERY, expected)


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("11 64 0000", "truncated"),
        ("11 64 0000 0a000001", "group"),
        ("11 64 0000 00000000 00", "size"),
        ("11 64 0000 ef010203 02 7d 0001", "truncated"),
        ("11 64 0000 ef010203 02 7d ffff 0a000009", "truncated"),
        ("11 64 0000 00000000 02 7d 0001 0a000009", "group"),
    ],
)
def test_bad_queries_of_igmp(message, reason):
    with pytest.raises(DecodeError, match=reason):
        igmp.parse(sealed(message))


def test_the_checksum_is_verified():
    with pytest.raises(DecodeError, match="checksum"):
        igmp.parse(sealed("11 64 0000 00000000")[:-1] + b"\1")


def test_reports_of_others():
    for kind in (igmp.REPORT_V1, igmp.REPORT_V2):
        assert igmp.parse(igmp.encode_old(kind, GROUP)) == (kind, GROUP)
    for message in (igmp.encode_old(igmp.LEAVE, GROUP), igmp.encode_report([])):
        assert igmp.parse(message)[1] is None


def test_what_a_host_says():
    assert igmp.encode_old(igmp.REPORT_V2, GROUP) == bytes.fromhex("16 00 f8fa ef010203")
    report = igmp.encode_report([Record(igmp.CHANGE_TO_EXCLUDE, GROUP), Record(1, GROUP, (SOURCE,))])
    assert report == sealed("22 00 0000 0000 0002 04 00 0000 ef010203 01 00 0001 ef010203 0a000009")
    assert mld.encode_old(GROUP6) == bytes(4) + GROUP6
    assert mld.encode_report([Record(2, GROUP6)]) == bytes.fromhex("0000 0001 02 00 0000 ") + GROUP6


@given(st.integers(0, 255))
def test_codes_grow_and_never_shrink(code):
    """RFC 3376 section 4.1.1: all codes in order stand for growing numbers."""
    assert igmp.parse_code(code, 4) >= code
    if code:
        assert igmp.parse_code(code, 4) > igmp.parse_code(code - 1, 4)


@pytest.mark.parametrize(("code", "expected"), [(127, 127), (128, 128), (255, 31 << 10)])
def test_codes_of_eight_bits(code, expected):
    assert igmp.parse_code(code, 4) == expected


@pytest.mark.parametrize(("code", "expected"), [(32767, 32767), (32768, 32768), (65535, 0x1FFF << 10)])
def test_codes_of_sixteen_bits(code, expected):
    assert igmp.parse_code(code, 12) == expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (bytes.fromhex("2710 0000") + bytes(16), Query(1, bytes(16), (), 10.0, 0, 0.0)),
        (bytes.fromhex("03e8 0000") + GROUP6, Query(1, GROUP6, (), 1.0, 0, 0.0)),
        (bytes.fromhex("03e8 0000") + GROUP6 + b"\2\x7d\0\0", Query(2, GROUP6, (), 1.0, 2, 125.0)),
        (
            bytes.fromhex("8000 0000") + GROUP6 + b"\x0f\x8a\0\1" + SOURCE6,
            Query(2, GROUP6, (SOURCE6,), 32.768, 7, 208.0),
        ),
    ],
)
def test_queries_of_mld(body, expected):
    assert mld.parse_query(body) == expected


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (bytes(19), "truncated"),
        (bytes(21), "size"),
        (bytes(4) + SOURCE6, "group"),
        (bytes(4) + GROUP6 + b"\2\x7d\0\1", "truncated"),
        (bytes(20) + b"\2\x7d\0\1" + SOURCE6, "group"),
    ],
)
def test_bad_queries_of_mld(body, reason):
    with pytest.raises(DecodeError, match=reason):
        mld.parse_query(body)


@given(spoiled(bytes.fromhex("11ff0000ef0102030f8a00010a000009")))
def test_any_bytes_are_a_message_of_igmp_or_refused(data):
    message = with_checksum(data, 2)
    try:
        kind, content = igmp.parse(message)
    except DecodeError:
        assert len(message) < 8 or message[0] == igmp.QUERY
    else:
        assert kind == message[0]
        if isinstance(content, Query):
            assert len(content.sources) <= (len(message) - 8) // 4


@given(spoiled(GROUP6 + bytes.fromhex("027d0001") + SOURCE6))
def test_any_bytes_are_a_query_of_mld_or_refused(tail):
    body = bytes(4) + tail
    try:
        query = mld.parse_query(body)
    except DecodeError:
        return
    assert len(query.sources) <= len(body) // 16
