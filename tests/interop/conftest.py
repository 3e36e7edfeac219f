"""What the tests with real peers need of the machine: without it they are skipped, and in CI they fail.

A module with ``WORLDS``, the names of its worlds, and ``start_world(name, stack)`` gets them as ``worlds``, by name;
tests that take a ``world`` run in each. They start side by side, as nearly all of a libzt node's first seconds is
waiting.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from . import wheels
from .namespaces import Lab, LabUnavailable


def unavailable(reason: LabUnavailable) -> None:
    if os.environ.get("CI"):
        pytest.fail(str(reason))
    pytest.skip(str(reason))


@pytest.fixture(scope="session")
def network_namespaces() -> None:
    """Namespaces can be made here."""
    try:
        with Lab("probe"):
            pass
    except LabUnavailable as e:
        unavailable(e)


@pytest.fixture(scope="session")
def libzt(network_namespaces: None) -> None:
    """Both wheels are here and can be driven."""
    try:
        for version in wheels.WHEELS:
            wheels.libzt(version)
        wheels.lab_library()
    except LabUnavailable as e:
        unavailable(e)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def worlds(request: pytest.FixtureRequest, libzt: None) -> AsyncIterator[dict[str, Any]]:
    module = request.module
    async with contextlib.AsyncExitStack() as stack:
        started = await asyncio.gather(*(module.start_world(name, stack) for name in module.WORLDS))
        yield dict(zip(module.WORLDS, started, strict=True))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "world" in metafunc.fixturenames:
        metafunc.parametrize("world", metafunc.module.WORLDS, indirect=True)


@pytest.fixture
def world(request: pytest.FixtureRequest, worlds: dict[str, Any]) -> Any:
    return worlds[request.param]
