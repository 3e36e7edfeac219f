"""A process that stands ready to be a controller, and says when it is: for being killed and paused.

Arguments: the file of the planet, the IP address to bind, the lease's seconds, and the path of a file or the URL and
the schema of a database. It prints ``serves`` with its address, and ``stands by``; it stops when its input ends.
"""

import asyncio
import os
import sys

from zt_async.aio.standby import ControllerService
from zt_async.aio.stores.postgres import PostgresStore
from zt_async.aio.stores.sqlite import SqliteStore


def say(text: str) -> None:
    os.write(1, text.encode() + b"\n")


async def report(service: ControllerService) -> None:
    while True:
        controller = await service.serving()
        say(f"serves {controller.address}")
        await service.standing_by()
        say("stands by")


async def main(planet: str, ip: str, ttl: str, place: str, schema: str | None = None) -> None:
    store = SqliteStore(place) if schema is None else PostgresStore(place, schema=schema, ttl=float(ttl))
    service = ControllerService(
        store, roots=planet, bind=(ip,), port=0, secondary_port=None, allow_loopback_paths=True
    )
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    async with service:
        reporting = asyncio.ensure_future(report(service))
        await asyncio.wait(
            [reporting, asyncio.ensure_future(reader.read())], return_when=asyncio.FIRST_COMPLETED
        )
        reporting.cancel()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
