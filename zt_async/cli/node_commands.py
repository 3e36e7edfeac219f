"""Commands on a node that runs: its status, peers, networks and moons."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Annotated, Any, Final

import typer

from zt_async.cli.client import Client
from zt_async.cli.failures import Failure
from zt_async.cli.options import Change, Member, Moon, Network, takes
from zt_async.cli.output import colored, facts, table
from zt_async.service.schemas import NETWORK_SETTINGS

_WORDS: Final = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
_ADDRESSES: Final[dict[str, Callable[[str], bool]]] = {
    "ip": lambda address: True,
    "ip4": lambda address: ":" not in address,
    "ip6": lambda address: ":" in address,
    "ip6plane": lambda address: address.startswith("fc"),
}


@takes(Client)
def status(client: Client) -> None:
    """Show what the node is, and whether it is online."""
    found = client.get("/status")
    settings = found["config"]["settings"]
    shown = [
        ("address", found["address"]),
        ("state", "online" if found["online"] else "offline"),
        ("version", found["version"]),
        ("listens on", settings["listeningOn"]),
        ("is seen at", settings["surfaceAddresses"]),
        ("folder", settings["homeDir"]),
    ]
    client.show(found, facts(shown))


@takes(Client)
def peers(client: Client) -> None:
    """List the nodes that are known, and how they are reached."""
    found = client.get("/peer")
    now = time.time() * 1000
    columns = ("address", "version", "role", "latency", "link", "last sent", "last received", "path")
    rows = [_peer_row(peer, now) for peer in found]
    client.show(found, table(columns, rows, "no other nodes are known"))


def _peer_row(peer: dict[str, Any], now: float) -> tuple[object, ...]:
    latency = None if peer["latency"] < 0 else f"{peer['latency']} ms"
    version = None if peer["versionMajor"] < 0 else peer["version"]
    head = (peer["address"], version, peer["role"], latency)
    best = next((path for path in peer["paths"] if path["preferred"]), None)
    if best is None:
        return (*head, colored("relay", good=False), None, None, None)
    ages = (_age(best["lastSend"], now), _age(best["lastReceive"], now))
    return (*head, colored("direct", good=True), *ages, best["address"])


def _age(then: int, now: float) -> str | None:
    return f"{max(now - then, 0) / 1000:.1f} s ago" if then else None


# Networks


@takes(Client)
def networks(client: Client) -> None:
    """List the networks that the node is on."""
    found = client.get("/network")
    rows = [
        (
            network["id"],
            network["name"],
            colored(network["status"], good=network["status"] == "OK"),
            network["type"].lower(),
            network["mac"],
            network["assignedAddresses"],
        )
        for network in found
    ]
    columns = ("network", "name", "status", "type", "MAC", "addresses")
    client.show(found, table(columns, rows, "the node is on no network; 'zt join NETWORK' joins one"))


@takes(Client)
def join(
    client: Client,
    network: Network,
    allow_managed: Annotated[bool | None, typer.Option(help="Use addresses and routes it assigns.")] = None,
    allow_global: Annotated[bool | None, typer.Option(help="Also public ones.")] = None,
    allow_default: Annotated[bool | None, typer.Option(help="Also default routes.")] = None,
    allow_dns: Annotated[bool | None, typer.Option(help="Use its DNS servers.")] = None,
) -> None:
    """Join a network; a private one lets the node in when it is authorized there."""
    choices = dict(
        zip(NETWORK_SETTINGS, (allow_managed, allow_global, allow_default, allow_dns), strict=True)
    )
    body = {key: value for key, value in choices.items() if value is not None}
    joined = client.post(f"/network/{network}", body)
    told = f"joined {network}: {joined['status']}"
    if joined["type"] == "PRIVATE" and joined["status"] != "OK":
        address = client.get("/status")["address"]
        told += (
            f"\nits controller decides; on a private network this node, {address}, has to be authorized there"
        )
    client.show(joined, told)


@takes(Client)
def leave(client: Client, network: Network) -> None:
    """Leave a network."""
    client.show(client.delete(f"/network/{network}"), f"left {network}")


@takes(Client)
def get(
    client: Client,
    network: Network,
    name: Annotated[
        str,
        typer.Argument(help="A field of the network's JSON; or ip, ip4, ip6, ip6plane for its addresses."),
    ],
) -> None:
    """Show one field of a network."""
    found = client.get(f"/network/{network}")
    if name in _ADDRESSES:
        wanted = _ADDRESSES[name]
        assigned = [address.partition("/")[0] for address in found["assignedAddresses"]]
        value: Any = [address for address in assigned if wanted(address)]
    elif name in found:
        value = found[name]
    else:
        raise Failure(f"a network has no {name}; it has {', '.join((*_ADDRESSES, *found))}")
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        client.show(value, "\n".join(value))
    else:
        client.show(value, value if isinstance(value, str) else json.dumps(value))


def _setting(text: str) -> Change:
    key, equals, value = text.partition("=")
    if not equals or key not in NETWORK_SETTINGS or value.lower() not in _WORDS:
        raise typer.BadParameter(
            f"{text!r} is not SETTING=true or SETTING=false with one of {', '.join(NETWORK_SETTINGS)}"
        )
    return Change(key, _WORDS[value.lower()])


@takes(Client)
def set_(
    client: Client,
    network: Network,
    settings: Annotated[
        list[Change],
        typer.Argument(
            parser=_setting, metavar="SETTING=VALUE...", help=f"Of {', '.join(NETWORK_SETTINGS)}."
        ),
    ],
) -> None:
    """Change what a network may decide for this node."""
    client.get(f"/network/{network}")  # a setting is no reason to join
    changed = client.post(f"/network/{network}", dict(settings))
    client.show(changed, facts((key, changed[key]) for key in NETWORK_SETTINGS))


# Moons


@takes(Client)
def moons(client: Client) -> None:
    """List the moons that the node uses."""
    found = client.get("/moon")
    rows = [
        (
            moon["id"],
            [root["identity"].partition(":")[0] for root in moon["roots"]],
            [", ".join(root["stableEndpoints"]) for root in moon["roots"]],
        )
        for moon in found
    ]
    client.show(found, table(("moon", "roots", "endpoints"), rows, "the node uses no moons"))


@takes(Client)
def orbit(client: Client, moon: Moon, seed: Member) -> None:
    """Use a moon, as soon as the node ADDRESS delivers it."""
    found = client.post(f"/moon/{moon}", {"seed": seed})
    client.show(found, f"moon {moon}: {'waiting for it' if found['waiting'] else 'in use'}")


@takes(Client)
def deorbit(client: Client, moon: Moon) -> None:
    """Use a moon no longer."""
    client.show(client.delete(f"/moon/{moon}"), f"moon {moon} is not used any more")
