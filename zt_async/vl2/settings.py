"""Which of the addresses, routes and DNS servers that a controller assigns are put to use here. vl2.md 10."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from typing import Final

from zt_async.config import NetworkSettings as NetworkSettings
from zt_async.types import DNS, IPInterface, IPNetwork, Route
from zt_async.wire.inetaddress import Scope, ip_scope

_NEVER: Final = frozenset((Scope.NONE, Scope.MULTICAST, Scope.LOOPBACK, Scope.LINK_LOCAL))


def allows(settings: NetworkSettings, target: IPInterface | IPNetwork) -> bool:
    """Whether an address with its prefix, or the target of a route, is put to use."""
    if isinstance(target, IPv4Network | IPv6Network):
        network, address = target, target.network_address
    else:
        network, address = target.network, target.ip
    if not settings.allow_managed:
        return False
    if settings.managed_prefixes and not any(_holds(prefix, network) for prefix in settings.managed_prefixes):
        return False
    if network.prefixlen == 0 and int(address) == 0:
        return settings.allow_default
    scope = ip_scope(address)
    return scope not in _NEVER and (scope != Scope.GLOBAL or settings.allow_global)


def _holds(prefix: IPNetwork, network: IPNetwork) -> bool:
    return (
        prefix.version == network.version
        and prefix.prefixlen <= network.prefixlen
        and network.network_address in prefix
    )


@dataclass(frozen=True, slots=True)
class Applied:
    """The part of what is assigned that is put to use."""

    addresses: tuple[IPInterface, ...] = ()
    routes: tuple[Route, ...] = ()
    """On-link ones first."""
    dns: DNS | None = None


def apply_settings(
    settings: NetworkSettings, addresses: Sequence[IPInterface], routes: Sequence[Route], dns: DNS | None
) -> Applied:
    """What of an assignment is put to use: each address once, with the last of its prefixes, and each route once.

    Routes through one of our own addresses or through one of another family are left out, those of a family that we
    have no address of, and those that an address of ours implies already.
    """
    by_ip = {address.ip: address for address in addresses if allows(settings, address)}
    own_ips, ours = by_ip.keys(), tuple(by_ip.values())
    families = {ip.version for ip in own_ips}
    implied = {address.network for address in ours}
    usable = [
        route
        for route in dict.fromkeys(routes)
        if allows(settings, route.target)
        and route.via not in own_ips
        and (route.via is None or route.via.version == route.target.version)
        and route.target.version in families
        and not (route.via is None and route.target in implied)
    ]
    return Applied(
        ours,
        tuple(sorted(usable, key=lambda route: route.via is not None)),
        dns if settings.allow_dns and dns is not None and dns.domain else None,
    )
