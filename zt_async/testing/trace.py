"""What happened on the simulated network, for digests, captures and looking at failures."""

from __future__ import annotations

import hashlib
from collections import deque
from typing import NamedTuple

from zt_async.testing.host import Datagram


class TraceEntry(NamedTuple):
    """One event in a datagram's life."""

    time: float
    """Simulated monotonic seconds."""

    event: str
    """``sent``, ``delivered``, or why it was dropped: the name of the counter in ``SimNet.counts``."""

    datagram: Datagram

    def __str__(self) -> str:
        source, destination, payload, ttl = self.datagram
        return f"{self.time:.6f} {self.event}: {source} > {destination}, {len(payload)} bytes, ttl {ttl}"


class Trace:
    """Observes a SimNet: holds its last events, and a digest over all of them."""

    def __init__(self, keep: int | None = None) -> None:
        """``keep`` bounds how many entries are held; None holds all."""
        self.entries: deque[TraceEntry] = deque(maxlen=keep)
        self._hash = hashlib.sha256()

    def __call__(self, entry: TraceEntry) -> None:
        self.entries.append(entry)
        self._hash.update(f"{entry}\n".encode())
        self._hash.update(entry.datagram.payload)

    def digest(self) -> str:
        """Equal for two runs in which the same datagrams met the same fate at the same times."""
        return self._hash.hexdigest()
