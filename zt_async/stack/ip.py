"""The IP layer: which packets are for this stack, which way packets take, and ICMP errors about them."""

from __future__ import annotations

import errno
import os
from typing import NamedTuple

from zt_async.errors import DecodeError
from zt_async.stack import fragments
from zt_async.stack.flow import Flow
from zt_async.stack.fragments import Reassembler
from zt_async.stack.host import Host, TokenBucket
from zt_async.stack.interface import Interface, make_local_interface
from zt_async.stack.routes import RouteTable
from zt_async.wire import icmpv6, ip, ipv6

_UPPER_LAYERS = (ip.TCP, ip.UDP, ip.ICMPV6)


class Arrival(NamedTuple):
    """A packet for this stack; ``packet[offset:end]`` is the upper layer's."""

    interface: Interface
    packet: bytes
    offset: int
    end: int
    protocol: int
    source: bytes
    destination: bytes
    hop_limit: int

    @property
    def payload(self) -> bytes:
        return self.packet[self.offset : self.end]

    @property
    def pseudo_sum(self) -> int:
        return ip.pseudo_header_sum(self.source, self.destination, self.protocol)


class IpLayer:
    """One of each stack."""

    __slots__ = ("_error_limit", "_host", "interfaces", "local", "reassembler", "routes")

    def __init__(self, host: Host) -> None:
        self._host = host
        self._error_limit = TokenBucket(
            host.config.icmp_errors_per_second, host.config.icmp_errors_per_second
        )
        self.local = make_local_interface(host)
        self.interfaces: list[Interface] = []
        self.routes = RouteTable()
        self.reassembler = Reassembler(host)

    def owner(self, address: bytes, preferred: Interface | None = None) -> Interface | None:
        """The interface that has an own address."""
        if preferred is not None:
            return preferred if preferred.owns(address) else None
        for interface in (self.local, *self.interfaces):
            if interface.owns(address):
                return interface
        return None

    def flow(
        self,
        protocol: int,
        destination: bytes,
        now: float,
        source: bytes | None = None,
        interface: Interface | None = None,
    ) -> Flow:
        """The way to ``destination``, from a given source or interface or from the best ones.

        Raises OSError: EADDRNOTAVAIL for a source that is not there, ENETUNREACH where no interface has an
        address, EHOSTUNREACH where no prefix or route holds the destination.
        """
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
        own = None if ipv6.is_multicast(destination) else destination
        try:
            return self.flow(protocol, source, now, own, None if interface is self.local else interface)
        except OSError:
            self._host.counters["no way back"] += 1
            return None

    def receive(self, interface: Interface, packet: bytes, now: float) -> Arrival | None:
        """Validate a packet from an interface. None where it is a fragment; raises DecodeError."""
        header = ipv6.parse_header(packet)
        source, destination = header.source, header.destination
        if ipv6.is_multicast(source):
            raise DecodeError("ipv6 source")
        if interface is self.local:
            if self.owner(destination) is None:
                raise DecodeError("ipv6 not for this host")
        elif interface.owns(source) or source == ipv6.LOOPBACK:
            raise DecodeError("ipv6 source")
        elif not interface.accepts(destination):
            raise DecodeError("ipv6 not for this host")
        end = ipv6.HEADER_SIZE + header.payload_length
        try:
            upper = ipv6.find_upper(packet, end, header.next_header)
            if upper.fragment is not None:
                whole = self.reassembler.receive(interface, packet, end, upper, now)
                if whole is None:
                    return None
                packet, end = whole.packet, len(whole.packet)
                upper = ipv6.find_upper(packet, end, whole.protocol, whole.offset, whole.named_at)
                if upper.fragment is not None:
                    raise DecodeError("ipv6 fragment within a fragment")
            protocol, offset, named_at, _ = upper
            if protocol == ipv6.NO_NEXT_HEADER:
                return None
            if protocol not in _UPPER_LAYERS:
                raise ipv6.ParameterProblem("ipv6 next header", ipv6.UNRECOGNIZED_NEXT_HEADER, named_at)
        except ipv6.ParameterProblem as problem:
            self.send_error(
                interface,
                packet,
                icmpv6.PARAMETER_PROBLEM,
                problem.code,
                problem.pointer,
                now,
                answer_multicast=problem.answer_multicast,
            )
            raise
        return Arrival(interface, packet, offset, end, protocol, source, destination, header.hop_limit)

    def send_error(
        self,
        interface: Interface,
        cause: bytes,
        kind: int,
        code: int,
        value: int,
        now: float,
        *,
        answer_multicast: bool = False,
    ) -> None:
        """Tell the sender of ``cause``, if RFC 4443 section 2.4 (e) and (f) allow it."""
        source, destination = cause[8:24], cause[24:40]
        if source == ipv6.UNSPECIFIED or (ipv6.is_multicast(destination) and not answer_multicast):
            return
        if _is_icmp_error(cause):
            return
        if not self._error_limit.take(now):
            self._host.counters["icmpv6 error limit"] += 1
            return
        flow = self.flow_back(ip.ICMPV6, interface, source, destination, now)
        if flow is None:
            return
        message = icmpv6.error(kind, code, value, cause).encode(flow.source, source)
        self._host.counters["icmpv6 errors sent"] += 1
        flow.send([flow.header(len(message)) + message], now)

    def send(self, flow: Flow, payload: bytes, now: float) -> None:
        """Send an upper layer's packet, in fragments where the path asks for it."""
        packet = flow.header(len(payload)) + payload
        if len(packet) <= flow.mtu:
            flow.send([packet], now)
            return
        identification = int.from_bytes(self._host.context.random_bytes(4), "big")  # RFC 7739
        header = ipv6.parse_header(packet)
        flow.send(fragments.split(header, payload, flow.mtu, identification), now)

    def take_undeliverable(self) -> list[tuple[Interface, bytes]]:
        """Packets whose next hop did not answer."""
        result = []
        for interface in self.interfaces:
            if interface.neighbors.unreachable:
                result += [(interface, packet) for packet in interface.neighbors.unreachable]
                interface.neighbors.unreachable = []
        return result

    def handle_expired(self, now: float) -> None:
        """Tell the senders of packets that were not completed in time (RFC 8200 section 4.5)."""
        expired, self.reassembler.expired = self.reassembler.expired, []
        for interface, first in expired:
            self.send_error(interface, first, icmpv6.TIME_EXCEEDED, icmpv6.REASSEMBLY_TIME_EXCEEDED, 0, now)

    def _next_hop(self, destination: bytes, interface: Interface | None) -> tuple[Interface, bytes]:
        candidates = self.interfaces if interface is None else [interface]
        if ipv6.is_multicast(destination) or ipv6.is_link_local(destination):
            if len(candidates) != 1:
                raise OSError(errno.EINVAL, "a link-local or multicast address needs an interface with it")
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
        size = len(destination)
        connected = any(len(own.packed) == size for candidate in candidates for own in candidate.addresses)
        raise os_error(errno.EHOSTUNREACH if connected else errno.ENETUNREACH)


def os_error(code: int) -> OSError:
    """The OSError of a code: of its own class (ConnectionRefusedError, TimeoutError, ...) where it has one."""
    return OSError(code, os.strerror(code))


def _is_icmp_error(packet: bytes) -> bool:
    """Looked for behind headers that are themselves in error, too."""
    protocol, offset = ipv6.skip_extensions(packet)
    if protocol != ip.ICMPV6 or offset >= len(packet):
        return False
    return packet[offset] < 128 or packet[offset] == icmpv6.REDIRECT
