"""A joined network, as an application holds it."""

from __future__ import annotations

import dataclasses
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING, Final, TypedDict, Unpack

from zt_async.aio.frames import FrameStream
from zt_async.aio.resolve import Host
from zt_async.errors import AccessDenied, NetworkNotFound
from zt_async.events import NetworkInfo, NetworkStatus
from zt_async.types import DNS, IPInterface, IPNetwork, MACAddress, NetworkId, Route
from zt_async.vl2.settings import NetworkSettings
from zt_async.wire.rules import Rule

if TYPE_CHECKING:
    from zt_async.aio.networks import Networks
    from zt_async.aio.node import Node


_REFUSALS: Final = {
    NetworkStatus.ACCESS_DENIED: "refuses this node; its controller has to authorize it",
    NetworkStatus.AUTHENTICATION_REQUIRED: "wants somebody to log in for this node",
}


class NetworkChoices(TypedDict, total=False):
    """The settings of one network by name: the fields of NetworkSettings, which tells what they mean."""

    allow_managed: bool
    managed_prefixes: tuple[IPNetwork, ...]
    allow_global: bool
    allow_default: bool
    allow_dns: bool


class Network:
    """One network of a node. Its attributes are always the present state; ``info`` is a copy of all of it.

    They raise NetworkNotJoined once the network was left, or its node stopped.
    """

    def __init__(self, node: Node, networks: Networks, network_id: NetworkId) -> None:
        self._node = node
        self._networks = networks
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

    @property
    def dns(self) -> DNS | None:
        """The search domain and servers that the network names, if ``allow_dns`` is set."""
        return self.info.dns

    @property
    def settings(self) -> NetworkSettings:
        """What the network may decide for this node."""
        return self._node.core.settings(self.id)

    @property
    def rules(self) -> tuple[Rule, ...]:
        """The rules of the network, as the rules engine has them."""
        return self._node.core.rules(self.id)[0]

    @property
    def rule_counts(self) -> tuple[int, ...]:
        """For each entry of ``rules`` how many frames it matched, in and out, since the rules are these."""
        return self._node.core.rules(self.id)[1]

    async def ready(self, *, wait_for_authorization: bool = True) -> None:
        """Wait until the network is configured, which on a private network takes until somebody authorizes this node.

        Raises NetworkNotFound when its controller does not know it, NetworkNotJoined when it is left meanwhile, and
        AccessDenied instead of waiting where ``wait_for_authorization`` is False.
        """
        with self._node.events() as events:
            while (status := self._status_now()) != NetworkStatus.OK:
                if status == NetworkStatus.NOT_FOUND:
                    raise NetworkNotFound(self.id, "does not exist")
                if status in _REFUSALS and not wait_for_authorization:
                    raise AccessDenied(self.id, _REFUSALS[status])
                await anext(events, None)

    def _status_now(self) -> NetworkStatus:
        self._node.check_running()
        return self.status

    async def ping(self, host: Host, *, size: int = 56) -> float:
        """Send an ICMP echo of ``size`` bytes and return the round trip in seconds.

        Raises OSError; waits for ever where nobody answers.
        """
        return await self._node.ping(host, size=size)

    async def configure(self, **changes: Unpack[NetworkChoices]) -> None:
        """Change what the network may decide for this node; kept in its folder. See NetworkSettings."""
        self._node.check_running()
        await self._networks.configure(self.id, dataclasses.replace(self.settings, **changes))

    def frames(self, *, own: bool = False) -> FrameStream:
        """The raw Ethernet frames that arrive from now on, and the way to send some.

        ``own`` adds those that this node's own stack sends. Raises NetworkNotJoined.
        """
        self._node.check_running()
        return self._networks.frames(self, own=own)

    async def leave(self) -> None:
        """Leave the network: its connections fail with ENETDOWN. Raises NetworkNotJoined."""
        await self._node.leave(self.id)

    def __repr__(self) -> str:
        return f"<Network {self.id}>"
