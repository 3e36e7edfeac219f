import asyncio
import contextvars
import socket

import pytest

from zt_async.testing import SimClock, VirtualLoop, run


def test_sleeping_takes_no_time():
    async def main():
        await asyncio.gather(*(asyncio.sleep(i) for i in range(1000)))
        await asyncio.sleep(7 * 86_400)
        return asyncio.get_running_loop().time()

    clock = SimClock(now=5.0)
    assert run(main(), clock, limit=1e6) == clock.now == pytest.approx(5 + 999 + 7 * 86_400)


def test_timers_fire_in_order_and_at_their_time():
    async def main():
        loop = asyncio.get_running_loop()
        fired = []
        for delay in (0.3, 0.1, 0.2, 0.1):
            loop.call_later(delay, lambda delay=delay: fired.append((delay, round(loop.time(), 9))))
        await asyncio.sleep(1)
        return fired

    assert run(main()) == [(0.1, 0.1), (0.1, 0.1), (0.2, 0.2), (0.3, 0.3)]


def test_timeouts_time_out():
    async def main():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(30):
                await asyncio.Event().wait()
        return asyncio.get_running_loop().time()

    assert run(main()) == 30


def test_a_deadlock_is_an_error_that_says_who_waits():
    cleaned_up = []

    async def inner():
        try:
            await asyncio.Event().wait()
        finally:
            cleaned_up.append(True)

    async def main():
        await asyncio.sleep(2.5)
        await asyncio.create_task(inner(), name="stuck")

    with pytest.raises(
        RuntimeError, match=r"deadlock at 2.500 s: nothing can wake .* stuck \(in Event.wait, line \d+"
    ):
        run(main())
    assert cleaned_up == [True]


def test_a_deadlock_of_what_is_awaitable_and_no_coroutine():
    class Awaitable:
        def __await__(self):
            return asyncio.Event().wait().__await__()

    async def main():
        await asyncio.ensure_future(Awaitable())

    with pytest.raises(RuntimeError, match=r"deadlock at .*_wrap_awaitable, line"):
        run(main())


def test_waiting_for_ever_while_other_things_happen_is_limited():
    async def tick():
        for _ in range(10_000):
            await asyncio.sleep(5)

    async def main():
        ticking = asyncio.create_task(tick())
        await asyncio.Event().wait()
        await ticking

    with pytest.raises(
        TimeoutError,
        match=r"not done after 3600.0 simulated seconds: .*in Event\.wait, line .*in sleep, line",
    ):
        run(main())


def test_the_limit_counts_from_the_start_of_the_loop():
    clock = SimClock(now=1e6)
    run(asyncio.sleep(99), clock, limit=100)
    with pytest.raises(TimeoutError):
        run(asyncio.sleep(101), clock, limit=100)


def test_what_is_for_threads_runs_in_the_loop_with_its_context():
    variable = contextvars.ContextVar("variable")

    async def main():
        variable.set(7)

        def work(x):
            return x, variable.get(), asyncio.get_running_loop()

        result = await asyncio.to_thread(work, 1)
        assert result == (1, 7, asyncio.get_running_loop())
        with pytest.raises(ZeroDivisionError):
            await asyncio.get_running_loop().run_in_executor(None, lambda: 1 / 0)

    run(main())


def test_sockets_work_within_the_process():
    async def main():
        a, b = socket.socketpair()
        reader, other = await asyncio.open_connection(sock=a)
        _, writer = await asyncio.open_connection(sock=b)
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"hello"
        for one in (writer, other):
            one.close()
            await one.wait_closed()

    run(main())


def test_results_and_errors_come_through():
    async def fail():
        raise KeyError("x")

    assert run(asyncio.sleep(1, "result")) == "result"
    with pytest.raises(KeyError):
        run(fail())


def test_a_loop_of_its_own_has_a_clock_of_its_own():
    loop = VirtualLoop()
    loop.run_until_complete(asyncio.sleep(3))
    assert loop.clock.now == loop.time() == 3
    loop.close()
