"""ICMP echo as a coroutine."""

from __future__ import annotations

from zt_async.aio.driver import Driver

MAX_SIZE = 65_527  # an IPv6 payload without the header of ICMP


async def ping(driver: Driver, host: str, size: int) -> float:
    """The round trip in seconds. Raises OSError, and ValueError for a size that no packet has."""
    if not 0 <= size <= MAX_SIZE:
        raise ValueError(f"a ping has 0 to {MAX_SIZE} bytes, not {size}")
    core = driver.core
    echo = core.stack.ping(host, core.context.random_bytes(size), now=driver.now())

    def is_answered() -> bool:
        if echo.error is not None:
            raise echo.error
        return echo.rtt is not None

    try:
        await driver.wait(echo, is_answered)
    finally:
        echo.cancel()
    assert echo.rtt is not None
    return echo.rtt
