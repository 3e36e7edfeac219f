"""The configuration of a network, as a member holds it. vl2.md 3.2 and 3.3."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from zt_async.types import IPInterface, NetworkId, NodeAddress
from zt_async.wire.rules import Rule

DEFAULT_MTU: Final = 2800
MIN_MTU: Final = 1280
MAX_MTU: Final = 10_000

FLAG_BROADCAST: Final = 0x02
FLAG_NDP_EMULATION: Final = 0x04
FLAG_UNKNOWN_RULES_MATCH: Final = 0x08

ROLE_BRIDGE: Final = 1 << 41
_ADDRESS_MASK: Final = (1 << 40) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkConfig:
    """What a network is for one member. Times are Unix milliseconds."""

    network_id: NetworkId
    issued_to: NodeAddress
    name: str = ""
    private: bool = True
    mtu: int = DEFAULT_MTU
    revision: int = 0
    timestamp: int = 0
    credential_max_delta: int = 0
    """Milliseconds by which credentials may differ in time."""
    flags: int = 0
    multicast_limit: int = 0
    addresses: tuple[IPInterface, ...] = ()
    rules: tuple[Rule, ...] = ()
    specialists: tuple[int, ...] = ()
    """Node addresses with role bits above the 40 bits of the address."""

    @property
    def bridges(self) -> frozenset[int]:
        """Members that may carry frames of cards that are not theirs."""
        return frozenset(s & _ADDRESS_MASK for s in self.specialists if s & ROLE_BRIDGE)

    @property
    def ndp_emulation(self) -> bool:
        """Neighbour solicitations for derived addresses are answered on the spot (vl2.md 5.4)."""
        return bool(self.flags & FLAG_NDP_EMULATION)
