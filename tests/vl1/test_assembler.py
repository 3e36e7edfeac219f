"""Fragments put together again: in any order, with copies, and never without bound (vl1.md 2.7)."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zt_async.types import Endpoint
from zt_async.vl1.assembler import EXPIRY, MAX_BYTES, MAX_SETS, Assembler
from zt_async.vl1.path import Path
from zt_async.wire.packet import MAX_DATAGRAM, split, split_evenly

PATH = Path(0, Endpoint("10.0.0.1", 1))
OTHER_PATH = Path(0, Endpoint("10.0.0.2", 1))


def make(size, number=1):
    """A packet that says it is fragmented."""
    header = number.to_bytes(8, "big") + bytes(range(1, 11)) + b"\x40" + bytes(8)
    return (header + bytes(i & 0xFF for i in range(size)))[:size]


def fragment(number, packet_id, total, data):
    return packet_id.to_bytes(8, "big") + bytes(5) + b"\xff" + bytes((total << 4 | number, 0)) + data


@pytest.fixture
def assembler():
    return Assembler(Counter())


@given(
    size=st.integers(1433, 9928),
    even=st.booleans(),
    data=st.data(),
)
def test_pieces_in_any_order_with_copies_make_the_packet(size, even, data):
    assembler = Assembler(Counter())
    packet = make(size)
    pieces = split_evenly(packet, 1432) if even else split(packet, 1432, 1416)
    order = data.draw(st.permutations(range(len(pieces))))
    copies = data.draw(st.lists(st.sampled_from(order[:-1]), max_size=5)) if len(order) > 1 else []
    done = [assembler.add(pieces[i], PATH, 0.0) for i in order[:-1]]
    done += [assembler.add(pieces[i], PATH, 0.0) for i in copies]
    assert done == [None] * len(done)
    assert assembler.add(pieces[order[-1]], PATH, 0.0) == (packet, PATH)
    assert len(assembler) == 0
    counters = assembler._counters
    assert counters["datagram: fragment"] == len(pieces)
    assert counters["datagram: repeated fragment"] == len(copies)
    assert counters["fragments: joined"] == 1
    assert assembler._bytes == 0


def test_the_path_is_that_of_the_head(assembler):
    head, second = split(make(2000), 1432, 1416)
    assembler.add(second, OTHER_PATH, 0.0)
    assert assembler.add(head, PATH, 0.0) == (make(2000), PATH)


@pytest.mark.parametrize(("total", "number"), [(0, 1), (1, 1), (8, 1), (15, 1), (2, 0), (7, 7), (2, 15)])
def test_numbers_that_make_no_sense(assembler, total, number):
    assert assembler.add(fragment(number, 1, total, b"x"), PATH, 0.0) is None
    assert assembler._counters == {"datagram: bad fragment": 1}
    assert len(assembler) == 0


def test_the_total_is_that_of_the_last_fragment(assembler):
    head = make(1432)
    assembler.add(head, PATH, 0.0)
    assert assembler.add(fragment(1, 1, 7, b"one"), PATH, 0.0) is None
    assert assembler.add(fragment(2, 1, 3, b"two"), PATH, 0.0) == (head + b"onetwo", PATH)


def test_a_count_that_is_reached_with_a_gap_is_given_up(assembler):
    assembler.add(make(1432), PATH, 0.0)
    assert assembler.add(fragment(2, 1, 2, b"x"), PATH, 0.0) is None
    assert len(assembler) == 0
    assert assembler._counters["fragments: abandoned"] == 1


def test_more_than_a_packet_holds_is_given_up_at_once(assembler):
    assembler.add(make(5000), PATH, 0.0)
    assembler.add(fragment(1, 1, 7, bytes(MAX_DATAGRAM - 5000)), PATH, 0.0)
    assert len(assembler) == 1
    assembler.add(fragment(2, 1, 7, b"x"), PATH, 0.0)
    assert len(assembler) == 0
    assert assembler._bytes == 0


def test_what_never_completes_is_forgotten_in_time(assembler):
    for number in range(10):
        assembler.add(make(1432, number), PATH, float(number))
    assembler.expire(EXPIRY + 4.5)
    assert len(assembler) == 5
    assembler.expire(100.0)
    assert len(assembler) == 0
    assert assembler._counters["fragments: abandoned"] == 10
    assert assembler._bytes == 0


def test_the_number_of_sets_is_bounded_and_the_oldest_go_first(assembler):
    for number in range(MAX_SETS + 10):
        assembler.add(fragment(1, number, 2, b"x"), PATH, 0.0)
    assert len(assembler) == MAX_SETS
    assembler.add(make(1432, 5), PATH, 0.0)
    assert assembler.add(fragment(1, MAX_SETS, 2, b"again"), PATH, 0.0) is None
    assert assembler.add(make(1432, MAX_SETS), PATH, 0.0) is not None


def test_the_bytes_held_are_bounded_however_they_come(assembler):
    for number in range(MAX_SETS):
        assembler.add(fragment(1, number, 7, b"x"), PATH, 0.0)
    for round_ in range(2, 7):
        for number in range(MAX_SETS):
            assembler.add(fragment(round_, number, 7, bytes(2000)), PATH, 0.0)
            assert assembler._bytes <= MAX_BYTES
    assert sum(s.size for s in assembler._sets.values()) == assembler._bytes
