"""ZeroTier's key pairs: an X25519 and an Ed25519 key side by side, 64 bytes public and 64 bytes secret.

Identities and worlds have such pairs (vl1.md 1.2). What is signed is the first half of a message's SHA-512.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Final

from nacl.bindings import (
    crypto_scalarmult,
    crypto_scalarmult_base,
    crypto_sign,
    crypto_sign_open,
    crypto_sign_seed_keypair,
)
from nacl.exceptions import BadSignatureError
from nacl.exceptions import RuntimeError as LowOrderPoint

KEY_SIZE: Final = 64
SIGNATURE_SIZE: Final = 96
AGREED_KEY_SIZE: Final = 48

_GROUP_ORDER = 2**252 + 27742317777372353535851937790883648493


def public_key_of(secret_key: bytes) -> bytes:
    """The 64-byte public key that belongs to a 64-byte secret key."""
    return crypto_scalarmult_base(secret_key[:32]) + crypto_sign_seed_keypair(secret_key[32:])[0]


def agree(secret_key: bytes, public_key: bytes) -> bytes:
    """The 48-byte key that the holders of two key pairs share (vl1.md 1.8, steps 1 and 2)."""
    try:
        shared = crypto_scalarmult(secret_key[:32], public_key[:32])
    except LowOrderPoint:
        shared = bytes(32)  # the protocol does not refuse such points
    return hashlib.sha512(shared).digest()[:AGREED_KEY_SIZE]


def signing_key_of(secret_key: bytes) -> bytes:
    """The part of a secret key that signs, beside its public key as ``sign_with`` wants it: 64 bytes."""
    seed = secret_key[32:]
    return seed + crypto_sign_seed_keypair(seed)[0]


def sign_with(signing_key: bytes, message: bytes) -> bytes:
    """The 96-byte signature of vl1.md 1.7, in half the time of ``sign``."""
    digest = _digest(message)
    return crypto_sign(digest, signing_key)[:64] + digest


def sign(secret_key: bytes, message: bytes) -> bytes:
    """The 96-byte signature of vl1.md 1.7."""
    return sign_with(signing_key_of(secret_key), message)


def verify(public_key: bytes, message: bytes, signature: bytes) -> bool:
    """Whether ``signature`` is the 96-byte signature of ``message`` by the holder of ``public_key``."""
    if len(public_key) != KEY_SIZE or len(signature) != SIGNATURE_SIZE:
        return False
    if not hmac.compare_digest(signature[64:], _digest(message)):
        return False
    # Other nodes take S modulo the group order, and so accept more than one encoding of it.
    s = int.from_bytes(signature[32:64], "little") % _GROUP_ORDER
    try:
        crypto_sign_open(signature[:32] + s.to_bytes(32, "little") + signature[64:], public_key[32:])
    except BadSignatureError:
        return False
    return True


def _digest(message: bytes) -> bytes:
    return hashlib.sha512(message).digest()[:32]
