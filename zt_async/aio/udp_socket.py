"""One UDP socket that moves datagrams in batches: by UDP GSO and GRO on Linux, one by one elsewhere.

GSO (generic segmentation offload) takes datagrams of one size as one buffer in one system call; GRO hands
them over likewise. Both leave the datagrams what they are on the wire.
"""

from __future__ import annotations

import errno
import socket
import struct
import sys
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

from zt_async.types import Endpoint, Flight

OnDatagrams: TypeAlias = Callable[[int, Endpoint, list[bytes]], None]
"""Takes the number of the local socket, the remote endpoint, and what came from it one after the other."""

MaySend: TypeAlias = Callable[[], bool]
"""Asked before each system call that sends, also for what was queued: False loses the datagrams."""

LINUX = sys.platform == "linux"
SOL_UDP = 17
UDP_SEGMENT = 103
UDP_GRO = 104
IP_MTU_DISCOVER, IP_PMTUDISC_DONT = 10, 0
IPV6_MTU_DISCOVER, IPV6_PMTUDISC_DONT = 23, 0
MSG_TRUNC = getattr(socket, "MSG_TRUNC", 0)
GSO_REFUSED = {errno.EIO, errno.EOPNOTSUPP, errno.ENOPROTOOPT, errno.ENOSYS}
SEGMENT_SIZE = struct.Struct("=H")
GRO_SPACE = socket.CMSG_SPACE(4) if LINUX else 0

MAX_SEGMENTS = 64
MAX_BATCH = 65_000  # bytes
MAX_DATAGRAM = 16 << 10  # ZeroTier's largest has 10,324 bytes
MAX_GRO_BUFFER = 65_535
MAX_READS = 128  # per wake-up, so that a busy socket does not keep the loop to itself
MAX_READ_BYTES = 256 << 10
MAX_QUEUE = 1 << 20  # bytes that wait while the system takes no more
MAX_NARROW_REMOTES = 1024
BUFFER_SIZES = (4 << 20, 1 << 20, 256 << 10)

_Run: TypeAlias = tuple[list[bytes], Endpoint, int | None, int]
"""Datagrams, where to, TTL, and the segment size if they are a GSO batch (else 0)."""

_Receive: TypeAlias = Callable[[int, int], tuple[bytes, list[Any], int, Any]]


@dataclass(frozen=True, slots=True)
class UdpSocketStatus:
    """How a bound UDP socket works."""

    number: int
    """Number of the socket, as in ``PathInfo.local_socket``."""
    local: Endpoint
    sending: str
    """``gso`` or ``plain`` (or ``simulated``)."""
    receiving: str
    """``gro`` or ``plain`` (or ``simulated``)."""
    receive_buffer: int
    """Bytes that the system keeps for the socket while the loop is busy."""


class UdpSocket:
    """A bound UDP socket. Once it is made, errors are counted and not raised: datagrams get lost anyway."""

    def __init__(
        self,
        number: int,
        local: Endpoint,
        counts: Counter[str],
        *,
        batched: bool = True,
        may_send: MaySend | None = None,
    ) -> None:
        """Bind to ``local``. Raises OSError as ``socket.bind`` does."""
        self.number = number
        self.ipv6 = local.family == 6
        self._counts = counts
        self._may_send = may_send
        self._socket = socket.socket(socket.AF_INET6 if self.ipv6 else socket.AF_INET, socket.SOCK_DGRAM)
        try:
            self._set_options()
            self._socket.bind(local)
            self.gso = batched and self._has(UDP_SEGMENT)
            self.gro = batched and self._has(UDP_GRO)
            if self.gro:
                self._socket.setsockopt(SOL_UDP, UDP_GRO, 1)
        except OSError:
            self._socket.close()
            raise
        self.local = Endpoint(local.host, self._socket.getsockname()[1])
        self._receive = _receive_function(self._socket)
        self._receive_size = MAX_GRO_BUFFER if self.gro else MAX_DATAGRAM
        self._last_address: object = None
        self._last_endpoint = local
        self._narrow: dict[Endpoint, int] = {}  # segments of this size and more do not fit a remote's path
        self._queue: deque[_Run] = deque()
        self._queued = 0

    def _set_options(self) -> None:
        sock = self._socket
        sock.setblocking(False)
        if self.ipv6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            self._ttl_option = socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS
        else:
            self._ttl_option = socket.IPPROTO_IP, socket.IP_TTL
        self._ttl = sock.getsockopt(*self._ttl_option)
        if LINUX:  # what is too large for the path is fragmented rather than lost
            sock.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DONT)
            if self.ipv6:
                sock.setsockopt(socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_DONT)
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            for size in BUFFER_SIZES:
                try:
                    sock.setsockopt(socket.SOL_SOCKET, option, size)
                except OSError:
                    continue  # Linux gives what it may, others refuse
                break

    def _has(self, option: int) -> bool:
        """Whether the system has this option of Linux's UDP."""
        if not LINUX:
            return False
        try:
            self._socket.getsockopt(SOL_UDP, option)
        except OSError:
            return False
        return True

    @property
    def closed(self) -> bool:
        return self._socket.fileno() < 0

    def fileno(self) -> int:
        return self._socket.fileno()

    def status(self) -> UdpSocketStatus:
        return UdpSocketStatus(
            self.number,
            self.local,
            "gso" if self.gso else "plain",
            "gro" if self.gro else "plain",
            self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF),
        )

    def close(self) -> None:
        """Close the socket; what is queued is lost."""
        self._queue.clear()
        self._socket.close()

    # Receiving

    def receive(self, on_datagrams: OnDatagrams) -> None:
        """Hand over what has arrived, up to a bound; with more left the socket stays readable."""
        number = self.number
        receive = self._receive
        batch: list[bytes] = []
        batch_from: object = None
        count = size = calls = 0
        while calls < MAX_READS and size < MAX_READ_BYTES:
            try:
                data, ancillary, flags, address = receive(self._receive_size, GRO_SPACE)
            except BlockingIOError:
                break
            except OSError as error:
                if self.closed:  # by what on_datagrams led to
                    break
                calls += 1
                self._count("receive", error)
                continue
            calls += 1
            size += len(data)
            if flags & MSG_TRUNC:
                self._counts["receive: too large"] += 1
                continue
            if address != batch_from:
                if batch:
                    count += len(batch)
                    on_datagrams(number, self._endpoint(batch_from), batch)
                batch = []
                batch_from = address
            if ancillary:
                segment = int.from_bytes(ancillary[0][2], sys.byteorder)
                batch += [data[at : at + segment] for at in range(0, len(data), segment)]
            else:
                batch.append(data)
        if batch:
            count += len(batch)
            on_datagrams(number, self._endpoint(batch_from), batch)
        self._counts["received"] += count
        self._counts["received bytes"] += size
        self._counts["receive calls"] += calls

    def _endpoint(self, address: Any) -> Endpoint:
        """The remote of a socket address, without flow and scope."""
        if address != self._last_address:
            self._last_endpoint = Endpoint(address[0].partition("%")[0], address[1])
            self._last_address = address
        return self._last_endpoint

    # Sending

    @property
    def waiting(self) -> bool:
        """The system takes no more for now: ``send_waiting`` is to be called when the socket is writable."""
        return bool(self._queue)

    def send(self, flight: Flight) -> None:
        """Send all of a flight in as few system calls as it takes; or queue it, or count why not."""
        _, remote, datagrams, ttl = flight
        if (":" in remote.host) is not self.ipv6:
            self._counts["send: no socket"] += len(datagrams)
        elif self.gso and ttl is None and len(datagrams) > 1:
            for run, segment in split_into_runs(datagrams, self._narrow.get(remote, MAX_BATCH)):
                self._send_run((run, remote, None, segment))
        else:
            self._send_run((datagrams, remote, ttl, 0))

    def send_waiting(self) -> None:
        """Send what is queued, as far as the system takes it."""
        waiting, self._queue = self._queue, deque()
        while waiting and not self._queue:
            run = waiting.popleft()
            self._queued -= _size(run)
            self._send_run(run)
        self._queue += waiting

    def forget_narrow_paths(self) -> None:
        """Try batches again where segments were too large, as routes and their MTUs change."""
        self._narrow.clear()

    def _send_run(self, run: _Run) -> None:
        _, _, ttl, segment = run
        if self._queue:
            self._enqueue(run)
        elif segment:
            self._send_batch(run)
        elif ttl is None:
            self._send_plain(run)
        else:
            self._socket.setsockopt(*self._ttl_option, ttl)
            try:
                self._send_plain(run)
            finally:
                self._socket.setsockopt(*self._ttl_option, self._ttl)

    def _send_batch(self, run: _Run) -> None:
        datagrams, remote, _, segment = run
        ancillary = [(SOL_UDP, UDP_SEGMENT, SEGMENT_SIZE.pack(segment))]
        if self._may_send is not None and not self._may_send():
            self._counts["send: not allowed"] += len(datagrams)
            return
        try:
            size = self._socket.sendmsg(datagrams, ancillary, 0, remote)
        except BlockingIOError:
            self._enqueue(run)
        except OSError as error:
            if error.errno in GSO_REFUSED:
                self.gso = False
            elif error.errno in (errno.EINVAL, errno.EMSGSIZE):  # larger than the path's MTU
                if len(self._narrow) >= MAX_NARROW_REMOTES:
                    self._narrow.clear()
                self._narrow[remote] = segment
            else:
                self._count("send", error, len(datagrams))
                return
            self._send_plain(run)
        else:
            self._counts["sent"] += len(datagrams)
            self._counts["sent bytes"] += size
            self._counts["send calls"] += 1

    def _send_plain(self, run: _Run) -> None:
        datagrams, remote, ttl, _ = run
        sendto = self._socket.sendto
        may_send = self._may_send
        count = size = 0
        for index, datagram in enumerate(datagrams):
            if may_send is not None and not may_send():
                self._counts["send: not allowed"] += len(datagrams) - index
                break
            try:
                size += sendto(datagram, remote)
                count += 1
            except BlockingIOError:
                self._enqueue((datagrams[index:], remote, ttl, 0))
                break
            except OSError as error:
                self._count("send", error)
        self._counts["sent"] += count
        self._counts["sent bytes"] += size
        self._counts["send calls"] += count

    def _enqueue(self, run: _Run) -> None:
        size = _size(run)
        if self._queued + size > MAX_QUEUE:
            self._counts["send: queue full"] += len(run[0])
            return
        self._queue.append(run)
        self._queued += size

    def _count(self, what: str, error: OSError, datagrams: int = 1) -> None:
        self._counts[f"{what}: {errno.errorcode.get(error.errno or 0, 'error')}"] += datagrams


def split_into_runs(datagrams: list[bytes], too_large: int) -> Iterator[tuple[list[bytes], int]]:
    """Split into what fits one GSO batch each: datagrams of equal size, of which the last may be shorter.

    Yields each run with its segment size, or with 0 if it is no batch: a lone datagram, or one of
    ``too_large`` bytes or more.
    """
    start = 0
    end = len(datagrams)
    while start < end:
        segment = size = len(datagrams[start])
        at = start + 1
        if 0 < segment < too_large:
            last = min(end, start + MAX_SEGMENTS)
            while at < last:
                length = len(datagrams[at])
                size += length
                if not 0 < length <= segment or size > MAX_BATCH:
                    break
                at += 1
                if length < segment:
                    break
        yield datagrams[start:at], segment if at - start > 1 else 0
        start = at


def _size(run: _Run) -> int:
    return sum(map(len, run[0]))


def _receive_function(sock: socket.socket) -> _Receive:
    """``sock.recvmsg``, or the same made of ``recvfrom`` where the system has no such call."""
    if hasattr(sock, "recvmsg"):
        return sock.recvmsg

    def receive(size: int, _: int) -> tuple[bytes, list[Any], int, Any]:
        data, address = sock.recvfrom(size)
        return data, [], 0, address

    return receive
