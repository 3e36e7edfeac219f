"""What a network's rules and its members' capabilities say of a frame. vl2.md 6.5 and 6.6.

Decisions are remembered for frames that are alike in all that the tables can look at: for most networks that is
the ethertype, or the ports and flags of TCP.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from functools import partial
from ipaddress import IPv6Interface
from struct import Struct
from typing import Final, NamedTuple, Protocol, TypeAlias

from zt_async.context import Context
from zt_async.types import NodeAddress
from zt_async.vl2 import matches
from zt_async.vl2.addressing import rfc4193, sixplane
from zt_async.vl2.matches import Local, Looks, Packet
from zt_async.vl2.rules import Outcome, Table
from zt_async.vl2.rules import Verdict as TableVerdict
from zt_async.wire.credentials import Capability
from zt_async.wire.ethernet import ETHERTYPE_IPV4, ETHERTYPE_IPV6
from zt_async.wire.network_config import NetworkConfig
from zt_async.wire.rules import Rule

MAX_REMEMBERED: Final = 4096
"""Decisions kept for each direction and kind of packet; when they are more, all are forgotten."""

TEE_OUT: Final = 0x02
REDIRECT_OUT: Final = 0x04
WATCH_OUT: Final = 0x16
TEE_IN: Final = 0x08
REDIRECT_IN: Final = 0x0A
WATCH_IN: Final = 0x1C


class Verdict(IntEnum):
    """Whether a frame passes."""

    REFUSED = 0
    ACCEPTED = 1
    SUPER_ACCEPTED = 2
    """Inbound only: delivered whatever the MACs are, because the rules send us a copy of it."""


class Copy(NamedTuple):
    """An EXT_FRAME to send aside, with the MACs and the ethertype of the frame; no filter looks at it again."""

    target: NodeAddress
    flags: int
    """Its flags byte (vl2.md 5.1): TEE, WATCH (to be acknowledged) or REDIRECT."""
    length: int | None
    """It carries ``payload[:length]``; None is all of it."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of a frame. ``copies`` are to be sent even if it is refused: a redirected frame is."""

    verdict: Verdict
    copies: tuple[Copy, ...] = ()


REFUSED: Final = Decision(Verdict.REFUSED)
ACCEPTED: Final = Decision(Verdict.ACCEPTED)
SUPER_ACCEPTED: Final = Decision(Verdict.SUPER_ACCEPTED)


class Remote(matches.Remote, Protocol):
    """What is known of the member at the other end; only credentials that are valid now count (vl2.md 4.9)."""

    @property
    def state(self) -> Hashable:
        """Another object (say, a new ``object()``) whenever an answer of the methods may have changed.

        Decisions that depend on them are remembered under it.
        """

    def capabilities(self) -> Iterable[Capability]:
        """Its capabilities, in whatever order."""


class _Judged:
    """A decision on all frames that are alike in what it depends on."""

    __slots__ = ("decision", "frames", "marks")

    def __init__(self, decision: Decision, marks: tuple[tuple[Table, tuple[int, ...]], ...]) -> None:
        self.decision = decision
        self.marks = marks
        """The entries that such a frame matches, by table."""
        self.frames = 1
        """How many there were that are not yet in the counts of those tables."""

    def settle(self) -> None:
        """Add them to those counts."""
        for table, matched in self.marks:
            table.count(matched, self.frames)
        self.frames = 0


_HEADERS: Final = (
    # What is looked at, and where it is in IPv4 and in IPv6; in the order of both. The flags are TCP's.
    (Looks.TOS, (1, 2), (0, 2)),
    (Looks.SOURCE_IP, (12, 16), (8, 24)),
    (Looks.DESTINATION_IP, (16, 20), (24, 40)),
    (Looks.SOURCE_PORT, (20, 22), (40, 42)),
    (Looks.DESTINATION_PORT, (22, 24), (42, 44)),
    (Looks.TCP_FLAGS, (32, 34), (52, 54)),
)
_TCP: Final = 6
_UDP: Final = 17
_IPV4_SIZE: Final = 34
_IPV6_SIZE: Final = 55
"""From these sizes on every match finds all that it can look at in a TCP or UDP header."""
_PLAIN_IPV4: Final = 0x45  # no options

_MORE_THAN_HEADERS: Final = (
    Looks.SOURCE_MAC | Looks.DESTINATION_MAC | Looks.MEMBER | Looks.CREDENTIALS | Looks.LENGTH
)


def _slices(looks: int, version: int, protocol: int) -> Struct:
    """Takes what is looked at out of the headers of a TCP or UDP packet."""
    form, end = ">", 0
    for look, *places in _HEADERS:
        if looks & look and (look != Looks.TCP_FLAGS or protocol == _TCP):
            start, stop = places[version == ETHERTYPE_IPV6]
            form += f"{start - end}x{stop - start}s"
            end = stop
    return Struct(form)


_Remembering: TypeAlias = dict[Hashable, _Judged]
_Place: TypeAlias = tuple[Callable[[bytes], tuple[bytes, ...]], _Remembering]


def _by_protocol(looks: int, ethertype: int) -> dict[int, _Place]:
    """For each protocol that decisions are remembered for: what makes keys of its packets, and the decisions."""
    if looks & Looks.ANYTHING:
        return {}
    return {protocol: (_slices(looks, ethertype, protocol).unpack_from, {}) for protocol in (_TCP, _UDP)}


class _Memory:
    """Remembered decisions of one direction."""

    __slots__ = ("by_ethertype", "ipv4", "ipv6", "length", "looks", "narrow", "wide")

    def __init__(self, looks: int) -> None:
        self.looks = looks
        """What the keys tell apart."""
        self.narrow = not looks & ~Looks.ETHERTYPE
        """Keys are ethertypes."""
        self.wide = bool(looks & _MORE_THAN_HEADERS)
        """Keys are more than parts of the headers."""
        self.length = bool(looks & Looks.LENGTH)
        self.by_ethertype: _Remembering = {}
        self.ipv4 = _by_protocol(looks, ETHERTYPE_IPV4)
        self.ipv6 = _by_protocol(looks, ETHERTYPE_IPV6)

    def settle(self) -> None:
        """Bring the counts of the tables up to date."""
        headers = (remembered for _, remembered in (*self.ipv4.values(), *self.ipv6.values()))
        for remembered in (self.by_ethertype, *headers):
            for found in remembered.values():
                found.settle()


class Filter:
    """The rules of one applied configuration, compiled, for the member ``own``.

    Made anew for every configuration; ``previous`` is the filter of the one before, whose counts and compiled tables
    go on to live here where the rules are the same.
    """

    def __init__(
        self, config: NetworkConfig, own: NodeAddress, context: Context, previous: Filter | None = None
    ) -> None:
        known = previous._known_tables() if previous is not None else {}
        self._base = known.get((None, config.rules)) or Table(config.rules)
        self._capabilities = {
            capability.id: known.get((capability.id, capability.rules)) or Table(capability.rules)
            for capability in sorted(config.capabilities, key=lambda capability: capability.id)
        }
        self._granted: dict[tuple[int, int], Table] = {}
        self._local = Local(
            address=own,
            random=lambda: int.from_bytes(context.random_bytes(4), "big"),
            tags={tag.id: tag.value for tag in config.tags},
            ownerships=config.ownerships,
            derived=_derived(config),
            unknown_matches=config.unknown_rules_match,
        )
        self._memories = [_Memory(self._base.looks), _Memory(self._base.looks)]
        """Of outgoing and of incoming frames."""

    def outgoing(
        self,
        payload: bytes,
        ethertype: int,
        to_mac: int,
        from_mac: int,
        destination: int,
        remote: Remote | None = None,
        copies: bool = True,
    ) -> Decision:
        """Decide on a frame that we send to the member ``destination``; 0 in the first pass of a multicast.

        ``remote`` is what is known of the destination. Without ``copies`` the decision asks for no TEE or WATCH, but
        still for redirection.
        """
        decision = self._decide(False, payload, ethertype, to_mac, from_mac, destination, remote)
        if decision.copies and not copies:
            return Decision(decision.verdict, tuple(c for c in decision.copies if c.flags == REDIRECT_OUT))
        return decision

    def incoming(
        self,
        payload: bytes,
        ethertype: int,
        to_mac: int,
        from_mac: int,
        source: int,
        remote: Remote | None = None,
    ) -> Decision:
        """Decide on a frame that the member ``source`` sent us; ``remote`` is what is known of it."""
        return self._decide(True, payload, ethertype, to_mac, from_mac, source, remote)

    @property
    def matched(self) -> tuple[int, ...]:
        """For each entry of the network's rules how many frames it matched, in and out.

        A match counts where it held (NOT considered), an action where its set did. A multicast counts once for
        itself, and once for each member that it is sent to.
        """
        self._settle()
        return tuple(self._base.counts)

    @property
    def capabilities_matched(self) -> dict[int, tuple[int, ...]]:
        """The same for our own capabilities, by ID."""
        self._settle()
        return {capability_id: tuple(table.counts) for capability_id, table in self._capabilities.items()}

    def _decide(
        self,
        inbound: bool,
        payload: bytes,
        ethertype: int,
        to_mac: int,
        from_mac: int,
        member: int,
        remote: Remote | None,
    ) -> Decision:
        memory = self._memories[inbound]
        key: Hashable = ethertype
        remembering: _Remembering | None = None
        if memory.narrow:
            remembering = memory.by_ethertype
        else:
            place = None
            if ethertype == ETHERTYPE_IPV4:
                if len(payload) >= _IPV4_SIZE and payload[0] == _PLAIN_IPV4:
                    place = memory.ipv4.get(payload[9])
            elif ethertype == ETHERTYPE_IPV6 and len(payload) >= _IPV6_SIZE:
                place = memory.ipv6.get(payload[6])
            if place is not None:
                take, remembering = place
                key = take(payload)
                if memory.wide:
                    state = None if remote is None else remote.state
                    key = (key, to_mac, from_mac, member, state, len(payload) if memory.length else 0)
        if remembering is not None and (found := remembering.get(key)) is not None:
            found.frames += 1
            return found.decision
        own = self._local.address
        source, destination = (member, own) if inbound else (own, member)
        packet = Packet(
            self._local, payload, ethertype, to_mac, from_mac, source, destination, inbound, remote
        )
        judged, looks = self._judge(packet, member, remote)
        if looks & ~memory.looks:  # a capability that decides tells more apart than the keys
            memory.settle()
            self._memories[inbound] = _Memory(memory.looks | looks)
            remembering = None
        if remembering is None:
            judged.settle()
        else:
            if len(remembering) >= MAX_REMEMBERED:
                memory.settle()
                remembering.clear()
            remembering[key] = judged
        return judged.decision

    def _judge(self, packet: Packet, member: int, remote: Remote | None) -> tuple[_Judged, int]:
        """The decision on a frame, and what it depends on."""
        base = accepting = self._base.evaluate(packet)
        marks = [(self._base, base.matched)]
        looks = self._base.looks
        if base.verdict == TableVerdict.NO_MATCH:
            looks |= Looks.MEMBER | Looks.CREDENTIALS if packet.inbound else 0
            for table in self._tables_of(member, remote) if packet.inbound else self._capabilities.values():
                looks |= table.looks
                outcome = table.evaluate(packet)
                marks.append((table, outcome.matched))
                if outcome.verdict >= TableVerdict.REDIRECT:
                    accepting = outcome
                    break
        return _Judged(_decision(base, accepting, packet.inbound), tuple(marks)), looks

    def _tables_of(self, member: int, remote: Remote | None) -> Iterator[Table]:
        """The capabilities of a member, compiled."""
        for capability in remote.capabilities() if remote is not None else ():
            key = member, capability.id
            table = self._granted.get(key)
            if table is None or table.rules != capability.rules:
                if len(self._granted) >= MAX_REMEMBERED:
                    self._granted.clear()
                table = self._granted[key] = Table(capability.rules)
            yield table

    def _settle(self) -> None:
        for memory in self._memories:
            memory.settle()

    def _known_tables(self) -> dict[tuple[int | None, tuple[Rule, ...]], Table]:
        """The compiled tables, by capability (None for the network's own) and rules."""
        self._settle()
        known: dict[tuple[int | None, tuple[Rule, ...]], Table] = {(None, self._base.rules): self._base}
        known.update(
            ((capability_id, table.rules), table) for capability_id, table in self._capabilities.items()
        )
        return known


def _decision(base: Outcome, accepting: Outcome, inbound: bool) -> Decision:
    """What the outcome that accepted, of the base rules or a capability, makes of a frame."""
    if accepting.verdict < TableVerdict.REDIRECT:
        return REFUSED
    tee, watch, redirect = (TEE_IN, WATCH_IN, REDIRECT_IN) if inbound else (TEE_OUT, WATCH_OUT, REDIRECT_OUT)
    copies = [
        Copy(NodeAddress(outcome.copy_to), watch if outcome.watch else tee, outcome.copy_length)
        for outcome in ((base,) if accepting is base else (accepting, base))
        if outcome.copy_to
    ]
    if accepting.verdict == TableVerdict.REDIRECT:
        if accepting.redirect_to:
            copies.append(Copy(NodeAddress(accepting.redirect_to), redirect, None))
        return Decision(Verdict.REFUSED, tuple(copies))
    if accepting.verdict == TableVerdict.SUPER_ACCEPT:
        return Decision(Verdict.SUPER_ACCEPTED, tuple(copies)) if copies else SUPER_ACCEPTED
    return Decision(Verdict.ACCEPTED, tuple(copies)) if copies else ACCEPTED


def _derived(config: NetworkConfig) -> tuple[tuple[Callable[[int], IPv6Interface], int], ...]:
    """Kinds of derived addresses that we have one of, if neighbours are emulated: members need not prove theirs."""
    if not config.ndp_emulation:
        return ()
    ours = {address.ip for address in config.addresses}
    schemes = ((sixplane, 48), (rfc4193, 0))
    return tuple(
        (partial(scheme, config.network_id), bits)
        for scheme, bits in schemes
        if scheme(config.network_id, config.issued_to).ip in ours
    )
