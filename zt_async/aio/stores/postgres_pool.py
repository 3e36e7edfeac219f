"""Connections to a PostgreSQL server that may restart, and what its errors mean."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

from zt_async.errors import StoreError

try:
    import asyncpg
except ImportError as error:
    raise ImportError("a store in PostgreSQL needs asyncpg: pip install 'zt-async[postgres]'") from error

MAX_CONNECTIONS: Final = 4  # besides that of the listener: commits go in groups over one
CONNECT_TIMEOUT: Final = 10.0  # s
COMMAND_TIMEOUT: Final = 15.0  # s
LOCK_TIMEOUT: Final = "5s"  # for a record that somebody's open transaction has changed
FIRST_DELAY: Final = 0.05  # s until the first further try, twice as much until each next one
LONGEST_DELAY: Final = 1.0  # s

PASSING: Final = (
    OSError,  # TimeoutError included
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.TooManyConnectionsError,
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
    asyncpg.InterfaceError,  # of a connection that broke in the middle
    asyncpg.InternalClientError,  # a server that is not what target_session_attrs wants, until another is
)
"""What may be over at the next try."""
FAILURES: Final = (*PASSING, asyncpg.PostgresError)

T = TypeVar("T")


class Connection(asyncpg.Connection):  # type: ignore[misc]
    """One that spares a round trip after each use: nothing here leaves anything behind in a session."""

    def get_reset_query(self) -> str:
        return ""


class Pool:
    """A pool that tries again, for as long as ``patience`` seconds, where a connection or the server is lost."""

    def __init__(self, url: str, name: str, schema: str, patience: float) -> None:
        """``name`` is what the server calls the connections."""
        self.patience = patience
        self._options: dict[str, Any] = {
            "dsn": url,
            "timeout": CONNECT_TIMEOUT,
            "command_timeout": COMMAND_TIMEOUT,
            "connection_class": Connection,
            "server_settings": {
                "application_name": name,
                "search_path": schema,
                "lock_timeout": LOCK_TIMEOUT,
                "idle_in_transaction_session_timeout": "15s",
            },
        }
        self._pool: Any = None

    @property
    def is_open(self) -> bool:
        return self._pool is not None

    async def open(self) -> None:
        """Get ready; connections are made when they are needed. Raises StoreError."""
        if self._pool is not None:
            raise StoreError("the store is open already")
        self._pool = await asyncpg.create_pool(min_size=0, max_size=MAX_CONNECTIONS, **self._options)

    async def close(self) -> None:
        """Close all connections, in order where the server still answers."""
        pool, self._pool = self._pool, None
        if pool is not None:
            try:
                async with asyncio.timeout(CONNECT_TIMEOUT):
                    await pool.close()
            except PASSING:
                pool.terminate()

    async def connect(self) -> Any:
        """A connection for its caller alone; it raises what asyncpg raises."""
        return await asyncpg.connect(**self._options)

    async def run(self, work: Callable[[Any], Awaitable[T]], *, patience: float | None = None) -> T:
        """Do ``work`` with a connection: again and again with others, where the reason for a failure may pass.

        Raises StoreError.
        """
        loop = asyncio.get_running_loop()
        end = loop.time() + (self.patience if patience is None else patience)
        delay = FIRST_DELAY
        while True:
            if self._pool is None:
                raise StoreError("the store is not open")
            try:
                async with self._pool.acquire() as connection:
                    return await work(connection)
            except asyncpg.ClientConfigurationError as error:
                raise StoreError(f"the URL of the database is not usable: {error}") from error
            except PASSING as error:
                if loop.time() + delay > end:
                    raise StoreError(f"the database cannot be reached: {_text(error)}") from error
            except asyncpg.PostgresError as error:
                raise StoreError(f"the database: {_text(error)}") from error
            await asyncio.sleep(delay)
            delay = min(2 * delay, LONGEST_DELAY)


def _text(error: Exception) -> str:
    return str(error) or type(error).__name__
