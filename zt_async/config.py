"""Every setting with its default and unit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network
from typing import Literal

from zt_async.types import Endpoint, IPNetwork, NodeAddress


@dataclass(frozen=True, slots=True, kw_only=True)
class StackConfig:
    """The TCP/IP stack of a node. Times are seconds, sizes bytes."""

    verify_checksums: bool = True
    """Verify TCP and UDP checksums on receipt, though ZeroTier's own MAC has covered every frame."""

    hop_limit: int = 64
    """Of packets, where a socket does not say otherwise."""

    congestion_control: Literal["cubic", "newreno"] = "cubic"
    """Of new connections: RFC 9438, or RFC 5681 with RFC 6582."""

    pacing: bool = True
    """Spread a window over the round trip on paths of several milliseconds."""

    send_buffer: int = 8 << 20
    """Most that a connection asks its writer to keep queued; it asks for no more than the path can use."""

    receive_buffer: int = 256 << 10
    """Receive window of a new connection. It grows while the sender fills it and the reader keeps up."""

    max_receive_buffer: int = 8 << 20
    """Largest receive window. Chooses the window scale."""

    syn_retransmit: float = 0.25
    """First repeat of an unanswered SYN; the interval doubles up to 8 s. Short, as paths form meanwhile."""

    connect_timeout: float = 40.0
    """An unanswered connect fails with ETIMEDOUT."""

    handshake_timeout: float = 20.0
    """A half-open connection of a listener is dropped."""

    user_timeout: float = 300.0
    """Data that is not acknowledged for so long ends a connection with ETIMEDOUT (RFC 9293 section 3.9.1)."""

    minimum_rto: float = 0.2
    """Lower bound of the retransmission timeout."""

    delayed_ack: float = 0.04
    """Longest time that an acknowledgement waits for company."""

    prompt_ack: float = 0.001
    """The same for a new connection, whose peer sends little at a time, and for a FIN; 0 acknowledges these at once."""

    time_wait: float = 120.0
    """Two maximum segment lifetimes."""

    max_time_wait: int = 8192
    """Connections kept in TIME-WAIT; beyond that the oldest is dropped."""

    fin_wait_2_timeout: float = 60.0
    """A connection that the application closed waits so long for its peer's FIN."""

    ephemeral_ports: tuple[int, int] = (32768, 65535)
    """First and last of the ports given to sockets that name none."""

    listen_backlog: int = 128
    """Half-open connections of a listener, and again established ones that wait for accept."""

    udp_queue: int = 1 << 20
    """Received bytes that wait in a UDP endpoint, each datagram counted with 256 bytes more."""

    reassembly_memory: int = 1 << 20
    """All fragments held, each counted with 256 bytes more."""

    reassembly_timeout: float = 60.0
    """Of IPv6 packets (RFC 8200 section 4.5)."""

    ipv4_reassembly_timeout: float = 30.0
    """Of IPv4 packets, whose identification comes around sooner."""

    max_groups: int = 256
    """Multicast groups that one socket may be in."""

    max_neighbors: int = 4096
    """Entries of an interface's neighbour cache; beyond that the one unused longest is dropped."""

    neighbor_timeout: float = 7.0
    """An address that nobody answers for is unreachable after so long. RFC 4861 has three seconds, but zerotier-one
    lets others find a new address after up to five."""

    neighbor_queue: int = 64
    """Packets kept for an address that is being resolved; beyond that the oldest are dropped."""

    max_pings: int = 1024
    """Unanswered echo requests."""

    icmp_errors_per_second: float = 100.0
    """Limit of the ICMP errors sent (RFC 4443 section 2.4 f)."""

    def __post_init__(self) -> None:
        if self.congestion_control not in ("cubic", "newreno"):
            raise ValueError(f"congestion_control is cubic or newreno, not {self.congestion_control!r}")
        if not 1 <= self.hop_limit <= 255:
            raise ValueError(f"hop_limit is 1 to 255, not {self.hop_limit}")
        first, last = self.ephemeral_ports
        if not 1 <= first <= last <= 0xFFFF:
            raise ValueError(f"ephemeral_ports are a range within 1 to 65535, not {first} to {last}")
        if not 4096 <= self.receive_buffer <= self.max_receive_buffer <= 1 << 30:
            raise ValueError("4096 <= receive_buffer <= max_receive_buffer <= 1 GiB does not hold")
        for name in (
            *("send_buffer", "syn_retransmit", "connect_timeout", "handshake_timeout", "user_timeout"),
            *("minimum_rto", "time_wait", "fin_wait_2_timeout", "listen_backlog", "max_time_wait"),
            *("reassembly_timeout", "ipv4_reassembly_timeout", "max_neighbors", "neighbor_timeout"),
            *("neighbor_queue", "max_pings", "max_groups", "udp_queue", "reassembly_memory"),
            "icmp_errors_per_second",
        ):
            if not getattr(self, name) > 0:  # not a number is not either
                raise ValueError(f"{name} is more than 0, not {getattr(self, name)}")
        for name in ("delayed_ack", "prompt_ack"):
            if not 0 <= getattr(self, name) <= 0.5:
                raise ValueError(f"{name} is 0 to 0.5 s (RFC 9293 MUST-40), not {getattr(self, name)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeConfig:
    """A node's own settings. Times are seconds, sizes bytes."""

    port: int = 0
    """Primary UDP port; 0 picks a free one from 20000 to 65499. The daemon's port is 9993."""

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

    trusted_paths: Mapping[IPNetwork, int] = field(default_factory=dict)
    """Physical prefixes whose wire is vouched for, with the 64-bit ID both ends agreed on: packets go in the clear."""

    path_hints: Mapping[NodeAddress, tuple[Endpoint, ...]] = field(default_factory=dict)
    """Endpoints to try for given peers."""

    mtu: int = 1432
    """Largest UDP payload to send, 1400 to 10324."""

    batched_udp: bool = True
    """Use UDP GSO and GRO where the system has them."""

    offline_after: float = 30.0
    """The node is offline when no root was heard for so long."""

    identity_validation_burst: int = 8
    """New identities of one /24 (IPv6: /48) checked at once; then one per 2 s. 1 is the reference's rule."""

    max_peers: int = 16_384
    """Peers kept in memory besides roots; beyond that those that were silent longest are forgotten."""

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
        for name in ("identity_validation_burst", "max_peers", "event_queue"):
            if not getattr(self, name) >= 1:
                raise ValueError(f"{name} is at least 1, not {getattr(self, name)}")
        for name in ("bind", "interface_blacklist"):
            if isinstance(getattr(self, name), str):
                raise TypeError(f"{name} is a tuple of texts, not {getattr(self, name)!r}")
        _check_networks("path_blacklist", self.path_blacklist)
        _check_networks("trusted_paths", self.trusted_paths)
        if any(not 0 < path_id < 1 << 64 for path_id in self.trusted_paths.values()):
            raise ValueError("a trusted path ID has 64 bits and is not zero")
        if not self.offline_after > 0:
            raise ValueError(f"offline_after is more than 0 s, not {self.offline_after}")


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkSettings:
    """What one network's controller may decide for this node (vl2.md 10)."""

    allow_managed: bool = True
    """Use the addresses and routes that it assigns."""

    managed_prefixes: tuple[IPNetwork, ...] = ()
    """Only addresses and routes inside one of these; with none of them, wherever they are."""

    allow_global: bool = False
    """Also addresses and routes of global scope."""

    allow_default: bool = False
    """Also default routes."""

    allow_dns: bool = False
    """Use the DNS servers that it names."""

    def __post_init__(self) -> None:
        _check_networks("managed_prefixes", self.managed_prefixes)


def _check_networks(name: str, networks: Iterable[IPNetwork]) -> None:
    for network in networks:
        if not isinstance(network, IPv4Network | IPv6Network):
            raise TypeError(f"{name} has networks of the module ipaddress, not {network!r}")
