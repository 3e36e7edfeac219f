"""Which nodes run on which event loop, for the calls of the package that name no node."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary

from zt_async.errors import NodeNotRunning

if TYPE_CHECKING:
    from zt_async.aio.node import Node

# A loop cannot carry attributes of ours (uvloop's cannot carry any), so this is kept beside it.
_NODES: Final[WeakKeyDictionary[asyncio.AbstractEventLoop, list[Node]]] = WeakKeyDictionary()


def register(node: Node) -> None:
    _NODES.setdefault(node.loop, []).append(node)


def unregister(node: Node) -> None:
    nodes = _NODES.get(node.loop, [])
    if node in nodes:
        nodes.remove(node)


def the_node() -> Node:
    """The one node of the running loop. Raises NodeNotRunning where there are none or several."""
    nodes = _NODES.get(asyncio.get_running_loop(), [])
    if not nodes:
        raise NodeNotRunning("no node runs on this event loop; start one with zt.start()")
    if len(nodes) > 1:
        raise NodeNotRunning(f"{len(nodes)} nodes run on this event loop; call the method of the one you mean")
    return nodes[0]
