"""One joined network: its state, and its frames on their way in and out. vl2.md 2, 4.9 and 5.

What is to be sent gathers in ``outbox``, ``multicasts`` and ``back``, where ``vl2.core`` collects it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Container
from typing import Final, NamedTuple

from zt_async.config import NetworkSettings
from zt_async.context import Context
from zt_async.crypto.credentials import FindIdentity
from zt_async.crypto.identity import Identity
from zt_async.events import NetworkInfo, NetworkStatus
from zt_async.types import BROADCAST, Frame, MACAddress, MulticastGroup, NetworkId, NodeAddress
from zt_async.vl1.path import NEVER
from zt_async.vl1.sender import make_body
from zt_async.vl2.addressing import address_of_mac, first_octet, member_mac
from zt_async.vl2.assembly import ConfigAssembly
from zt_async.vl2.counters import SENT
from zt_async.vl2.filter import ACCEPTED, Copy, Filter, Verdict
from zt_async.vl2.groups import shuffled
from zt_async.vl2.member import Member
from zt_async.vl2.membership import MAX_MEMBERS, Outcome
from zt_async.vl2.membership import Members as Memberships
from zt_async.vl2.ndp import emulated_advertisement
from zt_async.vl2.settings import Applied, apply_settings
from zt_async.wire.credentials import Credential, Credentials
from zt_async.wire.ethernet import ETHERTYPE_ARP, ETHERTYPE_IPV6
from zt_async.wire.network_config import NetworkConfig, SingleSignOn
from zt_async.wire.packet import Verb
from zt_async.wire.verbs import EXT_ACKNOWLEDGE, ExtFrame

MAX_BRIDGE_ROUTES: Final = 65_536
MAX_BRIDGED_GROUPS: Final = 4096
MAX_BRIDGE_RECIPIENTS: Final = 32  # of a frame for a card that no bridge is known for
MAX_CREDENTIALS: Final = 9600  # bytes in one packet, which seven datagrams of any size have to carry
BRIDGED_GROUP_LIFETIME: Final = 1200.0  # s
EVERYBODY: Final = MulticastGroup(BROADCAST)
NO_TIME: Final = math.inf
"""When something is due that is not."""


def _asks_for_ipv4(ethertype: int, payload: bytes) -> bool:
    """Whether a frame is an ARP request of the kind that has a group of its own."""
    return (
        ethertype == ETHERTYPE_ARP
        and len(payload) >= 28
        and payload[2:6] == b"\x08\0\x06\x04"
        and payload[7] == 1
    )


class Multicast(NamedTuple):
    """A frame for all who listen to a group."""

    group: MulticastGroup
    source: int | None
    """MAC of a card that is not the sender's own."""
    ethertype: int
    payload: bytes


class Network:
    """A network as one member has it. Frames are tuples of destination MAC, source MAC, ethertype, payload."""

    def __init__(
        self,
        network_id: NetworkId,
        own: NodeAddress,
        context: Context,
        counters: Counter[str] | None = None,
        settings: NetworkSettings | None = None,
    ) -> None:
        self.id = network_id
        self.own = own
        self.mac: MACAddress = member_mac(network_id, own)
        self.counters: Counter[str] = Counter() if counters is None else counters
        self.settings = settings or NetworkSettings()
        self.config: NetworkConfig | None = None
        self.applied = Applied()
        self.filter: Filter | None = None
        self.failure: NetworkStatus | None = None
        """What the last answer of the controller said, if it was no configuration."""
        self.authentication_url = ""
        """Where a user has to log in, if that is what the controller said."""
        self.controller: Identity | None = None
        """Once it is known; kept, because it must go on to be checked against when the controller is gone."""
        self.members: dict[int, Member] = {}
        """Who we talk to, and may not be one."""
        self.memberships = Memberships(network_id)
        """What the controller says of members."""
        self.bridges: frozenset[NodeAddress] = frozenset()
        self.is_bridge = False
        """We may carry frames of cards that are not ours."""
        self.bridge_routes: dict[int, NodeAddress] = {}
        """Cards behind bridges, by MAC."""
        self.groups: frozenset[MulticastGroup] = frozenset()
        """Those that our own card is in."""
        self.bridged_groups: dict[MulticastGroup, float] = {}
        """Those in which cards behind us are, and when one was last heard of; the longest silent first."""
        self.assembly = ConfigAssembly()

        self.outbox: dict[Member, list[bytes]] = {}
        """Bodies of packets to other members."""
        self.multicasts: list[Multicast] = []
        self.new_groups: list[MulticastGroup] = []
        """Groups of cards behind us that nobody was told of."""
        self.back: list[Frame] = []
        """Frames for our own card that are the answer to what it sent, or came straight back."""

        self.requested = NEVER
        self.request_due = NEVER
        self.retry = 0.0
        self.configured = NEVER
        """When a configuration was last applied."""
        self.credential_bodies: list[bytes] = []
        """All credentials that we have, as packets."""
        self.passed_on = 0
        """The configuration of which chunks were last passed on to other members, and when."""
        self.passed_on_at = NEVER
        self.announce_due = NO_TIME

        self._context = context
        self._octet = first_octet(network_id)
        self._by_mac: dict[int, Member] = {}
        self._prefixes: dict[int, bytes] = {}

    # State

    @property
    def status(self) -> NetworkStatus:
        """Where the network stands (vl2.md 2.1)."""
        if self.failure is not None:
            return self.failure
        return NetworkStatus.REQUESTING_CONFIGURATION if self.config is None else NetworkStatus.OK

    def configure(self, config: NetworkConfig) -> None:
        """Take a configuration over: from here on its rules hold."""
        self.config = config
        self.bridges = config.bridges
        self.is_bridge = self.own in self.bridges
        if not self.is_bridge:
            self.bridged_groups.clear()
        self.failure = None
        self.authentication_url = ""
        self.filter = Filter(config, self.own, self._context, self.filter)
        self.credential_bodies = _credential_bodies(config)
        self.memberships.configure(config)
        for member in self.members.values():
            member.membership = self.memberships.get(member.address)
            member.push_due = NEVER
        self.apply_settings(self.settings)

    def apply_settings(self, settings: NetworkSettings) -> None:
        """Put what the settings allow of the configuration to use."""
        self.settings = settings
        config = self.config
        if config is not None:
            self.applied = apply_settings(settings, config.addresses, config.routes, config.dns)

    def announced_groups(self) -> list[MulticastGroup]:
        """All groups that others are to know us in (vl2.md 7.1)."""
        groups = self.groups | self.bridged_groups.keys()
        if self.config is not None and self.config.broadcast:
            groups |= {EVERYBODY}
        return sorted(groups)

    def listens(self, group: MulticastGroup) -> bool:
        """Whether we name ourselves to who asks for the members of a group (vl2.md 7.3)."""
        return group in self.groups or group in self.bridged_groups

    def info(self) -> NetworkInfo:
        """A copy of the state."""
        config, applied = self.config, self.applied
        assigned = config or NetworkConfig(network_id=self.id, issued_to=self.own)
        sso = assigned.sso or SingleSignOn()
        return NetworkInfo(
            id=self.id,
            name=assigned.name,
            status=self.status,
            mac=self.mac,
            mtu=assigned.mtu,
            private=assigned.private,
            addresses=applied.addresses,
            routes=applied.routes,
            dns=applied.dns,
            revision=assigned.revision,
            settings=self.settings,
            assigned_addresses=assigned.addresses,
            assigned_routes=assigned.routes,
            assigned_dns=assigned.dns,
            broadcast=assigned.broadcast,
            multicast_limit=assigned.multicast_limit,
            bridge=self.is_bridge,
            groups=tuple(self.announced_groups()),
            authentication_url=self.authentication_url or sso.authentication_url or sso.issuer_url,
            authentication_expiry=sso.expiry,
        )

    # Members

    def record(self, address: int) -> Member:
        """The record of a member, made if there is none."""
        member = self.members.get(address)
        if member is None:
            if len(self.members) >= MAX_MEMBERS:
                self._forget_some()
            node = NodeAddress(address)
            member = Member(node, member_mac(self.id, node), self.memberships.get(node))
            self.members[node] = member
            self._by_mac[member.mac] = member
        return member

    def _forget(self, member: Member) -> None:
        del self.members[member.address], self._by_mac[member.mac]

    def _forget_some(self) -> None:
        """Make room: an eighth goes, of those who had nothing to do with us for longest."""
        members = sorted(self.members.values(), key=lambda member: max(member.last_used, member.pushed))
        for member in members[: MAX_MEMBERS // 8]:
            self._forget(member)

    def add_credential(self, credential: Credential, find: FindIdentity) -> Outcome:
        """Take a credential of whoever it is about."""
        outcome = self.memberships.add(credential, find)
        if outcome is Outcome.NEW and (member := self.members.get(credential.issued_to)) is not None:
            member.membership = self.memberships.get(member.address)
        return outcome

    def member(self, mac: int) -> NodeAddress | None:
        """The node whose card that is; None for cards of no member, which may be behind a bridge."""
        return address_of_mac(self.id, mac) if mac >> 40 == self._octet else None

    def _record_of_card(self, mac: int) -> Member | None:
        record = self._by_mac.get(mac)
        if record is None and (address := self.member(mac)) is not None:
            record = self.record(address)
        return record

    def expire(self, known: Container[int], now: float) -> None:
        """Forget members who are not among the ``known`` nodes any more, and groups behind us that went silent."""
        for member in list(self.members.values()):
            if member.address not in known:
                self._forget(member)
        groups = self.bridged_groups
        while groups and now - groups[silent := next(iter(groups))] >= BRIDGED_GROUP_LIFETIME:
            del groups[silent]

    # Out

    def outgoing(self, frames: list[Frame], now: float) -> None:
        """Send frames of our card, or of one behind us (vl2.md 5.2)."""
        judge = self.filter
        if judge is None:
            self.counters["out: not configured"] += len(frames)
            return
        allow = judge.outgoing
        own_mac, by_mac, prefixes, outbox = self.mac, self._by_mac, self._prefixes, self.outbox
        sent = 0
        for frame in frames:
            to_mac, from_mac, ethertype, payload = frame
            member = by_mac.get(to_mac)
            if member is None or from_mac != own_mac:
                self._outgoing_other(frame, judge, now)
                continue
            decision = allow(payload, ethertype, to_mac, from_mac, member.address, member.membership)
            if decision is not ACCEPTED:
                self._copy(decision.copies, frame)
                if decision.verdict == Verdict.REFUSED:
                    self.counters["out: rules"] += 1
                    continue
            sent += 1
            body = (prefixes.get(ethertype) or self._prefix(ethertype)) + payload
            if member in outbox:
                outbox[member].append(body)
            else:
                outbox[member] = [body]
        if sent:
            self.counters[SENT] += sent

    def _prefix(self, ethertype: int) -> bytes:
        """All of a FRAME before the Ethernet payload."""
        prefix = bytes((Verb.FRAME,)) + self.id.packed + ethertype.to_bytes(2, "big")
        if len(self._prefixes) < 64:
            self._prefixes[ethertype] = prefix
        return prefix

    def _put(self, member: Member, body: bytes) -> None:
        self.outbox.setdefault(member, []).append(body)

    def _copy(self, copies: tuple[Copy, ...], frame: Frame) -> None:
        """Send aside what the rules say (vl2.md 6.5)."""
        for target, flags, length in copies:
            body = make_body(
                Verb.EXT_FRAME, self._ext_frame(frame, flags, frame[3][:length]), compressible=True
            )
            self._put(self.record(target), body)
            self.counters["copies: sent"] += 1

    def _ext_frame(self, frame: Frame, flags: int, payload: bytes) -> bytes:
        to_mac, from_mac, ethertype, _ = frame
        return ExtFrame(self.id, flags, MACAddress(to_mac), MACAddress(from_mac), ethertype, payload).encode()

    def _allows(self, judge: Filter, frame: Frame, member: Member | None, *, copies: bool) -> bool:
        """Whether the rules let a frame go to a member, or for now just to somebody."""
        to_mac, from_mac, ethertype, payload = frame
        address, membership = (0, None) if member is None else (member.address, member.membership)
        decision = judge.outgoing(payload, ethertype, to_mac, from_mac, address, membership, copies)
        self._copy(decision.copies, frame)
        return decision.verdict != Verdict.REFUSED

    def _outgoing_other(self, frame: Frame, judge: Filter, now: float) -> None:
        """A frame that is not simply one of our card to that of a member."""
        to_mac, from_mac, ethertype, payload = frame
        bridged = from_mac != self.mac
        if bridged and not self.is_bridge:
            self.counters["out: foreign card"] += 1
        elif to_mac >> 40 & 1:
            self._outgoing_multicast(frame, judge, bridged, now)
        elif to_mac == self.mac:
            self.counters["out: own card"] += 1
            self.back.append(frame)
        elif (member := self._record_of_card(to_mac)) is None:
            self._outgoing_to_bridges(frame, judge)
        elif self._allows(judge, frame, member, copies=True):
            self.counters[SENT] += 1
            if bridged:
                self._put(member, bytes((Verb.EXT_FRAME,)) + self._ext_frame(frame, 0, payload))
            else:
                self._put(member, self._prefix(ethertype) + payload)
        else:
            self.counters["out: rules"] += 1

    def _outgoing_to_bridges(self, frame: Frame, judge: Filter) -> None:
        """A frame for a card of no member: it is behind the bridge that is known for it, or behind any."""
        known = self.bridge_routes.get(frame[0])
        others = (known,) if known in self.bridges else self.bridges - {self.own}
        recipients = shuffled(others, self._context, MAX_BRIDGE_RECIPIENTS)
        if not recipients:
            self.counters["out: unknown card"] += 1
        elif not self._allows(judge, frame, None, copies=True):
            self.counters["out: rules"] += 1
        else:
            self.counters["out: bridged"] += 1
            body = bytes((Verb.EXT_FRAME,)) + self._ext_frame(frame, 0, frame[3])
            for bridge in recipients:
                member = self.record(bridge)
                if self._allows(judge, frame, member, copies=False):
                    self._put(member, body)

    def _outgoing_multicast(self, frame: Frame, judge: Filter, bridged: bool, now: float) -> None:
        """A frame for a group (vl2.md 5.3)."""
        to_mac, from_mac, ethertype, payload = frame
        config = self.config
        assert config is not None  # there is a filter
        group = MulticastGroup(MACAddress(to_mac))
        if group == EVERYBODY:
            if _asks_for_ipv4(ethertype, payload):
                group = MulticastGroup(BROADCAST, int.from_bytes(payload[24:28], "big"))
            elif not config.broadcast:
                self.counters["out: broadcast"] += 1
                return
        elif ethertype == ETHERTYPE_IPV6 and config.ndp_emulation:
            answer = emulated_advertisement(payload, from_mac, self.id, self.own, config.addresses)
            if answer is not None:
                self.counters["out: neighbour emulated"] += 1
                self.back.append(answer)
                return
        if not config.multicast_limit:
            self.counters["out: no multicast"] += 1
            return
        if bridged:
            if self.bridged_groups.pop(group, None) is None:
                self.new_groups.append(group)
                if len(self.bridged_groups) >= MAX_BRIDGED_GROUPS:
                    del self.bridged_groups[next(iter(self.bridged_groups))]
            self.bridged_groups[group] = now
        if not self._allows(judge, frame, None, copies=True):
            self.counters["out: rules"] += 1
            return
        self.counters["out: multicast"] += 1
        self.multicasts.append(Multicast(group, from_mac if bridged else None, ethertype, payload))

    def allows_multicast(self, member: Member, multicast: Multicast) -> bool:
        """Whether the rules let a multicast go to one of its receivers."""
        group, source, ethertype, payload = multicast
        frame = (group.mac, self.mac if source is None else source, ethertype, payload)
        return self.filter is not None and self._allows(self.filter, frame, member, copies=False)

    # In

    def incoming_frame(self, member: Member, body: bytes) -> Frame | None:
        """The frame in the body of a FRAME from a member, if the rules let it in (vl2.md 5.5)."""
        payload = body[11:]
        if not payload:
            self.counters["in: empty"] += 1
            return None
        judge = self.filter
        assert judge is not None  # the member passed the gate
        ethertype = body[9] << 8 | body[10]
        mac, from_mac = self.mac, member.mac
        decision = judge.incoming(payload, ethertype, mac, from_mac, member.address, member.membership)
        frame = (mac, from_mac, ethertype, payload)
        if decision is not ACCEPTED:
            self._copy(decision.copies, frame)
            if decision.verdict == Verdict.REFUSED:
                self.counters["in: rules"] += 1
                return None
        return frame

    def incoming_ext_frame(self, member: Member, ext: ExtFrame) -> tuple[Frame | None, bool]:
        """The frame of an EXT_FRAME, if it is let in, and whether it is to be acknowledged (vl2.md 5.6)."""
        judge, config = self.filter, self.config
        assert judge is not None
        assert config is not None
        if ext.source in (0, self.mac):
            self.counters["in: own card"] += 1
            return None, False
        acknowledge = bool(ext.flags & EXT_ACKNOWLEDGE)
        if not ext.data:
            self.counters["in: empty"] += 1
            return None, acknowledge
        frame: Frame = (ext.destination, ext.source, ext.ethertype, ext.data)
        decision = judge.incoming(
            ext.data, ext.ethertype, ext.destination, ext.source, member.address, member.membership
        )
        self._copy(decision.copies, frame)
        if decision.verdict == Verdict.REFUSED:
            self.counters["in: rules"] += 1
            return None, acknowledge
        if decision.verdict == Verdict.ACCEPTED:
            if ext.source != member.mac:
                if not self.learn_bridge(member, ext.source):
                    return None, False
            elif ext.destination != self.mac:
                multicast = ext.destination.is_multicast
                if not (config.multicast_limit if multicast else self.is_bridge):
                    self.counters["in: foreign card"] += 1
                    return None, False
        return frame, acknowledge

    def incoming_multicast(self, member: Member, multicast: Multicast) -> Frame | None:
        """The frame of a MULTICAST_FRAME, if the rules let it in."""
        judge = self.filter
        assert judge is not None
        group, source, ethertype, payload = multicast
        from_mac = member.mac if source is None else source
        decision = judge.incoming(payload, ethertype, group.mac, from_mac, member.address, member.membership)
        frame: Frame = (group.mac, from_mac, ethertype, payload)
        self._copy(decision.copies, frame)
        if decision.verdict == Verdict.REFUSED:
            self.counters["in: rules"] += 1
            return None
        return frame

    def learn_bridge(self, member: Member, mac: int) -> bool:
        """Note behind which member a card is; False if that one is no bridge (vl2.md 5.7)."""
        if member.address not in self.bridges:
            self.counters["in: foreign card"] += 1
            return False
        if mac not in self.bridge_routes and len(self.bridge_routes) >= MAX_BRIDGE_ROUTES:
            self._forget_routes()
        self.bridge_routes[mac] = member.address
        return True

    def _forget_routes(self) -> None:
        """Make room: all cards go that are behind the bridge that has most."""
        greediest, _ = Counter(self.bridge_routes.values()).most_common(1)[0]
        self.bridge_routes = {mac: b for mac, b in self.bridge_routes.items() if b != greediest}


def _credential_bodies(config: NetworkConfig) -> list[bytes]:
    """Packets with all credentials that a configuration gives us, the certificate of membership in the first."""
    credentials = Credentials(
        coms=(config.certificate,) if config.certificate is not None else (),
        capabilities=config.capabilities,
        tags=config.tags,
        ownerships=config.ownerships,
    )
    parts = credentials.payloads(MAX_CREDENTIALS)
    return [make_body(Verb.NETWORK_CREDENTIALS, part, compressible=True) for part in parts]
