"""A live node and a live root under random, mutated, replayed, spoofed and authentic hostile datagrams."""

import pytest

from .siege import Memory, Siege

BATCH = 50

pytestmark = pytest.mark.timeout(7200)  # of a million


def besiege(siege, count, hostile):
    """Give so many hostile datagrams, and let the network live on."""
    while count > 0:
        for source, datagrams in (hostile() for _ in range(min(BATCH, count))):
            siege.give(source, datagrams)
            count -= len(datagrams)
        siege.answer()


@pytest.mark.parametrize("root", [False, True], ids=["leaf", "root"])
def test_what_outsiders_send_is_counted_and_leaves_nothing(root, fuzz_count, report):
    siege = Siege(1, root=root)
    mutator = siege.mutator("outsider")

    def hostile():
        source, datagram = mutator.outsider()
        inflow[source] = inflow.get(source, 0) + len(datagram)
        return source, [datagram]

    inflow = {}
    besiege(siege, fuzz_count // 4, hostile)
    siege.check_counts()
    siege.out.clear()
    inflow.clear()
    given = siege.given
    with Memory() as memory:
        memory.mark()
        besiege(siege, fuzz_count // 4, hostile)
        strangers = [source for source in inflow if siege.is_stranger(source)]
        assert siege.given - given >= fuzz_count // 4
        assert strangers
        sent = sum(siege.out[source] for source in siege.out if siege.is_stranger(source))
        received = sum(inflow[source] for source in strangers)
        # Replayed packets of peers are answered and their address is probed; all in all that is less than came.
        assert sent < received / 4
        inflow.clear()
        siege.out.clear()
        middle = memory.growth()
        besiege(siege, fuzz_count - fuzz_count // 2, hostile)
        inflow.clear()
        siege.out.clear()
        assert memory.growth() - middle < 2_000_000
    siege.check_counts()
    siege.check_bounds()
    siege.check_life()
    siege.check_counts()
    assert siege.target.vl1.counters["packet: waiting"] == 0
    report(siege.summary())


@pytest.mark.parametrize("root", [False, True], ids=["leaf", "root"])
def test_what_insiders_send_is_counted_and_bounded(root, fuzz_count, report):
    """They may ruin their own connections while they do, and no more."""
    siege = Siege(2, root=root)
    mutator = siege.mutator("insider")
    count = fuzz_count // 4
    besiege(siege, count // 2, mutator.insider)
    siege.check_counts()
    siege.out.clear()
    with Memory() as memory:
        memory.mark()
        besiege(siege, count - count // 2, mutator.insider)
        siege.out.clear()
        assert memory.growth() < 4_000_000
    siege.check_counts()
    siege.check_bounds()
    if not siege.target.vl1.collided:  # a root can say so at any time
        siege.check_life()
    siege.lan.net.run_for(600)
    siege.check_counts()
    assert siege.target.vl1.counters["packet: waiting"] == 0
    report(siege.summary())
