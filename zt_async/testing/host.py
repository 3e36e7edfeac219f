"""Hosts of the simulated network, and the boxes that stand between a host and the network."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

from zt_async.aio.udp_socket import OnDatagrams
from zt_async.types import Endpoint

DEFAULT_TTL = 64


class Datagram(NamedTuple):
    """A UDP datagram on the network."""

    source: Endpoint
    destination: Endpoint
    payload: bytes
    ttl: int = DEFAULT_TTL


class Middlebox(Protocol):
    """A box that all datagrams of a host pass, such as a firewall. It may drop, rewrite or remember."""

    def outward(self, datagram: Datagram, now: float, /) -> Datagram | None:
        """A datagram on its way out of the host: what goes on, or None."""

    def inward(self, datagram: Datagram, now: float, /) -> Datagram | None:
        """A datagram on its way to the host: what goes on, or None."""


class Host:
    """A computer with UDP sockets. Made by ``SimNet.add_host``."""

    def __init__(self, name: str, middleboxes: Sequence[Middlebox], rng: random.Random) -> None:
        self.name = name
        self.addresses: list[str] = []
        """Its IP addresses; changed by ``SimNet.add_address`` and ``remove_address``."""

        self.sockets: dict[int, Endpoint] = {}
        """Socket number to local endpoint. A number is never given twice."""

        self.middleboxes = tuple(middleboxes)
        """From the host to the network; datagrams to the host pass them in reverse."""

        self.on_datagrams: OnDatagrams | None = None
        """Who takes what arrives; with nobody there it is dropped."""

        self.sent = 0
        """Datagrams that left its sockets."""

        self.received = 0
        """Datagrams that were handed to ``on_datagrams``."""

        self._numbers: dict[Endpoint, int] = {}
        self._next_number = 0
        self._rng = rng

    def bind(self, ip: str, port: int = 0) -> int:
        """Open a UDP socket and return its number; port 0 takes a random free one from 20000 to 65499.

        Raises OSError if the address is not the host's, or the port is taken.
        """
        if ip not in self.addresses:
            raise OSError(f"{self.name} has no address {ip}")
        while not port:
            free = self._rng.randrange(20000, 65500)
            port = 0 if Endpoint(ip, free) in self._numbers else free
        local = Endpoint.make(ip, port)
        if local in self._numbers:
            raise OSError(f"{self.name} has a socket on {local} already")
        number = self._next_number
        self._next_number += 1
        self.sockets[number] = local
        self._numbers[local] = number
        return number

    def close(self, numbers: Iterable[int] | None = None) -> None:
        """Close these sockets, or all of them."""
        for number in list(self.sockets if numbers is None else numbers):
            del self._numbers[self.sockets.pop(number)]

    def socket_at(self, local: Endpoint) -> int | None:
        """The number of the socket bound there."""
        return self._numbers.get(local)

    def __repr__(self) -> str:
        return f"<Host {self.name} {', '.join(self.addresses)}>"
