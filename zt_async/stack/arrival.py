"""A packet that has arrived and was found to be for this stack."""

from __future__ import annotations

import errno
from typing import NamedTuple

from zt_async.stack.interface import Interface
from zt_async.wire import ip


class Arrival(NamedTuple):
    """``packet[offset:end]`` is the upper layer's. Addresses are packed, and tell the family by their length."""

    interface: Interface
    packet: bytes
    offset: int
    end: int
    protocol: int
    source: bytes
    destination: bytes
    hop_limit: int
    is_group: bool
    """Sent to a group or to everybody, not to an address of this host."""

    @property
    def payload(self) -> bytes:
        return self.packet[self.offset : self.end]

    @property
    def pseudo_sum(self) -> int:
        return ip.pseudo_header_sum(self.source, self.destination, self.protocol)


class TransportError(NamedTuple):
    """Something happened to a packet of ours."""

    interface: Interface
    code: int
    """An ``errno``: EMSGSIZE when the packet was too big for the path."""
    source: bytes
    destination: bytes
    protocol: int
    transport: bytes
    """The beginning of the upper-layer packet."""
    mtu: int = 0
    """What the path takes, with EMSGSIZE."""

    def believe(self, now: float) -> None:
        """The packet was found to be one that was sent: so packets that follow have to fit the path."""
        if self.code == errno.EMSGSIZE:
            self.interface.lower_path_mtu(self.destination, self.mtu, now)
