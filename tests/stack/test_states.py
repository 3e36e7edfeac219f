"""The state machine of RFC 9293, state by state."""

import errno

import pytest

from tests.stack.script import MASK, OWN, REMOTE, REMOTE_ISS, REMOTE_PORT, Script, Seg
from zt_async.stack.tcp.state import State

SYNCHRONIZED = (
    State.ESTABLISHED,
    State.FIN_WAIT_1,
    State.FIN_WAIT_2,
    State.CLOSE_WAIT,
    State.CLOSING,
    State.LAST_ACK,
)


def own_next(state: State) -> int:
    """SND.NXT: a FIN was sent or not."""
    return 1 if state in (State.ESTABLISHED, State.CLOSE_WAIT) else 2


def remote_next(state: State) -> int:
    """RCV.NXT."""
    return 2 if state in (State.CLOSE_WAIT, State.CLOSING, State.LAST_ACK) else 1


# -- CLOSED and LISTEN


def test_a_syn_for_nobody_is_reset():
    s = Script(own_iss=0)
    s.own_port = 99
    s.send(Seg("S"))
    s.expect(Seg("R.", 0, 1, win=0))


def test_an_ack_for_nobody_is_reset_with_its_own_number():
    s = Script(own_iss=0)
    s.own_port = 99
    s.send(Seg(".", 5, 77))
    s.expect(Seg("R", 77))


def test_a_reset_for_nobody_is_not_answered():
    s = Script(own_iss=0)
    s.own_port = 99
    s.send(Seg("R", 5), Seg("R.", 5, 6))
    s.quiet()


def test_a_fin_for_nobody_is_counted_in_its_reset():
    s = Script(own_iss=0)
    s.own_port = 99
    s.send(Seg("F", 5, payload=b"abc"))
    s.expect(Seg("R.", 0, 9))


@pytest.mark.parametrize(("flags", "answer"), [("R", None), (".", "R"), ("F.", "R"), ("S.", "R")])
def test_a_listener_answers_only_syns(flags, answer):
    s = Script(own_iss=0).listen()
    s.send(Seg(flags, 5, 6))
    s.expect(*[Seg(answer, 6)] if answer else [])
    assert s.listener.accept() is None


# -- SYN-SENT


def test_a_connection_opens():
    s = Script().connect()
    assert s.connection.state is State.SYN_SENT
    assert (s.connection.local, s.connection.remote) == ((OWN, 4321), (REMOTE, REMOTE_PORT))
    s.send(Seg("S.", 0, 1))
    s.expect(Seg(".", 1, 1))
    assert s.connection.state is State.ESTABLISHED
    assert s.stack.take_ready() == [s.connection]
    assert s.stack.take_ready() == []


def test_a_refused_connection():
    s = Script().connect()
    s.send(Seg("R.", 0, 1))
    s.quiet()
    assert s.connection.state is State.CLOSED
    assert isinstance(s.connection.error, ConnectionRefusedError)
    assert s.stack.take_ready() == [s.connection]
    assert s.stack.next_timer() is None


def test_a_reset_without_the_right_ack_refuses_nothing():
    s = Script().connect()
    s.send(Seg("R", 0), Seg("R.", 0, 5))
    s.quiet()
    assert s.connection.state is State.SYN_SENT


@pytest.mark.parametrize("ack", [0, 2, 70000])
def test_an_ack_of_what_was_not_sent_is_reset(ack):
    s = Script().connect()
    s.send(Seg("S.", 0, ack))
    s.expect(Seg("R", ack))
    assert s.connection.state is State.SYN_SENT


def test_a_segment_without_syn_opens_nothing():
    s = Script().connect()
    s.send(Seg(".", 0, 1), Seg("P", 0, 0, b"x"))
    s.quiet()
    assert s.connection.state is State.SYN_SENT


def test_data_and_fin_with_the_syn_ack_are_taken():
    s = Script().connect()
    s.send(Seg("SF.", 0, 1, b"hello"))
    s.expect(Seg(".", 1, 7))
    assert s.read() == b"hello"
    assert s.connection.eof_received
    assert s.connection.state is State.CLOSE_WAIT


def test_syns_are_repeated_at_growing_intervals_until_the_time_is_over():
    s = Script().connect()
    sent = s.pass_time(50)
    times = [round(at, 2) for at, _ in sent]
    assert times == [0.25, 0.75, 1.75, 3.75, 7.75, 15.75, 23.75, 31.75, 39.75]
    assert {segment.flags for _, segment in sent} == {"S"}
    assert {segment.seq for _, segment in sent} == {0}
    assert isinstance(s.connection.error, TimeoutError)
    assert s.connection.error.errno == errno.ETIMEDOUT
    assert s.connection.state is State.CLOSED
    assert s.stack.next_timer() is None


def test_the_time_to_connect_is_a_setting():
    s = Script(config={"connect_timeout": 1.0, "syn_retransmit": 0.5}).connect()
    assert [round(at, 2) for at, _ in s.pass_time(5)] == [0.5]
    assert isinstance(s.connection.error, TimeoutError)


def test_closing_while_connecting_sends_nothing():
    s = Script().connect()
    s.connection.close()
    s.quiet()
    assert s.connection.state is State.CLOSED
    assert s.connection.error is None
    assert s.stack.next_timer() is None


def test_aborting_while_connecting_sends_nothing():
    s = Script().connect()
    s.connection.abort()
    s.quiet()
    assert s.connection.state is State.CLOSED


def test_data_queued_while_connecting_follows_the_handshake():
    s = Script().connect()
    s.connection.send(b"early")
    s.connection.send_eof()
    s.quiet()
    s.send(Seg("S.", 0, 1))
    s.expect(Seg("FP.", 1, 1, b"early"))
    assert s.connection.state is State.FIN_WAIT_1


# -- simultaneous open


def test_both_sides_open_at_once():
    s = Script().connect()
    s.send(Seg("S"))
    s.expect(Seg("S.", 0, 1))
    assert s.connection.state is State.SYN_RECEIVED
    s.send(Seg("S.", 0, 1))
    s.expect(Seg(".", 1, 1))
    assert s.connection.state is State.ESTABLISHED


def test_both_sides_that_open_at_once_measure_the_round_trip():
    s = Script(timestamps=True).connect()
    seen, s.echo = s.echo, 0  # a first SYN echoes nothing
    s.send(Seg("S"))
    s.collect()
    s.echo = seen
    s.now += 0.3
    s.clock += 300
    s.send(Seg("S.", 0, 1))
    assert s.connection.info().rtt == pytest.approx(0.3, abs=0.01)


def test_both_sides_open_at_once_and_a_plain_ack_ends_it():
    s = Script().in_state(State.SYN_RECEIVED)
    s.send(Seg(".", 1, 1, b"hi"))
    assert s.connection.state is State.ESTABLISHED
    assert s.read() == b"hi"
    s.expect(Seg(".", 1, 3))


def test_a_simultaneous_open_that_is_reset_was_refused():
    s = Script().in_state(State.SYN_RECEIVED)
    s.send(Seg("R", 1))
    s.quiet()
    assert isinstance(s.connection.error, ConnectionRefusedError)


# -- SYN-RECEIVED


def test_a_passive_open():
    s = Script().syn_received()
    assert s.listener.accept() is None
    s.send(Seg(".", 1, 1))
    s.quiet()
    assert s.stack.take_ready()[0] is s.listener
    connection = s.listener.accept()
    assert connection.state is State.ESTABLISHED
    assert connection.remote == (REMOTE, REMOTE_PORT)
    assert s.listener.accept() is None


def test_data_may_come_with_the_last_step_of_the_handshake():
    s = Script().syn_received()
    s.send(Seg("FP.", 1, 1, b"all of it"))
    s.expect(Seg(".", 1, 11))
    connection = s.listener.accept()
    assert connection.receive() == b"all of it"
    assert connection.state is State.CLOSE_WAIT


def test_a_repeated_syn_is_answered_again():
    s = Script().syn_received()
    s.send(Seg("S"))
    s.expect(Seg("S.", 0, 1))


def test_the_answer_to_a_repeated_syn_echoes_its_timestamp():
    """Else the peer takes the time that it waited before it repeated for a round trip."""
    s = Script(timestamps=True)
    s.clock = 1000
    s.syn_received()
    s.clock = 4000
    s.send(Seg("S"))
    s.expect(Seg("S.", 0, 1))
    assert s.last.options.timestamps[1] == 4000


def test_a_reset_ends_a_half_open_connection_and_nothing_else():
    s = Script().syn_received()
    s.send(Seg("R", 1))
    s.quiet()
    assert s.stack.take_ready() == [] or s.listener.accept() is None
    assert not s.interface.tcp
    s.send(Seg("S"))
    assert [segment.flags for segment in s.collect()] == ["S."]


def test_a_wrong_ack_in_syn_received_is_reset():
    s = Script().syn_received()
    s.send(Seg(".", 1, 2))
    s.expect(Seg("R", 2))
    s.send(Seg(".", 1, 1))
    assert s.listener.accept() is not None


def test_a_syn_ack_does_not_complete_a_passive_open():
    s = Script().syn_received()
    s.send(Seg("S.", 0, 1))
    s.quiet()
    assert s.listener.accept() is None
    s.send(Seg(".", 1, 1))
    assert s.listener.accept() is not None


def test_the_syn_ack_is_repeated_and_then_given_up():
    s = Script(config={"handshake_timeout": 5.0}).syn_received()
    sent = s.pass_time(30)
    assert [round(at, 2) for at, _ in sent] == [0.25, 0.75, 1.75, 3.75]
    assert {segment.flags for _, segment in sent} == {"S."}
    assert not s.interface.tcp
    assert s.listener.accept() is None
    assert s.stack.next_timer() is None


def test_a_closed_listener_resets_its_half_open_connections():
    s = Script().syn_received()
    s.listener.close()
    s.expect(Seg("R.", 1, 1))
    assert not s.interface.tcp
    s.send(Seg("S"))
    s.expect(Seg("R.", -s.own_iss & MASK, 1))


# -- data


@pytest.mark.parametrize("passive", [False, True])
def test_data_both_ways(passive):
    s = Script().established(passive=passive)
    s.connection.send(b"question")
    s.expect(Seg("P.", 1, 1, b"question"))
    s.send(Seg("P.", 1, 9, b"answer"))
    assert s.read() == b"answer"
    s.expect(Seg(".", 9, 7))
    assert s.connection.unacked == 0


def test_sequence_numbers_wrap():
    s = Script().established()
    s.connection.send(bytes(800))
    s.expect(Seg("P.", 1, 1, bytes(800)))
    assert s.last.seq > s.last.seq + 800 & MASK
    s.send(Seg("P.", 1, 801, bytes(900)))
    s.expect(Seg(".", 801, 901))
    assert s.last.ack < REMOTE_ISS
    s.send(Seg("P.", 901, 801, b"after"))
    s.connection.send(b"the wrap")
    s.expect(Seg("P.", 801, 906, b"the wrap"))
    assert s.read() == bytes(900) + b"after"


def test_segments_are_as_large_as_the_peer_allows():
    s = Script(mss=700).established()
    s.connection.send(bytes(1500))
    s.expect(Seg(".", 1, 1, bytes(700)), Seg(".", 701, 1, bytes(700)), Seg("P.", 1401, 1, bytes(100)))


def test_without_an_mss_option_segments_fit_the_smallest_mtu():
    s = Script(mss=None).established()
    s.connection.send(bytes(3000))
    assert [len(segment.payload) for segment in s.collect()] == [1220, 1220, 560]


def test_the_own_mss_is_what_the_mtu_holds():
    s = Script().connect()
    assert s.last.options.mss == 2740


# -- closing: the peer first


def test_the_peer_closes_first():
    s = Script().established()
    s.send(Seg("F.", 1, 1))
    s.expect(Seg(".", 1, 2))
    assert s.connection.state is State.CLOSE_WAIT
    assert s.connection.eof_received
    s.connection.send(b"still here")
    s.expect(Seg("P.", 1, 2, b"still here"))
    s.connection.send_eof()
    s.expect(Seg("F.", 11, 2))
    assert s.connection.state is State.LAST_ACK
    s.send(Seg(".", 2, 12))
    s.quiet()
    assert s.connection.state is State.CLOSED
    assert s.connection.error is None
    assert not s.interface.tcp
    assert s.stack.next_timer() is None


def test_a_fin_with_data():
    s = Script().established()
    s.send(Seg("FP.", 1, 1, b"bye"))
    s.expect(Seg(".", 1, 5))
    assert s.read() == b"bye"
    assert s.connection.eof_received


def test_a_fin_that_comes_before_the_data_waits():
    s = Script().established()
    s.send(Seg("F.", 4, 1))
    s.expect(Seg(".", 1, 1))
    assert not s.connection.eof_received
    s.send(Seg("P.", 1, 1, b"bye"))
    s.expect(Seg(".", 1, 5))
    assert s.read() == b"bye"
    assert s.connection.state is State.CLOSE_WAIT


def test_a_hole_that_closes_is_acknowledged_at_once_also_before_a_fin():
    """RFC 5681 section 4.2; the FIN alone could wait for our own."""
    s = Script(config={"prompt_ack": 0.001}).established()
    s.send(Seg("PF.", 4, 1, b"def"))
    s.expect(Seg(".", 1, 1))
    s.send(Seg(".", 1, 1, b"abc"))
    s.expect(Seg(".", 1, 8))


def test_data_beyond_a_fin_is_not_taken():
    s = Script().established()
    s.send(Seg("F.", 4, 1))
    s.send(Seg("P.", 1, 1, b"bye and more"))
    s.collect()
    assert s.read() == b"bye"
    assert s.connection.state is State.CLOSE_WAIT


def test_a_repeated_fin_is_acknowledged_again():
    s = Script().in_state(State.CLOSE_WAIT)
    s.send(Seg("F.", 1, 1))
    s.expect(Seg(".", 1, 2))


# -- closing: this side first


def test_this_side_closes_first():
    s = Script().established()
    s.connection.send_eof()
    s.expect(Seg("F.", 1, 1))
    assert s.connection.state is State.FIN_WAIT_1
    s.send(Seg(".", 1, 2))
    assert s.connection.state is State.FIN_WAIT_2
    s.send(Seg("P.", 1, 2, b"the rest"))
    assert s.read() == b"the rest"
    s.expect(Seg(".", 2, 9))
    s.send(Seg("F.", 9, 2))
    s.expect(Seg(".", 2, 10))
    assert s.connection.state is State.TIME_WAIT
    assert s.connection.eof_received
    assert s.connection.error is None


def test_a_half_closed_connection_waits_for_ever():
    s = Script().in_state(State.FIN_WAIT_2)
    s.wait(3600)
    s.send(Seg("P.", 1, 2, b"late"))
    assert s.read() == b"late"


def test_a_connection_closed_by_its_user_waits_a_minute_for_the_fin():
    s = Script().established()
    s.connection.close()
    s.expect(Seg("F.", 1, 1))
    s.send(Seg(".", 1, 2))
    s.quiet()
    assert s.connection.state is State.FIN_WAIT_2
    s.wait(59)
    assert s.connection.state is State.FIN_WAIT_2
    s.wait(2)
    assert s.connection.state is State.CLOSED
    assert not s.interface.tcp


def test_the_fin_of_the_peer_may_carry_the_ack_of_ours():
    s = Script().in_state(State.FIN_WAIT_1)
    s.send(Seg("F.", 1, 2))
    s.expect(Seg(".", 2, 2))
    assert s.connection.state is State.TIME_WAIT


def test_both_sides_close_at_once():
    s = Script().in_state(State.FIN_WAIT_1)
    s.send(Seg("F.", 1, 1))
    s.expect(Seg(".", 2, 2))
    assert s.connection.state is State.CLOSING
    s.send(Seg(".", 2, 2))
    s.quiet()
    assert s.connection.state is State.TIME_WAIT


def test_a_fin_is_repeated():
    s = Script().established()
    s.connection.send_eof()
    s.expect(Seg("F.", 1, 1))
    (at, segment), *_ = s.pass_time(3)
    assert segment == Seg("F.", 1, 1, win=segment.win)
    assert 0.2 <= at <= 1.1


def test_a_fin_follows_all_data():
    s = Script(window=1500).established()
    s.connection.send(bytes(2500))
    s.connection.close()
    s.expect(Seg(".", 1, 1, bytes(1000)))
    assert s.connection.state is State.FIN_WAIT_1
    s.send(Seg(".", 1, 1001))
    s.expect(Seg(".", 1001, 1, bytes(1000)), Seg("P.", 2001, 1, bytes(500)))
    s.send(Seg(".", 1, 2501))
    s.expect(Seg("F.", 2501, 1))


@pytest.mark.parametrize("state", SYNCHRONIZED)
def test_eof_again_changes_nothing(state):
    s = Script().in_state(state)
    s.connection.send_eof()
    s.connection.send_eof()
    first = s.collect()
    s.connection.send_eof()
    assert s.collect() == []
    assert len(first) <= 1


@pytest.mark.parametrize(
    "state", [State.FIN_WAIT_1, State.FIN_WAIT_2, State.CLOSING, State.LAST_ACK, State.TIME_WAIT]
)
def test_nothing_can_be_sent_after_eof(state):
    s = Script().in_state(state)
    with pytest.raises(BrokenPipeError):
        s.connection.send(b"more")


# -- close() and abort()


def test_close_with_unread_data_resets():
    s = Script().established()
    s.send(Seg("P.", 1, 1, b"unread"))
    s.collect()
    s.connection.close()
    s.expect(Seg("R.", 1, 7))
    assert s.connection.state is State.CLOSED
    assert not s.interface.tcp


def test_data_after_close_resets():
    s = Script().established()
    s.connection.close()
    s.expect(Seg("F.", 1, 1))
    s.send(Seg(".", 1, 2))
    s.send(Seg("P.", 1, 2, b"for nobody"))
    assert [segment.flags for segment in s.collect()] == ["R."]
    assert s.connection.state is State.CLOSED


def test_close_sends_what_is_queued():
    s = Script().established()
    s.connection.send(b"last words")
    s.connection.close()
    s.expect(Seg("FP.", 1, 1, b"last words"))


@pytest.mark.parametrize("state", SYNCHRONIZED)
def test_abort_resets(state):
    s = Script().in_state(state)
    s.connection.send(b"lost") if state is State.ESTABLISHED else None
    s.connection.abort()
    s.expect(Seg("R.", own_next(state), remote_next(state)))
    assert s.connection.state is State.CLOSED
    assert s.connection.error is None
    assert not s.interface.tcp
    assert s.stack.next_timer() is None
    s.connection.abort()
    s.quiet()


def test_abort_in_time_wait_changes_nothing():
    s = Script().in_state(State.TIME_WAIT)
    s.connection.abort()
    s.quiet()
    assert s.interface.tcp


# -- RST, SYN and bad acknowledgements (RFC 5961)


@pytest.mark.parametrize("state", SYNCHRONIZED)
def test_an_exact_reset_ends_the_connection(state):
    s = Script().in_state(state)
    s.send(Seg("R", remote_next(state)))
    s.quiet()
    assert s.connection.state is State.CLOSED
    if state in (State.CLOSING, State.LAST_ACK):
        assert s.connection.error is None
    else:
        assert isinstance(s.connection.error, ConnectionResetError)
    assert s.stack.take_ready() == [s.connection]
    assert not s.interface.tcp
    assert s.stack.next_timer() is None


@pytest.mark.parametrize("window", [0, 60_000])
@pytest.mark.parametrize("acked", [1, 4])
def test_a_reset_that_loses_data_is_told_even_when_both_sides_have_closed(window, acked):
    s = Script(window=window).in_state(State.CLOSE_WAIT)
    s.connection.send(b"lost")
    s.connection.send_eof()
    s.collect()
    assert s.connection.state is State.LAST_ACK
    if window:
        s.send(Seg(".", 2, acked))
    s.send(Seg("R", 2))
    assert isinstance(s.connection.error, ConnectionResetError)


def test_a_reset_that_loses_nothing_ends_what_both_sides_have_closed():
    s = Script().in_state(State.CLOSE_WAIT)
    s.connection.send(b"safe")
    s.connection.send_eof()
    s.collect()
    s.send(Seg(".", 2, 5))
    s.send(Seg("R", 2))
    assert s.connection.state is State.CLOSED
    assert s.connection.error is None


@pytest.mark.parametrize("state", SYNCHRONIZED)
def test_a_reset_elsewhere_in_the_window_is_challenged(state):
    s = Script().in_state(state)
    s.send(Seg("R", remote_next(state) + 5))
    s.expect(Seg(".", own_next(state), remote_next(state)))
    assert s.connection.state is state


@pytest.mark.parametrize("state", SYNCHRONIZED)
def test_a_reset_outside_the_window_is_dropped(state):
    s = Script().in_state(state)
    s.send(Seg("R", remote_next(state) - 5), Seg("R", remote_next(state) + 10_000_000))
    s.quiet()
    assert s.connection.state is state


@pytest.mark.parametrize("state", SYNCHRONIZED)
@pytest.mark.parametrize("offset", [-100, 0, 5])
def test_a_syn_is_challenged(state, offset):
    s = Script().in_state(state)
    s.send(Seg("S", remote_next(state) + offset))
    s.expect(Seg(".", own_next(state), remote_next(state)))
    assert s.connection.state is state


@pytest.mark.parametrize("state", SYNCHRONIZED)
@pytest.mark.parametrize("ack", [5, 60_000, -70_000])
def test_an_ack_far_from_what_was_sent_is_challenged(state, ack):
    s = Script().in_state(state)
    s.send(Seg(".", remote_next(state), ack + own_next(state)))
    s.expect(Seg(".", own_next(state), remote_next(state)))
    assert s.connection.state is state


@pytest.mark.parametrize("state", SYNCHRONIZED)
def test_a_segment_without_ack_is_dropped(state):
    s = Script().in_state(state)
    s.send(Seg("P", remote_next(state), payload=b"x"))
    s.quiet()
    assert s.read() == b""


@pytest.mark.parametrize("state", SYNCHRONIZED)
def test_a_segment_outside_the_window_is_answered_and_dropped(state):
    s = Script().in_state(state)
    s.send(Seg("P.", remote_next(state) + 5_000_000, own_next(state), b"x"))
    s.expect(Seg(".", own_next(state), remote_next(state)))
    s.send(Seg(".", remote_next(state) - 1, own_next(state)))  # what a keep-alive looks like
    assert [segment.flags for segment in s.collect()] == ["."]
    assert s.read() == b""


@pytest.mark.parametrize(
    "segment", [Seg("S", 5), Seg("R", 5), Seg("P.", 5_000_000, 1, b"x"), Seg(".", -9, 1)]
)
def test_what_does_not_fit_a_half_open_connection_is_challenged(segment):
    """So a client that lost its memory and begins anew learns that this side remembers."""
    s = Script().syn_received()
    s.send(segment)
    s.expect(Seg(".", 1, 1))
    s.send(Seg(".", 1, 1))
    assert s.listener.accept().state is State.ESTABLISHED


def test_challenges_are_limited():
    s = Script().established()
    answered = 0
    for _ in range(50):
        s.send(Seg("R", 6))
        answered += len(s.collect())
    assert answered == 10
    assert s.stack.counters["tcp challenge limit"] == 40
    s.now += 5
    s.send(Seg("R", 6))
    s.expect(Seg(".", 1, 1))


def test_urgent_data_is_ordinary_data():
    s = Script().established()
    s.send(Seg("PU.", 1, 1, b"now!"))
    s.expect(Seg(".", 1, 5))
    assert s.read() == b"now!"
