"""Adds members to a network for as long as it lives, and says so of each when it is written: for being killed.

Arguments: the first number, and the path of a file or the URL and the schema of a database. It prints the number of
each member whose commit has returned.
"""

import asyncio
import itertools
import os
import sys

from zt_async.aio.stores.postgres import PostgresStore
from zt_async.aio.stores.sqlite import SqliteStore

from .records import member, put

AT_ONCE = 8


async def main(first: int, place: str, schema: str | None = None) -> None:
    store = SqliteStore(place) if schema is None else PostgresStore(place, schema=schema)
    await store.open()
    numbers = itertools.count(first)

    async def add() -> None:
        for number in numbers:
            await store.commit([put(member(number, f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"))])
            os.write(1, b"%d\n" % number)

    await asyncio.gather(*(add() for _ in range(AT_ONCE)))


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), *sys.argv[2:]))
