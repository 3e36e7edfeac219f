"""Many nodes on a bad wire: two roots, members that connect to each other over an ad-hoc network."""

from __future__ import annotations

import hashlib
import random
from functools import cache

from zt_async.config import NodeConfig
from zt_async.crypto.identity import Identity
from zt_async.node import Node
from zt_async.stack.tcp.connection import TcpConnection
from zt_async.testing import Link, SimNet
from zt_async.testing.identities import throwaway_identity
from zt_async.types import Flight, NetworkId, NodeAddress
from zt_async.vl1.world import World, WorldKey, WorldType

NETWORK = NetworkId.ad_hoc(7000, 7000)
PORT = 7000


@cache
def is_valid(identity: Identity) -> bool:
    return identity.validate()


class SimNode(Node):
    """A node whose proofs of work are checked on the spot."""

    def flights_to_send(self, now: float) -> list[Flight]:
        flights = super().flights_to_send(now)
        while identities := self.vl1.take_validations():
            for identity in identities:
                self.vl1.validated(identity, is_valid(identity), now)
            flights += super().flights_to_send(now)
        return flights


class Transfer:
    """One side of a connection that sends random bytes and takes as many from the other side."""

    def __init__(self, connection: TcpConnection, data: bytes) -> None:
        self.connection = connection
        self.sent = hashlib.sha256(data).hexdigest()
        self.received = hashlib.sha256()
        connection.send(data)
        connection.send_eof()

    def take(self) -> None:
        self.received.update(self.connection.receive())

    @property
    def done(self) -> bool:
        self.take()
        assert self.connection.error is None, self.connection
        return self.connection.eof_received


class Crowd:
    """The network of one seed."""

    def __init__(
        self, seed: int, members: int, roots: int = 2, *, partners: int = 3, size: int = 50_000
    ) -> None:
        link = Link(loss=0.1, delay=0.040, jitter=0.010, reorder=0.05)
        self.net = SimNet(seed, link=link)
        self.rng = random.Random(seed)
        self.digest = hashlib.sha256()
        self.net.observers.append(lambda entry: self.digest.update(repr(entry).encode()))
        identities = [throwaway_identity(number) for number in range(roots + members)]
        hosts = [self.net.add_host() for _ in identities]
        key = WorldKey.generate(lambda size: bytes(range(size)))
        listed = [
            (identity, host.sockets.values())
            for identity, host in zip(identities[:roots], hosts, strict=False)
        ]
        planet = World.make(WorldType.PLANET, 7, listed, signing_key=key, timestamp=1)
        self.nodes: dict[NodeAddress, SimNode] = {}
        for identity, host in zip(identities, hosts, strict=True):
            node = SimNode(identity, self.net.context(host.name), NodeConfig(), planet)
            node.vl1.local_endpoints = tuple(host.sockets.values())
            self.nodes[identity.address] = node
            self.net.attach(node, host)
        self.members = [self.nodes[identity.address] for identity in identities[roots:]]
        self._partners = partners
        self._size = size
        self.transfers: list[tuple[Transfer, Transfer]] = []
        self._pairs: list[tuple[SimNode, SimNode]] = []

    @property
    def now(self) -> float:
        return self.net.clock.now

    def bring_up(self) -> None:
        """All members online and on the network."""
        for node in self.members:
            node.join(NETWORK, self.now)
        self.net.run_until(lambda: all(node.online for node in self.members), timeout=60)

    def transfer(self) -> None:
        """Each member connects to some others; all move their data both ways."""
        clients: list[tuple[SimNode, SimNode, TcpConnection]] = []
        listeners = {node.address: node.stack.listen_tcp(("::", PORT), now=self.now) for node in self.members}
        for node in self.members:
            others = [other for other in self.members if other is not node]
            for other in self.rng.sample(others, self._partners):
                address = str(other.networks()[0].addresses[0].ip)
                clients.append((node, other, node.stack.connect_tcp((address, PORT), now=self.now)))
        self._pairs = [(node, other) for node, other, _ in clients]
        mine = {c.local: Transfer(c, self.rng.randbytes(self._size)) for _, _, c in clients}
        theirs: dict[object, Transfer] = {}

        def all_done() -> bool:
            for listener in listeners.values():
                while (connection := listener.accept()) is not None:
                    theirs[connection.remote] = Transfer(connection, self.rng.randbytes(self._size))
            return len(theirs) == len(mine) and all(t.done for t in (*mine.values(), *theirs.values()))

        self.net.run_until(all_done, timeout=300)
        self.transfers = [(transfer, theirs[local]) for local, transfer in mine.items()]

    def is_direct(self, a: SimNode, b: SimNode) -> bool:
        peer = a.peer(b.address, self.now)
        return peer is not None and peer.direct

    @property
    def all_direct(self) -> bool:
        return all(self.is_direct(a, b) and self.is_direct(b, a) for a, b in self._pairs)
