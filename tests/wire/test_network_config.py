import contextlib
from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.wire import strategies
from zt_async.errors import DecodeError
from zt_async.types import DNS, NetworkId, NodeAddress, Route
from zt_async.wire.credentials import Capability, CertificateOfOwnership, Tag
from zt_async.wire.dictionary import Dictionary
from zt_async.wire.network_config import (
    MAX_CONFIG,
    ROLE_ANCHOR,
    ROLE_BRIDGE,
    ROLE_REPLICATOR,
    NetworkConfig,
    SingleSignOn,
)
from zt_async.wire.rules import Rule, RuleType

NETWORK = NetworkId(0x8E4DF28B72000001)
MEMBER = NodeAddress(0x10342F5C5E)
PLAIN = NetworkConfig(network_id=NETWORK, issued_to=MEMBER)


def with_entry(key, value):
    """A configuration in which a value is replaced."""
    d = Dictionary()
    d.put(key, value)
    return d.encode() + b"\n" + PLAIN.encode()


@given(strategies.configs)
def test_a_configuration_is_read_as_it_was_written(config):
    assert NetworkConfig.decode(config.encode()) == config


@given(strategies.configs, st.data())
def test_a_damaged_configuration_raises_nothing_but_decode_errors(config, data):
    encoded = bytearray(config.encode())
    for _ in range(data.draw(st.integers(1, 5))):
        encoded[data.draw(st.integers(0, len(encoded) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(DecodeError):
        again = NetworkConfig.decode(bytes(encoded))
        assert NetworkConfig.decode(again.encode()).network_id == again.network_id


@given(st.sampled_from(["C", "CAP", "TAG", "COO", "S", "RT", "I", "R", "DNS", "n"]), st.binary(max_size=300))
def test_a_damaged_blob_raises_nothing_but_decode_errors(key, blob):
    with contextlib.suppress(DecodeError):
        NetworkConfig.decode(with_entry(key, blob))


@given(st.binary(max_size=300))
def test_garbage_is_no_configuration(data):
    with pytest.raises(DecodeError):
        NetworkConfig.decode(data)


def test_too_long_a_text_is_not_read():
    padding = b"\nx=" + b"x" * (MAX_CONFIG - len(PLAIN.encode()) - 3)
    assert NetworkConfig.decode(PLAIN.encode() + padding) == PLAIN
    with pytest.raises(DecodeError, match="dictionary too long"):
        NetworkConfig.decode(PLAIN.encode() + padding + b"x")


def test_of_too_much_the_first_is_kept():
    many = replace(
        PLAIN,
        addresses=tuple(ip_interface((0x0A000000 + i, 8)) for i in range(40)),
        routes=tuple(Route(ip_network((i << 8, 24))) for i in range(140)),
        specialists=tuple(range(300)),
        capabilities=tuple(Capability(NETWORK, 1, i, ()) for i in range(140)),
        tags=tuple(Tag(NETWORK, 1, i, i, MEMBER) for i in range(140)),
        ownerships=tuple(CertificateOfOwnership(NETWORK, 1, 0, i, (), MEMBER) for i in range(6)),
        rules=(Rule(RuleType.ACTION_ACCEPT),) * 1030,
        dns=DNS("a", (ip_address("1.1.1.1"),) * 6),
        name="ö" * 100,
    )
    kept = replace(
        PLAIN,
        addresses=many.addresses[:32],
        routes=many.routes[:128],
        specialists=many.specialists[:256],
        capabilities=many.capabilities[:128],
        tags=many.tags[:128],
        ownerships=many.ownerships[:4],
        rules=many.rules[:1024],
        dns=DNS("a", (ip_address("1.1.1.1"),) * 4),
        name="ö" * 63,
    )
    assert NetworkConfig.decode(many.encode()) == kept
    for key, blob, field, count in (
        ("I", b"\x04\x0a\0\0\x01\0\x08" * 5000, "addresses", 32),
        ("I", b"\0" * 5000, "addresses", 0),
        ("RT", b"\x04\x0a\0\0\0\0\x08\0\0\0\0\0" * 5000, "routes", 128),
        ("S", bytes(8) * 5000, "specialists", 256),
        ("CAP", Capability(NETWORK, 1, 1, ()).encode() * 500, "capabilities", 128),
        ("TAG", Tag(NETWORK, 1, 1, 1, MEMBER).encode() * 500, "tags", 128),
        ("COO", CertificateOfOwnership(NETWORK, 1, 0, 1, (), MEMBER).encode() * 500, "ownerships", 4),
        ("R", b"\x01\0" * 5000, "rules", 1024),
        ("n", b"x" * 500, "name", 127),
    ):
        assert len(getattr(NetworkConfig.decode(with_entry(key, blob)), field)) == count


def test_a_prefix_that_is_too_long_is_one_address():
    config = NetworkConfig.decode(with_entry("I", b"\x04\x0a\0\0\x01\x27\x09"))
    assert config.addresses == (ip_interface("10.0.0.1/32"),)
    route = b"\x04\x0a\0\0\x01\x27\x09" + b"\x04\x0a\0\0\x02\0\0" + b"\0\1\0\2"
    config = NetworkConfig.decode(with_entry("RT", route))
    assert config.routes == (Route(ip_network("10.0.0.1/32"), ip_address("10.0.0.2"), 1, 2),)


def test_host_bits_of_a_target_do_not_matter():
    route = b"\x04\x0a\x01\x02\x03\0\x08" + b"\0" + bytes(4)
    assert NetworkConfig.decode(with_entry("RT", route)).routes == (Route(ip_network("10.0.0.0/8")),)


def test_servers_of_names_may_be_anywhere_in_their_places():
    blob = b"net".ljust(128, b"\0") + b"\0" + b"\x04\x01\x02\x03\x04\0\0" + b"\0\0"
    assert NetworkConfig.decode(with_entry("DNS", blob)).dns == DNS("net", (ip_address("1.2.3.4"),))
    assert NetworkConfig.decode(with_entry("DNS", b"x" * 128 + bytes(4))).dns == DNS("x" * 127)
    for cut in (blob[:-1], blob[:100]):
        with pytest.raises(DecodeError):
            NetworkConfig.decode(with_entry("DNS", cut))


def test_what_is_there_is_whole():
    """A certificate or servers of names that are there and empty are damaged, and so is an ownership past the last."""
    owned = CertificateOfOwnership(NETWORK, 1, 0, 1, (), MEMBER).encode()
    for key, blob in (("C", b""), ("DNS", b""), ("COO", owned * 4 + b"\1")):
        with pytest.raises(DecodeError, match="truncated"):
            NetworkConfig.decode(with_entry(key, blob))


def test_the_end_of_an_authentication_is_signed():
    for text, expiry in ((b"-5", -5), (b"f" * 16, (1 << 63) - 1)):
        config = NetworkConfig.decode(b"ssoe=1\naexpt=" + text + b"\n" + PLAIN.encode())
        assert config.sso == SingleSignOn(enabled=True, expiry=expiry)


def test_roles_are_told_apart():
    bridge, both, plain = NodeAddress(1), NodeAddress(2), 3
    config = replace(PLAIN, specialists=(bridge | ROLE_BRIDGE, both | ROLE_ANCHOR | ROLE_REPLICATOR, plain))
    assert config.bridges == {bridge}
    assert config.anchors == config.replicators == {both}
    assert all(isinstance(address, NodeAddress) for address in config.anchors)


def test_flags_have_names():
    names = ("broadcast", "ndp_emulation", "unknown_rules_match")
    for bit, wanted in ((0x02, names[0]), (0x04, names[1]), (0x08, names[2]), (0, None)):
        config = replace(PLAIN, flags=bit)
        assert [name for name in names if getattr(config, name)] == ([wanted] if wanted else [])
    assert replace(PLAIN, flags=0x0F).compress_multicast
    assert not replace(PLAIN, flags=0x10).compress_multicast


def test_texts_of_single_sign_on_are_cut():
    long = "u" * 3000
    names = ("issuer_url", "central_url", "nonce", "state", "client_id", "provider")
    sso = SingleSignOn(version=1, enabled=True, **dict.fromkeys(names, long))
    read = NetworkConfig.decode(replace(PLAIN, sso=sso).encode()).sso
    assert read is not None
    assert [len(getattr(read, name)) for name in names] == [2047, 2047, 127, 255, 255, 63]


def test_numbers_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="64 bits"):
        replace(PLAIN, flags=1 << 64).encode()
    route = Route(ip_network("10.0.0.0/8"), None, 1 << 16)
    for wrong in ({"routes": (route,)}, {"specialists": (1 << 64,)}):
        with pytest.raises(ValueError, match="does not fit"):
            replace(PLAIN, **wrong).encode()
