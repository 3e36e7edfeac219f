"""Datagrams that no honest node sends: random ones, and what becomes of real ones."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import NamedTuple

from zt_async.crypto.keys import SessionKey
from zt_async.types import Endpoint, NodeAddress
from zt_async.wire.packet import COMPRESSED, FLAG_FRAGMENTED, Suite, split_evenly


class Captured(NamedTuple):
    """A datagram of a real exchange."""

    source: Endpoint
    payload: bytes


class Insider(NamedTuple):
    """A node that the target knows, turned bad: what it says is authentic."""

    address: NodeAddress
    key: SessionKey
    at: Endpoint
    bodies: Sequence[bytes]
    """Verb bytes and payloads that honest nodes sent."""


class Mutator:
    """Makes datagrams for one target. Everything follows from the seed."""

    def __init__(
        self,
        seed: object,
        target: NodeAddress,
        captured: Sequence[Captured],
        insiders: Sequence[Insider] = (),
    ) -> None:
        self.rng = random.Random(repr(seed))
        self._target = target.packed
        self._captured = captured
        self._insiders = insiders
        self._sources = sorted({captured.source for captured in captured})
        self._addresses = sorted({c.payload[8:13] for c in captured} | {c.payload[13:18] for c in captured})
        self._damages: tuple[Callable[[bytes], bytes], ...] = (
            self._flip, self._cut, self._extend, self._readdress, self._reheader, self._refragment, self._splice,
            self._garble,
        )  # fmt: skip

    def outsider(self) -> tuple[Endpoint, bytes]:
        """Something from a node without a key: random, or made of what it overheard."""
        rng = self.rng
        kind = rng.random()
        if kind < 0.15:
            return self._somewhere(), self._random()
        captured = rng.choice(self._captured)
        source = captured.source if rng.random() < 0.5 else self._somewhere()
        if kind < 0.25:
            return source, captured.payload
        payload = captured.payload
        for _ in range(rng.choice((1, 1, 1, 2, 3))):
            payload = rng.choice(self._damages)(payload)
        return source, payload

    def insider(self) -> tuple[Endpoint, list[bytes]]:
        """An authentic packet with a payload that may be anything, in one datagram or in fragments."""
        rng = self.rng
        insider = rng.choice(self._insiders)
        kind = rng.random()
        if kind < 0.2:
            body = bytes((rng.randrange(256),)) + rng.randbytes(rng.choice((0, 1, 9, 10, 30, 100, 1000)))
        else:
            body = rng.choice(insider.bodies)
            if kind > 0.3:
                body = self._damage_body(body)
        body = body[:9900] or b"\0"
        suite = rng.choice((Suite.CLEAR, Suite.SALSA, Suite.AES))
        flags = FLAG_FRAGMENTED if len(body) > 1400 else 0
        packet = insider.key.seal(rng.randbytes(8), self._target + insider.address.packed, flags, body, suite)
        if rng.random() < 0.2:
            packet = packet[:18] + bytes((packet[18] | rng.randrange(8),)) + packet[19:]
        source = insider.at if rng.random() < 0.8 else self._somewhere()
        return source, split_evenly(packet, 1432) if flags else [packet]

    def _damage_body(self, body: bytes) -> bytes:
        rng = self.rng
        for _ in range(rng.choice((1, 1, 2))):
            damage = rng.randrange(6)
            if damage == 0:
                body = bytes((body[0] ^ 1 << rng.randrange(8),)) + body[1:]
            elif damage == 1:
                body = bytes((body[0] | COMPRESSED,)) + body[1:]
            elif damage == 2:
                body = body[:1] + self._cut(body[1:])
            elif damage == 3:
                body = body + rng.randbytes(rng.randrange(1, 50))
            else:
                body = body[:1] + self._garble(self._flip(body[1:]))
        return body

    def _somewhere(self) -> Endpoint:
        rng = self.rng
        kind = rng.randrange(4)
        if kind == 0:
            return rng.choice(self._sources)
        if kind == 1:
            return Endpoint(f"203.0.113.{rng.randrange(256)}", rng.randrange(1, 65536))
        if kind == 2:
            return Endpoint(
                f"{rng.randrange(1, 224)}.{rng.randrange(256)}.{rng.randrange(256)}.{rng.randrange(256)}",
                rng.randrange(1, 65536),
            )
        return Endpoint(
            f"2a01:{rng.randrange(1, 65536):x}::{rng.randrange(1, 65536):x}", rng.randrange(1, 65536)
        )

    def _random(self) -> bytes:
        rng = self.rng
        size = rng.choice(
            (0, 1, 4, 13, 16, 17, 27, 28, 29, 137, 200, 1432, rng.randrange(1500), 10_024, 10_025)
        )
        data = rng.randbytes(size)
        if size >= 18 and rng.random() < 0.7:
            data = data[:8] + self._target + data[13:]
            if rng.random() < 0.5:
                data = data[:13] + rng.choice(self._addresses) + data[18:]
        return data

    def _flip(self, data: bytes) -> bytes:
        if not data:
            return data
        changed = bytearray(data)
        for _ in range(self.rng.choice((1, 1, 2, 8))):
            changed[self.rng.randrange(len(data))] ^= 1 << self.rng.randrange(8)
        return bytes(changed)

    def _cut(self, data: bytes) -> bytes:
        return data[: self.rng.randrange(len(data))] if data else data

    def _extend(self, data: bytes) -> bytes:
        return data + self.rng.randbytes(self.rng.choice((1, 10, 100, 1500, 9000)))

    def _garble(self, data: bytes) -> bytes:
        """Random bytes, zeros or ones in the middle: lengths and counts that lie."""
        if not data:
            return data
        start = self.rng.randrange(len(data))
        size = self.rng.choice((1, 2, 4, 8))
        what = self.rng.choice((self.rng.randbytes(size), bytes(size), b"\xff" * size))
        return data[:start] + what + data[start + size :]

    def _readdress(self, data: bytes) -> bytes:
        rng = self.rng
        if rng.random() < 0.5:
            return data[:8] + rng.choice((self._target, *self._addresses, rng.randbytes(5))) + data[13:]
        return data[:13] + rng.choice((self._target, *self._addresses, rng.randbytes(5))) + data[18:]

    def _reheader(self, data: bytes) -> bytes:
        return data[:18] + bytes((self.rng.randrange(256),)) + data[19:]

    def _refragment(self, data: bytes) -> bytes:
        """A fragment, of a packet under way or of none."""
        rng = self.rng
        packet_id = rng.choice(self._captured).payload[:8] if rng.random() < 0.5 else rng.randbytes(8)
        mark = b"\xff" + bytes((rng.randrange(256), rng.randrange(256)))
        return packet_id + self._target + mark + data[16:]

    def _splice(self, data: bytes) -> bytes:
        other = self.rng.choice(self._captured).payload
        at = self.rng.randrange(len(data) + 1)
        return data[:at] + other[at:]
