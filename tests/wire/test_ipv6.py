import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zt_async.errors import DecodeError
from zt_async.wire import ip, ipv6

A, B = (ipaddress.IPv6Address(a).packed for a in ("fd00::1", "fd00::2"))
_address = st.binary(min_size=16, max_size=16)


def _packet(next_header: int, payload: bytes) -> bytes:
    return ipv6.Header(A, B, next_header, len(payload)).encode() + payload


def _find(packet: bytes) -> ipv6.Upper:
    return ipv6.find_upper(packet, len(packet), packet[6])


@given(
    st.builds(
        ipv6.Header,
        _address,
        _address,
        st.integers(0, 255),
        st.integers(0, 0),
        st.integers(0, 255),
        st.integers(0, 255),
        st.integers(0, 0xFFFFF),
    )
)
def test_what_is_encoded_is_parsed(header):
    assert ipv6.parse_header(header.encode()) == header


def test_a_header_of_linux():
    data = bytes.fromhex(
        "600d684a 0008 11 40 fe80000000000000 0000000000000001 ff02000000000000 0000000000000002"
    )
    header = ipv6.parse_header(data + bytes(8))
    assert header == ipv6.Header(
        ipaddress.IPv6Address("fe80::1").packed,
        ipaddress.IPv6Address("ff02::2").packed,
        ip.UDP,
        8,
        64,
        0,
        0xD684A,
    )
    assert header.encode() == data


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (bytes(39), "truncated"),
        (b"\x45" + bytes(39), "version"),
        (ipv6.Header(A, B, ip.TCP, 1).encode(), "truncated"),
    ],
)
def test_bad_headers(data, reason):
    with pytest.raises(DecodeError, match=reason):
        ipv6.parse_header(data)


def test_extension_headers_are_walked():
    hop_by_hop = bytes((ipv6.DESTINATION_OPTIONS, 0, 1, 4, 0, 0, 0, 0))  # PadN
    destination = bytes((ipv6.ROUTING, 1, 0, 0, 0, 0, 0, 0)) + bytes(8)  # Pad1s
    routing = bytes((ip.UDP, 0, 4, 0, 0, 0, 0, 0))  # no segments left
    packet = _packet(ipv6.HOP_BY_HOP, hop_by_hop + destination + routing + b"datagram")
    assert _find(packet) == ipv6.Upper(ip.UDP, 72, 64, None)


def test_eight_extension_headers_are_walked_and_no_more():
    header = bytes((ipv6.DESTINATION_OPTIONS, 0, 0, 0, 0, 0, 0, 0))
    last = bytes((ip.UDP, 0, 0, 0, 0, 0, 0, 0))
    assert _find(_packet(ipv6.DESTINATION_OPTIONS, header * 7 + last)).protocol == ip.UDP
    with pytest.raises(DecodeError, match="too many"):
        _find(_packet(ipv6.DESTINATION_OPTIONS, header * 8 + last))


def test_a_fragment_header_ends_the_walk():
    fragment = ipv6.Fragment(ip.UDP, 1232, more=True, identification=0xDEADBEEF)
    packet = _packet(ipv6.FRAGMENT, fragment.encode() + bytes(16))
    assert _find(packet) == ipv6.Upper(ip.UDP, 48, 40, fragment)


@pytest.mark.parametrize(
    ("first", "payload", "code", "pointer"),
    [
        (ipv6.ROUTING, bytes((ip.TCP, 0, 0, 1, 0, 0, 0, 0)), ipv6.ERRONEOUS_FIELD, 42),
        (ipv6.DESTINATION_OPTIONS, bytes((ip.TCP, 0, 0x80, 4, 0, 0, 0, 0)), ipv6.UNRECOGNIZED_OPTION, 42),
        (
            ipv6.DESTINATION_OPTIONS,
            bytes((ipv6.HOP_BY_HOP, 0, 0, 0, 0, 0, 0, 0, ip.TCP, 0, 0, 0, 0, 0, 0, 0)),
            ipv6.UNRECOGNIZED_NEXT_HEADER,
            40,
        ),
    ],
)
def test_what_has_to_be_answered(first, payload, code, pointer):
    with pytest.raises(ipv6.ParameterProblem) as caught:
        _find(_packet(first, payload))
    assert (caught.value.code, caught.value.pointer) == (code, pointer)


@pytest.mark.parametrize(
    ("first", "payload"),
    [
        (ipv6.DESTINATION_OPTIONS, bytes(7)),
        (ipv6.DESTINATION_OPTIONS, bytes((ip.TCP, 1, 0, 0, 0, 0, 0, 0))),
        (ipv6.DESTINATION_OPTIONS, bytes((ip.TCP, 0, 1, 9, 0, 0, 0, 0))),
        (ipv6.DESTINATION_OPTIONS, bytes((ip.TCP, 0, 0x40, 0, 0, 0, 0, 0))),
    ],
)
def test_what_is_dropped_in_silence(first, payload):
    with pytest.raises(DecodeError) as caught:
        _find(_packet(first, payload))
    assert not isinstance(caught.value, ipv6.ParameterProblem)


@given(st.sampled_from((0, 43, 44, 60, 6)), st.binary(max_size=120))
def test_any_payload_is_walked_or_refused(first, payload):
    packet = _packet(first, payload)
    try:
        upper = _find(packet)
    except DecodeError:
        return
    assert 40 <= upper.offset <= len(packet)
    assert upper.protocol == packet[upper.named_at]


def test_derived_addresses():
    assert str(ipaddress.IPv6Address(ipv6.link_local_address(0x021122334455))) == "fe80::11:22ff:fe33:4455"
    own = ipaddress.IPv6Address("fd00::12:3456").packed
    assert str(ipaddress.IPv6Address(ipv6.solicited_node(own))) == "ff02::1:ff12:3456"
    assert ipv6.is_link_local(ipaddress.IPv6Address("febf::1").packed)
    assert not ipv6.is_link_local(ipaddress.IPv6Address("fec0::1").packed)
