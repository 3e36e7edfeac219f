"""50 nodes and 2 roots on a wire that loses, delays and reorders."""

import pytest

from .network import Crowd

pytestmark = [pytest.mark.sim, pytest.mark.timeout(300)]


def test_everybody_transfers_both_ways_and_meets_directly(seed):
    crowd = Crowd(seed, members=50)
    crowd.online()
    transfers = crowd.transfer()
    assert len(transfers) == 150
    for here, there in transfers:
        assert here.received.digest() == there.sent
        assert there.received.digest() == here.sent
    crowd.run_until(lambda: crowd.all_direct, timeout=60)


def test_a_run_is_the_same_every_time_for_its_seed():
    digests = []
    for _ in range(2):
        crowd = Crowd(99, members=6, size=20_000)
        crowd.online()
        crowd.transfer()
        digests.append(crowd.digest.hexdigest())
    assert digests[0] == digests[1]


def test_another_seed_is_another_run():
    runs = []
    for seed in (1, 2):
        crowd = Crowd(seed, members=3, partners=1)
        crowd.online()
        runs.append(crowd.digest.hexdigest())
    assert runs[0] != runs[1]
