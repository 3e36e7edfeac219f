"""A lock that at most one process has, and that ends with it, however it ends."""

from __future__ import annotations

import os
import sys
from pathlib import Path


class LockTaken(Exception):
    """Somebody else has the lock; the text says which process."""


class FileLock:
    """An exclusive lock on a file, which is made if it is missing, and stays."""

    def __init__(self, path: Path) -> None:
        """Take the lock. Raises LockTaken, also where it is somebody's in this process, and OSError."""
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            _lock(self._descriptor)
        except BlockingIOError as error:
            owner = os.read(self._descriptor, 20).decode("ascii", "replace").strip() or "unknown"
            os.close(self._descriptor)
            raise LockTaken(f"process {owner}") from error
        except OSError:
            os.close(self._descriptor)
            raise
        os.truncate(self._descriptor, 0)
        os.write(self._descriptor, b"%d\n" % os.getpid())

    def release(self) -> None:
        _unlock(self._descriptor)  # a forked child may have the descriptor too
        os.close(self._descriptor)


if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> None:
        """Raises BlockingIOError if somebody else has the lock."""
        os.lseek(descriptor, 1 << 20, os.SEEK_SET)  # locked bytes cannot be read, so not those of the text
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except PermissionError as error:
            raise BlockingIOError(error.errno, error.strerror) from error
        finally:
            os.lseek(descriptor, 0, os.SEEK_SET)

    def _unlock(descriptor: int) -> None:
        os.lseek(descriptor, 1 << 20, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _lock(descriptor: int) -> None:
        """Raises BlockingIOError if somebody else has the lock, be it in this process."""
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _unlock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_UN)
