"""A small world of VL1 cores on the simulated wire."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from zt_async.config import NodeConfig
from zt_async.context import Context
from zt_async.crypto.identity import Identity
from zt_async.events import Event, UserMessage
from zt_async.testing import Host, Link, SimNet
from zt_async.testing.identities import throwaway_identity
from zt_async.testing.node import is_valid
from zt_async.types import Endpoint, Flight
from zt_async.vl1.core import VL1
from zt_async.vl1.peer import Peer
from zt_async.vl1.world import World, WorldKey, WorldType
from zt_async.wire.packet import Verb
from zt_async.wire.verbs import encode_user_message

WORLD_KEY = WorldKey.generate(lambda size: bytes(range(size)))
GOOD = Link(delay=0.01)
MESSAGE = 70_000  # a type of USER_MESSAGE that is nobody's
EventT = TypeVar("EventT", bound=Event)


def make_planet(
    roots: Sequence[tuple[Identity, Iterable[Endpoint]]], *, timestamp: int = 1_600_000_000_000
) -> World:
    return World.make(WorldType.PLANET, 77, roots, signing_key=WORLD_KEY, timestamp=timestamp)


def make_moon(
    roots: Sequence[tuple[Identity, Iterable[Endpoint]]], *, timestamp: int = 1_600_000_000_000
) -> World:
    """A moon whose ID is its first root's address."""
    moon_id = roots[0][0].address
    return World.make(WorldType.MOON, moon_id, roots, signing_key=WORLD_KEY, timestamp=timestamp)


class SimVL1(VL1):
    """VL1 with the verbs of a core, its proofs of work checked on the spot."""

    def __init__(
        self, identity: Identity, context: Context, config: NodeConfig, planet: World | None
    ) -> None:
        super().__init__(identity, context, config, planet)
        self.seen: list[Event] = []

    def flights_to_send(self, now: float) -> list[Flight]:  # type: ignore[override]
        for identity in self.take_validations():
            self.validated(identity, is_valid(identity), now)
        self.seen += self.take_events()
        return super().flights_to_send()

    def saw(self, kind: type[EventT]) -> list[EventT]:
        """The events of one kind so far."""
        return [event for event in self.seen if isinstance(event, kind)]

    def heard(self) -> list[bytes]:
        """The data of all messages so far."""
        return [event.data for event in self.saw(UserMessage)]


class SmallWorld:
    """Roots and members, each on a /24 of its own unless ``hosts`` says otherwise.

    Identities are numbered: those of the roots, then those of the members.
    """

    def __init__(
        self,
        members: int,
        *,
        roots: int = 1,
        seed: int = 1,
        link: Link = GOOD,
        config: NodeConfig | None = None,
        add_host: Callable[[SimNet, str], Host] = SimNet.add_host,
    ) -> None:
        self.net = SimNet(seed, link=link)
        self.config = config or NodeConfig()
        self.root_hosts = [add_host(self.net, f"root{i}") for i in range(roots)]
        self.planet = make_planet(
            [(throwaway_identity(i), host.sockets.values()) for i, host in enumerate(self.root_hosts)]
        )
        self.roots = [self.add(i, host) for i, host in enumerate(self.root_hosts)]
        self.root = self.roots[0]
        self.root_host = self.root_hosts[0]
        self.hosts = [add_host(self.net, f"m{i}") for i in range(members)]
        self.members = [self.add(roots + i, host) for i, host in enumerate(self.hosts)]

    def add(
        self, number: int, host: Host, *, config: NodeConfig | None = None, planet: World | None = None
    ) -> SimVL1:
        """Start the node with that identity on a host."""
        vl1 = SimVL1(
            throwaway_identity(number),
            self.net.context(f"{host.name} {self.now}"),
            config or self.config,
            planet or self.planet,
        )
        vl1.use_sockets(host.sockets, self.now)
        self.net.attach(vl1, host)
        return vl1

    @property
    def now(self) -> float:
        return self.net.clock.now

    def run_until(self, predicate: Callable[[], object], timeout: float = 30.0) -> float:
        return self.net.run_until(predicate, timeout)

    def online(self) -> None:
        self.run_until(lambda: all(m.is_online(self.now) for m in self.members))

    def say(self, sender: VL1, receiver: VL1, data: bytes) -> None:
        """Send a message, without waiting for it."""
        sender.send(receiver.address, Verb.USER_MESSAGE, encode_user_message(MESSAGE, data), self.now)
        self.net.wake()

    def tell(self, sender: VL1, receiver: SimVL1, data: bytes, timeout: float = 5.0) -> float:
        """Send a message and wait until it is there; returns the seconds it took."""
        self.say(sender, receiver, data)
        return self.run_until(lambda: data in receiver.heard(), timeout)

    def is_direct(self, a: VL1, b: VL1) -> bool:
        """Each has a live path to the other."""
        pairs = ((a, b), (b, a))
        return all((peer := peer_of(x, y)) is not None and peer.is_direct(self.now) for x, y in pairs)

    def chat(self, a: SimVL1, b: SimVL1, seconds: float, interval: float = 0.1) -> list[float]:
        """Let two talk, both ways; the times, from the start, of what did not arrive within half a second."""
        start = self.now
        said: list[tuple[float, bytes, SimVL1]] = []
        while self.now < start + seconds:
            for sender, receiver in ((a, b), (b, a)):
                data = b"%d at %.3f" % (receiver.address, self.now)
                self.say(sender, receiver, data)
                said.append((self.now - start, data, receiver))
            self.net.run_for(interval)
        self.net.run_for(0.5)
        heard = {vl1: set(vl1.heard()) for vl1 in (a, b)}
        return [when for when, data, receiver in said if data not in heard[receiver]]


def peer_of(vl1: VL1, other: VL1) -> Peer | None:
    return vl1.topology.peers.get(other.address)


def dual_stack(net: SimNet, name: str) -> Host:
    """A host with an IPv4 and an IPv6 address, and a secondary port on both."""
    number = len(net.hosts) + 1
    return net.add_host(name, (f"10.0.{number}.2", f"fd00:{number:x}::2"), ports=(9993, 29993))


def two_ports(net: SimNet, name: str) -> Host:
    """A host with a secondary port."""
    return net.add_host(name, ports=(9993, 29993))
