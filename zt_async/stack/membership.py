"""The multicast groups of an interface, and telling routers of them: IGMP and MLD for hosts.

RFC 3376 and RFC 3810, for groups without regard to sources, with what they say about older routers (RFC 2236, RFC 2710
and RFC 1112). Members of a ZeroTier network tell each other by other means; this is for what is behind a bridge.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from math import inf
from typing import TYPE_CHECKING

from zt_async.stack.host import Host
from zt_async.stack.timers import Timer
from zt_async.wire import icmpv6, igmp, ip, ipv4, ipv6, mld
from zt_async.wire.ethernet import ETHERTYPE_IPV4, ETHERTYPE_IPV6, multicast_mac
from zt_async.wire.igmp import Query, Record

if TYPE_CHECKING:
    from zt_async.stack.interface import Interface

_ROBUSTNESS = 2
_QUERY_INTERVAL = 125.0
_REPORT_INTERVAL = 1.0  # s within which a report is repeated
_MAX_SOURCES = 32  # remembered of questions about sources; with more the answer is for the whole group


class _Change:
    """A group was joined or left, and has yet to be told of so many times."""

    __slots__ = ("joined", "left")

    def __init__(self, joined: bool, left: int) -> None:
        self.joined = joined
        self.left = left


class Membership(ABC):
    """The groups of one family. Bounded: nothing is kept for groups that are not joined or were not left just now."""

    NEWEST: int
    """Version of the protocol that is spoken where no older router was heard."""

    __slots__ = (
        *("_answers", "_change_at", "_changes", "_general_at", "_host", "_interface", "_old_until"),
        *("_robustness", "_timer", "_users", "generation", "scheduled"),
    )

    def __init__(self, host: Host, interface: Interface) -> None:
        self._host = host
        self._interface = interface
        self._users: dict[bytes, int] = {}  # how many sockets, and whether the stack itself, want a group
        self._changes: dict[bytes, _Change] = {}
        self._change_at = inf
        self._general_at = inf
        self._answers: dict[bytes, tuple[float, tuple[bytes, ...]]] = {}
        self._old_until: dict[int, float] = {}
        self._robustness = _ROBUSTNESS
        self._timer = Timer(self)
        self.scheduled = False
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
            self._changed(group, joined=True)

    def leave(self, group: bytes) -> None:
        """One fewer wants it. Raises KeyError when nobody did."""
        users = self._users.pop(group) - 1
        if users:
            self._users[group] = users
        else:
            self._answers.pop(group, None)
            self._changed(group, joined=False)

    def close(self) -> None:
        """Say nothing any more."""
        self._changes.clear()
        self._forget_questions()
        self._change_at = inf
        self._arm()

    def receive_query(self, query: Query, now: float) -> None:
        """A router asks; the answer comes at a random moment of the time that it gives (RFC 3376 section 5.2)."""
        if query.version < self.NEWEST:
            if self._version(now) > query.version:
                self._forget_questions()
            self._old_until[query.version] = now + self._robustness * _QUERY_INTERVAL + query.max_response
        else:
            self._robustness = query.robustness or _ROBUSTNESS
        at = now + self._random(query.max_response)
        if query.is_general:
            if self._version(now) == self.NEWEST:
                self._general_at = min(self._general_at, at)
            else:  # each group by itself, so that others can be heard to answer
                for group in filter(self._is_reported, self._users):
                    self._answer(group, (), now + self._random(query.max_response))
        elif query.group in self._users and self._is_reported(query.group) and self._general_at > at:
            self._answer(query.group, query.sources, at)
        self._arm()

    def hear_report(self, group: bytes, now: float) -> None:
        """Another host has answered: with old routers once is enough (RFC 2236 section 3)."""
        if self._version(now) < self.NEWEST:
            self._answers.pop(group, None)

    def transmit(self, now: float) -> None:
        """Tell of what was joined and left since."""
        self.scheduled = False
        self._send_changes(now)

    def handle_timer(self, now: float) -> None:
        if self._change_at <= now:
            self._send_changes(now)
        due = [group for group, (at, _) in self._answers.items() if at <= now]
        answers = {group: self._answers.pop(group)[1] for group in due}
        if self._general_at <= now:
            self._general_at = inf
            answers |= dict.fromkeys(filter(self._is_reported, self._users), ())
        if self._version(now) == self.NEWEST:
            self._send_records(
                [
                    Record(igmp.MODE_IS_INCLUDE if sources else igmp.MODE_IS_EXCLUDE, group, sources)
                    for group, sources in answers.items()
                ]
            )
        else:
            for group in answers:
                self._send_old(group, self._version(now), joined=True)
        self._arm()

    def _changed(self, group: bytes, *, joined: bool) -> None:
        self.generation += 1
        if self._is_reported(group):
            self._changes[group] = _Change(joined, self._robustness)
            self._host.schedule(self)

    def _send_changes(self, now: float) -> None:
        version = self._version(now)
        if version == self.NEWEST:
            kinds = {True: igmp.CHANGE_TO_EXCLUDE, False: igmp.CHANGE_TO_INCLUDE}
            self._send_records(
                [Record(kinds[change.joined], group) for group, change in self._changes.items()]
            )
        else:
            for group, change in self._changes.items():
                self._send_old(group, version, joined=change.joined)
        for change in self._changes.values():
            change.left -= 1
        self._changes = {group: change for group, change in self._changes.items() if change.left > 0}
        self._change_at = now + self._random(_REPORT_INTERVAL) if self._changes else inf
        self._arm()

    def _answer(self, group: bytes, sources: tuple[bytes, ...], at: float) -> None:
        """Answer at the time given or earlier; for the whole group if any of the questions was."""
        known = self._answers.get(group)
        if known is not None:
            at = min(at, known[0])
            sources = tuple({*known[1], *sources}) if known[1] and sources else ()
        self._answers[group] = at, sources if len(sources) <= _MAX_SOURCES else ()

    def _forget_questions(self) -> None:
        self._general_at = inf
        self._answers.clear()

    def _version(self, now: float) -> int:
        """That of the oldest router heard lately (RFC 3376 section 7.2.1)."""
        return min((old for old, until in self._old_until.items() if now < until), default=self.NEWEST)

    def _arm(self) -> None:
        answers = min((at for at, _ in self._answers.values()), default=inf)
        self._host.timers.set(self._timer, min(self._change_at, self._general_at, answers))

    def _random(self, span: float) -> float:
        return span * self._host.context.random_below(1 << 16) / (1 << 16)

    def _send_records(self, records: Sequence[Record]) -> None:
        """In as few packets as the MTU allows."""
        room = self._interface.mtu - 64  # headers with their options, and that of the report
        batch: list[Record] = []
        size = 0
        for record in records:
            length = len(record.group) * (1 + len(record.sources)) + 4
            if batch and size + length > room:
                self._send_report(batch)
                batch, size = [], 0
            batch.append(record)
            size += length
        if batch:
            self._send_report(batch)

    @abstractmethod
    def _is_reported(self, group: bytes) -> bool:
        """Not the group that every host is in."""

    @abstractmethod
    def _send_report(self, records: Sequence[Record]) -> None: ...

    @abstractmethod
    def _send_old(self, group: bytes, version: int, *, joined: bool) -> None: ...


class IgmpMembership(Membership):
    """IPv4 groups: IGMP of version 3, 2 or 1."""

    NEWEST = 3
    __slots__ = ()

    def _is_reported(self, group: bytes) -> bool:
        return group != ipv4.ALL_SYSTEMS

    def _send_report(self, records: Sequence[Record]) -> None:
        self._send(igmp.REPORTS, igmp.encode_report(records))

    def _send_old(self, group: bytes, version: int, *, joined: bool) -> None:
        if joined:
            self._send(group, igmp.encode_old(igmp.REPORT_V1 if version == 1 else igmp.REPORT_V2, group))
        elif version == 2:
            self._send(igmp.ALL_ROUTERS, igmp.encode_old(igmp.LEAVE, group))

    def _send(self, destination: bytes, message: bytes) -> None:
        source = self._interface.choose_source(destination) or ipv4.UNSPECIFIED
        header = ipv4.Header(
            source, destination, ip.IGMP, len(message), ttl=1, tos=0xC0, options=ipv4.ROUTER_ALERT
        )
        self._interface.link.send(multicast_mac(destination), [header.encode() + message], ETHERTYPE_IPV4)


class MldMembership(Membership):
    """IPv6 groups: MLD of version 2 or 1."""

    NEWEST = 2
    __slots__ = ()

    def _is_reported(self, group: bytes) -> bool:
        return group != ipv6.ALL_NODES and group[1] & 0xF > 1  # RFC 3810 section 6

    def _send_report(self, records: Sequence[Record]) -> None:
        self._send(mld.REPORTS, mld.REPORT, mld.encode_report(records))

    def _send_old(self, group: bytes, version: int, *, joined: bool) -> None:
        if joined:
            self._send(group, mld.REPORT_V1, mld.encode_old(group))
        else:
            self._send(mld.ALL_ROUTERS, mld.DONE, mld.encode_old(group))

    def _send(self, destination: bytes, kind: int, body: bytes) -> None:
        source = self._interface.link_local
        message = icmpv6.Message(kind, 0, body).encode(source, destination)
        options = bytes((ip.ICMPV6, 0)) + mld.ROUTER_ALERT + b"\1\0"  # PadN of two bytes
        header = ipv6.Header(source, destination, ipv6.HOP_BY_HOP, len(options) + len(message), mld.HOP_LIMIT)
        packet = header.encode() + options + message
        self._interface.link.send(multicast_mac(destination), [packet], ETHERTYPE_IPV6)
