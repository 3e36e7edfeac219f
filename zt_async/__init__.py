"""Asyncio-native ZeroTier: a Python program on ZeroTier networks, with a TCP/IP stack of its own.

import zt_async as zt

async with zt.start("~/.local/share/myapp/zt") as node:
    network = await node.join("ff1b581b58000000")
    reader, writer = await zt.open_connection(peer_address, 7000)
"""

from zt_async.aio.api import (
    create_connection,
    create_datagram_endpoint,
    create_server,
    open_connection,
    start_server,
)
from zt_async.aio.controller import ControlledNetwork, Controller
from zt_async.aio.datagram import DatagramTransport
from zt_async.aio.frames import EthernetFrame, FrameStream
from zt_async.aio.network import Network
from zt_async.aio.node import Node, NodeStatus
from zt_async.aio.server import Server
from zt_async.aio.start import Starting, start
from zt_async.aio.storage import FileStorage, MemoryStorage, Storage
from zt_async.aio.storage import Kind as StorageKind
from zt_async.aio.subscription import EventStream
from zt_async.aio.transport import StreamTransport
from zt_async.config import NodeConfig, StackConfig
from zt_async.crypto.identity import Identity
from zt_async.errors import (
    AccessDenied,
    Conflict,
    ControllerError,
    DecodeError,
    FenceLost,
    IdentityCollision,
    IdentityError,
    NetworkError,
    NetworkNotFound,
    NetworkNotJoined,
    NodeFailed,
    NodeNotRunning,
    NoSuchMember,
    NoSuchNetwork,
    PortUnavailable,
    RecordError,
    StorageError,
    StoreError,
    WorldError,
    ZeroTierError,
)
from zt_async.events import (
    AddressAdded,
    AddressRemoved,
    ControllerFailed,
    Event,
    EventsLost,
    IdentityCollided,
    MemberAuthorized,
    MemberConfigured,
    MemberDeauthorized,
    MemberWaiting,
    NetworkDown,
    NetworkInfo,
    NetworkJoined,
    NetworkReady,
    NetworkStatus,
    NetworkUpdated,
    NodeDown,
    NodeOffline,
    NodeOnline,
    NodeUp,
    PathAdded,
    PathInfo,
    PathRemoved,
    PeerDirect,
    PeerInfo,
    PeerRelayed,
    PeerUnreachable,
    RouteAdded,
    RouteRemoved,
    UserMessage,
    WorldChanged,
)
from zt_async.stack.tcp.options import TcpInfo
from zt_async.types import DNS, Endpoint, MACAddress, MulticastGroup, NetworkId, NodeAddress, Route
from zt_async.vl1.world import Root, World, WorldKey, WorldType
from zt_async.vl2.settings import NetworkSettings

__version__ = "0.1.0"

__all__ = [
    "DNS",
    "AccessDenied",
    "AddressAdded",
    "AddressRemoved",
    "Conflict",
    "ControlledNetwork",
    "Controller",
    "ControllerError",
    "ControllerFailed",
    "DatagramTransport",
    "DecodeError",
    "Endpoint",
    "EthernetFrame",
    "Event",
    "EventStream",
    "EventsLost",
    "FenceLost",
    "FileStorage",
    "FrameStream",
    "Identity",
    "IdentityCollided",
    "IdentityCollision",
    "IdentityError",
    "MACAddress",
    "MemberAuthorized",
    "MemberConfigured",
    "MemberDeauthorized",
    "MemberWaiting",
    "MemoryStorage",
    "MulticastGroup",
    "Network",
    "NetworkDown",
    "NetworkError",
    "NetworkId",
    "NetworkInfo",
    "NetworkJoined",
    "NetworkNotFound",
    "NetworkNotJoined",
    "NetworkReady",
    "NetworkSettings",
    "NetworkStatus",
    "NetworkUpdated",
    "NoSuchMember",
    "NoSuchNetwork",
    "Node",
    "NodeAddress",
    "NodeConfig",
    "NodeDown",
    "NodeFailed",
    "NodeNotRunning",
    "NodeOffline",
    "NodeOnline",
    "NodeStatus",
    "NodeUp",
    "PathAdded",
    "PathInfo",
    "PathRemoved",
    "PeerDirect",
    "PeerInfo",
    "PeerRelayed",
    "PeerUnreachable",
    "PortUnavailable",
    "RecordError",
    "Root",
    "Route",
    "RouteAdded",
    "RouteRemoved",
    "Server",
    "StackConfig",
    "Starting",
    "Storage",
    "StorageError",
    "StorageKind",
    "StoreError",
    "StreamTransport",
    "TcpInfo",
    "UserMessage",
    "World",
    "WorldChanged",
    "WorldError",
    "WorldKey",
    "WorldType",
    "ZeroTierError",
    "create_connection",
    "create_datagram_endpoint",
    "create_server",
    "open_connection",
    "start",
    "start_server",
]
