"""UDP endpoints (RFC 768, RFC 8085)."""

from __future__ import annotations

import errno
from collections import deque

from zt_async.stack.addresses import Address, address_text, pack_address
from zt_async.stack.flow import Flow
from zt_async.stack.host import Host, Socket
from zt_async.stack.icmp import TransportError
from zt_async.stack.interface import Interface
from zt_async.stack.ip import Arrival, IpLayer, os_error
from zt_async.stack.ports import Binding, PortTable
from zt_async.wire import icmpv6, ip, udp

_OVERHEAD = 256  # what a queued datagram costs besides its bytes
_MAX_ERRORS = 16
_MAX_FLOWS = 1024


class UdpEndpoint(Socket):
    """A UDP socket; made by ``Stack.open_udp``."""

    __slots__ = (
        *("_errors", "_flows", "_generation", "_hop_limit", "_layer", "_queue", "_queued"),
        *("_traffic_class", "binding", "closed", "dropped", "error", "local", "remote"),
    )

    def __init__(self, layer: UdpLayer, binding: Binding, remote: tuple[bytes, int] | None) -> None:
        super().__init__()
        self._layer = layer
        self._queue: list[tuple[bytes, bytes, int]] = []
        self._queued = 0
        self._errors: deque[tuple[OSError, Address]] = deque(maxlen=_MAX_ERRORS)
        self._flows: dict[bytes, Flow] = {}
        self._generation = -1
        self._hop_limit: int | None = None
        self._traffic_class = 0
        self.binding = binding
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

        Raises OSError: EDESTADDRREQ, EISCONN, EMSGSIZE beyond 65527 bytes, EBADF when closed, and where no
        route leads there EHOSTUNREACH or ENETUNREACH.
        """
        if self.closed:
            raise self.error or os_error(errno.EBADF)
        if self.remote is not None:
            if remote is not None and remote[:2] != self.remote:
                raise os_error(errno.EISCONN)
            remote = self.remote
        elif remote is None:
            raise os_error(errno.EDESTADDRREQ)
        if len(data) > udp.MAX_PAYLOAD:
            raise os_error(errno.EMSGSIZE)
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

    def set_traffic(self, *, hop_limit: int | None = None, traffic_class: int = 0) -> None:
        """Header fields of what is sent from now on."""
        if hop_limit is not None and not 1 <= hop_limit <= 255:
            raise ValueError(f"a hop limit is 1 to 255, not {hop_limit}")
        if not 0 <= traffic_class <= 255:
            raise ValueError(f"a traffic class is 0 to 255, not {traffic_class}")
        self._hop_limit, self._traffic_class = hop_limit, traffic_class
        self._flows.clear()

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
            source = None if self.binding.is_wildcard else self.binding.address
            flow = layer.ip.flow(ip.UDP, destination, now, source, self.binding.interface)
            if self._hop_limit is not None or self._traffic_class:
                flow.set_traffic(self._hop_limit or flow.hop_limit, self._traffic_class)
            self._flows[destination] = flow
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
            self._ports.remove(endpoint.binding, endpoint)

    def send(self, endpoint: UdpEndpoint, data: bytes, remote: Address, now: float) -> None:
        flow = endpoint.flow(pack_address(remote[0]), now)
        datagram = udp.Datagram(endpoint.binding.port, remote[1], data)
        self.ip.send(flow, datagram.encode(flow.pseudo_sum), now)

    def receive(self, arrival: Arrival, now: float) -> None:
        """Deliver a datagram, or answer that nobody is there. Raises DecodeError."""
        verify = self.host.config.verify_checksums
        datagram = udp.parse(arrival.payload, arrival.pseudo_sum if verify else None)
        port, data = datagram.source_port, datagram.payload
        endpoint = self._find(
            arrival.interface, arrival.destination, datagram.destination_port, arrival.source, port
        )
        if endpoint is None:
            self.host.counters["udp port closed"] += 1
            self.ip.send_error(
                arrival.interface,
                arrival.packet[: arrival.end],
                icmpv6.DESTINATION_UNREACHABLE,
                icmpv6.PORT_UNREACHABLE,
                0,
                now,
            )
        elif endpoint.enqueue(data, arrival.source, port):
            self.host.mark_ready(endpoint)
        else:
            self.host.counters["udp queue full"] += 1

    def receive_error(self, error: TransportError) -> None:
        """An ICMP error about a datagram from here."""
        if len(error.transport) < 4 or error.code == errno.EMSGSIZE:
            return
        own_port = int.from_bytes(error.transport[0:2], "big")
        remote_port = int.from_bytes(error.transport[2:4], "big")
        endpoint = self._find(error.interface, error.source, own_port, error.destination, remote_port)
        if endpoint is not None:
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
