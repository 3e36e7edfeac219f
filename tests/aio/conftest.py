import asyncio
import functools
import os
import subprocess
import sys
import textwrap

import pytest
import pytest_asyncio

from zt_async.crypto.identity import Identity
from zt_async.testing import VirtualLoop, private_world

from .places import LOOPS, place_of_this_loop, turns

REAL_TIME_LIMIT = 60.0  # s; only what hangs takes so long


def pytest_asyncio_loop_factories(config, item):
    """The loops that a test may name; see ``places.on``."""
    marker = item.get_closest_marker("asyncio")
    if marker is not None and "loop_factories" in marker.kwargs:
        return LOOPS
    return {"asyncio": asyncio.new_event_loop}


@pytest.fixture(autouse=True, scope="session")
def proofs_of_work():
    """Each identity's is checked once: without the extension it takes a second."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Identity, "validate", functools.cache(Identity.validate))
        yield


def give_up():
    """A signal's exception would only end a callback."""
    for task in asyncio.all_tasks():
        task.cancel("this test takes too long")


@pytest_asyncio.fixture
async def reports():
    """What was reported to the loop's exception handler. A test that expects something clears the list.

    At its end no task may be left.
    """
    found = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: found.append(context))
    before = asyncio.all_tasks()
    watchdog = loop.call_later(REAL_TIME_LIMIT, give_up) if not isinstance(loop, VirtualLoop) else None
    yield found
    if watchdog is not None:
        watchdog.cancel()
    await turns(20)
    assert asyncio.all_tasks() - before - {asyncio.current_task()} == set()
    assert found == []


@pytest_asyncio.fixture
async def place(reports):
    """Two ends of a network; see ``places``."""
    async with place_of_this_loop() as place:
        yield place


@pytest_asyncio.fixture
async def world(reports):
    """A private world of two members."""
    async with private_world(2) as world:
        yield world


@pytest_asyncio.fixture
async def bare_world(reports):
    """A private world with a root and nobody else yet."""
    async with private_world(0) as world:
        yield world


@pytest.fixture
def in_new_network_namespace():
    """Runs a Python script in a network namespace of its own; gives the lines that it prints."""
    command = ["unshare", "--net", *([] if os.getuid() == 0 else ["--map-root-user"])]
    try:
        subprocess.run([*command, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        if os.environ.get("CI"):
            pytest.fail(f"this has to run in CI, but there are no network namespaces: {error}")
        pytest.skip("no network namespaces here")

    def run(script):
        script = [sys.executable, "-c", textwrap.dedent(script)]
        done = subprocess.run([*command, *script], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    return run
