"""A virtual Ethernet interface: its addresses, groups, neighbours and TCP connections.

The stack follows the strong model of RFC 1122 section 3.3.4.2: an address is reachable only through the interface
that has it, so that networks joined side by side stay apart. Packets from the stack to itself pass through an
interface of their own, which has no link.
"""

from __future__ import annotations

import errno
import ipaddress
from collections.abc import Hashable
from typing import TYPE_CHECKING, Protocol

from zt_async.stack.arp import Arp
from zt_async.stack.host import Host
from zt_async.stack.membership import IgmpMembership, Membership, MldMembership
from zt_async.stack.neighbors import Link, NeighborCache
from zt_async.types import BROADCAST, Frame, IPInterface, MACAddress, MulticastGroup
from zt_async.wire import icmpv6, ip, ipv4, ipv6, ndp
from zt_async.wire.ethernet import ETHERTYPE_IPV6, multicast_mac

if TYPE_CHECKING:
    from zt_async.stack.flow import Flow

_MAX_PATH_MTUS = 1024
_PATH_MTU_LIFETIME = 600.0  # RFC 8201 section 4
_LOOPBACK_MTU = 0xFFFF


class Connection(Protocol):
    """What a demultiplexing table holds: a TCP connection, or what is left of one in TIME-WAIT."""

    source: bytes
    flow: Flow

    def receive_packet(self, packet: bytes, offset: int, end: int, now: float) -> None: ...

    def path_changed(self, now: float) -> None: ...

    def fail(self, code: int) -> None: ...


class Interface:
    """Made by ``Stack.add_interface``; ``name`` is what the caller knows it by."""

    __slots__ = (
        *("_addresses", "_broadcasts", "_host", "_local", "_path_mtus", "_resolution_changes", "arp"),
        *("igmp", "index", "link", "link_local", "mld", "mtu", "name", "neighbors", "tcp"),
    )

    def __init__(
        self, host: Host, name: Hashable, index: int, mac: MACAddress, mtu: int, local: Interface | None
    ) -> None:
        self._host = host
        self._local = local  # the interface of packets to oneself
        self._addresses: dict[bytes, IPInterface] = {}
        self._path_mtus: dict[bytes, tuple[int, float]] = {}
        self.name = name
        self.index = index
        """A number that no other interface of the stack has had; that of packets to oneself is 0."""
        self.mtu = _checked_mtu(mtu)
        self.link = Link(mac)
        self.link_local = ipv6.link_local_address(mac)
        self.neighbors = NeighborCache(host, self.link)
        self.arp = Arp(host, self)
        self.igmp = IgmpMembership(host, self)
        self.mld = MldMembership(host, self)
        self._resolution_changes = 0  # of IPv4 addresses, which are asked for in groups of Ethernet alone
        self._broadcasts: frozenset[bytes] = frozenset()
        if local is not None:
            self.mld.join(ipv6.ALL_NODES)
            self.mld.join(ipv6.solicited_node(self.link_local))
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
        groups = {MulticastGroup(multicast_mac(group)) for group in (*self.igmp, *self.mld)}
        for own in self._addresses:
            if not ip.is_ipv6(own):
                groups.add(MulticastGroup(BROADCAST, int.from_bytes(own, "big")))
        return frozenset(groups)

    @property
    def groups_generation(self) -> int:
        """Another number whenever :attr:`groups` has changed."""
        return self.igmp.generation + self.mld.generation + self._resolution_changes

    def memberships(self, group: bytes) -> Membership:
        """The groups of a group's family."""
        return self.mld if ip.is_ipv6(group) else self.igmp

    def add_address(self, address: IPInterface, now: float) -> None:
        """Add an address with its on-link prefix, or change the prefix of one that is there. No other is touched.

        Raises ValueError for an address that cannot be a host's.
        """
        packed = address.packed
        if self._local is not None and not ip.is_unicast(packed):
            raise ValueError(f"{address} cannot be the address of an interface")
        is_new = packed not in self._addresses
        self._addresses[packed] = address
        self._addresses_changed()
        if not is_new or self._local is None:
            return
        if ip.is_ipv6(packed):
            self.mld.join(ipv6.solicited_node(packed))
        else:
            self._resolution_changes += 1
            self.igmp.join(ipv4.ALL_SYSTEMS)
            self.arp.announce(packed)

    def remove_address(self, address: IPInterface, now: float) -> None:
        """Connections of the address fail with ENETDOWN; all others go on. Raises ValueError when it is not there."""
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
        self._fail_connections(self.link_local)
        self.neighbors.close()
        self.igmp.close()
        self.mld.close()
        self.link.outgoing = []

    def owns(self, address: bytes) -> bool:
        """Whether it is an own address; packets to oneself may go to all of 127.0.0.0/8."""
        if address in self._addresses or address == self.link_local:
            return True
        return self._local is None and not ip.is_ipv6(address) and ipv4.is_loopback(address)

    def has_address_like(self, address: bytes) -> bool:
        """Whether there is an own address of its family; the link-local address counts for groups."""
        if ip.is_ipv6(address) and ip.is_multicast(address):
            return True
        return any(len(own) == len(address) for own in self._addresses)

    def is_broadcast(self, address: bytes) -> bool:
        """Whether packets to it go to all hosts on the link."""
        return address in self._broadcasts

    def accepts(self, destination: bytes) -> bool:
        """Whether packets to it are for this interface: its addresses and groups, and broadcasts."""
        return (
            self.owns(destination)
            or destination in self.memberships(destination)
            or destination in self._broadcasts
        )

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
        """RFC 8201, RFC 1191: never below 1280, or 552 for IPv4; forgotten after ten minutes."""
        self._path_mtus.pop(destination, None)
        if len(self._path_mtus) >= _MAX_PATH_MTUS:
            del self._path_mtus[next(iter(self._path_mtus))]
        minimum = ipv6.MINIMUM_MTU if ip.is_ipv6(destination) else ipv4.MINIMUM_PATH_MTU
        self._path_mtus[destination] = (max(mtu, minimum), now + _PATH_MTU_LIFETIME)
        self._host.generation += 1

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
            self.link.send(multicast_mac(destination), [packet], ETHERTYPE_IPV6)

    def _addresses_changed(self) -> None:
        broadcasts = set()
        for own in self._addresses.values():
            if own.version == 4 and self._local is not None:
                broadcasts.add(ipv4.BROADCAST)
                if own.network.prefixlen < 31:
                    broadcasts.add(own.network.broadcast_address.packed)
        self._broadcasts = frozenset(broadcasts - self._addresses.keys())
        self._host.generation += 1

    def _drop_address(self, address: bytes) -> None:
        del self._addresses[address]
        self._addresses_changed()
        if ip.is_ipv6(address):
            self.mld.leave(ipv6.solicited_node(address))
        else:
            self._resolution_changes += 1
            self.igmp.leave(ipv4.ALL_SYSTEMS)
        self.neighbors.source_gone(address, self.choose_source)
        self._fail_connections(address)

    def _fail_connections(self, address: bytes) -> None:
        """Those from an address that is gone, and of those to oneself both ends."""
        for table in (self.tcp, self._local.tcp if self._local else {}):
            for connection in [c for c in table.values() if address in (c.source, c.flow.destination)]:
                connection.fail(errno.ENETDOWN)

    def take_frames(self) -> list[Frame]:
        """What is to be sent on the link."""
        frames, self.link.outgoing = self.link.outgoing, []
        return frames


def make_local_interface(host: Host) -> Interface:
    """The way of packets to oneself."""
    interface = Interface(host, None, 0, MACAddress(0), _LOOPBACK_MTU, None)
    interface.add_address(ipaddress.IPv6Interface("::1/128"), 0.0)
    interface.add_address(ipaddress.IPv4Interface("127.0.0.1/32"), 0.0)
    return interface


def _checked_mtu(mtu: int) -> int:
    if not ipv6.MINIMUM_MTU <= mtu <= 0xFFFF:
        raise ValueError(f"the MTU of an IPv6 interface is {ipv6.MINIMUM_MTU} to 65535, not {mtu}")
    return mtu
