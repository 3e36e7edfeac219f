"""Rules in upstream's JSON."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.wire.rules import rules
from zt_async.wire.rules import Rule, RuleType, encode_rules
from zt_async.wire.rules_json import rule_from_json, rule_to_json


@given(rules)
def test_a_rule_survives_writing_and_reading(rule):
    written = json.loads(json.dumps(rule_to_json(rule)))
    assert rule_from_json(written) == rule


@pytest.mark.parametrize(
    ("rule", "written"),
    [
        (Rule(RuleType.ACTION_DROP), {"type": "ACTION_DROP"}),
        (Rule(RuleType.ACTION_BREAK, (), True), {"type": "ACTION_BREAK", "not": True, "or": False}),
        (
            Rule(RuleType.ACTION_TEE, (0xDEADBEEF01, 0, 128)),
            {"type": "ACTION_TEE", "address": "deadbeef01", "flags": 0, "length": 128},
        ),
        (
            Rule(RuleType.ACTION_REDIRECT, (0xEF01, 7, 0)),
            {"type": "ACTION_REDIRECT", "address": "000000ef01", "flags": 7},
        ),
        (Rule(RuleType.ACTION_PRIORITY, (3,)), {"type": "ACTION_PRIORITY", "qosBucket": 3}),
        (
            Rule(RuleType.MATCH_SOURCE_ZEROTIER_ADDRESS, (0xDEADBEEF01,), False, True),
            {"type": "MATCH_SOURCE_ZEROTIER_ADDRESS", "zt": "deadbeef01", "not": False, "or": True},
        ),
        (
            Rule(RuleType.MATCH_VLAN_ID, (7,)),
            {"type": "MATCH_VLAN_ID", "vlanId": 7, "not": False, "or": False},
        ),
        (
            Rule(RuleType.MATCH_MAC_DEST, (0x0A0B0C0D0E0F,), True),
            {"type": "MATCH_MAC_DEST", "mac": "0a:0b:0c:0d:0e:0f", "not": True, "or": False},
        ),
        (
            Rule(RuleType.MATCH_IPV4_DEST, (10 << 24, 8)),
            {"type": "MATCH_IPV4_DEST", "ip": "10.0.0.0/8", "not": False, "or": False},
        ),
        (
            Rule(RuleType.MATCH_IPV6_SOURCE, (0xFD << 120, 8)),
            {"type": "MATCH_IPV6_SOURCE", "ip": "fd00::/8", "not": False, "or": False},
        ),
        (
            Rule(RuleType.MATCH_IP_TOS, (255, 1, 2)),
            {"type": "MATCH_IP_TOS", "mask": 255, "start": 1, "end": 2, "not": False, "or": False},
        ),
        (
            Rule(RuleType.MATCH_ICMP, (8, 0, 0)),
            {"type": "MATCH_ICMP", "icmpType": 8, "icmpCode": None, "not": False, "or": False},
        ),
        (
            Rule(RuleType.MATCH_ICMP, (8, 0, 1)),
            {"type": "MATCH_ICMP", "icmpType": 8, "icmpCode": 0, "not": False, "or": False},
        ),
        (
            Rule(RuleType.MATCH_CHARACTERISTICS, (2,)),
            {"type": "MATCH_CHARACTERISTICS", "mask": "0000000000000002", "not": False, "or": False},
        ),
        (
            Rule(RuleType.MATCH_TAG_RECEIVER, (1, 2)),
            {"type": "MATCH_TAG_RECEIVER", "id": 1, "value": 2, "not": False, "or": False},
        ),
        (
            Rule(RuleType.INTEGER_RANGE, (0x10, 0x15, 12, 0x8F)),
            {
                "type": "INTEGER_RANGE",
                "start": "0000000000000010",
                "end": "0000000000000015",
                "idx": 12,
                "little": True,
                "bits": 16,
                "not": False,
                "or": False,
            },
        ),
    ],
)
def test_rules_look_like_this(rule, written):
    assert rule_to_json(rule) == written
    assert rule_from_json(written) == rule


@pytest.mark.parametrize(
    ("value", "rule"),
    [
        ({"type": "ACTION_WATCH", "address": "DEADBEEF01", "length": -1}, Rule(3, (0xDEADBEEF01, 0, 65535))),
        ({"type": "MATCH_IP_DEST_PORT_RANGE", "start": 80}, Rule(40, (80, 80))),
        ({"type": "MATCH_ICMP", "icmpType": 8}, Rule(38, (8, 0, 0))),
        ({"type": "MATCH_CHARACTERISTICS", "mask": 2}, Rule(41, (2,))),
        ({"type": "MATCH_CHARACTERISTICS", "mask": "2"}, Rule(41, (2,))),
        ({"type": "MATCH_MAC_SOURCE", "mac": "0a-0b-0c-0d-0e-0f"}, Rule(29, (0x0A0B0C0D0E0F,))),
        ({"type": "MATCH_MAC_SOURCE", "mac": "0A0B0C0D0E0F"}, Rule(29, (0x0A0B0C0D0E0F,))),
    ],
)
def test_shorter_forms_are_understood(value, rule):
    assert rule_from_json(value) == rule


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        (7, "a rule is an object, not 7"),
        ({}, "a rule has a type .* not None"),
        ({"type": "ACTION_DORP"}, "a rule has a type .* not 'ACTION_DORP'"),
        ({"type": ["x"]}, "a rule has a type"),
        ({"type": "ACTION_DROP", "nto": True}, "ACTION_DROP: has no 'nto'"),
        ({"type": "MATCH_ETHERTYPE"}, "MATCH_ETHERTYPE: etherType is a number from 0 to 65535, not None"),
        ({"type": "MATCH_ETHERTYPE", "etherType": 65536}, "not 65536"),
        ({"type": "MATCH_ETHERTYPE", "etherType": True}, "not True"),
        ({"type": "MATCH_ETHERTYPE", "etherType": "ipv4"}, "not 'ipv4'"),
        ({"type": "MATCH_ETHERTYPE", "etherType": 1, "not": "yes"}, "not is true or false, not 'yes'"),
        (
            {"type": "MATCH_IPV4_SOURCE", "ip": "10.0.0.1"},
            "number of its bits that count, such as 10.0.0.0/8",
        ),
        ({"type": "MATCH_IPV4_SOURCE", "ip": "10.0.0.1/33"}, "not '10.0.0.1/33'"),
        ({"type": "MATCH_IPV4_SOURCE", "ip": "fd00::/8"}, "such as 10.0.0.0/8"),
        ({"type": "MATCH_IPV6_SOURCE", "ip": "10.0.0.1/8"}, "such as fd00::/8"),
        ({"type": "MATCH_IPV6_SOURCE", "ip": "fe80::1%eth0/64"}, "such as fd00::/8"),
        ({"type": "MATCH_IPV6_SOURCE", "ip": 6}, "not 6"),
        ({"type": "ACTION_TEE", "length": 1}, "address is a node address"),
        ({"type": "ACTION_TEE", "address": "xyz"}, "10 hexadecimal digits"),
        (
            {"type": "ACTION_TEE", "address": "deadbeef01", "length": -2},
            "length is a number from -1 to 65535",
        ),
        ({"type": "MATCH_MAC_SOURCE", "mac": "0a:0b"}, "12 hexadecimal digits"),
        ({"type": "MATCH_CHARACTERISTICS", "mask": "syn"}, "hexadecimal"),
        ({"type": "MATCH_CHARACTERISTICS", "mask": 1 << 64}, "hexadecimal"),
        ({"type": "MATCH_ICMP", "icmpType": 8, "icmpCode": -1}, "icmpCode"),
        ({"type": "INTEGER_RANGE", "start": 5, "end": 4, "idx": 0, "bits": 8}, "2\\^32 - 1 more, not -1"),
        (
            {"type": "INTEGER_RANGE", "start": 5, "end": 6, "idx": 0, "bits": 65},
            "bits is a number from 1 to 64",
        ),
    ],
)
def test_what_is_wrong_is_said(value, complaint):
    with pytest.raises(ValueError, match=complaint):
        rule_from_json(value)


def test_a_type_without_a_name_is_not_written():
    with pytest.raises(ValueError, match="type 60"):
        rule_to_json(Rule(60))


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(("10.0.0.1/8", "fd00::/8", "deadbeef01", "0a:0b:0c:0d:0e:0f", "80")),
    lambda inner: st.lists(inner, max_size=2),
    max_leaves=3,
)
keys = st.sampled_from(
    (
        *(
            "not",
            "or",
            "address",
            "flags",
            "length",
            "zt",
            "vlanId",
            "vlanPcp",
            "vlanDei",
            "mac",
            "ip",
            "mask",
        ),
        *("start", "end", "ipProtocol", "etherType", "icmpType", "icmpCode", "probability", "id", "value"),
        *("idx", "little", "bits", "qosBucket"),
    )
)


@given(
    st.sampled_from(RuleType).map(lambda kind: kind.name) | values,
    st.dictionaries(keys, values, max_size=6) | st.just({}),
)
def test_whatever_stands_in_an_object_it_becomes_a_rule_that_can_be_sent_or_is_refused(kind, fields):
    value = {"type": kind, **fields}
    try:
        rule = rule_from_json(value)
    except ValueError:
        return
    assert encode_rules([rule])
    assert rule_from_json(rule_to_json(rule)) == rule
