"""Multicast: who listens to what, asking for it, and sending to all of them. vl2.md 7."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from zt_async.types import MACAddress, MulticastGroup, NetworkId, NodeAddress
from zt_async.vl1.core import Inbound
from zt_async.vl1.path import NEVER, Path
from zt_async.vl1.peer import Peer
from zt_async.vl1.sender import make_body
from zt_async.vl2.counters import NOT_JOINED
from zt_async.vl2.groups import GroupKey, GroupTable, shuffled
from zt_async.vl2.member import Member
from zt_async.vl2.network import NO_TIME, Multicast, Network
from zt_async.wire.buffer import Reader
from zt_async.wire.multicast import (
    MAX_GATHERED,
    Gather,
    Gathered,
    GatherReply,
    MulticastFrame,
    MulticastFrameReply,
    decode_likes,
    encode_likes,
)
from zt_async.wire.packet import Verb

if TYPE_CHECKING:
    from zt_async.vl2.core import VL2

ANNOUNCE_INTERVAL: Final = 60.0  # s
GATHER_INTERVAL: Final = 60.0  # s between two times that members are asked for, if some are known
FIRST_GATHER_INTERVAL: Final = 0.5  # s, if none is known
REPLY_INTERVAL: Final = 1.0  # s between two frames of a group whose receivers may tell us of members
PENDING_LIFETIME: Final = 5.0  # s for which a frame goes to members who become known
SWEEP_INTERVAL: Final = 1.0  # s
MAX_PENDING: Final = 32  # frames of one group
MAX_ALL_PENDING: Final = 1024
MAX_SENDINGS: Final = 4096
MAX_GATHER_PEERS: Final = 16
MAX_PAYLOAD: Final = 10_000


class _Pending:
    """A frame that goes to everybody who becomes known as a member, until enough have got it."""

    __slots__ = ("asks", "body", "done", "left", "multicast", "network", "until")

    def __init__(
        self, network: Network, multicast: Multicast, body: bytes, limit: int, origin: int, now: float
    ) -> None:
        self.network = network
        self.multicast = multicast
        self.body = body
        self.left = limit
        """How many more may get it."""
        self.done = {origin, network.own}
        self.until = now + PENDING_LIFETIME
        self.asks = False
        """Receivers may answer with members that they know."""


class _Sending:
    """What is sent to one group."""

    __slots__ = ("asked", "gathered", "pending")

    def __init__(self) -> None:
        self.pending: deque[_Pending] = deque()
        self.gathered = NEVER
        """When others were last asked for members."""
        self.asked = NEVER
        """When a frame was last sent whose receivers may answer with members."""


class Multicaster:
    """Sends multicasts of all networks, and keeps what is known of groups for ourselves and for others."""

    def __init__(self, vl2: VL2) -> None:
        self._vl2 = vl2
        self._vl1 = vl2.vl1
        self.table = GroupTable(vl2.counters)
        self._sendings: dict[GroupKey, _Sending] = {}
        self._pending_count = 0
        self.next_timer = NO_TIME
        """When a look at the pending frames is due."""

    # Telling others what we listen to

    def announce_to(self, network: Network, member: Member, now: float) -> None:
        """Tell a member of all our groups."""
        member.announce_due = now + ANNOUNCE_INTERVAL
        if likes := _likes(network, network.announced_groups()):
            self._vl2.send_to(network, member, likes, now)

    def announce_all(self, network: Network, now: float) -> None:
        """Tell of all our groups those who were not told for a minute."""
        network.announce_due = now + ANNOUNCE_INTERVAL
        self._announce(network, network.announced_groups(), now, again=False)

    def announce_new(self, network: Network, groups: Iterable[MulticastGroup], now: float) -> None:
        """Tell everybody at once of groups that are new."""
        self._announce(network, sorted(groups), now, again=True)

    def _announce(self, network: Network, groups: list[MulticastGroup], now: float, *, again: bool) -> None:
        """Tell those who answer others' questions (roots, the controller, anchors and replicators) and members."""
        config, peers = network.config, self._vl1.topology.peers
        likes = _likes(network, groups)
        if config is None or not likes:
            return
        helpers = (config.anchors | config.replicators) - {network.own}
        for address in {*self._vl1.topology.upstreams, *self._controller_of(network)} - helpers:
            self._vl1.send_all(address, likes, now)
        told = [network.record(address) for address in helpers]
        for member in network.members.values():
            if member.address not in helpers and (again or now >= member.announce_due):
                peer = peers.get(member.address)
                if peer is not None and network.memberships.allows(peer.identity):
                    told.append(member)
        for member in told:
            if not again:  # all groups, and not just the new ones
                member.announce_due = now + ANNOUNCE_INTERVAL
            self._vl2.send_to(network, member, likes, now)

    def _controller_of(self, network: Network) -> tuple[NodeAddress, ...]:
        """The network's controller, if that is another node."""
        controller = network.id.controller
        return () if controller == network.own or network.id.is_ad_hoc else (controller,)

    # What others tell us, and ask

    def _serves(self, network_id: NetworkId, peer: Peer, now: float) -> bool:
        """Whether groups of a network are a peer's business, and ours (vl2.md 7.2)."""
        network = self._vl2.networks.get(network_id)
        return (
            (network is not None and self._vl2.gate(network, peer, now) is not None)
            or self._vl1.topology.is_root
            or self._vl2.serving.has_served(network_id, peer.address, now)
        )

    def receive_likes(self, peer: Peer, payload: bytes, now: float) -> None:
        """A peer listens to groups."""
        counters = self._vl2.counters
        counters["in: likes"] += 1
        allowed: dict[NetworkId, bool] = {}
        for network_id, group in decode_likes(payload):
            if network_id not in allowed:
                allowed[network_id] = self._serves(network_id, peer, now)
            if allowed[network_id]:
                self.learn(GroupKey(network_id, group), (peer.address,), now)
            else:
                counters["likes: refused"] += 1

    def receive_gather(self, peer: Peer, path: Path, packet_id: int, payload: bytes, now: float) -> None:
        """A peer wants to know members of a group. Raises DecodeError."""
        gather = Gather.decode(payload)
        network_id = gather.network_id
        network = self._vl2.networks.get(network_id)
        if gather.certificate is not None and network is not None:
            self._vl2.credentials.take_inline(gather.certificate, now)
        if not self._serves(network_id, peer, now):
            self._vl2.counters["in: gather refused"] += 1
            return
        self._vl2.counters["in: gather"] += 1
        if network is not None and self._vl2.gate(network, peer, now) is not None:
            self._vl1.trust(peer, path, now)
        gathered = self._gather(GroupKey(network_id, gather.group), gather.limit, peer.address)
        if gathered.members:
            data = GatherReply(network_id, gather.group, gathered).encode()
            self._vl1.reply(peer, path, Verb.MULTICAST_GATHER, packet_id, data, now)

    def _gather(self, key: GroupKey, limit: int, asker: int) -> Gathered:
        """Members of a group but for who asks: ourselves first, then others at random."""
        network = self._vl2.networks.get(key.network_id)
        known = self.table.members(key)
        own = [self._vl1.address] if network is not None and network.listens(key.group) else []
        count = min(limit, MAX_GATHERED)
        drawn = shuffled(known, self._vl2.context, count + 1)  # the asker may be among them
        others = [NodeAddress(member) for member in drawn if member != asker]
        return Gathered(len(known) + len(own), tuple((own + others)[:count]))

    def receive_gathered(self, data: bytes, now: float) -> None:
        """An answer to what we asked. Raises DecodeError."""
        reply = GatherReply.decode(data)
        self._learn_gathered(GroupKey(reply.network_id, reply.group), reply.gathered, now)

    def receive_frame_reply(self, data: bytes, now: float) -> None:
        """An answer to a frame that asked for members. Raises DecodeError."""
        reply = MulticastFrameReply.decode(data)
        self._vl2.credentials.take_inline(reply.certificate, now)
        self._learn_gathered(GroupKey(reply.network_id, reply.group), reply.gathered, now)

    def _learn_gathered(self, key: GroupKey, gathered: Gathered | None, now: float) -> None:
        if key.network_id not in self._vl2.networks:
            self._vl2.counters[NOT_JOINED] += 1
            return
        self._vl2.counters["in: gathered"] += 1
        if gathered is not None:
            self.learn(key, gathered.members, now)

    def receive_unwanted(self, network: Network, peer: Peer, data: bytes, now: float) -> None:
        """A member says that it does not listen to a group. Raises DecodeError."""
        if self._vl2.gate(network, peer, now) is None:
            self._vl2.counters["in: error ignored"] += 1
            return
        reader = Reader(data, 8)
        group = MulticastGroup(MACAddress(reader.uint(6)), reader.u32())
        self._vl2.counters["in: unwanted multicast"] += 1
        self.table.remove(GroupKey(network.id, group), peer.address)

    def receive_frame(self, packet: Inbound, now: float) -> None:
        """A frame for a group (vl2.md 7.6). Raises DecodeError."""
        peer, path, _, packet_id, body = packet
        vl2 = self._vl2
        frame = MulticastFrame.decode(body[1:])
        network = vl2.networks.get(frame.network_id)
        if network is None:
            vl2.counters[NOT_JOINED] += 1
            return
        vl2.credentials.take_inline(frame.certificate, now)
        member = vl2.admitted(network, packet, now)
        if member is None:
            return
        config = network.config
        assert config is not None  # or nobody is admitted
        if not config.multicast_limit:
            vl2.counters["in: no multicast"] += 1
            return
        if not 1 <= len(frame.data) <= MAX_PAYLOAD:
            vl2.counters["in: empty"] += 1
        elif not self._take_frame(network, member, frame, now):
            return
        if frame.gather_limit:
            gathered = self._gather(GroupKey(network.id, frame.group), frame.gather_limit, peer.address)
            if gathered.members:
                data = MulticastFrameReply(network.id, frame.group, gathered).encode()
                self._vl1.reply(peer, path, Verb.MULTICAST_FRAME, packet_id, data, now)

    def _take_frame(self, network: Network, member: Member, frame: MulticastFrame, now: float) -> bool:
        """Deliver a frame, and send it on if that is our part; False if its sender may not send it."""
        source = member.mac if frame.source is None else frame.source
        if not frame.group.mac.is_multicast or source.is_multicast or source in (0, network.mac):
            self._vl2.counters["in: bad multicast"] += 1
            return False
        multicast = Multicast(frame.group, source, frame.ethertype, frame.data)
        assert network.config is not None
        if frame.replicate and network.own in network.config.replicators:
            self._vl2.counters["multicasts: replicated"] += 1
            self.send(network, multicast, now, origin=member.address)
        if source != member.mac and not network.learn_bridge(member, source):
            return False
        delivered = network.incoming_multicast(member, multicast)
        if delivered is not None:
            self._vl2.deliver(network, delivered)
        return True

    # Sending

    def send(self, network: Network, multicast: Multicast, now: float, origin: int = 0) -> None:
        """Send a frame to a group (vl2.md 7.4): to as many members as the network allows.

        ``origin`` is the member for whom we replicate it.
        """
        config = network.config
        assert config is not None
        replicator = self._replicator(network, now)
        if replicator is not None:
            body = _frame_body(network, multicast._replace(source=multicast.source or network.mac), 0)
            self._vl2.send_to(network, network.record(replicator), (body,), now)
            return
        key = GroupKey(network.id, multicast.group)
        known = self.table.members(key)
        limit = config.multicast_limit
        wanted = max(limit - len(known), 0) + 1
        pending = _Pending(network, multicast, _frame_body(network, multicast, wanted), limit, origin, now)
        if wanted > 1:
            sending = self._sending(key)
            if now - sending.gathered >= (GATHER_INTERVAL if known else FIRST_GATHER_INTERVAL):
                sending.gathered = now
                self._ask(network, multicast.group, wanted, now)
            if now - sending.asked >= REPLY_INTERVAL:
                sending.asked = now
                pending.asks = True
            self._keep(sending, pending, now)
        bridges = network.bridges
        self._send_on(pending, bridges, now)
        others = [member for member in known if member not in bridges]
        drawn = shuffled(others, self._vl2.context, pending.left + 1)  # the origin may be among them
        self._send_on(pending, drawn, now)

    def _replicator(self, network: Network, now: float) -> NodeAddress | None:
        """The member who sends our multicasts on: the nearest to which there is a direct path."""
        config = network.config
        assert config is not None
        replicators = config.replicators
        if not replicators or network.is_bridge or network.own in replicators:
            return None
        best = None
        for address in replicators:
            peer = self._vl1.topology.peers.get(address)
            path = peer.best_path(now) if peer is not None and peer.is_direct(now) else None
            if path is not None and (best is None or (path.latency_ms or math.inf, address) < best):
                best = path.latency_ms or math.inf, address
        return best[1] if best else None

    def _ask(self, network: Network, group: MulticastGroup, limit: int, now: float) -> None:
        """Ask others for members (vl2.md 7.3)."""
        config = network.config
        assert config is not None
        root = self._vl1.topology.best_upstream(now)
        helpers = shuffled(config.anchors | config.replicators, self._vl2.context)
        asked = [*([root.address] if root else []), *self._controller_of(network), *helpers]
        payload = Gather(network.id, group, min(limit, 0xFFFFFFFF), config.certificate).encode()
        body = bytes((Verb.MULTICAST_GATHER,)) + payload
        for address in list(dict.fromkeys(asked))[:MAX_GATHER_PEERS]:
            if address != network.own:
                self._vl1.ask(address, body, now)

    def _sending(self, key: GroupKey) -> _Sending:
        sending = self._sendings.get(key)
        if sending is None:
            if len(self._sendings) >= MAX_SENDINGS:
                oldest = next(iter(self._sendings))
                self._pending_count -= len(self._sendings.pop(oldest).pending)
            sending = self._sendings[key] = _Sending()
        return sending

    def _keep(self, sending: _Sending, pending: _Pending, now: float) -> None:
        if len(sending.pending) >= MAX_PENDING:
            sending.pending.popleft()
            self._pending_count -= 1
        if self._pending_count >= MAX_ALL_PENDING:
            self._vl2.counters["multicasts: too many pending"] += 1
            return
        sending.pending.append(pending)
        self._pending_count += 1
        self.next_timer = min(self.next_timer, now + SWEEP_INTERVAL)

    def learn(self, key: GroupKey, members: Iterable[NodeAddress], now: float) -> None:
        """Members of a group are known: what waits for such goes to them (vl2.md 7.5)."""
        sending = self._sendings.get(key)
        for member in members:
            if member == self._vl1.address or member.is_reserved:
                continue
            if self.table.add(key, member, now) and sending is not None:
                for pending in sending.pending:
                    self._send_on(pending, (member,), now)

    def _send_on(self, pending: _Pending, addresses: Iterable[int], now: float) -> None:
        """Send a frame to those of some members who have not got it, while it has not reached enough."""
        network = pending.network
        for address in addresses:
            if not pending.left:
                return
            if address not in pending.done:
                pending.done.add(address)
                pending.left -= 1
                member = network.record(address)
                if network.allows_multicast(member, pending.multicast):
                    self._vl2.counters["multicasts: sent"] += 1
                    self._vl2.send_to(network, member, (pending.body,), now, asks=pending.asks)

    # Time

    def handle_timer(self, now: float) -> None:
        for network in self._vl2.networks.values():
            if now >= network.announce_due:
                self.announce_all(network, now)
        if now >= self.next_timer:
            for key, sending in self._sendings.items():
                while sending.pending and now >= sending.pending[0].until:
                    sending.pending.popleft()
                    self._pending_count -= 1
                if sending.pending and not self.table.members(key):
                    self._ask_again(sending, now)
            self.next_timer = now + SWEEP_INTERVAL if self._pending_count else NO_TIME

    def _ask_again(self, sending: _Sending, now: float) -> None:
        """Something waits for members and none is known: one may have come meanwhile, as whoever is just starting."""
        if now - sending.gathered >= FIRST_GATHER_INTERVAL:
            sending.gathered = now
            first = sending.pending[0]
            self._ask(first.network, first.multicast.group, first.left + 1, now)

    def expire(self, now: float) -> None:
        """Forget members that were not heard of, and groups that nothing is sent to."""
        self.table.expire(now)
        for key, sending in list(self._sendings.items()):
            if not sending.pending and now - sending.gathered >= GATHER_INTERVAL:
                del self._sendings[key]

    def forget(self, network_id: NetworkId) -> None:
        """A network was left: nothing more is sent there."""
        for key in [key for key in self._sendings if key.network_id == network_id]:
            self._pending_count -= len(self._sendings.pop(key).pending)


def _likes(network: Network, groups: list[MulticastGroup]) -> list[bytes]:
    """Bodies of MULTICAST_LIKE."""
    payloads = encode_likes(network.id, groups)
    return [make_body(Verb.MULTICAST_LIKE, payload, compressible=True) for payload in payloads]


def _frame_body(network: Network, multicast: Multicast, gather_limit: int) -> bytes:
    """A MULTICAST_FRAME; without gather limit it goes to a replicator."""
    group, source, ethertype, payload = multicast
    frame = MulticastFrame(
        network.id,
        group,
        ethertype,
        payload,
        source=None if source is None else MACAddress(source),
        gather_limit=min(gather_limit, 0xFFFFFFFF),
        replicate=not gather_limit,
    )
    config = network.config
    compressible = config is not None and config.compress_multicast
    return make_body(Verb.MULTICAST_FRAME, frame.encode(), compressible=compressible)
