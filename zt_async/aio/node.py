"""The public node: its life, its networks and peers, and its sockets, in asyncio's own words."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from zt_async import accel
from zt_async.aio import connect, datagram, server
from zt_async.aio.datagram import DatagramTransport
from zt_async.aio.driver import Driver
from zt_async.aio.network import Network
from zt_async.aio.ping import ping
from zt_async.aio.registry import register, unregister
from zt_async.aio.resolve import Host, resolve_host
from zt_async.aio.server import ClientConnected, Server
from zt_async.aio.state import State
from zt_async.aio.storage import Storage
from zt_async.aio.subscription import EventStream
from zt_async.aio.transport import StreamTransport
from zt_async.aio.udp import Udp, UdpSockets
from zt_async.aio.udp_socket import UdpSocketStatus
from zt_async.config import NodeConfig
from zt_async.context import Context
from zt_async.crypto.identity import Identity
from zt_async.errors import IdentityCollision, NetworkError, NodeFailed, NodeNotRunning
from zt_async.events import (
    Event,
    IdentityCollided,
    NetworkDown,
    NodeDown,
    NodeOnline,
    NodeUp,
    PeerInfo,
    WorldChanged,
)
from zt_async.node import Node as Core
from zt_async.stack.tcp.connection import TcpConnection
from zt_async.types import NetworkId, NodeAddress
from zt_async.vl1.world import World
from zt_async.wire.packet import Verb
from zt_async.wire.verbs import encode_user_message

logger = logging.getLogger("zt_async.aio")

ProtocolT = TypeVar("ProtocolT", bound=asyncio.BaseProtocol)

REBIND_INTERVAL = 30.0  # s between looks at the addresses of this host
OFFLINE_NEW_PORT = 120.0  # s offline after which another secondary port is tried
FLUSH_TIMEOUT = 2.0  # s for which a stopping node waits until closed connections have sent all


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeStatus:
    """A node at one moment."""

    address: NodeAddress
    online: bool
    is_root: bool
    sockets: tuple[UdpSocketStatus, ...]
    """The UDP sockets, each with how it sends and receives: batched by GSO and GRO, or plain."""
    planet_id: int | None
    planet_timestamp: int | None
    """Unix milliseconds."""
    moons: tuple[int, ...]
    accelerated: bool
    """The C extension is in use."""
    counters: dict[str, int]
    """What happened to packets and frames, and what was dropped why, by room and reason."""


class Node:
    """A running ZeroTier node; made by ``zt.start``. Any number of them live in one process."""

    def __init__(
        self,
        path: str | os.PathLike[str] | None,
        *,
        roots: World | bytes | str | os.PathLike[str] | None,
        identity: Identity | None,
        storage: Storage | None,
        config: NodeConfig,
        udp: Udp | None,
        context: Context | None = None,
    ) -> None:
        self.config = config
        self.loop: asyncio.AbstractEventLoop
        self.core: Core
        self.driver: Driver
        self.servers: set[Server] = set()
        self.transports: set[StreamTransport] = set()
        self.datagram_transports: set[DatagramTransport] = set()
        self._state = State(path, storage, identity, roots, config)
        self._udp = udp or UdpSockets(config)
        self._context = context or Context(
            random_bytes=secrets.token_bytes, wall_ms=lambda: time.time_ns() // 1_000_000
        )
        self._streams: list[EventStream] = []
        self._online: set[asyncio.Future[None]] = set()
        self._running = False
        self._used = False
        self._rebind: asyncio.TimerHandle | None = None
        self._offline_since: float | None = None
        self._failure: Exception | None = None
        self._stopping: asyncio.Task[None] | None = None

    # Life

    async def _start(self) -> Node:
        if self._used:
            raise RuntimeError("this node was started before; call zt.start again for another")
        self._used = True
        self.loop = asyncio.get_running_loop()
        await self._state.open()
        try:
            self.core = Core(self._state.identity, self._context, self.config, self._state.planet)
            self.driver = Driver(self.core, self.loop, self._on_event, self._on_failure)
            now = self.driver.now()
            for moon in self._state.moons:
                self.core.vl1.topology.offer(moon, always_accept_new=True)
            for peer, endpoints in self._state.peers:
                self.core.vl1.add_known_peer(peer, endpoints, now)
            self.driver.start(self._udp)
        except BaseException:  # nothing may stay behind of a node that did not come up
            self._udp.close()
            await self._state.close()
            raise
        self._running = True
        register(self)
        self._on_event(NodeUp(address=self.address))
        for network_id in self._state.networks:
            self.core.join(network_id, now)
        self.driver.pump()
        self._rebind = self.loop.call_later(REBIND_INTERVAL, self._on_rebind, self.loop.time())
        logger.info("node %s is up", self.address)
        return self

    async def stop(self) -> None:
        """Stop the node and free everything. Connections that were closed are sent out first; open ones are reset.

        Stopping twice is the same as once. Raises NodeFailed if the node had come to an end by itself.
        """
        if not self._used:
            self._used = True
            return
        if self._stopping is None:
            if not self._running:
                return
            self._stopping = self.loop.create_task(self._stop())
        await asyncio.shield(self._stopping)

    async def _stop(self) -> None:
        self._running = False
        unregister(self)
        if self._rebind is not None:
            self._rebind.cancel()
        for listening in list(self.servers):
            listening.close()
        for endpoint in list(self.datagram_transports):
            endpoint.close()
        try:
            await self._flush()
        finally:
            for transport in list(self.transports):
                transport.abort()
            self.driver.pump()
            self.driver.stop()
            self._udp.close()
            for network in self.core.networks():
                self._tell(NetworkDown(network=network))
            for waiter in self._online:
                if not waiter.done():
                    waiter.set_exception(NodeNotRunning("the node was stopped"))
            self._tell(NodeDown(error=self._failure))
            for stream in self._streams:
                stream.end()
            self._streams = []
            now = self.driver.now()
            await self._state.save_peers(self.core.vl1.topology.peers.values(), now)
            await self._state.close()
            logger.info("node %s is down", self.address)

    async def _flush(self) -> None:
        """Give connections that were closed the time to get their data across."""
        closing = [transport for transport in self.transports if transport.is_closing()]
        if not closing or self._failure is not None:
            return
        done = asyncio.gather(*(transport.wait_lost() for transport in closing))
        try:
            async with asyncio.timeout(FLUSH_TIMEOUT):
                await done
        except TimeoutError:
            logger.info("node %s stops with unsent data", self.address)

    async def __aenter__(self) -> Node:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def _on_failure(self, error: Exception) -> None:
        """The node cannot go on: stop it, and say why to whoever reads events or stops it."""
        if self._failure is None:
            self._failure = error
            logger.error("node %s fails: %s", self.address, error)
            if self._stopping is None:
                self._stopping = self.loop.create_task(self._stop())

    def _on_rebind(self, expected: float) -> None:
        """Follow the host's addresses; after a long time offline take another secondary port."""
        now = self.loop.time()
        stale = self._offline_since is not None and now - self._offline_since >= OFFLINE_NEW_PORT
        if self._udp.refresh(new_secondary=stale) or now - expected > REBIND_INTERVAL + 10:
            self.driver.sockets_changed()
            self.core.vl1.pulse.check_now()
            self.driver.schedule()
        self._rebind = self.loop.call_later(REBIND_INTERVAL, self._on_rebind, now)

    # Events

    def _on_event(self, event: Event) -> None:
        match event:
            case NodeOnline():
                self._offline_since = None
                for waiter in self._online:
                    if not waiter.done():
                        waiter.set_result(None)
            case IdentityCollided(reporter=reporter):
                self._on_failure(
                    IdentityCollision(f"root {reporter} knows another node under the address {self.address}")
                )
            case WorldChanged():
                self._state.save_worlds(self.core.vl1.topology)
        if not self.core.online and self._offline_since is None:
            self._offline_since = self.loop.time()
        self._tell(event)

    def _tell(self, event: Event) -> None:
        for stream in self._streams:
            stream.put(event)

    def subscribe(self) -> EventStream:
        """The events from now on, as an asynchronous iterator with a queue of its own."""
        stream = EventStream(self.config.event_queue, self._streams.remove)
        self._streams.append(stream)
        if not self._running:
            stream.end()
        return stream

    events = subscribe

    # State

    @property
    def address(self) -> NodeAddress:
        return self.core.address

    @property
    def identity(self) -> Identity:
        """The public identity."""
        return self.core.identity.public()

    @property
    def is_running(self) -> bool:
        return self._running

    @property
    def is_online(self) -> bool:
        """A root answers, or this node is one."""
        return self._running and self.core.online

    @property
    def status(self) -> NodeStatus:
        """A copy of the node's state."""
        core = self.core
        topology = core.vl1.topology
        counters: Counter[str] = Counter()
        for room, counts in (
            ("udp", self._udp.counts),
            ("vl1", core.vl1.counters),
            ("vl2", core.vl2.counters),
            ("stack", core.stack.counters),
        ):
            counters.update({f"{room}: {reason}": count for reason, count in counts.items()})
        return NodeStatus(
            address=self.address,
            online=self.is_online,
            is_root=topology.is_root,
            sockets=self._udp.status(),
            planet_id=topology.planet.id if topology.planet else None,
            planet_timestamp=topology.planet.timestamp if topology.planet else None,
            moons=tuple(topology.moons),
            accelerated=accel.ACCELERATED,
            counters=dict(counters),
        )

    async def online(self) -> None:
        """Wait until a root answers. Raises NodeNotRunning if the node stops before."""
        self.check_running()
        if self.core.online:
            return
        waiter = self.loop.create_future()
        self._online.add(waiter)
        try:
            await waiter
        finally:
            self._online.discard(waiter)

    def check_running(self) -> None:
        """Raises NodeNotRunning, or what ended the node."""
        if self._failure is not None:
            raise NodeFailed(str(self._failure)) from self._failure
        if not self._running:
            raise NodeNotRunning("the node is not running")

    # Networks

    @property
    def networks(self) -> dict[NetworkId, Network]:
        """The joined networks by ID."""
        return {network.id: Network(self, network.id) for network in self.core.networks()}

    async def join(self, network_id: NetworkId | int | str) -> Network:
        """Join a network, and wait until its addresses are assigned. Joining again is no error.

        Raises ValueError for what is no network ID, NetworkNotFound, AccessDenied.
        """
        self.check_running()
        network_id = _network_id(network_id)
        if not network_id.is_ad_hoc:
            raise NetworkError(
                network_id, "has a controller; this version joins ad-hoc networks only, whose IDs begin with ff"
            )
        joined = network_id in self.core.vl2.networks
        self.core.join(network_id, self.driver.now())
        self.driver.schedule()
        network = Network(self, network_id)
        try:
            await network.ready()
            if not joined:
                await self._state.add_network(network_id)
        except BaseException:  # cancelled or refused: leave it as it was
            if not joined and network_id in self.core.vl2.networks:
                self.core.leave(network_id, self.driver.now())
                self.driver.schedule()
            raise
        return network

    async def leave(self, network_id: NetworkId | int | str) -> None:
        """Leave a network: its connections fail with ENETDOWN. Raises NetworkNotJoined."""
        self.check_running()
        network_id = _network_id(network_id)
        self.core.leave(network_id, self.driver.now())
        self.driver.schedule()
        await self._state.remove_network(network_id)

    # Peers and worlds

    @property
    def peers(self) -> list[PeerInfo]:
        """What is known of other nodes."""
        return self.core.peers(self.driver.now())

    def peer(self, address: NodeAddress | int | str) -> PeerInfo | None:
        """What is known of one node; None if nothing is."""
        number = NodeAddress.parse(address) if isinstance(address, str) else NodeAddress(address)
        return self.core.peer(number, self.driver.now())

    def send_user_message(self, address: NodeAddress | int | str, message_type: int, data: bytes) -> None:
        """Send data to a node outside of any network; it gets a UserMessage event, or nobody does.

        ``message_type`` has 64 bits; those up to 65535 are ZeroTier's own.
        """
        self.check_running()
        number = NodeAddress.parse(address) if isinstance(address, str) else NodeAddress(address)
        if not 0 <= message_type < 1 << 64:
            raise ValueError(f"a message type has 64 bits, not {message_type:#x}")
        payload = encode_user_message(message_type, data)
        self.core.vl1.send(number, Verb.USER_MESSAGE, payload, self.driver.now(), compressible=True)
        self.driver.schedule()

    async def orbit(self, moon_id: int | str, seed: NodeAddress | int | str | None = None) -> None:
        """Use a moon: from the folder's ``moons.d``, or else as soon as the node ``seed`` delivers it."""
        self.check_running()
        number = int(moon_id, 16) if isinstance(moon_id, str) else moon_id
        topology = self.core.vl1.topology
        if number in topology.moons:
            return
        stored = await self._state.load_moon(number)
        if stored is not None:
            topology.offer(stored, always_accept_new=True)
        elif seed is not None:
            topology.want_moon(number, NodeAddress.parse(seed) if isinstance(seed, str) else NodeAddress(seed))
        else:
            raise ValueError(f"the moon {number:016x} is not in moons.d; name a seed that can deliver it")
        self.core.vl1.pulse.check_now()
        self.driver.schedule()

    async def deorbit(self, moon_id: int | str) -> bool:
        """Forget a moon; False if it was not known."""
        self.check_running()
        number = int(moon_id, 16) if isinstance(moon_id, str) else moon_id
        known = self.core.vl1.topology.drop_moon(number)
        await self._state.delete_moon(number)
        return known

    # Sockets

    async def create_connection(
        self, protocol_factory: Callable[[], ProtocolT], host: Host = None, port: Any = None, **kwargs: Any
    ) -> tuple[asyncio.Transport, ProtocolT]:
        """As ``loop.create_connection``, with ``ssl`` and its companions, and ``local_addr``. Raises OSError."""
        self.check_running()
        return await connect.create_connection(self, protocol_factory, host, port, **kwargs)

    async def open_connection(
        self, host: Host = None, port: Any = None, *, limit: int = 2**16, **kwargs: Any
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """As ``asyncio.open_connection``; further arguments as in ``create_connection``. Raises OSError."""
        self.check_running()
        return await connect.open_connection(self, host, port, limit=limit, **kwargs)

    async def create_server(
        self, protocol_factory: Callable[[], asyncio.BaseProtocol], host: Any = None, port: Any = None, **kwargs: Any
    ) -> Server:
        """As ``loop.create_server``, with ``backlog``, ``ssl`` and its companions, and ``start_serving``.

        Without a host it serves on all addresses of all networks. Raises OSError.
        """
        self.check_running()
        return await server.create_server(self, protocol_factory, host, port, **kwargs)

    async def start_server(
        self, client_connected_cb: ClientConnected, host: Any = None, port: Any = None, **kwargs: Any
    ) -> Server:
        """As ``asyncio.start_server``; further arguments as in ``create_server``. Raises OSError."""
        self.check_running()
        return await server.start_server(self, client_connected_cb, host, port, **kwargs)

    async def create_datagram_endpoint(
        self,
        protocol_factory: Callable[[], ProtocolT],
        local_addr: tuple[Host, Any] | None = None,
        remote_addr: tuple[Host, Any] | None = None,
    ) -> tuple[DatagramTransport, ProtocolT]:
        """As ``loop.create_datagram_endpoint``. Raises OSError."""
        self.check_running()
        return await datagram.create_datagram_endpoint(self, protocol_factory, local_addr, remote_addr)

    async def ping(self, host: Host, *, size: int = 56) -> float:
        """Send an ICMP echo of ``size`` bytes and return the round trip in seconds.

        Raises OSError; waits for ever where nobody answers.
        """
        self.check_running()
        return await ping(self, resolve_host(host), size)

    def network_of(self, connection: TcpConnection) -> NetworkId | None:
        """The network a connection runs over; None if it is one to this node itself."""
        name = connection.flow.interface.name
        return name if isinstance(name, NetworkId) and not connection.flow.is_local else None

    def peer_of(self, connection: TcpConnection) -> NodeAddress | None:
        """The node at the other end; None for an address that is no member's."""
        network_id = self.network_of(connection)
        if network_id is None:
            return self.address
        neighbor = connection.flow.interface.neighbors.find(connection.flow.destination)
        network = self.core.vl2.networks.get(network_id)
        if neighbor is None or neighbor.mac is None or network is None:
            return None
        return network.member(neighbor.mac)

    def __repr__(self) -> str:
        return f"<Node {self.address if self._used else 'not started'}>"


def _network_id(network_id: NetworkId | int | str) -> NetworkId:
    return NetworkId.parse(network_id) if isinstance(network_id, str) else NetworkId(network_id)
