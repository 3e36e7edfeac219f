"""Commands on a node that runs: its status, peers, networks and moons."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Annotated, Any, Final

import typer

from zt_async.cli.client import Client
from zt_async.cli.failures import Failure, told
from zt_async.cli.options import DEFAULT_HOME, Api, AsJson, Home, Member, Network, Token
from zt_async.cli.output import colored, show_facts, show_json, show_table

SETTINGS: Final = ("allowManaged", "allowGlobal", "allowDefault", "allowDNS")
_ADDRESSES: Final[dict[str, Callable[[str], bool]]] = {
    "ip": lambda address: True,
    "ip4": lambda address: ":" not in address,
    "ip6": lambda address: ":" in address,
    "ip6plane": lambda address: address.startswith("fc"),
}


def status(home: Home = DEFAULT_HOME, api: Api = None, token: Token = None, as_json: AsJson = False) -> None:
    """Show what the node is, and whether it is online."""
    with told():
        found = Client(home, api, token).get("/status")
        if as_json:
            show_json(found)
            return
        settings = found["config"]["settings"]
        show_facts(
            [
                ("address", found["address"]),
                ("state", "online" if found["online"] else "offline"),
                ("version", found["version"]),
                ("listens on", settings["listeningOn"]),
                ("is seen at", settings["surfaceAddresses"]),
                ("folder", settings["homeDir"]),
            ]
        )


def peers(home: Home = DEFAULT_HOME, api: Api = None, token: Token = None, as_json: AsJson = False) -> None:
    """List the nodes that are known, and how they are reached."""
    with told():
        found = Client(home, api, token).get("/peer")
        if as_json:
            show_json(found)
            return
        now = time.time() * 1000
        show_table(
            ("address", "version", "role", "latency", "link", "last sent", "last received", "path"),
            [_peer_row(peer, now) for peer in found],
            "no other nodes are known",
        )


def _peer_row(peer: dict[str, Any], now: float) -> tuple[object, ...]:
    latency = None if peer["latency"] < 0 else f"{peer['latency']} ms"
    version = None if peer["versionMajor"] < 0 else peer["version"]
    facts = (peer["address"], version, peer["role"], latency)
    best = next((path for path in peer["paths"] if path["preferred"]), None)
    if best is None:
        return (*facts, colored("relay", good=False), None, None, None)
    ages = (_age(best["lastSend"], now), _age(best["lastReceive"], now))
    return (*facts, colored("direct", good=True), *ages, best["address"])


def _age(then: int, now: float) -> str | None:
    return f"{max(now - then, 0) / 1000:.1f} s ago" if then else None


# Networks


def networks(
    home: Home = DEFAULT_HOME, api: Api = None, token: Token = None, as_json: AsJson = False
) -> None:
    """List the networks that the node is on."""
    with told():
        found = Client(home, api, token).get("/network")
        if as_json:
            show_json(found)
            return
        show_table(
            ("network", "name", "status", "type", "MAC", "addresses"),
            [
                (
                    network["id"],
                    network["name"],
                    colored(network["status"], good=network["status"] == "OK"),
                    network["type"].lower(),
                    network["mac"],
                    network["assignedAddresses"],
                )
                for network in found
            ],
            "the node is on no network; 'zt join NETWORK' joins one",
        )


def join(
    network: Network,
    allow_managed: Annotated[bool | None, typer.Option(help="Use addresses and routes it assigns.")] = None,
    allow_global: Annotated[bool | None, typer.Option(help="Also public ones.")] = None,
    allow_default: Annotated[bool | None, typer.Option(help="Also default routes.")] = None,
    allow_dns: Annotated[bool | None, typer.Option(help="Use its DNS servers.")] = None,
    home: Home = DEFAULT_HOME,
    api: Api = None,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Join a network; a private one lets the node in when it is authorized there."""
    choices = dict(zip(SETTINGS, (allow_managed, allow_global, allow_default, allow_dns), strict=True))
    body = {key: value for key, value in choices.items() if value is not None}
    with told():
        client = Client(home, api, token)
        joined = client.post(f"/network/{network}", body)
        if as_json:
            show_json(joined)
            return
        typer.echo(f"joined {network}: {joined['status']}")
        if joined["type"] == "PRIVATE" and joined["status"] != "OK":
            typer.echo(
                f"its controller decides; on a private network this node, {client.get('/status')['address']}, "
                "has to be authorized there"
            )


def leave(
    network: Network,
    home: Home = DEFAULT_HOME,
    api: Api = None,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Leave a network."""
    with told():
        done = Client(home, api, token).delete(f"/network/{network}")
        show_json(done) if as_json else typer.echo(f"left {network}")


def get(
    network: Network,
    name: Annotated[
        str,
        typer.Argument(help="A field of the network's JSON; or ip, ip4, ip6, ip6plane for its addresses."),
    ],
    home: Home = DEFAULT_HOME,
    api: Api = None,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Show one field of a network."""
    with told():
        found = Client(home, api, token).get(f"/network/{network}")
        if name in _ADDRESSES:
            wanted = _ADDRESSES[name]
            assigned = [address.partition("/")[0] for address in found["assignedAddresses"]]
            value: Any = [address for address in assigned if wanted(address)]
        elif name in found:
            value = found[name]
        else:
            raise Failure(f"a network has no {name}; it has {', '.join((*_ADDRESSES, *found))}")
        if as_json:
            show_json(value)
        elif isinstance(value, list) and all(isinstance(each, str) for each in value):
            for each in value:
                typer.echo(each)
        else:
            typer.echo(value if isinstance(value, str) else json.dumps(value))


def set_(
    network: Network,
    settings: Annotated[
        list[str], typer.Argument(metavar="SETTING=VALUE...", help=f"Of {', '.join(SETTINGS)}.")
    ],
    home: Home = DEFAULT_HOME,
    api: Api = None,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Change what a network may decide for this node."""
    body = dict(_setting(text) for text in settings)
    with told():
        client = Client(home, api, token)
        client.get(f"/network/{network}")  # a setting is no reason to join
        changed = client.post(f"/network/{network}", body)
        if as_json:
            show_json(changed)
        else:
            show_facts((key, changed[key]) for key in SETTINGS)


def _setting(text: str) -> tuple[str, bool]:
    key, equals, value = text.partition("=")
    values = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    if not equals or key not in SETTINGS or value.lower() not in values:
        raise typer.BadParameter(
            f"{text!r} is not SETTING=true or SETTING=false with one of {', '.join(SETTINGS)}"
        )
    return key, values[value.lower()]


# Moons


def moons(home: Home = DEFAULT_HOME, api: Api = None, token: Token = None, as_json: AsJson = False) -> None:
    """List the moons that the node uses."""
    with told():
        found = Client(home, api, token).get("/moon")
        if as_json:
            show_json(found)
            return
        show_table(
            ("moon", "roots", "endpoints"),
            [
                (
                    moon["id"],
                    [root["identity"].partition(":")[0] for root in moon["roots"]],
                    [", ".join(root["stableEndpoints"]) for root in moon["roots"]],
                )
                for moon in found
            ],
            "the node uses no moons",
        )


def orbit(
    moon: Member,
    seed: Member,
    home: Home = DEFAULT_HOME,
    api: Api = None,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Use a moon, as soon as the node SEED delivers it."""
    with told():
        found = Client(home, api, token).post(f"/moon/{moon}", {"seed": seed})
        if as_json:
            show_json(found)
        else:
            typer.echo(f"moon {moon}: {'waiting for it' if found['waiting'] else 'in use'}")


def deorbit(
    moon: Member,
    home: Home = DEFAULT_HOME,
    api: Api = None,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Use a moon no longer."""
    with told():
        done = Client(home, api, token).delete(f"/moon/{moon}")
        show_json(done) if as_json else typer.echo(f"moon {moon} is not used any more")
