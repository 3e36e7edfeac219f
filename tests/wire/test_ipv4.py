import contextlib
import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.wire.spoiling import spoiled, with_checksum
from zt_async.errors import DecodeError
from zt_async.wire import ip, ipv4

A, B = (ipaddress.IPv4Address(a).packed for a in ("10.0.0.1", "10.0.0.2"))
_address = st.binary(min_size=4, max_size=4)
_byte = st.integers(0, 255)


@given(
    st.builds(
        ipv4.Header,
        _address,
        _address,
        _byte,
        st.just(0),
        _byte,
        _byte,
        st.integers(0, 0xFFFF),
        st.booleans(),
        st.booleans(),
        st.integers(0, 0x1FFF).map(lambda units: 8 * units),
        st.integers(0, 10).map(lambda words: bytes(4 * words)),
    )
)
def test_what_is_encoded_is_parsed(header):
    assert ipv4.parse_header(header.encode()) == header


def test_a_header_of_linux():
    """The first packet of ``ping -c1 127.0.0.1``."""
    data = bytes.fromhex("4500 0054 8d2b 4000 40 01 af7b 7f000001 7f000001")
    header = ipv4.parse_header(data + bytes(64))
    assert header == ipv4.Header(ipv4.LOOPBACK, ipv4.LOOPBACK, ip.ICMPV4, 64, 64, 0, 0x8D2B)
    assert header.encode() == data


def test_a_fragment_says_so():
    assert not ipv4.Header(A, B, ip.UDP, 0).is_fragment
    assert ipv4.Header(A, B, ip.UDP, 0, more_fragments=True).is_fragment
    assert ipv4.Header(A, B, ip.UDP, 0, offset=8).is_fragment


def changed(at: int, value: int, size: int = 20) -> bytes:
    """A good header, but for one byte; its checksum is right again."""
    data = bytearray(ipv4.Header(A, B, ip.TCP, 0, options=bytes(size - 20)).encode())
    data[at] = value
    data[10:12] = bytes(2)
    data[10:12] = ip.upper_checksum(data, -size).to_bytes(2, "big")
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (bytes(19), "truncated"),
        (changed(0, 0x65), "version"),
        (changed(0, 0x44), "header length"),
        (changed(0, 0x46), "truncated"),
        (changed(3, 19), "truncated"),
        (changed(3, 21), "truncated"),
        (ipv4.Header(A, B, ip.TCP, 0).encode()[:-1] + b"\x03", "checksum"),
    ],
)
def test_bad_headers_are_refused(data, reason):
    with pytest.raises(DecodeError, match=reason):
        ipv4.parse_header(data)


@given(spoiled(ipv4.Header(A, B, ip.TCP, 20).encode() + bytes(20)))
def test_any_bytes_are_a_header_or_refused(data):
    data = with_checksum(data, 10, 4 * (data[0] & 15) if data else None)
    try:
        header = ipv4.parse_header(data)
    except DecodeError:
        return
    assert header.size + header.payload_length <= len(data)


@pytest.mark.parametrize(
    "options",
    [
        b"",
        bytes(4),
        b"\x01\x01\x01\x01",
        ipv4.ROUTER_ALERT,
        b"\x07\x07\x04\0\0\0\0\0",  # record route
        b"\x44\x04\x05\x00",  # timestamp, full
        b"\x99\x04\x01\x02",  # unknown
        b"\x83\x07\x08\x0a\0\0\x01\0",  # a source route that ends here
        b"\0\xff\xff\xff",  # nothing counts after the end
    ],
)
def test_options_mean_nothing(options):
    ipv4.check_options(options)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (b"\x99\x00\0\0", "option length"),
        (b"\x99\x01\0\0", "option length"),
        (b"\x99\x05\0\0", "option length"),
        (b"\x01\x01\x01\x99", "option length"),
        (b"\x83\x07\x04\x0a\0\0\x01\0", "source route"),
        (b"\x89\x07\x04\x0a\0\0\x01\0", "source route"),
        (b"\x83\x02\0\0", "source route"),
    ],
)
def test_options_that_are_refused(options, reason):
    with pytest.raises(DecodeError, match=reason):
        ipv4.check_options(options)


@given(st.binary(max_size=40))
def test_any_options_are_passed_over_or_refused(options):
    with contextlib.suppress(DecodeError):
        ipv4.check_options(options)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("10.0.0.1", True),
        ("169.254.1.1", True),
        ("0.0.0.0", False),
        ("0.1.2.3", False),
        ("127.0.0.1", False),
        ("224.0.0.1", False),
        ("240.0.0.1", False),
        ("255.255.255.255", False),
    ],
)
def test_what_a_host_may_have(address, expected):
    assert ipv4.is_unicast(ipaddress.IPv4Address(address).packed) is expected
