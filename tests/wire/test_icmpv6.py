import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.wire.spoiling import spoiled, with_checksum
from zt_async.errors import DecodeError
from zt_async.wire import icmpv6, ip

A, B = (ipaddress.IPv6Address(a).packed for a in ("fd00::1", "fd00::2"))


@given(st.integers(0, 255), st.integers(0, 255), st.binary(min_size=4, max_size=64))
def test_what_is_encoded_is_parsed(kind, code, body):
    message = icmpv6.Message(kind, code, body)
    assert icmpv6.parse(message.encode(A, B), A, B) == message


def test_an_echo_request_looks_like_this():
    data = bytes.fromhex("8000 baee 0001 0001") + b"abcd"
    loopback = ipaddress.IPv6Address("::1").packed
    message = icmpv6.parse(data, loopback, loopback)
    assert message.encode(loopback, loopback) == data
    echo = icmpv6.parse_echo(message.body)
    assert echo == icmpv6.Echo(1, 1, b"abcd")
    assert echo.encode() == data[4:]


@given(spoiled(icmpv6.Message(icmpv6.ECHO_REQUEST, 0, b"12345678").encode(A, B)))
def test_any_bytes_are_a_message_or_refused(data):
    data = with_checksum(data, 2, pseudo_sum=ip.pseudo_header_sum(A, B, ip.ICMPV6) + len(data))
    try:
        message = icmpv6.parse(data, A, B)
    except DecodeError:
        assert len(data) < 8
    else:
        assert message.encode(A, B) == data


def test_the_checksum_covers_the_addresses():
    data = icmpv6.Message(icmpv6.ECHO_REQUEST, 0, bytes(4)).encode(A, B)
    with pytest.raises(DecodeError, match="checksum"):
        icmpv6.parse(data, A, A)


def test_an_error_quotes_no_more_than_fits_the_smallest_mtu():
    message = icmpv6.error(icmpv6.PACKET_TOO_BIG, 0, 1300, bytes(3000))
    assert len(message.encode(A, B)) + 40 == 1280
    assert message.is_error
    assert message.body[:4] == (1300).to_bytes(4, "big")
