"""What commands show: tables for people, JSON for programs."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterable, Sequence
from typing import TypeAlias

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

WIDE = 10_000  # columns where nobody looks: programs get whole lines

View: TypeAlias = Table | str
"""What is shown to people."""


def show_json(value: object) -> None:
    text = json.dumps(value, indent=2, ensure_ascii=False)
    typer.echo(text if _is_plain(text) else json.dumps(value, indent=2))


def show(view: View) -> None:
    """Show it; programs get whole lines, of words alone."""
    if isinstance(view, str):
        text = "\n".join(map(_plain, view.split("\n")))
    elif sys.stdout.isatty():
        Console(highlight=False).print(view)
        return
    else:
        console = Console(file=io.StringIO(), width=WIDE, highlight=False)
        with console.capture() as captured:
            console.print(view)
        text = "\n".join(line.rstrip() for line in captured.get().split("\n")).strip("\n")
    if text:
        typer.echo(text)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], empty: str) -> View:
    """A table, or the text ``empty`` where there are no rows."""
    found = Table(*columns, box=box.SIMPLE_HEAD, pad_edge=False)
    for row in rows:
        found.add_row(*map(_cell, row))
    return found if found.row_count else empty


def facts(pairs: Iterable[tuple[str, object]]) -> View:
    """Names and values, a line each."""
    found = Table(show_header=False, box=None, pad_edge=False)
    for name, value in pairs:
        found.add_row(Text(name, "bold"), _cell(value))
    return found


def colored(word: str, *, good: bool) -> Text:
    return Text(_plain(word), "green" if good else "yellow")


def _cell(value: object) -> Text:
    return value if isinstance(value, Text) else Text(_text(value))


def _text(value: object) -> str:
    match value:
        case None | "":
            return "-"
        case bool():
            return "yes" if value else "no"
        case list() | tuple():
            return "\n".join(_text(each) for each in value) or "-"
    return _plain(str(value))


def _plain(text: str) -> str:
    """Names come from others: nothing in them is a command to the terminal."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def _is_plain(text: str) -> bool:
    return all(line.isprintable() for line in text.split("\n"))
