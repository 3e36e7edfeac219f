"""An SQLite database of controllers' records, used from one thread: nothing here waits for a loop."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

from zt_async.aio.file_lock import FileLock, LockTaken
from zt_async.aio.stores.lease import IdentityStatus, Lease, holder_name
from zt_async.aio.stores.rows import (
    SEEN,
    Row,
    key_of,
    member_of,
    network_of,
    range_of,
    row_of,
    snapshot_of,
)
from zt_async.aio.stores.sqlite_schema import MIGRATIONS
from zt_async.controller.records import MemberRecord, NetworkRecord
from zt_async.controller.store import Change, RecordKey, Snapshot
from zt_async.crypto.identity import Identity
from zt_async.errors import Conflict, FenceLost, StoreError
from zt_async.types import NodeAddress

APPLICATION_ID: Final = 0x5A544173
"""Tells our files from other programs' SQLite databases."""
BUSY_TIMEOUT: Final = 10.0  # s that a write waits for another process's

P = ParamSpec("P")
T = TypeVar("T")


def _reporting(
    method: Callable[Concatenate[Database, P], T],
) -> Callable[Concatenate[Database, P], T]:
    """Tells what goes wrong in SQLite as StoreError."""

    def call(self: Database, /, *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return method(self, *args, **kwargs)
        except sqlite3.Error as error:
            raise StoreError(f"{self.path}: {error}") from error

    return call


class Database:
    """One connection to the file. All methods raise StoreError."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._connection: sqlite3.Connection
        self._version = -1  # of the file, as SQLite tells other connections' writes
        self._number = 0  # of the last change that was looked at
        self._locks: dict[NodeAddress, FileLock] = {}
        self._leases: dict[NodeAddress, int] = {}  # the tokens of those locks that are leases

    @_reporting
    def open(self) -> None:
        """Make the file or bring it up to date."""
        try:
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))  # it may get to hold secrets
        except OSError as error:
            raise StoreError(f"cannot open {self.path}: {error.strerror}") from error
        self._connection = sqlite3.connect(self.path, timeout=BUSY_TIMEOUT, isolation_level=None)
        try:
            self._migrate()
            self._execute("PRAGMA foreign_keys = ON")
            self._execute("PRAGMA synchronous = FULL")
            self._version = self._value("PRAGMA data_version")
            self._number = self._last_number()
        except BaseException:
            self._connection.close()
            raise

    def _migrate(self) -> None:
        application = self._value("PRAGMA application_id")
        if application != APPLICATION_ID and self._value("SELECT count(*) FROM sqlite_master"):
            raise StoreError(f"{self.path} is another program's database: choose another file")
        mode = self._value("PRAGMA journal_mode = WAL")
        if mode != "wal":
            raise StoreError(f"{self.path} cannot be used in WAL mode: put it on a local disk")
        with self._transaction():
            version = self._value("PRAGMA user_version")
            if version > len(MIGRATIONS):
                raise StoreError(
                    f"{self.path} was written by a newer release (version {version} of its tables, "
                    f"{len(MIGRATIONS)} is known): update zt_async"
                )
            for step in MIGRATIONS[version:]:
                for statement in step:
                    self._execute(statement)
            if version < len(MIGRATIONS):
                self._execute(f"PRAGMA application_id = {APPLICATION_ID}")
                self._execute(f"PRAGMA user_version = {len(MIGRATIONS)}")

    @_reporting
    def close(self) -> None:
        try:
            self._connection.close()
        finally:
            while self._locks:
                self._locks.popitem()[1].release()

    # Records

    @_reporting
    def load(self, controller: NodeAddress) -> Snapshot:
        """The records of a controller, as they were at one moment."""
        bounds = range_of(controller)
        with self._transaction("DEFERRED"):
            networks = self._rows(
                "SELECT id, revision, record FROM network WHERE id BETWEEN ? AND ?", *bounds
            )
            members = self._rows(
                "SELECT network, address, revision, record FROM member WHERE network BETWEEN ? AND ?", *bounds
            )
            seen = self._rows(
                "SELECT network, address, record FROM seen WHERE network BETWEEN ? AND ?", *bounds
            )
        return snapshot_of(networks, members, seen)

    @_reporting
    def read(self, keys: Sequence[RecordKey]) -> list[NetworkRecord | MemberRecord | None]:
        """Records by key."""
        with self._transaction("DEFERRED"):
            return [self._read(str(key.network_id), key.address) for key in keys]

    def _read(self, network: str, address: NodeAddress | None) -> NetworkRecord | MemberRecord | None:
        if address is None:
            rows = self._rows("SELECT id, revision, record FROM network WHERE id = ?", network)
            return network_of(*rows[0]) if rows else None
        rows = self._rows(
            "SELECT network, address, revision, record FROM member WHERE network = ? AND address = ?",
            network,
            str(address),
        )
        return member_of(*rows[0]) if rows else None

    @_reporting
    def write(
        self, group: list[tuple[Sequence[Change], int | None]]
    ) -> tuple[list[StoreError | None], list[RecordKey]]:
        """Make commits in one transaction: the error of each that was left out, and what others changed before."""
        rows = [([row_of(change) for change in changes], fence) for changes, fence in group]
        with self._transaction():
            others, _ = self._changes()
            errors = [self._commit(*commit) for commit in rows]
            number = self._last_number()
        self._number = number
        return errors, others

    def _commit(self, rows: list[Row], fence: int | None) -> StoreError | None:
        self._execute("SAVEPOINT one_commit")
        error: StoreError | None = None
        try:
            if fence is not None and not self._rows("SELECT 1 FROM identity WHERE token = ?", fence):
                raise FenceLost("another process holds the lease on this identity")
            for row in rows:
                self._apply(row)
        except StoreError as problem:
            error = problem
        except sqlite3.IntegrityError as problem:
            error = _explain(problem, row)
        if error is not None:
            self._execute("ROLLBACK TO one_commit")
        self._execute("RELEASE one_commit")
        return error

    def _apply(self, row: Row) -> None:
        network, address, expected, revision, text = row
        table, where, key = "network", "id = ?", [network]
        if address is not None:
            table, where, key = "member", "network = ? AND address = ?", [network, address]
        if text is None:
            self._execute(f"DELETE FROM {table} WHERE {where}", *key)
        elif expected == SEEN:
            self._execute(
                f"INSERT OR REPLACE INTO seen SELECT network, address, ? FROM member WHERE {where}",
                text,
                *key,
            )
        elif expected == 0:
            places = ", ?" * len(key)
            self._execute(f"INSERT INTO {table} VALUES (?{places}, ?)", *key, revision, text)
        else:
            found = self._execute(
                f"UPDATE {table} SET revision = ?, record = ? WHERE {where} AND revision = ?",
                revision,
                text,
                *key,
                expected,
            )
            if found.rowcount == 0:
                raise Conflict(f"{_name(row)} was changed: its revision is no longer {expected}")

    @_reporting
    def look(self) -> list[RecordKey]:
        """What other connections changed since the last look."""
        version = self._value("PRAGMA data_version")
        if version == self._version:
            return []
        keys, self._number = self._changes()
        self._version = version
        return keys

    def _changes(self) -> tuple[list[RecordKey], int]:
        """What was changed since the change that was looked at last, and the number of the last one now."""
        rows = self._rows(
            "SELECT number, network, address FROM change WHERE number > ? ORDER BY number", self._number
        )
        keys = [key_of(network, address) for _, network, address in rows]
        return keys, rows[-1][0] if rows else self._number

    def _last_number(self) -> int:
        return int(self._value("SELECT coalesce(max(number), 0) FROM change"))

    # Identities

    def lock(self, address: NodeAddress) -> None:
        """Keep other processes, and other stores of this one, from using the file for this identity."""
        path = self.path.with_name(f"{self.path.name}.{address}.lock")
        try:
            self._locks[address] = FileLock(path)
        except LockTaken as error:
            raise StoreError(
                f"another controller ({error}) uses {self.path} as {address}: stop that one, or wait for its end"
            ) from error
        except OSError as error:
            raise StoreError(f"cannot lock {path}: {error.strerror}") from error

    def unlock(self, address: NodeAddress) -> None:
        self._leases.pop(address, None)
        lock = self._locks.pop(address, None)
        if lock is not None:
            lock.release()

    @_reporting
    def add_identity(self, identity: Identity) -> None:
        public, secret = str(identity), identity.secret_text()
        with self._transaction():
            known = self._rows("SELECT public FROM identity WHERE address = ?", str(identity.address))
            if not known:
                self._execute(
                    "INSERT INTO identity (address, public, secret) VALUES (?, ?, ?)",
                    str(identity.address),
                    public,
                    secret,
                )
            elif known[0][0] != public:
                raise StoreError(f"{self.path} has another identity of the address {identity.address}")

    @_reporting
    def remove_identity(self, address: NodeAddress) -> bool:
        return self._execute("DELETE FROM identity WHERE address = ?", str(address)).rowcount > 0

    @_reporting
    def identities(self) -> list[IdentityStatus]:
        rows = self._rows("SELECT public, holder FROM identity ORDER BY address")
        found = []
        for public, holder in rows:
            identity = Identity.parse(public)
            held = identity.address in self._locks or not self._take(identity.address, give_back=True)
            found.append(IdentityStatus(identity=identity, holder=holder if held else None, remaining=None))
        return found

    @_reporting
    def acquire(self, address: NodeAddress | None) -> Lease | None:
        """A lease if the identity is free, or with None if any is."""
        rows = self._rows(
            "SELECT address, secret FROM identity WHERE ? IN ('', address) ORDER BY address",
            "" if address is None else str(address),
        )
        if address is not None and not rows:
            raise StoreError(f"{self.path} has no identity {address}: add it first")
        for found, secret in rows:
            taken = NodeAddress.parse(found)
            if taken not in self._locks and self._take(taken):
                try:
                    token = self._leases[taken] = self._new_token(found)
                    return Lease(Identity.parse(secret), token, float("inf"))
                except BaseException:
                    self.unlock(taken)
                    raise
        return None

    def _take(self, address: NodeAddress, *, give_back: bool = False) -> bool:
        try:
            self.lock(address)
        except StoreError as error:
            if isinstance(error.__cause__, LockTaken):
                return False
            raise
        if give_back:
            self.unlock(address)
        return True

    def _new_token(self, address: str) -> int:
        with self._transaction():
            token = self._execute("INSERT INTO turn DEFAULT VALUES").lastrowid
            self._execute("DELETE FROM turn")
            self._execute(
                "UPDATE identity SET token = ?, holder = ? WHERE address = ?",
                token,
                holder_name(os.getpid()),
                address,
            )
        assert token is not None
        return token

    @_reporting
    def check(self, lease: Lease) -> None:
        """Raises FenceLost when the lease is not the present one."""
        if not self._rows("SELECT 1 FROM identity WHERE token = ?", lease.token):
            lease.deadline = float("-inf")
            raise FenceLost(f"the lease on {lease.identity.address} was ended")

    @_reporting
    def release(self, lease: Lease) -> None:
        """End the lease."""
        address = lease.identity.address
        lease.deadline = float("-inf")
        try:
            self._execute("UPDATE identity SET token = NULL, holder = NULL WHERE token = ?", lease.token)
        finally:
            if self._leases.get(address) == lease.token:
                self.unlock(address)

    # SQL

    @contextmanager
    def _transaction(self, kind: str = "IMMEDIATE") -> Iterator[None]:
        self._execute(f"BEGIN {kind}")
        try:
            yield
            self._execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._execute("ROLLBACK")
            raise

    def _execute(self, statement: str, *values: Any) -> sqlite3.Cursor:
        return self._connection.execute(statement, values)

    def _rows(self, statement: str, *values: Any) -> list[Any]:
        return self._execute(statement, *values).fetchall()

    def _value(self, statement: str) -> Any:
        return self._execute(statement).fetchone()[0]


def _name(row: Row) -> str:
    return f"network {row.network}" + (f", member {row.address}" if row.address else "")


def _explain(error: sqlite3.IntegrityError, row: Row) -> StoreError:
    """What a constraint that does not hold means."""
    match error.sqlite_errorname:
        case "SQLITE_CONSTRAINT_FOREIGNKEY":
            return Conflict(f"{_name(row)}: the network is gone")
        case "SQLITE_CONSTRAINT_PRIMARYKEY" | "SQLITE_CONSTRAINT_UNIQUE":
            if "assignment" in str(error):
                return Conflict(f"{_name(row)}: one of its addresses is another member's")
            return Conflict(f"{_name(row)} exists already")
        case _:
            return StoreError(f"{_name(row)}: {error}")
