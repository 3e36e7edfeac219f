"""IPv4 packets on their way in, and ICMP errors about them (RFC 791, RFC 1122 sections 3.2 and 3.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zt_async.errors import DecodeError
from zt_async.stack.arrival import Arrival
from zt_async.stack.fragments import Piece, Whole
from zt_async.stack.host import Host
from zt_async.stack.interface import Interface
from zt_async.wire import icmpv4, ip, ipv4

if TYPE_CHECKING:
    from zt_async.stack.ip import IpLayer

_UPPER_LAYERS = (ip.TCP, ip.UDP, ip.ICMPV4, ip.IGMP)
_MAX_PACKET = 0xFFFF


class Ipv4Input:
    """One of each stack."""

    __slots__ = ("_host", "_ip")

    def __init__(self, host: Host, ip_layer: IpLayer) -> None:
        self._host = host
        self._ip = ip_layer

    def receive(
        self, interface: Interface, packet: bytes, now: float, *, looped: bool = False
    ) -> Arrival | None:
        """Validate a packet. None where it is a fragment that leaves others missing; raises DecodeError."""
        header = ipv4.parse_header(packet)
        source, destination, protocol = header.source, header.destination, header.protocol
        is_group = ip.is_multicast(destination) or interface.is_broadcast(destination)
        if interface is self._ip.local:
            if self._ip.owner(destination) is None:
                raise DecodeError("ipv4 not for this host")
        elif not looped and not _may_come_from(interface, source, is_group=is_group):
            raise DecodeError("ipv4 source")
        elif not interface.accepts(destination):
            raise DecodeError("ipv4 not for this host")
        if header.options:
            ipv4.check_options(header.options)
        start, end = header.size, header.size + header.payload_length
        if header.is_fragment:
            whole = self._take_fragment(interface, header, packet[:end], now)
            if whole is None:
                return None
            packet = _join(*whole)
            start, end = len(packet) - len(whole.body), len(packet)
        if protocol not in _UPPER_LAYERS:
            if not is_group:
                kind, code = icmpv4.DESTINATION_UNREACHABLE, icmpv4.PROTOCOL_UNREACHABLE
                self.send_error(interface, packet[:end], kind, code, now)
            raise DecodeError("ipv4 protocol")
        return Arrival(interface, packet, start, end, protocol, source, destination, header.ttl, is_group)

    def refuse_port(self, arrival: Arrival, now: float) -> None:
        """Nobody is at the port that a packet is for."""
        if not arrival.is_group:
            cause, kind = arrival.packet[: arrival.end], icmpv4.DESTINATION_UNREACHABLE
            self.send_error(arrival.interface, cause, kind, icmpv4.PORT_UNREACHABLE, now)

    def tell_expired(self, interface: Interface, first: bytes, now: float) -> None:
        """A packet was not completed in time (RFC 1122 section 3.3.2)."""
        destination = first[16:20]
        if not ip.is_multicast(destination) and not interface.is_broadcast(destination):
            kind, code = icmpv4.TIME_EXCEEDED, icmpv4.REASSEMBLY_TIME_EXCEEDED
            self.send_error(interface, first, kind, code, now)

    def send_error(self, interface: Interface, cause: bytes, kind: int, code: int, now: float) -> None:
        """Tell the sender of ``cause``, which went to an own address, if RFC 1122 section 3.2.2 allows it."""
        source, destination = cause[12:16], cause[16:20]
        if _is_icmp_error(cause):
            return
        if not self._host.error_limit.take(now):
            self._host.counters["icmpv4 error limit"] += 1
            return
        flow = self._ip.flow_back(ip.ICMPV4, interface, source, destination, now)
        if flow is None:
            return
        message = icmpv4.error(kind, code, 0, cause).encode()
        self._host.counters["icmpv4 errors sent"] += 1
        flow.send([flow.header(len(message)) + message], now)

    def _take_fragment(
        self, interface: Interface, header: ipv4.Header, packet: bytes, now: float
    ) -> Whole | None:
        data = packet[header.size :]
        if header.more_fragments and (len(data) % 8 or not data):
            raise DecodeError("ipv4 fragment length")
        if header.size + header.offset + len(data) > _MAX_PACKET:
            raise DecodeError("ipv4 fragment offset")
        key = packet[12:20] + packet[4:6] + packet[9:10]
        piece = Piece("ipv4", key, header.offset, header.more_fragments, data, packet)
        timeout = self._host.config.ipv4_reassembly_timeout
        return self._ip.reassembler.receive(interface, piece, timeout, now)


def _may_come_from(interface: Interface, source: bytes, *, is_group: bool) -> bool:
    """RFC 1122 section 3.2.1.3: only a host that does not know its address yet has none, and then asks all."""
    if source == ipv4.UNSPECIFIED:
        return is_group
    return ipv4.is_unicast(source) and not interface.is_broadcast(source) and not interface.owns(source)


def _join(first: Piece, body: bytes) -> bytes:
    """A whole packet with the header of its first fragment. Raises DecodeError."""
    header = ipv4.parse_header(first.packet)
    if header.size + len(body) > _MAX_PACKET:  # that header may be larger than the others had
        raise DecodeError("ipv4 fragments too large")
    whole = header._replace(payload_length=len(body), dont_fragment=False, more_fragments=False)
    return whole.encode() + body


def _is_icmp_error(packet: bytes) -> bool:
    start = (packet[0] & 0xF) << 2
    return packet[9] == ip.ICMPV4 and (start >= len(packet) or packet[start] in icmpv4.ERRORS)
