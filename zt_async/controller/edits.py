"""What users change: edits of a batch. A controller runs them again where others were quicker."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from zt_async.controller.batch import Batch
from zt_async.controller.records import MemberRecord, NetworkRecord
from zt_async.errors import ControllerError, NoSuchMember, RecordError
from zt_async.types import NetworkId, NodeAddress

NetworkChange = Callable[[NetworkRecord], NetworkRecord]
MemberChange = Callable[[MemberRecord], MemberRecord]

_LOW_24 = (1 << 24) - 1


def create_network(batch: Batch, change: NetworkChange, network_id: NetworkId | None = None) -> NetworkId:
    """Make a network, with an ID of its own unless one is given. Raises RecordError."""
    if network_id is None:
        network_id = _unused_id(batch)
    elif network_id.controller != batch.controller:
        raise RecordError("id", f"has to begin with the address of its controller, {batch.controller}")
    elif batch.has_network(network_id):
        raise ControllerError(f"there is a network {network_id} already")
    batch.put_network(change(NetworkRecord(id=network_id, creation_time=batch.now)))
    return network_id


def _unused_id(batch: Batch) -> NetworkId:
    while True:
        network_id = NetworkId(batch.controller << 24 | 1 + batch.context.random_below(_LOW_24))
        if not batch.has_network(network_id):
            return network_id


def update_network(batch: Batch, network_id: NetworkId, change: NetworkChange) -> None:
    """Change a network's record. Raises NoSuchNetwork, RecordError."""
    batch.put_network(change(batch.network(network_id)))


def delete_network(batch: Batch, network_id: NetworkId) -> NetworkRecord:
    """Delete a network and its members. Raises NoSuchNetwork."""
    record = batch.network(network_id)
    batch.delete_network(network_id)
    return record


def update_member(
    batch: Batch, network_id: NetworkId, address: NodeAddress, change: MemberChange, *, create: bool = True
) -> None:
    """Change a member's record, which is made if it is missing. Raises NoSuchNetwork, NoSuchMember, RecordError.

    A member that has asked already gets its addresses along with its authorization.
    """
    network = batch.network(network_id)
    old = batch.find_member(network_id, address)
    if old is None:
        if not create:
            raise NoSuchMember(network_id, address)
        if address.is_reserved:
            raise RecordError("id", f"is {address}, which no node has")
        old = MemberRecord(network_id=network_id, address=address, creation_time=batch.now)
    new = change(old)
    new = replace(new, authorized=old.authorized).with_authorization(new.authorized, batch.now)
    batch.put_member(new)  # its own addresses come before those of the pools
    if new.authorized and new.identity is not None:
        batch.put_member(batch.completed(network, new))


def delete_member(batch: Batch, network_id: NetworkId, address: NodeAddress) -> MemberRecord:
    """Delete a member's record. Raises NoSuchNetwork, NoSuchMember."""
    batch.network(network_id)
    record = batch.find_member(network_id, address)
    if record is None:
        raise NoSuchMember(network_id, address)
    batch.delete_member(network_id, address)
    return record
