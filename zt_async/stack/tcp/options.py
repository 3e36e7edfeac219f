"""What an application may set on a connection, and what it may learn about it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class TcpOptions:
    """Settings of one connection; times are seconds, sizes bytes. None: as the stack's settings say."""

    nodelay: bool = True
    """Send small segments at once (Nagle's algorithm is off)."""

    keepalive: bool = False
    """Probe a silent peer; it is dead with ETIMEDOUT after ``keepalive_count`` probes without an answer."""

    keepalive_idle: float = 7200.0
    keepalive_interval: float = 75.0
    keepalive_count: int = 9

    user_timeout: float | None = None
    """Fail with ETIMEDOUT when data stays unacknowledged for so long (RFC 5482)."""

    linger: float | None = None
    """0: close() resets the connection. More: close() resets it after so long. None: close() takes its time."""

    send_buffer: int | None = None
    """Upper bound of ``TcpConnection.send_target``."""

    receive_buffer: int | None = None
    """Fixed receive window instead of one that grows."""

    hop_limit: int | None = None
    traffic_class: int = 0

    def __post_init__(self) -> None:
        for name in (
            "keepalive_idle",
            "keepalive_interval",
            "keepalive_count",
            "user_timeout",
            "send_buffer",
        ):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ValueError(f"{name} is more than 0, not {value}")
        if self.linger is not None and self.linger < 0:
            raise ValueError(f"linger is 0 or more, not {self.linger}")
        if self.receive_buffer is not None and not 2048 <= self.receive_buffer <= 1 << 30:
            raise ValueError(f"receive_buffer is 2048 to 1 GiB, not {self.receive_buffer}")
        if self.hop_limit is not None and not 1 <= self.hop_limit <= 255:
            raise ValueError(f"hop_limit is 1 to 255, not {self.hop_limit}")
        if not 0 <= self.traffic_class <= 255:
            raise ValueError(f"traffic_class is 0 to 255, not {self.traffic_class}")


@dataclass(frozen=True, slots=True, kw_only=True)
class TcpInfo:
    """A connection at one moment, in the manner of Linux's TCP_INFO; times are seconds, sizes bytes."""

    state: str
    rtt: float | None
    """Smoothed; None before the first measurement."""
    rtt_variance: float
    minimum_rtt: float | None
    retransmission_timeout: float
    mss: int
    """Payload of a full segment to the peer."""
    congestion_window: int
    slow_start_threshold: int | None
    """None until the first congestion."""
    recovery: str
    """``none``, ``fast`` or ``timeout``."""
    send_window: int
    """What the peer lets us have in flight."""
    receive_window: int
    in_flight: int
    unacked: int
    unsent: int
    unread: int
    retransmits: int
    """Segments, since the beginning."""
    timeouts: int
    """Retransmission timeouts in a row."""
    bytes_acked: int
    bytes_received: int
    sack: bool
    timestamps: bool
    send_scale: int
    receive_scale: int
