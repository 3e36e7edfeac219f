"""Bytes that wait to be cut into segments."""

from __future__ import annotations

_GATHER = 4096  # smaller writes are gathered into one piece, so that they cost no more than their bytes
_TRIM = 64  # pieces


class SendQueue:
    """Written in pieces of any size, taken in pieces of any size. Large ``bytes`` are kept, not copied."""

    __slots__ = ("_first", "_offset", "pieces", "size")

    def __init__(self) -> None:
        # A list and not a deque, whose first block alone would be a fifth of an idle connection.
        self.pieces: list[bytes | bytearray] = []
        self._first = 0  # index of the first piece that is not used up
        self._offset = 0  # what is taken of it
        self.size = 0

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if type(data) is memoryview:
            data = data.tobytes()  # its items may be larger than bytes
        size = len(data)
        pieces = self.pieces
        if size >= _GATHER:
            pieces.append(data if type(data) is bytes else bytes(data))
        elif self.size and type(tail := pieces[-1]) is bytearray and len(tail) < _GATHER:
            tail += data
        elif size:
            pieces.append(bytearray(data))
        self.size += size

    def take(self, size: int) -> bytes:
        """The next ``size`` bytes, which must be there."""
        self.size -= size
        first = self.pieces[self._first]
        start = self._offset
        stop = start + size
        if stop < len(first):
            self._offset = stop
            return bytes(first[start:stop])
        parts = [first[start:] if start else first]
        size -= len(first) - start
        self._use_up()
        while size:
            first = self.pieces[self._first]
            if size < len(first):
                parts.append(first[:size])
                break
            parts.append(first)
            size -= len(first)
            self._use_up()
        self._offset = size
        return b"".join(parts)

    def clear(self) -> None:
        self.pieces = []
        self._first = self._offset = self.size = 0

    def _use_up(self) -> None:
        pieces = self.pieces
        pieces[self._first] = b""
        self._first += 1
        if self._first == len(pieces) or self._first >= max(_TRIM, len(pieces) // 2):
            del pieces[: self._first]
            self._first = 0
