"""What one network's member keeps of another: its credentials, and when which of ours went there. vl2.md 4.7 to 4.9."""

from __future__ import annotations

from zt_async.types import MACAddress, NodeAddress
from zt_async.vl1.path import NEVER
from zt_async.vl2.membership import Membership


class Member:
    """Another member, or who may prove to be one."""

    __slots__ = (
        "address",
        "announce_due",
        "last_used",
        "mac",
        "membership",
        "push_due",
        "pushed",
    )

    def __init__(self, address: NodeAddress, mac: MACAddress, membership: Membership | None) -> None:
        self.address = address
        self.mac = mac
        """Of its card on this network."""
        self.membership = membership
        """What the controller says of it, if that was told."""
        self.push_due = NEVER
        """When it is to get our credentials, before the next frame."""
        self.pushed = NEVER
        """When it last got them."""
        self.announce_due = NEVER
        """When it is to be told again which groups we are in."""
        self.last_used = NEVER
        """When something of it last passed the gate."""

    def __repr__(self) -> str:
        return f"<Member {self.address}>"
