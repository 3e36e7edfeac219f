"""Reading bytes that a stranger sent: every read is checked, and there is one way to fail."""

from __future__ import annotations

from zt_async.errors import DecodeError


class Reader:
    """A cursor over bytes. Every method raises DecodeError("truncated") rather than read past the end."""

    __slots__ = ("_data", "_end", "offset")

    def __init__(self, data: bytes, offset: int = 0) -> None:
        self._data = data
        self._end = len(data)
        self.offset = offset

    @property
    def remaining(self) -> int:
        return self._end - self.offset

    def take(self, size: int) -> bytes:
        """The next ``size`` bytes."""
        start = self.offset
        stop = start + size
        if stop > self._end:
            raise DecodeError("truncated")
        self.offset = stop
        return self._data[start:stop]

    def uint(self, size: int) -> int:
        """The next ``size`` bytes as an unsigned big-endian integer."""
        return int.from_bytes(self.take(size), "big")

    def u8(self) -> int:
        start = self.offset
        if start >= self._end:
            raise DecodeError("truncated")
        self.offset = start + 1
        return self._data[start]

    def u16(self) -> int:
        return int.from_bytes(self.take(2), "big")

    def u32(self) -> int:
        return int.from_bytes(self.take(4), "big")

    def u64(self) -> int:
        return int.from_bytes(self.take(8), "big")

    def skip(self, size: int) -> None:
        self.take(size)

    def rest(self) -> bytes:
        """All that is left."""
        return self.take(self._end - self.offset)
