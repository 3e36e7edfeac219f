"""Commands on the networks of a controller that runs."""

from __future__ import annotations

import json
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from zt_async.cli.client import Client
from zt_async.cli.failures import Failure, told
from zt_async.cli.options import DEFAULT_HOME, Api, AsJson, Home, Member, Members, Network, Token
from zt_async.cli.output import colored, show_facts, show_json, show_table
from zt_async.cli.rules_commands import compile_file
from zt_async.controller.records import NetworkRecord
from zt_async.controller.settings import with_subnet
from zt_async.types import IPNetwork, NetworkId

ROOT: Final = "/controller/network"
_SUBNET_FIELDS: Final = ("v4AssignMode", "v6AssignMode", "routes", "ipAssignmentPools")


def networks(
    home: Home = DEFAULT_HOME, api: Api = None, token: Token = None, as_json: AsJson = False
) -> None:
    """List the networks of the controller."""
    with told():
        found = Client(home, api, token).get(f"/unstable{ROOT}")
        if as_json:
            show_json(found["data"])
            return
        show_table(
            ("network", "name", "access", "members", "authorized", "routes"),
            [
                (
                    network["id"],
                    network["name"],
                    "private" if network["private"] else "public",
                    network["meta"]["totalMemberCount"],
                    network["meta"]["authorizedMemberCount"],
                    [_route(route) for route in network["routes"]],
                )
                for network in found["data"]
            ],
            "there are no networks; 'zt controller create' makes one",
        )


def network(
    network: Network,
    home: Home = DEFAULT_HOME,
    api: Api = None,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Show a network of the controller."""
    with told():
        _show_network(Client(home, api, token).get(f"{ROOT}/{network}"), as_json)


def create(
    name: Annotated[str, typer.Option(help="A short name.")] = "",
    public: Annotated[bool, typer.Option("--public", help="Let everybody in.")] = False,
    subnet: Annotated[
        list[str] | None, typer.Option(metavar="IP/LENGTH", help="Give members addresses of it.")
    ] = None,
    rfc4193: Annotated[bool, typer.Option("--rfc4193", help="Give members an RFC 4193 address.")] = False,
    sixplane: Annotated[bool, typer.Option("--6plane", help="Give members a 6PLANE prefix.")] = False,
    network: Annotated[
        str | None, typer.Option("--id", metavar="NETWORK", help="Its ID, instead of a random one.")
    ] = None,
    home: Home = DEFAULT_HOME,
    api: Api = None,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Make a network."""
    record = NetworkRecord(id=NetworkId(0), name=name, private=not public, rfc4193=rfc4193, sixplane=sixplane)
    for each in subnet or ():
        record = with_subnet(record, _subnet(each))
    written = record.to_json()
    body = {key: written[key] for key in ("name", "private", *_SUBNET_FIELDS)}
    with told():
        client = Client(home, api, token)
        if network is not None and network in client.get(ROOT):
            raise Failure(f"there is a network {network} already; 'zt controller set' changes it")
        made = client.post(ROOT if network is None else f"{ROOT}/{network}", body)
        show_json(made) if as_json else typer.echo(made["id"])


def _subnet(text: str) -> IPNetwork:
    try:
        return ip_network(text, strict=False)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def set_(
    network: Network,
    fields: Annotated[
        list[str],
        typer.Argument(
            metavar="FIELD=VALUE...", help="Fields of the network's JSON, such as mtu=1400 or private=false."
        ),
    ],
    home: Home = DEFAULT_HOME,
    api: Api = None,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Change fields of a network; values are JSON, or text."""
    body = dict(_field(text) for text in fields)
    with told():
        client = Client(home, api, token)
        known = client.get(f"{ROOT}/{network}")
        for key in body:
            if key not in known:
                raise Failure(f"a network has no {key}; it has {', '.join(known)}")
        _show_network(client.post(f"{ROOT}/{network}", body), as_json)


def _field(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise typer.BadParameter(f"{text!r} is not FIELD=VALUE")
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value


def set_rules(
    network: Network,
    file: Annotated[Path, typer.Argument(help="A text in the rule language; - is standard input.")],
    home: Home = DEFAULT_HOME,
    api: Api = None,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Compile rules, and make them the rules, capabilities and tags of a network."""
    with told():
        client = Client(home, api, token)
        client.get(f"{ROOT}/{network}")
        changed = client.post(f"{ROOT}/{network}", compile_file(file).config)
        _show_network(changed, as_json)


def delete(
    network: Network,
    home: Home = DEFAULT_HOME,
    api: Api = None,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Delete a network, and cut off its members."""
    with told():
        gone = Client(home, api, token).delete(f"{ROOT}/{network}")
        show_json(gone) if as_json else typer.echo(f"network {network} is deleted")


def _show_network(network: dict[str, Any], as_json: bool) -> None:
    if as_json:
        show_json(network)
        return
    dns = network["dns"] or {"domain": "", "servers": []}
    modes = {"IPv4 pools": network["v4AssignMode"]["zt"], "IPv6 pools": network["v6AssignMode"]["zt"]}
    modes |= {mode: network["v6AssignMode"][mode] for mode in ("rfc4193", "6plane")}
    show_facts(
        [
            ("network", network["id"]),
            ("name", network["name"]),
            ("access", "private" if network["private"] else "public"),
            ("addresses from", [mode for mode, is_on in modes.items() if is_on]),
            (
                "pools",
                [f"{pool['ipRangeStart']} - {pool['ipRangeEnd']}" for pool in network["ipAssignmentPools"]],
            ),
            ("routes", [_route(route) for route in network["routes"]]),
            ("DNS", [dns["domain"], *dns["servers"]] if dns["domain"] else None),
            ("MTU", network["mtu"]),
            ("broadcast", network["enableBroadcast"]),
            ("multicast limit", network["multicastLimit"]),
            ("rules", len(network["rules"])),
            ("capabilities", [capability["id"] for capability in network["capabilities"]]),
            ("tags", [tag["id"] for tag in network["tags"]]),
            ("revision", network["revision"]),
        ]
    )


def _route(route: dict[str, Any]) -> str:
    return route["target"] if route["via"] is None else f"{route['target']} via {route['via']}"


# Members


def members(
    network: Network,
    home: Home = DEFAULT_HOME,
    api: Api = None,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """List the members of a network, and those who wait to be."""
    with told():
        found = Client(home, api, token).get(f"/unstable{ROOT}/{network}/member")
        if as_json:
            show_json(found["data"])
            return
        show_table(
            ("address", "name", "state", "version", "addresses"),
            [
                (
                    member["id"],
                    member.get("name"),
                    _state(member),
                    None if member["vMajor"] < 0 else "{vMajor}.{vMinor}.{vRev}".format_map(member),
                    member["ipAssignments"],
                )
                for member in found["data"]
            ],
            "nobody has asked to be a member",
        )


def _state(member: dict[str, Any]) -> Any:
    return colored("authorized" if member["authorized"] else "waits", good=member["authorized"])


def member(
    network: Network,
    address: Member,
    home: Home = DEFAULT_HOME,
    api: Api = None,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Show a member of a network."""
    with told():
        found = Client(home, api, token).get(f"{ROOT}/{network}/member/{address}")
        if as_json:
            show_json(found)
            return
        show_facts(
            [
                ("member", found["id"]),
                ("name", found.get("name")),
                ("state", "authorized" if found["authorized"] else "waits"),
                ("addresses", found["ipAssignments"]),
                ("bridge", found["activeBridge"]),
                ("tags", [f"{tag} = {value}" for tag, value in found["tags"]]),
                ("capabilities", found["capabilities"]),
                ("revision", found["revision"]),
            ]
        )


def authorize(
    network: Network,
    addresses: Members,
    ip: Annotated[
        list[str] | None, typer.Option("--ip", metavar="IP", help="Give it this address, instead of any.")
    ] = None,
    home: Home = DEFAULT_HOME,
    api: Api = None,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Let nodes in, before or after they ask."""
    if ip and len(addresses) > 1:
        raise typer.BadParameter("--ip is for one member")
    body = {"authorized": True} | ({"ipAssignments": ip} if ip else {})
    with told():
        _show_members(_change(Client(home, api, token), network, addresses, body), as_json)


def deauthorize(
    network: Network,
    addresses: Members,
    home: Home = DEFAULT_HOME,
    api: Api = None,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Cut members off."""
    with told():
        client = Client(home, api, token)
        for address in addresses:
            client.get(f"{ROOT}/{network}/member/{address}")  # who is unknown needs no record that says so
        _show_members(_change(client, network, addresses, {"authorized": False}), as_json)


def forget(
    network: Network,
    addresses: Members,
    home: Home = DEFAULT_HOME,
    api: Api = None,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Delete the records of members, who are cut off."""
    with told():
        client = Client(home, api, token)
        gone = [client.delete(f"{ROOT}/{network}/member/{address}") for address in addresses]
        if as_json:
            show_json(gone)
        else:
            for address in addresses:
                typer.echo(f"{address} is forgotten")


def _change(client: Client, network: str, addresses: list[str], body: dict[str, Any]) -> list[dict[str, Any]]:
    return [client.post(f"{ROOT}/{network}/member/{address}", body) for address in addresses]


def _show_members(changed: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        show_json(changed)
        return
    for member in changed:
        state = "authorized" if member["authorized"] else "not authorized any more"
        addresses = f", {', '.join(member['ipAssignments'])}" if member["ipAssignments"] else ""
        typer.echo(f"{member['id']} is {state}{addresses}")
