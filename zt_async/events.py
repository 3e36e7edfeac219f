"""What a node tells: one frozen dataclass for each event, with copies of the state it speaks of.

Events come in the order in which things happened. Times are Unix milliseconds, latencies milliseconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

from zt_async.config import NetworkSettings
from zt_async.types import (
    DNS,
    Endpoint,
    IPInterface,
    MACAddress,
    MulticastGroup,
    NetworkId,
    NodeAddress,
    Route,
)


class NetworkStatus(IntEnum):
    """Where a network stands (vl2.md 2.1)."""

    REQUESTING_CONFIGURATION = 0
    OK = 1
    ACCESS_DENIED = 2
    NOT_FOUND = 3
    PORT_ERROR = 4
    CLIENT_TOO_OLD = 5
    AUTHENTICATION_REQUIRED = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class PathInfo:
    """One physical path to a peer."""

    endpoint: Endpoint
    local_socket: int
    """Number of the local UDP socket, as in ``node.status.sockets``."""
    last_send: float | None
    """Seconds since something was sent there, None if never."""
    last_receive: float | None
    """Seconds since something came from there, None if never."""
    latency: float | None
    """Milliseconds of a round trip, None while unknown."""
    alive: bool
    preferred: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerInfo:
    """Another node, as it is known at one moment."""

    address: NodeAddress
    version: tuple[int, int, int] | None
    """Software version, None while unknown."""
    protocol: int | None
    latency: float | None
    """Milliseconds of a round trip on the preferred path."""
    role: str
    """PLANET, MOON or LEAF."""
    paths: tuple[PathInfo, ...]
    """Direct paths, the preferred one first; with none the peer is reached through a root."""

    @property
    def direct(self) -> bool:
        """It is reached on a path of its own, and not through a root."""
        return any(path.alive for path in self.paths)


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkInfo:
    """A joined network, as it is at one moment."""

    id: NetworkId
    name: str
    status: NetworkStatus
    mac: MACAddress
    mtu: int
    """Bytes of an Ethernet payload."""
    private: bool
    """Members need a certificate of the network's controller."""
    addresses: tuple[IPInterface, ...] = ()
    """Our addresses there, as far as the settings let them be used."""
    routes: tuple[Route, ...] = ()
    """The routes that are used; what our own addresses imply is not among them."""
    dns: DNS | None = None
    """The search domain and servers, if they are used."""
    revision: int = 0
    """Counts the changes that the controller made."""
    settings: NetworkSettings = field(default_factory=NetworkSettings)
    assigned_addresses: tuple[IPInterface, ...] = ()
    """All addresses that the controller gave us, whether they are used or not."""
    assigned_routes: tuple[Route, ...] = ()
    assigned_dns: DNS | None = None
    broadcast: bool = False
    """Frames to ff:ff:ff:ff:ff:ff are carried."""
    multicast_limit: int = 0
    """The most members that one multicast is sent to; 0 switches multicast off."""
    bridge: bool = False
    """We may carry frames of cards that are not ours."""
    groups: tuple[MulticastGroup, ...] = ()
    """The multicast groups that others know us in."""
    authentication_url: str = ""
    """Where a user has to log in before this node is let in, if the controller said so."""
    authentication_expiry: int = 0
    """When that ends or has to be done again, in Unix milliseconds; 0 where it need not."""


class Event:
    """Base of all events."""

    __slots__ = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeUp(Event):
    """The node runs and its sockets are bound."""

    address: NodeAddress


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeOnline(Event):
    """A root answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeOffline(Event):
    """No root answered for as long as ``offline_after`` says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeDown(Event):
    """The node has stopped; nothing comes after this. ``error`` is None for an ordinary stop."""

    error: Exception | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityCollided(Event):
    """A root holds another identity under our address. The node stops."""

    reporter: NodeAddress


@dataclass(frozen=True, slots=True, kw_only=True)
class WorldChanged(Event):
    """A planet or moon was taken over, or dropped."""

    world_id: int
    kind: str
    """planet or moon."""
    timestamp: int
    dropped: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerDirect(Event):
    """A direct path to a peer was found."""

    peer: PeerInfo
    path: PathInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerRelayed(Event):
    """A peer is reached through a root: no direct path is there yet, or the last one died."""

    peer: PeerInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerUnreachable(Event):
    """Frames for this address were given up: nobody knows it, or no root is reachable."""

    address: NodeAddress


@dataclass(frozen=True, slots=True, kw_only=True)
class PathAdded(Event):
    """A further path to a peer was learned."""

    peer: PeerInfo
    path: PathInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class PathRemoved(Event):
    """A path to a peer is no longer used."""

    peer: PeerInfo
    endpoint: Endpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class UserMessage(Event):
    """A USER_MESSAGE arrived: data that a node sent to this one outside of any network."""

    source: NodeAddress
    type: int
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkJoined(Event):
    """The node is on a network from now on; it may not be configured yet."""

    network: NetworkInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkReady(Event):
    """A network is configured, and its addresses can be used; told again when that returns after it was lost."""

    network: NetworkInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkUpdated(Event):
    """A network's configuration or status changed; ``changed`` names the fields of ``network``."""

    network: NetworkInfo
    changed: frozenset[str] = field(default_factory=frozenset)


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkDown(Event):
    """A network was left, or its node stops."""

    network: NetworkInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressAdded(Event):
    """An IP address is ours on a network."""

    network_id: NetworkId
    address: IPInterface


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressRemoved(Event):
    """An IP address is ours no longer."""

    network_id: NetworkId
    address: IPInterface


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteAdded(Event):
    """A network's route is used from now on."""

    network_id: NetworkId
    route: Route


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteRemoved(Event):
    """A network's route is used no longer."""

    network_id: NetworkId
    route: Route


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberWaiting(Event):
    """A node asked for a private network of this node's controller, and waits to be authorized.

    Told once, and again when the node comes back after two minutes; never of a member that was deauthorized, so that
    it is no harm to authorize whoever is told of here.
    """

    network_id: NetworkId
    address: NodeAddress
    endpoint: Endpoint | None = None
    """Where its request came from: itself, or a root on its behalf; None for this node itself."""
    version: tuple[int, int, int] | None = None
    """Software version, None while unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberAuthorized(Event):
    """A node is a member of a network of this node's controller from now on."""

    network_id: NetworkId
    address: NodeAddress
    credential_type: str | None = None
    """What authorized it: api, public (by itself) or token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberDeauthorized(Event):
    """A node is a member no more; the others are told to take nothing from it."""

    network_id: NetworkId
    address: NodeAddress


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberConfigured(Event):
    """A member was sent a configuration that is new to it, for the first time or after a change."""

    network_id: NetworkId
    address: NodeAddress
    addresses: tuple[IPInterface, ...] = ()
    revision: int = 0
    """That of the network."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ControllerFailed(Event):
    """This node's controller serves no more: its store refuses it, or is in a state that is not understood."""

    error: Exception


@dataclass(frozen=True, slots=True, kw_only=True)
class EventsLost(Event):
    """This subscriber was too slow: so many events before this point are gone."""

    count: int
