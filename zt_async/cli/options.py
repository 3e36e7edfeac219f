"""Options and arguments that several commands have."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Final, TypeAlias

import typer

from zt_async.types import NetworkId, NodeAddress

DEFAULT_HOME: Final = Path(os.environ.get("XDG_DATA_HOME") or "~/.local/share") / "zt_async"
DEFAULT_API: Final = "127.0.0.1:9993"


def parse_place(text: str) -> tuple[str, int]:
    """The host and the port of HOST:PORT, where an IPv6 address is in brackets. Raises BadParameter."""
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]") if host.startswith("[") else host
    if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > 0xFFFF:
        raise typer.BadParameter(f"{text!r} is not HOST:PORT, such as {DEFAULT_API} or [::1]:9993")
    return host, int(port)


def _network_id(text: str) -> str:
    try:
        return str(NetworkId.parse(text))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def _node_address(text: str) -> str:
    try:
        return str(NodeAddress.parse(text))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


Home: TypeAlias = Annotated[
    Path,
    typer.Option(
        "--home", "-D", envvar="ZT_HOME", show_default=True, help="The folder of the node.", metavar="DIR"
    ),
]
Api: TypeAlias = Annotated[
    str | None,
    typer.Option("--api", metavar="HOST:PORT", help="Where the API is, if not where the folder says."),
]
Token: TypeAlias = Annotated[
    str | None,
    typer.Option("--token", "-T", envvar="ZT_TOKEN", help="The token of the API, if not that of the folder."),
]
AsJson: TypeAlias = Annotated[bool, typer.Option("--json", "-j", help="Show the JSON that the API answers.")]
Network: TypeAlias = Annotated[
    str, typer.Argument(parser=_network_id, metavar="NETWORK", help="The ID of a network.")
]
Member: TypeAlias = Annotated[
    str, typer.Argument(parser=_node_address, metavar="ADDRESS", help="The address of a node.")
]
Members: TypeAlias = Annotated[
    list[str], typer.Argument(parser=_node_address, metavar="ADDRESS...", help="Addresses of nodes.")
]
Store: TypeAlias = Annotated[
    str,
    typer.Option(
        "--store",
        metavar="PLACE",
        help="Where networks and members are kept: an SQLite file, or postgresql://...",
    ),
]
