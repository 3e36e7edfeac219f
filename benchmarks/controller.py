"""python -m benchmarks.controller: one network, thousands of members, each kind of store.

The node, its controller and its store are real; the members are as little as asks a controller (see ``crowd``), their
datagrams cross no socket, and the time that they take themselves is not counted.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable
from concurrent.futures import ProcessPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from unittest import mock

import zt_async as zt
from tests.aio.stores.postgres_server import PostgresMissing, PostgresServer
from zt_async.aio.controller import StoreLike
from zt_async.crypto.identity import Identity
from zt_async.testing import throwaway_identity
from zt_async.types import Endpoint
from zt_async.vl1.world import World, WorldKey, WorldType

from .crowd import Crowd
from .report import machine

STORES = ("memory", "sqlite", "postgresql")
PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Of one kind of store."""

    store: str
    members: int
    first: float
    """Requests per second of nodes that are authorized, given an address and recorded by their first."""
    again: float
    """Requests per second of members that have all that, as each asks once a minute."""
    pushes: float
    """Configurations per second after a change of the network."""
    first_cpu: float
    """Microseconds of the loop's thread for each request, which say more on a machine with other work."""
    again_cpu: float
    pushes_cpu: float
    longest_turn: float
    """Milliseconds of work between two turns of another task, at the most; without garbage collections."""
    longest_collection: float
    """Milliseconds of the longest garbage collection, which also looks at all members that are played here."""
    memory: float
    """Bytes for each member: record, addresses, and how it was seen."""
    peer_memory: float
    """Bytes for each member as a peer of the node: keys, paths."""
    load: float
    """Seconds to take the store over when a controller starts."""


class Stopwatch:
    """Wall and thread time of the node, without that of the crowd; and the longest turn of its loop."""

    def __init__(self, crowd: Crowd) -> None:
        self._crowd = crowd
        self._collecting_since = 0.0
        self._collected = 0.0
        self.longest_turn = 0.0
        """Seconds of the thread's time that other tasks had to wait for their turn, but for garbage collections."""
        self.longest_collection = 0.0
        """Seconds that one of those took: of all objects there are, those of the crowd included."""

    async def time(self, work: Awaitable[object]) -> tuple[float, float]:
        """Members served per second, and microseconds of the thread for each."""
        gc.callbacks.append(self._on_collection)
        turns = asyncio.get_running_loop().create_task(self._watch_turns())
        wall, cpu, theirs = time.perf_counter(), time.thread_time(), self._crowd.seconds
        await work
        theirs = self._crowd.seconds - theirs
        wall, cpu = time.perf_counter() - wall - theirs, time.thread_time() - cpu - theirs
        turns.cancel()
        gc.callbacks.remove(self._on_collection)
        size = len(self._crowd.members)
        return size / wall, 1e6 * cpu / size

    async def _watch_turns(self) -> None:
        while True:
            before = time.thread_time() - self._crowd.seconds - self._collected
            await asyncio.sleep(0)
            now = time.thread_time() - self._crowd.seconds - self._collected
            self.longest_turn = max(self.longest_turn, now - before)

    def _on_collection(self, phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            self._collecting_since = time.thread_time()
        else:
            took = time.thread_time() - self._collecting_since
            self._collected += took
            self.longest_collection = max(self.longest_collection, took)


def resident() -> int:
    """Bytes of memory that this process has."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


@asynccontextmanager
async def store_of(kind: str) -> AsyncIterator[StoreLike]:
    """An empty store. Raises PostgresMissing."""
    if kind == "postgresql":
        server = PostgresServer()
        try:
            yield server.url
        finally:
            server.stop()
    elif kind == "sqlite":
        with tempfile.TemporaryDirectory(dir=".") as folder:  # /tmp may be no disk
            yield Path(folder) / "controller.db"
    else:
        yield None


async def measure(kind: str, size: int) -> Figures:
    identity = throwaway_identity(0)
    root = [(throwaway_identity(1), [Endpoint("10.255.0.1", 9993)])]
    planet = World.make(WorldType.PLANET, 1, root, signing_key=WorldKey.generate(os.urandom), timestamp=1)
    crowd = Crowd(size, identity)
    settings = {"identity_validation_burst": size, "max_peers": 2 * size, "event_queue": 16}
    async with (
        store_of(kind) as store,
        zt.start(identity=identity, roots=planet, udp=crowd, **settings) as node,
    ):
        empty = resident()
        await crowd.greet()
        met = resident()
        controller = node.controller(store)
        await controller.open()
        network = await controller.create_network(private=False, ipv4="10.0.0.0/8", sixplane=True)
        stopwatch = Stopwatch(crowd)
        first, first_cpu = await stopwatch.time(crowd.ask(network.id))
        known = resident()
        await asyncio.sleep(1.1)  # a member is heard once a second
        again, again_cpu = await stopwatch.time(crowd.ask(network.id))
        change = asyncio.gather(crowd.pushed(), network.update(mtu=1400))
        pushes, pushes_cpu = await stopwatch.time(change)
        assert len({member.address for member in crowd.members} - {None}) == size
        assert all(member.configs == 3 for member in crowd.members)
        held = controller.store
        await controller.close()
        start = time.perf_counter()
        async with node.controller(held) as controller:
            load = time.perf_counter() - start
            assert len(controller.network(network.id).members) == size
    return Figures(
        store=kind,
        members=size,
        first=first,
        again=again,
        pushes=pushes,
        first_cpu=first_cpu,
        again_cpu=again_cpu,
        pushes_cpu=pushes_cpu,
        longest_turn=1000 * stopwatch.longest_turn,
        longest_collection=1000 * stopwatch.longest_collection,
        memory=(known - met) / size,
        peer_memory=(met - empty) / size,
        load=load,
    )


def run(kind: str, size: int) -> Figures:
    """Measure with proofs of work switched off."""
    with mock.patch.object(Identity, "validate", return_value=True):
        return asyncio.run(measure(kind, size))


ROWS = {
    "first": "first requests per s, each written before its answer",
    "again": "further requests per s",
    "pushes": "pushes per s after a change of the network",
    "first_cpu": "the same in µs of the loop's thread: first requests",
    "again_cpu": "further requests",
    "pushes_cpu": "pushes",
    "longest_turn": "longest turn of the loop, ms",
    "longest_collection": "longest garbage collection, ms",
    "memory": "memory per member, bytes",
    "peer_memory": "memory per member as a peer, bytes",
    "load": "start with all members in the store, s",
}


def table(results: list[Figures]) -> str:
    """A Markdown table."""
    lines = [f"| {results[0].members:,} members | " + " | ".join(figures.store for figures in results) + " |"]
    lines.append("|---" * (len(results) + 1) + "|")
    for name, text in ROWS.items():
        values = [getattr(figures, name) for figures in results]
        lines.append(
            f"| {text} | " + " | ".join(f"{v:,.0f}" if v >= 100 else f"{v:.3g}" for v in values) + " |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.controller", description=__doc__)
    parser.add_argument("--members", type=int, default=10_000)
    parser.add_argument("--stores", nargs="+", choices=STORES, default=STORES)
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    results = []
    for kind in arguments.stores:  # each in a process of its own, for its memory
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            try:
                results.append(pool.submit(run, kind, arguments.members).result())
            except PostgresMissing as error:
                print(f"{kind}: {error}", file=sys.stderr)
    about = machine()
    print(f"{about['cpu']}, {about['cores']} cores, Linux {about['kernel']}, CPython {about['python']}\n")
    print(table(results))
    if arguments.json:
        arguments.json.write_text(
            json.dumps({"machine": about, "results": [asdict(r) for r in results]}, indent=1)
        )


if __name__ == "__main__":
    main()
