"""IPv6 packets on their way in, and ICMPv6 errors about them (RFC 8200, RFC 4443)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zt_async.errors import DecodeError
from zt_async.stack.arrival import Arrival
from zt_async.stack.fragments import Piece, Whole
from zt_async.stack.host import Host
from zt_async.stack.interface import Interface
from zt_async.wire import icmpv6, ip, ipv6

if TYPE_CHECKING:
    from zt_async.stack.ip import IpLayer

_UPPER_LAYERS = (ip.TCP, ip.UDP, ip.ICMPV6)
_MAX_PAYLOAD = 0xFFFF


class Ipv6Input:
    """One of each stack."""

    __slots__ = ("_host", "_ip")

    def __init__(self, host: Host, ip_layer: IpLayer) -> None:
        self._host = host
        self._ip = ip_layer

    def receive(
        self, interface: Interface, packet: bytes, now: float, *, looped: bool = False
    ) -> Arrival | None:
        """Validate a packet. None where it is a fragment that leaves others missing; raises DecodeError."""
        header = ipv6.parse_header(packet)
        source, destination = header.source, header.destination
        is_group = ipv6.is_multicast(destination)
        if interface is self._ip.local:
            if self._ip.owner(destination) is None:
                raise DecodeError("ipv6 not for this host")
        elif not looped and not _may_come_from(interface, source):
            raise DecodeError("ipv6 source")
        elif not interface.accepts(destination):
            raise DecodeError("ipv6 not for this host")
        end = ipv6.HEADER_SIZE + header.payload_length
        try:
            upper = ipv6.find_upper(packet, end, header.next_header)
            if upper.fragment is not None:
                whole = self._take_fragment(interface, packet, end, upper, upper.fragment, now)
                if whole is None:
                    return None
                packet, start, named_at = _join(*whole)
                end = len(packet)
                upper = ipv6.find_upper(packet, end, packet[named_at], start, named_at)
                if upper.fragment is not None:
                    raise DecodeError("ipv6 fragment within a fragment")
            protocol, offset, named_at, _ = upper
            if protocol == ipv6.NO_NEXT_HEADER:
                return None
            if protocol not in _UPPER_LAYERS:
                raise ipv6.ParameterProblem("ipv6 next header", ipv6.UNRECOGNIZED_NEXT_HEADER, named_at)
        except ipv6.ParameterProblem as problem:
            kind = icmpv6.PARAMETER_PROBLEM
            if not is_group or problem.answer_multicast:
                self.send_error(interface, packet, kind, problem.code, problem.pointer, now)
            raise
        return Arrival(
            interface, packet, offset, end, protocol, source, destination, header.hop_limit, is_group
        )

    def refuse_port(self, arrival: Arrival, now: float) -> None:
        """Nobody is at the port that a packet is for."""
        if not arrival.is_group:
            cause, kind = arrival.packet[: arrival.end], icmpv6.DESTINATION_UNREACHABLE
            self.send_error(arrival.interface, cause, kind, icmpv6.PORT_UNREACHABLE, 0, now)

    def tell_expired(self, interface: Interface, first: bytes, now: float) -> None:
        """A packet was not completed in time (RFC 8200 section 4.5)."""
        if not ipv6.is_multicast(first[24:40]):
            kind, code = icmpv6.TIME_EXCEEDED, icmpv6.REASSEMBLY_TIME_EXCEEDED
            self.send_error(interface, first, kind, code, 0, now)

    def send_error(
        self, interface: Interface, cause: bytes, kind: int, code: int, value: int, now: float
    ) -> None:
        """Tell the sender of ``cause``, if RFC 4443 section 2.4 (e) and (f) allow it."""
        source, destination = cause[8:24], cause[24:40]
        if source == ipv6.UNSPECIFIED or _is_icmp_error(cause):
            return
        if not self._host.error_limit.take(now):
            self._host.counters["icmpv6 error limit"] += 1
            return
        flow = self._ip.flow_back(ip.ICMPV6, interface, source, destination, now)
        if flow is None:
            return
        message = icmpv6.error(kind, code, value, cause).encode(flow.source, source)
        self._host.counters["icmpv6 errors sent"] += 1
        flow.send([flow.header(len(message)) + message], now)

    def _take_fragment(
        self,
        interface: Interface,
        packet: bytes,
        end: int,
        upper: ipv6.Upper,
        fragment: ipv6.Fragment,
        now: float,
    ) -> Whole | None:
        data = packet[upper.offset : end]
        key = packet[8:40] + fragment.identification.to_bytes(4, "big")
        piece = Piece("ipv6", key, fragment.offset, fragment.more, data, packet[:end])
        if not fragment.more and not fragment.offset:  # RFC 6946: stands alone, whatever else is here
            return Whole(piece, data)
        if fragment.more and (len(data) % 8 or not data):
            raise ipv6.ParameterProblem("ipv6 fragment length", ipv6.ERRONEOUS_FIELD, 4)
        before = upper.offset - ipv6.FRAGMENT_HEADER_SIZE
        if fragment.offset + len(data) > _MAX_PAYLOAD - (before - ipv6.HEADER_SIZE):
            raise ipv6.ParameterProblem("ipv6 fragment offset", ipv6.ERRONEOUS_FIELD, before + 2)
        timeout = self._host.config.reassembly_timeout
        return self._ip.reassembler.receive(interface, piece, timeout, now)


def _may_come_from(interface: Interface, source: bytes) -> bool:
    """A host that does not know its address yet has none."""
    return source == ipv6.UNSPECIFIED or (ipv6.is_unicast(source) and not interface.owns(source))


def _join(first: Piece, body: bytes) -> tuple[bytes, int, int]:
    """A whole packet, where its body begins, and the offset of the byte that names the body's protocol.

    The fragment header goes; the header before it now names what the fragment header named. Raises DecodeError.
    """
    size = len(first.packet) - len(first.data) - ipv6.FRAGMENT_HEADER_SIZE
    length = size - ipv6.HEADER_SIZE + len(body)
    if length > _MAX_PAYLOAD:  # the first fragment may have larger headers than the others
        raise DecodeError("ipv6 fragments too large")
    named_at, offset = 6, ipv6.HEADER_SIZE
    while offset < size:
        named_at, offset = offset, offset + 8 + 8 * first.packet[offset + 1]
    head = bytearray(first.packet[:size])
    head[named_at] = first.packet[size]
    head[4:6] = length.to_bytes(2, "big")
    return bytes(head) + body, size, named_at


def _is_icmp_error(packet: bytes) -> bool:
    """Looked for behind headers that are themselves in error, too."""
    protocol, offset = ipv6.skip_extensions(packet)
    if protocol != ip.ICMPV6 or offset >= len(packet):
        return False
    return packet[offset] < 128 or packet[offset] == icmpv6.REDIRECT
