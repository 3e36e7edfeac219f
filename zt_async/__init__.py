"""Asyncio-native ZeroTier: a Python program on ZeroTier networks, with a TCP/IP stack of its own.

import zt_async as zt

async with zt.start("~/.local/share/myapp/zt") as node:
    network = await node.join("8056c2e21c000001")
    reader, writer = await zt.open_connection("10.147.20.7", 7000)
"""

import typing

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
from zt_async.aio.standby import ControllerService
from zt_async.aio.start import Starting, start
from zt_async.aio.storage import FileStorage, MemoryStorage, Storage
from zt_async.aio.storage import Kind as StorageKind
from zt_async.aio.stores.directory import export_directory, import_directory
from zt_async.aio.stores.sqlite import SqliteStore
from zt_async.aio.subscription import EventStream
from zt_async.aio.transport import StreamTransport
from zt_async.config import NodeConfig, StackConfig
from zt_async.controller.records import MemberRecord, NetworkRecord, Seen
from zt_async.controller.rule_language import CompiledRules, compile_rules
from zt_async.crypto.identity import Identity
from zt_async.errors import (
    AccessDenied,
    Conflict,
    ControllerError,
    DamagedFiles,
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
    RuleLanguageError,
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
from zt_async.vl1.world import Root, World, WorldKey, WorldPlan, WorldType
from zt_async.vl2.settings import NetworkSettings

if typing.TYPE_CHECKING:
    from zt_async.aio.stores.postgres import PostgresStore as PostgresStore

__version__ = "0.1.0"

__all__ = [
    "DNS",
    "AccessDenied",
    "AddressAdded",
    "AddressRemoved",
    "CompiledRules",
    "Conflict",
    "ControlledNetwork",
    "Controller",
    "ControllerError",
    "ControllerFailed",
    "ControllerService",
    "DamagedFiles",
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
    "MemberRecord",
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
    "NetworkRecord",
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
    "RuleLanguageError",
    "Seen",
    "Server",
    "SqliteStore",
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
    "WorldPlan",
    "WorldType",
    "ZeroTierError",
    "compile_rules",
    "create_connection",
    "create_datagram_endpoint",
    "create_server",
    "export_directory",
    "import_directory",
    "open_connection",
    "start",
    "start_server",
]


def __getattr__(name: str) -> object:
    """PostgresStore, which is loaded when it is asked for: it needs asyncpg, and nothing else does."""
    if name == "PostgresStore":
        from zt_async.aio.stores.postgres import PostgresStore

        return PostgresStore
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
