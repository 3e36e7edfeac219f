"""Neighbour discovery messages (RFC 4861 sections 4.3 and 4.4), as bodies of ICMPv6 messages."""

from __future__ import annotations

from typing import NamedTuple

from zt_async.errors import DecodeError
from zt_async.wire import ipv6
from zt_async.wire.buffer import Reader

HOP_LIMIT = 255
"""Required of every message: a router would have lowered it, so the sender is on the link."""

_SOURCE_LINK_ADDRESS, _TARGET_LINK_ADDRESS = 1, 2
_ROUTER, _SOLICITED, _OVERRIDE = 1 << 31, 1 << 30, 1 << 29


class NeighborSolicitation(NamedTuple):
    """Who has ``target``? ``source_mac`` is the asker's."""

    target: bytes
    source_mac: int | None

    def encode(self) -> bytes:
        return bytes(4) + self.target + _encode_link_address(_SOURCE_LINK_ADDRESS, self.source_mac)


class NeighborAdvertisement(NamedTuple):
    """``target`` is at ``target_mac``."""

    target: bytes
    target_mac: int | None
    router: bool
    solicited: bool
    override: bool

    def encode(self) -> bytes:
        flags = self.router * _ROUTER | self.solicited * _SOLICITED | self.override * _OVERRIDE
        return (
            flags.to_bytes(4, "big")
            + self.target
            + _encode_link_address(_TARGET_LINK_ADDRESS, self.target_mac)
        )


def parse_solicitation(body: bytes) -> NeighborSolicitation:
    """Raises DecodeError."""
    reader = Reader(body, 4)
    target = _take_target(reader)
    return NeighborSolicitation(target, _find_link_address(reader, _SOURCE_LINK_ADDRESS))


def parse_advertisement(body: bytes) -> NeighborAdvertisement:
    """Raises DecodeError."""
    reader = Reader(body)
    flags = reader.u32()
    target = _take_target(reader)
    return NeighborAdvertisement(
        target,
        _find_link_address(reader, _TARGET_LINK_ADDRESS),
        bool(flags & _ROUTER),
        bool(flags & _SOLICITED),
        bool(flags & _OVERRIDE),
    )


def _take_target(reader: Reader) -> bytes:
    target = reader.take(16)
    if ipv6.is_multicast(target):
        raise DecodeError("ndp target")
    return target


def _find_link_address(reader: Reader, wanted: int) -> int | None:
    """Options are of any number and kind; all but the link-layer address are passed over."""
    found = None
    while reader.remaining:
        kind, units = reader.u8(), reader.u8()
        if not units:
            raise DecodeError("ndp option length")
        value = reader.take(8 * units - 2)
        if kind == wanted and units == 1:
            if value[0] & 1:  # a group's address is nobody's
                raise DecodeError("ndp link address")
            found = int.from_bytes(value, "big")
    return found


def _encode_link_address(kind: int, mac: int | None) -> bytes:
    return b"" if mac is None else bytes((kind, 1)) + mac.to_bytes(6, "big")
