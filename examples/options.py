"""What all examples take on their command lines."""

from __future__ import annotations

import argparse
import asyncio
import sys

import zt_async as zt

NETWORK = zt.NetworkId.ad_hoc(7000, 7999)
"""Everybody may join an ad-hoc network; this one is open to ports 7000 to 7999."""


def parser(description: str | None) -> argparse.ArgumentParser:
    """A parser that knows the options of a node."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--folder", help="where the node keeps its identity; without it, it gets a new one each time"
    )
    parser.add_argument(
        "--roots", metavar="FILE", help="planet of a private world, instead of the public one"
    )
    parser.add_argument(
        "--bind", metavar="IP", help="the one address of this host to use, be it a loopback address"
    )
    return parser


def start(options: argparse.Namespace) -> zt.Starting:
    """A node with the options of the command line."""
    if options.bind:
        return zt.start(options.folder, roots=options.roots, bind=(options.bind,), allow_loopback_paths=True)
    return zt.start(options.folder, roots=options.roots)


async def standard_input() -> asyncio.StreamReader:
    """A stream of the lines that are typed."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    return reader
