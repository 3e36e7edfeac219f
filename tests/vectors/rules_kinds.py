"""Checks of the vectors about network rules."""

from __future__ import annotations

from ipaddress import ip_interface
from typing import Any

from tests.vectors.registry import Case, assert_refused, vector_kind
from zt_async.errors import DecodeError
from zt_async.wire.buffer import Reader
from zt_async.wire.rules import Rule, RuleType, decode_rules, encode_rules, read_rules

unhex = bytes.fromhex

_FIELDS = {
    "ACTION_TEE": ("address", "flags", "length"),
    "ACTION_WATCH": ("address", "flags", "length"),
    "ACTION_REDIRECT": ("address", "flags", "length"),
    "MATCH_SOURCE_ZEROTIER_ADDRESS": ("zt",),
    "MATCH_DEST_ZEROTIER_ADDRESS": ("zt",),
    "MATCH_VLAN_ID": ("vlanId",),
    "MATCH_VLAN_PCP": ("vlanPcp",),
    "MATCH_VLAN_DEI": ("vlanDei",),
    "MATCH_MAC_SOURCE": ("mac",),
    "MATCH_MAC_DEST": ("mac",),
    "MATCH_IP_PROTOCOL": ("ipProtocol",),
    "MATCH_ETHERTYPE": ("etherType",),
    "MATCH_IP_TOS": ("mask", "start", "end"),
    "MATCH_ICMP": ("icmpType", "icmpCode", "icmpFlags"),
    "MATCH_IP_SOURCE_PORT_RANGE": ("start", "end"),
    "MATCH_IP_DEST_PORT_RANGE": ("start", "end"),
    "MATCH_FRAME_SIZE_RANGE": ("start", "end"),
    "MATCH_CHARACTERISTICS": ("mask",),
    "MATCH_RANDOM": ("probability",),
}


def rule_of(text: dict[str, Any]) -> Rule:
    """A rule as the cases write it."""
    name = text["name"]
    operand: tuple[int, ...]
    if name.startswith("MATCH_IPV"):
        ip = ip_interface(text["ip"])
        operand = (int(ip.ip), ip.network.prefixlen)
    elif name == "ACTION_PRIORITY":
        operand = (text["qosBucket"],) if text["qosBucket"] else ()
    elif name.startswith("MATCH_TAG"):
        operand = (text["id"], text["value"])
    elif name == "MATCH_INTEGER_RANGE":
        operand = (text["start"], text["start"] + text["end_relative"], text["idx"], text["format"])
    else:
        values = (text[field] for field in _FIELDS.get(name, ()))
        operand = tuple(int(value, 16) if isinstance(value, str) else value for value in values)
    known = text["type"] in set(RuleType)
    kind = RuleType(text["type"]) if known else text["type"]
    assert not known or kind.name == name.replace("MATCH_INTEGER", "INTEGER")
    return Rule(kind, operand, inverted=text["not"], alternative=text["or"])


def rules_of(texts: list[dict[str, Any]]) -> tuple[Rule, ...]:
    return tuple(map(rule_of, texts))


@vector_kind("rules_binary")
def check_rules_binary(case: Case, fields: dict[str, str]) -> None:
    data, limit = unhex(case["binary"]), case["max_rules"]
    if not case["valid"]:
        assert_refused(DecodeError, decode_rules, data, limit)
        return
    reader = Reader(data)
    rules = read_rules(reader, limit)
    assert rules == rules_of(case["rules"])
    assert reader.offset == case["consumed"]
    assert encode_rules(rules).hex() == case["reserialized"]
    assert decode_rules(data, limit) == rules
