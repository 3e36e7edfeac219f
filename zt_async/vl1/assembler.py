"""Putting fragments together again. vl1.md 2.7."""

from __future__ import annotations

from typing import Final

from zt_async.vl1.path import Path
from zt_async.wire.packet import FRAGMENT_HEADER_SIZE, MAX_DATAGRAM, MAX_FRAGMENTS

MAX_SETS: Final = 1024
MAX_BYTES: Final = 4 << 20
EXPIRY: Final = 5.0  # s


class _Set:
    __slots__ = ("arrived", "head", "path", "pieces", "size", "total")

    def __init__(self, now: float) -> None:
        self.arrived = now
        self.head: bytes | None = None
        self.path: Path | None = None
        self.pieces: dict[int, bytes] = {}
        self.total = 0
        self.size = 0


class Assembler:
    """Collects the pieces of packets by packet ID. Bounded in sets, bytes and time: the oldest go first."""

    def __init__(self) -> None:
        self._sets: dict[bytes, _Set] = {}
        self._bytes = 0
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._sets)

    def add_head(self, packet: bytes, path: Path, now: float) -> tuple[bytes, Path] | None:
        """Take a packet that says it is fragmented; the whole packet and the path of its head when complete."""
        packet_id = packet[:8]
        pieces = self._sets.get(packet_id) or self._open(packet_id, now)
        if pieces.head is not None:
            return None
        pieces.head = packet
        pieces.path = path
        return self._grow(packet_id, pieces, len(packet))

    def add_fragment(self, fragment: bytes, now: float) -> tuple[bytes, Path] | None:
        """Take a fragment; as ``add_head``. One that contradicts the rules is ignored."""
        total = fragment[14] >> 4
        number = fragment[14] & 0x0F
        if not (1 < total <= MAX_FRAGMENTS and 0 < number < MAX_FRAGMENTS):
            self.dropped += 1
            return None
        packet_id = fragment[:8]
        pieces = self._sets.get(packet_id) or self._open(packet_id, now)
        if number in pieces.pieces:
            return None
        pieces.pieces[number] = fragment[FRAGMENT_HEADER_SIZE:]
        pieces.total = total
        return self._grow(packet_id, pieces, len(fragment) - FRAGMENT_HEADER_SIZE)

    def expire(self, now: float) -> None:
        """Forget what was not completed in time."""
        for packet_id, pieces in list(self._sets.items()):
            if now - pieces.arrived < EXPIRY:
                break  # sets are in order of arrival
            self._discard(packet_id, pieces)

    def _open(self, packet_id: bytes, now: float) -> _Set:
        while len(self._sets) >= MAX_SETS or self._bytes > MAX_BYTES:
            oldest = next(iter(self._sets))
            self._discard(oldest, self._sets[oldest])
        pieces = self._sets[packet_id] = _Set(now)
        return pieces

    def _discard(self, packet_id: bytes, pieces: _Set) -> None:
        del self._sets[packet_id]
        self._bytes -= pieces.size
        self.dropped += 1

    def _grow(self, packet_id: bytes, pieces: _Set, size: int) -> tuple[bytes, Path] | None:
        pieces.size += size
        self._bytes += size
        head, path = pieces.head, pieces.path
        if head is None or path is None or len(pieces.pieces) + 1 != pieces.total:
            return None
        if pieces.size > MAX_DATAGRAM or any(n not in pieces.pieces for n in range(1, pieces.total)):
            self._discard(packet_id, pieces)
            return None
        del self._sets[packet_id]
        self._bytes -= pieces.size
        found = pieces.pieces
        return b"".join((head, *(found[n] for n in range(1, pieces.total)))), path
