"""A node's core for the simulated network."""

from __future__ import annotations

from functools import lru_cache

from zt_async.config import NodeConfig
from zt_async.context import Context
from zt_async.crypto.identity import Identity
from zt_async.events import Event
from zt_async.node import Node
from zt_async.testing.host import Host
from zt_async.testing.simnet import SimNet
from zt_async.types import Flight
from zt_async.vl1.world import World


@lru_cache(4096)
def is_valid(identity: Identity) -> bool:
    """``identity.validate()``, worked out once for each identity."""
    return identity.validate()


class SimNode(Node):
    """A node whose proofs of work are checked on the spot, and which keeps its events.

        node = SimNode.on(net, net.add_host(), throwaway_identity(1), planet=planet)
        node.join(network_id, net.clock.now)
        net.run_until(lambda: node.online, timeout=10)

    After a call from outside a run of the network (``net.run_until``, ``net.run_for``) sends what came of it.
    """

    def __init__(
        self,
        identity: Identity,
        context: Context,
        config: NodeConfig | None = None,
        planet: World | None = None,
    ) -> None:
        super().__init__(identity, context, config, planet)
        self.events: list[Event] = []
        """All events so far."""

    @classmethod
    def on(
        cls,
        net: SimNet,
        host: Host,
        identity: Identity,
        config: NodeConfig | None = None,
        planet: World | None = None,
    ) -> SimNode:
        """A node that runs on ``host``, on all sockets that are bound there."""
        node = cls(identity, net.context(host.name), config, planet)
        node.vl1.use_sockets(host.sockets, net.clock.now)
        net.attach(node, host)
        return node

    def flights_to_send(self, now: float) -> list[Flight]:
        for identity in self.vl1.take_validations():
            self.vl1.validated(identity, is_valid(identity), now)
        flights = super().flights_to_send(now)
        self.events += self.take_events()
        return flights
