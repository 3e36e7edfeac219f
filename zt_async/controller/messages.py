"""What a controller is asked, and what it has sent. vl2.md 2.4 and 8.2."""

from __future__ import annotations

from typing import NamedTuple, Protocol, TypeAlias

from zt_async.controller.records import NEVER_SEEN
from zt_async.crypto.identity import Identity
from zt_async.types import Endpoint, NetworkId, NodeAddress
from zt_async.wire.config_chunks import MAX_METADATA
from zt_async.wire.credentials import Credentials
from zt_async.wire.dictionary import Dictionary
from zt_async.wire.packet import ErrorCode


class Request(Protocol):
    """A node's request for its configuration of a network."""

    @property
    def network_id(self) -> NetworkId: ...
    @property
    def member(self) -> NodeAddress: ...
    @property
    def identity(self) -> Identity: ...
    @property
    def metadata(self) -> bytes:
        """A dictionary's text (vl2.md 2.4)."""

    @property
    def endpoint(self) -> Endpoint | None:
        """Where it came from, None if through a relay."""


class Configure(NamedTuple):
    """Send a configuration: as the answer to ``request``, or as a push."""

    network_id: NetworkId
    member: NodeAddress
    request: Request | None
    dictionary: bytes


class Refuse(NamedTuple):
    """Send an error; without ``request`` because something has changed."""

    network_id: NetworkId
    member: NodeAddress
    request: Request | None
    code: ErrorCode


class Tell(NamedTuple):
    """Send revocations."""

    network_id: NetworkId
    member: NodeAddress
    credentials: Credentials


Message: TypeAlias = Configure | Refuse | Tell


class Claims(NamedTuple):
    """What a node says of itself."""

    with_rules: bool
    version: tuple[int, int, int]
    protocol: int
    token: str | None

    @classmethod
    def read(cls, metadata: bytes) -> Claims:
        d = Dictionary.decode(metadata)
        kind, _, token = d.get_text("a", MAX_METADATA).partition(":")
        version, protocol = NEVER_SEEN.version, NEVER_SEEN.protocol
        if "majv" in d:
            version = d.get_uint("majv"), d.get_uint("minv"), d.get_uint("revv")
            protocol = d.get_uint("pv")
        return cls(d.get_uint("revr") > 0, version, protocol, token if kind == "token" and token else None)
