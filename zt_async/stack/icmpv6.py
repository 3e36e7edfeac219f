"""ICMPv6: echo, neighbour discovery, listener discovery, and what errors mean to sockets (RFC 4443)."""

from __future__ import annotations

import errno

from zt_async.errors import DecodeError
from zt_async.stack.arrival import Arrival, TransportError
from zt_async.stack.flow import Flow
from zt_async.stack.host import Host
from zt_async.stack.interface import Interface
from zt_async.stack.ip import IpLayer
from zt_async.stack.ping import Ping, PingTable
from zt_async.wire import icmpv6, ip, ipv6, mld, ndp

_UNREACHABLE_ERRORS = {
    icmpv6.NO_ROUTE: errno.ENETUNREACH,
    icmpv6.PROHIBITED: errno.EACCES,
    icmpv6.BEYOND_SCOPE: errno.EHOSTUNREACH,
    icmpv6.ADDRESS_UNREACHABLE: errno.EHOSTUNREACH,
    icmpv6.PORT_UNREACHABLE: errno.ECONNREFUSED,
}


_MLD = (mld.QUERY, mld.REPORT_V1)


class Icmpv6Layer:
    """One of each stack."""

    __slots__ = ("_host", "_ip", "_pings")

    def __init__(self, host: Host, ip_layer: IpLayer, pings: PingTable) -> None:
        self._host = host
        self._ip = ip_layer
        self._pings = pings

    def ping(self, flow: Flow, remote: str, payload: bytes, now: float) -> Ping:
        """Send an echo request. Raises OSError as :meth:`PingTable.add` does."""
        ping, echo = self._pings.add(flow, remote, payload, now)
        message = icmpv6.Message(icmpv6.ECHO_REQUEST, 0, echo.encode())
        self._ip.send(flow, message.encode(flow.source, flow.destination), now)
        return ping

    def receive(self, arrival: Arrival, now: float) -> TransportError | None:
        """Handle a message; an error about a packet of ours is given back. Raises DecodeError."""
        message = icmpv6.parse(arrival.payload, arrival.source, arrival.destination)
        if message.is_error:
            return self._read_error(arrival, message, now)
        if message.kind == icmpv6.ECHO_REQUEST:
            self._answer_echo(arrival, message, now)
        elif message.kind == icmpv6.ECHO_REPLY:
            if not self._pings.receive_reply(icmpv6.parse_echo(message.body), now):
                self._host.counters["icmpv6 echo reply unexpected"] += 1
        elif message.kind in (icmpv6.NEIGHBOR_SOLICITATION, icmpv6.NEIGHBOR_ADVERTISEMENT):
            self._receive_ndp(arrival, message, now)
        elif message.kind in _MLD:
            self._receive_mld(arrival, message, now)
        else:
            self._host.counters["icmpv6 ignored"] += 1
        return None

    def _answer_echo(self, arrival: Arrival, message: icmpv6.Message, now: float) -> None:
        if arrival.is_group:
            return
        flow = self._ip.flow_back(ip.ICMPV6, arrival.interface, arrival.source, arrival.destination, now)
        if flow is not None:
            self._pings.answered.append((flow.destination, message.body[:4]))
            reply = icmpv6.Message(icmpv6.ECHO_REPLY, 0, message.body)
            self._ip.send(flow, reply.encode(flow.source, flow.destination), now)

    def _receive_ndp(self, arrival: Arrival, message: icmpv6.Message, now: float) -> None:
        if arrival.hop_limit != ndp.HOP_LIMIT or message.code:
            raise DecodeError("ndp hop limit or code")
        if message.kind == icmpv6.NEIGHBOR_SOLICITATION:
            solicitation = ndp.parse_solicitation(message.body)
            is_probe = arrival.source == ipv6.UNSPECIFIED
            to_its_group = arrival.destination == ipv6.solicited_node(solicitation.target)
            if is_probe and (solicitation.source_mac is not None or not to_its_group):
                raise DecodeError("ndp probe")  # RFC 4861 section 7.1.1
            arrival.interface.receive_solicitation(arrival.source, solicitation, now)
        else:
            target, mac, _, solicited, override = ndp.parse_advertisement(message.body)
            if solicited and arrival.is_group:
                raise DecodeError("ndp solicited to a group")
            if arrival.interface.owns(target):
                if mac != arrival.interface.link.mac:
                    self._host.counters["ndp conflict"] += 1
            else:
                arrival.interface.neighbors.receive_answer(
                    target, mac, now, solicited=solicited, override=override
                )

    def _receive_mld(self, arrival: Arrival, message: icmpv6.Message, now: float) -> None:
        """RFC 3810 section 6.2."""
        is_alert = (
            arrival.packet[6] == ipv6.HOP_BY_HOP and mld.ROUTER_ALERT in arrival.packet[42 : arrival.offset]
        )
        if arrival.hop_limit != mld.HOP_LIMIT or not is_alert or not ipv6.is_link_local(arrival.source):
            raise DecodeError("mld source, hop limit or router alert")
        if message.kind == mld.QUERY:
            arrival.interface.mld.receive_query(mld.parse_query(message.body), now)
        else:
            arrival.interface.mld.hear_report(mld.parse_group(message.body), now)

    def _read_error(self, arrival: Arrival, message: icmpv6.Message, now: float) -> TransportError:
        value, quoted = int.from_bytes(message.body[:4], "big"), message.body[4:]
        match message.kind:
            case icmpv6.DESTINATION_UNREACHABLE:
                code = _UNREACHABLE_ERRORS.get(message.code, errno.EACCES)
            case icmpv6.TIME_EXCEEDED:
                code = errno.EHOSTUNREACH
            case icmpv6.PARAMETER_PROBLEM:
                code = errno.EPROTO
            case icmpv6.PACKET_TOO_BIG:
                code = errno.EMSGSIZE
            case _:
                raise DecodeError("icmpv6 type")
        error = self.error_about(arrival.interface, code, quoted)
        if error is None:
            raise DecodeError("icmpv6 quoted packet")
        if code == errno.EMSGSIZE:
            if value >= arrival.interface.path_mtu(error.destination, now):
                raise DecodeError("icmpv6 packet too big mtu")
            return error._replace(mtu=value)
        return error

    def error_about(self, interface: Interface, code: int, quoted: bytes) -> TransportError | None:
        """Something happened to the packet that begins so; None where this stack cannot have sent it."""
        if len(quoted) < ipv6.HEADER_SIZE:
            return None
        source, destination = quoted[8:24], quoted[24:40]
        if not self._ip.may_have_sent(interface, source):
            return None
        try:
            upper = ipv6.find_upper(quoted, len(quoted), quoted[6])
        except DecodeError:
            return None
        if upper.fragment is not None and upper.fragment.offset:
            return None
        return TransportError(interface, code, source, destination, upper.protocol, quoted[upper.offset :])
