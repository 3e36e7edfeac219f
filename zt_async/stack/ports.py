"""Which sockets have which local ports."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from math import gcd
from typing import Generic, NamedTuple, TypeVar

from zt_async.stack.addresses import ANY, IPV6_ANY, is_wildcard
from zt_async.stack.host import Host, os_error
from zt_async.stack.interface import Interface
from zt_async.wire import ip

_S = TypeVar("_S")


class Binding(NamedTuple):
    """A port at one own address or at all of them, on one interface or on all."""

    interface: Interface | None
    address: bytes
    port: int
    reuse_port: bool = False

    def conflicts(self, other: Binding) -> bool:
        """Both would receive the same packets."""
        return (
            self.port == other.port
            and (self.interface is other.interface or self.interface is None or other.interface is None)
            and _overlap(self.address, other.address)
            and not (self.reuse_port and other.reuse_port)
        )


class PortTable(Generic[_S]):
    """Bound sockets by port. Several share one only where all of them say so."""

    __slots__ = ("_host", "_ports")

    def __init__(self, host: Host) -> None:
        self._host = host
        self._ports: dict[int, list[tuple[Binding, _S]]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._ports.values()))

    def sockets(self) -> list[_S]:
        return [socket for bound in self._ports.values() for _, socket in bound]

    def choose(
        self, address: bytes, port: int, interface: Interface | None, *, reuse_port: bool = False
    ) -> Binding:
        """A binding that conflicts with no other; port 0 picks an ephemeral one that is not shared.

        Raises OSError(EADDRINUSE).
        """
        shares = reuse_port and port != 0
        for candidate in [port] if port else ephemeral_ports(self._host):
            binding = Binding(interface, address, candidate, shares)
            if not any(binding.conflicts(other) for other, _ in self._ports.get(candidate, ())):
                return binding._replace(reuse_port=reuse_port)
        raise os_error(errno.EADDRINUSE)

    def add(self, binding: Binding, socket: _S) -> None:
        self._ports.setdefault(binding.port, []).append((binding, socket))

    def remove(self, binding: Binding, socket: _S) -> None:
        remaining = [entry for entry in self._ports[binding.port] if entry[1] is not socket]
        if remaining:
            self._ports[binding.port] = remaining
        else:
            del self._ports[binding.port]

    def candidates(self, interface: Interface, address: bytes, port: int) -> Iterator[list[_S]]:
        """The sockets for a packet to ``address``, the most closely bound first."""
        bound = self._ports.get(port)
        if bound is None:
            return
        wildcards = (
            [bytes(len(address)), ANY] if ip.is_ipv6(address) else [bytes(len(address)), ANY, IPV6_ANY]
        )
        for wanted in (address, *wildcards):
            for place in (interface, None):
                sockets = [
                    s for binding, s in bound if (binding.interface, binding.address) == (place, wanted)
                ]
                if sockets:
                    yield sockets

    def bound(self, port: int) -> list[tuple[Binding, _S]]:
        """All sockets that have a port."""
        return self._ports.get(port, [])


def _overlap(one: bytes, other: bytes) -> bool:
    """Whether packets to an own address can be for both, and neither is the more closely bound."""
    if one == other or ANY in (one, other):
        return True
    return len(one) == len(other) and (is_wildcard(one) or is_wildcard(other))


def ephemeral_ports(host: Host) -> Iterator[int]:
    """All ephemeral ports in an order that nobody can foresee (RFC 6056 section 3.3.1)."""
    first, last = host.config.ephemeral_ports
    count = last - first + 1
    start = host.context.random_below(count)
    step = 1 + host.context.random_below(count)
    while gcd(step, count) != 1:
        step += 1
    for i in range(count):
        yield first + (start + i * step) % count
