"""A web page on an ad-hoc network, and a browser for it: HTTP/1.1 by hand, as asyncio streams are all it takes.

python examples/web.py
python examples/web.py --get fcc0:1b58:...::1
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
from http import HTTPStatus

import options

import zt_async as zt

PORT = 7080


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One request of one connection."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        method, path, _ = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ")
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError):
        status, page = HTTPStatus.BAD_REQUEST, "?"
    else:
        if method != "GET":
            status, page = HTTPStatus.METHOD_NOT_ALLOWED, "only GET"
        elif path != "/":
            status, page = HTTPStatus.NOT_FOUND, f"no {path}"
        else:
            status, page = HTTPStatus.OK, f"Hello, {writer.get_extra_info('peer')}!"
    body = f"{page}\n".encode()
    writer.write(
        f"HTTP/1.1 {status} {status.phrase}\r\nContent-Type: text/plain; charset=utf-8\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
        + body
    )
    writer.close()


async def get(address: str, path: str) -> None:
    reader, writer = await zt.open_connection(address, PORT)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: [{address}]\r\nConnection: close\r\n\r\n".encode())
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    print(head.decode().splitlines()[0])
    print(body.decode(), end="")
    writer.close()


async def main(arguments: argparse.Namespace) -> None:
    async with options.start(arguments) as node:
        network = await node.join(options.NETWORK)
        if arguments.get:
            await get(arguments.get, arguments.path)
        else:
            server = await zt.start_server(answer, network.ipv6, PORT)
            print(network.ipv6, flush=True)
            await server.serve_forever()


if __name__ == "__main__":
    parser = options.parser(__doc__)
    parser.add_argument("--get", metavar="ADDRESS", help="fetch the page from a server there")
    parser.add_argument("--path", default="/")
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(parser.parse_args()))
