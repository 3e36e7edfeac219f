"""What the parts of one stack share: settings, randomness, counters, timers, and lists of who has something."""

from __future__ import annotations

import os
from collections import Counter
from typing import TYPE_CHECKING, Protocol

from zt_async.config import StackConfig
from zt_async.context import Context
from zt_async.stack.timers import TimerQueue

if TYPE_CHECKING:
    from zt_async.stack.interface import Interface


def os_error(code: int) -> OSError:
    """The OSError of a code: of its own class (ConnectionRefusedError, TimeoutError, ...) where it has one."""
    return OSError(code, os.strerror(code))


class Socket:
    """Base of what an application holds. ``owner`` is free for whoever drives the stack."""

    __slots__ = ("__weakref__", "owner", "ready")

    def __init__(self) -> None:
        self.owner: object | None = None
        self.ready = False  # is in the list that take_ready() gives out


class Transmitter(Protocol):
    """Something that may have packets to send when it is asked."""

    scheduled: bool

    def transmit(self, now: float) -> None: ...


class Host:
    """Shared by the interfaces, layers and sockets of one stack."""

    __slots__ = (
        *("config", "context", "counters", "error_limit", "generation", "loopback", "looped"),
        *("ready", "scheduled", "timers"),
    )

    def __init__(self, context: Context, config: StackConfig) -> None:
        self.context = context
        self.config = config
        self.counters: Counter[str] = Counter()
        self.timers = TimerQueue()
        self.generation = 0  # counts the changes of addresses, routes and MTUs that outdate a cached flow
        self.ready: list[Socket] = []
        self.scheduled: list[Transmitter] = []
        self.loopback: list[bytes] = []  # packets from this stack to itself
        self.looped: list[tuple[Interface, bytes]] = []  # to groups that this stack is in as well
        self.error_limit = TokenBucket(config.icmp_errors_per_second, config.icmp_errors_per_second)

    def mark_ready(self, socket: Socket) -> None:
        """Something changed that the socket's user can see."""
        if not socket.ready:
            socket.ready = True
            self.ready.append(socket)

    def schedule(self, transmitter: Transmitter) -> None:
        """Call ``transmitter.transmit`` when packets are collected next."""
        if not transmitter.scheduled:
            transmitter.scheduled = True
            self.scheduled.append(transmitter)


class TokenBucket:
    """A rate limit that allows bursts."""

    __slots__ = ("_burst", "_rate", "_tokens", "_updated")

    def __init__(self, rate: float, burst: float) -> None:
        self._rate = rate
        self._burst = self._tokens = burst
        self._updated = 0.0

    def take(self, now: float) -> bool:
        """Whether one more is allowed at ``now``."""
        self._tokens = min(self._burst, self._tokens + self._rate * max(0.0, now - self._updated))
        self._updated = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
