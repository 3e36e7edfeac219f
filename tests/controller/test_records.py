"""Records in upstream's JSON, and what is no record. vl2.md 8.5 and 8.6."""

import json
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zt_async.controller.records import (
    ACCEPT_ALL,
    CapabilityDefinition,
    MemberRecord,
    NetworkRecord,
    Pool,
    Seen,
    TagDefinition,
)
from zt_async.errors import ControllerError, RecordError
from zt_async.testing.identities import throwaway_identity
from zt_async.types import DNS, NetworkId, NodeAddress, Route
from zt_async.wire.rules import Rule, RuleType

NETWORK_ID = NetworkId(0x8056C2E21C000001)
ADDRESS = NodeAddress(0xDEADBEEF01)
NETWORK = NetworkRecord(id=NETWORK_ID)
MEMBER = MemberRecord(network_id=NETWORK_ID, address=ADDRESS)

UPSTREAM_NETWORK = {
    "authTokens": [None],
    "authorizationEndpoint": "",
    "capabilities": [],
    "clientId": "",
    "creationTime": 1700000000000,
    "dns": [],
    "enableBroadcast": True,
    "id": "8056c2e21c000001",
    "ipAssignmentPools": [{"ipRangeEnd": "10.1.0.254", "ipRangeStart": "10.1.0.1"}],
    "mtu": 2800,
    "multicastLimit": 32,
    "name": "home",
    "nwid": "8056c2e21c000001",
    "objtype": "network",
    "private": True,
    "remoteTraceLevel": 0,
    "remoteTraceTarget": None,
    "revision": 3,
    "routes": [{"target": "10.1.0.0/24", "via": None}, {"target": "10.9.0.0/16", "via": "10.1.0.1"}],
    "rules": [{"not": False, "or": False, "type": "ACTION_ACCEPT"}],
    "rulesSource": "",
    "ssoEnabled": False,
    "tags": [],
    "v4AssignMode": {"zt": True},
    "v6AssignMode": {"6plane": True, "rfc4193": False, "zt": False},
}
UPSTREAM_MEMBER = {
    "activeBridge": False,
    "address": "deadbeef01",
    "authenticationExpiryTime": 0,
    "authorized": True,
    "capabilities": [1000],
    "creationTime": 1700000000001,
    "id": "deadbeef01",
    "ipAssignments": ["10.1.0.7"],
    "lastAuthorizedCredential": None,
    "lastAuthorizedCredentialType": "api",
    "lastAuthorizedTime": 1700000000002,
    "lastDeauthorizedTime": 0,
    "noAutoAssignIps": False,
    "nwid": "8056c2e21c000001",
    "objtype": "member",
    "remoteTraceLevel": 0,
    "remoteTraceTarget": None,
    "revision": 5,
    "ssoExempt": False,
    "tags": [[1, 2]],
    "vMajor": 1,
    "vMinor": 14,
    "vProto": 12,
    "vRev": 1,
}


def test_a_new_network_has_the_defaults_of_upstream():
    assert NETWORK.private
    assert NETWORK.mtu == 2800
    assert NETWORK.multicast_limit == 32
    assert NETWORK.rules == ACCEPT_ALL
    assert NETWORK.to_json()["authTokens"] == [None]
    assert NETWORK.to_json()["dns"] == []


def test_networks_come_through_upstreams_file_unchanged():
    assert NetworkRecord.from_json(UPSTREAM_NETWORK).to_json() == UPSTREAM_NETWORK


def test_members_come_through_upstreams_file_unchanged():
    seen = Seen.from_json(UPSTREAM_MEMBER)
    assert seen.version == (1, 14, 1)
    assert MemberRecord.from_json(UPSTREAM_MEMBER).to_json(seen) == UPSTREAM_MEMBER


def test_a_member_without_name_or_identity_has_no_such_keys():
    assert not MEMBER.to_json().keys() & {"name", "identity"}
    identity = throwaway_identity(1)
    named = MemberRecord(
        network_id=NETWORK_ID, address=identity.address, identity=identity.public(), name="x"
    )
    written = named.to_json()
    assert (written["identity"], written["name"]) == (str(identity), "x")
    assert MemberRecord.from_json(written) == named


def test_an_identity_is_that_of_its_member():
    with pytest.raises(RecordError, match="identity is that of"):
        MemberRecord.from_json({**UPSTREAM_MEMBER, "identity": str(throwaway_identity(1))})
    told = []
    record = MemberRecord.from_json(
        {**UPSTREAM_MEMBER, "identity": str(throwaway_identity(1))}, on_error=told.append
    )
    assert (record.identity, record.authorized, [error.field for error in told]) == (None, True, ["identity"])


def test_old_files_may_lack_keys_and_have_others():
    assert NetworkRecord.from_json({"nwid": str(NETWORK_ID), "clock": 1, "lastModified": 2}) == NETWORK
    assert MemberRecord.from_json({"nwid": str(NETWORK_ID), "id": str(ADDRESS), "recentLog": []}) == MEMBER


def test_what_a_file_gets_wrong_is_told_and_has_its_default():
    told = []
    broken = {**UPSTREAM_NETWORK, "mtu": "many", "routes": [{"target": 7}]}
    record = NetworkRecord.from_json(broken, on_error=told.append)
    assert (record.mtu, record.routes, record.name) == (2800, (), "home")
    assert [error.field for error in told] == ["mtu", "routes"]
    with pytest.raises(RecordError, match="mtu is a whole number"):
        NetworkRecord.from_json(broken)


def test_a_revision_leaves_room_to_count_on():
    """SQL's integers end at 2**63 - 1."""
    with pytest.raises(RecordError, match="revision"):
        NetworkRecord.from_json({**UPSTREAM_NETWORK, "revision": (1 << 63) - 1})


@pytest.mark.parametrize("value", [{}, {"id": 7}, {"id": "xyz"}])
def test_a_record_without_its_id_is_none(value):
    with pytest.raises(RecordError, match="id"):
        NetworkRecord.from_json(value, on_error=lambda _: None)


def test_users_change_what_they_may_and_nothing_else():
    patched = NETWORK.patched(
        {
            "name": "x",
            "private": False,
            "revision": 77,
            "creationTime": 5,
            "id": "0000000000000000",
            "rulesSource": "accept;",
            "ssoEnabled": True,
            "unheard-of": 1,
        }
    )
    assert patched == NETWORK.updated(name="x", private=False)
    assert MEMBER.patched({"ssoExempt": True, "identity": "x", "lastAuthorizedTime": 9}) == MEMBER


def test_the_text_of_the_rules_goes_when_others_take_their_place():
    written = NETWORK.updated(rules=[{"type": "ACTION_DROP"}], rules_source="drop;")
    same = {"name": "x", "rules": [{"type": "ACTION_DROP"}]}
    assert written.patched(same).rules_source == "drop;"
    assert written.patched({"rules": [{"type": "ACTION_ACCEPT"}]}).rules_source == ""
    assert written.patched({"tags": [{"id": 1, "default": 2}]}).rules_source == ""
    assert written.patched({"capabilities": [{"id": 1, "default": True, "rules": []}]}).rules_source == ""


def test_versions_that_are_no_numbers_are_not_known():
    assert Seen.from_json({"vMajor": True, "vMinor": "1", "vProto": 1.5}) == Seen()


def test_modes_of_ipv6_come_as_objects_and_as_text():
    for value in ({"rfc4193": True, "6plane": True}, "6plane,rfc4193", "rfc4193, 6plane"):
        patched = NETWORK.updated(ipv6_auto=True).patched({"v6AssignMode": value})
        assert (patched.rfc4193, patched.sixplane, patched.ipv6_auto) == (True, True, False)
    assert NETWORK.patched({"v4AssignMode": "zt"}).ipv4_auto
    assert NETWORK.patched({"v4AssignMode": {"zt": True}}).ipv4_auto
    assert not NETWORK.patched({"v4AssignMode": "none"}).ipv4_auto


def test_typed_values_and_json_make_the_same_record():
    by_json = NETWORK.patched(
        {
            "routes": [{"target": "10.1.0.5/24"}, {"target": "fd00::/8", "via": "fd00::1", "metric": 7}],
            "ipAssignmentPools": [{"ipRangeStart": "10.1.0.1", "ipRangeEnd": "10.1.0.9"}],
            "dns": {"domain": "home", "servers": ["10.1.0.1"]},
            "tags": [{"id": 2}, {"id": 1, "default": 5}],
            "capabilities": [{"id": 9, "rules": [{"type": "ACTION_DROP"}], "default": True}],
            "rules": [{"type": "MATCH_ETHERTYPE", "etherType": 2048, "not": True}, {"type": "ACTION_DROP"}],
            "authTokens": {"secret": 0},
            "remoteTraceTarget": "deadbeef01",
        }
    )
    typed = NETWORK.updated(
        routes=[
            IPv4Network("10.1.0.0/24").with_prefixlen,
            Route(IPv6Network("fd00::/8"), IPv6Address("fd00::1"), 0, 7),
        ],
        pools=[("10.1.0.1", IPv4Address("10.1.0.9"))],
        dns=DNS("home", (IPv4Address("10.1.0.1"),)),
        tags=[TagDefinition(2), TagDefinition(1, 5)],
        capabilities=[CapabilityDefinition(9, (Rule(RuleType.ACTION_DROP),), True)],
        rules=[Rule(RuleType.MATCH_ETHERTYPE, (2048,), True), Rule(RuleType.ACTION_DROP)],
        auth_tokens={"secret": 0},
        remote_trace_target=ADDRESS,
    )
    assert by_json == typed
    assert NetworkRecord.from_json(json.loads(json.dumps(typed.to_json()))) == typed
    assert [tag.id for tag in typed.tags] == [1, 2]


def test_blank_values_take_settings_away():
    network = NETWORK.updated(dns={"domain": "x"}, auth_tokens={"t": 1}, remote_trace_target="deadbeef01")
    for blank in (
        {"dns": [], "authTokens": [None], "remoteTraceTarget": ""},
        {"dns": None, "authTokens": {}, "remoteTraceTarget": None},
    ):
        assert network.patched(blank) == NETWORK
    assert MEMBER.updated(name="x").patched({"name": None}) == MEMBER


def test_members_have_addresses_without_lengths_and_each_once():
    patched = MEMBER.patched({"ipAssignments": ["10.1.0.7/24", "10.1.0.7", "fd00:0::1"]})
    assert patched.addresses == (IPv4Address("10.1.0.7"), IPv6Address("fd00::1"))
    assert MEMBER.patched({"capabilities": [3, 1, 3]}).capabilities == (1, 3)
    assert MEMBER.patched({"tags": [[2, 1], [1, 9], [2, 5]]}).tags == ((1, 9), (2, 5))
    assert MEMBER.updated(tags={7: 8}).tags == ((7, 8),)


@pytest.mark.parametrize(
    "changes",
    [
        {"name": 7},
        {"name": "x" * 128},
        {"name": "\0"},
        {"name": "\ud800"},
        {"private": 1},
        {"private": None},
        {"mtu": "2800"},
        {"mtu": 2800.5},
        {"mtu": True},
        {"mtu": float("inf")},
        {"multicastLimit": -1},
        {"multicastLimit": 1 << 32},
        {"routes": "10.0.0.0/8"},
        {"routes": {}},
        {"routes": 7},
        {"routes": ["10.0.0.0"]},
        {"routes": [{"target": "10.0.0.0/33"}]},
        {"routes": [{"target": "fe80::%eth0/64"}]},
        {"routes": [{"target": "10.0.0.0/8", "via": "fd00::1"}]},
        {"routes": [{"target": "10.0.0.0/8", "via": 7}]},
        {"routes": [{"via": "10.0.0.1"}]},
        {"routes": [{"target": "10.0.0.0/8"}] * 129},
        {"ipAssignmentPools": [{"ipRangeStart": "10.0.0.9", "ipRangeEnd": "10.0.0.1"}]},
        {"ipAssignmentPools": [{"ipRangeStart": "10.0.0.9", "ipRangeEnd": "fd00::1"}]},
        {"ipAssignmentPools": [{"ipRangeStart": "fe80::1%eth0", "ipRangeEnd": "fe80::2"}]},
        {"ipAssignmentPools": ["10.0.0.1"]},
        {"rules": [{"type": "ACTION_WISH"}]},
        {"rules": [7]},
        {"rules": [{"type": "ACTION_ACCEPT"}] * 1025},
        {"capabilities": [{"id": 1, "rules": [{"type": "ACTION_ACCEPT"}] * 65}]},
        {"capabilities": [{"rules": []}]},
        {"capabilities": [{"id": n} for n in range(129)]},
        {"tags": [{"id": -1}]},
        {"tags": [{"id": 1, "default": "x"}]},
        {"dns": "x"},
        {"dns": {"domain": "x" * 128}},
        {"dns": {"domain": "x", "servers": ["10.0.0.1"] * 5}},
        {"authTokens": {"t": -1}},
        {"authTokens": ["t"]},
        {"remoteTraceTarget": "xyz"},
        {"v4AssignMode": 7},
        {"v6AssignMode": {"zt": "yes"}},
    ],
)
def test_what_is_no_value_of_a_network_is_told(changes):
    (field,) = changes
    with pytest.raises(RecordError, match=f"^{field} ") as raised:
        NETWORK.patched(changes)
    assert raised.value.field == field
    assert isinstance(raised.value, ValueError)
    assert isinstance(raised.value, ControllerError)


@pytest.mark.parametrize(
    "changes",
    [
        {"authorized": "yes"},
        {"activeBridge": 1},
        {"ipAssignments": "10.0.0.1"},
        {"ipAssignments": ["10.0.0"]},
        {"ipAssignments": [f"10.0.0.{n}" for n in range(33)]},
        {"tags": [[1]]},
        {"tags": ["12"]},
        {"tags": [[1, 1 << 32]]},
        {"capabilities": [-1]},
        {"name": 5},
        {"authenticationExpiryTime": -1},
    ],
)
def test_what_is_no_value_of_a_member_is_told(changes):
    (field,) = changes
    with pytest.raises(RecordError, match=f"^{field} "):
        MEMBER.patched(changes)


def test_an_attribute_that_is_none_is_a_mistake_in_the_program():
    for wrong in ("colour", "revision", "id", "creation_time"):
        with pytest.raises(TypeError, match=wrong):
            NETWORK.updated(**{wrong: 1})
    with pytest.raises(TypeError, match="identity"):
        MEMBER.updated(identity=None)


@pytest.mark.parametrize("value", [(1, 2), ("ab",), [("a", 1)], {"a": -1}, {1: 1}])
def test_what_is_no_token_is_told(value):
    with pytest.raises(RecordError, match="auth_tokens is an object of tokens"):
        NETWORK.updated(auth_tokens=value)
    assert NETWORK.updated(auth_tokens=NETWORK.updated(auth_tokens={"a": 1}).auth_tokens).auth_tokens


def test_tokens_are_not_shown():
    network = NETWORK.updated(auth_tokens={"hush": 5})
    assert "hush" not in repr(network)
    with pytest.raises(RecordError) as raised:
        NETWORK.updated(auth_tokens={"hush": "never"})
    assert "hush" not in str(raised.value)
    assert "hush" not in repr(MEMBER.with_authorization(True, 1, "token", "hush"))


def test_authorization_keeps_account_of_itself():
    member = MEMBER.with_authorization(True, 5)
    assert (member.last_authorized, member.credential_type, member.credential) == (5, "api", None)
    assert member.with_authorization(True, 9) is member
    again = member.with_authorization(False, 7)
    assert (again.authorized, again.last_authorized, again.last_deauthorized) == (False, 5, 7)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=6,
)
SHAPES = st.sampled_from(
    [
        [{"target": "10.0.0.0/8", "via": None}],
        [{"ipRangeStart": "10.0.0.1", "ipRangeEnd": "10.0.0.2"}],
        {"domain": "x", "servers": []},
        [[1, 2]],
    ]
)


def patched_or_refused(record, changes):
    """The record with the changes that it takes one by one."""
    for key, value in changes.items():
        try:
            record = record.patched({key: value})
        except RecordError as error:
            if error.field != key:
                raise
    return record


@given(st.dictionaries(st.sampled_from(sorted(UPSTREAM_NETWORK)), JSON | SHAPES, max_size=4))
def test_any_json_makes_a_network_or_a_clear_error(changes):
    record = patched_or_refused(NETWORK, changes)
    assert NetworkRecord.from_json(json.loads(json.dumps(record.to_json()))) == record


@given(st.dictionaries(st.sampled_from(sorted(UPSTREAM_MEMBER)), JSON | SHAPES, max_size=4))
def test_any_json_makes_a_member_or_a_clear_error(changes):
    record = patched_or_refused(MEMBER, changes)
    assert MemberRecord.from_json(json.loads(json.dumps(record.to_json()))) == record


def test_pools_are_ranges():
    assert NETWORK.updated(pools=[("10.0.0.1", "10.0.0.1")]).pools == (
        Pool(IPv4Address("10.0.0.1"), IPv4Address("10.0.0.1")),
    )
