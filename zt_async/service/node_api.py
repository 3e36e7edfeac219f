"""What the API says of the node itself, and does with it. vl1.md 6.4."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from zt_async.aio.network import Network, NetworkChoices
from zt_async.service.call import Call, Json
from zt_async.service.node_json import (
    health_json,
    moon_json,
    network_json,
    peers_json,
    status_json,
    waiting_moon_json,
)
from zt_async.service.replies import ApiError
from zt_async.service.schemas import NETWORK_SETTINGS
from zt_async.types import NetworkId, NodeAddress


async def get_status(call: Call) -> Json:
    return status_json(call.node, call.backend.local_conf.content)


async def get_health(call: Call) -> Json:
    return health_json(call.backend.node)


async def get_config(call: Call) -> Json:
    return call.backend.local_conf.content


async def post_settings(call: Call) -> Json:
    backend = call.backend
    try:
        await backend.local_conf.merge(call.body)
    except ValueError as error:
        raise ApiError(400, str(error)) from None
    backend.gate.allow(backend.local_conf.allowed)
    return {}


async def get_peers(call: Call) -> Json:
    return peers_json(call.node.peers, call.node)


async def get_peer(call: Call) -> Json:
    node, address = call.node, call.address
    peer = node.peer(address)
    if peer is None:
        raise ApiError(404, f"nothing is known of node {address}")
    (shown,) = peers_json([peer], node)
    return shown


# Networks


async def get_networks(call: Call) -> Json:
    return [network_json(network.info) for network in call.node.networks.values()]


async def get_network(call: Call) -> Json:
    return network_json(_joined(call, call.network_id).info)


async def post_network(call: Call) -> Json:
    """Join, without waiting for the controller, and change the settings that are given."""
    network_id = call.network_id
    changes = _choices(call.body)
    if network_id.controller.is_reserved and not network_id.is_ad_hoc:
        raise ApiError(404, f"no network has the ID {network_id}")
    network = await call.node.join(network_id, wait=False)
    if changes:
        await network.configure(**changes)
    return network_json(network.info)


async def delete_network(call: Call) -> Json:
    await _joined(call, call.network_id).leave()
    return {"result": True}


def _choices(body: Mapping[str, Any]) -> NetworkChoices:
    """The settings that are given. Raises ApiError."""
    given = [key for key in NETWORK_SETTINGS if key in body]
    for key in given:
        if not isinstance(body[key], bool):
            raise ApiError(400, f"{key} is true or false, not {body[key]!r}", key)
    return cast("NetworkChoices", {NETWORK_SETTINGS[key]: body[key] for key in given})


def _joined(call: Call, network_id: NetworkId) -> Network:
    network = call.node.networks.get(network_id)
    if network is None:
        raise ApiError(404, f"this node is not on network {network_id}")
    return network


# Moons


async def get_moons(call: Call) -> Json:
    return [moon_json(moon) for moon in call.node.core.vl1.topology.moons.values()]


async def get_moon(call: Call) -> Json:
    moon_id = call.moon_id
    topology = call.node.core.vl1.topology
    if moon_id in topology.moons:
        return moon_json(topology.moons[moon_id])
    if moon_id in topology.seeds:
        return waiting_moon_json(moon_id)
    raise _no_moon(moon_id)


async def post_moon(call: Call) -> Json:
    """Use a moon, as soon as the node ``seed`` delivers it."""
    try:
        await call.node.orbit(call.moon_id, _seed(call.body.get("seed")))
    except ValueError as error:
        raise ApiError(400, str(error)) from None
    return await get_moon(call)


def _seed(value: object) -> NodeAddress | None:
    if value is None:
        return None
    try:
        seed = NodeAddress.parse(value) if isinstance(value, str) else None
    except ValueError:
        seed = None
    if seed is None or seed.is_reserved:
        raise ApiError(400, f"seed is the address of a node, ten hexadecimal digits, not {value!r}", "seed")
    return seed


async def delete_moon(call: Call) -> Json:
    moon_id = call.moon_id
    if not await call.node.deorbit(moon_id):
        raise _no_moon(moon_id)
    return {"result": True}


def _no_moon(moon_id: int) -> ApiError:
    return ApiError(404, f"this node does not use a moon {moon_id:016x}")


# Bonds, of which this node has none: upstream answers so as well while none is set up


async def no_bonds(call: Call) -> Json:
    raise ApiError(400, "this node bonds no paths")
