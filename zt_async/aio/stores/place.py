"""The store that a place names: the path of an SQLite file, or the URL of a PostgreSQL database."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, TypeAlias

from zt_async.aio.stores.sqlite import SqliteStore
from zt_async.errors import StoreError

if TYPE_CHECKING:
    from zt_async.aio.stores.postgres import PostgresStore

Place: TypeAlias = str | os.PathLike[str]


def store_at(place: Place) -> SqliteStore | PostgresStore:
    """The store, not open yet.

    Raises ImportError where PostgreSQL's needs a package that is not installed, StoreError for the URL of another kind.
    """
    if isinstance(place, str) and place.startswith(("postgresql://", "postgres://")):
        from zt_async.aio.stores.postgres import PostgresStore

        return PostgresStore(place)
    if isinstance(place, str) and "://" in place:
        kind = place.partition("://")[0]
        raise StoreError(f"there is no store for {kind}://: name an SQLite file, or a URL postgresql://...")
    return SqliteStore(place)
