"""All operations of the API in one table, which both its routes and its description are made of."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import Final

from zt_async.service import controller_api, node_api
from zt_async.service.call import Handler
from zt_async.service.metrics import get_metrics
from zt_async.service.schemas import TEXT, Schema, array, ref


class Access(Enum):
    """Who may do it."""

    TOKEN = "those on this machine who have the token"
    NEAR = "all on this machine"
    METRICS = "whoever has the token of the metrics, or the other one"


@dataclass(frozen=True, slots=True)
class Operation:
    """A method on a path. POST stands for PUT as well, and GET for HEAD."""

    method: str
    path: str
    """Parts in braces are names: network_id, address, moon_id and so on."""
    handler: Handler
    summary: str
    answer: Schema | None
    """What its JSON is like; None for the text of the metrics."""
    errors: tuple[int, ...] = ()
    """Statuses of its failures, besides those that all have."""
    body: str | None = None
    """The schema of what is sent along."""
    access: Access = Access.TOKEN

    @property
    def methods(self) -> tuple[str, ...]:
        return ("POST", "PUT") if self.method == "POST" else (self.method,)

    @property
    def statuses(self) -> list[int]:
        """Of all failures."""
        return sorted({400, 401, *self.errors} | ({413} if self.method == "POST" else set()))


_get: Final = partial(Operation, "GET")
_post: Final = partial(Operation, "POST")
_delete: Final = partial(Operation, "DELETE")

_NETWORKS: Final = "/controller/network"
_NETWORK: Final = "/controller/network/{network_id}"
_MEMBER: Final = "/controller/network/{network_id}/member/{address}"
_ANY: Final[Schema] = {"type": "object"}
_RECORD: Final = ref("ControlledNetwork")

OPERATIONS: Final[tuple[Operation, ...]] = (
    _get("/status", node_api.get_status, "All about this node", ref("Status"), (503,)),
    _get("/health", node_api.get_health, "Whether this node is online", ref("Health"), access=Access.NEAR),
    _get("/metrics", get_metrics, "Counters for Prometheus", None, (503,), access=Access.METRICS),
    _get("/config", node_api.get_config, "The content of local.conf", _ANY),
    _post(
        "/config/settings",
        node_api.post_settings,
        "Change settings in local.conf; allowManagementFrom is at once in force",
        _ANY,
        (500,),
        body="SettingsChange",
    ),
    _get("/peer", node_api.get_peers, "The nodes that are known", array(ref("Peer")), (503,)),
    _get("/peer/{address}", node_api.get_peer, "One of them", ref("Peer"), (404, 503)),
    _get("/network", node_api.get_networks, "The networks that were joined", array(ref("Network")), (503,)),
    _get("/network/{network_id}", node_api.get_network, "One of them", ref("Network"), (404, 503)),
    _post(
        "/network/{network_id}",
        node_api.post_network,
        "Join a network, and change local settings of it",
        ref("Network"),
        (404, 500, 503),
        body="NetworkSettings",
    ),
    _delete(
        "/network/{network_id}", node_api.delete_network, "Leave a network", ref("Result"), (404, 500, 503)
    ),
    _get("/moon", node_api.get_moons, "The moons that are used", array(ref("Moon")), (503,)),
    _get("/moon/{moon_id}", node_api.get_moon, "One of them", ref("Moon"), (404, 503)),
    _post(
        "/moon/{moon_id}",
        node_api.post_moon,
        "Use a moon, as soon as a seed delivers it",
        ref("Moon"),
        (404, 500, 503),
        body="Seed",
    ),
    _delete("/moon/{moon_id}", node_api.delete_moon, "Use a moon no longer", ref("Result"), (404, 500, 503)),
    _get("/bond/show/{address}", node_api.no_bonds, "Bonds, of which there are none", _ANY),
    _post("/bond/rotate/{address}", node_api.no_bonds, "Bonds, of which there are none", _ANY),
    _get("/controller", controller_api.get_controller, "The controller", ref("Controller"), (404, 503)),
    _get(_NETWORKS, controller_api.get_networks, "The IDs of its networks", array(TEXT), (404, 503)),
    _post(
        _NETWORKS,
        controller_api.post_new_network,
        "Make a network with a random ID",
        _RECORD,
        (404, 409, 503),
        body="ControlledNetworkChange",
    ),
    _post(
        "/controller/network/{address}______",
        controller_api.post_new_network_of,
        "The same, by the address of the controller",
        _RECORD,
        (404, 409, 503),
        body="ControlledNetworkChange",
    ),
    _get(_NETWORK, controller_api.get_network, "A network of this controller", _RECORD, (404, 503)),
    _post(
        _NETWORK,
        controller_api.post_network,
        "Change a network, or make it",
        _RECORD,
        (404, 409, 503),
        body="ControlledNetworkChange",
    ),
    _delete(
        _NETWORK,
        controller_api.delete_network,
        "Delete a network, whose members are cut off; gives what it was",
        _RECORD,
        (404, 409, 503),
    ),
    _get(
        f"{_NETWORK}/member",
        controller_api.get_members,
        "The members of a network and those who wait to be, each with the revision of its record",
        {"type": "object", "additionalProperties": {"type": "integer"}},
        (404, 503),
    ),
    _get(_MEMBER, controller_api.get_member, "One of them", ref("Member"), (404, 503)),
    _post(
        _MEMBER,
        controller_api.post_member,
        "Change a member, be it before it asks; authorized lets it in or cuts it off",
        ref("Member"),
        (404, 409, 503),
        body="MemberChange",
    ),
    _delete(
        _MEMBER,
        controller_api.delete_member,
        "Forget a member, which is cut off; gives what it was",
        ref("Member"),
        (404, 409, 503),
    ),
    _get(
        "/unstable/controller/network",
        controller_api.get_network_page,
        "All networks",
        ref("NetworkPage"),
        (404, 503),
    ),
    _get(
        "/unstable/controller/network/{network_id}/member",
        controller_api.get_member_page,
        "All members of a network",
        ref("MemberPage"),
        (404, 503),
    ),
)
