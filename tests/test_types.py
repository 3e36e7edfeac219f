"""The small values: their bounds, and their text both ways."""

from __future__ import annotations

import copy
import pickle
from ipaddress import IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.wire.strategies import addresses, ips, macs, network_ids, u16
from zt_async.types import BROADCAST, Endpoint, MACAddress, NetworkId, NodeAddress

KINDS = (NodeAddress, NetworkId, MACAddress)


@given(st.one_of(addresses, network_ids, macs))
def test_a_number_survives_its_text_and_its_bytes(number):
    kind = type(number)
    for again in (
        kind.parse(str(number)),
        kind.parse(f" {str(number).upper()}\n"),
        kind.from_packed(number.packed),
        pickle.loads(pickle.dumps(number)),
        copy.deepcopy(number),
    ):
        assert type(again) is kind
        assert again == number == int(number)
    assert len(number.packed) == kind.SIZE
    assert repr(number) == f"{kind.__name__}('{number}')"


def test_numbers_are_written_as_zerotier_writes_them():
    assert str(NodeAddress(0xABC)) == "0000000abc"
    assert str(NetworkId(0x8056C2E21C000001)) == "8056c2e21c000001"
    assert str(MACAddress(0x0102030405FF)) == "01:02:03:04:05:ff"
    assert f"{NodeAddress(10):>12}|{NodeAddress(10):x}|{NodeAddress(10):05d}" == "  000000000a|a|00010"


@pytest.mark.parametrize("kind", KINDS)
def test_numbers_that_do_not_fit_are_refused(kind):
    top = 1 << 8 * kind.SIZE
    assert kind(top - 1) + 1 == top
    for number in (-1, top):
        with pytest.raises(ValueError, match="does not fit"):
            kind(number)
    for wrong in (1.5, "10", None, b"\0"):
        with pytest.raises(TypeError, match="integer"):
            kind(wrong)
    for size in (0, kind.SIZE - 1, kind.SIZE + 1):
        with pytest.raises(ValueError, match=f"is {kind.SIZE} bytes, not {size}"):
            kind.from_packed(bytes(size))


@pytest.mark.parametrize("kind", KINDS)
def test_texts_that_are_no_numbers_are_refused(kind):
    digits = "0" * 2 * kind.SIZE
    for text in (
        "",
        digits[1:],
        digits + "0",
        "0x" + digits[2:],
        "+" + digits[1:],
        "g" + digits[1:],
        "\u0661" * len(digits),
    ):
        with pytest.raises(ValueError, match="hexadecimal digits, not"):
            kind.parse(text)


def test_macs_are_read_with_and_without_separators():
    for text in ("01:02:03:04:05:ff", "01-02-03-04-05-FF", "0102030405ff"):
        assert MACAddress.parse(text) == 0x0102030405FF
    for text in (
        "01:02:03:04:05",
        "0:1:2:3:4:5",
        "010:20:30:40:50:60",
        "01.02.03.04.05.06",
        "01:02:03:04:05:0g",
    ):
        with pytest.raises(ValueError, match="MAC address"):
            MACAddress.parse(text)


def test_what_numbers_say_of_themselves():
    assert [a.is_reserved for a in map(NodeAddress, (0, 1, 0xFEFFFFFFFF, 0xFF00000000))] == [
        True,
        False,
        False,
        True,
    ]
    assert NetworkId(0x8056C2E21C000001).controller == NodeAddress(0x8056C2E21C)
    assert NetworkId.ad_hoc(80, 443) == NetworkId.parse("ff005001bb000000")
    assert NetworkId.ad_hoc(0, 0xFFFF).is_ad_hoc
    assert not NetworkId(0xFEFFFFFFFFFFFFFF).is_ad_hoc
    for ports in ((2, 1), (-1, 1), (1, 1 << 16)):
        with pytest.raises(ValueError, match="range"):
            NetworkId.ad_hoc(*ports)
    assert BROADCAST.is_broadcast
    assert BROADCAST.is_multicast
    assert not MACAddress(0xFEFFFFFFFFFF).is_multicast
    assert MACAddress(0x320000000000).is_local


@given(ips, u16)
def test_an_endpoint_survives_its_text(ip, port):
    endpoint = Endpoint.make(ip, port)
    assert Endpoint.parse(str(endpoint)) == Endpoint.make(str(ip), port) == endpoint
    assert endpoint.ip == ip
    assert endpoint.family == ip.version


def test_endpoints_are_written_as_sockets_write_them():
    for text, host in (
        ("FD00:0::1", "fd00::1"),
        ("::ffff:102:304", "::ffff:1.2.3.4"),
        ("::102:304", "::1.2.3.4"),
        ("::1", "::1"),
        ("::", "::"),
        ("10.1.2.3", "10.1.2.3"),
    ):
        assert Endpoint.make(text, 7) == (host, 7)
        assert Endpoint.make(text, 7).ip == ip_address(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "10.0.0.1",
        "10.0.0.1/",
        "/1",
        "10.0.0.1/-1",
        "10.0.0.1/65536",
        "10.0.0/1",
        "fe80::1%3/1",
        "10.0.0.1/\u0661",
        "10.0.0.1/1/2",
    ],
)
def test_texts_that_are_no_endpoints_are_refused(text):
    with pytest.raises(ValueError, match=r"endpoint|UDP port|IP|address"):
        Endpoint.parse(text)


def test_an_endpoint_has_no_scope():
    with pytest.raises(ValueError, match="no scope"):
        Endpoint.make(IPv6Address("fe80::1%3"), 1)
