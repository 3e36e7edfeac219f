"""Exchanges recorded between our node and real libzt nodes, read again and lived through again.

``python -m tests.interop.record`` makes the data.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from zt_async.config import NodeConfig
from zt_async.crypto.identity import Identity
from zt_async.node import Node
from zt_async.testing import SimClock, seeded_context
from zt_async.types import Endpoint, NetworkId
from zt_async.vl1.world import World
from zt_async.wire.packet import Suite, Verb
from zt_async.wire.verbs import Hello

DATA = Path(__file__).parent / "data"
VERSIONS = ("1.8.4", "1.4.2")
SUITES = {"1.8.4": Suite.AES, "1.4.2": Suite.SALSA}


class Recording:
    def __init__(self, version: str) -> None:
        facts: dict[str, Any] = json.loads((DATA / f"exchange-libzt-{version}.json").read_text())
        self.identities = {role: Identity.parse(text) for role, text in facts["identities"].items()}
        self.planet = World.from_file(bytes.fromhex(facts["planet"]))
        self.network = NetworkId.parse(facts["network"])
        self.addresses = facts["addresses"]
        self.datagrams = [
            (Endpoint.parse(d["from"]), Endpoint.parse(d["to"]), bytes.fromhex(d["data"]))
            for d in facts["datagrams"]
        ]

    def packets(self) -> list[tuple[str, str, bytes]]:
        """Whole packets with the roles of their senders and receivers, put together from fragments."""
        role_of = {identity.address.packed: role for role, identity in self.identities.items()}
        packets: list[bytes] = []
        for _, _, data in self.datagrams:
            if data[13] == 0xFF:
                head = next(i for i in reversed(range(len(packets))) if packets[i][:8] == data[:8])
                packets[head] += data[16:]
            else:
                packets.append(data)
        return [(role_of[p[13:18]], role_of[p[8:13]], p) for p in packets]


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def recording(version: str) -> Recording:
    return Recording(version)


def test_all_that_was_said_is_authentic_and_of_known_verbs(recording, version):
    verbs: dict[tuple[str, str], set[int]] = {}
    suites: dict[tuple[str, str], set[int]] = {}
    for sender, receiver, packet in recording.packets():
        key = recording.identities[sender].agree(recording.identities[receiver])
        body = key.open(packet)
        assert body is not None, (sender, receiver)
        verbs.setdefault((sender, receiver), set()).add(Verb(body[0] & 0x1F))
        suites.setdefault((sender, receiver), set()).add(packet[18] >> 3 & 7)
    assert {Verb.HELLO, Verb.OK, Verb.FRAME} <= verbs["libzt", "mine"]
    assert {Verb.HELLO, Verb.OK, Verb.FRAME} <= verbs["mine", "libzt"]
    assert Verb.RENDEZVOUS in verbs["root", "mine"]
    assert SUITES[version] in suites["libzt", "mine"]
    assert SUITES[version] in suites["mine", "libzt"]


def test_libzts_hello_tells_its_version(recording, version):
    hellos = [
        Hello.decode(p[28:]) for s, r, p in recording.packets() if (s, p[18] & 0x38, p[27]) == ("libzt", 0, 1)
    ]
    assert hellos
    for hello in hellos:
        assert Identity.from_bytes(hello.identity)[0] == recording.identities["libzt"]
        assert hello.version[:3] == {"1.8.4": (12, 1, 8), "1.4.2": (10, 1, 4)}[version]
        assert hello.planet == (recording.planet.id, recording.planet.timestamp)


def test_a_node_that_lives_through_it_again_takes_every_packet(recording, version):
    clock = SimClock()
    node = Node(recording.identities["mine"], seeded_context("again", clock), NodeConfig(), recording.planet)
    node.join(recording.network, clock.now)
    libzt = recording.identities["libzt"]
    mine = recording.addresses["mine"]
    for source, target, data in recording.datagrams:
        if target.host == mine:
            clock.now += 0.2  # below no rate limit
            node.receive_datagrams(0, source, [data], clock.now)
            for identity in node.vl1.take_validations():
                node.vl1.validated(identity, identity.validate(), clock.now)
            node.vl1.topology.add_peer(libzt, clock.now)
            node.flights_to_send(clock.now)
    fates = {name for name in node.vl1.counters if name.startswith("packet: ")}
    assert fates == {"packet: accepted", "packet: unexpected reply"}  # it asks with other numbers now
    assert {name for name in node.vl2.counters if name.startswith("in: ")} == {"in: delivered", "in: likes"}
    peer = node.peer(libzt.address, clock.now)
    assert peer is not None
    assert peer.version is not None
    assert peer.version[:2] == {"1.8.4": (1, 8), "1.4.2": (1, 4)}[version]
