"""What happens to datagrams between two places."""

from __future__ import annotations

import random
from dataclasses import dataclass, fields
from typing import TypeAlias

Fate: TypeAlias = str
"""Empty for a datagram that goes on, else the reason why it does not: the name of its counter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """The qualities of a line, alike in both directions. The default is perfect and takes no time."""

    loss: float = 0.0
    """Share of the datagrams that vanish, independently of each other."""

    delay: float = 0.0
    """Seconds from one end to the other."""

    jitter: float = 0.0
    """Up to so many seconds more, drawn anew for each datagram. A slow one holds up those behind it."""

    reorder: float = 0.0
    """Share of the datagrams that are set aside for ``reorder_delay`` while later ones overtake."""

    reorder_delay: float = 0.010
    """Seconds."""

    duplicate: float = 0.0
    """Share of the datagrams that arrive twice."""

    corrupt: float = 0.0
    """Share of the datagrams that arrive with one bit turned over."""

    bandwidth: float | None = None
    """Bits per second, IP and UDP headers counted; None is without limit."""

    queue: int = 256 * 1024
    """Bytes that wait for the bandwidth; what does not fit is dropped (drop-tail)."""

    mtu: int = 1500
    """Bytes of an IP packet, at most 65535. Larger ones vanish, as where a firewall eats fragments."""

    hops: int = 8
    """A datagram needs a greater TTL to arrive."""

    def __post_init__(self) -> None:
        for name in ("loss", "reorder", "duplicate", "corrupt"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"a link's {name} is a share from 0 to 1, not {getattr(self, name)}")
        for field in fields(self):
            if (value := getattr(self, field.name)) is not None and value < 0:
                raise ValueError(f"a link's {field.name} cannot be negative: {value}")
        if self.mtu > 65535:
            raise ValueError(f"no IP packet has {self.mtu} bytes")
        if self.bandwidth == 0:
            raise ValueError("a link's bandwidth is bits per second, or None; for a dead link use loss=1")


PERFECT = Link()


class Wire:
    """One direction of a link in use: its queue, and the order of what is under way."""

    __slots__ = ("_arrived", "_idle", "link")

    def __init__(self, link: Link) -> None:
        self.link = link
        self._idle = 0.0  # when the last queued bit has gone out
        self._arrived = 0.0  # when the last datagram that was not set aside arrives

    def carry(self, size: int, now: float, rng: random.Random) -> tuple[Fate, float]:
        """Send an IP packet of ``size`` bytes: its fate, and when it is at the other end."""
        link = self.link
        if size > link.mtu:
            return "too large", 0.0
        departure = now
        if link.bandwidth is not None:
            departure = max(now, self._idle)
            if (departure - now) * link.bandwidth + size * 8 > link.queue * 8:
                return "queue full", 0.0
            departure += size * 8 / link.bandwidth
            self._idle = departure
        if link.loss and rng.random() < link.loss:
            return "lost", 0.0
        arrival = departure + link.delay
        if link.jitter:
            arrival += rng.random() * link.jitter
        if link.reorder and rng.random() < link.reorder:
            return "", arrival + link.reorder_delay
        self._arrived = arrival = max(arrival, self._arrived)
        return "", arrival
