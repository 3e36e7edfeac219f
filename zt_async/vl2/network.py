"""One joined network: its state, and its frames on their way in and out. vl2.md 2 and 5."""

from __future__ import annotations

from collections import Counter
from typing import Final

from zt_async.events import NetworkInfo, NetworkStatus
from zt_async.types import Frame, MACAddress, NetworkId, NodeAddress
from zt_async.vl2.addressing import address_of_mac, first_octet, member_mac
from zt_async.vl2.ndp import emulated_advertisement
from zt_async.vl2.rules import IPV6, RuleTable, Verdict
from zt_async.wire.network_config import DEFAULT_MTU, NetworkConfig
from zt_async.wire.packet import Verb
from zt_async.wire.verbs import EXT_ACKNOWLEDGE, ExtFrame

MAX_BRIDGE_ROUTES: Final = 65_536


class Network:
    """A network as one member has it. Frames are tuples of destination MAC, source MAC, ethertype, payload."""

    def __init__(self, network_id: NetworkId, own: NodeAddress, counters: Counter[str] | None = None) -> None:
        self.id = network_id
        self.own = own
        self.mac: MACAddress = member_mac(network_id, own)
        self.config: NetworkConfig | None = None
        self.failure: NetworkStatus | None = None
        """What the last answer of the controller said, if it was no configuration."""
        self.counters: Counter[str] = Counter() if counters is None else counters
        self.bridge_routes: dict[int, NodeAddress] = {}
        """Cards behind bridges, by MAC."""
        self._octet = first_octet(network_id)
        self._rules = RuleTable((), own)
        self._addresses: dict[int, NodeAddress] = {}
        self._macs: dict[int, MACAddress] = {}
        self._prefixes: dict[int, bytes] = {}

    @property
    def status(self) -> NetworkStatus:
        """Where the network stands (vl2.md 2.1)."""
        if self.failure is not None:
            return self.failure
        return NetworkStatus.REQUESTING_CONFIGURATION if self.config is None else NetworkStatus.OK

    def configure(self, config: NetworkConfig) -> None:
        """Take a configuration over: from here on its rules hold."""
        self.config = config
        self.failure = None
        self._rules = RuleTable(config.rules, self.own)

    def info(self) -> NetworkInfo:
        """A copy of the state."""
        config = self.config
        return NetworkInfo(
            id=self.id,
            name=config.name if config else "",
            status=self.status,
            mac=self.mac,
            mtu=config.mtu if config else DEFAULT_MTU,
            private=config.private if config else True,
            addresses=config.addresses if config else (),
            revision=config.revision if config else 0,
        )

    def member(self, mac: int) -> NodeAddress | None:
        """The member that a card belongs to; None for cards of no member, which may be behind a bridge."""
        address = self._addresses.get(mac)
        if address is None:
            if mac >> 40 != self._octet:
                return None
            if len(self._addresses) >= 65_536:
                self._addresses.clear()
            address = self._addresses[mac] = address_of_mac(self.id, MACAddress(mac))
        return address

    def mac_of(self, member: NodeAddress) -> MACAddress:
        mac = self._macs.get(member)
        if mac is None:
            if len(self._macs) >= 65_536:
                self._macs.clear()
            mac = self._macs[member] = member_mac(self.id, member)
        return mac

    def allows(self, member: NodeAddress) -> bool:
        """Whether frames of this node are taken (vl2.md 4.9)."""
        return self.config is not None and not self.config.private

    # Out

    def outgoing(self, frames: list[Frame]) -> tuple[dict[NodeAddress, list[bytes]], list[Frame]]:
        """Sort frames of our card by the members they go to, as bodies of packets.

        The second result are frames that come straight back: to our own card, or emulated neighbours.
        """
        bodies: dict[NodeAddress, list[bytes]] = {}
        back: list[Frame] = []
        if self.config is None:
            self.counters["out: not configured"] += len(frames)
            return bodies, back
        check = self._rules.check
        own = self.own
        for frame in frames:
            to_mac, from_mac, ethertype, payload = frame
            if from_mac != self.mac:
                self.counters["out: foreign card"] += 1
            elif to_mac >> 40 & 1:
                self._outgoing_multicast(frame, back)
            elif to_mac == from_mac:
                self.counters["out: own card"] += 1
                back.append(frame)
            elif (member := self._addresses.get(to_mac) or self.member(to_mac)) is None:
                self.counters["out: unknown card"] += 1
            elif check(payload, ethertype, to_mac, own, member, False) < Verdict.ACCEPT:
                self.counters["out: rules"] += 1
            else:
                body = (self._prefixes.get(ethertype) or self._prefix(ethertype)) + payload
                if member in bodies:
                    bodies[member].append(body)
                else:
                    bodies[member] = [body]
        return bodies, back

    def _prefix(self, ethertype: int) -> bytes:
        """All of a FRAME before the Ethernet payload."""
        prefix = bytes((Verb.FRAME,)) + self.id.packed + ethertype.to_bytes(2, "big")
        if len(self._prefixes) < 64:
            self._prefixes[ethertype] = prefix
        return prefix

    def _outgoing_multicast(self, frame: Frame, back: list[Frame]) -> None:
        _, from_mac, ethertype, payload = frame
        config = self.config
        if config is not None and config.ndp_emulation and ethertype == IPV6:
            answer = emulated_advertisement(payload, from_mac, self.id, self.own, config.addresses)
            if answer is not None:
                self.counters["out: neighbour emulated"] += 1
                back.append(answer)
                return
        self.counters["out: multicast"] += 1

    # In

    def incoming_frame(self, member: NodeAddress, body: bytes) -> Frame | None:
        """The frame in the body of a FRAME from a member, if the rules let it in (vl2.md 5.5)."""
        payload = body[11:]
        if not payload:
            self.counters["in: empty"] += 1
            return None
        ethertype = body[9] << 8 | body[10]
        mac = self.mac
        if self._rules.check(payload, ethertype, mac, member, self.own, True) < Verdict.ACCEPT:
            self.counters["in: rules"] += 1
            return None
        return mac, self._macs.get(member) or self.mac_of(member), ethertype, payload

    def incoming_ext_frame(self, member: NodeAddress, body: bytes) -> tuple[Frame | None, bool]:
        """The frame of an EXT_FRAME, if it is let in, and whether it is to be acknowledged (vl2.md 5.6)."""
        ext = ExtFrame.decode(body[1:])
        config = self.config
        if config is None or ext.source in (0, self.mac):
            self.counters["in: own card"] += 1
            return None, False
        acknowledge = bool(ext.flags & EXT_ACKNOWLEDGE)
        if not ext.data:
            self.counters["in: empty"] += 1
            return None, acknowledge
        frame: Frame = (ext.destination, ext.source, ext.ethertype, ext.data)
        verdict = self._rules.check(ext.data, ext.ethertype, ext.destination, member, self.own, True)
        if verdict < Verdict.ACCEPT:
            self.counters["in: rules"] += 1
            return None, acknowledge
        if verdict == Verdict.ACCEPT:
            if ext.source != self.mac_of(member):
                if member not in config.bridges:
                    self.counters["in: foreign card"] += 1
                    return None, False
                if len(self.bridge_routes) < MAX_BRIDGE_ROUTES or ext.source in self.bridge_routes:
                    self.bridge_routes[ext.source] = member
            elif ext.destination != self.mac:
                multicast = ext.destination.is_multicast
                if (multicast and not config.multicast_limit) or (
                    not multicast and self.own not in config.bridges
                ):
                    self.counters["in: foreign card"] += 1
                    return None, False
        return frame, acknowledge
