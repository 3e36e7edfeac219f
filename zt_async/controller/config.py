"""From records to the configuration of a member, with its credentials signed. vl2.md 8.3."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from zt_async.controller.addresses import AddressPlan
from zt_async.controller.records import ACCEPT_ALL, MemberRecord, NetworkRecord
from zt_async.crypto.credentials import issue_capability, issue_com, issue_ownership, issue_tag
from zt_async.crypto.identity import Identity
from zt_async.types import NodeAddress
from zt_async.wire.credentials import NO_NODE
from zt_async.wire.network_config import (
    FLAG_BROADCAST,
    FLAG_NDP_EMULATION,
    ROLE_BRIDGE,
    NetworkConfig,
)

DEFAULT_TIMEOUT: Final = 1_800_000
"""Milliseconds by which certificates of members may differ; members ask for new ones each minute."""
MIN_TIMEOUT: Final = 300_000
MAX_TIMEOUT: Final = 7_200_000


def certificate_timeout(network: NetworkRecord) -> int:
    """Milliseconds by which certificates of a network's members may differ in time."""
    timeout = DEFAULT_TIMEOUT if network.certificate_timeout is None else network.certificate_timeout
    return min(max(timeout, MIN_TIMEOUT), MAX_TIMEOUT)


class ConfigPlan:
    """What is the same in all configurations of a network: made once for each change of it."""

    def __init__(self, network: NetworkRecord, bridges: Iterable[NodeAddress], controller: Identity) -> None:
        """``bridges`` are all active bridges; ``controller`` has its secret key."""
        self.network = network
        self.addresses = AddressPlan(network)
        self._controller = controller
        self._capabilities = {definition.id: definition.rules for definition in network.capabilities}
        self._specialists = tuple(ROLE_BRIDGE | address for address in sorted(bridges))
        self._timeout = certificate_timeout(network)

    def build(self, member: MemberRecord, now: int, *, with_rules: bool = True) -> NetworkConfig:
        """The configuration of a member, whose record has its identity, made at ``now`` (Unix milliseconds).

        Without ``with_rules``, for members without a rules engine, everything is allowed. It takes an Ed25519
        signature for its certificate of membership, one for its addresses, one for each capability and each tag.
        """
        network = self.network
        identity = member.identity
        assert identity is not None
        addresses = self.addresses.assigned(member)
        flags = FLAG_BROADCAST if network.broadcast else 0
        if (network.rfc4193 or network.sixplane) and not member.no_auto_assign:
            flags |= FLAG_NDP_EMULATION
        traced = member if member.remote_trace_target is not None else network
        granted = [number for number in member.capabilities if number in self._capabilities]
        controller, issued_to = self._controller, member.address
        return NetworkConfig(
            network_id=network.id,
            issued_to=issued_to,
            name=network.name,
            private=network.private,
            mtu=network.mtu,
            revision=network.revision,
            timestamp=now,
            credential_max_delta=self._timeout,
            flags=flags,
            multicast_limit=network.multicast_limit,
            addresses=addresses,
            routes=network.routes,
            dns=network.dns,
            rules=network.rules if with_rules else ACCEPT_ALL,
            specialists=self._specialists,
            certificate=issue_com(controller, network.id, identity, now, self._timeout),
            capabilities=tuple(
                issue_capability(controller, network.id, issued_to, now, number, self._capabilities[number])
                for number in granted
                if with_rules
            ),
            tags=tuple(
                issue_tag(controller, network.id, issued_to, now, number, value)
                for number, value in member.tags
                if with_rules
            ),
            ownerships=(issue_ownership(controller, network.id, issued_to, now, [a.ip for a in addresses]),)
            if addresses
            else (),
            trace_target=traced.remote_trace_target or NO_NODE,
            trace_level=traced.remote_trace_level,
        )
