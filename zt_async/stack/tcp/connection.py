"""A TCP connection: what its user calls, what it sends, its timers, and the short way in for ordinary segments.

All other segments take the long way in :mod:`zt_async.stack.tcp.incoming`.
"""

from __future__ import annotations

import errno
import struct
from math import inf
from typing import TYPE_CHECKING

from zt_async.accel import BytesLike, checksum
from zt_async.errors import DecodeError
from zt_async.stack.addresses import Address, address_text
from zt_async.stack.flow import Flow
from zt_async.stack.host import Host, Socket, os_error
from zt_async.stack.tcp import incoming, state
from zt_async.stack.tcp.options import TcpInfo, TcpOptions
from zt_async.stack.tcp.receiver import Receiver
from zt_async.stack.tcp.scoreboard import Sent
from zt_async.stack.tcp.sender import Sender
from zt_async.stack.tcp.seq import MASK
from zt_async.stack.tcp.state import State
from zt_async.stack.timers import Timer
from zt_async.wire import tcp

if TYPE_CHECKING:
    from zt_async.stack.tcp.listener import TcpListener
    from zt_async.stack.tcp.timewait import TimeWaitTable

_FIXED = struct.Struct("!IIHHHH")  # what follows the ports
_PREDICTED = struct.Struct("!IIHH")
_TIMESTAMPS = struct.Struct("!III")
_TIMESTAMP_WORD = 0x0101080A  # two NOPs, kind, length
_MAX_SYN_INTERVAL = 8.0
_PREDICTABLE = (State.ESTABLISHED, State.FIN_WAIT_2)  # nothing but data and acknowledgements is expected
_CHALLENGES, _CHALLENGE_PERIOD = 10, 5.0  # RFC 5961 section 7
_MIN_SEND_TARGET = 1 << 16
_SCHEDULING = 0.002  # s that a round trip takes besides what was measured, as programs take turns


class TcpConnection(Socket):
    """Made by ``Stack.connect_tcp`` and ``TcpListener.accept``; look at it when ``Stack.take_ready`` names it."""

    __slots__ = (
        *("_body", "_challenge_from", "_challenges", "_close_at", "_expected", "_handshake_at"),
        *("_host", "_keepalive_at", "_keepalive_probes", "_options", "_ports", "_pseudo"),
        *("_reset_due", "_syn_due", "_syn_interval", "_time_waits", "_timer", "_verify"),
        *("discarding", "echo", "eof_received", "error", "flow", "handshake_deadline", "key"),
        *("last_received", "listener", "local", "local_mss", "peer_mss", "receiver", "remote"),
        *("scaling", "scheduled", "send_scale", "sender", "soft_error", "source", "state"),
        *("syn_sent_at", "syns_sent", "wake_at", "window_field"),
    )

    def __init__(
        self,
        host: Host,
        time_waits: TimeWaitTable,
        flow: Flow,
        local_port: int,
        remote_port: int,
        options: TcpOptions,
        iss: int,
        timestamp_offset: int,
    ) -> None:
        super().__init__()
        config = host.config
        self._host = host
        self._time_waits = time_waits
        self.flow = flow
        self.source = flow.source
        self.local: Address = (address_text(flow.source), local_port)
        self.remote: Address = (address_text(flow.destination), remote_port)
        self.key = connection_key(flow.destination, flow.source, remote_port, local_port)
        self.state = State.CLOSED
        self.error: OSError | None = None
        """Why the connection ended, if it did not end as both sides wished."""
        self.soft_error: int | None = None
        """What ICMP said about the path; becomes the error if the connection times out (RFC 9293 MUST-56)."""
        self.eof_received = False
        """The peer sends no more than what can be read now."""
        self.discarding = False  # closed by its user: nobody reads any more
        self.wake_at = -1
        """For a writer who waits: be ready when no more than so many bytes are unsent; -1 is never."""
        self.listener: TcpListener | None = None
        self.scheduled = False
        self.local_mss = flow.max_payload - tcp.HEADER_SIZE
        self.sender = Sender(config, iss, timestamp_offset, self.local_mss)
        limit = options.receive_buffer or config.receive_buffer
        self.receiver = Receiver(config, limit, options.receive_buffer or config.max_receive_buffer)
        self.peer_mss = self.local_mss
        self.scaling = False
        self.send_scale = 0
        self.echo: int | None = None  # TSecr of the latest segment
        self.last_received = 0.0
        self.syns_sent = 0
        self.syn_sent_at = 0.0
        self.handshake_deadline = inf
        self._handshake_at = inf
        self._syn_interval = config.syn_retransmit
        self._syn_due = False
        self._reset_due = False
        self._close_at = inf  # end of FIN-WAIT-2 or of lingering
        self._keepalive_at = inf
        self._keepalive_probes = 0
        self._challenges = 0
        self._challenge_from = -inf
        self._timer = Timer(self)
        self._verify = config.verify_checksums
        self._ports = struct.pack("!HH", local_port, remote_port)
        self._pseudo = flow.pseudo_sum
        self._expected = -1  # data offset and flags of a segment that may take the short way
        self._body = 0
        self.window_field = -1
        self._options = options
        self._apply(options)

    def __repr__(self) -> str:
        return f"<TcpConnection {self.state.value} {self.local} to {self.remote}>"

    # -- for the user

    @property
    def options(self) -> TcpOptions:
        """Settings; assign a changed copy to change them. ``receive_buffer`` counts only at the beginning."""
        return self._options

    @options.setter
    def options(self, options: TcpOptions) -> None:
        self._options = options
        self._apply(options)
        self._host.schedule(self)

    @property
    def unsent(self) -> int:
        """Bytes queued that were never transmitted."""
        return self.sender.queue.size

    @property
    def unacked(self) -> int:
        """Bytes transmitted that the peer has not acknowledged."""
        return self.sender.nxt - self.sender.una if self.state not in state.HANDSHAKE else 0

    @property
    def undelivered(self) -> int:
        """Bytes queued or transmitted that the peer has not acknowledged."""
        sender = self.sender
        fin_under_way = sender.fin_sent and not sender.fin_acked
        return sender.queue.size + self.unacked - fin_under_way

    @property
    def send_target(self) -> int:
        """How many bytes, unsent and unacked, keep the path busy; a writer that queues more only adds delay."""
        wanted = max(_MIN_SEND_TARGET, 2 * self.sender.congestion.cwnd)
        return min(wanted, self._options.send_buffer or self._host.config.send_buffer)

    def send(self, data: BytesLike) -> None:
        """Queue data; any amount is taken.

        Raises OSError: what ended the connection, or EPIPE after :meth:`send_eof` or :meth:`close`.
        """
        if self.state not in state.MAY_SEND or self.sender.finishing:
            raise self.error or os_error(errno.EPIPE)
        self.sender.queue.write(data)
        if not self.scheduled:
            self._host.schedule(self)

    def receive(self) -> bytes:
        """All data that arrived in order; b"" when there is none. Taking it opens the window."""
        data = self.receiver.take()
        if data and not self.scheduled:
            self._host.schedule(self)
        return data

    def send_eof(self) -> None:
        """Send no more after what is queued; receiving goes on. Again: nothing."""
        if self.state in state.MAY_SEND and not self.sender.finishing:
            self.sender.finish()
            self._set_state(state.AFTER_OWN_FIN.get(self.state, self.state))
            self._host.schedule(self)

    def close(self) -> None:
        """Send what is queued, then a FIN, and receive no more.

        Where that loses data that was received, or the peer goes on sending, the connection is reset
        (RFC 9293 section 3.6.1).
        """
        if self.discarding or self.state is State.CLOSED:
            return
        if self.receiver.buffered or self._options.linger == 0:
            self.abort()
            return
        self.discarding = True
        self._set_state(self.state)
        if self.state is State.SYN_SENT:
            self.end(None)
            return
        self.send_eof()
        self._host.schedule(self)

    def abort(self) -> None:
        """Drop everything and reset the connection."""
        if self.state in (State.CLOSED, State.TIME_WAIT):
            return
        self._reset_due = self.state is not State.SYN_SENT
        self.end(None)
        self.receiver.take()
        self._host.schedule(self)

    def info(self) -> TcpInfo:
        """The state of the moment."""
        sender, receiver = self.sender, self.receiver
        rtt, congestion = sender.rtt, sender.congestion
        return TcpInfo(
            state=self.state.value,
            rtt=rtt.srtt,
            rtt_variance=rtt.rttvar,
            minimum_rtt=None if rtt.min_rtt == inf else rtt.min_rtt,
            retransmission_timeout=rtt.rto,
            mss=sender.mss,
            congestion_window=congestion.cwnd,
            slow_start_threshold=None if congestion.ssthresh == inf else int(congestion.ssthresh),
            recovery=sender.recovery.name.lower(),
            send_window=sender.window,
            receive_window=max(0, receiver.edge - receiver.nxt),
            in_flight=sender.in_flight,
            unacked=self.unacked,
            unsent=self.unsent,
            unread=receiver.buffered,
            retransmits=sender.total_retransmits + max(0, self.syns_sent - 1),
            timeouts=sender.timeouts,
            bytes_acked=sender.bytes_acked,
            bytes_received=receiver.bytes_received,
            sack=sender.sack,
            timestamps=sender.timestamps,
            send_scale=self.send_scale,
            receive_scale=receiver.scale,
        )

    # -- arrivals

    def receive_packet(self, packet: bytes, offset: int, end: int, now: float) -> None:
        """Take in a segment that is for this connection. Raises DecodeError.

        The short way is header prediction: an ordinary segment of an established connection, next in order.
        """
        size = end - offset
        if size < tcp.HEADER_SIZE:
            raise DecodeError("tcp truncated")
        if self._verify and checksum(memoryview(packet)[offset:end], self._pseudo + size) != 0xFFFF:
            raise DecodeError("tcp checksum")
        self.last_received = now
        if not self.scheduled:
            self._host.schedule(self)
        body = offset + self._body
        seq, ack, layout, window = _PREDICTED.unpack_from(packet, offset + 4)
        receiver, sender = self.receiver, self.sender
        if layout & 0xFFF7 != self._expected or seq != receiver.nxt & MASK or body > end:
            incoming.segment_arrives(self, tcp.parse(packet, offset, end), now)
            return
        if sender.timestamps:
            word, value, echo = _TIMESTAMPS.unpack_from(packet, offset + 20)
            if word != _TIMESTAMP_WORD or (value - receiver.timestamp) & 0x80000000:
                incoming.segment_arrives(self, tcp.parse(packet, offset, end), now)
                return
            if receiver.nxt <= receiver.acked_to:
                receiver.timestamp = value
                receiver.timestamp_at = now
            self.echo = echo
        size = end - body
        una = sender.una
        acked = una + ((ack - una) & MASK)
        if acked > sender.nxt or size > receiver.edge - receiver.nxt or (size and receiver.assembler.runs):
            incoming.segment_arrives(self, tcp.parse(packet, offset, end), now)
            return
        if acked != una or window != self.window_field or not size:
            self.take_ack(receiver.nxt, acked, window, (), size, now)
        if size:
            if size > receiver.mss:
                receiver.mss = size
            receiver.append(packet[body:end])
            if not self.ready:
                self._host.mark_ready(self)

    def take_ack(
        self, seq: int, ack: int, window: int, sacks: tuple[tuple[int, int], ...], size: int, now: float
    ) -> None:
        """The acknowledgement and window of an acceptable segment with ``size`` bytes of data."""
        sender = self.sender
        una = sender.una
        same_window = window == self.window_field
        duplicate = ack == una and not size and same_window and una != sender.nxt and sender.window > 0
        sender.acknowledge(ack, sacks, self.echo, now, duplicate=duplicate)
        if not same_window and sender.update_window(seq, ack, window << self.send_scale, now):
            self.window_field = window
        self._keepalive_probes = 0
        if ack > una:
            self.flow.confirm(now)
            self.soft_error = None
            if not self.ready:
                self._host.mark_ready(self)

    def enter(self, new: State, now: float) -> None:
        """Move to a state of an established connection or beyond."""
        if new is State.ESTABLISHED:
            self._handshake_at = inf
            self.flow.confirm(now)
            if self.sender.finishing:
                new = State.FIN_WAIT_1
        self._set_state(new)
        if new is State.TIME_WAIT:
            self._time_waits.add(self, now)
            owes_ack = self.receiver.ack_now
            self._let_go()
            self.receiver.ack_now = owes_ack
        elif new is State.FIN_WAIT_2:
            self._close_at = inf  # all was taken, so the time to linger is over
        elif new is State.CLOSED:
            self.end(None)
        self._host.mark_ready(self)

    def _set_state(self, new: State) -> None:
        self.state = new
        self.predict()

    def predict(self) -> None:
        """Settle which segments may take the short way in."""
        self._expected = -1
        if self.state in _PREDICTABLE and not self.discarding and self.receiver.fin_at is None:
            self._body = tcp.HEADER_SIZE + (_TIMESTAMPS.size if self.sender.timestamps else 0)
            self._expected = self._body << 10 | tcp.ACK

    def mark_ready(self) -> None:
        """There is something new to read."""
        self._host.mark_ready(self)

    def refuse(self, segment: tcp.Segment, now: float) -> None:
        """Reset whoever acknowledges what was never sent (RFC 9293 section 3.5.2)."""
        self._send_segment(segment.ack, 0, tcp.RST, 0, tcp.NO_OPTIONS, now)

    def challenge(self, now: float) -> None:
        """Answer a suspicious segment with an acknowledgement, within limits (RFC 5961 section 7)."""
        if now - self._challenge_from >= _CHALLENGE_PERIOD:
            self._challenge_from = now
            self._challenges = 0
        if self._challenges < _CHALLENGES:
            self._challenges += 1
            self.receiver.ack_now = True
        else:
            self._host.counters["tcp challenge limit"] += 1

    def path_changed(self, now: float) -> None:
        """The MTU of the interface or of the path changed: cut segments as it wants them."""
        self.flow.path_changed(now)
        self.fit_path()
        self._host.schedule(self)

    def fit_path(self) -> None:
        """Segments as large as the peer and the path allow (RFC 9293 section 3.7.1)."""
        largest = min(self.peer_mss, self.flow.max_payload - tcp.HEADER_SIZE)
        self.sender.set_mss(largest - (_TIMESTAMPS.size if self.sender.timestamps else 0))

    # -- the end

    def fail(self, code: int) -> None:
        """End with an error for the user, and without a word to the peer."""
        self.end(os_error(code))

    def end(self, error: OSError | None) -> None:
        """The connection is over; what was received in order can still be read."""
        self.error = error
        self.state = State.CLOSED
        table = self.flow.table
        if table.get(self.key) is self:
            del table[self.key]
        self._let_go()
        if self.listener is not None:
            self.listener.forget(self)
        self._host.mark_ready(self)

    def _let_go(self) -> None:
        self._expected = -1
        self.sender.clear()
        self.receiver.clear()
        self._handshake_at = self._close_at = self._keepalive_at = inf
        self._host.timers.set(self._timer, inf)

    # -- output

    def transmit(self, now: float) -> None:
        """Send what may be sent, and acknowledge what is to be acknowledged: once for all that arrived."""
        self.scheduled = False
        if self.state in state.HANDSHAKE:
            if self._syn_due:
                self._send_syn(now)
            elif self.receiver.ack_now:  # a challenge
                self._send_control(tcp.ACK, now)
        elif self.state is State.CLOSED or self.state is State.TIME_WAIT:
            if self._reset_due:
                self._reset_due = False
                self._send_control(tcp.RST | tcp.ACK, now)
            elif self.receiver.ack_now:  # the FIN that led to TIME-WAIT
                self._send_control(tcp.ACK, now)
            return
        else:
            self._transmit_data(now)
        self._arm(now)

    def _transmit_data(self, now: float) -> None:
        sender, receiver = self.sender, self.receiver
        if receiver.nxt - receiver.buffered >= receiver.measure_to:
            rtt = sender.rtt.srtt or 0.0
            if self.echo is not None:
                rtt = max(rtt, now - sender.echoed_by(self.echo, now))
            receiver.tune(rtt + _SCHEDULING, now)
        flight = sender.next_flight(now)
        acks = receiver.acks_due(now)
        if acks and (not flight or receiver.has_sacks):
            for _ in range(acks):
                self._send_control(tcp.ACK, now)
        if flight:
            self.flow.send(self._encode(flight, now), now)
            if sender.queue.size <= self.wake_at:
                self._host.mark_ready(self)

    def _encode(self, flight: list[Sent], now: float) -> list[bytes]:
        """The packets of a flight; all carry the same acknowledgement."""
        sender, receiver, ports, flow_header = self.sender, self.receiver, self._ports, self.flow.header
        window = receiver.advertise()
        ack = receiver.nxt & MASK
        options = b""
        if sender.timestamps:
            options = _TIMESTAMPS.pack(_TIMESTAMP_WORD, sender.timestamp(now), receiver.timestamp)
        header_size = tcp.HEADER_SIZE + len(options)
        layout = header_size << 10
        common = self._pseudo + checksum(ports + options) + ack + window + layout + header_size
        pack, join = _FIXED.pack, b"".join
        packets = []
        for segment in flight:
            payload, flags = segment.payload, segment.flags
            seq = segment.seq & MASK
            size = len(payload)
            check = checksum(payload, common + seq + flags + size) ^ 0xFFFF
            fixed = pack(seq, ack, layout | flags, window, check, 0)
            packets.append(join((flow_header(header_size + size), ports, fixed, options, payload)))
        return packets

    def _send_control(self, flags: int, now: float, *, seq: int | None = None) -> None:
        """A segment without data."""
        sender, receiver = self.sender, self.receiver
        sacks: tuple[tuple[int, int], ...] = ()
        if sender.sack and receiver.has_sacks:
            sacks = receiver.sacks(3 if sender.timestamps else 4)
        timestamps = (sender.timestamp(now), receiver.timestamp) if sender.timestamps else None
        options = tcp.Options(timestamps=timestamps, sacks=sacks)
        seq = sender.nxt if seq is None else seq
        self._send_segment(seq, receiver.nxt, flags, receiver.advertise(), options, now)

    def _send_syn(self, now: float) -> None:
        """The SYN, or in SYN-RECEIVED the SYN and its acknowledgement, with what is offered or agreed."""
        self._syn_due = False
        sender, receiver = self.sender, self.receiver
        first = self.state is State.SYN_SENT
        options = tcp.Options(
            mss=self.local_mss,
            window_scale=receiver.scale if first or self.scaling else None,
            sack_permitted=first or sender.sack,
            timestamps=(sender.timestamp(now), receiver.timestamp) if first or sender.timestamps else None,
        )
        window = min(receiver.limit, 0xFFFF)
        self.syns_sent += 1
        self.syn_sent_at = now
        self._send_segment(
            sender.iss, receiver.nxt, tcp.SYN if first else tcp.SYN | tcp.ACK, window, options, now
        )

    def _send_segment(
        self, seq: int, ack: int, flags: int, window: int, options: tcp.Options, now: float
    ) -> None:
        ack = ack & MASK if flags & tcp.ACK else 0
        segment = tcp.Segment(self.local[1], self.remote[1], seq & MASK, ack, flags, window, options)
        data = segment.encode(self._pseudo)
        self.flow.send([self.flow.header(len(data)) + data], now)

    # -- timers

    def begin_handshake(self, timeout: float, now: float) -> None:
        """Send SYNs from now on, until they are answered or ``timeout`` is over."""
        self.sender.nxt = self.sender.iss + 1
        self.handshake_deadline = now + timeout
        self._handshake_at = now + self._syn_interval
        self._syn_due = True
        self._host.timers.set(self._timer, self._handshake_at)
        self._host.schedule(self)

    def repeat_syn(self) -> None:
        """The peer repeats its own, so ours was lost."""
        self._syn_due = True

    def handle_timer(self, now: float) -> None:
        """A deadline passed; what it makes to send comes with :meth:`transmit`."""
        if self.state in state.HANDSHAKE:
            if now >= self.handshake_deadline:
                self.fail(self.soft_error or errno.ETIMEDOUT)
                return
            self._syn_interval = min(2 * self._syn_interval, _MAX_SYN_INTERVAL)
            self._handshake_at = now + self._syn_interval
            self._syn_due = True
        else:
            sender = self.sender
            if sender.deadline <= now:
                sender.handle_timer(now)
            if sender.timed_out(now, self._user_timeout):
                self.fail(self.soft_error or errno.ETIMEDOUT)
                return
            if self.receiver.delayed_ack_at <= now:
                self.receiver.ack_now = True
            if self._close_at <= now:
                if self.state is not State.FIN_WAIT_2:  # the time to linger is over
                    self.abort()
                    return
                self.end(None)
                return
            if self._keepalive_at <= now and not self._keep_alive(now):
                self.fail(self.soft_error or errno.ETIMEDOUT)
                return
        self._host.schedule(self)

    @property
    def _user_timeout(self) -> float:
        return self._options.user_timeout or self._host.config.user_timeout

    def _arm(self, now: float) -> None:
        """Set the one timer to the earliest of the deadlines."""
        if self.state in state.HANDSHAKE:
            self._host.timers.set(self._timer, min(self._handshake_at, self.handshake_deadline))
            return
        if self.discarding and self._close_at == inf:
            if self.state is State.FIN_WAIT_2:
                self._close_at = now + self._host.config.fin_wait_2_timeout
            elif self._options.linger is not None:
                self._close_at = now + self._options.linger
        if self._options.keepalive:
            if self._keepalive_at == inf:
                self._keepalive_at = self.last_received + self._options.keepalive_idle
        else:
            self._keepalive_at = inf
        sender = self.sender
        deadline = min(sender.deadline, self.receiver.delayed_ack_at, self._keepalive_at, self._close_at)
        if sender.una != sender.nxt:
            deadline = min(deadline, sender.progress_at + self._user_timeout)
        self._host.timers.set(self._timer, deadline)

    def _keep_alive(self, now: float) -> bool:
        """RFC 9293 section 3.8.4; False when the peer is dead."""
        options = self._options
        idle_until = self.last_received + options.keepalive_idle
        if idle_until > now:
            self._keepalive_at = idle_until
            self._keepalive_probes = 0
            return True
        if self._keepalive_probes >= options.keepalive_count:
            return False
        self._keepalive_probes += 1
        self._keepalive_at = now + options.keepalive_interval
        self._send_control(tcp.ACK, now, seq=self.sender.nxt - 1)
        return True

    def _apply(self, options: TcpOptions) -> None:
        self.sender.nodelay = options.nodelay
        self._keepalive_at = inf
        self._keepalive_probes = 0
        self.flow.set_traffic(options.hop_limit or self._host.config.hop_limit, options.traffic_class)


def connection_key(remote: bytes, local: bytes, remote_port: int, local_port: int) -> bytes:
    """As the bytes lie in an arriving packet: the addresses, then the ports."""
    return remote + local + struct.pack("!HH", remote_port, local_port)
