"""The payloads of VL1's verbs: bytes to values and back. vl1.md 3.

Payloads are what follows the verb byte, decrypted and decompressed. Trailing bytes are always tolerated, as
the protocol demands; anything cut short raises DecodeError.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from struct import Struct
from typing import Final, NamedTuple

from zt_async.errors import DecodeError
from zt_async.types import Endpoint, MACAddress, NetworkId, NodeAddress
from zt_async.wire.buffer import Reader
from zt_async.wire.credentials import CertificateOfMembership
from zt_async.wire.inetaddress import pack_endpoint, read_endpoint
from zt_async.wire.packet import ErrorCode

IDENTITY_SIZE: Final = 71
MOON_TYPE: Final = 127
PATH_FORGET: Final = 0x01
PATH_REDIRECT: Final = 0x02
EXT_CERTIFICATE: Final = 0x01
EXT_ACKNOWLEDGE: Final = 0x10
MAX_DIRECT_PATHS_PACKET: Final = 1200  # bytes of a PUSH_DIRECT_PATHS packet that one more entry may not reach

_REPLY = Struct("!BQ")


class Version(NamedTuple):
    """The four version numbers of HELLO and OK(HELLO); all zero means unknown."""

    protocol: int = 0
    major: int = 0
    minor: int = 0
    revision: int = 0

    def pack(self) -> bytes:
        return bytes((self.protocol, self.major, self.minor)) + self.revision.to_bytes(2, "big")


def _read_version(reader: Reader) -> Version:
    return Version(reader.u8(), reader.u8(), reader.u8(), reader.u16())


class MoonRevision(NamedTuple):
    """A moon that a HELLO names: its ID, and the timestamp of the copy held (0: wanted, not held)."""

    id: int
    timestamp: int


@dataclass(slots=True)
class Hello:
    """HELLO (vl1.md 3.4). ``tail`` is the part that is encrypted on its own, as it stands on the wire."""

    version: Version
    clock_ms: int
    identity: bytes
    sent_to: Endpoint | None = None
    planet: tuple[int, int] = (0, 0)
    tail: bytes = b""

    def encode(self) -> bytes:
        """Everything from the version to the end; ``tail`` must be encrypted already."""
        return b"".join(
            (
                self.version.pack(),
                self.clock_ms.to_bytes(8, "big"),
                self.identity,
                pack_endpoint(self.sent_to),
                self.planet[0].to_bytes(8, "big"),
                self.planet[1].to_bytes(8, "big"),
                self.tail,
            )
        )

    @classmethod
    def decode(cls, payload: bytes) -> Hello:
        reader = Reader(payload)
        version = _read_version(reader)
        clock_ms = reader.u64()
        identity = _take_identity(reader)
        if not reader.remaining:
            return cls(version, clock_ms, identity)
        sent_to = read_endpoint(reader)
        planet = (reader.u64(), reader.u64()) if reader.remaining >= 16 else (0, 0)
        return cls(version, clock_ms, identity, sent_to, planet, reader.rest())


def _take_identity(reader: Reader) -> bytes:
    """A binary identity, of which the last fixed byte says whether a private key follows (vl1.md 1.4)."""
    public = reader.take(IDENTITY_SIZE)
    if public[-1] not in (0, 64):
        raise DecodeError("bad identity")
    return public + reader.take(public[-1])


def encode_moons(moons: Iterable[MoonRevision]) -> bytes:
    """The plain text of HELLO's tail."""
    entries = [b"\x7f" + m.id.to_bytes(8, "big") + m.timestamp.to_bytes(8, "big") for m in moons]
    return len(entries).to_bytes(2, "big") + b"".join(entries)


def decode_moons(tail: bytes) -> list[MoonRevision]:
    """Read HELLO's decrypted tail; entries that are no moons are skipped. A tail without a count has no moons."""
    if len(tail) < 2:
        return []
    reader = Reader(tail)
    entries = [(reader.u8(), reader.u64(), reader.u64()) for _ in range(_bounded_count(reader, 17))]
    return [MoonRevision(moon_id, timestamp) for kind, moon_id, timestamp in entries if kind == MOON_TYPE]


def _bounded_count(reader: Reader, entry_size: int) -> int:
    count = reader.u16()
    if count * entry_size > reader.remaining:
        raise DecodeError("truncated")
    return count


@dataclass(slots=True)
class HelloReply:
    """The data of OK(HELLO) (vl1.md 3.4). ``worlds`` are serialised one after the other."""

    clock_ms: int
    version: Version
    seen_as: Endpoint | None
    worlds: bytes = b""

    def encode(self) -> bytes:
        return b"".join(
            (
                self.clock_ms.to_bytes(8, "big"),
                self.version.pack(),
                pack_endpoint(self.seen_as),
                len(self.worlds).to_bytes(2, "big"),
                self.worlds,
            )
        )

    @classmethod
    def decode(cls, data: bytes) -> HelloReply:
        reader = Reader(data)
        clock_ms = reader.u64()
        version = _read_version(reader)
        seen_as = read_endpoint(reader) if reader.remaining else None
        worlds = reader.take(reader.u16()) if reader.remaining >= 2 else b""
        return cls(clock_ms, version, seen_as, worlds)


def encode_ok(in_re_verb: int, in_re_packet_id: int, data: bytes = b"") -> bytes:
    """OK: what is answered, then the answer (vl1.md 3.3)."""
    return _REPLY.pack(in_re_verb, in_re_packet_id) + data


def decode_ok(payload: bytes) -> tuple[int, int, bytes]:
    """The verb and packet ID answered, and the answer."""
    if len(payload) < _REPLY.size:
        raise DecodeError("truncated")
    verb, packet_id = _REPLY.unpack_from(payload)
    return verb, packet_id, payload[_REPLY.size :]


def encode_error(in_re_verb: int, in_re_packet_id: int, code: ErrorCode, data: bytes = b"") -> bytes:
    """ERROR (vl1.md 3.3)."""
    return _REPLY.pack(in_re_verb, in_re_packet_id) + bytes((code,)) + data


def decode_error(payload: bytes) -> tuple[int, int, int, bytes]:
    """The verb and packet ID refused, the code, and what follows it."""
    verb, packet_id, data = decode_ok(payload)
    if not data:
        raise DecodeError("truncated")
    return verb, packet_id, data[0], data[1:]


def encode_whois(addresses: Iterable[NodeAddress]) -> bytes:
    """WHOIS (vl1.md 3.6)."""
    return b"".join(address.packed for address in addresses)


def decode_whois(payload: bytes) -> list[NodeAddress]:
    """The addresses asked for; a last one cut short is left out, as the reference does."""
    return [NodeAddress.from_packed(payload[i : i + 5]) for i in range(0, len(payload) - 4, 5)]


@dataclass(slots=True)
class Rendezvous:
    """RENDEZVOUS (vl1.md 3.7): where another peer can be met."""

    peer: NodeAddress
    endpoint: Endpoint

    def encode(self) -> bytes:
        ip = self.endpoint.ip.packed
        port = self.endpoint.port.to_bytes(2, "big")
        return b"\x00" + self.peer.packed + port + bytes((len(ip),)) + ip

    @classmethod
    def decode(cls, payload: bytes) -> Rendezvous:
        reader = Reader(payload)
        reader.skip(1)
        peer = NodeAddress.from_packed(reader.take(5))
        port = reader.u16()
        size = reader.u8()
        if size not in (4, 16) or not port:
            raise DecodeError("bad rendezvous address")
        return cls(peer, _endpoint(reader.take(size), port))


def _endpoint(ip: bytes, port: int) -> Endpoint:
    return Endpoint.make(ip_address(ip), port)


class DirectPath(NamedTuple):
    """One entry of PUSH_DIRECT_PATHS (vl1.md 3.18)."""

    endpoint: Endpoint
    flags: int = 0


def encode_direct_paths(endpoints: Sequence[Endpoint]) -> list[bytes]:
    """As many payloads as are needed to keep each packet below 1,200 bytes."""
    payloads = []
    entries: list[bytes] = []
    size = 28 + 2
    for endpoint in endpoints:
        ip = endpoint.ip.packed
        if entries and size + 24 >= MAX_DIRECT_PATHS_PACKET:
            payloads.append(len(entries).to_bytes(2, "big") + b"".join(entries))
            entries = []
            size = 28 + 2
        kind = 4 if len(ip) == 4 else 6
        entries.append(bytes((0, 0, 0, kind, len(ip) + 2)) + ip + endpoint.port.to_bytes(2, "big"))
        size += len(entries[-1])
    if entries:
        payloads.append(len(entries).to_bytes(2, "big") + b"".join(entries))
    return payloads


def decode_direct_paths(payload: bytes) -> list[DirectPath]:
    """The entries of known address types, up to the first one that is cut short."""
    reader = Reader(payload)
    paths = []
    try:
        for _ in range(reader.u16()):
            flags = reader.u8()
            reader.skip(reader.u16())
            kind = reader.u8()
            address = reader.take(reader.u8())
            if (kind, len(address)) in ((4, 6), (6, 18)):
                endpoint = _endpoint(address[:-2], int.from_bytes(address[-2:], "big"))
                paths.append(DirectPath(endpoint, flags))
    except DecodeError:
        if not paths:
            raise
    return paths


def encode_user_message(message_type: int, data: bytes) -> bytes:
    """USER_MESSAGE (vl1.md 3.21)."""
    return message_type.to_bytes(8, "big") + data


def decode_user_message(payload: bytes) -> tuple[int, bytes]:
    """The type, of 64 bits, and the data."""
    reader = Reader(payload)
    return reader.u64(), reader.rest()


def encode_frame(network_id: NetworkId, ethertype: int, data: bytes) -> bytes:
    """FRAME (vl2.md 5.1)."""
    return network_id.packed + ethertype.to_bytes(2, "big") + data


@dataclass(slots=True)
class ExtFrame:
    """EXT_FRAME (vl2.md 5.1). ``certificate`` is obsolete and never sent; it goes with EXT_CERTIFICATE in ``flags``."""

    network_id: NetworkId
    flags: int
    destination: MACAddress
    source: MACAddress
    ethertype: int
    data: bytes
    certificate: CertificateOfMembership | None = None

    def encode(self) -> bytes:
        return b"".join(
            (
                self.network_id.packed,
                bytes((self.flags,)),
                self.certificate.encode() if self.certificate else b"",
                self.destination.packed,
                self.source.packed,
                self.ethertype.to_bytes(2, "big"),
                self.data,
            )
        )

    @classmethod
    def decode(cls, payload: bytes) -> ExtFrame:
        reader = Reader(payload)
        network_id = NetworkId(reader.u64())
        flags = reader.u8()
        certificate = CertificateOfMembership.read(reader) if flags & EXT_CERTIFICATE else None
        destination = MACAddress.from_packed(reader.take(6))
        source = MACAddress.from_packed(reader.take(6))
        ethertype = reader.u16()
        return cls(network_id, flags, destination, source, ethertype, reader.rest(), certificate)
