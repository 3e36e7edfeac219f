"""Serve an echo on an ad-hoc network; needs the internet, because it uses ZeroTier's public roots.

python examples/echo_server.py
"""

import asyncio

import zt_async as zt


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while line := await reader.readline():
        writer.write(line)
        await writer.drain()
    writer.close()


async def main() -> None:
    async with zt.start("~/.local/share/zt_async_echo") as node:
        network = await node.join(zt.NetworkId.ad_hoc(7000, 7000))
        server = await zt.start_server(echo, network.ipv6, 7000)
        print(f"echo on {network.ipv6} port 7000 of network {network.id}")
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
