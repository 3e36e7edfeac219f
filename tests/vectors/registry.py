"""Which function checks which kind of test vectors.

A kind is the stem of a file's name. Its check gets one case and the file's explanation of the keys, and raises
AssertionError where anything that the case states does not hold.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

Case: TypeAlias = dict[str, Any]
Check: TypeAlias = Callable[[Case, dict[str, str]], None]

_checks: dict[str, Check] = {}


def vector_kind(name: str) -> Callable[[Check], Check]:
    """Register the decorated function as the check of one kind."""

    def register(check: Check) -> Check:
        assert name not in _checks, f"{name} has two checks"
        _checks[name] = check
        return check

    return register


def assert_refused(error: type[Exception], function: Callable[..., object], *arguments: object) -> None:
    """Assert that a call raises ``error``. (``pytest.raises`` fails with what is no Exception.)"""
    try:
        function(*arguments)
    except error:
        return
    raise AssertionError(f"not refused by {function.__qualname__}")


def known_kinds() -> dict[str, Check]:
    """Every kind with its check. A module of this package whose name ends in ``_kinds`` brings its own."""
    package = Path(__file__).parent
    for module in pkgutil.iter_modules([str(package)]):
        if module.name.endswith("_kinds"):
            importlib.import_module(f"{__package__}.{module.name}")
    return _checks
