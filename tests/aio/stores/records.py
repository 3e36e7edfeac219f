"""Records to write."""

from __future__ import annotations

import ipaddress

from zt_async.controller.records import MemberRecord, NetworkRecord
from zt_async.controller.store import DeleteMember, DeleteNetwork, PutMember, PutNetwork, RecordKey
from zt_async.types import NetworkId, NodeAddress

CONTROLLER = NodeAddress(0x8056C2E21C)
OTHER_CONTROLLER = NodeAddress(0x8056C2E21D)
NETWORK = NetworkId(CONTROLLER << 24 | 1)
OTHERS_NETWORK = NetworkId(OTHER_CONTROLLER << 24 | 1)


def network(network_id: NetworkId = NETWORK, revision: int = 1, **fields: object) -> NetworkRecord:
    return NetworkRecord(id=network_id, revision=revision, creation_time=7, **fields)  # type: ignore[arg-type]


def member(
    number: int, *ips: str, network_id: NetworkId = NETWORK, revision: int = 1, **fields: object
) -> MemberRecord:
    return MemberRecord(
        network_id=network_id,
        address=NodeAddress(number),
        revision=revision,
        creation_time=7,
        addresses=tuple(map(ipaddress.ip_address, ips)),
        **fields,  # type: ignore[arg-type]
    )


def put(record: NetworkRecord | MemberRecord) -> PutNetwork | PutMember:
    """The change that brings this revision."""
    expected = record.revision - 1
    return PutNetwork(record, expected) if isinstance(record, NetworkRecord) else PutMember(record, expected)


def key(record: NetworkRecord | MemberRecord) -> RecordKey:
    if isinstance(record, NetworkRecord):
        return RecordKey(record.id)
    return RecordKey(record.network_id, record.address)


def delete(record: NetworkRecord | MemberRecord) -> DeleteNetwork | DeleteMember:
    if isinstance(record, NetworkRecord):
        return DeleteNetwork(record.id)
    return DeleteMember(record.network_id, record.address)
