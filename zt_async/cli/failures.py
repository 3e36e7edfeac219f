"""Mistakes and failures, told in a line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import typer

from zt_async.errors import ZeroTierError


class Failure(Exception):
    """What was to be done was not done; the text says why, and what to do."""


@contextmanager
def told() -> Iterator[None]:
    """Failures of the block are told on standard error, and end the command with status 1."""
    try:
        yield
    except (Failure, ZeroTierError, OSError) as error:
        typer.echo(f"zt: {error}", err=True)
        raise typer.Exit(1) from None
