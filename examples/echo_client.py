"""Send the lines that are typed to echo_server.py, and print what comes back.

python examples/echo_client.py fcc0:1b58:...::1
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib

import options

import zt_async as zt

PORT = 7000
TIMEOUT = 30.0  # seconds


async def main(arguments: argparse.Namespace) -> None:
    async with options.start(arguments) as node:
        await node.join(options.NETWORK)
        async with asyncio.timeout(TIMEOUT):
            reader, writer = await zt.open_connection(arguments.address, PORT)
        print("connected:", writer.get_extra_info("peer"), flush=True)
        async for line in await options.standard_input():
            writer.write(line)
            print((await reader.readline()).decode(), end="", flush=True)
        writer.close()
        await writer.wait_closed()


if __name__ == "__main__":
    parser = options.parser(__doc__)
    parser.add_argument("address", help="what echo_server.py printed")
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(parser.parse_args()))
