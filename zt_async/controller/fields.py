"""Fields of records: what JSON or a caller gives, checked and made typed; and the way back to JSON. vl2.md 8.5.

A reader takes the JSON form or the typed one, and raises ValueError saying what is wrong.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from zt_async.crypto.identity import Identity
from zt_async.types import IPAddress, IPNetwork, NodeAddress

Reader: TypeAlias = Callable[[Any], Any]
ValueT = TypeVar("ValueT")


@dataclass(frozen=True, slots=True)
class Field:
    """One key of a record's JSON object."""

    read: Callable[[Any], dict[str, Any]]
    """Value to attributes of the record."""
    write: Callable[[Any], Any]
    """Record to value."""
    attribute: str = ""
    """The attribute that it stands for, if it is one."""
    writable: bool = True
    """A user of the API may set it."""
    optional: bool = False
    """Left out while it is None."""


def field(
    attribute: str,
    read: Reader,
    write: Callable[[Any], Any] = lambda value: value,
    *,
    writable: bool = True,
    optional: bool = False,
) -> Field:
    """A key that stands for one attribute."""
    return Field(
        lambda value: {attribute: read(value)},
        lambda record: write(getattr(record, attribute)),
        attribute,
        writable,
        optional,
    )


def flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"is true or false, not {value!r}")
    return value


def integer(low: int, high: int, *, clamp: bool = False) -> Callable[[Any], int]:
    """A whole number within the limits, or moved to the nearer one."""

    def read(value: Any) -> int:
        if isinstance(value, float) and value.is_integer():
            value = int(value)  # JSON knows but one kind of number
        if not isinstance(value, int) or isinstance(value, bool):
            raise ValueError(f"is a whole number, not {value!r}")
        if clamp:
            return min(max(int(value), low), high)
        if not low <= value <= high:
            raise ValueError(f"is {low} to {high}, not {value}")
        return int(value)

    return read


U32 = integer(0, 0xFFFFFFFF)
MILLISECONDS = integer(0, (1 << 63) - 1)
REVISION = integer(0, 1 << 62)  # so that databases can count on from it


def text(limit: int | None = None) -> Callable[[Any], str]:
    """Text of at most ``limit`` bytes of UTF-8."""

    def read(value: Any) -> str:
        if not isinstance(value, str):
            raise ValueError(f"is text, not {value!r}")
        try:
            size = len(value.encode())
        except UnicodeEncodeError:
            raise ValueError("is no valid Unicode") from None
        if "\0" in value:
            raise ValueError("must not have a NUL in it")
        if limit is not None and size > limit:
            raise ValueError(f"is at most {limit} bytes of UTF-8, not {size}")
        return value

    return read


def or_none(read: Callable[[Any], ValueT], *blank: object) -> Callable[[Any], ValueT | None]:
    """None, for which ``blank`` are other spellings; or what ``read`` makes of it."""
    return lambda value: None if value is None or value in blank else read(value)


def items(
    read: Callable[[Any], ValueT], limit: int, what: str = "entries"
) -> Callable[[Any], tuple[ValueT, ...]]:
    """A list of at most so many entries."""

    def read_all(value: Any) -> tuple[ValueT, ...]:
        if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
            raise ValueError(f"is a list, not {value!r}")
        entries = list(value)
        if len(entries) > limit:
            raise ValueError(f"has at most {limit} {what}, not {len(entries)}")
        found: list[ValueT] = []
        for number, entry in enumerate(entries):
            try:
                found.append(read(entry))
            except ValueError as error:
                raise ValueError(f"entry {number}: {error}") from None
        return tuple(found)

    return read_all


def mapping(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError(f"is an object, not {value!r}")
    return value


def pair(value: Any) -> tuple[int, int]:
    """An ID and a value, both of 32 bits."""
    if not isinstance(value, Sequence) or isinstance(value, str) or len(value) != 2:
        raise ValueError(f"is a pair of an ID and a value, not {value!r}")
    return U32(value[0]), U32(value[1])


def ip_address(value: Any) -> IPAddress:
    """An IP address; the length of a prefix after it is dropped."""
    if isinstance(value, ipaddress.IPv4Address | ipaddress.IPv6Address):
        value = str(value)
    if not isinstance(value, str) or "%" in value:
        raise ValueError(f"is an IP address, not {value!r}")
    try:
        return ipaddress.ip_interface(value.strip()).ip
    except ValueError:
        raise ValueError(f"is an IP address, not {value!r}") from None


def ip_network(value: Any) -> IPNetwork:
    """An IP network; host bits are cleared, because a target with such would match nothing in IPv6."""
    if isinstance(value, ipaddress.IPv4Network | ipaddress.IPv6Network):
        return value
    if not isinstance(value, str) or "/" not in value or "%" in value:
        raise ValueError(f"is written ip/length, not {value!r}")
    try:
        return ipaddress.ip_network(value.strip(), strict=False)
    except ValueError:
        raise ValueError(f"is written ip/length, not {value!r}") from None


def node_address(value: Any) -> NodeAddress:
    if isinstance(value, int) and not isinstance(value, bool):
        return NodeAddress(value)
    if not isinstance(value, str):
        raise ValueError(f"is ten hexadecimal digits, not {value!r}")
    return NodeAddress.parse(value)


def identity(value: Any) -> Identity:
    """A public identity."""
    if isinstance(value, Identity):
        return value.public()
    if not isinstance(value, str):
        raise ValueError("is the text of an identity")
    return Identity.parse(value).public()


def texts(values: Iterable[object]) -> list[str]:
    return [str(value) for value in values]


def text_or_none(value: object) -> str | None:
    return None if value is None else str(value)
