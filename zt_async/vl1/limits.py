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
        self._full_at: dict[bytes, float] = {}
        """When a prefix's bucket is full again; one token is ``interval`` seconds."""

    def allow(self, ip: IPAddress, now: float) -> bool:
        """Take one token, if there is one."""
        prefix = ip.packed[: 3 if ip.version == 4 else 6]
        full_at = max(self._full_at.pop(prefix, now), now) + self._interval
        allowed = full_at - now <= self._burst * self._interval
        if len(self._full_at) >= MAX_PREFIXES:
            del self._full_at[next(iter(self._full_at))]
        self._full_at[prefix] = full_at if allowed else full_at - self._interval
        return allowed
