"""Ad-hoc networks: a configuration that follows from the network ID and a member's own address. vl2.md 1.4."""

from __future__ import annotations

from ipaddress import IPv4Interface
from typing import Final

from zt_async.types import NetworkId, NodeAddress
from zt_async.vl2.addressing import sixplane
from zt_async.wire.ethernet import ETHERTYPE_IPV6 as IPV6
from zt_async.wire.network_config import FLAG_NDP_EMULATION, NetworkConfig
from zt_async.wire.rules import Rule, RuleType

CREDENTIAL_MAX_DELTA: Final = 7_200_000  # ms

_TCP_SYN: Final = 0x02
_TCP_ACK: Final = 0x10

_ACCEPT = Rule(RuleType.ACTION_ACCEPT)
_DROP = Rule(RuleType.ACTION_DROP)


class NoSuchNetwork(ValueError):
    """The ID has the form of an ad-hoc network, but not its sense."""


def port_range_rules(first: int, last: int) -> tuple[Rule, ...]:
    """IPv6 only; ICMPv6 and UDP are free, new TCP connections reach ports ``first`` to ``last``."""
    return (
        Rule(RuleType.MATCH_ETHERTYPE, (IPV6,), inverted=True),
        _DROP,
        Rule(RuleType.MATCH_IP_PROTOCOL, (58,)),
        _ACCEPT,
        Rule(RuleType.MATCH_IP_PROTOCOL, (17,)),
        Rule(RuleType.MATCH_IP_PROTOCOL, (6,), alternative=True),
        Rule(RuleType.MATCH_IP_DEST_PORT_RANGE, (first, last)),
        _ACCEPT,
        Rule(RuleType.MATCH_CHARACTERISTICS, (_TCP_SYN,), inverted=True),
        _ACCEPT,
        Rule(RuleType.MATCH_CHARACTERISTICS, (_TCP_SYN,)),
        Rule(RuleType.MATCH_CHARACTERISTICS, (_TCP_ACK,)),
        _ACCEPT,
        _DROP,
    )


def ad_hoc_config(network_id: NetworkId, member: NodeAddress, wall_ms: int) -> NetworkConfig | None:
    """The configuration of an ad-hoc network; None for any other network.

    Raises NoSuchNetwork where the ports of the ID run backwards.
    """
    if not network_id.is_ad_hoc:
        return None
    derived = sixplane(network_id, member)
    if network_id & 0xFFFFFF == 0:
        first, last = network_id >> 40 & 0xFFFF, network_id >> 24 & 0xFFFF
        if last < first:
            raise NoSuchNetwork(f"ad-hoc network {network_id}: ports {first} to {last} run backwards")
        return NetworkConfig(
            network_id=network_id,
            issued_to=member,
            name=f"adhoc-{first:04x}-{last:04x}",
            private=False,
            revision=1,
            timestamp=wall_ms,
            credential_max_delta=CREDENTIAL_MAX_DELTA,
            flags=FLAG_NDP_EMULATION,
            addresses=(derived,),
            rules=port_range_rules(first, last),
        )
    if network_id & 0xFF != 1:
        return None
    octet = network_id >> 48 & 0xFF
    anchor = network_id >> 8 & 0xFFFFFFFFFF
    return NetworkConfig(
        network_id=network_id,
        issued_to=member,
        name=f"adhoc-{octet}.0.0.0",
        private=False,
        revision=1,
        timestamp=wall_ms,
        credential_max_delta=CREDENTIAL_MAX_DELTA,
        flags=FLAG_NDP_EMULATION,
        multicast_limit=1024,
        addresses=(derived, IPv4Interface((octet << 24 | member & 0xFFFFFF, 8))),
        rules=(_ACCEPT,),
        specialists=(anchor,) if anchor else (),
    )
