"""The public node: its life, its networks and peers, and its sockets, in asyncio's own words."""

from __future__ import annotations

import asyncio
import itertools
import logging
import secrets
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar, Unpack
from weakref import WeakValueDictionary

from zt_async import accel
from zt_async.aio import connect, datagram, server
from zt_async.aio.connect import ConnectOptions
from zt_async.aio.controller import Controller, StoreLike
from zt_async.aio.datagram import DatagramOptions, DatagramProtocolT, DatagramTransport
from zt_async.aio.driver import Driver
from zt_async.aio.network import Network, NetworkChoices
from zt_async.aio.networks import Networks
from zt_async.aio.ping import ping
from zt_async.aio.registry import register, unregister
from zt_async.aio.resolve import Host, Port, resolve_host
from zt_async.aio.server import ClientConnected, Hosts, Server, ServerOptions
from zt_async.aio.state import Roots, State, StrPath
from zt_async.aio.storage import Storage
from zt_async.aio.subscription import EventStream
from zt_async.aio.udp import Udp, UdpSockets
from zt_async.aio.udp_socket import UdpSocketStatus
from zt_async.config import NodeConfig
from zt_async.context import Context
from zt_async.crypto.identity import Identity
from zt_async.errors import (
    IdentityCollision,
    NodeFailed,
    NodeNotRunning,
)
from zt_async.events import (
    Event,
    IdentityCollided,
    NodeDown,
    NodeOffline,
    NodeOnline,
    NodeUp,
    PeerInfo,
    WorldChanged,
)
from zt_async.node import Node as Core
from zt_async.types import Endpoint, NetworkId, NodeAddress
from zt_async.vl2.settings import NetworkSettings
from zt_async.wire.packet import Verb
from zt_async.wire.verbs import encode_user_message

logger = logging.getLogger("zt_async.aio")

ProtocolT = TypeVar("ProtocolT", bound=asyncio.BaseProtocol)

REBIND_INTERVAL = 30.0  # s between looks at the addresses of this host
SLEPT = 10.0  # s by which such a look is late, by the time of day, when the host has slept
OFFLINE_NEW_PORT = 120.0  # s offline after which another secondary port is tried
DATA_TIMEOUT = 2.0  # s for which a stopping node waits until the data of closed connections has arrived
END_TIMEOUT = 0.5  # s for which it then waits until their other ends know that no more comes


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
    surfaces: tuple[Endpoint, ...]
    """Where other nodes see this one's datagrams come from."""
    accelerated: bool
    """The C extension is in use."""
    counters: dict[str, int]
    """What happened to packets and frames, and what was dropped why, by room and reason."""


class Node:
    """A running ZeroTier node; made by ``zt.start``. Any number of them live in one process.

    Calls on a node that was stopped raise NodeNotRunning, and on one that came to an end by itself NodeFailed.
    """

    def __init__(
        self,
        path: StrPath | None,
        *,
        roots: Roots | None,
        identity: Identity | None,
        storage: Storage | None,
        config: NodeConfig,
        udp: Udp | None,
        context: Context | None,
    ) -> None:
        self.config = config
        self.core: Core
        """What the node is without I/O, for looking inside; not a stable interface."""
        self._context = context or Context(
            random_bytes=secrets.token_bytes, wall_ms=lambda: time.time_ns() // 1_000_000
        )
        self._udp = udp or UdpSockets(config)
        self._state = State(path, storage, identity, roots, config, self._context)
        self._driver: Driver
        self._networks: Networks
        self._controller: Controller | None = None
        self._streams: WeakValueDictionary[int, EventStream] = WeakValueDictionary()
        self._stream_numbers = itertools.count()
        self._rebind: asyncio.TimerHandle
        self._offline_since: float | None = None
        self._used = False
        self._running = False
        self._failure: Exception | None = None
        self._stopping: asyncio.Task[None] | None = None

    # Life

    async def _start(self) -> Node:
        if self._used:
            raise RuntimeError("this node was started before; call zt.start again for another")
        self._used = True
        loop = asyncio.get_running_loop()
        state = self._state
        await state.open()
        try:
            core = self.core = Core(state.identity, self._context, self.config, state.planet)
            driver = self._driver = Driver(core, self._udp, self._on_event, self._on_failure)
            now = self._offline_since = driver.now()
            for moon in state.moons:
                core.vl1.topology.offer(moon, always_accept_new=True)
            for peer, endpoints in state.peers:
                core.vl1.add_known_peer(peer, endpoints, now)
            self._networks = Networks(self, driver, state)
            driver.start()
        except BaseException:  # nothing may stay behind of a node that did not come up
            self._udp.close()
            await state.close((), 0.0)
            raise
        self._running = True
        register(self)
        loop.call_soon(self._tell, NodeUp(address=self.address))  # for those who subscribe at once
        self._networks.restore(state.networks)
        driver.schedule()
        self._rebind = loop.call_later(REBIND_INTERVAL, self._on_rebind, self._context.wall_ms())
        logger.info("node %s is up", self.address)
        return self

    async def stop(self) -> None:
        """Stop the node and free everything. What is sent by connections that were closed still goes out, for up to
        two seconds; those that are open are reset, and their applications get ConnectionAbortedError.

        Stopping again is no error, nor is stopping a node that came to an end by itself.
        """
        if self._stopping is None:
            if not self._running:
                return
            self._stopping = asyncio.get_running_loop().create_task(self._stop())
        await asyncio.shield(self._stopping)

    async def _stop(self) -> None:
        self._running = False
        unregister(self)
        self._rebind.cancel()
        driver = self._driver
        ended = self._why_ended()
        driver.end(ended, draining=False)
        try:
            if self._controller is not None:
                await self._controller.close()
            if self._failure is None:
                await driver.drain(DATA_TIMEOUT, END_TIMEOUT)
        finally:
            driver.end(ended, draining=True)
            driver.pump()
            self._networks.leave_all()
            driver.stop()
            driver.call(self._tell_last_events)
            for stream in self._streams.values():
                stream.end()
            await self._state.close(self.core.vl1.topology.peers.values(), driver.now())
            logger.info("node %s is down", self.address)

    async def __aenter__(self) -> Node:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def check_running(self) -> None:
        """Raises NodeNotRunning when the node was stopped, and NodeFailed when it came to an end by itself."""
        if not self._running:
            raise self._why_ended()

    def _why_ended(self) -> Exception:
        if self._failure is None:
            return NodeNotRunning("the node was stopped")
        failed = NodeFailed(f"the node came to an end: {self._failure or type(self._failure).__name__}")
        failed.__cause__ = self._failure
        return failed

    def _on_failure(self, error: Exception) -> None:
        """The node cannot go on: stop it, and say why to all who ask."""
        if self._failure is None:
            self._failure = error
            self._running = False
            self._driver.stop()
            logger.error("node %s fails: %r", self.address, error)
            if self._stopping is None:
                self._stopping = asyncio.get_running_loop().create_task(self._stop())

    def _on_rebind(self, before_ms: int) -> None:
        """Follow the host's addresses; after a long time offline take another secondary port."""
        now_ms = self._context.wall_ms()
        self._rebind = self._driver.loop.call_later(REBIND_INTERVAL, self._on_rebind, now_ms)
        slept = now_ms - before_ms > 1000 * (REBIND_INTERVAL + SLEPT)
        stale = (
            self._offline_since is not None and self._driver.now() - self._offline_since >= OFFLINE_NEW_PORT
        )
        if self._udp.refresh(new_secondary=stale) or slept:
            self._driver.sockets_changed()
            self.core.vl1.pulse.check_now()
            self._driver.schedule()

    # Events

    def events(self) -> EventStream:
        """The events from now on, as an asynchronous iterator with a queue of its own.

        Call it before whatever leads to the events; a task that is to call it runs later.
        """
        stream = EventStream(self.config.event_queue)
        if self._running:
            self._streams[next(self._stream_numbers)] = stream
        else:
            stream.end()
        return stream

    def _on_event(self, event: Event) -> None:
        self._tell(event)
        match event:
            case NodeOnline():
                self._offline_since = None
            case NodeOffline():
                self._offline_since = self._driver.now()
            case WorldChanged():
                self._state.save_worlds(self.core.vl1.topology.worlds())
            case IdentityCollided(reporter=reporter):
                self._on_failure(
                    IdentityCollision(f"root {reporter} knows another node under the address {self.address}")
                )

    def _tell_last_events(self) -> None:
        try:
            for event in self.core.take_events():
                self._tell(event)
        finally:
            self._tell(NodeDown(error=self._failure))

    def _tell(self, event: Event) -> None:
        for stream in self._streams.values():
            stream.put(event)

    # State

    @property
    def address(self) -> NodeAddress:
        """The node's address, which other nodes know it by."""
        return self.core.address

    @property
    def identity(self) -> Identity:
        """The public identity."""
        return self.core.identity.public()

    @property
    def storage(self) -> Storage:
        """Where the node keeps what outlives it."""
        return self._state.storage

    @property
    def is_running(self) -> bool:
        """Between ``zt.start`` and ``stop``."""
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
        rooms: dict[str, Counter[str]] = {
            "udp": self._udp.counts,
            "vl1": core.vl1.counters,
            "vl2": core.vl2.counters,
            "stack": core.stack.counters,
        }
        return NodeStatus(
            address=self.address,
            online=self.is_online,
            is_root=topology.is_root,
            sockets=self._udp.status(),
            planet_id=topology.planet.id if topology.planet else None,
            planet_timestamp=topology.planet.timestamp if topology.planet else None,
            moons=tuple(topology.moons),
            surfaces=tuple(core.vl1.surfaces(self._driver.now())),
            accelerated=accel.ACCELERATED,
            counters={f"{room}: {what}": n for room, counts in rooms.items() for what, n in counts.items()},
        )

    async def online(self) -> None:
        """Wait until a root answers. Raises NodeNotRunning if the node is stopped before."""
        with self.events() as events:
            self.check_running()
            while not self.core.online:
                await anext(events, None)
                self.check_running()

    # Networks

    @property
    def networks(self) -> dict[NetworkId, Network]:
        """The joined networks by ID; none once the node has stopped."""
        return dict(self._networks.joined)

    async def join(
        self,
        network_id: NetworkId | int | str,
        *,
        wait: bool = True,
        wait_for_authorization: bool = True,
        **choices: Unpack[NetworkChoices],
    ) -> Network:
        """Join a network, and wait until its addresses are assigned. Joining again is no error.

        A private network assigns them when its controller's owner has authorized this node: bound the wait with
        ``asyncio.timeout``, or let ``wait_for_authorization=False`` raise AccessDenied; ``wait=False`` waits
        for nothing. ``choices`` are fields of NetworkSettings, which tell what the network may decide for this node;
        they are kept in its folder.

        Raises ValueError for what is no network ID, NetworkNotFound, AccessDenied, StorageError; then, and when it is
        cancelled, the node is not on the network, unless it was joined otherwise.
        """
        self.check_running()
        settings = NetworkSettings(**choices) if choices else None
        return await self._networks.join(
            _network_id(network_id), settings, wait=wait, wait_for_authorization=wait_for_authorization
        )

    async def leave(self, network_id: NetworkId | int | str) -> None:
        """Leave a network: its connections fail with ENETDOWN. Raises NetworkNotJoined."""
        self.check_running()
        await self._networks.leave(_network_id(network_id))

    def controller(self, store: StoreLike = None, *, fence: int | None = None) -> Controller:
        """The controller of the networks whose IDs begin with this node's address; enter it with ``async with``.

        Args:
            store: Where networks and members are kept: the path of an SQLite file, the ``postgresql://`` URL of a
                database, a Store, or None for memory.
            fence: The token of the lease under which this node has its identity, where there is one.
        """
        self.check_running()
        self._controller = Controller(self._driver, self._context, self._tell, store, fence)
        return self._controller

    # Peers and worlds

    @property
    def peers(self) -> list[PeerInfo]:
        """What is known of other nodes."""
        return self.core.peers(self._driver.now())

    def peer(self, address: NodeAddress | int | str) -> PeerInfo | None:
        """What is known of one node; None if nothing is. Raises ValueError for what is no address."""
        return self.core.peer(_node_address(address), self._driver.now())

    def send_user_message(self, address: NodeAddress | int | str, message_type: int, data: bytes) -> None:
        """Send data to a node outside of any network; it gets a UserMessage event, or nobody does.

        ``message_type`` has 64 bits; those up to 65535 are ZeroTier's own. Raises ValueError for what is no address
        or type, and for more data than a packet holds.
        """
        self.check_running()
        if not 0 <= message_type < 1 << 64:
            raise ValueError(f"a message type has 64 bits, not {message_type:#x}")
        payload = encode_user_message(message_type, data)
        vl1 = self.core.vl1
        if len(payload) >= vl1.sender.largest_body:
            raise ValueError(f"{len(data)} bytes are too many for a user message")
        vl1.send(_node_address(address), Verb.USER_MESSAGE, payload, self._driver.now(), compressible=True)
        self._driver.schedule()

    async def orbit(self, moon_id: int | str, seed: NodeAddress | int | str | None = None) -> None:
        """Use a moon: the one in the folder's ``moons.d``, or else as soon as the node ``seed`` delivers it.

        Raises ValueError where neither is there.
        """
        self.check_running()
        number = _moon_id(moon_id)
        vl1 = self.core.vl1
        if number in vl1.topology.moons:
            return
        stored = await self._state.load_moon(number)
        if stored is not None:
            vl1.offer_world(stored, always_accept_new=True)
        elif seed is not None:
            vl1.want_moon(number, _node_address(seed))
        else:
            raise ValueError(f"the moon {number:016x} is not in moons.d; name a seed that can deliver it")
        self._driver.schedule()

    async def deorbit(self, moon_id: int | str) -> bool:
        """Forget a moon; False if it was not known."""
        self.check_running()
        number = _moon_id(moon_id)
        known = self.core.vl1.drop_moon(number)
        self._driver.schedule()
        await self._state.delete_moon(number)
        return known

    # Sockets

    async def create_connection(
        self,
        protocol_factory: Callable[[], ProtocolT],
        host: Host = None,
        port: Port = None,
        **options: Unpack[ConnectOptions],
    ) -> tuple[asyncio.Transport, ProtocolT]:
        """As ``loop.create_connection``; without a host it connects to this node itself. Raises OSError."""
        self.check_running()
        return await connect.create_connection(self._driver, protocol_factory, host, port, **options)

    async def open_connection(
        self, host: Host = None, port: Port = None, *, limit: int = 2**16, **options: Unpack[ConnectOptions]
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """As ``asyncio.open_connection``; without a host it connects to this node itself. Raises OSError."""
        self.check_running()
        return await connect.open_connection(self._driver, host, port, limit=limit, **options)

    async def create_server(
        self,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        host: Hosts = None,
        port: Port = None,
        **options: Unpack[ServerOptions],
    ) -> Server:
        """As ``loop.create_server``; without a host it serves on all addresses of all networks. Raises OSError."""
        self.check_running()
        return await server.create_server(self._driver, protocol_factory, host, port, **options)

    async def start_server(
        self,
        client_connected_cb: ClientConnected,
        host: Hosts = None,
        port: Port = None,
        *,
        limit: int = 2**16,
        **options: Unpack[ServerOptions],
    ) -> Server:
        """As ``asyncio.start_server``; without a host it serves on all addresses of all networks. Raises OSError.

        A handler that fails is reported to the loop's exception handler, and its connection is closed.
        """
        self.check_running()
        return await server.start_server(
            self._driver, client_connected_cb, host, port, limit=limit, **options
        )

    async def create_datagram_endpoint(
        self,
        protocol_factory: Callable[[], DatagramProtocolT],
        local_addr: tuple[Host, Port] | None = None,
        remote_addr: tuple[Host, Port] | None = None,
        **options: Unpack[DatagramOptions],
    ) -> tuple[DatagramTransport, DatagramProtocolT]:
        """As ``loop.create_datagram_endpoint``; without addresses on all networks, at any port. Raises OSError."""
        self.check_running()
        return await datagram.create_datagram_endpoint(
            self._driver, protocol_factory, local_addr, remote_addr, **options
        )

    async def ping(self, host: Host, *, size: int = 56) -> float:
        """Send an ICMP echo of ``size`` bytes and return the round trip in seconds.

        Raises OSError; waits for ever where nobody answers.
        """
        self.check_running()
        return await ping(self._driver, resolve_host(host), size)

    def __repr__(self) -> str:
        return f"<Node {self.address if hasattr(self, 'core') else 'not started'}>"


def _network_id(network_id: NetworkId | int | str) -> NetworkId:
    return NetworkId.parse(network_id) if isinstance(network_id, str) else NetworkId(network_id)


def _node_address(address: NodeAddress | int | str) -> NodeAddress:
    return NodeAddress.parse(address) if isinstance(address, str) else NodeAddress(address)


def _moon_id(moon_id: int | str) -> int:
    try:
        number = int(moon_id, 16) if isinstance(moon_id, str) else moon_id
    except ValueError:
        number = 0
    if not 0 < number < 1 << 64:
        raise ValueError(f"a moon's ID is up to 16 hexadecimal digits, and not zero: {moon_id!r}")
    return number
