"""VL2: the room between VL1's packets and the Ethernet frames of networks. vl2.md.

``receive_packets`` and ``send_frames`` in, ``take_frames`` and ``take_events`` out; what goes to other nodes is
handed down to VL1.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Final

from zt_async.context import Context
from zt_async.errors import DecodeError, NetworkNotJoined
from zt_async.events import (
    AddressAdded,
    AddressRemoved,
    Event,
    NetworkDown,
    NetworkJoined,
    NetworkReady,
    NetworkStatus,
    NetworkUpdated,
)
from zt_async.types import Frame, NetworkId
from zt_async.vl1.core import VL1, Inbound
from zt_async.vl1.path import Path
from zt_async.vl1.peer import Peer
from zt_async.vl2.adhoc import NoSuchNetwork, ad_hoc_config
from zt_async.vl2.counters import DELIVERED, MALFORMED, NOT_TAKEN, SENT
from zt_async.vl2.network import Network
from zt_async.wire.network_config import NetworkConfig
from zt_async.wire.packet import ErrorCode, Verb
from zt_async.wire.verbs import decode_error

_REFUSALS: Final[dict[int, NetworkStatus]] = {
    ErrorCode.OBJECT_NOT_FOUND: NetworkStatus.NOT_FOUND,
    ErrorCode.UNSUPPORTED_OPERATION: NetworkStatus.NOT_FOUND,
    ErrorCode.NETWORK_ACCESS_DENIED: NetworkStatus.ACCESS_DENIED,
    ErrorCode.AUTHENTICATION_REQUIRED: NetworkStatus.AUTHENTICATION_REQUIRED,
}
_ANSWERS_TO_REQUESTS: Final = (ErrorCode.OBJECT_NOT_FOUND, ErrorCode.UNSUPPORTED_OPERATION)
CREDENTIALS_INTERVAL: Final = 1.0  # s between two times that a peer is told that it needs credentials
_FRAME_HEAD: Final = 11  # verb byte, network ID, ethertype


class VL2:
    """The networks of one node."""

    def __init__(self, vl1: VL1, context: Context) -> None:
        self.networks: dict[NetworkId, Network] = {}
        self.counters: Counter[str] = Counter()
        """What became of packets and frames, by the names of ``vl2.counters``."""
        self._vl1 = vl1
        self._context = context
        self._by_packed: dict[bytes, Network] = {}
        self._frames: dict[NetworkId, list[Frame]] = {}
        self._events: list[Event] = []

    # Membership

    def join(self, network_id: NetworkId, now: float) -> Network:
        """Be on a network from now on; joining twice is the same as once."""
        network = self.networks.get(network_id)
        if network is not None:
            return network
        network = self.networks[network_id] = Network(network_id, self._vl1.address, self.counters)
        self._by_packed[network_id.packed] = network
        self._events.append(NetworkJoined(network=network.info()))
        try:
            config = ad_hoc_config(network_id, self._vl1.address, self._context.wall_ms())
        except NoSuchNetwork:
            self._set_failure(network, NetworkStatus.NOT_FOUND)
        else:
            if config is not None:
                self.configure(network, config)
        return network

    def leave(self, network_id: NetworkId, now: float) -> None:
        """Be off a network. Raises NetworkNotJoined."""
        network = self.networks.pop(network_id, None)
        if network is None:
            raise NetworkNotJoined(network_id, "is not joined")
        del self._by_packed[network_id.packed]
        self._frames.pop(network_id, None)
        for address in network.config.addresses if network.config else ():
            self._events.append(AddressRemoved(network_id=network_id, address=address))
        self._events.append(NetworkDown(network=network.info()))
        self._update_policy()

    def configure(self, network: Network, config: NetworkConfig) -> None:
        """Apply a configuration, and tell what it changes."""
        old = network.info()
        was_ready = network.status == NetworkStatus.OK
        network.configure(config)
        new = network.info()
        for address in old.addresses:
            if address not in new.addresses:
                self._events.append(AddressRemoved(network_id=network.id, address=address))
        for address in new.addresses:
            if address not in old.addresses:
                self._events.append(AddressAdded(network_id=network.id, address=address))
        if not was_ready:
            self._events.append(NetworkReady(network=new))
        else:
            changed = frozenset(f for f in old.__slots__ if getattr(old, f) != getattr(new, f))
            self._events.append(NetworkUpdated(network=new, changed=changed))
        self._update_policy()

    def _set_failure(self, network: Network, status: NetworkStatus) -> None:
        if network.failure != status:
            network.failure = status
            self._events.append(NetworkUpdated(network=network.info(), changed=frozenset(("status",))))

    def _update_policy(self) -> None:
        """Paths may not run through our own networks."""
        self._vl1.policy.virtual = tuple(
            address.network
            for network in self.networks.values()
            if network.config is not None
            for address in network.config.addresses
        )

    def next_timer(self) -> float | None:
        """Nothing here waits for the clock: ad-hoc networks ask nobody."""
        return None

    # Out

    def send_frames(self, network_id: NetworkId, frames: list[Frame], now: float) -> None:
        """Send frames of our card on a network; those that come straight back are there in ``take_frames``."""
        network = self.networks.get(network_id)
        if network is None:
            self.counters["out: not joined"] += len(frames)
            return
        bodies, back = network.outgoing(frames)
        for member, packets in bodies.items():
            self.counters[SENT] += len(packets)
            self._vl1.send_all(member, packets, now)
        if back:
            self._frames.setdefault(network_id, []).extend(back)

    # In

    def receive_packets(self, packets: Iterable[Inbound], now: float) -> None:
        """Take packets that VL1 authenticated."""
        trusted: tuple[Peer, Path] | None = None
        delivered = 0
        for peer, path, verb, packet_id, body in packets:
            if verb != Verb.FRAME:
                self._receive_other(peer, path, verb, packet_id, body, now)
                continue
            network = self._by_packed.get(body[1:9])
            if network is None or len(body) < _FRAME_HEAD:
                fate = "in: not joined" if len(body) >= _FRAME_HEAD else f"{MALFORMED}truncated"
                self.counters[fate] += 1
                continue
            if not network.allows(peer.address):
                self._refuse(peer, path, Verb.FRAME, packet_id, network, now)
                continue
            if trusted is None or trusted[0] is not peer or trusted[1] is not path:
                trusted = (peer, path)
                self._vl1.trust(peer, path, now)
            frame = network.incoming_frame(peer.address, body)
            if frame is not None:
                delivered += 1
                self._deliver(network, frame)
        if delivered:
            self.counters[DELIVERED] += delivered

    def _deliver(self, network: Network, frame: Frame) -> None:
        frames = self._frames.get(network.id)
        if frames is None:
            self._frames[network.id] = [frame]
        else:
            frames.append(frame)

    def _refuse(
        self, peer: Peer, path: Path, verb: Verb, packet_id: int, network: Network, now: float
    ) -> None:
        self.counters["in: not a member"] += 1
        if now - peer.credentials_asked < CREDENTIALS_INTERVAL:
            return
        peer.credentials_asked = now
        code = ErrorCode.NEED_MEMBERSHIP_CERTIFICATE
        self._vl1.refuse(peer, path, verb, packet_id, code, network.id.packed, now)

    def _receive_other(
        self, peer: Peer, path: Path, verb: int, packet_id: int, body: bytes, now: float
    ) -> None:
        try:
            match verb:
                case Verb.EXT_FRAME:
                    self._receive_ext_frame(peer, path, packet_id, body, now)
                case Verb.NETWORK_CONFIG_REQUEST:
                    if len(body) < 9:
                        raise DecodeError("truncated")
                    self.counters["in: no controller here"] += 1
                    code = ErrorCode.UNSUPPORTED_OPERATION
                    self._vl1.refuse(peer, path, Verb.NETWORK_CONFIG_REQUEST, packet_id, code, body[1:9], now)
                case Verb.ERROR:
                    self._receive_error(peer, body)
                case _:
                    self.counters[f"{NOT_TAKEN}{verb:#04x}"] += 1
        except DecodeError as error:
            self.counters[f"{MALFORMED}{error}"] += 1

    def _receive_error(self, peer: Peer, body: bytes) -> None:
        """What a network's controller says instead of a configuration (vl2.md 2.9); others are not heard."""
        in_re, _, code, data = decode_error(body[1:])
        network = self._by_packed.get(data[:8])
        to_request = in_re == Verb.NETWORK_CONFIG_REQUEST or code not in _ANSWERS_TO_REQUESTS
        if (
            network is None
            or network.id.controller != peer.address
            or code not in _REFUSALS
            or not to_request
        ):
            self.counters["in: refusal ignored"] += 1
        else:
            self.counters["in: refusal"] += 1
            self._set_failure(network, _REFUSALS[code])

    def _receive_ext_frame(self, peer: Peer, path: Path, packet_id: int, body: bytes, now: float) -> None:
        network = self._by_packed.get(body[1:9])
        if network is None:
            self.counters["in: not joined"] += 1
            return
        if not network.allows(peer.address):
            self._refuse(peer, path, Verb.EXT_FRAME, packet_id, network, now)
            return
        frame, acknowledge = network.incoming_ext_frame(peer.address, body)
        self._vl1.trust(peer, path, now)
        if frame is not None:
            self.counters[DELIVERED] += 1
            self._deliver(network, frame)
        if acknowledge:
            self._vl1.reply(peer, path, Verb.EXT_FRAME, packet_id, network.id.packed, now)

    def take_frames(self) -> dict[NetworkId, list[Frame]]:
        """Frames for our own cards since the last call, by network."""
        frames = self._frames
        self._frames = {}
        return frames

    def take_events(self) -> list[Event]:
        events = self._events
        self._events = []
        return events
