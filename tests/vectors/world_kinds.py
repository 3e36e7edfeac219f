"""Checks of the vectors about planets and moons."""

from __future__ import annotations

from tests.vectors.registry import Case, assert_refused, vector_kind
from zt_async.crypto.curve25519 import public_key_of
from zt_async.crypto.identity import Identity
from zt_async.errors import DecodeError
from zt_async.types import Endpoint
from zt_async.vl1.world import World, WorldKey, WorldType, should_replace

unhex = bytes.fromhex


@vector_kind("worlds")
def check_worlds(case: Case, fields: dict[str, str]) -> None:
    {"make": _check_make, "parse": _check_parse, "update": _check_update}[case["kind"]](case)


def _check_make(case: Case) -> None:
    roots = [
        (Identity.parse(root["identity"]), [Endpoint.parse(text) for text in root["endpoints"]])
        for root in case["roots"]
    ]
    key = WorldKey(unhex(case["signer_public"]), unhex(case["signer_private"]))
    next_key = unhex(case["next_signer_public"])
    assert public_key_of(key.secret) == key.public
    world = World.make(
        WorldType(case["type"]),
        case["id"],
        roots,
        signing_key=key,
        update_key=next_key,
        timestamp=case["timestamp"],
    )
    binary = unhex(case["binary"])
    assert case["valid"]
    assert world.signed_message() == unhex(case["signed_bytes"])
    assert world.signature == unhex(case["signature"])
    assert world.to_bytes() == binary
    assert World.from_bytes(binary) == (world, len(binary))
    assert world.is_signed_by(key.public)


def _check_parse(case: Case) -> None:
    data = unhex(case["binary"])
    if not case["valid"]:
        assert_refused(DecodeError, World.from_bytes, data)
        return
    world, consumed = World.from_bytes(data)
    assert consumed == case["consumed"]
    assert world.type == case["type"]
    assert world.id == case["id"]
    assert world.timestamp == case["timestamp"]
    roots = [
        {"identity": str(root.identity), "endpoints": [str(endpoint or "") for endpoint in root.listed]}
        for root in world.roots
    ]
    assert roots == case["roots"]
    again = world.to_bytes()
    kept = (
        len(again) - 2 if world.type == WorldType.MOON else consumed
    )  # what follows a moon's roots is not kept
    assert again[:kept] == data[:kept]


def _check_update(case: Case) -> None:
    current = World.from_bytes(unhex(case["current"]))[0] if case["current"] else None
    candidate, _ = World.from_bytes(unhex(case["candidate"]))
    assert should_replace(current, candidate) is case["accept"]
    assert case["valid"] is case["accept"]
