"""AES-GMAC-SIV, the cipher of suite 3 (vl1.md 2.5): authenticated encryption from one GMAC and one CTR pass.

A GMAC over the plaintext is folded to 8 bytes; the initialisation vector and those bytes, encrypted as one
block, are the tag; and the tag is where the counter of the CTR pass starts.
"""

from __future__ import annotations

import hmac

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import CTR, ECB

_IV_SUFFIX = bytes(4)
_LOW_HALF = (1 << 64) - 1
_COUNTER_MASK = (1 << 128) - 1 ^ 1 << 31  # all but the top bit of byte 12, so that the counter cannot wrap


class AesGmacSiv:
    """One pair of 32-byte keys, for GMAC and for the rest. The contexts are kept, as making them is slow."""

    __slots__ = ("_ctr", "_decrypt_block", "_encrypt_block", "_gmac")

    def __init__(self, k0: bytes, k1: bytes) -> None:
        block = Cipher(AES256(k1), ECB())
        self._gmac = AESGCM(k0).encrypt
        self._encrypt_block = block.encryptor().update
        self._decrypt_block = block.decryptor().update
        self._ctr = Cipher(AES256(k1), CTR(bytes(16))).encryptor()

    def encrypt(self, iv: bytes, aad: bytes, plaintext: bytes) -> tuple[bytes, bytes]:
        """Returns the 16-byte tag and the ciphertext.

        ``iv`` is 8 bytes; ``aad`` is what is authenticated only, padded with zeros to a multiple of 16 bytes.
        """
        tag = self._encrypt_block(iv + self._mac(iv, aad, plaintext))
        return tag, self._crypt(tag, plaintext)

    def decrypt(self, tag: bytes, aad: bytes, ciphertext: bytes) -> bytes | None:
        """Returns the plaintext, or None if it is not authentic."""
        plaintext = self._crypt(tag, ciphertext)
        block = self._decrypt_block(tag)
        return plaintext if hmac.compare_digest(self._mac(block[:8], aad, plaintext), block[8:]) else None

    def _mac(self, iv: bytes, aad: bytes, plaintext: bytes) -> bytes:
        gmac = int.from_bytes(self._gmac(iv + _IV_SUFFIX, b"", aad + plaintext), "little")
        return ((gmac ^ gmac >> 64) & _LOW_HALF).to_bytes(8, "little")

    def _crypt(self, tag: bytes, data: bytes) -> bytes:
        ctr = self._ctr
        ctr.reset_nonce((int.from_bytes(tag, "big") & _COUNTER_MASK).to_bytes(16, "big"))
        return ctr.update(data)
