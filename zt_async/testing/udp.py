"""UDP of a simulated host for a node on an event loop: ``zt.start(udp=SimUdp(net, host))`` opens no socket."""

from __future__ import annotations

import asyncio
import errno
from collections import Counter
from collections.abc import Iterable

from zt_async.aio.udp import OnDrained
from zt_async.aio.udp_socket import OnDatagrams, UdpSocketStatus
from zt_async.errors import PortUnavailable
from zt_async.testing.host import Host
from zt_async.testing.simnet import SimNet
from zt_async.types import Endpoint, Flight


class SimUdp:
    """The sockets that ``SimNet.add_host`` bound, as a node's ``Udp`` (see ``zt_async.aio.udp``).

    Needs a ``VirtualLoop`` on the network's clock.
    """

    def __init__(self, net: SimNet, host: Host) -> None:
        self.counts: Counter[str] = Counter()
        self.host = host
        self._net = net
        self._ports: list[int] = []
        self._known: dict[int, Endpoint] = {}

    @property
    def sockets(self) -> dict[int, Endpoint]:
        return dict(self._known)

    def open(self, on_datagrams: OnDatagrams, on_drained: OnDrained, /) -> None:
        """Take over the host. Raises PortUnavailable if something runs on it already."""
        if self.host.on_datagrams is not None:
            raise PortUnavailable(errno.EADDRINUSE, f"something runs on {self.host.name} already")
        loop = asyncio.get_running_loop()
        self._net.run_on(loop)
        self._known = dict(self.host.sockets)
        self._ports = list(dict.fromkeys(local.port for local in self._known.values()))

        def receive(number: int, remote: Endpoint, datagrams: list[bytes]) -> None:
            self.counts["received"] += len(datagrams)
            on_datagrams(number, remote, datagrams)
            loop.call_soon(on_drained)

        self.host.on_datagrams = receive

    def refresh(self, *, new_secondary: bool = False) -> bool:
        """Bind the same ports on addresses that the host got since. ``new_secondary`` changes the last port."""
        host = self.host
        if new_secondary and len(self._ports) > 1:
            host.close([number for number, local in host.sockets.items() if local.port == self._ports[-1]])
            self._ports[-1] = 0
        for ip in host.addresses:
            for index, port in enumerate(self._ports):
                if not port:
                    self._ports[index] = host.sockets[host.bind(ip)].port
                elif host.socket_at(Endpoint(ip, port)) is None:
                    host.bind(ip, port)
        changed = self._known != host.sockets
        self._known = dict(host.sockets)
        return changed

    def send(self, flights: Iterable[Flight], /) -> None:
        for flight in flights:
            self.counts["sent"] += len(flight.datagrams)
            self._net.send(self.host, flight)

    def status(self) -> tuple[UdpSocketStatus, ...]:
        return tuple(
            UdpSocketStatus(number, local, "simulated", "simulated", 0)
            for number, local in self._known.items()
        )

    def close(self) -> None:
        """Let go of the host; its sockets stay bound, for whoever opens them next."""
        if self._known:
            self._known = {}
            self.host.on_datagrams = None
