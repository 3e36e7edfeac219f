"""Packets of nodes that have not shown their certificate yet, kept while it is asked for. vl2.md 4.9."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple

from zt_async.types import NetworkId
from zt_async.vl1.core import Inbound
from zt_async.vl1.peer import Peer

MAX_WAITING: Final = 256
MAX_WAITING_OF_PEER: Final = 32
LIFETIME: Final = 5.0  # s


class _Kept(NamedTuple):
    until: float
    network_id: NetworkId
    packet: Inbound


class WaitingRoom:
    """A queue of bounded size, in the order of arrival."""

    def __init__(self) -> None:
        self._kept: deque[_Kept] = deque()
        self._of_peer: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def next_timer(self) -> float | None:
        """When the oldest packet is to be dropped."""
        return self._kept[0].until if self._kept else None

    def keep(self, network_id: NetworkId, packet: Inbound, now: float) -> bool:
        """Take a packet in; False if there is no room."""
        address = packet[0].address
        count = self._of_peer.get(address, 0)
        if count >= MAX_WAITING_OF_PEER or len(self._kept) >= MAX_WAITING:
            return False
        self._kept.append(_Kept(now + LIFETIME, network_id, packet))
        self._of_peer[address] = count + 1
        return True

    def release(
        self, network_id: NetworkId, may_pass: Callable[[Peer], bool] = lambda peer: True
    ) -> list[Inbound]:
        """Let the packets of a network go, or those of some peers; the others wait on for as long as they have."""
        gone: list[Inbound] = []
        stay: deque[_Kept] = deque()
        for kept in self._kept:
            if kept.network_id == network_id and may_pass(kept.packet[0]):
                gone.append(kept.packet)
            else:
                stay.append(kept)
        self._kept = stay
        self._count()
        return gone

    def latest(self) -> list[tuple[NetworkId, Inbound]]:
        """The last packet of each peer, with its network."""
        latest = {kept.packet[0].address: (kept.network_id, kept.packet) for kept in self._kept}
        return list(latest.values())

    def expire(self, now: float) -> list[Inbound]:
        """Drop what has waited too long; returns it."""
        gone = []
        while self._kept and now >= self._kept[0].until:
            gone.append(self._kept.popleft().packet)
        if gone:
            self._count()
        return gone

    def _count(self) -> None:
        self._of_peer.clear()
        for kept in self._kept:
            address = kept.packet[0].address
            self._of_peer[address] = self._of_peer.get(address, 0) + 1
