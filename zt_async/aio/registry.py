"""Which nodes run on which event loop, for the calls of the package that name no node."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary, WeakSet

from zt_async.errors import NodeNotRunning

if TYPE_CHECKING:
    from zt_async.aio.node import Node

# Kept beside the loops, as not every loop lets others attach things to it; and weakly, for loops that are dropped.
_NODES: Final[WeakKeyDictionary[asyncio.AbstractEventLoop, WeakSet[Node]]] = WeakKeyDictionary()


def register(node: Node) -> None:
    """Note that a node runs on the running loop."""
    _NODES.setdefault(asyncio.get_running_loop(), WeakSet()).add(node)


def unregister(node: Node) -> None:
    """Note that a node of the running loop has stopped."""
    _NODES[asyncio.get_running_loop()].discard(node)


def the_node() -> Node:
    """The one node of the running loop. Raises NodeNotRunning where there are none or several."""
    nodes = list(_NODES.get(asyncio.get_running_loop(), ()))
    if not nodes:
        raise NodeNotRunning("no node runs on this event loop; start one with zt.start()")
    if len(nodes) > 1:
        raise NodeNotRunning(
            f"{len(nodes)} nodes run on this event loop; call the method of the one you mean"
        )
    return nodes[0]
