import itertools
import os

import pytest
import pytest_asyncio

from zt_async.aio.stores.memory import MemoryStore
from zt_async.aio.stores.postgres import PostgresStore
from zt_async.aio.stores.sqlite import SqliteStore

from .opening import opening
from .postgres_server import PostgresMissing, PostgresServer

STORES = ["memory", "sqlite", "postgres"]
schemas = (f"test_{number}" for number in itertools.count())


@pytest.fixture(scope="session")
def postgres_server():
    """A PostgreSQL server that a test may stop and start again; it runs whenever a test begins."""
    try:
        server = PostgresServer()
    except PostgresMissing as error:
        if os.environ.get("CI"):
            pytest.fail(str(error))
        pytest.skip(str(error))
    yield server
    server.stop()


@pytest.fixture
def postgres(postgres_server):
    """Makes stores in a schema that is the test's own."""
    schema = next(schemas)
    return lambda **options: PostgresStore(postgres_server.url, schema=schema, **options)


@pytest.fixture
def sqlite(tmp_path):
    """Makes stores in a file that is the test's own."""
    return lambda **options: SqliteStore(tmp_path / "controller.db", **{"poll_interval": 0.01} | options)


@pytest.fixture
def memory():
    """Makes stores of the same records."""
    return MemoryStore().view


@pytest_asyncio.fixture(params=STORES)
async def open_store(request):
    """Opens stores of the same records, as so many processes would; they are closed at the end."""
    async with opening(request.getfixturevalue(request.param)) as open_one:
        yield open_one


@pytest_asyncio.fixture
async def store(open_store):
    """A store, open and empty."""
    return await open_store()
