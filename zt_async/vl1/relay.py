"""Carrying datagrams of others on, as roots do. vl1.md 5.10."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zt_async.vl1.counters import DATAGRAM_RELAYED
from zt_async.vl1.path import Path
from zt_async.wire.packet import FRAGMENT_MARK, HOPS_MASK, MAX_RELAY_HOPS

if TYPE_CHECKING:
    from zt_async.vl1.core import VL1

_HOPS_OF_PACKET = 18
_HOPS_OF_FRAGMENT = 15


class Relay:
    """Sends on what is for somebody else."""

    def __init__(self, vl1: VL1) -> None:
        self._vl1 = vl1

    def carry(self, datagram: bytes, path: Path, now: float) -> None:
        """Send a packet or fragment on, if we may and know where to. Nothing of it is authenticated."""
        vl1 = self._vl1
        topology = vl1.topology
        counters = vl1.counters
        if not (topology.is_root or path.is_trusted(now)):
            counters["datagram: relay refused"] += 1
            return
        whole = datagram[13] != FRAGMENT_MARK
        hops_at = _HOPS_OF_PACKET if whole else _HOPS_OF_FRAGMENT
        if datagram[hops_at] & HOPS_MASK >= MAX_RELAY_HOPS:
            counters["datagram: too many hops"] += 1
            return
        source = int.from_bytes(datagram[13:18], "big") if whole else 0
        if source == vl1.address:
            counters["datagram: own source"] += 1
            return
        destination = int.from_bytes(datagram[8:13], "big")
        peer = topology.peers.get(destination)
        onward = peer.best_path(now) if peer is not None else None
        if peer is None or onward is None:
            onward = self._to_upstream(source, now)
        else:
            vl1.sender.doubt(peer, onward, now)  # it may have moved: the one with its other path has it now
            if whole:
                vl1.contact.introduce(source, destination, path, now)
        if onward is None or onward is path:
            counters["datagram: no way onward"] += 1
            return
        counters[DATAGRAM_RELAYED] += 1
        datagram = b"%b%c%b" % (datagram[:hops_at], datagram[hops_at] + 1, datagram[hops_at + 1 :])
        vl1.sender.forward(onward, datagram, now)

    def _to_upstream(self, source: int, now: float) -> Path | None:
        """The way to a root that may know more; not for what that root itself sent."""
        upstream = self._vl1.topology.best_upstream(now)
        if upstream is None or upstream.address == source:
            return None
        return upstream.best_path(now) or upstream.expired_path(now)
