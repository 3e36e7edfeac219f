"""What a controller remembers of a network besides its records: who asked when, and whom others are to forget."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from math import inf
from typing import Final, Generic, TypeVar

from zt_async.context import Context
from zt_async.controller.addresses import AddressBook
from zt_async.controller.config import ConfigPlan
from zt_async.controller.records import NEVER_SEEN, Seen
from zt_async.crypto.credentials import issue_revocation
from zt_async.crypto.identity import Identity
from zt_async.types import NetworkId, NodeAddress
from zt_async.wire.credentials import Revocation

ONLINE_TIME: Final = 120.0
"""Seconds after its last request for which a member is told of changes."""
MAX_TOLD: Final = 50
"""Revocations of one packet."""
TELL_INTERVAL: Final = 1.05
"""Seconds between two of them: members take credentials once a second (vl2.md 4.7)."""

ItemT = TypeVar("ItemT", bound=Hashable)


@dataclass(slots=True)
class Presence:
    """A node that asked for a configuration of a network."""

    asked: float = -inf
    """When it last did, in the seconds of ``now``."""
    with_rules: bool = False
    """It has a rules engine."""
    seen: Seen = NEVER_SEEN
    told: int = 0
    """The number of the first revocation that it was not sent."""
    told_twice: int = 0
    """The number of the first that it was not sent twice: a packet may be lost, or come too soon after another."""
    credentials_sent: float = -inf
    waiting: bool = False
    """That it waits to be authorized was told."""
    configured: tuple[int, int] | None = None
    """Revisions of the two records that its last configuration was made from."""

    def is_online(self, now: float) -> bool:
        return now - self.asked < ONLINE_TIME


@dataclass(slots=True)
class _Revoked:
    address: NodeAddress
    threshold: int
    signed: Revocation | None = None


class RevocationLog:
    """Members whose certificates count no more, numbered in the order in which that came to be."""

    def __init__(self, network_id: NetworkId, controller: Identity, context: Context) -> None:
        self._network_id = network_id
        self._controller = controller
        self._context = context
        self._entries: deque[_Revoked] = deque()
        self._first = 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def end(self) -> int:
        """The number of the next one."""
        return self._first + len(self._entries)

    def add(self, address: NodeAddress, threshold: int) -> None:
        """A member's certificates up to the time ``threshold`` (Unix milliseconds) do not count."""
        self._entries.append(_Revoked(address, threshold))

    def drop(self, before: int) -> None:
        """Forget those whose certificates agree with nobody's any more."""
        while self._entries and self._entries[0].threshold < before:
            self._entries.popleft()
            self._first += 1

    def next_for(self, presence: Presence) -> list[Revocation]:
        """The revocations of the next packet to a node, which is noted to have them."""
        start = max(presence.told_twice - self._first, 0)
        stop = min(start + MAX_TOLD, len(self._entries))
        presence.told_twice = min(max(presence.told, self._first), self._first + stop)
        presence.told = max(presence.told, self._first + stop)
        return [self._signed(self._entries[i]) for i in range(start, stop)]

    def _signed(self, entry: _Revoked) -> Revocation:
        if entry.signed is None:
            number = self._context.random_below(1 << 32)
            entry.signed = issue_revocation(
                self._controller, self._network_id, entry.address, entry.threshold, number
            )
        return entry.signed


@dataclass(slots=True)
class NetworkState:
    """A network as it runs."""

    plan: ConfigPlan
    revocations: RevocationLog
    book: AddressBook = field(default_factory=AddressBook)
    presences: dict[NodeAddress, Presence] = field(default_factory=dict)
    bridges: set[NodeAddress] = field(default_factory=set)
    waiting: int = 0
    """Members that are not authorized."""

    def online(self, now: float) -> Iterator[NodeAddress]:
        return (address for address, presence in self.presences.items() if presence.is_online(now))


class OrderedSet(Generic[ItemT]):
    """A queue in which each item waits once."""

    def __init__(self) -> None:
        self._queue: deque[ItemT] = deque()
        self._items: set[ItemT] = set()

    def __len__(self) -> int:
        return len(self._items)

    def add(self, item: ItemT) -> None:
        if item not in self._items:
            self._items.add(item)
            self._queue.append(item)

    def discard(self, item: ItemT) -> None:
        self._items.discard(item)

    def pop(self) -> ItemT | None:
        """The item that waited longest, None if there is none."""
        while self._queue:
            item = self._queue.popleft()
            if item in self._items:
                self._items.remove(item)
                return item
        return None
