from zt_async.events import PathAdded, PeerDirect, UserMessage
from zt_async.testing import Link
from zt_async.wire.packet import Verb
from zt_async.wire.verbs import encode_user_message

from .world import SmallWorld


def say(world: SmallWorld, sender, receiver, data: bytes) -> None:
    sender.send(receiver.address, Verb.USER_MESSAGE, encode_user_message(70_000, data), world.now)
    world.net.wake()


def heard(member, data: bytes) -> bool:
    return any(isinstance(e, UserMessage) and e.data == data for e in member.seen)


def test_members_are_online_within_two_round_trips():
    world = SmallWorld(3)
    world.online()
    assert world.now < 0.05


def test_a_first_message_to_a_stranger_arrives_and_a_direct_path_follows():
    world = SmallWorld(2)
    a, b = world.members
    world.online()
    start = world.now
    say(world, a, b, b"hello")
    world.run_until(lambda: heard(b, b"hello"))
    assert world.now - start < 0.1
    world.run_until(lambda: any(isinstance(e, PeerDirect) and e.peer.address == b.address for e in a.seen))
    world.run_until(lambda: any(isinstance(e, PeerDirect) and e.peer.address == a.address for e in b.seen))
    assert world.now - start < 0.3
    say(world, b, a, b"back")
    world.run_until(lambda: heard(a, b"back"))
    assert any(isinstance(e, PathAdded) for e in a.seen)


def test_with_the_direct_path_blocked_packets_go_through_the_root():
    world = SmallWorld(2)
    a, b = world.members
    world.net.partition([world.hosts[0]], [world.hosts[1]])
    world.online()
    for i in range(50):
        say(world, a, b, b"%d" % i)
        say(world, b, a, b"%d" % i)
        world.net.run_for(0.5)
    assert heard(b, b"49")
    assert heard(a, b"49")
    assert not a.topology.peers[b.address].entries
    assert world.root.counters["datagram: relayed"] >= 100


def test_large_packets_cross_in_fragments():
    world = SmallWorld(2)
    a, b = world.members
    world.online()
    data = bytes(range(256)) * 36
    for i in range(10):
        say(world, a, b, data + b"%d" % i)
        world.net.run_for(0.1)
    assert all(heard(b, data + b"%d" % i) for i in range(10))


def test_a_lossy_wire_delays_but_does_not_prevent():
    for seed in range(5):
        world = SmallWorld(2, seed=seed, link=Link(loss=0.3, delay=0.04, jitter=0.02))
        a, b = world.members
        world.online()
        for _ in range(130):  # a root introduces the two again after 30 s, and after 60
            say(world, a, b, b"x")
            world.net.run_for(0.5)
        assert heard(b, b"x")
        assert a.topology.peers[b.address].entries, seed
