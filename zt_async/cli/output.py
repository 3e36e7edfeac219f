"""What commands show: tables for people, JSON for programs."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterable, Sequence

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

WIDE = 10_000  # columns where nobody looks: programs get whole lines


def show_json(value: object) -> None:
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


def show_table(columns: Sequence[str], rows: Iterable[Sequence[object]], empty: str) -> None:
    """A table, or the text ``empty`` where there are no rows."""
    table = Table(*columns, box=box.SIMPLE_HEAD, pad_edge=False)
    for row in rows:
        table.add_row(*(cell if isinstance(cell, Text) else Text(_text(cell)) for cell in row))
    if table.row_count:
        _print(table)
    else:
        typer.echo(empty)


def show_facts(facts: Iterable[tuple[str, object]]) -> None:
    """Names and values, a line each."""
    table = Table(show_header=False, box=None, pad_edge=False)
    for name, value in facts:
        table.add_row(Text(name, "bold"), Text(_text(value)))
    _print(table)


def colored(word: str, *, good: bool) -> Text:
    return Text(word, "green" if good else "yellow")


def _text(value: object) -> str:
    match value:
        case None | "":
            return "-"
        case bool():
            return "yes" if value else "no"
        case list() | tuple():
            return "\n".join(_text(each) for each in value) or "-"
    return str(value)


def _print(table: Table) -> None:
    """Programs get whole lines, of words alone."""
    if sys.stdout.isatty():
        Console(highlight=False).print(table)
        return
    console = Console(file=io.StringIO(), width=WIDE, highlight=False)
    with console.capture() as captured:
        console.print(table)
    typer.echo("\n".join(line.rstrip() for line in captured.get().split("\n")).strip("\n"))
