"""The two kinds of nodes that are measured. Both are processes with the same verbs."""

from __future__ import annotations

import secrets
import sys
from pathlib import Path

import zt_async as zt
from tests.interop.libzt_peer import LibztPeer
from tests.interop.namespaces import Host
from tests.interop.ours import planet_of
from tests.interop.peer import Peer

CHECKOUT = Path(__file__).parents[1]


class OursPeer(Peer):
    """A node of ours, driven by ``ours.py``."""

    def __init__(self, host: Host) -> None:
        program = ["env", f"PYTHONPATH={CHECKOUT}", sys.executable, "-m", "benchmarks.ours"]
        super().__init__(host, program, f"ours-{host.name}")

    async def start_as_root(self) -> bytes:
        """Start as the only root of a planet of its own, which is returned."""
        identity = zt.Identity.generate(secrets.token_bytes)
        planet = planet_of(identity, self.host).to_bytes()
        await self.start(planet, identity.secret_text())
        return planet


def make_peer(kind: str, host: Host, *, repaired: bool) -> OursPeer | LibztPeer:
    """``kind`` is "ours" or a version of libzt. ``repaired`` is for libzt: see LibztPeer."""
    return OursPeer(host) if kind == "ours" else LibztPeer(host, kind, repaired=repaired)
