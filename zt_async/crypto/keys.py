"""The key that two nodes share, and the packets that are sealed with it. vl1.md 1.8 and 2.4 to 2.6."""

from __future__ import annotations

import hmac

from cryptography.hazmat.primitives.poly1305 import Poly1305

from zt_async.accel import salsa20_xor
from zt_async.crypto.curve25519 import AGREED_KEY_SIZE
from zt_async.crypto.siv import AesGmacSiv

poly1305 = Poly1305.generate_tag
"""``poly1305(key, message)`` is the 16-byte tag under a 32-byte one-time key; packets carry half of it."""

_BLOCK = bytes(64)
_HOPS = 7 << 144  # in the packet's first 19 bytes as a little-endian number
_ENCRYPTED = 0x80
_FLAGS = tuple(bytes((flags,)) for flags in range(256))
_AAD_TAIL = tuple(bytes((flags & 0xF8, 0, 0, 0, 0, 0)) for flags in range(256))


def kbkdf(key: bytes, label: str, context: int = 0, iteration: int = 0) -> bytes:
    """48 bytes derived from a 48-byte agreed key (vl1.md 1.8, step 4). ``label`` is one ASCII character."""
    message = b"%bZT%b\0%c%b" % (iteration.to_bytes(4, "big"), label.encode(), context, b"\0\0\1\x80")
    return hmac.digest(key, message, "sha384")


def seal_trusted(packet_id: bytes, addresses: bytes, flags: int, body: bytes, trusted_path_id: int) -> bytes:
    """A packet for a trusted path: neither encrypted nor authenticated (suite 2, vl1.md 2.9)."""
    return b"".join((packet_id, addresses, _FLAGS[flags | 0x10], trusted_path_id.to_bytes(8, "big"), body))


class SessionKey:
    """What two nodes agreed on: 48 bytes, or 32 for the Salsa20 suites alone, as cores before 1.6 have it.

    A packet's ``addresses`` are its destination and source, ten bytes; its ``flags`` byte 18 without cipher and
    hops, that is 0, or 0x40 for the head of a fragment series; its ``body`` the verb byte and the payload.
    """

    __slots__ = ("_agreed", "_salsa_key", "_siv")

    def __init__(self, agreed: bytes) -> None:
        if len(agreed) not in (32, AGREED_KEY_SIZE):
            raise ValueError(f"an agreed key has 48 or 32 bytes, not {len(agreed)}")
        self._agreed = agreed
        self._salsa_key = int.from_bytes(agreed[:32], "little")
        self._siv: AesGmacSiv | None = None

    def __repr__(self) -> str:
        return "SessionKey(...)"

    def seal(self, packet_id: bytes, addresses: bytes, flags: int, body: bytes, suite: int) -> bytes:
        """The whole packet, armored with suite 0, 1 or 3. Its first 8 bytes are its ID on the wire."""
        if suite == 3:
            siv = self._siv or self._derive_siv()
            if siv is not None:
                flags |= 0x18
                tag, ciphertext = siv.encrypt(packet_id, addresses + _AAD_TAIL[flags], body)
                return b"".join((tag[:8], addresses, _FLAGS[flags], tag[8:], ciphertext))
        elif suite == 1:
            header = packet_id + addresses + _FLAGS[flags | 0x88]
            stream = salsa20_xor(self._packet_key(header, len(body) + 27), packet_id, _BLOCK + body)
            ciphertext = stream[64:]
            return b"".join((header, poly1305(stream[:32], ciphertext)[:8], ciphertext))
        elif suite == 0:
            header = packet_id + addresses + _FLAGS[flags]
            stream = salsa20_xor(self._packet_key(header, len(body) + 27), packet_id, _BLOCK)
            return b"".join((header, poly1305(stream[:32], body)[:8], body))
        raise ValueError(f"this key cannot seal packets of suite {suite}")

    def open(self, packet: bytes) -> bytes | None:
        """The body of a packet of at least 28 bytes, decrypted; None if it is not authentic."""
        flags = packet[18]
        suite = flags & 0x38
        if suite == 0x18:
            siv = self._siv or self._derive_siv()
            if siv is None:
                return None
            return siv.decrypt(packet[:8] + packet[19:27], packet[8:18] + _AAD_TAIL[flags], packet[27:])
        if suite > 0x08:
            return None
        body = packet[27:]
        packet_key = self._packet_key(packet[:19], len(packet))
        stream = salsa20_xor(packet_key, packet[:8], _BLOCK + body if suite else _BLOCK)
        if not hmac.compare_digest(poly1305(stream[:32], body)[:8], packet[19:27]):
            return None
        return stream[64:] if suite else body

    def crypt_field(self, packet_id: bytes, data: bytes) -> bytes:
        """Encrypt or decrypt the tail of a HELLO (vl1.md 2.6)."""
        return salsa20_xor(self._agreed[:32], packet_id[:7] + _FLAGS[packet_id[7] & 0xF8], data)

    def _packet_key(self, header: bytes, size: int) -> bytes:
        """The Salsa20 key of one packet, from its first 19 bytes and its size (vl1.md 2.4, step 2)."""
        mangle = int.from_bytes(header, "little") & ~_HOPS | (size & 0xFFFF) << 152
        return (self._salsa_key ^ mangle).to_bytes(32, "little")

    def _derive_siv(self) -> AesGmacSiv | None:
        if len(self._agreed) == AGREED_KEY_SIZE:
            self._siv = AesGmacSiv(kbkdf(self._agreed, "0")[:32], kbkdf(self._agreed, "1")[:32])
        return self._siv
