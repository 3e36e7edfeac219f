import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.wire.spoiling import spoiled
from zt_async.errors import DecodeError
from zt_async.wire import ip, udp

A, B = (ipaddress.IPv6Address(a).packed for a in ("fd00::1", "fd00::2"))
PSEUDO = ip.pseudo_header_sum(A, B, ip.UDP)
_port = st.integers(1, 0xFFFF)


@given(st.builds(udp.Datagram, _port, _port, st.binary(max_size=99)))
def test_what_is_encoded_is_parsed(datagram):
    assert udp.parse(datagram.encode(PSEUDO), PSEUDO) == datagram


def test_the_largest():
    datagram = udp.Datagram(1, 2, bytes(udp.MAX_PAYLOAD))
    assert udp.parse(datagram.encode(PSEUDO), PSEUDO) == datagram


def test_a_checksum_of_zero_is_sent_as_ones():
    """RFC 768: zero says that there is none, which IPv6 forbids."""
    empty = udp.Datagram(1, 2, bytes(2)).encode(PSEUDO)
    filler = int.from_bytes(empty[6:8], "big")  # added to the sum, it makes the checksum zero
    data = udp.Datagram(1, 2, filler.to_bytes(2, "big")).encode(PSEUDO)
    assert data[6:8] == b"\xff\xff"
    udp.parse(data, PSEUDO)


def test_padding_is_cut_off():
    data = udp.Datagram(1, 2, b"x").encode(PSEUDO) + bytes(5)
    assert udp.parse(data, PSEUDO).payload == b"x"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (bytes(7), "truncated"),
        (bytes.fromhex("0001 0002 0007 0000"), "length"),
        (bytes.fromhex("0001 0002 0009 0000"), "length"),
        (bytes.fromhex("0001 0000 0008 0000"), "port"),
        (bytes.fromhex("0001 0002 0008 0000"), "checksum"),
        (bytes.fromhex("0001 0002 0008 1234"), "checksum"),
    ],
)
def test_bad_datagrams(data, reason):
    with pytest.raises(DecodeError, match=reason):
        udp.parse(data, PSEUDO)


@given(spoiled(udp.Datagram(1, 2, b"12345678").encode(PSEUDO)))
def test_any_bytes_are_a_datagram_or_refused(data):
    try:
        datagram = udp.parse(data, None)
    except DecodeError:
        return
    assert len(datagram.payload) <= len(data) - 8


def test_over_ipv4_the_checksum_may_be_left_out_but_not_be_wrong():
    data = bytes.fromhex("0001 0002 0009 0000") + b"x"
    assert udp.parse(data, PSEUDO, may_lack_checksum=True).payload == b"x"
    with pytest.raises(DecodeError, match="checksum"):
        udp.parse(data[:6] + b"\1\1x", PSEUDO, may_lack_checksum=True)
