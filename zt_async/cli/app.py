"""The commands by name."""

from __future__ import annotations

from typing import Annotated

import typer

from zt_async import __version__
from zt_async.cli import controller_commands, node_commands, rules_commands, run, store_commands
from zt_async.cli.failures import Commands

app = typer.Typer(cls=Commands, no_args_is_help=True, pretty_exceptions_enable=False)
controller = typer.Typer()


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def zt(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version, and end."),
    ] = False,
) -> None:
    """ZeroTier in Python: run nodes and controllers, and look after those that run."""


app.command("node")(run.node)
app.command("status")(node_commands.status)
app.command("info", hidden=True)(node_commands.status)
app.command("peers")(node_commands.peers)
app.command("networks")(node_commands.networks)
app.command("join")(node_commands.join)
app.command("leave")(node_commands.leave)
app.command("get")(node_commands.get)
app.command("set")(node_commands.set_)
app.command("moons")(node_commands.moons)
app.command("orbit")(node_commands.orbit)
app.command("deorbit")(node_commands.deorbit)
for alias, command in (
    ("listpeers", node_commands.peers),
    ("listnetworks", node_commands.networks),
    ("listmoons", node_commands.moons),
):
    app.command(alias, hidden=True)(command)  # as zerotier-cli calls them

app.add_typer(rules_commands.app, name="rules")

app.add_typer(controller, name="controller", callback=store_commands.controller, invoke_without_command=True)
controller.command("networks")(controller_commands.networks)
controller.command("network")(controller_commands.network)
controller.command("create")(controller_commands.create)
controller.command("set")(controller_commands.set_)
controller.command("rules")(controller_commands.set_rules)
controller.command("delete")(controller_commands.delete)
controller.command("members")(controller_commands.members)
controller.command("member")(controller_commands.member)
controller.command("authorize")(controller_commands.authorize)
controller.command("deauthorize")(controller_commands.deauthorize)
controller.command("forget")(controller_commands.forget)
controller.command("import")(store_commands.import_)
controller.command("export")(store_commands.export)
controller.command("identities")(store_commands.identities)
controller.command("add-identity")(store_commands.add_identity)
controller.command("remove-identity")(store_commands.remove_identity)
