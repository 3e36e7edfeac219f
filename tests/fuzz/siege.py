"""A living network of which one node is given hostile datagrams, with an eye on all that it does."""

from __future__ import annotations

import tracemalloc
from collections import Counter

from tests.vl1.world import MESSAGE, dual_stack, make_moon
from tests.vl2.lan import Lan
from zt_async.testing import SimNode
from zt_async.types import Endpoint
from zt_async.vl1.counters import DATAGRAMS, MALFORMED, OTHERS, PACKETS
from zt_async.vl2.counters import IN, NOT_TAKEN, OUT
from zt_async.vl2.counters import MALFORMED as FRAME_MALFORMED
from zt_async.vl2.counters import OTHERS as FRAME_OTHERS
from zt_async.wire.packet import Verb
from zt_async.wire.verbs import encode_user_message, encode_whois

from .mutations import Captured, Insider, Mutator

LEAF, FRIEND, RELAYED = 0, 1, 2


class Siege:
    """A root and three members; the target is the root or the first member.

    The third member cannot reach the first one directly, so that something is relayed.
    """

    def __init__(self, seed: int, *, root: bool) -> None:
        self.lan = lan = Lan(3, seed=seed, add_host=dual_stack)
        lan.net.partition([lan.hosts[LEAF]], [lan.hosts[RELAYED]])
        self.target: SimNode = lan.roots[0] if root else lan.members[LEAF]
        self.host = lan.root_hosts[0] if root else lan.hosts[LEAF]
        self.given = 0
        """Datagrams that the target was given, honest ones included."""
        self.handed = 0
        """Packets that VL1 of the target handed to VL2."""
        self.out: Counter[Endpoint] = Counter()
        """Bytes that the target sent, by where to."""
        self._captured: list[Captured] = []
        self._watch()
        lan.net.observers.append(self._capture)
        lan.online()
        self._live()
        lan.net.observers.clear()

    def _watch(self) -> None:
        node = self.target
        receive, send, take = node.receive_datagrams, node.flights_to_send, node.vl1.take_packets

        def receive_datagrams(socket, remote, datagrams, now):
            self.given += len(datagrams)
            receive(socket, remote, datagrams, now)

        def flights_to_send(now):
            flights = send(now)
            node.events.clear()
            for flight in flights:
                self.out[flight.remote] += sum(map(len, flight.datagrams))
            return flights

        def take_packets():
            packets = take()
            self.handed += len(packets)
            return packets

        node.receive_datagrams = receive_datagrams
        node.flights_to_send = flights_to_send
        node.vl1.take_packets = take_packets

    def _capture(self, entry) -> None:
        datagram = entry.datagram
        if entry.event == "delivered" and self.lan.net._owners.get(datagram.destination.host) is self.host:
            self._captured.append(Captured(datagram.source, datagram.payload))

    def _live(self) -> None:
        """All that honest nodes do."""
        lan = self.lan
        leaf, friend, relayed = lan.members
        for a, b in ((leaf, friend), (leaf, relayed), (friend, leaf)):
            lan.ping(a, b)
            lan.transfer(a, b, 10_000)
            lan.echo(a, b, [0, 100, 2700])
        for a in (*lan.members, *lan.roots):
            for b in (*lan.members, *lan.roots):
                if a is not b:
                    for size in (10, 1000, 9000):
                        a.vl1.send(
                            b.address, Verb.USER_MESSAGE, encode_user_message(MESSAGE, bytes(size)), lan.now
                        )
            a.vl1.send(
                lan.roots[0].address, Verb.WHOIS, encode_whois([b.address for b in lan.members]), lan.now
            )
        moon = make_moon([(friend.identity, lan.hosts[FRIEND].sockets.values())])
        friend.vl1.topology.offer(moon, always_accept_new=True)
        for node in (leaf, *lan.roots):
            node.vl1.want_moon(moon.id, friend.address)
        lan.net.run_for(130)

    def mutator(self, seed: object) -> Mutator:
        """Made of what the target received, and of what its acquaintances said."""
        target = self.target
        insiders = []
        for number, node in enumerate((*self.lan.roots, *self.lan.members)):
            if node is target:
                continue
            key = node.identity.agree(target.identity)
            packets = [c.payload for c in self._captured if c.payload[13:18] == node.address.packed]
            bodies = [
                body for packet in packets if len(packet) >= 28 and (body := key.open(packet)) is not None
            ]
            bodies += [bytes((verb,)) + bytes(30) for verb in Verb]
            host = (*self.lan.root_hosts, *self.lan.hosts)[number]
            insiders.append(Insider(node.address, key, host.sockets[0], bodies))
        return Mutator(seed, target.address, self._captured, insiders)

    def give(self, source: Endpoint, datagrams: list[bytes]) -> None:
        """Hostile datagrams, at one of the target's sockets."""
        number = next(n for n, local in self.host.sockets.items() if local.family == source.family)
        self.target.receive_datagrams(number, source, datagrams, self.lan.now)

    def answer(self) -> None:
        """Let the target work on what it was given, and time pass."""
        self.lan.net.run_for(0.01)

    def is_stranger(self, endpoint: Endpoint) -> bool:
        """No honest node is there."""
        return endpoint.host not in self.lan.net._owners

    def check_counts(self) -> None:
        """All that the target was given is counted once, under names that are documented."""
        vl1, vl2 = self.target.vl1.counters, self.target.vl2.counters
        assert sum(vl1[name] for name in DATAGRAMS) == self.given
        packets = {name: n for name, n in vl1.items() if name.startswith("packet: ")}
        assert sum(packets.values()) == vl1["datagram: packet"] + vl1["fragments: joined"]
        assert all(name in PACKETS or name.startswith(MALFORMED) for name in packets)
        assert vl1.keys() - packets.keys() <= DATAGRAMS.keys() | OTHERS.keys()
        frames = {name: n for name, n in vl2.items() if name.startswith("in: ")}
        assert sum(frames.values()) == self.handed
        assert all(name in IN or name.startswith((NOT_TAKEN, FRAME_MALFORMED)) for name in frames)
        assert vl2.keys() - frames.keys() <= OUT.keys() | FRAME_OTHERS.keys()
        assert all(n >= 0 for counters in (vl1, vl2) for n in counters.values())

    def check_bounds(self) -> None:
        """Nothing that is kept for strangers has grown beyond its bound."""
        vl1 = self.target.vl1
        assert len(vl1._assembler) <= 1024
        assert vl1._assembler._bytes <= 4 << 20
        assert len(vl1.paths.visitors) <= 1024
        assert len(vl1._surface._reports) <= 1024
        assert len(vl1.expected) <= 8192
        assert len(vl1.contact._attempts) <= 1024
        assert len(vl1.contact._awaited) <= 256
        assert len(vl1.contact._introduced) <= 8192
        assert len(vl1.whois._requests) <= 1024
        assert vl1.whois._packet_count <= 128
        assert vl1.sender._waiting_count <= 1024
        assert len(vl1.handshake._validations) <= 64
        assert len(vl1.topology.peers) <= 10
        assert sum(len(peer.entries) for peer in vl1.topology.peers.values()) <= 10 * 64

    def summary(self) -> str:
        """What became of all that was given."""
        rooms = (("vl1", self.target.vl1.counters), ("vl2", self.target.vl2.counters))
        counts = [
            f"{room} {name}: {n}" for room, counters in rooms for name, n in sorted(counters.items()) if n
        ]
        return f"{self.given} datagrams; {', '.join(counts)}"

    def check_life(self) -> None:
        """Honest nodes are served as before."""
        lan = self.lan
        lan.net.run_for(60)  # let the limits that the siege used up recover
        leaf, friend, relayed = lan.members
        for a, b in ((leaf, friend), (leaf, relayed), (friend, leaf), (relayed, leaf)):
            lan.transfer(a, b, 20_000)
            lan.echo(a, b, [100, 2700])


class Memory:
    """How much more is held than at the beginning."""

    def __enter__(self):
        tracemalloc.start(1)
        return self

    def __exit__(self, *_):
        tracemalloc.stop()

    def mark(self) -> None:
        self.start = tracemalloc.get_traced_memory()[0]

    def growth(self) -> int:
        return tracemalloc.get_traced_memory()[0] - self.start
