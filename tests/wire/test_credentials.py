import contextlib
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.wire import strategies
from zt_async.errors import DecodeError
from zt_async.types import MACAddress, NetworkId, NodeAddress
from zt_async.wire.buffer import Reader
from zt_async.wire.credentials import (
    Capability,
    CertificateOfMembership,
    CertificateOfOwnership,
    Credentials,
    Custody,
    Qualifier,
    Revocation,
    Tag,
    Thing,
    ThingType,
)
from zt_async.wire.rules import Rule, RuleType

NETWORK = NetworkId(0x8E4DF28B72000001)
MEMBER = NodeAddress(0x10342F5C5E)
KINDS = (CertificateOfMembership, Capability, Tag, CertificateOfOwnership, Revocation)
anything = st.one_of(
    strategies.coms,
    strategies.capabilities,
    strategies.tags,
    strategies.ownerships,
    strategies.revocations,
)


@given(anything)
def test_a_credential_is_read_as_it_was_written(credential):
    data = credential.encode()
    reader = Reader(data + b"more")
    assert type(credential).read(reader) == credential
    assert reader.offset == len(data)
    for size in range(len(data)):
        with pytest.raises(DecodeError):
            type(credential).read(Reader(data[:size]))


@given(anything)
def test_every_credential_says_of_whom_when_and_by_whom(credential):
    assert isinstance(credential.network_id, NetworkId)
    assert isinstance(credential.issued_to, NodeAddress)
    assert isinstance(credential.signed_by, NodeAddress)
    assert isinstance(credential.timestamp, int)
    assert isinstance(credential.id, int)


@given(st.sampled_from(KINDS), st.binary(max_size=400))
def test_garbage_raises_nothing_but_decode_errors(kind, data):
    with contextlib.suppress(DecodeError):
        kind.read(Reader(data))


@given(anything, st.data())
def test_a_damaged_credential_raises_nothing_but_decode_errors(credential, data):
    encoded = bytearray(credential.encode())
    for _ in range(data.draw(st.integers(1, 3))):
        encoded[data.draw(st.integers(0, len(encoded) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(DecodeError):
        type(credential).read(Reader(bytes(encoded)))


@given(strategies.credentials)
def test_a_payload_is_read_as_it_was_written(credentials):
    payload = credentials.encode()
    assert Credentials.decode(payload) == credentials
    assert Credentials.decode(payload + b"more") == credentials


@given(strategies.credentials)
def test_old_nodes_leave_out_the_last_groups(credentials):
    payload = Credentials(coms=credentials.coms).encode()
    assert Credentials.decode(payload[:-8]) == Credentials(coms=credentials.coms)
    assert Credentials.decode(payload[:-9]) == Credentials(coms=credentials.coms)
    capabilities = Credentials(capabilities=credentials.capabilities)
    assert Credentials.decode(capabilities.encode()[:-6]) == capabilities


@given(st.binary(max_size=500))
def test_a_garbage_payload_raises_nothing_but_decode_errors(payload):
    with contextlib.suppress(DecodeError):
        Credentials.decode(payload)


@given(strategies.credentials, st.integers(3000, 6000))
def test_what_is_too_much_for_a_payload_comes_in_several(credentials, limit):
    payloads = credentials.payloads(limit)
    assert all(len(payload) <= limit for payload in payloads)
    parts = [Credentials.decode(payload) for payload in payloads]
    assert [credential for part in parts for credential in part] == list(credentials)
    assert len(payloads) == 0 or len(payloads) <= 1 + len(credentials.encode()) * 2 // limit


def test_nothing_makes_no_payload_and_what_fits_makes_one():
    assert Credentials().payloads(9000) == []
    tags = tuple(Tag(NETWORK, 5, tag_id, 1, MEMBER) for tag_id in range(11))
    limit = 9 + 10 * 135
    assert Credentials(tags=tags[:10]).payloads(limit) == [Credentials(tags=tags[:10]).encode()]
    assert [len(payload) for payload in Credentials(tags=tags).payloads(limit)] == [limit, 9 + 135]


def test_counts_beyond_the_bounds_are_refused():
    com = b"\x01\0\x09" + bytes(24 * 9 + 5)
    capability = bytes(20) + b"\0\x41" + bytes(2 * 65 + 20)
    ownership = bytes(28) + b"\0\x11" + bytes(17 * 17 + 200)
    for kind, data, reason in (
        (CertificateOfMembership, com, "too many qualifiers"),
        (Capability, capability, "too many rules"),
        (CertificateOfOwnership, ownership, "too many things owned"),
    ):
        with pytest.raises(DecodeError, match=reason):
            kind.read(Reader(data))
    with pytest.raises(DecodeError, match="truncated"):
        Credentials.decode(b"\0\0\0\xff\xff" + bytes(100))


def test_qualifiers_are_in_order():
    com = CertificateOfMembership((Qualifier(1, 0, 0), Qualifier(0, 0, 0)))
    with pytest.raises(DecodeError, match="out of order"):
        CertificateOfMembership.read(Reader(com.encode()))


def test_a_custody_chain_has_its_length():
    link = Custody(MEMBER, NETWORK.controller, bytes(96))
    for length, reason in ((0, "bad custody chain length"), (8, "bad custody chain length"), (2, "too long")):
        capability = Capability(NETWORK, 1, 1, (), length, (link, link, link))
        with pytest.raises(DecodeError, match=reason):
            Capability.read(Reader(capability.encode()))
    chain = Capability(NETWORK, 1, 1, (), 3, (link, link, link))
    assert Capability.read(Reader(chain.encode())) == chain


def test_a_capability_of_nobody_has_no_holder():
    capability = Capability(NETWORK, 1, 1, (Rule(RuleType.ACTION_ACCEPT),))
    assert (capability.issued_to, capability.signed_by) == (0, 0)


def test_the_first_of_several_qualifiers_counts():
    com = CertificateOfMembership((Qualifier(0, 5, 0), Qualifier(0, 6, 0), Qualifier(2, 0xFF << 40 | 7, 0)))
    assert com.timestamp == 5
    assert com.network_id == 0
    assert com.issued_to == NodeAddress(7)


@pytest.mark.parametrize(
    "address", [ip_address("10.1.2.3"), ip_address("fd00::1"), MACAddress(0x0102030405FF)]
)
def test_ownership_is_told_by_the_bytes_that_the_type_has(address):
    thing = Thing.of(address)
    size = len(address.packed)
    certificate = CertificateOfOwnership(NETWORK, 1, 0, 1, (thing,), MEMBER)
    assert certificate.owns(address)
    padded = Thing(thing.type, address.packed + b"\xff" * (16 - size))
    assert CertificateOfOwnership(NETWORK, 1, 0, 1, (padded,), MEMBER).owns(address)
    other = Thing(thing.type, address.packed[:-1] + bytes((address.packed[-1] ^ 1,)) + bytes(16 - size))
    assert not CertificateOfOwnership(NETWORK, 1, 0, 1, (other,), MEMBER).owns(address)
    for kind in {0, 4, *ThingType} - {thing.type}:
        foreign = Thing(kind, thing.value)
        assert not CertificateOfOwnership(NETWORK, 1, 0, 1, (foreign,), MEMBER).owns(address)


def test_numbers_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="does not fit"):
        Tag(NETWORK, 1, 1 << 32, 0, MEMBER).encode()
    with pytest.raises(ValueError, match="does not fit"):
        Revocation(1, NETWORK, -1, 0, 0, MEMBER, 1).encode()
    with pytest.raises(ValueError, match="does not fit"):
        CertificateOfMembership((Qualifier(0, -1, 0),)).encode()
