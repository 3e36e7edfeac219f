"""A controller that several processes stand ready to be: whoever has the lease on its identity is online with it.

What must never be is two nodes online with one identity. So the holder is off the wire before its lease can be
another's: each datagram passes a check of the deadline right before the system call that sends it, which also holds
for a process that was stopped, or slept, and finds out later. What it still writes, the store refuses.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final, Protocol, Unpack

from zt_async.aio.controller import Controller, parse_node_address
from zt_async.aio.node import Node
from zt_async.aio.start import Settings, start
from zt_async.aio.state import Roots, StrPath
from zt_async.aio.stores.lease import Lease, Leases
from zt_async.aio.stores.place import Place, store_at
from zt_async.aio.udp import UdpSockets
from zt_async.config import NodeConfig
from zt_async.controller.store import Store
from zt_async.errors import FenceLost, NodeNotRunning, StoreError
from zt_async.events import ControllerFailed
from zt_async.types import NodeAddress

logger = logging.getLogger("zt_async.aio.standby")

TRY_AGAIN: Final = 1.0  # s after a store could not be reached
SHORTEST_SLEEP, LONGEST_SLEEP = 0.05, 5.0  # s between two renewals
RELEASE_TIMEOUT: Final = 2.0  # s


class LeasedStore(Store, Leases, Protocol):
    """A store with identities: SqliteStore and PostgresStore are such."""


class ControllerService:
    """Waits for the lease on an identity, then is the controller with it; loses it, and waits again.

    ::

        async with zt.ControllerService("postgresql://...") as service:
            controller = await service.serving()

    Any number of processes, on any number of machines, can run one on the same PostgreSQL database. Each holds one
    identity of those that were added to it (``add_identity``); those that find none free stand by, and take over the
    networks of one that ends, at once where it was stopped in order, else when its lease is over. On an SQLite file it
    works alike for the processes of one machine.
    """

    def __init__(
        self,
        store: LeasedStore | Place,
        address: NodeAddress | int | str | None = None,
        *,
        path: StrPath | None = None,
        roots: Roots | None = None,
        config: NodeConfig | None = None,
        **settings: Unpack[Settings],
    ) -> None:
        """Does nothing yet.

        Args:
            store: Where identities and records are: the URL of a PostgreSQL database, the path of an SQLite file, or a
                store, which the service opens and closes.
            address: Be the controller with this identity; None takes any that is free.
            path: Folder of the node, in which each identity has one of its own; for this process alone. Without it
                the node lives in memory only.
            roots: The planet, as for ``start``.
            config: All settings of the node.
            settings: Changes to them by name.
        """
        self._store: LeasedStore = store_at(store) if isinstance(store, str | os.PathLike) else store
        self._address = None if address is None else parse_node_address(address)
        self._folder = None if path is None else Path(path).expanduser()
        self._roots = roots
        self._config = dataclasses.replace(config or NodeConfig(), **settings)
        self._lease: Lease | None = None
        self._controller: Controller | None = None
        self._node: Node | None = None
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    # Life

    async def start(self) -> ControllerService:
        """Open the store, and begin to wait for an identity. Raises StoreError."""
        if self._task is not None:
            raise RuntimeError("this service was started before; make another")
        await self._store.open()
        try:
            known = {status.identity.address for status in await self._store.identities()}
            if self._address is not None and self._address not in known:
                raise StoreError(f"the store has no identity {self._address}: add it first")
        except BaseException:
            await self._store.close()
            raise
        self._task = asyncio.get_running_loop().create_task(self._run())
        self._task.add_done_callback(self._ended)
        return self

    async def stop(self) -> None:
        """Stop the node, give the identity up for another to take it at once, and close the store."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            await self._store.close()

    async def __aenter__(self) -> ControllerService:
        return await self.start()

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    # What it is at the moment

    @property
    def controller(self) -> Controller | None:
        """The controller while this process is it, None while it stands by."""
        return self._controller if self._lease is not None and self._lease.is_valid else None

    @property
    def node(self) -> Node | None:
        """The node of the controller, None while this process stands by."""
        return self._node if self.controller is not None else None

    async def serving(self) -> Controller:
        """Wait until this process is the controller. Raises what ended the service."""
        while (controller := self.controller) is None:
            await self._next_news()
        return controller

    async def standing_by(self) -> None:
        """Wait until this process is not the controller. Raises what ended the service."""
        while self._controller is not None:
            await self._next_news()

    async def _next_news(self) -> None:
        if self._task is None:
            raise NodeNotRunning("the service is not started")
        if self._task.done():
            if self._task.cancelled():
                raise NodeNotRunning("the service was stopped")
            self._task.result()
        await self._news.wait()

    def _ended(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            logger.error("this process stands ready no more: %r", error)
        self._tell()

    def _tell(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    # The work

    async def _run(self) -> None:
        while True:
            lease = await self._acquire()
            address = lease.identity.address
            logger.info("this process is controller %s now", address)
            keeping = asyncio.get_running_loop().create_task(self._keep(lease))
            pause = 0.0
            try:
                await self._serve(lease, keeping)
                logger.warning("this process is controller %s no more: its lease was not renewed", address)
            except StoreError as error:
                logger.error("this process is controller %s no more: %s", address, error)
                pause = TRY_AGAIN
            finally:
                keeping.cancel()
                await asyncio.wait([keeping])
                await self._release(lease)
            await asyncio.sleep(pause)

    async def _acquire(self) -> Lease:
        """Wait for an identity, and also for a database that is not there."""
        failing = False
        while True:
            try:
                return await self._store.acquire(self._address)
            except StoreError as error:
                if not failing:
                    logger.error("cannot stand by as a controller: %s", error)
                failing = True
            await asyncio.sleep(TRY_AGAIN)

    async def _keep(self, lease: Lease) -> None:
        """Renew the lease; returns when it is lost."""
        while True:
            await asyncio.sleep(min(max(lease.remaining / 3, SHORTEST_SLEEP), LONGEST_SLEEP))
            if not lease.is_valid:
                return
            try:
                async with asyncio.timeout(min(lease.remaining, LONGEST_SLEEP)):
                    await self._store.renew(lease)
            except FenceLost:
                return
            except (StoreError, TimeoutError) as error:
                logger.warning("cannot renew the lease: %s", str(error) or "the store does not answer")

    async def _serve(self, lease: Lease, keeping: asyncio.Task[None]) -> None:
        """Be the controller until the lease is lost. Raises what ends the node or the controller."""
        starting = start(
            None if self._folder is None else self._folder / str(lease.identity.address),
            roots=self._roots,
            identity=lease.identity,
            config=self._config,
            udp=UdpSockets(self._config, may_send=lambda: lease.is_valid),
        )
        async with starting as node, _ending(node) as ending:
            async with node.controller(_Opened(self._store), fence=lease.token) as controller:
                self._lease, self._controller, self._node = lease, controller, node
                self._tell()
                try:
                    await asyncio.wait([keeping, ending], return_when=asyncio.FIRST_COMPLETED)
                finally:
                    self._controller = None
                    self._tell()
            if ending.done():
                ending.result()
                node.check_running()

    async def _release(self, lease: Lease) -> None:
        """Let another one take the identity; if that cannot be told, it will have to wait for the lease's end."""
        lease.deadline = float("-inf")
        with suppress(StoreError, TimeoutError):
            async with asyncio.timeout(RELEASE_TIMEOUT):
                await self._store.release(lease)


@asynccontextmanager
async def _ending(node: Node) -> AsyncIterator[asyncio.Task[None]]:
    """A task that ends with the node, or with its controller, whose error it raises."""

    async def watch() -> None:
        with events:
            async for event in events:
                if isinstance(event, ControllerFailed):
                    raise event.error

    events = node.events()
    task = asyncio.get_running_loop().create_task(watch())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])


class _Opened:
    """A store for a controller that comes and goes while the store is open."""

    def __init__(self, store: Store) -> None:
        self.load, self.commit, self.watch = store.load, store.commit, store.watch
        self.read, self.claim = store.read, store.claim

    async def open(self) -> None:
        """It is."""

    async def close(self) -> None:
        """Not yet."""
