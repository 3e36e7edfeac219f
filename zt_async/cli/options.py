"""Options and arguments that several commands have."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple, TypeAlias

import typer

from zt_async.service.call import parse_moon_id
from zt_async.types import NetworkId, NodeAddress

DEFAULT_HOME: Final = Path(os.environ.get("XDG_DATA_HOME") or "~/.local/share") / "zt_async"
DEFAULT_API: Final = "127.0.0.1:9993"


def takes(gather: Callable[..., object]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A command whose first argument is what ``gather`` makes of options, which come after those of its own."""

    def decorate(work: Callable[..., None]) -> Callable[..., None]:
        options = inspect.signature(gather, eval_str=True).parameters

        @functools.wraps(work)
        def command(**given: Any) -> None:
            gathered = gather(**{name: given.pop(name) for name in options})
            work(gathered, **given)

        _, *own = inspect.signature(work, eval_str=True).parameters.values()
        parameters = [each.replace(kind=each.KEYWORD_ONLY) for each in (*own, *options.values())]
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {each.name: each.annotation for each in parameters}  # typer reads both
        return command

    return decorate


class Change(NamedTuple):
    """A setting and its value, from KEY=VALUE."""

    key: str
    value: Any


def parse_place(text: str) -> tuple[str, int]:
    """The host and the port of HOST:PORT, where an IPv6 address is in brackets. Raises BadParameter."""
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif set(host) & set("[:] /"):
        host = ""
    if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > 0xFFFF:
        raise typer.BadParameter(f"{text!r} is not HOST:PORT, such as {DEFAULT_API} or [::1]:9993")
    return host, int(port)


def _checked(parse: Callable[[str], object]) -> Callable[[str], str]:
    """Text as ZeroTier writes it. Raises BadParameter for what is none."""

    def read(text: str) -> str:
        try:
            return str(parse(text))
        except ValueError as error:
            raise typer.BadParameter(str(error)) from None

    return read


def _moon_text(text: str) -> str:
    """The ten digits that zerotier-one takes, where they are enough."""
    moon_id = parse_moon_id(text)
    return f"{moon_id:010x}" if moon_id < 1 << 40 else f"{moon_id:016x}"


network_id: Final = _checked(NetworkId.parse)
node_address: Final = _checked(NodeAddress.parse)
moon_id: Final = _checked(_moon_text)

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
    str, typer.Argument(parser=network_id, metavar="NETWORK", help="The ID of a network.")
]
Member: TypeAlias = Annotated[
    str, typer.Argument(parser=node_address, metavar="ADDRESS", help="The address of a node.")
]
Members: TypeAlias = Annotated[
    list[str], typer.Argument(parser=node_address, metavar="ADDRESS...", help="Addresses of nodes.")
]
Moon: TypeAlias = Annotated[
    str, typer.Argument(parser=moon_id, metavar="MOON", help="The ID of a moon: ten digits, or all sixteen.")
]
Store: TypeAlias = Annotated[
    str,
    typer.Option(
        "--store",
        metavar="PLACE",
        help="Where networks and members are kept: an SQLite file, or postgresql://...",
    ),
]
