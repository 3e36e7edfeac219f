"""ICMPv6: echo, neighbour discovery, and what errors mean to sockets (RFC 4443)."""

from __future__ import annotations

import errno
from typing import NamedTuple

from zt_async.errors import DecodeError
from zt_async.stack.flow import Flow
from zt_async.stack.host import Host, Socket
from zt_async.stack.interface import Interface
from zt_async.stack.ip import Arrival, IpLayer, os_error
from zt_async.wire import icmpv6, ip, ipv6, ndp

_UNREACHABLE_ERRORS = {
    icmpv6.NO_ROUTE: errno.ENETUNREACH,
    icmpv6.PROHIBITED: errno.EACCES,
    icmpv6.BEYOND_SCOPE: errno.EHOSTUNREACH,
    icmpv6.ADDRESS_UNREACHABLE: errno.EHOSTUNREACH,
    icmpv6.PORT_UNREACHABLE: errno.ECONNREFUSED,
}


class TransportError(NamedTuple):
    """Something happened to a packet of ours."""

    interface: Interface
    code: int
    """An ``errno``: EMSGSIZE when the packet was too big for the path."""
    source: bytes
    destination: bytes
    protocol: int
    transport: bytes
    """The beginning of the upper-layer packet."""


class Ping(Socket):
    """An echo request that waits for its reply. Exactly one of ``rtt`` and ``error`` will be set, or neither."""

    __slots__ = ("_key", "_layer", "_sent_at", "error", "interface", "payload", "remote", "rtt")

    def __init__(
        self,
        layer: IcmpLayer,
        key: _PingKey,
        interface: Interface,
        remote: str,
        payload: bytes,
        now: float,
    ) -> None:
        super().__init__()
        self._layer = layer
        self._key = key
        self._sent_at = now
        self.interface = interface
        self.remote = remote
        self.payload = payload
        self.rtt: float | None = None
        """Seconds until the reply, which had the same payload."""
        self.error: OSError | None = None

    def cancel(self) -> None:
        """Wait no longer."""
        self._layer.pings.pop(self._key, None)

    def finish(self, now: float, error: OSError | None) -> None:
        self.cancel()
        if error is None:
            self.rtt = now - self._sent_at
        self.error = error


_PingKey = tuple[int, int]


class IcmpLayer:
    """One of each stack."""

    __slots__ = ("_host", "_ip", "pings")

    def __init__(self, host: Host, ip_layer: IpLayer) -> None:
        self._host = host
        self._ip = ip_layer
        self.pings: dict[_PingKey, Ping] = {}

    def ping(self, flow: Flow, remote: str, payload: bytes, now: float) -> Ping:
        """Send an echo request. Raises OSError(ENOBUFS) when too many wait."""
        if len(self.pings) >= self._host.config.max_pings:
            raise os_error(errno.ENOBUFS)
        key = (0, 0)
        while not key[0] or key in self.pings:
            number = int.from_bytes(self._host.context.random_bytes(4), "big")
            key = (number >> 16, number & 0xFFFF)
        ping = self.pings[key] = Ping(self, key, flow.interface, remote, payload, now)
        message = icmpv6.Message(icmpv6.ECHO_REQUEST, 0, icmpv6.Echo(*key, payload).encode())
        self._ip.send(flow, message.encode(flow.source, flow.destination), now)
        return ping

    def close_interface(self, interface: Interface, now: float) -> None:
        """Pings that wait there fail with ENETDOWN."""
        for ping in [ping for ping in self.pings.values() if ping.interface is interface]:
            ping.finish(now, os_error(errno.ENETDOWN))
            self._host.mark_ready(ping)

    def receive(self, arrival: Arrival, now: float) -> TransportError | None:
        """Handle a message; an error about a packet of ours is given back. Raises DecodeError."""
        message = icmpv6.parse(arrival.payload, arrival.source, arrival.destination)
        if message.is_error:
            return self._read_error(arrival, message, now)
        if message.kind == icmpv6.ECHO_REQUEST:
            self._answer_echo(arrival, message, now)
        elif message.kind == icmpv6.ECHO_REPLY:
            self._receive_reply(message, now)
        elif message.kind in (icmpv6.NEIGHBOR_SOLICITATION, icmpv6.NEIGHBOR_ADVERTISEMENT):
            self._receive_ndp(arrival, message, now)
        else:
            self._host.counters["icmpv6 ignored"] += 1
        return None

    def local_error(self, interface: Interface, packet: bytes) -> TransportError | None:
        """What to tell the sender of a packet that found no neighbour."""
        return self._about(interface, errno.EHOSTUNREACH, packet)

    def _answer_echo(self, arrival: Arrival, message: icmpv6.Message, now: float) -> None:
        if ipv6.is_multicast(arrival.destination):
            return
        flow = self._ip.flow_back(ip.ICMPV6, arrival.interface, arrival.source, arrival.destination, now)
        if flow is not None:
            reply = icmpv6.Message(icmpv6.ECHO_REPLY, 0, message.body)
            self._ip.send(flow, reply.encode(flow.source, flow.destination), now)

    def _receive_reply(self, message: icmpv6.Message, now: float) -> None:
        echo = icmpv6.parse_echo(message.body)
        ping = self.pings.get((echo.identifier, echo.sequence))
        if ping is None or ping.payload != echo.payload:
            self._host.counters["icmpv6 echo reply unexpected"] += 1
            return
        ping.finish(now, None)
        self._host.mark_ready(ping)

    def _receive_ndp(self, arrival: Arrival, message: icmpv6.Message, now: float) -> None:
        if arrival.hop_limit != ndp.HOP_LIMIT or message.code:
            raise DecodeError("ndp hop limit or code")
        if message.kind == icmpv6.NEIGHBOR_SOLICITATION:
            solicitation = ndp.parse_solicitation(message.body)
            arrival.interface.receive_solicitation(arrival.source, solicitation, now)
        else:
            advertisement = ndp.parse_advertisement(message.body)
            if advertisement.solicited and ipv6.is_multicast(arrival.destination):
                raise DecodeError("ndp solicited to a group")
            if not arrival.interface.owns(advertisement.target):
                arrival.interface.neighbors.receive_advertisement(advertisement, now)

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
        error = self._about(arrival.interface, code, quoted)
        if error is None:
            raise DecodeError("icmpv6 quoted packet")
        if code == errno.EMSGSIZE:
            if value >= arrival.interface.path_mtu(error.destination, now):
                raise DecodeError("icmpv6 packet too big mtu")
            arrival.interface.lower_path_mtu(error.destination, value, now)
            self._host.generation += 1
        return error

    def _about(self, interface: Interface, code: int, quoted: bytes) -> TransportError | None:
        """The quoted packet must be one that this stack may have sent."""
        if len(quoted) < ipv6.HEADER_SIZE:
            return None
        source, destination = quoted[8:24], quoted[24:40]
        if not (interface.owns(source) or (interface is self._ip.local and self._ip.owner(source))):
            return None
        try:
            upper = ipv6.find_upper(quoted, len(quoted), quoted[6])
        except DecodeError:
            return None
        if upper.fragment is not None and upper.fragment.offset:
            return None
        return TransportError(interface, code, source, destination, upper.protocol, quoted[upper.offset :])

    def receive_error(self, error: TransportError, now: float) -> None:
        """An error about an echo request of ours."""
        echo = error.transport
        if error.code == errno.EMSGSIZE or len(echo) < 8 or echo[0] != icmpv6.ECHO_REQUEST:
            return
        ping = self.pings.get((int.from_bytes(echo[4:6], "big"), int.from_bytes(echo[6:8], "big")))
        if ping is not None:
            ping.finish(now, os_error(error.code))
            self._host.mark_ready(ping)
