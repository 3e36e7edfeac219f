"""ICMP of IPv4, and IGMP beside it: echo, and what errors mean to sockets (RFC 792, RFC 1122 section 3.2.2)."""

from __future__ import annotations

import errno

from zt_async.errors import DecodeError
from zt_async.stack.arrival import Arrival, TransportError
from zt_async.stack.flow import Flow
from zt_async.stack.host import Host, os_error
from zt_async.stack.interface import Interface
from zt_async.stack.ip import IpLayer
from zt_async.stack.ping import Ping, PingTable
from zt_async.wire import icmpv4, icmpv6, igmp, ip, ipv4

_UNREACHABLE_ERRORS = {
    icmpv4.NET_UNREACHABLE: errno.ENETUNREACH,
    icmpv4.HOST_UNREACHABLE: errno.EHOSTUNREACH,
    icmpv4.PROTOCOL_UNREACHABLE: errno.ENOPROTOOPT,
    icmpv4.PORT_UNREACHABLE: errno.ECONNREFUSED,
    icmpv4.FRAGMENTATION_NEEDED: errno.EMSGSIZE,
    icmpv4.SOURCE_ROUTE_FAILED: errno.EHOSTUNREACH,
    icmpv4.NET_PROHIBITED: errno.EACCES,
    icmpv4.HOST_PROHIBITED: errno.EACCES,
    icmpv4.PROHIBITED: errno.EACCES,
}


class Icmpv4Layer:
    """One of each stack."""

    __slots__ = ("_host", "_ip", "_pings")

    def __init__(self, host: Host, ip_layer: IpLayer, pings: PingTable) -> None:
        self._host = host
        self._ip = ip_layer
        self._pings = pings

    def ping(self, flow: Flow, remote: str, payload: bytes, now: float) -> Ping:
        """Send an echo request. Raises OSError: EACCES for a broadcast address, and as :meth:`PingTable.add` does."""
        if flow.is_broadcast:
            raise os_error(errno.EACCES)
        ping, echo = self._pings.add(flow, remote, payload, now)
        self._ip.send(flow, icmpv4.Message(icmpv4.ECHO_REQUEST, 0, echo.encode()).encode(), now)
        return ping

    def receive(self, arrival: Arrival, now: float) -> TransportError | None:
        """Handle a message; an error about a packet of ours is given back. Raises DecodeError."""
        message = icmpv4.parse(arrival.payload)
        if message.is_error:
            return self._read_error(arrival, message, now)
        if message.kind == icmpv4.ECHO_REQUEST:
            self._answer_echo(arrival, message, now)
        elif message.kind == icmpv4.ECHO_REPLY:
            if not self._pings.receive_reply(icmpv6.parse_echo(message.body), now):
                self._host.counters["icmpv4 echo reply unexpected"] += 1
        else:
            self._host.counters["icmpv4 ignored"] += 1
        return None

    def receive_igmp(self, arrival: Arrival, now: float) -> None:
        """Handle a message about groups. Raises DecodeError."""
        _, content = igmp.parse(arrival.payload)
        if isinstance(content, igmp.Query):
            arrival.interface.igmp.receive_query(content, now)
        elif content is not None:
            arrival.interface.igmp.hear_report(content, now)

    def _answer_echo(self, arrival: Arrival, message: icmpv4.Message, now: float) -> None:
        if arrival.is_group:
            return
        flow = self._ip.flow_back(ip.ICMPV4, arrival.interface, arrival.source, arrival.destination, now)
        if flow is not None:
            self._pings.answered.append((flow.destination, message.body[:4]))
            self._ip.send(flow, icmpv4.Message(icmpv4.ECHO_REPLY, 0, message.body).encode(), now)

    def _read_error(self, arrival: Arrival, message: icmpv4.Message, now: float) -> TransportError | None:
        value, quoted = int.from_bytes(message.body[:4], "big"), message.body[4:]
        match message.kind:
            case icmpv4.DESTINATION_UNREACHABLE:
                code = _UNREACHABLE_ERRORS.get(message.code, errno.EHOSTUNREACH)
            case icmpv4.TIME_EXCEEDED:
                code = errno.EHOSTUNREACH
            case icmpv4.PARAMETER_PROBLEM:
                code = errno.EPROTO
            case _:  # redirects and source quenches may come from anybody (RFC 6633)
                self._host.counters["icmpv4 ignored"] += 1
                return None
        error = self.error_about(arrival.interface, code, quoted)
        if error is None:
            raise DecodeError("icmpv4 quoted packet")
        if code == errno.EMSGSIZE:
            mtu = icmpv4.next_hop_mtu(value, int.from_bytes(quoted[2:4], "big"))
            if mtu >= arrival.interface.path_mtu(error.destination, now):
                raise DecodeError("icmpv4 fragmentation needed mtu")
            return error._replace(mtu=mtu)
        return error

    def error_about(self, interface: Interface, code: int, quoted: bytes) -> TransportError | None:
        """Something happened to the packet that begins so; None where this stack cannot have sent it."""
        if len(quoted) < ipv4.HEADER_SIZE or quoted[0] >> 4 != 4:
            return None
        start = (quoted[0] & 0xF) << 2
        source, destination = quoted[12:16], quoted[16:20]
        if not self._ip.may_have_sent(interface, source):
            return None
        if start < ipv4.HEADER_SIZE or (quoted[6] & 0x1F) << 8 | quoted[7]:  # not the first fragment
            return None
        return TransportError(interface, code, source, destination, quoted[9], quoted[start:])
