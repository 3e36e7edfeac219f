"""Worlds: the signed lists of root nodes, called planet and moon. vl1.md 4.1 to 4.3, 4.6 and 4.7."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import IntEnum
from importlib import resources
from typing import Final, NamedTuple, Self

from zt_async.crypto import curve25519
from zt_async.crypto.curve25519 import KEY_SIZE, SIGNATURE_SIZE
from zt_async.crypto.identity import Identity
from zt_async.errors import DecodeError, WorldError
from zt_async.types import Endpoint
from zt_async.wire.buffer import Reader
from zt_async.wire.inetaddress import pack_endpoint, read_endpoint

MAX_ROOTS: Final = 4
MAX_ENDPOINTS: Final = 32  # of one root


class WorldType(IntEnum):
    """What a world is (vl1.md 4.1)."""

    NULL = 0
    PLANET = 1
    MOON = 127


class Root(NamedTuple):
    """A root and what the world lists for it. What is listed there and is no IP address is None."""

    identity: Identity
    listed: tuple[Endpoint | None, ...]

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """The stable endpoints: if there are any, the root is only reached at their IP addresses."""
        return tuple(endpoint for endpoint in self.listed if endpoint is not None)


@dataclass(frozen=True, slots=True)
class WorldKey:
    """A key pair that signs worlds. Raises WorldError where the halves are of another size, or not of one pair."""

    public: bytes
    secret: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.public) != KEY_SIZE or len(self.secret) != KEY_SIZE:
            raise WorldError(f"each half of a key that signs worlds has {KEY_SIZE} bytes")
        if curve25519.public_key_of(self.secret) != self.public:
            raise WorldError("the halves of this key do not belong together; the public one comes first")

    @classmethod
    def generate(cls, random_bytes: Callable[[int], bytes]) -> Self:
        """A new key pair; ``random_bytes`` is ``secrets.token_bytes``, or what gives so many bytes as well."""
        secret = random_bytes(KEY_SIZE)
        return cls(curve25519.public_key_of(secret), secret)

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read a ``*.c25519`` file of mkworld, 128 bytes. Raises WorldError."""
        return cls(data[:KEY_SIZE], data[KEY_SIZE:])

    def to_bytes(self) -> bytes:
        """What ``from_bytes`` reads: the public half and the secret one."""
        return self.public + self.secret


@dataclass(frozen=True, slots=True)
class World:
    """A planet or moon, signed."""

    type: WorldType
    id: int
    timestamp: int
    """Milliseconds since the Unix epoch; the higher one is the newer revision."""
    update_key: bytes = field(repr=False)
    """The 64-byte public key that has to sign the next revision."""
    signature: bytes = field(repr=False)
    roots: tuple[Root, ...]

    @classmethod
    def make(
        cls,
        kind: WorldType,
        id: int,  # noqa: A002
        roots: Iterable[tuple[Identity, Iterable[Endpoint | None]]],
        *,
        signing_key: WorldKey,
        timestamp: int,
        update_key: bytes | None = None,
    ) -> Self:
        """Make and sign a world. ``update_key`` is the public key for the next revision, by default the same.

        Raises WorldError.
        """
        listed = tuple(
            Root(identity.public(), tuple(map(_canonical, endpoints))) for identity, endpoints in roots
        )
        if kind not in (WorldType.PLANET, WorldType.MOON):
            raise WorldError("a world is a planet or a moon")
        if not 0 <= id < 1 << 64 or not 0 <= timestamp < 1 << 64:
            raise WorldError("the ID and the timestamp of a world are unsigned integers of 64 bits")
        if len(listed) > MAX_ROOTS:
            raise WorldError(f"a world has at most {MAX_ROOTS} roots, not {len(listed)}")
        if any(len(root.listed) > MAX_ENDPOINTS for root in listed):
            raise WorldError(f"a root has at most {MAX_ENDPOINTS} endpoints")
        next_key = signing_key.public if update_key is None else update_key
        if len(next_key) != KEY_SIZE:
            raise WorldError(f"the key for the next revision has {KEY_SIZE} bytes")
        unsigned = cls(kind, id, timestamp, next_key, b"", listed)
        signature = curve25519.sign(signing_key.secret, unsigned.signed_message())
        return cls(kind, id, timestamp, next_key, signature, listed)

    @classmethod
    def default_planet(cls) -> Self:
        """The public planet, as of the timestamp that is built in."""
        text = resources.files(__package__).joinpath("default_planet.json").read_text("utf-8")
        facts = json.loads(text)
        return cls(
            WorldType(facts["type"]),
            facts["id"],
            facts["timestamp"],
            bytes.fromhex(facts["update_key"]),
            bytes.fromhex(facts["signature"]),
            tuple(_root_of_text(root["identity"], root["endpoints"]) for root in facts["roots"]),
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> tuple[Self, int]:
        """Read the world at the start of ``data``; returns it and the bytes used. Raises DecodeError.

        No signature is checked: who must have signed depends on what is known already (``should_replace``).
        """
        reader = Reader(data)
        try:
            kind = WorldType(reader.u8())
        except ValueError:
            raise DecodeError("world: unknown type") from None
        world_id = reader.u64()
        timestamp = reader.u64()
        update_key = reader.take(KEY_SIZE)
        signature = reader.take(SIGNATURE_SIZE)
        count = reader.u8()
        if count > MAX_ROOTS:
            raise DecodeError("world: too many roots")
        roots = tuple(_read_root(reader, data) for _ in range(count))
        if kind == WorldType.MOON:
            reader.skip(reader.u16())
        return cls(kind, world_id, timestamp, update_key, signature, roots), reader.offset

    @classmethod
    def from_file(cls, data: bytes) -> Self:
        """Read the content of a planet or moon file. Raises WorldError."""
        try:
            world, _ = cls.from_bytes(data)
        except DecodeError as error:
            raise WorldError(f"not a planet or moon, or damaged: {error}") from None
        if world.type == WorldType.NULL:
            raise WorldError("not a planet or moon, but a null world")
        return world

    def to_bytes(self) -> bytes:
        """The content of a planet or moon file (vl1.md 4.1)."""
        return self._pack(self.signature)

    def signed_message(self) -> bytes:
        """What the signature is of (vl1.md 4.2)."""
        return b"%b%b%b" % (b"\x7f" * 8, self._pack(b""), b"\xf7" * 8)

    def is_signed_by(self, public_key: bytes) -> bool:
        """Whether the signature is of the key with this public half, 64 bytes."""
        return curve25519.verify(public_key, self.signed_message(), self.signature)

    @property
    def file_name(self) -> str:
        """What its file in a node's folder is called."""
        return "planet" if self.type == WorldType.PLANET else f"{self.id:016x}.moon"

    def _pack(self, signature: bytes) -> bytes:
        parts = [
            b"%c%b%b" % (self.type, self.id.to_bytes(8, "big"), self.timestamp.to_bytes(8, "big")),
            self.update_key,
            signature,
            bytes((len(self.roots),)),
        ]
        for identity, listed in self.roots:
            parts += (identity.to_bytes(), bytes((len(listed),)), *map(pack_endpoint, listed))
        if self.type == WorldType.MOON:
            parts.append(b"\0\0")
        return b"".join(parts)


def should_replace(current: World | None, candidate: World) -> bool:
    """Whether ``candidate`` takes the place of ``current`` (vl1.md 4.3); anything does if that is None."""
    if current is None or current.type == WorldType.NULL or current.id == 0:
        return True
    return (
        candidate.id == current.id
        and candidate.type == current.type
        and candidate.timestamp > current.timestamp
        and candidate.is_signed_by(current.update_key)
    )


@dataclass(frozen=True, slots=True)
class WorldPlan:
    """What is needed to sign a world and its revisions: the JSON of ``zerotier-idtool initmoon``."""

    type: WorldType
    id: int
    roots: tuple[Root, ...]
    signing_key: WorldKey
    update_key: bytes = field(repr=False)

    @classmethod
    def moon_of(cls, root: Identity, signing_key: WorldKey) -> Self:
        """The plan of a moon with one root, whose address is its ID; more of them and endpoints can follow."""
        return cls(WorldType.MOON, root.address, (Root(root.public(), ()),), signing_key, signing_key.public)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what ``to_json`` or zerotier-idtool wrote. Raises WorldError."""
        try:
            plan = json.loads(text)
            if plan["objtype"] != "world":
                raise WorldError("objtype is not world")
            return cls(
                WorldType[plan["worldType"].upper()],
                int(plan["id"], 16),
                tuple(_root_of_text(root["identity"], root["stableEndpoints"]) for root in plan["roots"]),
                WorldKey(bytes.fromhex(plan["signingKey"]), bytes.fromhex(plan["signingKey_SECRET"])),
                bytes.fromhex(plan["updatesMustBeSignedBy"]),
            )
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            raise WorldError(f"not the JSON of a world ({type(error).__name__}: {error})") from None

    def to_json(self) -> str:
        """Contains the secret key."""
        plan = {
            "id": f"{self.id:010x}",
            "objtype": "world",
            "worldType": self.type.name.lower(),
            "roots": [
                {"identity": str(root.identity), "stableEndpoints": list(map(str, root.endpoints))}
                for root in self.roots
            ],
            "signingKey": self.signing_key.public.hex(),
            "signingKey_SECRET": self.signing_key.secret.hex(),
            "updatesMustBeSignedBy": self.update_key.hex(),
        }
        return json.dumps(plan, indent=1)

    def sign(self, timestamp: int) -> World:
        """The signed world, with its roots and their endpoints in order. Raises WorldError."""
        roots = [
            (root.identity, sorted(root.endpoints, key=lambda endpoint: (endpoint.ip.packed, endpoint.port)))
            for root in sorted(self.roots, key=lambda root: root.identity.to_bytes())
        ]
        return World.make(
            self.type,
            self.id,
            roots,
            signing_key=self.signing_key,
            update_key=self.update_key,
            timestamp=timestamp,
        )


def _canonical(endpoint: Endpoint | None) -> Endpoint | None:
    try:
        return None if endpoint is None else Endpoint.make(*endpoint)
    except ValueError as error:
        raise WorldError(f"not an endpoint of a root: {error}") from None


def _root_of_text(identity: str, endpoints: Iterable[str]) -> Root:
    return Root(Identity.parse(identity).public(), tuple(map(Endpoint.parse, endpoints)))


def _read_root(reader: Reader, data: bytes) -> Root:
    identity, size = Identity.from_bytes(data[reader.offset :])
    reader.skip(size)
    count = reader.u8()
    if count > MAX_ENDPOINTS:
        raise DecodeError("world: too many endpoints")
    return Root(identity.public(), tuple(read_endpoint(reader) for _ in range(count)))
