"""``zt rules``: the rule language. vl2.md 9."""

from __future__ import annotations

import sys
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from zt_async.cli.failures import Failure
from zt_async.cli.output import show, show_json, table
from zt_async.controller.rule_language import CompiledRules, compile_rules
from zt_async.errors import RuleLanguageError

app = typer.Typer(no_args_is_help=True, help="Rules of networks.")

RulesFile = Annotated[
    Path, typer.Argument(metavar="FILE", help="A text in the rule language; - is standard input.")
]


class Form(Enum):
    JSON = "json"
    TABLE = "table"


@app.callback()
def rules() -> None:
    """Rules of networks."""


@app.command("compile")
def compile_(
    file: RulesFile,
    output: Annotated[Form, typer.Option("--output", "-o", help="What to show.")] = Form.JSON,
) -> None:
    """Compile rules to the JSON that controllers take."""
    compiled = compile_file(file)
    if output is Form.JSON:
        show_json(compiled.to_json())
    else:
        _show_tables(compiled)


def compile_file(file: Path) -> CompiledRules:
    """Compile a file. Raises Failure, OSError."""
    name = "standard input" if str(file) == "-" else str(file)
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text("utf-8-sig")
        return compile_rules(text)
    except UnicodeDecodeError as error:
        raise Failure(f"{name} is not UTF-8: {error.reason} at byte {error.start}") from None
    except RuleLanguageError as error:
        raise Failure(f"{name}, {error}") from None


def _show_tables(compiled: CompiledRules) -> None:
    _show_rules("rules", compiled.rules)
    names = {number: name for name, number in compiled.capabilities_by_name.items()}
    for capability in compiled.capabilities:
        default = ", by default" if capability["default"] else ""
        _show_rules(
            f"capability {names[capability['id']]} ({capability['id']}{default})", capability["rules"]
        )
    rows = [
        (name, tag["id"], tag["default"], [f"{word} = {value}" for word, value in _words(tag)])
        for name, tag in compiled.tags_by_name.items()
    ]
    show(table(("tag", "ID", "default", "values"), rows, ""))


def _words(tag: dict[str, Any]) -> list[tuple[str, int]]:
    return [*tag["enums"].items(), *tag["flags"].items()]


def _show_rules(title: str, rules: list[dict[str, Any]]) -> None:
    show(title)
    rows = [_row(n, rule) for n, rule in enumerate(rules)]
    show(table(("", "or", "not", "rule", "of"), rows, "  none\n"))


def _row(number: int, rule: dict[str, Any]) -> tuple[object, ...]:
    fields = {key: value for key, value in rule.items() if key not in ("type", "not", "or")}
    return (
        number,
        "or" if rule.get("or") else " ",
        "not" if rule.get("not") else " ",
        rule["type"],
        ", ".join(f"{key} {value}" for key, value in fields.items()) or " ",
    )
