"""Key pairs by themselves."""

from __future__ import annotations

import pytest

from tests.crypto.known import A, B
from zt_async.crypto import curve25519

A_SECRET, B_SECRET = (identity.to_bytes(secret=True)[71:] for identity in (A, B))


def test_public_key():
    assert curve25519.public_key_of(A_SECRET) == A.public_key


def test_both_sides_agree():
    assert curve25519.agree(A_SECRET, B.public_key) == curve25519.agree(B_SECRET, A.public_key)


def test_the_top_bit_of_a_public_key_does_not_matter():
    with_bit = B.public_key[:31] + bytes((B.public_key[31] | 0x80,)) + B.public_key[32:]
    assert curve25519.agree(A_SECRET, with_bit) == curve25519.agree(A_SECRET, B.public_key)


@pytest.mark.parametrize("point", [0, 1, 2**255 - 19, 2**255 - 20, 2**255 - 18])
def test_low_order_points_give_the_key_of_zeros(point):
    public = point.to_bytes(32, "little") + bytes(32)
    assert curve25519.agree(A_SECRET, public).hex().startswith("5046adc1dba838867b2bbbfdd0c3423e")


@pytest.mark.parametrize("size", [0, 31, 32, 63, 65])
def test_a_public_key_of_another_size_has_signed_nothing(size):
    signature = curve25519.sign(A_SECRET, b"message")
    assert curve25519.verify(A.public_key, b"message", signature)
    assert not curve25519.verify((A.public_key + b"x")[:size], b"message", signature)


def test_a_signature_with_an_unreduced_s_is_accepted():
    signature = curve25519.sign(A_SECRET, b"message")
    s = int.from_bytes(signature[32:64], "little") + 2**252 + 27742317777372353535851937790883648493
    assert curve25519.verify(
        A.public_key, b"message", signature[:32] + s.to_bytes(32, "little") + signature[64:]
    )
