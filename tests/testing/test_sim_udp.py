import asyncio
import socket

import pytest

from tests.testing.cores import Echo, Recorder
from zt_async.aio.udp import Udp
from zt_async.errors import PortUnavailable
from zt_async.testing import Link, SimNet, SimUdp, run
from zt_async.types import Endpoint, Flight


class Inbox:
    def __init__(self):
        self.batches = []
        self.arrived = asyncio.Event()

    def __call__(self, number, remote, datagrams):
        self.batches.append((asyncio.get_running_loop().time(), number, remote, datagrams))
        self.arrived.set()

    async def next(self):
        await self.arrived.wait()
        self.arrived.clear()
        return self.batches[-1]


def takes(udp: Udp) -> Udp:
    return udp


def test_datagrams_cross_the_simulated_net_on_simulated_time():
    net = SimNet(1, link=Link(delay=0.25))
    a, b = net.add_host("a"), net.add_host("b", ports=(9993, 20000))

    async def main():
        udps = takes(SimUdp(net, a)), takes(SimUdp(net, b))
        inboxes = Inbox(), Inbox()
        for udp, inbox in zip(udps, inboxes, strict=True):
            udp.open(inbox, lambda: None)
        assert udps[1].sockets == b.sockets
        udps[0].send([Flight(0, b.sockets[1], [b"one", b"two"])])
        assert await inboxes[1].next() == (0.25, 1, a.sockets[0], [b"one", b"two"])
        await asyncio.sleep(10)
        udps[1].send([Flight(-1, a.sockets[0], [b"back"])])
        assert (await inboxes[0].next())[2] == b.sockets[1]
        assert [batch[2] for batch in inboxes[0].batches] == list(b.sockets.values())
        assert [batch[0] for batch in inboxes[0].batches] == [10.5, 10.5]
        assert (udps[0].counts["sent"], udps[0].counts["received"]) == (2, 2)
        assert [status.sending for status in udps[1].status()] == ["simulated"] * 2
        for udp in udps:
            udp.close()
        assert udps[0].sockets == {}

    run(main(), net.clock)


def test_cores_and_nodes_on_a_loop_meet_on_one_net():
    net = SimNet(1, link=Link(delay=0.1, loss=0.2))
    a, b = net.add_host("a"), net.add_host("b")
    net.attach(Echo(), b)

    async def main():
        udp, inbox = SimUdp(net, a), Inbox()
        udp.open(inbox, lambda: None)
        echoed = 0
        while echoed < 20:
            udp.send([Flight(0, b.sockets[0], [b"?"])])
            try:
                async with asyncio.timeout(0.5):
                    await inbox.next()
            except TimeoutError:
                continue
            echoed += 1
        assert 20 < net.counts["sent"] < 60
        assert net.clock.now == pytest.approx(asyncio.get_running_loop().time())

    run(main(), net.clock)


def test_a_run_is_the_same_every_time():
    def once(seed):
        net = SimNet(seed, link=Link(delay=0.02, jitter=0.01, loss=0.1), trace=True)
        hosts = [net.add_host() for _ in range(5)]

        async def talk(i):
            udp, inbox = SimUdp(net, hosts[i]), Inbox()
            udp.open(inbox, lambda: None)
            for round_ in range(20):
                udp.send([Flight(0, hosts[(i + 1 + round_) % 5].sockets[0], [b"%d" % round_])])
                try:
                    async with asyncio.timeout(0.03):
                        await inbox.next()
                except TimeoutError:
                    pass

        async def main():
            await asyncio.gather(*map(talk, range(5)))

        run(main(), net.clock)
        return net.trace.digest()

    assert once(1) == once(1) != once(2)


def test_attached_cores_have_their_timers_on_the_loop():
    class Ticker(Recorder):
        deadline = 1.0

        def next_timer(self):
            return self.deadline

        def handle_timer(self, now):
            self.received.append(now)
            self.deadline = now + 1.0

    net = SimNet(1)

    async def main():
        net.run_on(asyncio.get_running_loop())
        ticker = Ticker()
        net.attach(ticker, net.add_host())
        await asyncio.sleep(3.5)
        assert ticker.received == [1.0, 2.0, 3.0]
        called = []
        net.call_at(4.5, called.append, True)
        await asyncio.sleep(0.9)
        assert not called
        await asyncio.sleep(0.2)
        assert called

    run(main(), net.clock)
    net.run_for(2)


def test_what_a_core_was_told_from_outside_leaves_after_wake():
    net = SimNet(1)
    a, b = net.add_host(), net.add_host()
    core_a, core_b = Recorder(), Recorder()
    net.attach(core_a, a)
    net.attach(core_b, b)

    async def main():
        net.run_on(asyncio.get_running_loop())
        core_a.say(b.sockets[0], b"x")
        net.wake()
        await asyncio.sleep(0)
        await asyncio.sleep(0.001)
        assert core_b.received == [b"x"]

    run(main(), net.clock)


def test_an_error_in_a_core_is_reported_and_the_net_goes_on():
    class Broken(Recorder):
        def receive_datagrams(self, socket, remote, datagrams, now):
            raise ValueError(datagrams)

    net = SimNet(77)
    a, b, c = (net.add_host() for _ in range(3))
    net.attach(Broken(), b)
    net.attach(Echo(), c)

    async def main():
        errors = []
        asyncio.get_running_loop().set_exception_handler(
            lambda loop, context: errors.append(context["exception"])
        )
        udp, inbox = SimUdp(net, a), Inbox()
        udp.open(inbox, lambda: None)
        udp.send([Flight(0, b.sockets[0], [b"x"]), Flight(0, c.sockets[0], [b"y"])])
        assert (await inbox.next())[3] == [b"y"]
        (error,) = errors
        assert "seed 77" in error.__notes__[0]

    run(main(), net.clock)


def test_a_node_follows_its_host_to_other_addresses():
    net = SimNet(1)
    a, b = net.add_host("a", ports=(9993, 20000)), net.add_host("b")

    async def main():
        udp, inbox = SimUdp(net, a), Inbox()
        udp.open(inbox, lambda: None)
        assert udp.refresh() is False
        net.remove_address(a, a.addresses[0])
        net.add_address(a, "192.168.5.5")
        assert udp.refresh() is True
        assert udp.sockets == {2: Endpoint("192.168.5.5", 9993), 3: Endpoint("192.168.5.5", 20000)}
        assert udp.refresh(new_secondary=True) is True
        assert udp.sockets[2] == Endpoint("192.168.5.5", 9993)
        assert udp.sockets[4].port != 20000
        peer, inbox_b = SimUdp(net, b), Inbox()
        peer.open(inbox_b, lambda: None)
        udp.send([Flight(4, b.sockets[0], [b"moved"])])
        assert (await inbox_b.next())[2:] == (udp.sockets[4], [b"moved"])

    run(main(), net.clock)


def test_one_node_on_a_host_at_a_time():
    net = SimNet(1)
    host = net.add_host("a")

    async def main():
        first, second = SimUdp(net, host), SimUdp(net, host)
        first.open(Inbox(), lambda: None)
        with pytest.raises(PortUnavailable, match="something runs on a already"):
            second.open(Inbox(), lambda: None)
        second.close()
        assert host.on_datagrams is not None
        first.close()
        second.open(Inbox(), lambda: None)
        second.close()

    run(main(), net.clock)


def test_no_socket_is_opened(monkeypatch):
    net = SimNet(1)
    host = net.add_host("a")

    async def main():
        def refuse(*args, **kwargs):
            raise AssertionError("a real socket")

        monkeypatch.setattr(socket, "socket", refuse)
        udp = SimUdp(net, host)
        udp.open(Inbox(), lambda: None)
        udp.send([Flight(0, host.sockets[0], [b"x"])])
        await asyncio.sleep(1)
        udp.close()
        monkeypatch.undo()

    run(main(), net.clock)


def test_the_loop_must_run_on_the_nets_clock():
    net = SimNet(1)
    net.run_for(5)
    host = net.add_host()

    async def main():
        SimUdp(net, host).open(Inbox(), lambda: None)

    with pytest.raises(ValueError, match=r"use VirtualLoop\(net.clock\)"):
        run(main())


def test_a_net_on_a_loop_is_not_run_by_hand():
    net = SimNet(1)

    async def main():
        net.run_on(asyncio.get_running_loop())
        with pytest.raises(RuntimeError, match="an event loop drives this network"):
            net.run_for(1)

    run(main(), net.clock)
