"""The small parts, each by itself."""

import random
from itertools import pairwise
from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.stack.network import seeded_context
from zt_async.config import StackConfig
from zt_async.stack.host import Host, TokenBucket
from zt_async.stack.ports import ephemeral_ports
from zt_async.stack.tcp.assembler import Assembler
from zt_async.stack.tcp.congestion import Cubic, NewReno
from zt_async.stack.tcp.rtt import RttEstimator
from zt_async.stack.tcp.scoreboard import Scoreboard, Sent
from zt_async.stack.tcp.sender import Recovery, Sender
from zt_async.stack.tcp.sendqueue import SendQueue
from zt_async.stack.tcp.seq import MASK, unwrap
from zt_async.stack.timers import Timer, TimerQueue

# -- timers


class Recorder:
    def __init__(self) -> None:
        self.fired: list[float] = []

    def handle_timer(self, now: float) -> None:
        self.fired.append(now)


def fire(queue: TimerQueue, now: float) -> list[Timer]:
    due = queue.due(now)
    for timer in due:
        timer.target.handle_timer(now)
    return due


def test_a_timer_fires_once_at_its_time():
    queue, timer = TimerQueue(), Timer(Recorder())
    assert queue.next() is None
    queue.set(timer, 5.0)
    assert queue.next() == 5.0
    assert fire(queue, 4.9) == []
    assert fire(queue, 5.0) == [timer]
    assert fire(queue, 6.0) == []
    assert queue.next() is None


def test_a_timer_moved_later_fires_only_then():
    queue, timer = TimerQueue(), Timer(Recorder())
    queue.set(timer, 5.0)
    queue.set(timer, 9.0)
    assert queue.next() <= 9.0
    assert fire(queue, 5.0) == []
    assert queue.next() == 9.0
    assert fire(queue, 9.0) == [timer]


def test_a_timer_moved_earlier_fires_only_then():
    queue, timer = TimerQueue(), Timer(Recorder())
    queue.set(timer, 9.0)
    queue.set(timer, 5.0)
    assert fire(queue, 5.0) == [timer]
    assert fire(queue, 9.0) == []


def test_a_cancelled_timer_does_not_fire():
    queue, timer = TimerQueue(), Timer(Recorder())
    queue.set(timer, 5.0)
    queue.set(timer, inf)
    assert len(queue) == 0
    assert queue.next() is None
    assert fire(queue, 9.0) == []


def test_timers_that_move_to_and_fro_do_not_pile_up():
    queue = TimerQueue()
    timers = [Timer(Recorder()) for _ in range(10)]
    for step in range(10_000):
        queue.set(timers[step % 10], 1e6)
        queue.set(timers[step % 10], step + 1.0)
        queue.due(step)
    assert len(queue) <= 10
    assert len(queue.entries) <= 100


@given(
    st.lists(
        st.tuples(st.integers(0, 4), st.sampled_from(("set", "cancel", "pass")), st.integers(0, 20)),
        max_size=60,
    )
)
def test_timers_do_what_a_plain_table_does(steps):
    queue, timers, table, now = TimerQueue(), [Timer(Recorder()) for _ in range(5)], {}, 0.0
    for index, action, amount in steps:
        if action == "set":
            table[index] = now + amount
            queue.set(timers[index], now + amount)
        elif action == "cancel":
            table.pop(index, None)
            queue.set(timers[index], inf)
        else:
            now += amount
            due = {index for index, at in table.items() if at <= now}
            assert {timers.index(timer) for timer in queue.due(now)} == due
            for index in due:
                del table[index]
        assert len(queue) == len(table)
        assert (queue.next() is None) == (not table)
        if table:
            assert queue.next() <= min(table.values())


# -- small helpers


def test_a_token_bucket():
    bucket = TokenBucket(2.0, 3.0)
    assert [bucket.take(10.0) for _ in range(4)] == [True, True, True, False]
    assert [bucket.take(11.0) for _ in range(3)] == [True, True, False]
    assert [bucket.take(100.0) for _ in range(4)] == [True, True, True, False]
    bucket.take(50.0)  # a clock that stands still or steps back gives nothing
    assert not bucket.take(50.0)


@given(st.integers(0, 1 << 40), st.integers(-(1 << 31), (1 << 31) - 1))
def test_sequence_numbers_are_unwrapped_to_the_nearest(near, distance):
    assert unwrap((near + distance) & MASK, near) == near + distance


@given(st.integers(1, 65000), st.integers(0, 500), st.integers(0, 1000))
def test_every_ephemeral_port_comes_once(first, more, seed):
    config = StackConfig(ephemeral_ports=(first, first + more))
    ports = list(ephemeral_ports(Host(seeded_context(seed), config)))
    assert sorted(ports) == list(range(first, first + more + 1))


# -- the send queue


@settings(max_examples=200)
@given(
    st.lists(st.binary(max_size=40) | st.integers(4000, 9000), max_size=12),
    st.integers(1, 5000),
    st.randoms(),
)
def test_a_send_queue_gives_back_what_was_written(writes, most, rng):
    queue, expected, got = SendQueue(), bytearray(), bytearray()
    for write in writes:
        data = rng.randbytes(write) if isinstance(write, int) else write
        data = rng.choice((bytes, bytearray, memoryview))(data)
        queue.write(data)
        expected += data
        while queue.size and rng.random() < 0.3:
            got += queue.take(rng.randint(1, min(most, queue.size)))
        assert queue.size == len(expected) - len(got)
    while queue.size:
        got += queue.take(min(most, queue.size))
    assert got == expected


def test_a_buffer_that_changes_later_does_not_change_what_was_written():
    queue = SendQueue()
    for size in (100, 10_000):
        data = bytearray(b"a" * size)
        queue.write(data)
        data[:] = b"b" * size
        assert queue.take(size) == b"a" * size


def test_many_small_writes_are_gathered():
    queue = SendQueue()
    for _ in range(10_000):
        queue.write(b"x")
    assert len(queue.pieces) == 3
    assert queue.take(10_000) == b"x" * 10_000


# -- reassembly


def pieces_of(assembler: Assembler, nxt: int) -> tuple[int, bytes]:
    nxt, pieces = assembler.take(nxt)
    return nxt, b"".join(pieces)


@settings(max_examples=300)
@given(st.lists(st.tuples(st.integers(1, 300), st.integers(1, 60)), min_size=1, max_size=30))
def test_an_assembler_holds_what_came_and_nothing_else(segments):
    data = random.Random(1).randbytes(400)
    assembler, have = Assembler(), set()
    for start, size in segments:
        assembler.add(start, data[start : start + size], 1 << 20)
        have |= set(range(start, start + size))
        runs = [(run.start, run.end) for run in assembler.runs]
        assert {at for left, right in runs for at in range(left, right)} == have
        assert all(left[1] < right[0] for left, right in pairwise(runs))
        for left, right in assembler.blocks(4):
            assert set(range(left, right)) <= have
        assert assembler.blocks(4)[0][0] <= start < assembler.blocks(4)[0][1]
    edge = 1
    while edge in have:
        edge += 1
    if edge > 1:
        assert pieces_of(assembler, 1) == (edge, data[1:edge])
    while assembler.runs:
        start = assembler.runs[0].start
        end, got = pieces_of(assembler, start)
        assert got == data[start:end]
    assert assembler.memory == 0


def test_an_assembler_takes_no_more_than_its_limit_in_bytes_and_pieces():
    assembler = Assembler()
    taken = sum(assembler.add(10 * i, b"x", 10_000) for i in range(1, 1000))
    assert taken == 10_000 // 257
    assembler.clear()
    taken = sum(assembler.add(10 * i, b"x", 1 << 30) for i in range(1, 3000))
    assert taken == 1024


def test_what_partly_came_already_gives_the_rest():
    assembler = Assembler()
    assembler.add(10, b"abcdef", 10_000)
    assert pieces_of(assembler, 12) == (16, b"cdef")
    assert not assembler.runs


# -- the scoreboard


def board_of(count: int) -> Scoreboard:
    board = Scoreboard()
    board.add([Sent(100 * i, 100 * i + 100, bytes(100), 0x10, float(i)) for i in range(count)], 100 * count)
    return board


@settings(max_examples=200)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(("ack", "sack", "lose", "send", "split")), st.integers(0, 40), st.integers(0, 40)
        ),
        max_size=40,
    )
)
def test_a_scoreboard_counts_what_is_in_flight(steps):
    board, rtt, una, now = board_of(40), RttEstimator(0.2), 0, 100.0
    rtt.sample(0.5, now)
    for action, a, b in steps:
        now += 0.1
        low, high = sorted((a * 100, b * 100))
        if action == "ack" and low >= una:
            board.acknowledge(una, low, (), rtt, now, inf)
            una = low
        elif action == "sack" and low < high:
            board.acknowledge(una, una, ((low, high),), rtt, now, inf)
            board.detect_losses(rtt, now, recovering=False)
        elif action == "lose":
            board.mark_all_lost()
        elif action == "send":
            again: list[Sent] = []
            board.take_lost(a * 100, now, again)
            assert [s.seq for s in again] == sorted(s.seq for s in again)
        elif action == "split":
            board.split(30 + a)
        flying = [s for s in board.segments if not s.sacked and not s.lost]
        assert board.in_flight == sum(s.end - s.seq for s in flying)
        assert not any(s.sacked and s.lost for s in board.segments)
        edges = [s.seq for s in board.segments] + [s.end for s in board.segments[-1:]]
        assert all(s.end == following for s, following in zip(board.segments, edges[1:], strict=True))
        assert not board.segments or board.segments[0].seq == una


# -- the sender


def test_a_loss_that_is_found_late_does_not_disturb_the_recovery_from_a_timeout():
    """Its window is not that of RFC 6937, which has no losses to reckon with then."""
    sender = Sender(StackConfig(congestion_control="newreno", pacing=False), 0, 0, 1000)
    now = 10.0
    sender.sack = True
    sender.established(1 << 20, 0, 1, now)
    sender.rtt.sample(0.1, now)
    sender.queue.write(bytes(100_000))
    sender.next_flight(now)
    now += 0.1
    sender.acknowledge(1, ((1001, 2001),), None, now, duplicate=True)
    sender.acknowledge(10_001, (), None, now, duplicate=False)  # the first was overtaken
    sender.next_flight(now)
    now, sender.probe_at = sender.rto_at, inf
    sender.handle_timer(now)
    for _ in range(10):
        sender.next_flight(now)
        now += 0.001
        sender.acknowledge(sender.una + 1000, (), None, now, duplicate=False)
    sender.next_flight(now)
    una = sender.una
    sender.acknowledge(una, ((una + 2000, una + 3000),), None, now + 0.1, duplicate=True)
    window = sender.congestion.cwnd
    sender.congestion.ssthresh = 2000  # as after further timeouts
    now = sender.reorder_at
    sender.handle_timer(now)
    assert sender.board.has_lost
    assert (sender.recovery, sender.congestion.cwnd) == (Recovery.TIMEOUT, window)


def test_a_needless_repeat_without_congestion_undoes_none():
    """A window that opens again has things repeated, but that is no recovery that could be taken back."""
    sender = Sender(StackConfig(pacing=False), 0, 0, 1000)
    sender.sack = True
    sender.established(1 << 20, 0, 1, 10.0)
    sender.congestion.ssthresh = 5000
    sender.queue.write(bytes(1000))
    sender.next_flight(10.0)
    sender.update_window(1, 1, 0, 10.1)
    sender.update_window(1, 1, 1 << 20, 10.2)
    assert [segment.seq for segment in sender.next_flight(10.2)] == [1]
    sender.acknowledge(1001, ((1, 1001),), None, 10.3, duplicate=False)
    assert sender.congestion.ssthresh == 5000


# -- round trips


def test_the_estimator_follows_rfc_6298():
    rtt = RttEstimator(0.0)
    assert rtt.rto == 1.0
    rtt.sample(0.1, 0.0)
    assert (rtt.srtt, rtt.rttvar, rtt.rto) == (0.1, 0.05, pytest.approx(0.3))
    rtt.sample(0.2, 0.0)
    assert rtt.rttvar == pytest.approx(0.75 * 0.05 + 0.25 * 0.1)
    assert rtt.srtt == pytest.approx(0.1 * 7 / 8 + 0.2 / 8)


def test_backing_off_doubles_up_to_a_minute():
    rtt = RttEstimator(0.2)
    for _ in range(20):
        rtt.back_off()
    assert rtt.rto == 60
    rtt.end_back_off()
    assert rtt.rto == 1.0
    rtt.sample(0.1, 0.0)
    rtt.back_off()
    rtt.end_back_off()
    assert rtt.rto == pytest.approx(0.3)


def test_the_least_round_trip_is_forgotten_in_time():
    rtt = RttEstimator(0.2)
    rtt.sample(0.01, 0.0)
    rtt.sample(0.05, 10.0)
    assert rtt.min_rtt == 0.01
    rtt.sample(0.05, 400.0)
    assert rtt.min_rtt == 0.05


# -- congestion control


def grow(control: NewReno, now: float, rtt: float, rounds: int) -> float:
    for _ in range(rounds):
        now += rtt
        control.on_ack(control.cwnd, now, rtt)
    return now


@pytest.mark.parametrize("kind", [NewReno, Cubic])
def test_slow_start_doubles_with_each_round_trip(kind):
    control = kind(1000)
    assert control.cwnd == 10_000
    grow(control, 0.0, 0.1, 3)
    assert control.cwnd == 80_000


def test_newreno_grows_by_a_segment_in_a_round_trip_and_halves():
    control = NewReno(1000)
    control.on_congestion(40_000, 0.0)
    control.cwnd = int(control.ssthresh)
    assert control.cwnd == 20_000
    grow(control, 0.0, 0.1, 5)
    assert control.cwnd == 25_000


def test_slow_start_ends_at_the_threshold():
    control = NewReno(1000)
    control.ssthresh = 15_000
    control.on_ack(10_000, 0.0, 0.1)
    assert control.cwnd == 15_000
    grow(control, 0.0, 0.1, 1)
    assert control.cwnd == 16_000


def test_cubic_returns_to_the_old_window_in_the_time_of_its_formula():
    """RFC 9438 section 4.2: K = cbrt((W_max - cwnd) / C)."""
    control = Cubic(1000)
    control.cwnd = 1_000_000
    control.on_congestion(1_000_000, 0.0)
    control.cwnd = int(control.ssthresh)
    assert control.cwnd == 700_000
    expected = ((1000 - 700) / 0.4) ** (1 / 3)
    now = 0.0
    while control.cwnd < 990_000:
        now = grow(control, now, 0.05, 1)
    assert 0.6 * expected < now < 1.1 * expected
    at_plateau = control.cwnd
    now = grow(control, now, 0.05, 10)
    assert control.cwnd - at_plateau < 20_000
    grow(control, now, 0.05, 200)
    assert control.cwnd > 1_100_000


def test_cubic_is_never_slower_than_reno_on_short_paths():
    control = Cubic(1000)
    control.cwnd = 20_000
    control.on_congestion(20_000, 0.0)
    control.cwnd = int(control.ssthresh)
    grow(control, 0.0, 0.001, 100)
    assert control.cwnd >= 14_000 + 0.5 * 100 * 1000


def test_cubic_gives_way_to_newcomers():
    control = Cubic(1000)
    control.cwnd = 100_000
    control.on_congestion(100_000, 0.0)
    control.cwnd = int(control.ssthresh)
    grow(control, 0.0, 0.01, 1)
    control.on_congestion(control.cwnd, 1.0)  # below the last maximum
    assert control.w_max < control.ssthresh / 700


@pytest.mark.parametrize("kind", [NewReno, Cubic])
def test_a_timeout_leaves_one_segment_and_idleness_ten(kind):
    control = kind(1000)
    control.cwnd = 50_000
    control.on_idle()
    assert control.cwnd == 10_000
    control.on_timeout(10_000, 0.0)
    assert control.cwnd == 1000
    assert control.ssthresh == int(10_000 * control.beta)
    control.restore(50_000, inf)
    assert (control.cwnd, control.ssthresh) == (50_000, inf)


def test_another_segment_size_keeps_the_number_of_segments():
    control = NewReno(2000)
    control.set_mss(1000)
    assert control.cwnd == 10_000
    assert control.mss == 1000
