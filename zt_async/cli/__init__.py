"""The ``zt`` command."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command; says what to install where something is missing."""
    try:
        from zt_async.cli.app import app
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in ("aiohttp", "rich", "typer"):
            raise
        sys.exit(f"zt needs {error.name}: pip install 'zt-async[cli]'")
    app()
