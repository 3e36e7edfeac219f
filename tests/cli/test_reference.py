"""The page on the command has every command."""

from pathlib import Path

import typer

from zt_async.cli.app import app, controller
from zt_async.cli.rules_commands import app as rules

PAGE = (Path(__file__).parents[2] / "docs/reference/cli.md").read_text("utf-8")


def names(group: typer.Typer, prefix: str) -> list[str]:
    return [f"{prefix} {command.name}" for command in group.registered_commands if not command.hidden]


def test_every_command_is_described():
    commands = [*names(app, "zt"), *names(controller, "zt controller"), *names(rules, "zt rules")]
    assert len(commands) > 25
    assert [command for command in commands if f"`{command}" not in PAGE] == []
