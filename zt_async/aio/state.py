"""What a node is started with, and what it leaves behind: its storage, read once and kept up to date."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Iterable
from pathlib import Path

import aiofiles

from zt_async.aio import stored
from zt_async.aio.storage import FileStorage, MemoryStorage, Storage
from zt_async.aio.stored import PeerRecord
from zt_async.config import NodeConfig
from zt_async.crypto.identity import Identity
from zt_async.errors import IdentityError, StorageError, WorldError
from zt_async.types import Endpoint, NetworkId
from zt_async.vl1.peer import Peer
from zt_async.vl1.topology import Topology
from zt_async.vl1.world import World, WorldType, should_replace

Roots = World | bytes | str | os.PathLike[str] | None


class State:
    """Identity, worlds, peers and networks of one node. Made with what the caller of ``zt.start`` gave."""

    def __init__(
        self,
        path: str | os.PathLike[str] | None,
        storage: Storage | None,
        identity: Identity | None,
        roots: Roots,
        config: NodeConfig,
    ) -> None:
        if path is not None and storage is not None:
            raise ValueError("give either a path or a storage, not both")
        if identity is not None and not identity.has_secret:
            raise IdentityError("the identity of a node needs its secret key")
        self._storage: Storage = storage or (MemoryStorage() if path is None else FileStorage(path))
        self._config = config
        self._given_identity = identity
        self._roots = roots
        self._writes: set[asyncio.Task[None]] = set()
        self.identity: Identity
        self.planet: World | None = None
        self.moons: list[World] = []
        self.peers: list[tuple[Identity, tuple[Endpoint, ...]]] = []
        self.networks: list[NetworkId] = []

    async def open(self) -> None:
        """Read everything. Raises StorageError, IdentityError or WorldError; then nothing was changed."""
        await self._storage.open()
        try:
            given = await _read_roots(self._roots)
            stored_planet = await stored.load_planet(self._storage)
            self.moons = await stored.load_moons(self._storage)
            self.identity = await self._load_identity()
            self.planet = given or _newer(stored_planet, World.default_planet())
            if self.planet != stored_planet:
                await stored.save_world(self._storage, self.planet)
            if self._config.cache_peers:
                self.peers = [
                    (peer.identity, peer.endpoints) for peer in await stored.load_peers(self._storage)
                ]
            if self._config.cache_networks:
                self.networks = await stored.load_networks(self._storage)
        except BaseException:  # the folder must be free again
            await self._storage.close()
            raise

    async def _load_identity(self) -> Identity:
        known = await stored.load_identity(self._storage)
        identity = self._given_identity
        if identity is not None:
            if known is not None and known != identity:
                raise IdentityError(
                    f"the storage has the identity of {known.address}, not the given one of {identity.address}"
                )
        elif known is not None:
            return known
        else:
            loop = asyncio.get_running_loop()
            identity = await loop.run_in_executor(None, Identity.generate, secrets.token_bytes)
        if known is None:
            await stored.save_identity(self._storage, identity)
        return identity

    async def close(self) -> None:
        """Finish writing, and free the storage."""
        if self._writes:
            await asyncio.gather(*self._writes, return_exceptions=True)
        await self._storage.close()

    def save_worlds(self, topology: Topology) -> None:
        """Keep the worlds that a node holds now."""
        for world in topology.worlds():
            self._write(world)

    def _write(self, world: World) -> None:
        task = asyncio.get_running_loop().create_task(self._save_world(world))
        self._writes.add(task)
        task.add_done_callback(self._writes.discard)

    async def _save_world(self, world: World) -> None:
        try:
            await stored.save_world(self._storage, world)
        except StorageError as error:
            loop = asyncio.get_running_loop()
            loop.call_exception_handler({"message": "A world could not be stored.", "exception": error})

    async def save_peers(self, peers: Iterable[Peer], now: float) -> None:
        """Keep where the peers were that were met directly."""
        if not self._config.cache_peers:
            return
        for peer in peers:
            endpoints = tuple(entry.path.endpoint for entry in peer.entries if not entry.is_expired(now))
            if endpoints:
                await stored.save_peer(self._storage, PeerRecord(peer.identity, peer.version, endpoints))

    async def load_moon(self, moon_id: int) -> World | None:
        return await stored.load_moon(self._storage, moon_id)

    async def delete_moon(self, moon_id: int) -> None:
        await stored.delete_moon(self._storage, moon_id)

    async def add_network(self, network_id: NetworkId) -> None:
        if self._config.cache_networks:
            await stored.add_network(self._storage, network_id)

    async def remove_network(self, network_id: NetworkId) -> None:
        if self._config.cache_networks:
            await stored.delete_network(self._storage, network_id)


async def _read_roots(roots: Roots) -> World | None:
    """The planet that the caller gave. Raises WorldError, or StorageError for a file that cannot be read."""
    if roots is None or isinstance(roots, World):
        world = roots
    elif isinstance(roots, (bytes, bytearray)):
        world = World.from_file(bytes(roots))
    else:
        path = Path(roots).expanduser()
        try:
            async with aiofiles.open(path, "rb") as file:
                data = await file.read()
        except OSError as error:
            raise StorageError(f"the planet {path} cannot be read: {error.strerror}") from error
        try:
            world = World.from_file(data)
        except WorldError as error:
            raise WorldError(f"{path} is not a planet: {error}") from None
    if world is not None and world.type != WorldType.PLANET:
        raise WorldError("roots= takes a planet; use orbit() for a moon")
    return world


def _newer(known: World | None, built_in: World) -> World:
    """The stored planet, or the built-in one where that is its successor (vl1.md 4.3)."""
    return built_in if should_replace(known, built_in) else known or built_in
