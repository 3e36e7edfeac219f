"""Identities: text and binary forms, proof of work, signatures, agreement, and what they never show."""

from __future__ import annotations

import pickle
import random
import secrets
from dataclasses import FrozenInstanceError
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.crypto.known import A_TEXT, AGREED, B_TEXT, SIGNATURE_OF_HELLO, A, B
from zt_async.crypto import curve25519
from zt_async.crypto.identity import Identity
from zt_async.crypto.keys import SessionKey
from zt_async.errors import DecodeError, IdentityError
from zt_async.types import NodeAddress

SECRET = A_TEXT.split(":")[3]
PUBLIC_TEXT = A_TEXT.rpartition(":")[0]


def test_generate_finds_a_valid_identity():
    identity = Identity.generate(random.Random(8).randbytes)
    assert identity.validate()
    assert identity.secret_matches()
    assert not identity.address.is_reserved
    assert identity == Identity.generate(random.Random(8).randbytes)


def test_text_forms():
    assert A.secret_text() == A_TEXT
    assert str(A) == PUBLIC_TEXT
    assert str(Identity.parse(PUBLIC_TEXT)) == PUBLIC_TEXT
    assert Identity.parse(f"  {A_TEXT}\n").secret_text() == A_TEXT


def test_binary_forms():
    public, secret = A.to_bytes(), A.to_bytes(secret=True)
    assert len(public) == 71
    assert len(secret) == 135
    assert Identity.from_bytes(public + b"more") == (A, 71)
    read, size = Identity.from_bytes(secret + b"more")
    assert read.secret_text() == A_TEXT
    assert size == 135


def test_equal_by_address_and_public_key():
    public = Identity.parse(PUBLIC_TEXT)
    assert A == A.public() == public
    assert hash(A) == hash(public)
    assert A != B
    assert Identity(NodeAddress(1), A.public_key) != A
    assert len({A, public, B}) == 2


@pytest.mark.parametrize("size", [0, 32, 63, 65, 128])
def test_keys_of_another_size_are_refused(size):
    """What is below reads as many bytes as a key has, wherever they end."""
    with pytest.raises(IdentityError, match="64 bytes"):
        Identity(A.address, bytes(size))
    with pytest.raises(IdentityError, match="64 bytes"):
        Identity(A.address, A.public_key, bytes(size))


def test_immutable():
    with pytest.raises(FrozenInstanceError):
        A.address = B.address


def test_validate_looks_at_the_address_and_the_key():
    assert A.validate()
    assert not Identity(B.address, A.public_key).validate()
    assert not Identity(A.address, B.public_key).validate()


def test_secret_matches_only_with_the_right_secret():
    assert A.secret_matches()
    assert not A.public().secret_matches()
    assert not Identity.parse(f"{PUBLIC_TEXT}:{B_TEXT.split(':')[3]}").secret_matches()


def test_works_in_another_process():
    """As the plain Python hash would need it."""
    assert pickle.loads(pickle.dumps(A)).secret_text() == A_TEXT
    assert pickle.loads(pickle.dumps(A.public().validate))() is True
    assert pickle.loads(pickle.dumps(partial(Identity.generate, secrets.token_bytes))).args == (
        secrets.token_bytes,
    )


def test_signature():
    assert A.sign(b"hello") == SIGNATURE_OF_HELLO
    assert A.public().verify(b"hello", SIGNATURE_OF_HELLO)
    assert not A.verify(b"hello!", SIGNATURE_OF_HELLO)
    assert not B.verify(b"hello", SIGNATURE_OF_HELLO)
    assert not A.verify(b"hello", SIGNATURE_OF_HELLO[:64])


@pytest.mark.parametrize("index", [0, 31, 32, 63, 64, 95])
def test_a_changed_signature_is_refused(index):
    changed = bytearray(SIGNATURE_OF_HELLO)
    changed[index] ^= 1
    assert not A.verify(b"hello", bytes(changed))


@given(st.binary(max_size=200), st.binary(max_size=120))
def test_verify_answers_whatever_it_is_given(message, signature):
    assert not A.verify(message, signature)
    assert A.verify(message, A.sign(message))


def test_agreement():
    assert curve25519.agree(A.to_bytes(secret=True)[71:], B.public_key) == AGREED
    sealed = A.agree(B.public()).seal(bytes(8), bytes(10), 0, b"\x08", 3)
    assert B.agree(A.public()).open(sealed) == b"\x08"
    assert SessionKey(AGREED).open(sealed) == b"\x08"


def test_agreement_with_a_point_of_low_order_is_not_refused():
    nothing = Identity(B.address, bytes(64))
    sealed = A.agree(nothing).seal(bytes(8), bytes(10), 0, b"\x08", 1)
    assert B.agree(nothing).open(sealed) == b"\x08"


def test_what_needs_the_secret_says_so():
    public = A.public()
    for act in (public.secret_text, lambda: public.sign(b""), lambda: public.agree(B)):
        with pytest.raises(IdentityError, match="secret key of d957df9e1b is needed"):
            act()
    with pytest.raises(IdentityError):
        public.to_bytes(secret=True)


def test_the_secret_is_not_shown():
    for text in (repr(A), str(A), f"{A}", repr([A])):
        assert SECRET not in text
    assert repr(A) == "Identity('d957df9e1b')"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is written address:0:public key"),
        ("d957df9e1b:0", "is written address:0:public key"),
        (f"{A_TEXT}:00", "is written address:0:public key"),
        (A_TEXT.replace(":0:", ":1:"), "only type 0"),
        (A_TEXT.replace("d957df9e1b", "0000000000"), "reserved"),
        (A_TEXT.replace("d957df9e1b", "ff57df9e1b"), "reserved"),
        (A_TEXT.replace("d957df9e1b", "not hexadecimal"), "reserved"),
        (A_TEXT[:-1], "128 hexadecimal digits"),
        (PUBLIC_TEXT[:-1], "128 hexadecimal digits"),
        (A_TEXT + "0" * 200, "at most 383 characters"),
    ],
)
def test_parse_refuses_and_does_not_quote_keys(text, reason):
    with pytest.raises(IdentityError, match=reason) as caught:
        Identity.parse(text)
    assert SECRET[:8] not in str(caught.value)
    assert isinstance(caught.value, ValueError)


def test_parse_is_as_lenient_as_other_nodes():
    address, kind, public = PUBLIC_TEXT.split(":")
    for text in (
        PUBLIC_TEXT.upper(),
        f"{PUBLIC_TEXT}:",
        f"{address}::{kind}:{public}",
        f"000{PUBLIC_TEXT}",
        f"{PUBLIC_TEXT}abcdef",
    ):
        assert Identity.parse(text) == A


@given(st.text(alphabet="0123456789abcdefABCDEFxyz: \n", max_size=400))
def test_parse_reads_or_refuses(text):
    try:
        identity = Identity.parse(text)
    except IdentityError:
        return
    assert Identity.parse(str(identity)) == identity


@given(st.binary(max_size=200))
def test_from_bytes_reads_or_refuses(data):
    try:
        identity, size = Identity.from_bytes(data)
    except DecodeError:
        return
    assert identity.to_bytes(secret=identity.has_secret) == data[:size]


@given(st.integers(0, 134), st.integers(0, 255))
def test_from_bytes_with_one_byte_changed(index, value):
    data = bytearray(A.to_bytes(secret=True))
    data[index] = value
    try:
        identity, size = Identity.from_bytes(bytes(data))
    except DecodeError:
        assert index in (5, 70)
        return
    assert identity.to_bytes(secret=identity.has_secret) == data[:size]


@pytest.mark.parametrize("size", [0, 5, 70, 71, 134])
def test_from_bytes_refuses_what_is_cut(size):
    with pytest.raises(DecodeError, match="truncated"):
        Identity.from_bytes(A.to_bytes(secret=True)[:size])
