"""UDP datagrams (RFC 768). Over IPv6 the checksum is not optional (RFC 8200 section 8.1)."""

from __future__ import annotations

import struct
from typing import NamedTuple

from zt_async.errors import DecodeError
from zt_async.wire import ip

HEADER_SIZE = 8
MAX_PAYLOAD = 0xFFFF - HEADER_SIZE
MAX_IPV4_PAYLOAD = MAX_PAYLOAD - 20

_HEADER = struct.Struct("!HHHH")


class Datagram(NamedTuple):
    source_port: int
    destination_port: int
    payload: bytes

    def encode(self, pseudo_sum: int) -> bytes:
        """``pseudo_sum`` is of :func:`zt_async.wire.ip.pseudo_header_sum`."""
        source, destination, payload = self
        size = HEADER_SIZE + len(payload)
        total = ip.upper_checksum(payload, pseudo_sum + source + destination + 2 * size - len(payload))
        return _HEADER.pack(source, destination, size, total or 0xFFFF) + payload


def parse(data: bytes, pseudo_sum: int | None, *, may_lack_checksum: bool = False) -> Datagram:
    """Read a datagram and verify its checksum, unless ``pseudo_sum`` is None. Raises DecodeError.

    ``may_lack_checksum``: it came over IPv4, where the sender may leave it out.
    """
    if len(data) < HEADER_SIZE:
        raise DecodeError("udp truncated")
    source, destination, size, check = _HEADER.unpack_from(data)
    if not HEADER_SIZE <= size <= len(data):
        raise DecodeError("udp length")
    if not destination:
        raise DecodeError("udp port")
    data = data[:size]
    if not check:
        if pseudo_sum is not None and not may_lack_checksum:
            raise DecodeError("udp checksum")
    elif pseudo_sum is not None and not ip.checksum_holds(data, pseudo_sum):
        raise DecodeError("udp checksum")
    return Datagram(source, destination, data[HEADER_SIZE:])
