"""Checks of the vectors about VL1: whole nodes are given packets, and what they send is opened and compared."""

from __future__ import annotations

from functools import cache
from typing import Any

from tests.vectors.registry import Case, vector_kind
from zt_async.config import NodeConfig
from zt_async.crypto.identity import Identity
from zt_async.crypto.keys import SessionKey
from zt_async.testing import SimClock, seeded_context
from zt_async.types import Endpoint, NodeAddress
from zt_async.vl1.core import VL1
from zt_async.vl1.peer import Peer
from zt_async.vl1.topology import Topology
from zt_async.vl1.world import World, WorldKey, WorldType
from zt_async.wire.packet import Suite, Verb, split, split_evenly
from zt_async.wire.verbs import (
    Hello,
    HelloReply,
    decode_moons,
    encode_moons,
)

unhex = bytes.fromhex
NOW = 1000.0
SOCKET = 0


@cache
def is_valid(identity: Identity) -> bool:
    return identity.validate()


def make_vl1(identity: Identity, planet: World | None = None) -> VL1:
    clock = SimClock(NOW)
    return VL1(identity, seeded_context("vectors", clock), NodeConfig(), planet)


def bare_identity(address: str) -> Identity:
    """An identity for a node of which a case tells the address alone."""
    return Identity(NodeAddress.parse(address), bytes(64), bytes(64))


def join_fields(fields: list[dict[str, Any]]) -> bytes:
    """The bytes that named fields make."""
    data = b""
    for field in fields:
        value = field["value"]
        data += value.to_bytes(field["size"], "big") if isinstance(value, int) else unhex(value)
        assert len(unhex(value) if isinstance(value, str) else bytes(field["size"])) == field["size"]
    return data


def whole_packets(datagrams: list[bytes]) -> list[bytes]:
    """The packets of a flight, put together again."""
    packets: list[bytes] = []
    for datagram in datagrams:
        if datagram[13] == 0xFF:
            assert datagram[:8] == packets[-1][:8]
            packets[-1] += datagram[16:]
        else:
            packets.append(datagram)
    return packets


class Sent:
    """What a node sent since the last look, opened by its receivers. Probes of paths are kept apart."""

    def __init__(self, vl1: VL1, keys: dict[NodeAddress, SessionKey], *, echoes: bool = True) -> None:
        self.packets: list[tuple[NodeAddress, str, int, bytes, bytes]] = []
        self.probes: list[bytes] = []
        for flight in vl1.flights_to_send():
            if flight.ttl is not None:
                continue
            for packet in whole_packets(flight.datagrams):
                to = NodeAddress.from_packed(packet[8:13])
                body = keys[to].open(packet)
                assert body is not None
                if body[0] == Verb.HELLO or (body == bytes((Verb.ECHO,)) and not echoes):
                    self.probes.append(packet)
                else:
                    self.packets.append((to, str(flight.remote), body[0], body[1:], packet))


# fragments


@vector_kind("fragments")
def check_fragments(case: Case, fields: dict[str, str]) -> None:
    {"split": _check_split, "reassemble": _check_reassemble}[case["kind"]](case)


def _receiver_of(case: Case) -> tuple[VL1, SessionKey]:
    vl1 = make_vl1(bare_identity(case["destination"]))
    key = SessionKey(unhex(case["agreed_key"]))
    source = bare_identity(case["source"])
    vl1.topology.peers[source.address] = Peer(source, key, vl1.address)
    return vl1, key


def _check_split(case: Case) -> None:
    packet = unhex(case["packet"])
    mtu = case["mtu"]
    expected = []
    for piece in case["wire"]:
        header, start = unhex(piece.get("header", "")), piece.get("from", 0)
        size = piece["length"] if header else piece["first_bytes_of_packet"]
        assert start + size <= len(packet)
        expected.append(header + packet[start : start + size])
    assert len(expected) == case["fragments_total"]
    assert bool(packet[18] & 0x40) is (len(expected) > 1)
    try:
        pieces = split(packet, mtu, mtu - 16)
    except ValueError:
        assert not case["valid"]
        return
    assert case["valid"]
    assert pieces == expected
    even = split_evenly(packet, mtu) if len(packet) > mtu else [packet]
    assert len(even) == len(pieces)
    assert max(map(len, even)) <= mtu
    assert len({len(piece) for piece in even[:-1]}) <= 1
    for datagrams in (pieces, even, pieces[::-1]):
        vl1, key = _receiver_of(case)
        vl1.receive_datagrams(SOCKET, Endpoint("10.0.0.1", 9993), datagrams, NOW)
        _check_arrived(vl1, key, case["verb"], packet)


def _check_arrived(vl1: VL1, key: SessionKey, verb: int, packet: bytes) -> None:
    """The packet went through: an ECHO is answered, a FRAME handed on."""
    body = key.open(packet)
    assert body is not None
    assert body[0] & 0x1F == verb
    if verb == Verb.ECHO:
        replies = Sent(vl1, {NodeAddress.from_packed(packet[13:18]): key}).packets
        assert [(r[2], r[3]) for r in replies] == [(Verb.OK, b"\x08" + packet[:8] + body[1:])]
    else:
        assert [(p[2], p[4]) for p in vl1.take_packets()] == [(verb, body)]


def _check_reassemble(case: Case) -> None:
    vl1, key = _receiver_of(case)
    source = NodeAddress.parse(case["source"])
    complete_after = None
    payload = None
    for index, datagram in enumerate(case["received"]):
        vl1.receive_datagrams(SOCKET, Endpoint("10.0.0.1", 9993), [unhex(datagram)], NOW + index)
        for _, _, verb, data, _ in Sent(vl1, {source: key}).packets:
            assert verb == Verb.OK
            assert data[0] == case["verb"] == Verb.ECHO
            complete_after, payload = index, data[9:]
    assert complete_after == case["complete_after"]
    assert case["valid"] is (payload is not None)
    if payload is not None:
        assert payload == unhex(case["payload"])


# hello


@vector_kind("hello")
def check_hello(case: Case, fields: dict[str, str]) -> None:
    {"exchange": _check_exchange, "input": _check_input}[case["kind"]](case)


def _check_exchange(case: Case) -> None:
    sender, receiver = (
        Identity.parse(case["sender_secret_string"]),
        Identity.parse(case["receiver_secret_string"]),
    )
    key = sender.agree(receiver)
    assert case["valid"]
    _check_agreed(key, case)
    packet = unhex(case["hello"])
    facts = {field["name"]: field for field in case["hello_fields"]}
    assert join_fields(case["hello_fields"]) == packet
    hello = Hello.decode(packet[28:])
    body = key.open(packet)
    assert body == packet[27:]
    assert hello.encode() == packet[28:]
    assert hello.version.pack() == b"".join(
        unhex(facts[name]["value"]) for name in ("protocol_version", "major", "minor", "revision")
    )
    assert hello.clock_ms == int(facts["timestamp"]["value"], 16)
    assert Identity.from_bytes(hello.identity)[0] == sender
    assert str(Identity.from_bytes(hello.identity)[0]) == facts["identity"]["text"]
    assert str(hello.sent_to) == facts["physical_destination"]["text"] == case["sent_to"]
    assert hello.planet == (int(facts["planet_id"]["value"], 16), int(facts["planet_timestamp"]["value"], 16))
    tail = key.crypt_field(packet[:8], hello.tail)
    assert tail == unhex(facts["encrypted_rest"]["decrypted"])
    moons = decode_moons(tail)
    assert encode_moons(moons) == tail
    assert key.seal(packet[:8], packet[8:18], 0, packet[27:], Suite.CLEAR) == packet

    ok = unhex(case["ok"])
    ok_body = key.open(ok)
    assert ok_body == bytes((Verb.OK,)) + unhex(case["ok_payload"])
    assert join_fields(case["ok_fields"]) == unhex(case["ok_payload"])
    assert (ok[18] & 0x38) >> 3 == case["ok_cipher"]
    assert ok[:8] == unhex(case["ok_packet_id_on_wire"])
    reply = HelloReply.decode(ok_body[10:])
    assert reply.encode() == ok_body[10:]
    assert list(reply.version) == case["sender_learns_version"]
    assert str(reply.seen_as) == case["sender_at"]
    worlds = _read_worlds(reply.worlds)

    # Our node in the receiver's place answers with the same payload ...
    planets = [world for world in worlds if world.type == WorldType.PLANET]
    ours = make_vl1(receiver, planets[0] if planets else _planet(*hello.planet))
    for moon in worlds:
        if moon.type == WorldType.MOON:
            assert ours.topology.offer(moon, always_accept_new=True)
    if case["receiver_knows_sender"]:
        peer = ours.topology.add_peer(sender, NOW)
        if case["ok_cipher"] == Suite.AES:  # they have exchanged HELLOs before
            peer.version = hello.version
            peer.replied_hello = True
    remote = Endpoint.parse(case["sender_at"])
    ours.receive_datagrams(SOCKET, remote, [packet], NOW)
    for identity in ours.take_validations():
        ours.validated(identity, is_valid(identity), NOW)
    sent = Sent(ours, {sender.address: key}, echoes=False)
    assert [(at, verb, data) for _, at, verb, data, _ in sent.packets] == [
        (case["sender_at"], Verb.OK, unhex(case["ok_payload"]))
    ]
    assert (sent.packets[0][4][18] & 0x38) >> 3 == case["ok_cipher"]
    assert ours.topology.peers[sender.address].version == hello.version

    # ... and in the sender's place learns what the sender learned.
    theirs = make_vl1(sender)
    peer = theirs.topology.add_peer(receiver, NOW)
    asked_at = Endpoint.parse(case["sent_to"])
    theirs.expected.add(int.from_bytes(packet[:8], "big"), Verb.HELLO, receiver.address, asked_at, NOW)
    theirs.receive_datagrams(SOCKET, asked_at, [ok], NOW + 0.05)
    assert list(peer.version) == case["sender_learns_version"]
    assert [str(entry.path.endpoint) for entry in peer.entries] == [case["sent_to"]]


def _check_agreed(key: SessionKey, case: Case) -> None:
    """The two identities agree on the key that the case states."""
    probe = bytes(8), bytes(10), 0, b"probe", Suite.SALSA
    assert key.seal(*probe) == SessionKey(unhex(case["agreed_key"])).seal(*probe)


def _planet(world_id: int, timestamp: int) -> World | None:
    """A planet of which the sender of a HELLO has the latest revision already."""
    key = WorldKey.generate(lambda size: bytes(range(size)))
    return World.make(WorldType.PLANET, world_id or 1234, [], signing_key=key, timestamp=timestamp)


def _read_worlds(data: bytes) -> list[World]:
    worlds = []
    while data:
        world, used = World.from_bytes(data)
        worlds.append(world)
        data = data[used:]
    return worlds


def _check_input(case: Case) -> None:
    sender, receiver = (
        Identity.parse(case["sender_secret_string"]),
        Identity.parse(case["receiver_secret_string"]),
    )
    vl1 = make_vl1(receiver, _planet(1234, 1_700_000_000_000))
    if case.get("receiver_knows_sender"):
        vl1.topology.add_peer(sender, NOW)
    if "receiver_has_instead" in case:
        vl1.topology.add_peer(Identity.parse(case["receiver_has_instead"]), NOW)
    key = receiver.agree(sender)
    _check_agreed(key, case)
    vl1.receive_datagrams(SOCKET, Endpoint.parse(case["sender_at"]), [unhex(case["hello"])], NOW)
    for identity in vl1.take_validations():
        vl1.validated(identity, is_valid(identity), NOW)
    packets = Sent(vl1, {sender.address: key}, echoes=False).packets
    assert case["valid"] is (len(packets) == 1 and packets[0][2] == Verb.OK)
    if case.get("reply_verb") is None:
        assert not packets
        return
    assert [(at, verb, data) for _, at, verb, data, _ in packets] == [
        (case["sender_at"], case["reply_verb"], unhex(case["reply_payload"]))
    ]
    assert join_fields(case["reply_fields"]) == packets[0][3]


# world_topology


@vector_kind("world_topology")
def check_world_topology(case: Case, fields: dict[str, str]) -> None:
    worlds = [
        World.from_bytes(unhex(text))[0] for text in (case["planet"], *case["moons"], case["candidate"])
    ]
    own = _own_identity(NodeAddress.parse(case["self"]), worlds)
    topology = Topology(own, worlds[0], 1000)
    for moon in worlds[1:-1]:
        assert topology.offer(moon, always_accept_new=True)
    for wanted in case["moon_seeds"]:
        topology.want_moon(wanted["moon_id"], NodeAddress.parse(wanted["seed"]))
    accepted = topology.offer(worlds[-1], always_accept_new=case["always_accept_new"])
    assert accepted is case["accept"] is case["valid"]
    assert sorted(str(NodeAddress(a)) for a in topology.upstreams) == case["upstreams_after"]
    assert set(topology.upstreams) <= set(topology.peers)
    assert len(topology.seeds) == case["seeds_left"]
    assert topology.is_root is case["am_upstream_after"]
    assert topology.planet is not None
    assert topology.planet.timestamp == case["planet_timestamp_after"]
    moons = [{"id": moon.id, "timestamp": moon.timestamp} for moon in topology.moons.values()]
    assert sorted(moons, key=lambda m: m["id"]) == sorted(case["moons_after"], key=lambda m: m["id"])


def _own_identity(address: NodeAddress, worlds: list[World]) -> Identity:
    """Our identity: the one the worlds list under our address, or else any of that address.

    A secret key is made up, because keys with the roots have to be agreed.
    """
    for world in worlds:
        for root in world.roots:
            if root.identity.address == address:
                return Identity(address, root.identity.public_key, bytes(range(64)))
    return Identity(address, bytes(64), bytes(range(64)))
