import errno
import os
import socket
import struct
import sys
from collections import Counter
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zt_async.aio import udp_socket
from zt_async.aio.udp_socket import MAX_BATCH, MAX_SEGMENTS, UdpSocket, split_into_runs
from zt_async.types import Endpoint, Flight

LOCALHOST = pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
BATCHED = pytest.mark.parametrize("batched", [True, False])
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="UDP GSO and GRO are Linux's")


class Received:
    """Collects batches, and joins those of one socket and remote that a bounded wake-up has cut."""

    def __init__(self):
        self.batches = []

    def __call__(self, number, remote, datagrams):
        assert datagrams
        if self.batches and self.batches[-1][:2] == (number, remote):
            self.batches[-1][2].extend(datagrams)
        else:
            self.batches.append((number, remote, list(datagrams)))

    @property
    def datagrams(self):
        return [datagram for _, _, datagrams in self.batches for datagram in datagrams]


@contextmanager
def pair(host, batched=True, numbers=(3, 5)):
    sockets = [UdpSocket(number, Endpoint(host, 0), Counter(), batched=batched) for number in numbers]
    try:
        yield sockets
    finally:
        for sock in sockets:
            sock.close()


def drain(sock):
    """All that is there now. Over loopback, what was sent has arrived."""
    received = Received()
    while True:
        before = len(received.datagrams)
        sock.receive(received)
        if len(received.datagrams) == before:
            return received


@LOCALHOST
@BATCHED
def test_datagrams_arrive_whole_in_order_and_as_one_batch(host, batched):
    sizes = [1400] * 5 + [900] + [1400] * 3 + [1401, 60, 60, 60, 59, 60, 1]
    datagrams = [os.urandom(size) for size in sizes]
    with pair(host, batched) as (a, b):
        a.send(Flight(3, b.local, datagrams))
        received = drain(b)
        assert received.batches == [(5, a.local, datagrams)]
        assert type(received.batches[0][1]) is Endpoint
        assert a._counts["sent"] == b._counts["received"] == len(sizes)
        assert a._counts["sent bytes"] == b._counts["received bytes"] == sum(sizes)
        assert not a.waiting


@linux_only
@LOCALHOST
def test_equal_datagrams_need_few_system_calls(host):
    with pair(host) as (a, b):
        assert (a.status().sending, b.status().receiving) == ("gso", "gro")
        a.send(Flight(3, b.local, [bytes(1000)] * 100))
        assert a._counts["send calls"] == 2
        assert drain(b).batches == [(5, a.local, [bytes(1000)] * 100)]
        assert b._counts["receive calls"] == 2


@BATCHED
def test_status(batched):
    with pair("127.0.0.1", batched) as (a, _):
        status = a.status()
        assert (status.number, status.local) == (3, a.local)
        used = ("gso", "gro") if batched and sys.platform == "linux" else ("plain", "plain")
        assert (status.sending, status.receiving) == used
        assert status.receive_buffer >= 64 << 10


@BATCHED
def test_each_change_of_the_remote_begins_a_batch(batched):
    with pair("127.0.0.1", batched) as (a, b), pair("127.0.0.1", batched) as (c, _):
        for sender, text in [(a, b"1"), (a, b"2"), (c, b"3"), (a, b"4"), (a, b"5")]:
            sender.send(Flight(3, b.local, [text]))
        expected = [(5, a.local, [b"1", b"2"]), (5, c.local, [b"3"]), (5, a.local, [b"4", b"5"])]
        assert drain(b).batches == expected


@BATCHED
def test_empty_datagrams_are_datagrams(batched):
    with pair("127.0.0.1", batched) as (a, b):
        a.send(Flight(3, b.local, [b"", b"", b"x", b"", b"x", b"x", b""]))
        assert drain(b).datagrams == [b"", b"", b"x", b"", b"x", b"x", b""]


@BATCHED
def test_the_largest_datagrams_of_zerotier_pass_and_giants_are_counted(batched):
    with pair("127.0.0.1", batched) as (a, b):
        a.send(Flight(3, b.local, [bytes(10_324)] * 9 + [bytes(65_508)] + [b"end"]))
        assert drain(b).datagrams == [bytes(10_324)] * 9 + [b"end"]
        assert a._counts["send: EMSGSIZE"] == 1
        if not batched:
            a.send(Flight(3, b.local, [bytes(20_000)]))
            assert drain(b).datagrams == []
            assert b._counts["receive: too large"] == 1


def test_one_wake_up_reads_a_bounded_amount():
    with pair("127.0.0.1", batched=False) as (a, b):
        for _ in range(200):
            a.send(Flight(3, b.local, [b"x"]))
        received = Received()
        b.receive(received)
        assert len(received.datagrams) == udp_socket.MAX_READS
        assert len(drain(b).datagrams) == 200 - udp_socket.MAX_READS


@LOCALHOST
def test_a_ttl_holds_for_its_flight_only(host):
    ipv6 = host == "::1"
    level, option, kind = (
        (socket.IPPROTO_IPV6, socket.IPV6_RECVHOPLIMIT, socket.IPV6_HOPLIMIT)
        if ipv6
        else (socket.IPPROTO_IP, getattr(socket, "IP_RECVTTL", 12), socket.IP_TTL)
    )
    with (
        socket.socket(socket.AF_INET6 if ipv6 else socket.AF_INET, socket.SOCK_DGRAM) as receiver,
        pair(host) as (a, _),
    ):
        receiver.bind((host, 0))
        receiver.setsockopt(level, option, 1)
        ordinary = a._socket.getsockopt(level, socket.IPV6_UNICAST_HOPS if ipv6 else socket.IP_TTL)
        remote = Endpoint(host, receiver.getsockname()[1])
        a.send(Flight(3, remote, [b"junk", b"junk"], ttl=2))
        a.send(Flight(3, remote, [b"probe"]))
        seen = []
        for _ in range(3):
            data, ancillary, _, _ = receiver.recvmsg(100, 100)
            ttl = next(data for at, what, data in ancillary if (at, what) == (level, kind))
            seen.append((data, struct.unpack("i", ttl)[0]))
        assert seen == [(b"junk", 2), (b"junk", 2), (b"probe", ordinary)]


def test_what_cannot_be_sent_is_counted():
    with pair("127.0.0.1") as (a, b):
        a.send(Flight(3, Endpoint("fd00::1", 9993), [b"x", b"y"]))
        assert a._counts == {"send: no socket": 2}
        a.send(Flight(3, Endpoint("255.255.255.255", 9993), [b"not allowed to broadcast"]))
        a.send(Flight(3, b.local, [b"still works"]))
        assert drain(b).datagrams == [b"still works"]
        assert a._counts["send: EACCES"] == 1


class Obstinate(socket.socket):
    """A socket that refuses: GSO with ``batch_error``, the next calls of either kind with ``errors``."""

    batch_error = None
    errors = ()
    calls = ()

    def sendmsg(self, *args):
        type(self).calls += ("batch",)
        if self.batch_error:
            raise OSError(self.batch_error, os.strerror(self.batch_error))
        self.refuse()
        return super().sendmsg(*args)

    def sendto(self, *args):
        type(self).calls += ("plain",)
        self.refuse()
        return super().sendto(*args)

    def refuse(self):
        if self.errors:
            error, *rest = self.errors
            type(self).errors = rest
            if error:
                raise OSError(error, os.strerror(error))


@pytest.fixture
def obstinate(monkeypatch):
    class Socket(Obstinate):
        pass

    monkeypatch.setattr(udp_socket.socket, "socket", Socket)
    return Socket


@linux_only
@pytest.mark.parametrize("refusal", [errno.EIO, errno.EOPNOTSUPP, errno.ENOPROTOOPT])
def test_where_the_system_refuses_gso_all_is_sent_one_by_one(obstinate, refusal):
    obstinate.batch_error = refusal
    with pair("127.0.0.1") as (a, b):
        for _ in range(2):
            a.send(Flight(3, b.local, [b"abc"] * 3))
        assert drain(b).datagrams == [b"abc"] * 6
        assert obstinate.calls == ("batch",) + ("plain",) * 6
        assert a.status().sending == "plain"
        assert a._counts["sent"] == 6


@linux_only
def test_segments_too_large_for_one_path_leave_gso_to_smaller_ones_and_other_paths(obstinate):
    obstinate.batch_error = errno.EINVAL
    with pair("127.0.0.1") as (a, b), pair("127.0.0.1") as (c, _):
        a.send(Flight(3, b.local, [bytes(1432)] * 2))
        obstinate.batch_error = None
        obstinate.calls = ()
        a.send(Flight(3, b.local, [bytes(1432)] * 2))
        a.send(Flight(3, b.local, [bytes(1431)] * 2))
        a.send(Flight(3, c.local, [bytes(1432)] * 2))
        assert obstinate.calls == ("plain", "plain", "batch", "batch")
        assert a.status().sending == "gso"
        obstinate.calls = ()
        a.forget_narrow_paths()
        a.send(Flight(3, b.local, [bytes(1432)] * 2))
        assert obstinate.calls == ("batch",)
        assert len(drain(b).datagrams) == 8


@BATCHED
@pytest.mark.parametrize("error", [errno.ENETUNREACH, errno.EPERM, errno.ECONNREFUSED])
def test_passing_errors_lose_only_what_they_meet(obstinate, batched, error):
    with pair("127.0.0.1", batched) as (a, b):
        obstinate.errors = [error]
        a.send(Flight(3, b.local, [b"one"]))
        a.send(Flight(3, b.local, [b"two", b"two"]))
        assert drain(b).datagrams == [b"two", b"two"]
        assert a._counts[f"send: {errno.errorcode[error]}"] == 1
        obstinate.errors = [error]
        a.send(Flight(3, b.local, [b"two", b"two"]))
        assert a._counts[f"send: {errno.errorcode[error]}"] == (3 if a.gso else 2)


@BATCHED
def test_what_the_system_does_not_take_waits_in_order(obstinate, batched):
    with pair("127.0.0.1", batched) as (a, b):
        obstinate.errors = [0, errno.EAGAIN]
        a.send(Flight(3, b.local, [b"1"]))
        a.send(Flight(3, b.local, [b"2", b"2"]))
        a.send(Flight(3, b.local, [b"3"], ttl=9))
        assert a.waiting
        assert drain(b).datagrams == [b"1"]
        obstinate.errors = [0, errno.EAGAIN]
        a.send_waiting()
        assert a.waiting
        a.send(Flight(3, b.local, [b"4"]))
        a.send_waiting()
        assert not a.waiting
        assert drain(b).datagrams == [b"2", b"2", b"3", b"4"]
        assert a._counts["sent"] == 5


def test_what_waits_is_bounded(obstinate):
    with pair("127.0.0.1") as (a, b):
        obstinate.errors = [errno.EAGAIN]
        for _ in range(1200):
            a.send(Flight(3, b.local, [bytes(1000)]))
        assert a._counts["send: queue full"] == 1200 - (1 << 20) // 1000
        for _ in range(20):
            a.send_waiting()
        assert not a.waiting
        a.send(Flight(3, b.local, [b"again"]))
        assert a._counts["sent"] == (1 << 20) // 1000 + 1


@BATCHED
def test_who_may_not_send_any_more_sends_nothing(obstinate, batched):
    """Neither what is new, nor what waited, nor the rest of what is under way."""
    allowed = True
    with pair("127.0.0.1", batched) as (_, b):
        a = UdpSocket(3, b.local._replace(port=0), Counter(), batched=batched, may_send=lambda: allowed)
        a.send(Flight(3, b.local, [b"1", b"1"]))
        obstinate.errors = [errno.EAGAIN]
        a.send(Flight(3, b.local, [b"2", b"2"]))
        allowed = False
        a.send_waiting()
        a.send(Flight(3, b.local, [b"3"], ttl=9))
        a.send(Flight(3, b.local, [b"4", b"4"]))
        assert a._counts["send: not allowed"] == 5
        allowed = True
        a.send(Flight(3, b.local, [b"5"]))
        answers = iter([True, False, True])
        a._may_send = lambda: next(answers)
        a.send(Flight(3, b.local, [b"6", b"6", b"6"], ttl=9))
        assert drain(b).datagrams == [b"1", b"1", b"5", b"6"]
        assert a._counts["send: not allowed"] == 7
        a.close()


def test_closing_while_receiving_ends_it():
    with pair("127.0.0.1", batched=False) as (a, b), pair("127.0.0.1") as (c, _):
        a.send(Flight(3, b.local, [b"first"]))
        c.send(Flight(3, b.local, [b"second"]))
        seen = []

        def close(number, remote, datagrams):
            seen.extend(datagrams)
            b.close()

        b.receive(close)
        assert b.closed
        assert b"first" in seen


def test_remotes_have_no_scope():
    with pair("::1") as (a, _):
        assert a._endpoint(("fe80::1%eth0", 9, 0, 2)) == Endpoint("fe80::1", 9)


def test_a_taken_port_is_an_error_that_leaves_no_socket():
    with pair("127.0.0.1") as (a, _):
        before = os.listdir("/proc/self/fd") if sys.platform == "linux" else []
        with pytest.raises(OSError) as caught:
            UdpSocket(9, a.local, Counter())
        assert caught.value.errno == errno.EADDRINUSE
        assert (os.listdir("/proc/self/fd") if sys.platform == "linux" else []) == before


@given(
    st.lists(st.integers(0, 3) | st.sampled_from([1432, 30_000]), max_size=200),
    st.sampled_from([3, MAX_BATCH]),
)
def test_runs_are_what_gso_takes(sizes, too_large):
    datagrams = [bytes(size) for size in sizes]
    joined = []
    for run, segment in split_into_runs(datagrams, too_large):
        joined += run
        if segment:
            assert 2 <= len(run) <= MAX_SEGMENTS
            assert {len(datagram) for datagram in run[:-1]} == {segment}
            assert 0 < len(run[-1]) <= segment < too_large
            assert sum(map(len, run)) <= MAX_BATCH
        else:
            assert len(run) == 1
    assert joined == datagrams


def test_runs_are_as_long_as_they_can_be():
    def runs(*sizes):
        split = split_into_runs([bytes(size) for size in sizes], MAX_BATCH)
        return [([len(datagram) for datagram in run], segment) for run, segment in split]

    assert runs(9, 9, 9, 5, 9, 5, 5, 7) == [([9, 9, 9, 5], 9), ([9, 5], 9), ([5], 0), ([7], 0)]
    assert [len(run) for run, _ in runs(*[1] * 130)] == [64, 64, 2]
    assert [len(run) for run, _ in runs(*[1432] * 50)] == [45, 5]


@linux_only
@pytest.mark.netns
def test_on_a_path_with_a_small_mtu_large_segments_go_one_by_one(in_new_network_namespace):
    script = """
        import fcntl, socket, struct
        from collections import Counter
        from zt_async.aio.udp_socket import UdpSocket
        from zt_async.types import Endpoint, Flight
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            fcntl.ioctl(s, 0x8922, struct.pack("16si12x", b"lo", 1280))  # SIOCSIFMTU
            fcntl.ioctl(s, 0x8914, struct.pack("16sh14x", b"lo", 1))  # SIOCSIFFLAGS: up
        a, b = (UdpSocket(i, Endpoint("127.0.0.1", 0), Counter()) for i in (0, 1))
        for size in (1252, 1253, 1432, 1000):
            a._counts.clear()
            a.send(Flight(0, b.local, [bytes(size)] * 10))
            got = []
            b.receive(lambda number, remote, datagrams: got.extend(datagrams))
            assert got == [bytes(size)] * 10, (size, len(got))
            print(size, a._counts["send calls"], a.status().sending)
    """
    assert in_new_network_namespace(script) == ["1252 1 gso", "1253 10 gso", "1432 10 gso", "1000 1 gso"]
