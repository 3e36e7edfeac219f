"""The TCP/IP stack of a node: frames in and out, timers, and sockets.

It does no I/O and reads no clock. Whoever drives it gives frames to :meth:`Stack.receive_frames`, calls
:meth:`Stack.handle_timer` when :meth:`Stack.next_timer` says so, looks at the sockets that :meth:`Stack.take_ready`
names, and sends what :meth:`Stack.frames_to_send` gives, in this order and after every call of a socket's.
"""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Hashable, Iterable

from zt_async.config import StackConfig
from zt_async.context import Context
from zt_async.errors import DecodeError
from zt_async.stack.addresses import WILDCARD, Address, check_port, pack_address
from zt_async.stack.host import Host, Socket
from zt_async.stack.icmp import IcmpLayer, Ping, TransportError
from zt_async.stack.interface import Interface
from zt_async.stack.ip import Arrival, IpLayer, os_error
from zt_async.stack.routes import Route
from zt_async.stack.tcp.connection import TcpConnection
from zt_async.stack.tcp.layer import TcpLayer
from zt_async.stack.tcp.listener import TcpListener
from zt_async.stack.tcp.options import TcpOptions
from zt_async.stack.udp import UdpEndpoint, UdpLayer
from zt_async.types import Frame, IPAddress, IPNetwork, MACAddress
from zt_async.wire import ip
from zt_async.wire.ethernet import ETHERTYPE_IPV6

_MAX_LOCAL_ROUNDS = 64  # of packets to oneself in one call; the rest waits for the next
_DEFAULT_OPTIONS = TcpOptions()


class Stack:
    """One of each node. ``now`` is monotonic seconds everywhere."""

    def __init__(self, context: Context, config: StackConfig) -> None:
        self._host = Host(context, config)
        self._ip = IpLayer(self._host)
        self._icmp = IcmpLayer(self._host, self._ip)
        self._udp = UdpLayer(self._host, self._ip)
        self._tcp = TcpLayer(self._host, self._ip)

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
        interface = Interface(self._host, name, mac, mtu, self._ip.local)
        self._ip.interfaces.append(interface)
        self._host.generation += 1
        return interface

    def remove_interface(self, interface: Interface, now: float) -> None:
        """Its connections and pings and the sockets bound to it fail with ENETDOWN.

        Raises ValueError if it is not here.
        """
        self._ip.interfaces.remove(interface)
        self._host.generation += 1
        self._ip.routes.remove_interface(interface)
        self._ip.reassembler.remove_interface(interface)
        interface.close()
        self._tcp.close_interface(interface)
        self._icmp.close_interface(interface, now)
        for endpoint in self._udp.endpoints:
            if endpoint.binding.interface is interface:
                self._udp.close(endpoint, os_error(errno.ENETDOWN))
                self._host.mark_ready(endpoint)

    def add_route(
        self,
        network: IPNetwork,
        interface: Interface,
        gateway: str | IPAddress | None = None,
        metric: int = 0,
    ) -> Route:
        """Send what goes to ``network`` by an interface, to a gateway on it. Own prefixes need no route.

        Both families have routes, ``0.0.0.0/0`` and ``::/0`` are the default ones. A route that is there already is
        not doubled. Raises ValueError for a gateway of another family.
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
            if ethertype != ETHERTYPE_IPV6:
                counters["ethertype"] += 1
                continue
            if destination != own_mac and not destination >> 40 & 1:
                counters["ethernet not for this host"] += 1
                continue
            try:
                connection = connections.get(packet[8:44])
                if connection is not None and packet[6] == ip.TCP and packet[0] >> 4 == 6:
                    end = 40 + (packet[4] << 8 | packet[5])
                    if end > len(packet):
                        raise DecodeError("ipv6 truncated")
                    connection.receive_packet(packet, 40, end, now)
                else:
                    self._receive_packet(interface, packet, now)
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
            if not host.loopback:
                break
            packets, host.loopback = host.loopback, []
            self._receive_local(packets, now)
        return [
            (interface, interface.take_frames())
            for interface in self._ip.interfaces
            if interface.link.outgoing
        ]

    def next_timer(self) -> float | None:
        """When to call :meth:`handle_timer`; it may turn out that nothing was due yet."""
        if self._host.loopback or self._host.scheduled:
            return 0.0
        return self._host.timers.next()

    def handle_timer(self, now: float) -> None:
        """Do what is due at ``now``."""
        for timer in self._host.timers.due(now):
            timer.target.handle_timer(now)
        for interface, packet in self._ip.take_undeliverable():
            error = self._icmp.local_error(interface, packet)
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

        Raises OSError: ENETUNREACH, EHOSTUNREACH, EADDRNOTAVAIL, EADDRINUSE, EAFNOSUPPORT; ValueError for what is
        no address.
        """
        source, local_port = _unpack(local)
        destination, remote_port = pack_address(remote[0]), check_port(remote[1])
        if not remote_port or destination == WILDCARD or destination[0] == 0xFF:
            raise os_error(errno.EADDRNOTAVAIL)
        flow = self._ip.flow(ip.TCP, destination, now, None if source == WILDCARD else source, interface)
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
        """Listen at an own address or at all (``::``), port 0 for any. Old connections in TIME-WAIT do not matter.

        Raises OSError: EADDRINUSE, EADDRNOTAVAIL, EAFNOSUPPORT; ValueError for what is no address.
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
        """An endpoint at an own address or at all, connected to ``remote`` if that is given.

        Raises OSError: EADDRINUSE, EADDRNOTAVAIL, EAFNOSUPPORT, and for a remote that no route leads to
        EHOSTUNREACH or ENETUNREACH; ValueError for what is no address.
        """
        address, port = self._own(local or ("::", 0), interface)
        peer = None
        if remote is not None:
            peer = (pack_address(remote[0]), check_port(remote[1]))
            flow = self._ip.flow(ip.UDP, peer[0], now, None if address == WILDCARD else address, interface)
            address = flow.source
        return self._udp.open(address, port, peer, interface, reuse_port=reuse_port)

    def ping(
        self, remote: str, payload: bytes = b"", *, interface: Interface | None = None, now: float
    ) -> Ping:
        """Send an echo request. Raises OSError as :meth:`connect_tcp` does, and ENOBUFS when too many wait."""
        flow = self._ip.flow(ip.ICMPV6, pack_address(remote), now, None, interface)
        return self._icmp.ping(flow, remote, payload, now)

    def _own(self, local: Address, interface: Interface | None) -> tuple[bytes, int]:
        address, port = _unpack(local)
        if address != WILDCARD and self._ip.owner(address, interface) is None:
            raise os_error(errno.EADDRNOTAVAIL)
        return address, port

    # -- packets

    def _receive_local(self, packets: list[bytes], now: float) -> None:
        for packet in packets:
            try:
                self._receive_packet(self._ip.local, packet, now)
            except DecodeError as error:
                self._host.counters[str(error)] += 1

    def _receive_packet(self, interface: Interface, packet: bytes, now: float) -> None:
        arrival = self._ip.receive(interface, packet, now)
        if arrival is not None:
            self._dispatch(arrival, now)

    def _dispatch(self, arrival: Arrival, now: float) -> None:
        if arrival.protocol == ip.TCP:
            self._tcp.receive(arrival, now)
        elif arrival.protocol == ip.UDP:
            self._udp.receive(arrival, now)
        else:
            error = self._icmp.receive(arrival, now)
            if error is not None:
                self._deliver_error(error, now)

    def _deliver_error(self, error: TransportError, now: float) -> None:
        if error.protocol == ip.TCP:
            self._tcp.receive_error(error, now)
        elif error.protocol == ip.UDP:
            self._udp.receive_error(error)
        else:
            self._icmp.receive_error(error, now)


def _unpack(local: Address | None) -> tuple[bytes, int]:
    if local is None:
        return WILDCARD, 0
    return pack_address(local[0] or "::"), check_port(local[1])
