import json
import os
import time
from ipaddress import ip_network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zt_async.aio import stored
from zt_async.aio.storage import FileStorage, Kind, MemoryStorage
from zt_async.aio.stored import PeerRecord
from zt_async.crypto.identity import Identity
from zt_async.errors import DecodeError, IdentityError, StorageError, WorldError
from zt_async.types import Endpoint, NetworkId
from zt_async.vl2.settings import NetworkSettings
from zt_async.wire.verbs import Version

VECTORS = Path(__file__).parents[1] / "vectors"
IDENTITIES = [
    case
    for case in json.loads((VECTORS / "identities.json").read_text())["cases"]
    if case["kind"] == "identity"
]
WORLDS = {case["name"]: case for case in json.loads((VECTORS / "worlds.json").read_text())["cases"]}
SECRET, PUBLIC = IDENTITIES[0]["secret_string"], IDENTITIES[0]["public_string"]
OTHER_SECRET, OTHER_PUBLIC = IDENTITIES[1]["secret_string"], IDENTITIES[1]["public_string"]
PLANET = bytes.fromhex(next(case["binary"] for case in WORLDS.values() if case.get("type") == 1))
MOON = bytes.fromhex(next(case["binary"] for case in WORLDS.values() if case.get("type") == 127))
MOON_NAME = MOON[1:9].hex()


@pytest.fixture
async def storage(tmp_path):
    storage = FileStorage(tmp_path)
    await storage.open()
    yield storage
    await storage.close()


def contents(folder):
    return {
        path.name: path.read_bytes() for path in folder.iterdir() if path.suffix != ".lock" and path.is_file()
    }


async def test_a_new_folder_has_no_identity_and_keeps_the_one_it_gets(storage, tmp_path):
    assert await stored.load_identity(storage) is None
    assert contents(tmp_path) == {}
    identity = Identity.parse(SECRET)
    await stored.save_identity(storage, identity)
    assert contents(tmp_path) == {"identity.secret": SECRET.encode(), "identity.public": PUBLIC.encode()}
    loaded = await stored.load_identity(storage)
    assert loaded == identity
    assert loaded.secret_text() == SECRET


@pytest.mark.parametrize("public", [None, "", OTHER_PUBLIC, PUBLIC + "\n", PUBLIC])
async def test_identity_public_is_corrected(storage, tmp_path, public):
    (tmp_path / "identity.secret").write_text(SECRET + "\n")
    if public is not None:
        (tmp_path / "identity.public").write_text(public)
    await stored.load_identity(storage)
    assert (tmp_path / "identity.public").read_text() == (public if public == PUBLIC + "\n" else PUBLIC)
    assert (tmp_path / "identity.secret").read_text() == SECRET + "\n"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "an identity is written"),
        (b"\xff\x00\xfe binary", "an identity is written"),
        (b"-----BEGIN PRIVATE KEY-----\n" + b"MC4CAQAwBQYDK2VwBCIEIA" * 30, "at most 383 characters"),
        (SECRET[:200].encode(), "key"),
        (SECRET.replace(":0:", ":1:").encode(), "type of identity"),
        (PUBLIC.encode(), "no secret key"),
        ((PUBLIC + ":" + OTHER_SECRET.split(":")[3]).encode(), "secret key does not belong"),
        (SECRET.replace("14dedb1312", "14dedb1313").encode(), "address does not belong"),
        (SECRET.replace("14dedb1312", "ffdedb1312").encode(), "reserved address"),
    ],
)
async def test_a_damaged_or_foreign_identity_is_refused_and_nothing_touched(
    storage, tmp_path, content, reason
):
    (tmp_path / "identity.secret").write_bytes(content)
    (tmp_path / "identity.public").write_text(OTHER_PUBLIC)
    before = contents(tmp_path)
    with pytest.raises(IdentityError, match=reason) as caught:
        await stored.load_identity(storage)
    assert isinstance(caught.value, StorageError)
    text = str(caught.value)
    assert str(tmp_path / "identity.secret") in text
    assert "Nothing was changed" in text
    secret = SECRET.split(":")[3]
    assert not any(secret[i : i + 16] in text for i in range(0, 112, 4))
    assert contents(tmp_path) == before


async def test_planet_and_moons_are_kept(storage, tmp_path):
    assert await stored.load_planet(storage) is None
    assert await stored.load_moons(storage) == []
    (tmp_path / "planet").write_bytes(PLANET)
    planet = await stored.load_planet(storage)
    assert planet.to_bytes() == PLANET
    (tmp_path / "moons.d").mkdir()
    (tmp_path / "moons.d" / f"{MOON_NAME}.moon").write_bytes(MOON)
    (moon,) = await stored.load_moons(storage)
    assert moon.to_bytes() == MOON
    memory = MemoryStorage()
    await stored.save_world(memory, planet)
    await stored.save_world(memory, moon)
    assert memory.blobs == {(Kind.PLANET, ""): PLANET, (Kind.MOON, MOON_NAME): MOON}
    await stored.delete_moon(memory, moon.id)
    assert await stored.load_moon(memory, moon.id) is None


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "damaged"),
        (PLANET[:-1], "truncated"),
        (b"\x02" + PLANET[1:], "unknown type"),
        (MOON, "a moon, not a"),
    ],
)
async def test_a_damaged_planet_is_refused(storage, tmp_path, content, reason):
    (tmp_path / "planet").write_bytes(content)
    with pytest.raises(WorldError, match=reason) as caught:
        await stored.load_planet(storage)
    assert str(caught.value).startswith(f"{tmp_path / 'planet'} is not usable: ")
    assert (tmp_path / "planet").read_bytes() == content


async def test_a_moon_under_a_wrong_name_is_refused(storage):
    await storage.save(Kind.MOON, MOON, "00000000000000aa")
    with pytest.raises(WorldError, match=rf"00000000000000aa\.moon has the moon {MOON_NAME}: rename"):
        await stored.load_moons(storage)


RECORD = bytes.fromhex(
    "02" + IDENTITIES[0]["binary_public"] + "000c" + "0001" + "000e" + "0001" + "0003"
    "04" + "0a000001" + "2709"
    "06" + "fd000000000000000000000000000001" + "2709"
    "00"
)  # fmt: skip


def test_a_peer_record_as_the_reference_writes_it():
    record = PeerRecord.from_bytes(RECORD)
    assert record.identity == Identity.parse(PUBLIC)
    assert record.version == Version(12, 1, 14, 1)
    assert record.endpoints == (Endpoint("10.0.0.1", 9993), Endpoint("fd00::1", 9993))
    written = record.to_bytes()
    assert written == RECORD[:81] + b"\x02" + RECORD[82:-1]
    assert PeerRecord.from_bytes(written) == record


@given(st.binary(max_size=200) | st.integers(0, len(RECORD)).map(lambda size: RECORD[:size]))
def test_other_bytes_are_no_peer_record(data):
    if data != RECORD:
        with pytest.raises(DecodeError):
            PeerRecord.from_bytes(data)


def test_a_peer_record_has_a_bounded_number_of_addresses():
    many = RECORD[:80] + b"\xff\xff" + RECORD[82:89] * 65_535
    record = PeerRecord.from_bytes(many)
    assert record.endpoints == (Endpoint("10.0.0.1", 9993),) * 64
    assert len(record._replace(endpoints=record.endpoints * 9).to_bytes()) == 82 + 64 * 7


async def test_peers_are_kept_for_thirty_days_and_bad_records_ignored(storage, tmp_path):
    fresh, old = (
        PeerRecord(
            Identity.parse(case["public_string"]), Version(12, 1, 14, 1), (Endpoint("10.0.0.1", 9993),)
        )
        for case in IDENTITIES[1:3]
    )
    await stored.save_peer(storage, fresh)
    await stored.save_peer(storage, old)
    then = time.time() - 30.1 * 86_400
    os.utime(tmp_path / "peers.d" / f"{old.identity.address}.peer", (then, then))
    await storage.save(Kind.PEER, b"\x01" + RECORD[1:], "14dedb1312")
    await storage.save(Kind.PEER, RECORD, "aaaaaaaaaa")
    await storage.save(Kind.PEER, b"", "bbbbbbbbbb")
    assert await stored.load_peers(storage) == [fresh]
    assert await storage.names(Kind.PEER) == sorted(
        ["14dedb1312", "aaaaaaaaaa", "bbbbbbbbbb", str(fresh.identity.address)]
    )


async def test_joined_networks_are_those_with_a_file(storage, tmp_path):
    one, two = NetworkId.parse("8056c2e21c000001"), NetworkId.ad_hoc(22, 22)
    (tmp_path / "networks.d").mkdir()
    (tmp_path / "networks.d" / f"{one}.conf").write_bytes(b"nwid=8056c2e21c000001\n")
    (tmp_path / "networks.d" / f"{one}.local.conf").write_bytes(b"allowManaged=1\n")
    await stored.add_network(storage, one)
    await stored.add_network(storage, two)
    assert await stored.load_networks(storage) == [
        (one, b"nwid=8056c2e21c000001", NetworkSettings()),
        (two, b"", NetworkSettings()),
    ]
    assert await storage.load(Kind.NETWORK, str(one)) == b"nwid=8056c2e21c000001\n"
    assert await storage.load(Kind.NETWORK, str(two)) == b"\n"
    await stored.save_network(storage, two, b"nwid=ff00160016000000\nn=x")
    await stored.delete_network(storage, one)
    assert await stored.load_networks(storage) == [(two, b"nwid=ff00160016000000\nn=x", NetworkSettings())]
    assert os.listdir(tmp_path / "networks.d") == [f"{two}.conf"]


SETTINGS = [
    NetworkSettings(),
    NetworkSettings(allow_managed=False),
    NetworkSettings(allow_global=True, allow_default=True, allow_dns=True),
    NetworkSettings(managed_prefixes=(ip_network("10.0.0.0/8"), ip_network("fd00::/8"))),
]


@pytest.mark.parametrize("settings", SETTINGS)
async def test_local_settings_of_a_network(storage, settings):
    network_id = NetworkId.parse("8056c2e21c000001")
    await stored.add_network(storage, network_id)
    await stored.save_settings(storage, network_id, settings)
    assert await stored.load_networks(storage) == [(network_id, b"", settings)]


def test_local_settings_that_others_wrote():
    decode = stored.decode_settings
    assert decode(b"allowManaged=true\nallowGlobal=1") == NetworkSettings(allow_global=True)
    assert decode(b"allowManaged=0") == NetworkSettings(allow_managed=False)
    listed = decode(b"allowManaged=10.0.0.0/8,nonsense, 172.16.5.0/12 ,\nallowDNS=1\n")
    assert listed.managed_prefixes == (ip_network("10.0.0.0/8"), ip_network("172.16.0.0/12"))
    assert listed.allow_managed
    assert listed.allow_dns


@given(st.binary(max_size=200))
def test_any_bytes_are_local_settings(data):
    settings = stored.decode_settings(data)
    assert stored.decode_settings(stored.encode_settings(settings)) == settings
