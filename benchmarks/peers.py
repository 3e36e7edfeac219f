"""The two kinds of nodes that are measured. Both are processes with the same verbs."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.interop.libzt_peer import LibztPeer
from tests.interop.namespaces import Host
from tests.interop.peer import Peer

CHECKOUT = Path(__file__).parents[1]


class OursPeer(Peer):
    """A node of ours, driven by ``ours.py``."""

    def __init__(self, host: Host) -> None:
        program = ["env", f"PYTHONPATH={CHECKOUT}", sys.executable, "-m", "benchmarks.ours"]
        super().__init__(host, program, f"ours-{host.name}")


def make_peer(kind: str, host: Host, *, repaired: bool) -> Peer:
    """``kind`` is "ours" or a version of libzt. ``repaired`` is for libzt: see LibztPeer."""
    return OursPeer(host) if kind == "ours" else LibztPeer(host, kind, repaired=repaired)
