"""What a handler gets: the node, the controller, and one request that has passed the gate."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from string import hexdigits
from typing import Any, TypeAlias, TypeVar

from zt_async.aio.controller import Controller
from zt_async.aio.node import Node
from zt_async.service.access import Gate
from zt_async.service.local_conf import LocalConf
from zt_async.service.replies import ApiError
from zt_async.types import NetworkId, NodeAddress

Json: TypeAlias = Any
NumberT = TypeVar("NumberT", bound=int)


@dataclass(frozen=True, slots=True)
class Backend:
    """What the API is a face of."""

    node: Node
    controller: Controller | None
    local_conf: LocalConf
    gate: Gate


@dataclass(frozen=True, slots=True)
class Call:
    """One request. ``path`` are the parts of its path that have names, ``body`` is the object that came with it."""

    backend: Backend
    path: Mapping[str, str]
    body: Mapping[str, Any]

    @property
    def node(self) -> Node:
        """The node, which runs. Raises NodeNotRunning, NodeFailed."""
        node = self.backend.node
        node.check_running()
        return node

    @property
    def controller(self) -> Controller:
        """The controller of this node. Raises ApiError where there is none."""
        controller = self.backend.controller
        if controller is None:
            raise ApiError(404, "this node is no controller")
        return controller

    @property
    def network_id(self) -> NetworkId:
        """Of the path. Raises ApiError."""
        return _parsed(NetworkId.parse, self.path["network_id"])

    @property
    def address(self) -> NodeAddress:
        """Of the path. Raises ApiError."""
        return _parsed(NodeAddress.parse, self.path["address"])

    @property
    def moon_id(self) -> int:
        """Of the path. Raises ApiError."""
        return _parsed(parse_moon_id, self.path["moon_id"])


Handler: TypeAlias = Callable[[Call], Awaitable[Json]]


def parse_moon_id(text: str) -> int:
    """Read ten digits, as paths have them, or the sixteen that a moon's object has. Raises ValueError."""
    if len(text) not in (10, 16) or not set(text) <= set(hexdigits) or not int(text, 16):
        raise ValueError(f"a moon's ID is 10 or 16 hexadecimal digits, and not zero: {text!r}")
    return int(text, 16)


def _parsed(parse: Callable[[str], NumberT], text: str) -> NumberT:
    try:
        return parse(text)
    except ValueError as error:
        raise ApiError(404, str(error)) from None
