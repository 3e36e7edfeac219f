import asyncio
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from contextlib import closing

import pytest
import pytest_asyncio

from zt_async.aio.stores import sqlite_database
from zt_async.aio.stores.sqlite import SqliteStore
from zt_async.aio.stores.sqlite_schema import MIGRATIONS
from zt_async.controller.records import MemberRecord, Seen
from zt_async.controller.store import PutSeen, Snapshot
from zt_async.errors import Conflict, FenceLost, StoreError
from zt_async.testing import throwaway_identity
from zt_async.types import NodeAddress

from .opening import opening
from .records import CONTROLLER, NETWORK, delete, key, member, network, put
from .test_contract import next_keys

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="POSIX file modes")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "controller.db"


@pytest_asyncio.fixture
async def store(sqlite):
    async with opening(sqlite) as open_one:
        yield await open_one()


@pytest.fixture
def plain(store, path):
    """A connection of another program."""
    connection = sqlite3.connect(path, isolation_level=None)
    yield connection
    connection.close()


def database_of_version(path, version):
    """A file as the release of that version left it."""
    connection = sqlite3.connect(path)
    for step in MIGRATIONS[:version]:
        for statement in step:
            connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {sqlite_database.APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {version}")
    return connection


def foreign_database(path):
    with closing(sqlite3.connect(path)) as plain:
        plain.execute("CREATE TABLE theirs (x)")


async def test_it_is_durable_by_its_settings(store):
    ask = store._database._value
    settings = [
        await store._run(ask, f"PRAGMA {name}") for name in ("journal_mode", "synchronous", "foreign_keys")
    ]
    assert settings == ["wal", 2, 1]


@posix_only
async def test_only_the_owner_can_read_the_file(store, path):
    await store.add_identity(throwaway_identity(0))
    for file in path.parent.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file


async def test_a_file_of_an_older_version_is_brought_up_to_date(store, tmp_path):
    await store.add_identity(throwaway_identity(0))
    for version in range(1, len(MIGRATIONS)):
        path = tmp_path / f"version{version}.db"
        connection = database_of_version(path, version)
        connection.execute(
            'INSERT INTO network (id, record) VALUES (?, \'{"name": "old"}\')', (str(NETWORK),)
        )
        connection.commit()
        connection.close()
        older = SqliteStore(path)
        await older.open()
        (old,) = (await older.load(CONTROLLER)).networks
        assert (old.name, old.revision) == ("old", 1)
        await older.add_identity(throwaway_identity(0))
        assert await older.identities() == await store.identities()
        await older.close()


async def test_a_file_of_a_newer_version_is_left_alone(path):
    connection = database_of_version(path, len(MIGRATIONS))
    connection.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(StoreError, match="newer release"):
        await SqliteStore(path).open()
    assert len(path.read_bytes()) == len(before)


async def test_a_step_that_fails_changes_nothing(path, monkeypatch):
    database_of_version(path, 1).close()
    broken = (*MIGRATIONS[:1], ("CREATE TABLE extra (x)", "CREATE TABLE network (x)"))
    monkeypatch.setattr(sqlite_database, "MIGRATIONS", broken)
    with pytest.raises(StoreError, match="network already exists"):
        await SqliteStore(path).open()
    monkeypatch.undo()
    with closing(sqlite3.connect(path)) as plain:
        assert plain.execute("SELECT name FROM sqlite_master WHERE name = 'extra'").fetchall() == []
    store = SqliteStore(path)
    await store.open()
    await store.close()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path.write_text("not a database, but a text of some length" * 100), "not a database"),
        (foreign_database, "another program's"),
        (lambda path: path.mkdir(), "cannot open"),
        (lambda path: path.parent.rmdir(), "cannot open"),
    ],
    ids=["text", "foreign", "folder", "nowhere"],
)
async def test_what_is_no_database_of_ours_is_refused(tmp_path, make, message):
    path = tmp_path / "folder" / "controller.db"
    path.parent.mkdir()
    make(path)
    store = SqliteStore(path)
    with pytest.raises(StoreError, match=message):
        await store.open()
    await store.close()


async def test_a_store_that_is_not_open_says_so(sqlite):
    store = sqlite()
    for call in (store.load(CONTROLLER), store.read([]), store.commit([]), store.identities()):
        with pytest.raises(StoreError, match="not open"):
            await call
    await store.open()
    with pytest.raises(StoreError, match="open already"):
        await store.open()
    await store.close()


async def test_who_gives_up_opening_leaves_nothing_open(sqlite, monkeypatch):
    store = sqlite()
    begun, go_on = asyncio.Event(), threading.Event()
    loop, closed = asyncio.get_running_loop(), []
    open_it, close_it = store._database.open, store._database.close

    def open_slowly():
        loop.call_soon_threadsafe(begun.set)
        go_on.wait(10)
        open_it()

    monkeypatch.setattr(store._database, "open", open_slowly)
    monkeypatch.setattr(store._database, "close", lambda: closed.append(close_it()))
    opening = asyncio.ensure_future(store.open())
    await begun.wait()
    opening.cancel()
    await asyncio.sleep(0)
    go_on.set()
    await asyncio.wait([opening])
    assert opening.cancelled()
    assert len(closed) == 1
    await store.open()
    await store.commit([put(network())])
    await store.close()


async def test_a_store_that_could_not_be_opened_can_be_once_more(sqlite, monkeypatch):
    store = sqlite()
    open_it = store._database.open

    def fail():
        raise ValueError("embedded null byte")

    monkeypatch.setattr(store._database, "open", fail)
    with pytest.raises(ValueError, match="null byte"):
        await store.open()
    monkeypatch.setattr(store._database, "open", open_it)
    await store.open()
    await store.close()


@pytest.mark.parametrize("interval", [0, -1, float("nan")])
def test_an_interval_is_positive(path, interval):
    with pytest.raises(ValueError, match="poll_interval"):
        SqliteStore(path, poll_interval=interval)


async def test_commits_that_wait_share_a_transaction(store, plain):
    await store.commit([put(network())])

    statements = []
    trace = store._database._connection.set_trace_callback
    await store._run(trace, statements.append)
    await asyncio.gather(*(store.commit([put(member(number))]) for number in range(1, 201)))
    await store._run(trace, None)
    assert 1 <= statements.count("COMMIT") <= 2
    assert plain.execute("SELECT count(*) FROM member").fetchone() == (200,)


# Plain SQL


async def test_what_plain_sql_changes_is_told(store, plain):
    await store.commit([put(network()), put(member(1, "10.0.0.1")), put(member(2))])
    await store.load(CONTROLLER)
    watching = store.watch(CONTROLLER)
    plain.execute(
        "UPDATE member SET record = json_set(record, '$.authorized', json('true')) WHERE address LIKE '%1'"
    )
    await next_keys(watching, [key(member(1))])
    assert await store.read([key(member(1))]) == [member(1, "10.0.0.1", revision=2, authorized=True)]
    plain.execute("UPDATE network SET record = json_set(record, '$.name', 'plain')")
    await next_keys(watching, [key(network())])
    assert await store.read([key(network())]) == [network(name="plain", revision=2)]
    plain.execute("DELETE FROM member WHERE address LIKE '%1'")
    await next_keys(watching, [key(member(1))])
    await store.commit([put(member(2, "10.0.0.1", revision=2))])
    plain.execute("DELETE FROM network")
    await next_keys(watching, [key(network()), key(member(2))])
    assert await store.load(CONTROLLER) == Snapshot()


async def test_plain_sql_cannot_give_an_address_twice(store, plain):
    await store.commit([put(network()), put(member(1, "10.0.0.1")), put(member(2, "10.0.0.2"))])
    with pytest.raises(sqlite3.IntegrityError):
        plain.execute(
            "UPDATE member SET record = json_set(record, '$.ipAssignments', json('[\"10.0.0.1\"]'))"
        )
    plain.execute(
        "UPDATE member SET record = json_set(record, '$.ipAssignments', json('[]')) WHERE address LIKE '%1'"
    )
    await store.commit([put(member(3, "10.0.0.1"))])
    with pytest.raises(Conflict):
        await store.commit([put(member(1, "10.0.0.5", revision=2))])


async def test_what_plain_sql_made_of_a_record_does_no_harm(store, plain, caplog):
    await store.commit([put(network()), put(member(1)), put(member(2, name="two"))])
    plain.execute("UPDATE member SET record = '[]' WHERE address LIKE '%1'")
    plain.execute(
        "UPDATE member SET record = json_set(record, '$.authorized', 'yes', '$.id', 'x') WHERE address LIKE '%2'"
    )
    snapshot = await store.load(CONTROLLER)
    blank = MemberRecord(network_id=NETWORK, address=NodeAddress(1), revision=2)
    assert snapshot.members == [blank, member(2, name="two", revision=2)]
    assert f"{NETWORK}/0000000001 in the database: record is no JSON object" in caplog.text
    assert f"{NETWORK}/0000000002 in the database: authorized is true or false, not 'yes'" in caplog.text
    assert await store.read([key(member(1))]) == [blank]
    await store.commit([put(member(1, revision=3))])  # whoever wants to can make it whole
    with pytest.raises(sqlite3.IntegrityError):
        plain.execute("UPDATE network SET record = 'no JSON'")
    with pytest.raises(sqlite3.IntegrityError):
        plain.execute("INSERT INTO network (id, record) VALUES ('XYZ', '{}')")


async def test_how_members_were_seen_counts_only_where_it_makes_sense(store, plain):
    await store.commit([put(network()), put(member(1)), PutSeen(NETWORK, member(1).address, Seen(time=3))])
    for text in ('{"time": 1e30, "endpoint": null}', '{"time": -1, "endpoint": null}', "[]", "x"):
        plain.execute("UPDATE seen SET record = ?", (text,))
        assert (await store.load(CONTROLLER)).seen == {(NETWORK, member(1).address): Seen()}


async def test_a_writer_that_takes_long_is_waited_for(store, plain):
    await store.commit([put(network())])
    plain.execute("BEGIN IMMEDIATE")
    commit = asyncio.ensure_future(store.commit([put(member(1))]))
    await asyncio.wait([commit], timeout=0.1)
    assert not commit.done()
    plain.execute("COMMIT")
    await commit


async def test_a_writer_that_takes_too_long_is_an_error(store, plain, monkeypatch):
    await store._run(store._database._execute, "PRAGMA busy_timeout = 10")
    plain.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match="locked"):
        await store.commit([put(network())])
    plain.execute("ROLLBACK")
    await store.commit([put(network())])


# One controller for each identity


async def test_a_file_has_one_controller_for_each_identity(sqlite):
    store, other = sqlite(), sqlite()
    await store.open()
    await other.open()
    async with store.claim(CONTROLLER):
        for second in (store, other):
            with pytest.raises(StoreError, match=f"another controller \\(process {os.getpid()}\\)"):
                async with second.claim(CONTROLLER):
                    pass
        async with other.claim(throwaway_identity(0).address):
            pass
    async with other.claim(CONTROLLER):
        await other.close()
    async with store.claim(CONTROLLER):
        pass
    await store.close()


async def test_a_lease_is_a_claim(sqlite):
    store = sqlite()
    await store.open()
    await store.add_identity(throwaway_identity(0))
    lease = await store.acquire()
    with pytest.raises(StoreError, match="another controller"):
        async with store.claim(lease.identity.address):
            pass
    await store.release(lease)
    async with store.claim(lease.identity.address):
        waiting = asyncio.ensure_future(store.acquire())
        await asyncio.wait([waiting], timeout=0.05)
        assert not waiting.done()
    await store.release(await waiting)
    await store.close()


async def test_who_gives_up_waiting_is_free_whatever_the_file_says(store, monkeypatch):
    """The error of a file that is locked may come after the caller has been cancelled."""
    begun, go_on = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def acquire(address):
        loop.call_soon_threadsafe(begun.set)
        go_on.wait(10)
        raise StoreError("the database is locked")

    monkeypatch.setattr(store._database, "acquire", acquire)
    taking = asyncio.ensure_future(store.acquire())
    await begun.wait()
    taking.cancel()
    go_on.set()
    await asyncio.wait([taking])
    assert taking.cancelled()


HOLDER = """
import asyncio, sys
from zt_async.aio.stores.sqlite import SqliteStore
async def main():
    store = SqliteStore(sys.argv[1])
    await store.open()
    lease = await store.acquire()
    print(lease.token, flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""


@pytest.mark.parametrize("paused", [False, True])
async def test_a_lease_ends_with_its_process(store, path, paused):
    await store.add_identity(throwaway_identity(0))
    holder = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HOLDER, str(path), stdout=subprocess.PIPE
    )
    token = int(await holder.stdout.readline())
    waiting = asyncio.ensure_future(store.acquire())
    if paused:
        holder.send_signal(signal.SIGSTOP)
    await asyncio.wait([waiting], timeout=0.1)
    assert not waiting.done()
    (status,) = await store.identities()
    assert status.holder.endswith(f"process {holder.pid}")
    holder.kill()
    await holder.wait()
    async with asyncio.timeout(10):
        lease = await waiting
    assert lease.token > token
    with pytest.raises(FenceLost):
        await store.commit([delete(network())], token)
