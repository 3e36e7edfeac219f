"""Round-trip time and retransmission timeout (RFC 6298)."""

from __future__ import annotations

from math import inf

_INITIAL_RTO = 1.0  # (2.1)
_INITIAL_RTO_AFTER_SYN_LOSS = 3.0  # (5.7)
_MAX_RTO = 60.0  # (2.5)
_GRANULARITY = 0.001
_MIN_RTT_LIFETIME = 300.0  # RFC 8985 section 6.2 step 1


class RttEstimator:
    """All times are seconds."""

    __slots__ = ("_floor", "_min_at", "latest", "min_rtt", "rto", "rttvar", "srtt")

    def __init__(self, floor: float) -> None:
        self._floor = floor
        self._min_at = -inf
        self.srtt: float | None = None
        self.rttvar = 0.0
        self.rto = _INITIAL_RTO
        self.latest = 0.0
        self.min_rtt = inf

    def sample(self, rtt: float, now: float) -> None:
        """Take a measurement that is not ambiguous (section 3, Karn). It ends any back-off."""
        if self.srtt is None:  # (2.2)
            self.srtt = rtt
            self.rttvar = rtt / 2
        else:  # (2.3)
            self.rttvar += (abs(self.srtt - rtt) - self.rttvar) / 4
            self.srtt += (rtt - self.srtt) / 8
        self.rto = max(self.srtt + max(_GRANULARITY, 4 * self.rttvar), self._floor)
        if self.rto > _MAX_RTO:
            self.rto = _MAX_RTO
        self.latest = rtt
        if rtt <= self.min_rtt or now - self._min_at > _MIN_RTT_LIFETIME:
            self.min_rtt = rtt
            self._min_at = now

    def begin_cautiously(self) -> None:
        """(5.7) The timer of the SYN expired, and what was measured is ambiguous."""
        self.rto = _INITIAL_RTO_AFTER_SYN_LOSS

    def back_off(self) -> None:
        """(5.5) The timer expired."""
        self.rto = min(2 * self.rto, _MAX_RTO)

    def end_back_off(self) -> None:
        """The peer answers again, if only with a window: as if no timer had expired."""
        if self.srtt is not None:
            self.rto = min(max(self.srtt + max(_GRANULARITY, 4 * self.rttvar), self._floor), _MAX_RTO)
        else:
            self.rto = _INITIAL_RTO
