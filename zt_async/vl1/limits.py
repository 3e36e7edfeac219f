"""Rate limits on what strangers can make us do. vl1.md 7."""

from __future__ import annotations

from typing import Final

from zt_async.types import IPAddress

MAX_PREFIXES: Final = 16_384


class PrefixLimit:
    """A token bucket for each source prefix: IPv4 /24, IPv6 /48. Bounded: the least recent prefix is forgotten."""

    def __init__(self, burst: int, interval: float) -> None:
        self._burst = burst
        self._interval = interval
        self._buckets: dict[bytes, tuple[float, float]] = {}
        """The tokens that a prefix had left, and when."""

    def allow(self, ip: IPAddress, now: float) -> bool:
        """Take one token, if there is one."""
        prefix = ip.packed[: 3 if ip.version == 4 else 6]
        left, at = self._buckets.pop(prefix, (self._burst, now))
        tokens = min(left + (now - at) / self._interval, self._burst)
        allowed = tokens >= 1
        if len(self._buckets) >= MAX_PREFIXES:
            del self._buckets[next(iter(self._buckets))]
        self._buckets[prefix] = (tokens - 1, now) if allowed else (left, at)
        return allowed
