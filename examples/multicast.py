"""Everybody hears what anybody types, without a server: lines are sent to a multicast group of a network.

python examples/multicast.py --folder ~/.local/share/zt_multicast 8056c2e21c000001
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
from typing import Any

import options

GROUP, PORT = "239.77.0.1", 7002


class Ear(asyncio.DatagramProtocol):
    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        print(f"{addr[0]}: {data.decode(errors='replace')}", flush=True)


async def main(arguments: argparse.Namespace) -> None:
    async with options.start(arguments) as node:
        network = await node.join(arguments.network)
        transport, _ = await node.create_datagram_endpoint(Ear, (None, PORT))
        transport.join_group(GROUP, network)
        transport.set_multicast(network=network)
        print("I am", network.ipv4, flush=True)
        async for line in await options.standard_input():
            transport.sendto(line.rstrip(b"\n"), (GROUP, PORT))


if __name__ == "__main__":
    parser = options.parser(__doc__)
    parser.add_argument("network", help="the ID of a network with IPv4, such as that of controller.py")
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(parser.parse_args()))
