"""Signing what a controller vouches for, and checking it. vl2.md 4 and 2.5."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from enum import Enum
from hashlib import sha384
from struct import Struct
from typing import Final, TypeAlias, TypeVar

from zt_async.crypto.identity import Identity
from zt_async.types import IPAddress, MACAddress, NetworkId, NodeAddress
from zt_async.wire.config_chunks import ConfigChunk
from zt_async.wire.credentials import (
    MAX_CAPABILITY_RULES,
    MAX_CUSTODY,
    MAX_THINGS,
    REVOCATION_FAST,
    Capability,
    CertificateOfMembership,
    CertificateOfOwnership,
    Credential,
    CredentialType,
    Custody,
    Qualifier,
    QualifierId,
    Revocation,
    Tag,
    Thing,
)
from zt_async.wire.rules import Rule

FindIdentity: TypeAlias = Callable[[NodeAddress], Identity | None]
"""Gives the identity of a node if it is known."""

_ANY: Final = (1 << 64) - 1
_HASH_IDS: Final = range(QualifierId.IDENTITY_HASH, QualifierId.IDENTITY_HASH + 4)
_HASH = Struct("!4Q16x")

_Signable = TypeVar("_Signable", CertificateOfMembership, Tag, CertificateOfOwnership, Revocation)


class Verification(Enum):
    """What can be said of the signatures of a credential."""

    GOOD = "good"
    BAD = "bad"
    UNKNOWN_SIGNER = "unknown signer"


def identity_hash_words(identity: Identity) -> tuple[int, int, int, int]:
    """What a certificate of membership says of its holder's public key."""
    first, second, third, fourth = _HASH.unpack(
        sha384(identity.address.packed + identity.public_key).digest()
    )
    return first, second, third, fourth


# Signing


def sign(credential: _Signable, signer: Identity) -> _Signable:
    """The same credential, signed. Raises IdentityError if ``signer`` is without its secret key."""
    unsigned = replace(credential, signed_by=signer.address)
    return replace(unsigned, signature=signer.sign(unsigned.signed_part()))


def hand_on(capability: Capability, holder: NodeAddress, signer: Identity) -> Capability:
    """The capability in the hands of ``holder``: from the controller if it is the first, else from the last one."""
    link = Custody(holder, signer.address, signer.sign(capability.signed_part()))
    return replace(capability, custody=(*capability.custody, link))


def issue_com(
    controller: Identity, network_id: NetworkId, member: Identity, timestamp: int, max_delta: int
) -> CertificateOfMembership:
    """That ``member`` is one, for as long as others have certificates within ``max_delta`` ms of this one."""
    words = zip(_HASH_IDS, identity_hash_words(member), strict=True)
    qualifiers = (
        Qualifier(QualifierId.TIMESTAMP, timestamp, max_delta),
        Qualifier(QualifierId.NETWORK_ID, network_id, 0),
        Qualifier(QualifierId.ISSUED_TO, member.address, _ANY),
        *(Qualifier(number, word, _ANY) for number, word in words),
    )
    return sign(CertificateOfMembership(qualifiers), controller)


def issue_tag(
    controller: Identity, network_id: NetworkId, member: NodeAddress, timestamp: int, tag_id: int, value: int
) -> Tag:
    """A tag of ``member``."""
    return sign(Tag(network_id, timestamp, tag_id, value, member), controller)


def issue_capability(
    controller: Identity,
    network_id: NetworkId,
    member: NodeAddress,
    timestamp: int,
    capability_id: int,
    rules: Iterable[Rule],
    max_custody: int = 1,
) -> Capability:
    """A capability of ``member``. Other controllers too leave out the rules for which it has no room."""
    table = tuple(rules)[:MAX_CAPABILITY_RULES]
    length = max(1, min(max_custody, MAX_CUSTODY))
    return hand_on(Capability(network_id, timestamp, capability_id, table, length), member, controller)


def issue_ownership(
    controller: Identity,
    network_id: NetworkId,
    member: NodeAddress,
    timestamp: int,
    things: Iterable[Thing | IPAddress | MACAddress],
    certificate_id: int = 1,
) -> CertificateOfOwnership:
    """That addresses belong to ``member``. Other controllers too leave out those for which it has no room."""
    owned = tuple(thing if isinstance(thing, Thing) else Thing.of(thing) for thing in things)[:MAX_THINGS]
    return sign(CertificateOfOwnership(network_id, timestamp, 0, certificate_id, owned, member), controller)


def issue_revocation(
    controller: Identity,
    network_id: NetworkId,
    member: NodeAddress,
    threshold: int,
    revocation_id: int,
    credential_type: CredentialType = CredentialType.MEMBERSHIP,
    credential_id: int = 0,
    *,
    fast: bool = True,
) -> Revocation:
    """That a credential of ``member`` made at ``threshold`` or before is void; ``revocation_id`` is random."""
    flags = REVOCATION_FAST if fast else 0
    return sign(
        Revocation(revocation_id, network_id, credential_id, threshold, flags, member, credential_type),
        controller,
    )


# Checking


def verify(credential: Credential, find: FindIdentity) -> Verification:
    """Whether the controller of the credential's network signed it, or a chain of holders that begins there.

    Each signature costs some 100 microseconds.
    """
    controller = credential.network_id.controller
    if not isinstance(credential, Capability):
        if credential.signed_by != controller or not controller:
            return Verification.BAD
        return _verify_one(find(controller), credential.signed_part(), credential.signature)
    message = credential.signed_part()
    giver = controller
    for to, by, signature in credential.custody:
        if by != giver:
            return Verification.BAD
        result = _verify_one(find(by), message, signature)
        if result is not Verification.GOOD:
            return result
        giver = to
    return Verification.GOOD if credential.custody else Verification.BAD


def _verify_one(signer: Identity | None, message: bytes, signature: bytes) -> Verification:
    if signer is None:
        return Verification.UNKNOWN_SIGNER
    return Verification.GOOD if signer.verify(message, signature) else Verification.BAD


def com_agrees(mine: CertificateOfMembership, theirs: CertificateOfMembership, them: Identity) -> bool:
    """Whether ``theirs``, held by ``them``, makes them a member for the holder of ``mine`` (4.2).

    What may differ, and by how much, is in ``mine``. Signatures play no part.
    """
    if not mine.qualifiers:
        return False
    values = {qualifier.id: qualifier.value for qualifier in theirs.qualifiers}
    for qualifier_id, value, max_delta in mine.qualifiers:
        other = values.get(qualifier_id)
        if other is None or abs(value - other) > max_delta:
            return False
    if any(qualifier.id in _HASH_IDS for qualifier in mine.qualifiers):
        return tuple(map(values.get, _HASH_IDS)) == identity_hash_words(them)
    return True


def sign_chunk(chunk: ConfigChunk, controller: Identity) -> ConfigChunk:
    """The same chunk, signed."""
    return replace(chunk, signature=controller.sign(chunk.signed_part()))


def verify_chunk(chunk: ConfigChunk, controller: Identity) -> bool:
    """Whether ``controller`` signed the chunk."""
    return chunk.signature is not None and controller.verify(chunk.signed_part(), chunk.signature)
