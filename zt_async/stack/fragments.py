"""Reassembly of fragments (RFC 8200 section 4.5, RFC 791 section 3.2), and cutting packets into them."""

from __future__ import annotations

from math import inf
from typing import NamedTuple

from zt_async.errors import DecodeError
from zt_async.stack.flow import Flow
from zt_async.stack.host import Host
from zt_async.stack.interface import Interface
from zt_async.stack.timers import Timer
from zt_async.wire import ip, ipv4, ipv6

_OVERHEAD = 256  # what a fragment costs besides its bytes
_MAX_PIECES = 128  # 64 kB in pieces of an MTU of 576 are 119


class Piece(NamedTuple):
    """What a fragment holds of its packet."""

    family: str
    """``ipv4`` or ``ipv6``, for the counters."""
    key: bytes
    """The same for all fragments of a packet, and no others: addresses, identification, for IPv4 the protocol."""
    offset: int
    more: bool
    data: bytes
    packet: bytes
    """The fragment as it came."""


class Whole(NamedTuple):
    """All pieces of a packet, joined, and its first fragment as it came."""

    first: Piece
    body: bytes


class _Partial:
    """A packet of which some fragments are here."""

    __slots__ = ("deadline", "family", "first", "interface", "pieces", "size", "total")

    def __init__(self, interface: Interface, family: str, deadline: float) -> None:
        self.interface = interface
        self.family = family
        self.deadline = deadline
        self.pieces: dict[int, bytes] = {}
        self.size = 0
        self.total: int | None = None
        self.first: Piece | None = None


_Key = tuple[Interface, bytes]


class Reassembler:
    """Bounded in bytes; beyond that the packet that was begun first is dropped.

    Overlapping fragments end the whole packet (RFC 5722), exact repeats do not (RFC 8200 allows either).
    """

    __slots__ = ("_host", "_memory", "_partials", "_timer", "expired")

    def __init__(self, host: Host) -> None:
        self._host = host
        self._partials: dict[_Key, _Partial] = {}
        self._memory = 0
        self._timer = Timer(self)
        self.expired: list[tuple[Interface, bytes]] = []
        """First fragments of packets whose time is over, for the owner to answer."""

    def __len__(self) -> int:
        return len(self._partials)

    def receive(self, interface: Interface, piece: Piece, timeout: float, now: float) -> Whole | None:
        """Add a fragment; the packet, when it was the last missing one. Raises DecodeError."""
        family, key_part, offset, more, data, _ = piece
        key = (interface, key_part)
        partial = self._partials.get(key)
        if partial is None:
            partial = self._partials[key] = _Partial(interface, family, now + timeout)
            self._host.timers.set(self._timer, min(self._timer.when, partial.deadline))
        if partial.pieces.get(offset) == data:
            raise DecodeError(f"{family} fragment repeated")
        if len(partial.pieces) == _MAX_PIECES:
            self._drop(key)
            raise DecodeError(f"{family} too many fragments")
        if self._overlaps(partial, offset, len(data), more=more):
            self._drop(key)
            raise DecodeError(f"{family} fragments overlap")
        if not more:
            partial.total = offset + len(data)
        if not offset:
            partial.first = piece
        partial.pieces[offset] = data
        partial.size += len(data)
        self._memory += len(data) + _OVERHEAD
        if partial.first is not None and partial.size == partial.total:
            self._drop(key)
            return Whole(partial.first, b"".join(partial.pieces[at] for at in sorted(partial.pieces)))
        while self._memory > self._host.config.reassembly_memory:
            oldest = next(iter(self._partials))
            self._host.counters[f"{self._partials[oldest].family} reassembly memory"] += 1
            self._drop(oldest)
        return None

    def handle_timer(self, now: float) -> None:
        for key, partial in list(self._partials.items()):
            if partial.deadline <= now:
                self._host.counters[f"{partial.family} reassembly timeout"] += 1
                if partial.first is not None:
                    self.expired.append((partial.interface, partial.first.packet))
                self._drop(key)
        if self._partials:
            earliest = min(partial.deadline for partial in self._partials.values())
            self._host.timers.set(self._timer, earliest)

    def remove_interface(self, interface: Interface) -> None:
        for key in [key for key, partial in self._partials.items() if partial.interface is interface]:
            self._drop(key)

    @staticmethod
    def _overlaps(partial: _Partial, start: int, size: int, *, more: bool) -> bool:
        stop = start + size
        if partial.total is not None and (stop > partial.total or not more):
            return True
        if not more and any(at + len(held) > stop for at, held in partial.pieces.items()):
            return True
        return any(start < at + len(held) and at < stop for at, held in partial.pieces.items())

    def _drop(self, key: _Key) -> None:
        partial = self._partials.pop(key)
        self._memory -= partial.size + _OVERHEAD * len(partial.pieces)
        if not self._partials:
            self._host.timers.set(self._timer, inf)


def split(flow: Flow, payload: bytes, identification: int) -> list[bytes]:
    """Cut the packet with this payload into fragments that fit the flow's path."""
    is_ipv6 = ip.is_ipv6(flow.source)
    make = _ipv6_fragment if is_ipv6 else _ipv4_fragment
    step = flow.max_payload - (ipv6.FRAGMENT_HEADER_SIZE if is_ipv6 else 0) & ~7
    return [
        make(flow, identification, offset, payload[offset : offset + step], offset + step < len(payload))
        for offset in range(0, len(payload), step)
    ]


def _ipv6_fragment(flow: Flow, identification: int, offset: int, data: bytes, more: bool) -> bytes:
    fragment = ipv6.Fragment(flow.protocol, offset, more, identification).encode()
    outer = ipv6.Header(
        flow.source,
        flow.destination,
        ipv6.FRAGMENT,
        len(fragment) + len(data),
        flow.hop_limit,
        flow.traffic_class,
    )
    return outer.encode() + fragment + data


def _ipv4_fragment(flow: Flow, identification: int, offset: int, data: bytes, more: bool) -> bytes:
    outer = ipv4.Header(
        flow.source,
        flow.destination,
        flow.protocol,
        len(data),
        flow.hop_limit,
        flow.traffic_class,
        identification & 0xFFFF,
        dont_fragment=False,
        more_fragments=more,
        offset=offset,
    )
    return outer.encode() + data
