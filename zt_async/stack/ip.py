"""The IP layer: which way packets take, and which of those that arrive are for this stack."""

from __future__ import annotations

import errno

from zt_async.stack import fragments
from zt_async.stack.addresses import is_wildcard
from zt_async.stack.arrival import Arrival
from zt_async.stack.flow import Flow
from zt_async.stack.fragments import Reassembler
from zt_async.stack.host import Host, os_error
from zt_async.stack.interface import Interface, make_local_interface
from zt_async.stack.ipv4 import Ipv4Input
from zt_async.stack.ipv6 import Ipv6Input
from zt_async.stack.routes import RouteTable
from zt_async.wire import ip, ipv4, ipv6


class IpLayer:
    """One of each stack."""

    __slots__ = ("_host", "_identifications", "interfaces", "ipv4", "ipv6", "local", "reassembler", "routes")

    def __init__(self, host: Host) -> None:
        self._host = host
        self._identifications = int.from_bytes(host.context.random_bytes(2), "big")
        self.local = make_local_interface(host)
        self.interfaces: list[Interface] = []
        self.routes = RouteTable()
        self.reassembler = Reassembler(host)
        self.ipv4 = Ipv4Input(host, self)
        self.ipv6 = Ipv6Input(host, self)

    def owner(self, address: bytes, preferred: Interface | None = None) -> Interface | None:
        """The interface that has an own address."""
        if preferred is not None:
            return preferred if preferred.owns(address) else None
        for interface in (self.local, *self.interfaces):
            if interface.owns(address):
                return interface
        return None

    def check_present(self, interface: Interface | None) -> None:
        """Raises OSError(ENETDOWN) for an interface that was removed."""
        if interface is not None and interface is not self.local and interface not in self.interfaces:
            raise os_error(errno.ENETDOWN)

    def may_have_sent(self, interface: Interface, source: bytes) -> bool:
        """Whether packets from an address leave by an interface."""
        return interface.owns(source) or (interface is self.local and self.owner(source) is not None)

    def flow(
        self,
        protocol: int,
        destination: bytes,
        now: float,
        source: bytes | None = None,
        interface: Interface | None = None,
    ) -> Flow:
        """The way to ``destination``, from a given source or interface or from the best ones.

        Raises OSError: EADDRNOTAVAIL for a source that is not there and for the unspecified destination, EAFNOSUPPORT
        for a source of another family, ENETUNREACH where no interface has an address, EHOSTUNREACH where no prefix or
        route holds the destination, ENETDOWN for an interface that was removed.
        """
        self.check_present(interface)
        if is_wildcard(destination):
            raise os_error(errno.EADDRNOTAVAIL)
        if source is not None and len(source) != len(destination):
            raise os_error(errno.EAFNOSUPPORT)
        if self.owner(destination, interface) is not None:
            if source is None:
                source = destination
            elif self.owner(source) is None:
                raise os_error(errno.EADDRNOTAVAIL)
            return Flow(self._host, self.local, source, destination, None, protocol, self.local.mtu)
        if interface is None and source is not None:
            interface = self.owner(source)
            if interface is None:
                raise os_error(errno.EADDRNOTAVAIL)
            if interface is self.local:  # nothing leaves from a loopback address
                raise os_error(errno.EHOSTUNREACH)
        interface, next_hop = self._next_hop(destination, interface)
        if source is None:
            source = interface.choose_source(destination)
        if source is None or not interface.owns(source):
            raise os_error(errno.EADDRNOTAVAIL)
        mtu = interface.path_mtu(destination, now)
        return Flow(self._host, interface, source, destination, next_hop, protocol, mtu)

    def flow_back(
        self, protocol: int, interface: Interface, source: bytes, destination: bytes, now: float
    ) -> Flow | None:
        """The way to answer a packet from ``source`` to ``destination``; None where there is none."""
        is_group = ip.is_multicast(destination) or interface.is_broadcast(destination)
        own = None if is_group else destination
        try:
            return self.flow(protocol, source, now, own, None if interface is self.local else interface)
        except OSError:
            self._host.counters["no way back"] += 1
            return None

    def receive(
        self, interface: Interface, packet: bytes, now: float, *, looped: bool = False
    ) -> Arrival | None:
        """Validate a packet of this stack's own; see :class:`Ipv4Input` and :class:`Ipv6Input`. Raises DecodeError."""
        return self._inward(packet).receive(interface, packet, now, looped=looped)

    def refuse_port(self, arrival: Arrival, now: float) -> None:
        """Tell the sender of a packet that nobody is at its port."""
        self._inward(arrival.packet).refuse_port(arrival, now)

    def send(self, flow: Flow, payload: bytes, now: float) -> None:
        """Send an upper layer's packet, in fragments where the path asks for it."""
        packet = flow.header(len(payload)) + payload
        if len(packet) <= flow.mtu:
            flow.send([packet], now)
            return
        flow.send(fragments.split(flow, payload, self._identification(flow)), now)

    def take_undeliverable(self) -> list[tuple[Interface, bytes]]:
        """Packets whose next hop did not answer."""
        result = []
        for interface in self.interfaces:
            if interface.neighbors.unreachable:
                result += [(interface, packet) for packet in interface.neighbors.unreachable]
                interface.neighbors.unreachable = []
        return result

    def handle_expired(self, now: float) -> None:
        """Tell the senders of packets that were not completed in time."""
        expired, self.reassembler.expired = self.reassembler.expired, []
        for interface, first in expired:
            self._inward(first).tell_expired(interface, first, now)

    def _inward(self, packet: bytes) -> Ipv4Input | Ipv6Input:
        return self.ipv6 if packet[0] >> 4 == 6 else self.ipv4

    def _identification(self, flow: Flow) -> int:
        """Of a packet in fragments. For IPv6 no one can foresee it (RFC 7739).

        The 16 bits of IPv4 are too few for that: counted, they repeat as late as can be (RFC 6864 section 4.3).
        """
        if ip.is_ipv6(flow.source):
            return int.from_bytes(self._host.context.random_bytes(4), "big")
        self._identifications = self._identifications + 1 & 0xFFFF
        return self._identifications

    def _next_hop(self, destination: bytes, interface: Interface | None) -> tuple[Interface, bytes]:
        candidates = self.interfaces if interface is None else [interface]
        if ip.is_multicast(destination) or destination == ipv4.BROADCAST:
            return self.interface_of_group(destination, interface), destination
        if ip.is_ipv6(destination) and ipv6.is_link_local(destination):
            if len(candidates) != 1:
                raise OSError(errno.EINVAL, "a link-local address needs an interface with it")
            return candidates[0], destination
        best, on_link = -1, None
        for candidate in candidates:
            length = candidate.on_link_prefix(destination)
            if length > best:
                best, on_link = length, candidate
        route = self.routes.find(destination, interface)
        if route is not None and route.network.prefixlen > best:
            return route.interface, route.gateway or destination
        if on_link is not None:
            return on_link, destination
        connected = any(candidate.has_address_like(destination) for candidate in candidates)
        raise os_error(errno.EHOSTUNREACH if connected else errno.ENETUNREACH)

    def interface_of_group(self, group: bytes, interface: Interface | None = None) -> Interface:
        """Where a group is meant that comes without an interface: by a route for it, or the only one there is.

        Raises OSError: ENETUNREACH where there is none, EINVAL where there are several, ENETDOWN for one that was
        removed.
        """
        self.check_present(interface)
        if interface is self.local:
            raise os_error(errno.ENETUNREACH)
        if interface is not None:
            return interface
        route = self.routes.find(group)
        if route is not None:
            return route.interface
        candidates = [candidate for candidate in self.interfaces if candidate.has_address_like(group)]
        if not candidates:
            raise os_error(errno.ENETUNREACH)
        if len(candidates) > 1:
            raise OSError(errno.EINVAL, "a group or broadcast address needs an interface with it")
        return candidates[0]
