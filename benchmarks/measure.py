"""What is measured, and how a pair of nodes is put through it."""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

from tests.interop.namespaces import Lab
from tests.interop.peer import SERVERS, Bulk, Peer, PeerDied, PeerFailed, Usage
from zt_async.types import NetworkId

from .peers import make_peer

NETWORK = NetworkId.ad_hoc(0, 65535)
SERVED = ("echo", "udp_echo", "discard", "hold", "source")


@dataclass(frozen=True)
class Metric:
    name: str
    unit: str
    more_is_better: bool = False


START_TO_ONLINE = Metric("start to online", "s")
ONLINE_TO_READY = Metric("online to network ready", "s")
FIRST_CONNECT = Metric("first connect", "s")
DIRECT_AFTER = Metric("direct path after", "s")
NODE_MEMORY = Metric("memory per node", "MB")
TCP_P50 = Metric("TCP ping-pong, 1 byte, p50", "µs")
TCP_P99 = Metric("TCP ping-pong, 1 byte, p99", "µs")
UDP_P50 = Metric("UDP ping-pong, 1 byte, p50", "µs")
UDP_P99 = Metric("UDP ping-pong, 1 byte, p99", "µs")
CONNECTIONS = Metric("connections", "per s", more_is_better=True)
CLIENT_MEMORY = Metric("memory per 1,000 idle connections, client", "MB")
SERVER_MEMORY = Metric("memory per 1,000 idle connections, server", "MB")
ONE_WAY_1 = Metric("bulk TCP one way, 1 stream", "MB/s", more_is_better=True)
ONE_WAY_8 = Metric("bulk TCP one way, 8 streams", "MB/s", more_is_better=True)
SENDER_CPU = Metric("CPU of the sender", "s per GB")
RECEIVER_CPU = Metric("CPU of the receiver", "s per GB")
BOTH_WAYS_1 = Metric("bulk TCP both ways, 1 stream each", "MB/s", more_is_better=True)
BOTH_WAYS_8 = Metric("bulk TCP both ways, 8 streams each", "MB/s", more_is_better=True)


@dataclass(frozen=True)
class Effort:
    """How much is done for one number."""

    round_trips: int = 3_000
    connect_seconds: float = 4
    idle_connections: int = 1_000
    bulk_seconds: float = 3
    repeats: int = 3


QUICK = Effort(round_trips=300, connect_seconds=1, bulk_seconds=1, repeats=1)


@dataclass(frozen=True)
class Cell:
    """A figure, or none; and the failure before it was reached, in words.

    With both, libzt failed as published, and the figure is of libzt with the lock added that it lacks.
    """

    value: float | None = None
    failure: str | None = None


Values = dict[Metric, float]


@dataclass
class Pair:
    """A client and a server on one network with a direct path, and what their way up took."""

    lab: Lab
    client: Peer
    server: Peer
    ip: str
    servers: dict[str, int]
    effort: Effort
    started: Values = field(default_factory=dict)


@contextlib.asynccontextmanager
async def running_pair(
    kinds: tuple[str, str], root_kind: str, effort: Effort, *, repaired: bool
) -> AsyncIterator[Pair]:
    """Bring up a root and two nodes of these kinds, each step side by side, until they talk directly."""
    async with contextlib.AsyncExitStack() as stack:
        lab = stack.enter_context(Lab("root", "client", "server"))
        root, client, server = [
            await stack.enter_async_context(make_peer(kind, lab[name], repaired=repaired))
            for kind, name in ((root_kind, "root"), (kinds[0], "client"), (kinds[1], "server"))
        ]
        identities = await asyncio.gather(client.new_identity(), server.new_identity())
        planet = await root.start_as_root()
        nodes = (client, server)
        started = await asyncio.gather(*(n.start(planet, i) for n, i in zip(nodes, identities, strict=True)))
        online = await asyncio.gather(*(n.online() for n in nodes))
        joined = await asyncio.gather(*(n.join(NETWORK) for n in nodes))
        idle = client.usage()
        ip = joined[1].ipv6 or ""
        pair = Pair(lab, client, server, ip, await server.serve_all(*SERVED), effort)
        connected = await client.connect(ip, SERVERS["echo"], patience=30)
        if connected.seconds is None:
            raise PeerFailed(f"{client.name} cannot connect to {server.name}: errno {connected.errno}")
        began = time.monotonic()
        await client.until_direct(ip, SERVERS["udp_echo"], lab["root"])
        pair.started = {
            START_TO_ONLINE: online[0] - started[0].began,
            ONLINE_TO_READY: joined[0].at - joined[0].began,
            FIRST_CONNECT: connected.seconds,
            DIRECT_AFTER: time.monotonic() - began,
            NODE_MEMORY: idle.rss_bytes / 1e6,
        }
        yield pair


# The measurements: each takes a pair and returns the values of its metrics


async def start(pair: Pair) -> Values:
    return pair.started


async def tcp_ping_pong(pair: Pair) -> Values:
    trips = await pair.client.ping_pong(pair.ip, SERVERS["echo"], pair.effort.round_trips)
    if trips.p50_us is None or trips.p99_us is None or trips.done < pair.effort.round_trips:
        raise PeerFailed(f"only {trips.done} round trips")
    return {TCP_P50: trips.p50_us, TCP_P99: trips.p99_us}


async def udp_ping_pong(pair: Pair) -> Values:
    echoes = await pair.client.udp_echo(pair.ip, SERVERS["udp_echo"], pair.effort.round_trips, 1)
    if echoes.p50_us is None or echoes.p99_us is None or echoes.lost > pair.effort.round_trips / 10:
        raise PeerFailed(f"{echoes.lost} datagrams lost")
    return {UDP_P50: echoes.p50_us, UDP_P99: echoes.p99_us}


async def connections(pair: Pair) -> Values:
    rate = await pair.client.connect_rate(pair.ip, SERVERS["echo"], 12_000, pair.effort.connect_seconds)
    if rate.failed:
        raise PeerFailed(f"{rate.failed} connects failed, errno {rate.errno}")
    return {CONNECTIONS: rate.done / rate.seconds}


async def idle_connections(pair: Pair) -> Values:
    count, server = pair.effort.idle_connections, pair.servers["hold"]
    before = (pair.client.usage(), pair.server.usage())
    held = await pair.client.hold(pair.ip, SERVERS["hold"], count)
    if held.held < count:
        raise PeerFailed(f"only {held.held} connections, then errno {held.errno}")
    await pair.server.until_open(server, count)
    after = (pair.client.usage(), pair.server.usage())
    await pair.client.release()
    await pair.server.server_release(server)
    client, server_mb = (
        (a.rss_bytes - b.rss_bytes) / count / 1e3 for a, b in zip(after, before, strict=True)
    )
    return {CLIENT_MEMORY: client, SERVER_MEMORY: server_mb}


async def bulk_one_way_1(pair: Pair) -> Values:
    speeds, sender, receiver = [], [], []
    for _ in range(pair.effort.repeats):
        before = (pair.client.usage(), pair.server.usage())
        done = await bulk(pair, up=1)
        gigabytes = done.up_bytes / 1e9
        speeds.append(done.up_bytes / done.up_seconds / 1e6)
        sender.append(cpu_since(pair.client, before[0]) / gigabytes)
        receiver.append(cpu_since(pair.server, before[1]) / gigabytes)
    cpu = {SENDER_CPU: statistics.median(sender), RECEIVER_CPU: statistics.median(receiver)}
    return {ONE_WAY_1: statistics.median(speeds), **cpu}


async def bulk_one_way_8(pair: Pair) -> Values:
    return {ONE_WAY_8: await median_speed(pair, up=8)}


async def bulk_both_ways_1(pair: Pair) -> Values:
    return {BOTH_WAYS_1: await median_speed(pair, up=1, down=1)}


async def bulk_both_ways_8(pair: Pair) -> Values:
    return {BOTH_WAYS_8: await median_speed(pair, up=8, down=8)}


async def median_speed(pair: Pair, *, up: int, down: int = 0) -> float:
    """MB/s, both ways together."""
    speeds = []
    for _ in range(pair.effort.repeats):
        done = await bulk(pair, up=up, down=down)
        rates = [done.up_bytes / done.up_seconds, done.down_bytes / done.down_seconds if down else 0]
        speeds.append(sum(rates) / 1e6)
    return statistics.median(speeds)


async def bulk(pair: Pair, *, up: int, down: int = 0) -> Bulk:
    ports = (SERVERS["discard"], SERVERS["source"])
    seconds = pair.effort.bulk_seconds
    done = await pair.client.bulk(pair.ip, *ports, up=up, down=down, seconds=seconds, within=seconds + 25)
    if done.failed:
        raise PeerFailed(f"{done.failed} of {up + down} streams failed, errno {done.errno}")
    return done


def cpu_since(peer: Peer, before: Usage) -> float:
    return peer.usage().cpu_seconds - before.cpu_seconds


Measurement = Callable[[Pair], Awaitable[Values]]

MEASUREMENTS: dict[Measurement, tuple[Metric, ...]] = {
    start: (START_TO_ONLINE, ONLINE_TO_READY, FIRST_CONNECT, DIRECT_AFTER, NODE_MEMORY),
    tcp_ping_pong: (TCP_P50, TCP_P99),
    udp_ping_pong: (UDP_P50, UDP_P99),
    idle_connections: (CLIENT_MEMORY, SERVER_MEMORY),
    connections: (CONNECTIONS,),
    bulk_one_way_1: (ONE_WAY_1, SENDER_CPU, RECEIVER_CPU),
    bulk_one_way_8: (ONE_WAY_8,),
    bulk_both_ways_1: (BOTH_WAYS_1,),
    bulk_both_ways_8: (BOTH_WAYS_8,),
}


METRICS = [metric for metrics in MEASUREMENTS.values() for metric in metrics]


@dataclass(frozen=True)
class Benchmark:
    """Puts one pair of nodes, client and server, through measurements."""

    kinds: tuple[str, str]
    root: str
    effort: Effort
    progress: Callable[[str], None]

    async def run(self, wanted: list[Measurement]) -> dict[Metric, Cell]:
        """A failure costs the measurement and the nodes, and the rest goes on with others.

        What failed with libzt as published is then tried with the lock that it lacks.
        """
        values, failures = await self._run(wanted, repaired=False)
        if failures and self.kinds != ("ours", "ours"):
            again, still = await self._run(list(failures), repaired=True)
            values |= again
            failures |= {m: f"{failures[m]}; repaired: {reason}" for m, reason in still.items()}
        reasons = {metric: why for m, why in failures.items() for metric in MEASUREMENTS[m]}
        return {m: Cell(values.get(m), reasons.get(m)) for m in METRICS if m in values or m in reasons}

    async def _run(
        self, wanted: list[Measurement], *, repaired: bool
    ) -> tuple[Values, dict[Measurement, str]]:
        """The values that were reached, and why others were not."""
        values: Values = {}
        failures: dict[Measurement, str] = {}
        remaining = list(wanted)
        while remaining:
            self.progress("bringing up" + " (repaired)" * repaired)
            try:
                async with running_pair(self.kinds, self.root, self.effort, repaired=repaired) as pair:
                    while remaining:
                        self.progress(remaining[0].__name__)
                        values |= await _unless_dead(remaining[0](pair), pair.client, pair.server)
                        del remaining[0]
            except PeerFailed as e:
                reason = f"{e.name} died of {e.reason}" if isinstance(e, PeerDied) else str(e).splitlines()[0]
                self.progress(reason)
                failures[remaining.pop(0)] = reason
        return values, failures


async def _unless_dead(work: Awaitable[Values], *peers: Peer) -> Values:
    """The result of ``work``, or the death of a peer, whichever comes first."""
    task = asyncio.ensure_future(work)
    deaths = [asyncio.ensure_future(peer.until_dead()) for peer in peers]
    try:
        await asyncio.wait([task, *deaths], return_when=asyncio.FIRST_COMPLETED)
        for death in deaths:
            if death.done():
                raise death.result()
        return await task
    finally:
        for future in (task, *deaths):
            future.cancel()
        await asyncio.gather(task, *deaths, return_exceptions=True)
