"""Whole networks in one process, on simulated time and from one seed (DESIGN 3)."""

from zt_async.testing.clock import SimClock, seeded_context
from zt_async.testing.host import Datagram, Host, Middlebox
from zt_async.testing.identities import throwaway_identity
from zt_async.testing.link import Link
from zt_async.testing.loop import VirtualLoop, run
from zt_async.testing.node import SimNode
from zt_async.testing.pcap import Capture, PcapWriter, datagram_frame
from zt_async.testing.simnet import Core, SimNet
from zt_async.testing.trace import Trace, TraceEntry
from zt_async.testing.udp import SimUdp
from zt_async.testing.world import PrivateWorld, private_world

__all__ = [
    "Capture",
    "Core",
    "Datagram",
    "Host",
    "Link",
    "Middlebox",
    "PcapWriter",
    "PrivateWorld",
    "SimClock",
    "SimNet",
    "SimNode",
    "SimUdp",
    "Trace",
    "TraceEntry",
    "VirtualLoop",
    "datagram_frame",
    "private_world",
    "run",
    "seeded_context",
    "throwaway_identity",
]
