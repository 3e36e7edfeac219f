"""The right to be online with an identity: one holder at a time, for as long as it renews.

Two clocks are at work. The database decides by its own when a lease is free again. The holder counts from the
moment before it asked, on a clock of its own that also runs while the machine sleeps; so, as long as the two
run at about the same speed, its deadline is never later than the database's.
"""

from __future__ import annotations

import asyncio
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from zt_async.crypto.identity import Identity
from zt_async.errors import StoreError
from zt_async.types import NodeAddress

T = TypeVar("T")

DRIFT = 0.05  # of a lease's time: the difference in speed that the two clocks may have


@dataclass(slots=True, eq=False)
class Lease:
    """The right to be online with ``identity`` until ``deadline``, which each renewal moves."""

    identity: Identity
    token: int
    """The number of this turn of holding it; goes with every commit as its ``fence``."""
    deadline: float = field(repr=False)
    """Seconds on ``lease_clock``; infinite where the end of the process is what ends the lease."""

    @property
    def remaining(self) -> float:
        """Seconds that are left, 0 at the end."""
        return max(self.deadline - lease_clock(), 0.0)

    @property
    def is_valid(self) -> bool:
        return lease_clock() < self.deadline


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityStatus:
    """An identity in a database, without its secret."""

    identity: Identity
    """The public one."""
    holder: str | None
    """Host and process of whom it is online with, None while it is free."""
    remaining: float | None
    """Seconds until the lease ends if it is not renewed; None where only the end of its process ends it."""


class Leases(Protocol):
    """What a store offers whose identities several processes share. All raise StoreError for what does not work."""

    async def add_identity(self, identity: Identity) -> None:
        """Keep an identity with its secret; having it already is no error. Raises IdentityError without a secret."""

    async def remove_identity(self, address: NodeAddress) -> bool:
        """Forget an identity and end its lease; False if there is none. Its networks stay.

        Its holder notices when it next renews. Added again, the identity is nobody's before that is sure to be over.
        """

    async def identities(self) -> list[IdentityStatus]:
        """All identities, by address."""

    async def acquire(self, address: NodeAddress | None = None) -> Lease:
        """Wait until that identity (or, with None, any) is free, and take it."""

    async def renew(self, lease: Lease) -> None:
        """Move the deadline. Raises FenceLost when the identity has been another's since."""

    async def release(self, lease: Lease) -> None:
        """Give the identity up, for another to take at once. A lease that has ended is no error."""


async def take(
    taking: Coroutine[Any, Any, T], release: Callable[[Lease], Awaitable[None]], patience: float | None
) -> T:
    """What ``taking`` gives; if that is a lease, and the caller was cancelled meanwhile, it is given up again.

    That is waited for as many seconds as ``patience``, None for as long as it takes.
    """
    task = asyncio.ensure_future(taking)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        with suppress(StoreError, TimeoutError):
            async with asyncio.timeout(patience):
                found = await task
                if isinstance(found, Lease):
                    await release(found)
        raise


def _find_clock() -> Callable[[], float]:
    if hasattr(time, "CLOCK_BOOTTIME"):
        clock = time.CLOCK_BOOTTIME  # Linux: CLOCK_MONOTONIC stands still in suspend
    elif sys.platform == "darwin":
        clock = time.CLOCK_MONOTONIC  # there, time.monotonic is another clock, which stands still
    else:
        return time.monotonic
    gettime = time.clock_gettime
    return lambda: gettime(clock)


lease_clock: Callable[[], float] = _find_clock()
"""Seconds on a clock that never goes back and runs on while the machine sleeps."""


def holder_name(process: int) -> str:
    """How the holder of a lease is called, for people."""
    return f"{socket.gethostname()} process {process}"
