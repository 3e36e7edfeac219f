import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.wire.spoiling import spoiled
from zt_async.errors import DecodeError
from zt_async.wire import arp

_mac = st.integers(0, (1 << 48) - 1)
_host_mac = _mac.map(lambda mac: mac & ~(1 << 40))
_address = st.binary(min_size=4, max_size=4)
GOOD = arp.Packet(arp.REQUEST, 0x02AABBCCDDEE, b"\x0a\0\0\1", 0, b"\x0a\0\0\2").encode()


@given(
    st.builds(arp.Packet, st.sampled_from((1, 2)), _host_mac, _address, _mac, _address),
    st.binary(max_size=20),
)
def test_what_is_encoded_is_parsed_and_padding_does_not_matter(packet, padding):
    assert arp.parse(packet.encode() + padding) == packet


def test_a_request_of_linux():
    data = bytes.fromhex("0001 0800 06 04 0001 02aabbccddee 0a000001 000000000000 0a000002")
    assert data == GOOD
    assert arp.parse(data).target == b"\x0a\0\0\2"


@pytest.mark.parametrize(
    ("at", "value", "reason"),
    [(1, 6, "form"), (3, 1, "form"), (4, 8, "form"), (5, 16, "form"), (7, 3, "form"), (8, 3, "sender")],
)
def test_other_forms_are_refused(at, value, reason):
    data = bytearray(GOOD)
    data[at] = value
    with pytest.raises(DecodeError, match=reason):
        arp.parse(bytes(data))


@pytest.mark.parametrize("size", range(28))
def test_a_short_packet_is_refused(size):
    with pytest.raises(DecodeError, match="truncated"):
        arp.parse(GOOD[:size])


@given(spoiled(GOOD))
def test_any_bytes_are_a_packet_or_refused(data):
    try:
        packet = arp.parse(data)
    except DecodeError:
        return
    assert data.startswith(packet.encode())
