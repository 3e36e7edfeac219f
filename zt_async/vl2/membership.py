"""What is known of the members of a network: their credentials, and what of those is void. vl2.md 4.

Nothing is kept that the controller did not sign. Times are Unix milliseconds of the controller's clock; this node's
own clock plays no part (vl2.md 4.1).
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from typing import Any, Final, Generic, TypeAlias, TypeVar

from zt_async.crypto.credentials import FindIdentity, Verification, com_agrees, verify
from zt_async.crypto.identity import Identity
from zt_async.types import IPAddress, MACAddress, NetworkId, NodeAddress
from zt_async.wire.credentials import (
    Capability,
    CertificateOfMembership,
    CertificateOfOwnership,
    Credential,
    CredentialType,
    QualifierId,
    Revocation,
    Tag,
)
from zt_async.wire.network_config import MAX_CAPABILITIES, MAX_TAGS, NetworkConfig

MAX_MEMBERS: Final = 16_384
MAX_OWNERSHIPS: Final = 16
MAX_REVOCATIONS: Final = 128
"""Revocations that are told apart by ID, of one type and one member."""


class Outcome(Enum):
    """What became of a credential."""

    NEW = "new"
    REDUNDANT = "redundant"
    """It is held already; what a revocation says is known already."""
    UNKNOWN_SIGNER = "unknown signer"
    """To be tried again when all its signers are known."""
    FOREIGN = "foreign"
    """Of another network or member."""
    BAD_SIGNATURE = "bad signature"
    OLD = "old"
    """A newer one is held."""
    EXPIRED = "expired"
    """Signed, but too old to be valid under our configuration or any later one."""
    REVOKED = "revoked"
    UNKNOWN_TYPE = "unknown type"
    """A revocation of what cannot be revoked."""
    TOO_MANY = "too many"

    @property
    def accepted(self) -> bool:
        """Whether it is the controller's word, and holds."""
        return self in (Outcome.NEW, Outcome.REDUNDANT)


_OUTCOMES: Final = {
    Verification.GOOD: Outcome.NEW,
    Verification.BAD: Outcome.BAD_SIGNATURE,
    Verification.UNKNOWN_SIGNER: Outcome.UNKNOWN_SIGNER,
}

_Kept: TypeAlias = CertificateOfMembership | Capability | Tag | CertificateOfOwnership
_T = TypeVar("_T", bound=_Kept)


class _Shelf(Generic[_T]):
    """A member's credentials of one type by ID, and the times up to which they are void."""

    __slots__ = ("_limit", "_oldest", "_revocations", "by_id", "floor")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._oldest = 0
        self._revocations: dict[int, Revocation] = {}
        self.by_id: dict[int, _T] = {}
        self.floor = 0
        """What is not newer is void whatever its ID."""

    def __bool__(self) -> bool:
        return bool(self.by_id or self._revocations)

    def threshold(self, credential_id: int) -> int:
        revocation = self._revocations.get(credential_id)
        return self.floor if revocation is None else max(self.floor, revocation.threshold)

    def add(self, credential: _T, find: FindIdentity) -> Outcome:
        """Keep a credential if it is good. What is held already is not verified again."""
        held = self.by_id.get(credential.id)
        if credential.timestamp <= self.threshold(credential.id):
            return Outcome.REVOKED
        if held is not None and held.timestamp > credential.timestamp:
            return Outcome.OLD
        if held == credential:
            return Outcome.REDUNDANT
        outcome = _OUTCOMES[verify(credential, find)]
        if outcome is not Outcome.NEW:
            return outcome
        if credential.timestamp < self._oldest:
            return Outcome.EXPIRED
        if held is None and len(self.by_id) >= self._limit:
            oldest = min(self.by_id.values(), key=_timestamp)
            if oldest.timestamp >= credential.timestamp:
                return Outcome.TOO_MANY
            del self.by_id[oldest.id]
        self.by_id[credential.id] = credential
        return Outcome.NEW

    def holds_revocation(self, credential_id: int, revocation: Revocation) -> bool:
        return self._revocations.get(credential_id) == revocation

    def revoke(self, credential_id: int, revocation: Revocation) -> bool:
        """Let a verified revocation take effect. False if nothing can be void that was not before."""
        if revocation.threshold < self._oldest or revocation.threshold <= self.threshold(credential_id):
            return False
        self._revocations[credential_id] = revocation
        if len(self._revocations) > MAX_REVOCATIONS:
            # The lowest threshold becomes everybody's: members get new credentials all the time.
            lowest = min(self._revocations, key=lambda i: self._revocations[i].threshold)
            self.raise_floor(self._revocations.pop(lowest).threshold)
        self._drop_void()
        return True

    def raise_floor(self, threshold: int) -> None:
        self.floor = max(self.floor, threshold)
        self._drop_void()

    def _drop_void(self) -> None:
        for credential in list(self.by_id.values()):
            if credential.timestamp <= self.threshold(credential.id):
                del self.by_id[credential.id]

    def expire(self, oldest: int) -> None:
        """Drop what is from before ``oldest``, and revocations of nothing else, and keep no more of it."""
        self._oldest = oldest
        for credential in list(self.by_id.values()):
            if credential.timestamp < oldest:
                del self.by_id[credential.id]
        for credential_id, revocation in list(self._revocations.items()):
            if revocation.threshold < oldest:
                del self._revocations[credential_id]


def _timestamp(credential: _Kept) -> int:
    return credential.timestamp


class Membership:
    """What is known of one member.

    A credential is valid if its time is close enough to that of our configuration, and after any revocation (4.9).
    """

    __slots__ = (
        *("_allowed", "_capabilities", "_config", "_judged", "_ownerships", "_shelves", "_tags"),
        *("_capability_shelf", "_com_shelf", "_ownership_shelf", "_tag_shelf"),
        *("address", "network_id", "state"),
    )

    def __init__(self, network_id: NetworkId, address: NodeAddress) -> None:
        self.network_id = network_id
        self.address = address
        self._config: NetworkConfig | None = None
        self._com_shelf = _Shelf[CertificateOfMembership](1)
        self._capability_shelf = _Shelf[Capability](MAX_CAPABILITIES)
        self._tag_shelf = _Shelf[Tag](MAX_TAGS)
        self._ownership_shelf = _Shelf[CertificateOfOwnership](MAX_OWNERSHIPS)
        self._shelves: dict[int, _Shelf[Any]] = {
            CredentialType.MEMBERSHIP: self._com_shelf,
            CredentialType.CAPABILITY: self._capability_shelf,
            CredentialType.TAG: self._tag_shelf,
            CredentialType.OWNERSHIP: self._ownership_shelf,
        }
        self._changed()

    def _changed(self) -> None:
        self.state = object()
        """Another object whenever something may have another answer."""
        self._judged: Identity | None = None
        self._allowed = False
        self._capabilities: list[Capability] | None = None
        self._ownerships: list[CertificateOfOwnership] | None = None
        self._tags: dict[int, int] | None = None

    @property
    def com(self) -> CertificateOfMembership | None:
        """The certificate of membership that is held; it need not agree with ours."""
        return self._com_shelf.by_id.get(0)

    @property
    def com_threshold(self) -> int:
        """Certificates of membership that are not newer are void."""
        return self._com_shelf.threshold(0)

    def allows(self, member: Identity) -> bool:
        """Whether frames of the member, who has this identity, are taken: the gate (vl2.md 4.9)."""
        if self._judged is not member:
            self._judged, self._allowed = member, self._agrees(member)
        return self._allowed

    def _agrees(self, member: Identity) -> bool:
        config, theirs = self._config, self.com
        if config is None:
            return False
        if not config.private:
            return True
        ours = config.certificate
        return ours is not None and theirs is not None and com_agrees(ours, theirs, member)

    def tag(self, tag_id: int) -> int | None:
        """The value of a valid tag."""
        if self._tags is None:
            self._tags = {tag.id: tag.value for tag in self._valid(self._tag_shelf)}
        return self._tags.get(tag_id)

    def capabilities(self) -> list[Capability]:
        """The valid ones, by ID."""
        if self._capabilities is None:
            self._capabilities = sorted(self._valid(self._capability_shelf), key=lambda c: c.id)
        return self._capabilities

    def owns(self, thing: IPAddress | MACAddress) -> bool:
        """Whether a valid certificate says that an address is the member's."""
        if self._ownerships is None:
            self._ownerships = self._valid(self._ownership_shelf)
        return any(certificate.owns(thing) for certificate in self._ownerships)

    def _valid(self, shelf: _Shelf[_T]) -> list[_T]:
        config = self._config
        if config is None:
            return []
        now, delta = config.timestamp, config.credential_max_delta
        return [held for held in shelf.by_id.values() if abs(held.timestamp - now) <= delta]

    def configure(self, config: NetworkConfig) -> bool:
        """Compare with this configuration of ours from now on, and drop what is too old to be valid again.

        False if nothing is left.
        """
        self._config = config
        oldest = config.timestamp - config.credential_max_delta
        for shelf in (self._capability_shelf, self._tag_shelf, self._ownership_shelf):
            shelf.expire(oldest)
        oldest_com = _oldest_com(config)
        self._com_shelf.expire(oldest_com)
        self._changed()
        return any(self._shelves.values()) or self.com_threshold >= oldest_com

    def add(self, credential: Credential, find: FindIdentity) -> Outcome:
        """Take a credential or a revocation, if it is this member's and the controller signed it.

        A NEW revocation that is ``fast`` is to be passed on to all members.
        """
        if credential.network_id != self.network_id or credential.issued_to != self.address:
            return Outcome.FOREIGN
        if isinstance(credential, Revocation):
            outcome = self._revoke(credential, find)
        else:
            outcome = self._shelves[credential.TYPE].add(credential, find)
        if outcome is Outcome.NEW:
            self._changed()
        return outcome

    def _revoke(self, revocation: Revocation, find: FindIdentity) -> Outcome:
        shelf = self._shelves.get(revocation.credential_type)
        if shelf is None:
            return Outcome.UNKNOWN_TYPE
        credential_id = 0 if shelf is self._com_shelf else revocation.credential_id
        if shelf.holds_revocation(credential_id, revocation):
            return Outcome.REDUNDANT
        outcome = _OUTCOMES[verify(revocation, find)]
        if outcome is Outcome.NEW:
            if not shelf.revoke(credential_id, revocation):
                return Outcome.REDUNDANT
            # Whatever is revoked, other nodes want a new certificate of membership too.
            self._com_shelf.raise_floor(revocation.threshold)
        return outcome


def _oldest_com(config: NetworkConfig) -> int:
    """The time before which no certificate of membership agrees with ours."""
    if config.certificate is None:
        return config.timestamp - config.credential_max_delta
    deltas = (q.max_delta for q in config.certificate.qualifiers if q.id == QualifierId.TIMESTAMP)
    return config.certificate.timestamp - next(deltas, 0)


class Members:
    """All members of a network that something is known of."""

    __slots__ = ("_config", "_records", "network_id")

    def __init__(self, network_id: NetworkId) -> None:
        self.network_id = network_id
        self._config: NetworkConfig | None = None
        self._records: dict[NodeAddress, Membership] = {}  # who was heard of longest ago first

    def __len__(self) -> int:
        return len(self._records)

    def __iter__(self) -> Iterator[Membership]:
        return iter(self._records.values())

    def get(self, address: NodeAddress) -> Membership | None:
        return self._records.get(address)

    def allows(self, member: Identity) -> bool:
        """Whether frames of the node with this identity are taken (vl2.md 4.9)."""
        config = self._config
        if config is None:
            return False
        if not config.private:
            return True
        record = self._records.get(member.address)
        return record is not None and record.allows(member)

    def configure(self, config: NetworkConfig) -> None:
        """Compare with this configuration of ours from now on; members of whom only old news are held go."""
        self._config = config
        for record in list(self._records.values()):
            if not record.configure(config):
                del self._records[record.address]

    def add(self, credential: Credential, find: FindIdentity) -> Outcome:
        """Take a credential or a revocation, whoever sent it, into the record of the member that it is about."""
        address = credential.issued_to
        record = self._records.get(address)
        if record is not None:
            outcome = record.add(credential, find)
        else:
            record = Membership(self.network_id, address)
            if self._config is not None:
                record.configure(self._config)
            outcome = record.add(credential, find)
            if outcome is Outcome.NEW and len(self._records) >= MAX_MEMBERS:
                del self._records[self._least_wanted()]
        if outcome is Outcome.NEW:
            self._records.pop(address, None)
            self._records[address] = record
        return outcome

    def _least_wanted(self) -> NodeAddress:
        """Who was heard of longest ago, but rather one of whom nothing is revoked."""
        harmless = (record.address for record in self if not record.com_threshold)
        return next(harmless, next(iter(self._records)))
