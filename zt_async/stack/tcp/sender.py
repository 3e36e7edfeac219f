"""The sending half of a connection: what may be sent when, and what to do about losses.

RFC 9293 section 3.8, RFC 5681, RFC 6298, RFC 6582 (without SACK), RFC 8985 (RACK and tail loss probes, with SACK),
RFC 6937 (proportional rate reduction), RFC 3522 (spurious timeouts).
"""

from __future__ import annotations

from enum import Enum, auto
from math import ceil, inf

from zt_async.config import StackConfig
from zt_async.stack.tcp.congestion import Cubic, NewReno
from zt_async.stack.tcp.hystart import HyStart
from zt_async.stack.tcp.rtt import RttEstimator
from zt_async.stack.tcp.scoreboard import Scoreboard, Sent
from zt_async.stack.tcp.sendqueue import SendQueue
from zt_async.stack.tcp.seq import MASK, unwrap
from zt_async.wire.tcp import ACK, FIN, PSH

_DUP_THRESHOLD = 3
_DELAYED_ACK_ALLOWANCE = 0.05  # what a lone segment may wait for its acknowledgement before it is probed
_PACE_FROM = 0.005  # s of round trip; below that a timer is no finer than the whole window
_PACE_QUANTUM = 0.002  # s worth of data sent at once
_MIN_QUANTUM = 10  # segments
_MIN_PACE = 0.001  # s
_MAX_BURST = 64  # segments in one flight, so that others get their turn and acknowledgements come in


class Recovery(Enum):
    """Why segments are being repeated."""

    NONE = auto()
    FAST = auto()
    """Acknowledgements showed the loss; they also pace the repair."""
    TIMEOUT = auto()


class Sender:
    """Sequence numbers are unwrapped (:mod:`zt_async.stack.tcp.seq`), times monotonic seconds, sizes bytes."""

    __slots__ = (
        *("_config", "_cwnd_limited", "_delivered", "_dup_bytes", "_duplicates", "_hystart"),
        *("_last_sent", "_pace_at", "_pace_credit", "_pace_updated", "_prior", "_recover_from"),
        *("_recovery_end", "_repeated", "_sent_out", "_timed_out_at", "_tlp_end"),
        *("_tlp_repeats", "_urgent", "_window_ack", "_window_seq", "board", "bytes_acked"),
        *("congestion", "fin_sent", "finishing", "iss", "max_window", "mss", "nodelay", "nxt"),
        *("persist_at", "probe_at", "progress_at", "queue", "recovery", "reorder_at", "rto_at"),
        *("rtt", "sack", "timeouts", "timestamp_offset", "timestamps", "total_retransmits"),
        *("una", "window"),
    )

    def __init__(self, config: StackConfig, iss: int, timestamp_offset: int, mss: int) -> None:
        self._config = config
        self.iss = iss
        self.una = iss
        self.nxt = iss
        self.mss = mss
        self.window = 0
        self.max_window = 0
        self.queue = SendQueue()
        self.board = Scoreboard()
        self.rtt = RttEstimator(config.minimum_rto)
        self._hystart: HyStart | None = HyStart()
        self.congestion = (Cubic if config.congestion_control == "cubic" else NewReno)(mss)
        self.nodelay = True
        self.sack = False
        self.timestamps = False
        self.timestamp_offset = timestamp_offset
        self.recovery = Recovery.NONE
        self.rto_at = inf
        self.probe_at = inf  # tail loss probe
        self.reorder_at = inf  # RACK looks again
        self.persist_at = inf
        self.progress_at = 0.0  # when the peer last showed that it takes what is sent
        self.timeouts = 0  # in a row
        self.total_retransmits = 0
        self.bytes_acked = 0
        self.finishing = False
        self.fin_sent = False
        self._window_seq = self._window_ack = 0  # SND.WL1 and SND.WL2
        self._cwnd_limited = False
        self._last_sent = -inf
        self._duplicates = 0
        self._dup_bytes = 0  # without SACK: what duplicate acknowledgements say has arrived
        self._recovery_end = 0
        self._recover_from = 0
        self._delivered = self._sent_out = 0  # of RFC 6937, since recovery began
        self._prior: tuple[int, float] = (0, inf)  # window and threshold before the latest recovery
        self._timed_out_at: float | None = None  # until the first answer to what the timeout repeated
        self._repeated: dict[int, None] = {}  # segments sent again since then, not yet known to be needless
        self._tlp_end: int | None = None
        self._tlp_repeats = False
        self._urgent: list[Sent] = []  # goes out with the next flight, whatever the windows say
        self._pace_at = inf
        self._pace_credit: float = 0.0
        self._pace_updated = -inf

    # -- what the application and the connection ask

    @property
    def in_flight(self) -> int:
        return self.board.in_flight - self._dup_bytes

    @property
    def deadline(self) -> float:
        """The earliest moment at which :meth:`handle_timer` has something to do."""
        return min(self.rto_at, self.probe_at, self.reorder_at, self.persist_at, self._pace_at)

    @property
    def fin_acked(self) -> bool:
        return self.fin_sent and self.una == self.nxt

    def finish(self) -> None:
        """A FIN follows what is queued."""
        self.finishing = True

    def timestamp(self, now: float) -> int:
        """TSval: milliseconds from a secret start (RFC 7323 section 5.4)."""
        return (int(now * 1000) + self.timestamp_offset) & MASK

    def echoed_by(self, echo: int | None, now: float) -> float:
        """The end of the millisecond whose TSval is echoed; ``inf`` without timestamps."""
        if echo is None:
            return inf
        clock = int(now * 1000)
        return (unwrap((echo - self.timestamp_offset) & MASK, clock) + 1) / 1000

    def established(self, window: int, seq: int, ack: int, now: float) -> None:
        """The handshake is over."""
        self.una = self.nxt = self.iss + 1
        self.window = self.max_window = window
        self._window_seq, self._window_ack = seq, ack
        self.progress_at = now

    def set_mss(self, mss: int) -> None:
        """The path changed. Smaller: what was too large for it is sent again at once (RFC 8201 section 5.4)."""
        if mss == self.mss:
            return
        self.congestion.set_mss(mss)
        if mss < self.mss:
            self.board.split(mss)
        self.mss = mss

    def clear(self) -> None:
        """The connection is over; hold nothing and want nothing."""
        self.queue.clear()
        self.board.clear()
        self.rto_at = self.probe_at = self.reorder_at = self.persist_at = self._pace_at = inf

    # -- acknowledgements

    def update_window(self, seq: int, ack: int, window: int, now: float) -> bool:
        """RFC 9293 section 3.10.7.4; False where a later segment has already told more."""
        if not (self._window_seq < seq or (self._window_seq == seq and self._window_ack <= ack)):
            return False
        self._window_seq, self._window_ack = seq, ack
        if window and not self.window and self.board.segments:
            self.board.mark_all_lost()  # probes, or what was sent when the window closed
            self.rtt.end_back_off()
            self.rto_at = now + self.rtt.rto
        self.window = window
        if window:
            self.persist_at = inf
        if window > self.max_window:
            self.max_window = window
        return True

    def acknowledge(
        self, ack: int, sacks: tuple[tuple[int, int], ...], echo: int | None, now: float, *, duplicate: bool
    ) -> None:
        """Take in an acknowledgement, ``una <= ack <= nxt``.

        ``duplicate`` in the sense of RFC 5681: it has no data, no news for the window, and something is out.
        """
        una = self.una
        if not self.window:
            self.progress_at = now  # a closed window that is confirmed is no dead peer
        if ack == una and not sacks and not duplicate:
            return
        board = self.board
        echoed_by = self.echoed_by(echo, now) if board.disordered or self._tlp_end is not None else inf
        delivered = board.acknowledge(una, ack, sacks, self.rtt, now, echoed_by)
        if ack > una:
            self.una = ack
            self.bytes_acked += ack - una
            self.progress_at = now
            self.timeouts = 0
            self._measure(echoed_by, now)
            if self._timed_out_at is not None:
                self._check_timeout(echoed_by, self._timed_out_at)
        if not self.sack:
            delivered = self._count_duplicate(ack, una, delivered, duplicate)
        if self._tlp_end is not None:
            self._end_probe(ack, self._tlp_end, now)
        if board.dsack is not None:
            board.allow_reordering(ack)
            self._forget_repeat(board.dsack[0])

        recovered = self.recovery is not Recovery.NONE and ack >= self._recovery_end
        if recovered:
            self._end_recovery()
        lost = self._find_losses(ack, una, now)
        if lost and self.recovery is Recovery.NONE:
            self._begin_recovery(self.nxt - una, now)
        if self.recovery is Recovery.FAST:
            self._reduce_rate(delivered, advanced=ack > una and not lost)
        elif ack > una and not recovered and (self._cwnd_limited or self.recovery is Recovery.TIMEOUT):
            self._grow(ack - una, ack, now)

        if not board.segments:
            self.rto_at = self.probe_at = self.reorder_at = inf
        elif ack > una:
            self.rto_at = now + self.rtt.rto  # RFC 6298 (5.3)
            self._schedule_probe(now)

    def _grow(self, acked: int, ack: int, now: float) -> None:
        """The window was used up and all went well."""
        congestion = self.congestion
        hystart = self._hystart
        if hystart is not None and congestion.in_slow_start:
            acked = hystart.growth(acked, ack, self.nxt, self.rtt.latest)
            if hystart.finished:
                self._hystart = None
                congestion.ssthresh = congestion.cwnd
        congestion.on_ack(acked, now, self.rtt.srtt or 0.0)

    def _measure(self, echoed_by: float, now: float) -> None:
        """The round trip. After losses the echo tells what the acknowledgement answers, if there is one.

        Without SACK an answer to what was sent before a repeat may be the second, after a first that was lost; with it
        the duplicate is reported.
        """
        if self.board.dsack is not None:  # the first answer was lost; this is a late one
            self.rtt.end_back_off()
        elif not self.sack and echoed_by < self.board.repeated_at:
            return
        elif echoed_by != inf:
            self.rtt.sample(max(0.0, now - echoed_by + 0.001), now)
        elif self.board.rtt_sample is not None:
            self.rtt.sample(self.board.rtt_sample, now)

    def _count_duplicate(self, ack: int, una: int, delivered: int, duplicate: bool) -> int:
        """Without SACK: each duplicate acknowledgement says that one more segment arrived."""
        if ack > una:
            known, self._dup_bytes = self._dup_bytes, max(0, self._dup_bytes - (ack - una))
            if self.recovery is Recovery.NONE:
                self._duplicates = self._dup_bytes = 0
            return max(0, delivered - known)
        if not duplicate:
            return 0
        self._duplicates += 1
        counted = min(self.mss, max(0, self.board.in_flight - self._dup_bytes - self.mss))
        self._dup_bytes += counted
        return counted

    def _find_losses(self, ack: int, una: int, now: float) -> int:
        board = self.board
        if not board.segments:
            return 0
        if self.sack:
            lost, self.reorder_at = board.detect_losses(
                self.rtt, now, recovering=self.recovery is not Recovery.NONE
            )
            return lost
        partial = self.recovery is Recovery.FAST and ack > una  # RFC 6582 section 3.2 step 3
        if partial or (self.recovery is Recovery.NONE and self._duplicates == _DUP_THRESHOLD):
            return board.mark_lost_head()
        return 0

    def _begin_recovery(self, flight_size: int, now: float) -> None:
        self._recover_from = flight_size
        self._delivered = self._sent_out = 0
        self._slow_down()
        self.congestion.on_congestion(flight_size, now)
        self.recovery = Recovery.FAST
        self._recovery_end = self.nxt
        self.probe_at = inf

    def _slow_down(self) -> None:
        """Congestion: remember what the window was, in case it is none."""
        self._prior = (self.congestion.cwnd, self.congestion.ssthresh)
        self._repeated.clear()
        self._timed_out_at = None
        self._hystart = None  # it is for the first slow start

    def _end_recovery(self) -> None:
        if self.recovery is Recovery.FAST:
            self.congestion.cwnd = max(int(min(self.congestion.ssthresh, 1 << 40)), self.mss)
        self.recovery = Recovery.NONE
        self._duplicates = self._dup_bytes = 0
        self._timed_out_at = None

    def _reduce_rate(self, delivered: int, *, advanced: bool) -> None:
        """RFC 6937: let the window shrink to the threshold while acknowledgements of the old one come in."""
        congestion, in_flight = self.congestion, self.in_flight
        self._delivered += delivered
        ssthresh = congestion.ssthresh
        if in_flight > ssthresh:
            allowed = ceil(self._delivered * ssthresh / self._recover_from) - self._sent_out
        else:
            limit = max(self._delivered - self._sent_out, delivered) + (self.mss if advanced else 0)
            allowed = int(min(ssthresh - in_flight, limit))
        if not self._sent_out:
            allowed = max(allowed, self.mss)  # the retransmission that recovery begins with
        congestion.cwnd = max(in_flight + allowed, self.mss)

    def _check_timeout(self, echoed_by: float, timed_out_at: float) -> None:
        """RFC 3522: an echo from before the timeout means that what was repeated had arrived."""
        self._timed_out_at = None
        if echoed_by <= timed_out_at:
            self.board.forgive()
            self._undo()

    def _forget_repeat(self, seq: int) -> None:
        """RFC 3708: when everything that was repeated had arrived, there was reordering and no congestion."""
        if seq in self._repeated:
            del self._repeated[seq]
            if not self._repeated:
                self._undo()

    def _undo(self) -> None:
        self._end_recovery()
        self.congestion.restore(*self._prior)

    # -- timers

    def timed_out(self, now: float, user_timeout: float) -> bool:
        """Data is out, and for ``user_timeout`` the peer has not shown that it lives."""
        return bool(self.board.segments) and now >= self.progress_at + user_timeout

    def handle_timer(self, now: float) -> None:
        """Do what is due; what is to be sent comes with the next flight."""
        if self._pace_at <= now:
            self._pace_at = inf
        if self.reorder_at <= now and self._find_losses(self.una, self.una, now):
            if self.recovery is Recovery.NONE:
                self._begin_recovery(self.nxt - self.una, now)
            if self.recovery is Recovery.FAST:
                self._reduce_rate(0, advanced=False)
        if self.probe_at <= now:
            self.probe_at = inf
            self._send_probe(now)
        if self.persist_at <= now:
            self.persist_at = inf
            self._probe_window(now)
        if self.rto_at <= now:
            self.rto_at = inf
            self._time_out(now)

    def _time_out(self, now: float) -> None:
        """RFC 6298 section 5, RFC 5681 section 3.1."""
        board = self.board
        self.rtt.back_off()
        self.probe_at = self.reorder_at = inf
        self._tlp_end = None
        if not self.window:  # a probe was lost or not taken: no sign of congestion
            self._repeat(board.segments[0], now)
            return
        self.timeouts += 1
        if self.timeouts == 1:
            self._slow_down()
            self._timed_out_at = now if self.timestamps else None
            self.congestion.on_timeout(self.nxt - self.una, now)
        self.congestion.cwnd = self.mss
        self._duplicates = self._dup_bytes = 0
        self._pace_credit = self.mss
        board.mark_all_lost()
        self.recovery = Recovery.TIMEOUT
        self._recovery_end = self.nxt

    def _send_probe(self, now: float) -> None:
        """RFC 8985 section 7.3: draw out an acknowledgement, so that a lost tail costs no timeout."""
        segments = self.board.segments
        if not segments:
            return
        size = min(self.queue.size, self.mss)
        self._tlp_repeats = not size or self.una + self.window < self.nxt + size
        if self._tlp_repeats:
            self._repeat(segments[-1], now)
        else:
            self._urgent.append(self._cut(size, now))
        self._tlp_end = self.nxt
        self.rto_at = now + self.rtt.rto

    def _end_probe(self, ack: int, end: int, now: float) -> None:
        """RFC 8985 section 7.4.2: was the probe needed?"""
        dsack = self.board.dsack
        if ack < end:
            return
        if not self._tlp_repeats or (dsack is not None and dsack[1] == end):
            self._tlp_end = None
        elif ack > end:  # it repaired a loss
            self._tlp_end = None
            if self.recovery is Recovery.NONE:
                self.congestion.on_congestion(max(self.nxt - self.una, self.mss), now)
                self.congestion.cwnd = int(self.congestion.ssthresh)
        elif not self.board.segments:
            self._tlp_end = None

    def _schedule_probe(self, now: float) -> None:
        """RFC 8985 section 7.2."""
        board = self.board
        self.probe_at = inf
        if not self.sack or not board.segments or self._tlp_end is not None or not self.window:
            return
        if self.recovery is not Recovery.NONE:
            return
        wait = 1.0 if self.rtt.srtt is None else 2 * self.rtt.srtt
        if len(board.segments) == 1:
            wait += _DELAYED_ACK_ALLOWANCE
        if now + wait < self.rto_at:
            self.probe_at = now + wait

    def _probe_window(self, now: float) -> None:
        """RFC 9293 section 3.8.6.1 and, where the window is not closed but small, the override of 3.8.6.2.1."""
        if self.board.segments:
            return
        if self.queue.size:
            size = max(1, min(self.una + self.window - self.nxt, self.mss, self.queue.size))
            self._urgent.append(self._cut(size, now))
        elif self.finishing and not self.fin_sent:
            self._urgent.append(self._cut_fin(now))

    def _repeat(self, segment: Sent, now: float) -> None:
        self.board.retransmit(segment, now)
        self.total_retransmits += 1
        self._urgent.append(segment)

    # -- output

    def next_flight(self, now: float) -> list[Sent]:
        """What may be sent now, in order; it counts as sent."""
        flight, self._urgent = self._urgent, []
        board, congestion = self.board, self.congestion
        if not self.queue.size and not board.has_lost and (self.fin_sent or not self.finishing):
            self._sent(flight, now)
            return flight
        if not board.segments and self._last_sent + self.rtt.rto < now:
            congestion.on_idle()
        room = congestion.cwnd - self.in_flight
        credit = self._pace(now)
        budget = min(room, credit)
        before = len(flight)
        if board.has_lost:
            budget -= board.take_lost(budget, now, flight)
            self.total_retransmits += len(flight) - before
            if self.recovery is not Recovery.NONE:
                self._repeated.update([(segment.seq, None) for segment in flight[before:]])
        stopped = board.has_lost
        if not stopped:
            stopped = self._cut_new(budget, flight, now)
        size = sum([segment.end - segment.seq for segment in flight])
        if self.recovery is Recovery.FAST:
            self._sent_out += size
        # RFC 7661: a window that was not used to the half says nothing about the path, and must not grow.
        half_used = 2 * self.in_flight >= congestion.cwnd
        self._cwnd_limited = half_used and (stopped or congestion.in_slow_start)
        if self._is_paced:
            self._pace_credit -= size
        if stopped and credit < room:
            self._pace_at = self._next_pace(now)
        if not board.segments and not stopped and self.persist_at == inf:
            self.persist_at = now + self.rtt.rto  # the window is what holds us back
        self._sent(flight, now)
        return flight

    def _cut_new(self, budget: int, flight: list[Sent], now: float) -> bool:
        """Add new segments; whether the budget was what ended that."""
        queue, mss = self.queue, self.mss
        waiting = queue.size
        seq = start = self.nxt
        usable = self.una + self.window - seq
        stopped = False
        fresh: list[Sent] = []
        while waiting:
            size = min(waiting, mss)
            if size > budget:
                stopped = True
                break
            if size > usable:
                if usable <= 0 or 2 * usable < self.max_window:  # RFC 9293 section 3.8.6.2.1
                    break
                size = usable
            elif size < mss and seq > self.una and not (self.nodelay or self.finishing):  # Nagle
                break
            end = seq + size
            fresh.append(Sent(seq, end, queue.take(size), ACK, now))
            seq = end
            waiting -= size
            budget -= size
            usable -= size
        if fresh and not waiting:
            fresh[-1].flags = ACK | PSH
        if self.finishing and not waiting and not self.fin_sent and usable > 0:
            if fresh:
                last = fresh[-1]
                last.flags |= FIN
                last.end += 1
                self.fin_sent = True
                seq += 1
            else:
                flight.append(self._cut_fin(now))
                return False
        if fresh:
            self.board.add(fresh, seq - start)
            self.nxt = seq
            flight += fresh
        return stopped

    def _cut(self, size: int, now: float) -> Sent:
        """One segment of the next ``size`` bytes, whatever the windows say."""
        segment = Sent(self.nxt, self.nxt + size, self.queue.take(size), ACK | PSH, now)
        self.board.add([segment], size)
        self.nxt += size
        return segment

    def _cut_fin(self, now: float) -> Sent:
        segment = Sent(self.nxt, self.nxt + 1, b"", ACK | FIN, now)
        self.board.add([segment], 1)
        self.nxt += 1
        self.fin_sent = True
        return segment

    def _sent(self, flight: list[Sent], now: float) -> None:
        """Start the timers of what is out."""
        if self.rto_at == inf and self.board.segments:
            self.rto_at = now + self.rtt.rto  # RFC 6298 (5.1)
        if flight:
            if flight[0].seq == self.una and not flight[0].retransmitted:
                self.progress_at = now  # the wait for an acknowledgement begins
            self._last_sent = now
            self._schedule_probe(now)

    # -- pacing

    @property
    def _is_paced(self) -> bool:
        srtt = self.rtt.srtt
        return self._config.pacing and srtt is not None and srtt >= _PACE_FROM

    def _pace(self, now: float) -> int:
        """How many bytes may go in one flight: what the path takes at once without overrunning its queues."""
        if not self._is_paced:
            return _MAX_BURST * self.mss
        elapsed = now - self._pace_updated
        self._pace_updated = now
        self._pace_credit = min(self._pace_credit + elapsed * self._rate(), self._quantum())
        return int(self._pace_credit)

    def _next_pace(self, now: float) -> float:
        """When the next flight may go."""
        if not self._is_paced:
            return now
        return now + max(_MIN_PACE, (self._quantum() / 2 - self._pace_credit) / self._rate())

    def _rate(self) -> float:
        """Bytes a second: somewhat more than a window for each round trip, so that the window still rules."""
        congestion = self.congestion
        return congestion.cwnd / (self.rtt.srtt or 1.0) * (2.0 if congestion.in_slow_start else 1.25)

    def _quantum(self) -> float:
        return max(self._rate() * _PACE_QUANTUM, _MIN_QUANTUM * self.mss)
