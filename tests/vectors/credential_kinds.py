"""Checks of the vectors about what controllers sign for members."""

from __future__ import annotations

import re
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

from tests.vectors.registry import Case, assert_refused, vector_kind
from tests.vectors.rules_kinds import rules_of
from zt_async.crypto.credentials import (
    com_agrees,
    issue_com,
    issue_ownership,
    issue_revocation,
    issue_tag,
    sign,
    verify,
)
from zt_async.crypto.identity import Identity
from zt_async.errors import DecodeError
from zt_async.types import IPAddress, MACAddress, NetworkId, NodeAddress
from zt_async.vl2.membership import Members, Outcome
from zt_async.wire.buffer import Reader
from zt_async.wire.credentials import (
    Capability,
    CertificateOfMembership,
    CertificateOfOwnership,
    Credential,
    Custody,
    Qualifier,
    Revocation,
    Tag,
    Thing,
)
from zt_async.wire.network_config import NetworkConfig
from zt_async.wire.rules import RuleType

unhex = bytes.fromhex

_KINDS: dict[str, type[Credential]] = {
    "com": CertificateOfMembership,
    "capability": Capability,
    "tag": Tag,
    "ownership": CertificateOfOwnership,
    "revocation": Revocation,
}


def known_identities(fields: dict[str, str]) -> dict[NodeAddress, Identity]:
    texts = re.findall("[0-9a-f]{10}:0:[0-9a-f]{128}", str(fields["identities known to the verifier"]))
    identities = map(Identity.parse, texts)
    return {identity.address: identity for identity in identities}


def _verified(credential: Credential, fields: dict[str, str]) -> str:
    return verify(credential, known_identities(fields).get).value.replace(" ", "_").replace("good", "ok")


def _read(kind: type[Credential], case: Case) -> Credential | None:
    """The credential of a case, None if it is refused as it should be."""
    binary = unhex(case["binary"])
    reader = Reader(binary)
    if case.get("kind") == "parse" and not case["valid"]:
        assert_refused(DecodeError, kind.read, reader)
        return None
    credential = kind.read(reader)
    assert reader.offset == case.get("consumed", len(binary))
    return credential


def _check_signature(credential: Credential, case: Case, fields: dict[str, str]) -> None:
    """What the case says of the signature, and how it is made if its signer is there."""
    assert _verified(credential, fields) == case["verify"]
    if case["kind"] != "parse":
        assert case["valid"] is (case["verify"] == "ok")
        assert credential.encode() == unhex(case["binary"])
        if "signed_bytes" in case:
            assert credential.signed_part() == unhex(case["signed_bytes"])
        if "signer_secret_string" in case and credential.signed_by:
            signer = Identity.parse(case["signer_secret_string"])
            assert signer.secret_matches()
            assert signer.address == credential.signed_by
            assert not isinstance(credential, Capability)
            assert sign(replace(credential, signature=bytes(96)), signer) == credential


@vector_kind("tags")
def check_tags(case: Case, fields: dict[str, str]) -> None:
    tag = _read(Tag, case)
    if tag is None:
        return
    wanted = Tag(
        NetworkId.parse(case["network_id"]),
        case["timestamp"],
        case["id"],
        case["value"],
        NodeAddress.parse(case["issued_to"]),
        NodeAddress.parse(case["signed_by"]),
        unhex(case["signature"]),
    )
    assert tag == wanted
    _check_signature(tag, case, fields)
    if case["kind"] != "parse" and tag.signed_by:
        signer = Identity.parse(case["signer_secret_string"])
        fresh = issue_tag(signer, tag.network_id, tag.issued_to, tag.timestamp, tag.id, tag.value)
        assert fresh == tag


@vector_kind("revocations")
def check_revocations(case: Case, fields: dict[str, str]) -> None:
    revocation = _read(Revocation, case)
    if revocation is None:
        return
    wanted = Revocation(
        case["id"],
        NetworkId.parse(case["network_id"]),
        case["credential_id"],
        case["threshold"],
        case["flags"],
        NodeAddress.parse(case["target"]),
        case["credential_type"],
        NodeAddress.parse(case["signed_by"]),
        unhex(case["signature"]),
    )
    assert revocation == wanted
    assert revocation.fast is case["fast_propagate"]
    _check_signature(revocation, case, fields)
    if case["kind"] != "parse" and revocation.signed_by and case["flags"] <= 1 and case["credential_type"]:
        fresh = issue_revocation(
            Identity.parse(case["signer_secret_string"]),
            revocation.network_id,
            revocation.target,
            revocation.threshold,
            revocation.id,
            revocation.credential_type,
            revocation.credential_id,
            fast=revocation.fast,
        )
        assert fresh == revocation


def _things(case: Case) -> tuple[Thing, ...]:
    return tuple(Thing(thing["type"], unhex(thing["value"])) for thing in case["things"])


def _address(text: dict[str, Any]) -> IPAddress | MACAddress:
    return MACAddress.parse(text["mac"]) if "mac" in text else ip_address(text["ip"])


@vector_kind("certificates_of_ownership")
def check_certificates_of_ownership(case: Case, fields: dict[str, str]) -> None:
    certificate = _read(CertificateOfOwnership, case)
    if certificate is None:
        return
    wanted = CertificateOfOwnership(
        NetworkId.parse(case["network_id"]),
        case["timestamp"],
        case["flags"],
        case["id"],
        _things(case),
        NodeAddress.parse(case["issued_to"]),
        NodeAddress.parse(case["signed_by"]),
        unhex(case["signature"]),
    )
    assert certificate == wanted
    for query in case.get("owns", ()):
        assert certificate.owns(_address(query)) is query["owned"]
    _check_signature(certificate, case, fields)
    if case["kind"] != "parse" and certificate.signed_by:
        fresh = issue_ownership(
            Identity.parse(case["signer_secret_string"]),
            certificate.network_id,
            certificate.issued_to,
            certificate.timestamp,
            certificate.things,
            certificate.id,
        )
        assert fresh == certificate


@vector_kind("capabilities")
def check_capabilities(case: Case, fields: dict[str, str]) -> None:
    capability = _read(Capability, case)
    if capability is None:
        return
    custody = [
        Custody(NodeAddress.parse(link["to"]), NodeAddress.parse(link["from"]), unhex(link["signature"]))
        for link in case["custody"]
    ]
    made = Capability(
        NetworkId.parse(case["network_id"]),
        case["timestamp"],
        case["id"],
        rules_of(case["rules"]),
        case["max_custody_chain_length"],
        tuple(custody),
    )
    assert made.encode() == capability.encode()
    travelled = tuple(
        rule._replace(operand=()) if rule.type == RuleType.ACTION_PRIORITY else rule for rule in made.rules
    )
    assert capability == replace(made, rules=travelled)
    assert f"{capability.issued_to}" == case["issued_to"]
    _check_signature(capability, case, fields)


@vector_kind("certificate_of_membership")
def check_certificate_of_membership(case: Case, fields: dict[str, str]) -> None:
    if case["kind"] == "agreement":
        _check_agreement(case)
        return
    com = _read(CertificateOfMembership, case)
    if com is None:
        return
    assert com.qualifiers == tuple(Qualifier(*numbers) for numbers in case["qualifiers"])
    assert com.signed_by == NodeAddress.parse(case.get("signed_by", "0000000000"))
    if case["kind"] == "parse":
        return
    assert com.signature == unhex(case.get("signature", "00" * 96))
    if "network_id" in case:
        assert com.network_id == NetworkId.parse(case["network_id"])
    if "timestamp" in case:
        assert com.timestamp == case["timestamp"]
    if "issued_to" in case:
        assert com.issued_to == NodeAddress.parse(case["issued_to"])
    _check_signature(com, case, fields)
    if len(com.qualifiers) == 7 and "signer_secret_string" in case:
        member = Identity.parse(case["issued_to_public_string"])
        signer = Identity.parse(case["signer_secret_string"])
        fresh = issue_com(signer, com.network_id, member, com.timestamp, com.qualifiers[0].max_delta)
        assert fresh == com


def _check_agreement(case: Case) -> None:
    mine, other = (CertificateOfMembership.read(Reader(unhex(case[whose]))) for whose in ("mine", "other"))
    for com, whose in ((mine, "mine"), (other, "other")):
        assert com.qualifiers == tuple(Qualifier(*numbers) for numbers in case[f"{whose}_qualifiers"])
        assert com.encode() == unhex(case[whose])
    them = Identity.parse(case["other_public_string"])
    assert com_agrees(mine, other, them) is case["agrees"]
    assert case["valid"] is case["agrees"]


_RESULTS = {
    Outcome.NEW: "new",
    Outcome.EXPIRED: "new",  # other nodes keep what they will never use
    Outcome.REDUNDANT: "redundant",
    Outcome.UNKNOWN_SIGNER: "deferred",
}


@vector_kind("credential_sequences")
def check_credential_sequences(case: Case, fields: dict[str, str]) -> None:
    network_id = NetworkId.parse(case["network_id"])
    member = Identity.parse(case["member_public_string"])
    own_com = CertificateOfMembership.read(Reader(unhex(case["own_com"])))
    assert own_com.network_id == network_id
    config = NetworkConfig(
        network_id=network_id,
        issued_to=own_com.issued_to,
        private=not case["network_public"],
        timestamp=case["config_timestamp"],
        credential_max_delta=case["credential_time_max_delta"],
        certificate=own_com,
    )
    members = Members(network_id)
    members.configure(config)
    identities = known_identities(fields)
    result = None
    for step in case["steps"]:
        credential = _KINDS[step["type"]].read(Reader(unhex(step["binary"])))
        joined = members if credential.network_id == network_id else Members(credential.network_id)
        result = joined.add(credential, identities.get)
        assert _RESULTS.get(result, "rejected") == step["result"], f"{result} instead of {step['result']}"
        record = members.get(member.address)
        assert members.allows(member) is step["allowed_on_network_after"]
        assert (record.com_threshold if record else 0) == step["com_revocation_threshold_after"]
        assert len(record.capabilities() if record else ()) == step["usable_capabilities_after"]
        for tag_id, value in step.get("tags_after", {}).items():
            assert (record.tag(int(tag_id)) if record else None) == value
    assert result is not None
    assert case["valid"] is (_RESULTS.get(result) is not None)
