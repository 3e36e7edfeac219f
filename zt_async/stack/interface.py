"""A virtual Ethernet interface: its addresses, groups, neighbours and TCP connections.

The stack follows the strong model of RFC 1122 section 3.3.4.2: an address is reachable only through the interface
that has it, so that networks joined side by side stay apart. Packets from the stack to itself pass through an
interface of their own, which has no link.
"""

from __future__ import annotations

import errno
import ipaddress
from collections.abc import Hashable
from typing import Protocol

from zt_async.stack.groups import Groups
from zt_async.stack.host import Host
from zt_async.stack.neighbors import Link, NeighborCache
from zt_async.types import BROADCAST, Frame, IPInterface, MACAddress, MulticastGroup
from zt_async.wire import icmpv6, ip, ipv4, ipv6, ndp
from zt_async.wire.ethernet import multicast_mac

_MAX_PATH_MTUS = 1024
_PATH_MTU_LIFETIME = 600.0  # RFC 8201 section 4
_LOOPBACK_MTU = 0xFFFF


class Connection(Protocol):
    """What a demultiplexing table holds: a TCP connection, or what is left of one in TIME-WAIT."""

    source: bytes

    def receive_packet(self, packet: bytes, offset: int, end: int, now: float) -> None: ...

    def path_changed(self, now: float) -> None: ...

    def fail(self, code: int) -> None: ...


class Interface:
    """Made by ``Stack.add_interface``; ``name`` is what the caller knows it by."""

    __slots__ = (
        *("_addresses", "_host", "_local", "_path_mtus", "_resolution_changes", "joined", "link"),
        *("link_local", "mtu", "name", "neighbors", "tcp"),
    )

    def __init__(
        self, host: Host, name: Hashable, mac: MACAddress, mtu: int, local: Interface | None
    ) -> None:
        self._host = host
        self._local = local  # the interface of packets to oneself
        self._addresses: dict[bytes, IPInterface] = {}
        self._path_mtus: dict[bytes, tuple[int, float]] = {}
        self.name = name
        self.mtu = _checked_mtu(mtu)
        self.link = Link(mac)
        self.link_local = ipv6.link_local_address(mac)
        self.neighbors = NeighborCache(host, self.link)
        self.joined = Groups()
        self._resolution_changes = 0  # of IPv4 addresses, which are asked for in groups of Ethernet alone
        if local is not None:
            self.joined.join(ipv6.ALL_NODES)
            self.joined.join(ipv6.solicited_node(self.link_local))
        self.tcp: dict[bytes, Connection] = {}
        """By the twelve or 36 bytes of a packet that are remote and local address, remote and local port."""

    def __repr__(self) -> str:
        return f"<Interface {self.name} mtu={self.mtu} {' '.join(map(str, self.addresses))}>"

    @property
    def mac(self) -> MACAddress:
        return MACAddress(self.link.mac)

    @property
    def addresses(self) -> tuple[IPInterface, ...]:
        """Those that were added, in order; the link-local address is not among them."""
        return tuple(self._addresses.values())

    @property
    def groups(self) -> frozenset[MulticastGroup]:
        """What the network has to bring here (vl2.md 5.8 and 7.1).

        These are the groups that were joined, with ADI 0, and those in which others ask for own addresses: for an IPv4
        address the broadcast MAC with the address as ADI, for an IPv6 one the MAC of its solicited-node group.
        """
        if self._local is None:
            return frozenset()
        groups = {MulticastGroup(multicast_mac(group)) for group in self.joined}
        for own in self._addresses:
            if not ip.is_ipv6(own):
                groups.add(MulticastGroup(BROADCAST, int.from_bytes(own, "big")))
        return frozenset(groups)

    @property
    def groups_generation(self) -> int:
        """Another number whenever :attr:`groups` has changed."""
        return self.joined.generation + self._resolution_changes

    def add_address(self, address: IPInterface, now: float) -> None:
        """Add an address with its on-link prefix, or change the prefix of one that is there.

        Raises ValueError for an address that cannot be a host's.
        """
        packed = address.packed
        if ip.is_multicast(packed) or address.is_unspecified or packed == ipv4.BROADCAST:
            raise ValueError(f"{address} cannot be the address of an interface")
        if packed not in self._addresses:
            self._own(packed)
        self._addresses[packed] = address
        self._host.generation += 1

    def remove_address(self, address: IPInterface, now: float) -> None:
        """Connections of the address fail with ENETDOWN. Raises ValueError when the address is not there."""
        if address.packed not in self._addresses:
            raise ValueError(f"the interface does not have {address}")
        self._drop_address(address.packed)

    def set_mtu(self, mtu: int, now: float) -> None:
        """Segments of all connections follow at once. Raises ValueError outside 1280 to 65535."""
        self.mtu = _checked_mtu(mtu)
        self._host.generation += 1
        for connection in self.tcp.values():
            connection.path_changed(now)

    def close(self) -> None:
        """Connections fail with ENETDOWN, neighbours are forgotten."""
        for address in list(self._addresses):
            self._drop_address(address)
        for connection in list(self.tcp.values()):
            connection.fail(errno.ENETDOWN)
        self.neighbors.close()
        self.link.outgoing = []

    def owns(self, address: bytes) -> bool:
        return address in self._addresses or address == self.link_local

    def accepts(self, destination: bytes) -> bool:
        """Whether packets to it are for this interface: its addresses and groups."""
        if not ipv6.is_multicast(destination):
            return self.owns(destination)
        return destination in self.joined

    def on_link_prefix(self, destination: bytes) -> int:
        """Length of the longest prefix of an own address that holds ``destination``; -1 where none does."""
        target = ipaddress.ip_address(destination)
        best = 64 if ip.is_ipv6(destination) and ipv6.is_link_local(destination) else -1
        for own in self._addresses.values():
            if own.network.prefixlen > best and target in own.network:
                best = own.network.prefixlen
        return best

    def choose_source(self, destination: bytes) -> bytes | None:
        """Own address of the family to send from; None where there is none.

        For IPv6: of the same scope, then of the longest common prefix (RFC 6724 section 5).
        """
        is_group = ip.is_multicast(destination)
        if ip.is_ipv6(destination) and (
            ipv6.is_link_local(destination) or (is_group and destination[1] & 0xF <= 2)
        ):
            return self.link_local
        candidates = [own for own in self._addresses if len(own) == len(destination)]
        if is_group:
            return candidates[0] if candidates else None
        number = int.from_bytes(destination, "big")
        return min(
            candidates, key=lambda own: (number ^ int.from_bytes(own, "big")).bit_length(), default=None
        )

    def path_mtu(self, destination: bytes, now: float) -> int:
        """What a "packet too big" has said about the path, or the interface's MTU."""
        known = self._path_mtus.get(destination)
        return min(self.mtu, known[0]) if known and now < known[1] else self.mtu

    def lower_path_mtu(self, destination: bytes, mtu: int, now: float) -> None:
        """RFC 8201: never below 1280; forgotten after ten minutes."""
        self._path_mtus.pop(destination, None)
        if len(self._path_mtus) >= _MAX_PATH_MTUS:
            del self._path_mtus[next(iter(self._path_mtus))]
        self._path_mtus[destination] = (max(mtu, ipv6.MINIMUM_MTU), now + _PATH_MTU_LIFETIME)

    def receive_solicitation(self, source: bytes, solicitation: ndp.NeighborSolicitation, now: float) -> None:
        """Answer for an own address (RFC 4861 section 7.2.4)."""
        target, asker = solicitation
        if not self.owns(target):
            return
        known = source != ipv6.UNSPECIFIED
        if known and asker is not None:
            self.neighbors.learn(source, asker, now)
        answer = ndp.NeighborAdvertisement(target, self.mac, router=False, solicited=known, override=True)
        destination = source if known else ipv6.ALL_NODES
        message = icmpv6.Message(icmpv6.NEIGHBOR_ADVERTISEMENT, 0, answer.encode()).encode(
            target, destination
        )
        header = ipv6.Header(target, destination, ip.ICMPV6, len(message), ndp.HOP_LIMIT)
        packet = header.encode() + message
        if known:
            self.neighbors.send(source, [packet], now)
        else:
            self.link.send(multicast_mac(destination), [packet])

    def _own(self, address: bytes) -> None:
        if not ip.is_ipv6(address):
            self._resolution_changes += 1
            self.joined.join(ipv4.ALL_SYSTEMS)
        elif self._local is not None:
            self.joined.join(ipv6.solicited_node(address))

    def _drop_address(self, address: bytes) -> None:
        del self._addresses[address]
        if not ip.is_ipv6(address):
            self._resolution_changes += 1
            self.joined.leave(ipv4.ALL_SYSTEMS)
        else:
            self.joined.leave(ipv6.solicited_node(address))
        self._host.generation += 1
        for table in (self.tcp, self._local.tcp if self._local else {}):
            for connection in [c for c in table.values() if c.source == address]:
                connection.fail(errno.ENETDOWN)

    def take_frames(self) -> list[Frame]:
        """What is to be sent on the link."""
        frames, self.link.outgoing = self.link.outgoing, []
        return frames


def make_local_interface(host: Host) -> Interface:
    """The way of packets to oneself."""
    interface = Interface(host, None, MACAddress(0), _LOOPBACK_MTU, None)
    interface.add_address(ipaddress.IPv6Interface("::1/128"), 0.0)
    return interface


def _checked_mtu(mtu: int) -> int:
    if not ipv6.MINIMUM_MTU <= mtu <= 0xFFFF:
        raise ValueError(f"the MTU of an IPv6 interface is {ipv6.MINIMUM_MTU} to 65535, not {mtu}")
    return mtu
