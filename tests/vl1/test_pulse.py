"""The periodic work where there are many peers."""

from tests.vl1.remote import Bench
from zt_async.types import Endpoint
from zt_async.vl1 import pulse

PEERS = 7


def probed(remotes):
    """Those that were sent a probe since the last look."""
    return {remote.address for remote in remotes if remote.take()}


def test_many_peers_are_looked_after_a_few_at_a_time(monkeypatch):
    monkeypatch.setattr(pulse, "PEERS_AT_ONCE", 3)
    bench = Bench()
    remotes = [bench.remote(number, Endpoint(f"10.0.{number}.1", 9993)) for number in range(2, 2 + PEERS)]
    for remote in remotes:
        remote.meet()
        remote.peer.last_nontrivial = bench.now  # so that the core wants to keep in contact
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
