"""Send back whatever comes, on an ad-hoc network. Prints the address that echo_client.py wants.

python examples/echo_server.py --folder ~/.local/share/zt_echo
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib

import options

import zt_async as zt

PORT = 7000


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    print("connected:", writer.get_extra_info("peer"), flush=True)
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


async def main(arguments: argparse.Namespace) -> None:
    async with options.start(arguments) as node:
        network = await node.join(options.NETWORK)
        server = await zt.start_server(echo, network.ipv6, PORT)
        print(network.ipv6, flush=True)
        await server.serve_forever()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(options.parser(__doc__).parse_args()))
