"""VL2: the room between VL1's packets and the Ethernet frames of networks. vl2.md.

``receive_packets``, ``send_frames`` and ``handle_timer`` in, ``take_frames`` and ``take_events`` out; what goes to
other nodes is handed down to VL1. Controllers and roots do their part here too: ``take_requests`` and what
answers them, and the groups of networks that this node is not on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

from zt_async.config import NetworkSettings
from zt_async.context import Context
from zt_async.errors import DecodeError, NetworkNotJoined
from zt_async.events import AddressRemoved, Event, NetworkDown, NetworkInfo, NetworkJoined, RouteRemoved
from zt_async.types import Frame, MulticastGroup, NetworkId, NodeAddress
from zt_async.vl1.core import VL1, Inbound
from zt_async.vl1.path import NEVER
from zt_async.vl1.peer import Peer
from zt_async.vl2.configurations import Configurations
from zt_async.vl2.counters import DELIVERED, MALFORMED, NOT_A_MEMBER, NOT_JOINED, NOT_TAKEN, WAITING
from zt_async.vl2.credentials import CredentialExchange
from zt_async.vl2.member import Member
from zt_async.vl2.multicast import Multicaster
from zt_async.vl2.network import Network
from zt_async.vl2.reports import events_of_change
from zt_async.vl2.serving import ConfigRequest, Serving
from zt_async.vl2.waiting import WaitingRoom
from zt_async.wire.credentials import Credentials
from zt_async.wire.packet import ErrorCode, Verb
from zt_async.wire.verbs import ExtFrame, decode_error, decode_ok

ASK_INTERVAL: Final = 1.0  # s between two times that a peer is told that it needs credentials
HOUSEKEEPING_INTERVAL: Final = 30.0  # s
_FRAME_HEAD: Final = 11  # verb byte, network ID, ethertype
_LONGEST_HEAD: Final = 32  # of a MULTICAST_FRAME with all that may come before the Ethernet payload


class VL2:
    """The networks of one node."""

    def __init__(self, vl1: VL1, context: Context) -> None:
        self.vl1 = vl1
        self.context = context
        self.networks: dict[NetworkId, Network] = {}
        self.counters: Counter[str] = Counter()
        """What became of packets and frames, by the names of ``vl2.counters``."""
        self.events: list[Event] = []
        self.configurations = Configurations(self)
        self.credentials = CredentialExchange(self)
        self.multicast = Multicaster(self)
        self.serving = Serving(self)
        self._waiting = WaitingRoom()
        self._ask_again = NEVER
        self._by_packed: dict[bytes, Network] = {}
        self._frames: dict[NetworkId, list[Frame]] = {}
        self._next_housekeeping = NEVER

    # Networks

    def join(
        self,
        network_id: NetworkId,
        now: float,
        cached: bytes | None = None,
        settings: NetworkSettings | None = None,
    ) -> Network:
        """Be on a network from now on; joining twice is the same as once.

        ``cached`` is the configuration of an earlier run, as ``take_configs`` gave it; it holds until a newer one
        comes.
        """
        network = self.networks.get(network_id)
        if network is not None:
            return network
        network = Network(network_id, self.vl1.address, self.context, self.counters, settings)
        self.networks[network_id] = self._by_packed[network_id.packed] = network
        self.events.append(NetworkJoined(network=network.info()))
        self.configurations.begin(network, cached, now)
        return network

    def leave(self, network_id: NetworkId) -> None:
        """Be off a network. Raises NetworkNotJoined."""
        network = self._joined(network_id)
        del self.networks[network_id], self._by_packed[network_id.packed]
        self._frames.pop(network_id, None)
        self.configurations.forget(network_id)
        self.multicast.forget(network_id)
        self._drop(self._waiting.release(network_id))
        self.events += [AddressRemoved(network_id=network_id, address=a) for a in network.applied.addresses]
        self.events += [RouteRemoved(network_id=network_id, route=route) for route in network.applied.routes]
        self.events.append(NetworkDown(network=network.info()))
        self.update_policy()

    def _joined(self, network_id: NetworkId) -> Network:
        network = self.networks.get(network_id)
        if network is None:
            raise NetworkNotJoined(network_id, "is not joined")
        return network

    def configure_settings(self, network_id: NetworkId, settings: NetworkSettings) -> None:
        """Change what a network may decide for this node. Raises NetworkNotJoined."""
        network = self._joined(network_id)
        before = network.info()
        network.apply_settings(settings)
        self.report(network, before)

    def set_groups(self, network_id: NetworkId, groups: frozenset[MulticastGroup], now: float) -> None:
        """The groups that our card listens to, those of address resolution included. Raises NetworkNotJoined."""
        network = self._joined(network_id)
        new = groups - network.groups
        network.groups = groups
        self.multicast.announce_new(network, new, now)

    def take_configs(self) -> dict[NetworkId, bytes]:
        """The configurations that came since the last call, to be kept for ``join`` in a later run."""
        return self.configurations.take_stored()

    def report(self, network: Network, before: NetworkInfo) -> None:
        """Tell what has changed of a network."""
        self.events += events_of_change(before, network.info())

    def update_policy(self) -> None:
        """Paths may not run through our own networks."""
        self.vl1.policy.virtual = tuple(
            address.network
            for network in self.networks.values()
            if network.config is not None
            for address in network.config.addresses
        )

    # Time

    def next_timer(self) -> float:
        """When ``handle_timer`` is due."""
        due = min(self._next_housekeeping, self.multicast.next_timer, self.credentials.next_timer)
        for network in self.networks.values():
            due = min(due, network.request_due, network.announce_due)
        return due if (waiting := self._waiting.next_timer) is None else min(due, waiting, self._ask_again)

    def handle_timer(self, now: float) -> None:
        """Ask for configurations, announce groups, and forget what is too old."""
        self.configurations.handle_timer(now)
        self.multicast.handle_timer(now)
        self.credentials.handle_timer(now)
        self._drop(self._waiting.expire(now))
        if now >= self._ask_again:
            self._ask_again = now + ASK_INTERVAL
            for network_id, packet in self._waiting.latest():
                self._ask_for_credentials(network_id, packet, now)
        if now >= self._next_housekeeping:
            self._next_housekeeping = now + HOUSEKEEPING_INTERVAL
            self.multicast.expire(now)
            self.serving.expire(now)
            for network in self.networks.values():
                network.expire(self.vl1.topology.peers, now)

    def came_online(self, now: float) -> None:
        """There are roots to be reached, who may not know our groups: make up for what did not get through."""
        self.configurations.came_online(now)
        for network in self.networks.values():
            network.announce_due = min(network.announce_due, now)

    # Out

    @property
    def largest_payload(self) -> int:
        """Bytes of Ethernet payload that a packet holds however it is sent; the largest MTU is a little more."""
        return self.vl1.sender.largest_body - _LONGEST_HEAD

    def send_frames(self, network_id: NetworkId, frames: list[Frame], now: float) -> None:
        """Send frames on a network: of our card, or of others if we are a bridge there.

        Those that come straight back are there in ``take_frames``.
        """
        network = self.networks.get(network_id)
        if network is None:
            self.counters["out: not joined"] += len(frames)
            return
        network.outgoing(frames, now)
        self._flush(network, now)

    def _flush(self, network: Network, now: float) -> None:
        """Send what a network wants to send."""
        if network.new_groups:
            self.multicast.announce_new(network, network.new_groups, now)
            network.new_groups = []
        if network.multicasts:
            multicasts = network.multicasts
            network.multicasts = []
            for multicast in multicasts:
                self.multicast.send(network, multicast, now)
        if network.outbox:
            outbox = network.outbox
            network.outbox = {}
            for member, bodies in outbox.items():
                self.send_to(network, member, bodies, now)
        if network.back:
            self._frames.setdefault(network.id, []).extend(network.back)
            network.back = []

    def send_to(
        self, network: Network, member: Member, bodies: Sequence[bytes], now: float, *, asks: bool = False
    ) -> None:
        """Send packets to a member, who gets our credentials first; ``asks`` lets the answers through."""
        if now >= member.push_due:
            self.credentials.push(network, member, now)
        if asks:
            for body in bodies:
                self.vl1.ask(member.address, body, now)
        else:
            self.vl1.send_all(member.address, bodies, now)

    # In

    def receive_packets(self, packets: Iterable[Inbound], now: float) -> None:
        """Take packets that VL1 authenticated."""
        counters = self.counters
        delivered = 0
        sender = way = None  # of the last frame that passed the gate
        packed = b""
        for packet in packets:
            peer, path, verb, _, body = packet
            if verb != Verb.FRAME:
                sender = None
                self._receive_other(packet, now)
                continue
            if len(body) < _FRAME_HEAD:
                counters[f"{MALFORMED}truncated"] += 1
                continue
            if peer is not sender or path is not way or body[1:9] != packed:
                sender = None
                joined = self._by_packed.get(body[1:9])
                if joined is None:
                    counters[NOT_JOINED] += 1
                    continue
                admitted = self.admitted(joined, packet, now)
                if admitted is None:
                    continue
                network, member = joined, admitted
                sender, way, packed = peer, path, body[1:9]
                frames = self._frames.setdefault(network.id, [])
            frame = network.incoming_frame(member, body)
            if frame is not None:
                delivered += 1
                frames.append(frame)
        if delivered:
            counters[DELIVERED] += delivered
        for touched in self.networks.values():
            self._flush(touched, now)

    def deliver(self, network: Network, frame: Frame) -> None:
        """Give our own card a frame."""
        self.counters[DELIVERED] += 1
        self._frames.setdefault(network.id, []).append(frame)

    def gate(self, network: Network, peer: Peer, now: float) -> Member | None:
        """The member that a peer is; None if it has not shown that it is one (vl2.md 4.9)."""
        if not network.memberships.allows(peer.identity):
            return None
        member = network.record(peer.address)
        member.last_used = now
        if now >= member.announce_due:
            self.multicast.announce_to(network, member, now)
        return member

    def admitted(self, network: Network, packet: Inbound, now: float) -> Member | None:
        """The member who sent a frame; from anybody else it waits until he has shown his certificate."""
        peer, path, _, _, _ = packet
        member = self.gate(network, peer, now)
        if member is not None:
            self.vl1.trust(peer, path, now)
            return member
        if self._waiting.keep(network.id, packet, now):
            self.counters[WAITING] += 1
            if now >= self._ask_again:
                self._ask_again = now + ASK_INTERVAL
        else:
            self.counters[NOT_A_MEMBER] += 1
        self._ask_for_credentials(network.id, packet, now)
        return None

    def _ask_for_credentials(self, network_id: NetworkId, packet: Inbound, now: float) -> None:
        peer, path, verb, packet_id, _ = packet
        if now - peer.credentials_asked >= ASK_INTERVAL:
            peer.credentials_asked = now
            code = ErrorCode.NEED_MEMBERSHIP_CERTIFICATE
            self.vl1.refuse(peer, path, Verb(verb), packet_id, code, network_id.packed, now)

    def look_again(self, network: Network, now: float) -> None:
        """Somebody's certificate, or ours, is new: let in what waits for that."""
        if self._waiting:
            allows = network.memberships.allows
            packets = self._waiting.release(network.id, lambda peer: allows(peer.identity))
            self.counters[WAITING] -= len(packets)
            for packet in packets:
                self._receive_frame(packet, now)
            self._flush(network, now)

    def _drop(self, packets: list[Inbound]) -> None:
        """Give up on packets that waited."""
        self.counters[WAITING] -= len(packets)
        self.counters[NOT_A_MEMBER] += len(packets)

    def _receive_other(self, packet: Inbound, now: float) -> None:
        peer, path, verb, packet_id, body = packet
        try:
            match verb:
                case Verb.EXT_FRAME:
                    self._receive_ext_frame(packet, now)
                case Verb.MULTICAST_FRAME:
                    self.multicast.receive_frame(packet, now)
                case Verb.MULTICAST_LIKE:
                    self.multicast.receive_likes(peer, body[1:], now)
                case Verb.MULTICAST_GATHER:
                    self.multicast.receive_gather(peer, path, packet_id, body[1:], now)
                case Verb.NETWORK_CREDENTIALS:
                    self.credentials.receive(peer, path, body[1:], now)
                case Verb.NETWORK_CONFIG_REQUEST:
                    self.serving.receive_request(peer, path, packet_id, body[1:], now)
                case Verb.NETWORK_CONFIG:
                    self.configurations.receive_push(peer, path, packet_id, body[1:], now)
                case Verb.OK:
                    self._receive_ok(peer, body[1:], now)
                case Verb.ERROR:
                    self._receive_error(peer, body[1:], now)
                case _:
                    self.counters[f"{NOT_TAKEN}{verb:#04x}"] += 1
        except DecodeError as error:
            self.counters[f"{MALFORMED}{error}"] += 1

    def _receive_frame(self, packet: Inbound, now: float) -> None:
        """A frame of whatever kind that has waited."""
        if packet[2] != Verb.FRAME:
            self._receive_other(packet, now)
        elif (network := self._by_packed.get(packet[4][1:9])) is not None:
            member = self.admitted(network, packet, now)
            frame = network.incoming_frame(member, packet[4]) if member is not None else None
            if frame is not None:
                self.deliver(network, frame)

    def _receive_ext_frame(self, packet: Inbound, now: float) -> None:
        peer, path, _, packet_id, body = packet
        network = self._by_packed.get(body[1:9])
        if network is None:
            self.counters[NOT_JOINED] += 1
            return
        ext = ExtFrame.decode(body[1:])
        if ext.certificate is not None:
            self.credentials.take_inline(ext.certificate, now)
        member = self.admitted(network, packet, now)
        if member is None:
            return
        frame, acknowledge = network.incoming_ext_frame(member, ext)
        if frame is not None:
            self.deliver(network, frame)
        if acknowledge:
            self.vl1.reply(peer, path, Verb.EXT_FRAME, packet_id, network.id.packed, now)

    def _receive_ok(self, peer: Peer, payload: bytes, now: float) -> None:
        in_re, _, data = decode_ok(payload)
        match in_re:
            case Verb.NETWORK_CONFIG_REQUEST:
                self.configurations.receive_answer(peer, data, now)
            case Verb.MULTICAST_GATHER:
                self.multicast.receive_gathered(data, now)
            case Verb.MULTICAST_FRAME:
                self.multicast.receive_frame_reply(data, now)
            case _:
                self.counters[f"{NOT_TAKEN}{Verb.OK:#04x}"] += 1

    def _receive_error(self, peer: Peer, payload: bytes, now: float) -> None:
        """Errors are not matched with what they answer: each has conditions of its own (vl2.md 2.9 and 11)."""
        in_re, _, code, data = decode_error(payload)
        network = self._by_packed.get(data[:8])
        if network is None:
            self.counters["in: error ignored"] += 1
        elif code == ErrorCode.NEED_MEMBERSHIP_CERTIFICATE:
            self.credentials.wanted(network, peer, now)
        elif code == ErrorCode.UNWANTED_MULTICAST:
            self.multicast.receive_unwanted(network, peer, data, now)
        else:
            self.configurations.receive_refusal(network, peer, in_re, code, data[8:], now)

    # For the controller on this node

    @property
    def serves(self) -> bool:
        """Whether a controller takes the requests; otherwise who asks is told that there is none."""
        return self.serving.active

    @serves.setter
    def serves(self, active: bool) -> None:
        self.serving.active = active
        if active:
            self.configurations.ask_own_controller()

    def take_requests(self) -> list[ConfigRequest]:
        """Requests for configurations since the last call; this node's own ones are among them.

        Each wants an ``answer_config`` or ``refuse_request``.
        """
        return self.serving.take_requests()

    def answer_config(self, request: ConfigRequest, dictionary: bytes, now: float) -> None:
        """Send the configuration that was asked for, signed, as a dictionary's text."""
        self.serving.answer(request, dictionary, now)

    def refuse_request(self, request: ConfigRequest, code: ErrorCode, data: bytes, now: float) -> None:
        """Say no: OBJECT_NOT_FOUND, NETWORK_ACCESS_DENIED, or AUTHENTICATION_REQUIRED with a dictionary or b""."""
        self.serving.refuse(request, code, data, now)

    def push_config(self, network_id: NetworkId, member: NodeAddress, dictionary: bytes, now: float) -> None:
        """Send a configuration without having been asked."""
        self.serving.push(network_id, member, dictionary, now)

    def push_refusal(self, network_id: NetworkId, member: NodeAddress, code: ErrorCode, now: float) -> None:
        """Say no without having been asked."""
        self.serving.push_refusal(network_id, member, code, now)

    def send_credentials(self, member: NodeAddress, credentials: Credentials, now: float) -> None:
        """Give a member credentials, as when one of somebody is revoked."""
        self.serving.send_credentials(member, credentials, now)

    # What came of it

    def take_frames(self) -> dict[NetworkId, list[Frame]]:
        """Frames for our own cards since the last call, by network; those of our groups and behind us too."""
        frames = self._frames
        self._frames = {}
        return frames

    def take_events(self) -> list[Event]:
        events = self.events
        self.events = []
        return events
