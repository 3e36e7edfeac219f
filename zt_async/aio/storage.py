"""Where a node keeps what outlives it: a folder, memory, or something of the application's own.

The folder has the layout of zerotier-one and libzt (vl1.md 6.1), so that each can go on with what another one
left. Here are only names and bytes; ``zt_async.aio.state`` knows what they mean.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import stat
import sys
import time
from collections.abc import Callable, Mapping
from enum import Enum
from pathlib import Path
from typing import Protocol

import aiofiles.os

from zt_async.aio.file_lock import FileLock, LockTaken
from zt_async.errors import StorageError

LOCK_FILE = "zt_async.lock"
REFRESH_AFTER = 86_400.0  # seconds


class Kind(Enum):
    """What is kept: the folder of its files, what their names end in, and the digits of a name before that."""

    IDENTITY_SECRET = ("", "identity.secret", 0)
    IDENTITY_PUBLIC = ("", "identity.public", 0)
    PLANET = ("", "planet", 0)
    MOON = ("moons.d", ".moon", 16)
    PEER = ("peers.d", ".peer", 10)
    NETWORK = ("networks.d", ".conf", 16)
    NETWORK_SETTINGS = ("networks.d", ".local.conf", 16)
    LOCAL_CONF = ("", "local.conf", 0)
    AUTH_TOKEN = ("", "authtoken.secret", 0)
    METRICS_TOKEN = ("", "metricstoken.secret", 0)
    API_PORT = ("", "zerotier-one.port", 0)

    def file(self, name: str = "") -> str:
        """The path in a node's folder. Raises ValueError for what is no name of this kind."""
        folder, ending, digits = self.value
        if not re.fullmatch(f"[0-9a-f]{{{digits}}}", name):
            raise ValueError(f"the name of a {self.name} has {digits} hexadecimal digits, not {name!r}")
        return f"{folder}/{name}{ending}" if folder else ending

    def name_of(self, file: str) -> str | None:
        """The name that a file in the folder stands for, None if it is another kind of file."""
        _, ending, digits = self.value
        found = re.fullmatch(f"([0-9a-f]{{{digits}}}){re.escape(ending)}", file)
        return found and found[1]


SECRETS = frozenset((Kind.IDENTITY_SECRET, Kind.AUTH_TOKEN, Kind.METRICS_TOKEN))
"""Files that nobody else may read."""

OLDER_NAMES = {Kind.PLANET: "roots"}
"""What others called a file; read where the usual one is missing."""


class Storage(Protocol):
    """What a node needs of a place to keep things; implement it to keep them elsewhere.

    Blobs have a kind and, where there are several of the kind, a name in hexadecimal digits. All methods raise
    StorageError for what does not work.
    """

    async def open(self) -> None:
        """Make ready for one node. Raises StorageError if another one uses this storage."""

    async def load(self, kind: Kind, name: str = "") -> bytes | None:
        """A blob, None if there is none."""

    async def save(self, kind: Kind, data: bytes, name: str = "") -> None:
        """Keep a blob, in place of the one before: wholly or, if that fails, not at all."""

    async def delete(self, kind: Kind, name: str = "") -> None:
        """Forget a blob; it may be gone already."""

    async def names(self, kind: Kind) -> list[str]:
        """The names of all blobs of a kind, in order."""

    async def delete_older(self, kind: Kind, seconds: float) -> None:
        """Forget the blobs of a kind that were not saved for so long."""

    async def close(self) -> None:
        """The node has ended. Another one may open the storage."""

    def where(self, kind: Kind, name: str = "") -> str:
        """What to call a blob when speaking to a user."""


class MemoryStorage:
    """Keeps things as long as this object lives."""

    def __init__(
        self,
        blobs: Mapping[tuple[Kind, str], bytes] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``blobs`` is what is there to begin with, by kind and name; ``clock`` tells seconds."""
        self.blobs = dict(blobs or {})
        self._clock = clock
        self._saved = dict.fromkeys(self.blobs, clock())
        self._open = False

    async def open(self) -> None:
        if self._open:
            raise StorageError("another node uses this storage: stop that one first")
        self._open = True

    async def load(self, kind: Kind, name: str = "") -> bytes | None:
        return self.blobs.get((kind, name))

    async def save(self, kind: Kind, data: bytes, name: str = "") -> None:
        self.blobs[kind, name] = data
        self._saved[kind, name] = self._clock()

    async def delete(self, kind: Kind, name: str = "") -> None:
        self.blobs.pop((kind, name), None)
        self._saved.pop((kind, name), None)

    async def names(self, kind: Kind) -> list[str]:
        return sorted(name for other, name in self.blobs if other is kind)

    async def delete_older(self, kind: Kind, seconds: float) -> None:
        limit = self._clock() - seconds
        for name in await self.names(kind):
            if self._saved[kind, name] < limit:
                await self.delete(kind, name)

    async def close(self) -> None:
        self._open = False

    def where(self, kind: Kind, name: str = "") -> str:
        return f"{kind.file(name)} (in memory)"


class FileStorage:
    """Keeps things in a folder, each in a file of its own.

    Files are replaced as a whole, and are on the disk when ``save`` returns (but for peers, which are a cache
    of maybe thousands). What has not changed is not written again. Secrets are for their owner's eyes only.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder).expanduser()
        self._lock: FileLock | None = None
        self._saving = asyncio.Lock()

    def where(self, kind: Kind, name: str = "") -> str:
        return str(self._path(kind, name))

    async def open(self) -> None:
        """Make the folder, if it is not there, and lock it. Raises StorageError."""
        if self._lock is not None:
            raise StorageError(f"another node uses {self.folder}: stop that one first")
        self._saving = asyncio.Lock()
        path = self.folder / LOCK_FILE
        try:
            await aiofiles.os.makedirs(self.folder, mode=0o700, exist_ok=True)
            self._lock = FileLock(path)
        except FileExistsError as error:
            raise StorageError(f"{self.folder} is no folder") from error
        except LockTaken as error:
            raise StorageError(
                f"another node ({error}) uses {self.folder}: stop that one, or choose another folder"
            ) from error
        except OSError as error:
            raise _failure("write", path, error) from error

    async def close(self) -> None:
        """Unlock the folder."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    async def load(self, kind: Kind, name: str = "") -> bytes | None:
        path = self._path(kind, name)
        data = await _read(path)
        if data is None and kind in OLDER_NAMES:
            data = await _read(self.folder / OLDER_NAMES[kind])
        if data is not None and kind is Kind.IDENTITY_SECRET and sys.platform != "win32":
            await _make_private(path)
        return data

    async def save(self, kind: Kind, data: bytes, name: str = "") -> None:
        path = self._path(kind, name)
        mode = 0o600 if kind in SECRETS else 0o644
        async with self._saving:
            saving = asyncio.ensure_future(_save(path, data, mode=mode, sync=kind is not Kind.PEER))
            try:
                await asyncio.shield(saving)
            except asyncio.CancelledError:
                with contextlib.suppress(StorageError):  # the thread cannot be stopped in the middle
                    await saving
                raise

    async def delete(self, kind: Kind, name: str = "") -> None:
        path = self._path(kind, name)
        try:
            await aiofiles.os.remove(path)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise _failure("delete", path, error) from error

    async def names(self, kind: Kind) -> list[str]:
        folder = self.folder / kind.value[0]
        try:
            files = await aiofiles.os.listdir(folder)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise _failure("read", folder, error) from error
        return sorted(name for file in files if (name := kind.name_of(file)) is not None)

    async def delete_older(self, kind: Kind, seconds: float) -> None:
        paths = [self._path(kind, name) for name in await self.names(kind)]
        await _delete_older(paths, time.time() - seconds)

    def _path(self, kind: Kind, name: str) -> Path:
        return self.folder / kind.file(name)


# What works on files does so in one go in a worker: with thousands of peers each way there and back counts.


def _read_file(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _failure("read", path, error) from error


def _save_file(path: Path, data: bytes, *, mode: int, sync: bool) -> None:
    if _read_file(path) == data:
        with contextlib.suppress(OSError):  # say to those who delete old files that it is still of use
            if path.stat().st_mtime < time.time() - REFRESH_AFTER:
                os.utime(path)
        return
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _replace(path, data, mode, sync=sync)
    except OSError as error:
        raise _failure("write", path, error) from error


def _replace(path: Path, data: bytes, mode: int, *, sync: bool) -> None:
    """Write a file so that at any time either the old or the new content is there, whole."""
    temporary = path.with_name(f"{path.name}.new")
    temporary.unlink(missing_ok=True)
    try:
        with open(temporary, "xb", opener=lambda file, flags: os.open(file, flags, mode)) as file:
            file.write(data)
            file.flush()
            if sync:
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    if sync and sys.platform != "win32":
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _delete_older_files(paths: list[Path], limit: float) -> None:
    for path in paths:
        try:
            if path.stat().st_mtime < limit:
                path.unlink()
        except FileNotFoundError:
            pass
        except OSError as error:
            raise _failure("delete", path, error) from error


def _make_file_private(path: Path) -> None:
    with contextlib.suppress(OSError):  # it may be somebody else's file
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            path.chmod(0o600)


def _failure(verb: str, path: Path, error: OSError) -> StorageError:
    return StorageError(f"cannot {verb} {path}: {error.strerror}")


_read = aiofiles.os.wrap(_read_file)
_save = aiofiles.os.wrap(_save_file)
_delete_older = aiofiles.os.wrap(_delete_older_files)
_make_private = aiofiles.os.wrap(_make_file_private)
