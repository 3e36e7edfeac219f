"""The neighbour cache of an interface: address resolution and unreachability detection (RFC 4861 section 7).

IPv4 has the same, with ARP as its question and answer (RFC 826, RFC 1122 section 2.3.2).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from enum import Enum, auto
from math import inf

from zt_async.stack.host import Host
from zt_async.stack.timers import Timer
from zt_async.types import BROADCAST, Frame
from zt_async.wire import arp, icmpv6, ip, ipv6, ndp
from zt_async.wire.ethernet import ETHERTYPE_ARP, ETHERTYPE_IPV6, multicast_mac

_REACHABLE_TIME = 30.0
_DELAY_FIRST_PROBE = 5.0
_PROBE_INTERVAL = 1.0
_MAX_PROBES = 3
_FIRST_RETRANSMIT = 0.25  # not 1 s: on an overlay the first packets may be lost while a path forms


class Link:
    """The Ethernet side of an interface: its own MAC address and the frames that wait to be collected."""

    __slots__ = ("mac", "outgoing")

    def __init__(self, mac: int) -> None:
        self.mac = mac
        self.outgoing: list[Frame] = []

    def send(self, destination_mac: int, packets: list[bytes], ethertype: int) -> None:
        mac = self.mac
        self.outgoing += [(destination_mac, mac, ethertype, packet) for packet in packets]


class Reachability(Enum):
    """RFC 4861 section 7.3.2."""

    INCOMPLETE = auto()
    REACHABLE = auto()
    STALE = auto()
    DELAY = auto()
    PROBE = auto()


class Neighbor:
    """One address on the link. A sender may use ``mac`` as it is while ``fresh_until`` lies ahead."""

    __slots__ = (
        *("_cache", "address", "attempts", "deadline", "fresh_until", "mac", "source", "state"),
        *("timer", "waiting"),
    )

    def __init__(self, cache: NeighborCache, address: bytes) -> None:
        self._cache = cache
        self.address = address
        self.mac: int | None = None
        self.state = Reachability.INCOMPLETE
        self.fresh_until = -inf
        self.attempts = 0
        self.deadline = inf
        self.source = bytes(len(address))  # own address that solicitations come from
        self.waiting: deque[bytes] = deque()
        self.timer = Timer(self)

    def handle_timer(self, now: float) -> None:
        self._cache.handle_timer(self, now)


class NeighborCache:
    """Bounded: beyond the limit the oldest entry goes that is not known to be reachable, or else the oldest."""

    __slots__ = ("_entries", "_host", "_link", "unreachable")

    def __init__(self, host: Host, link: Link) -> None:
        self._host = host
        self._link = link
        self._entries: dict[bytes, Neighbor] = {}
        self.unreachable: list[bytes] = []
        """Packets whose next hop did not answer, for the interface's owner to collect."""

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, address: bytes) -> Neighbor | None:
        return self._entries.get(address)

    def send(self, address: bytes, packets: list[bytes], now: float) -> Neighbor:
        """Send packets to a next hop, or keep them until it is resolved. The entry may be used until stale."""
        neighbor = self._entries.pop(address, None) or self._make_room(address)
        self._entries[address] = neighbor  # as the youngest
        if neighbor.mac is None:
            self._wait(neighbor, packets, now)
            return neighbor
        self._link.send(neighbor.mac, packets, ip.ethertype(address))
        if neighbor.fresh_until <= now and neighbor.state in (Reachability.REACHABLE, Reachability.STALE):
            neighbor.state = Reachability.DELAY
            neighbor.source = ip.addresses_of(packets[0])[0]
            self._host.timers.set(neighbor.timer, now + _DELAY_FIRST_PROBE)
        return neighbor

    def confirm(self, neighbor: Neighbor, now: float) -> None:
        """An upper layer saw that packets arrive (RFC 4861 section 7.3.1)."""
        if neighbor.mac is not None:
            neighbor.state = Reachability.REACHABLE
            neighbor.fresh_until = now + _REACHABLE_TIME
            self._host.timers.set(neighbor.timer, inf)

    def learn(self, address: bytes, mac: int, now: float) -> None:
        """A question told its sender's MAC address (RFC 4861 section 7.2.3, RFC 826)."""
        neighbor = self._entries.get(address)
        if neighbor is None:
            neighbor = self._entries[address] = self._make_room(address)
        if neighbor.mac != mac:
            self._resolved(neighbor, mac, Reachability.STALE, now)

    def receive_answer(
        self, address: bytes, mac: int | None, now: float, *, solicited: bool, override: bool
    ) -> None:
        """An advertisement (RFC 4861 section 7.2.5)."""
        neighbor = self._entries.get(address)
        if neighbor is None:
            return
        if neighbor.mac is None:
            if mac is not None:
                reached = Reachability.REACHABLE if solicited else Reachability.STALE
                self._resolved(neighbor, mac, reached, now)
            return
        changed = mac is not None and mac != neighbor.mac
        if changed and not override:
            if neighbor.state is Reachability.REACHABLE:
                self._stale(neighbor)
        elif solicited:
            self._resolved(neighbor, neighbor.mac if mac is None else mac, Reachability.REACHABLE, now)
        elif changed and mac is not None:
            self._resolved(neighbor, mac, Reachability.STALE, now)

    def is_asked_for(self, address: bytes) -> bool:
        """Whether an answer is awaited: in ARP nothing else tells it from an announcement."""
        neighbor = self._entries.get(address)
        return neighbor is not None and neighbor.state in (Reachability.INCOMPLETE, Reachability.PROBE)

    def source_gone(self, source: bytes, choose_source: Callable[[bytes], bytes | None]) -> None:
        """An own address was removed: ask from another one, or where there is none not at all."""
        for neighbor in [entry for entry in self._entries.values() if entry.source == source]:
            other = choose_source(neighbor.address)
            if other is None:
                self._remove(neighbor)
            else:
                neighbor.source = other

    def handle_timer(self, neighbor: Neighbor, now: float) -> None:
        match neighbor.state:
            case Reachability.INCOMPLETE:
                if now >= neighbor.deadline:
                    self._fail(neighbor)
                    return
                neighbor.attempts += 1
                wait = min(_FIRST_RETRANSMIT * 2**neighbor.attempts, _PROBE_INTERVAL)
                self._solicit(neighbor, multicast=True)
                self._host.timers.set(neighbor.timer, min(now + wait, neighbor.deadline))
            case Reachability.DELAY | Reachability.PROBE:
                if neighbor.state is Reachability.DELAY:
                    neighbor.state = Reachability.PROBE
                    neighbor.attempts = 0
                if neighbor.attempts == _MAX_PROBES:
                    self._fail(neighbor)
                    return
                neighbor.attempts += 1
                self._solicit(neighbor, multicast=False)
                self._host.timers.set(neighbor.timer, now + _PROBE_INTERVAL)

    def close(self) -> None:
        """Forget everything; packets that wait are lost."""
        for neighbor in list(self._entries.values()):
            self._remove(neighbor)

    def _wait(self, neighbor: Neighbor, packets: list[bytes], now: float) -> None:
        if neighbor.timer.when == inf:
            neighbor.source = ip.addresses_of(packets[0])[0]
            neighbor.attempts = 0
            neighbor.deadline = now + self._host.config.neighbor_timeout
            self._solicit(neighbor, multicast=True)
            self._host.timers.set(neighbor.timer, min(now + _FIRST_RETRANSMIT, neighbor.deadline))
        neighbor.waiting.extend(packets)
        while len(neighbor.waiting) > self._host.config.neighbor_queue:
            neighbor.waiting.popleft()
            self._host.counters["neighbor queue full"] += 1

    def _resolved(self, neighbor: Neighbor, mac: int, state: Reachability, now: float) -> None:
        neighbor.mac = mac
        if neighbor.waiting:
            self._link.send(mac, list(neighbor.waiting), ip.ethertype(neighbor.address))
            neighbor.waiting.clear()
        if state is Reachability.REACHABLE:
            self.confirm(neighbor, now)
        else:
            self._stale(neighbor)

    def _stale(self, neighbor: Neighbor) -> None:
        neighbor.state = Reachability.STALE
        neighbor.fresh_until = -inf
        self._host.timers.set(neighbor.timer, inf)

    def _fail(self, neighbor: Neighbor) -> None:
        self._host.counters["neighbor unreachable"] += 1
        self.unreachable += neighbor.waiting
        self._remove(neighbor)

    def _remove(self, neighbor: Neighbor) -> None:
        self._entries.pop(neighbor.address, None)
        neighbor.waiting.clear()
        neighbor.mac = None
        neighbor.state = Reachability.INCOMPLETE
        neighbor.fresh_until = -inf
        self._host.timers.set(neighbor.timer, inf)

    def _make_room(self, address: bytes) -> Neighbor:
        while len(self._entries) >= self._host.config.max_neighbors:
            self._host.counters["neighbor cache full"] += 1
            entries = self._entries.values()
            # What strangers' packets made goes first: they cannot push out those that are in use.
            unproven = (neighbor for neighbor in entries if neighbor.state is not Reachability.REACHABLE)
            self._remove(next(unproven, None) or next(iter(entries)))
        return Neighbor(self, address)

    def _solicit(self, neighbor: Neighbor, *, multicast: bool) -> None:
        target, source, own_mac = neighbor.address, neighbor.source, self._link.mac
        if not ip.is_ipv6(target):
            question = arp.Packet(arp.REQUEST, own_mac, source, 0, target).encode()
            to = BROADCAST if multicast or neighbor.mac is None else neighbor.mac
            self._link.send(to, [question], ETHERTYPE_ARP)
            return
        destination = ipv6.solicited_node(target) if multicast else target
        message = icmpv6.Message(
            icmpv6.NEIGHBOR_SOLICITATION, 0, ndp.NeighborSolicitation(target, own_mac).encode()
        ).encode(source, destination)
        header = ipv6.Header(source, destination, ip.ICMPV6, len(message), ndp.HOP_LIMIT)
        to = multicast_mac(destination) if multicast or neighbor.mac is None else neighbor.mac
        self._link.send(to, [header.encode() + message], ETHERTYPE_IPV6)
