"""The API of a node in a thread of its own, for tests that wait for its answers without an event loop."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from zt_async.service import Service, serve
from zt_async.testing import private_world


@contextmanager
def served(folder: Path | None = None) -> Iterator[Service]:
    """The API of a node that has a controller, in a world with one other member, the root."""
    started = threading.Event()
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()
    found: list[Service] = []

    async def run() -> None:
        try:
            async with private_world(0) as world, await world.start(1, folder) as node:
                await node.online()
                async with node.controller() as controller, serve(node, controller, port=0) as service:
                    found.append(service)
                    started.set()
                    await stop.wait()
        finally:
            started.set()

    def work() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(run())

    thread = threading.Thread(target=work)
    thread.start()
    started.wait()
    try:
        yield found[0]
    finally:
        if thread.is_alive():
            loop.call_soon_threadsafe(stop.set)
        thread.join()
