import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zt_async.errors import DecodeError
from zt_async.wire import icmpv6, ndp

A, B = (ipaddress.IPv6Address(a).packed for a in ("fd00::1", "fd00::2"))
_unicast = st.binary(min_size=16, max_size=16).filter(lambda address: address[0] != 0xFF)
_mac = st.none() | st.integers(0, (1 << 48) - 1).map(lambda mac: mac & ~(1 << 40))


@given(st.builds(ndp.NeighborSolicitation, _unicast, _mac))
def test_solicitations_are_parsed_as_encoded(message):
    assert ndp.parse_solicitation(message.encode()) == message


@given(st.builds(ndp.NeighborAdvertisement, _unicast, _mac, st.booleans(), st.booleans(), st.booleans()))
def test_advertisements_are_parsed_as_encoded(message):
    assert ndp.parse_advertisement(message.encode()) == message


def test_the_advertisement_that_zerotier_emulates():
    """vl2.md 5.4: 72 bytes in all, flags solicited and override."""
    body = bytes.fromhex("60000000") + A + bytes.fromhex("0201 025a0b0c0d0e")
    message = ndp.parse_advertisement(body)
    assert message == ndp.NeighborAdvertisement(
        A, 0x025A0B0C0D0E, router=False, solicited=True, override=True
    )
    packed = icmpv6.Message(icmpv6.NEIGHBOR_ADVERTISEMENT, 0, message.encode()).encode(A, B)
    assert len(packed) == 32
    assert packed[4:] == body


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (bytes(19), "truncated"),
        (bytes(4) + b"\xff" + bytes(15), "target"),
        (bytes(4) + A + b"\x01\x00", "option length"),
        (bytes(4) + A + b"\x01\x02" + bytes(6), "truncated"),
        (bytes(4) + A + b"\x01", "truncated"),
        (bytes(4) + A + b"\x01\x01\x33" + bytes(5) + b"\x02\x01\x33" + bytes(5), "link address"),
    ],
)
@pytest.mark.parametrize("parse", [ndp.parse_solicitation, ndp.parse_advertisement])
def test_bad_messages(parse, body, reason):
    with pytest.raises(DecodeError, match=reason):
        parse(body)


@given(st.binary(max_size=80))
def test_any_bytes_are_a_message_or_refused(body):
    for parse in (ndp.parse_solicitation, ndp.parse_advertisement):
        try:
            message = parse(body)
        except DecodeError:
            continue
        assert len(message.target) == 16


def test_other_options_are_passed_over():
    nonce = bytes((14, 1, 1, 2, 3, 4, 5, 6))
    body = bytes(4) + A + nonce + bytes((1, 1)) + bytes.fromhex("020000000001")
    assert ndp.parse_solicitation(body) == ndp.NeighborSolicitation(A, 0x020000000001)
