"""TCP segments and options (RFC 9293 section 3.1, RFC 7323, RFC 2018)."""

from __future__ import annotations

import struct
from typing import NamedTuple

from zt_async.errors import DecodeError
from zt_async.wire import ip

HEADER_SIZE = 20
FIN, SYN, RST, PSH, ACK, URG = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
MAX_WINDOW_SCALE = 14

_HEADER = struct.Struct("!HHIIHHHH")
_TIMESTAMPS = struct.Struct("!BBII")
_END, _NOP, _MSS, _WINDOW_SCALE, _SACK_PERMITTED, _SACK, _TIMESTAMP = 0, 1, 2, 3, 4, 5, 8
_SIZES = {_MSS: 4, _WINDOW_SCALE: 3, _SACK_PERMITTED: 2, _TIMESTAMP: 10}


class Options(NamedTuple):
    """The options this stack knows; None, False or empty where a segment does not have them."""

    mss: int | None = None
    window_scale: int | None = None
    sack_permitted: bool = False
    timestamps: tuple[int, int] | None = None
    """TSval and TSecr."""
    sacks: tuple[tuple[int, int], ...] = ()
    """Left and right edges, at most four."""

    def encode(self) -> bytes:
        """Padded to whole words. Room is the caller's care: 40 bytes at most."""
        parts = []
        if self.mss is not None:
            parts.append(struct.pack("!BBH", _MSS, 4, self.mss))
        if self.sack_permitted:
            parts.append(b"\x04\x02" if self.timestamps else b"\x01\x01\x04\x02")
        if self.timestamps:
            if not self.sack_permitted:
                parts.append(b"\x01\x01")
            parts.append(_TIMESTAMPS.pack(_TIMESTAMP, 10, *self.timestamps))
        if self.window_scale is not None:
            parts.append(bytes((_NOP, _WINDOW_SCALE, 3, self.window_scale)))
        if self.sacks:
            edges = [edge for block in self.sacks for edge in block]
            parts.append(struct.pack(f"!BBBB{len(edges)}I", _NOP, _NOP, _SACK, 2 + 4 * len(edges), *edges))
        return b"".join(parts)


NO_OPTIONS = Options()


class Segment(NamedTuple):
    """One segment. Sequence numbers are as on the wire, 32 bits; the window is not yet scaled."""

    source_port: int
    destination_port: int
    seq: int
    ack: int
    flags: int
    window: int
    options: Options = NO_OPTIONS
    payload: bytes = b""

    @property
    def size(self) -> int:
        """How much of the sequence space it takes: data, SYN and FIN."""
        return len(self.payload) + (self.flags & FIN) + (self.flags >> 1 & 1)

    def encode(self, pseudo_sum: int) -> bytes:
        """``pseudo_sum`` is of :func:`zt_async.wire.ip.pseudo_header_sum`."""
        options = self.options.encode()
        layout = (HEADER_SIZE + len(options)) << 10 | self.flags
        fields = (self.source_port, self.destination_port, self.seq, self.ack, layout, self.window)
        check = ip.upper_checksum(_HEADER.pack(*fields, 0, 0) + options + self.payload, pseudo_sum)
        return _HEADER.pack(*fields, check, 0) + options + self.payload

    def __str__(self) -> str:
        names = [name for bit, name in _FLAG_NAMES if self.flags & bit]
        return f"{'|'.join(names)} seq={self.seq} ack={self.ack} win={self.window} len={len(self.payload)}"


_FLAG_NAMES = ((SYN, "SYN"), (FIN, "FIN"), (RST, "RST"), (PSH, "PSH"), (ACK, "ACK"), (URG, "URG"))


def parse(data: bytes, offset: int = 0, end: int | None = None) -> Segment:
    """Read the segment in ``data[offset:end]``; its checksum is the caller's care. Raises DecodeError."""
    if end is None:
        end = len(data)
    if end - offset < HEADER_SIZE:
        raise DecodeError("tcp truncated")
    source, destination, seq, ack, layout, window, _, _ = _HEADER.unpack_from(data, offset)
    body = offset + (layout >> 12) * 4
    if not offset + HEADER_SIZE <= body <= end:
        raise DecodeError("tcp data offset")
    if not source or not destination:
        raise DecodeError("tcp port")
    options = parse_options(data, offset + HEADER_SIZE, body) if body > offset + HEADER_SIZE else NO_OPTIONS
    return Segment(source, destination, seq, ack, layout & 0x3F, window, options, data[body:end])


def parse_options(data: bytes, offset: int, end: int) -> Options:
    """Unknown options are passed over by their length (RFC 9293 MUST-6). Raises DecodeError (MUST-7)."""
    mss = window_scale = None
    timestamps: tuple[int, int] | None = None
    sack_permitted = False
    sacks: tuple[tuple[int, int], ...] = ()
    while offset < end:
        kind = data[offset]
        if kind == _END:
            break
        if kind == _NOP:
            offset += 1
            continue
        if offset + 2 > end:
            raise DecodeError("tcp option truncated")
        size = data[offset + 1]
        if size < 2 or offset + size > end or size != _SIZES.get(kind, size):
            raise DecodeError("tcp option length")
        if kind == _MSS:
            mss = int.from_bytes(data[offset + 2 : offset + 4], "big")
        elif kind == _WINDOW_SCALE:
            window_scale = min(data[offset + 2], MAX_WINDOW_SCALE)  # RFC 7323 section 2.3
        elif kind == _SACK_PERMITTED:
            sack_permitted = True
        elif kind == _TIMESTAMP:
            _, _, value, echo = _TIMESTAMPS.unpack_from(data, offset)
            timestamps = (value, echo)
        elif kind == _SACK:
            if size % 8 != 2 or size == 2:
                raise DecodeError("tcp option length")
            edges = struct.unpack_from(f"!{(size - 2) // 4}I", data, offset + 2)
            sacks = tuple(zip(edges[::2], edges[1::2], strict=True))
        offset += size
    return Options(mss, window_scale, sack_permitted, timestamps, sacks)
