"""A small world of VL1 cores on the simulated wire."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from zt_async.config import NodeConfig
from zt_async.context import Context
from zt_async.crypto.identity import Identity
from zt_async.testing import Host, Link, SimNet
from zt_async.testing.identities import throwaway_identity
from zt_async.types import Endpoint, Flight
from zt_async.vl1.core import VL1
from zt_async.vl1.world import World, WorldKey, WorldType


@cache
def is_valid(identity: Identity) -> bool:
    return identity.validate()


def make_planet(
    roots: Sequence[tuple[Identity, Sequence[Endpoint]]], *, timestamp: int = 1_600_000_000_000
) -> World:
    key = WorldKey.generate(lambda size: bytes(range(size)))
    return World.make(WorldType.PLANET, 77, roots, signing_key=key, timestamp=timestamp)


class SimVL1(VL1):
    """VL1 with the verbs of a core, its proofs of work checked on the spot."""

    def __init__(
        self, identity: Identity, context: Context, config: NodeConfig, planet: World | None
    ) -> None:
        super().__init__(identity, context, config, planet)
        self.seen: list[object] = []

    def flights_to_send(self, now: float) -> list[Flight]:  # type: ignore[override]
        for identity in self.take_validations():
            self.validated(identity, is_valid(identity), now)
        self.seen += self.take_events()
        return super().flights_to_send()


class SmallWorld:
    """Root 0 and members 1 to n, each on a /24 of its own."""

    def __init__(
        self, members: int, *, seed: int = 1, link: Link = Link(delay=0.01), config: NodeConfig | None = None
    ):
        self.net = SimNet(seed, link=link)
        self.config = config or NodeConfig()
        self.root_identity = throwaway_identity(0)
        self.root_host = self.net.add_host("root")
        self.root_endpoint = self.root_host.sockets[0]
        self.planet = make_planet([(self.root_identity, [self.root_endpoint])])
        self.root = self.add(0, self.root_host)
        self.hosts = [self.net.add_host(f"m{i}") for i in range(1, members + 1)]
        self.members = [self.add(i, host) for i, host in enumerate(self.hosts, 1)]

    def add(self, number: int, host: Host) -> SimVL1:
        vl1 = SimVL1(throwaway_identity(number), self.net.context(host.name), self.config, self.planet)
        vl1.local_endpoints = tuple(host.sockets.values())
        self.net.attach(vl1, host)
        return vl1

    @property
    def now(self) -> float:
        return self.net.clock.now

    def run_until(self, predicate, timeout: float = 30.0) -> float:
        return self.net.run_until(predicate, timeout)

    def online(self) -> None:
        self.run_until(lambda: all(m.is_online(self.now) for m in self.members))
