import asyncio
import errno
import ipaddress
import os
import socket
import sys
from contextlib import asynccontextmanager

import pytest
import uvloop

from zt_async.aio.interfaces import LocalAddress
from zt_async.aio.udp import UdpSockets
from zt_async.config import NodeConfig
from zt_async.errors import NodeFailed, PortUnavailable
from zt_async.types import Endpoint, Flight

LOCALHOSTS = ["127.0.0.1", "127.0.0.2", "::1"]


def host(*ips):
    """A host with these addresses, as ``UdpSockets`` asks for them; append to the list to change it."""
    addresses = [LocalAddress("eth0", ipaddress.ip_address(ip), False) for ip in ips]
    return lambda: addresses


def loopback(**settings):
    return NodeConfig(allow_loopback_paths=True, **{"port": 0, **settings})


class Inbox:
    """Takes datagrams, and wakes who waits for a number of them."""

    def __init__(self):
        self.batches = []
        self._arrived = asyncio.Event()

    def __call__(self, number, remote, datagrams):
        self.batches.append((number, remote, datagrams))
        self._arrived.set()

    @property
    def datagrams(self):
        return [datagram for _, _, datagrams in self.batches for datagram in datagrams]

    async def wait_for(self, count):
        async with asyncio.timeout(10):
            while len(self.datagrams) < count:
                self._arrived.clear()
                await self._arrived.wait()
        return self.datagrams


@asynccontextmanager
async def opened(config, addresses):
    udp, inbox = UdpSockets(config, addresses), Inbox()
    udp.open(inbox, lambda: None)
    try:
        yield udp, inbox
    finally:
        udp.close()


@pytest.fixture(params=[asyncio.SelectorEventLoop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run(request):
    """Runs a coroutine function on either kind of loop; nothing may stay open."""

    def run(main):
        request.param().close()  # libuv keeps a pipe from the first loop on
        before = open_files()
        with asyncio.Runner(loop_factory=request.param) as runner:
            runner.run(main())
        assert open_files() == before

    return run


def open_files():
    return len(os.listdir("/proc/self/fd")) if sys.platform == "linux" else 0


@pytest.fixture
def taken():
    """A port that another program has on 127.0.0.1."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]


def test_every_address_has_both_ports(run):
    async def main():
        async with opened(loopback(), host(*LOCALHOSTS)) as (udp, _):
            ports = udp.port, udp.secondary_port
            assert ports[0] != ports[1]
            assert all(20000 <= port < 65500 for port in ports)
            assert udp.sockets == dict(enumerate(Endpoint(ip, port) for port in ports for ip in LOCALHOSTS))
            assert [status.local for status in udp.status()] == list(udp.sockets.values())

    run(main)


def test_without_a_secondary_port(run):
    async def main():
        async with opened(loopback(secondary_port=None), host("127.0.0.1")) as (udp, _):
            assert list(udp.sockets.values()) == [Endpoint("127.0.0.1", udp.port)]
            assert udp.secondary_port is None

    run(main)


@pytest.mark.parametrize("batched", [True, False])
def test_flights_go_both_ways_in_batches(run, batched):
    async def main():
        config = loopback(batched_udp=batched)
        async with (
            opened(config, host(*LOCALHOSTS)) as (a, inbox_a),
            opened(config, host("::1")) as (b, inbox_b),
        ):
            sizes = [1432] * 300 + [700] * 100
            datagrams = [os.urandom(size) for size in sizes]
            there = Endpoint("::1", b.secondary_port)
            here = next(number for number, local in a.sockets.items() if local == ("::1", a.port))
            a.send([Flight(here, there, datagrams[:200]), Flight(here, there, datagrams[200:])])
            assert await inbox_b.wait_for(400) == datagrams
            assert {(number, remote) for number, remote, _ in inbox_b.batches} == {(1, ("::1", a.port))}
            assert len(inbox_b.batches) < 40
            b.send([Flight(1, inbox_b.batches[0][1], [b"back"])])
            assert await inbox_a.wait_for(1) == [b"back"]
            assert inbox_a.batches[0][:2] == (here, there)
            status = a.status()[0]
            fast = batched and sys.platform == "linux"
            assert (status.sending, status.receiving) == (("gso", "gro") if fast else ("plain", "plain"))
            assert a.counts["sent"] == b.counts["received"] == 400

    run(main)


def test_socket_minus_one_is_every_socket_of_the_family(run):
    async def main():
        config = loopback(secondary_port=None)
        async with (
            opened(loopback(), host(*LOCALHOSTS)) as (a, _),
            opened(config, host("127.0.0.1")) as (b, inbox),
        ):
            a.send([Flight(-1, Endpoint("127.0.0.1", b.port), [b"hello"])])
            await inbox.wait_for(4)
            senders = {remote for _, remote, _ in inbox.batches}
            assert senders == {local for local in a.sockets.values() if local.family == 4}

    run(main)


def test_flights_of_closed_sockets_are_counted(run):
    async def main():
        async with opened(loopback(), host("127.0.0.1")) as (udp, _):
            udp.send([Flight(77, Endpoint("127.0.0.1", udp.port), [b"x", b"y"])])
            assert udp.counts == {"send: no socket": 2}

    run(main)


def test_a_taken_port_says_what_to_do(run, taken):
    async def main():
        udp = UdpSockets(loopback(port=taken), host("127.0.0.2", "127.0.0.1"))
        with pytest.raises(
            PortUnavailable, match=rf"UDP port {taken} on 127.0.0.1 is in use: .* set port=0"
        ) as caught:
            udp.open(Inbox(), lambda: None)
        assert isinstance(caught.value, NodeFailed)
        assert caught.value.errno == errno.EADDRINUSE
        assert udp.sockets == {}
        udp = UdpSockets(loopback(secondary_port=taken), host("127.0.0.1"))
        with pytest.raises(PortUnavailable, match="or set secondary_port=0"):
            udp.open(Inbox(), lambda: None)
        assert udp.sockets == {}

    run(main)


def test_two_nodes_do_not_share_a_port(run):
    async def main():
        async with opened(loopback(), host("127.0.0.1")) as (first, _):
            with pytest.raises(PortUnavailable, match="in use"):
                UdpSockets(loopback(port=first.port), host("127.0.0.1")).open(Inbox(), lambda: None)

    run(main)


def test_a_random_port_is_one_that_is_free_on_all_addresses(run, taken, monkeypatch):
    candidates = [taken, taken, 20123]
    monkeypatch.setattr("zt_async.aio.udp._random_port", lambda: candidates.pop(0))

    async def main():
        candidates[:] = [taken, taken, 20123]
        async with opened(loopback(secondary_port=None), host("127.0.0.2", "127.0.0.1")) as (udp, _):
            assert udp.port == 20123
            assert candidates == []

    run(main)


def test_no_free_random_port_is_an_error(run, taken, monkeypatch):
    monkeypatch.setattr("zt_async.aio.udp._random_port", lambda: taken)

    async def main():
        with pytest.raises(PortUnavailable, match="no free UDP port found in 256 tries: set one with port="):
            UdpSockets(loopback(), host("127.0.0.1")).open(Inbox(), lambda: None)

    run(main)


def test_explicit_addresses_are_bound_instead(run):
    async def main():
        config = NodeConfig(port=0, bind=("127.0.0.3", "::0:1", "127.0.0.3"), secondary_port=None)
        async with opened(config, host("127.0.0.1")) as (udp, _):
            assert list(udp.sockets.values()) == [("127.0.0.3", udp.port), ("::1", udp.port)]
        with pytest.raises(PortUnavailable, match=r"192\.0\.2\.77 is no address of this host: correct bind="):
            UdpSockets(NodeConfig(port=0, bind=("192.0.2.77",))).open(Inbox(), lambda: None)
        with pytest.raises(ValueError, match="eth0"):
            UdpSockets(NodeConfig(port=0, bind=("eth0",))).open(Inbox(), lambda: None)

    run(main)


def test_a_host_that_does_not_tell_its_addresses_gets_wildcards(run):
    def addresses():
        raise OSError(errno.ENOSYS, "no such call")

    async def main():
        async with (
            opened(loopback(), addresses) as (a, _),
            opened(loopback(), host("127.0.0.1")) as (b, inbox),
        ):
            assert {local.host for local in a.sockets.values()} == {"0.0.0.0", "::"}
            a.send([Flight(0, Endpoint("127.0.0.1", b.port), [b"x"])])
            await inbox.wait_for(1)

    run(main)


def test_a_host_that_tells_its_addresses_no_more_keeps_its_sockets(run):
    known = host("127.0.0.1")()

    def addresses():
        if not known:
            raise OSError(errno.EMFILE, "too many open files")
        return known

    async def main():
        async with opened(loopback(), addresses) as (udp, _):
            before = udp.sockets
            known.clear()
            assert udp.refresh(new_secondary=True) is False
            assert udp.sockets == before
            assert udp.counts == {"addresses: EMFILE": 1}

    run(main)


def test_a_host_without_a_network_gets_its_sockets_later(run):
    async def main():
        addresses = host()
        async with opened(loopback(), addresses) as (udp, inbox):
            assert udp.sockets == {}
            assert udp.refresh() is False
            addresses().extend(host("127.0.0.1", "::1")())
            assert udp.refresh() is True
            assert {local.host for local in udp.sockets.values()} == {"127.0.0.1", "::1"}
            udp.send([Flight(0, udp.sockets[0], [b"me"])])
            await inbox.wait_for(1)

    run(main)


def test_refresh_follows_the_addresses_and_never_reuses_numbers(run):
    async def main():
        addresses = host("127.0.0.1", "127.0.0.2")
        async with opened(loopback(), addresses) as (udp, inbox):
            first = udp.sockets
            assert udp.refresh() is False
            assert udp.sockets == first
            gone = addresses().pop(0)
            addresses().append(*host("127.0.0.3")())
            assert udp.refresh() is True
            kept = {number: local for number, local in first.items() if local.host == "127.0.0.2"}
            new = {4: ("127.0.0.3", udp.port), 5: ("127.0.0.3", udp.secondary_port)}
            assert udp.sockets == kept | new
            addresses().append(gone)
            udp.refresh()
            assert udp.sockets == kept | new | {
                6: ("127.0.0.1", udp.port),
                7: ("127.0.0.1", udp.secondary_port),
            }
            udp.send([Flight(6, udp.sockets[4], [b"x"])])
            await inbox.wait_for(1)
            assert inbox.batches == [(4, udp.sockets[6], [b"x"])]

    run(main)


def test_refresh_counts_what_it_cannot_bind_and_tries_again(run):
    async def main():
        addresses = host("127.0.0.1")
        async with opened(loopback(secondary_port=None), addresses) as (udp, _):
            addresses().extend(host("127.0.0.2", "192.0.2.77")())
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
                other.bind(("127.0.0.2", udp.port))
                assert udp.refresh() is False
                assert udp.counts == {"bind: EADDRINUSE": 1, "bind: EADDRNOTAVAIL": 1}
            assert udp.refresh() is True
            assert len(udp.sockets) == 2

    run(main)


def test_a_new_secondary_port_on_request(run):
    async def main():
        async with opened(loopback(), host("127.0.0.1")) as (udp, _):
            primary, secondary = udp.port, udp.secondary_port
            assert udp.refresh(new_secondary=True) is True
            assert udp.port == primary
            assert udp.secondary_port != secondary
            assert udp.sockets == {0: ("127.0.0.1", primary), 2: ("127.0.0.1", udp.secondary_port)}
            fixed = udp.secondary_port
        async with opened(loopback(secondary_port=fixed), host("127.0.0.1")) as (udp, _):
            assert udp.refresh(new_secondary=True) is False
            assert udp.secondary_port == fixed

    run(main)


def test_sockets_can_be_opened_again(run):
    async def main():
        udp, inbox = UdpSockets(loopback(), host("127.0.0.1")), Inbox()
        for _ in range(3):
            udp.open(inbox, lambda: None)
            with pytest.raises(RuntimeError, match="open already"):
                udp.open(inbox, lambda: None)
            number = next(iter(udp.sockets))
            udp.send([Flight(number, udp.sockets[number], [b"x"])])
            udp.close()
            udp.close()
            assert udp.sockets == {}
        assert udp.counts["sent"] == 3

    run(main)


def test_a_congested_socket_sends_on_when_it_is_writable(run, monkeypatch):
    class Full(socket.socket):
        refusals = 2

        def sendto(self, *args):
            if self.refusals:
                self.refusals -= 1
                raise BlockingIOError(errno.EAGAIN, "full")
            return super().sendto(*args)

    monkeypatch.setattr("zt_async.aio.udp_socket.socket.socket", Full)

    async def main():
        config = loopback(secondary_port=None, batched_udp=False)
        async with opened(config, host("127.0.0.1")) as (udp, inbox):
            udp.send([Flight(0, udp.sockets[0], [b"1", b"2"])])
            udp.send([Flight(-1, udp.sockets[0], [b"3"])])
            assert udp.counts["sent"] == 0
            assert await inbox.wait_for(3) == [b"1", b"2", b"3"]
            udp.send([Flight(0, udp.sockets[0], [b"4"])])
            assert await inbox.wait_for(4) == [b"1", b"2", b"3", b"4"]
            Full.refusals = 10**9
            udp.send([Flight(0, udp.sockets[0], [b"never"])])

    run(main)


def test_a_reader_may_close_everything(run):
    async def main():
        closed = asyncio.Event()
        udp = UdpSockets(loopback(), host("127.0.0.1"))

        def close(number, remote, datagrams):
            udp.close()
            closed.set()

        udp.open(close, lambda: None)
        udp.send([Flight(0, udp.sockets[0], [b"x"]), Flight(1, udp.sockets[0], [b"y"])])
        async with asyncio.timeout(10):
            await closed.wait()

    run(main)


def test_a_loop_that_cannot_watch_sockets_is_an_error(monkeypatch):
    async def main():
        udp = UdpSockets(loopback(), host("127.0.0.1"))
        with pytest.raises(NodeFailed, match=r"run on asyncio\.SelectorEventLoop"):
            udp.open(Inbox(), lambda: None)
        assert udp.sockets == {}

    monkeypatch.setattr(asyncio, "ProactorEventLoop", asyncio.SelectorEventLoop, raising=False)
    asyncio.run(main())
