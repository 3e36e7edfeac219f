"""Putting fragments together again. vl1.md 2.7."""

from __future__ import annotations

from collections import Counter
from typing import Final

from zt_async.vl1.counters import DATAGRAM_FRAGMENT, FRAGMENTS_ABANDONED, FRAGMENTS_JOINED
from zt_async.vl1.path import Path
from zt_async.wire.packet import FRAGMENT_HEADER_SIZE, FRAGMENT_MARK, MAX_DATAGRAM, MAX_FRAGMENTS

MAX_SETS: Final = 1024
MAX_BYTES: Final = 4 << 20
EXPIRY: Final = 5.0  # s


class _Set:
    """The pieces of one packet by their number, of which the head's is 0."""

    __slots__ = ("arrived", "path", "pieces", "size", "total")

    def __init__(self, now: float) -> None:
        self.arrived = now
        self.path: Path | None = None
        self.pieces: dict[int, bytes] = {}
        self.total = 0
        self.size = 0


class Assembler:
    """Collects the pieces of packets by packet ID. Bounded in sets, bytes and time: the oldest go first."""

    def __init__(self, counters: Counter[str]) -> None:
        self._sets: dict[bytes, _Set] = {}
        self._bytes = 0
        self._counters = counters

    def __len__(self) -> int:
        return len(self._sets)

    def add(self, piece: bytes, path: Path, now: float) -> tuple[bytes, Path] | None:
        """Take a fragment, or the head of a packet; the whole packet and its head's path if that completes it."""
        total = number = 0
        data = piece
        if piece[13] == FRAGMENT_MARK:
            total, number = piece[14] >> 4, piece[14] & 0x0F
            if not (1 < total <= MAX_FRAGMENTS and 0 < number < MAX_FRAGMENTS):
                self._counters["datagram: bad fragment"] += 1
                return None
            data = piece[FRAGMENT_HEADER_SIZE:]
        packet_id = piece[:8]
        found = self._sets.get(packet_id) or self._open(packet_id, now)
        if number in found.pieces:
            self._counters["datagram: repeated fragment"] += 1
            return None
        self._counters[DATAGRAM_FRAGMENT] += 1
        found.pieces[number] = data
        found.size += len(data)
        self._bytes += len(data)
        if total:
            found.total = total
        else:
            found.path = path
        if found.size > MAX_DATAGRAM:
            self._abandon(packet_id)
        elif found.path is not None and len(found.pieces) == found.total:
            return self._join(packet_id, found, found.path)
        while self._bytes > MAX_BYTES:
            self._abandon(next(iter(self._sets)))
        return None

    def expire(self, now: float) -> None:
        """Forget what was not completed in time."""
        for packet_id, pieces in list(self._sets.items()):
            if now - pieces.arrived < EXPIRY:
                break  # sets are in order of arrival
            self._abandon(packet_id)

    def _open(self, packet_id: bytes, now: float) -> _Set:
        if len(self._sets) >= MAX_SETS:
            self._abandon(next(iter(self._sets)))
        pieces = self._sets[packet_id] = _Set(now)
        return pieces

    def _abandon(self, packet_id: bytes) -> None:
        self._bytes -= self._sets.pop(packet_id).size
        self._counters[FRAGMENTS_ABANDONED] += 1

    def _join(self, packet_id: bytes, found: _Set, path: Path) -> tuple[bytes, Path] | None:
        pieces = found.pieces
        if max(pieces) >= found.total:  # their numbers and their count contradict each other
            self._abandon(packet_id)
            return None
        del self._sets[packet_id]
        self._bytes -= found.size
        self._counters[FRAGMENTS_JOINED] += 1
        return b"".join(pieces[number] for number in range(found.total)), path
