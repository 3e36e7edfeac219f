"""The node core: VL1, VL2 and the TCP/IP stack wired together, still without I/O (DESIGN 2 and 3).

Whoever drives it feeds datagrams and time in and carries flights out; ``flights_to_send`` is where everything
that arrived since the last call is worked through, in one batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv6Interface

from zt_async.config import NodeConfig
from zt_async.context import Context
from zt_async.crypto.identity import Identity
from zt_async.errors import NetworkNotJoined
from zt_async.events import Event, NetworkInfo, NodeOffline, NodeOnline, PeerInfo
from zt_async.stack.interface import Interface
from zt_async.stack.stack import Stack
from zt_async.types import Endpoint, Flight, NetworkId, NodeAddress
from zt_async.vl1.core import VL1
from zt_async.vl1.world import World
from zt_async.vl2.core import VL2


class Node:
    """One ZeroTier node with its networks and sockets."""

    def __init__(
        self,
        identity: Identity,
        context: Context,
        config: NodeConfig | None = None,
        planet: World | None = None,
    ) -> None:
        self.config = config or NodeConfig()
        self.context = context
        self.identity = identity
        self.address = identity.address
        self.vl1 = VL1(identity, context, self.config, planet)
        self.vl2 = VL2(self.vl1, context)
        self.stack = Stack(context, self.config.stack)
        self.online = False
        """A root answers (or this node is one); changes with the events NodeOnline and NodeOffline."""
        self._interfaces: dict[NetworkId, Interface] = {}
        self._events: list[Event] = []

    # In

    def receive_datagrams(
        self, socket: int, remote: Endpoint, datagrams: Sequence[bytes], now: float
    ) -> None:
        """Take datagrams from one remote endpoint; their effects show after ``flights_to_send``."""
        self.vl1.receive_datagrams(socket, remote, datagrams, now)

    def handle_timer(self, now: float) -> None:
        """Do what the clock demands; call it at ``next_timer`` at the latest."""
        self.vl1.handle_timer(now)
        self.vl2.handle_timer(now)
        self.stack.handle_timer(now)

    def next_timer(self) -> float:
        """When ``handle_timer`` is due, in the seconds of ``now``."""
        stack = self.stack.next_timer()
        below = min(self.vl1.next_timer(), self.vl2.next_timer())
        return below if stack is None else min(below, stack)

    # Out

    def flights_to_send(self, now: float) -> list[Flight]:
        """Work through all that arrived or was asked for, and hand over the datagrams that come of it."""
        vl1, vl2, stack = self.vl1, self.vl2, self.stack
        self.take_arrivals(now)
        while leaving := stack.frames_to_send(now):
            for interface, frames in leaving:
                vl2.send_frames(self._network_of(interface), frames, now)
            self._receive_frames(now)  # emulated neighbours, and what the node sends to its own card
        online = vl1.is_online(now)
        if online != self.online:
            self.online = online
            if online:
                vl2.came_online(now)
            self._events.append(NodeOnline() if online else NodeOffline())
        return vl1.flights_to_send()

    def take_arrivals(self, now: float) -> None:
        """Work through all that arrived, up to the sockets, and send nothing yet."""
        packets = self.vl1.take_packets()
        if packets:
            self.vl2.receive_packets(packets, now)
            self._receive_frames(now)

    def _receive_frames(self, now: float) -> None:
        for network_id, frames in self.vl2.take_frames().items():
            interface = self._interfaces.get(network_id)
            if interface is not None:
                self.stack.receive_frames(interface, frames, now)

    @staticmethod
    def _network_of(interface: Interface) -> NetworkId:
        name = interface.name
        assert isinstance(name, NetworkId)
        return name

    def take_events(self) -> list[Event]:
        """The events since the last call, in order."""
        events = self.vl1.take_events() + self.vl2.take_events() + self._events
        self._events = []
        return events

    # Networks

    def join(self, network_id: NetworkId, now: float) -> NetworkInfo:
        """Be on a network. An ad-hoc network is ready when this returns."""
        network = self.vl2.join(network_id, now)
        if network_id not in self._interfaces:
            info = network.info()
            interface = self.stack.add_interface(network_id, network.mac, info.mtu, now)
            self._interfaces[network_id] = interface
            for address in info.addresses:
                if isinstance(address, IPv6Interface):
                    interface.add_address(address, now)
        return network.info()

    def leave(self, network_id: NetworkId, now: float) -> None:
        """Be off a network: its connections fail. Raises NetworkNotJoined."""
        self.vl2.leave(network_id, now)
        self.stack.remove_interface(self._interfaces.pop(network_id), now)

    def network(self, network_id: NetworkId) -> NetworkInfo:
        """A joined network's state. Raises NetworkNotJoined."""
        network = self.vl2.networks.get(network_id)
        if network is None:
            raise NetworkNotJoined(network_id, "is not joined")
        return network.info()

    def networks(self) -> list[NetworkInfo]:
        return [network.info() for network in self.vl2.networks.values()]

    # Peers

    def peers(self, now: float) -> list[PeerInfo]:
        """What is known of other nodes."""
        return [self.vl1.reporter.info(peer, now) for peer in self.vl1.topology.peers.values()]

    def peer(self, address: NodeAddress, now: float) -> PeerInfo | None:
        peer = self.vl1.topology.peers.get(address)
        return self.vl1.reporter.info(peer, now) if peer else None
