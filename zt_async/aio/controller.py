"""The public controller: networks of one's own, in asyncio's words."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any, TypeAlias, TypeVar, Unpack

from zt_async.aio.controller_worker import Worker
from zt_async.aio.driver import Driver
from zt_async.aio.stores.memory import MemoryStore
from zt_async.aio.stores.place import Place, store_at
from zt_async.context import Context
from zt_async.controller import edits
from zt_async.controller.batch import Batch
from zt_async.controller.core import ControllerCore
from zt_async.controller.messages import Configure, Message, Refuse, Tell
from zt_async.controller.records import MemberRecord, NetworkRecord, Seen
from zt_async.controller.settings import MemberOptions, NetworkOptions, member_change, network_change
from zt_async.controller.store import Store
from zt_async.errors import ControllerError, NoSuchMember, NoSuchNetwork
from zt_async.events import ControllerFailed, Event
from zt_async.types import NetworkId, NodeAddress
from zt_async.vl2.serving import ConfigRequest

logger = logging.getLogger("zt_async.controller")

T = TypeVar("T")
StoreLike: TypeAlias = Store | Place | None
"""A store, the path of an SQLite file, the URL of a PostgreSQL database, or None for memory."""


class Controller:
    """The networks whose IDs begin with this node's address; made by ``node.controller``, and entered to be used.

    Records are frozen copies. What changes them returns when the change is durable; members that are online have it
    a moment later. ControllerError is raised where the controller is not open, or has come to an end by itself, and
    StoreError where its store cannot be written: then it is not known whether the change was made.
    """

    def __init__(
        self,
        driver: Driver,
        context: Context,
        tell: Callable[[Event], None],
        store: StoreLike,
        fence: int | None,
    ) -> None:
        self.store = _store(store)
        """Where the records are kept."""
        self._driver = driver
        self._context = context
        self._tell = tell
        self._fence = fence
        self._used = False
        self._worker: Worker | None = None
        self._resources = AsyncExitStack()

    # Life

    async def open(self) -> None:
        """Read the store, and begin to serve. Raises StoreError."""
        node = self._driver.core
        if self._used:
            raise RuntimeError("this controller was opened before; make another one")
        if node.vl2.serves:
            raise RuntimeError("this node has a controller already")
        self._used = True
        async with AsyncExitStack() as resources:
            node.vl2.serves = True  # who asks meanwhile waits for the answer
            resources.callback(setattr, node.vl2, "serves", False)
            await self.store.open()
            resources.push_async_callback(self.store.close)
            if self._fence is None:
                await resources.enter_async_context(self.store.claim(node.address))
            core = ControllerCore(node.identity, self._context)
            worker = Worker(core, self.store, self._fence, _Door(self._driver, self._tell))
            await worker.start()
            resources.push_async_callback(worker.stop)
            self._worker = worker
            self._driver.collectors.append(self._collect)
            resources.callback(self._driver.collectors.remove, self._collect)
            self._resources = resources.pop_all()
        self._driver.schedule()

    async def close(self) -> None:
        """Serve no more, and free everything. What was begun is written before; closing again is no error."""
        await self._resources.aclose()

    async def __aenter__(self) -> Controller:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def _collect(self) -> None:
        requests = self._driver.core.vl2.take_requests()
        if requests and self._worker is not None:
            self._worker.receive(requests)

    def _open_worker(self) -> Worker:
        if self._worker is None:
            raise ControllerError("the controller is not open; enter it with async with")
        self._worker.check()
        return self._worker

    @property
    def _core(self) -> ControllerCore:
        return self._open_worker().core

    async def _edit(self, work: Callable[[Batch], T]) -> T:
        return await self._open_worker().edit(work)

    @property
    def is_ready(self) -> bool:
        """It is open, and its store worked when it was last needed."""
        return self._worker is not None and self._worker.is_ready

    # Networks

    @property
    def address(self) -> NodeAddress:
        """The address of this node, with which the IDs of its networks begin."""
        return self._driver.core.address

    @property
    def networks(self) -> dict[NetworkId, ControlledNetwork]:
        """The networks by ID."""
        return {network_id: ControlledNetwork(self, network_id) for network_id in self._core.tables.networks}

    def network(self, network_id: NetworkId | int | str) -> ControlledNetwork:
        """One network. Raises NoSuchNetwork; ValueError for what is no network ID."""
        network_id = parse_network_id(network_id)
        self.record(network_id)
        return ControlledNetwork(self, network_id)

    async def create_network(
        self, network_id: NetworkId | int | str | None = None, **settings: Unpack[NetworkOptions]
    ) -> ControlledNetwork:
        """Make a network, with a random ID of this controller unless one is given.

        Without settings it is private, and gives no addresses. Raises RecordError, a ValueError, for a setting that has
        no such value; ControllerError for an ID that is taken.
        """
        change = network_change(settings)
        wanted = None if network_id is None else parse_network_id(network_id)
        made = await self._edit(lambda batch: edits.create_network(batch, change, wanted))
        return ControlledNetwork(self, made)

    # Records, as the HTTP API has them

    def record(self, network_id: NetworkId) -> NetworkRecord:
        """A network's record. Raises NoSuchNetwork."""
        record = self._core.tables.networks.get(network_id)
        if record is None:
            raise NoSuchNetwork(network_id)
        return record

    def members(self, network_id: NetworkId) -> dict[NodeAddress, MemberRecord]:
        """The records of a network's members, and of those who wait to be. Raises NoSuchNetwork."""
        self.record(network_id)
        return dict(self._core.tables.members[network_id])

    def member(self, network_id: NetworkId, address: NodeAddress) -> MemberRecord:
        """A member's record. Raises NoSuchNetwork, NoSuchMember."""
        self.record(network_id)
        record = self._core.tables.members[network_id].get(address)
        if record is None:
            raise NoSuchMember(network_id, address)
        return record

    def seen(self, network_id: NetworkId, address: NodeAddress) -> Seen:
        """How a member was last seen; with a time of 0 if it never was."""
        return self._core.seen(network_id, address)

    def is_online(self, network_id: NetworkId, address: NodeAddress) -> bool:
        """Whether a member asked for its configuration within the last two minutes, as it does each minute."""
        return self._core.is_online(network_id, address, self._driver.now())

    async def patch_network(self, network_id: NetworkId | None, changes: Mapping[str, Any]) -> NetworkRecord:
        """Change a network by upstream's JSON, or make it; None makes one with a random ID. Raises RecordError."""

        def work(batch: Batch) -> NetworkId:
            if network_id is None or not batch.has_network(network_id):
                return edits.create_network(batch, lambda record: record.patched(changes), network_id)
            edits.update_network(batch, network_id, lambda record: record.patched(changes))
            return network_id

        return self.record(await self._edit(work))

    async def patch_member(
        self, network_id: NetworkId, address: NodeAddress, changes: Mapping[str, Any]
    ) -> MemberRecord:
        """Change a member by upstream's JSON, or make its record. Raises NoSuchNetwork, RecordError."""
        return await self._update_member(network_id, address, lambda record: record.patched(changes))

    async def delete_network(self, network_id: NetworkId) -> NetworkRecord:
        """Delete a network with its members; gives the record that it had. Raises NoSuchNetwork."""
        return await self._edit(lambda batch: edits.delete_network(batch, network_id))

    async def delete_member(self, network_id: NetworkId, address: NodeAddress) -> MemberRecord:
        """Delete a member's record, which it had. Raises NoSuchNetwork, NoSuchMember."""
        return await self._edit(lambda batch: edits.delete_member(batch, network_id, address))

    async def _update_member(
        self, network_id: NetworkId, address: NodeAddress, change: edits.MemberChange, *, create: bool = True
    ) -> MemberRecord:
        await self._edit(lambda batch: edits.update_member(batch, network_id, address, change, create=create))
        return self.member(network_id, address)

    def __repr__(self) -> str:
        return f"<Controller {self.address}>"


class ControlledNetwork:
    """One network of a controller. Its attributes are always the present state, copies of it.

    They raise NoSuchNetwork when the network is deleted.
    """

    def __init__(self, controller: Controller, network_id: NetworkId) -> None:
        self._controller = controller
        self.id = network_id

    @property
    def record(self) -> NetworkRecord:
        """All settings of the network."""
        return self._controller.record(self.id)

    @property
    def name(self) -> str:
        """The short name."""
        return self.record.name

    @property
    def members(self) -> dict[NodeAddress, MemberRecord]:
        """The members, and those who wait to be; ``authorized`` tells them apart."""
        return self._controller.members(self.id)

    def member(self, address: NodeAddress | int | str) -> MemberRecord:
        """One member. Raises NoSuchMember; ValueError for what is no address."""
        return self._controller.member(self.id, parse_node_address(address))

    def seen(self, address: NodeAddress | int | str) -> Seen:
        """How a member was last seen: when, where and with which version; with a time of 0 if it never was."""
        return self._controller.seen(self.id, parse_node_address(address))

    def is_online(self, address: NodeAddress | int | str) -> bool:
        """Whether a member asked for its configuration within the last two minutes, as it does each minute."""
        return self._controller.is_online(self.id, parse_node_address(address))

    async def update(self, **settings: Unpack[NetworkOptions]) -> NetworkRecord:
        """Change settings; the others stay. Raises RecordError, a ValueError, for one that has no such value."""
        change = network_change(settings)
        await self._controller._edit(lambda batch: edits.update_network(batch, self.id, change))
        return self.record

    async def delete(self) -> NetworkRecord:
        """Delete the network with its members; gives the record that it had."""
        return await self._controller.delete_network(self.id)

    async def authorize(
        self, address: NodeAddress | int | str, **settings: Unpack[MemberOptions]
    ) -> MemberRecord:
        """Make a node a member, before or after it asks; at once where it waits. ``settings`` are the member's.

        Raises RecordError, a ValueError, for a setting that has no such value, as is an address that another has.
        """
        change = member_change({**settings, "authorized": True})
        return await self._controller._update_member(self.id, parse_node_address(address), change)

    async def deauthorize(self, address: NodeAddress | int | str) -> MemberRecord:
        """Make a member wait again; the other members take nothing from it any more. Raises NoSuchMember."""
        change = member_change({"authorized": False})
        return await self._controller._update_member(
            self.id, parse_node_address(address), change, create=False
        )

    async def update_member(
        self, address: NodeAddress | int | str, **settings: Unpack[MemberOptions]
    ) -> MemberRecord:
        """Change settings of a member, whose record is made if it is missing. Raises RecordError."""
        change = member_change(settings)
        return await self._controller._update_member(self.id, parse_node_address(address), change)

    async def delete_member(self, address: NodeAddress | int | str) -> MemberRecord:
        """Forget a node; gives the record that it had. It comes back when it asks again. Raises NoSuchMember."""
        return await self._controller.delete_member(self.id, parse_node_address(address))

    def __repr__(self) -> str:
        return f"<ControlledNetwork {self.id}>"


class _Door:
    """The way to the nodes, through this one."""

    def __init__(self, driver: Driver, tell: Callable[[Event], None]) -> None:
        self.now = driver.now
        self._driver = driver
        self._tell = tell

    def send(self, messages: Sequence[Message]) -> None:
        for message in messages:
            self._driver.call(self._send, message)
        self._driver.schedule()

    def _send(self, message: Message) -> None:
        vl2, now = self._driver.core.vl2, self.now()
        match message:
            case Configure(request=ConfigRequest() as request, dictionary=dictionary):
                vl2.answer_config(request, dictionary, now)
            case Configure(network_id, member, dictionary=dictionary):
                vl2.push_config(network_id, member, dictionary, now)
            case Refuse(request=ConfigRequest() as request, code=code):
                vl2.refuse_request(request, code, b"", now)
            case Refuse(network_id, member, code=code):
                vl2.push_refusal(network_id, member, code, now)
            case Tell(member=member, credentials=credentials):
                vl2.send_credentials(member, credentials, now)

    def tell(self, events: Iterable[Event]) -> None:
        for event in events:
            self._tell(event)

    def failed(self, error: Exception) -> None:
        logger.error("controller %s fails: %r", self._driver.core.address, error)
        self._tell(ControllerFailed(error=error))


def _store(store: StoreLike) -> Store:
    if store is None:
        return MemoryStore()
    return store_at(store) if isinstance(store, str | os.PathLike) else store


def parse_network_id(network_id: NetworkId | int | str) -> NetworkId:
    return NetworkId.parse(network_id) if isinstance(network_id, str) else NetworkId(network_id)


def parse_node_address(address: NodeAddress | int | str) -> NodeAddress:
    return NodeAddress.parse(address) if isinstance(address, str) else NodeAddress(address)
