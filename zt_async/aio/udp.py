"""The UDP sockets of a node: which addresses and ports are bound, and datagrams in and out in batches.

vl1.md 5.15, DESIGN 6. Every usable address of the host has a socket on the primary port and one on the
secondary. Sockets have numbers that are never given twice, so that paths of a closed one are not taken for
those of its successor.
"""

from __future__ import annotations

import asyncio
import errno
import secrets
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol, TypeAlias

from zt_async.aio.interfaces import LocalAddress, local_addresses, usable_addresses
from zt_async.aio.udp_socket import MaySend, OnDatagrams, UdpSocket, UdpSocketStatus
from zt_async.config import NodeConfig
from zt_async.errors import NodeFailed, PortUnavailable
from zt_async.types import Endpoint, Flight

OnDrained: TypeAlias = Callable[[], None]

RANDOM_PORTS = range(20000, 65500)
RANDOM_TRIES = 256
MAX_SOCKETS = 256
WILDCARDS = ("0.0.0.0", "::")  # where the host does not tell its addresses


class Udp(Protocol):
    """What a node needs of UDP: sockets of this host (``UdpSockets``), or of a simulated one."""

    counts: Counter[str]
    """Datagrams, bytes and system calls, and what was lost by reason."""

    @property
    def sockets(self) -> Mapping[int, Endpoint]:
        """Socket number to local endpoint."""

    def open(self, on_datagrams: OnDatagrams, on_drained: OnDrained, /) -> None:
        """Bind, and on the running loop call ``on_datagrams`` for each batch from now on.

        ``on_drained`` is called when all that arrived at one time is handed over. Raises PortUnavailable.
        """

    def refresh(self, *, new_secondary: bool = False) -> bool:
        """Follow changes of the host's addresses. True if sockets came or went."""

    def send(self, flights: Iterable[Flight], /) -> None:
        """Send what the core's ``flights_to_send`` returned. What cannot be sent is counted, not raised."""

    def status(self) -> tuple[UdpSocketStatus, ...]:
        """Each socket, with what it uses."""

    def close(self) -> None:
        """Close all sockets. They can be opened again."""


class UdpSockets:
    """UDP on the addresses of this host."""

    def __init__(
        self,
        config: NodeConfig,
        addresses: Callable[[], list[LocalAddress]] = local_addresses,
        *,
        may_send: MaySend | None = None,
    ) -> None:
        """``addresses`` tells which addresses the host has; ``may_send`` can end all sending at any moment."""
        self.counts: Counter[str] = Counter()
        self.port = config.port
        """The primary port; 0 until a random one is chosen."""
        self.secondary_port = config.secondary_port
        self._config = config
        self._addresses = addresses
        self._may_send = may_send
        self._sockets: dict[int, UdpSocket] = {}
        self._congested: set[int] = set()
        self._next_number = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._on_datagrams: OnDatagrams | None = None
        self._on_drained: OnDrained | None = None

    @property
    def sockets(self) -> dict[int, Endpoint]:
        return {number: sock.local for number, sock in self._sockets.items()}

    def status(self) -> tuple[UdpSocketStatus, ...]:
        return tuple(sock.status() for sock in self._sockets.values())

    def open(self, on_datagrams: OnDatagrams, on_drained: OnDrained, /) -> None:
        """Bind the sockets, and read them on the running loop from now on.

        Raises PortUnavailable if a port or an address that was asked for cannot be had, and NodeFailed on a
        loop that cannot watch sockets.
        """
        if self._loop is not None:
            raise RuntimeError("these UDP sockets are open already")
        loop = asyncio.get_running_loop()
        if isinstance(loop, getattr(asyncio, "ProactorEventLoop", ())):
            raise NodeFailed("a ProactorEventLoop cannot watch sockets: run on asyncio.SelectorEventLoop")
        self._loop = loop
        self._on_datagrams = on_datagrams
        self._on_drained = on_drained
        try:
            ips = self._wanted_ips()
        except OSError:
            ips = list(WILDCARDS)
        try:
            self.port = self._bind_port(ips, "port", self._config.port)
            if self._config.secondary_port not in (None, self.port):
                self.secondary_port = self._bind_port(ips, "secondary_port", self._config.secondary_port or 0)
        except BaseException:
            self.close()
            raise

    def refresh(self, *, new_secondary: bool = False) -> bool:
        """Bind addresses that are new and close the sockets of those that are gone.

        ``new_secondary`` takes another secondary port, unless a fixed one is configured: after a long time
        offline the old one may be stuck in a NAT. Returns whether sockets came or went. What cannot be
        bound is counted, and tried again the next time.
        """
        before = set(self._sockets)
        try:
            ips = self._wanted_ips()
        except OSError as error:  # as for want of descriptors: no reason to give up what works
            self.counts[f"addresses: {errno.errorcode.get(error.errno or 0, 'error')}"] += 1
            return False
        new_secondary = new_secondary and self._config.secondary_port == 0
        for number, sock in list(self._sockets.items()):
            if sock.local.host not in ips or (new_secondary and sock.local.port == self.secondary_port):
                self._close_socket(number)
            else:
                sock.forget_narrow_paths()
        if new_secondary:
            self.secondary_port = _random_port()
        bound = set(self.sockets.values())
        for port in (self.port, self.secondary_port):
            for ip in ips:
                local = Endpoint(ip, port or 0)
                if port is not None and local not in bound:
                    bound.add(local)
                    try:
                        self._watch(self._bind(local))
                    except OSError as error:
                        self.counts[f"bind: {errno.errorcode.get(error.errno or 0, 'error')}"] += 1
        return set(self._sockets) != before

    def send(self, flights: Iterable[Flight], /) -> None:
        """Send flights, each from its socket; those of socket -1 from every one of the remote's family."""
        sockets = self._sockets
        for flight in flights:
            number = flight.socket
            if number >= 0:
                sock = sockets.get(number)
                if sock is None:
                    self.counts["send: no socket"] += len(flight.datagrams)
                    continue
                sock.send(flight)
                if sock.waiting:
                    self._watch_writable(sock)
            else:
                ipv6 = flight.remote.family == 6
                for sock in sockets.values():
                    if sock.ipv6 is ipv6:
                        sock.send(flight)
                        if sock.waiting:
                            self._watch_writable(sock)

    def close(self) -> None:
        for number in list(self._sockets):
            self._close_socket(number)
        self._loop = None
        self._on_datagrams = None
        self._on_drained = None

    def _wanted_ips(self) -> list[str]:
        """Raises OSError where the host does not tell its addresses."""
        config = self._config
        if config.bind:
            return list(dict.fromkeys(Endpoint.make(ip, 0).host for ip in config.bind))
        usable = usable_addresses(
            self._addresses(),
            allow_loopback=config.allow_loopback_paths,
            interface_blacklist=config.interface_blacklist,
            blacklist=config.path_blacklist,
        )
        return usable[: MAX_SOCKETS // 2]

    def _bind_port(self, ips: list[str], setting: str, port: int) -> int:
        """Bind a port on all of ``ips`` and return it; for 0 one that is free on all."""
        if port:
            self._bind_all(ips, setting, port)
            return port
        for _ in range(RANDOM_TRIES):
            port = _random_port()
            try:
                self._bind_all(ips, setting, port)
            except PortUnavailable as error:
                if error.errno != errno.EADDRINUSE:
                    raise
            else:
                return port
        text = f"no free UDP port found in {RANDOM_TRIES} tries: set one with {setting}="
        raise PortUnavailable(errno.EADDRINUSE, text)

    def _bind_all(self, ips: list[str], setting: str, port: int) -> None:
        bound: list[UdpSocket] = []
        for ip in ips:
            try:
                bound.append(self._bind(Endpoint(ip, port)))
            except OSError as error:
                if error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT) and not self._config.bind:
                    continue  # not there any more, or not yet: refresh tries again
                for sock in bound:
                    sock.close()
                raise PortUnavailable(error.errno, _advice(setting, Endpoint(ip, port), error)) from error
        for sock in bound:
            self._watch(sock)

    def _bind(self, local: Endpoint) -> UdpSocket:
        number = self._next_number
        sock = UdpSocket(
            number, local, self.counts, batched=self._config.batched_udp, may_send=self._may_send
        )
        self._next_number = number + 1
        return sock

    def _watch(self, sock: UdpSocket) -> None:
        assert self._loop is not None
        self._sockets[sock.number] = sock
        self._loop.add_reader(sock.fileno(), self._on_readable, sock)

    def _on_readable(self, sock: UdpSocket) -> None:
        on_datagrams, on_drained = self._on_datagrams, self._on_drained
        if on_datagrams is not None and on_drained is not None:
            sock.receive(on_datagrams)
            on_drained()

    def _watch_writable(self, sock: UdpSocket) -> None:
        if sock.number not in self._congested and self._loop is not None:
            self._congested.add(sock.number)
            self._loop.add_writer(sock.fileno(), self._on_writable, sock)

    def _on_writable(self, sock: UdpSocket) -> None:
        sock.send_waiting()
        if not sock.waiting and self._loop is not None:
            self._congested.discard(sock.number)
            self._loop.remove_writer(sock.fileno())

    def _close_socket(self, number: int) -> None:
        sock = self._sockets.pop(number)
        if self._loop is not None:
            self._loop.remove_reader(sock.fileno())
            if number in self._congested:
                self._congested.discard(number)
                self._loop.remove_writer(sock.fileno())
        sock.close()


def _random_port() -> int:
    return secrets.choice(RANDOM_PORTS)


def _advice(setting: str, local: Endpoint, error: OSError) -> str:
    """What went wrong, and what to do."""
    where = f"UDP port {local.port} on {local.host}"
    if error.errno == errno.EADDRINUSE:
        return f"{where} is in use: stop the program that has it (another ZeroTier node?), or set {setting}=0"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{local.host} is no address of this host: correct bind="
    if error.errno == errno.EACCES:
        return f"{where} needs rights that this process has not: set a {setting} above 1023, or {setting}=0"
    return f"{where} cannot be bound: {error.strerror}"
