"""What a controller signs for its members: bytes to values and back. vl2.md 4.2 to 4.7.

Reading checks the form and the bounds, never a signature: that is ``zt_async.crypto.credentials``. Times are Unix
milliseconds. ``read`` raises DecodeError, ``encode`` ValueError for a number that its place on the wire cannot hold.
"""

from __future__ import annotations

import struct
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv4Address
from itertools import chain, pairwise
from struct import Struct
from typing import ClassVar, Final, NamedTuple, Self, TypeAlias, TypeVar

from zt_async.errors import DecodeError
from zt_async.types import IPAddress, MACAddress, NetworkId, NodeAddress
from zt_async.wire.buffer import Reader
from zt_async.wire.rules import Rule, encode_rules, read_rules

MAX_QUALIFIERS: Final = 8
MAX_CAPABILITY_RULES: Final = 64
MAX_CUSTODY: Final = 7
MAX_THINGS: Final = 16

SIGNATURE_SIZE: Final = 96
UNSIGNED: Final = bytes(SIGNATURE_SIZE)
NO_NODE: Final = NodeAddress(0)

REVOCATION_FAST: Final = 0x01

_ED25519: Final = 1
_SIGNATURE_HEAD = b"\x01\x00\x60"  # type and length
_PADDING: Final = b"\x7f" * 8
_ADDRESS_MASK: Final = (1 << 40) - 1
_NO_MORE_FIELDS: Final = b"\0\0"
_EMPTY_SIZE: Final = 9  # bytes of a payload without credentials

_QUALIFIER = Struct("!QQQ")
_TAG = Struct("!QqII5s5s")
_CAPABILITY = Struct("!QqIH")
_OWNERSHIP = Struct("!QqQIH")
_THING = Struct("!B16s")
_REVOCATION = Struct("!4xIQ4xIqQ5s5sB")


class CredentialType(IntEnum):
    """What kind of credential something is about."""

    MEMBERSHIP = 1
    CAPABILITY = 2
    TAG = 3
    OWNERSHIP = 4
    REVOCATION = 6


class QualifierId(IntEnum):
    """What a qualifier of a certificate of membership says; 3 to 6 are the hash of the identity."""

    TIMESTAMP = 0
    NETWORK_ID = 1
    ISSUED_TO = 2
    IDENTITY_HASH = 3


class Qualifier(NamedTuple):
    """A number, and by how much another member's may differ from it."""

    id: int
    value: int
    max_delta: int


def _packed(layout: Struct, *fields: object) -> bytes:
    try:
        return layout.pack(*fields)
    except struct.error as error:
        raise ValueError(f"a field of a credential does not fit: {fields}") from error


def _padded(body: bytes) -> bytes:
    """What is signed of everything but a certificate of membership."""
    return b"%b%b\0\0%b" % (_PADDING, body, _PADDING)


def _read_signature(reader: Reader) -> bytes:
    kind, size = reader.u8(), reader.u16()
    if kind != _ED25519:
        reader.skip(size)
        return UNSIGNED
    if size != SIGNATURE_SIZE:
        raise DecodeError("bad signature length")
    return reader.take(SIGNATURE_SIZE)


def _read_end(reader: Reader) -> bytes:
    """A signature, and further fields that are not known."""
    signature = _read_signature(reader)
    reader.skip(reader.u16())
    return signature


class _Signed(ABC):
    """What tags, certificates of ownership and revocations have in common: a body, then one signature of it."""

    __slots__ = ()

    signature: bytes

    @abstractmethod
    def _body(self) -> bytes: ...

    def signed_part(self) -> bytes:
        return _padded(self._body())

    def encode(self) -> bytes:
        return self._body() + _SIGNATURE_HEAD + self.signature + _NO_MORE_FIELDS


@dataclass(frozen=True, slots=True)
class CertificateOfMembership:
    """That a node is a member; others of the network take its frames while theirs and this one agree (4.2)."""

    TYPE: ClassVar = CredentialType.MEMBERSHIP

    qualifiers: tuple[Qualifier, ...]
    signed_by: NodeAddress = NO_NODE
    signature: bytes = UNSIGNED

    def value(self, qualifier_id: int) -> int:
        """The first value with this ID; 0 if there is none."""
        return next((q.value for q in self.qualifiers if q.id == qualifier_id), 0)

    @property
    def id(self) -> int:
        return 0

    @property
    def network_id(self) -> NetworkId:
        return NetworkId(self.value(QualifierId.NETWORK_ID))

    @property
    def timestamp(self) -> int:
        return self.value(QualifierId.TIMESTAMP)

    @property
    def issued_to(self) -> NodeAddress:
        return NodeAddress(self.value(QualifierId.ISSUED_TO) & _ADDRESS_MASK)

    def signed_part(self) -> bytes:
        return b"".join(_packed(_QUALIFIER, *qualifier) for qualifier in self.qualifiers)

    def encode(self) -> bytes:
        signature = self.signature if self.signed_by else b""
        count = len(self.qualifiers)
        return b"\x01%b%b%b%b" % (
            count.to_bytes(2, "big"),
            self.signed_part(),
            self.signed_by.packed,
            signature,
        )

    @classmethod
    def read(cls, reader: Reader) -> Self:
        if reader.u8() != 1:
            raise DecodeError("bad certificate of membership")
        count = reader.u16()
        if count > MAX_QUALIFIERS:
            raise DecodeError("too many qualifiers")
        qualifiers = tuple(map(Qualifier._make, _QUALIFIER.iter_unpack(reader.take(count * _QUALIFIER.size))))
        if any(one.id > other.id for one, other in pairwise(qualifiers)):
            raise DecodeError("qualifiers out of order")
        signed_by = NodeAddress.from_packed(reader.take(5))
        return cls(qualifiers, signed_by, reader.take(SIGNATURE_SIZE) if signed_by else UNSIGNED)


@dataclass(frozen=True, slots=True)
class Tag(_Signed):
    """A number that rules can ask for, under an ID that is a number too (4.3)."""

    TYPE: ClassVar = CredentialType.TAG

    network_id: NetworkId
    timestamp: int
    id: int
    value: int
    issued_to: NodeAddress
    signed_by: NodeAddress = NO_NODE
    signature: bytes = UNSIGNED

    def _body(self) -> bytes:
        return _packed(
            _TAG,
            self.network_id,
            self.timestamp,
            self.id,
            self.value,
            self.issued_to.packed,
            self.signed_by.packed,
        )

    @classmethod
    def read(cls, reader: Reader) -> Self:
        network_id, timestamp, tag_id, value, to, by = _TAG.unpack(reader.take(_TAG.size))
        return cls(
            NetworkId(network_id),
            timestamp,
            tag_id,
            value,
            NodeAddress.from_packed(to),
            NodeAddress.from_packed(by),
            _read_end(reader),
        )


class Custody(NamedTuple):
    """Who got a capability, and who gave and signed it."""

    to: NodeAddress
    by: NodeAddress
    signature: bytes


@dataclass(frozen=True, slots=True)
class Capability:
    """Rules that let its holder send what the network's own rules do not (4.4)."""

    TYPE: ClassVar = CredentialType.CAPABILITY

    network_id: NetworkId
    timestamp: int
    id: int
    rules: tuple[Rule, ...]
    max_custody: int = 1
    """The most holders, one after the other, 1 to 7."""
    custody: tuple[Custody, ...] = ()

    @property
    def issued_to(self) -> NodeAddress:
        """The last holder; zero if there is none."""
        return self.custody[-1].to if self.custody else NO_NODE

    @property
    def signed_by(self) -> NodeAddress:
        """Who gave it to the first holder; zero if there is none."""
        return self.custody[0].by if self.custody else NO_NODE

    def _body(self) -> bytes:
        head = _packed(_CAPABILITY, self.network_id, self.timestamp, self.id, len(self.rules))
        return head + encode_rules(self.rules) + bytes((self.max_custody,))

    def signed_part(self) -> bytes:
        return _padded(self._body())

    def encode(self) -> bytes:
        parts = [self._body()]
        for to, by, signature in self.custody:
            parts.append(to.packed + by.packed + _SIGNATURE_HEAD + signature)
        parts.append(NO_NODE.packed + _NO_MORE_FIELDS)
        return b"".join(parts)

    @classmethod
    def read(cls, reader: Reader) -> Self:
        network_id, timestamp, capability_id, count = _CAPABILITY.unpack(reader.take(_CAPABILITY.size))
        if count > MAX_CAPABILITY_RULES:
            raise DecodeError("too many rules")
        rules = read_rules(reader, count)
        max_custody = reader.u8()
        if not 1 <= max_custody <= MAX_CUSTODY:
            raise DecodeError("bad custody chain length")
        custody: list[Custody] = []
        while to := NodeAddress.from_packed(reader.take(5)):
            if len(custody) == max_custody:
                raise DecodeError("custody chain too long")
            custody.append(Custody(to, NodeAddress.from_packed(reader.take(5)), _read_signature(reader)))
        reader.skip(reader.u16())
        return cls(NetworkId(network_id), timestamp, capability_id, rules, max_custody, tuple(custody))


class ThingType(IntEnum):
    """What a certificate of ownership can be about."""

    MAC = 1
    IPV4 = 2
    IPV6 = 3


_THING_SIZES: Final[dict[int, int]] = {ThingType.MAC: 6, ThingType.IPV4: 4, ThingType.IPV6: 16}


class Thing(NamedTuple):
    """An address that a member owns. ``type`` is a number, so that unknown ones survive; ``value`` is 16 bytes."""

    type: int
    value: bytes

    @classmethod
    def of(cls, address: IPAddress | MACAddress) -> Self:
        if isinstance(address, MACAddress):
            kind = ThingType.MAC
        else:
            kind = ThingType.IPV4 if isinstance(address, IPv4Address) else ThingType.IPV6
        return cls(kind, address.packed.ljust(16, b"\0"))

    def is_same(self, other: Thing) -> bool:
        """Whether both are one address; what comes behind it in the 16 bytes does not matter."""
        size = _THING_SIZES.get(self.type)
        return size is not None and self.type == other.type and self.value[:size] == other.value[:size]


@dataclass(frozen=True, slots=True)
class CertificateOfOwnership(_Signed):
    """That addresses belong to a member (4.5)."""

    TYPE: ClassVar = CredentialType.OWNERSHIP

    network_id: NetworkId
    timestamp: int
    flags: int
    id: int
    things: tuple[Thing, ...]
    issued_to: NodeAddress
    signed_by: NodeAddress = NO_NODE
    signature: bytes = UNSIGNED

    def owns(self, address: IPAddress | MACAddress) -> bool:
        wanted = Thing.of(address)
        return any(wanted.is_same(thing) for thing in self.things)

    def _body(self) -> bytes:
        head = _packed(_OWNERSHIP, self.network_id, self.timestamp, self.flags, self.id, len(self.things))
        things = b"".join(_packed(_THING, *thing) for thing in self.things)
        return head + things + self.issued_to.packed + self.signed_by.packed

    @classmethod
    def read(cls, reader: Reader) -> Self:
        network_id, timestamp, flags, own_id, count = _OWNERSHIP.unpack(reader.take(_OWNERSHIP.size))
        if count > MAX_THINGS:
            raise DecodeError("too many things owned")
        things = tuple(map(Thing._make, _THING.iter_unpack(reader.take(count * _THING.size))))
        return cls(
            NetworkId(network_id),
            timestamp,
            flags,
            own_id,
            things,
            NodeAddress.from_packed(reader.take(5)),
            NodeAddress.from_packed(reader.take(5)),
            _read_end(reader),
        )


@dataclass(frozen=True, slots=True)
class Revocation(_Signed):
    """That a member's credential counts no more if its time is ``threshold`` or before (4.6)."""

    TYPE: ClassVar = CredentialType.REVOCATION

    id: int
    network_id: NetworkId
    credential_id: int
    """0 for a certificate of membership."""
    threshold: int
    flags: int
    target: NodeAddress
    credential_type: int
    """A CredentialType, or a number that has no meaning yet."""
    signed_by: NodeAddress = NO_NODE
    signature: bytes = UNSIGNED

    @property
    def timestamp(self) -> int:
        return self.threshold

    @property
    def issued_to(self) -> NodeAddress:
        return self.target

    @property
    def fast(self) -> bool:
        """Whoever learns something from it passes it on to all members it knows."""
        return bool(self.flags & REVOCATION_FAST)

    def _body(self) -> bytes:
        return _packed(
            _REVOCATION,
            self.id,
            self.network_id,
            self.credential_id,
            self.threshold,
            self.flags,
            self.target.packed,
            self.signed_by.packed,
            self.credential_type,
        )

    @classmethod
    def read(cls, reader: Reader) -> Self:
        own_id, network_id, credential_id, threshold, flags, target, by, kind = _REVOCATION.unpack(
            reader.take(_REVOCATION.size)
        )
        return cls(
            own_id,
            NetworkId(network_id),
            credential_id,
            threshold,
            flags,
            NodeAddress.from_packed(target),
            kind,
            NodeAddress.from_packed(by),
            _read_end(reader),
        )


Credential: TypeAlias = CertificateOfMembership | Capability | Tag | Revocation | CertificateOfOwnership


_Readable = TypeVar("_Readable", Capability, Tag, Revocation, CertificateOfOwnership)


def _read_group(reader: Reader, kind: type[_Readable]) -> tuple[_Readable, ...]:
    """A count and so many credentials. Old nodes leave out the last groups."""
    count = reader.u16() if reader.remaining else 0
    return tuple([kind.read(reader) for _ in range(count)])


@dataclass(frozen=True, slots=True)
class Credentials:
    """The payload of NETWORK_CREDENTIALS (4.7); they need not be of one network or one member."""

    coms: tuple[CertificateOfMembership, ...] = ()
    capabilities: tuple[Capability, ...] = ()
    tags: tuple[Tag, ...] = ()
    revocations: tuple[Revocation, ...] = ()
    ownerships: tuple[CertificateOfOwnership, ...] = ()

    def __iter__(self) -> Iterator[Credential]:
        """All of them, in the order of the wire."""
        return chain.from_iterable(self._groups())

    def encode(self) -> bytes:
        return _payload([[credential.encode() for credential in group] for group in self._groups()])

    def payloads(self, limit: int) -> list[bytes]:
        """As many payloads of at most ``limit`` bytes as are needed, in the order of the wire; none if empty."""
        payloads: list[bytes] = []
        groups: list[list[bytes]] = [[], [], [], [], []]
        size = _EMPTY_SIZE
        for number, group in enumerate(self._groups()):
            for credential in group:
                data = credential.encode()
                if size + len(data) > limit and size > _EMPTY_SIZE:
                    payloads.append(_payload(groups))
                    groups = [[], [], [], [], []]
                    size = _EMPTY_SIZE
                groups[number].append(data)
                size += len(data)
        if size > _EMPTY_SIZE:
            payloads.append(_payload(groups))
        return payloads

    def _groups(self) -> tuple[tuple[Credential, ...], ...]:
        return self.coms, self.capabilities, self.tags, self.revocations, self.ownerships

    @classmethod
    def decode(cls, payload: bytes) -> Self:
        """Read the payload. Raises DecodeError; what came before the damage is lost too."""
        reader = Reader(payload)
        coms = []
        while reader.remaining and payload[reader.offset]:
            coms.append(CertificateOfMembership.read(reader))
        if reader.remaining:
            reader.skip(1)
        return cls(
            tuple(coms),
            _read_group(reader, Capability),
            _read_group(reader, Tag),
            _read_group(reader, Revocation),
            _read_group(reader, CertificateOfOwnership),
        )


def _payload(groups: Sequence[Sequence[bytes]]) -> bytes:
    coms, *others = groups
    parts = [*coms, b"\0"]
    for group in others:
        parts += (len(group).to_bytes(2, "big"), *group)
    return b"".join(parts)
