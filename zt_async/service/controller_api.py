"""What the API says of the networks that this node controls, and does with them. vl2.md 8.6."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from typing import Any, Final

from zt_async.aio.controller import Controller
from zt_async.controller.records import MemberRecord
from zt_async.service.call import Call, Json
from zt_async.service.node_json import wall_ms
from zt_async.service.replies import ApiError

API_VERSION: Final = 4
"""Of the controllers that upstream has."""
MEMBERS_PER_TURN: Final = 256
"""Of the loop, on which the node has other things to do as well."""

_NETWORK_FLAGS: Final = ("private", "enableBroadcast")
_MEMBER_FLAGS: Final = ("authorized", "activeBridge", "noAutoAssignIps")
_MODES: Final = ("v4AssignMode", "v6AssignMode")
_WRITTEN: Final = {"true": True, "false": False}


async def get_controller(call: Call) -> Json:
    """That there is a controller. Raises ApiError 503 while it is not usable."""
    if not call.controller.is_ready:
        raise ApiError(503, "the controller's store cannot be reached", extra=_controller_json(False))
    return _controller_json(True)


def _controller_json(ready: bool) -> dict[str, Any]:
    return {"controller": True, "apiVersion": API_VERSION, "clock": wall_ms(), "databaseReady": ready}


# Networks


async def get_networks(call: Call) -> Json:
    return [str(network_id) for network_id in sorted(call.controller.networks)]


async def get_network(call: Call) -> Json:
    return call.controller.record(call.network_id).to_json()


async def post_new_network(call: Call) -> Json:
    return (await call.controller.patch_network(None, _network_changes(call.body))).to_json()


async def post_new_network_of(call: Call) -> Json:
    """The same by the address of the controller, with which the ID is to begin."""
    controller, address = call.controller, call.address
    if address != controller.address:
        raise ApiError(400, f"this controller is {controller.address}, not {address}")
    return await post_new_network(call)


async def post_network(call: Call) -> Json:
    changes = _network_changes(call.body)
    return (await call.controller.patch_network(call.network_id, changes)).to_json()


async def delete_network(call: Call) -> Json:
    return (await call.controller.delete_network(call.network_id)).to_json()


async def get_network_page(call: Call) -> Json:
    controller = call.controller
    data = []
    for network_id in sorted(controller.networks):
        members = controller.members(network_id).values()
        counts = {"totalMemberCount": len(members), "authorizedMemberCount": _authorized(members)}
        data.append({**controller.record(network_id).to_json(), "meta": counts})
    return {"data": data, "meta": {"networkCount": len(data)}}


# Members


async def get_members(call: Call) -> Json:
    members = call.controller.members(call.network_id)
    return {str(address): member.revision for address, member in members.items()}


async def get_member_page(call: Call) -> Json:
    controller, network_id = call.controller, call.network_id
    members = controller.members(network_id).values()
    data = []
    for member in members:
        data.append(_member_json(controller, member))
        if len(data) % MEMBERS_PER_TURN == 0:
            await asyncio.sleep(0)
    return {
        "data": data,
        "meta": {"totalCount": len(members), "authorizedCount": _authorized(members)},
    }


async def get_member(call: Call) -> Json:
    controller = call.controller
    return _member_json(controller, controller.member(call.network_id, call.address))


async def post_member(call: Call) -> Json:
    controller = call.controller
    changes = _with_flags(call.body, _MEMBER_FLAGS)
    return _member_json(controller, await controller.patch_member(call.network_id, call.address, changes))


async def delete_member(call: Call) -> Json:
    controller, network_id, address = call.controller, call.network_id, call.address
    seen = controller.seen(network_id, address)
    return (await controller.delete_member(network_id, address)).to_json(seen)


def _member_json(controller: Controller, member: MemberRecord) -> dict[str, Any]:
    return member.to_json(controller.seen(member.network_id, member.address))


def _authorized(members: Collection[MemberRecord]) -> int:
    return sum(member.authorized for member in members)


# Booleans as text: what forms of web pages send, and upstream takes


def _network_changes(body: Mapping[str, Any]) -> dict[str, Any]:
    changes = _with_flags(body, _NETWORK_FLAGS)
    for key in _MODES:
        if isinstance(mode := changes.get(key), dict):
            changes[key] = _with_flags(mode, mode)
    return changes


def _with_flags(body: Mapping[str, Any], keys: Collection[str]) -> dict[str, Any]:
    """A copy in which the texts true and false under these keys are booleans."""
    changes = dict(body)
    for key in keys:
        if isinstance(text := changes.get(key), str):
            changes[key] = _WRITTEN.get(text.lower(), text)
    return changes
