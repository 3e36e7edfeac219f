"""Reassembly of IPv6 fragments (RFC 8200 section 4.5), and cutting packets into them."""

from __future__ import annotations

from math import inf
from typing import NamedTuple

from zt_async.errors import DecodeError
from zt_async.stack.host import Host
from zt_async.stack.interface import Interface
from zt_async.stack.timers import Timer
from zt_async.wire import ipv6

_OVERHEAD = 256  # what a fragment costs besides its bytes
_MAX_PIECES = 128  # 64 kB in pieces of an MTU of 1280 are 54
_MAX_PAYLOAD = 0xFFFF


class Reassembled(NamedTuple):
    """A whole packet without its fragment header."""

    packet: bytes
    protocol: int
    offset: int
    named_at: int
    """Offset of the byte that names ``protocol``."""


class _Partial:
    """A packet of which some fragments are here."""

    __slots__ = ("deadline", "first", "interface", "next_header", "pieces", "size", "total")

    def __init__(self, interface: Interface, deadline: float) -> None:
        self.interface = interface
        self.deadline = deadline
        self.pieces: dict[int, bytes] = {}
        self.size = 0
        self.total: int | None = None
        self.first: bytes | None = None  # the packet that began it: unfragmentable part and first piece
        self.next_header = 0


_Key = tuple[Interface, bytes, int]


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

    def receive(
        self, interface: Interface, packet: bytes, end: int, upper: ipv6.Upper, now: float
    ) -> Reassembled | None:
        """Add a fragment; the packet, when it was the last missing one. Raises DecodeError."""
        fragment = upper.fragment
        assert fragment is not None
        unfragmentable = upper.offset - ipv6.FRAGMENT_HEADER_SIZE
        piece = packet[upper.offset : end]
        if not fragment.more and not fragment.offset:  # RFC 6946: stands alone, whatever else is here
            return _join(packet[:unfragmentable], fragment.next_header, piece)
        if fragment.more and (len(piece) % 8 or not piece):
            raise ipv6.ParameterProblem("ipv6 fragment length", ipv6.ERRONEOUS_FIELD, 4)
        if fragment.offset + len(piece) > _MAX_PAYLOAD - (unfragmentable - ipv6.HEADER_SIZE):
            raise ipv6.ParameterProblem("ipv6 fragment offset", ipv6.ERRONEOUS_FIELD, unfragmentable + 2)

        key = (interface, packet[8:40], fragment.identification)
        partial = self._partials.get(key)
        if partial is None:
            partial = self._partials[key] = _Partial(interface, now + self._host.config.reassembly_timeout)
            if self._timer.when == inf:
                self._host.timers.set(self._timer, partial.deadline)
        if partial.pieces.get(fragment.offset) == piece:
            raise DecodeError("ipv6 fragment repeated")
        if len(partial.pieces) == _MAX_PIECES:
            self._drop(key)
            raise DecodeError("ipv6 too many fragments")
        if self._overlaps(partial, fragment, len(piece)):
            self._drop(key)
            raise DecodeError("ipv6 fragments overlap")
        if not fragment.more:
            partial.total = fragment.offset + len(piece)
        if not fragment.offset:
            partial.first = packet[:end]
            partial.next_header = fragment.next_header
        partial.pieces[fragment.offset] = piece
        partial.size += len(piece)
        self._memory += len(piece) + _OVERHEAD
        if partial.first is not None and partial.size == partial.total:
            self._drop(key)
            head = partial.first[: len(partial.first) - len(partial.pieces[0]) - ipv6.FRAGMENT_HEADER_SIZE]
            body = b"".join(partial.pieces[at] for at in sorted(partial.pieces))
            return _join(head, partial.next_header, body)
        while self._memory > self._host.config.reassembly_memory:
            self._host.counters["ipv6 reassembly memory"] += 1
            self._drop(next(iter(self._partials)))
        return None

    def handle_timer(self, now: float) -> None:
        for key, partial in list(self._partials.items()):
            if partial.deadline > now:
                self._host.timers.set(self._timer, partial.deadline)
                return
            self._host.counters["ipv6 reassembly timeout"] += 1
            if partial.first is not None:
                self.expired.append((partial.interface, partial.first))
            self._drop(key)

    def remove_interface(self, interface: Interface) -> None:
        for key in [key for key, partial in self._partials.items() if partial.interface is interface]:
            self._drop(key)

    @staticmethod
    def _overlaps(partial: _Partial, fragment: ipv6.Fragment, size: int) -> bool:
        start, stop = fragment.offset, fragment.offset + size
        if partial.total is not None and (stop > partial.total or not fragment.more):
            return True
        if not fragment.more and any(at + len(held) > stop for at, held in partial.pieces.items()):
            return True
        return any(start < at + len(held) and at < stop for at, held in partial.pieces.items())

    def _drop(self, key: _Key) -> None:
        partial = self._partials.pop(key)
        self._memory -= partial.size + _OVERHEAD * len(partial.pieces)
        if not self._partials:
            self._host.timers.set(self._timer, inf)


def split(header: ipv6.Header, payload: bytes, mtu: int, identification: int) -> list[bytes]:
    """Cut the packet ``header`` + ``payload`` into fragments that fit ``mtu``."""
    step = (mtu - ipv6.HEADER_SIZE - ipv6.FRAGMENT_HEADER_SIZE) & ~7
    packets = []
    for offset in range(0, len(payload), step):
        piece = payload[offset : offset + step]
        more = offset + step < len(payload)
        fragment = ipv6.Fragment(header.next_header, offset, more, identification).encode()
        outer = header._replace(
            next_header=ipv6.FRAGMENT, payload_length=len(piece) + ipv6.FRAGMENT_HEADER_SIZE
        )
        packets.append(outer.encode() + fragment + piece)
    return packets


def _join(head: bytes, protocol: int, body: bytes) -> Reassembled:
    """The last header of the unfragmentable part now names what the fragment header named."""
    named_at, offset = 6, ipv6.HEADER_SIZE
    while offset < len(head):
        named_at, offset = offset, offset + 8 + 8 * head[offset + 1]
    packet = bytearray(head)
    packet[named_at] = protocol
    packet[4:6] = (len(head) - ipv6.HEADER_SIZE + len(body)).to_bytes(2, "big")
    return Reassembled(bytes(packet) + body, protocol, len(head), named_at)
