"""Where a controller's records are kept: what a store does, and the rules that all of them hold.

A controller keeps all of its records in memory. A store makes changes to them durable before anybody is told of
them, and tells what others changed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, TypeAlias

from zt_async.controller.records import MemberRecord, NetworkRecord, Seen
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

    def claim(self, controller: NodeAddress) -> AbstractAsyncContextManager[None]:
        """Be the only one that controls the networks of that node; not for a controller that has a lease.

        Entering raises StoreError if somebody else does, as far as the store can tell.
        """

    async def load(self, controller: NodeAddress) -> Snapshot:
        """All records of the networks whose ID begins with that address."""

    async def commit(self, changes: Sequence[Change], fence: int | None = None) -> None:
        """Make the changes, in order, all or none; they are durable when this returns.

        Raises Conflict, and FenceLost where ``fence`` is no longer that of the lease's holder. A StoreError of any
        other kind leaves open what happened. Cancelling it does, too.
        """

    def watch(self, controller: NodeAddress) -> AsyncIterator[Sequence[RecordKey]]:
        """What others change from the last ``load`` on, in batches that may name a record more than once.

        A store that nobody else can write to never yields. Ends when the store is closed.
        """

    async def read(self, keys: Sequence[RecordKey]) -> list[NetworkRecord | MemberRecord | None]:
        """Records as they are now, in the order of the keys; None for those that are gone."""


class Tables:
    """Records in memory, as they are committed."""

    def __init__(self) -> None:
        self.networks: dict[NetworkId, NetworkRecord] = {}
        self.members: dict[NetworkId, dict[NodeAddress, MemberRecord]] = {}
        """Has an entry for each network."""
        self.owners: dict[NetworkId, dict[IPAddress, NodeAddress]] = {}
        """Who has which address; likewise."""
        self.seen: dict[MemberKey, Seen] = {}

    def apply(self, changes: Iterable[Change]) -> list[RecordKey]:
        """Make the changes, all or none, and name the records that are others now. Raises Conflict."""
        draft = Draft(self)
        seen: list[PutSeen] = []
        for change in changes:
            match change:
                case PutNetwork(record, expected):
                    draft.check_revision(RecordKey(record.id), expected)
                    draft.put_network(record)
                case PutMember(member, expected):
                    draft.check_revision(RecordKey(member.network_id, member.address), expected)
                    draft.put_member(member)
                case DeleteNetwork(network_id):
                    draft.delete_network(network_id)
                case DeleteMember(network_id, address):
                    draft.delete_member(network_id, address)
                case PutSeen():
                    seen.append(change)
        for key, drafted in draft.records.items():
            self.put(key, drafted)
        for network_id, address, what in seen:
            if address in self.members.get(network_id, {}):
                self.seen[network_id, address] = what
        return list(draft.records)

    def get(self, key: RecordKey) -> NetworkRecord | MemberRecord | None:
        """A record, None if there is none."""
        if key.address is None:
            return self.networks.get(key.network_id)
        return self.members.get(key.network_id, {}).get(key.address)

    def put(self, key: RecordKey, record: NetworkRecord | MemberRecord | None) -> None:
        """Make a record what it is now, None if it is gone. A member's goes nowhere without its network's."""
        network_id, address = key
        if isinstance(record, NetworkRecord):
            self.networks[network_id] = record
            self.members.setdefault(network_id, {})
            self.owners.setdefault(network_id, {})
        elif address is None:
            if self.networks.pop(network_id, None) is not None:
                for member in self.members.pop(network_id):
                    self.seen.pop((network_id, member), None)
                del self.owners[network_id]
        elif network_id in self.networks:
            members, owners = self.members[network_id], self.owners[network_id]
            old = members.get(address)
            for ip in old.addresses if old is not None else ():
                if owners.get(ip) == address:
                    del owners[ip]
            if record is None:
                members.pop(address, None)
                self.seen.pop((network_id, address), None)
            else:
                members[address] = record
                owners |= dict.fromkeys(record.addresses, address)

    def snapshot(self, controller: NodeAddress) -> Snapshot:
        """The records of one controller."""
        ours = [record for record in self.networks.values() if record.id.controller == controller]
        return Snapshot(
            ours,
            [member for network in ours for member in self.members[network.id].values()],
            {key: seen for key, seen in self.seen.items() if key[0].controller == controller},
        )


class Draft:
    """Records as they would be after changes that are not committed yet."""

    def __init__(self, tables: Tables) -> None:
        self.records: dict[RecordKey, NetworkRecord | MemberRecord | None] = {}
        """What was changed; networks come before their members."""
        self._tables = tables
        self._owners: dict[tuple[NetworkId, IPAddress], NodeAddress | None] = {}

    def network(self, network_id: NetworkId) -> NetworkRecord | None:
        key = RecordKey(network_id)
        found = self.records[key] if key in self.records else self._tables.get(key)
        assert not isinstance(found, MemberRecord)
        return found

    def member(self, network_id: NetworkId, address: NodeAddress) -> MemberRecord | None:
        key = RecordKey(network_id, address)
        found = self.records[key] if key in self.records else self._tables.get(key)
        assert not isinstance(found, NetworkRecord)
        return found

    def members(self, network_id: NetworkId) -> Iterable[NodeAddress]:
        """Those whose records are there, or were before this draft."""
        drafted = (key.address for key in self.records if key.network_id == network_id and key.address)
        return dict.fromkeys((*self._tables.members.get(network_id, ()), *drafted))

    def owner(self, network_id: NetworkId, ip: IPAddress) -> NodeAddress | None:
        """Who has an address."""
        if (network_id, ip) in self._owners:
            return self._owners[network_id, ip]
        return self._tables.owners.get(network_id, {}).get(ip)

    def check_revision(self, key: RecordKey, expected: int) -> None:
        """Raises Conflict if the record has another revision."""
        found = (
            self.network(key.network_id) if key.address is None else self.member(key.network_id, key.address)
        )
        revision = 0 if found is None else found.revision
        if revision != expected:
            raise Conflict(f"{_name(key)} was changed: it has revision {revision}, not {expected}")

    def put_network(self, record: NetworkRecord) -> None:
        self.records[RecordKey(record.id)] = record

    def put_member(self, record: MemberRecord) -> None:
        """Raises Conflict if its network does not exist, or one of its addresses is another's."""
        network_id, address = record.network_id, record.address
        if self.network(network_id) is None:
            raise Conflict(f"network {network_id} is gone")
        for ip in record.addresses:
            owner = self.owner(network_id, ip)
            if owner not in (None, address):
                raise Conflict(f"{ip} is the address of member {owner} of network {network_id}")
        self._release(self.member(network_id, address))
        self._owners |= dict.fromkeys(((network_id, ip) for ip in record.addresses), address)
        self.records[RecordKey(network_id, address)] = record

    def delete_network(self, network_id: NetworkId) -> None:
        if self.network(network_id) is not None:
            for address in self.members(network_id):
                self.delete_member(network_id, address)
            self.records[RecordKey(network_id)] = None

    def delete_member(self, network_id: NetworkId, address: NodeAddress) -> None:
        record = self.member(network_id, address)
        if record is not None:
            self._release(record)
            self.records[RecordKey(network_id, address)] = None

    def _release(self, record: MemberRecord | None) -> None:
        if record is not None:
            self._owners |= dict.fromkeys(((record.network_id, ip) for ip in record.addresses), None)


def _name(key: RecordKey) -> str:
    network = f"network {key.network_id}"
    return network if key.address is None else f"member {key.address} of {network}"
