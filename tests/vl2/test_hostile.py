"""Whatever bytes members, controllers and strangers send: nothing is raised, everything is counted once."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.vl2.desk import IPV6, START, ControlledDesk, icmp_packet
from zt_async.crypto.credentials import issue_tag
from zt_async.types import MACAddress, MulticastGroup
from zt_async.wire.config_chunks import encode_config_request
from zt_async.wire.credentials import Credentials
from zt_async.wire.multicast import (
    Gather,
    Gathered,
    GatherReply,
    MulticastFrame,
    MulticastFrameReply,
    encode_likes,
)
from zt_async.wire.network_config import FLAG_BROADCAST, ROLE_BRIDGE, ROLE_REPLICATOR
from zt_async.wire.packet import ErrorCode, Verb
from zt_async.wire.verbs import ExtFrame, encode_error, encode_frame, encode_ok

GROUP = MulticastGroup(MACAddress(0x3333FF000001))


class Target(ControlledDesk):
    """A member of a private network who is bridge, replicator and, of other networks, controller."""

    def __init__(self):
        super().__init__()
        own = self.vl1.address
        roles = (own | ROLE_BRIDGE | ROLE_REPLICATOR, self.a.address | ROLE_BRIDGE)
        self.configure_private(specialists=roles, multicast_limit=32, flags=FLAG_BROADCAST)
        self.vl2.serves = True
        self.admit(self.a)
        self.given = sum(self.fates().values())

    def hit(self, remote, verb, payload):
        """Give the core a packet, past its expectations; answers to what it did not ask count as asked for."""
        self.receive(remote.packet(verb, payload), remote=remote)
        body = bytes((verb,)) + payload
        path = remote.peer.entries[0].path
        if verb == Verb.OK:  # VL1 lets none through
            self.vl2.receive_packets([(remote.peer, path, verb, 1, body)], self.now)
        self.bench.collect()


@pytest.fixture(scope="module")
def target():
    return Target()


def samples(desk):
    """A good payload of every verb of VL2."""
    own, a = desk.vl1.address, desk.a
    certificate = desk.certificate(a.identity)
    (likes,) = encode_likes(desk.id, [GROUP, GROUP])
    (chunk,) = desk.chunks(desk.private())
    tag = issue_tag(desk.controller.identity, desk.id, a.address, START, 1, 2)
    revocation = desk.revocation(a, START - 10)
    gathered = Gathered(2, (a.address, own))
    request = (own << 24 | 7).to_bytes(8, "big") + encode_config_request(desk.id, b"v=7")[8:]
    return [
        (Verb.FRAME, encode_frame(desk.id, IPV6, icmp_packet())),
        (Verb.EXT_FRAME, ExtFrame(desk.id, 0x10, desk.own_mac, desk.a_mac, IPV6, icmp_packet()).encode()),
        (Verb.MULTICAST_LIKE, likes),
        (Verb.NETWORK_CREDENTIALS, Credentials((certificate,), (), (tag,), (revocation,)).encode()),
        (Verb.NETWORK_CONFIG_REQUEST, request),
        (Verb.NETWORK_CONFIG, chunk),
        (Verb.MULTICAST_GATHER, Gather(desk.id, GROUP, 9, certificate).encode()),
        (
            Verb.MULTICAST_FRAME,
            MulticastFrame(desk.id, GROUP, IPV6, icmp_packet(), desk.a_mac, 9, True, certificate).encode(),
        ),
        (
            Verb.OK,
            encode_ok(Verb.MULTICAST_GATHER, 1, GatherReply(desk.id, GROUP, gathered).encode()),
        ),
        (
            Verb.OK,
            encode_ok(
                Verb.MULTICAST_FRAME, 1, MulticastFrameReply(desk.id, GROUP, gathered, certificate).encode()
            ),
        ),
        (Verb.OK, encode_ok(Verb.NETWORK_CONFIG_REQUEST, 1, chunk)),
        *(
            (Verb.ERROR, encode_error(Verb.NETWORK_CONFIG_REQUEST, 1, code, desk.id.packed + b"\0\4a=bc"))
            for code in (ErrorCode.AUTHENTICATION_REQUIRED, ErrorCode.UNWANTED_MULTICAST)
        ),
    ]


SAMPLES = samples(ControlledDesk())


@st.composite
def damaged(draw):
    """A payload with some bytes changed, cut out, put in or cut off."""
    verb, payload = draw(st.sampled_from(SAMPLES))
    data = bytearray(payload)
    for _ in range(draw(st.integers(0, 4))):
        place = draw(st.integers(0, len(data)))
        match draw(st.integers(0, 3)):
            case 0:
                data[place : place + 1] = draw(st.binary(min_size=1, max_size=1))
            case 1:
                del data[place : place + draw(st.integers(1, 20))]
            case 2:
                data[place:place] = draw(st.binary(max_size=20))
            case 3:
                del data[place:]
    return verb, bytes(data)


@settings(max_examples=400, deadline=None)
@given(damaged(), st.sampled_from(("a", "controller")), st.integers(0, 3))
def test_damaged_packets(target, packet, name, seconds):
    if name == "controller" and packet[0] == Verb.ERROR:
        name = "a"
    before = sum(target.fates().values())
    target.hit(getattr(target, name), *packet)
    assert sum(target.fates().values()) in (before + 1, before)  # VL1 counts what it does not hand on
    target.wait(seconds)
    assert all(count >= 0 for count in target.vl2.counters.values())


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(sorted({verb for verb, _ in SAMPLES})),
    st.booleans(),
    st.binary(max_size=80),
)
def test_random_packets(target, verb, ours, data):
    head = target.id.packed if ours else b""
    if verb in (Verb.OK, Verb.ERROR):
        head = bytes((Verb.NETWORK_CONFIG_REQUEST,)) + bytes(8) + head
    target.hit(target.a, verb, head + data)


@pytest.mark.parametrize(("verb", "payload"), SAMPLES, ids=lambda value: str(value)[:20])
def test_payloads_cut_short_anywhere(target, verb, payload):
    for size in range(0, len(payload), 1 + len(payload) // 60):
        target.hit(target.a, verb, payload[:size])
    target.wait(1)
    target.vl2.take_frames()


def test_the_target_still_works(target):
    """It runs after all of that."""
    target.wait(10)
    target.push(target.private(timestamp=target.network.config.timestamp + 10))
    certificate = target.certificate(target.a.identity, target.network.config.timestamp)
    target.give(target.a, coms=(certificate,))
    frames, _ = target.receive(target.frame())
    assert len(frames) == 1
