"""Records what our node and a libzt node say to each other, as data for the tests.

    python -m tests.interop.record          (as root)

The identities are throw-away ones, so that the tests can read what was encrypted.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from zt_async.testing.identities import throwaway_identity
from zt_async.types import NetworkId

from . import ours
from .capture import Capture
from .libzt_peer import LibztPeer
from .namespaces import Lab
from .peer import SERVERS

DATA = Path(__file__).parents[1] / "data"
NETWORK = NetworkId.ad_hoc(0, 65535)
ROLES = {"root": 0, "mine": 1, "libzt": 2}
MAX_DATAGRAMS = 120


async def record(version: str) -> None:
    identities = {role: throwaway_identity(number) for role, number in ROLES.items()}
    with Lab("root", "mine", "libzt") as lab:
        planet = ours.planet_of(identities["root"], lab["root"])
        async with (
            ours.our_node(lab["root"], roots=planet, identity=identities["root"]),
            LibztPeer(lab["libzt"], version) as peer,
        ):
            with Capture(lab["mine"]) as capture:
                async with ours.our_node(lab["mine"], roots=planet, identity=identities["mine"]) as mine:
                    await mine.join(NETWORK)
                    await ours.serve_all(mine)
                    await peer.start(planet.to_bytes(), identities["libzt"].secret_text())
                    await peer.online()
                    ip = (await peer.join(NETWORK)).ipv6 or ""
                    await peer.serve_all()
                    await ours.connect_patiently(mine, ip, SERVERS["echo"])
                    await ours.upload(mine, ip, 20_000, 0)
                    own = mine.networks[NETWORK].ipv6
                    await peer.echo(str(own), SERVERS["echo"], 5_000)
    datagrams = [
        {"from": str(d.source), "to": str(d.target), "data": d.payload.hex()}
        for d in capture.datagrams()
        if len(d.payload) >= 13
    ]
    facts = {
        "description": f"What our node ({lab['mine'].ipv4}) sent and received beside libzt {version}, in order.",
        "version": version,
        "network": str(NETWORK),
        "planet": planet.to_bytes().hex(),
        "identities": {role: identity.secret_text() for role, identity in identities.items()},
        "addresses": {role: lab[role].ipv4 for role in ROLES},
        "datagrams": datagrams[:MAX_DATAGRAMS],
    }
    path = DATA / f"exchange-libzt-{version}.json"
    path.write_text(json.dumps(facts, indent=1) + "\n")
    sys.stdout.write(f"{path.name}: {len(datagrams)} datagrams, {len(facts['datagrams'])} kept\n")


async def main() -> None:
    DATA.mkdir(exist_ok=True)
    for version in ("1.8.4", "1.4.2"):
        await record(version)


if __name__ == "__main__":
    asyncio.run(main())
