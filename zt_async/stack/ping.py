"""Echo requests that wait for their replies, of both families."""

from __future__ import annotations

import errno
from collections import deque
from collections.abc import Callable, Iterator

from zt_async.stack.addresses import pack_address
from zt_async.stack.arrival import TransportError
from zt_async.stack.flow import Flow
from zt_async.stack.host import Host, Socket, os_error
from zt_async.stack.interface import Interface
from zt_async.wire import icmpv4, icmpv6, ip
from zt_async.wire.icmpv6 import Echo

_REQUESTS = {ip.ICMPV4: icmpv4.ECHO_REQUEST, ip.ICMPV6: icmpv6.ECHO_REQUEST}
_REPLIES = {ip.ICMPV4: icmpv4.ECHO_REPLY, ip.ICMPV6: icmpv6.ECHO_REPLY}
_MAX_ANSWERED = 64
_MAX_PAYLOAD = {16: 65527, 4: 65507}  # by the size of an address

_Key = tuple[int, int]


class Ping(Socket):
    """Exactly one of ``rtt`` and ``error`` will be set, or neither."""

    __slots__ = ("_forget", "_sent_at", "error", "interface", "payload", "remote", "rtt")

    def __init__(
        self, forget: Callable[[], object], interface: Interface, remote: str, payload: bytes, now: float
    ) -> None:
        super().__init__()
        self._forget = forget
        self._sent_at = now
        self.interface = interface
        self.remote = remote
        self.payload = payload
        self.rtt: float | None = None
        """Seconds until the reply, which had the same payload."""
        self.error: OSError | None = None

    def cancel(self) -> None:
        """Wait no longer."""
        self._forget()

    def finish(self, now: float, error: OSError | None) -> None:
        self.cancel()
        if error is None:
            self.rtt = now - self._sent_at
        self.error = error


class PingTable:
    """One of each stack."""

    __slots__ = ("_host", "_waiting", "answered")

    def __init__(self, host: Host) -> None:
        self._host = host
        self._waiting: dict[_Key, Ping] = {}
        self.answered: deque[tuple[bytes, bytes]] = deque(maxlen=_MAX_ANSWERED)
        """Where replies went last, with identifier and sequence number: those too large for a path are told by them."""

    def __len__(self) -> int:
        return len(self._waiting)

    def __iter__(self) -> Iterator[Ping]:
        return iter(self._waiting.values())

    def add(self, flow: Flow, remote: str, payload: bytes, now: float) -> tuple[Ping, Echo]:
        """Begin to wait, and what to send.

        Raises OSError: ENOBUFS when too many wait, EMSGSIZE beyond 65527 bytes, or 65507 with IPv4.
        """
        if len(payload) > _MAX_PAYLOAD[len(flow.source)]:
            raise os_error(errno.EMSGSIZE)
        waiting = self._waiting
        if len(waiting) >= self._host.config.max_pings:
            raise os_error(errno.ENOBUFS)
        key = (0, 0)
        while not key[0] or key in waiting:
            number = int.from_bytes(self._host.context.random_bytes(4), "big")
            key = (number >> 16, number & 0xFFFF)
        ping = waiting[key] = Ping(lambda: waiting.pop(key, None), flow.interface, remote, payload, now)
        return ping, Echo(*key, payload)

    def receive_reply(self, echo: Echo, now: float) -> bool:
        """Whether a reply was waited for."""
        ping = self._waiting.get((echo.identifier, echo.sequence))
        if ping is None or ping.payload != echo.payload:
            return False
        self._finish(ping, now, None)
        return True

    def receive_error(self, error: TransportError, now: float) -> None:
        """An ICMP error about an echo request from here."""
        request = error.transport
        if len(request) < 8:
            return
        if request[0] == _REPLIES.get(error.protocol) and (error.destination, request[4:8]) in self.answered:
            error.believe(now)
        if request[0] != _REQUESTS.get(error.protocol):
            return
        ping = self._waiting.get((int.from_bytes(request[4:6], "big"), int.from_bytes(request[6:8], "big")))
        if ping is None or pack_address(ping.remote) != error.destination:
            return
        error.believe(now)
        if error.code != errno.EMSGSIZE:
            self._finish(ping, now, os_error(error.code))

    def close_interface(self, interface: Interface, now: float) -> None:
        """Pings that wait there fail with ENETDOWN."""
        for ping in [ping for ping in self._waiting.values() if ping.interface is interface]:
            self._finish(ping, now, os_error(errno.ENETDOWN))

    def _finish(self, ping: Ping, now: float, error: OSError | None) -> None:
        ping.finish(now, error)
        self._host.mark_ready(ping)
