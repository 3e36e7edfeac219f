"""ARP packets for IPv4 on Ethernet (RFC 826)."""

from __future__ import annotations

import struct
from typing import NamedTuple

from zt_async.errors import DecodeError

REQUEST, REPLY = 1, 2

_LAYOUT = struct.Struct("!8s6s4s6s4s")
_FORM = bytes.fromhex("000108000604")  # Ethernet and IPv4, with addresses of 6 and 4 bytes


class Packet(NamedTuple):
    """MAC addresses are integers, protocol addresses 4 packed bytes."""

    operation: int
    sender_mac: int
    sender: bytes
    """Unspecified in a probe, which asks whether an address is free (RFC 5227 section 1.1)."""
    target_mac: int
    """Means nothing in a request."""
    target: bytes

    def encode(self) -> bytes:
        form = _FORM + self.operation.to_bytes(2, "big")
        macs = self.sender_mac.to_bytes(6, "big"), self.target_mac.to_bytes(6, "big")
        return _LAYOUT.pack(form, macs[0], self.sender, macs[1], self.target)


def parse(data: bytes) -> Packet:
    """Read a packet; what follows it is padding. Raises DecodeError."""
    if len(data) < _LAYOUT.size:
        raise DecodeError("arp truncated")
    form, sender_mac, sender, target_mac, target = _LAYOUT.unpack_from(data)
    operation = int.from_bytes(form[6:], "big")
    if form[:6] != _FORM or operation not in (REQUEST, REPLY):
        raise DecodeError("arp form")
    if sender_mac[0] & 1:  # a group's address is nobody's
        raise DecodeError("arp sender")
    return Packet(
        operation, int.from_bytes(sender_mac, "big"), sender, int.from_bytes(target_mac, "big"), target
    )
