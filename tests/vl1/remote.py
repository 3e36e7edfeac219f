"""One VL1 core on a bench: the test plays all other nodes, makes their packets and opens what they get."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from zt_async.config import NodeConfig
from zt_async.crypto.identity import Identity
from zt_async.testing import SimClock, seeded_context
from zt_async.testing.identities import throwaway_identity
from zt_async.types import Endpoint
from zt_async.vl1.handshake import OWN_VERSION
from zt_async.vl1.world import World
from zt_async.wire.compression import decompress
from zt_async.wire.packet import COMPRESSED, VERB_MASK, ErrorCode, Suite, Verb
from zt_async.wire.verbs import (
    Hello,
    HelloReply,
    MoonRevision,
    Version,
    encode_error,
    encode_moons,
    encode_ok,
)

from .world import SimVL1, make_planet

HOME = Endpoint("10.0.0.1", 9993)
"""Where the core is."""


class Got(NamedTuple):
    """A packet that the core sent, opened by its receiver."""

    verb: int
    payload: bytes
    at: Endpoint
    socket: int
    packet: bytes

    @property
    def packet_id(self) -> int:
        return int.from_bytes(self.packet[:8], "big")

    @property
    def suite(self) -> int:
        return self.packet[18] >> 3 & 7


class Remote:
    """Another node."""

    def __init__(self, bench: Bench, number: int, at: Endpoint, *, version: Version = OWN_VERSION) -> None:
        self.bench = bench
        self.identity = throwaway_identity(number)
        self.address = self.identity.address
        self.key = self.identity.agree(bench.core.identity)
        self.at = at
        self.version = version
        self.got: list[Got] = []
        """What the core sent to this node and nobody looked at yet."""

    # Making packets

    def packet(
        self,
        verb: int,
        payload: bytes = b"",
        *,
        suite: int = Suite.SALSA,
        hops: int = 0,
        to: Identity | None = None,
    ) -> bytes:
        """A packet to the core, or past it to another node."""
        key = self.key if to is None else self.identity.agree(to)
        receiver = self.bench.core.address if to is None else to.address
        packet_id = self.bench.context.packet_id()
        addresses = receiver.packed + self.address.packed
        sealed = key.seal(packet_id, addresses, 0, bytes((verb,)) + payload, suite)
        return sealed[:18] + bytes((sealed[18] | hops,)) + sealed[19:]

    def hello(
        self,
        *,
        sent_to: Endpoint | None = HOME,
        planet: tuple[int, int] = (0, 0),
        moons: tuple[MoonRevision, ...] = (),
        suite: int = Suite.CLEAR,
        hops: int = 0,
        identity: Identity | None = None,
        clock_ms: int = 12345,
    ) -> bytes:
        packet_id = self.bench.context.packet_id()
        hello = Hello(
            self.version,
            clock_ms,
            (identity or self.identity).to_bytes(),
            sent_to,
            planet=planet,
            tail=self.key.crypt_field(packet_id, encode_moons(moons)),
        )
        addresses = self.bench.core.address.packed + self.address.packed
        sealed = self.key.seal(packet_id, addresses, 0, bytes((Verb.HELLO,)) + hello.encode(), suite)
        return sealed[:18] + bytes((sealed[18] | hops,)) + sealed[19:]

    def ok(self, got: Got, data: bytes = b"", **options) -> bytes:
        """The answer to a packet of the core."""
        return self.packet(Verb.OK, encode_ok(got.verb, got.packet_id, data), **options)

    def ok_hello(
        self, got: Got, *, seen_as: Endpoint | None = HOME, worlds: bytes = b"", version=None, **options
    ):
        clock_ms = Hello.decode(got.payload).clock_ms
        reply = HelloReply(clock_ms, version or self.version, seen_as, worlds)
        return self.ok(got, reply.encode(), **options)

    def error(self, code: ErrorCode, in_re: int = Verb.HELLO, data: bytes = b"", **options) -> bytes:
        return self.packet(Verb.ERROR, encode_error(in_re, 1, code, data), **options)

    # Talking

    def say(self, *datagrams: bytes, at: Endpoint | None = None, socket: int = 0) -> list[Got]:
        """Send datagrams from this node's address (or another one); what the core says to it then."""
        self.bench.core.receive_datagrams(socket, at or self.at, datagrams, self.bench.now)
        self.bench.collect()
        return self.take()

    def ask(self, verb: int, payload: bytes = b"", **options) -> list[Got]:
        return self.say(self.packet(verb, payload, **options))

    def take(self, verb: int | None = None) -> list[Got]:
        """What came since the last look, of one verb or all."""
        taken = [got for got in self.got if verb is None or got.verb == verb]
        self.got = [got for got in self.got if got not in taken]
        return taken

    def meet(self) -> None:
        """Exchange HELLOs until the core has a path to this node and knows its version."""
        for got in self.say(self.hello()):
            if got.verb == Verb.HELLO:
                self.say(self.ok_hello(got))
        peer = self.bench.core.topology.peers[self.address]
        assert [entry.path.endpoint for entry in peer.entries] == [self.at]
        self.take()

    @property
    def peer(self):
        return self.bench.core.topology.peers.get(self.address)


@dataclass
class Bench:
    """A core with everything that it sends in view."""

    root: bool = False
    """The core is the root of its planet; otherwise ``upstream`` is."""

    config: NodeConfig = field(default_factory=NodeConfig)
    planet: World | None = None

    def __post_init__(self) -> None:
        self.clock = SimClock(1000.0)
        self.context = seeded_context("remote", self.clock)
        identity = throwaway_identity(100)
        root_at = Endpoint("10.0.1.1", 9993)
        self.planet = self.planet or make_planet(
            [(identity, [HOME])] if self.root else [(throwaway_identity(101), [root_at])]
        )
        self.core = SimVL1(identity, seeded_context("core", self.clock), self.config, self.planet)
        self.remotes: dict[int, Remote] = {}
        self.sent: list[tuple[Endpoint, bytes]] = []
        """All datagrams so far."""
        self.dying: list[tuple[Endpoint, bytes, int]] = []
        if not self.root:
            self.upstream = self.remote(101, root_at)
            self.core.handle_timer(self.now)
            self.collect()
            self.meet_upstream()

    @property
    def now(self) -> float:
        return self.clock.now

    def remote(self, number: int, at: Endpoint | str, *, version: Version = OWN_VERSION) -> Remote:
        """Another node at some address; its identity has that number (100 and 101 are taken)."""
        endpoint = Endpoint(at, 9993) if isinstance(at, str) else at
        remote = Remote(self, number, endpoint, version=version)
        self.remotes[remote.address] = remote
        return remote

    def meet_upstream(self) -> None:
        for got in self.upstream.take(Verb.HELLO):
            self.upstream.say(self.upstream.ok_hello(got))
        assert self.core.is_online(self.now)
        self.upstream.take()

    def collect(self) -> None:
        """Fetch what the core sends and give it to those it is for."""
        for flight in self.core.flights_to_send(self.now):
            whole: list[bytes] = []
            for datagram in flight.datagrams:
                if flight.ttl is not None:
                    self.dying.append((flight.remote, datagram, flight.ttl))
                    continue
                self.sent.append((flight.remote, datagram))
                if datagram[13] == 0xFF and whole and whole[-1][:8] == datagram[:8]:
                    whole[-1] += datagram[16:]
                else:
                    whole.append(datagram)
            for packet in whole:
                remote = self.remotes.get(int.from_bytes(packet[8:13], "big"))
                if remote is None or packet[13:18] != self.core.address.packed:
                    continue
                body = remote.key.open(packet)
                assert body is not None
                payload = decompress(body[1:]) if body[0] & COMPRESSED else body[1:]
                verb = body[0] & VERB_MASK
                remote.got.append(Got(verb, payload, flight.remote, flight.socket, packet))

    def wait(self, seconds: float) -> None:
        """Let time pass, with the core's timers."""
        end = self.now + seconds
        while (due := self.core.next_timer()) <= end:
            self.clock.advance_to(due)
            self.core.handle_timer(self.now)
            self.collect()
        self.clock.advance_to(end)

    def fates(self) -> dict[str, int]:
        """What became of packets, without those that were accepted."""
        return {
            name.removeprefix("packet: "): count
            for name, count in self.core.counters.items()
            if name.startswith("packet: ") and count and name != "packet: accepted"
        }
