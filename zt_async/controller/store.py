"""Where a controller's records are kept: what a store does, and the rules that all of them hold.

A controller keeps all of its records in memory. A store makes changes to them durable before anybody is told of
them, and tells what others changed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, TypeAlias

from zt_async.controller.records import NEVER_SEEN, MemberRecord, NetworkRecord, Seen
from zt_async.errors import Conflict
from zt_async.types import IPAddress, NetworkId, NodeAddress

MemberKey: TypeAlias = tuple[NetworkId, NodeAddress]


class RecordKey(NamedTuple):
    """A network's record, or with an address that of one of its members."""

    network_id: NetworkId
    address: NodeAddress | None = None


class PutNetwork(NamedTuple):
    """Write a network's record, whose revision is one more than the expected one; 0 if there must be none yet."""

    record: NetworkRecord
    expected_revision: int


class PutMember(NamedTuple):
    """Write a member's record, as PutNetwork does. Its network must exist, and its addresses be nobody else's."""

    record: MemberRecord
    expected_revision: int


class DeleteNetwork(NamedTuple):
    """Delete a network with all of its members; no error if it is gone."""

    network_id: NetworkId


class DeleteMember(NamedTuple):
    """Delete a member's record, and what was seen of it; no error if it is gone."""

    network_id: NetworkId
    address: NodeAddress


class PutSeen(NamedTuple):
    """Note how a member was last seen: no revision, nobody is told, and nothing happens if it has no record."""

    network_id: NetworkId
    address: NodeAddress
    seen: Seen


Change: TypeAlias = PutNetwork | PutMember | DeleteNetwork | DeleteMember | PutSeen


@dataclass(slots=True)
class Snapshot:
    """All that a store has for one controller."""

    networks: list[NetworkRecord] = field(default_factory=list)
    members: list[MemberRecord] = field(default_factory=list)
    seen: dict[MemberKey, Seen] = field(default_factory=dict)


class Store(Protocol):
    """A store. Any of its methods raises StoreError when it cannot do what it is asked."""

    async def open(self) -> None:
        """Get ready; called once, before anything else."""

    async def close(self) -> None:
        """Free everything. Harmless when it is not open."""

    async def load(self, controller: NodeAddress) -> Snapshot:
        """All records of the networks whose ID begins with that address."""

    async def commit(self, changes: Sequence[Change], fence: int | None = None) -> None:
        """Make the changes, in order, all or none; they are durable when this returns.

        Raises Conflict, and FenceLost where ``fence`` is no longer that of the lease's holder. A StoreError of any
        other kind leaves open what happened. Cancelling it does, too.
        """

    def watch(self, controller: NodeAddress) -> AsyncIterator[Sequence[RecordKey]]:
        """What others change from the first ``anext`` on, in batches that may name a record more than once.

        A store that nobody else can write to never yields.
        """

    async def read(self, keys: Sequence[RecordKey]) -> list[NetworkRecord | MemberRecord | None]:
        """Records as they are now, in the order of the keys; None for those that are gone."""


class Tables:
    """Records in memory under the rules of a store."""

    def __init__(self) -> None:
        self.networks: dict[NetworkId, NetworkRecord] = {}
        self.members: dict[NetworkId, dict[NodeAddress, MemberRecord]] = {}
        """Has an entry for each network."""
        self.owners: dict[NetworkId, dict[IPAddress, NodeAddress]] = {}
        """Who has which address; likewise."""
        self.seen: dict[MemberKey, Seen] = {}

    def apply(self, changes: Iterable[Change]) -> list[RecordKey]:
        """Make the changes, in order, all or none, and name the records that are others now. Raises Conflict."""
        changed: list[RecordKey] = []
        done: list[Callable[[], object]] = []
        try:
            for change in changes:
                match change:
                    case PutNetwork(record, expected):
                        changed.append(RecordKey(record.id))
                        done.append(self._put_network(record, expected))
                    case PutMember(record, expected):
                        changed.append(RecordKey(record.network_id, record.address))
                        done.append(self._put_member(record, expected))
                    case DeleteNetwork(network_id):
                        changed.extend(self._keys_of(network_id))
                        done.append(self._delete_network(network_id))
                    case DeleteMember(network_id, address):
                        changed.append(RecordKey(network_id, address))
                        done.append(self._delete_member(network_id, address))
                    case PutSeen(network_id, address, seen):
                        done.append(self._put_seen(network_id, address, seen))
        except Conflict:
            for undo in reversed(done):
                undo()
            raise
        return changed

    def snapshot(self, controller: NodeAddress) -> Snapshot:
        """The records of one controller."""
        ours = [record for record in self.networks.values() if record.id.controller == controller]
        return Snapshot(
            ours,
            [member for network in ours for member in self.members[network.id].values()],
            {key: seen for key, seen in self.seen.items() if key[0].controller == controller},
        )

    def get(self, key: RecordKey) -> NetworkRecord | MemberRecord | None:
        if key.address is None:
            return self.networks.get(key.network_id)
        return self.members.get(key.network_id, {}).get(key.address)

    def _put_network(self, record: NetworkRecord, expected: int) -> Callable[[], object]:
        old = self.networks.get(record.id)
        _check_revision(f"network {record.id}", old.revision if old else 0, expected)
        self.networks[record.id] = record
        if old is not None:
            return lambda: self.networks.update({record.id: old})
        self.members[record.id], self.owners[record.id] = {}, {}
        return lambda: self._delete_network(record.id)

    def _put_member(self, record: MemberRecord, expected: int) -> Callable[[], object]:
        network_id, address = record.network_id, record.address
        if network_id not in self.networks:
            raise Conflict(f"network {network_id} is gone")
        members, owners = self.members[network_id], self.owners[network_id]
        old = members.get(address)
        _check_revision(f"member {address} of network {network_id}", old.revision if old else 0, expected)
        for ip in record.addresses:
            if owners.get(ip, address) != address:
                raise Conflict(f"{ip} is the address of member {owners[ip]} of network {network_id}")
        self._own(old, record)
        members[address] = record

        def undo() -> None:
            self._own(record, old)
            if old is None:
                del members[address]
            else:
                members[address] = old

        return undo

    def _own(self, old: MemberRecord | None, new: MemberRecord | None) -> None:
        if old is not None:
            for ip in old.addresses:
                del self.owners[old.network_id][ip]
        if new is not None:
            self.owners[new.network_id] |= dict.fromkeys(new.addresses, new.address)

    def _delete_network(self, network_id: NetworkId) -> Callable[[], object]:
        if network_id not in self.networks:
            return _nothing
        seen = {key: seen for key, seen in self.seen.items() if key[0] == network_id}
        for key in seen:
            del self.seen[key]
        network = self.networks.pop(network_id)
        members, owners = self.members.pop(network_id), self.owners.pop(network_id)

        def undo() -> None:
            self.networks[network_id] = network
            self.members[network_id], self.owners[network_id] = members, owners
            self.seen.update(seen)

        return undo

    def _delete_member(self, network_id: NetworkId, address: NodeAddress) -> Callable[[], object]:
        old = self.members.get(network_id, {}).pop(address, None)
        if old is None:
            return _nothing
        self._own(old, None)
        seen = self.seen.pop((network_id, address), None)

        def undo() -> None:
            self.members[network_id][address] = old
            self._own(None, old)
            if seen is not None:
                self.seen[network_id, address] = seen

        return undo

    def _put_seen(self, network_id: NetworkId, address: NodeAddress, seen: Seen) -> Callable[[], object]:
        if address not in self.members.get(network_id, {}):
            return _nothing
        key = (network_id, address)
        old = self.seen.get(key, NEVER_SEEN)
        self.seen[key] = seen
        return lambda: self.seen.update({key: old})

    def _keys_of(self, network_id: NetworkId) -> list[RecordKey]:
        members = self.members.get(network_id, {})
        return [RecordKey(network_id), *(RecordKey(network_id, address) for address in members)]


def _check_revision(what: str, revision: int, expected: int) -> None:
    if revision != expected:
        raise Conflict(f"{what} was changed: it has revision {revision}, not {expected}")


def _nothing() -> None:
    """What undoes nothing."""
