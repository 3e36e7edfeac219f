"""What is in the network: segments sent and not acknowledged, which of them arrived, which are lost.

SACK (RFC 2018) says what arrived; RACK (RFC 8985 section 6) concludes from when each segment was sent which ones are
lost: those sent well before one that arrived.
"""

from __future__ import annotations

from bisect import bisect_left
from math import inf
from operator import attrgetter

from zt_async.stack.tcp.rtt import RttEstimator

_DUP_THRESHOLD = 3  # RFC 5681
_MAX_REORDER_STEPS = 16
_start_of = attrgetter("seq")


class Sent:
    """A segment in the network. It counts as in flight unless it is ``sacked`` or ``lost``."""

    __slots__ = ("end", "flags", "lost", "payload", "retransmitted", "sacked", "sent_at", "seq")

    def __init__(self, seq: int, end: int, payload: bytes, flags: int, sent_at: float) -> None:
        self.seq = seq
        self.end = end
        self.payload = payload
        self.flags = flags
        self.sent_at = sent_at
        self.sacked = False
        self.lost = False
        self.retransmitted = False


class Scoreboard:
    """Sequence numbers are the unwrapped ones of :mod:`zt_async.stack.tcp.seq`."""

    __slots__ = (
        *("_disordered_to", "_dsack_round", "_fack", "_lost", "_rack_end", "_rack_rtt"),
        *("_rack_sent_at", "_reorder_steps", "_reordering", "_sacked_segments", "_seen_blocks"),
        *("disordered", "dsack", "in_flight", "repeated_at", "rtt_sample", "segments"),
    )

    def __init__(self) -> None:
        self.segments: list[Sent] = []
        """In order, without gaps, from the oldest unacknowledged on."""
        self.in_flight = 0
        self.disordered = False
        """Some segment is sacked, lost or was retransmitted: an acknowledgement needs a closer look."""
        self._disordered_to = 0
        self.rtt_sample: float | None = None
        """Of the latest acknowledgement; None where it may be for either of two transmissions (Karn)."""
        self.repeated_at = -inf
        """When the latest repeat was sent of those that the latest acknowledgement is for."""
        self.dsack: tuple[int, int] | None = None
        """What the latest acknowledgement says to have arrived twice (RFC 2883)."""
        self._lost: list[Sent] = []
        self._sacked_segments = 0
        self._seen_blocks: tuple[tuple[int, int], ...] = ()
        self._fack = 0  # highest sequence number delivered
        self._rack_sent_at = -inf
        self._rack_end = 0
        self._rack_rtt = 0.0
        self._reordering = False
        self._reorder_steps = 1  # reo_wnd_mult
        self._dsack_round = 0

    def clear(self) -> None:
        self.segments = []
        self._lost = []
        self.in_flight = 0

    def add(self, flight: list[Sent], size: int) -> None:
        """New segments were sent, together ``size`` of sequence space."""
        self.segments += flight
        self.in_flight += size

    def acknowledge(
        self,
        una: int,
        ack: int,
        sacks: tuple[tuple[int, int], ...],
        rtt: RttEstimator,
        now: float,
        echoed_by: float,
    ) -> int:
        """Take an acknowledgement in; how much of the sequence space it newly reports as delivered.

        ``una`` is the previous cumulative acknowledgement. ``echoed_by`` is when the segment whose timestamp is
        echoed was sent at the latest, ``inf`` without timestamps: it tells a transmission from its repeats.
        """
        self.rtt_sample = None
        self.repeated_at = -inf
        self.dsack = None
        segments = self.segments
        delivered = 0
        if ack > una:
            count = 0
            total = len(segments)
            while count < total and segments[count].end <= ack:
                count += 1
            if not self.disordered:
                if count:
                    oldest, newest = segments[0], segments[count - 1]
                    self.rtt_sample = now - oldest.sent_at
                    self._rack_sent_at = newest.sent_at
                    self._rack_end = newest.end
                    self._rack_rtt = now - newest.sent_at
                    del segments[:count]
                delivered = ack - una
                self.in_flight -= delivered
            else:
                for segment in segments[:count]:
                    sampled = self.rtt_sample
                    delivered += self._deliver(segment, rtt, now, echoed_by)
                    if segment.retransmitted and segment.sent_at > self.repeated_at:
                        self.repeated_at = segment.sent_at
                    if sampled is None and self.repeated_at > -inf:
                        self.rtt_sample = None  # it may have waited for that
                del segments[:count]
            if segments and segments[0].seq < ack:
                delivered += self._acknowledge_part(segments[0], ack)
            if ack > self._fack:
                self._fack = ack
            if self.disordered and ack >= self._disordered_to:
                self._settle()
        if sacks:
            delivered += self._take_sacks(ack, sacks, rtt, now, echoed_by)
        return delivered

    def detect_losses(self, rtt: RttEstimator, now: float, *, recovering: bool) -> tuple[int, float]:
        """RFC 8985 section 6.2 step 5: bytes newly found lost, and when to look again (``inf``: no need)."""
        if not self.disordered:
            return 0, inf
        window = self._reorder_window(rtt, recovering=recovering)
        rack_sent_at, rack_end, patience = self._rack_sent_at, self._rack_end, self._rack_rtt + window
        lost, look_again = 0, inf
        for segment in self.segments:
            if segment.sacked or segment.lost:
                continue
            sent_at = segment.sent_at
            if sent_at > rack_sent_at or (sent_at == rack_sent_at and segment.end >= rack_end):
                if not segment.retransmitted:
                    break  # what follows was sent later still, or again later
                continue
            if sent_at + patience <= now or (window == 0.0 and sent_at <= rack_sent_at):
                self._mark_lost(segment)
                lost += segment.end - segment.seq
            else:
                look_again = min(look_again, sent_at + patience)
        if lost:
            self._lost.sort(key=_start_of)
        return lost, look_again

    def mark_lost_head(self) -> int:
        """Without SACK: the oldest segment is lost (RFC 6582)."""
        head = self.segments[0]
        if head.lost or head.sacked:
            return 0
        self._mark_lost(head)
        return head.end - head.seq

    def mark_all_lost(self) -> None:
        """The retransmission timer expired; or the peer, which had closed its window, has opened it.

        A peer may have given up what it reported as received (RFC 2018 section 8): it has when the oldest
        segment is among that.
        """
        reneged = bool(self.segments) and self.segments[0].sacked
        for segment in self.segments:
            if segment.sacked and reneged:
                segment.sacked = False
                self._sacked_segments -= 1
                self.in_flight += segment.end - segment.seq
            if not segment.sacked and not segment.lost:
                self._mark_lost(segment)
        self._seen_blocks = ()
        self._lost.sort(key=_start_of)

    def forgive(self) -> None:
        """The retransmission timer was wrong (RFC 3522): what it declared lost is still on its way."""
        for segment in self._lost:
            if segment.lost:
                segment.lost = False
                self.in_flight += segment.end - segment.seq
        self._lost.clear()

    def take_lost(self, room: int, now: float, segments: list[Sent]) -> int:
        """Move lost segments, oldest first, to ``segments`` for retransmission while they fit ``room``.

        The first fits when there is room for anything. Returns how much of the room they take.
        """
        taken = done = 0
        for segment in self._lost:
            if segment.lost:
                size = segment.end - segment.seq
                if taken + size > room and (segments or room <= 0):
                    break
                segment.lost = False
                segment.retransmitted = True
                segment.sent_at = now
                segments.append(segment)
                taken += size
            done += 1
        del self._lost[:done]
        self.in_flight += taken
        return taken

    @property
    def has_lost(self) -> bool:
        """Something waits for retransmission."""
        return bool(self._lost)

    def retransmit(self, segment: Sent, now: float) -> None:
        """``segment`` is sent once more, lost or not."""
        if segment.lost:
            segment.lost = False
            self.in_flight += segment.end - segment.seq
        segment.retransmitted = True
        segment.sent_at = now
        self._disorder(segment)

    def split(self, mss: int) -> None:
        """The path takes smaller segments now: cut those that are too large, and send them again."""
        segments: list[Sent] = []
        for segment in self.segments:
            payload = segment.payload
            if len(payload) <= mss or segment.sacked:
                segments.append(segment)
                continue
            if not segment.lost:
                self.in_flight -= segment.end - segment.seq
            for at in range(0, len(payload), mss):
                is_last = at + mss >= len(payload)
                piece = payload[at : at + mss]
                start = segment.seq + at
                end = segment.end if is_last else start + len(piece)
                part = Sent(
                    start, end, piece, segment.flags if is_last else segment.flags & 0x10, segment.sent_at
                )
                part.lost = part.retransmitted = True
                self._disorder(part)
                segments.append(part)
        self.segments = segments
        self._lost = [segment for segment in segments if segment.lost]

    def allow_reordering(self, ack: int) -> None:
        """Something arrived twice: allow for more reordering, once a round trip (RFC 8985 section 6.2 step 4)."""
        if ack >= self._dsack_round:
            self._dsack_round = self.segments[-1].end if self.segments else ack + 1
            self._reorder_steps = min(self._reorder_steps + 1, _MAX_REORDER_STEPS)

    def _deliver(self, segment: Sent, rtt: RttEstimator, now: float, echoed_by: float) -> int:
        """A segment arrived; how much that is news."""
        if segment.sacked:
            self._sacked_segments -= 1
            return 0
        size = segment.end - segment.seq
        if segment.lost:
            segment.lost = False
        else:
            self.in_flight -= size
        sent_at = segment.sent_at
        elapsed = now - sent_at
        # RFC 8985 section 6.2 step 2: an early acknowledgement of a repeat is one of the first transmission.
        if not segment.retransmitted or (echoed_by > sent_at and elapsed >= rtt.min_rtt):
            if self.rtt_sample is None and not segment.retransmitted:
                self.rtt_sample = elapsed
            if sent_at > self._rack_sent_at or (
                sent_at == self._rack_sent_at and segment.end > self._rack_end
            ):
                self._rack_sent_at = sent_at
                self._rack_end = segment.end
                self._rack_rtt = elapsed
        if segment.end > self._fack:
            self._fack = segment.end
        elif segment.end < self._fack and not segment.retransmitted:
            self._reordering = True
        return size

    def _acknowledge_part(self, segment: Sent, ack: int) -> int:
        """The peer cut a segment where it liked."""
        size = ack - segment.seq
        segment.payload = segment.payload[size:]
        segment.seq = ack
        if segment.sacked:
            return 0
        if not segment.lost and self.disordered:
            self.in_flight -= size
        return size if self.disordered else 0  # in the orderly case all of it is counted already

    def _take_sacks(
        self, ack: int, sacks: tuple[tuple[int, int], ...], rtt: RttEstimator, now: float, echoed_by: float
    ) -> int:
        first = sacks[0]
        if first[0] < ack or (len(sacks) > 1 and sacks[1][0] <= first[0] and first[1] <= sacks[1][1]):
            self.dsack = first
            sacks = sacks[1:]
        segments = self.segments
        delivered = 0
        for block in sacks:
            left, right = block
            if block in self._seen_blocks or not segments or right <= ack or right > segments[-1].end:
                continue
            for at in range(bisect_left(segments, left, key=_start_of), len(segments)):
                segment = segments[at]
                if segment.end > right:
                    break
                if not segment.sacked:
                    delivered += self._deliver(segment, rtt, now, echoed_by)
                    segment.sacked = True
                    self._sacked_segments += 1
                    self._disorder(segment)
        self._seen_blocks = sacks
        return delivered

    def _mark_lost(self, segment: Sent) -> None:
        segment.lost = True
        self.in_flight -= segment.end - segment.seq
        self._lost.append(segment)
        self._disorder(segment)

    def _disorder(self, segment: Sent) -> None:
        self.disordered = True
        if segment.end > self._disordered_to:
            self._disordered_to = segment.end

    def _reorder_window(self, rtt: RttEstimator, *, recovering: bool) -> float:
        """RFC 8985 section 6.2 step 4."""
        if not self._reordering and (recovering or self._sacked_segments >= _DUP_THRESHOLD):
            return 0.0
        if rtt.min_rtt == inf:
            return 0.0
        return min(self._reorder_steps * rtt.min_rtt / 4, rtt.srtt or inf)

    def _settle(self) -> None:
        """All that was out of the ordinary is acknowledged."""
        self.disordered = False
        self._lost.clear()
        self._sacked_segments = 0
        self._seen_blocks = ()
