"""ICMP echo as a coroutine."""

from __future__ import annotations

from zt_async.aio.driver import Driver

MAX_SIZE = 65_527  # an IPv6 payload without the header of ICMP
MAX_IPV4_SIZE = MAX_SIZE - 20  # IPv4 counts its own header


async def ping(driver: Driver, host: str, size: int) -> float:
    """The round trip in seconds. Raises OSError, and ValueError for a size that no packet has."""
    largest = MAX_SIZE if ":" in host else MAX_IPV4_SIZE
    if not 0 <= size <= largest:
        raise ValueError(f"a ping has 0 to {largest} bytes, not {size}")
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
