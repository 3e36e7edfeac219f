"""What an arriving segment does (RFC 9293 section 3.10.7), check by check in the order of the RFC.

Ordinary segments of established connections do not come here; see ``TcpConnection.receive_packet``.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from zt_async.stack.tcp import state
from zt_async.stack.tcp.seq import MASK, unwrap
from zt_async.stack.tcp.state import State
from zt_async.wire import tcp

if TYPE_CHECKING:
    from zt_async.stack.tcp.connection import TcpConnection

_PAWS_LIFETIME = 24 * 86400.0  # RFC 7323 section 5.5
_DEFAULT_MSS = {16: 1220, 4: 536}  # by the size of an address (RFC 9293 MUST-15)
_MIN_MSS = 64  # a peer that wants less would be costly to serve
_LONGEST_REPEATED = 1.0  # s; gives a timeout of the three seconds that there are without a measurement
_HALF = 0x80000000


def segment_arrives(connection: TcpConnection, segment: tcp.Segment, now: float) -> None:
    """Process any segment."""
    if connection.state is State.SYN_SENT:
        _in_syn_sent(connection, segment, now)
    else:
        _in_other_states(connection, segment, now)


def take_syn(connection: TcpConnection, segment: tcp.Segment, now: float) -> None:
    """Learn from the peer's SYN: its sequence numbers and what it offers."""
    sender, receiver, options = connection.sender, connection.receiver, segment.options
    receiver.begin(segment.seq)
    connection.peer_mss = max(options.mss or _DEFAULT_MSS[len(connection.source)], _MIN_MSS)
    connection.scaling = options.window_scale is not None
    if connection.scaling:
        connection.send_scale = options.window_scale or 0
    else:
        receiver.do_without_scaling()
    sender.sack = options.sack_permitted
    sender.timestamps = options.timestamps is not None
    if options.timestamps is not None:
        receiver.timestamp, connection.echo = options.timestamps
        receiver.timestamp_at = now
    connection.fit_path()


def _in_syn_sent(connection: TcpConnection, segment: tcp.Segment, now: float) -> None:
    """RFC 9293 section 3.10.7.3."""
    sender = connection.sender
    flags = segment.flags
    if flags & tcp.ACK:
        ack = unwrap(segment.ack, sender.iss)
        if ack != sender.iss + 1:
            if not flags & tcp.RST:
                connection.refuse(segment, now)
            return
    if flags & tcp.RST:
        if flags & tcp.ACK:
            connection.fail(errno.ECONNREFUSED)
        return
    if not flags & tcp.SYN:
        return
    take_syn(connection, segment, now)
    if flags & tcp.ACK:
        sender.established(segment.window, connection.receiver.irs, sender.iss + 1, now)
        connection.window_field = -1 if connection.send_scale else segment.window
        _measure_handshake(connection, now)
        connection.receiver.ack_now = True
        connection.enter(State.ESTABLISHED, now)
        if segment.payload or flags & tcp.FIN:
            data = segment._replace(seq=segment.seq + 1 & MASK, flags=flags & ~tcp.SYN)
            _take_data(connection, connection.receiver.nxt, data, now)
    else:  # both sides opened at once (section 3.5, figure 7)
        connection.state = State.SYN_RECEIVED
        connection.begin_handshake(connection.handshake_deadline - now, now)


def _in_other_states(connection: TcpConnection, segment: tcp.Segment, now: float) -> None:
    """RFC 9293 section 3.10.7.4."""
    sender, receiver = connection.sender, connection.receiver
    flags = segment.flags
    seq = unwrap(segment.seq, receiver.nxt)
    end = seq + segment.size

    if connection.state is State.SYN_RECEIVED and flags & tcp.SYN and seq == receiver.irs:
        own_syn = connection.listener is None and segment.ack == sender.iss + 1 & MASK
        if flags & tcp.ACK and own_syn:  # both opened at once
            sender.established(segment.window, seq, sender.iss + 1, now)
            if sender.timestamps and segment.options.timestamps is not None:
                connection.echo = segment.options.timestamps[1]
            _measure_handshake(connection, now)
            receiver.ack_now = True
            connection.enter(State.ESTABLISHED, now)
        elif not flags & (tcp.RST | tcp.ACK):
            stamps = segment.options.timestamps
            if sender.timestamps and stamps is not None and not (stamps[0] - receiver.timestamp) & _HALF:
                receiver.timestamp, connection.echo = stamps  # the answer is to this one
            connection.repeat_syn()
        return

    # First, the timestamp (RFC 7323 section 5.3) and the sequence number.
    stamped = sender.timestamps and not flags & tcp.RST
    if stamped and _is_outdated(connection, segment, seq, end, now):
        return
    if not _acceptable(connection, seq, end):
        if flags & tcp.RST:
            return
        if seq != receiver.nxt or flags & tcp.SYN:
            if segment.payload and end <= receiver.nxt:
                receiver.repeated(seq, end)
            else:
                connection.challenge(now)
            return
        # The window is closed; the acknowledgement counts all the same.
    if stamped and segment.options.timestamps is not None:
        value, connection.echo = segment.options.timestamps
        if seq <= receiver.acked_to:  # section 4.3 (2): of what is acknowledged together, the first
            receiver.timestamp = value
            receiver.timestamp_at = now

    # Second, RST (RFC 5961 section 3.2).
    if flags & tcp.RST:
        if seq == receiver.nxt:
            _reset(connection)
        else:
            connection.challenge(now)
        return

    # Fourth, SYN (RFC 5961 section 4.2).
    if flags & tcp.SYN:
        connection.challenge(now)
        return

    # Fifth, ACK.
    if not flags & tcp.ACK:
        return
    ack = unwrap(segment.ack, sender.una)
    if connection.state is State.SYN_RECEIVED:
        if ack != sender.iss + 1:
            connection.refuse(segment, now)
            return
        if connection.listener is not None and not connection.listener.established(connection):
            return  # no room to wait for accept; the peer will repeat
        sender.established(segment.window << connection.send_scale, seq, ack, now)
        connection.window_field = segment.window
        _measure_handshake(connection, now)
        connection.enter(State.ESTABLISHED, now)
    elif ack > sender.nxt or ack < sender.una - sender.max_window:
        connection.challenge(now)  # RFC 5961 section 5.2
        return
    elif ack >= sender.una:
        window = segment.window
        if seq < receiver.nxt and ack == sender.una:
            window = connection.window_field  # an old segment has no news of the window
        sacks = tuple([(unwrap(left, ack), unwrap(right, ack)) for left, right in segment.options.sacks])
        connection.take_ack(seq, ack, window, sacks if sender.sack else (), segment.size, now)
        if sender.fin_acked and connection.state in state.AFTER_FIN_ACKED:
            connection.enter(state.AFTER_FIN_ACKED[connection.state], now)
            if connection.state is State.CLOSED:
                return

    # Seventh, data, and eighth, FIN.
    if segment.payload or flags & tcp.FIN:
        _take_data(connection, seq, segment, now)


def _is_outdated(connection: TcpConnection, segment: tcp.Segment, seq: int, end: int, now: float) -> bool:
    """Protection against wrapped sequence numbers (PAWS)."""
    receiver = connection.receiver
    if segment.options.timestamps is None:
        return True  # RFC 7323 section 3.2
    is_older = (segment.options.timestamps[0] - receiver.timestamp) & _HALF
    if not is_older or now - receiver.timestamp_at >= _PAWS_LIFETIME:
        return False
    if segment.payload and end <= receiver.nxt:
        receiver.repeated(seq, end)
    elif end > seq or seq != receiver.nxt:
        connection.challenge(now)
    # else an acknowledgement that was overtaken: it says nothing, and needs no answer
    return True


def _acceptable(connection: TcpConnection, seq: int, end: int) -> bool:
    """Table 6 of RFC 9293: some of the segment is within the window."""
    receiver = connection.receiver
    if end == seq:
        return receiver.nxt <= seq < receiver.edge or seq == receiver.nxt
    return seq < receiver.edge and end > receiver.nxt


def _take_data(connection: TcpConnection, seq: int, segment: tcp.Segment, now: float) -> None:
    receiver = connection.receiver
    if connection.state not in state.MAY_RECEIVE:
        if segment.size:
            receiver.ack_now = True  # after its FIN the peer can only repeat itself
        return
    data_end = seq + len(segment.payload)
    if connection.discarding and data_end > receiver.nxt:
        connection.abort()  # RFC 9293 section 3.6.1: data for nobody
        return
    if segment.flags & tcp.FIN and receiver.fin_at is None and data_end <= receiver.edge:
        receiver.fin_at = data_end
        connection.predict()
    if segment.payload and receiver.accept(seq, segment.payload):
        connection.mark_ready()
    if receiver.fin_at == receiver.nxt:
        receiver.nxt += 1
        if connection.state is not State.ESTABLISHED:  # else our own FIN may soon carry it
            receiver.ack_now = True
        connection.eof_received = True
        connection.enter(state.AFTER_PEER_FIN[connection.state], now)
    elif not segment.payload:
        receiver.out_of_order += 1  # a FIN before its time


def _measure_handshake(connection: TcpConnection, now: float) -> None:
    """The first round trip; with repeated SYNs only timestamps tell which of them was answered.

    Long ones do not count: their answers may be the second, after a first that was lost.
    """
    sender = connection.sender
    if connection.syns_sent == 1:
        sender.rtt.sample(now - connection.syn_sent_at, now)
        return
    if sender.timestamps and connection.echo is not None:
        rtt = max(0.0, now - sender.echoed_by(connection.echo, now) + 0.001)
        if rtt <= _LONGEST_REPEATED:
            sender.rtt.sample(rtt, now)
            return
    sender.rtt.begin_cautiously()


def _reset(connection: TcpConnection) -> None:
    """RFC 9293 section 3.10.7.4, second check: what a RST means in each state.

    These are the states of the RFC, in which all was sent before LAST-ACK; here data may still wait, and is lost.
    """
    match connection.state:
        case State.SYN_RECEIVED if connection.listener is None:
            connection.fail(errno.ECONNREFUSED)
        case State.SYN_RECEIVED:
            connection.end(None)
        case State.CLOSING | State.LAST_ACK if not connection.undelivered:
            connection.end(None)
        case _:
            connection.fail(errno.ECONNRESET)
