"""TCP of one stack: which segment is for whom, new connections, and answers to segments for nobody."""

from __future__ import annotations

import errno
from hashlib import blake2s

from zt_async.errors import DecodeError
from zt_async.stack.arrival import Arrival, TransportError
from zt_async.stack.flow import Flow
from zt_async.stack.host import Host, os_error
from zt_async.stack.interface import Interface
from zt_async.stack.ip import IpLayer
from zt_async.stack.ports import PortTable, ephemeral_ports
from zt_async.stack.tcp import incoming
from zt_async.stack.tcp.connection import TcpConnection, connection_key
from zt_async.stack.tcp.listener import TcpListener
from zt_async.stack.tcp.options import TcpOptions
from zt_async.stack.tcp.seq import MASK, unwrap
from zt_async.stack.tcp.state import HANDSHAKE, State
from zt_async.stack.tcp.timewait import TimeWait, TimeWaitTable
from zt_async.wire import ip, tcp

_ISN_TICK = 4e-6  # RFC 6528


class TcpLayer:
    """One of each stack."""

    __slots__ = ("_host", "_ip", "_listeners", "_secret", "time_waits")

    def __init__(self, host: Host, ip_layer: IpLayer) -> None:
        self._host = host
        self._ip = ip_layer
        self._listeners: PortTable[TcpListener] = PortTable(host)
        self._secret = host.context.random_bytes(32)
        self.time_waits = TimeWaitTable(host, self._reopen)

    @property
    def listeners(self) -> list[TcpListener]:
        return self._listeners.sockets()

    def listen(
        self,
        address: bytes,
        port: int,
        interface: Interface | None,
        backlog: int,
        options: TcpOptions,
        *,
        reuse_port: bool,
    ) -> TcpListener:
        """Raises OSError(EADDRINUSE)."""
        binding = self._listeners.choose(address, port, interface, reuse_port=reuse_port)
        listener = TcpListener(self._host, self._listeners, binding, backlog, options)
        self._listeners.add(binding, listener)
        return listener

    def connect(
        self, flow: Flow, local_port: int, remote_port: int, options: TcpOptions, now: float
    ) -> TcpConnection:
        """Raises OSError: EADDRINUSE, or EADDRNOTAVAIL when no ephemeral port is left."""
        reused: TimeWait | None = None
        for port in [local_port] if local_port else ephemeral_ports(self._host):
            key = connection_key(flow.destination, flow.source, remote_port, port)
            held = flow.table.get(key)
            if held is None and (local_port or not self._listens(flow, port)):
                break
            if isinstance(held, TimeWait) and held.can_be_reused(now):
                reused = held
                break
        else:
            raise os_error(errno.EADDRINUSE if local_port else errno.EADDRNOTAVAIL)
        connection = self._make(flow, port, remote_port, options, reused, now)
        connection.state = State.SYN_SENT
        connection.begin_handshake(self._host.config.connect_timeout, now)
        return connection

    def receive(self, arrival: Arrival, now: float) -> None:
        """Handle a segment whose IP header was validated. Raises DecodeError."""
        packet, offset, end = arrival.packet, arrival.offset, arrival.end
        if arrival.is_group:
            raise DecodeError("tcp to a group")
        if end - offset < tcp.HEADER_SIZE:
            raise DecodeError("tcp truncated")
        key = arrival.source + arrival.destination + packet[offset : offset + 4]
        connection = arrival.interface.tcp.get(key)
        if connection is not None:
            connection.receive_packet(packet, offset, end, now)
            return
        if self._host.config.verify_checksums and not ip.checksum_holds(arrival.payload, arrival.pseudo_sum):
            raise DecodeError("tcp checksum")
        segment = tcp.parse(packet, offset, end)
        if not any(arrival.source):
            raise DecodeError("tcp source")
        if segment.flags & tcp.RST:
            return
        flow = self._ip.flow_back(ip.TCP, arrival.interface, arrival.source, arrival.destination, now)
        if flow is not None and not self._receive_syn(flow, segment, None, now):
            self._refuse(flow, segment, now)

    def receive_error(self, error: TransportError, now: float) -> None:
        """An ICMP error about a segment of ours, if the quoted sequence number is in flight (RFC 5927)."""
        if len(error.transport) < 8:
            return
        ports = error.transport[2:4] + error.transport[0:2]
        held = error.interface.tcp.get(error.destination + error.source + ports)
        if not isinstance(held, TcpConnection):
            return
        sender = held.sender
        seq = unwrap(int.from_bytes(error.transport[4:8], "big"), sender.una)
        if not sender.una <= seq <= sender.nxt:
            self._host.counters["tcp icmp out of window"] += 1
        elif error.code == errno.EMSGSIZE:
            error.believe(now)
            held.path_changed(now)
        elif held.state in HANDSHAKE and held.listener is None:
            held.fail(error.code)
        else:
            held.soft_error = error.code

    def close_interface(self, interface: Interface) -> None:
        """Listeners that were bound to it fail with ENETDOWN."""
        for listener in self.listeners:
            if listener.binding.interface is interface:
                listener.close(os_error(errno.ENETDOWN))

    def _receive_syn(self, flow: Flow, segment: tcp.Segment, former: TimeWait | None, now: float) -> bool:
        """Begin a connection if the segment is a SYN and somebody listens; else False."""
        if segment.flags & (tcp.SYN | tcp.ACK) != tcp.SYN:
            return False
        listener = self._find_listener(flow, segment)
        if listener is None or not listener.listening:
            return False
        if not listener.has_room():
            self._host.counters["tcp accept queue full"] += 1
            return True  # dropped: the peer will try again
        ports = (segment.destination_port, segment.source_port)
        connection = self._make(flow, *ports, listener.options, former, now)
        connection.state = State.SYN_RECEIVED
        connection.listener = listener
        connection.last_received = now
        incoming.take_syn(connection, segment, now)
        listener.add(connection)
        connection.begin_handshake(self._host.config.handshake_timeout, now)
        return True

    def _reopen(self, former: TimeWait, segment: tcp.Segment, now: float) -> None:
        if not self._receive_syn(former.flow, segment, former, now):
            self._refuse(former.flow, segment, now)

    def _make(
        self,
        flow: Flow,
        local_port: int,
        remote_port: int,
        options: TcpOptions,
        former: TimeWait | None,
        now: float,
    ) -> TcpConnection:
        key = connection_key(flow.destination, flow.source, remote_port, local_port)
        if former is not None:
            self.time_waits.remove(former)
        iss = self._initial_sequence_number(key, now) if former is None else former.next_iss
        offset = self._hash(flow.source + flow.destination)  # the same for all connections of the pair
        connection = TcpConnection(
            self._host, self.time_waits, flow, local_port, remote_port, options, iss, offset
        )
        flow.table[key] = connection
        return connection

    def _find_listener(self, flow: Flow, segment: tcp.Segment) -> TcpListener | None:
        interface = flow.interface
        if flow.is_local:
            interface = self._ip.owner(flow.source) or interface
        for listeners in self._listeners.candidates(interface, flow.source, segment.destination_port):
            return listeners[
                self._hash(flow.destination + segment.source_port.to_bytes(2, "big")) % len(listeners)
            ]
        return None

    def _listens(self, flow: Flow, port: int) -> bool:
        return any(True for _ in self._listeners.candidates(flow.interface, flow.source, port))

    def _refuse(self, flow: Flow, segment: tcp.Segment, now: float) -> None:
        """RFC 9293 section 3.10.7.1: a connection that does not exist."""
        self._host.counters["tcp port closed"] += 1
        seq, ack, flags = segment.ack, 0, tcp.RST
        if not segment.flags & tcp.ACK:
            seq, ack, flags = 0, (segment.seq + segment.size) & MASK, tcp.RST | tcp.ACK
        reset = tcp.Segment(segment.destination_port, segment.source_port, seq, ack, flags, 0)
        data = reset.encode(flow.pseudo_sum)
        flow.send([flow.header(len(data)) + data], now)

    def _initial_sequence_number(self, key: bytes, now: float) -> int:
        """RFC 6528: a clock, plus a secret function of the addresses and ports."""
        return (int(now / _ISN_TICK) + self._hash(key)) & MASK

    def _hash(self, data: bytes) -> int:
        return int.from_bytes(blake2s(data, key=self._secret, digest_size=4).digest(), "big")
