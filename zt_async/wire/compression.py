"""LZ4 compression of packet payloads. vl1.md 2.8."""

from __future__ import annotations

from typing import Final

import lz4.block

from zt_async.errors import DecodeError

MIN_SIZE: Final = 65
MAX_SIZE: Final = 9996
_OUTPUT_CAP: Final = 10_024  # that of other nodes: a block may be good for it and bad for a smaller one


def compress(payload: bytes) -> bytes | None:
    """The payload as a raw LZ4 block, or None where that would not make it shorter."""
    if len(payload) < MIN_SIZE:
        return None
    block: bytes = lz4.block.compress(payload, store_size=False)
    return block if len(block) < len(payload) else None


def decompress(block: bytes) -> bytes:
    """The payload of a packet with the compressed flag. Raises DecodeError."""
    if not block:
        return b""
    try:
        payload: bytes = lz4.block.decompress(block, uncompressed_size=_OUTPUT_CAP)
    except lz4.block.LZ4BlockError:
        raise DecodeError("bad compression") from None
    if not 0 < len(payload) <= MAX_SIZE:
        raise DecodeError("bad size after decompression")
    return payload
