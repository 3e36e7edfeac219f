"""The payloads of the verbs about multicast groups. vl2.md 7.2, 7.3 and 7.6."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from struct import Struct
from typing import Final, NamedTuple, Self

from zt_async.types import MACAddress, MulticastGroup, NetworkId, NodeAddress
from zt_async.wire.buffer import Reader
from zt_async.wire.credentials import CertificateOfMembership

MAX_LIKES: Final = 530  # of 18 bytes, in a packet that seven datagrams of any size can carry
MAX_GATHERED: Final = 1900  # of 5 bytes, likewise

GATHER_CERTIFICATE: Final = 0x01

FRAME_CERTIFICATE: Final = 0x01
FRAME_GATHER_LIMIT: Final = 0x02
FRAME_SOURCE: Final = 0x04
FRAME_REPLICATE: Final = 0x08

REPLY_CERTIFICATE: Final = 0x01
REPLY_GATHERED: Final = 0x02

_LIKE = Struct("!Q6sI")


class Like(NamedTuple):
    """That the sender listens to a group."""

    network_id: NetworkId
    group: MulticastGroup


def _pack_group(group: MulticastGroup) -> bytes:
    return group.mac.packed + group.adi.to_bytes(4, "big")


def _read_group(reader: Reader) -> MulticastGroup:
    return MulticastGroup(MACAddress(reader.uint(6)), reader.u32())


def encode_likes(network_id: NetworkId, groups: Iterable[MulticastGroup]) -> list[bytes]:
    """As many MULTICAST_LIKE payloads as the groups need."""
    entries = [_LIKE.pack(network_id, group.mac.packed, group.adi) for group in groups]
    return [b"".join(entries[i : i + MAX_LIKES]) for i in range(0, len(entries), MAX_LIKES)]


def decode_likes(payload: bytes) -> list[Like]:
    """What a MULTICAST_LIKE says, perhaps of several networks; a last entry that is cut short is left out."""
    whole = len(payload) - len(payload) % _LIKE.size
    return [
        Like(NetworkId(network_id), MulticastGroup(MACAddress.from_packed(mac), adi))
        for network_id, mac, adi in _LIKE.iter_unpack(payload[:whole])
    ]


@dataclass(frozen=True, slots=True)
class Gather:
    """MULTICAST_GATHER: asks for members of a group, ``limit`` at most."""

    network_id: NetworkId
    group: MulticastGroup
    limit: int
    certificate: CertificateOfMembership | None = None

    def encode(self) -> bytes:
        certificate = self.certificate.encode() if self.certificate else b""
        return b"".join(
            (
                self.network_id.packed,
                bytes((GATHER_CERTIFICATE if certificate else 0,)),
                _pack_group(self.group),
                self.limit.to_bytes(4, "big"),
                certificate,
            )
        )

    @classmethod
    def decode(cls, payload: bytes) -> Self:
        reader = Reader(payload)
        network_id, flags = NetworkId(reader.u64()), reader.u8()
        group, limit = _read_group(reader), reader.u32()
        certificate = CertificateOfMembership.read(reader) if flags & GATHER_CERTIFICATE else None
        return cls(network_id, group, limit, certificate)


class Gathered(NamedTuple):
    """Members of a group, and how many of them the answering node knows in all."""

    total: int
    members: tuple[NodeAddress, ...]

    def encode(self) -> bytes:
        count = len(self.members).to_bytes(2, "big")
        return self.total.to_bytes(4, "big") + count + b"".join(member.packed for member in self.members)

    @classmethod
    def read(cls, reader: Reader) -> Self:
        total = reader.u32()
        packed = reader.take(5 * reader.u16())
        return cls(
            total, tuple([NodeAddress.from_packed(packed[i : i + 5]) for i in range(0, len(packed), 5)])
        )


@dataclass(frozen=True, slots=True)
class GatherReply:
    """The data of OK to MULTICAST_GATHER."""

    network_id: NetworkId
    group: MulticastGroup
    gathered: Gathered

    def encode(self) -> bytes:
        return self.network_id.packed + _pack_group(self.group) + self.gathered.encode()

    @classmethod
    def decode(cls, data: bytes) -> Self:
        reader = Reader(data)
        return cls(NetworkId(reader.u64()), _read_group(reader), Gathered.read(reader))


@dataclass(frozen=True, slots=True)
class MulticastFrameReply:
    """The data of OK to MULTICAST_FRAME: the sender's own certificate, members that were asked for, or both."""

    network_id: NetworkId
    group: MulticastGroup
    gathered: Gathered | None = None
    certificate: CertificateOfMembership | None = None

    def encode(self) -> bytes:
        certificate = self.certificate.encode() if self.certificate else b""
        gathered = self.gathered.encode() if self.gathered else b""
        flags = (REPLY_CERTIFICATE if certificate else 0) | (REPLY_GATHERED if gathered else 0)
        return b"".join(
            (self.network_id.packed, _pack_group(self.group), bytes((flags,)), certificate, gathered)
        )

    @classmethod
    def decode(cls, data: bytes) -> Self:
        reader = Reader(data)
        network_id, group, flags = NetworkId(reader.u64()), _read_group(reader), reader.u8()
        certificate = CertificateOfMembership.read(reader) if flags & REPLY_CERTIFICATE else None
        gathered = Gathered.read(reader) if flags & REPLY_GATHERED else None
        return cls(network_id, group, gathered, certificate)


@dataclass(frozen=True, slots=True)
class MulticastFrame:
    """MULTICAST_FRAME: an Ethernet frame to a group."""

    network_id: NetworkId
    group: MulticastGroup
    ethertype: int
    data: bytes
    source: MACAddress | None = None
    """None is the sender's own card."""
    gather_limit: int = 0
    """How many members of the group the sender wants to learn; 0 is none."""
    replicate: bool = False
    """The receiver is asked to send it on to the group."""
    certificate: CertificateOfMembership | None = None
    """Obsolete, never sent."""

    def encode(self) -> bytes:
        certificate = self.certificate.encode() if self.certificate else b""
        limit = self.gather_limit.to_bytes(4, "big") if self.gather_limit else b""
        source = self.source.packed if self.source is not None else b""
        flags = (
            (FRAME_CERTIFICATE if certificate else 0)
            | (FRAME_GATHER_LIMIT if limit else 0)
            | (FRAME_SOURCE if source else 0)
            | (FRAME_REPLICATE if self.replicate else 0)
        )
        return b"".join(
            (
                self.network_id.packed,
                bytes((flags,)),
                certificate,
                limit,
                source,
                _pack_group(self.group),
                self.ethertype.to_bytes(2, "big"),
                self.data,
            )
        )

    @classmethod
    def decode(cls, payload: bytes) -> Self:
        reader = Reader(payload)
        network_id, flags = NetworkId(reader.u64()), reader.u8()
        certificate = CertificateOfMembership.read(reader) if flags & FRAME_CERTIFICATE else None
        gather_limit = reader.u32() if flags & FRAME_GATHER_LIMIT else 0
        source = MACAddress(reader.uint(6)) if flags & FRAME_SOURCE else None
        group, ethertype = _read_group(reader), reader.u16()
        return cls(
            network_id=network_id,
            group=group,
            ethertype=ethertype,
            data=reader.rest(),
            source=source,
            gather_limit=gather_limit,
            replicate=bool(flags & FRAME_REPLICATE),
            certificate=certificate,
        )
