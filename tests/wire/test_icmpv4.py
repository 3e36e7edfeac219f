import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.wire.spoiling import spoiled, with_checksum
from zt_async.errors import DecodeError
from zt_async.wire import icmpv4


@given(st.integers(0, 255), st.integers(0, 255), st.binary(min_size=4, max_size=64))
def test_what_is_encoded_is_parsed(kind, code, body):
    message = icmpv4.Message(kind, code, body)
    assert icmpv4.parse(message.encode()) == message


def test_an_echo_request_looks_like_this():
    data = bytes.fromhex("0800 cdce 0001 0003") + b"abcdef"
    message = icmpv4.parse(data)
    assert message == icmpv4.Message(icmpv4.ECHO_REQUEST, 0, b"\0\1\0\3abcdef")
    assert message.encode() == data
    assert not message.is_error


@given(spoiled(icmpv4.Message(icmpv4.ECHO_REQUEST, 0, b"12345678").encode()))
def test_any_bytes_are_a_message_or_refused(data):
    data = with_checksum(data, 2)
    try:
        message = icmpv4.parse(data)
    except DecodeError:
        assert len(data) < 8
    else:
        assert message.encode() in (data, data[:2] + b"\0\0" + data[4:])  # zero has two forms


def test_a_changed_byte_is_noticed():
    data = icmpv4.Message(icmpv4.ECHO_REQUEST, 0, b"12345678").encode()
    with pytest.raises(DecodeError, match="checksum"):
        icmpv4.parse(data[:-1] + b"9")


def test_an_error_quotes_no_more_than_everybody_takes():
    message = icmpv4.error(icmpv4.DESTINATION_UNREACHABLE, icmpv4.PORT_UNREACHABLE, 0, bytes(3000))
    assert len(message.encode()) + 20 == 576
    assert message.is_error


@pytest.mark.parametrize(
    ("value", "quoted", "expected"),
    [(1400, 2800, 1400), (0xFFFF0578, 2800, 1400), (0, 2800, 2002), (0, 1500, 1492), (0, 68, 68), (0, 1, 68)],
)
def test_the_mtu_of_the_next_hop(value, quoted, expected):
    """Old routers do not say it; RFC 1191 section 7.1 has a table to guess from."""
    assert icmpv4.next_hop_mtu(value, quoted) == expected
