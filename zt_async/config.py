"""Every setting with its default and unit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from zt_async.types import Endpoint, IPNetwork, NodeAddress


@dataclass(frozen=True, slots=True, kw_only=True)
class StackConfig:
    """The TCP/IP stack of a node."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeConfig:
    """A node's own settings. Times are seconds, sizes bytes."""

    port: int = 9993
    """Primary UDP port; 0 picks a free one from 20000 to 65499."""

    secondary_port: int | None = 0
    """A second UDP port, which helps through some NATs; 0 picks one, None does without."""

    bind: tuple[str, ...] = ()
    """IP addresses to bind instead of every usable address of this host."""

    interface_blacklist: tuple[str, ...] = ()
    """Host interfaces whose name begins with one of these are not used."""

    allow_loopback_paths: bool = False
    """Let 127.0.0.0/8 and ::1 be paths, for several nodes on one machine. Other ZeroTier nodes never do."""

    path_blacklist: tuple[IPNetwork, ...] = ()
    """Physical prefixes that are never used as paths."""

    path_hints: Mapping[NodeAddress, tuple[Endpoint, ...]] = field(default_factory=dict)
    """Endpoints to try for given peers."""

    mtu: int = 1432
    """Largest UDP payload to send, 1400 to 10324."""

    batched_udp: bool = True
    """Use UDP GSO and GRO where the system has them."""

    offline_after: float = 30.0
    """The node is offline when no root was heard for so long."""

    identity_validation_burst: int = 8
    """New identities from one /24 (IPv6: /48) that are checked at once before one per 2 s is; 1 is the reference's rule."""

    max_peers: int = 16_384
    """Peers kept in memory besides roots; beyond that the one that was silent longest is forgotten."""

    cache_peers: bool = True
    """Keep the addresses of peers in the node's folder."""

    cache_networks: bool = True
    """Keep the list of joined networks and their configurations in the node's folder, and rejoin at start."""

    event_queue: int = 1_000
    """Events kept for a subscriber that does not fetch them; beyond that the oldest are lost."""

    stack: StackConfig = field(default_factory=StackConfig)
    """Settings of the TCP/IP stack."""

    def __post_init__(self) -> None:
        for name, value in (("port", self.port), ("secondary_port", self.secondary_port or 0)):
            if not 0 <= value <= 0xFFFF:
                raise ValueError(f"{name} is 0 to 65535, not {value}")
        if not 1400 <= self.mtu <= 10_324:
            raise ValueError(f"mtu is 1400 to 10324, not {self.mtu}")
        if self.identity_validation_burst < 1 or self.max_peers < 1 or self.event_queue < 1:
            raise ValueError("identity_validation_burst, max_peers and event_queue are at least 1")
        if self.offline_after <= 0:
            raise ValueError("offline_after is more than 0 s")
