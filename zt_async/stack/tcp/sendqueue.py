"""Bytes that wait to be cut into segments."""

from __future__ import annotations

from collections import deque

_GATHER = 4096  # smaller writes are gathered into one piece, so that they cost no more than their bytes


class SendQueue:
    """Written in pieces of any size, taken in pieces of any size. Large ``bytes`` are kept, not copied."""

    __slots__ = ("_offset", "pieces", "size")

    def __init__(self) -> None:
        self.pieces: deque[bytes | bytearray] = deque()
        self._offset = 0  # what is taken of the first piece
        self.size = 0

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if type(data) is memoryview:
            data = data.tobytes()  # its items may be larger than bytes
        size = len(data)
        pieces = self.pieces
        if size >= _GATHER:
            pieces.append(data if type(data) is bytes else bytes(data))
        elif pieces and type(tail := pieces[-1]) is bytearray and len(tail) < _GATHER:
            tail += data
        elif size:
            pieces.append(bytearray(data))
        self.size += size

    def take(self, size: int) -> bytes:
        """The next ``size`` bytes, which must be there."""
        self.size -= size
        pieces = self.pieces
        first = pieces[0]
        start = self._offset
        stop = start + size
        if stop < len(first):
            self._offset = stop
            return bytes(first[start:stop])
        parts = [first[start:] if start else first]
        size -= len(first) - start
        pieces.popleft()
        while size:
            first = pieces[0]
            if size < len(first):
                parts.append(first[:size])
                break
            parts.append(first)
            size -= len(first)
            pieces.popleft()
        self._offset = size
        return b"".join(parts)

    def clear(self) -> None:
        self.pieces.clear()
        self._offset = self.size = 0
