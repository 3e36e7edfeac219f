"""What the tests with real peers need of the machine: without it they are skipped, and in CI they fail."""

from __future__ import annotations

import os

import pytest

from . import wheels
from .namespaces import Lab, LabUnavailable


def unavailable(reason: LabUnavailable) -> None:
    if os.environ.get("CI", "").lower() in ("1", "true"):
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
