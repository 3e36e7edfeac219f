"""Who listens to which multicast group, as far as this node has heard. vl2.md 7.1."""

from __future__ import annotations

from collections import Counter
from collections.abc import ItemsView, Iterable, Mapping
from types import MappingProxyType
from typing import Final, NamedTuple, TypeVar

from zt_async.context import Context
from zt_async.types import MulticastGroup, NetworkId

MEMBERSHIP_LIFETIME: Final = 600.0  # s after a member last said so
MAX_MEMBERSHIPS: Final = 1 << 18
MAX_MEMBERS: Final = 8192  # of one group
MAX_GROUPS: Final = 1024  # of one member

_NOBODY: Final[Mapping[int, float]] = MappingProxyType({})
ItemT = TypeVar("ItemT")


class GroupKey(NamedTuple):
    """A group of one network."""

    network_id: NetworkId
    group: MulticastGroup


class GroupTable:
    """Members of groups with the time at which each was last heard of. What no longer fits is counted and left out."""

    def __init__(self, counters: Counter[str]) -> None:
        self._counters = counters
        self._groups: dict[GroupKey, dict[int, float]] = {}
        self._groups_of: Counter[int] = Counter()
        self._memberships = 0

    def __len__(self) -> int:
        """Memberships."""
        return self._memberships

    def items(self) -> ItemsView[GroupKey, Mapping[int, float]]:
        """All groups with their members."""
        return self._groups.items()

    def members(self, key: GroupKey) -> Mapping[int, float]:
        """Addresses of those who listen, and when each was last heard of."""
        return self._groups.get(key, _NOBODY)

    def add(self, key: GroupKey, member: int, now: float) -> bool:
        """Note that a node listens to a group; True if that is news."""
        members = self._groups.get(key, _NOBODY)
        if member in members:
            self._groups[key][member] = now
            return False
        if (
            self._memberships >= MAX_MEMBERSHIPS
            or len(members) >= MAX_MEMBERS
            or self._groups_of[member] >= MAX_GROUPS
        ):
            self._counters["groups: full"] += 1
            return False
        self._groups.setdefault(key, {})[member] = now
        self._groups_of[member] += 1
        self._memberships += 1
        return True

    def remove(self, key: GroupKey, member: int) -> None:
        """A node listens no longer, if it did."""
        members = self._groups.get(key)
        if members is None or members.pop(member, None) is None:
            return
        if not members:
            del self._groups[key]
        self._memberships -= 1
        self._groups_of[member] -= 1
        if not self._groups_of[member]:
            del self._groups_of[member]

    def expire(self, now: float) -> None:
        """Forget who was not heard of for too long."""
        for key, members in list(self._groups.items()):
            for member in [member for member, at in members.items() if now - at >= MEMBERSHIP_LIFETIME]:
                self.remove(key, member)


def shuffled(items: Iterable[ItemT], context: Context, limit: int | None = None) -> list[ItemT]:
    """The items in random order, or ``limit`` of them, for which a long list costs hardly more than a short one."""
    result = list(items)
    size = len(result)
    count = size if limit is None else min(limit, size)
    for i, number in enumerate(memoryview(context.random_bytes(4 * count)).cast("I")):
        other = i + number % (size - i)
        result[i], result[other] = result[other], result[i]
    return result[:count]
