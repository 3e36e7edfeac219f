"""Nodes of old protocol versions among new ones: they have no AES, and the oldest know no ECHO (vl1.md 8)."""

import pytest

from zt_async.crypto.keys import SessionKey
from zt_async.testing import Link
from zt_async.testing.identities import throwaway_identity
from zt_async.vl1.peer import Peer
from zt_async.wire.packet import Suite
from zt_async.wire.verbs import Version

from .world import SimVL1, SmallWorld, peer_of

AES = Suite.AES << 3


class OldPeer(Peer):
    """A peer as a core without AES knows it."""

    __slots__ = ()

    @property
    def suite(self):
        return Suite.SALSA


class OldVL1(SimVL1):
    """A core of before 1.6: it opens and seals with Salsa20 alone, and says so by its version."""

    def __init__(self, identity, context, config, planet, version):
        super().__init__(identity, context, config, planet)
        self.handshake.version = version
        add_peer = self.topology.add_peer

        def add_old_peer(identity, now=0.0):
            peer = add_peer(identity, now)
            if type(peer) is not OldPeer:
                peer.__class__ = OldPeer
                peer.key = SessionKey(peer.key._agreed[:32])
            return peer

        self.topology.add_peer = add_old_peer
        for peer in list(self.topology.peers.values()):
            add_old_peer(peer.identity)


class MixedWorld(SmallWorld):
    """The last member is old; the root, too, if it is to be."""

    def __init__(self, version, *, old_root=False, **options):
        self.version = version
        self.old = ("root0", "m1") if old_root else ("m1",)
        self.suites = set()
        super().__init__(2, **options)

    def add(self, number, host, **options):
        if host.name not in self.old:
            return super().add(number, host, **options)
        vl1 = OldVL1(
            throwaway_identity(number), self.net.context(host.name), self.config, self.planet, self.version
        )
        vl1.use_sockets(host.sockets, self.now)
        self.net.attach(vl1, host)
        return vl1

    def watch(self):
        """Note the suites of all packets to and from the old member, from now on."""
        old = self.members[1].address.packed

        def note(entry):
            payload = entry.datagram.payload
            if len(payload) >= 28 and payload[13] != 0xFF and old in (payload[8:13], payload[13:18]):
                self.suites.add(payload[18] & 0x38)

        self.net.observers.append(note)


@pytest.mark.parametrize("old_root", [False, True])
@pytest.mark.parametrize("protocol", range(4, 12))
def test_an_old_member_is_reached_directly_and_through_the_root(protocol, old_root):
    world = MixedWorld(Version(protocol, 1, 1 if protocol < 7 else 4, 0), old_root=old_root)
    world.watch()
    new, old = world.members
    world.online()
    assert world.chat(new, old, 3) == []
    world.run_until(lambda: world.is_direct(new, old))
    assert world.chat(new, old, 70, 1.0) == []
    assert peer_of(new, old).version.protocol == protocol
    assert peer_of(old, new).version.protocol == 12
    world.net.partition([world.hosts[0]], [world.hosts[1]])
    lost = world.chat(new, old, 20)
    assert max(lost) < 5
    assert AES not in world.suites
    assert old.counters["packet: not authentic"] == 0
    assert all(m.is_online(world.now) for m in world.members)


def test_new_ones_use_aes_among_themselves_from_their_first_answers_on():
    world = MixedWorld(Version(12, 1, 14, 1))
    world.old = ()
    suites = []
    world.net.observers.append(
        lambda entry: entry.event == "sent" and suites.append(entry.datagram.payload[18:19])
    )
    a = world.members[0]
    b = world.add(5, world.net.add_host("new"))
    world.run_until(lambda: a.is_online(world.now) and b.is_online(world.now))
    world.chat(a, b, 3)
    suites.clear()
    assert world.chat(a, b, 3) == []
    assert set(suites) == {b"\x18"}


@pytest.mark.parametrize("seed", range(3))
def test_an_old_member_on_a_lossy_wire(seed):
    link = Link(loss=0.15, delay=0.03, jitter=0.01, duplicate=0.05, reorder=0.05)
    world = MixedWorld(Version(10, 1, 4, 6), seed=seed, link=link)
    new, old = world.members
    world.online()
    lost = world.chat(new, old, 65, 0.5)
    assert len(lost) < 90
    assert world.is_direct(new, old)


def test_a_node_that_was_updated_is_spoken_to_in_its_new_way():
    world = MixedWorld(Version(10, 1, 4, 6))
    new, old = world.members
    world.online()
    world.chat(new, old, 3)
    assert peer_of(new, old).suite == Suite.SALSA
    world.net.detach(world.hosts[1])
    world.old = ()
    updated = world.add(2, world.hosts[1])
    world.run_until(lambda: updated.is_online(world.now))
    lost = world.chat(new, updated, 20)
    assert not lost or max(lost) < 5
    assert peer_of(new, updated).suite == Suite.AES


def test_a_node_that_was_set_back_is_spoken_to_in_its_old_way():
    """Until its HELLO comes it gets packets that it cannot open; senders repeat them."""
    world = MixedWorld(Version(10, 1, 4, 6))
    world.old = ()
    new = world.members[0]
    world.net.detach(world.hosts[1])
    other = world.add(2, world.hosts[1])
    world.run_until(lambda: other.is_online(world.now))
    world.chat(new, other, 3)
    world.net.detach(world.hosts[1])
    world.old = ("m1",)
    old = world.add(2, world.hosts[1])
    world.run_until(lambda: old.is_online(world.now))
    lost = world.chat(new, old, 20)
    assert not lost or max(lost) < 8
    assert peer_of(new, old).suite == Suite.SALSA
