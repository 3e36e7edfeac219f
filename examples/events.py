"""Print what happens to a node, as it happens, until Enter is pressed.

python examples/events.py --folder ~/.local/share/zt_events
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib

import options

import zt_async as zt


async def tell(events: zt.EventStream) -> None:
    async for event in events:
        match event:
            case zt.PeerDirect(peer=peer, path=path):
                print(
                    f"{peer.role} {peer.address} is met at {path.endpoint}, {path.latency} ms away",
                    flush=True,
                )
            case zt.PeerRelayed(peer=peer):
                print(f"{peer.role} {peer.address} is reached through a root", flush=True)
            case zt.NetworkReady(network=network):
                print(f"network {network.id} is ready: {', '.join(map(str, network.addresses))}", flush=True)
            case zt.EventsLost(count=count):
                print(f"... {count} events were too many ...", flush=True)
            case _:
                print(event, flush=True)


async def main(arguments: argparse.Namespace) -> None:
    async with options.start(arguments) as node:
        telling = asyncio.create_task(tell(node.events()))
        await node.join(options.NETWORK)
        await node.online()
        await (await options.standard_input()).readline()
    await telling


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(options.parser(__doc__).parse_args()))
