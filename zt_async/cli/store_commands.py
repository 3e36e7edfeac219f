"""``zt controller`` itself, and commands on its store, which need no controller that runs."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zt_async.aio.stores.directory import export_directory, import_directory
from zt_async.aio.stores.place import store_at
from zt_async.aio.stores.sqlite import SqliteStore
from zt_async.cli.failures import Failure
from zt_async.cli.options import AsJson, Member, Store, node_address, takes
from zt_async.cli.output import show, show_json, table
from zt_async.cli.run import Options, options, run, run_node, run_standby
from zt_async.crypto.identity import Identity
from zt_async.types import NodeAddress

if TYPE_CHECKING:
    from zt_async.aio.stores.postgres import PostgresStore


@takes(options)
def controller(
    chosen: Options,
    context: typer.Context,
    store: Annotated[
        str | None,
        typer.Option(metavar="PLACE", help="Where records are kept: an SQLite file, or postgresql://..."),
    ] = None,
    standby: Annotated[
        bool, typer.Option("--standby", help="Be a controller of the store when no other process is it.")
    ] = False,
    identity: Annotated[
        str | None,
        typer.Option(
            parser=node_address, metavar="ADDRESS", help="With --standby: this controller, instead of any."
        ),
    ] = None,
) -> None:
    """Run a controller with its API until it is interrupted; or, with a command, do something with one."""
    if context.invoked_subcommand is not None:
        _refuse_options(context, context.invoked_subcommand)
        return
    if store is None:
        raise typer.BadParameter(
            "--store says where networks are kept: --store networks.db, or --store postgresql://..."
        )
    if identity is not None and not standby:
        raise typer.BadParameter("--identity goes with --standby; without it the identity is that of --home")
    run(_run_standby(store, identity, chosen) if standby else run_node(chosen, store))


def _refuse_options(context: typer.Context, command: str) -> None:
    """Options before a command are not its own: it would ask another node, or another store, than was meant."""
    for parameter in context.command.params:
        source = context.get_parameter_source(parameter.name or "")
        if source is not None and source.name == "COMMANDLINE":
            option = parameter.opts[0]
            raise typer.BadParameter(f"{option} goes after the command: zt controller {command} {option} ...")


async def _run_standby(store: str, identity: str | None, chosen: Options) -> None:
    async with opened(store) as records:
        known = [str(status.identity.address) for status in await records.identities()]
    if identity is None and not known:
        raise Failure("the store has no identity to be online with; 'zt controller add-identity' adds one")
    if identity is not None and identity not in known:
        raise Failure(f"the store has no identity {identity}; 'zt controller identities' lists those it has")
    await run_standby(chosen, store, identity)


@asynccontextmanager
async def opened(place: str) -> AsyncIterator[SqliteStore | PostgresStore]:
    """A store, open for the block. Raises StoreError."""
    store = store_at(place)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


def import_(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The controller.d of a zerotier-one.")],
    store: Store,
    as_json: AsJson = False,
) -> None:
    """Take over the networks and members of a controller.d folder, all or none."""

    async def work() -> None:
        async with opened(store) as records:
            imported = await import_directory(records, folder)
        if as_json:
            counts = {"networks": imported.networks, "members": imported.members}
            show_json({**counts, "ignored": imported.ignored})
            return
        show(f"imported {imported.networks} networks with {imported.members} members")
        for name in imported.ignored:
            typer.echo(f"passed over {name}", err=True)

    run(work())


def export(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder that is not there yet.")],
    address: Member,
    store: Store,
) -> None:
    """Write the networks and members of the controller ADDRESS as a controller.d folder."""

    async def work() -> None:
        controller = NodeAddress.parse(address)
        async with opened(store) as records:
            found = await records.load(controller)
            if not found.networks:
                raise Failure(f"the store has no networks of {address}")
            await export_directory(records, controller, folder)
        show(f"exported {len(found.networks)} networks with {len(found.members)} members")

    run(work())


def identities(store: Store, as_json: AsJson = False) -> None:
    """List the controllers of a store, and who is online as which."""

    async def work() -> None:
        async with opened(store) as records:
            found = await records.identities()
        if as_json:
            show_json(
                [
                    {
                        "address": str(status.identity.address),
                        "identity": str(status.identity),
                        "holder": status.holder,
                        "remaining": status.remaining,
                    }
                    for status in found
                ]
            )
            return
        rows = [
            (
                status.identity.address,
                status.holder,
                None if status.remaining is None else f"{status.remaining:.1f} s",
            )
            for status in found
        ]
        none = "there are no identities; 'zt controller add-identity' adds one"
        show(table(("controller", "online in", "for at least"), rows, none))

    run(work())


def add_identity(
    store: Store,
    file: Annotated[
        Path | None,
        typer.Argument(metavar="[FILE]", help="An identity.secret; without it a new one is made."),
    ] = None,
) -> None:
    """Keep the identity of a controller in a store, for processes that run with --standby."""

    async def work() -> None:
        if file is None:
            identity = await asyncio.to_thread(Identity.generate, secrets.token_bytes)
        else:
            identity = Identity.parse(await asyncio.to_thread(file.read_text, "ascii", "replace"))
        async with opened(store) as records:
            await records.add_identity(identity)
        typer.echo(str(identity.address))

    run(work())


def remove_identity(address: Member, store: Store) -> None:
    """Forget the identity of a controller, which goes offline. Its networks stay in the store."""

    async def work() -> None:
        async with opened(store) as records:
            if not await records.remove_identity(NodeAddress.parse(address)):
                raise Failure(f"{address} is not in the store")
        show(f"{address} is not in the store any more")

    run(work())
