"""Whole nodes on one ad-hoc network, on the simulated wire."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

from tests.vl1.world import GOOD, make_planet
from zt_async.config import NodeConfig
from zt_async.stack.tcp.connection import TcpConnection
from zt_async.testing import Host, Link, SimNet, SimNode
from zt_async.testing.identities import throwaway_identity
from zt_async.types import NetworkId

NETWORK = NetworkId.ad_hoc(7000, 7999)
PORT = 7000


class Transfer:
    """One side of a connection that sends bytes and takes what the other side sends, to its end."""

    def __init__(self, connection: TcpConnection, data: bytes) -> None:
        self.connection = connection
        self.sent = hashlib.sha256(data).digest()
        self.received = hashlib.sha256()
        connection.send(data)
        connection.send_eof()

    @property
    def done(self) -> bool:
        self.received.update(self.connection.receive())
        if self.connection.error is not None:
            raise self.connection.error
        return self.connection.eof_received


class Lan:
    """Roots and members; the members are on ``network``."""

    def __init__(
        self,
        members: int,
        *,
        roots: int = 1,
        seed: int = 1,
        link: Link = GOOD,
        network: NetworkId = NETWORK,
        config: NodeConfig | None = None,
        add_host: Callable[[SimNet, str], Host] = SimNet.add_host,
    ) -> None:
        self.net = SimNet(seed, link=link)
        self.network = network
        self.config = config or NodeConfig()
        self.root_hosts = [add_host(self.net, f"root{i}") for i in range(roots)]
        self.planet = make_planet(
            [(throwaway_identity(i), host.sockets.values()) for i, host in enumerate(self.root_hosts)]
        )
        self.roots = [self._start(i, host) for i, host in enumerate(self.root_hosts)]
        self.hosts = [add_host(self.net, f"m{i}") for i in range(members)]
        self.members = [self._start(roots + i, host) for i, host in enumerate(self.hosts)]
        for member in self.members:
            member.join(network, self.now)

    def _start(self, number: int, host: Host) -> SimNode:
        return SimNode.on(self.net, host, throwaway_identity(number), self.config, self.planet)

    @property
    def now(self) -> float:
        return self.net.clock.now

    def run_until(self, predicate: Callable[[], object], timeout: float = 30.0) -> float:
        return self.net.run_until(predicate, timeout)

    def online(self) -> None:
        self.run_until(lambda: all(member.online for member in self.members))

    def ip(self, node: SimNode) -> str:
        """A member's address on the network."""
        return str(node.network(self.network).addresses[0].ip)

    def listen(self, node: SimNode, port: int = PORT):
        return node.stack.listen_tcp(("::", port), now=self.now)

    def connect(self, client: SimNode, server: SimNode, port: int = PORT) -> TcpConnection:
        return client.stack.connect_tcp((self.ip(server), port), now=self.now)

    def begin(self, client: SimNode, server: SimNode, listener, data: bytes, back: bytes) -> list[Transfer]:
        """Begin a transfer both ways; the list has both sides once the server has accepted."""
        sides = [Transfer(self.connect(client, server), data)]
        mine = sides[0].connection.local

        def accept() -> bool:
            while len(sides) == 1 and (connection := listener.accept()) is not None:
                assert connection.remote == mine
                sides.append(Transfer(connection, back))
            return len(sides) == 2

        self.run_until(accept)
        return sides

    def transfer(self, client: SimNode, server: SimNode, size: int, timeout: float = 60.0) -> float:
        """Send so many bytes each way over one connection and compare them; the seconds it took."""
        start = self.now
        listener = self.listen(server)
        data = hashlib.shake_128(b"%d there" % size).digest(size)
        here, there = self.begin(client, server, listener, data, data[::-1])
        self.run_until(lambda: here.done & there.done, timeout)
        assert here.received.digest() == there.sent
        assert there.received.digest() == here.sent
        for side in (here, there):
            side.connection.close()
        listener.close()
        return self.now - start

    def ping(self, node: SimNode, other: SimNode, size: int = 8, timeout: float = 10.0) -> float:
        """Seconds of a round trip."""
        ping = node.stack.ping(self.ip(other), bytes(size), now=self.now)
        self.run_until(lambda: ping.rtt is not None or ping.error is not None, timeout)
        if ping.error is not None:
            raise ping.error
        assert ping.rtt is not None
        return ping.rtt

    def echo(self, node: SimNode, other: SimNode, sizes: Sequence[int], timeout: float = 20.0) -> None:
        """Send UDP datagrams of these sizes and have each come back; lost ones are sent again."""
        server = other.stack.open_udp(("::", PORT), now=self.now)
        client = node.stack.open_udp(None, (self.ip(other), PORT), now=self.now)
        got: set[bytes] = set()

        def carry() -> bool:
            for data, remote in server.receive():
                server.send(data, remote, now=self.now)
            got.update(data for data, _ in client.receive())
            return datagram in got

        for size in sizes:
            datagram = size.to_bytes(2, "big") + bytes(max(0, size - 2))
            end = self.now + timeout
            while datagram not in got:
                assert self.now < end, size
                client.send(datagram, now=self.now)
                try:
                    self.run_until(carry, 0.5)
                except TimeoutError:
                    continue
        server.close()
        client.close()
