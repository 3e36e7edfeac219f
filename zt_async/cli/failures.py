"""Mistakes and failures, told in a line."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup

from zt_async.errors import ZeroTierError


class Failure(Exception):
    """What was to be done was not done; the text says why, and what to do."""


class Commands(TyperGroup):
    """All commands: their failures are told on standard error, and end them with status 1."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise  # nobody reads any more, which needs no words
        except (Failure, ZeroTierError, OSError) as error:
            typer.echo(f"zt: {error}", err=True)
            raise typer.Exit(1) from None
