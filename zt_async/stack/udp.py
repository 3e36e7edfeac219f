"""UDP endpoints (RFC 768, RFC 8085), and the groups that they listen to."""

from __future__ import annotations

import errno
from collections import deque

from zt_async.stack.addresses import (
    ANY,
    IPV4_ANY,
    IPV6_ANY,
    Address,
    address_text,
    check_port,
    is_wildcard,
    pack_address,
)
from zt_async.stack.arrival import Arrival, TransportError
from zt_async.stack.flow import Flow
from zt_async.stack.host import Host, Socket, os_error
from zt_async.stack.interface import Interface
from zt_async.stack.ip import IpLayer
from zt_async.stack.ports import Binding, PortTable
from zt_async.wire import ip, ipv4, ipv6, udp

_OVERHEAD = 256  # what a queued datagram costs besides its bytes
_MAX_ERRORS = 16
_MAX_FLOWS = 1024
_EVERYBODY = (ipv4.ALL_SYSTEMS, ipv6.ALL_NODES)  # groups that every host is in


class UdpEndpoint(Socket):
    """A UDP socket; made by ``Stack.open_udp``."""

    __slots__ = (
        *("_errors", "_flows", "_generation", "_hop_limit", "_layer", "_multicast_hops"),
        *("_multicast_interface", "_multicast_loop", "_queue", "_queued", "_traffic_class", "binding"),
        *("broadcast", "closed", "dropped", "error", "groups", "local", "remote"),
    )

    def __init__(self, layer: UdpLayer, binding: Binding, remote: tuple[bytes, int] | None) -> None:
        super().__init__()
        self._layer = layer
        self._queue: list[tuple[bytes, bytes, int]] = []
        self._queued = 0
        self._errors: deque[tuple[OSError, Address]] = deque(maxlen=_MAX_ERRORS)
        self._flows: dict[bytes, Flow] = {}
        self._generation = -1
        self._hop_limit = layer.host.config.hop_limit
        self._traffic_class = 0
        self._multicast_hops = 1
        self._multicast_loop = True
        self._multicast_interface: Interface | None = None
        self.binding = binding
        self.broadcast = False
        """Whether it may send to broadcast addresses; else that fails with EACCES."""
        self.groups: dict[tuple[Interface, bytes], None] = {}
        """The multicast groups that were joined, packed, each with the interface."""
        self.local: Address = (address_text(binding.address), binding.port)
        self.remote: Address | None = None if remote is None else (address_text(remote[0]), remote[1])
        self.closed = False
        self.error: OSError | None = None
        """Why it was closed from below: ENETDOWN when its interface went."""
        self.dropped = 0
        """Datagrams that found the queue full."""

    def __repr__(self) -> str:
        return f"<UdpEndpoint {self.local} remote={self.remote}>"

    def send(
        self, data: bytes | bytearray | memoryview, remote: Address | None = None, *, now: float
    ) -> None:
        """Send one datagram, in fragments where it does not fit the path.

        Raises OSError: EDESTADDRREQ, EISCONN, EMSGSIZE beyond 65527 bytes, or 65507 with IPv4, EBADF when closed,
        EACCES for a broadcast address without consent, EINVAL for port 0 and for a group that may be on several
        interfaces, EADDRNOTAVAIL for the unspecified address, EAFNOSUPPORT, and where no route leads there EHOSTUNREACH
        or ENETUNREACH; ValueError for what is no address or port.
        """
        if self.closed:
            raise self.error or os_error(errno.EBADF)
        if self.remote is not None:
            if remote is not None and (address_text(pack_address(remote[0])), remote[1]) != self.remote:
                raise os_error(errno.EISCONN)
            remote = self.remote
        elif remote is None:
            raise os_error(errno.EDESTADDRREQ)
        self._layer.send(self, bytes(data), remote, now)

    def receive(self) -> list[tuple[bytes, Address]]:
        """All datagrams that arrived, with their senders."""
        queue, self._queue = self._queue, []
        self._queued = 0
        return [(data, (address_text(source), port)) for data, source, port in queue]

    def take_errors(self) -> list[tuple[OSError, Address]]:
        """What ICMP said about datagrams sent from here, with the remote it concerns; the latest 16."""
        errors = list(self._errors)
        self._errors.clear()
        return errors

    @property
    def hop_limit(self) -> int:
        """Of packets to a single host, from now on; IPv4 calls it time to live."""
        return self._hop_limit

    @hop_limit.setter
    def hop_limit(self, hop_limit: int) -> None:
        if not 1 <= hop_limit <= 255:
            raise ValueError(f"a hop limit is 1 to 255, not {hop_limit}")
        self._hop_limit = hop_limit
        self._flows.clear()

    @property
    def traffic_class(self) -> int:
        """Of all packets, from now on; IPv4 calls it type of service."""
        return self._traffic_class

    @traffic_class.setter
    def traffic_class(self, traffic_class: int) -> None:
        if not 0 <= traffic_class <= 255:
            raise ValueError(f"a traffic class is 0 to 255, not {traffic_class}")
        self._traffic_class = traffic_class
        self._flows.clear()

    @property
    def multicast_hops(self) -> int:
        """Hop limit of packets to groups: 1, the default, keeps them on the link, 0 on this host."""
        return self._multicast_hops

    @multicast_hops.setter
    def multicast_hops(self, hops: int) -> None:
        if not 0 <= hops <= 255:
            raise ValueError(f"multicast hops are 0 to 255, not {hops}")
        self._multicast_hops = hops
        self._flows.clear()

    @property
    def multicast_loop(self) -> bool:
        """Whether what is sent to a group comes to this stack's own members as well."""
        return self._multicast_loop

    @multicast_loop.setter
    def multicast_loop(self, loop: bool) -> None:
        self._multicast_loop = loop
        self._flows.clear()

    @property
    def multicast_interface(self) -> Interface | None:
        """Where packets to groups leave; None: as the addresses and routes say."""
        return self._multicast_interface

    @multicast_interface.setter
    def multicast_interface(self, interface: Interface | None) -> None:
        self._multicast_interface = interface
        self._flows.clear()

    def join_group(self, group: str, interface: Interface | None = None) -> None:
        """Receive what is sent to a multicast group on an interface.

        Without one: on that which it is bound to, else where a route for the group leads, else on the only one.
        Raises OSError: EADDRINUSE when it is in the group already, ENOBUFS beyond ``max_groups``, EINVAL for what is no
        group or where the interface is not clear, ENETUNREACH where there is none, EBADF when closed.
        """
        if self.closed:
            raise self.error or os_error(errno.EBADF)
        key = self._group(group, interface)
        if key in self.groups:
            raise os_error(errno.EADDRINUSE)
        if len(self.groups) >= self._layer.host.config.max_groups:
            raise os_error(errno.ENOBUFS)
        self.groups[key] = None
        key[0].memberships(key[1]).join(key[1])

    def leave_group(self, group: str, interface: Interface | None = None) -> None:
        """Raises OSError: EADDRNOTAVAIL when it is not in the group, and as :meth:`join_group` does."""
        key = self._group(group, interface)
        if key not in self.groups:
            raise os_error(errno.EADDRNOTAVAIL)
        self._leave(key)

    def leave_interface(self, interface: Interface) -> None:
        """For the layer: an interface goes, and its groups with it."""
        for key in [key for key in self.groups if key[0] is interface]:
            self._leave(key)
        if self._multicast_interface is interface:
            self.multicast_interface = None

    def leave_all(self) -> None:
        """For the layer: it was closed."""
        for key in list(self.groups):
            self._leave(key)

    def _leave(self, key: tuple[Interface, bytes]) -> None:
        del self.groups[key]
        key[0].memberships(key[1]).leave(key[1])

    def _group(self, text: str, interface: Interface | None) -> tuple[Interface, bytes]:
        group = pack_address(text)
        if not ip.is_multicast(group):
            raise OSError(errno.EINVAL, f"{text} is no multicast group")
        return self._layer.ip.interface_of_group(group, interface or self._bound_interface()), group

    def _bound_interface(self) -> Interface | None:
        if self.binding.interface is not None or self.is_unbound:
            return self.binding.interface
        return self._layer.ip.owner(self.binding.address)

    @property
    def is_unbound(self) -> bool:
        """It has no address of its own to send from."""
        address = self.binding.address
        return is_wildcard(address) or address == ipv4.BROADCAST or ip.is_multicast(address)

    def wants(self, arrival: Arrival, remote: Address) -> bool:
        """For the layer: whether a packet to a group or to everybody is for this endpoint."""
        interface, address, *_ = self.binding
        destination = arrival.destination
        return (
            interface in (None, arrival.interface)
            and address in (destination, bytes(len(destination)), ANY, IPV6_ANY)
            and self.remote in (None, remote)
            and (
                not ip.is_multicast(destination)
                or (arrival.interface, destination) in self.groups
                or destination in _EVERYBODY
            )
        )

    def close(self) -> None:
        """Give the port back."""
        self._layer.close(self)

    def enqueue(self, data: bytes, source: bytes, port: int) -> bool:
        """For the layer: keep a datagram if there is room."""
        cost = len(data) + _OVERHEAD
        if self._queued + cost > self._layer.host.config.udp_queue:
            self.dropped += 1
            return False
        self._queued += cost
        self._queue.append((data, source, port))
        return True

    def fail(self, error: OSError, remote: Address) -> None:
        """For the layer: keep an ICMP error."""
        self._errors.append((error, remote))

    def flow(self, destination: bytes, now: float) -> Flow:
        """For the layer: the way to a destination, looked up once until the routes change."""
        layer = self._layer
        if self._generation != layer.host.generation or len(self._flows) >= _MAX_FLOWS:
            self._flows.clear()
            self._generation = layer.host.generation
        flow = self._flows.get(destination)
        if flow is None:
            flow = self._flows[destination] = self._make_flow(destination, now)
        return flow

    def _make_flow(self, destination: bytes, now: float) -> Flow:
        address, interface = self.binding.address, self.binding.interface
        if address == IPV4_ANY and ip.is_ipv6(destination):
            raise os_error(errno.EAFNOSUPPORT)
        is_multicast = ip.is_multicast(destination)
        if interface is None and (is_multicast or destination == ipv4.BROADCAST):
            interface = self._multicast_interface
        source = None if self.is_unbound else address
        flow = self._layer.ip.flow(ip.UDP, destination, now, source, interface)
        hop_limit = self._multicast_hops if is_multicast else self._hop_limit
        flow.set_traffic(hop_limit, self._traffic_class)
        flow.loops = self._multicast_loop or not is_multicast
        return flow


class UdpLayer:
    """One of each stack."""

    __slots__ = ("_ports", "host", "ip")

    def __init__(self, host: Host, ip_layer: IpLayer) -> None:
        self.host = host
        self.ip = ip_layer
        self._ports: PortTable[UdpEndpoint] = PortTable(host)

    @property
    def endpoints(self) -> list[UdpEndpoint]:
        return self._ports.sockets()

    def open(
        self,
        address: bytes,
        port: int,
        remote: tuple[bytes, int] | None,
        interface: Interface | None,
        *,
        reuse_port: bool,
    ) -> UdpEndpoint:
        """Raises OSError: EADDRINUSE."""
        binding = self._ports.choose(address, port, interface, reuse_port=reuse_port)
        endpoint = UdpEndpoint(self, binding, remote)
        self._ports.add(binding, endpoint)
        return endpoint

    def close(self, endpoint: UdpEndpoint, error: OSError | None = None) -> None:
        if not endpoint.closed:
            endpoint.closed = True
            endpoint.error = error
            endpoint.leave_all()
            self._ports.remove(endpoint.binding, endpoint)

    def send(self, endpoint: UdpEndpoint, data: bytes, remote: Address, now: float) -> None:
        port = check_port(remote[1])
        if not port:
            raise OSError(errno.EINVAL, "nothing can be sent to port 0")
        flow = endpoint.flow(pack_address(remote[0]), now)
        if flow.is_broadcast and not endpoint.broadcast:
            raise os_error(errno.EACCES)
        if len(data) > (udp.MAX_PAYLOAD if ip.is_ipv6(flow.source) else udp.MAX_IPV4_PAYLOAD):
            raise os_error(errno.EMSGSIZE)
        datagram = udp.Datagram(endpoint.binding.port, port, data)
        self.ip.send(flow, datagram.encode(flow.pseudo_sum), now)

    def receive(self, arrival: Arrival, now: float) -> None:
        """Deliver a datagram, or answer that nobody is there. Raises DecodeError."""
        verify = self.host.config.verify_checksums
        datagram = udp.parse(
            arrival.payload,
            arrival.pseudo_sum if verify else None,
            may_lack_checksum=not ip.is_ipv6(arrival.source),
        )
        port, data, own_port = datagram.source_port, datagram.payload, datagram.destination_port
        if arrival.is_group:
            peer = (address_text(arrival.source), port)
            for _, endpoint in self._ports.bound(own_port):
                if endpoint.wants(arrival, peer):
                    self._deliver(endpoint, data, arrival.source, port)
            return
        found = self._find(arrival.interface, arrival.destination, own_port, arrival.source, port)
        if found is None:
            self.host.counters["udp port closed"] += 1
            self.ip.refuse_port(arrival, now)
        else:
            self._deliver(found, data, arrival.source, port)

    def _deliver(self, endpoint: UdpEndpoint, data: bytes, source: bytes, port: int) -> None:
        if endpoint.enqueue(data, source, port):
            self.host.mark_ready(endpoint)
        else:
            self.host.counters["udp queue full"] += 1

    def close_interface(self, interface: Interface) -> None:
        """Endpoints that were bound to it fail with ENETDOWN; others are in no group there any more."""
        for endpoint in self.endpoints:
            endpoint.leave_interface(interface)
            if endpoint.binding.interface is interface:
                self.close(endpoint, os_error(errno.ENETDOWN))
                self.host.mark_ready(endpoint)

    def receive_error(self, error: TransportError, now: float) -> None:
        """An ICMP error about a datagram from here."""
        if len(error.transport) < 4:
            return
        own_port = int.from_bytes(error.transport[0:2], "big")
        remote_port = int.from_bytes(error.transport[2:4], "big")
        endpoint = self._find(error.interface, error.source, own_port, error.destination, remote_port)
        if endpoint is None:
            if any(sender.is_unbound for _, sender in self._ports.bound(own_port)):
                error.believe(now)  # at a group or broadcast address, it sends from another one
            return
        error.believe(now)
        if error.code != errno.EMSGSIZE:
            endpoint.fail(os_error(error.code), (address_text(error.destination), remote_port))
            self.host.mark_ready(endpoint)

    def _find(
        self, interface: Interface, address: bytes, port: int, remote: bytes, remote_port: int
    ) -> UdpEndpoint | None:
        """The endpoint of a datagram: one connected to the remote, then the most closely bound one."""
        if interface is self.ip.local:
            interface = self.ip.owner(address) or interface
        peer = (address_text(remote), remote_port)
        found: list[UdpEndpoint] = []
        for sockets in self._ports.candidates(interface, address, port):
            for endpoint in sockets:
                if endpoint.remote == peer:
                    return endpoint
            if not found:
                found = [endpoint for endpoint in sockets if endpoint.remote is None]
        return found[(remote[-1] + remote_port) % len(found)] if found else None
