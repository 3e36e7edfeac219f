"""Who is known: peers, the planet and moons, and the upstreams (roots) that follow from them. vl1.md 4."""

from __future__ import annotations

from collections.abc import Iterator
from heapq import nsmallest
from typing import Final

from zt_async.crypto.identity import Identity
from zt_async.types import Endpoint, IPAddress, NodeAddress
from zt_async.vl1.path import NEVER
from zt_async.vl1.peer import CHOICE_LIFETIME, Peer
from zt_async.vl1.world import World, WorldType, should_replace

MAX_SEEDS: Final = 64


def _rank(upstream: Peer, now: float) -> tuple[bool, float, int]:
    path = upstream.best_path(now)
    return path is None or not path.is_alive(now), upstream.score(now), -upstream.address


class Topology:
    """The peers in memory, and the worlds that make some of them upstreams."""

    def __init__(self, identity: Identity, planet: World | None, max_peers: int) -> None:
        self.identity = identity
        self.address = identity.address
        self.peers: dict[int, Peer] = {}
        self.planet = planet
        self.moons: dict[int, World] = {}
        self.seeds: dict[int, NodeAddress] = {}
        """Moons that are wanted and not there yet, with the node that can deliver each."""
        self.upstreams: dict[int, tuple[Endpoint, ...]] = {}
        """Every root but ourselves, with its stable endpoints."""
        self.is_root = False
        self._stable_ips: dict[int, frozenset[IPAddress]] = {}
        self._best: Peer | None = None
        self._best_until = NEVER
        self._max_peers = max_peers
        self._refresh()

    # Peers

    def add_peer(self, identity: Identity, now: float = NEVER) -> Peer:
        """The peer of that address, made if there is none: the first identity seen for an address wins."""
        peer = self.peers.get(identity.address)
        if peer is None:
            if len(self.peers) >= self._max_peers + len(self.upstreams):
                self._make_room()
            peer = Peer(identity.public(), self.identity.agree(identity), self.address)
            peer.known_since = now
            self.peers[identity.address] = peer
        return peer

    def _make_room(self) -> None:
        """Forget those that were silent longest: some at once, because it takes a look at all."""
        others = [peer for address, peer in self.peers.items() if address not in self.upstreams]
        count = -(-len(others) // 64)
        for peer in nsmallest(count, others, key=lambda peer: max(peer.last_receive, peer.known_since)):
            del self.peers[peer.address]

    # Worlds

    def worlds(self) -> Iterator[World]:
        if self.planet is not None:
            yield self.planet
        yield from self.moons.values()

    def offer(self, world: World, *, always_accept_new: bool = False) -> bool:
        """Take a planet or moon over if the rules allow it (vl1.md 4.3).

        ``always_accept_new`` is the caller's word for a moon that is not held yet; otherwise such a moon must
        be wanted, and the seed one of its roots.
        """
        if world.type == WorldType.PLANET:
            if not should_replace(self.planet, world):
                return False
            self.planet = world
        elif world.type == WorldType.MOON:
            current = self.moons.get(world.id)
            if current is not None:
                if not should_replace(current, world):
                    return False
            elif not always_accept_new and self.seeds.get(world.id) not in {
                r.identity.address for r in world.roots
            }:
                return False
            self.moons[world.id] = world
            self.seeds.pop(world.id, None)
        else:
            return False
        self._refresh()
        return True

    def want_moon(self, moon_id: int, seed: NodeAddress) -> None:
        """Ask ``seed`` for a moon. Raises ValueError beyond 64 open wishes."""
        if moon_id not in self.moons:
            if moon_id not in self.seeds and len(self.seeds) >= MAX_SEEDS:
                raise ValueError(f"already waiting for {MAX_SEEDS} moons")
            self.seeds[moon_id] = seed

    def drop_moon(self, moon_id: int) -> bool:
        """Forget a moon, or the wish for it; False if there was neither."""
        known = self.moons.pop(moon_id, None) is not None
        wanted = self.seeds.pop(moon_id, None) is not None
        self._refresh()
        return known or wanted

    def _refresh(self) -> None:
        self.upstreams = {}
        self.is_root = False
        self._best_until = NEVER
        identities: dict[int, Identity] = {}  # the planet's word counts for more than a moon's
        for world in self.worlds():
            for root in world.roots:
                address = root.identity.address
                if root.identity == self.identity:
                    self.is_root = True
                elif (
                    address != self.address and identities.setdefault(address, root.identity) == root.identity
                ):
                    known = self.upstreams.get(address, ())
                    self.upstreams[address] = tuple(dict.fromkeys((*known, *root.endpoints)))
        for identity in identities.values():
            if self.add_peer(identity).identity != identity:
                # A world's word counts for more than who came first.
                del self.peers[identity.address]
                self.add_peer(identity)
        self._stable_ips = {
            address: frozenset(endpoint.ip for endpoint in endpoints)
            for address, endpoints in self.upstreams.items()
        }

    # Upstreams

    def is_upstream(self, address: int) -> bool:
        return address in self.upstreams

    def may_send_worlds(self, address: int) -> bool:
        """Worlds are believed from upstreams, and from the seeds of moons that are wanted."""
        return address in self.upstreams or address in self.seeds.values()

    def stable_ips(self, address: int) -> frozenset[IPAddress]:
        """The only physical addresses at which this node may be met; empty where any will do."""
        return self._stable_ips.get(address, frozenset())

    def role(self, address: int) -> str:
        """PLANET, MOON or LEAF (vl1.md 4.4)."""
        if self.planet is not None and any(r.identity.address == address for r in self.planet.roots):
            return "PLANET"
        return "MOON" if address in self.upstreams else "LEAF"

    def upstream_peers(self) -> list[Peer]:
        return [self.peers[address] for address in self.upstreams if address in self.peers]

    def best_upstream(self, now: float) -> Peer | None:
        """The upstream to relay through and to ask (vl1.md 4.4); ties go to the later address.

        One with a live path comes before all others: the scores alone notice after minutes that a root is gone.
        """
        if now >= self._best_until:
            self._best = min(self.upstream_peers(), key=lambda peer: _rank(peer, now), default=None)
            self._best_until = now + CHOICE_LIFETIME
        return self._best

    def last_heard_upstream(self) -> float:
        """When anything was last received from a root."""
        return max((peer.last_receive for peer in self.upstream_peers()), default=NEVER)
