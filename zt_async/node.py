"""The node core: VL1, VL2 and the TCP/IP stack wired together, still without I/O (DESIGN 2 and 3).

Whoever drives it feeds datagrams and time in and carries flights out; ``flights_to_send`` is where everything
that arrived since the last call is worked through, in one batch.
"""

from __future__ import annotations

from collections.abc import Sequence

from zt_async.config import NodeConfig
from zt_async.context import Context
from zt_async.crypto.identity import Identity
from zt_async.errors import NetworkNotJoined
from zt_async.events import Event, NetworkInfo, NodeOffline, NodeOnline, PeerInfo
from zt_async.stack.interface import Interface
from zt_async.stack.routes import Route as StackRoute
from zt_async.stack.stack import Stack
from zt_async.types import Endpoint, Flight, Frame, NetworkId, NodeAddress, Route
from zt_async.vl1.core import VL1
from zt_async.vl1.world import World
from zt_async.vl2.core import VL2
from zt_async.vl2.network import Network
from zt_async.vl2.settings import Applied, NetworkSettings
from zt_async.wire.rules import Rule


class _Card:
    """One network's interface in the stack, which follows what the network assigns."""

    __slots__ = ("_applied", "_groups", "_routes", "interface", "network")

    def __init__(self, network: Network, interface: Interface) -> None:
        self.network = network
        self.interface = interface
        self._applied = Applied()
        self._groups = -1
        self._routes: dict[Route, StackRoute] = {}

    def follow(self, stack: Stack, vl2: VL2, now: float) -> None:
        """Take over what has changed since the last call, and tell the network which groups are listened to."""
        network, interface = self.network, self.interface
        if network.applied is not self._applied:
            self._apply(stack, vl2.largest_payload, now)
        if interface.groups_generation != self._groups:
            self._groups = interface.groups_generation
            vl2.set_groups(network.id, interface.groups, now)

    def _apply(self, stack: Stack, largest_mtu: int, now: float) -> None:
        interface = self.interface
        applied = self._applied = self.network.applied
        if self.network.config is not None:
            mtu = min(self.network.config.mtu, largest_mtu)
            if interface.mtu != mtu:
                interface.set_mtu(mtu, now)
        ips = {address.ip for address in applied.addresses}
        for address in interface.addresses:
            if address.ip not in ips:
                interface.remove_address(address, now)
        for address in applied.addresses:
            if address not in interface.addresses:
                try:
                    interface.add_address(address, now)  # or change its prefix
                except ValueError:
                    stack.counters["assigned address unusable"] += 1
        for route in self._routes.keys() - set(applied.routes):
            stack.remove_route(self._routes.pop(route))
        for route in applied.routes:
            if route not in self._routes:
                try:
                    self._routes[route] = stack.add_route(route.target, interface, route.via, route.metric)
                except ValueError:
                    stack.counters["assigned route unusable"] += 1


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
        self._cards: dict[NetworkId, _Card] = {}
        self._watched: dict[NetworkId, tuple[list[Frame], list[Frame]]] = {}
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
        for card in self._cards.values():
            card.follow(stack, vl2, now)
        while leaving := stack.frames_to_send(now):
            for interface, frames in leaving:
                network_id = _network_of(interface)
                if network_id in self._watched:
                    self._watched[network_id][1].extend(frames)
                vl2.send_frames(network_id, frames, now)
            self._receive_frames(now)  # emulated neighbours, and what the node sends to its own card
        online = vl1.is_online(now)
        if online != self.online:
            self.online = online
            self._events.append(NodeOnline() if online else NodeOffline())
            if online:
                vl2.came_online(now)
        return vl1.flights_to_send()

    def take_arrivals(self, now: float) -> None:
        """Work through all that arrived, up to the sockets, and send nothing yet."""
        packets = self.vl1.take_packets()
        if packets:
            self.vl2.receive_packets(packets, now)
        self._receive_frames(now)  # a timer or a frame of ours may have brought some too

    def _receive_frames(self, now: float) -> None:
        for network_id, frames in self.vl2.take_frames().items():
            if network_id in self._watched:
                self._watched[network_id][0].extend(frames)
            card = self._cards.get(network_id)
            if card is not None:
                self.stack.receive_frames(card.interface, frames, now)

    def take_events(self) -> list[Event]:
        """The events since the last call, in order."""
        events = self.vl1.take_events() + self.vl2.take_events() + self._events
        self._events = []
        return events

    # Networks

    def join(
        self,
        network_id: NetworkId,
        now: float,
        cached: bytes | None = None,
        settings: NetworkSettings | None = None,
    ) -> NetworkInfo:
        """Be on a network. An ad-hoc network is ready when this returns, and any other if ``cached`` serves.

        ``cached`` is a configuration that ``take_configs`` gave earlier.
        """
        network = self.vl2.join(network_id, now, cached, settings)
        if network_id not in self._cards:
            info = network.info()
            interface = self.stack.add_interface(network_id, network.mac, info.mtu, now)
            card = self._cards[network_id] = _Card(network, interface)
            card.follow(self.stack, self.vl2, now)
        return network.info()

    def leave(self, network_id: NetworkId, now: float) -> None:
        """Be off a network: its connections fail. Raises NetworkNotJoined."""
        self.vl2.leave(network_id)
        self.stack.remove_interface(self._cards.pop(network_id).interface, now)
        self._watched.pop(network_id, None)

    def configure(self, network_id: NetworkId, settings: NetworkSettings) -> None:
        """Change what a network may decide for this node. Raises NetworkNotJoined."""
        self.vl2.configure_settings(network_id, settings)

    def take_configs(self) -> dict[NetworkId, bytes]:
        """Configurations that were applied since the last call, to be kept for a later ``join``."""
        return self.vl2.take_configs()

    def settings(self, network_id: NetworkId) -> NetworkSettings:
        """What a network may decide for this node. Raises NetworkNotJoined."""
        return self._joined(network_id).settings

    def network(self, network_id: NetworkId) -> NetworkInfo:
        """A joined network's state. Raises NetworkNotJoined."""
        return self._joined(network_id).info()

    def rules(self, network_id: NetworkId) -> tuple[tuple[Rule, ...], tuple[int, ...]]:
        """A network's rules, and how many frames each entry matched. Raises NetworkNotJoined."""
        network = self._joined(network_id)
        if network.config is None or network.filter is None:
            return (), ()
        return network.config.rules, network.filter.matched

    def _joined(self, network_id: NetworkId) -> Network:
        network = self.vl2.networks.get(network_id)
        if network is None:
            raise NetworkNotJoined(network_id, "is not joined")
        return network

    def networks(self) -> list[NetworkInfo]:
        return [network.info() for network in self.vl2.networks.values()]

    # Raw frames

    def send_frames(self, network_id: NetworkId, frames: list[Frame], now: float) -> None:
        """Send Ethernet frames past the stack, from any card. Raises NetworkNotJoined."""
        self._joined(network_id)
        self.vl2.send_frames(network_id, frames, now)

    def watch(self, network_id: NetworkId) -> None:
        """Keep the frames of a network for ``take_watched``, until ``unwatch`` or the network is left."""
        self._watched.setdefault(network_id, ([], []))

    def unwatch(self, network_id: NetworkId) -> None:
        self._watched.pop(network_id, None)

    def take_watched(self) -> list[tuple[NetworkId, list[Frame], list[Frame]]]:
        """Frames received, and sent by the stack, since the last call."""
        watched = [(network_id, *frames) for network_id, frames in self._watched.items() if any(frames)]
        for network_id, _, _ in watched:
            self._watched[network_id] = ([], [])
        return watched

    # Peers

    def peers(self, now: float) -> list[PeerInfo]:
        """What is known of other nodes."""
        return [self.vl1.reporter.info(peer, now) for peer in self.vl1.topology.peers.values()]

    def peer(self, address: NodeAddress, now: float) -> PeerInfo | None:
        peer = self.vl1.topology.peers.get(address)
        return self.vl1.reporter.info(peer, now) if peer else None


def _network_of(interface: Interface) -> NetworkId:
    name = interface.name
    assert isinstance(name, NetworkId)
    return name
