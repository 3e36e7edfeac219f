"""Runs in a network namespace of its own: our stack on a TAP device, the kernel's sockets on the other end.

``python -m tests.stack.kernel_peer SCENARIO`` prints a line of JSON and exits 0, or dies with a traceback.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import ipaddress
import json
import os
import random
import select
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from zt_async.config import StackConfig
from zt_async.context import Context
from zt_async.stack.stack import Stack
from zt_async.stack.tcp.connection import TcpConnection
from zt_async.stack.tcp.options import TcpOptions
from zt_async.stack.tcp.state import State
from zt_async.types import MACAddress
from zt_async.wire import ethernet, icmpv4, igmp, mld
from zt_async.wire.icmpv6 import Echo

ADDRESSES = {6: ("fd00::1", "fd00::2"), 4: ("10.9.0.1", "10.9.0.2")}
"""The kernel's and ours."""
FAMILIES = {6: socket.AF_INET6, 4: socket.AF_INET}
PORT = 7000
MIB = 1 << 20
_TUNSETIFF, _IFF_TAP, _IFF_NO_PI = 0x400454CA, 0x0002, 0x1000
_DEADLINE = 60.0


def _open_tap(mtu: int) -> int:
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(fd, _TUNSETIFF, struct.pack("16sH22x", b"tap0", _IFF_TAP | _IFF_NO_PI))
    for command in (
        f"link set tap0 mtu {mtu} txqueuelen 10000 up",
        f"addr add {ADDRESSES[6][0]}/64 dev tap0 nodad",
        f"addr add {ADDRESSES[4][0]}/24 brd + dev tap0",
        "link set lo up",
    ):
        subprocess.run(["ip", *command.split()], check=True)
    return fd


class Pump:
    """Moves frames between the stack and the kernel until something has happened."""

    def __init__(self, *, family: int = 6, mtu: int = 2800, loss: float = 0.0, **config: Any) -> None:
        self.family = family
        self.kernel, self.ours = ADDRESSES[family]
        self._fd = _open_tap(mtu)
        self._loss = loss
        self._rng = random.Random(1)
        context = Context(random_bytes=os.urandom, wall_ms=lambda: int(time.time() * 1000))
        self.stack = Stack(context, StackConfig(**config))
        self.interface = self.stack.add_interface("tap", MACAddress(0x02AA00000002), mtu, self.now)
        self.interface.add_address(ipaddress.ip_interface(f"{ADDRESSES[6][1]}/64"), self.now)
        self.interface.add_address(ipaddress.ip_interface(f"{ADDRESSES[4][1]}/24"), self.now)

    @property
    def now(self) -> float:
        return time.monotonic()

    def run(self, until: Callable[[], bool]) -> None:
        deadline = self.now + _DEADLINE
        while not self._step(until):
            assert self.now < deadline, f"nothing came of it: {self.stack.take_ready()} {self.stack.counters}"

    def _step(self, until: Callable[[], bool]) -> bool:
        done = until()
        for _, frames in self.stack.frames_to_send(self.now):
            for frame in frames:
                if self._rng.random() >= self._loss:
                    self._write(ethernet.encode(frame))
        if done:
            return True
        timer = self.stack.next_timer()
        wait = 0.02 if timer is None else min(max(0.0, timer - self.now), 0.02)
        select.select([self._fd], [], [], wait)
        frames = []
        with contextlib.suppress(BlockingIOError):
            for _ in range(256):
                frame = ethernet.parse(os.read(self._fd, 65536))
                if self._rng.random() >= self._loss:
                    frames.append(frame)
        now = self.now
        self.stack.receive_frames(self.interface, frames, now)
        if timer is not None and timer <= now:
            self.stack.handle_timer(now)
        return False

    def _write(self, data: bytes) -> None:
        with contextlib.suppress(BlockingIOError):  # the device is full, as a wire may be
            os.write(self._fd, data)


class Kernel(threading.Thread):
    """Runs a function with blocking sockets; ``result`` is what it gave back."""

    def __init__(self, function: Callable[[], Any]) -> None:
        super().__init__(daemon=True)
        self._function = function
        self.result: Any = None
        self.error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self.result = self._function()
        except BaseException as error:
            self.error = error

    def done(self) -> bool:
        if self.error is not None:
            raise self.error
        return not self.is_alive()


def _socket(family: int) -> socket.socket:
    sock = socket.socket(FAMILIES[family], socket.SOCK_STREAM)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"reno")
    sock.settimeout(_DEADLINE)
    return sock


def _kernel_listener(pump: Pump) -> socket.socket:
    sock = _socket(pump.family)
    sock.bind((pump.kernel, PORT))
    sock.listen()
    return sock


def _data(size: int) -> bytes:
    return random.Random(size).randbytes(size)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _read_all(sock: socket.socket) -> bytes:
    parts = []
    while part := sock.recv(1 << 20):
        parts.append(part)
    return b"".join(parts)


def _connected(pump: Pump, options: TcpOptions | None = None) -> tuple[TcpConnection, socket.socket]:
    """Our connect, the kernel's accept."""
    with _kernel_listener(pump) as listener:
        ours = pump.stack.connect_tcp((pump.kernel, PORT), options=options or TcpOptions(), now=pump.now)
        kernel = Kernel(listener.accept)
        pump.run(lambda: ours.state is State.ESTABLISHED and kernel.done())
        theirs, _ = kernel.result
        theirs.settimeout(_DEADLINE)
        return ours, theirs


def _accepted(pump: Pump) -> tuple[TcpConnection, socket.socket]:
    """The kernel's connect, our accept."""
    listener = pump.stack.listen_tcp(("::", PORT), now=pump.now)
    sock = _socket(pump.family)
    kernel = Kernel(lambda: sock.connect((pump.ours, PORT)))
    got: list[TcpConnection] = []

    def accepted() -> bool:
        connection = listener.accept()
        if connection is not None:
            got.append(connection)
        return bool(got) and kernel.done()

    pump.run(accepted)
    return got[0], sock


class _Feeder:
    """Sends data as the connection takes it, then EOF."""

    def __init__(self, connection: TcpConnection, data: bytes) -> None:
        self._connection = connection
        self._data = data
        self._sent = 0

    def __call__(self) -> bool:
        connection = self._connection
        while (
            self._sent < len(self._data) and connection.unsent + connection.unacked < connection.send_target
        ):
            connection.send(self._data[self._sent : self._sent + 65536])
            self._sent += 65536
        if self._sent >= len(self._data):
            connection.send_eof()
            return True
        return False


class _Drain:
    """Reads until EOF."""

    def __init__(self, connection: TcpConnection) -> None:
        self._connection = connection
        self.parts: list[bytes] = []

    def __call__(self) -> bool:
        self.parts.append(self._connection.receive())
        assert self._connection.error is None, self._connection.error
        return self._connection.eof_received


def bulk(size: int, **options: Any) -> dict[str, Any]:
    """Both directions at once, both ways to connect, by hash; then both ends are gone."""
    pump = Pump(**options)
    up, down = _data(size), _data(size + 1)
    speeds = []
    for connected in (_connected, _accepted):
        ours, theirs = connected(pump)
        begin = time.monotonic()
        writer = Kernel(lambda theirs=theirs: (theirs.sendall(down), theirs.shutdown(socket.SHUT_WR)))
        reader = Kernel(lambda theirs=theirs: _digest(_read_all(theirs)))
        feed, drain = _Feeder(ours, up), _Drain(ours)
        pump.run(lambda: feed() & drain() & writer.done() & reader.done())  # noqa: B023
        speeds.append(round(2 * size / (time.monotonic() - begin) / MIB))
        assert reader.result == _digest(up)
        assert _digest(b"".join(drain.parts)) == _digest(down)
        theirs.close()
        pump.run(lambda: ours.state in (State.TIME_WAIT, State.CLOSED))  # noqa: B023
        assert ours.error is None
    return {"MiB/s": speeds, "counters": pump.stack.counters, "info": str(ours.info())}


def half_close(family: int = 6) -> dict[str, Any]:
    """Each side says that it is done, and hears the other out."""
    pump = Pump(family=family)
    ours, theirs = _accepted(pump)
    kernel = Kernel(lambda: (theirs.sendall(b"question"), theirs.shutdown(socket.SHUT_WR), _read_all(theirs)))
    drain = _Drain(ours)
    pump.run(drain)
    assert b"".join(drain.parts) == b"question"
    assert ours.state is State.CLOSE_WAIT
    ours.send(b"answer")
    ours.send_eof()
    pump.run(kernel.done)
    assert kernel.result[2] == b"answer"
    pump.run(lambda: ours.state is State.CLOSED)

    ours, theirs = _connected(pump)
    ours.send(b"question")
    ours.send_eof()
    kernel = Kernel(lambda: (_read_all(theirs), theirs.sendall(b"answer"), theirs.close()))
    drain = _Drain(ours)
    pump.run(lambda: drain() and kernel.done())
    assert kernel.result[0] == b"question"
    assert b"".join(drain.parts) == b"answer"
    pump.run(lambda: ours.state is State.TIME_WAIT)
    return {}


def refused(family: int = 6) -> dict[str, Any]:
    """Closed ports, from both sides."""
    pump = Pump(family=family)
    ours = pump.stack.connect_tcp((pump.kernel, 9), now=pump.now)
    pump.run(lambda: ours.state is State.CLOSED)
    assert isinstance(ours.error, ConnectionRefusedError)
    sock = _socket(pump.family)
    kernel = Kernel(lambda: sock.connect_ex((pump.ours, 9)))
    pump.run(kernel.done)
    assert kernel.result == errno.ECONNREFUSED
    return {}


def reset(family: int = 6) -> dict[str, Any]:
    """Abort, from both sides."""
    pump = Pump(family=family)
    ours, theirs = _connected(pump)
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    theirs.close()
    pump.run(lambda: ours.state is State.CLOSED)
    assert isinstance(ours.error, ConnectionResetError)
    ours, theirs = _accepted(pump)
    ours.abort()

    def read() -> int:
        try:
            theirs.recv(1)
        except OSError as error:
            return error.errno or 0
        return 0

    kernel = Kernel(read)
    pump.run(kernel.done)
    assert kernel.result == errno.ECONNRESET
    return {}


def closed_window(family: int = 6) -> dict[str, Any]:
    """A reader that does not read for a while, on both sides; nothing is lost or reset."""
    pump = Pump(family=family, receive_buffer=65536, max_receive_buffer=65536)
    ours, theirs = _connected(pump)
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
    data = _data(4 * MIB)
    feed = _Feeder(ours, data)
    resume_at = time.monotonic() + 1.5
    pump.run(lambda: feed() | (time.monotonic() > resume_at))
    assert ours.unsent
    reader = Kernel(lambda: _digest(_read_all(theirs)))
    pump.run(lambda: feed() & reader.done())
    assert reader.result == _digest(data)

    writer = Kernel(lambda: (theirs.sendall(data), theirs.shutdown(socket.SHUT_WR)))
    resume_at = time.monotonic() + 1.5
    pump.run(lambda: time.monotonic() > resume_at)
    assert ours.info().unread <= 65536
    drain = _Drain(ours)
    pump.run(lambda: drain() & writer.done())
    assert _digest(b"".join(drain.parts)) == _digest(data)
    return {}


def many(family: int = 6) -> dict[str, Any]:
    """500 short connections each way."""
    pump = Pump(family=family)
    listener = pump.stack.listen_tcp(("::", PORT), now=pump.now)

    def clients() -> int:
        for _ in range(500):
            with _socket(pump.family) as sock:
                sock.connect((pump.ours, PORT))
                sock.sendall(b"ping")
                assert sock.recv(4, socket.MSG_WAITALL) == b"ping"
        return 500

    kernel = Kernel(clients)
    serving: list[TcpConnection] = []

    def serve() -> bool:
        while (connection := listener.accept()) is not None:
            serving.append(connection)
        for connection in list(serving):
            data = connection.receive()
            if data:
                connection.send(data)
            if connection.eof_received:
                connection.close()
                serving.remove(connection)
        return kernel.done()

    pump.run(serve)
    listener.close()
    with _kernel_listener(pump) as theirs:
        theirs.listen(128)

        def echo() -> None:
            for _ in range(500):
                sock, _ = theirs.accept()
                with sock:
                    sock.sendall(sock.recv(4, socket.MSG_WAITALL))

        kernel = Kernel(echo)
        for _ in range(500):
            ours = pump.stack.connect_tcp((pump.kernel, PORT), now=pump.now)
            ours.send(b"ping")
            got = bytearray()

            def answered(ours: TcpConnection = ours, got: bytearray = got) -> bool:
                got.extend(ours.receive())
                assert ours.error is None
                return len(got) == 4

            pump.run(answered)
            ours.close()
        pump.run(kernel.done)
    return {"time-waits": len(pump.interface.tcp)}


def datagrams(family: int = 6) -> dict[str, Any]:
    """UDP up to many fragments, a closed port, and echo requests, both ways."""
    pump = Pump(family=family)
    with socket.socket(FAMILIES[family], socket.SOCK_DGRAM) as sock:
        sock.bind((pump.kernel, PORT))
        sock.settimeout(_DEADLINE)
        ours = pump.stack.open_udp((pump.ours, PORT), now=pump.now)
        for size in (0, 1, 2752, 2753, 10_000, 60_000):
            data = _data(size)
            ours.send(data, (pump.kernel, PORT), now=pump.now)
            kernel = Kernel(lambda: sock.recvfrom(65536))
            pump.run(kernel.done)
            assert kernel.result[0] == data
            assert kernel.result[1][:2] == (pump.ours, PORT)
            sock.sendto(data, (pump.ours, PORT))
            got: list[Any] = []

            def arrived(got: list[Any] = got) -> bool:
                got += ours.receive()
                return bool(got)

            pump.run(arrived)
            assert got == [(data, (pump.kernel, PORT))]
        ours.send(b"x", (pump.kernel, 9), now=pump.now)
        errors: list[Any] = []

        def failed() -> bool:
            errors.extend(ours.take_errors())
            return bool(errors)

        pump.run(failed)
        assert isinstance(errors[0][0], ConnectionRefusedError)
        assert errors[0][1] == (pump.kernel, 9)
        sock.connect((pump.ours, 9))
        sock.send(b"x")

        def refused() -> int:
            try:
                sock.recv(1)
            except ConnectionRefusedError:
                return 1
            return 0

        kernel = Kernel(refused)
        pump.run(kernel.done)
        assert kernel.result == 1
    pings = [pump.stack.ping(pump.kernel, bytes(size), now=pump.now) for size in (0, 56, 4000)]
    pump.run(lambda: all(ping.rtt is not None for ping in pings))
    is_ipv6 = family == 6
    protocol = socket.IPPROTO_ICMPV6 if is_ipv6 else socket.IPPROTO_ICMP
    with socket.socket(FAMILIES[family], socket.SOCK_RAW, protocol) as raw:
        raw.settimeout(_DEADLINE)
        raw.connect((pump.ours, 0))

        def echo() -> bytes:
            request = Echo(0x1234, 1, bytes(4000)).encode()
            # The kernel adds the checksum of ICMPv6, and gives packets of ICMP with their IP header.
            message = icmpv4.Message(icmpv4.ECHO_REQUEST, 0, request).encode()
            raw.send(b"\x80\0\0\0" + request if is_ipv6 else message)
            while (reply := raw.recv(65536)[0 if is_ipv6 else 20 :])[0] != (0x81 if is_ipv6 else 0):
                pass
            return reply

        kernel = Kernel(echo)
        pump.run(kernel.done)
        assert kernel.result[4:] == b"\x12\x34\x00\x01" + bytes(4000)
    return {}


def _sysctl(**values: int) -> None:
    for name, value in values.items():
        with open(f"/proc/sys/net/ipv4/{name}", "w") as file:
            file.write(str(value))


def old_peer() -> dict[str, Any]:
    """The kernel without SACK, timestamps and window scaling, on a lossy wire."""
    _sysctl(tcp_sack=0, tcp_timestamps=0, tcp_window_scaling=0)
    return bulk(2 * MIB, loss=0.01)


def without_timestamps() -> dict[str, Any]:
    _sysctl(tcp_timestamps=0)
    return bulk(4 * MIB, loss=0.01)


def neighbours(family: int = 6) -> dict[str, Any]:
    """The kernel asks for our MAC and learns it; of its own new one it tells, and is believed."""
    pump = Pump(family=family)
    ping = pump.stack.ping(pump.kernel, now=pump.now)
    pump.run(lambda: ping.rtt is not None)
    _ip("neigh flush dev tap0")
    with socket.socket(FAMILIES[family], socket.SOCK_DGRAM) as sock:
        ours = pump.stack.open_udp((pump.ours, PORT), now=pump.now)
        sock.sendto(b"x", (pump.ours, PORT))
        pump.run(lambda: bool(ours.receive()))
    assert "02:aa:00:00:00:02" in _ip(f"neigh show {pump.ours} dev tap0")
    _sysctl(**{"conf/tap0/arp_notify": 1, "../ipv6/conf/tap0/ndisc_notify": 1})
    _ip("link set tap0 address 02:aa:00:00:00:77")
    entry = pump.interface.neighbors.find(ipaddress.ip_address(pump.kernel).packed)
    assert entry is not None
    pump.run(lambda: entry.mac == 0x02AA00000077)
    ping = pump.stack.ping(pump.kernel, now=pump.now)
    pump.run(lambda: ping.rtt is not None)
    return {}


def multicast(family: int = 6) -> dict[str, Any]:
    """Datagrams to groups and to everybody, both ways; the kernel hears our reports, as a router would."""
    group, everybody = ("ff05::1234", "ff02::1") if family == 6 else ("239.1.2.3", "10.9.0.255")
    pump = Pump(family=family)
    ours = pump.stack.open_udp(("", PORT), now=pump.now)
    ours.broadcast = True
    ours.join_group(group)
    with _sniffer() as sniffer, socket.socket(FAMILIES[family], socket.SOCK_DGRAM) as sock:
        sock.bind(("", PORT))
        sock.settimeout(_DEADLINE)
        index = socket.if_nametoindex("tap0")
        if family == 6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
            request = socket.inet_pton(socket.AF_INET6, group) + struct.pack("@I", index)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, request)
        else:
            own = socket.inet_aton(pump.kernel)
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, own)
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(group) + own)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        for destination in (group, everybody):
            ours.send(b"from us", (destination, PORT), now=pump.now)
            heard = Kernel(lambda: _read_until(sock, b"from us"))
            pump.run(heard.done)
            sock.sendto(b"from the kernel", (destination, PORT))
            pump.run(lambda: b"from the kernel" in [data for data, _ in ours.receive()])
        ours.leave_group(group)
        packed = socket.inet_pton(FAMILIES[family], group)
        reports = _Reports(sniffer, family, packed)
        pump.run(lambda: reports.kinds() >= {4, 3})  # changed to "exclude nobody", then to "include nobody"
    return {}


def router(family: int = 6) -> dict[str, Any]:
    """The kernel as the gateway of a default route, and what it says of packets that it cannot carry."""
    pump = Pump(family=family)
    beyond = {6: ("2001:db8::", "2001:db8:1::", "2001:db8:2::"), 4: ("192.0.2.", "198.51.100.", "203.0.113.")}
    narrow, closed, forbidden = beyond[family]
    prefix = 48 if family == 6 else 24
    size = "" if family == 6 else "0"
    _sysctl(**{"ip_forward": 1, "../ipv6/conf/all/forwarding": 1})
    _ip("link add beyond mtu 1300 type veth peer name nowhere")
    _ip("link set nowhere up")
    _ip("link set beyond up")
    _ip(f"route add {narrow}{size}/{prefix} dev beyond")
    _ip(f"neigh add {narrow}9 lladdr 02:aa:00:00:00:99 dev beyond")
    _ip(f"route add unreachable {closed}{size}/{prefix}")
    _ip(f"route add prohibit {forbidden}{size}/{prefix}")
    default = ipaddress.ip_network("::/0" if family == 6 else "0.0.0.0/0")
    pump.stack.add_route(default, pump.interface, pump.kernel)

    target = ipaddress.ip_address(f"{narrow}9").packed
    ours = pump.stack.open_udp(now=pump.now)
    ours.send(bytes(2000), (f"{narrow}9", PORT), now=pump.now)
    pump.run(lambda: pump.interface.path_mtu(target, pump.now) == 1300)
    assert pump.stack.connect_tcp((f"{narrow}9", PORT), now=pump.now).flow.mtu == 1300

    def error_of(send: Callable[[], None]) -> int:
        errors: list[Any] = []
        send()
        pump.run(lambda: bool(errors.extend(ours.take_errors()) or errors))
        return errors[0][0].errno or 0

    ours.hop_limit = 1
    assert error_of(lambda: ours.send(b"x", (f"{narrow}9", 9), now=pump.now)) == errno.EHOSTUNREACH
    ours.hop_limit = 64
    no_route = errno.ENETUNREACH if family == 6 else errno.EHOSTUNREACH
    for host, code in ((f"{closed}9", no_route), (f"{forbidden}9", errno.EACCES)):
        connection = pump.stack.connect_tcp((host, PORT), now=pump.now)
        pump.run(lambda: connection.error is not None)  # noqa: B023
        assert connection.error is not None
        assert connection.error.errno == code
    return {}


def _read_until(sock: socket.socket, wanted: bytes) -> None:
    """What goes to a group comes back to its sender as well."""
    while sock.recv(100) != wanted:
        pass


def querier(family: int = 6, version: int = 3) -> dict[str, Any]:
    """A router's question, as the kernel's bridge asks it, is answered for all groups."""
    group = "ff05::1234" if family == 6 else "239.1.2.3"
    pump = Pump(family=family)
    _sysctl(**{"../ipv6/conf/default/accept_dad": 0})
    _ip(
        "link add br0 type bridge forward_delay 0 mcast_snooping 1 mcast_querier 1"
        " mcast_startup_query_count 30 mcast_startup_query_interval 100 mcast_query_response_interval 50"
        f" mcast_igmp_version {version} mcast_mld_version {version - 1}"
    )
    for command in ("link set tap0 master br0", "addr add 10.9.0.9/24 dev br0", "link set br0 up"):
        _ip(command)
    ours = pump.stack.open_udp(("", PORT), now=pump.now)
    ours.join_group(group)
    with _sniffer() as sniffer:
        reports = _Reports(sniffer, family, socket.inet_pton(FAMILIES[family], group))
        # "is exclude nobody", which only answers say, or a report of the older version
        answer = 2 if version == 3 else mld.REPORT_V1 if family == 6 else igmp.REPORT_V2
        pump.run(lambda: answer in reports.kinds())
    pump.run(lambda: group in _run("bridge", "mdb", "show", "dev", "br0"))
    return {}


def _run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def _ip(command: str) -> str:
    return _run("ip", *command.split())


def _sniffer() -> socket.socket:
    """Sees all frames of the device, as tcpdump does."""
    sniffer = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    sniffer.bind(("tap0", 0))
    sniffer.setblocking(False)
    return sniffer


class _Reports:
    """The kinds of records about a group that reports on the wire had, and the types of older reports."""

    def __init__(self, sniffer: socket.socket, family: int, group: bytes) -> None:
        self._sniffer = sniffer
        self._family = family
        self._group = group
        self._kinds: set[int] = set()

    def kinds(self) -> set[int]:
        with contextlib.suppress(BlockingIOError):
            while True:
                _, _, _, packet = ethernet.parse(self._sniffer.recv(65536))
                if packet[0] >> 4 == self._family and len(packet) >= 32:
                    self._read(packet[48 if self._family == 6 else 24 :])
        return self._kinds

    def _read(self, message: bytes) -> None:
        if message[:1] in (bytes((mld.REPORT,)), bytes((igmp.REPORT,))):
            size = 4 + len(self._group)
            for at in range(8, len(message) - size + 1, size):
                if message[at + 4 : at + size] == self._group:
                    self._kinds.add(message[at])
        elif message[8 if self._family == 6 else 4 :] == self._group:
            self._kinds.add(message[0])


SCENARIOS: dict[str, Callable[[], dict[str, Any]]] = {
    "bulk": lambda: bulk(32 * MIB),
    "lossy": lambda: bulk(4 * MIB, loss=0.02),
    "newreno": lambda: bulk(4 * MIB, loss=0.01, congestion_control="newreno"),
    "small-mtu": lambda: bulk(4 * MIB, mtu=1280),
    "old-peer": old_peer,
    "without-timestamps": without_timestamps,
    "half-close": half_close,
    "refused": refused,
    "reset": reset,
    "closed-window": closed_window,
    "many": many,
    "datagrams": datagrams,
    "router": router,
    "neighbours": neighbours,
    "multicast": multicast,
    "querier": querier,
    "ipv4-bulk": lambda: bulk(32 * MIB, family=4),
    "ipv4-lossy": lambda: bulk(4 * MIB, family=4, loss=0.02),
    "ipv4-half-close": lambda: half_close(4),
    "ipv4-refused": lambda: refused(4),
    "ipv4-reset": lambda: reset(4),
    "ipv4-many": lambda: many(4),
    "ipv4-datagrams": lambda: datagrams(4),
    "ipv4-router": lambda: router(4),
    "ipv4-neighbours": lambda: neighbours(4),
    "ipv4-multicast": lambda: multicast(4),
    "ipv4-querier": lambda: querier(4),
    "old-querier": lambda: querier(6, version=2),
    "ipv4-old-querier": lambda: querier(4, version=2),
}


if __name__ == "__main__":
    begin = time.monotonic()
    outcome = SCENARIOS[sys.argv[1]]()
    outcome["seconds"] = round(time.monotonic() - begin, 2)
    sys.stdout.write(json.dumps(outcome) + "\n")
