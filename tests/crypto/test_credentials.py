"""Signing and checking credentials; the encoded ones are those of vl2.md, appendix C."""

from dataclasses import replace
from ipaddress import ip_address

import pytest

from zt_async.crypto.credentials import (
    Verification,
    com_agrees,
    hand_on,
    identity_hash_words,
    issue_capability,
    issue_com,
    issue_ownership,
    issue_revocation,
    issue_tag,
    sign_chunk,
    verify,
    verify_chunk,
)
from zt_async.crypto.identity import Identity
from zt_async.errors import IdentityError
from zt_async.testing.identities import throwaway_identity
from zt_async.types import MACAddress, NetworkId, NodeAddress
from zt_async.wire.buffer import Reader
from zt_async.wire.config_chunks import split_config
from zt_async.wire.credentials import (
    Capability,
    CertificateOfMembership,
    CredentialType,
    Revocation,
    Tag,
    Thing,
)
from zt_async.wire.rules import Rule, RuleType

THEIR_CONTROLLER = Identity.parse(
    "8e4df28b72:0:ac3d46abe0c21f3cfe7a6c8d6a85cfcffcb82fbd55af6a4d6350657c68200843"
    "fa2e16f9418bbd9702cae365f2af5fb4c420908b803a681d4daef6114d78a2d7"
)
THEIR_MEMBER = Identity.parse(
    "10342f5c5e:0:03dabcdc210d656665469f789751df8114a6582801d45b0d09757a888508f064"
    "db2a5cd49eeb7f16d4b02e432ae0b14f634ae1402f58c9b39fc0b425e2fac3f9"
)
THEIR_NETWORK = NetworkId(0x8E4DF28B72000001)
THEIR_TIME = 0x18F00000000
THEIR_COM = bytes.fromhex(
    "01000700000000000000000000018f0000000000000000001b774000000000000000018e4df28b720000010000000000"
    "000000000000000000000200000010342f5c5effffffffffffffff00000000000000033be4929c8252ff52ffffffffff"
    "ffffff0000000000000004969ebb0a30350cecffffffffffffffff00000000000000053d8b1ad181d47106ffffffffff"
    "ffffff00000000000000063385057ab111d057ffffffffffffffff8e4df28b72e48c30c243a198c85a6c7ca9741977cc"
    "9b99707fd7435b0bc27eedbecdfd0e30a2d331cad8f7d3cd2b2bfeef3ea3cf014c9fc70efbf36a1e1bf23abb0c6b1105"
    "bd6b43740bcff28971d6de273dfb37a4f0f7793b1a6ee16ad6ea74f6a4a12176"
)
THEIR_REVOCATION = bytes.fromhex(
    "00000000010203048e4df28b7200000100000000000000000000018f00000000000000000000000110342f5c5e8e4df2"
    "8b72010100608e5d1c4d73f313e33b44e11e15db8741217018f0e750946f95b4d4c364c3f951aa80923427fb61564c78"
    "8f424b9467319b5ee357fa8605a439e9f44b1e83b80aef062beed469c077472f5fb4704c1ed316518645577742907087"
    "51c5fd4bae1b0000"
)
THEIR_CAPABILITY = bytes.fromhex(
    "8e4df28b720000010000018f00000000000003e8000324010628040016001601000110342f5c5e8e4df28b72010060ac"
    "db54dd49c3b645195764cc7a7dceb1254b9f2c8431f8c621e041e33ad8dc8a08725513726b3e09123a8b05e36ce82ef4"
    "d21885049ff60e23eeff734be87005767c736a0feaa103ee41c78a175f278be27fd50d1470c0e19e81e13563d2131f00"
    "000000000000"
)

CONTROLLER, MEMBER, OTHER, FRIEND = map(throwaway_identity, range(4))
NETWORK = NetworkId(CONTROLLER.address << 24 | 0xBEEF)
NOW = 1_700_000_000_000
ACCEPT = Rule(RuleType.ACTION_ACCEPT)
PEOPLE = {identity.address: identity.public() for identity in (CONTROLLER, MEMBER, OTHER, FRIEND)}
find = PEOPLE.get


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        (CertificateOfMembership, THEIR_COM),
        (Revocation, THEIR_REVOCATION),
        (Capability, THEIR_CAPABILITY),
    ],
)
def test_what_other_controllers_sign_is_good(kind, data):
    credential = kind.read(Reader(data))
    assert credential.encode() == data
    assert credential.network_id == THEIR_NETWORK
    assert credential.timestamp == THEIR_TIME
    assert credential.issued_to == THEIR_MEMBER.address
    assert verify(credential, {THEIR_CONTROLLER.address: THEIR_CONTROLLER}.get) is Verification.GOOD
    assert verify(credential, {}.get) is Verification.UNKNOWN_SIGNER


def test_the_parts_of_what_other_controllers_sign():
    com = CertificateOfMembership.read(Reader(THEIR_COM))
    assert tuple(q.value for q in com.qualifiers[3:]) == identity_hash_words(THEIR_MEMBER)
    assert com.qualifiers[0].max_delta == 1_800_000
    revocation = Revocation.read(Reader(THEIR_REVOCATION))
    assert (revocation.id, revocation.fast) == (0x01020304, True)
    assert (revocation.credential_type, revocation.credential_id) == (CredentialType.MEMBERSHIP, 0)
    capability = Capability.read(Reader(THEIR_CAPABILITY))
    assert capability.id == 1000
    port = Rule(RuleType.MATCH_IP_DEST_PORT_RANGE, (22, 22))
    assert capability.rules == (Rule(RuleType.MATCH_IP_PROTOCOL, (6,)), port, ACCEPT)
    tag = Tag(THEIR_NETWORK, THEIR_TIME, 1000, 100, THEIR_MEMBER.address, THEIR_CONTROLLER.address)
    assert tag.signed_part().hex() == (
        "7f7f7f7f7f7f7f7f8e4df28b720000010000018f00000000000003e80000006410342f5c5e8e4df28b7200007f7f7f7f7f7f7f7f"
    )


def issued(controller=CONTROLLER, network=NETWORK):
    """One credential of each kind."""
    to = MEMBER.address
    return [
        issue_com(controller, network, MEMBER, NOW, 60_000),
        issue_tag(controller, network, to, NOW, 1, 2),
        issue_capability(controller, network, to, NOW, 3, [ACCEPT]),
        issue_ownership(controller, network, to, NOW, [ip_address("10.0.0.1"), MACAddress(5)]),
        issue_revocation(controller, network, to, NOW, 7),
    ]


@pytest.mark.parametrize("number", range(5))
def test_what_is_issued_is_good(number):
    credential = issued()[number]
    assert verify(credential, find) is Verification.GOOD
    assert credential.issued_to == MEMBER.address
    assert (credential.timestamp, credential.network_id) == (NOW, NETWORK)
    assert credential.signed_by == CONTROLLER.address
    assert type(credential).read(Reader(credential.encode())) == credential


@pytest.mark.parametrize("number", range(5))
def test_only_the_controller_of_the_network_can_issue(number):
    assert verify(issued(OTHER)[number], find) is Verification.BAD
    elsewhere = NetworkId(OTHER.address << 24 | 1)
    assert verify(issued(CONTROLLER, elsewhere)[number], find) is Verification.BAD
    assert verify(issued(OTHER, elsewhere)[number], find) is Verification.GOOD
    assert verify(issued()[number], {}.get) is Verification.UNKNOWN_SIGNER


@pytest.mark.parametrize("number", range(5))
def test_a_change_of_any_byte_is_noticed(number):
    credential = issued()[number]
    data = credential.encode()
    bare = len(credential.signed_part()) - (0 if number == 0 else 18)
    start = 3 if number == 0 else 0
    skipped = {0, 1, 2, 3, 16, 17, 18, 19} if isinstance(credential, Revocation) else set()
    for at in range(start, start + bare):
        if at in skipped:
            continue
        changed = data[:at] + bytes((data[at] ^ 1,)) + data[at + 1 :]
        try:
            damaged = type(credential).read(Reader(changed))
        except ValueError:
            continue
        assert verify(damaged, find) is not Verification.GOOD, at


@pytest.mark.parametrize("number", range(5))
def test_an_unsigned_credential_is_bad(number):
    credential = issued()[number]
    if isinstance(credential, Capability):
        unsigned = replace(credential, custody=())
    else:
        unsigned = replace(credential, signed_by=NodeAddress(0), signature=bytes(96))
        assert verify(replace(credential, signature=bytes(96)), find) is Verification.BAD
    assert verify(unsigned, find) is Verification.BAD
    nowhere = issue_tag(CONTROLLER, NetworkId(1), MEMBER.address, NOW, 1, 1)
    assert verify(replace(nowhere, signed_by=NodeAddress(0)), find) is Verification.BAD


def test_a_capability_may_be_handed_on():
    capability = issue_capability(CONTROLLER, NETWORK, MEMBER.address, NOW, 3, [ACCEPT], max_custody=3)
    second = hand_on(capability, OTHER.address, MEMBER)
    third = hand_on(second, FRIEND.address, OTHER)
    assert third.issued_to == FRIEND.address
    assert verify(second, find) is verify(third, find) is Verification.GOOD
    assert [link.by for link in third.custody] == [CONTROLLER.address, MEMBER.address, OTHER.address]
    without_last = {address: who for address, who in PEOPLE.items() if who.address != OTHER.address}
    assert verify(third, without_last.get) is Verification.UNKNOWN_SIGNER
    stolen = hand_on(capability, FRIEND.address, OTHER)
    assert verify(stolen, find) is Verification.BAD
    forged = replace(second, custody=(second.custody[0], second.custody[1]._replace(signature=bytes(96))))
    assert verify(forged, find) is Verification.BAD


def test_what_does_not_fit_is_left_out():
    capability = issue_capability(CONTROLLER, NETWORK, MEMBER.address, NOW, 3, [ACCEPT] * 70, max_custody=9)
    assert (len(capability.rules), capability.max_custody) == (64, 7)
    assert issue_capability(CONTROLLER, NETWORK, MEMBER.address, NOW, 3, [], max_custody=0).max_custody == 1
    things = [ip_address(number) for number in range(20)]
    ownership = issue_ownership(CONTROLLER, NETWORK, MEMBER.address, NOW, things)
    assert ownership.things == tuple(map(Thing.of, things[:16]))
    assert verify(ownership, find) is Verification.GOOD


def test_nothing_is_signed_without_a_secret_key():
    with pytest.raises(IdentityError):
        issue_tag(CONTROLLER.public(), NETWORK, MEMBER.address, NOW, 1, 1)


def test_certificates_agree_while_their_times_are_close():
    mine = issue_com(CONTROLLER, NETWORK, MEMBER, NOW, 1000)
    for moment, agree in ((0, True), (1000, True), (-1000, True), (1001, False), (-1001, False)):
        theirs = issue_com(CONTROLLER, NETWORK, OTHER, NOW + moment, 5000)
        assert com_agrees(mine, theirs, OTHER) is agree
    theirs = issue_com(CONTROLLER, NETWORK, OTHER, NOW, 1000)
    assert not com_agrees(mine, theirs, FRIEND)
    assert not com_agrees(mine, issue_com(CONTROLLER, NetworkId(NETWORK + 1), OTHER, NOW, 1000), OTHER)
    assert not com_agrees(CertificateOfMembership(()), theirs, OTHER)
    assert not com_agrees(mine, CertificateOfMembership(()), OTHER)


def test_a_certificate_of_another_node_with_the_same_address_does_not_agree():
    mine = issue_com(CONTROLLER, NETWORK, MEMBER, NOW, 1000)
    theirs = issue_com(CONTROLLER, NETWORK, OTHER, NOW, 1000)
    impostor = Identity(OTHER.address, FRIEND.public_key)
    assert not com_agrees(mine, theirs, impostor)


def test_chunks_are_signed_and_checked():
    (chunk,) = split_config(NETWORK, b"v=7", 5)
    signed = sign_chunk(chunk, CONTROLLER)
    assert verify_chunk(signed, CONTROLLER.public())
    assert not verify_chunk(signed, OTHER)
    assert not verify_chunk(chunk, CONTROLLER)
    for change in ({"data": b"v=8"}, {"offset": 1}, {"total": 4}, {"flags": 1}, {"update_id": 6}):
        assert not verify_chunk(replace(signed, **change), CONTROLLER)
