"""What a controller's node does on the wire: requests in, configurations, refusals and credentials out. vl2.md 8.2.

What to answer is decided elsewhere: the requests wait here until somebody takes them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from zt_async.crypto.credentials import sign_chunk
from zt_async.crypto.identity import Identity
from zt_async.types import Endpoint, NetworkId, NodeAddress
from zt_async.vl1.path import NEVER, Path
from zt_async.vl1.peer import Peer
from zt_async.wire.config_chunks import (
    CHUNK_OVERHEAD,
    CHUNK_SIZE,
    ConfigChunk,
    decode_config_request,
    split_config,
)
from zt_async.wire.credentials import Credentials
from zt_async.wire.packet import ErrorCode, Verb
from zt_async.wire.verbs import Version, encode_error, encode_ok

if TYPE_CHECKING:
    from zt_async.vl2.core import VL2

REQUEST_INTERVAL: Final = 1.0  # s that must be over before the same member is listened to again
AUTHORISATION: Final = 180.0  # s after a configuration for which its member may ask for group members
MAX_REQUESTS: Final = 16_384
MAX_REMEMBERED: Final = 1 << 18
OWN_REQUEST: Final = 0xFFFFFFFFFFFFFFFF  # the packet ID of a request that was no packet

_Asked = tuple[NetworkId, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigRequest:
    """A node asks the controller on this node for the configuration of a network."""

    network_id: NetworkId
    member: NodeAddress
    identity: Identity
    packet_id: int
    metadata: bytes = field(repr=False)
    """A dictionary in its wire form, as it came (vl2.md 2.4). What lets the member join may be in it."""
    endpoint: Endpoint | None
    """The physical address that it came from, of a root where it was relayed; None if it is this node's own."""
    version: Version
    """What the node says that it runs; zeros while unknown."""


class Serving:
    """Serves the networks whose controller is this node."""

    def __init__(self, vl2: VL2) -> None:
        self._vl2 = vl2
        self._vl1 = vl2.vl1
        self.active = False
        """Requests are taken; otherwise members are told that there is no controller here."""
        self._requests: list[ConfigRequest] = []
        self._asked: dict[_Asked, float] = {}
        self._served: dict[_Asked, float] = {}

    # In

    def receive_request(self, peer: Peer, path: Path, packet_id: int, payload: bytes, now: float) -> None:
        """Keep a request of another node, or refuse it (vl2.md 8.1). Raises DecodeError."""
        counters = self._vl2.counters
        request = decode_config_request(payload)
        network_id = request.network_id
        if not self.active:
            counters["in: no controller here"] += 1
            code = ErrorCode.UNSUPPORTED_OPERATION
            self._vl1.refuse(peer, path, Verb.NETWORK_CONFIG_REQUEST, packet_id, code, network_id.packed, now)
        elif network_id.controller != self._vl1.address:
            counters["in: request for another controller"] += 1
        elif self._is_too_soon((network_id, peer.address), now) or len(self._requests) >= MAX_REQUESTS:
            counters["in: too many requests"] += 1
        else:
            counters["in: request"] += 1
            self._requests.append(
                ConfigRequest(
                    network_id=network_id,
                    member=peer.address,
                    identity=peer.identity,
                    packet_id=packet_id,
                    metadata=request.metadata,
                    endpoint=path.endpoint,
                    version=peer.version,
                )
            )

    def _is_too_soon(self, asked: _Asked, now: float) -> bool:
        """Whether it asked less than a second ago; notes that it asks now."""
        while self._asked and now - self._asked[oldest := next(iter(self._asked))] > REQUEST_INTERVAL:
            del self._asked[oldest]
        if asked in self._asked or len(self._asked) >= MAX_REMEMBERED:
            return True
        self._asked[asked] = now
        return False

    def own_request(self, network_id: NetworkId, metadata: bytes) -> None:
        """This node asks itself."""
        if len(self._requests) < MAX_REQUESTS:
            self._requests.append(
                ConfigRequest(
                    network_id=network_id,
                    member=self._vl1.address,
                    identity=self._vl1.identity.public(),
                    packet_id=OWN_REQUEST,
                    metadata=metadata,
                    endpoint=None,
                    version=self._vl1.handshake.version,
                )
            )

    def take_requests(self) -> list[ConfigRequest]:
        """The requests since the last call, one a second of each member of a network at most."""
        requests = self._requests
        self._requests = []
        return requests

    # Out

    def answer(self, request: ConfigRequest, dictionary: bytes, now: float) -> None:
        """Send the configuration that was asked for."""
        if request.endpoint is None:
            self._vl2.configurations.take_own(request.network_id, dictionary, now)
            return
        self._remember(request.network_id, request.member, now)
        for chunk in self._chunks(request.network_id, dictionary):
            data = encode_ok(Verb.NETWORK_CONFIG_REQUEST, request.packet_id, chunk.encode())
            self._vl1.send(request.member, Verb.OK, data, now, compressible=True)

    def push(self, network_id: NetworkId, member: NodeAddress, dictionary: bytes, now: float) -> None:
        """Send a configuration that nobody asked for."""
        if member == self._vl1.address:
            self._vl2.configurations.take_own(network_id, dictionary, now)
            return
        self._remember(network_id, member, now)
        for chunk in self._chunks(network_id, dictionary):
            self._vl1.send(member, Verb.NETWORK_CONFIG, chunk.encode(), now, compressible=True)

    def _chunks(self, network_id: NetworkId, dictionary: bytes) -> list[ConfigChunk]:
        update_id = int.from_bytes(self._vl1.context.random_bytes(8), "big") or 1
        size = min(CHUNK_SIZE, self._vl1.sender.largest_body - CHUNK_OVERHEAD)
        chunks = split_config(network_id, dictionary, update_id, size=size)
        return [sign_chunk(chunk, self._vl1.identity) for chunk in chunks]

    def refuse(self, request: ConfigRequest, code: ErrorCode, data: bytes, now: float) -> None:
        """Say no: OBJECT_NOT_FOUND, NETWORK_ACCESS_DENIED, or AUTHENTICATION_REQUIRED with what follows the ID."""
        if request.endpoint is None:
            self._vl2.configurations.refused(request.network_id, code, data, now)
            return
        error = encode_error(
            Verb.NETWORK_CONFIG_REQUEST, request.packet_id, code, request.network_id.packed + data
        )
        self._vl1.send(request.member, Verb.ERROR, error, now)

    def push_refusal(self, network_id: NetworkId, member: NodeAddress, code: ErrorCode, now: float) -> None:
        """Say no to who did not ask, as when a member is one no longer: the request named is none."""
        if member == self._vl1.address:
            self._vl2.configurations.refused(network_id, code, b"", now)
            return
        error = encode_error(Verb.NETWORK_CONFIG_REQUEST, 0, code, network_id.packed)
        self._vl1.send(member, Verb.ERROR, error, now)

    def send_credentials(self, member: NodeAddress, credentials: Credentials, now: float) -> None:
        """Give a node credentials, as when one is revoked."""
        if member == self._vl1.address:
            self._vl2.credentials.take(credentials, None, now)
            return
        body = bytes((Verb.NETWORK_CREDENTIALS,)) + credentials.encode()
        self._vl2.credentials.send(member, body, now)

    # Who may ask about groups

    def _remember(self, network_id: NetworkId, member: NodeAddress, now: float) -> None:
        self._served.pop((network_id, member), None)
        self._served[network_id, member] = now
        if len(self._served) > MAX_REMEMBERED:
            del self._served[next(iter(self._served))]

    def has_served(self, network_id: NetworkId, member: int, now: float) -> bool:
        """This node gave that one a configuration of the network lately (vl2.md 7.2)."""
        return now - self._served.get((network_id, member), NEVER) < AUTHORISATION

    def expire(self, now: float) -> None:
        """Forget who has not been served for too long."""
        while self._served and now - self._served[oldest := next(iter(self._served))] >= AUTHORISATION:
            del self._served[oldest]
