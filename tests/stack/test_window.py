"""Flow control both ways, acknowledgements and small segments."""

from itertools import pairwise

import pytest

from tests.stack.script import Script, Seg
from zt_async.stack.tcp.options import TcpOptions
from zt_async.stack.tcp.state import State

QUICK = 16


def past_quick_acks(s: Script) -> int:
    """Receive until acknowledgements are delayed; RCV.NXT then."""
    nxt = 1
    for _ in range(QUICK):
        s.send(Seg("P.", nxt, 1, b"x"))
        nxt += 1
        s.expect(Seg(".", 1, nxt))
    s.read()
    s.quiet()
    return nxt


# -- acknowledging


def test_early_segments_are_acknowledged_at_once():
    past_quick_acks(Script().established())


def test_a_lone_segment_is_acknowledged_within_40_ms():
    s = Script().established()
    nxt = past_quick_acks(s)
    s.send(Seg("P.", nxt, 1, b"x"))
    s.quiet()
    ((at, ack),) = s.pass_time(1)
    assert ack == Seg(".", 1, nxt + 1, win=ack.win)
    assert at == pytest.approx(0.04)


@pytest.mark.parametrize("unread", [b"", b"x"])
def test_early_segments_and_a_fin_wait_a_moment_for_an_answer(unread):
    s = Script(config={"prompt_ack": 0.001}).established()
    s.send(Seg("P.", 1, 1, b"question"))
    s.quiet()
    s.connection.send(b"answer")
    s.expect(Seg("P.", 1, 9, b"answer"))
    s.send(Seg("FP.", 9, 7, unread))
    s.quiet()
    s.connection.send_eof()
    s.expect(Seg("F.", 7, 10 + len(unread)))
    s.send(Seg(".", 10 + len(unread), 8))
    s.quiet()
    assert s.connection.state is State.CLOSED


def test_early_segments_and_a_fin_are_acknowledged_within_a_millisecond():
    s = Script(config={"prompt_ack": 0.001}).established()
    for flags, payload, nxt in (("P.", b"x", 2), ("F.", b"", 3)):
        s.send(Seg(flags, nxt - 1, 1, payload))
        s.quiet()
        ((at, ack),) = s.pass_time(1)
        assert at == pytest.approx(0.001)
        assert ack == Seg(".", 1, nxt, win=ack.win)


def test_without_delay_all_is_acknowledged_at_once():
    s = Script(config={"delayed_ack": 0.0, "prompt_ack": 0.001}).established()
    for nxt in range(2, 30):
        s.send(Seg("P.", nxt - 1, 1, b"x"))
        s.read()
        s.expect(Seg(".", 1, nxt))


def test_a_fin_that_ends_both_ways_is_acknowledged_at_once():
    s = Script(config={"prompt_ack": 0.001}).established()
    s.connection.send_eof()
    s.expect(Seg("F.", 1, 1))
    s.send(Seg("F.", 1, 2))
    s.expect(Seg(".", 2, 2))
    assert s.connection.state is State.TIME_WAIT


def test_every_second_full_segment_is_acknowledged():
    s = Script().established()
    nxt = past_quick_acks(s)
    s.send(Seg(".", nxt, 1, bytes(1000)))
    s.quiet()
    s.send(Seg(".", nxt + 1000, 1, bytes(1000)))
    s.expect(Seg(".", 1, nxt + 2000))


def test_a_batch_is_acknowledged_once():
    s = Script().established()
    s.send(*(Seg(".", 1 + 1000 * i, 1, bytes(1000)) for i in range(20)))
    s.expect(Seg(".", 1, 20001))


def test_an_answer_carries_the_acknowledgement():
    s = Script().established()
    nxt = past_quick_acks(s)
    s.send(Seg("P.", nxt, 1, b"question"))
    s.read()
    s.connection.send(b"answer")
    s.expect(Seg("P.", 1, nxt + 8, b"answer"))
    assert [segment.flags for _, segment in s.pass_time(0.1)] == []


def test_data_out_of_order_is_acknowledged_for_each_segment_and_delivered_in_order():
    s = Script().established()
    s.send(Seg("P.", 4, 1, b"def"), Seg("P.", 7, 1, b"ghi"))
    s.expect(Seg(".", 1, 1), Seg(".", 1, 1))
    assert s.read() == b""
    s.send(Seg("P.", 1, 1, b"abc"))
    s.expect(Seg(".", 1, 10))
    assert s.read() == b"abcdefghi"


def test_duplicate_acknowledgements_for_a_batch_are_as_many_as_fast_retransmit_needs():
    s = Script().established()
    s.send(*(Seg(".", 1001 + 1000 * i, 1, bytes(1000)) for i in range(10)))
    s.expect(*[Seg(".", 1, 1)] * 3)


def test_a_repeated_segment_is_acknowledged_and_not_delivered_again():
    s = Script().established()
    s.send(Seg("P.", 1, 1, b"once"))
    s.expect(Seg(".", 1, 5))
    s.send(Seg("P.", 1, 1, b"once"))
    s.expect(Seg(".", 1, 5))
    assert s.read() == b"once"


def test_a_segment_that_overlaps_what_is_here_gives_the_rest():
    s = Script().established()
    s.send(Seg("P.", 1, 1, b"abcd"))
    s.send(Seg("P.", 3, 1, b"cdef"))
    s.collect()
    assert s.read() == b"abcdef"


# -- the receive window


def small_window(size: int = 4000) -> Script:
    return Script().established(options=TcpOptions(receive_buffer=size))


def test_unread_data_closes_the_window_and_reading_opens_it():
    s = small_window()
    s.send(Seg(".", 1, 1, bytes(2000)), Seg(".", 2001, 1, bytes(2000)))
    s.expect(Seg(".", 1, 4001, win=0))
    assert len(s.read()) == 4000
    s.expect(Seg(".", 1, 4001, win=4000))


def test_data_beyond_the_window_is_cut_off():
    s = small_window()
    s.send(Seg(".", 1, 1, bytes(3000)), Seg("P.", 3001, 1, b"a" * 1000 + b"b" * 500))
    s.expect(Seg(".", 1, 4001, win=0))
    assert s.read() == bytes(3000) + b"a" * 1000


def test_a_probe_of_a_closed_window_is_answered_and_its_acknowledgement_counts():
    s = small_window()
    s.send(Seg(".", 1, 1, bytes(4000)))
    s.collect()
    s.connection.send(b"mine")
    s.collect()
    s.send(Seg(".", 4001, 5, b"p"))
    s.expect(Seg(".", 5, 4001, win=0))
    assert s.connection.unacked == 0
    assert len(s.read()) == 4000


def test_a_fin_fits_a_closed_window():
    s = small_window()
    s.send(Seg("F.", 1, 1, bytes(4000)))
    s.expect(Seg(".", 1, 4002))
    assert s.connection.state is State.CLOSE_WAIT


def test_the_window_opens_in_steps_worth_a_segment():
    """RFC 9293 section 3.8.6.2.2: a reader of single bytes makes no silly windows."""
    s = Script().established(options=TcpOptions(receive_buffer=4000))
    s.send(Seg(".", 1, 1, bytes(1000)))
    s.expect(Seg(".", 1, 1001, win=3000))
    s.read()
    s.quiet()  # 3000 of 4000 is no reason to send anything


def test_out_of_order_data_is_bounded_by_the_window():
    s = small_window(16000)
    for i in range(200):
        s.send(Seg(".", 11 + 20 * i, 1, b"0123456789"))
        s.collect()
    s.send(Seg(".", 1, 1, bytes(4010)))
    s.collect()
    assert len(s.read()) < 16000
    assert s.connection.info().bytes_received < 16000


def test_the_window_grows_while_the_sender_fills_it_and_the_reader_keeps_up():
    s = Script(scale=7, config={"receive_buffer": 16384, "max_receive_buffer": 1 << 20}).established()
    nxt = 1
    for _ in range(8):
        window = s.connection.info().receive_window
        s.now += 0.001
        while window > 0:
            size = min(window, 1000)
            s.send(Seg(".", nxt, 1, bytes(size)))
            nxt += size
            window -= size
        s.read()
        s.collect()
    assert s.connection.info().receive_window == 1 << 20


def test_the_window_does_not_grow_for_a_slow_sender():
    s = Script(scale=7, config={"receive_buffer": 16384, "max_receive_buffer": 1 << 20}).established()
    for i in range(100):
        s.now += 0.5
        s.send(Seg(".", 1 + 1000 * i, 1, bytes(1000)))
        s.read()
        s.collect()
    assert s.connection.info().receive_window == 16384


def test_the_window_does_not_grow_for_a_slow_reader():
    s = Script(scale=7, config={"receive_buffer": 16384, "max_receive_buffer": 1 << 20}).established()
    for i in range(16):
        s.now += 0.0001
        s.send(Seg(".", 1 + 1000 * i, 1, bytes(1000)))
        s.collect()
    assert s.connection.info().receive_window == 384


# -- the send window


def test_sending_stops_at_the_window():
    s = Script(window=2500).established()
    s.connection.send(bytes(5000))
    s.expect(Seg(".", 1, 1, bytes(1000)), Seg(".", 1001, 1, bytes(1000)))
    assert (s.connection.unsent, s.connection.unacked) == (3000, 2000)


def test_less_than_half_of_the_largest_window_is_not_used():
    """RFC 9293 section 3.8.6.2.1."""
    s = Script(window=4000).established()
    s.connection.send(bytes(4000))
    s.collect()
    s.connection.send(bytes(4000))
    s.send(Seg(".", 1, 4001, win=900))
    s.quiet()
    s.send(Seg(".", 1, 4001, win=2000))
    assert [len(segment.payload) for segment in s.collect()] == [1000, 1000]


def test_a_window_that_stays_small_is_used_after_a_while():
    s = Script(window=4000).established()
    s.connection.send(bytes(4000))
    s.collect()
    s.connection.send(bytes(4000))
    s.send(Seg(".", 1, 4001, win=900))
    (at, segment), *_ = s.pass_time(2)
    assert len(segment.payload) == 900
    assert 0.1 <= at <= 1.5


def test_a_closed_window_is_probed_with_growing_intervals_for_as_long_as_it_is_confirmed():
    s = Script(window=1000).established()
    s.connection.send(bytes(1000))
    s.collect()
    s.connection.send(b"waiting")
    s.send(Seg(".", 1, 1001, win=0))
    times = []
    begin = s.now
    while s.now < begin + 2000:
        sent = s.pass_time(0.05)
        for at, segment in sent:
            assert segment == Seg(segment.flags, 1001, 1, b"w", win=segment.win)
            times.append(s.now - 0.05 + at)
        if sent:
            s.send(Seg(".", 1, 1001, win=0))
            s.quiet()
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert gaps == sorted(gaps)
    assert gaps[0] < 2
    assert gaps[-1] == pytest.approx(60, abs=0.1)
    assert s.connection.state is State.ESTABLISHED
    s.send(Seg(".", 1, 1001, win=1000))
    assert b"".join(segment.payload for segment in s.collect()) == b"waiting"
    assert s.connection.info().congestion_window >= 10000


def test_a_probe_that_is_taken_goes_on():
    s = Script(window=1000).established()
    s.connection.send(bytes(1000))
    s.collect()
    s.connection.send(b"waiting")
    s.send(Seg(".", 1, 1001, win=0))
    ((_, probe),) = s.pass_time(1.1)[:1]
    assert probe.payload == b"w"
    s.send(Seg(".", 1, 1002, win=1000))
    s.expect(Seg("P.", 1002, 1, b"aiting"))


def test_a_peer_that_confirms_no_probe_is_dead():
    s = Script(window=1000, config={"user_timeout": 30.0}).established()
    s.connection.send(bytes(1000))
    s.collect()
    s.connection.send(b"waiting")
    s.send(Seg(".", 1, 1001, win=0))
    sent = s.pass_time(60)
    assert len(sent) > 3
    assert isinstance(s.connection.error, TimeoutError)
    assert s.stack.next_timer() is None


def test_a_fin_is_probed_too():
    s = Script(window=1000).established()
    s.connection.send(bytes(1000))
    s.collect()
    s.send(Seg(".", 1, 1001, win=0))
    s.connection.send_eof()
    s.quiet()
    ((_, probe),) = s.pass_time(1.1)[:1]
    assert probe.flags == "F."


def test_a_window_may_shrink():
    s = Script(window=4000).established()
    s.connection.send(bytes(8000))
    assert len(s.collect()) == 4
    s.send(Seg(".", 1, 1001, win=1000))  # the right edge moves back by 2000
    s.quiet()
    s.send(Seg(".", 1, 2001, win=4000))
    assert [segment.seq for segment in s.collect()] == [4001, 5001]


def test_an_old_segment_does_not_change_the_window():
    s = Script(window=4000).established()
    s.send(Seg("P.", 1, 1, b"new", win=5000))
    s.collect()
    s.send(Seg("P.", 1, 1, b"new", win=10))
    s.collect()
    assert s.connection.info().send_window == 5000


# -- Nagle


def test_small_segments_go_at_once_by_default():
    s = Script().established()
    s.connection.send(b"a")
    s.expect(Seg("P.", 1, 1, b"a"))
    s.connection.send(b"b")
    s.expect(Seg("P.", 2, 1, b"b"))


def test_with_nagle_small_segments_wait_for_an_acknowledgement():
    s = Script().established(options=TcpOptions(nodelay=False))
    s.connection.send(b"a")
    s.expect(Seg("P.", 1, 1, b"a"))
    s.connection.send(b"b")
    s.connection.send(b"c")
    s.quiet()
    s.send(Seg(".", 1, 2))
    s.expect(Seg("P.", 2, 1, b"bc"))
    s.connection.send(bytes(1500))
    s.expect(Seg(".", 4, 1, bytes(1000)))
    s.connection.options = TcpOptions(nodelay=True)
    s.expect(Seg("P.", 1004, 1, bytes(500)))


def test_nagle_does_not_hold_back_the_last_bytes():
    s = Script().established(options=TcpOptions(nodelay=False))
    s.connection.send(b"a")
    s.collect()
    s.connection.send(b"b")
    s.connection.send_eof()
    s.expect(Seg("FP.", 2, 1, b"b"))


# -- scaling


def test_windows_are_scaled_when_both_sides_offer_it():
    s = Script(scale=3, window=2000).established()
    assert s.connection.info().send_window == 2000  # that of a SYN is not
    s.send(Seg(".", 1, 1))
    assert s.connection.info().send_window == 16000
    assert s.connection.info().send_scale == 3
    s.send(Seg("P.", 1, 1, b"x"))
    s.read()
    s.collect()
    assert s.last.window << s.connection.info().receive_scale >= 200_000


def test_windows_are_not_scaled_when_the_peer_does_not_offer_it():
    s = Script(config={"receive_buffer": 1 << 20}).established(passive=True)
    for i in range(100):
        s.send(Seg(".", 1 + 1000 * i, 1, bytes(1000)))
        s.read()
        s.collect()
    assert s.last.window <= 0xFFFF
    assert s.connection.info().receive_window <= 0xFFFF
    assert s.connection.info().receive_scale == 0


def test_a_passive_open_agrees_to_what_is_offered_and_no_more():
    s = Script(scale=2, sack=True, timestamps=True).syn_received()
    assert s.last.options.window_scale is not None
    assert s.last.options.sack_permitted
    assert s.last.options.timestamps is not None
    s = Script().syn_received()
    assert s.last.options._replace(mss=None) == type(s.last.options)()


def test_a_repeat_from_a_peer_without_sack_is_acknowledged_once_and_then_forgotten():
    s = Script().established()
    s.send(Seg("P.", 1, 1, b"abc"))
    s.collect()
    s.send(Seg("P.", 1, 1, b"abc"))
    s.expect(Seg(".", 1, 4))
    s.connection.send(b"data")
    s.expect(Seg("P.", 1, 4, b"data"))
    s.connection.send(b"more")
    s.expect(Seg("P.", 5, 4, b"more"))


def test_a_view_of_wide_items_is_sent_as_its_bytes():
    s = Script().established()
    s.connection.send(memoryview(b"12345678").cast("I"))
    assert s.connection.unsent == 8
    s.expect(Seg("P.", 1, 1, b"12345678"))
