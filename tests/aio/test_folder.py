"""What a node leaves in its folder, what it finds there, and what it leaves alone."""

import asyncio
import stat

import pytest

import zt_async as zt
from zt_async.testing import SimUdp
from zt_async.testing.identities import throwaway_identity
from zt_async.types import Endpoint
from zt_async.vl1.world import WorldKey, WorldType

from .places import SIMULATED, address_of, on, turns

pytestmark = SIMULATED

CONTROLLED = zt.NetworkId(0x8056C2E21C000001)


def files(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix != ".lock"
    }


def make_moon(number=0):
    return zt.World.make(
        WorldType.MOON,
        int(throwaway_identity(number).address),
        [(throwaway_identity(number), [Endpoint("10.0.0.1", 9993)])],
        signing_key=WorldKey.generate(bytes),
        timestamp=1,
    )


@on("simulated", "asyncio", "uvloop")
async def test_the_files_of_a_node(bare_world, tmp_path):
    other = await bare_world.add_member()
    node = await bare_world.start(2, tmp_path / "new" / "folder")
    await node.online()
    await node.join(bare_world.network_id)
    await node.ping(address_of(other))
    while not (peer := node.peer(other.address)) or not peer.direct:
        await node.ping(address_of(other))
    await node.stop()
    folder = tmp_path / "new" / "folder"
    found = files(folder)
    identity = throwaway_identity(2)
    assert found["identity.secret"] == identity.secret_text().encode()
    assert found["identity.public"] == str(identity).encode()
    assert found["planet"] == bare_world.planet.to_bytes()
    assert found[f"networks.d/{bare_world.network_id}.conf"] == b"\n"
    peers = {f"peers.d/{peer.address}.peer" for peer in (bare_world.root, other)}
    assert set(found) == {
        *("identity.secret", "identity.public", "planet", f"networks.d/{bare_world.network_id}.conf"),
        *peers,
    }
    assert stat.S_IMODE((folder / "identity.secret").stat().st_mode) == 0o600


async def test_networks_are_joined_again_at_the_next_start(bare_world, tmp_path):
    one, two = zt.NetworkId.ad_hoc(1, 1), zt.NetworkId.ad_hoc(2, 2)
    async with await bare_world.start(1, tmp_path) as node:
        await node.join(one)
        await node.join(two)
        await node.leave(one)
    node = await bare_world.start(1, tmp_path)
    stream = node.events()
    (network,) = node.networks.values()
    assert network.id == two
    await network.ready()
    await node.join(two)
    await node.leave(two)
    await node.stop()
    events = [type(event) for event in [event async for event in stream]]
    assert events[:4] == [zt.NodeUp, zt.NetworkJoined, zt.AddressAdded, zt.NetworkReady]
    assert events.count(zt.NetworkJoined) == 1
    assert list(tmp_path.glob("networks.d/*")) == []


async def test_a_known_peer_is_met_without_a_root(bare_world, tmp_path):
    other = await bare_world.add_member()
    async with await bare_world.start(2, tmp_path) as node:
        await node.online()
        await node.join(bare_world.network_id)
        await node.ping(address_of(other))
        await asyncio.sleep(1)
        assert node.peer(other.address).direct
    await bare_world.root.stop()
    node = await bare_world.start(2, tmp_path)
    async with asyncio.timeout(10):
        assert await node.ping(address_of(other)) < 1
    assert not node.is_online


async def test_without_caches_nothing_of_others_is_kept(bare_world, tmp_path):
    for _ in range(2):
        node = await bare_world.start(1, tmp_path, cache_peers=False, cache_networks=False)
        assert node.networks == {}
        await node.online()
        await node.join(bare_world.network_id)
        await node.stop()
        assert set(files(tmp_path)) == {"identity.secret", "identity.public", "planet"}


async def test_the_planet_is_kept_for_the_next_start(bare_world, tmp_path):
    async with await bare_world.start(1, tmp_path):
        pass
    node = await start_without_roots(bare_world, 1, tmp_path)
    assert node.status.planet_id == bare_world.planet.id
    await node.online()
    await node.stop()


async def test_without_a_planet_the_public_one_is_used(bare_world, tmp_path):
    node = await start_without_roots(bare_world, 1, tmp_path)
    assert node.status.planet_id == zt.World.default_planet().id
    await node.stop()
    assert files(tmp_path)["planet"] == zt.World.default_planet().to_bytes()


@pytest.mark.parametrize("form", ["object", "bytes", "path", "text"])
async def test_forms_of_roots(bare_world, tmp_path, form):
    file = tmp_path / "private planet"
    file.write_bytes(bare_world.planet.to_bytes())
    roots = {"object": bare_world.planet, "bytes": file.read_bytes(), "path": file, "text": str(file)}[form]
    node = await start_without_roots(bare_world, 1, None, roots=roots)
    await node.online()
    await node.stop()


async def start_without_roots(world, number, path, **options):
    """As ``world.start``, but for the planet."""
    host = world.net.add_host(f"another {number}", f"10.9.{number}.1")
    return await zt.start(
        path,
        identity=throwaway_identity(number),
        udp=SimUdp(world.net, host),
        context=world.net.context(host.name),
        **options,
    )


# Folders of others


@pytest.mark.parametrize("planet", ["planet", "roots"])
async def test_a_folder_of_another_node(bare_world, tmp_path, planet):
    """As zerotier-one leaves it, or with ``roots`` as libzt calls the planet."""
    ad_hoc = bare_world.network_id
    left = {
        "identity.secret": throwaway_identity(1).secret_text() + "\n",
        "identity.public": f"{throwaway_identity(1)}\n",
        planet: bare_world.planet.to_bytes(),
        f"networks.d/{CONTROLLED}.conf": f"v=7\nnwid={CONTROLLED}\nts=18c5ab\nr=2a\nn=my network\n",
        f"networks.d/{CONTROLLED}.local.conf": "allowManaged=1\nallowGlobal=0\n",
        f"networks.d/{ad_hoc}.conf": "",
        "peers.d/deadbeef01.peer": b"\x01an old record",
        "peers.d/not a peer": b"?",
        "controller.d/trace/x": b"{}",
        "authtoken.secret": "abcdefghijklmnopqrstuvwx",
        "zerotier-one.port": "9993",
        "zerotier-one.pid": "1",
        "local.conf": '{"settings": {}}',
        "metrics.prom": "# nothing\n",
    }
    for name, content in left.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    before = files(tmp_path)
    node = await bare_world.start(1, tmp_path)
    assert node.address == throwaway_identity(1).address
    assert set(node.networks) == {CONTROLLED, ad_hoc}
    assert node.networks[CONTROLLED].status == zt.NetworkStatus.REQUESTING_CONFIGURATION
    await node.online()
    stream = node.events()
    await node.stop()
    networks = {event.network.id async for event in stream if hasattr(event, "network")}
    assert networks == {CONTROLLED, ad_hoc}
    after = files(tmp_path)
    assert after.pop(f"peers.d/{bare_world.root.address}.peer")
    if planet == "roots":
        assert after.pop("planet", before["roots"]) == before["roots"]
    assert {name: after.get(name) for name in before} == before
    assert set(after) == set(before)


# Moons


async def test_moons_of_the_folder_are_used(bare_world, tmp_path):
    moon = make_moon()
    name = f"moons.d/{moon.id:016x}.moon"
    (tmp_path / "moons.d").mkdir()
    (tmp_path / name).write_bytes(moon.to_bytes())
    async with await bare_world.start(1, tmp_path) as node:
        assert node.status.moons == (moon.id,)
        await node.orbit(moon.id)
        assert await node.deorbit(f"{moon.id:x}")
        assert node.status.moons == ()
        assert name not in files(tmp_path)
        assert not await node.deorbit(moon.id)
        with pytest.raises(ValueError, match="name a seed"):
            await node.orbit(moon.id)
        (tmp_path / name).write_bytes(moon.to_bytes())
        await node.orbit(f"{moon.id:016x}")
        assert node.status.moons == (moon.id,)


async def test_a_moon_comes_from_its_seed(bare_world, tmp_path):
    """The root has the moon; the member asks it for it, keeps it, and has it at the next start."""
    moon = make_moon()
    bare_world.root.core.vl1.topology.offer(moon, always_accept_new=True)
    node = await bare_world.start(1, tmp_path)
    await node.online()
    stream = node.events()
    await node.orbit(moon.id, bare_world.root.address)
    async for event in stream:
        if isinstance(event, zt.WorldChanged):
            break
    assert event.world_id == moon.id
    assert event.kind == "moon"
    await node.stop()
    assert files(tmp_path)[f"moons.d/{moon.id:016x}.moon"] == moon.to_bytes()
    async with await bare_world.start(1, tmp_path) as node:
        assert node.status.moons == (moon.id,)


@pytest.mark.parametrize("moon", ["", "no moon", "0", 0, -1, 1 << 64, "1" * 17])
async def test_what_is_no_moon(bare_world, moon):
    node = await bare_world.start(1)
    for call in (node.orbit(moon, 1), node.deorbit(moon)):
        with pytest.raises(ValueError, match="moon's ID"):
            await call


# Sharing


@on("simulated", "asyncio")
async def test_one_node_per_folder(bare_world, tmp_path):
    node = await bare_world.start(1, tmp_path)
    with pytest.raises(zt.StorageError, match=r"another node .*uses"):
        await bare_world.start(2, tmp_path)
    assert node.is_running
    await node.stop()
    with pytest.raises(zt.IdentityError):
        await bare_world.start(2, tmp_path)
    async with await bare_world.start(1, tmp_path):
        pass


async def test_a_storage_of_ones_own(bare_world):
    storage = zt.MemoryStorage()
    for _ in range(2):
        async with await bare_world.start(1, storage=storage) as node:
            await node.join(bare_world.network_id)
    assert {kind.name for kind, _ in storage.blobs} >= {
        "IDENTITY_SECRET",
        "IDENTITY_PUBLIC",
        "PLANET",
        "NETWORK",
    }
    assert zt.StorageKind.NETWORK in {kind for kind, _ in storage.blobs}


async def test_a_folder_in_the_users_home(bare_world, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    async with await bare_world.start(1, "~/app/zt"):
        await turns(1)
    assert (tmp_path / "app" / "zt" / "identity.secret").exists()
