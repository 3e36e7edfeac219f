"""Which addresses the members of a network have, and which one a new member gets. vl2.md 8.3."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface
from typing import Final, NamedTuple

from zt_async.controller.records import MAX_ADDRESSES, MemberRecord, NetworkRecord
from zt_async.types import IPAddress, IPInterface, NodeAddress, Route
from zt_async.wire import addressing

_LOW_64: Final = (1 << 64) - 1


class Span(NamedTuple):
    """The integers of addresses from ``first`` to ``last``, both of them included."""

    first: int
    last: int


class AddressBook:
    """Who has which address of one network. Finding a free one takes a time that hardly grows with their number."""

    def __init__(self) -> None:
        self._owners: dict[IPAddress, NodeAddress] = {}
        self._taken: dict[int, list[int]] = {4: [], 6: []}

    def __len__(self) -> int:
        return len(self._owners)

    def __iter__(self) -> Iterator[IPAddress]:
        return iter(self._owners)

    def owner(self, ip: IPAddress) -> NodeAddress | None:
        """Who has the address, None if nobody."""
        return self._owners.get(ip)

    def take(self, ip: IPAddress, owner: NodeAddress) -> None:
        """Give an address to a member, whoever had it."""
        if ip not in self._owners:
            insort(self._taken[ip.version], int(ip))
        self._owners[ip] = owner

    def free(self, ip: IPAddress, owner: NodeAddress) -> None:
        """Take an address from a member; nothing happens if it is not that member's."""
        if self._owners.get(ip) == owner:
            del self._owners[ip]
            taken = self._taken[ip.version]
            del taken[bisect_left(taken, int(ip))]

    def next_free(self, version: int, span: Span) -> int | None:
        """The lowest address of the span that nobody has."""
        taken = self._taken[version]
        low = bisect_left(taken, span.first)
        if low == len(taken) or taken[low] != span.first:
            return span.first
        # Within a run without gaps the numbers grow as their places do; find the end of the run.
        offset = span.first - low
        high = min(len(taken), low + span.last - span.first + 1)
        end = bisect_left(range(high), True, lo=low, key=lambda place: taken[place] - place > offset)
        found = offset + end
        return found if found <= span.last else None


class AddressPlan:
    """What a network's record says about addresses: made once for each revision."""

    def __init__(self, network: NetworkRecord) -> None:
        self._network = network
        self._targets = sorted(
            (
                (
                    route.target.version,
                    int(route.target.netmask),
                    int(route.target.network_address),
                    route.target.prefixlen,
                )
                for route in network.routes
            ),
            key=lambda target: -target[3],
        )
        self._excluded = _excluded(network.routes)
        self._pools: dict[int, list[tuple[Span, list[Span]]]] = {4: [], 6: []}
        for start, end in network.pools:
            pool = Span(int(start), int(end))
            inside = _within(pool, network.routes, start.version)
            if inside and pool.first:
                self._pools[start.version].append((pool, inside))

    def assigned(self, member: MemberRecord) -> tuple[IPInterface, ...]:
        """The addresses of the member's configuration, at most 32: derived ones, then those of its record.

        One of the record counts if a route's target holds it, and gets the length of the longest such target.
        """
        network = self._network
        found: list[IPInterface] = []
        if network.rfc4193 and not member.no_auto_assign:
            found.append(addressing.rfc4193(network.id, member.address))
        if network.sixplane and not member.no_auto_assign:
            found.append(addressing.sixplane(network.id, member.address))
        for ip in member.addresses:
            length = self._prefix_length(ip)
            if length is not None:
                found.append(
                    IPv4Interface((int(ip), length)) if ip.version == 4 else IPv6Interface((int(ip), length))
                )
        return tuple(found[:MAX_ADDRESSES])

    def missing(self, member: MemberRecord) -> tuple[int, ...]:
        """The families, 6 before 4, of which the member is to get an address of a pool, and has none that counts."""
        network = self._network
        if member.no_auto_assign:
            return ()
        have = {ip.version for ip in member.addresses if self._prefix_length(ip) is not None}
        return tuple(
            version
            for version, auto in ((6, network.ipv6_auto), (4, network.ipv4_auto))
            if auto and version not in have and self._pools[version]
        )

    def find(self, version: int, address: NodeAddress, book: AddressBook) -> IPAddress | None:
        """A free address of a pool, None if there is none: the one that the member's address leads to, or the next."""
        for pool, inside in self._pools[version]:
            first = _preferred(version, pool, address)
            later = [Span(max(span.first, first), span.last) for span in inside if span.last >= first]
            earlier = [Span(span.first, min(span.last, first - 1)) for span in inside if span.first < first]
            for span in (*later, *earlier):
                number = self._first_free(version, span, book)
                if number is not None:
                    return IPv4Address(number) if version == 4 else IPv6Address(number)
        return None

    def _prefix_length(self, ip: IPAddress) -> int | None:
        version, number = ip.version, int(ip)
        for family, mask, network, length in self._targets:
            if family == version and number & mask == network:
                return length
        return None

    def _first_free(self, version: int, span: Span, book: AddressBook) -> int | None:
        first = span.first
        while first <= span.last:
            number = book.next_free(version, Span(first, span.last))
            if number is None:
                return None
            if (version, number) not in self._excluded and (version == 6 or number & 0xFF != 0xFF):
                return number
            first = number + 1
        return None


def _preferred(version: int, pool: Span, address: NodeAddress) -> int:
    """Where the search begins, so that a member tends to get the same address again. The last one comes last."""
    length = pool.last - pool.first
    if version == 6 and (pool.last & _LOW_64) - (pool.first & _LOW_64) >= (1 << 40) - 1:
        return pool.first + address
    return pool.first + (address & 0xFFFFFFFF) % length if length else pool.first


def _within(pool: Span, routes: Sequence[Route], version: int) -> list[Span]:
    """The parts of a pool that routes lead to, in order: to IPv6 addresses on the network itself only."""
    spans: list[Span] = []
    for route in routes:
        target = route.target
        if target.version == version and target.prefixlen and (version == 4 or route.via is None):
            first = max(pool.first, int(target.network_address))
            last = min(pool.last, int(target.broadcast_address))
            if first <= last:
                spans.append(Span(first, last))
    spans.sort()
    merged: list[Span] = []
    for span in spans:
        if merged and span.first <= merged[-1].last:
            merged[-1] = Span(merged[-1].first, max(merged[-1].last, span.last))
        else:
            merged.append(span)
    return merged


def _excluded(routes: Sequence[Route]) -> frozenset[tuple[int, int]]:
    """What no member gets: gateways, and the first and last address of an IPv4 subnet."""
    found = {(route.via.version, int(route.via)) for route in routes if route.via is not None}
    for route in routes:
        if isinstance(route.target, IPv4Network) and route.target.prefixlen <= 30:
            found |= {(4, int(route.target.network_address)), (4, int(route.target.broadcast_address))}
    return frozenset(found)
