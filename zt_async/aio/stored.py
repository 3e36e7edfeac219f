"""What is in a node's storage: identity, planet and moons, peers, networks. vl1.md 6.1 and 6.2."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
from typing import NamedTuple

from zt_async.aio.storage import Kind, Storage
from zt_async.crypto.identity import Identity
from zt_async.errors import DecodeError, IdentityError, WorldError
from zt_async.types import Endpoint, IPNetwork, NetworkId
from zt_async.vl1.world import World, WorldType
from zt_async.vl2.settings import NetworkSettings
from zt_async.wire.buffer import Reader
from zt_async.wire.dictionary import Dictionary
from zt_async.wire.inetaddress import pack_endpoint, read_endpoint
from zt_async.wire.verbs import Version

PEER_RECORD_VERSION = 2
PEER_LIFETIME = 30 * 86_400.0  # seconds
MAX_PEER_ENDPOINTS = 64
SHORTEST_PREFIXES = 5  # bytes of allowManaged, beyond which it is a list of prefixes
MAX_PREFIXES_TEXT = 8192


class PeerRecord(NamedTuple):
    """What is kept of a peer: who it is, what it speaks, and where it was."""

    identity: Identity
    version: Version
    endpoints: tuple[Endpoint, ...]

    def to_bytes(self) -> bytes:
        endpoints = self.endpoints[:MAX_PEER_ENDPOINTS]
        parts = [bytes((PEER_RECORD_VERSION,)), self.identity.to_bytes()]
        parts += (number.to_bytes(2, "big") for number in (*self.version, len(endpoints)))
        return b"".join((*parts, *map(pack_endpoint, endpoints)))

    @classmethod
    def from_bytes(cls, data: bytes) -> PeerRecord:
        """Read a record. Raises DecodeError, also for the records of version 1 of old cores."""
        if data[:1] != bytes((PEER_RECORD_VERSION,)):
            raise DecodeError("peer record: unknown version")
        identity, size = Identity.from_bytes(data[1:])
        reader = Reader(data, 1 + size)
        version = Version(*(reader.u16() for _ in range(4)))
        endpoints = [read_endpoint(reader) for _ in range(min(reader.u16(), MAX_PEER_ENDPOINTS))]
        return cls(identity, version, tuple(endpoint for endpoint in endpoints if endpoint is not None))


async def load_identity(storage: Storage) -> Identity | None:
    """The node's identity, None if there is none yet. Corrects ``identity.public`` if that disagrees.

    Raises IdentityError for what is damaged or something else; then nothing is changed.
    """
    data = await storage.load(Kind.IDENTITY_SECRET)
    if data is None:
        return None
    try:
        identity = Identity.parse(data.decode("ascii", "replace"))
        if not identity.has_secret:
            raise IdentityError("there is no secret key in it")
        if not identity.secret_matches():
            raise IdentityError("its secret key does not belong to its public key")
        if not await asyncio.get_running_loop().run_in_executor(None, identity.validate):
            raise IdentityError("its address does not belong to its public key")
    except IdentityError as error:
        raise IdentityError(
            f"{storage.where(Kind.IDENTITY_SECRET)} is not usable: {error}. Nothing was changed; "
            "put the right file there, or move this one away and get a new identity"
        ) from None
    await _save_public(storage, identity)
    return identity


async def save_identity(storage: Storage, identity: Identity) -> None:
    """Keep an identity with its secret key."""
    await storage.save(Kind.IDENTITY_SECRET, identity.secret_text().encode())
    await _save_public(storage, identity)


async def _save_public(storage: Storage, identity: Identity) -> None:
    text = str(identity).encode()
    if (await storage.load(Kind.IDENTITY_PUBLIC) or b"").strip() != text:
        await storage.save(Kind.IDENTITY_PUBLIC, text)


async def load_planet(storage: Storage) -> World | None:
    """The planet, if one is kept. Raises WorldError for what is none."""
    return await _load_world(storage, Kind.PLANET, "", WorldType.PLANET)


async def load_moon(storage: Storage, moon_id: int) -> World | None:
    """A moon, if it is kept. Raises WorldError for what is none, or another one."""
    name = f"{moon_id:016x}"
    moon = await _load_world(storage, Kind.MOON, name, WorldType.MOON)
    if moon is not None and moon.id != moon_id:
        raise WorldError(f"{storage.where(Kind.MOON, name)} has the moon {moon.id:016x}: rename the file")
    return moon


async def load_moons(storage: Storage) -> list[World]:
    """All moons. Raises WorldError."""
    moons = [await load_moon(storage, int(name, 16)) for name in await storage.names(Kind.MOON)]
    return [moon for moon in moons if moon is not None]


async def _load_world(storage: Storage, kind: Kind, name: str, expected: WorldType) -> World | None:
    data = await storage.load(kind, name)
    if data is None:
        return None
    try:
        world = World.from_file(data)
        if world.type != expected:
            raise WorldError(f"it is a {world.type.name.lower()}, not a {expected.name.lower()}")
    except WorldError as error:
        where = storage.where(kind, name)
        raise WorldError(f"{where} is not usable: {error}. Put the right file there, or delete it") from None
    return world


async def save_world(storage: Storage, world: World) -> None:
    """Keep a planet or moon."""
    if world.type == WorldType.MOON:
        await storage.save(Kind.MOON, world.to_bytes(), f"{world.id:016x}")
    else:
        await storage.save(Kind.PLANET, world.to_bytes())


async def delete_moon(storage: Storage, moon_id: int) -> None:
    await storage.delete(Kind.MOON, f"{moon_id:016x}")


async def load_peers(storage: Storage) -> list[PeerRecord]:
    """The peers that were met in the last 30 days. Records that cannot be read are left out."""
    await storage.delete_older(Kind.PEER, PEER_LIFETIME)
    peers = []
    for name in await storage.names(Kind.PEER):
        data = await storage.load(Kind.PEER, name)
        try:
            peer = PeerRecord.from_bytes(data or b"")
        except DecodeError:
            continue  # it is only a cache
        if str(peer.identity.address) == name:
            peers.append(peer)
    return peers


async def save_peer(storage: Storage, peer: PeerRecord) -> None:
    await storage.save(Kind.PEER, peer.to_bytes(), str(peer.identity.address))


class StoredNetwork(NamedTuple):
    """A network that was joined and not left."""

    id: NetworkId
    config: bytes
    """Its last configuration, as the controller wrote it; empty where there is none."""
    settings: NetworkSettings


async def load_networks(storage: Storage) -> list[StoredNetwork]:
    """The networks that were joined and not left: those with a file, be it empty."""
    networks = []
    for name in await storage.names(Kind.NETWORK):
        config = await storage.load(Kind.NETWORK, name) or b""
        settings = decode_settings(await storage.load(Kind.NETWORK_SETTINGS, name) or b"")
        networks.append(StoredNetwork(NetworkId.parse(name), config.strip(b"\n"), settings))
    return networks


async def add_network(
    storage: Storage, network_id: NetworkId, settings: NetworkSettings | None = None
) -> None:
    """Note that a network was joined, with its local settings, keeping its configuration if there is one."""
    if await storage.load(Kind.NETWORK, str(network_id)) is None:
        await storage.save(Kind.NETWORK, b"\n", str(network_id))
    if settings is not None:
        await save_settings(storage, network_id, settings)


async def save_network(storage: Storage, network_id: NetworkId, config: bytes) -> None:
    """Keep a network's configuration."""
    await storage.save(Kind.NETWORK, config, str(network_id))


async def save_settings(storage: Storage, network_id: NetworkId, settings: NetworkSettings) -> None:
    """Keep the local settings of a network."""
    await storage.save(Kind.NETWORK_SETTINGS, encode_settings(settings), str(network_id))


def encode_settings(settings: NetworkSettings) -> bytes:
    """The text of ``<network>.local.conf`` (vl2.md 10)."""
    text = Dictionary()
    if settings.allow_managed and settings.managed_prefixes:
        text.put_text("allowManaged", ",".join(map(str, settings.managed_prefixes)))
    else:
        text.put_bool("allowManaged", settings.allow_managed)
    text.put_bool("allowGlobal", settings.allow_global)
    text.put_bool("allowDefault", settings.allow_default)
    text.put_bool("allowDNS", settings.allow_dns)
    return text.encode()


def decode_settings(data: bytes) -> NetworkSettings:
    """Read such a text, as leniently as other nodes do: what is no prefix is left out."""
    text = Dictionary.decode(data)
    managed = text.get_text("allowManaged", MAX_PREFIXES_TEXT)
    prefixes = _prefixes(managed) if len(managed) > SHORTEST_PREFIXES else ()
    return NetworkSettings(
        allow_managed=bool(prefixes) or text.get_bool("allowManaged", True),
        managed_prefixes=prefixes,
        allow_global=text.get_bool("allowGlobal"),
        allow_default=text.get_bool("allowDefault"),
        allow_dns=text.get_bool("allowDNS"),
    )


def _prefixes(text: str) -> tuple[IPNetwork, ...]:
    prefixes = []
    for entry in text.split(","):
        with contextlib.suppress(ValueError):
            prefixes.append(ipaddress.ip_network(entry.strip(), strict=False))
    return tuple(prefixes)


async def delete_network(storage: Storage, network_id: NetworkId) -> None:
    """Note that a network was left: forget its configuration and its local settings."""
    await storage.delete(Kind.NETWORK, str(network_id))
    await storage.delete(Kind.NETWORK_SETTINGS, str(network_id))
