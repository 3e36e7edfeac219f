"""Records as rows: what both databases keep is the JSON object of the record, beside what it is found by."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import Any, Final, NamedTuple

from zt_async.controller.fields import MILLISECONDS
from zt_async.controller.records import NEVER_SEEN, MemberRecord, NetworkRecord, Seen
from zt_async.controller.store import (
    Change,
    DeleteMember,
    DeleteNetwork,
    PutMember,
    PutNetwork,
    PutSeen,
    RecordKey,
    Snapshot,
)
from zt_async.errors import RecordError
from zt_async.types import Endpoint, NetworkId, NodeAddress

logger = logging.getLogger("zt_async.aio.stores")

SEEN: Final = -1
"""Stands in the place of an expected revision for how a member was last seen."""


class Row(NamedTuple):
    """A change: an address makes it that of a member, no JSON text a deletion."""

    network: str
    address: str | None
    expected: int
    revision: int
    text: str | None


def row_of(change: Change) -> Row:
    """What to do to which row."""
    match change:
        case PutNetwork(record, expected):
            return Row(str(record.id), None, expected, record.revision, to_text(record.to_json()))
        case PutMember(member, expected):
            text = to_text(member.to_json())
            return Row(str(member.network_id), str(member.address), expected, member.revision, text)
        case DeleteNetwork(network_id):
            return Row(str(network_id), None, 0, 0, None)
        case DeleteMember(network_id, address):
            return Row(str(network_id), str(address), 0, 0, None)
        case PutSeen(network_id, address, seen):
            return Row(str(network_id), str(address), SEEN, 0, to_text(seen_to_json(seen)))


def to_text(value: dict[str, Any]) -> str:
    return json.dumps(value, separators=(",", ":"))


def seen_to_json(seen: Seen) -> dict[str, Any]:
    endpoint = None if seen.endpoint is None else list(seen.endpoint)
    return {"time": seen.time, "endpoint": endpoint, **seen.to_json()}


def seen_of(text: str) -> Seen:
    """Read what ``seen_to_json`` wrote; what anybody else wrote is not known."""
    try:
        value = json.loads(text)
        time, endpoint = MILLISECONDS(value["time"]), value["endpoint"]
        return replace(Seen.from_json(value), time=time, endpoint=endpoint and Endpoint.make(*endpoint))
    except (ValueError, KeyError, TypeError, AttributeError):
        return NEVER_SEEN


def snapshot_of(networks: Iterable[Any], members: Iterable[Any], seen: Iterable[Any]) -> Snapshot:
    """The records of rows. It takes 0.1 ms for each: call it in a thread."""
    return Snapshot(
        [network_of(*row) for row in networks],
        [member_of(*row) for row in members],
        {
            (NetworkId.parse(network), NodeAddress.parse(address)): seen_of(text)
            for network, address, text in seen
        },
    )


def network_of(network: str, revision: int, text: str) -> NetworkRecord:
    """Read a row; the columns are right where the JSON says something else, as anybody may have written it.

    A field that has no such value gets its default; the log says so.
    """
    told = partial(_warn, network)
    return NetworkRecord.from_json(_read(text, told) | {"id": network, "revision": revision}, on_error=told)


def member_of(network: str, address: str, revision: int, text: str) -> MemberRecord:
    """The same for a member."""
    told = partial(_warn, f"{network}/{address}")
    value = _read(text, told) | {"id": address, "nwid": network, "revision": revision}
    return MemberRecord.from_json(value, on_error=told)


def key_of(network: str, address: str = "") -> RecordKey:
    """A key from the texts of its columns; an empty address is a network's."""
    return RecordKey(NetworkId.parse(network), NodeAddress.parse(address) if address else None)


def range_of(controller: NodeAddress) -> tuple[str, str]:
    """The first and the last of the networks of a controller."""
    return f"{controller}000000", f"{controller}ffffff"


def by_controller(keys: Iterable[RecordKey]) -> dict[NodeAddress, list[RecordKey]]:
    found: dict[NodeAddress, list[RecordKey]] = {}
    for key in keys:
        found.setdefault(key.network_id.controller, []).append(key)
    return found


def _read(text: str, told: Callable[[RecordError], None]) -> dict[str, Any]:
    problem = "is no JSON object"
    try:
        value = json.loads(text)
        if isinstance(value, dict):
            return value
    except (ValueError, RecursionError) as error:
        problem = f"is no JSON: {error}"
    told(RecordError("record", problem))
    return {}


def _warn(where: str, error: RecordError) -> None:
    logger.warning("record %s in the database: %s", where, error)
