"""Asking a controller for a configuration, and the chunks in which it comes. vl2.md 2.4 and 2.5."""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct
from typing import Final, NamedTuple, Self

from zt_async.errors import DecodeError
from zt_async.types import NetworkId
from zt_async.wire.buffer import Reader
from zt_async.wire.credentials import MAX_CAPABILITY_RULES, SIGNATURE_SIZE
from zt_async.wire.dictionary import Dictionary
from zt_async.wire.network_config import CONFIG_VERSION, MAX_CAPABILITIES, MAX_CONFIG, MAX_TAGS
from zt_async.wire.rules import MAX_RULES
from zt_async.wire.verbs import Version

MAX_METADATA: Final = 1023
CHUNK_SIZE: Final = 9740
"""Bytes of a configuration in one packet, at most."""
CHUNK_OVERHEAD: Final = 136
"""Bytes around them: verb, head of an OK, the other fields of the chunk, signature."""

CHUNK_FAST: Final = 0x01
"""Whoever gets the chunk passes it on to all members it knows."""

_VENDOR_ZEROTIER: Final = 1
_RULES_REVISION: Final = 1
_CHUNK_END = Struct("!BQII")
_SIGNATURE_HEAD: Final = b"\x01\x00\x60"


class ConfigRequestBody(NamedTuple):
    """The payload of NETWORK_CONFIG_REQUEST: what the member is, and the configuration that it has already."""

    network_id: NetworkId
    metadata: bytes
    """A dictionary's text."""
    revision: int = 0
    timestamp: int = 0

    def __repr__(self) -> str:
        return f"ConfigRequestBody({self.network_id!r}, ...)"  # what lets the member join is a secret


def request_metadata(version: Version, platform: str, credential: str | None = None) -> Dictionary:
    """What a member says of itself. ``platform`` is like ``linux/x86_64``, ``credential`` what lets it join.

    Raises ValueError if that is more than fits.
    """
    d = Dictionary(MAX_METADATA)
    for key, number in (
        ("v", CONFIG_VERSION),
        ("vend", _VENDOR_ZEROTIER),
        ("pv", version.protocol),
        ("majv", version.major),
        ("minv", version.minor),
        ("revv", version.revision),
        ("mr", MAX_RULES),
        ("mc", MAX_CAPABILITIES),
        ("mcr", MAX_CAPABILITY_RULES),
        ("mt", MAX_TAGS),
        ("f", 0),
        ("revr", _RULES_REVISION),
    ):
        d.put_int(key, number)
    d.put_text("o", platform)
    if credential is not None:
        d.put_text("a", credential)
    return d


def encode_config_request(
    network_id: NetworkId, metadata: bytes, revision: int = 0, timestamp: int = 0
) -> bytes:
    """NETWORK_CONFIG_REQUEST; ``revision`` and ``timestamp`` are those of the configuration held, or 0."""
    return b"".join(
        (
            network_id.packed,
            len(metadata).to_bytes(2, "big"),
            metadata,
            revision.to_bytes(8, "big"),
            timestamp.to_bytes(8, "big"),
        )
    )


def decode_config_request(payload: bytes) -> ConfigRequestBody:
    """Read NETWORK_CONFIG_REQUEST; the numbers at its end may be missing. Raises DecodeError.

    Metadata that is too long is cut (vl2.md 8.2).
    """
    reader = Reader(payload)
    network_id = NetworkId(reader.u64())
    metadata = reader.take(reader.u16())[:MAX_METADATA]
    if reader.remaining < 16:
        return ConfigRequestBody(network_id, metadata)
    return ConfigRequestBody(network_id, metadata, reader.u64(), reader.u64())


@dataclass(frozen=True, slots=True)
class ConfigChunk:
    """Part of a configuration's text. Without ``signature`` it is the obsolete form: all of it, in one chunk.

    In the obsolete form the last numbers do not travel; what is read has ``update_id`` 0, which others never have.
    """

    network_id: NetworkId
    data: bytes
    flags: int
    update_id: int
    """Random, the same for all chunks of one configuration."""
    total: int
    offset: int
    """In bytes."""
    signature: bytes | None = None

    def signed_part(self) -> bytes:
        return b"".join(
            (
                self.network_id.packed,
                len(self.data).to_bytes(2, "big"),
                self.data,
                _CHUNK_END.pack(self.flags, self.update_id, self.total, self.offset),
            )
        )

    def encode(self) -> bytes:
        if self.signature is None:
            return self.network_id.packed + len(self.data).to_bytes(2, "big") + self.data
        return self.signed_part() + _SIGNATURE_HEAD + self.signature

    @classmethod
    def decode(cls, payload: bytes) -> Self:
        """Read a chunk; what follows its signature is left alone. Raises DecodeError."""
        reader = Reader(payload)
        network_id = NetworkId(reader.u64())
        data = reader.take(reader.u16())
        if not reader.remaining:
            return cls(network_id, data, 0, 0, len(data), 0)
        flags, update_id, total, offset = _CHUNK_END.unpack(reader.take(_CHUNK_END.size))
        if total > MAX_CONFIG or offset + len(data) > total:
            raise DecodeError("bad size of a configuration")
        if reader.take(3) != _SIGNATURE_HEAD:
            raise DecodeError("bad signature of a configuration")
        return cls(network_id, data, flags, update_id, total, offset, reader.take(SIGNATURE_SIZE))


def split_config(
    network_id: NetworkId, dictionary: bytes, update_id: int, flags: int = 0, size: int = CHUNK_SIZE
) -> list[ConfigChunk]:
    """The chunks of a configuration, of ``size`` bytes, to be signed. ``update_id`` is random and not 0."""
    total = len(dictionary)
    return [
        ConfigChunk(network_id, dictionary[offset : offset + size], flags, update_id, total, offset)
        for offset in range(0, total, size)
    ]
