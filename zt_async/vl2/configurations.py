"""How a member gets its configurations: requests, answers in chunks, pushes, refusals. vl2.md 2."""

from __future__ import annotations

import platform
import sys
from typing import TYPE_CHECKING, Final

from zt_async.crypto.identity import Identity
from zt_async.errors import DecodeError
from zt_async.events import NetworkStatus
from zt_async.types import NetworkId
from zt_async.vl1.path import NEVER, Path
from zt_async.vl1.peer import Peer
from zt_async.vl1.sender import make_body
from zt_async.vl2.adhoc import NoSuchNetwork, ad_hoc_config
from zt_async.vl2.counters import NOT_JOINED
from zt_async.vl2.multicast import ANNOUNCE_INTERVAL
from zt_async.vl2.network import NO_TIME, Network
from zt_async.wire.config_chunks import ConfigChunk, encode_config_request, request_metadata
from zt_async.wire.dictionary import Dictionary
from zt_async.wire.network_config import NetworkConfig
from zt_async.wire.packet import ErrorCode, Verb

if TYPE_CHECKING:
    from zt_async.vl2.core import VL2

REFRESH_INTERVAL: Final = 60.0  # s after a configuration
FIRST_RETRY: Final = 1.0  # s, doubling
LONGEST_RETRY: Final = 5.0  # s
REQUEST_GAP: Final = 1.05  # s; a controller hears no two requests within one second
FORWARD_INTERVAL: Final = 1.0  # s between two configurations of which chunks are passed on

PLATFORM: Final = f"{sys.platform}/{platform.machine()}"

_REFUSALS: Final[dict[int, NetworkStatus]] = {
    ErrorCode.OBJECT_NOT_FOUND: NetworkStatus.NOT_FOUND,
    ErrorCode.UNSUPPORTED_OPERATION: NetworkStatus.NOT_FOUND,
    ErrorCode.NETWORK_ACCESS_DENIED: NetworkStatus.ACCESS_DENIED,
    ErrorCode.AUTHENTICATION_REQUIRED: NetworkStatus.AUTHENTICATION_REQUIRED,
}
_ANSWERS_TO_REQUESTS: Final = (ErrorCode.OBJECT_NOT_FOUND, ErrorCode.UNSUPPORTED_OPERATION)
_MAX_URL: Final = 2047


class Configurations:
    """Asks the controllers of the joined networks, and applies what they say."""

    def __init__(self, vl2: VL2) -> None:
        self._vl2 = vl2
        self._vl1 = vl2.vl1
        self._metadata = request_metadata(vl2.vl1.handshake.version, PLATFORM).encode()
        self._to_store: dict[NetworkId, bytes] = {}

    # The beginning and the end

    def begin(self, network: Network, cached: bytes | None, now: float) -> None:
        """A network was joined."""
        if cached is not None and not network.id.is_ad_hoc:
            try:
                config = NetworkConfig.decode(cached)
            except DecodeError:
                self._vl2.counters["configurations: unreadable"] += 1
            else:
                self.apply(network, config, now, cached=True)
        self._request(network, now)

    def forget(self, network_id: NetworkId) -> None:
        """A network was left."""
        self._to_store.pop(network_id, None)

    def take_stored(self) -> dict[NetworkId, bytes]:
        stored = self._to_store
        self._to_store = {}
        return stored

    # Requests

    def handle_timer(self, now: float) -> None:
        for network in self._vl2.networks.values():
            if now >= network.request_due:
                self._request(network, now)

    def ask_soon(self, network: Network, now: float) -> None:
        """There is something to be learned: ask as soon as the controller listens again."""
        soon = max(now, network.requested + REQUEST_GAP)
        network.request_due = min(network.request_due, soon)

    def came_online(self, now: float) -> None:
        for network in self._vl2.networks.values():
            if network.status != NetworkStatus.OK or now - network.configured >= REFRESH_INTERVAL:
                self.ask_soon(network, now)

    def ask_own_controller(self) -> None:
        """There is a controller on this node now: ask it, at the next occasion, for its networks that we are on."""
        for network in self._vl2.networks.values():
            if network.id.controller == self._vl1.address:
                network.request_due = NEVER

    def _make_ad_hoc(self, network: Network, now: float) -> None:
        """What the ID says is all there is to know, and there is no controller to ask (vl2.md 1.4)."""
        try:
            config = ad_hoc_config(network.id, network.own, self._vl2.context.wall_ms())
        except NoSuchNetwork:
            self._set_failure(network, NetworkStatus.NOT_FOUND)
        else:
            if config is not None:
                self.apply(network, config, now)
        network.request_due = NO_TIME

    def _request(self, network: Network, now: float) -> None:
        if network.id.is_ad_hoc:
            self._make_ad_hoc(network, now)
            return
        first_time = network.config is None and network.failure is None
        network.retry = min(2 * network.retry or FIRST_RETRY, LONGEST_RETRY) if first_time else LONGEST_RETRY
        network.request_due = now + network.retry
        controller = network.id.controller
        if controller == self._vl1.address:
            network.requested = now
            if self._vl2.serving.active:
                self._vl2.serving.own_request(network.id, self._metadata)
            else:
                self._set_failure(network, NetworkStatus.NOT_FOUND)
        elif now - network.requested >= LONGEST_RETRY or not self._vl1.sender.has_waiting(controller):
            network.requested = now
            config = network.config
            payload = encode_config_request(
                network.id,
                self._metadata,
                config.revision if config else 0,
                config.timestamp if config else 0,
            )
            body = make_body(Verb.NETWORK_CONFIG_REQUEST, payload, compressible=True)
            self._vl1.ask(controller, body, now)

    # Refusals

    def receive_refusal(
        self, network: Network, peer: Peer, in_re: int, code: int, data: bytes, now: float
    ) -> None:
        """What a network's controller says instead of a configuration (vl2.md 2.9); others are not heard."""
        to_request = in_re == Verb.NETWORK_CONFIG_REQUEST or code not in _ANSWERS_TO_REQUESTS
        if network.id.controller != peer.address or code not in _REFUSALS or not to_request:
            self._vl2.counters["in: error ignored"] += 1
        else:
            self._vl2.counters["in: refusal"] += 1
            self.refused(network.id, code, data, now)

    def refused(self, network_id: NetworkId, code: int, data: bytes, now: float) -> None:
        """The controller said no; it is asked again all the same."""
        network = self._vl2.networks.get(network_id)
        if network is not None:
            network.request_due = now + LONGEST_RETRY
            self._set_failure(network, _REFUSALS[code], _authentication_url(data))

    def _set_failure(self, network: Network, status: NetworkStatus, url: str = "") -> None:
        before = network.info()
        network.failure = status
        network.authentication_url = url
        self._vl2.report(network, before)

    # Configurations

    def receive_answer(self, peer: Peer, data: bytes, now: float) -> None:
        """A chunk that we asked for. Raises DecodeError."""
        chunk = ConfigChunk.decode(data)
        network = self._vl2.networks.get(chunk.network_id)
        if network is None:
            self._vl2.counters[NOT_JOINED] += 1
        else:
            self._take_chunk(network, chunk, data, peer, 0, now)

    def receive_push(self, peer: Peer, path: Path, packet_id: int, payload: bytes, now: float) -> None:
        """A chunk that the controller, or a member who passes it on, sends unasked. Raises DecodeError."""
        chunk = ConfigChunk.decode(payload)
        network = self._vl2.networks.get(chunk.network_id)
        if network is None:
            self._vl2.counters[NOT_JOINED] += 1
            return
        update_id = self._take_chunk(network, chunk, payload, peer, packet_id, now)
        if update_id is not None:
            # Other nodes name the wrong verb here, and controllers expect it (vl2.md 2.6).
            data = network.id.packed + update_id.to_bytes(8, "big")
            self._vl1.reply(peer, path, Verb.ECHO, packet_id, data, now)

    def _take_chunk(
        self, network: Network, chunk: ConfigChunk, encoded: bytes, peer: Peer, packet_id: int, now: float
    ) -> int | None:
        """Returns the update ID if the configuration is complete now, and can be read. Raises DecodeError."""
        controller = self.controller_of(network, now)
        if controller is None:
            self._vl2.counters["in: unknown controller"] += 1
            return None
        assembled = network.assembly.add(chunk, peer.address, controller, packet_id)
        if assembled is None:
            self._vl2.counters["in: repeated chunk"] += 1
            return None
        if assembled.forward:
            self._pass_on(network, chunk, encoded, peer, now)
        config = NetworkConfig.decode(assembled.dictionary) if assembled.dictionary is not None else None
        self._vl2.counters["in: chunk"] += 1
        if assembled.dictionary is None or config is None:
            return None
        if self.apply(network, config, now):
            self._to_store[network.id] = assembled.dictionary
        return assembled.update_id

    def controller_of(self, network: Network, now: float) -> Identity | None:
        """Whose signatures count; asks for it if it is not known yet."""
        if network.controller is None:
            network.controller = self._vl1.identify(network.id.controller, now)
        return network.controller

    def _pass_on(self, network: Network, chunk: ConfigChunk, encoded: bytes, peer: Peer, now: float) -> None:
        """Send a chunk to all other members (vl2.md 2.6); not of one configuration after the other, so that old ones
        cannot be made to circulate for ever.
        """
        if chunk.update_id != network.passed_on:
            if now - network.passed_on_at < FORWARD_INTERVAL:
                return
            network.passed_on, network.passed_on_at = chunk.update_id, now
        body = bytes((Verb.NETWORK_CONFIG,)) + encoded
        for address in network.members.keys() & self._vl1.topology.peers.keys():
            if address not in (peer.address, network.id.controller):
                self._vl2.counters["configurations: passed on"] += 1
                self._vl1.send_all(address, (body,), now)

    def take_own(self, network_id: NetworkId, dictionary: bytes, now: float) -> None:
        """The controller on this very node has a configuration for us."""
        network = self._vl2.networks.get(network_id)
        if network is not None and self.apply(network, NetworkConfig.decode(dictionary), now):
            self._to_store[network_id] = dictionary

    def apply(self, network: Network, config: NetworkConfig, now: float, *, cached: bool = False) -> bool:
        """Take a configuration over, unless it is not for us, or older than the one we have (vl2.md 2.8)."""
        vl2, held = self._vl2, network.config
        if config.network_id != network.id or config.issued_to != network.own:
            vl2.counters["configurations: for another"] += 1
            return False
        if held is not None and config.timestamp < held.timestamp:
            vl2.counters["configurations: old"] += 1
            return False
        if config == held:
            vl2.counters["configurations: held already"] += 1
            return False
        vl2.counters["configurations: applied"] += 1
        before = network.info()
        groups = network.announced_groups() if held is not None else []
        network.configure(config)
        if not cached:
            network.configured = now
            network.retry = 0.0
            network.request_due = now + REFRESH_INTERVAL
        if held is None:
            network.announce_due = now + ANNOUNCE_INTERVAL
        vl2.report(network, before)
        vl2.update_policy()
        vl2.multicast.announce_new(network, set(network.announced_groups()).difference(groups), now)
        vl2.look_again(network, now)
        if held is not None:
            vl2.credentials.tell_changes(network, held, now)
        return True


def _authentication_url(data: bytes) -> str:
    """Where to log in, if an AUTHENTICATION_REQUIRED says so (vl2.md 8.9)."""
    size = int.from_bytes(data[:2], "big")
    d = Dictionary.decode(data[2 : 2 + size])
    return d.get_text("iU" if d.get_uint("aV") else "aU", _MAX_URL)
