"""libzt nodes as peers."""

from __future__ import annotations

import enum
import sys

from . import wheels
from .namespaces import Host
from .peer import ROOT_PORT, Peer, public

WORLD_ID = 0x7A745F6173796E63
"""Of the private planets made here: any number but the public planet's."""


class Code(enum.IntEnum):
    """The event codes of libzt that tests wait for. Under load libzt loses events: what must hold, ask for."""

    NODE_UP = 200
    NODE_ONLINE = 201
    NODE_OFFLINE = 202
    NETWORK_OK = 213
    NETWORK_READY_IP6 = 216
    PEER_DIRECT = 240
    PEER_RELAY = 241
    PEER_PATH_DISCOVERED = 243
    PEER_PATH_DEAD = 244


class LibztPeer(Peer):
    """One libzt node, of the version whose wheel is named. Raises LabUnavailable.

    As published, libzt takes IPv6 frames in without its stack's lock: even paced transfers stall and kill the
    process. ``repaired`` adds the lock in this process (``lab/load.cpp``) and changes nothing on the wire.
    """

    def __init__(self, host: Host, version: str = "1.8.4", *, repaired: bool = True) -> None:
        program = [sys.executable, str(wheels.SOURCES / "libzt_node.py")]
        program += [str(wheels.libzt(version)), str(wheels.lab_library())]
        program += ["repaired" if repaired else "published"]
        super().__init__(host, program, f"libzt-{version}-{host.name}")

    async def make_planet(self, roots: dict[str, list[str]]) -> bytes:
        """A signed planet of these roots: identity (a secret in it is left out) to its ``ip/port`` endpoints."""
        pairs = [(public(identity), endpoints) for identity, endpoints in roots.items()]
        answer = await self.ask("make_planet", roots=pairs, world_id=WORLD_ID, timestamp=1)
        return bytes.fromhex(answer["planet"])

    async def start_as_root(self) -> bytes:
        """Start as the only root of a planet of its own, which is returned."""
        identity = await self.new_identity()
        planet = await self.make_planet({identity: [f"{self.host.ipv4}/{ROOT_PORT}"]})
        await self.start(planet, identity)
        return planet
