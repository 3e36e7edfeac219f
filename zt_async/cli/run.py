"""Commands that run until they are told to stop: a node, and a controller."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import sys
from collections.abc import AsyncIterator, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, TypeAlias, TypeVar

import typer

from zt_async.aio.controller import Controller
from zt_async.aio.node import Node
from zt_async.aio.standby import ControllerService
from zt_async.aio.start import start
from zt_async.aio.storage import FileStorage
from zt_async.aio.subscription import EventStream
from zt_async.cli.failures import Failure
from zt_async.cli.options import DEFAULT_API, DEFAULT_HOME, Home, parse_place, takes
from zt_async.config import NodeConfig
from zt_async.events import ControllerFailed
from zt_async.service import Service, serve
from zt_async.service.local_conf import parse_prefixes
from zt_async.types import IPNetwork

T = TypeVar("T")

Listen: TypeAlias = Annotated[
    str,
    typer.Option("--api", metavar="HOST:PORT", help="Where to serve the API; none serves none."),
]
Port: TypeAlias = Annotated[int, typer.Option(min=0, max=0xFFFF, help="UDP port; 0 picks one.")]
Planet: TypeAlias = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="The planet of a private world, instead of the public one."),
]
Bind: TypeAlias = Annotated[
    list[str] | None, typer.Option(metavar="IP", help="An address of this machine to use, instead of all.")
]
Loopback: TypeAlias = Annotated[
    bool, typer.Option("--allow-loopback-paths", help="Meet other nodes of this machine at 127.0.0.1.")
]
AllowFrom: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(metavar="IP/LENGTH", help="Let these machines use the API besides this one."),
]
Verbose: TypeAlias = Annotated[bool, typer.Option("--verbose", "-v", help="Tell what happens.")]
AsJson: TypeAlias = Annotated[bool, typer.Option("--json", "-j", help="Tell in JSON, a line for each event.")]


@dataclass(frozen=True, slots=True)
class Options:
    """How a node is to run."""

    home: Path
    api: tuple[str, int] | None
    planet: Path | None
    config: NodeConfig
    allow_from: tuple[IPNetwork, ...]
    as_json: bool
    verbose: bool

    def serve(self, node: Node, controller: Controller | None) -> AbstractAsyncContextManager[Service | None]:
        """The API of a node, where there is to be one; what belongs to it is in the folder itself."""
        if self.api is None:
            return nullcontext()
        host, port = self.api
        kept = FileStorage(self.home)
        return serve(
            node, controller, host=host, port=port, allow_management_from=self.allow_from, storage=kept
        )

    def start_logging(self) -> None:
        """On standard error."""
        logging.basicConfig(
            stream=sys.stderr,
            level=logging.INFO if self.verbose else logging.WARNING,
            format="%(asctime)s %(name)s: %(message)s",
        )

    def tell(self, text: str, **facts: object) -> None:
        """Say what happened, with everything that programs want to know."""
        typer.echo(json.dumps(facts) if self.as_json else text)


def options(
    home: Home = DEFAULT_HOME,
    api: Listen = DEFAULT_API,
    port: Port = 0,
    planet: Planet = None,
    bind: Bind = None,
    loopback: Loopback = False,
    allow_from: AllowFrom = None,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> Options:
    """Check and gather what a command line says. Raises BadParameter."""
    try:
        ips = tuple(str(ip_address(ip)) for ip in bind or ())
        config = NodeConfig(port=port, bind=ips, allow_loopback_paths=loopback)
        prefixes = parse_prefixes(allow_from or ())
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    place = None if api == "none" else parse_place(api)
    return Options(home.expanduser(), place, planet, config, prefixes, as_json, verbose)


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run to its end. Raises Failure for what was given wrong, and what ``work`` raises."""
    try:
        return asyncio.run(work)
    except (ValueError, ImportError) as error:
        raise Failure(str(error)) from None


@asynccontextmanager
async def until_stopped() -> AsyncIterator[asyncio.Event]:
    """Gives an event that SIGINT and SIGTERM set."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    signals = (signal.SIGINT, signal.SIGTERM) if sys.platform != "win32" else ()
    for number in signals:
        loop.add_signal_handler(number, stopped.set)
    try:
        yield stopped
    finally:
        for number in signals:
            loop.remove_signal_handler(number)


@takes(options)
def node(chosen: Options) -> None:
    """Run a node with its API, until it is interrupted."""
    run(run_node(chosen))


async def run_node(chosen: Options, store: str | None = None) -> None:
    """Run a node, and with a store its controller, until one of them ends."""
    chosen.start_logging()
    starting = start(chosen.home, roots=chosen.planet, config=chosen.config)
    async with until_stopped() as stopped, starting as node:
        events = node.events()
        controlling = nullcontext(None) if store is None else node.controller(store)
        async with controlling as controller, chosen.serve(node, controller) as api:
            _tell_running(chosen, node, controller, api)
            await _first(stopped.wait(), _end(events))
            node.check_running()
    chosen.tell("stopped", event="stopped")


async def run_standby(chosen: Options, store: str, address: str | None) -> None:
    """Be the controller with an identity of the store, whenever the lease on it is ours."""
    chosen.start_logging()
    service = ControllerService(store, address, path=chosen.home, roots=chosen.planet, config=chosen.config)
    async with until_stopped() as stopped, service:
        while not stopped.is_set():
            chosen.tell("stands by", event="standby")
            await _first(stopped.wait(), service.serving())
            controller, node = service.controller, service.node
            if controller is None or node is None:
                continue
            async with chosen.serve(node, controller) as api:
                _tell_running(chosen, node, controller, api)
                await _first(stopped.wait(), service.standing_by())
    chosen.tell("stopped", event="stopped")


def _tell_running(chosen: Options, node: Node, controller: Controller | None, api: Service | None) -> None:
    what = "node" if controller is None else "controller"
    url = None if api is None else api.url
    chosen.tell(
        f"{what} {node.address} runs" + ("" if url is None else f"; its API is at {url}"),
        event="running",
        address=str(node.address),
        controller=controller is not None,
        api=url,
    )


async def _first(*works: Coroutine[Any, Any, Any]) -> None:
    """Wait until one of them is done; raises what it raises."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    for task in done:
        task.result()


async def _end(events: EventStream) -> None:
    """Wait for the end of a node. Raises Failure if its controller ends before, and would serve no more."""
    async for event in events:
        if isinstance(event, ControllerFailed):
            reason = str(event.error) or type(event.error).__name__
            raise Failure(f"the controller came to an end: {reason}") from event.error
