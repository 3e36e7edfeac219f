"""HELLO and its OK: meeting other nodes, learning their versions, handing out worlds. vl1.md 3.4."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, NoReturn

from zt_async.crypto.identity import Identity
from zt_async.crypto.keys import SessionKey
from zt_async.errors import DecodeError
from zt_async.types import Endpoint
from zt_async.vl1.counters import INVALID_IDENTITY, WAITING, Refused
from zt_async.vl1.limits import PrefixLimit
from zt_async.vl1.path import Path
from zt_async.vl1.peer import Peer
from zt_async.vl1.world import World
from zt_async.wire.packet import (
    FIRST_ECHO_PROTOCOL,
    HEADER_SIZE,
    HOPS_MASK,
    MIN_PROTOCOL_VERSION,
    PROTOCOL_VERSION,
    ErrorCode,
    Suite,
    Verb,
)
from zt_async.wire.verbs import (
    Hello,
    HelloReply,
    MoonRevision,
    Version,
    decode_moons,
    encode_error,
    encode_moons,
    encode_ok,
)

if TYPE_CHECKING:
    from zt_async.vl1.core import VL1

OWN_VERSION: Final = Version(PROTOCOL_VERSION, 1, 14, 1)
"""The level of the reference core whose behaviour this is: controllers and rules look at it (vl1.md 8)."""

VALIDATION_INTERVAL: Final = 2.0  # s between new identities of one prefix, beyond the burst
MAX_VALIDATIONS: Final = 64
MAX_COPIES: Final = 8  # of one HELLO, on different paths, while its identity is checked


class _Validation(NamedTuple):
    """A stranger whose HELLO is authentic, but whose identity's proof of work is not checked yet."""

    key: SessionKey
    copies: list[tuple[bytes, Path]]


class Handshake:
    """Sends HELLO, answers it, and takes what its OK brings."""

    def __init__(self, vl1: VL1, burst: int) -> None:
        self._vl1 = vl1
        self.version = OWN_VERSION
        """What we say that we are."""
        self._limit = PrefixLimit(burst, VALIDATION_INTERVAL)
        self._validations: dict[Identity, _Validation] = {}
        """By the whole identity: others can claim the same address, as long as nobody has checked that."""
        self._to_validate: list[Identity] = []

    # Sending

    def say_hello(self, peer: Peer, path: Path, now: float) -> None:
        """Send HELLO over a path, which may be a relay's."""
        vl1 = self._vl1
        topology = vl1.topology
        moons = [MoonRevision(moon.id, moon.timestamp) for moon in topology.moons.values()]
        moons += [MoonRevision(moon_id, 0) for moon_id in topology.seeds]
        packet_id = vl1.context.packet_id()
        planet = topology.planet
        hello = Hello(
            self.version,
            vl1.context.wall_ms(),
            topology.identity.to_bytes(),
            path.endpoint,
            planet=(planet.id, planet.timestamp) if planet else (0, 0),
            tail=peer.key.crypt_field(packet_id, encode_moons(moons)),
        )
        body = bytes((Verb.HELLO,)) + hello.encode()
        packet = peer.key.seal(packet_id, peer.wire_addresses, 0, body, Suite.CLEAR)
        vl1.expected.add(int.from_bytes(packet_id, "big"), Verb.HELLO, peer.address, path.endpoint, now)
        vl1.sender.forward(path, packet, now)

    # Receiving

    def receive(self, packet: bytes, path: Path, now: float) -> bool:
        """Take a HELLO that came in the clear, and so has to prove itself (suite 0).

        True where it waits for the check of a stranger's identity. Raises DecodeError or Refused.
        """
        vl1 = self._vl1
        hello = Hello.decode(packet[HEADER_SIZE:])
        identity, _ = Identity.from_bytes(hello.identity)
        source = int.from_bytes(packet[13:18], "big")
        if hello.version.protocol < MIN_PROTOCOL_VERSION or identity.address != source:
            raise DecodeError("bad hello")
        if identity.address.is_reserved:
            raise DecodeError("reserved address")
        peer = vl1.topology.peers.get(source)
        if peer is not None and peer.identity == identity:
            if peer.key.open(packet) is None:
                raise Refused("not authentic")
            self.accept(peer, hello, packet, path, now)
            return False
        waiting = self._validations.get(identity)
        if waiting is not None:
            if waiting.key.open(packet) is None:
                raise Refused("not authentic")
            if len(waiting.copies) >= MAX_COPIES:
                raise Refused("rate limit")
            waiting.copies.append((packet, path))
            return True
        if not self._limit.allow(path.endpoint.ip, now):
            raise Refused("rate limit")
        key = vl1.topology.identity.agree(identity)
        if key.open(packet) is None:
            raise Refused("not authentic")
        if peer is not None:
            self._refuse(identity, key, packet, path, now)
        if len(self._validations) >= MAX_VALIDATIONS:
            raise Refused("rate limit")
        self._validations[identity] = _Validation(key, [(packet, path)])
        self._to_validate.append(identity)
        return True

    def _refuse(self, identity: Identity, key: SessionKey, packet: bytes, path: Path, now: float) -> NoReturn:
        """Tell a newcomer that its address is another's: the first identity seen keeps it (vl1.md 7)."""
        newcomer = Peer(identity, key, self._vl1.topology.address)
        in_re = int.from_bytes(packet[:8], "big")
        body = bytes((Verb.ERROR,)) + encode_error(Verb.HELLO, in_re, ErrorCode.IDENTITY_COLLISION)
        self._vl1.sender.transmit(newcomer, path, body, now, Suite.SALSA)
        raise Refused("identity collision")

    def take_validations(self) -> list[Identity]:
        """Identities whose proof of work is to be checked by whoever drives the core, off its hot path."""
        identities = self._to_validate
        self._to_validate = []
        return identities

    def validated(self, identity: Identity, valid: bool, now: float) -> None:
        """The answer to one of ``take_validations``."""
        validation = self._validations.pop(identity, None)
        if validation is None:
            return
        vl1 = self._vl1
        copies = validation.copies
        if not valid:
            vl1.counters[WAITING] -= len(copies)
            vl1.counters[INVALID_IDENTITY] += len(copies)
            return
        vl1.topology.add_peer(identity, now)
        for packet, path in copies:
            vl1.decode_again(packet, path, now)
        vl1.peer_learned(identity.address, now)

    def receive_sealed(self, peer: Peer, packet: bytes, payload: bytes, path: Path, now: float) -> None:
        """Take a HELLO that came under a cipher, from a peer that is known. Raises DecodeError or Refused."""
        hello = Hello.decode(payload)
        if hello.version.protocol < MIN_PROTOCOL_VERSION or hello.identity[:5] != peer.address.packed:
            raise DecodeError("bad hello")
        self.accept(peer, hello, packet, path, now)

    def accept(self, peer: Peer, hello: Hello, packet: bytes, path: Path, now: float) -> None:
        """Answer an authentic HELLO, on the path it came from. Raises DecodeError or Refused."""
        vl1 = self._vl1
        hops = packet[18] & HOPS_MASK
        path = vl1.paths.keep(path)
        if peer.entry_of(path) is None and not peer.may_say_hello(now):
            raise Refused("rate limit")
        moons = decode_moons(peer.key.crypt_field(packet[:8], hello.tail)) if hello.tail else []
        if hello.sent_to is not None and hops == 0:
            vl1.surface_reported(peer, path, hello.sent_to, now)
        endpoint = path.endpoint
        if hello.version.protocol < FIRST_ECHO_PROTOCOL:
            endpoint = Endpoint(endpoint.host, 0)
        reply = HelloReply(hello.clock_ms, self.version, endpoint, self._newer_worlds(hello, moons))
        in_re = int.from_bytes(packet[:8], "big")
        body = bytes((Verb.OK,)) + encode_ok(Verb.HELLO, in_re, reply.encode())
        vl1.sender.transmit(peer, path, body, now)
        peer.version = hello.version
        vl1.received(peer, path, hops, Verb.HELLO, now)

    def _newer_worlds(self, hello: Hello, moons: list[MoonRevision]) -> bytes:
        topology = self._vl1.topology
        worlds = b""
        planet = topology.planet
        if planet is not None and 0 != hello.planet[0] == planet.id and planet.timestamp > hello.planet[1]:
            worlds = planet.to_bytes()
        for moon_id, timestamp in moons:
            moon = topology.moons.get(moon_id)
            if moon is not None and moon.timestamp > timestamp and len(worlds) < 0x1000:
                worlds += moon.to_bytes()
        return worlds

    def receive_ok(self, peer: Peer, data: bytes, path: Path, hops: int, sent: float, now: float) -> None:
        """Take the answer to a HELLO of ours."""
        vl1 = self._vl1
        reply = HelloReply.decode(data)
        if reply.version.protocol < MIN_PROTOCOL_VERSION:
            raise DecodeError("bad hello reply")
        if reply.worlds and vl1.topology.may_send_worlds(peer.address):
            self._take_worlds(reply.worlds)
        if hops == 0:
            path.add_latency((now - sent) * 1000)
            if reply.seen_as is not None:
                vl1.surface_reported(peer, path, reply.seen_as, now)
        peer.version = reply.version
        peer.replied_hello = True

    def _take_worlds(self, data: bytes) -> None:
        vl1 = self._vl1
        while data:
            try:
                world, used = World.from_bytes(data)
            except DecodeError:
                vl1.counters["world: malformed"] += 1
                return
            data = data[used:]
            if not vl1.offer_world(world):
                vl1.counters["world: refused"] += 1
