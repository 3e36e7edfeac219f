import ipaddress

from hypothesis import given
from hypothesis import strategies as st

from zt_async.wire import ip


def _reference_sum(data: bytes) -> int:
    """RFC 1071 word by word."""
    data += bytes(len(data) % 2)
    total = sum(int.from_bytes(data[i : i + 2], "big") for i in range(0, len(data), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


@given(st.binary(min_size=16, max_size=16), st.binary(min_size=16, max_size=16), st.binary(max_size=99))
def test_the_pseudo_header_of_ipv6(source, destination, data):
    header = source + destination + len(data).to_bytes(4, "big") + bytes((0, 0, 0, ip.UDP))
    expected = _reference_sum(header + data) ^ 0xFFFF
    actual = ip.upper_checksum(data, ip.pseudo_header_sum(source, destination, ip.UDP))
    assert actual % 0xFFFF == expected % 0xFFFF  # the two zeros of ones-complement arithmetic are one


@given(st.binary(min_size=4, max_size=4), st.binary(min_size=4, max_size=4), st.binary(max_size=99))
def test_the_pseudo_header_of_ipv4(source, destination, data):
    header = source + destination + bytes((0, ip.TCP)) + len(data).to_bytes(2, "big")
    expected = _reference_sum(header + data) ^ 0xFFFF
    actual = ip.upper_checksum(data, ip.pseudo_header_sum(source, destination, ip.TCP))
    assert actual % 0xFFFF == expected % 0xFFFF


def test_a_checksum_that_was_filled_in_holds():
    source, destination = (ipaddress.ip_address(a).packed for a in ("fd00::1", "fd00::2"))
    pseudo = ip.pseudo_header_sum(source, destination, ip.ICMPV6)
    data = bytes.fromhex("80000000 12340001 616263")
    data = data[:2] + ip.upper_checksum(data, pseudo).to_bytes(2, "big") + data[4:]
    assert ip.checksum_holds(data, pseudo)
    assert not ip.checksum_holds(data[:-1] + b"x", pseudo)
