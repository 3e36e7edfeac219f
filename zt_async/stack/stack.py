"""The TCP/IP stack of a node: frames in and out, timers, and sockets.

It does no I/O and reads no clock. Whoever drives it gives frames to :meth:`Stack.receive_frames`, calls
:meth:`Stack.handle_timer` when :meth:`Stack.next_timer` says so, looks at the sockets that :meth:`Stack.take_ready`
names, and sends what :meth:`Stack.frames_to_send` gives, in this order and after every call of a socket's.
"""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Hashable, Iterable

from zt_async.accel import checksum
from zt_async.config import StackConfig
from zt_async.context import Context
from zt_async.errors import DecodeError
from zt_async.stack.addresses import ANY, IPV4_ANY, Address, check_port, is_wildcard, pack_address
from zt_async.stack.arrival import Arrival, TransportError
from zt_async.stack.host import Host, Socket, os_error
from zt_async.stack.icmpv4 import Icmpv4Layer
from zt_async.stack.icmpv6 import Icmpv6Layer
from zt_async.stack.interface import Interface
from zt_async.stack.ip import IpLayer
from zt_async.stack.ping import Ping, PingTable
from zt_async.stack.routes import Route
from zt_async.stack.tcp.connection import TcpConnection
from zt_async.stack.tcp.layer import TcpLayer
from zt_async.stack.tcp.listener import TcpListener
from zt_async.stack.tcp.options import TcpOptions
from zt_async.stack.udp import UdpEndpoint, UdpLayer
from zt_async.types import Frame, IPAddress, IPNetwork, MACAddress
from zt_async.wire import ip, ipv4
from zt_async.wire.ethernet import ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6

_MAX_LOCAL_ROUNDS = 64  # of packets to oneself in one call; the rest waits for the next
_DEFAULT_OPTIONS = TcpOptions()


class Stack:
    """One of each node. ``now`` is monotonic seconds everywhere."""

    def __init__(self, context: Context, config: StackConfig) -> None:
        self._host = Host(context, config)
        self._ip = IpLayer(self._host)
        self._pings = PingTable(self._host)
        self._icmpv4 = Icmpv4Layer(self._host, self._ip, self._pings)
        self._icmpv6 = Icmpv6Layer(self._host, self._ip, self._pings)
        self._udp = UdpLayer(self._host, self._ip)
        self._tcp = TcpLayer(self._host, self._ip)
        self._next_index = 1

    @property
    def config(self) -> StackConfig:
        return self._host.config

    @property
    def counters(self) -> Counter[str]:
        """What was dropped or refused, by reason."""
        return self._host.counters

    @property
    def interfaces(self) -> tuple[Interface, ...]:
        return tuple(self._ip.interfaces)

    # -- interfaces and routes

    def add_interface(self, name: Hashable, mac: MACAddress, mtu: int, now: float) -> Interface:
        """A new interface without addresses but for its link-local one. Raises ValueError for a bad MTU."""
        interface = Interface(self._host, name, self._next_index, mac, mtu, self._ip.local)
        self._next_index += 1
        self._ip.interfaces.append(interface)
        self._host.generation += 1
        return interface

    def remove_interface(self, interface: Interface, now: float) -> None:
        """Its connections and pings and the sockets bound to it fail with ENETDOWN; its groups are left.

        Raises ValueError if it is not here.
        """
        self._ip.interfaces.remove(interface)
        self._host.generation += 1
        self._ip.routes.remove_interface(interface)
        self._ip.reassembler.remove_interface(interface)
        self._tcp.close_interface(interface)
        self._udp.close_interface(interface)
        self._pings.close_interface(interface, now)
        interface.close()

    def add_route(
        self,
        network: IPNetwork,
        interface: Interface,
        gateway: str | IPAddress | None = None,
        metric: int = 0,
    ) -> Route:
        """Send what goes to ``network`` by an interface, to a gateway on it. Own prefixes need no route.

        Both families have routes, ``0.0.0.0/0`` and ``::/0`` are the default ones. What is added twice is there until
        it is removed twice. Raises ValueError for a gateway of another family.
        """
        hop = None if gateway is None else pack_address(str(gateway))
        if hop is not None and len(hop) != network.max_prefixlen // 8:
            raise ValueError(f"{gateway} cannot be the gateway to {network}: it is of another family")
        route = Route(network, interface, hop, metric)
        self._ip.routes.add(route)
        self._host.generation += 1
        return route

    def remove_route(self, route: Route) -> None:
        """Open connections keep their way. Raises ValueError when the route is not there."""
        self._ip.routes.remove(route)
        self._host.generation += 1

    # -- the pump

    def receive_frames(self, interface: Interface, frames: Iterable[Frame], now: float) -> None:
        """Take in frames from an interface's network; malformed ones are counted and dropped."""
        connections = interface.tcp
        counters = self._host.counters
        own_mac = interface.link.mac
        for destination, _, ethertype, packet in frames:
            if destination != own_mac and not destination >> 40 & 1:
                counters["ethernet not for this host"] += 1
                continue
            try:
                if ethertype == ETHERTYPE_IPV6:
                    connection = connections.get(packet[8:44])
                    if connection is not None and packet[6] == ip.TCP and packet[0] >> 4 == 6:
                        end = 40 + (packet[4] << 8 | packet[5])
                        if end > len(packet):
                            raise DecodeError("ipv6 truncated")
                        connection.receive_packet(packet, 40, end, now)
                    else:
                        self._dispatch(self._ip.ipv6.receive(interface, packet, now), now)
                elif ethertype == ETHERTYPE_IPV4:
                    connection = connections.get(packet[12:24])
                    if (
                        connection is not None
                        and packet[9] == ip.TCP
                        and packet[0] == 0x45
                        and not packet[7]
                        and not packet[6] & 0x3F  # no fragment
                    ):
                        end = packet[2] << 8 | packet[3]
                        if end > len(packet):
                            raise DecodeError("ipv4 truncated")
                        if checksum(packet[:20]) != 0xFFFF:
                            raise DecodeError("ipv4 checksum")
                        connection.receive_packet(packet, 20, end, now)
                    else:
                        self._dispatch(self._ip.ipv4.receive(interface, packet, now), now)
                elif ethertype == ETHERTYPE_ARP:
                    interface.arp.receive(packet, now)
                else:
                    counters["ethertype"] += 1
            except DecodeError as error:
                counters[str(error)] += 1

    def frames_to_send(self, now: float) -> list[tuple[Interface, list[Frame]]]:
        """Run the output of all sockets that have something to send, and collect the frames."""
        host = self._host
        for _ in range(_MAX_LOCAL_ROUNDS):
            while host.scheduled:
                scheduled, host.scheduled = host.scheduled, []
                for transmitter in scheduled:
                    transmitter.transmit(now)
            if not host.loopback and not host.looped:
                break
            self._receive_own(now)
        return [
            (interface, interface.take_frames())
            for interface in self._ip.interfaces
            if interface.link.outgoing
        ]

    def next_timer(self) -> float | None:
        """When to call :meth:`handle_timer`; it may turn out that nothing was due yet."""
        if self._host.loopback or self._host.looped or self._host.scheduled:
            return 0.0
        return self._host.timers.next()

    def handle_timer(self, now: float) -> None:
        """Do what is due at ``now``."""
        for timer in self._host.timers.due(now):
            timer.target.handle_timer(now)
        for interface, packet in self._ip.take_undeliverable():
            layer = self._icmpv6 if packet[0] >> 4 == 6 else self._icmpv4
            error = layer.error_about(interface, errno.EHOSTUNREACH, packet)
            if error is not None:
                self._deliver_error(error, now)
        if self._ip.reassembler.expired:
            self._ip.handle_expired(now)

    @property
    def has_ready(self) -> bool:
        """Whether ``take_ready`` has something to give."""
        return bool(self._host.ready)

    def take_ready(self) -> list[Socket]:
        """The sockets that changed in a way their user can see, each once: a new list with every call."""
        ready, self._host.ready = self._host.ready, []
        for socket in ready:
            socket.ready = False
        return ready

    # -- sockets

    def connect_tcp(
        self,
        remote: Address,
        *,
        local: Address | None = None,
        interface: Interface | None = None,
        options: TcpOptions = _DEFAULT_OPTIONS,
        now: float,
    ) -> TcpConnection:
        """Begin to connect; the connection is open when its state is ESTABLISHED.

        Raises OSError: ENETUNREACH, EHOSTUNREACH, EADDRNOTAVAIL, EADDRINUSE, EACCES for a broadcast address,
        EAFNOSUPPORT where ``local`` is of another family, ENETDOWN for an interface that was removed; ValueError for
        what is no address.
        """
        source, local_port = _unpack(local)
        destination, remote_port = pack_address(remote[0]), check_port(remote[1])
        if not remote_port or ip.is_multicast(destination):
            raise os_error(errno.EADDRNOTAVAIL)
        if source == IPV4_ANY and ip.is_ipv6(destination):
            raise os_error(errno.EAFNOSUPPORT)
        flow = self._ip.flow(ip.TCP, destination, now, None if is_wildcard(source) else source, interface)
        if flow.is_broadcast:
            raise os_error(errno.EACCES)
        return self._tcp.connect(flow, local_port, remote_port, options, now)

    def listen_tcp(
        self,
        local: Address,
        *,
        interface: Interface | None = None,
        backlog: int | None = None,
        reuse_port: bool = False,
        options: TcpOptions = _DEFAULT_OPTIONS,
        now: float,
    ) -> TcpListener:
        """Listen at an own address or at many, port 0 for any. Old connections in TIME-WAIT do not matter.

        At all addresses: ``""``; at all of IPv4: ``0.0.0.0``; at all of IPv6, and those of IPv4 where nobody else
        listens: ``::``. Raises OSError: EADDRINUSE, EADDRNOTAVAIL, ENETDOWN for an interface that was removed;
        ValueError for what is no address.
        """
        address, port = self._own(local, interface)
        limit = self._host.config.listen_backlog if backlog is None else max(1, backlog)
        return self._tcp.listen(address, port, interface, limit, options, reuse_port=reuse_port)

    def open_udp(
        self,
        local: Address | None = None,
        remote: Address | None = None,
        *,
        interface: Interface | None = None,
        reuse_port: bool = False,
        now: float,
    ) -> UdpEndpoint:
        """An endpoint at an own address or at many, as :meth:`listen_tcp` has it, or at a group or broadcast address.

        It is connected to ``remote`` if that is given. Raises OSError as :meth:`listen_tcp` does, EAFNOSUPPORT, and for
        a remote that no route leads to EHOSTUNREACH or ENETUNREACH; ValueError for what is no address or port.
        """
        address, port = self._own(local or ("", 0), interface, or_group=True)
        is_own = not is_wildcard(address) and self._ip.owner(address, interface) is not None
        peer = None
        if remote is not None:
            peer = (pack_address(remote[0]), check_port(remote[1]))
            if address == IPV4_ANY and ip.is_ipv6(peer[0]):
                raise os_error(errno.EAFNOSUPPORT)
            flow = self._ip.flow(ip.UDP, peer[0], now, address if is_own else None, interface)
            if is_wildcard(address):
                address = flow.source
        return self._udp.open(address, port, peer, interface, reuse_port=reuse_port)

    def ping(
        self, remote: str, payload: bytes = b"", *, interface: Interface | None = None, now: float
    ) -> Ping:
        """Send an echo request.

        Raises OSError as :meth:`connect_tcp` does, and as :meth:`PingTable.add` does.
        """
        destination = pack_address(remote)
        if ip.is_ipv6(destination):
            flow = self._ip.flow(ip.ICMPV6, destination, now, None, interface)
            return self._icmpv6.ping(flow, remote, payload, now)
        flow = self._ip.flow(ip.ICMPV4, destination, now, None, interface)
        return self._icmpv4.ping(flow, remote, payload, now)

    def _own(
        self, local: Address, interface: Interface | None, *, or_group: bool = False
    ) -> tuple[bytes, int]:
        address, port = _unpack(local)
        self._ip.check_present(interface)
        if is_wildcard(address) or self._ip.owner(address, interface) is not None:
            return address, port
        if or_group and (ip.is_multicast(address) or self._is_broadcast(address, interface)):
            return address, port
        raise os_error(errno.EADDRNOTAVAIL)

    def _is_broadcast(self, address: bytes, interface: Interface | None) -> bool:
        candidates = self._ip.interfaces if interface is None else [interface]
        return address == ipv4.BROADCAST or any(one.is_broadcast(address) for one in candidates)

    # -- packets

    def _receive_own(self, now: float) -> None:
        """Packets from this stack to itself, and to groups that it is in."""
        host = self._host
        packets, host.loopback = host.loopback, []
        looped, host.looped = host.looped, []
        arrivals = [(self._ip.local, packet, False) for packet in packets]
        arrivals += [(interface, packet, True) for interface, packet in looped]
        for interface, packet, is_looped in arrivals:
            try:
                self._dispatch(self._ip.receive(interface, packet, now, looped=is_looped), now)
            except DecodeError as error:
                host.counters[str(error)] += 1

    def _dispatch(self, arrival: Arrival | None, now: float) -> None:
        if arrival is None:  # a fragment, so far
            return
        error: TransportError | None = None
        match arrival.protocol:
            case ip.TCP:
                self._tcp.receive(arrival, now)
            case ip.UDP:
                self._udp.receive(arrival, now)
            case ip.ICMPV6:
                error = self._icmpv6.receive(arrival, now)
            case ip.ICMPV4:
                error = self._icmpv4.receive(arrival, now)
            case ip.IGMP:
                self._icmpv4.receive_igmp(arrival, now)
        if error is not None:
            self._deliver_error(error, now)

    def _deliver_error(self, error: TransportError, now: float) -> None:
        if error.protocol == ip.TCP:
            self._tcp.receive_error(error, now)
        elif error.protocol == ip.UDP:
            self._udp.receive_error(error, now)
        else:
            self._pings.receive_error(error, now)


def _unpack(local: Address | None) -> tuple[bytes, int]:
    if local is None:
        return ANY, 0
    return pack_address(local[0]) if local[0] else ANY, check_port(local[1])
