"""Planets and moons: reading, making, signing, replacing."""

from __future__ import annotations

import hashlib
import json
import random
from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.crypto.known import MOON, A, B
from zt_async.errors import DecodeError, WorldError
from zt_async.types import Endpoint
from zt_async.vl1.world import (
    MAX_ENDPOINTS,
    Root,
    World,
    WorldKey,
    WorldPlan,
    WorldType,
    should_replace,
)

KEY = WorldKey(A.public_key, A.to_bytes(secret=True)[71:])
OTHER_KEY = WorldKey(B.public_key, B.to_bytes(secret=True)[71:])
ENDPOINT = Endpoint("10.0.0.1", 9993)
MOON_ID = 0xDEADBEEF01
TIME = 1700000000000


def make(
    kind=WorldType.PLANET, world_id=5, roots=((B, [ENDPOINT]),), *, key=KEY, update_key=None, timestamp=TIME
):
    return World.make(kind, world_id, roots, signing_key=key, update_key=update_key, timestamp=timestamp)


def test_the_default_planet():
    planet = World.default_planet()
    data = planet.to_bytes()
    assert len(data) == 570
    assert hashlib.sha256(data).hexdigest() == (
        "d85620dee418cd7efc5558b6a50b2a8ac34792764d074fa55d752952e48da470"
    )
    assert planet.id == 149604618
    assert planet.is_signed_by(planet.update_key)
    assert [str(root.identity.address) for root in planet.roots] == [
        *("cafe9efeb9", "778cde7190", "62f865ae71", "cafe04eba9"),
    ]
    assert World.from_bytes(data) == (planet, 570)


def test_the_moon_of_vl1_11():
    moon = make(WorldType.MOON, MOON_ID)
    assert moon.to_bytes() == MOON
    assert World.from_bytes(MOON + b"more") == (moon, len(MOON))
    assert moon.is_signed_by(A.public_key)
    assert not moon.is_signed_by(B.public_key)
    assert moon.file_name == "000000deadbeef01.moon"
    assert make().file_name == "planet"


def test_roots_carry_no_secrets():
    world = make()
    assert not world.roots[0].identity.has_secret
    assert world.roots[0].endpoints == (ENDPOINT,)


def test_entries_that_are_no_ip_address_are_kept_as_none():
    unlisted = World.make(WorldType.PLANET, 5, [(B, [None, ENDPOINT])], signing_key=KEY, timestamp=TIME)
    read, _ = World.from_bytes(unlisted.to_bytes())
    assert read.roots == (Root(B.public(), (None, ENDPOINT)),)
    assert read.roots[0].endpoints == (ENDPOINT,)
    assert read.is_signed_by(KEY.public)


def test_further_data_of_a_moon_is_skipped_and_not_signed():
    data = MOON[:-2] + b"\0\3abc"
    moon, size = World.from_bytes(data + b"more")
    assert size == len(data)
    assert moon.is_signed_by(KEY.public)


@pytest.mark.parametrize("size", [0, 1, 8, 80, 176, 177, 200, 258])
def test_what_is_cut_is_refused(size):
    with pytest.raises(DecodeError):
        World.from_bytes(MOON[:size])


@given(st.integers(0, len(MOON) - 1), st.binary(min_size=1, max_size=4))
def test_damage_is_refused_or_breaks_the_signature(index, damage):
    data = MOON[:index] + damage + MOON[index + len(damage) :]
    try:
        world, size = World.from_bytes(data)
    except DecodeError:
        return
    unharmed = data[:257] == MOON[:257]
    assert world.is_signed_by(KEY.public) is unharmed
    assert size <= len(data)


@given(st.binary(max_size=400))
def test_reads_or_refuses(data):
    for prefix in (b"", MOON[:177]):
        try:
            world, _ = World.from_bytes(prefix + data)
        except DecodeError:
            continue
        assert World.from_bytes(world.to_bytes())[0] == world


def test_replacing():
    current = make()
    newer = make(timestamp=TIME + 1)
    assert should_replace(None, current)
    assert should_replace(current, newer)
    assert not should_replace(newer, current)
    assert not should_replace(current, current)
    assert not should_replace(current, make(timestamp=TIME + 1, key=OTHER_KEY))
    assert not should_replace(current, make(world_id=6, timestamp=TIME + 1))
    assert not should_replace(current, make(WorldType.MOON, timestamp=TIME + 1))


def test_a_revision_may_name_another_key_for_the_next():
    first = make(update_key=OTHER_KEY.public)
    assert first.is_signed_by(KEY.public)
    assert not should_replace(first, make(timestamp=TIME + 1))
    assert should_replace(first, make(timestamp=TIME + 1, key=OTHER_KEY))


def test_a_null_world_gives_way_to_anything():
    null, _ = World.from_bytes(b"\0" + make().to_bytes()[1:])
    assert null.type == WorldType.NULL
    assert should_replace(null, make(world_id=9, timestamp=1))
    assert should_replace(make(world_id=0), make(world_id=9, timestamp=1))


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"kind": WorldType.NULL}, "planet or a moon"),
        ({"world_id": -1}, "64 bits"),
        ({"world_id": 1 << 64}, "64 bits"),
        ({"timestamp": -1}, "64 bits"),
        ({"roots": [(B, [])] * 5}, "at most 4 roots, not 5"),
        ({"roots": [(B, [ENDPOINT] * 33)]}, "at most 32 endpoints"),
        ({"update_key": b"short"}, "64 bytes"),
        ({"roots": [(B, [Endpoint("10.0.0.1", 65_536)])]}, "a UDP port is 0 to 65535"),
        ({"roots": [(B, [Endpoint("root.example", 1)])]}, "root.example"),
        ({"roots": [(B, [Endpoint("fe80::1%eth0", 1)])]}, "no scope"),
    ],
)
def test_make_refuses(arguments, reason):
    with pytest.raises(WorldError, match=reason):
        make(**arguments)


def test_endpoints_are_made_canonical():
    world = make(roots=[(B, [Endpoint("FD00:0::1", 1), ("10.0.0.1", 2)])])
    assert world.roots[0].endpoints == (Endpoint("fd00::1", 1), Endpoint("10.0.0.1", 2))
    assert World.from_bytes(world.to_bytes())[0] == world


def test_the_largest_world():
    endpoints = [Endpoint.make(f"fd00::{number:x}", number) for number in range(MAX_ENDPOINTS)]
    world = make(WorldType.MOON, 2**64 - 1, [(B, endpoints)] * 4, timestamp=2**64 - 1)
    assert len(world.to_bytes()) <= 8480
    assert World.from_bytes(world.to_bytes())[0] == world


@pytest.mark.parametrize("data", [b"", b"not a world", MOON[:-1], b"\0" + MOON[1:]])
def test_a_damaged_file_is_an_error(data):
    with pytest.raises(WorldError, match="not a planet or moon"):
        World.from_file(data)


def test_a_file():
    assert World.from_file(MOON) == make(WorldType.MOON, MOON_ID)


class TestKeys:
    def test_generated_keys_sign(self):
        key = WorldKey.generate(random.Random(1).randbytes)
        assert make(key=key).is_signed_by(key.public)
        assert key != WorldKey.generate(random.Random(2).randbytes)

    def test_the_file_of_mkworld(self):
        assert KEY.to_bytes() == KEY.public + KEY.secret
        assert WorldKey.from_bytes(KEY.to_bytes()) == KEY

    @pytest.mark.parametrize("data", [KEY.secret + KEY.public, KEY.public + OTHER_KEY.secret])
    def test_halves_that_do_not_belong_together_are_refused(self, data):
        """What such a key signs could never be replaced."""
        with pytest.raises(WorldError, match="do not belong together") as caught:
            WorldKey.from_bytes(data)
        assert KEY.secret.hex()[:16] not in str(caught.value)

    @pytest.mark.parametrize("size", [0, 64, 127, 129])
    def test_a_file_of_another_size_is_refused(self, size):
        with pytest.raises(WorldError, match="64 bytes"):
            WorldKey.from_bytes(bytes(size))

    def test_the_secret_is_not_shown(self):
        assert KEY.secret.hex()[:16] not in repr(KEY)
        assert repr(KEY.secret)[2:20] not in repr(KEY)


class TestPlans:
    PLAN = WorldPlan.moon_of(A, KEY)

    def test_the_json_of_initmoon(self):
        assert json.loads(self.PLAN.to_json()) == {
            "id": "d957df9e1b",
            "objtype": "world",
            "worldType": "moon",
            "roots": [{"identity": str(A), "stableEndpoints": []}],
            "signingKey": KEY.public.hex(),
            "signingKey_SECRET": KEY.secret.hex(),
            "updatesMustBeSignedBy": KEY.public.hex(),
        }
        assert WorldPlan.from_json(self.PLAN.to_json()) == self.PLAN

    def test_signing_puts_roots_and_endpoints_in_order(self):
        first, second = Endpoint("10.0.0.1", 2), Endpoint.make(IPv4Address("10.0.0.2"), 1)
        roots = (Root(A.public(), (second, first)), Root(B.public(), ()))
        world = WorldPlan(WorldType.PLANET, 77, roots, KEY, OTHER_KEY.public).sign(TIME)
        assert world.type == WorldType.PLANET
        assert world.id == 77
        assert world.timestamp == TIME
        assert world.update_key == OTHER_KEY.public
        assert world.roots == (Root(B.public(), ()), Root(A.public(), (first, second)))
        assert world.is_signed_by(KEY.public)

    @pytest.mark.parametrize(
        "change",
        [
            {"objtype": "moon"},
            {"worldType": "sun"},
            {"id": "not hexadecimal"},
            {"id": 5},
            {"roots": 5},
            {"roots": [{}]},
            {"roots": [{"identity": "x", "stableEndpoints": []}]},
            {"roots": [{"identity": str(A), "stableEndpoints": ["nowhere"]}]},
            {"signingKey": "00"},
            {"signingKey_SECRET": KEY.secret.hex()[:-1]},
            {"updatesMustBeSignedBy": None},
        ],
    )
    def test_a_damaged_plan_is_an_error(self, change):
        with pytest.raises(WorldError, match="not the JSON of a world") as caught:
            WorldPlan.from_json(json.dumps(json.loads(self.PLAN.to_json()) | change))
        assert KEY.secret.hex()[:16] not in str(caught.value)

    @pytest.mark.parametrize("text", ["", "[]", "5", "{}", '{"objtype": "world"}'])
    def test_other_json_is_an_error(self, text):
        with pytest.raises(WorldError, match="not the JSON of a world"):
            WorldPlan.from_json(text)

    def test_the_secret_is_not_shown(self):
        assert KEY.secret.hex()[:16] not in repr(self.PLAN)
