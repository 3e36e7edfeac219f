"""Congestion control: NewReno (RFC 5681, RFC 6582) and CUBIC (RFC 9438). Windows are bytes."""

from __future__ import annotations

from math import inf

_CUBE = 0.4  # C of RFC 9438
_BETA = 0.7
_ALPHA = 3 * (1 - _BETA) / (1 + _BETA)


class NewReno:
    """Additive increase, multiplicative decrease; also the frame that CUBIC fills in differently.

    During fast recovery the sender steers ``cwnd`` itself (RFC 6937) and tells nothing here.
    """

    __slots__ = ("_credit", "cwnd", "mss", "ssthresh")

    beta = 0.5

    def __init__(self, mss: int) -> None:
        self.mss = mss
        self.cwnd = initial_window(mss)
        self.ssthresh: float = inf
        self._credit = 0.0  # acknowledged bytes that have not grown the window yet

    @property
    def in_slow_start(self) -> bool:
        return self.cwnd < self.ssthresh

    def on_ack(self, acked: int, now: float, rtt: float) -> None:
        """``acked`` bytes left the network while the window was what held the sender back.

        In slow start the window grows by all of them (RFC 3465 without its limit): receivers that work in
        batches acknowledge many segments at once.
        """
        if self.cwnd < self.ssthresh:
            grown = min(acked, max(0, self.ssthresh - self.cwnd))
            self.cwnd += int(grown)
            acked -= int(grown)
        if acked > 0:
            self._avoid_congestion(acked, now, rtt)

    def on_congestion(self, in_flight: int, now: float) -> None:
        """A loss was seen while acknowledgements keep coming: the new threshold (RFC 5681 equation 4)."""
        self.ssthresh = max(int(in_flight * self.beta), 2 * self.mss)

    def on_timeout(self, in_flight: int, now: float) -> None:
        """The retransmission timer expired: threshold, and a window of one segment."""
        self.on_congestion(in_flight, now)
        self.cwnd = self.mss
        self._credit = 0.0

    def restore(self, cwnd: int, ssthresh: float) -> None:
        """The latest congestion was none: as before (RFC 4015)."""
        self.cwnd = max(self.cwnd, cwnd)
        self.ssthresh = max(self.ssthresh, ssthresh)

    def on_idle(self) -> None:
        """RFC 5681 section 4.1: what an idle connection knew is outdated."""
        self.cwnd = min(self.cwnd, initial_window(self.mss))

    def set_mss(self, mss: int) -> None:
        """The path changed: keep the number of segments."""
        self.cwnd = max(mss, self.cwnd * mss // self.mss)
        self.mss = mss

    def _avoid_congestion(self, acked: int, now: float, rtt: float) -> None:
        self._credit += acked
        if self._credit >= self.cwnd:
            segments = int(self._credit // self.cwnd)
            self._credit -= segments * self.cwnd
            self.cwnd += segments * self.mss


class Cubic(NewReno):
    """Grows with the time since the last loss, so long paths fill as fast as short ones."""

    __slots__ = ("_epoch", "_k", "_prior", "_w_est", "w_max")

    beta = _BETA

    def __init__(self, mss: int) -> None:
        super().__init__(mss)
        self.w_max = 0.0  # segments, as all of RFC 9438's windows
        self._prior = 0.0  # cwnd_prior
        self._w_est = 0.0
        self._epoch: float | None = None
        self._k = 0.0

    def on_congestion(self, in_flight: int, now: float) -> None:
        window = min(self.cwnd, max(in_flight, self.mss)) / self.mss
        self._prior = window
        # Fast convergence, section 4.7: give bandwidth up to newcomers.
        self.w_max = window * (1 + _BETA) / 2 if window < self.w_max else window
        self._epoch = None
        self.ssthresh = max(int(window * self.mss * _BETA), 2 * self.mss)

    def on_idle(self) -> None:
        super().on_idle()
        self._epoch = None  # section 5.8: an application-limited time is no time to grow in

    def _avoid_congestion(self, acked: int, now: float, rtt: float) -> None:
        window = self.cwnd / self.mss
        if self._epoch is None:
            self._epoch = now
            self.w_max = max(self.w_max, window)
            self._k = ((self.w_max - window) / _CUBE) ** (1 / 3)
            self._w_est = window
        elapsed = now - self._epoch
        segments = acked / self.mss
        # Section 4.3, the Reno-friendly region.
        self._w_est += (_ALPHA if self._w_est < self._prior else 1.0) * segments / window
        cubic = _CUBE * (elapsed - self._k) ** 3 + self.w_max
        if cubic < self._w_est:
            grown = max(window, self._w_est)
        else:  # sections 4.4 and 4.5
            target = min(max(_CUBE * (elapsed + rtt - self._k) ** 3 + self.w_max, window), 1.5 * window)
            grown = window + (target - window) * min(segments / window, 1.0)
        self._credit += (grown - window) * self.mss
        whole = int(self._credit)
        self._credit -= whole
        self.cwnd += whole


def initial_window(mss: int) -> int:
    """RFC 6928: ten segments.

    Its byte bound of 14600 keeps the sum as on an MTU of 1500; here it is the number of packets that a path
    has to queue, and the overlay sends each in pieces of its own.
    """
    return 10 * mss
