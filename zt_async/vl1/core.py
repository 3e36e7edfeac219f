"""VL1: the room where datagrams become authentic packets of known peers, and the other way round. vl1.md 2 to 5.

Driven from outside (DESIGN 3): ``receive_datagrams`` and ``handle_timer`` in, ``flights_to_send``,
``take_packets``, ``take_events`` and ``take_validations`` out. It knows nothing of networks: packets of VL2's
verbs are handed on as they are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Final, TypeAlias

from zt_async.config import NodeConfig
from zt_async.context import Context
from zt_async.crypto.identity import Identity
from zt_async.errors import DecodeError
from zt_async.events import Event, IdentityCollided, PeerUnreachable, UserMessage, WorldChanged
from zt_async.types import Endpoint, Flight, NodeAddress
from zt_async.vl1.assembler import Assembler
from zt_async.vl1.contact import Contact
from zt_async.vl1.counters import (
    ACCEPTED,
    DATAGRAM_FRAGMENT,
    DATAGRAM_PACKET,
    FRAGMENTS_JOINED,
    MALFORMED,
    NOT_AUTHENTIC,
    WAITING,
    Refused,
)
from zt_async.vl1.expected import ExpectedReplies
from zt_async.vl1.handshake import Handshake
from zt_async.vl1.path import ANY_SOCKET, NEVER, PATH_QUIET, TRUST_EXPIRATION, TWIN_TIME, Path, PathPolicy
from zt_async.vl1.paths import PathTable
from zt_async.vl1.peer import Peer
from zt_async.vl1.pulse import Pulse
from zt_async.vl1.relay import Relay
from zt_async.vl1.report import PeerReporter
from zt_async.vl1.sender import Sender, make_body
from zt_async.vl1.surface import SelfAwareness
from zt_async.vl1.topology import Topology
from zt_async.vl1.whois import Whois
from zt_async.vl1.world import World, WorldType
from zt_async.wire.compression import decompress
from zt_async.wire.packet import (
    BODY_OFFSET,
    COMPRESSED,
    FLAG_FRAGMENTED,
    FRAGMENT_HEADER_SIZE,
    FRAGMENT_MARK,
    HEADER_SIZE,
    HOPS_MASK,
    MAX_DATAGRAM,
    SUITE_MASK,
    VERB_MASK,
    ErrorCode,
    Suite,
    Verb,
)
from zt_async.wire.verbs import decode_error, decode_ok, decode_user_message, encode_error, encode_ok

Inbound: TypeAlias = tuple[Peer, Path, int, int, bytes]
"""A packet for VL2: sender, path, verb, packet ID as on the wire, body (verb byte and payload)."""

MAX_OWN_ENDPOINTS: Final = 64  # told to others, who look at 8 of each scope and family
ECHO_INTERVAL: Final = 1 / 6  # s between ECHOs answered on one path

_SECOND_OF_TWO: Final = b"\xff\x21"
_CLEAR_HELLO: Final = Suite.CLEAR << 3
_TRUSTED: Final = Suite.TRUSTED_PATH << 3
_AES: Final = Suite.AES << 3
_PROBES = frozenset((Verb.HELLO, Verb.ECHO))
_NONTRIVIAL = frozenset(
    (Verb.FRAME, Verb.EXT_FRAME, Verb.NETWORK_CONFIG_REQUEST, Verb.NETWORK_CONFIG, Verb.MULTICAST_FRAME)
)
_FOR_VL2 = frozenset(
    (
        Verb.FRAME,
        Verb.EXT_FRAME,
        Verb.MULTICAST_LIKE,
        Verb.NETWORK_CREDENTIALS,
        Verb.NETWORK_CONFIG_REQUEST,
        Verb.NETWORK_CONFIG,
        Verb.MULTICAST_GATHER,
        Verb.MULTICAST_FRAME,
    )
)


class VL1:
    """The peer-to-peer layer of one node."""

    def __init__(
        self, identity: Identity, context: Context, config: NodeConfig, planet: World | None
    ) -> None:
        self.context = context
        self.config = config
        self.counters: Counter[str] = Counter()
        """What became of all that arrived, and more, by the names of ``vl1.counters``."""
        self.events: list[Event] = []
        self.identity = identity
        self.address = identity.address
        self.topology = Topology(identity, planet, config.max_peers)
        self.policy = PathPolicy(
            allow_loopback=config.allow_loopback_paths,
            blacklist=config.path_blacklist,
            trusted=config.trusted_paths,
        )
        self.paths = PathTable(self.policy)
        self.expected = ExpectedReplies()
        self.sender = Sender(self.topology, context, config.mtu, self.counters, self.expected)
        self.handshake = Handshake(self, config.identity_validation_burst)
        self.whois = Whois(self)
        self.contact = Contact(self)
        self.pulse = Pulse(self)
        self.reporter = PeerReporter(self.topology, self.events)
        self.local_endpoints: tuple[Endpoint, ...] = ()
        """Our sockets' addresses on this host, as peers on the same wire reach them; see ``use_sockets``."""
        self.collided = False
        """A root knows another node under our address: this identity is of no use any more."""
        self._assembler = Assembler(self.counters)
        self._relay = Relay(self)
        self._surface = SelfAwareness()
        self._packets: list[Inbound] = []
        self._own = identity.address.packed

    # In

    def receive_datagrams(
        self, socket: int, remote: Endpoint, datagrams: Sequence[bytes], now: float
    ) -> None:
        """Take what arrived on a local socket from one remote endpoint, in order. Never raises on any bytes."""
        path = self.paths.find(socket, remote)
        own = self._own
        decode = self._decode
        counters = self.counters
        head: bytes | None = None  # of a packet whose other half is likely to be next
        packets = halves = 0
        for datagram in datagrams:
            size = len(datagram)
            if head is not None:
                if (
                    datagram[13:15] == _SECOND_OF_TWO
                    and datagram[:13] == head[:13]
                    and FRAGMENT_HEADER_SIZE < size <= MAX_DATAGRAM - len(head)
                ):
                    halves += 1
                    decode(head + datagram[FRAGMENT_HEADER_SIZE:], path, now)
                    head = None
                    continue
                self._receive_piece(head, path, now)
                head = None
            if size <= FRAGMENT_HEADER_SIZE or size > MAX_DATAGRAM:
                counters["datagram: wrong size"] += 1
            elif datagram[13] == FRAGMENT_MARK:
                if datagram[8:13] != own:
                    self._relay.carry(datagram, path, now)
                else:
                    self._receive_piece(datagram, path, now)
            elif size < HEADER_SIZE:
                counters["datagram: wrong size"] += 1
            elif datagram[8:13] != own:
                self._relay.carry(datagram, path, now)
            elif datagram[18] & FLAG_FRAGMENTED:
                head = datagram
            else:
                packets += 1
                decode(datagram, path, now)
        if head is not None:
            self._receive_piece(head, path, now)
        if packets:
            counters[DATAGRAM_PACKET] += packets
        if halves:
            counters[DATAGRAM_FRAGMENT] += 2 * halves
            counters[FRAGMENTS_JOINED] += halves

    def _receive_piece(self, piece: bytes, path: Path, now: float) -> None:
        if (whole := self._assembler.add(piece, path, now)) is not None:
            self._decode(*whole, now)

    def handle_timer(self, now: float) -> None:
        """Do what is due: pings, retries, expiry."""
        self.contact.handle_timer(now)
        self.pulse.handle_timer(now)

    def next_timer(self) -> float:
        """When ``handle_timer`` is to be called at the latest."""
        contact = self.contact.next_timer()
        pulse = self.pulse.next_timer()
        return pulse if contact is None else min(contact, pulse)

    # Out

    def flights_to_send(self) -> list[Flight]:
        """The datagrams made since the last call."""
        for peer, path, at in self.sender.take_doubts():
            if path is None:
                self.pulse.try_hints(peer, at)
            else:
                self.contact.attempt(peer, path.socket, path.endpoint, at)
        return self.sender.flights_to_send()

    def take_packets(self) -> list[Inbound]:
        """Authentic packets of VL2's verbs since the last call."""
        packets = self._packets
        self._packets = []
        return packets

    def take_events(self) -> list[Event]:
        events = self.events[:]
        self.events.clear()
        return events

    def take_validations(self) -> list[Identity]:
        """Identities to check with ``Identity.validate``; answer each with ``validated``."""
        return self.handshake.take_validations()

    def validated(self, identity: Identity, valid: bool, now: float) -> None:
        self.handshake.validated(identity, valid, now)

    # Sending for VL2 and the application

    def send(
        self, address: NodeAddress, verb: Verb, payload: bytes, now: float, *, compressible: bool = False
    ) -> None:
        """Send one packet by the best way there is; it waits up to 5 s where there is none yet."""
        self.send_all(address, (make_body(verb, payload, compressible=compressible),), now)

    def ask(self, address: int, body: bytes, now: float) -> None:
        """Send one packet, given as its body, and let the OK through that answers it."""
        if not self.sender.ask(address, body, now):
            self._wait_for(address, now)

    def send_all(self, address: int, bodies: Sequence[bytes], now: float) -> None:
        """Send packets given as bodies (verb byte and payload); the hot path of frames."""
        if not self.sender.send_all(address, bodies, now):
            self._wait_for(address, now)

    def _wait_for(self, address: int, now: float) -> None:
        if address not in self.topology.peers:
            self.whois.request(address, now)
        self.pulse.wake(now)

    def reply(self, peer: Peer, path: Path, in_re: Verb, packet_id: int, data: bytes, now: float) -> None:
        """Answer a packet with OK, on the path it came from."""
        self.sender.transmit(peer, path, bytes((Verb.OK,)) + encode_ok(in_re, packet_id, data), now)

    def refuse(
        self, peer: Peer, path: Path, in_re: Verb, packet_id: int, code: ErrorCode, data: bytes, now: float
    ) -> None:
        """Answer a packet with ERROR, on the path it came from."""
        self.sender.transmit(
            peer, path, bytes((Verb.ERROR,)) + encode_error(in_re, packet_id, code, data), now
        )

    def trust(self, peer: Peer, path: Path, now: float) -> None:
        """A packet on this path proved that the peer shares a network with us (vl1.md 5.1)."""
        first = not peer.is_trusted(now)
        peer.last_trusted = now
        path.last_trusted = now
        if first:
            self.contact.maybe_push(peer, path, 0 if peer.entry_of(path) else 1, now)

    # State

    def is_online(self, now: float) -> bool:
        """A root was heard lately, or we are one; and none says that our address is another's."""
        if self.collided:
            return False
        return self.topology.is_root or now - self.topology.last_heard_upstream() < self.config.offline_after

    def identity_of(self, address: int) -> Identity | None:
        if address == self.address:
            return self.identity.public()
        peer = self.topology.peers.get(address)
        return peer.identity if peer else None

    def identify(self, address: NodeAddress, now: float) -> Identity | None:
        """The identity of a node; where it is not known it is asked for."""
        identity = self.identity_of(address)
        if identity is None:
            self.whois.request(address, now)
        return identity

    def own_endpoints(self, now: float) -> list[Endpoint]:
        """Where others may find us: our addresses on this host, and those that others have seen."""
        candidates = dict.fromkeys((*self.local_endpoints, *self._surface.endpoints(now)))
        return [endpoint for endpoint in candidates if self.policy.allows(endpoint)][:MAX_OWN_ENDPOINTS]

    def use_sockets(self, sockets: Mapping[int, Endpoint], now: float) -> None:
        """These are our UDP sockets from now on: paths over others are gone, and roots and peers hear of the new."""
        self.local_endpoints = tuple(sockets.values())
        for peer in self.topology.peers.values():
            for entry in peer.drop_entries(lambda entry: entry.path.socket not in sockets):
                self.reporter.removed(peer, entry.path.endpoint, now)
                self.contact.attempt(peer, ANY_SOCKET, entry.path.endpoint, now)
            peer.paths_pushed = NEVER
            peer.push_interval = 0.0
        self.pulse.check_now()

    # Worlds

    def offer_world(self, world: World, *, always_accept_new: bool = False) -> bool:
        """Take a planet or moon over as ``Topology.offer`` does; tell of it, and meet its roots."""
        if not self.topology.offer(world, always_accept_new=always_accept_new):
            return False
        self._tell_world(world, dropped=False)
        self.pulse.check_now()
        return True

    def want_moon(self, moon_id: int, seed: NodeAddress) -> None:
        """Get a moon from the node ``seed``. Raises ValueError beyond 64 open wishes."""
        self.topology.want_moon(moon_id, seed)
        self.pulse.check_now()

    def drop_moon(self, moon_id: int) -> bool:
        """Forget a moon, or the wish for it; False if there was neither."""
        moon = self.topology.moons.get(moon_id)
        if moon is not None:
            self._tell_world(moon, dropped=True)
        return self.topology.drop_moon(moon_id)

    def _tell_world(self, world: World, *, dropped: bool) -> None:
        kind = "planet" if world.type == WorldType.PLANET else "moon"
        event = WorldChanged(world_id=world.id, kind=kind, timestamp=world.timestamp, dropped=dropped)
        self.events.append(event)

    # Peers and paths

    def surfaces(self, now: float) -> list[Endpoint]:
        """Where other nodes see this one's datagrams come from; those that roots told first."""
        return self._surface.endpoints(now)

    def add_known_peer(self, identity: Identity, endpoints: Iterable[Endpoint], now: float) -> None:
        """A peer from the cache of an earlier run: its addresses are tried, none is trusted (vl1.md 5.11)."""
        if identity.address == self.address:
            return
        peer = self.topology.add_peer(identity, now)
        peer.hints = tuple(endpoints)
        peer.hints_tried = NEVER
        self.pulse.try_hints(peer, now)

    def learn(self, peer: Peer, path: Path, now: float) -> None:
        """Reach a peer over this path from now on: it has proved itself (vl1.md 5.3)."""
        if not self.paths.learn(path):
            self.counters["paths: too many"] += 1
            return
        replaced = peer.learn(path, now, self.contact.take_priority(peer, path.endpoint))
        if replaced:
            self.contact.moved(peer)
        self.reporter.learned(peer, path, replaced, now)
        self.sender.retry(peer.address, now)
        if self.topology.is_upstream(peer.address):
            self.pulse.hurry(now)

    def forget_paths(self, idle: float, now: float) -> None:
        """Drop the records of paths that no peer uses and that were silent for ``idle`` seconds."""
        used = {entry.path for peer in self.topology.peers.values() for entry in peer.entries}
        self.paths.forget(used, idle, now)

    def expire(self, now: float) -> None:
        """Forget what is too old, in all that is kept for others."""
        self._surface.expire(now)
        self.expected.expire(now)
        self.contact.expire(now)

    def expire_fragments(self, now: float) -> None:
        """Forget the pieces of packets that never became whole."""
        self._assembler.expire(now)

    # Decoding

    def _decode(self, packet: bytes, path: Path, now: float) -> None:
        """Authenticate a whole packet for us, decompress it and hand it to its verb (vl1.md 2.11)."""
        counters = self.counters
        flags = packet[18]
        source = int.from_bytes(packet[13:18], "big")
        if source == self.address:
            counters["packet: own address"] += 1
            return
        suite = flags & SUITE_MASK
        if suite == _CLEAR_HELLO and packet[BODY_OFFSET] & VERB_MASK == Verb.HELLO:
            self._count(packet, path, now, self.handshake.receive)
            return
        if suite > _AES:
            counters["packet: unknown suite"] += 1
            return
        if suite == _TRUSTED and not path.is_vouched_for(packet[19:27]):
            counters["packet: untrusted path"] += 1
            return
        peer = self.topology.peers.get(source)
        if peer is None:
            self.whois.keep_packet(source, packet, path, now)
            return
        body = packet[BODY_OFFSET:] if suite == _TRUSTED else peer.key.open(packet)
        if body is None:
            counters[NOT_AUTHENTIC] += 1
            return
        verb = body[0]
        if verb & COMPRESSED:
            try:
                body = bytes((verb & VERB_MASK,)) + decompress(body[1:])
            except DecodeError:
                counters["packet: bad compression"] += 1
                return
        verb &= VERB_MASK
        path.last_receive = now
        if verb not in _PROBES:
            path.last_answer = now
        hops = flags & HOPS_MASK
        if verb in _FOR_VL2:
            counters[ACCEPTED] += 1
            self._packets.append((peer, path, verb, int.from_bytes(packet[:8], "big"), body))
            self.received(peer, path, hops, verb, now)
        else:
            self._count(packet, path, now, partial(self._handle, peer, verb, body[1:]))

    def _count(
        self, packet: bytes, path: Path, now: float, handle: Callable[[bytes, Path, float], bool | None]
    ) -> None:
        """Hand a packet to what deals with it, and count what became of it. True keeps it waiting."""
        try:
            fate = WAITING if handle(packet, path, now) else ACCEPTED
        except DecodeError as error:
            fate = f"{MALFORMED}{error}"
        except Refused as refusal:
            fate = f"packet: {refusal}"
        self.counters[fate] += 1

    def _handle(self, peer: Peer, verb: int, payload: bytes, packet: bytes, path: Path, now: float) -> None:
        """Act on a verb of VL1, and note the sign of life."""
        hops = packet[18] & HOPS_MASK
        packet_id = int.from_bytes(packet[:8], "big")
        match verb:
            case Verb.HELLO:
                self.handshake.receive_sealed(peer, packet, payload, path, now)
                return  # it does its own bookkeeping
            case Verb.OK:
                self._handle_ok(peer, path, hops, packet_id, payload, now)
                return  # so does this
            case Verb.ERROR:
                self._handle_error(peer, path, packet_id, payload)
            case Verb.WHOIS:
                self.whois.receive(peer, path, packet_id, payload, now)
            case Verb.RENDEZVOUS:
                self.contact.receive_rendezvous(peer, path, payload, now)
            case Verb.ECHO:
                path = self.paths.keep(path)
                if now - path.echo_answered < ECHO_INTERVAL:
                    raise Refused("rate limit")
                path.echo_answered = now
                self.reply(peer, path, Verb.ECHO, packet_id, payload, now)
            case Verb.PUSH_DIRECT_PATHS:
                self.contact.receive_push(peer, path, payload, now)
            case Verb.USER_MESSAGE:
                kind, data = decode_user_message(payload)
                self.events.append(UserMessage(source=peer.address, type=kind, data=data))
            case Verb.NOP | Verb.REMOTE_TRACE:
                pass
            case Verb.ACK | Verb.QOS_MEASUREMENT | Verb.PATH_NEGOTIATION_REQUEST:
                raise Refused("ignored verb")
            case _:
                self.received(peer, path, hops, verb, now)
                raise Refused("unknown verb")
        self.received(peer, path, hops, verb, now)

    def _handle_ok(
        self, peer: Peer, path: Path, hops: int, packet_id: int, payload: bytes, now: float
    ) -> None:
        in_re, in_re_id, data = decode_ok(payload)
        question = self.expected.match(in_re_id, in_re, peer.address)
        if question is None:
            raise Refused("unexpected reply")
        match in_re:
            case Verb.HELLO:
                self.handshake.receive_ok(peer, data, path, hops, question.sent, now)
            case Verb.ECHO:
                if hops == 0:
                    path.add_latency((now - question.sent) * 1000)
            case Verb.WHOIS:
                self.whois.receive_ok(peer, data, now)
            case _:
                self._packets.append((peer, path, Verb.OK, packet_id, bytes((Verb.OK,)) + payload))
        asked_there = question.asked_at == path.endpoint
        self.received(peer, path, hops, Verb.OK if asked_there else Verb.NOP, now)

    def _handle_error(self, peer: Peer, path: Path, packet_id: int, payload: bytes) -> None:
        in_re, _, code, _ = decode_error(payload)
        if code == ErrorCode.IDENTITY_COLLISION:
            if in_re == Verb.HELLO and self.topology.is_upstream(peer.address) and not self.collided:
                self.collided = True
                self.events.append(IdentityCollided(reporter=peer.address))
        else:
            self._packets.append((peer, path, Verb.ERROR, packet_id, bytes((Verb.ERROR,)) + payload))

    # Bookkeeping

    def received(self, peer: Peer, path: Path, hops: int, verb: int, now: float) -> None:
        """Note a sign of life, and learn or confirm the path it came over (vl1.md 5.3)."""
        peer.last_receive = now
        if verb in _NONTRIVIAL:
            peer.last_nontrivial = now
        path.last_receive = now
        if hops == 0:
            for entry in peer.entries:
                if entry.path is path:
                    if entry.last_receive == NEVER:
                        peer.paths_changed()
                    entry.last_receive = now
                    break
            else:
                self._unlearned_path(peer, path, verb, now)
        elif not peer.entries:
            self.reporter.relayed(peer, now)
        elif (direct := peer.best_path(now)) is not None and direct.is_alive(now) and direct.blame(now):
            peer.paths_changed()
            self.contact.attempt(peer, direct.socket, direct.endpoint, now)
        if now - peer.last_trusted < TRUST_EXPIRATION:
            self.contact.maybe_push(peer, path, hops, now)

    def _unlearned_path(self, peer: Peer, path: Path, verb: int, now: float) -> None:
        known = self.paths.keep(path)
        if known is not path and (entry := peer.entry_of(known)) is not None:
            known.last_receive = entry.last_receive = now  # learned while this packet waited
        elif self.contact.allowed(peer, known.endpoint):
            twin = peer.live_twin(known, now)
            if twin is not None and not self.contact.is_redirected(peer, known.endpoint):
                if now - twin.last_answer < PATH_QUIET:
                    return
                if twin.ask(now):
                    self.contact.attempt(peer, twin.socket, twin.endpoint, now)
                elif now - twin.asked >= TWIN_TIME and verb == Verb.OK:
                    # The peer was started again on another port: the reference finds out after 19 s.
                    self.learn(peer, known, now)
                    return
            elif verb == Verb.OK:
                self.learn(peer, known, now)
                return
            self.contact.confirm(peer, known, now)

    def peer_learned(self, address: int, now: float) -> None:
        """A node's identity became known: decode and send what waited for that."""
        for packet, path, _ in self.whois.learned(address):
            self.decode_again(packet, path, now)
        self.sender.retry(address, now)
        peer = self.topology.peers.get(address)
        if peer is not None:
            self.contact.learned(peer, now)
        if address in self.topology.seeds.values():
            self.pulse.check_now()

    def decode_again(self, packet: bytes, path: Path, now: float) -> None:
        """Decode a packet that waited."""
        self.counters[WAITING] -= 1
        self._decode(packet, path, now)

    def surface_reported(self, peer: Peer, path: Path, surface: Endpoint, now: float) -> None:
        """A peer says under which address it sees us (vl1.md 5.8)."""
        trusted = self.topology.is_upstream(peer.address)
        scope = self._surface.report(peer.address, path, surface, trusted=trusted, now=now)
        if scope is None:
            return
        for other in self.topology.peers.values():
            for entry in other.entries:
                if entry.path.scope == scope and entry.path.endpoint.family == surface.family:
                    self.contact.attempt(other, entry.path.socket, entry.path.endpoint, now)
                    entry.last_receive = NEVER
                    other.paths_changed()

    def gave_up(self, address: int) -> None:
        """Nobody answered for an address for which packets waited."""
        self.events.append(PeerUnreachable(address=NodeAddress(address)))
