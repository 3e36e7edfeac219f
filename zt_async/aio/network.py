"""A joined network, as an application holds it."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING

from zt_async.aio.resolve import Host
from zt_async.errors import AccessDenied, NetworkNotFound
from zt_async.events import NetworkInfo, NetworkStatus
from zt_async.types import IPInterface, MACAddress, NetworkId, Route

if TYPE_CHECKING:
    from zt_async.aio.node import Node


class Network:
    """One network of a node. Its attributes are always the present state; ``info`` is a copy of all of it.

    They raise NetworkNotJoined once the network was left, or its node stopped.
    """

    def __init__(self, node: Node, network_id: NetworkId) -> None:
        self._node = node
        self.id = network_id

    @property
    def info(self) -> NetworkInfo:
        """A copy of the state."""
        return self._node.core.network(self.id)

    @property
    def name(self) -> str:
        """The short name that the network was given."""
        return self.info.name

    @property
    def status(self) -> NetworkStatus:
        """Where the network stands."""
        return self.info.status

    @property
    def mac(self) -> MACAddress:
        """The MAC of this node's card there."""
        return self.info.mac

    @property
    def mtu(self) -> int:
        """Bytes of an Ethernet payload."""
        return self.info.mtu

    @property
    def addresses(self) -> tuple[IPInterface, ...]:
        """This node's addresses, with their prefixes."""
        return self.info.addresses

    @property
    def ipv4(self) -> IPv4Address | None:
        """This node's first IPv4 address there."""
        return next((a.ip for a in self.addresses if isinstance(a.ip, IPv4Address)), None)

    @property
    def ipv6(self) -> IPv6Address | None:
        """This node's first IPv6 address there."""
        return next((a.ip for a in self.addresses if isinstance(a.ip, IPv6Address)), None)

    @property
    def routes(self) -> tuple[Route, ...]:
        """The routes that the network gives its members."""
        return self.info.routes

    async def ready(self) -> None:
        """Wait until the network is configured.

        Raises NetworkNotFound or AccessDenied when it will not be, and NetworkNotJoined when it is left meanwhile.
        """
        with self._node.events() as events:
            while (status := self._status_now()) != NetworkStatus.OK:
                if status == NetworkStatus.NOT_FOUND:
                    raise NetworkNotFound(self.id, "does not exist")
                if status == NetworkStatus.ACCESS_DENIED:
                    raise AccessDenied(self.id, "refuses this node; its controller has to authorize it")
                await anext(events, None)

    def _status_now(self) -> NetworkStatus:
        self._node.check_running()
        return self.status

    async def ping(self, host: Host, *, size: int = 56) -> float:
        """Send an ICMP echo of ``size`` bytes and return the round trip in seconds.

        Raises OSError; waits for ever where nobody answers.
        """
        return await self._node.ping(host, size=size)

    async def leave(self) -> None:
        """Leave the network: its connections fail with ENETDOWN. Raises NetworkNotJoined."""
        await self._node.leave(self.id)

    def __repr__(self) -> str:
        return f"<Network {self.id}>"
