"""What Python code says of networks and members, made into changes of records."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Any, TypedDict

from zt_async.controller import fields
from zt_async.controller.edits import MemberChange, NetworkChange
from zt_async.controller.records import (
    CapabilityDefinition,
    NetworkRecord,
    Pool,
    TagDefinition,
    member_attributes,
    network_attributes,
)
from zt_async.controller.rule_language import compile_rules
from zt_async.errors import RecordError
from zt_async.types import DNS, IPAddress, IPNetwork, NodeAddress, Route
from zt_async.wire.rules import Rule


class NetworkOptions(TypedDict, total=False):
    """Settings of a network. All but ``ipv4`` and ``ipv6`` are those of NetworkRecord, which tells what they mean."""

    name: str
    private: bool
    broadcast: bool
    multicast_limit: int
    mtu: int
    ipv4: IPv4Network | str
    """A subnet: its route is added, a pool of all of its addresses, and ``ipv4_auto``."""
    ipv6: IPv6Network | str
    """Likewise, with ``ipv6_auto``."""
    ipv4_auto: bool
    ipv6_auto: bool
    rfc4193: bool
    sixplane: bool
    routes: Iterable[Route | str | Mapping[str, Any]]
    """A text is a target on the network itself, a mapping is upstream's JSON."""
    pools: Iterable[Pool | tuple[str, str] | Mapping[str, Any]]
    rules: str | Iterable[Rule | Mapping[str, Any]]
    """A table, its JSON, or a text in the rule language, which sets capabilities and tags as well."""
    capabilities: Iterable[CapabilityDefinition | Mapping[str, Any]]
    tags: Iterable[TagDefinition | Mapping[str, Any]]
    dns: DNS | Mapping[str, Any] | None
    auth_tokens: Mapping[str, int]
    remote_trace_target: NodeAddress | str | None
    remote_trace_level: int
    certificate_timeout: int | None


class MemberOptions(TypedDict, total=False):
    """Settings of a member; MemberRecord tells what they mean."""

    authorized: bool
    active_bridge: bool
    no_auto_assign: bool
    addresses: Iterable[IPAddress | str]
    tags: Mapping[int, int] | Iterable[tuple[int, int]]
    capabilities: Iterable[int]
    name: str | None
    authentication_expiry: int
    remote_trace_target: NodeAddress | str | None
    remote_trace_level: int


def network_change(settings: NetworkOptions) -> NetworkChange:
    """The change that these settings make.

    Raises RecordError, RuleLanguageError, and TypeError for a setting that does not exist.
    """
    plain: dict[str, Any] = dict(settings)
    rules = plain.get("rules")
    if isinstance(rules, str):
        plain = {**plain, **compile_rules(rules).config, "rules_source": rules}
    elif plain.keys() & {"rules", "tags", "capabilities"}:
        plain["rules_source"] = ""
    subnets = [_subnet(family, plain.pop(family)) for family in ("ipv4", "ipv6") if family in plain]
    attributes = network_attributes(plain)

    def change(record: NetworkRecord) -> NetworkRecord:
        record = replace(record, **attributes)
        for subnet in subnets:
            record = with_subnet(record, subnet)
        return record

    return change


def member_change(settings: MemberOptions) -> MemberChange:
    """The change that these settings make. Raises RecordError, TypeError for a setting that does not exist."""
    attributes = member_attributes(settings)
    return lambda record: replace(record, **attributes)


def with_subnet(record: NetworkRecord, subnet: IPNetwork) -> NetworkRecord:
    """The network with a further subnet, of which each member gets an address.

    Raises RecordError if it has as many routes or pools as there is room for.
    """
    first, last = int(subnet.network_address), int(subnet.broadcast_address)
    if subnet.num_addresses > 2:  # the first and the last one have a meaning of their own
        first, last = first + 1, last - (subnet.version == 4)
    ip = IPv4Address if subnet.version == 4 else IPv6Address
    pool = Pool(ip(first), ip(last))
    route = Route(subnet)
    return record.updated(
        routes=record.routes if route in record.routes else (*record.routes, route),
        pools=record.pools if pool in record.pools else (*record.pools, pool),
        ipv4_auto=record.ipv4_auto or subnet.version == 4,
        ipv6_auto=record.ipv6_auto or subnet.version == 6,
    )


def _subnet(family: str, value: object) -> IPNetwork:
    try:
        subnet = fields.ip_network(value)
    except ValueError as error:
        raise RecordError(family, str(error)) from None
    if f"ipv{subnet.version}" != family:
        raise RecordError(family, f"is {subnet}, which is of the other family")
    return subnet
