"""Many nodes on a bad wire: two roots, members that connect to each other over an ad-hoc network."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from itertools import chain

from tests.vl2.lan import Lan, Transfer
from zt_async.testing import Link, SimNode


class Crowd(Lan):
    """The network of one seed."""

    def __init__(self, seed: int, members: int, *, partners: int = 3, size: int = 50_000) -> None:
        link = Link(loss=0.1, delay=0.040, jitter=0.010, reorder=0.05)
        super().__init__(members, roots=2, seed=seed, link=link)
        self.rng = random.Random(seed)
        self.digest = hashlib.sha256()
        """Of all that happened on the wire."""
        self.net.observers.append(lambda entry: self.digest.update(repr(entry).encode()))
        self._size = size
        self._pairs = [
            (node, other)
            for node in self.members
            for other in self.rng.sample([other for other in self.members if other is not node], partners)
        ]

    def transfer(self) -> list[tuple[Transfer, Transfer]]:
        """Each member connects to some others; all move their data both ways. Both sides of each connection."""
        listeners = [self.listen(node) for node in self.members]
        clients = [self._send(self.connect(node, other)) for node, other in self._pairs]
        servers: dict[object, Transfer] = {}

        def accepted() -> Iterator[Transfer]:
            for listener in listeners:
                while (connection := listener.accept()) is not None:
                    servers[connection.remote, connection.local] = self._send(connection)
            yield from servers.values()

        def all_done() -> bool:
            done = [side.done for side in chain(clients, accepted())]
            return len(servers) == len(clients) and all(done)

        self.run_until(all_done, timeout=300)
        return [(side, servers[side.connection.local, side.connection.remote]) for side in clients]

    def _send(self, connection) -> Transfer:
        return Transfer(connection, self.rng.randbytes(self._size))

    @property
    def all_direct(self) -> bool:
        return all(self._is_direct(a, b) and self._is_direct(b, a) for a, b in self._pairs)

    def _is_direct(self, a: SimNode, b: SimNode) -> bool:
        peer = a.peer(b.address, self.now)
        return peer is not None and peer.direct
