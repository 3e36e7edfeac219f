"""Changes of records that are decided together, and committed together or not at all."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import replace

from zt_async.context import Context
from zt_async.controller.addresses import AddressBook, AddressPlan
from zt_async.controller.membership import completed
from zt_async.controller.records import MemberRecord, NetworkRecord
from zt_async.controller.store import (
    Change,
    DeleteMember,
    DeleteNetwork,
    Draft,
    PutMember,
    PutNetwork,
    RecordKey,
    Tables,
)
from zt_async.errors import NoSuchNetwork, RecordError
from zt_async.types import IPAddress, NetworkId, NodeAddress


class Batch:
    """Sees the records with its own changes in them; nobody else does before they are committed.

    The addresses that it gives away are taken in the books at once, until ``release``.
    """

    def __init__(
        self,
        tables: Tables,
        find_book: Callable[[NetworkId], AddressBook | None],
        context: Context,
        controller: NodeAddress,
        now: int,
    ) -> None:
        self.controller = controller
        self.context = context
        self.now = now
        """Unix milliseconds."""
        self._tables = tables
        self._draft = Draft(tables)
        self._find_book = find_book
        self._new_books: defaultdict[NetworkId, AddressBook] = defaultdict(AddressBook)
        self._reserved: list[tuple[NetworkId, IPAddress, NodeAddress]] = []
        self._plans: dict[NetworkId, tuple[NetworkRecord, AddressPlan]] = {}

    @property
    def records(self) -> Mapping[RecordKey, NetworkRecord | MemberRecord | None]:
        """What it changes, with the revisions that the changes have."""
        return {key: self._revised(key, record) for key, record in self._draft.records.items()}

    def changes(self) -> list[Change]:
        """What is to be committed."""
        changes: list[Change] = []
        for key, record in self.records.items():
            if isinstance(record, NetworkRecord):
                changes.append(PutNetwork(record, record.revision - 1))
            elif isinstance(record, MemberRecord):
                changes.append(PutMember(record, record.revision - 1))
            elif key.address is None:
                changes.append(DeleteNetwork(key.network_id))
            elif self._draft.network(key.network_id) is not None:
                changes.append(DeleteMember(key.network_id, key.address))
        return changes

    def _revised(
        self, key: RecordKey, record: NetworkRecord | MemberRecord | None
    ) -> NetworkRecord | MemberRecord | None:
        if record is None:
            return None
        old = self._tables.get(key)
        return replace(record, revision=1 if old is None else old.revision + 1)

    def release(self) -> None:
        """Give back the addresses, because the batch is not committed."""
        for network_id, ip, owner in self._reserved:
            self._book(network_id).free(ip, owner)

    def settle(self) -> None:
        """Give back the addresses that are no member's after all, because the batch is committed."""
        for network_id, ip, owner in self._reserved:
            if self._tables.owners.get(network_id, {}).get(ip) != owner:
                self._book(network_id).free(ip, owner)

    # Records

    def has_network(self, network_id: NetworkId) -> bool:
        return self._draft.network(network_id) is not None

    def network(self, network_id: NetworkId) -> NetworkRecord:
        """Raises NoSuchNetwork."""
        network = self._draft.network(network_id)
        if network is None:
            raise NoSuchNetwork(network_id)
        return network

    def find_member(self, network_id: NetworkId, address: NodeAddress) -> MemberRecord | None:
        """A member's record, None if there is none."""
        return self._draft.member(network_id, address)

    def put_network(self, record: NetworkRecord) -> None:
        if record != self._draft.network(record.id):
            self._draft.put_network(record)

    def put_member(self, record: MemberRecord) -> None:
        """Raises RecordError for an address that another member has."""
        network_id, address = record.network_id, record.address
        old = self._draft.member(network_id, address)
        if record == old:
            return
        book = self._book(network_id)
        for ip in record.addresses:
            owner = self._draft.owner(network_id, ip)
            if owner not in (None, address):
                raise RecordError("ipAssignments", f"has {ip}, which is the address of member {owner}")
        for ip in record.addresses:
            if book.owner(ip) is None:
                book.take(ip, address)
                self._reserved.append((network_id, ip, address))
        self._draft.put_member(record)

    def delete_network(self, network_id: NetworkId) -> None:
        self._draft.delete_network(network_id)

    def delete_member(self, network_id: NetworkId, address: NodeAddress) -> None:
        self._draft.delete_member(network_id, address)

    def completed(self, network: NetworkRecord, member: MemberRecord) -> MemberRecord:
        """A member with the tags and addresses that the network gives it."""
        held, plan = self._plans.get(network.id, (None, None))
        if plan is None or held is not network:
            plan = AddressPlan(network)
            self._plans[network.id] = network, plan
        return completed(network, plan, self._book(network.id), member)

    def _book(self, network_id: NetworkId) -> AddressBook:
        book = self._find_book(network_id)
        return self._new_books[network_id] if book is None else book
