"""HyStart++ (RFC 9406): leave the first slow start when the round trip grows, before a queue overflows."""

from __future__ import annotations

from math import inf
from typing import Final

_MIN_THRESHOLD: Final = 0.004  # s, MIN_RTT_THRESH
_MAX_THRESHOLD: Final = 0.016  # s, MAX_RTT_THRESH
_DIVISOR: Final = 8  # MIN_RTT_DIVISOR
_GROWTH_DIVISOR: Final = 4  # CSS_GROWTH_DIVISOR
_ROUNDS: Final = 5  # CSS_ROUNDS
# N_RTT_SAMPLE is 8 in the RFC; a receiver that works in batches sends fewer acknowledgements for as many segments.
_SAMPLES: Final = 3


class HyStart:
    """The state of section 4.2; ``finished`` once slow start is to end for good."""

    __slots__ = ("_baseline", "_css_rounds", "_last_min", "_round_end", "_round_min", "_samples", "finished")

    def __init__(self) -> None:
        self.finished = False
        self._round_end = 0
        self._round_min = inf
        self._last_min = inf
        self._samples = 0
        self._baseline = inf
        """The round trip above which conservative slow start was entered; inf outside of it."""
        self._css_rounds = 0

    def growth(self, acked: int, ack: int, nxt: int, rtt: float) -> int:
        """How many bytes the window may grow for ``acked`` bytes up to ``ack``; ``nxt`` is the next to send."""
        if ack >= self._round_end:
            self._begin_round(nxt)
        self._round_min = min(self._round_min, rtt)
        self._samples += 1
        if self._baseline < inf:
            if self._samples >= _SAMPLES and self._round_min < self._baseline:
                self._baseline = inf  # the growth was no queue
                self._css_rounds = 0
                return acked
            return acked // _GROWTH_DIVISOR
        if self._samples >= _SAMPLES and self._last_min < inf:
            threshold = min(max(self._last_min / _DIVISOR, _MIN_THRESHOLD), _MAX_THRESHOLD)
            if self._round_min >= self._last_min + threshold:
                self._baseline = self._round_min
        return acked

    def _begin_round(self, end: int) -> None:
        self._round_end = end
        if self._samples:
            self._last_min = self._round_min
        self._round_min = inf
        self._samples = 0
        if self._baseline < inf:
            self._css_rounds += 1
            self.finished = self._css_rounds >= _ROUNDS
