"""Whole networks in one process, on simulated time and from one seed (DESIGN 3)."""

from zt_async.testing.clock import SimClock, seeded_context
from zt_async.testing.host import Datagram, Host, Middlebox
from zt_async.testing.link import Link
from zt_async.testing.simnet import Core, SimNet
from zt_async.testing.trace import Trace, TraceEntry

__all__ = [
    "Core",
    "Datagram",
    "Host",
    "Link",
    "Middlebox",
    "SimClock",
    "SimNet",
    "Trace",
    "TraceEntry",
    "seeded_context",
]
