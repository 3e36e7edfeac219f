import random

import pytest

from zt_async.testing.link import Link, Wire


def carry(link, count=10_000, size=100, interval=0.001, seed=1):
    wire = Wire(link)
    rng = random.Random(seed)
    return [(i * interval, *wire.carry(size, i * interval, rng)) for i in range(count)]


def test_a_perfect_link_loses_nothing_and_takes_no_time():
    assert carry(Link(), count=3) == [(0.0, "", 0.0), (0.001, "", 0.001), (0.002, "", 0.002)]


def test_delay_is_the_same_for_all():
    assert {round(arrival - sent, 9) for sent, _, arrival in carry(Link(delay=0.040))} == {0.040}


def test_loss_has_the_chosen_share():
    fates = [fate for _, fate, _ in carry(Link(loss=0.10))]
    assert set(fates) == {"", "lost"}
    assert 0.09 < fates.count("lost") / len(fates) < 0.11


def test_jitter_spreads_delays_and_keeps_the_order():
    passed = [(sent, arrival) for sent, _, arrival in carry(Link(delay=0.040, jitter=0.010), interval=0.020)]
    delays = [arrival - sent for sent, arrival in passed]
    assert 0.040 <= min(delays) < 0.041
    assert 0.049 < max(delays) <= 0.050
    assert 0.044 < sum(delays) / len(delays) < 0.046
    dense = [arrival for _, _, arrival in carry(Link(delay=0.040, jitter=0.010))]
    assert dense == sorted(dense)


def test_reordered_datagrams_are_overtaken():
    passed = carry(Link(delay=0.040, reorder=0.05, reorder_delay=0.0105))
    late = [sent for sent, _, arrival in passed if arrival - sent > 0.050]
    assert 0.04 < len(late) / len(passed) < 0.06
    overtakers = [s for s, _, arrival in passed if late[0] < s and arrival < late[0] + 0.0505]
    assert len(overtakers) + sum(late[0] < s < late[0] + 0.0105 for s in late) == 10


def test_bandwidth_spaces_datagrams_out():
    wire = Wire(Link(bandwidth=8000.0, delay=1.0))
    rng = random.Random(0)
    assert [wire.carry(500, 0.0, rng) for _ in range(3)] == [("", 1.5), ("", 2.0), ("", 2.5)]
    assert wire.carry(1000, 10.0, rng) == ("", 12.0)


def test_a_full_queue_drops_the_newcomer_and_drains_with_time():
    wire = Wire(Link(bandwidth=8000.0, queue=1500))
    rng = random.Random(0)
    assert [wire.carry(500, 0.0, rng)[0] for _ in range(4)] == ["", "", "", "queue full"]
    assert wire.carry(500, 0.49, rng)[0] == "queue full"
    assert wire.carry(500, 0.50, rng) == ("", 2.0)


def test_packets_over_the_mtu_vanish():
    wire = Wire(Link(mtu=1500))
    rng = random.Random(0)
    assert wire.carry(1500, 0.0, rng)[0] == ""
    assert wire.carry(1501, 0.0, rng)[0] == "too large"


@pytest.mark.parametrize(
    ("quality", "value", "text"),
    [
        ("loss", 1.01, "share from 0 to 1"),
        ("reorder", -0.1, "share from 0 to 1"),
        ("delay", -1.0, "cannot be negative"),
        ("bandwidth", 0, "use loss=1"),
        ("bandwidth", -1, "cannot be negative"),
        ("mtu", 70_000, "no IP packet"),
    ],
)
def test_a_link_that_cannot_be_is_refused(quality, value, text):
    with pytest.raises(ValueError, match=text):
        Link(**{quality: value})
