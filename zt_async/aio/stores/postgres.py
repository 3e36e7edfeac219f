"""The store for more than one machine: a PostgreSQL database, for any number of controllers and their standbys.

Commits are calls of one function in the database, a group of them at a time: there is no transaction that a client
could leave open by stopping in the middle of it. Which group was made last is noted with it, so that a group whose
answer was lost (the server restarted) is sent again without being made twice.
"""

from __future__ import annotations

import asyncio
import os
import re
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any, Final

from zt_async.aio.stores.feed import Feed
from zt_async.aio.stores.group import GroupCommit
from zt_async.aio.stores.lease import DRIFT, IdentityStatus, Lease, holder_name, lease_clock, take
from zt_async.aio.stores.postgres_listener import HORIZON, Listener
from zt_async.aio.stores.postgres_pool import COMMAND_TIMEOUT, Pool
from zt_async.aio.stores.postgres_schema import MIGRATIONS
from zt_async.aio.stores.rows import Row, key_of, member_of, network_of, range_of, row_of, snapshot_of
from zt_async.controller.records import MemberRecord, NetworkRecord
from zt_async.controller.store import Change, RecordKey, Snapshot
from zt_async.crypto.identity import Identity
from zt_async.errors import Conflict, FenceLost, StoreError
from zt_async.types import NodeAddress

ERRORS: Final[dict[str, type[StoreError]]] = {"C": Conflict, "F": FenceLost, "E": StoreError}

ACQUIRE: Final = """
WITH free AS (
    SELECT address FROM identity
    WHERE ($1::text IS NULL OR address = $1) AND secret <> '' AND expires <= clock_timestamp()
    ORDER BY expires LIMIT 1 FOR UPDATE SKIP LOCKED
)
UPDATE identity SET
    token = nextval('turn'), holder = $2, expires = clock_timestamp() + make_interval(secs => $3)
FROM free WHERE identity.address = free.address RETURNING secret, token
"""
SOONEST: Final = """
SELECT count(*), min(extract(epoch FROM expires - clock_timestamp()))::float8 FROM identity
WHERE ($1::text IS NULL OR address = $1) AND secret <> ''
"""
RENEW: Final = """
UPDATE identity SET expires = clock_timestamp() + make_interval(secs => $2) WHERE token = $1 RETURNING true
"""
RELEASE: Final = """
UPDATE identity SET token = nextval('turn'), holder = NULL, expires = 'epoch' WHERE token = $1
"""
ADD: Final = """
INSERT INTO identity (address, public, secret) VALUES ($1, $2, $3)
ON CONFLICT (address) DO UPDATE SET public = $2, secret = $3 WHERE identity.secret = ''
"""
REMOVE: Final = """
UPDATE identity SET public = '', secret = '', token = nextval('turn'), holder = NULL
WHERE address = $1 AND secret <> ''
"""
"""What stays is until when somebody may be online with it, lest another is who gets it by being added again."""

TTL: Final = 5.0  # s
PATIENCE: Final = 10.0  # s that a call waits for a server that restarts
TIME_PER_CHANGE: Final = 0.01  # s that a commit may take longer for each
SHORTEST_WAIT: Final = 0.05  # s between two looks for a free identity
CANCEL_PATIENCE: Final = 1.0  # s for the answer to a lease that was asked for and is not wanted any more


class PostgresStore:
    """Keeps records in a PostgreSQL database. Implements ``Store`` and ``Leases``.

    Secrets of identities that were added are in the database as they are: keep its access and backups accordingly.
    """

    def __init__(
        self, url: str, *, schema: str = "zt_async", ttl: float = TTL, patience: float = PATIENCE
    ) -> None:
        """Does not connect yet.

        Args:
            url: ``postgresql://user:password@host:port/database``, with the options that asyncpg takes.
            schema: Where the tables are; made if it is missing.
            ttl: Seconds after which the lease of a holder that is gone is another's.
            patience: Seconds that calls wait for a server that cannot be reached, before they fail.
        """
        if not re.fullmatch("[a-z_][a-z0-9_]{0,62}", schema):
            raise ValueError(f"a schema's name is lower-case letters, digits and underscores, not {schema!r}")
        if not ttl > 0:
            raise ValueError(f"ttl is in seconds and more than 0, not {ttl}")
        self.schema = schema
        self.ttl = ttl
        self._name = f"zt_async {secrets.token_hex(8)}"
        self._pool = Pool(url, self._name, schema, patience)
        self._freed = asyncio.Event()
        self._feed, self._listener = self._make_listener()
        self._group = GroupCommit(self._write)
        self._groups = 0

    def _make_listener(self) -> tuple[Feed, Listener]:
        feed = Feed()
        return feed, Listener(self._pool, self.schema, self._name, feed.tell, self._freed.set)

    async def open(self) -> None:
        await self._pool.open()
        self._feed, self._listener = self._make_listener()
        try:
            await self._pool.run(self._migrate)
            await self._listener.start()
        except BaseException:
            await self._listener.stop()
            await self._pool.close()
            raise

    async def close(self) -> None:
        if not self._pool.is_open:
            return
        self._feed.close()
        await self._listener.stop()
        await self._group.settle()
        try:
            await self._pool.run(
                lambda connection: connection.execute("DELETE FROM writer WHERE name = $1", self._name),
                patience=0,
            )
        except StoreError:
            pass  # it is not there to be told, and removes what is old by itself
        finally:
            await self._pool.close()

    async def _migrate(self, connection: Any) -> None:
        """Make the tables, or bring them up to date: one process at a time."""
        async with connection.transaction():
            await connection.execute(
                "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", f"zt_async {self.schema}"
            )
            if await connection.fetchval("SELECT to_regclass($1)", f"{self.schema}.schema_version") is None:
                await connection.execute(f"CREATE SCHEMA IF NOT EXISTS {self.schema}")
                await connection.execute("CREATE TABLE schema_version (version integer NOT NULL)")
            version = await connection.fetchval("SELECT max(version) FROM schema_version") or 0
            if version > len(MIGRATIONS):
                raise StoreError(
                    f"the schema {self.schema} was written by a newer release (version {version} of its tables, "
                    f"{len(MIGRATIONS)} is known): update zt_async"
                )
            for number, script in enumerate(MIGRATIONS[version:], version + 1):
                await connection.execute(script)
                await connection.execute("INSERT INTO schema_version VALUES ($1)", number)
            await connection.execute("DELETE FROM writer WHERE time < now() - interval '1 day'")

    # Records

    async def load(self, controller: NodeAddress) -> Snapshot:
        self._feed.expect_watcher(controller)

        async def fetch(connection: Any) -> tuple[Any, Any, Any, str]:
            bounds = range_of(controller)
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                return (
                    await connection.fetch("SELECT * FROM network WHERE id BETWEEN $1 AND $2", *bounds),
                    await connection.fetch("SELECT * FROM member WHERE network BETWEEN $1 AND $2", *bounds),
                    await connection.fetch("SELECT * FROM seen WHERE network BETWEEN $1 AND $2", *bounds),
                    await connection.fetchval(HORIZON),
                )

        networks, members, seen, horizon = await self._pool.run(fetch)
        self._listener.loaded(horizon)
        return await asyncio.to_thread(snapshot_of, networks, members, seen)

    async def read(self, keys: Sequence[RecordKey]) -> list[NetworkRecord | MemberRecord | None]:
        networks = [str(key.network_id) for key in keys if key.address is None]
        members = [(str(key.network_id), str(key.address)) for key in keys if key.address is not None]

        async def fetch(connection: Any) -> tuple[Any, Any]:
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                return (
                    await connection.fetch("SELECT * FROM network WHERE id = ANY ($1)", networks),
                    await connection.fetch(
                        "SELECT member.* FROM unnest($1::text[], $2::text[]) AS key (network, address)"
                        " JOIN member USING (network, address)",
                        [network for network, _ in members],
                        [address for _, address in members],
                    ),
                )

        network_rows, member_rows = await self._pool.run(fetch)
        found: dict[RecordKey, NetworkRecord | MemberRecord | None] = {}
        for row in network_rows:
            found[key_of(row["id"])] = network_of(*row)
        for row in member_rows:
            found[key_of(row["network"], row["address"])] = member_of(*row)
        return [found.get(key) for key in keys]

    async def commit(self, changes: Sequence[Change], fence: int | None = None) -> None:
        if not self._pool.is_open:
            raise StoreError("the store is not open")
        await self._group.commit(([row_of(change) for change in changes], fence))

    def watch(self, controller: NodeAddress) -> AsyncIterator[Sequence[RecordKey]]:
        return self._feed.watch(controller)

    async def _write(self, group: list[tuple[list[Row], int | None]]) -> list[StoreError | None]:
        self._groups += 1
        commits = ",".join(
            f"[{'null' if fence is None else fence},[{','.join(map(_json, rows))}]]" for rows, fence in group
        )
        results = await self._pool.run(
            lambda connection: connection.fetchval(
                "SELECT commit_changes($1, $2, $3)",
                self._name,
                self._groups,
                f"[{commits}]",
                timeout=COMMAND_TIMEOUT + sum(len(rows) for rows, _ in group) * TIME_PER_CHANGE,
            )
        )
        return [result and ERRORS[result[0]](result[1:]) for result in results]

    # Identities

    def claim(self, controller: NodeAddress) -> AbstractAsyncContextManager[None]:
        """Nothing to do: where several processes are, identities are held by leases."""
        return nullcontext()

    async def add_identity(self, identity: Identity) -> None:
        address, public, secret = str(identity.address), str(identity), identity.secret_text()

        async def add(connection: Any) -> Any:
            await connection.execute(ADD, address, public, secret)
            return await connection.fetchval("SELECT public FROM identity WHERE address = $1", address)

        if await self._pool.run(add) != public:
            raise StoreError(f"the database has another identity of the address {address}")

    async def remove_identity(self, address: NodeAddress) -> bool:
        done: str = await self._pool.run(lambda connection: connection.execute(REMOVE, str(address)))
        return done != "UPDATE 0"

    async def identities(self) -> list[IdentityStatus]:
        rows = await self._pool.run(
            lambda connection: connection.fetch(
                "SELECT public, holder, extract(epoch FROM expires - clock_timestamp())::float8 AS remaining"
                " FROM identity WHERE secret <> '' ORDER BY address"
            )
        )
        return [
            IdentityStatus(
                identity=Identity.parse(public),
                holder=holder if remaining > 0 else None,
                remaining=max(remaining, 0.0),
            )
            for public, holder, remaining in rows
        ]

    async def acquire(self, address: NodeAddress | None = None) -> Lease:
        wanted = None if address is None else str(address)
        while True:
            self._freed.clear()
            found = await take(self._try_to_acquire(wanted), self.release, min(self.ttl, CANCEL_PATIENCE))
            if isinstance(found, Lease):
                return found
            try:
                async with asyncio.timeout(min(max(found, SHORTEST_WAIT), self.ttl)):
                    await self._freed.wait()
            except TimeoutError:
                continue

    async def _try_to_acquire(self, wanted: str | None) -> Lease | float:
        """A lease; or how long it takes in seconds until one can be had, if nobody renews his."""
        sent = 0.0

        async def ask(connection: Any) -> Any:
            nonlocal sent
            sent = lease_clock()
            return await connection.fetchrow(ACQUIRE, wanted, holder_name(os.getpid()), self.ttl)

        row = await self._pool.run(ask)
        if row is not None:
            return Lease(Identity.parse(row["secret"]), row["token"], self._deadline(sent))
        count, wait = await self._pool.run(lambda connection: connection.fetchrow(SOONEST, wanted))
        if wanted is not None and not count:
            raise StoreError(f"the database has no identity {wanted}: add it first")
        return self.ttl if wait is None else float(wait)

    async def renew(self, lease: Lease) -> None:
        sent = 0.0

        async def prolong(connection: Any) -> Any:
            nonlocal sent
            sent = lease_clock()
            return await connection.fetchval(RENEW, lease.token, self.ttl)

        if await self._pool.run(prolong, patience=lease.remaining) is None:
            lease.deadline = float("-inf")
            raise FenceLost(f"the lease on {lease.identity.address} is another's")
        lease.deadline = max(lease.deadline, self._deadline(sent))

    async def release(self, lease: Lease) -> None:
        lease.deadline = float("-inf")
        await self._pool.run(lambda connection: connection.execute(RELEASE, lease.token))

    def _deadline(self, sent: float) -> float:
        """When a lease ends that was asked for at ``sent``: a little before its end in the database."""
        return sent + self.ttl * (1 - DRIFT)


def _json(row: Row) -> str:
    address = "null" if row.address is None else f'"{row.address}"'
    return f'["{row.network}",{address},{row.expected},{row.revision},{row.text or "null"}]'
