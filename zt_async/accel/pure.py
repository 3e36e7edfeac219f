"""The accelerator's functions in plain Python: the same arguments, the same bytes, the same errors.

Salsa20 computes all blocks at once: each of its 16 words is one big integer with a 64-bit lane per block. The
word is in a lane's lower half, so that a sum's carry and a rotation's overflow stay in the lane. Interpreter
overhead is then paid per operation and not per block.
"""

from __future__ import annotations

import struct
import sys
from array import array
from typing import TypeAlias

BytesLike: TypeAlias = bytes | bytearray | memoryview

_CONSTANTS = (0x61707865, 0x3320646E, 0x79622D32, 0x6B206574)
_DOUBLE_ROUND = (
    *((0, 4, 8, 12), (5, 9, 13, 1), (10, 14, 2, 6), (15, 3, 7, 11)),
    *((0, 1, 2, 3), (5, 6, 7, 4), (10, 11, 8, 9), (15, 12, 13, 14)),
)
_MEMORY_BLOCKS = 32768
_MIXING_BLOCKS = 131072
_CHUNK = 1024  # blocks of keystream at once: lanes of 8 kB, which stay in the processor's cache


def checksum(data: BytesLike, initial: int = 0, /) -> int:
    """RFC 1071: the ones-complement sum of ``initial`` and the 16-bit words of ``data``, not inverted."""
    if not 0 <= initial < 1 << 64:
        raise OverflowError("the initial sum is an unsigned integer of 64 bits")
    # 65536 % 65535 == 1, and so the number is congruent to the sum of its 16-bit words.
    total = initial + (int.from_bytes(data, "big") << 8 * (len(data) & 1))
    return total % 65535 or (65535 if total else 0)


def salsa20_xor(
    key: BytesLike, nonce: BytesLike, data: BytesLike, rounds: int = 12, counter: int = 0, /
) -> bytes:
    """Salsa20 of ``data``, beginning at keystream block ``counter``."""
    if rounds not in (8, 12, 20):
        raise ValueError("Salsa20 has 8, 12 or 20 rounds")
    if not 0 <= counter < 1 << 64:
        raise OverflowError("the block counter is an unsigned integer of 64 bits")
    if len(key) != 32 or len(nonce) != 8:
        raise ValueError("Salsa20 takes a key of 32 bytes and a nonce of 8")
    size = len(data)
    stream = _keystream(key, nonce, rounds, counter, (size + 63) // 64)
    return (int.from_bytes(data, "little") ^ int.from_bytes(stream[:size], "little")).to_bytes(size, "little")


def memory_hard_hash(seed: BytesLike, /) -> bytes:
    """Steps 2 to 5 of the memory-hard hash of vl1.md 1.5, from the 64-byte SHA-512 of a public key.

    Every block of keystream is to be XORed into all eight words of the digest, but only one of them moves
    before the next block comes. So the loop leaves the words as they were at the start of a chunk, and XORs
    what one has missed since then, which is the running XOR of the chunk's keystream, only when it moves.
    """
    if len(seed) != 64:
        raise ValueError("the memory-hard hash starts from 64 bytes")
    key, nonce = bytes(seed[:32]), bytes(seed[32:40])

    memory = array("Q")
    running = 0
    for block in range(0, _MEMORY_BLOCKS, _CHUNK):
        running = _running_xor(_keystream(key, nonce, 20, block, _CHUNK), running)
        memory += _words(running)

    digest = list(struct.unpack(">8Q", seed))
    cursor = 0
    for block in range(_MEMORY_BLOCKS, _MEMORY_BLOCKS + _MIXING_BLOCKS, _CHUNK):
        missed = array("Q", bytes(64)) + _words(_running_xor(_keystream(key, nonce, 20, block, _CHUNK), 0))
        for at in range(0, 8 * _CHUNK, 8):
            mine = memory[cursor] & 7
            theirs = memory[cursor + 1] & 0x3FFFF
            mask = missed[at + mine]
            memory[theirs], digest[mine] = digest[mine] ^ mask, memory[theirs] ^ mask
            cursor += 2
        digest = [word ^ mask for word, mask in zip(digest, missed[-8:], strict=True)]
    return struct.pack(">8Q", *digest)


def _keystream(key: BytesLike, nonce: BytesLike, rounds: int, counter: int, blocks: int) -> bytes:
    k = struct.unpack("<8I", key)
    n = struct.unpack("<2I", nonce)
    ones = int.from_bytes(b"\1\0\0\0\0\0\0\0" * blocks, "little")
    mask = ones * 0xFFFFFFFF
    low = int.from_bytes(struct.pack(f"<{blocks}Q", *range(blocks)), "little") + ones * (counter & 0xFFFFFFFF)
    high = (low >> 32 & ones) + ones * (counter >> 32)
    words = (_CONSTANTS[0], *k[:4], _CONSTANTS[1], *n, 0, 0, _CONSTANTS[2], *k[4:], _CONSTANTS[3])
    start = [word * ones for word in words]
    start[8:10] = low & mask, high & mask

    state = start.copy()
    for _ in range(rounds // 2):
        for w, x, y, z in _DOUBLE_ROUND:
            a, b, c, d = state[w], state[x], state[y], state[z]
            t = (a + d & mask) << 7
            b = (b ^ t ^ t >> 32) & mask
            t = (b + a & mask) << 9
            c = (c ^ t ^ t >> 32) & mask
            t = (c + b & mask) << 13
            d = (d ^ t ^ t >> 32) & mask
            t = (d + c & mask) << 18
            state[w], state[x], state[y], state[z] = (a ^ t ^ t >> 32) & mask, b, c, d
    end = [a + b & mask for a, b in zip(start, state, strict=True)]

    out = array("Q", bytes(64 * blocks))
    for i in range(8):
        out[i::8] = array("Q", (end[2 * i] | end[2 * i + 1] << 32).to_bytes(8 * blocks, "little"))
    return out.tobytes()


def _running_xor(stream: bytes, before: int) -> int:
    """Each 64-byte block of ``stream`` XORed with all blocks before it and the last block of ``before``."""
    size = 8 * len(stream)
    running = int.from_bytes(stream, "big") ^ (before & (1 << 512) - 1) << (size - 512)
    shift = 512
    while shift < size:
        running ^= running >> shift
        shift *= 2
    return running


def _words(blocks: int) -> array[int]:
    """The big-endian 64-bit words of a chunk."""
    words = array("Q", blocks.to_bytes(64 * _CHUNK, "big"))
    if sys.byteorder == "little":
        words.byteswap()
    return words
