"""ICMP echo as a coroutine."""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING

from zt_async.stack.icmp import Ping

if TYPE_CHECKING:
    from zt_async.aio.node import Node


class _Waiting:
    """Owns a ping until its answer is there."""

    def __init__(self, ping: Ping, done: asyncio.Future[float]) -> None:
        self._ping = ping
        self._done = done
        ping.owner = self

    def on_ready(self) -> None:
        if self._done.done():
            return
        if self._ping.error is not None:
            self._done.set_exception(self._ping.error)
        elif self._ping.rtt is not None:
            self._done.set_result(self._ping.rtt)


async def ping(node: Node, host: str, size: int) -> float:
    """The round trip in seconds. Raises OSError."""
    echo = node.core.stack.ping(host, secrets.token_bytes(size), now=node.driver.now())
    done: asyncio.Future[float] = node.loop.create_future()
    waiting = _Waiting(echo, done)
    node.driver.schedule()
    waiting.on_ready()
    try:
        return await done
    finally:
        echo.owner = None
        echo.cancel()
