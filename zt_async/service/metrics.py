"""Counters in the text form of Prometheus; the names that upstream has stand for the same."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from zt_async.aio.controller import Controller
from zt_async.aio.node import Node
from zt_async.errors import ControllerError
from zt_async.service.call import Call, Json


class Sample(NamedTuple):
    """A value with its labels."""

    value: float
    labels: Mapping[str, str]


async def get_metrics(call: Call) -> Json:
    """The text, not JSON."""
    families = [*_node_metrics(call.node)]
    if call.backend.controller is not None:
        families += _controller_metrics(call.backend.controller)
    return "".join(families)


def _node_metrics(node: Node) -> Iterator[str]:
    peers = node.peers
    networks = [network.info for network in node.networks.values()]
    yield family("zt_num_networks", "gauge", "Networks that this node is on", [Sample(len(networks), {})])
    yield family(
        "zt_network_multicast_groups_subscribed",
        "gauge",
        "Multicast groups that this node is in",
        [Sample(len(network.groups), {"network_id": str(network.id)}) for network in networks],
    )
    yield family(
        "zt_peer_path_count",
        "gauge",
        "Paths to other nodes",
        [
            Sample(
                sum(path.alive == alive for path in peer.paths),
                {"node_id": str(peer.address), "status": "alive" if alive else "dead"},
            )
            for peer in peers
            for alive in (True, False)
        ],
    )
    yield family(
        "zt_async_peer_latency_seconds",
        "gauge",
        "Round trip to other nodes on the path that is used",
        [
            Sample(peer.latency / 1000, {"node_id": str(peer.address)})
            for peer in peers
            if peer.latency is not None
        ],
    )
    yield family("zt_async_online", "gauge", "Whether a root answers", [Sample(node.is_online, {})])
    yield family(
        "zt_async_events_total",
        "counter",
        "What happened to packets and frames, by the room that counts it",
        [
            Sample(count, {"room": room, "what": what})
            for name, count in sorted(node.status.counters.items())
            for room, _, what in [name.partition(": ")]
        ],
    )


def _controller_metrics(controller: Controller) -> Iterator[str]:
    try:
        counts = {network_id: controller.members(network_id).values() for network_id in controller.networks}
    except ControllerError:
        return
    yield family(
        "controller_network_count",
        "gauge",
        "Networks of the controller of this node",
        [Sample(len(counts), {})],
    )
    yield family(
        "controller_member_count",
        "gauge",
        "Their members, and those who wait to be",
        [Sample(sum(map(len, counts.values())), {})],
    )


def family(name: str, kind: str, description: str, samples: Iterable[Sample]) -> str:
    """One metric with all of its samples."""
    lines = [f"# HELP {name} {description}", f"# TYPE {name} {kind}"]
    for value, labels in samples:
        text = ",".join(f'{label}="{_escaped(content)}"' for label, content in labels.items())
        lines.append(f"{name}{{{text}}} {float(value)!r}" if text else f"{name} {float(value)!r}")
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
