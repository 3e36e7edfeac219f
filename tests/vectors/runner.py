"""Checks the cases of one file of test vectors."""

from __future__ import annotations

import json
import traceback
from dataclasses import dataclass, field
from pathlib import Path

from tests.vectors.registry import Check


@dataclass
class Outcome:
    """How the cases of one file did; ``failures`` is a text for each."""

    passed: int = 0
    failures: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{self.passed} passed, {len(self.failures)} failed"


def check_file(path: Path, check: Check) -> Outcome:
    """Run every case of a file. A file that is no vector file has one failure."""
    outcome = Outcome()
    try:
        content = json.loads(path.read_text("utf-8"))
        fields, cases = content["fields"], content["cases"]
        names = [case["name"] for case in cases]
    except (OSError, ValueError, KeyError, TypeError) as error:
        outcome.failures.append(f"{path.name}: not a file of test vectors: {error!r}")
        return outcome
    for name, case in zip(names, cases, strict=True):
        try:
            check(case, fields)
        except Exception as error:  # whatever goes wrong in a case is that case's failure
            outcome.failures.append(f"{path.stem}/{name}: {_explain(error)}")
        else:
            outcome.passed += 1
    return outcome


def _explain(error: Exception) -> str:
    """The error, and the line of the check where it appeared."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{Path(frame.filename).name}:{frame.lineno}"
    if isinstance(error, AssertionError):
        return f"{str(error) or f'does not hold: {frame.line}'} ({where})"
    return f"{error!r} ({where})"
