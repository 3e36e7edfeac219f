"""The IP multicast groups that an interface is in."""

from __future__ import annotations

from collections.abc import Iterator


class Groups:
    """Packed group addresses, each with how many want it: sockets, and the stack itself."""

    __slots__ = ("_users", "generation")

    def __init__(self) -> None:
        self._users: dict[bytes, int] = {}
        self.generation = 0
        """Counts the changes of which groups there are."""

    def __contains__(self, group: bytes) -> bool:
        return group in self._users

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._users)

    def __len__(self) -> int:
        return len(self._users)

    def join(self, group: bytes) -> None:
        """One more wants it."""
        users = self._users.get(group, 0)
        self._users[group] = users + 1
        if not users:
            self.generation += 1

    def leave(self, group: bytes) -> None:
        """One fewer wants it. Raises KeyError when nobody did."""
        users = self._users.pop(group) - 1
        if users:
            self._users[group] = users
        else:
            self.generation += 1
