"""Whole transfers over wires that lose, repeat, reorder, damage and delay; seeded, and checked to the last byte."""

import errno
import random

import pytest

from tests.stack.network import PORT, Host, Network, Transfer, Wire
from zt_async.config import StackConfig
from zt_async.stack.tcp.connection import TcpConnection
from zt_async.stack.tcp.options import TcpOptions
from zt_async.stack.tcp.state import State

WIRES = {
    "clean": {},
    "loss": {"loss": 0.1},
    "heavy-loss": {"loss": 0.25, "delay": 0.03},
    "reordering": {"jitter": 0.03},
    "duplication": {"duplication": 0.3},
    "corruption": {"corruption": 0.05},
    "everything": {"loss": 0.05, "jitter": 0.02, "duplication": 0.1, "corruption": 0.02},
    "slow": {"rate": 1e6, "queue": 60_000, "delay": 0.02},
    "slow-and-lossy": {"rate": 5e5, "queue": 100_000, "loss": 0.01, "delay": 0.1},
    "far": {"delay": 0.3},
    "near": {"delay": 0.00005},
}


def both_ways(network: Network, a: Host, b: Host, size: int, **kwargs) -> float:
    """Random data in both directions at once; how long it took. In the end nothing is left."""
    near, far = network.connect(a, b, **kwargs)
    rng = random.Random(network.seed)
    there, back = rng.randbytes(size), rng.randbytes(size // 2)
    first, second = Transfer(near, far, there, rng.choice((1000, 65536))), Transfer(far, near, back)
    begin = network.now
    assert network.run(lambda: first() & second(), 3000), (near.info(), far.info())
    took = network.now - begin
    assert first.received == there
    assert second.received == back
    check_clean(network, near, far)
    return took


def check_clean(network: Network, *connections: TcpConnection) -> None:
    """Both ends come to rest by themselves, and hold nothing: no timer, buffer or table entry."""
    network.settle()
    for connection in connections:
        assert connection.state in (State.CLOSED, State.TIME_WAIT)
        assert connection.error is None
        info = connection.info()
        assert (info.in_flight, info.unsent, info.unread) == (0, 0, 0)
    for host in network.hosts:
        assert not host.interface.tcp
        assert host.stack.next_timer() is None


@pytest.mark.parametrize("control", ["cubic", "newreno"])
@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("wire", WIRES)
def test_everything_arrives(wire, seed, control):
    network = Network(seed)
    a = network.add_host(Wire(**WIRES[wire]), congestion_control=control)
    b = network.add_host(Wire(**WIRES[wire]), congestion_control=control)
    both_ways(network, a, b, 200_000)


@pytest.mark.parametrize("mtu", [1280, 1500, 10_000])
def test_everything_arrives_with_any_mtu(mtu):
    network = Network(3)
    a, b = (network.add_host(Wire(loss=0.02), mtu=mtu) for _ in range(2))
    both_ways(network, a, b, 200_000)


def test_everything_arrives_through_a_small_window():
    network = Network(4)
    a, b = (network.add_host(Wire(loss=0.02)) for _ in range(2))
    both_ways(network, a, b, 100_000, options=TcpOptions(receive_buffer=4000))


def test_everything_arrives_with_nagle_and_small_writes():
    network = Network(5)
    a, b = (network.add_host(Wire(loss=0.02)) for _ in range(2))
    near, far = network.connect(a, b, options=TcpOptions(nodelay=False))
    data = random.Random(5).randbytes(20_000)
    transfer = Transfer(near, far, data, chunk=13)
    assert network.run(transfer, 600)
    assert transfer.received == data
    assert a.wire.sent < 100


def test_a_run_is_the_same_every_time_for_its_seed():
    times = []
    for _ in range(2):
        network = Network(42)
        a, b = (network.add_host(Wire(loss=0.1, jitter=0.01, duplication=0.05)) for _ in range(2))
        times.append((both_ways(network, a, b, 100_000), a.wire.sent, b.wire.sent))
    assert times[0] == times[1]


def test_many_connections_share_a_wire_fairly():
    network = Network(6)
    a, b = (network.add_host(Wire(rate=5e6, queue=150_000, delay=0.02)) for _ in range(2))
    listener = b.stack.listen_tcp(("::", PORT), now=network.now)
    pairs = [network.connect(a, b, listener) for _ in range(4)]
    transfers = [Transfer(near, far, bytes(20_000_000)) for near, far in pairs]
    network.run(lambda: [transfer() for transfer in transfers] and False, 8)
    rates = [len(transfer.received) / 8 for transfer in transfers]
    assert sum(rates) > 0.8 * 5e6
    assert max(rates) < 4 * min(rates)


# -- how long it takes, on a clock that is exact


def goodput(size: int, seed: int = 7, config: dict | None = None, **wire) -> float:
    """Bytes a second of one transfer, in the simulation's time."""
    network = Network(seed)
    a, b = (network.add_host(Wire(**wire), **(config or {})) for _ in range(2))
    near, far = network.connect(a, b)
    transfer = Transfer(near, far, bytes(size))
    begin = network.now
    assert network.run(transfer, 600)
    return size / (network.now - begin)


def test_a_long_fat_path_is_filled():
    """20 MB/s and 100 ms: two megabytes in flight, beyond any fixed small window."""
    assert goodput(30_000_000, delay=0.05, rate=20e6, queue=4_000_000) > 0.6 * 20e6


def test_a_shallow_queue_is_not_overrun_for_long():
    assert goodput(10_000_000, delay=0.02, rate=5e6, queue=50_000) > 0.75 * 5e6


def test_random_loss_is_survived_at_speed():
    assert goodput(3_000_000, delay=0.01, rate=20e6, loss=0.001) > 3e6


def test_newreno_and_cubic_on_a_long_path():
    slow = goodput(10_000_000, config={"congestion_control": "newreno"}, delay=0.05, rate=10e6, queue=200_000)
    fast = goodput(10_000_000, delay=0.05, rate=10e6, queue=200_000)
    assert fast > slow


def lose(*numbers: int):
    """Lose the frames of a wire with these numbers."""
    return lambda number, frame: number in numbers


def completion(data: bytes, drop, delay: float = 0.01) -> tuple[float, TcpConnection]:
    """How long a transfer takes until all is acknowledged, when some frames are lost."""
    network = Network(8)
    a, b = network.add_host(Wire(delay=delay)), network.add_host(Wire(delay=delay))
    near, far = network.connect(a, b)
    network.run(limit=1)
    base = a.wire.sent
    a.wire.drop = lambda number, frame: drop(number - base, frame)
    begin = network.now
    near.send(data)

    def acknowledged() -> bool:
        far.receive()
        return near.unacked == 0 and near.unsent == 0 and near.info().bytes_acked >= len(data)

    assert network.run(acknowledged, 60)
    return network.now - begin, near


def test_a_lost_segment_in_the_middle_costs_about_a_round_trip():
    took, near = completion(bytes(20_000), lose(3))
    assert took < 0.06
    assert near.info().timeouts == 0


def test_a_lost_tail_costs_no_timeout():
    took, near = completion(bytes(20_000), lose(8))
    assert took < 0.2
    assert near.info().retransmits == 1


def test_a_lost_lone_segment_costs_less_than_a_timeout():
    took, _ = completion(b"x" * 100, lose(1))
    assert took < 0.15 + StackConfig().prompt_ack


@pytest.mark.parametrize("timestamps", [True, False])
def test_a_path_that_gets_longer_is_learned(timestamps):
    """At first each tail is taken for lost and repeated before its acknowledgement can be here."""
    network = Network(3)
    there, back = Wire(delay=0.01), Wire(delay=0.01)
    near, far = network.connect(network.add_host(there), network.add_host(back))
    for connection in (near, far):
        if not timestamps:
            connection.sender.timestamps = False
            connection.echo = None
            connection.fit_path()
            connection.predict()

    def arrived() -> bool:
        far.receive()
        return near.unacked + near.unsent == 0

    def exchange(times: int) -> None:
        for _ in range(times):
            near.send(bytes(20_000))
            assert network.run(arrived, 60)

    exchange(10)
    before = near.info().retransmits
    there.delay = back.delay = 0.15
    exchange(20)
    assert near.info().rtt == pytest.approx(0.3, rel=0.1)
    assert near.info().retransmits - before < 10


def test_a_whole_flight_may_be_lost():
    took, near = completion(bytes(27_000), lambda number, frame: number <= 10)
    assert took < 0.4
    assert near.info().retransmits < 14


@pytest.mark.parametrize("lost", range(1, 6))
def test_a_first_connect_outruns_a_path_that_forms(lost):
    """The first frames are lost while the overlay finds a way."""
    network = Network(9)
    a, b = network.add_host(Wire(drop=lambda number, frame: network.now < 1000.2)), network.add_host()
    network.connect(a, b)
    assert network.now < 1000.5


def test_a_peer_that_vanishes_is_noticed():
    network = Network(10)
    a, b = network.add_host(user_timeout=60.0), network.add_host()
    near, _ = network.connect(a, b)
    near.send(b"hello?")
    a.wire.loss = 1.0
    begin = network.now
    assert network.run(lambda: near.error is not None, 100)
    assert near.error.errno in (errno.ETIMEDOUT, errno.EHOSTUNREACH)
    assert network.now - begin == pytest.approx(60, abs=1)


def test_a_peer_that_restarts_can_use_the_same_ports_again():
    """RFC 9293 section 3.5.1: the old half of the connection is found out and reset."""
    network = Network(16)
    a, b = network.add_host(), network.add_host()
    listener = a.stack.listen_tcp(("::", PORT), now=network.now)
    _, old = network.connect(b, a, listener, local=("fd00::2", 5000))
    network.hosts.pop()
    network.seed += 1
    b = network.add_host()
    near, far = network.connect(b, a, listener, local=("fd00::2", 5000))
    assert isinstance(old.error, ConnectionResetError)
    near.send(b"again")
    assert network.run(lambda: far.receive() == b"again", 5)


def test_a_pause_of_the_wire_is_survived():
    network = Network(11)
    a, b = network.add_host(), network.add_host()
    near, far = network.connect(a, b)
    transfer = Transfer(near, far, bytes(3_000_000))
    network.run(lambda: transfer() or len(transfer.received) > 1_000_000, 60)
    a.wire.loss = b.wire.loss = 1.0
    network.run(lambda: transfer() and False, 5)
    a.wire.loss = b.wire.loss = 0.0
    healed = network.now
    assert network.run(transfer, 60)
    assert network.now - healed < 8
    assert bytes(transfer.received) == bytes(3_000_000)


def test_pacing_spreads_a_window_over_the_round_trip():
    def longest_burst(pacing: bool) -> int:
        network = Network(12)
        a, b = (network.add_host(Wire(delay=0.05), pacing=pacing) for _ in range(2))
        near, far = network.connect(a, b)
        transfer = Transfer(near, far, bytes(5_000_000))
        bursts: dict[float, int] = {}
        a.wire.drop = lambda number, frame: (
            bursts.update({network.now: bursts.get(network.now, 0) + 1}) or False
        )
        assert network.run(transfer, 60)
        return max(bursts.values())

    assert longest_burst(True) <= 40
    assert longest_burst(False) > 80


def test_connections_with_much_to_send_take_turns():
    network = Network(15)
    a, b = (network.add_host(Wire(delay=0.0005)) for _ in range(2))
    listener = b.stack.listen_tcp(("::", PORT), now=network.now)
    pairs = [network.connect(a, b, listener) for _ in range(2)]
    for near, _ in pairs:
        near.send(bytes(5_000_000))

    def arrived() -> bool:
        for _, far in pairs:
            far.receive()
        return not any(near.unsent + near.unacked for near, _ in pairs)

    assert network.run(arrived, 60)
    for near, _ in pairs:
        assert near.info().congestion_window > 200 * 2728
        near.send(bytes(2_000_000))
    flights = []
    for _ in range(2):
        flights.append(sum(len(frames) for _, frames in a.stack.frames_to_send(network.now)))
        assert a.stack.next_timer() <= network.now
        a.stack.handle_timer(network.now)
    assert flights == [2 * 64] * 2


def test_a_reader_that_stops_stops_the_sender():
    network = Network(13)
    a, b = network.add_host(Wire(delay=0.001)), network.add_host(Wire(delay=0.001))
    near, far = network.connect(a, b)
    near.send(bytes(5_000_000))
    network.run(limit=20)
    assert far.info().unread <= 256 << 10
    assert near.unsent > 4_000_000
    total = 0

    def read() -> bool:
        nonlocal total
        total += len(far.receive())
        return total == 5_000_000

    assert network.run(read, 60)


def test_a_congestion_window_grows_only_as_far_as_it_is_used():
    network = Network(17)
    a, b = (network.add_host(Wire(delay=0.02)) for _ in range(2))
    windows = []
    for limit in (500_000, None):
        far, near = network.connect(b, a, options=TcpOptions(receive_buffer=limit))
        assert network.run(Transfer(near, far, bytes(20_000_000)), 600)
        windows.append(near.info().congestion_window)
    assert windows[0] <= 3 * 500_000
    assert windows[1] > 3 * 500_000


def test_send_target_grows_with_the_path_up_to_its_limit():
    network = Network(14)
    a, b = (network.add_host(Wire(delay=0.02)) for _ in range(2))
    near, far = network.connect(a, b, options=TcpOptions(send_buffer=1_000_000))
    assert near.send_target == 1 << 16
    transfer = Transfer(near, far, bytes(5_000_000))
    assert network.run(transfer, 60)
    assert near.send_target == 1_000_000
