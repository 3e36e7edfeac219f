"""The one door to the optional C extension: what it does faster, and the plain Python that stands in for it.

Set ``ZT_ASYNC_PURE`` to anything but an empty text to leave the extension alone.
"""

from __future__ import annotations

import hashlib
import os

from zt_async.accel.pure import BytesLike

__all__ = ["ACCELERATED", "BytesLike", "checksum", "identity_hash", "memory_hard_hash", "salsa20_xor"]

try:
    if os.environ.get("ZT_ASYNC_PURE"):
        raise ImportError
    from zt_async._speedups import checksum, memory_hard_hash, salsa20_xor

    ACCELERATED = True
except ImportError:
    from zt_async.accel.pure import checksum, memory_hard_hash, salsa20_xor

    ACCELERATED = False


def identity_hash(public_key: bytes) -> bytes:
    """The memory-hard hash of a 64-byte public key, 64 bytes (vl1.md 1.5).

    Takes about 12 ms, during which other threads run, or half a second of plain Python where there is no
    extension: keep it off the event loop, in a thread or in a process respectively.
    """
    if len(public_key) != 64:
        raise ValueError(f"a public key has 64 bytes, not {len(public_key)}")
    return memory_hard_hash(hashlib.sha512(public_key).digest())
