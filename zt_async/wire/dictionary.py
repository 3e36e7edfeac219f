"""Dictionaries: the ``key=value`` text of network configurations and of a member's metadata. vl2.md 3.1."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from zt_async.errors import DecodeError
from zt_async.types import NodeAddress

_MAX_DIGITS: Final = 127
_UINT_MAX: Final = (1 << 64) - 1
_INT_MAX: Final = (1 << 63) - 1
_ESCAPES: Final = ((b"\\", b"\\\\"), (b"\0", b"\\0"), (b"\r", b"\\r"), (b"\n", b"\\n"), (b"=", b"\\e"))
_MEANINGS: Final = {b"r": b"\r", b"n": b"\n", b"0": b"\0", b"e": b"="}
_ESCAPE = re.compile(rb"\\(.?)", re.DOTALL)
_LINE_END = re.compile(rb"[\r\n]")
_NUMBER = re.compile(rb"[ \t\n\v\f\r]*([+-]?)(?:0[xX](?=[0-9a-fA-F]))?([0-9a-fA-F]*)")
_KEY = re.compile(r"[^\0\r\n=]*")


class Dictionary:
    """Values by key, in the order in which they were put in. Of several with one key the first counts.

    ``limit`` is the most bytes that the text may have.
    """

    __slots__ = ("_entries", "_limit", "_size", "_values")

    def __init__(self, limit: int | None = None) -> None:
        self._limit = limit
        self._size = -1  # the first entry has no separator before it
        self._entries: list[bytes] = []
        self._values: dict[str, bytes] = {}

    @classmethod
    def decode(cls, data: bytes, limit: int | None = None) -> Dictionary:
        """Read the text, up to its first zero byte. Raises DecodeError if it has more than ``limit`` bytes."""
        if limit is not None and len(data) > limit:
            raise DecodeError("dictionary too long")
        self = cls(limit)
        for line in _LINE_END.split(data.split(b"\0", 1)[0]):
            key, separator, value = line.partition(b"=")
            if separator:
                self._append(key.decode("latin-1"), line, _unescaped(value))
        return self

    def encode(self) -> bytes:
        """The text."""
        return b"\n".join(self._entries)

    def __contains__(self, key: object) -> bool:
        return key in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def _append(self, key: str, line: bytes, value: bytes) -> None:
        self._size += len(line) + 1
        self._entries.append(line)
        self._values.setdefault(key, value)

    # Writing

    def put(self, key: str, value: bytes) -> None:
        """Add raw bytes. Raises ValueError for a key that has no text form, or if the text would be too long."""
        if _KEY.fullmatch(key) is None:
            raise ValueError(f"a key of a dictionary has no line ends, zero bytes and '=': {key!r}")
        escaped = value
        for byte, escape in _ESCAPES:
            escaped = escaped.replace(byte, escape)
        line = key.encode("latin-1") + b"=" + escaped
        if self._limit is not None and self._size + 1 + len(line) > self._limit:
            raise ValueError(f"{key!r} does not fit into a dictionary of {self._limit} bytes")
        self._append(key, line, value)

    def put_int(self, key: str, value: int) -> None:
        """Add an integer of 64 bits. The sign of a negative one is lost, as other nodes lose it."""
        if abs(value) > _UINT_MAX:
            raise ValueError(f"{key!r} is an integer of 64 bits, not {value}")
        self.put(key, b"%016x" % abs(value))

    def put_bool(self, key: str, value: bool) -> None:
        self.put(key, b"1" if value else b"0")

    def put_address(self, key: str, value: NodeAddress) -> None:
        self.put(key, str(value).encode())

    def put_text(self, key: str, value: str) -> None:
        self.put(key, value.encode("utf-8", "replace"))

    # Reading

    def get(self, key: str) -> bytes | None:
        """The raw bytes of a value; None if there is none."""
        return self._values.get(key)

    def get_uint(self, key: str, default: int = 0) -> int:
        """An unsigned integer of 64 bits: one that does not fit is the largest, a negative one wraps around."""
        value = self._values.get(key)
        if not value:
            return default
        number = _number(value)
        return number & _UINT_MAX if abs(number) <= _UINT_MAX else _UINT_MAX

    def get_int(self, key: str, default: int = 0) -> int:
        """A signed integer of 64 bits; one that does not fit is cut to the nearest that does."""
        value = self._values.get(key)
        if not value:
            return default
        return max(min(_number(value), _INT_MAX), -_INT_MAX - 1)

    def get_bool(self, key: str, default: bool = False) -> bool:
        """Whether a value begins like ``1`` or ``true``."""
        value = self._values.get(key)
        return default if value is None else value[:1] in (b"1", b"t", b"T")

    def get_address(self, key: str) -> NodeAddress:
        """A node's address, zero if there is none; bits beyond its 40 are left out."""
        return NodeAddress(self.get_uint(key) & 0xFFFFFFFFFF)

    def get_text(self, key: str, limit: int) -> str:
        """A text, up to its first zero byte or ``limit`` bytes. What is no UTF-8 is replaced."""
        return self._values.get(key, b"")[:limit].split(b"\0", 1)[0].decode("utf-8", "replace")


def _unescaped(value: bytes) -> bytes:
    if b"\\" not in value:
        return value
    return _ESCAPE.sub(lambda match: _MEANINGS.get(match[1], match[1]), value)


def _number(value: bytes) -> int:
    """As C reads hexadecimal: up to the first byte that is no digit."""
    match = _NUMBER.match(value, 0, _MAX_DIGITS)
    assert match is not None  # it matches the empty text too
    number = int(match[2] or b"0", 16)
    return -number if match[1] == b"-" else number
