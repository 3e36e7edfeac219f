"""A chat: one is the host, the others connect to it. Everybody is known by their ZeroTier address.

python examples/chat.py
python examples/chat.py --connect fcc0:1b58:...::1
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib

import options

import zt_async as zt

PORT = 7001


class Room:
    """Says to everybody what one of them says."""

    def __init__(self) -> None:
        self.members: dict[asyncio.StreamWriter, str] = {}

    async def enter(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        name = self.members[writer] = str(writer.get_extra_info("peer"))
        self.say(f"{name} is here")
        try:
            async for line in reader:
                self.say(f"{name}: {line.decode().rstrip()}")
        except ConnectionError:
            pass  # gone without a word
        finally:
            del self.members[writer]
            self.say(f"{name} has left")
            writer.close()

    def say(self, text: str) -> None:
        print(text, flush=True)
        for writer in self.members:
            writer.write(f"{text}\n".encode())


async def host(node: zt.Node) -> None:
    room = Room()
    network = node.networks[options.NETWORK]
    await zt.start_server(room.enter, network.ipv6, PORT)  # until the node stops
    print(network.ipv6, flush=True)
    async for line in await options.standard_input():
        room.say(f"{node.address}: {line.decode().rstrip()}")


async def guest(address: str) -> None:
    reader, writer = await zt.open_connection(address, PORT)

    async def listen() -> None:
        async for line in reader:
            print(line.decode(), end="", flush=True)

    listening = asyncio.create_task(listen())
    async for line in await options.standard_input():
        writer.write(line)
        await writer.drain()
    writer.write_eof()
    await listening
    writer.close()


async def main(arguments: argparse.Namespace) -> None:
    async with options.start(arguments) as node:
        await node.join(options.NETWORK)
        await (guest(arguments.connect) if arguments.connect else host(node))


if __name__ == "__main__":
    parser = options.parser(__doc__)
    parser.add_argument("--connect", metavar="ADDRESS", help="the address that the host of the chat was told")
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(parser.parse_args()))
