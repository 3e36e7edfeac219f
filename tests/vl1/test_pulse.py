"""The periodic work where there are many peers."""

from tests.vl1.remote import Bench
from zt_async.events import PathRemoved
from zt_async.types import Endpoint
from zt_async.vl1 import pulse
from zt_async.vl1.assembler import EXPIRY
from zt_async.vl1.path import NEVER, PATH_EXPIRATION
from zt_async.wire.packet import FLAG_FRAGMENTED, Verb, split

PEERS = 7


def probed(remotes):
    """Those that were sent a probe since the last look."""
    return {remote.address for remote in remotes if remote.take()}


def met(bench):
    """Peers with which the core wants to keep in contact."""
    remotes = [bench.remote(number, Endpoint(f"10.0.{number}.1", 9993)) for number in range(2, 2 + PEERS)]
    for remote in remotes:
        remote.meet()
        remote.peer.last_nontrivial = bench.now
    return remotes


def test_everybody_gets_a_turn_however_long_a_round_takes(monkeypatch):
    monkeypatch.setattr(pulse, "PEERS_AT_ONCE", 1)
    monkeypatch.setattr(pulse, "PEERS_PAUSE", 2.0)
    bench = Bench()
    remotes = met(bench)
    bench.wait(40)
    assert probed(remotes) == {remote.address for remote in remotes}


def test_old_paths_are_dropped_a_few_at_a_time(monkeypatch):
    monkeypatch.setattr(pulse, "PEERS_AT_ONCE", 2)
    bench = Bench()
    remotes = met(bench)
    for remote in remotes:
        remote.peer.last_nontrivial = NEVER
        remote.peer.entries[0].last_receive = bench.now - PATH_EXPIRATION
    before = dropped = 0
    end = bench.now + 40
    while bench.core.next_timer() <= end:
        bench.clock.advance_to(bench.core.next_timer())
        bench.core.handle_timer(bench.now)
        bench.collect()
        before, dropped = dropped, len(bench.core.saw(PathRemoved))
        assert dropped - before <= 2
    assert dropped == PEERS


def test_a_path_of_lower_priority_outlives_one_that_expired():
    bench = Bench()
    a = met(bench)[0]
    gone, fresh = Endpoint("10.9.0.1", 1), Endpoint("10.9.0.2", 1)
    a.peer.learn(bench.core.paths.find(0, gone), bench.now - PATH_EXPIRATION, 3)
    a.peer.learn(bench.core.paths.find(0, fresh), bench.now)
    bench.wait(6)
    assert [entry.path.endpoint for entry in a.peer.entries] == [fresh]


def test_what_never_completes_is_forgotten_also_where_nothing_else_is_to_do():
    bench = Bench()
    a = met(bench)[0]
    bench.wait(1)
    packet = a.packet(Verb.USER_MESSAGE, bytes(2000))
    head, _ = split(packet[:18] + bytes((packet[18] | FLAG_FRAGMENTED,)) + packet[19:], 1432, 1416)
    a.say(head)
    bench.wait(EXPIRY + pulse.CHECK_INTERVAL)
    assert bench.core.counters["fragments: abandoned"] == 1


def test_many_peers_are_looked_after_a_few_at_a_time(monkeypatch):
    monkeypatch.setattr(pulse, "PEERS_AT_ONCE", 3)
    bench = Bench()
    remotes = met(bench)
    everybody = {remote.address for remote in remotes}
    turns = []
    end = bench.now + 15
    while bench.core.next_timer() <= end:
        bench.clock.advance_to(bench.core.next_timer())
        bench.core.handle_timer(bench.now)
        bench.collect()
        if found := probed(remotes):
            turns.append((bench.now, found))
    assert {address for _, found in turns for address in found} == everybody
    assert max(len(found) for _, found in turns) <= 3
    assert turns[2][0] - turns[0][0] < 0.1
