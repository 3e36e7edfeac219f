"""Commands on the networks of a controller that runs."""

from __future__ import annotations

import json
from typing import Annotated, Any, Final, NoReturn

import typer

from zt_async.cli.client import Client
from zt_async.cli.failures import Failure
from zt_async.cli.options import Change, Member, Members, Network, network_id, takes
from zt_async.cli.output import colored, facts, table
from zt_async.cli.rules_commands import RulesFile, compile_file
from zt_async.controller import fields
from zt_async.controller.records import NetworkRecord
from zt_async.controller.settings import with_subnet
from zt_async.service.schemas import SCHEMAS
from zt_async.types import NetworkId

ROOT: Final = "/controller/network"
_WRITABLE: Final = tuple(SCHEMAS["ControlledNetworkChange"]["properties"])
_SUBNET_FIELDS: Final = ("v4AssignMode", "v6AssignMode", "routes", "ipAssignmentPools")


@takes(Client)
def networks(client: Client) -> None:
    """List the networks of the controller."""
    found = client.get(f"/unstable{ROOT}")["data"]
    rows = [
        (
            network["id"],
            network["name"],
            _access(network),
            network["meta"]["totalMemberCount"],
            network["meta"]["authorizedMemberCount"],
            _routes(network),
        )
        for network in found
    ]
    columns = ("network", "name", "access", "members", "authorized", "routes")
    client.show(found, table(columns, rows, "there are no networks; 'zt controller create' makes one"))


@takes(Client)
def network(client: Client, network: Network) -> None:
    """Show a network of the controller."""
    _show_network(client, client.get(f"{ROOT}/{network}"))


def _subnet(text: str) -> str:
    try:
        return str(fields.ip_network(text))
    except ValueError as error:
        raise typer.BadParameter(f"a subnet {error}") from None


@takes(Client)
def create(
    client: Client,
    name: Annotated[str, typer.Option(help="A short name.")] = "",
    public: Annotated[bool, typer.Option("--public", help="Let everybody in.")] = False,
    subnet: Annotated[
        list[str] | None,
        typer.Option(parser=_subnet, metavar="IP/LENGTH", help="Give members addresses of it."),
    ] = None,
    rfc4193: Annotated[bool, typer.Option("--rfc4193", help="Give members an RFC 4193 address.")] = False,
    sixplane: Annotated[bool, typer.Option("--6plane", help="Give members a 6PLANE prefix.")] = False,
    network: Annotated[
        str | None,
        typer.Option("--id", parser=network_id, metavar="NETWORK", help="Its ID, instead of a random one."),
    ] = None,
) -> None:
    """Make a network."""
    record = NetworkRecord(id=NetworkId(0), name=name, private=not public, rfc4193=rfc4193, sixplane=sixplane)
    for each in subnet or ():
        record = with_subnet(record, fields.ip_network(each))
    written = record.to_json()
    body = {key: written[key] for key in ("name", "private", *_SUBNET_FIELDS)}
    if network is not None and network in client.get(ROOT):
        raise Failure(f"there is a network {network} already; 'zt controller set' changes it")
    made = client.post(ROOT if network is None else f"{ROOT}/{network}", body)
    client.show(made, made["id"])


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"JSON has no {name}")


def _field(text: str) -> Change:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise typer.BadParameter(f"{text!r} is not FIELD=VALUE")
    if key not in _WRITABLE:
        raise typer.BadParameter(f"{key!r} is no field to set; these are: {', '.join(_WRITABLE)}")
    try:
        return Change(key, json.loads(value, parse_constant=_no_number))
    except (ValueError, RecursionError):
        return Change(key, value)


@takes(Client)
def set_(
    client: Client,
    network: Network,
    changes: Annotated[
        list[Change],
        typer.Argument(
            parser=_field,
            metavar="FIELD=VALUE...",
            help="Fields of the network's JSON, such as mtu=1400 or private=false.",
        ),
    ],
) -> None:
    """Change fields of a network; values are JSON, or text."""
    _change_network(client, network, dict(changes))


@takes(Client)
def set_rules(client: Client, network: Network, file: RulesFile) -> None:
    """Compile rules, and make them the rules, capabilities and tags of a network."""
    _change_network(client, network, compile_file(file).config)


def _change_network(client: Client, network: str, body: dict[str, Any]) -> None:
    client.get(f"{ROOT}/{network}")  # a change is no reason to make one
    _show_network(client, client.post(f"{ROOT}/{network}", body))


@takes(Client)
def delete(client: Client, network: Network) -> None:
    """Delete a network, and cut off its members."""
    client.show(client.delete(f"{ROOT}/{network}"), f"network {network} is deleted")


def _show_network(client: Client, network: dict[str, Any]) -> None:
    dns = network["dns"] or {"domain": "", "servers": []}
    modes = {"IPv4 pools": network["v4AssignMode"]["zt"], "IPv6 pools": network["v6AssignMode"]["zt"]}
    modes |= {mode: network["v6AssignMode"][mode] for mode in ("rfc4193", "6plane")}
    shown = [
        ("network", network["id"]),
        ("name", network["name"]),
        ("access", _access(network)),
        ("addresses from", [mode for mode, is_on in modes.items() if is_on]),
        (
            "pools",
            [f"{pool['ipRangeStart']} - {pool['ipRangeEnd']}" for pool in network["ipAssignmentPools"]],
        ),
        ("routes", _routes(network)),
        ("DNS", [dns["domain"], *dns["servers"]] if dns["domain"] else None),
        ("MTU", network["mtu"]),
        ("broadcast", network["enableBroadcast"]),
        ("multicast limit", network["multicastLimit"]),
        ("rules", len(network["rules"])),
        ("capabilities", [capability["id"] for capability in network["capabilities"]]),
        ("tags", [tag["id"] for tag in network["tags"]]),
        ("revision", network["revision"]),
    ]
    client.show(network, facts(shown))


def _access(network: dict[str, Any]) -> str:
    return "private" if network["private"] else "public"


def _routes(network: dict[str, Any]) -> list[str]:
    return [
        route["target"] if route["via"] is None else f"{route['target']} via {route['via']}"
        for route in network["routes"]
    ]


# Members


@takes(Client)
def members(client: Client, network: Network) -> None:
    """List the members of a network, and those who wait to be."""
    found = client.get(f"/unstable{ROOT}/{network}/member")["data"]
    rows = [
        (
            member["id"],
            member.get("name"),
            _state(member),
            None if member["vMajor"] < 0 else "{vMajor}.{vMinor}.{vRev}".format_map(member),
            member["ipAssignments"],
        )
        for member in found
    ]
    columns = ("address", "name", "state", "version", "addresses")
    client.show(found, table(columns, rows, "nobody has asked to be a member"))


def _state(member: dict[str, Any]) -> object:
    return colored("authorized" if member["authorized"] else "waits", good=member["authorized"])


@takes(Client)
def member(client: Client, network: Network, address: Member) -> None:
    """Show a member of a network."""
    found = client.get(f"{ROOT}/{network}/member/{address}")
    shown = [
        ("member", found["id"]),
        ("name", found.get("name")),
        ("state", _state(found)),
        ("addresses", found["ipAssignments"]),
        ("bridge", found["activeBridge"]),
        ("tags", [f"{tag} = {value}" for tag, value in found["tags"]]),
        ("capabilities", found["capabilities"]),
        ("revision", found["revision"]),
    ]
    client.show(found, facts(shown))


@takes(Client)
def authorize(
    client: Client,
    network: Network,
    addresses: Members,
    ip: Annotated[
        list[str] | None, typer.Option("--ip", metavar="IP", help="Give it this address, instead of any.")
    ] = None,
) -> None:
    """Let nodes in, before or after they ask."""
    if ip and len(addresses) > 1:
        raise typer.BadParameter("--ip is for one member")
    body = {"authorized": True} | ({"ipAssignments": ip} if ip else {})
    _change_members(client, _paths(network, addresses), body)


@takes(Client)
def deauthorize(client: Client, network: Network, addresses: Members) -> None:
    """Cut members off."""
    _change_members(client, _known(client, network, addresses), {"authorized": False})


@takes(Client)
def forget(client: Client, network: Network, addresses: Members) -> None:
    """Delete the records of members, who are cut off."""
    gone = [client.delete(path) for path in _known(client, network, addresses)]
    client.show(gone, "\n".join(f"{member['id']} is forgotten" for member in gone))


def _paths(network: str, addresses: list[str]) -> list[str]:
    return [f"{ROOT}/{network}/member/{address}" for address in dict.fromkeys(addresses)]


def _known(client: Client, network: str, addresses: list[str]) -> list[str]:
    """The paths of members. Raises Failure if one is unknown, before anything is done with others."""
    paths = _paths(network, addresses)
    for path in paths:
        client.get(path)
    return paths


def _change_members(client: Client, paths: list[str], body: dict[str, Any]) -> None:
    changed = [client.post(path, body) for path in paths]
    client.show(changed, "\n".join(map(_told, changed)))


def _told(member: dict[str, Any]) -> str:
    state = "authorized" if member["authorized"] else "not authorized any more"
    return ", ".join([f"{member['id']} is {state}", *member["ipAssignments"]])
