"""What is kept of other members, what of it counts, and that it has bounds."""

from dataclasses import replace
from ipaddress import ip_address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zt_async.crypto.credentials import (
    hand_on,
    issue_capability,
    issue_com,
    issue_ownership,
    issue_revocation,
    issue_tag,
)
from zt_async.testing.identities import throwaway_identity
from zt_async.types import MACAddress, NetworkId, NodeAddress
from zt_async.vl2 import membership
from zt_async.vl2.membership import Members, Membership, Outcome
from zt_async.wire.credentials import CredentialType
from zt_async.wire.network_config import NetworkConfig
from zt_async.wire.rules import Rule, RuleType

CONTROLLER, OWN, MEMBER, OTHER = map(throwaway_identity, range(4))
NETWORK = NetworkId(CONTROLLER.address << 24 | 0xBEEF)
NOW = 1_700_000_000_000
DELTA = 60_000
ADDRESS = ip_address("10.0.0.1")


class Lookup:
    """Knows everybody, and counts who was asked for: each is a signature that is checked."""

    def __init__(self):
        self.identities = {who.address: who.public() for who in (CONTROLLER, OWN, MEMBER, OTHER)}
        self.count = 0

    def __call__(self, address):
        self.count += 1
        return self.identities.get(address)


def config(timestamp=NOW, private=True, delta=DELTA):
    return NetworkConfig(
        network_id=NETWORK,
        issued_to=OWN.address,
        private=private,
        timestamp=timestamp,
        credential_max_delta=delta,
        certificate=issue_com(CONTROLLER, NETWORK, OWN, timestamp, delta),
    )


def com(timestamp=NOW, who=MEMBER, controller=CONTROLLER, network=NETWORK):
    return issue_com(controller, network, who, timestamp, DELTA)


def tag(timestamp=NOW, tag_id=1, value=100, controller=CONTROLLER, network=NETWORK, to=MEMBER.address):
    return issue_tag(controller, network, to, timestamp, tag_id, value)


def capability(timestamp=NOW, capability_id=1, controller=CONTROLLER, network=NETWORK):
    rules = [Rule(RuleType.ACTION_ACCEPT)]
    return issue_capability(controller, network, MEMBER.address, timestamp, capability_id, rules)


def ownership(timestamp=NOW, certificate_id=1, controller=CONTROLLER, network=NETWORK, things=(ADDRESS,)):
    return issue_ownership(controller, network, MEMBER.address, timestamp, things, certificate_id)


def revocation(
    threshold=NOW, kind=CredentialType.MEMBERSHIP, credential_id=0, controller=CONTROLLER, **options
):
    return issue_revocation(
        controller, NETWORK, MEMBER.address, threshold, 99, kind, credential_id, **options
    )


KINDS = (com, tag, capability, ownership)


@pytest.fixture
def find():
    return Lookup()


@pytest.fixture
def members():
    members = Members(NETWORK)
    members.configure(config())
    return members


def counts(members):
    """What of the member counts now."""
    record = members.get(MEMBER.address)
    if record is None:
        return (False, None, 0, False)
    return (members.allows(MEMBER), record.tag(1), len(record.capabilities()), record.owns(ADDRESS))


@pytest.mark.parametrize(
    ("make", "wanted"),
    [
        (com, (True, None, 0, False)),
        (tag, (False, 100, 0, False)),
        (capability, (False, None, 1, False)),
        (ownership, (False, None, 0, True)),
    ],
)
def test_a_signed_credential_counts(members, find, make, wanted):
    assert counts(members) == (False, None, 0, False)
    assert members.add(make(), find) is Outcome.NEW
    assert counts(members) == wanted
    assert len(members) == 1


@pytest.mark.parametrize("make", KINDS)
def test_the_same_credential_is_not_checked_again(members, find, make):
    credential = make()
    assert members.add(credential, find) is Outcome.NEW
    before = find.count
    assert members.add(replace(credential), find) is Outcome.REDUNDANT
    assert find.count == before


@pytest.mark.parametrize("make", KINDS)
def test_a_newer_credential_replaces_and_an_older_one_is_refused(members, find, make):
    assert members.add(make(), find) is Outcome.NEW
    assert members.add(make(NOW + 1), find) is Outcome.NEW
    before = find.count
    assert members.add(make(), find) is Outcome.OLD
    assert find.count == before


@pytest.mark.parametrize("make", KINDS)
def test_what_the_controller_did_not_sign_is_not_kept(members, find, make):
    assert members.add(make(controller=OTHER), find) is Outcome.BAD_SIGNATURE
    good = make()
    if make is capability:
        link = good.custody[0]
        bad = [replace(good, custody=(link._replace(signature=bytes(96)),)), replace(good, custody=())]
        assert members.add(bad[1], find) is Outcome.BAD_SIGNATURE  # of nobody
        bad = bad[:1]
    else:
        bad = [replace(good, signature=bytes(96)), replace(good, signed_by=NodeAddress(0))]
    for credential in bad:
        assert members.add(credential, find) is Outcome.BAD_SIGNATURE
    assert len(members) == 0
    assert counts(members) == (False, None, 0, False)


@pytest.mark.parametrize("make", KINDS)
def test_what_is_of_another_network_is_not_kept(members, find, make):
    elsewhere = NetworkId(NETWORK + 1)
    assert members.add(make(network=elsewhere), find) is Outcome.FOREIGN
    assert len(members) == 0
    assert find.count == 0


def test_what_is_of_another_member_is_kept_under_that_one(members, find):
    assert members.add(tag(to=OTHER.address), find) is Outcome.NEW
    assert members.get(MEMBER.address) is None
    assert members.get(OTHER.address).tag(1) == 100
    assert Membership(NETWORK, MEMBER.address).add(tag(to=OTHER.address), find) is Outcome.FOREIGN


@pytest.mark.parametrize("make", KINDS)
def test_an_unknown_controller_defers(members, make):
    assert members.add(make(), lambda address: None) is Outcome.UNKNOWN_SIGNER
    assert len(members) == 0


@pytest.mark.parametrize("make", KINDS)
def test_what_is_too_old_is_not_kept(members, find, make):
    assert members.add(make(NOW - DELTA - 1), find) is Outcome.EXPIRED
    assert len(members) == 0
    assert members.add(make(NOW - DELTA), find) is Outcome.NEW
    assert counts(members) != (False, None, 0, False)


@pytest.mark.parametrize("make", KINDS)
def test_what_is_ahead_of_our_configuration_counts_when_that_is_renewed(members, find, make):
    assert members.add(make(NOW + DELTA + 1), find) is Outcome.NEW
    assert counts(members) == (False, None, 0, False)
    members.configure(config(NOW + 1))
    assert counts(members) != (False, None, 0, False)
    members.configure(config(NOW + 2 * DELTA + 1))
    assert counts(members) != (False, None, 0, False)
    members.configure(config(NOW + 2 * DELTA + 2))
    assert counts(members) == (False, None, 0, False)
    assert len(members) == 0


@pytest.mark.parametrize("make", KINDS)
def test_a_revocation_ends_a_credential_until_there_is_a_newer_one(members, find, make):
    credential = make()
    members.add(credential, find)
    revoked = revocation(NOW, credential.TYPE, credential.id)
    assert members.add(revoked, find) is Outcome.NEW
    assert revoked.fast
    assert counts(members) == (False, None, 0, False)
    assert members.add(credential, find) is Outcome.REVOKED
    assert members.add(make(NOW + 1), find) is Outcome.NEW
    assert counts(members) != (False, None, 0, False)


@pytest.mark.parametrize("make", KINDS)
def test_a_revocation_may_come_first(members, find, make):
    credential = make()
    assert members.add(revocation(NOW, credential.TYPE, credential.id), find) is Outcome.NEW
    before = find.count
    assert members.add(credential, find) is Outcome.REVOKED
    assert find.count == before


def test_only_what_is_revoked_is_void(members, find):
    for tag_id in (1, 2):
        members.add(tag(tag_id=tag_id), find)
    members.add(capability(), find)
    members.add(ownership(), find)
    assert members.add(revocation(NOW, CredentialType.TAG, 1), find) is Outcome.NEW
    record = members.get(MEMBER.address)
    assert (record.tag(1), record.tag(2)) == (None, 100)
    assert len(record.capabilities()) == 1
    assert record.owns(ADDRESS)


def test_any_revocation_asks_for_a_new_certificate_of_membership(members, find):
    members.add(com(), find)
    members.add(revocation(NOW, CredentialType.TAG, 1), find)
    assert not members.allows(MEMBER)
    assert members.get(MEMBER.address).com_threshold == NOW
    assert members.get(MEMBER.address).com is None


def test_a_revocation_is_new_once(members, find):
    first = revocation(NOW)
    assert members.add(first, find) is Outcome.NEW
    before = find.count
    assert members.add(first, find) is Outcome.REDUNDANT
    assert find.count == before
    assert members.add(revocation(NOW, fast=False), find) is Outcome.REDUNDANT
    assert members.add(revocation(NOW - 1), find) is Outcome.REDUNDANT
    assert members.add(revocation(NOW + 1), find) is Outcome.NEW


def test_a_forged_revocation_does_nothing(members, find):
    members.add(com(), find)
    assert members.add(revocation(controller=OTHER), find) is Outcome.BAD_SIGNATURE
    assert members.add(replace(revocation(), signature=bytes(96)), find) is Outcome.BAD_SIGNATURE
    assert members.add(replace(revocation(), target=OTHER.address), find) is Outcome.BAD_SIGNATURE
    assert members.add(revocation(), lambda address: None) is Outcome.UNKNOWN_SIGNER
    assert members.allows(MEMBER)
    assert members.get(OTHER.address) is None
    # Not even what would change nothing: whoever sends it would be trusted for it.
    members.add(revocation(NOW - 10), find)
    assert members.add(replace(revocation(NOW - 20), signature=bytes(96)), find) is Outcome.BAD_SIGNATURE


@pytest.mark.parametrize("kind", [0, 5, 6, 255])
def test_what_cannot_be_revoked_is_refused(members, find, kind):
    assert members.add(revocation(kind=kind), find) is Outcome.UNKNOWN_TYPE
    assert find.count == 0
    assert len(members) == 0


def test_an_old_revocation_starts_no_flood(members, find):
    old = revocation(NOW - DELTA - 1)
    assert members.add(old, find) is Outcome.REDUNDANT
    assert len(members) == 0
    recent = revocation(NOW)
    assert members.add(recent, find) is Outcome.NEW
    members.configure(config(NOW + DELTA + 1))
    assert len(members) == 0
    assert members.add(recent, find) is Outcome.REDUNDANT


def test_everybody_is_allowed_on_a_public_network(members, find):
    members.configure(config(private=False))
    assert members.allows(MEMBER)
    members.add(tag(), find)
    assert members.allows(MEMBER)
    members.configure(config())
    assert not members.allows(MEMBER)


def test_nobody_is_allowed_without_a_configuration(find):
    members = Members(NETWORK)
    assert not members.allows(MEMBER)
    assert members.add(com(), find) is Outcome.NEW
    assert members.add(tag(), find) is Outcome.NEW
    assert not members.allows(MEMBER)
    assert members.get(MEMBER.address).tag(1) is None
    members.configure(config())
    assert members.allows(MEMBER)
    assert members.get(MEMBER.address).tag(1) == 100


def test_nobody_is_allowed_by_a_private_network_that_gave_us_no_certificate(members, find):
    members.add(com(), find)
    members.configure(replace(config(), certificate=None))
    assert not members.allows(MEMBER)


def test_the_certificate_is_for_one_identity(members, find):
    members.add(com(), find)
    assert not members.allows(replace(MEMBER, public_key=OTHER.public_key))
    assert members.allows(MEMBER)


def test_a_change_gives_another_state(members, find):
    members.add(tag(), find)
    record = members.get(MEMBER.address)
    states = [record.state]
    for change in (
        lambda: members.add(tag(NOW + 1), find),
        lambda: members.add(capability(), find),
        lambda: members.configure(config(NOW + 1)),
        lambda: members.add(revocation(NOW), find),
    ):
        change()
        states.append(record.state)
        members.add(tag(), find)  # refused
        assert record.state is states[-1]
    assert len(set(map(id, states))) == 5


def test_capabilities_come_by_id(members, find):
    for number in (3, 1, 2):
        members.add(capability(capability_id=number), find)
    assert [c.id for c in members.get(MEMBER.address).capabilities()] == [1, 2, 3]


def test_a_capability_that_was_handed_on_is_its_last_holders(members, find):
    first = issue_capability(CONTROLLER, NETWORK, OTHER.address, NOW, 1, [], max_custody=2)
    assert members.add(hand_on(first, MEMBER.address, OTHER), find) is Outcome.NEW
    assert len(members.get(MEMBER.address).capabilities()) == 1
    assert members.get(OTHER.address) is None


def test_several_certificates_of_ownership_count_together(members, find):
    members.add(ownership(certificate_id=1), find)
    members.add(ownership(certificate_id=2, things=(MACAddress(7),)), find)
    record = members.get(MEMBER.address)
    assert record.owns(ADDRESS)
    assert record.owns(MACAddress(7))
    assert not record.owns(MACAddress(8))
    assert not record.owns(ip_address("10.0.0.2"))


# Bounds


def test_the_newest_credentials_are_kept(members, find, monkeypatch):
    monkeypatch.setattr(membership, "MAX_TAGS", 3)
    for tag_id, timestamp in ((1, NOW), (2, NOW + 1), (3, NOW + 2)):
        assert members.add(tag(timestamp, tag_id), find) is Outcome.NEW
    assert members.add(tag(NOW, 4), find) is Outcome.TOO_MANY
    assert members.add(tag(NOW + 3, 4), find) is Outcome.NEW
    record = members.get(MEMBER.address)
    assert [tag_id for tag_id in range(1, 5) if record.tag(tag_id) is not None] == [2, 3, 4]
    assert members.add(tag(NOW + 3, 2), find) is Outcome.NEW


def test_too_many_revocations_revoke_more_than_they_say(members, find, monkeypatch):
    monkeypatch.setattr(membership, "MAX_REVOCATIONS", 2)
    for tag_id, moment in ((1, 5), (2, 6), (3, 7)):
        assert members.add(revocation(NOW + moment, CredentialType.TAG, tag_id), find) is Outcome.NEW
    assert members.add(tag(NOW + 5, tag_id=1), find) is Outcome.REVOKED
    assert members.add(tag(NOW + 5, tag_id=9), find) is Outcome.REVOKED
    assert members.add(tag(NOW + 6, tag_id=9), find) is Outcome.NEW
    assert members.add(tag(NOW + 6, tag_id=2), find) is Outcome.REVOKED
    assert members.add(tag(NOW + 7, tag_id=2), find) is Outcome.NEW
    assert members.add(revocation(NOW + 4, CredentialType.TAG, 77), find) is Outcome.REDUNDANT


def test_the_number_of_members_has_a_bound_and_the_revoked_stay(members, find, monkeypatch):
    monkeypatch.setattr(membership, "MAX_MEMBERS", 3)
    members.add(revocation(), find)
    for number in range(1, 6):
        assert members.add(tag(to=NodeAddress(number)), find) is Outcome.NEW
    assert [record.address for record in members] == [MEMBER.address, NodeAddress(4), NodeAddress(5)]
    members.add(tag(NOW + 1, to=NodeAddress(4)), find)
    members.add(tag(to=NodeAddress(6)), find)
    assert [record.address for record in members] == [MEMBER.address, NodeAddress(4), NodeAddress(6)]


moments = st.integers(-3, 3)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("tag"), st.integers(1, 2), moments),
        st.tuples(st.just("revoke"), st.integers(1, 2), moments),
        st.tuples(st.just("configure"), st.just(0), st.integers(0, 3)),
    ),
    max_size=8,
)
_TAGS = {(i, m): tag(NOW + m, i, value=m + 10) for i in (1, 2) for m in range(-3, 4)}
_REVOCATIONS = {(i, m): revocation(NOW + m, CredentialType.TAG, i) for i in (1, 2) for m in range(-3, 4)}
_CONFIGS = [config(NOW + m, delta=2) for m in range(4)]


@settings(max_examples=60, deadline=None)
@given(steps)
def test_of_the_tags_that_came_the_newest_counts_if_it_is_close_and_not_revoked(steps):
    members, find = Members(NETWORK), Lookup()
    members.configure(_CONFIGS[0])
    now, newest, thresholds = 0, {1: -99, 2: -99}, {1: -99, 2: -99}
    for what, number, moment in steps:
        if what == "tag":
            members.add(_TAGS[number, moment], find)
            if moment > max(thresholds[number], now - 3):
                newest[number] = max(newest[number], moment)
        elif what == "revoke":
            members.add(_REVOCATIONS[number, moment], find)
            if moment >= now - 2:
                thresholds[number] = max(thresholds[number], moment)
        else:
            now = max(now, moment)
            members.configure(_CONFIGS[now])
        for tag_id in (1, 2):
            valid = newest[tag_id] > thresholds[tag_id] and abs(newest[tag_id] - now) <= 2
            record = members.get(MEMBER.address)
            value = record.tag(tag_id) if record is not None else None
            assert value == (newest[tag_id] + 10 if valid else None)
