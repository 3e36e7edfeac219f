"""Checks of the vectors about network rules."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

from tests.vectors.registry import Case, assert_refused, vector_kind
from zt_async.errors import DecodeError
from zt_async.testing import SimClock, seeded_context
from zt_async.types import IPAddress, MACAddress, NetworkId, NodeAddress
from zt_async.vl2.filter import Copy, Filter
from zt_async.vl2.matches import Local, Packet
from zt_async.vl2.rules import Table, Verdict
from zt_async.wire.buffer import Reader
from zt_async.wire.credentials import Capability, CertificateOfOwnership, Credential
from zt_async.wire.network_config import FLAG_UNKNOWN_RULES_MATCH, NetworkConfig
from zt_async.wire.packet import Verb
from zt_async.wire.rules import Rule, RuleType, decode_rules, encode_rules, read_rules

unhex = bytes.fromhex
OWN = NodeAddress(0x19EA7D3D01)
CONFIG_TIMESTAMP = 1_700_000_000_000  # ms
CREDENTIAL_MAX_DELTA = 60_000  # ms

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
        ip, bits = text["ip"].split("/")
        operand = (int(ip_address(ip)), int(bits))
    elif name == "ACTION_PRIORITY":
        operand = (text["qosBucket"],) if text["qosBucket"] else ()
    elif name.startswith("MATCH_TAG"):
        operand = (text["id"], text["value"])
    elif name == "MATCH_INTEGER_RANGE":
        end = text["start"] + text["end_relative"] & 0xFFFFFFFFFFFFFFFF
        operand = (text["start"], end, text["idx"], text["format"])
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


class Peer:
    """What is known of the member at the other end: the credentials of a case that are inside the time window."""

    def __init__(
        self,
        tags: dict[int, int] | None = None,
        ownerships: tuple[CertificateOfOwnership, ...] = (),
        granted: tuple[Capability, ...] = (),
    ) -> None:
        self.state = self
        self._tags = tags or {}
        self._ownerships = [c for c in ownerships if _is_current(c)]
        self._capabilities = [c for c in granted if _is_current(c)]

    def tag(self, tag_id: int) -> int | None:
        return self._tags.get(tag_id)

    def owns(self, thing: IPAddress | MACAddress) -> bool:
        return any(certificate.owns(thing) for certificate in self._ownerships)

    def capabilities(self) -> list[Capability]:
        return self._capabilities


def _is_current(credential: Credential) -> bool:
    return abs(credential.timestamp - CONFIG_TIMESTAMP) <= CREDENTIAL_MAX_DELTA


@vector_kind("rules")
def check_rules(case: Case, fields: dict[str, str]) -> None:
    rules = rules_of(case["rules"])
    assert encode_rules(rules).hex() == case["rules_binary"]
    local = Local(
        address=OWN,
        random=lambda: 0xFFFFFFFF,
        tags=_tags(case, "local_tags"),
        ownerships=_ownerships(case, "local_ownership"),
        unknown_matches=bool(case["network_flags"] & FLAG_UNKNOWN_RULES_MATCH),
    )
    remote = Peer(_tags(case, "remote_tags"), _ownerships(case, "remote_ownership"))
    table = Table(rules)
    for direction in ("inbound", "outbound"):
        inbound = direction == "inbound"
        where = case if inbound else case["outbound_addresses"]
        packet = Packet(
            local,
            unhex(case["frame"]),
            case["ether_type"],
            int(where["mac_dest"], 16),
            int(where["mac_source"], 16),
            int(where["zt_source"], 16),
            int(where["zt_dest"], 16),
            inbound,
            remote if case.get("remote_member_known", True) else None,
            case["vlan_id"],
        )
        outcome = table.evaluate(packet)
        result: dict[str, Any] = {"result": outcome.verdict.name.lower()}
        if outcome.copy_to:
            length = len(packet.payload[: outcome.copy_length])
            result |= {"cc": f"{outcome.copy_to:010x}", "cc_length": length, "cc_watch": outcome.watch}
        if outcome.redirect_to:
            result["redirect_to"] = f"{outcome.redirect_to:010x}"
        if outcome.bucket is not None:
            result["qos_bucket"] = outcome.bucket
        assert result == case[direction], direction
        if inbound:
            assert case["valid"] is (outcome.verdict >= Verdict.REDIRECT)


def _tags(case: Case, side: str) -> dict[int, int]:
    return {int(tag_id): value for tag_id, value in case.get(side, {}).items()}


def _ownerships(case: Case, side: str) -> tuple[CertificateOfOwnership, ...]:
    return tuple(CertificateOfOwnership.read(Reader(unhex(text))) for text in case.get(side, ()))


@vector_kind("network_filter")
def check_network_filter(case: Case, fields: dict[str, str]) -> None:
    rules = rules_of(case["rules"])
    assert encode_rules(rules).hex() == case["rules_binary"]
    own, peer = NodeAddress.parse(case["local_address"]), NodeAddress.parse(case["peer_address"])
    network_id = NetworkId.parse(case["network_id"])
    config = NetworkConfig(
        network_id=network_id,
        issued_to=own,
        private=False,
        timestamp=CONFIG_TIMESTAMP,
        credential_max_delta=CREDENTIAL_MAX_DELTA,
        rules=rules,
        capabilities=_capabilities(case, "local_capabilities"),
    )
    tested = Filter(config, own, seeded_context("vectors", SimClock(0.0)))
    remote = Peer(granted=_capabilities(case, "remote_capabilities"))
    to_mac, from_mac = int(case["mac_dest"], 16), int(case["mac_source"], 16)
    frame = unhex(case["frame"]), case["ether_type"], to_mac, from_mac, peer, remote
    for _ in range(3):  # judged, and remembered
        if case["direction"] == "outbound":
            decision = tested.outgoing(*frame, copies=not case["no_tee"])
        else:
            decision = tested.incoming(*frame)
        assert decision.verdict == case["result"]
        sent = [
            {"to": str(copy.target), "verb": Verb.EXT_FRAME, "payload": _ext_frame(network_id, copy, *frame)}
            for copy in decision.copies
        ]
        assert sent == case["sent_aside"]
        assert case["valid"] is (decision.verdict > 0)


def _ext_frame(
    network_id: NetworkId, copy: Copy, payload: bytes, ethertype: int, to_mac: int, from_mac: int, *_: object
) -> str:
    head = network_id.packed + bytes((copy.flags,)) + to_mac.to_bytes(6, "big") + from_mac.to_bytes(6, "big")
    return (head + ethertype.to_bytes(2, "big") + payload[: copy.length]).hex()


def _capabilities(case: Case, side: str) -> tuple[Capability, ...]:
    made = []
    for text in case.get(side, ()):
        capability = Capability.read(Reader(unhex(text["binary"])))
        assert capability.id == text["id"]
        assert capability.rules == rules_of(text["rules"])
        made.append(capability)
    return tuple(made)
