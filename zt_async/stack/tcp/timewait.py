"""What is left of connections in TIME-WAIT (RFC 9293 section 3.6, RFC 6191)."""

from __future__ import annotations

from collections.abc import Callable
from math import inf

from zt_async.errors import DecodeError
from zt_async.stack.host import Host
from zt_async.stack.tcp.connection import TcpConnection
from zt_async.stack.tcp.seq import MASK, unwrap
from zt_async.stack.timers import Timer
from zt_async.wire import ip, tcp

_REUSE_AFTER = 1.0  # s; own timestamps have moved on by then
_ISS_STEP = 0x10000


class TimeWait:
    """Answers what the former peer may still send; much smaller than a connection."""

    __slots__ = (
        *("_table", "echo_base", "expires", "flow", "key", "local_port", "nxt", "remote_port"),
        *("since", "source", "timestamp", "timestamp_offset", "una", "window"),
    )

    def __init__(self, table: TimeWaitTable, connection: TcpConnection, now: float) -> None:
        sender, receiver = connection.sender, connection.receiver
        self._table = table
        self.key = connection.key
        self.flow = connection.flow
        self.source = connection.source
        self.local_port = connection.local[1]
        self.remote_port = connection.remote[1]
        self.una = sender.nxt
        self.nxt = receiver.nxt
        self.window = min(receiver.limit >> receiver.scale, 0xFFFF)
        self.timestamp = receiver.timestamp if sender.timestamps else None
        self.timestamp_offset = sender.timestamp_offset
        self.since = now
        self.expires = inf

    def receive_packet(self, packet: bytes, offset: int, end: int, now: float) -> None:
        """A segment for a connection that is over. Raises DecodeError."""
        if self._table.host.config.verify_checksums and not ip.checksum_holds(
            packet[offset:end], self.flow.pseudo_sum
        ):
            raise DecodeError("tcp checksum")
        segment = tcp.parse(packet, offset, end)
        flags = segment.flags
        if flags & tcp.RST:
            return  # RFC 1337: it may be as old as anything else that comes here
        seq = unwrap(segment.seq, self.nxt)
        if flags & tcp.SYN and not flags & tcp.ACK and self._is_newer(segment, seq):
            self._table.reopen(self, segment, now)
            return
        if flags & tcp.FIN:
            self._table.restart(self, now)
        if segment.size or seq != self.nxt or segment.ack != self.una & MASK:
            self._acknowledge(now)

    def path_changed(self, now: float) -> None:
        """For a connection that follows; the segments sent from here are small."""
        self.flow.path_changed(now)

    def fail(self, code: int) -> None:
        """The interface or the address is gone."""
        self._table.remove(self)

    def can_be_reused(self, now: float) -> bool:
        """An own connect may take the ports: with timestamps, old segments are told from new ones."""
        return self.timestamp is not None and now - self.since >= _REUSE_AFTER

    @property
    def next_iss(self) -> int:
        """For a connection that follows: beyond all that this one used."""
        return (self.una + _ISS_STEP) & MASK

    def _is_newer(self, segment: tcp.Segment, seq: int) -> bool:
        """RFC 6191 section 2: by timestamps if both connections have them, else by sequence numbers."""
        if self.timestamp is not None and segment.options.timestamps is not None:
            age = (segment.options.timestamps[0] - self.timestamp) & MASK
            if age:
                return age < 0x80000000
        return seq > self.nxt

    def _acknowledge(self, now: float) -> None:
        timestamps = None
        if self.timestamp is not None:
            timestamps = ((int(now * 1000) + self.timestamp_offset) & MASK, self.timestamp)
        segment = tcp.Segment(
            self.local_port,
            self.remote_port,
            self.una & MASK,
            self.nxt & MASK,
            tcp.ACK,
            self.window,
            tcp.Options(timestamps=timestamps),
        )
        data = segment.encode(self.flow.pseudo_sum)
        self.flow.send([self.flow.header(len(data)) + data], now)


Reopen = Callable[[TimeWait, tcp.Segment, float], None]


class TimeWaitTable:
    """All of a stack: in order of expiry under one timer, and bounded."""

    __slots__ = ("_entries", "_reopen", "_timer", "host")

    def __init__(self, host: Host, reopen: Reopen) -> None:
        self.host = host
        self._reopen = reopen
        self._entries: dict[TimeWait, None] = {}
        self._timer = Timer(self)

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, connection: TcpConnection, now: float) -> None:
        """Take a connection's place in its interface's table."""
        if len(self._entries) >= self.host.config.max_time_wait:
            self.host.counters["tcp time-wait dropped"] += 1
            self.remove(next(iter(self._entries)))
        entry = TimeWait(self, connection, now)
        entry.flow.table[entry.key] = entry
        self.restart(entry, now)

    def restart(self, entry: TimeWait, now: float) -> None:
        self._entries.pop(entry, None)
        self._entries[entry] = None
        entry.expires = now + self.host.config.time_wait
        if self._timer.when == inf:
            self.host.timers.set(self._timer, entry.expires)

    def remove(self, entry: TimeWait) -> None:
        self._entries.pop(entry, None)
        if entry.flow.table.get(entry.key) is entry:
            del entry.flow.table[entry.key]

    def reopen(self, entry: TimeWait, segment: tcp.Segment, now: float) -> None:
        """A new connection begins with the same addresses and ports."""
        self.remove(entry)
        self._reopen(entry, segment, now)

    def handle_timer(self, now: float) -> None:
        for entry in list(self._entries):
            if entry.expires > now:
                self.host.timers.set(self._timer, entry.expires)
                return
            self.remove(entry)
