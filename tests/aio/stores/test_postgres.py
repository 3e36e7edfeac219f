import asyncio
import subprocess
import sys
import textwrap

import asyncpg
import pytest
import pytest_asyncio

from zt_async.aio.stores import postgres as module
from zt_async.aio.stores.postgres import PostgresStore
from zt_async.aio.stores.postgres_schema import MIGRATIONS
from zt_async.controller.store import Snapshot
from zt_async.errors import Conflict, StoreError
from zt_async.testing import throwaway_identity

from .opening import opening
from .records import CONTROLLER, NETWORK, key, member, network, put
from .test_contract import next_keys


@pytest_asyncio.fixture
async def store(postgres):
    async with opening(postgres) as open_one:
        yield await open_one()


@pytest_asyncio.fixture
async def plain(store, postgres_server):
    """A connection of another program."""
    connection = await asyncpg.connect(
        postgres_server.url, server_settings={"application_name": "an other program"}
    )
    await connection.execute(f"SET search_path TO {store.schema}")
    yield connection
    await connection.close()


async def end_connections(connection):
    """End all other sessions, as a restart of the server would."""
    await connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'zt_async %'"
    )


# Opening


async def test_many_open_an_empty_database_at_the_same_time(postgres):
    stores = [postgres() for _ in range(5)]
    await asyncio.gather(*(store.open() for store in stores))
    await stores[0].commit([put(network())])
    assert (await stores[1].load(CONTROLLER)).networks == [network()]
    await asyncio.gather(*(store.close() for store in stores))


async def test_tables_of_an_older_version_are_brought_up_to_date(store, plain, postgres, monkeypatch):
    for version in range(1, len(MIGRATIONS)):
        await plain.execute(f"DROP SCHEMA {store.schema} CASCADE")
        monkeypatch.setattr(module, "MIGRATIONS", MIGRATIONS[:version])
        older = postgres()
        await older.open()
        await plain.execute('INSERT INTO network (id, record) VALUES ($1, \'{"name": "old"}\')', str(NETWORK))
        await older.close()
        monkeypatch.undo()
        newer = postgres()
        await newer.open()
        (old,) = (await newer.load(CONTROLLER)).networks
        assert (old.name, old.revision) == ("old", 1)
        await newer.add_identity(throwaway_identity(0))
        await newer.release(await newer.acquire())
        await newer.close()


async def test_tables_of_a_newer_version_are_left_alone(store, plain, postgres):
    await plain.execute("INSERT INTO schema_version VALUES ($1)", len(MIGRATIONS) + 1)
    with pytest.raises(StoreError, match="newer release"):
        await postgres().open()


async def test_a_step_that_fails_changes_nothing(postgres, monkeypatch):
    monkeypatch.setattr(
        module, "MIGRATIONS", (*MIGRATIONS[:1], "CREATE TABLE extra (x int); CREATE TABLE network (x int)")
    )
    with pytest.raises(StoreError, match='"network" already exists'):
        await postgres().open()
    monkeypatch.undo()
    store = postgres()
    await store.open()
    await store.close()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("postgresql://zt_async:Secret1@/nowhere?host={folder}", 'database "nowhere" does not exist'),
        ("postgresql://nobody:Secret1@/postgres?host={folder}", 'role "nobody" does not exist'),
        ("http://zt_async:Secret1@localhost", "URL"),
        ("postgresql://zt_async:Secret1@/postgres?host=/nowhere", "cannot be reached"),
        ("postgresql://zt_async:Secret1@127.0.0.1:1/postgres", "cannot be reached"),
    ],
)
async def test_a_database_that_cannot_be_used_is_an_error_that_tells_no_password(
    postgres_server, url, message
):
    store = PostgresStore(url.format(folder=postgres_server._folder), patience=0.2)
    with pytest.raises(StoreError, match=message) as caught:
        await store.open()
    await store.close()
    assert "Secret1" not in str(caught.value) + repr(store)


async def test_a_store_that_is_not_open_says_so(postgres):
    store = postgres()
    for call in (store.load(CONTROLLER), store.read([]), store.commit([]), store.identities()):
        with pytest.raises(StoreError, match="not open"):
            await call
    await store.open()
    await store.load(CONTROLLER)
    watching = store.watch(CONTROLLER)
    with pytest.raises(StoreError, match="open already"):
        await store.open()
    assert await store.identities() == []
    other = postgres()
    await other.open()
    await other.commit([put(network())])
    await next_keys(watching, [key(network())])
    await store.close()
    sessions = "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1"
    async with asyncio.timeout(20):  # the server needs a moment to notice
        while await other._pool.run(lambda connection: connection.fetchval(sessions, store._name)):
            pass
    await other.close()


@pytest.mark.parametrize("options", [{"schema": "Bad"}, {"schema": "x; DROP"}, {"schema": ""}, {"ttl": 0}])
def test_bad_options(options):
    with pytest.raises(ValueError):
        PostgresStore("postgresql://", **options)


def test_without_asyncpg_it_says_what_to_install():
    script = """
    import sys
    sys.modules["asyncpg"] = None
    import zt_async
    try:
        import zt_async.aio.stores.postgres
    except ImportError as error:
        print(error)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "a store in PostgreSQL needs asyncpg: pip install 'zt-async[postgres]'"


async def test_a_role_without_rights_to_create_can_use_what_is_there(store, plain, postgres_server):
    schema = store.schema
    await plain.execute(
        f"CREATE ROLE plain_user LOGIN; GRANT USAGE ON SCHEMA {schema} TO plain_user;"
        f"GRANT ALL ON ALL TABLES IN SCHEMA {schema} TO plain_user;"
        f"GRANT ALL ON ALL SEQUENCES IN SCHEMA {schema} TO plain_user"
    )
    other = PostgresStore(postgres_server.url.replace("zt_async@", "plain_user@"), schema=schema)
    await other.open()
    await other.commit([put(network())])
    await other.close()


# Plain SQL


async def test_what_plain_sql_changes_is_told(store, plain):
    await store.commit([put(network()), put(member(1, "10.0.0.1")), put(member(2))])
    await store.load(CONTROLLER)
    watching = store.watch(CONTROLLER)
    await plain.execute(
        "UPDATE member SET record = record || '{\"authorized\": true}' WHERE address LIKE '%1'"
    )
    await next_keys(watching, [key(member(1))])
    assert await store.read([key(member(1))]) == [member(1, "10.0.0.1", revision=2, authorized=True)]
    await plain.execute("UPDATE network SET record = jsonb_set(record, '{name}', '\"plain\"')")
    await next_keys(watching, [key(network())])
    assert await store.read([key(network())]) == [network(name="plain", revision=2)]
    await plain.execute("DELETE FROM member WHERE address LIKE '%1'")
    await next_keys(watching, [key(member(1))])
    await store.commit([put(member(2, "10.0.0.1", revision=2))])
    await plain.execute("DELETE FROM network")
    await next_keys(watching, [key(network()), key(member(2))])
    assert await store.load(CONTROLLER) == Snapshot()


async def test_plain_sql_cannot_give_an_address_twice(store, plain):
    await store.commit([put(network()), put(member(1, "fd00::1")), put(member(2, "10.0.0.2"))])
    with pytest.raises(asyncpg.UniqueViolationError):
        await plain.execute('UPDATE member SET record = record || \'{"ipAssignments": ["fd00:0::0:1"]}\'')
    for text in ('"x"', "3", '["300.0.0.1"]', '[["10.0.0.1"]]'):
        with pytest.raises(asyncpg.PostgresError):
            await plain.execute(f"UPDATE member SET record = record || '{{\"ipAssignments\": {text}}}'")
    await plain.execute("UPDATE member SET record = record - 'ipAssignments' WHERE address LIKE '%1'")
    await store.commit([put(member(3, "fd00::1"))])
    with pytest.raises(Conflict):
        await store.commit([put(member(1, "10.0.0.5", revision=2))])


async def test_what_plain_sql_made_of_a_record_does_no_harm(store, plain, caplog):
    await store.commit([put(network()), put(member(1)), put(member(2, name="two"))])
    await plain.execute("UPDATE member SET record = '{\"identity\": \"x\"}' WHERE address LIKE '%1'")
    await plain.execute(
        'UPDATE member SET record = record || \'{"authorized": "yes", "id": "x"}\' WHERE address LIKE \'%2\''
    )
    snapshot = await store.load(CONTROLLER)
    assert [record.revision for record in snapshot.members] == [2, 2]
    assert snapshot.members[1] == member(2, name="two", revision=2)
    assert f"{NETWORK}/0000000001 in the database: identity " in caplog.text
    assert f"{NETWORK}/0000000002 in the database: authorized is true or false, not 'yes'" in caplog.text


async def test_another_programs_transaction_does_not_hold_up_the_others_for_ever(store, plain, monkeypatch):
    await store.commit([put(network()), put(member(1)), put(member(2))])
    for connection in store._pool._pool._holders:
        if connection._con is not None:
            await connection._con.execute("SET lock_timeout = '50ms'")
    async with plain.transaction():
        await plain.execute(
            "UPDATE member SET record = record || '{\"name\": \"x\"}' WHERE address LIKE '%1'"
        )
        done = await asyncio.gather(
            store.commit([put(member(1, revision=2))]),
            store.commit([put(member(2, revision=2))]),
            return_exceptions=True,
        )
        assert [type(result) for result in done] == [StoreError, type(None)]
        assert "lock timeout" in str(done[0])


async def test_two_schemas_are_two_stores(store, postgres_server):
    other = PostgresStore(postgres_server.url, schema=f"{store.schema}_other")
    await other.open()
    await other.load(CONTROLLER)
    watching = other.watch(CONTROLLER)
    await store.commit([put(network())])
    await other.commit([put(network(name="other"))])
    assert (await store.load(CONTROLLER)).networks == [network()]
    third = PostgresStore(postgres_server.url, schema=f"{store.schema}_other")
    await third.open()
    await third.commit([put(member(1))])
    await next_keys(watching, [key(member(1))])
    await third.close()
    await other.close()


# Restarts of the server


async def test_it_goes_on_after_a_restart_of_the_server(postgres_server, postgres):
    store, other = (postgres(patience=60.0) for _ in range(2))  # a busy machine may take long to start it
    for opened in (store, other):
        await opened.open()
        await opened.load(CONTROLLER)
    watching = store.watch(CONTROLLER)
    await store.commit([put(network())])
    await asyncio.to_thread(postgres_server.halt)
    try:
        waiting = asyncio.ensure_future(other.commit([put(member(1))]))
        await asyncio.sleep(0)
    finally:
        await asyncio.to_thread(postgres_server.start)
    await waiting
    await next_keys(watching, [key(member(1))], also=[key(network())])
    await store.commit([put(member(2))])
    assert len((await other.load(CONTROLLER)).members) == 2
    for opened in (store, other):
        await opened.close()


async def test_what_was_changed_while_nobody_listened_is_told_later(store, plain, postgres):
    await store.commit([put(network()), put(member(1)), put(member(2))])
    await store.load(CONTROLLER)
    watching = store.watch(CONTROLLER)
    async with plain.transaction():  # it begins before what is told, and ends when nobody listens
        await plain.execute("DELETE FROM member WHERE address LIKE '%1'")
        other = postgres()
        await other.open()
        await other.commit([put(member(3))])
        await other.close()
        await next_keys(watching, [key(member(3))])
        await end_connections(plain)
    await next_keys(watching, [key(member(1))], also=[key(network()), key(member(2)), key(member(3))])


async def test_a_server_that_is_none_to_write_to_yet_is_asked_again(store):
    """As when one of the servers of the URL is about to take over from another."""
    errors = [asyncpg.exceptions.TargetServerAttributeNotMatched("none is read-write")] * 2

    async def work(connection):
        if errors:
            raise errors.pop()
        return 7

    assert await store._pool.run(work) == 7
    errors = [asyncpg.InternalClientError("broken")]
    with pytest.raises(StoreError, match="broken"):
        await store._pool.run(work, patience=0)


async def test_a_database_that_stays_away_is_an_error(postgres_server, postgres):
    store = postgres(patience=0.3)
    await store.open()
    await asyncio.to_thread(postgres_server.halt)
    try:
        with pytest.raises(StoreError, match="the database"):
            await store.commit([put(network())])
    finally:
        await asyncio.to_thread(postgres_server.start)
    await store.commit([put(network())])
    await store.close()


async def test_a_group_whose_answer_was_lost_is_not_made_twice(store, plain, monkeypatch):
    """The connection breaks after the server has done its work, before the answer arrives."""
    await store.commit([put(network())])
    run = store._pool.run
    lost = []

    async def run_and_lose(work, **options):
        async def work_and_lose(connection):
            result = await work(connection)
            if not lost:
                lost.append(result)
                raise ConnectionResetError("the answer was lost")
            return result

        return await run(work_and_lose, **options)

    monkeypatch.setattr(store._pool, "run", run_and_lose)
    done = await asyncio.gather(
        store.commit([put(member(1))]), store.commit([put(member(1))]), return_exceptions=True
    )
    assert [type(result) for result in done] == [type(None), Conflict]
    assert len(lost) == 1
    await store.commit([put(member(2))])
    assert await plain.fetchval("SELECT count(*) FROM member") == 2


async def test_a_store_leaves_nothing_of_its_own_behind(store, plain, postgres):
    other = postgres()
    await other.open()
    await other.commit([put(network())])
    assert await plain.fetchval("SELECT count(*) FROM writer") == 1
    await other.close()
    assert await plain.fetchval("SELECT count(*) FROM writer") == 0
    await plain.execute("INSERT INTO writer (name, time) VALUES ('killed', now() - interval '2 days')")
    await other.open()
    await other.close()
    assert await plain.fetchval("SELECT count(*) FROM writer") == 0
