"""What a node is started with, and what it leaves behind: its storage, read once and kept up to date."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import aiofiles

from zt_async.aio import stored
from zt_async.aio.storage import FileStorage, MemoryStorage, Storage
from zt_async.aio.stored import PeerRecord, StoredNetwork
from zt_async.config import NodeConfig
from zt_async.context import Context
from zt_async.crypto.identity import Identity
from zt_async.errors import IdentityError, StorageError, WorldError
from zt_async.types import Endpoint, NetworkId
from zt_async.vl1.peer import Peer
from zt_async.vl1.world import World, WorldType, should_replace
from zt_async.vl2.settings import NetworkSettings

StrPath: TypeAlias = str | os.PathLike[str]
T = TypeVar("T")

Roots: TypeAlias = World | bytes | StrPath


class State:
    """Identity, worlds, peers and networks of one node. Made with what the caller of ``zt.start`` gave.

    Files are read and written one after the other, in the order of the calls, and to the end even where the caller
    waits no more.
    """

    def __init__(
        self,
        path: StrPath | None,
        storage: Storage | None,
        identity: Identity | None,
        roots: Roots | None,
        config: NodeConfig,
        context: Context,
    ) -> None:
        if path is not None and storage is not None:
            raise ValueError("give either a path or a storage, not both")
        if identity is not None and not identity.has_secret:
            raise IdentityError("the identity of a node needs its secret key")
        if identity is not None and not identity.secret_matches():
            raise IdentityError("the identity's secret key does not belong to its public key")
        self.storage: Storage = storage or (MemoryStorage() if path is None else FileStorage(path))
        self._config = config
        self._context = context
        self._given_identity = identity
        self._roots = Path(roots).expanduser() if isinstance(roots, (str, os.PathLike)) else roots
        self._turn = asyncio.Lock()
        self._under_way: set[asyncio.Task[Any]] = set()
        self.identity: Identity
        self.planet: World
        self.moons: list[World] = []
        self.peers: list[tuple[Identity, tuple[Endpoint, ...]]] = []
        self.networks: list[StoredNetwork] = []

    async def open(self) -> None:
        """Read everything. Raises StorageError, IdentityError or WorldError; then nothing was changed."""
        opening = self._begin(self.storage.open)
        try:
            await asyncio.shield(opening)
            await self._load()
        except BaseException:  # the folder must be free again
            await self._settle()
            if not opening.cancelled() and opening.exception() is None:
                await self.storage.close()
            raise

    async def _load(self) -> None:
        storage = self.storage
        given = await _read_roots(self._roots)
        stored_planet = await self._finish(stored.load_planet, storage)
        self.moons = await self._finish(stored.load_moons, storage)
        if self._config.cache_networks:
            self.networks = await self._finish(stored.load_networks, storage)
        if self._config.cache_peers:
            records = await self._finish(stored.load_peers, storage)
            self.peers = [(record.identity, record.endpoints) for record in records]
        self.identity = await self._load_identity()  # the first to write, when all else can be read
        self.planet = given or _newer(stored_planet, World.default_planet())
        if self.planet != stored_planet:
            await self._finish(stored.save_world, storage, self.planet)

    async def _load_identity(self) -> Identity:
        known = await self._finish(stored.load_identity, self.storage)
        identity = self._given_identity
        if known is not None:
            if identity is not None and known != identity:
                raise IdentityError(
                    f"the storage has the identity of {known.address}, not the given one of {identity.address}"
                )
            return known
        if identity is None:
            loop = asyncio.get_running_loop()
            identity = await loop.run_in_executor(None, Identity.generate, self._context.random_bytes)
        await self._finish(stored.save_identity, self.storage, identity)
        return identity

    async def close(self, peers: Iterable[Peer], now: float) -> None:
        """Finish writing, keep where the peers were that were met directly, and free the storage."""
        try:
            if self._config.cache_peers:
                for peer in peers:
                    endpoints = tuple(
                        entry.path.endpoint for entry in peer.entries if not entry.is_expired(now)
                    )
                    if endpoints:
                        record = PeerRecord(peer.identity, peer.version, endpoints)
                        self._in_background(stored.save_peer, self.storage, record)
            await self._settle()
        finally:
            await self.storage.close()

    # Worlds

    def save_worlds(self, worlds: Iterable[World]) -> None:
        """Keep these worlds; what cannot be written is reported to the loop's exception handler."""
        for world in worlds:
            self._in_background(stored.save_world, self.storage, world)

    async def load_moon(self, moon_id: int) -> World | None:
        """The moon, if it is kept. Raises WorldError for what is none."""
        return await self._finish(stored.load_moon, self.storage, moon_id)

    async def delete_moon(self, moon_id: int) -> None:
        """Keep a moon no longer."""
        await self._finish(stored.delete_moon, self.storage, moon_id)

    # Networks

    async def add_network(self, network_id: NetworkId, settings: NetworkSettings | None) -> None:
        """Note that a network was joined, and keep its local settings if there are any."""
        if self._config.cache_networks:
            await self._finish(stored.add_network, self.storage, network_id, settings)

    async def save_settings(self, network_id: NetworkId, settings: NetworkSettings) -> None:
        """Keep a network's local settings."""
        if self._config.cache_networks:
            await self._finish(stored.save_settings, self.storage, network_id, settings)

    def save_network(self, network_id: NetworkId, config: bytes) -> None:
        """Keep a network's configuration; what cannot be written is reported to the loop's exception handler."""
        if self._config.cache_networks:
            self._in_background(stored.save_network, self.storage, network_id, config)

    async def remove_network(self, network_id: NetworkId) -> None:
        """Note that a network was left."""
        if self._config.cache_networks:
            await self._finish(stored.delete_network, self.storage, network_id)

    def forget_network(self, network_id: NetworkId) -> None:
        """The same for a caller who does not wait."""
        if self._config.cache_networks:
            self._in_background(stored.delete_network, self.storage, network_id)

    # Work on files: in turn, and to its end, as the threads that do it cannot be interrupted

    async def _finish(self, work: Callable[..., Awaitable[T]], *arguments: object) -> T:
        return await asyncio.shield(self._begin(work, *arguments))

    def _in_background(self, work: Callable[..., Awaitable[None]], *arguments: object) -> None:
        self._begin(work, *arguments).add_done_callback(_report)

    def _begin(self, work: Callable[..., Awaitable[T]], *arguments: object) -> asyncio.Task[T]:
        async def in_turn() -> T:
            async with self._turn:
                return await work(*arguments)

        task = asyncio.get_running_loop().create_task(in_turn())
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        return task

    async def _settle(self) -> None:
        while self._under_way:
            await asyncio.wait(self._under_way)


def _report(task: asyncio.Task[Any]) -> None:
    error = None if task.cancelled() else task.exception()
    if error is not None:
        task.get_loop().call_exception_handler(
            {"message": "The state of a node could not be stored.", "exception": error}
        )


async def _read_roots(roots: World | bytes | Path | None) -> World | None:
    """The planet that the caller gave. Raises WorldError, or StorageError for a file that cannot be read."""
    if roots is None or isinstance(roots, World):
        world = roots
    elif isinstance(roots, bytes):
        world = World.from_file(roots)
    else:
        try:
            async with aiofiles.open(roots, "rb") as file:
                data = await file.read()
        except OSError as error:
            raise StorageError(f"cannot read {roots}: {error.strerror}") from error
        try:
            world = World.from_file(data)
        except WorldError as error:
            raise WorldError(f"{roots} is not a planet: {error}") from None
    if world is not None and world.type != WorldType.PLANET:
        raise WorldError("roots= takes a planet; use orbit() for a moon")
    return world


def _newer(known: World | None, built_in: World) -> World:
    """The stored planet, or the built-in one where that is its successor (vl1.md 4.3)."""
    return built_in if known is None or should_replace(known, built_in) else known
