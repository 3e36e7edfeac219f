"""Physical addresses: wire and text forms, scopes, prefixes."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zt_async.errors import DecodeError
from zt_async.types import Endpoint
from zt_async.wire.buffer import Reader
from zt_async.wire.inetaddress import (
    Scope,
    ip_scope,
    is_network,
    pack_endpoint,
    parse_address,
    prefix_broadcast,
    prefix_contains,
    prefix_netmask,
    prefix_network,
    read_endpoint,
)

endpoints = st.builds(Endpoint.make, st.ip_addresses(), st.integers(0, 0xFFFF))


@pytest.mark.parametrize(
    ("text", "packed"),
    [
        ("10.1.2.3/9993", "040a0102032709"),
        ("fd00::1/65535", "06fd000000000000000000000000000001ffff"),
        ("::ffff:1.2.3.4/1", "0600000000000000000000ffff010203040001"),
        ("::1.2.3.4/1", "06000000000000000000000000010203040001"),
    ],
)
def test_wire_form(text, packed):
    endpoint = parse_address(text)
    assert str(endpoint) == text
    assert pack_endpoint(endpoint) == bytes.fromhex(packed)
    assert read_endpoint(Reader(bytes.fromhex(packed))) == endpoint


def test_no_address():
    assert pack_endpoint(None) == b"\0"
    assert parse_address("") is None


@given(st.lists(endpoints | st.none(), max_size=6))
def test_a_row_of_addresses_reads_back(row):
    reader = Reader(b"".join(map(pack_endpoint, row)))
    assert [read_endpoint(reader) for _ in row] == row
    assert not reader.remaining


@given(st.binary(max_size=40))
def test_reads_or_refuses(data):
    reader = Reader(data)
    try:
        endpoint = read_endpoint(reader)
    except DecodeError:
        return
    if endpoint is not None:
        assert pack_endpoint(endpoint) == data[: reader.offset]


@pytest.mark.parametrize("skipped", ["01aabbccddeeff", "02aabbccddeeff", "030003aabbcc", "030000"])
def test_other_kinds_are_skipped(skipped):
    reader = Reader(bytes.fromhex(skipped) + pack_endpoint(Endpoint("10.0.0.1", 1)))
    assert read_endpoint(reader) is None
    assert read_endpoint(reader) == ("10.0.0.1", 1)


@pytest.mark.parametrize("cut", ["01", "02aa", "030005aa"])
def test_what_is_skipped_and_not_there_fails_the_next_read(cut):
    reader = Reader(bytes.fromhex(cut))
    assert read_endpoint(reader) is None
    with pytest.raises(DecodeError, match="truncated"):
        reader.u8()


@given(endpoints)
def test_text_reads_back(endpoint):
    assert parse_address(str(endpoint)) == Endpoint.parse(str(endpoint)) == endpoint


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("1.2.3.4", ("1.2.3.4", 0)),
        ("1.2.3.4/", ("1.2.3.4", 0)),
        ("1.2.3.4/70000", ("1.2.3.4", 4464)),
        ("1.2.3.4/24x5", ("1.2.3.4", 24)),
        ("1.2.3.4/ +24", ("1.2.3.4", 24)),
        ("1.2.3.4/-1", ("1.2.3.4", 65535)),
        ("1.2.3.4/18446744073709551615", ("1.2.3.4", 65535)),
        ("1.2.3.4/-18446744073709551615", ("1.2.3.4", 1)),
        ("1.2.3.4/18446744073709551616", ("1.2.3.4", 65535)),
        ("1.2.3.4/" + "0" * 55, ("1.2.3.4", 0)),
        ("1.2.3/24", ("0.0.0.0", 24)),
        ("fe80::1%eth0/64", ("::", 64)),
        ("g::/8", ("::", 8)),
    ],
)
def test_text_of_other_nodes_is_read_leniently(text, endpoint):
    assert parse_address(text) == endpoint


@pytest.mark.parametrize("text", ["nonsense", "/24", "7/24", "1.2.3.4/" + "0" * 56, "1.2.3.4/" + "9" * 5000])
def test_text_that_is_no_address_is_refused(text):
    with pytest.raises(ValueError, match="not an IP address"):
        parse_address(text)


@pytest.mark.parametrize(
    ("scope", "texts"),
    [
        (Scope.NONE, "0.0.0.0 0.255.255.255 255.0.0.0 255.255.255.255 ::"),
        (Scope.MULTICAST, "224.0.0.0 239.255.255.255 ff00:: ffff::1"),
        (Scope.LOOPBACK, "127.0.0.1 127.255.255.255 ::1 fe80::1 ::ffff:127.9.9.9"),
        (Scope.PSEUDO_PRIVATE, "6.0.0.0 11.1.1.1 21.1.1.1 22.1.1.1 25.1.1.1 26.1.1.1 28.1.1.1 29.1.1.1"),
        (Scope.PSEUDO_PRIVATE, "30.1.1.1 51.1.1.1 55.1.1.1 56.255.255.255 240.0.0.0 254.255.255.255"),
        (Scope.GLOBAL, "1.1.1.1 5.255.255.255 7.0.0.0 172.15.255.255 172.32.0.0 100.63.255.255 100.128.0.0"),
        (Scope.GLOBAL, "198.17.255.255 198.20.0.0 223.255.255.255 2001:db8::1 ::2 ::ffff:10.0.0.1 fec0::1"),
        (Scope.LINK_LOCAL, "169.254.0.0 169.254.255.255 fe80::2 fe80:: febf:ffff::"),
        (Scope.PRIVATE, "10.0.0.0 172.16.0.0 172.31.255.255 192.168.255.255 100.64.0.0 100.127.255.255"),
        (Scope.PRIVATE, "192.0.2.1 198.18.0.0 198.19.255.255 198.51.100.1 203.0.113.1 fc00:: fdff:ffff::"),
    ],
)
def test_scope(scope, texts):
    assert {text: ip_scope(ip_address(text)) for text in texts.split()} == dict.fromkeys(texts.split(), scope)


def test_a_prefix_and_what_follows_from_it():
    prefix = Endpoint("10.1.2.3", 20)
    assert prefix_netmask(prefix) == IPv4Address("255.255.240.0")
    assert prefix_network(prefix) == IPv4Address("10.1.0.0")
    assert prefix_broadcast(prefix) == IPv4Address("10.1.15.255")
    assert not is_network(prefix)
    assert is_network(Endpoint("10.1.16.0", 20))
    assert not is_network(Endpoint("10.1.16.0", 32))

    prefix = Endpoint("fd00::5", 88)
    assert prefix_netmask(prefix) == IPv6Address("ffff:ffff:ffff:ffff:ffff:ff00::")
    assert prefix_network(prefix) == IPv6Address("fd00::")
    assert prefix_broadcast(prefix) is None
    assert not is_network(prefix)
    assert is_network(Endpoint("fd00::", 88))


def test_what_a_prefix_contains():
    inside, outside = IPv4Address("10.1.15.1"), IPv4Address("10.1.16.1")
    assert prefix_contains(Endpoint("10.1.2.3", 20), inside)
    assert not prefix_contains(Endpoint("10.1.2.3", 20), outside)
    assert prefix_contains(Endpoint("1.2.3.4", 0), outside)
    assert not prefix_contains(Endpoint("fd00::", 8), inside)
    assert not prefix_contains(Endpoint("10.1.2.3", 0), IPv6Address("::1"))
    assert prefix_contains(Endpoint("fd00::", 8), IPv6Address("fd01::1"))
    assert not prefix_contains(Endpoint("fd00::1", 8), IPv6Address("fd01::1"))


@given(endpoints, st.ip_addresses())
def test_every_number_is_some_length(endpoint, ip):
    """As a packet or a dictionary of another node may have it."""
    assert prefix_network(endpoint).version == prefix_netmask(endpoint).version == endpoint.family
    assert is_network(endpoint) in (False, True)
    assert prefix_contains(endpoint, ip) in (False, True)
    prefix_broadcast(endpoint)
