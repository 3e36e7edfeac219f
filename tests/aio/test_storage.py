import asyncio
import os
import stat
import sys
import time

import pytest

from zt_async.aio.storage import FileStorage, Kind, MemoryStorage
from zt_async.errors import StorageError

NETWORK = "ff00160016000000"
posix_only = pytest.mark.skipif(sys.platform == "win32", reason="POSIX file modes")


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "deep" / "zt"


@pytest.fixture(params=["files", "memory"])
async def storage(request, folder):
    storage = FileStorage(folder) if request.param == "files" else MemoryStorage()
    await storage.open()
    yield storage
    await storage.close()


@pytest.fixture
async def files(folder):
    storage = FileStorage(folder)
    await storage.open()
    yield storage
    await storage.close()


async def test_a_save_that_is_cancelled_ends_before_the_next_begins(files, monkeypatch):
    told, goes_on = [], asyncio.Event()

    async def save(path, data, **options):
        told.append(("begins", data))
        await goes_on.wait()
        told.append(("ends", data))

    monkeypatch.setattr("zt_async.aio.storage._save", save)
    first = asyncio.ensure_future(files.save(Kind.PLANET, b"first"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    second = asyncio.ensure_future(files.save(Kind.PLANET, b"second"))
    first.cancel()
    await asyncio.sleep(0)
    goes_on.set()
    await asyncio.wait([first, second])
    assert first.cancelled()
    assert told == [("begins", b"first"), ("ends", b"first"), ("begins", b"second"), ("ends", b"second")]


async def test_blobs_are_kept_by_kind_and_name(storage):
    assert await storage.load(Kind.PLANET) is None
    assert await storage.names(Kind.NETWORK) == []
    await storage.save(Kind.PLANET, b"planet")
    await storage.save(Kind.NETWORK, b"", NETWORK)
    await storage.save(Kind.NETWORK, b"config", "8056c2e21c000001")
    await storage.save(Kind.NETWORK_SETTINGS, b"allowManaged=1\n", NETWORK)
    assert await storage.load(Kind.PLANET) == b"planet"
    assert await storage.load(Kind.NETWORK, NETWORK) == b""
    assert await storage.load(Kind.NETWORK_SETTINGS, NETWORK) == b"allowManaged=1\n"
    assert await storage.names(Kind.NETWORK) == ["8056c2e21c000001", NETWORK]
    assert await storage.names(Kind.NETWORK_SETTINGS) == [NETWORK]
    await storage.save(Kind.PLANET, b"another")
    assert await storage.load(Kind.PLANET) == b"another"
    await storage.delete(Kind.NETWORK, NETWORK)
    await storage.delete(Kind.NETWORK, NETWORK)
    assert await storage.names(Kind.NETWORK) == ["8056c2e21c000001"]
    assert await storage.names(Kind.NETWORK_SETTINGS) == [NETWORK]
    assert "planet" in storage.where(Kind.PLANET)


async def test_the_files_are_those_of_other_nodes(files, folder):
    await files.save(Kind.IDENTITY_SECRET, b"s")
    await files.save(Kind.IDENTITY_PUBLIC, b"p")
    await files.save(Kind.PLANET, b"w")
    await files.save(Kind.MOON, b"m", "000000deadbeef00")
    await files.save(Kind.PEER, b"r", "deadbeef00")
    await files.save(Kind.NETWORK, b"c", NETWORK)
    await files.save(Kind.NETWORK_SETTINGS, b"l", NETWORK)
    found = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    del found["zt_async.lock"]
    assert found == {
        "identity.secret": b"s",
        "identity.public": b"p",
        "planet": b"w",
        os.path.join("moons.d", "000000deadbeef00.moon"): b"m",
        os.path.join("peers.d", "deadbeef00.peer"): b"r",
        os.path.join("networks.d", f"{NETWORK}.conf"): b"c",
        os.path.join("networks.d", f"{NETWORK}.local.conf"): b"l",
    }


async def test_roots_is_read_where_there_is_no_planet(files, folder):
    (folder / "roots").write_bytes(b"of libzt")
    assert await files.load(Kind.PLANET) == b"of libzt"
    await files.save(Kind.PLANET, b"newer")
    assert (folder / "planet").read_bytes() == b"newer"
    assert (folder / "roots").read_bytes() == b"of libzt"
    assert await files.load(Kind.PLANET) == b"newer"


async def test_other_files_in_the_folders_are_left_alone(files, folder):
    (folder / "networks.d").mkdir()
    for name in [
        f"{NETWORK}.conf",
        f"{NETWORK}.conf.new",
        "notes.txt",
        "123.conf",
        f"{NETWORK.upper()}.conf",
    ]:
        (folder / "networks.d" / name).write_bytes(b"")
    assert await files.names(Kind.NETWORK) == [NETWORK]


@pytest.mark.parametrize("name", ["", "..", "deadbeef0", "deadbeef00\n", "DEADBEEF00", "../../etc0"])
async def test_names_are_hexadecimal_digits(files, name):
    with pytest.raises(ValueError, match="the name of a PEER has 10 hexadecimal digits"):
        await files.save(Kind.PEER, b"x", name)
    with pytest.raises(ValueError, match="0 hexadecimal digits"):
        await files.load(Kind.PLANET, "deadbeef00")


@posix_only
async def test_secrets_are_for_their_owner_only(files, folder):
    old = os.umask(0)
    try:
        await files.save(Kind.IDENTITY_SECRET, b"secret")
        await files.save(Kind.PLANET, b"planet")
    finally:
        os.umask(old)
    secret = folder / "identity.secret"
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert stat.S_IMODE((folder / "planet").stat().st_mode) == 0o644
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    secret.chmod(0o644)
    assert await files.load(Kind.IDENTITY_SECRET) == b"secret"
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600


async def test_a_file_is_replaced_whole_and_left_as_it_was_if_that_fails(files, folder, monkeypatch):
    await files.save(Kind.PLANET, b"old")
    inode = (folder / "planet").stat().st_ino
    (folder / "planet.new").write_bytes(b"left by a crash")
    await files.save(Kind.PLANET, b"new")
    assert (folder / "planet").read_bytes() == b"new"
    assert (folder / "planet").stat().st_ino != inode

    def fail(descriptor):
        assert (folder / "planet").read_bytes() == b"new"
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StorageError, match=r"cannot write .*planet: No space left on device"):
        await files.save(Kind.PLANET, b"newest")
    assert (folder / "planet").read_bytes() == b"new"
    assert not (folder / "planet.new").exists()


async def test_what_has_not_changed_is_not_written(files, folder):
    await files.save(Kind.PLANET, b"same")
    before = (folder / "planet").stat()
    await files.save(Kind.PLANET, b"same")
    after = (folder / "planet").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


async def test_many_saves_at_once_do_not_meet(files, folder):
    async with asyncio.TaskGroup() as tasks:
        for i in range(20):
            tasks.create_task(files.save(Kind.PLANET, b"%d" % i * 1000))
    data = (folder / "planet").read_bytes()
    assert data in [b"%d" % i * 1000 for i in range(20)]
    assert not (folder / "planet.new").exists()


async def test_old_blobs_can_be_deleted_and_saving_keeps_them_young(files, folder):
    for name in ("aaaaaaaaaa", "bbbbbbbbbb", "cccccccccc"):
        await files.save(Kind.PEER, name.encode(), name)
    old = time.time() - 31 * 86_400
    for name in ("aaaaaaaaaa", "bbbbbbbbbb"):
        os.utime(folder / "peers.d" / f"{name}.peer", (old, old))
    await files.save(Kind.PEER, b"bbbbbbbbbb", "bbbbbbbbbb")
    await files.delete_older(Kind.PEER, 30 * 86_400)
    assert await files.names(Kind.PEER) == ["bbbbbbbbbb", "cccccccccc"]


async def test_memory_forgets_old_blobs_too():
    now = 0.0
    storage = MemoryStorage({(Kind.PEER, "aaaaaaaaaa"): b"a", (Kind.PEER, "bbbbbbbbbb"): b"b"}, lambda: now)
    now = 5.0
    await storage.save(Kind.PEER, b"b", "bbbbbbbbbb")
    now = 10.0
    await storage.delete_older(Kind.PEER, 6.0)
    assert await storage.names(Kind.PEER) == ["bbbbbbbbbb"]
    assert storage.blobs == {(Kind.PEER, "bbbbbbbbbb"): b"b"}


async def test_one_node_at_a_time(storage, folder):
    others = [storage] if isinstance(storage, MemoryStorage) else [storage, FileStorage(folder)]
    for other in others:
        with pytest.raises(StorageError, match=r"another node .*stop that one"):
            await other.open()
    await storage.close()
    for other in others:
        await other.open()
        await other.close()
    await storage.open()


async def test_one_process_at_a_time(files, folder):
    script = f"""
import asyncio
from zt_async.aio.storage import FileStorage
asyncio.run(FileStorage({str(folder)!r}).open())
"""

    async def other_process():
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", script, stderr=asyncio.subprocess.PIPE
        )
        _, errors = await process.communicate()
        return process.returncode, errors.decode()

    code, errors = await other_process()
    assert code == 1
    assert f"StorageError: another node (process {os.getpid()}) uses {folder}: stop that one" in errors
    await files.close()
    assert await other_process() == (0, "")
    await files.open()


async def test_a_folder_that_cannot_be_is_named(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError, match=rf"{tmp_path}/file is no folder"):
        await FileStorage(tmp_path / "file").open()
    with pytest.raises(
        StorageError, match=rf"cannot write {tmp_path}/file/sub/zt_async.lock: Not a directory"
    ):
        await FileStorage(tmp_path / "file" / "sub").open()


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
async def test_an_unwritable_folder_is_named(tmp_path):
    with pytest.raises(
        StorageError, match=r"cannot write /proc/zt/zt_async\.lock: No such file or directory"
    ):
        await FileStorage("/proc/zt").open()
    if os.getuid() != 0:
        tmp_path.chmod(0o500)
        with pytest.raises(StorageError, match=rf"cannot write {tmp_path}/zt_async.lock: Permission denied"):
            await FileStorage(tmp_path).open()


async def test_files_that_cannot_be_read_written_or_deleted_are_named(files, folder):
    (folder / "planet").mkdir()
    (folder / "peers.d").write_text("a file where a folder should be")
    with pytest.raises(StorageError, match=rf"cannot read {folder}/planet: Is a directory"):
        await files.load(Kind.PLANET)
    with pytest.raises(StorageError, match=rf"cannot read {folder}/planet"):
        await files.save(Kind.PLANET, b"x")
    with pytest.raises(StorageError, match=rf"cannot delete {folder}/planet"):
        await files.delete(Kind.PLANET)
    with pytest.raises(StorageError, match=rf"cannot read {folder}/peers.d"):
        await files.names(Kind.PEER)
    with pytest.raises(StorageError, match=rf"cannot \w+ {folder}/peers.d"):
        await files.save(Kind.PEER, b"x", "deadbeef00")


async def test_the_home_folder_has_its_short_name(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert FileStorage("~/zt").folder == tmp_path / "zt"


async def test_nothing_stays_open(folder):
    def open_files():
        return len(os.listdir("/proc/self/fd")) if sys.platform == "linux" else 0

    storage = FileStorage(folder)
    before = open_files()
    for i in range(3):
        await storage.open()
        await storage.save(Kind.PLANET, b"%d" % i)
        with pytest.raises(StorageError):
            await FileStorage(folder).open()
        await storage.close()
        await storage.close()
    assert open_files() == before
