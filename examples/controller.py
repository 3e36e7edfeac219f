"""A private network of your own. Prints its ID, and who wants in.

Type an address to let that node in, and one with a - before it to put the node out.

python examples/controller.py --folder ~/.local/share/zt_controller --store ~/.local/share/zt_controller/networks.db
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
            case zt.MemberWaiting(address=address):
                print(f"{address} wants in", flush=True)
            case zt.MemberConfigured(address=address, addresses=addresses):
                print(f"{address} is", *addresses, flush=True)
            case zt.MemberDeauthorized(address=address):
                print(f"{address} is out", flush=True)


async def obey(network: zt.ControlledNetwork, text: str) -> None:
    try:
        if text.startswith("-"):
            await network.deauthorize(text.removeprefix("-"))
        else:
            await network.authorize(text)
    except (ValueError, zt.NoSuchMember) as error:
        print(error, flush=True)


async def main(arguments: argparse.Namespace) -> None:
    async with options.start(arguments) as node, node.controller(arguments.store) as controller:
        telling = asyncio.create_task(tell(node.events()))
        if not controller.networks:
            await controller.create_network(name="example", ipv4="10.147.20.0/24", sixplane=True)
        network = next(iter(controller.networks.values()))
        print(network.id, flush=True)
        async for line in await options.standard_input():
            await obey(network, line.decode().strip())
    await telling


if __name__ == "__main__":
    parser = options.parser(__doc__)
    parser.add_argument(
        "--store",
        help="where the network is kept: an SQLite file, or postgresql://...; else it ends with the program",
    )
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(parser.parse_args()))
