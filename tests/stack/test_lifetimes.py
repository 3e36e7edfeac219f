"""TIME-WAIT, keep-alive, lingering, and listeners under load."""

import errno
from itertools import pairwise

import pytest

from tests.stack.script import MASK, OWN, REMOTE, REMOTE_PORT, Script, Seg
from zt_async.stack.tcp.options import TcpOptions
from zt_async.stack.tcp.state import State

# -- TIME-WAIT


def test_time_wait_ends_after_two_lifetimes():
    s = Script().in_state(State.TIME_WAIT)
    assert len(s.interface.tcp) == 1
    s.wait(119.9)
    assert len(s.interface.tcp) == 1
    s.wait(0.2)
    assert not s.interface.tcp
    assert s.stack.next_timer() is None


def test_its_length_is_a_setting():
    s = Script(config={"time_wait": 1.0}).in_state(State.TIME_WAIT)
    s.wait(1.01)
    assert not s.interface.tcp


def test_a_repeated_fin_is_acknowledged_and_starts_the_wait_anew():
    s = Script().in_state(State.TIME_WAIT)
    s.wait(100)
    s.send(Seg("F.", 1, 2))
    s.expect(Seg(".", 2, 2))
    s.wait(100)
    assert s.interface.tcp
    s.wait(21)
    assert not s.interface.tcp


def test_an_ordinary_acknowledgement_is_not_answered_in_time_wait():
    s = Script().in_state(State.TIME_WAIT)
    s.send(Seg(".", 2, 2))
    s.quiet()


def test_data_in_time_wait_is_answered_and_dropped():
    s = Script().in_state(State.TIME_WAIT)
    s.send(Seg("P.", 2, 2, b"late"))
    s.expect(Seg(".", 2, 2))


def test_a_reset_does_not_end_time_wait():
    """RFC 1337."""
    s = Script().in_state(State.TIME_WAIT)
    s.send(Seg("R", 2))
    s.quiet()
    assert s.interface.tcp


@pytest.mark.parametrize("timestamps", [False, True])
def test_a_newer_syn_opens_a_connection_from_time_wait(timestamps):
    """RFC 6191."""
    s = Script(timestamps=timestamps)
    s.clock = 1000
    s.in_state(State.TIME_WAIT)
    s.stack.listen_tcp((OWN, 4321), now=s.now)
    old = s.own_iss
    if timestamps:
        s.clock = 1001
        s.send(Seg("S", -5000))  # a lower sequence number, but later
    else:
        s.send(Seg("S", 3))
    (answer,) = s.collect()
    assert answer.flags == "S."
    assert (s.own_iss - old & MASK) > 0x8000  # beyond all that was used
    assert len(s.interface.tcp) == 1


@pytest.mark.parametrize("timestamps", [False, True])
def test_an_older_syn_is_only_acknowledged(timestamps):
    s = Script(timestamps=timestamps)
    s.clock = 1000
    s.in_state(State.TIME_WAIT)
    s.stack.listen_tcp((OWN, 4321), now=s.now)
    if timestamps:
        s.clock = 999
    s.send(Seg("S", 5000 if timestamps else 1))
    s.expect(Seg(".", 2, 2))


def test_a_connection_from_time_wait_knows_the_mtu_of_today():
    s = Script().in_state(State.TIME_WAIT)
    s.interface.set_mtu(1400, s.now)
    s.stack.listen_tcp(("::", s.own_port), now=s.now)
    s.send(Seg("S", 10))
    assert [segment.flags for segment in s.collect()] == ["S."]
    assert s.last.options.mss == 1340


def test_a_newer_syn_for_nobody_is_reset():
    s = Script().in_state(State.TIME_WAIT)
    s.send(Seg("S", 3))
    assert [segment.flags for segment in s.collect()] == ["R."]


def test_an_own_connect_takes_over_a_port_in_time_wait_after_a_second():
    s = Script(timestamps=True).in_state(State.TIME_WAIT)
    with pytest.raises(OSError, match="in use") as caught:
        s.stack.connect_tcp((REMOTE, REMOTE_PORT), local=(OWN, 4321), now=s.now)
    assert caught.value.errno == errno.EADDRINUSE
    s.now += 1
    old = s.own_iss
    again = s.stack.connect_tcp((REMOTE, REMOTE_PORT), local=(OWN, 4321), now=s.now)
    assert again.state is State.SYN_SENT
    (syn,) = s.collect()
    assert syn.flags == "S"
    assert 0x8000 < (s.own_iss - old & MASK) < 0x80000000


def test_time_waits_are_bounded():
    s = Script(config={"max_time_wait": 3}, own_iss=0)
    for _ in range(10):
        s.connection = s.stack.connect_tcp((REMOTE, REMOTE_PORT), now=s.now)
        s.collect()
        s.send(Seg("S.", 0, 1))
        s.connection.send_eof()
        s.collect()
        s.send(Seg("F.", 1, 2))
        s.collect()
        assert s.connection.state is State.TIME_WAIT
    assert len(s.interface.tcp) == 3
    assert s.stack.counters["tcp time-wait dropped"] == 7
    s.pass_time(200)
    assert not s.interface.tcp


def test_a_segment_with_a_bad_checksum_is_no_news_in_time_wait():
    s = Script().in_state(State.TIME_WAIT)
    packet = bytearray(s.packet(Seg("F.", 1, 2)))
    packet[-4] ^= 1
    s.send_packets(bytes(packet))
    s.quiet()
    assert s.stack.counters["tcp checksum"] == 1


# -- keep-alive


KEEPALIVE = TcpOptions(keepalive=True, keepalive_idle=10.0, keepalive_interval=2.0, keepalive_count=3)


def test_a_silent_peer_is_probed_and_then_given_up():
    s = Script().established(options=KEEPALIVE)
    sent = s.pass_time(60)
    assert [round(at, 3) for at, _ in sent] == [10, 12, 14]
    assert {segment for _, segment in sent} == {Seg(".", 0, 1, win=sent[0][1].win)}
    assert isinstance(s.connection.error, TimeoutError)
    assert s.stack.next_timer() is None


def test_an_answer_to_a_probe_shows_life():
    s = Script().established(options=KEEPALIVE)
    for _ in range(5):
        ((at, _),) = s.pass_time(11)
        assert at == pytest.approx(10)
        s.now -= 1
        s.send(Seg(".", 1, 1))
    assert s.connection.state is State.ESTABLISHED


def test_a_connection_in_use_is_not_probed():
    s = Script().established(options=KEEPALIVE)
    for i in range(20):
        s.wait(9)
        s.send(Seg("P.", 1 + i, 1, b"x"))
        s.collect()
        s.pass_time(0.05)


def test_keepalive_is_off_by_default_and_can_be_turned_on():
    s = Script().established()
    s.wait(100_000)
    s.connection.options = KEEPALIVE
    s.send(Seg("P.", 1, 1, b"x"))
    s.collect()
    assert [round(at) for at, _ in s.pass_time(11)] == [10]
    s.connection.options = TcpOptions()
    s.wait(1000)


def test_keepalive_works_on_both_sides():
    """A probe looks like this to the peer, which answers it."""
    s = Script().established()
    s.send(Seg(".", 0, 1))
    s.expect(Seg(".", 1, 1))


# -- lingering


def test_close_with_linger_zero_resets():
    s = Script().established(options=TcpOptions(linger=0))
    s.connection.send(b"lost")
    s.connection.close()
    assert [segment.flags for segment in s.collect()] == ["R."]


def test_close_with_linger_resets_when_the_time_is_over():
    s = Script().established(options=TcpOptions(linger=5.0))
    s.connection.send(b"never acknowledged")
    s.connection.close()
    s.collect()
    sent = s.pass_time(10)
    assert sent[-1][1].flags == "R."
    assert sent[-1][0] == pytest.approx(5)
    assert s.connection.state is State.CLOSED
    assert s.stack.next_timer() is None


def test_lingering_ends_when_all_was_taken():
    s = Script().established(options=TcpOptions(linger=5.0))
    s.connection.close()
    s.collect()
    s.pass_time(0.1)
    s.send(Seg(".", 1, 2))
    s.wait(30)
    assert s.connection.state is State.FIN_WAIT_2
    s.send(Seg("F.", 1, 2))
    s.expect(Seg(".", 2, 2))


def test_options_are_checked():
    for bad in (
        {"keepalive_idle": 0},
        {"user_timeout": -1},
        {"linger": -1.0},
        {"receive_buffer": 10},
        {"hop_limit": 300},
        {"traffic_class": 256},
    ):
        with pytest.raises(ValueError):
            TcpOptions(**bad)


# -- listeners


def from_port(s: Script, port: int, segment: Seg) -> bytes:
    """The packet of a segment from another port of the remote."""
    packet = bytearray(s.packet(segment))
    packet[40:42] = port.to_bytes(2, "big")
    check = int.from_bytes(packet[56:58], "big") ^ 0xFFFF  # RFC 1624
    packet[56:58] = ((check - REMOTE_PORT + port) % 0xFFFF ^ 0xFFFF).to_bytes(2, "big")
    return bytes(packet)


def test_half_open_connections_are_bounded_and_the_oldest_makes_room():
    s = Script(own_iss=0).listen(backlog=4)
    for port in range(1000, 1100):
        s.send_packets(from_port(s, port, Seg("S")))
        s.collect()
    assert len(s.interface.tcp) == 4
    assert s.stack.counters["tcp half-open dropped"] == 96
    assert {connection.remote[1] for connection in s.interface.tcp.values()} == {1096, 1097, 1098, 1099}
    s.pass_time(30)
    assert not s.interface.tcp
    assert s.stack.next_timer() is None


def test_no_more_connections_than_the_backlog_wait_for_accept():
    s = Script().listen(backlog=1)
    s.send(Seg("S"))
    s.collect()
    s.send(Seg(".", 1, 1))
    s.collect()
    s.send_packets(from_port(s, 5000, Seg("S")))
    s.quiet()  # dropped, not refused: the peer will try again
    assert s.stack.counters["tcp accept queue full"] == 1
    assert s.listener.accept() is not None
    s.send_packets(from_port(s, 5000, Seg("S")))
    assert [segment.flags for segment in s.collect()] == ["S."]


def test_a_handshake_that_finds_the_queue_full_is_completed_later():
    s = Script().listen(backlog=2)
    ports = (5000, 5001, 5002)
    isses = {}
    for port in ports[:2]:
        s.send_packets(from_port(s, port, Seg("S")))
        s.collect()
        isses[port] = s.own_iss
    for port in ports[:2]:
        s.own_iss = isses[port]
        if port == 5001:  # meanwhile two others were quicker
            s.listener.backlog = 1
        s.send_packets(from_port(s, port, Seg(".", 1, 1)))
        s.quiet()
    assert s.stack.counters["tcp accept queue full"] == 1
    assert s.listener.accept().remote[1] == 5000
    assert s.listener.accept() is None
    s.send_packets(from_port(s, 5001, Seg("P.", 1, 1, b"hi")))
    assert s.listener.accept().remote[1] == 5001


def test_a_connection_reset_before_accept_is_accepted_with_its_error():
    s = Script().syn_received()
    s.send(Seg(".", 1, 1, b"hello"))
    s.collect()
    s.send(Seg("R", 6))
    connection = s.listener.accept()
    assert isinstance(connection.error, ConnectionResetError)
    assert connection.receive() == b"hello"


def test_closing_a_listener_resets_what_was_not_accepted_and_keeps_what_was():
    s = Script().established(passive=True)
    s.listener.close()
    s.listener.close()
    s.quiet()
    s.send(Seg("P.", 1, 1, b"still works"))
    assert s.read() == b"still works"


def test_two_listeners_of_one_port():
    s = Script(own_iss=0).listen()
    with pytest.raises(OSError, match="in use") as caught:
        s.stack.listen_tcp((OWN, 7000), now=s.now)
    assert caught.value.errno == errno.EADDRINUSE
    s.stack.listen_tcp(("::", 7001), now=s.now)
    s.listener.close()
    s.stack.listen_tcp((OWN, 7000), now=s.now)


def test_listeners_that_share_a_port_share_the_connections():
    s = Script(own_iss=0)
    listeners = [s.stack.listen_tcp(("::", 7000), reuse_port=True, now=s.now) for _ in range(2)]
    s.own_port = 7000
    for port in range(1000, 1040):
        s.send_packets(from_port(s, port, Seg("S")))
        s.collect()
        s.send_packets(from_port(s, port, Seg(".", 1, 1)))
    counts = []
    for listener in listeners:
        count = 0
        while listener.accept():
            count += 1
        counts.append(count)
    assert sum(counts) == 40
    assert min(counts) > 5


def test_a_listener_at_an_address_is_preferred():
    s = Script(own_iss=0)
    anywhere = s.stack.listen_tcp(("::", 7000), reuse_port=True, now=s.now)
    here = s.stack.listen_tcp((OWN, 7000), reuse_port=True, now=s.now)
    s.own_port = 7000
    s.send(Seg("S"))
    s.collect()
    s.send(Seg(".", 1, 1))
    assert here.accept() is not None
    assert anywhere.accept() is None


def test_port_zero_is_any_port():
    s = Script()
    ports = {s.stack.listen_tcp(("::", 0), now=s.now).local[1] for _ in range(50)}
    assert len(ports) == 50
    assert min(ports) >= 32768


@pytest.mark.parametrize(
    ("local", "error"),
    [
        (("fd00::99", 1), OSError),
        (("10.0.0.1", 1), OSError),
        (("nonsense", 1), ValueError),
        (("::", 70000), ValueError),
        (("fe80::1%eth0", 1), ValueError),
    ],
)
def test_where_nobody_can_listen(local, error):
    s = Script()
    with pytest.raises(error):
        s.stack.listen_tcp(local, now=s.now)


def test_connection_numbers_differ_between_ports_and_rise_with_time():
    """RFC 6528."""
    s = Script(own_iss=0)
    seen = []
    for port in (1, 2, 3):
        s.stack.connect_tcp((REMOTE, port), local=(OWN, 5000), now=s.now)
        s.collect()
        seen.append(s.own_iss)
    assert len({number >> 16 for number in seen}) > 1


def test_ephemeral_ports_are_not_sequential():
    s = Script()
    ports = [s.stack.connect_tcp((REMOTE, REMOTE_PORT), now=s.now).local[1] for _ in range(20)]
    assert len(set(ports)) == 20
    assert ports != sorted(ports)
    for earlier, later in pairwise(ports):
        assert abs(later - earlier) > 1


def test_no_ephemeral_port_is_left():
    s = Script(config={"ephemeral_ports": (50000, 50003)})
    for _ in range(4):
        s.stack.connect_tcp((REMOTE, REMOTE_PORT), now=s.now)
    with pytest.raises(OSError, match="assign") as caught:
        s.stack.connect_tcp((REMOTE, REMOTE_PORT), now=s.now)
    assert caught.value.errno == errno.EADDRNOTAVAIL
    s.stack.connect_tcp((REMOTE, REMOTE_PORT + 1), now=s.now)
