import os

import pytest

from .postgres_server import PostgresMissing, PostgresServer


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
