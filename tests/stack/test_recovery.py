"""Losses and what is done about them."""

import pytest

from tests.stack.script import MASK, Script, Seg
from zt_async.stack.tcp.options import TcpOptions
from zt_async.stack.tcp.state import State

MSS = 1000


def with_rtt(rtt: float = 0.1, *, segments: int = 10, **kwargs) -> Script:
    """Established over a path of ``rtt``, with that many full segments in flight."""
    kwargs = {"sack": True} | kwargs
    kwargs["config"] = {"pacing": False} | kwargs.get("config", {})
    s = Script(**kwargs).connect()
    s.now += rtt
    s.send(Seg("S.", 0, 1))
    s.expect(Seg(".", 1, 1))
    if segments:
        s.connection.send(bytes(segments * MSS))
        assert len(s.collect()) == segments
    return s


def starts(sent: list[Seg]) -> list[int]:
    return [segment.seq for segment in sent]


# -- timeouts (RFC 6298)


def test_an_unanswered_segment_is_repeated_with_growing_intervals_until_the_user_timeout():
    s = with_rtt(0.1, segments=0, config={"user_timeout": 20.0}, sack=False)
    s.connection.send(b"hello")
    s.expect(Seg("P.", 1, 1, b"hello"))
    sent = s.pass_time(19.9)
    times = [at for at, _ in sent]
    assert {segment.payload for _, segment in sent} == {b"hello"}
    assert times == pytest.approx([0.3, 0.9, 2.1, 4.5, 9.3, 18.9])  # SRTT + 4 RTTVAR, doubled
    assert s.connection.error is None
    s.wait(0.2)
    assert isinstance(s.connection.error, TimeoutError)
    assert not s.interface.tcp
    assert s.stack.next_timer() is None


def test_the_user_timeout_of_a_connection():
    s = with_rtt(0.1, segments=0)
    s.connection.options = TcpOptions(user_timeout=1.0)
    s.connection.send(b"hello")
    s.collect()
    begin = s.now
    while s.connection.error is None:
        s.now = s.stack.next_timer()
        s.stack.handle_timer(s.now)
        s.collect()
    assert s.now - begin == pytest.approx(1.0)


def test_a_timeout_never_comes_before_200_ms():
    s = with_rtt(0.0001, segments=0, sack=False)
    s.connection.send(b"hello")
    s.collect()
    assert s.pass_time(0.3)[0][0] == pytest.approx(0.2)


def test_the_lower_bound_of_timeouts_is_a_setting():
    s = with_rtt(0.0001, segments=0, sack=False, config={"minimum_rto": 0.05})
    s.connection.send(b"hello")
    s.collect()
    assert s.pass_time(0.1)[0][0] == pytest.approx(0.05)


@pytest.mark.parametrize(("timestamps", "rto"), [(False, 3.0), (True, 0.2)])
def test_after_a_repeated_syn_only_timestamps_tell_the_round_trip(timestamps, rto):
    """RFC 6298 section 5.7."""
    s = Script(timestamps=timestamps).connect()
    ((_, again),) = s.pass_time(0.3)
    assert again.flags == "S"
    s.send(Seg("S.", 0, 1))
    s.collect()
    assert s.connection.info().retransmission_timeout == pytest.approx(rto)
    s.connection.send(b"hello")
    s.collect()
    assert s.pass_time(3.1)[0][0] == pytest.approx(rto)


def test_a_late_echo_of_the_first_syn_is_no_round_trip():
    """The answer to it was lost, and that to the last repeat echoes the same."""
    s = Script(timestamps=True).syn_received()
    first = s.echo
    s.pass_time(5)
    s.echo = first
    s.send(Seg(".", 1, 1))
    assert s.listener.accept().info().retransmission_timeout == 3.0


def test_the_round_trip_is_smoothed():
    s = with_rtt(0.1, segments=0)
    for i in range(50):
        s.connection.send(b"x")
        s.collect()
        s.now += 0.02
        s.send(Seg(".", 1, 2 + i))
    info = s.connection.info()
    assert info.rtt == pytest.approx(0.02, rel=0.1)
    assert info.minimum_rtt == pytest.approx(0.02)
    assert info.retransmission_timeout == pytest.approx(0.2)


def test_an_answer_to_a_repeated_segment_measures_nothing():
    """Karn: without timestamps nobody knows which transmission it answers."""
    s = with_rtt(0.1, segments=0, sack=False)
    s.connection.send(b"hello")
    s.collect()
    s.pass_time(5)
    s.send(Seg(".", 1, 6))
    assert s.connection.info().rtt == pytest.approx(0.1)


def test_what_had_to_wait_for_a_repeated_segment_measures_nothing():
    s = with_rtt(0.1, segments=2, sack=False)
    s.pass_time(5)
    s.send(Seg(".", 1, 1 + 2 * MSS))
    assert s.connection.info().rtt == pytest.approx(0.1)


def test_the_echo_of_what_was_sent_before_a_repeat_measures_nothing():
    """The first answer was lost, and the second echoes what the first did (RFC 7323 section 5.3)."""
    s = with_rtt(0.1, segments=0, sack=False, timestamps=True)
    s.connection.send(b"hello")
    s.collect()
    arrived = s.echo
    s.pass_time(5)
    s.echo = arrived
    s.send(Seg(".", 1, 6))
    assert s.connection.info().rtt == pytest.approx(0.1, abs=0.002)


def test_after_a_timeout_the_window_is_one_segment_and_all_is_sent_again_as_acks_come():
    s = with_rtt(sack=False)
    (_, first), *rest = s.pass_time(0.31)
    assert (first.seq, rest) == (1, [])
    info = s.connection.info()
    assert (info.congestion_window, info.slow_start_threshold, info.recovery) == (1000, 7000, "timeout")
    s.now += 0.1
    s.send(Seg(".", 1, 1001))
    assert starts(s.collect()) == [1001, 2001]
    s.now += 0.1
    s.send(Seg(".", 1, 3001))
    assert starts(s.collect()) == [3001, 4001, 5001, 6001]
    s.send(Seg(".", 1, 10001))
    info = s.connection.info()
    assert (info.recovery, info.unacked, info.in_flight) == ("none", 0, 0)


def test_a_needless_timeout_is_seen_by_the_echo_and_undone():
    s = with_rtt(timestamps=True, segments=0)
    s.connection.send(bytes(10 * 988))
    s.collect()
    early = s.echo
    before = s.connection.info().congestion_window
    assert starts([segment for _, segment in s.pass_time(0.5)])
    while s.connection.info().recovery != "timeout":
        s.pass_time(0.1)
    s.echo = early  # the original arrived after all
    s.clock += 1
    s.send(Seg(".", 1, 989))
    info = s.connection.info()
    assert info.recovery == "none"
    assert info.congestion_window >= before
    assert info.slow_start_threshold is None
    assert info.in_flight == 9 * 988


# -- fast retransmit and recovery


def test_three_duplicates_repeat_the_oldest_segment_without_sack():
    s = with_rtt(sack=False)
    s.send(Seg(".", 1, 1))
    s.quiet()
    s.send(Seg(".", 1, 1), Seg(".", 1, 1))
    assert starts(s.collect()) == [1]
    info = s.connection.info()
    assert (info.recovery, info.slow_start_threshold) == ("fast", 7000)


def test_a_partial_ack_repeats_the_next_hole_without_sack():
    """RFC 6582."""
    s = with_rtt(sack=False)
    s.send(*[Seg(".", 1, 1)] * 3)
    assert starts(s.collect()) == [1]
    s.send(Seg(".", 1, 4001))
    assert starts(s.collect()) == [4001]
    assert s.connection.info().recovery == "fast"
    s.send(Seg(".", 1, 10001))
    assert s.connection.info().recovery == "none"
    assert s.connection.info().congestion_window == 7000


def test_newreno_halves():
    s = with_rtt(sack=False, config={"congestion_control": "newreno"})
    s.send(*[Seg(".", 1, 1)] * 3)
    s.collect()
    assert s.connection.info().slow_start_threshold == 5000


def test_duplicates_with_data_or_another_window_do_not_count():
    s = with_rtt(sack=False)
    s.send(Seg("P.", 1, 1, b"a"), Seg("P.", 2, 1, b"b"), Seg("P.", 3, 1, b"c"))
    s.collect()
    s.send(Seg(".", 4, 1, win=50000), Seg(".", 4, 1, win=51000), Seg(".", 4, 1, win=52000))
    s.quiet()
    assert s.connection.info().recovery == "none"


def test_new_data_may_go_on_the_first_duplicates():
    """Limited transmit, RFC 3042."""
    s = with_rtt()
    s.connection.send(bytes(5000))
    s.quiet()  # the window is used up
    s.send(Seg(".", 1, 1, sacks=((1001, 2001),)))
    assert starts(s.collect()) == [10001]
    s.send(Seg(".", 1, 1, sacks=((1001, 3001),)))
    assert starts(s.collect()) == [11001]


def test_sack_shows_every_hole_and_only_holes_are_repeated():
    s = with_rtt()
    s.now += 0.1
    s.send(Seg(".", 1, 1001, sacks=((2001, 3001), (4001, 5001), (6001, 10001))))
    assert starts(s.collect()) == [1001, 3001, 5001]
    assert s.connection.info().recovery == "fast"
    s.now += 0.1
    s.send(Seg(".", 1, 10001))
    info = s.connection.info()
    assert (info.recovery, info.congestion_window, info.retransmits, info.in_flight) == ("none", 7000, 3, 0)


def test_a_repeated_segment_that_is_lost_again_is_found_by_a_later_one():
    """RFC 8985: what was sent before something that arrived is lost, repeats included."""
    s = with_rtt()
    s.connection.send(bytes(20000))
    s.now += 0.1
    s.send(Seg(".", 1, 1, sacks=((1001, 5001),)))
    sent = starts(s.collect())
    assert sent[0] == 1
    assert sent[1] == 10001
    s.now += 0.1
    s.send(Seg(".", 1, 1, sacks=((1001, 11001),)))
    assert 1 in starts(s.collect())


def test_two_late_segments_are_given_a_quarter_round_trip():
    """RFC 8985 section 6.2 step 4: reordering is no loss yet."""
    s = with_rtt()
    s.now += 0.1
    s.send(Seg(".", 1, 1, sacks=((1001, 2001),)))
    s.quiet()
    ((at, segment),) = s.pass_time(0.03)
    assert segment.seq == 1
    assert at == pytest.approx(0.025, abs=0.001)


def test_a_sender_reduces_in_proportion_to_what_arrives():
    """RFC 6937: one new or repeated segment for each that left, a little less so that the window shrinks."""
    s = with_rtt(segments=0)
    s.connection.send(bytes(40000))
    s.collect()
    s.now += 0.1
    s.send(Seg(".", 1, 10001))  # slow start: 20 in flight
    assert len(s.collect()) == 20
    s.now += 0.1
    counts = []
    for i in range(12):
        s.send(Seg(".", 1, 10001, sacks=((11001, 12001 + 1000 * i),)))
        counts.append(len(s.collect()))
    assert counts[:3] == [1, 1, 1]  # two of limited transmit, and the hole
    assert 4 <= sum(counts[3:]) <= 6  # nine more arrived, and 22 are to become 14
    assert max(counts) == 1
    info = s.connection.info()
    assert info.slow_start_threshold == 14000
    s.send(Seg(".", 1, 30001))
    s.collect()
    assert s.connection.info().congestion_window == 14000


def test_a_recovery_that_repeated_only_what_had_arrived_is_undone():
    """RFC 3708."""
    s = with_rtt()
    s.now += 0.1
    s.send(Seg(".", 1, 1, sacks=((1001, 5001),)))
    assert starts(s.collect()) == [1]
    assert s.connection.info().recovery == "fast"
    s.send(Seg(".", 1, 5001))  # the original was only late
    s.send(Seg(".", 1, 5001, sacks=((1, 1001),)))  # and here is the needless repeat
    info = s.connection.info()
    assert (info.recovery, info.congestion_window, info.slow_start_threshold) == ("none", 10000, None)


def test_a_peer_that_forgets_what_it_had_is_served_again():
    """RFC 2018 section 8."""
    s = with_rtt()
    s.now += 0.1
    s.send(Seg(".", 1, 1, sacks=((1001, 10001),)))
    assert starts(s.collect()) == [1]
    s.send(Seg(".", 1, 1001))  # only that: the rest is gone
    s.quiet()
    sent = s.pass_time(2)
    assert sent[0][1].seq == 1001
    got = 1001
    for _ in range(20):
        s.now += 0.1
        got = min(got + 2000, 10001)
        s.send(Seg(".", 1, got))
        s.collect()
    assert s.connection.unacked == 0


def test_a_sack_of_nonsense_changes_nothing():
    s = with_rtt()
    for sacks in (
        ((10001, 20001),),
        ((5001, 2001),),
        ((1, 1),),
        ((500, 1500),),
        ((-500000, 5001),),
        ((1001, 2**31),),
    ):
        s.send(Seg(".", 1, 1, sacks=sacks))
    s.collect()
    info = s.connection.info()
    assert (info.in_flight, info.recovery) == (10000, "none")


def test_the_peer_may_acknowledge_half_a_segment():
    s = with_rtt(sack=False)
    s.send(Seg(".", 1, 501))
    s.collect()
    sent = s.pass_time(0.5)
    assert sent[0][1].seq == 501
    assert sent[0][1].payload == bytes(500)
    s.send(Seg(".", 1, 10001))
    assert s.connection.info().in_flight == 0


# -- tail loss (RFC 8985 section 7)


def test_a_lost_tail_is_probed_after_two_round_trips():
    s = with_rtt()
    s.now += 0.1
    s.send(Seg(".", 1, 9001))
    s.quiet()
    ((at, probe),) = s.pass_time(0.26)
    assert probe == Seg("P.", 9001, 1, bytes(1000), win=probe.win)
    assert at == pytest.approx(0.25)  # two round trips, and one for a delayed acknowledgement as it is alone
    s.send(Seg(".", 1, 10001))
    info = s.connection.info()
    assert (info.unacked, info.timeouts) == (0, 0)


def test_a_probe_shows_the_holes_before_it():
    s = with_rtt()
    s.now += 0.1
    s.send(Seg(".", 1, 5001))
    ((at, probe),) = s.pass_time(0.21)
    assert probe.seq == 9001
    assert at == pytest.approx(0.2)
    s.now += 0.1
    s.send(Seg(".", 1, 5001, sacks=((9001, 10001),)))
    assert starts(s.collect()) == [5001]  # one for the one that arrived
    s.now += 0.1
    s.send(Seg(".", 1, 6001, sacks=((9001, 10001),)))
    assert starts(s.collect()) == [6001, 7001]
    s.now += 0.1
    s.send(Seg(".", 1, 8001, sacks=((9001, 10001),)))
    assert starts(s.collect()) == [8001]
    assert s.connection.info().timeouts == 0


def test_a_probe_takes_new_data_if_there_is_some():
    s = with_rtt(segments=0, window=1000)
    s.connection.send(bytes(1500))
    s.expect(Seg(".", 1, 1, bytes(1000)))
    s.now += 0.1
    s.send(Seg(".", 1, 1, win=1500))
    s.expect(Seg("P.", 1001, 1, bytes(500)))
    s.connection.send(b"more")
    s.quiet()
    s.send(Seg(".", 1, 1, win=3000))
    s.expect(Seg("P.", 1501, 1, b"more"))


def test_a_probe_that_repaired_a_loss_slows_down():
    s = with_rtt(segments=2)
    ((_, probe),) = s.pass_time(0.24)
    assert probe.seq == 1001
    s.connection.send(bytes(1000))
    s.collect()
    s.send(Seg(".", 1, 3001))
    assert s.connection.info().slow_start_threshold is not None


def test_a_needless_probe_does_not():
    s = with_rtt(segments=2)
    ((_, probe),) = s.pass_time(0.24)
    assert probe.seq == 1001
    s.connection.send(bytes(1000))
    s.collect()
    s.send(Seg(".", 1, 2001))
    s.send(Seg(".", 1, 3001, sacks=((1001, 2001),)))
    assert s.connection.info().slow_start_threshold is None


def test_if_the_probe_is_lost_the_timeout_comes():
    s = with_rtt(segments=1)
    sent = s.pass_time(1)
    assert [segment.seq for _, segment in sent] == [1, 1]
    assert s.connection.info().timeouts == 1


# -- what is reported to the peer


def test_holes_are_reported_latest_first():
    s = with_rtt(segments=0)
    s.send(Seg("P.", 1001, 1, b"abc"))
    s.expect(Seg(".", 1, 1, sacks=((1001, 1004),)))
    s.send(Seg("P.", 2001, 1, b"abc"))
    s.expect(Seg(".", 1, 1, sacks=((2001, 2004), (1001, 1004))))
    s.send(Seg("P.", 1004, 1, b"def"))
    s.expect(Seg(".", 1, 1, sacks=((1001, 1007), (2001, 2004))))
    s.send(Seg("P.", 1, 1, bytes(1000)))
    s.expect(Seg(".", 1, 1007, sacks=((2001, 2004),)))


def test_at_most_four_holes_are_reported_and_three_beside_timestamps():
    for timestamps, most in ((False, 4), (True, 3)):
        s = with_rtt(segments=0, timestamps=timestamps)
        for i in range(6):
            s.clock += 1
            s.send(Seg("P.", 1001 + 100 * i, 1, b"abc"))
            (ack,) = s.collect()
        assert len(ack.sacks) == most
        assert ack.sacks[0] == (1501, 1504)


def test_what_comes_twice_is_reported():
    """RFC 2883."""
    s = with_rtt(segments=0)
    s.send(Seg("P.", 1, 1, b"abc"))
    s.expect(Seg(".", 1, 4))
    s.send(Seg("P.", 1, 1, b"abc"))
    s.expect(Seg(".", 1, 4, sacks=((1, 4),)))
    s.send(Seg("P.", 4, 1, b"def"))
    s.expect(Seg(".", 1, 7))


def test_nothing_is_reported_to_a_peer_without_sack():
    s = Script().established()
    s.send(Seg("P.", 1001, 1, b"abc"))
    s.expect(Seg(".", 1, 1))


# -- timestamps (RFC 7323)


def test_timestamps_are_echoed_and_tick_in_milliseconds():
    s = with_rtt(segments=0, timestamps=True)
    first = s.last.options.timestamps[0]
    s.now += 0.25
    s.clock = 7000
    s.send(Seg("P.", 1, 1, b"x"))
    s.collect()
    value, echo = s.last.options.timestamps
    assert (value - first & MASK, echo) == (250, 7000)


def test_of_a_batch_the_first_timestamp_is_echoed():
    """Section 4.3: so that the peer measures the delay of acknowledgements too."""
    s = with_rtt(segments=0, timestamps=True)
    packets = []
    for i in range(3):
        s.clock = 100 + i
        packets.append(s.packet(Seg(".", 1 + 500 * i, 1, bytes(500))))
    s.send_packets(*packets)
    s.collect()
    assert s.last.options.timestamps[1] == 100


def test_a_segment_with_an_old_timestamp_is_not_taken():
    s = with_rtt(segments=0, timestamps=True)
    s.clock = 1000
    s.send(Seg("P.", 1, 1, b"new"))
    s.expect(Seg(".", 1, 4))
    s.clock = 999
    s.send(Seg("P.", 4, 1, b"from long ago"))
    s.expect(Seg(".", 1, 4))
    assert s.read() == b"new"


def test_a_segment_without_a_timestamp_is_dropped():
    s = with_rtt(segments=0, timestamps=True)
    s.timestamps = False
    s.send(Seg("P.", 1, 1, b"forged"))
    s.quiet()
    assert s.read() == b""


def test_a_forged_timestamp_outside_the_window_changes_nothing():
    """RFC 7323 section 5.3: only acceptable segments count, or anyone could cut a connection off."""
    s = with_rtt(segments=0, timestamps=True)
    s.clock = 1000
    s.send(Seg("P.", 1, 1, b"a"))
    s.collect()
    s.clock = 0x40000000
    s.send(Seg(".", -100_000, 1), Seg(".", -5, 1), Seg("P.", -5, 1, b"xyz"), Seg(".", 9_000_000, 1))
    s.collect()
    s.clock = 1001
    s.send(Seg("P.", 2, 1, b"b"))
    assert s.read() == b"ab"


def test_a_reset_needs_no_timestamp():
    s = with_rtt(segments=0, timestamps=True)
    s.timestamps = False
    s.send(Seg("R", 1))
    assert s.connection.state is State.CLOSED


def test_after_24_days_of_silence_any_timestamp_will_do():
    s = with_rtt(segments=0, timestamps=True)
    s.clock = 1000
    s.send(Seg("P.", 1, 1, b"a"))
    s.collect()
    s.now += 25 * 86400
    s.clock = 500
    s.send(Seg("P.", 2, 1, b"b"))
    s.collect()
    assert s.read() == b"ab"


def test_an_overtaken_acknowledgement_is_not_answered():
    s = with_rtt(segments=0, timestamps=True)
    s.clock = 1000
    s.send(Seg(".", 1, 1))
    s.clock = 900
    s.send(Seg(".", 1, 1))
    s.quiet()


def test_segments_leave_room_for_timestamps():
    s = Script(mss=9000, timestamps=True).established()
    s.connection.send(bytes(6000))
    assert [len(segment.payload) for segment in s.collect()] == [2728, 2728, 544]
