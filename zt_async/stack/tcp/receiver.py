"""The receiving half of a connection: data in order, the window, and when to acknowledge.

RFC 9293 section 3.8.6, RFC 2018, RFC 2883, RFC 7323.
"""

from __future__ import annotations

from math import inf

from zt_async.config import StackConfig
from zt_async.stack.tcp.assembler import Assembler
from zt_async.stack.tcp.seq import MASK

_QUICK_ACKS = 16  # prompt ones, at the start: the sender's window is small, and Nagle may hold it up
_MAX_REPEATS = 3  # duplicate acknowledgements for one batch, as many as RFC 5681 needs
_COMPACT = 256  # pieces


class Receiver:
    """Sequence numbers are unwrapped (:mod:`zt_async.stack.tcp.seq`), times monotonic seconds, sizes bytes."""

    __slots__ = (
        *("_config", "_max_limit", "_measure_from", "_quick", "ack_now", "acked_to"),
        *("assembler", "buffered", "bytes_received", "delayed_ack_at", "dsack", "edge"),
        *("fin_at", "irs", "limit", "measure_to", "mss", "nxt", "out_of_order", "pieces"),
        *("scale", "timestamp", "timestamp_at"),
    )

    def __init__(self, config: StackConfig, limit: int, max_limit: int) -> None:
        self._config = config
        self._max_limit = max_limit
        self.limit = min(limit, max_limit)
        self.scale = min(14, max(0, (max_limit >> 16).bit_length()))
        self.irs = 0
        self.nxt = 0
        self.edge = 0
        """The right edge of the window, as far as it was ever advertised."""
        self.acked_to = 0
        self.mss = 536
        """The largest segment seen."""
        self.pieces: list[bytes] = []
        self.buffered = 0
        self.bytes_received = 0
        self.assembler = Assembler()
        self.out_of_order = 0
        """Segments of the current batch that call for a duplicate acknowledgement."""
        self.dsack: tuple[int, int] | None = None
        self.fin_at: int | None = None
        self.timestamp = 0
        """TS.Recent of RFC 7323."""
        self.timestamp_at = 0.0
        self.ack_now = False
        self.delayed_ack_at = inf
        self._quick = _QUICK_ACKS
        self._measure_from = 0.0
        self.measure_to = 0

    def begin(self, irs: int) -> None:
        """The peer's SYN gives its initial sequence number."""
        self.irs = irs
        self.nxt = self.acked_to = irs + 1
        self.edge = self.nxt + min(self.limit, 0xFFFF)  # a SYN's window is not scaled
        self.measure_to = self.edge

    def do_without_scaling(self) -> None:
        """The peer does not know window scaling (RFC 7323 section 2.2)."""
        self.scale = 0
        self._max_limit = min(self._max_limit, 0xFFFF)
        self.limit = min(self.limit, 0xFFFF)

    # -- data

    def accept(self, seq: int, data: bytes) -> bool:
        """Take what of a segment's data is new and within the window; whether there is something to read."""
        end = seq + len(data)
        if end <= self.nxt:
            self.repeated(seq, end)
            return False
        if seq < self.nxt:
            self.dsack = (seq, self.nxt)
            data = data[self.nxt - seq :]
            seq = self.nxt
        limit = self.edge if self.fin_at is None else min(self.edge, self.fin_at)
        if end > limit:
            data = data[: max(0, limit - seq)]
            self.ack_now = True
            if not data:
                return False
            end = limit
        if len(data) > self.mss:
            self.mss = len(data)
        if seq > self.nxt:
            self.out_of_order += 1
            self.assembler.add(seq, data, self.limit)
            return False
        self.append(data)
        if self.assembler.runs:
            self.ack_now = True  # a hole closes (RFC 5681 section 4.2)
            self.nxt, pieces = self.assembler.take(self.nxt)
            for piece in pieces:
                self.pieces.append(piece)
                self.buffered += len(piece)
                self.bytes_received += len(piece)
        return True

    def repeated(self, seq: int, end: int) -> None:
        """The peer sent what was here already: tell it so (RFC 2883)."""
        self.dsack = (seq, end)
        self.out_of_order += 1

    def append(self, data: bytes) -> None:
        """Data at ``nxt`` that fits the window."""
        size = len(data)
        self.pieces.append(data)
        self.nxt += size
        self.buffered += size
        self.bytes_received += size
        if len(self.pieces) > _COMPACT and self.buffered < _COMPACT * _COMPACT:
            self.pieces = [b"".join(self.pieces)]  # many small pieces would cost more than their bytes

    def take(self) -> bytes:
        """All that can be read."""
        pieces = self.pieces
        if not pieces:
            return b""
        self.pieces = []
        self.buffered = 0
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def clear(self) -> None:
        self.assembler.clear()
        self.delayed_ack_at = inf
        self.ack_now = False
        self.out_of_order = 0

    # -- acknowledgements

    @property
    def has_sacks(self) -> bool:
        """There is something to report besides the cumulative acknowledgement."""
        return self.dsack is not None or bool(self.assembler.runs)

    def acks_due(self, now: float) -> int:
        """How many bare acknowledgements to send now; may start the timer of a delayed one instead."""
        if self.out_of_order:
            return min(self.out_of_order, _MAX_REPEATS)
        unacked = self.nxt - self.acked_to
        if self.ack_now or unacked >= 2 * self.mss or self._window_opens():
            return 1
        if unacked:
            delay = self._config.delayed_ack
            if self._quick or self.fin_at is not None:
                delay = min(delay, self._config.prompt_ack)
            if not delay:
                return 1
            self.delayed_ack_at = min(self.delayed_ack_at, now + delay)
        return 0

    def advertise(self) -> int:
        """The window field of a segment that is sent now, with an acknowledgement of all that is here."""
        edge = self.nxt + self.limit - self.buffered
        if edge - self.edge >= min(self.limit // 2, self.mss):  # RFC 9293 section 3.8.6.2.2
            self.edge = edge
        window = max(0, self.edge - self.nxt)  # a FIN may lie beyond a closed window
        if self._quick and self.nxt > self.acked_to:
            self._quick -= 1
        self.acked_to = self.nxt
        self.dsack = None
        self.ack_now = False
        self.delayed_ack_at = inf
        self.out_of_order = 0
        return min(window >> self.scale, 0xFFFF)

    def sacks(self, count: int) -> tuple[tuple[int, int], ...]:
        """Blocks for a SACK option, in wire form; a duplicate is reported once (RFC 2883)."""
        blocks = self.assembler.blocks(count)
        if self.dsack is not None:
            blocks.insert(0, self.dsack)
        return tuple([(left & MASK, right & MASK) for left, right in blocks[:count]])

    def tune(self, rtt: float, now: float) -> None:
        """A window full was read: double it when that took two round trips at most.

        Then the sender fills the window, and the reader keeps up.
        """
        if now - self._measure_from <= 2 * rtt and self.limit < self._max_limit:
            self.limit = min(2 * self.limit, self._max_limit)
        self._measure_from = now
        self.measure_to = self.nxt - self.buffered + self.limit

    def _window_opens(self) -> bool:
        """The reader made so much room that the sender should hear of it."""
        advertised = self.edge - self.nxt
        if self.acked_to == self.irs + 1 and advertised >= 0x8000:
            return False  # a SYN could say no more; the first acknowledgement will
        opened = self.limit - self.buffered - advertised
        return advertised < self.limit // 2 and opened >= min(self.limit // 2, 2 * self.mss)
