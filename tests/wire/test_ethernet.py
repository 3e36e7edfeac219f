import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zt_async.errors import DecodeError
from zt_async.types import MACAddress
from zt_async.wire import ethernet

_mac = st.integers(0, (1 << 48) - 1)


@given(st.tuples(_mac, _mac, st.integers(0, 0xFFFF), st.binary(max_size=64)))
def test_what_is_encoded_is_parsed(frame):
    assert ethernet.parse(ethernet.encode(frame)) == frame


def test_a_known_frame():
    data = bytes.fromhex("3333ff000002 02a0b1c2d3e4 86dd") + b"payload"
    assert ethernet.parse(data) == (0x3333FF000002, 0x02A0B1C2D3E4, 0x86DD, b"payload")


@pytest.mark.parametrize("size", range(14))
def test_a_short_frame_is_refused(size):
    with pytest.raises(DecodeError, match="truncated"):
        ethernet.parse(bytes(size))


def test_the_mac_of_a_group_ends_with_the_group():
    group = bytes.fromhex("ff0200000000000000000001ff123456")
    assert ethernet.multicast_mac(group) == MACAddress.parse("33:33:ff:12:34:56")


@pytest.mark.parametrize(
    ("group", "mac"), [("224.0.0.1", "01:00:5e:00:00:01"), ("239.129.2.3", "01:00:5e:01:02:03")]
)
def test_the_mac_of_an_ipv4_group_ends_with_23_of_its_bits(group, mac):
    assert ethernet.multicast_mac(ipaddress.IPv4Address(group).packed) == MACAddress.parse(mac)
