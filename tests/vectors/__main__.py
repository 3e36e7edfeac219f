"""``python -m tests.vectors DIR`` checks every file of test vectors in DIR, and says how each did."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.vectors.registry import known_kinds
from tests.vectors.runner import check_file


def main(arguments: list[str]) -> int:
    """The command line; returns the exit status: 0, 1 if a case failed, 2 for no folder with vectors."""
    if len(arguments) != 1:
        print("usage: python -m tests.vectors DIR", file=sys.stderr)
        return 2
    folder = Path(arguments[0])
    try:
        files = sorted(path for path in folder.iterdir() if path.suffix == ".json")
    except OSError as error:
        print(f"cannot read the folder {folder}: {error.strerror}", file=sys.stderr)
        return 2
    if not files:
        print(f"there are no test vectors (*.json) in {folder}", file=sys.stderr)
        return 2
    kinds = known_kinds()
    failed = False
    for path in files:
        check = kinds.get(path.stem)
        if check is None:
            print(f"{path.stem}: unknown kind, not checked", flush=True)
            continue
        outcome = check_file(path, check)
        print(f"{path.stem}: {outcome}", flush=True)
        for failure in outcome.failures:
            print(failure, file=sys.stderr)
        failed = failed or bool(outcome.failures)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
