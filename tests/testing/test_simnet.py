import itertools
import os
import random
import subprocess
import sys

import pytest

from tests.testing.cores import Echo, Gossip, Recorder, Transfer
from zt_async.testing import Link, SimNet
from zt_async.types import Endpoint

ROUGH = Link(loss=0.1, delay=0.040, jitter=0.010, reorder=0.05, duplicate=0.02)


def pair(net, a_core=None, b_core=None, **host_settings):
    a, b = net.add_host("a", **host_settings), net.add_host("b", **host_settings)
    cores = a_core or Recorder(), b_core or Recorder()
    net.attach(cores[0], a)
    net.attach(cores[1], b)
    return a, b, *cores


def gossip(seed, hosts=20, seconds=1.0):
    net = SimNet(seed, link=ROUGH, trace=True)
    machines = [net.add_host() for _ in range(hosts)]
    ends = [machine.sockets[0] for machine in machines]
    for i, machine in enumerate(machines):
        net.attach(Gossip(net.context(machine.name), [end for end in ends if end != ends[i]]), machine)
    net.run_for(seconds)
    return net


def test_a_flight_arrives_as_one_batch_with_its_socket_and_remote():
    net = SimNet(1, link=Link(delay=0.5))
    a, b, core_a, core_b = pair(net, ports=(9993, 30000))
    core_a.say(b.sockets[1], b"one", b"two", socket=1)
    assert net.run_until(lambda: core_b.received, timeout=1) == 0.5
    assert core_b.batches == [(0.5, 1, a.sockets[1], [b"one", b"two"])]
    assert (a.sent, a.received, b.sent, b.received) == (2, 0, 0, 2)
    assert net.counts == {"sent": 2, "delivered": 2}


def test_hosts_get_addresses_in_subnets_of_their_own():
    net = SimNet(1)
    addresses = [net.add_host().addresses[0] for _ in range(600)]
    assert len({address.rpartition(".")[0] for address in addresses}) == 600


def test_hosts_with_several_addresses_of_both_families():
    net = SimNet(1)
    a = net.add_host("a", ["10.0.0.1", "FD00:0::1"], ports=(9993, 9994))
    assert list(a.sockets.items()) == [
        (0, Endpoint("10.0.0.1", 9993)),
        (1, Endpoint("10.0.0.1", 9994)),
        (2, Endpoint("fd00::1", 9993)),
        (3, Endpoint("fd00::1", 9994)),
    ]
    core = Recorder()
    b = net.add_host("b", "fd00::2")
    sender = Recorder()
    net.attach(core, b)
    net.attach(sender, a)
    sender.say(b.sockets[0], b"from all", socket=-1)
    net.run_for(0)
    assert [remote for _, _, remote, _ in core.batches] == [a.sockets[2], a.sockets[3]]


def test_sockets_open_and_close():
    net = SimNet(1)
    _a, b, core_a, core_b = pair(net)
    number = b.bind("10.0.2.2")
    assert number == 1
    assert 20000 <= b.sockets[1].port < 65500
    with pytest.raises(OSError, match=r"socket on 10\.0\.2\.2/9993 already"):
        b.bind("10.0.2.2", 9993)
    with pytest.raises(OSError, match=r"no address 10\.0\.9\.9"):
        b.bind("10.0.9.9", 9993)
    gone = b.sockets[0]
    b.close([0])
    core_a.say(gone, b"to a closed socket")
    core_a.say(b.sockets[1], b"from a socket that never was", socket=7)
    core_a.say(Endpoint("10.99.0.1", 1), b"to nobody")
    core_a.say(b.sockets[1], b"to an open one")
    net.run_for(0)
    assert core_b.received == [b"to an open one"]
    assert net.counts == {"sent": 3, "no socket": 2, "no route": 1, "delivered": 1}
    assert b.bind("10.0.2.2", 9993) == 2


def test_a_host_moves_to_another_address():
    net = SimNet(1)
    a, b, core_a, core_b = pair(net)
    old = b.sockets[0]
    net.remove_address(b, old.host)
    assert b.sockets == {}
    net.add_address(b, "192.168.9.9")
    b.bind("192.168.9.9", 9993)
    core_a.say(old, b"old")
    core_a.say(Endpoint("192.168.9.9", 9993), b"new")
    core_b.say(a.sockets[0], b"back", socket=1)
    net.run_for(0)
    assert (core_a.received, core_b.received) == ([b"back"], [b"new"])
    with pytest.raises(ValueError, match="belongs to b already"):
        net.add_address(a, "192.168.9.9")
    with pytest.raises(ValueError, match="does not belong to a"):
        net.remove_address(a, "192.168.9.9")


def test_a_host_reaches_itself():
    net = SimNet(1, link=Link(loss=1))
    a, _, core_a, _ = pair(net, ports=(1, 2))
    core_a.say(a.sockets[1], b"me")
    net.run_for(0)
    assert core_a.batches == [(0.0, 1, a.sockets[0], [b"me"])]


def test_loss_duplicates_and_order_over_the_net_are_as_chosen():
    net = SimNet(3, link=ROUGH)
    _, b, core_a, core_b = pair(net)
    for i in range(5000):
        net.call_at(i * 0.002, core_a.say, b.sockets[0], i.to_bytes(4, "big"))
    net.run_for(60)
    numbers = [int.from_bytes(datagram, "big") for datagram in core_b.received]
    assert 0.89 < len(set(numbers)) / 5000 < 0.92  # 2 % have a second chance
    assert 0.012 < net.counts["duplicated"] / 5000 < 0.025
    overtaken = sum(later < earlier for earlier, later in itertools.pairwise(numbers))
    assert 0.03 < overtaken / 5000 < 0.07
    assert net.counts["delivered"] == len(core_b.received) >= len(set(numbers))


def test_corruption_turns_one_bit():
    net = SimNet(3, link=Link(corrupt=0.5))
    _, b, core_a, core_b = pair(net)
    core_a.say(b.sockets[0], *[bytes(20)] * 1000)
    net.run_for(0)
    turned = [int.from_bytes(datagram, "big").bit_count() for datagram in core_b.received]
    assert set(turned) == {0, 1}
    assert sum(turned) == net.counts["corrupted"]
    assert 450 < sum(turned) < 550


def test_data_survives_a_rough_wire():
    net = SimNet(11, link=ROUGH)
    data = random.Random(5).randbytes(100_000)
    a, b = net.add_host("a"), net.add_host("b")
    sender, receiver = Transfer(b.sockets[0], data), Transfer(a.sockets[0])
    net.attach(sender, a)
    net.attach(receiver, b)
    took = net.run_until(lambda: sender.acked == len(data), timeout=300)
    assert receiver.got == data
    assert took > 1
    net.run_for(3600)
    assert net.clock.now == pytest.approx(took + 3600)


def test_bandwidth_limits_a_transfer():
    net = SimNet(1, link=Link(bandwidth=8e6, queue=40_000, delay=0.001))
    data = bytes(1_000_000)
    a, b = net.add_host("a"), net.add_host("b")
    sender, receiver = Transfer(b.sockets[0], data), Transfer(a.sockets[0])
    net.attach(sender, a)
    net.attach(receiver, b)
    took = net.run_until(lambda: sender.acked == len(data), timeout=60)
    assert 1.03 < took < 1.06  # a megabyte and its headers at a megabyte per second
    assert net.counts["queue full"] == 0


def test_an_access_line_is_shared_by_all_that_a_host_sends():
    net = SimNet(1)
    server, *clients = (net.add_host() for _ in range(5))
    net.set_access(server, up=Link(bandwidth=8e5), down=Link())
    core = Recorder()
    net.attach(core, server)
    for client in clients:
        net.attach(Recorder(), client)
        core.say(client.sockets[0], *[bytes(972)] * 25)
    net.run_until(lambda: net.counts["delivered"] == 100, timeout=2)
    assert net.clock.now == pytest.approx(1.0)


def test_the_receivers_access_line_queues_in_order_of_arrival():
    net = SimNet(1, link=Link(delay=1.0))
    near, far, server = (net.add_host(name) for name in ("near", "far", "server"))
    net.set_path(near, server, Link(delay=0.5))
    net.set_access(server, Link(bandwidth=8000.0, queue=1000))
    cores = {host: Recorder() for host in (near, far, server)}
    for host, core in cores.items():
        net.attach(core, host)
    cores[far].say(server.sockets[0], bytes(472))
    cores[near].say(server.sockets[0], bytes(472))
    net.run_for(5)
    arrivals = [(when, remote) for when, _, remote, _ in cores[server].batches]
    assert arrivals == [(1.0, near.sockets[0]), (1.5, far.sockets[0])]


def test_the_most_special_path_counts():
    net = SimNet(1, link=Link(delay=0.4))
    core = Recorder()
    a = net.add_host("a", ["10.7.0.1", "10.8.0.1"])
    b = net.add_host("b", "10.7.0.2")
    c = net.add_host("c", "10.7.1.3")
    for host in (b, c):
        net.attach(Recorder(), host)
    net.attach(core, a)
    net.set_subnet("10.7.0.0/16", Link(delay=0.2))
    net.set_subnet("10.7.0.0/24", Link(delay=0.1))

    def arrival(socket, host):
        core.say(host.sockets[0], b"x", socket=socket)
        before = host.received
        return round(net.run_until(lambda: host.received > before, timeout=1), 6)

    assert arrival(0, b) == 0.1
    assert arrival(0, c) == 0.2
    assert arrival(1, b) == 0.4
    net.set_path(a, b, Link(delay=0.3), back=Link(delay=0.9))
    assert arrival(0, b) == arrival(1, b) == 0.3
    net.set_default(Link(delay=0.6))
    assert arrival(1, c) == 0.6


def test_partition_and_heal():
    net = SimNet(1)
    hosts = [net.add_host() for _ in range(4)]
    cores = [Recorder() for _ in hosts]
    for host, core in zip(hosts, cores, strict=True):
        net.attach(core, host)

    def reachable():
        for core in cores:
            core.received.clear()
            for host in hosts:
                core.say(host.sockets[0], hosts[cores.index(core)].name.encode())
        net.run_for(0)
        return [b"".join(sorted(name[-1:] for name in core.received)).decode() for core in cores]

    assert reachable() == ["1234"] * 4
    net.partition([hosts[0]], [hosts[1]])
    assert reachable() == ["134", "234", "1234", "1234"]
    net.partition(hosts[2:])
    assert reachable() == ["1", "2", "34", "34"]
    net.heal()
    assert reachable() == ["1234"] * 4
    assert net.counts["partitioned"] == 2 + 10


def test_a_low_ttl_dies_on_the_way():
    net = SimNet(1, link=Link(hops=6))
    _, b, core_a, core_b = pair(net)
    net.set_access(b, Link(hops=2))
    core_a.say(b.sockets[0], b"8", ttl=8)
    core_a.say(b.sockets[0], b"9", ttl=9)
    net.run_for(0)
    assert core_b.received == [b"9"]
    assert net.counts["ttl expired"] == 1


def test_ipv6_has_the_larger_headers():
    net = SimNet(1)
    a, b = net.add_host("a", ["10.0.0.1", "fd00::1"]), net.add_host("b", ["10.0.0.2", "fd00::2"])
    core_a, core_b = Recorder(), Recorder()
    net.attach(core_a, a)
    net.attach(core_b, b)
    core_a.say(b.sockets[0], bytes(1472), bytes(1473), socket=0)
    core_a.say(b.sockets[1], bytes(1452), bytes(1453), socket=1)
    net.run_for(0)
    assert [len(datagram) for datagram in core_b.received] == [1472, 1452]
    assert net.counts["too large"] == 2


class OnlyAnswers:
    """A firewall that lets in what was asked for, and prefixes what goes out."""

    def __init__(self):
        self.asked = set()

    def outward(self, datagram, now):
        if datagram.payload == b"secret":
            return None
        self.asked.add(datagram.destination)
        return datagram._replace(payload=b"via " + datagram.payload)

    def inward(self, datagram, now):
        return datagram if datagram.source in self.asked else None


def test_middleboxes_see_both_ways_and_may_drop_and_rewrite():
    net = SimNet(1)
    a = net.add_host("a", middleboxes=[OnlyAnswers(), OnlyAnswers()])
    b = net.add_host("b")
    core_a, core_b = Recorder(), Echo()
    net.attach(core_a, a)
    net.attach(core_b, b)
    core_b.say(a.sockets[0], b"unasked")
    net.run_for(0)
    assert core_a.received == []
    core_a.say(b.sockets[0], b"hello", b"secret")
    net.run_for(0)
    assert core_b.received == [b"via via hello"]
    assert core_a.received == [b"via via hello"]
    assert net.counts["filtered"] == 2


class Alarm(Recorder):
    def __init__(self, *deadlines):
        super().__init__()
        self.deadlines = list(deadlines)
        self.rang = []

    def next_timer(self):
        return min(self.deadlines, default=None)

    def handle_timer(self, now):
        self.rang.append(now)
        self.deadlines = [deadline for deadline in self.deadlines if deadline > now]


def test_timers_ring_when_due_even_if_moved_from_outside():
    net = SimNet(1)
    alarm = Alarm(5.0, 1.0, 1.0)
    net.attach(alarm, net.add_host())
    net.run_for(2)
    assert alarm.rang == [1.0]
    alarm.deadlines = [3.0, 9.0]
    net.run_for(2)
    assert alarm.rang == [1.0, 3.0]
    alarm.deadlines = [1.5, 20.0]  # the past: at once
    net.run_for(14)
    assert alarm.rang == [1.0, 3.0, 4.0]
    net.run_for(10)
    assert alarm.rang == [1.0, 3.0, 4.0, 20.0]


def test_a_detached_core_hears_nothing_and_its_timer_is_dead():
    net = SimNet(1)
    a, b, core_a, core_b = pair(net, b_core=Alarm(1.0))
    net.run_for(0.5)
    net.detach(b)
    core_a.say(b.sockets[0], b"anybody?")
    net.run_for(5)
    assert (core_b.received, core_b.rang) == ([], [])
    assert net.counts["no socket"] == 1
    with pytest.raises(ValueError, match="something runs on a already"):
        net.attach(core_b, a)
    net.attach(core_b, b)
    net.run_for(0)
    assert core_b.rang == [5.5]


def test_call_at_happens_in_order():
    net = SimNet(1)
    happened = []
    for name, when in [("c", 2.0), ("a", 1.0), ("b", 1.0)]:
        net.call_at(when, happened.append, (name, when))
    net.run_for(3)
    assert happened == [("a", 1.0), ("b", 1.0), ("c", 2.0)]


def test_failures_tell_the_seed():
    net = SimNet(4711)
    _, b, core_a, _ = pair(net)
    core_a.say(b.sockets[0], b"x")
    with pytest.raises(TimeoutError, match=r"nothing is left to happen \(seed 4711, .*delivered 1, sent 1\)"):
        net.run_until(lambda: False, timeout=10)
    net.attach(Gossip(net.context("c"), [b.sockets[0]]), net.add_host("c"))
    with pytest.raises(TimeoutError, match=r"not reached within 10 s \(seed 4711, simulated time 10.000 s"):
        net.run_until(lambda: False, timeout=10)
    assert net.clock.now == 10.0
    net.call_at(12.0, {}.__getitem__, "missing")
    with pytest.raises(KeyError) as caught:
        net.run_for(5)
    assert caught.value.__notes__ == ["simulated with seed 4711, at 12.000000 s"]
    core_a.outbox.append("no flight")
    with pytest.raises(AttributeError) as caught:
        net.run_for(1)
    assert "seed 4711" in caught.value.__notes__[0]


def test_a_core_that_stops_time_is_found():
    class Busy(Recorder):
        def next_timer(self):
            return 0.0

        def handle_timer(self, now):
            pass

    net = SimNet(8)
    net.attach(Busy(), net.add_host())
    with pytest.raises(RuntimeError, match="time stands still at _timer") as caught:
        net.run_for(1)
    assert "seed 8" in caught.value.__notes__[0]


def test_the_same_seed_gives_the_same_run_and_another_seed_another():
    first, again, other = gossip(5), gossip(5), gossip(6)
    assert first.trace.digest() == again.trace.digest() != other.trace.digest()
    assert first.counts == again.counts
    assert len(first.trace.entries) == sum(
        count for event, count in first.counts.items() if event not in ("duplicated", "corrupted")
    )


@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_a_run_does_not_depend_on_the_process(hash_seed):
    script = "from tests.testing.test_simnet import gossip; print(gossip(5).trace.digest())"
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    output = subprocess.run(
        [sys.executable, "-c", script], env=environment, check=True, capture_output=True, text=True
    )
    assert output.stdout.strip() == gossip(5).trace.digest()


def test_a_bounded_trace_has_the_same_digest():
    def run(trace):
        net = SimNet(1, trace=trace)
        _, b, core_a, _ = pair(net)
        core_a.say(b.sockets[0], b"x", b"y")
        net.run_for(1)
        return net.trace

    assert len(run(1).entries) == 1
    assert run(1).digest() == run(True).digest()
    entry = run(True).entries[0]
    assert str(entry) == "0.000000 sent: 10.0.1.2/9993 > 10.0.2.2/9993, 1 bytes, ttl 64"


def test_contexts_follow_from_seed_and_name():
    net = SimNet(1)
    assert net.context("a").random_bytes(8) == SimNet(1).context("a").random_bytes(8)
    assert net.context("a").random_bytes(8) != net.context("b").random_bytes(8)
    assert net.context("a").random_bytes(8) != SimNet(2).context("a").random_bytes(8)
    before = net.context("a").wall_ms()
    net.run_for(60)
    assert net.context("a").wall_ms() == before + 60_000


def test_hundreds_of_cores_run():
    net = gossip(1, hosts=300, seconds=2.0)
    assert 300 * 99 <= net.counts["sent"] <= 300 * 101
    assert min(host.received for host in net.hosts) > 50
