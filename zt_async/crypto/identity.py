"""Identities: what a node is on every network. vl1.md 1.1 to 1.8."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self

from zt_async.accel import identity_hash
from zt_async.crypto import curve25519
from zt_async.crypto.curve25519 import KEY_SIZE
from zt_async.crypto.keys import SessionKey
from zt_async.errors import DecodeError, IdentityError
from zt_async.types import NodeAddress

_MAX_TEXT = 383
_FIRST_BYTE_BELOW = 17  # of the memory-hard hash: the proof of work


@dataclass(frozen=True, slots=True, repr=False)
class Identity:
    """A key pair and the address that follows from it; two are equal if both of these are.

    Nothing that is read from outside has its address checked against its key before ``validate`` is called.
    Raises IdentityError for keys of another size than 64 bytes.
    """

    address: NodeAddress
    public_key: bytes
    _secret_key: bytes | None = field(default=None, compare=False)
    _signing_key: bytes | None = field(
        default=None, init=False, compare=False
    )  # made for the first signature

    def __post_init__(self) -> None:
        for key in (self.public_key, self._secret_key):
            if key is not None and len(key) != KEY_SIZE:
                raise IdentityError(f"each key of an identity has {KEY_SIZE} bytes, not {len(key)}")

    @classmethod
    def generate(cls, random_bytes: Callable[[int], bytes]) -> Self:
        """Search for a key pair that makes an address: 15 tries on average, each an ``identity_hash``.

        This takes 0.2 s on average (6 s without the extension): call it in a thread (a process).
        """
        signing_secret = random_bytes(32)
        while True:
            secret = random_bytes(32) + signing_secret
            public = curve25519.public_key_of(secret)
            address = _address_of(public)
            if address is not None:
                return cls(address, public, secret)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the text form, with or without the secret key, as leniently as other nodes do.

        Empty fields are skipped, what is no hexadecimal digit counts as 0 in a key, and digits after it are
        ignored. Raises IdentityError.
        """
        if len(text) > _MAX_TEXT:
            raise IdentityError(f"an identity has at most {_MAX_TEXT} characters")
        fields = [part for part in text.strip().split(":") if part]
        if not 3 <= len(fields) <= 4:
            raise IdentityError("an identity is written address:0:public key, or the same and :secret key")
        if fields[1] != "0":
            raise IdentityError("this type of identity is not known, only type 0 is")
        number = re.split("[^0-9a-fA-F]", fields[0], maxsplit=1)[0]
        address = NodeAddress(min(int(number or "0", 16), 2**64 - 1) & 0xFFFFFFFFFF)
        if address.is_reserved:
            raise IdentityError("an identity cannot have a reserved address")
        return cls(address, *map(_parse_key, fields[2:]))

    @classmethod
    def from_bytes(cls, data: bytes) -> tuple[Self, int]:
        """Read the binary form at the start of ``data``; returns the identity and the bytes used.

        Raises DecodeError.
        """
        if len(data) < 71:
            raise DecodeError("identity: truncated")
        if data[5] != 0:
            raise DecodeError("identity: unknown type")
        size = 71 + data[70]
        if data[70] not in (0, KEY_SIZE):
            raise DecodeError("identity: bad secret key length")
        if len(data) < size:
            raise DecodeError("identity: truncated")
        return cls(NodeAddress.from_packed(data[:5]), data[6:70], data[71:size] or None), size

    def to_bytes(self, *, secret: bool = False) -> bytes:
        """The binary form: 71 bytes, or 135 with the secret key."""
        key = self._secret() if secret else b""
        return b"%b\0%b%c%b" % (self.address.packed, self.public_key, len(key), key)

    def __str__(self) -> str:
        return f"{self.address}:0:{self.public_key.hex()}"

    def __repr__(self) -> str:
        return f"Identity({str(self.address)!r})"

    def secret_text(self) -> str:
        """The text form with the secret key. Raises IdentityError if it is not there."""
        return f"{self}:{self._secret().hex()}"

    @property
    def has_secret(self) -> bool:
        """It can sign, and agree on keys."""
        return self._secret_key is not None

    def public(self) -> Self:
        """The same without the secret key."""
        return type(self)(self.address, self.public_key)

    def validate(self) -> bool:
        """Whether the address is what the public key makes (vl1.md 1.6). As slow as ``identity_hash``."""
        return _address_of(self.public_key) == self.address

    def secret_matches(self) -> bool:
        """Whether there is a secret key that belongs to the public one; ``validate`` does not look at it."""
        return self._secret_key is not None and curve25519.public_key_of(self._secret_key) == self.public_key

    def sign(self, message: bytes) -> bytes:
        """The 96-byte signature of ``message``. Raises IdentityError without a secret key."""
        key = self._signing_key
        if key is None:
            key = curve25519.signing_key_of(self._secret())
            object.__setattr__(self, "_signing_key", key)
        return curve25519.sign_with(key, message)

    def verify(self, message: bytes, signature: bytes) -> bool:
        """Whether ``signature`` is this identity's signature of ``message``."""
        return curve25519.verify(self.public_key, message, signature)

    def agree(self, other: Identity) -> SessionKey:
        """The key shared with ``other``. Raises IdentityError if this identity is without its secret key."""
        return SessionKey(curve25519.agree(self._secret(), other.public_key))

    def _secret(self) -> bytes:
        if self._secret_key is None:
            raise IdentityError(f"the secret key of {self.address} is needed, and not there")
        return self._secret_key


def _address_of(public_key: bytes) -> NodeAddress | None:
    """The address that a public key makes, or None if it makes none."""
    digest = identity_hash(public_key)
    address = NodeAddress.from_packed(digest[59:])
    return None if digest[0] >= _FIRST_BYTE_BELOW or address.is_reserved else address


def _parse_key(digits: str) -> bytes:
    if len(digits) < 2 * KEY_SIZE:
        raise IdentityError(f"a key of an identity has {2 * KEY_SIZE} hexadecimal digits")
    return bytes.fromhex(re.sub("[^0-9a-fA-F]", "0", digits[: 2 * KEY_SIZE]))
