"""Changes of records that are decided together, and committed together or not at all."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
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
        self._steps: list[tuple[RecordKey, NetworkRecord | MemberRecord | None]] = []  # None is deleted
        self._find_book = find_book
        self._new_books: defaultdict[NetworkId, AddressBook] = defaultdict(AddressBook)
        self._reserved: list[tuple[NetworkId, IPAddress, NodeAddress]] = []
        self._plans: dict[NetworkId, tuple[NetworkRecord, AddressPlan]] = {}

    @property
    def records(self) -> Mapping[RecordKey, NetworkRecord | MemberRecord | None]:
        """What it changes, with the revisions that the changes have."""
        last = dict(self._numbered())
        return {key: None if drafted is None else last[key] for key, drafted in self._draft.records.items()}

    def changes(self) -> list[Change]:
        """What is to be committed, in the order of the decisions: what one gives up, another may take after it."""
        changes: list[Change] = []
        for key, record in self._numbered():
            if isinstance(record, NetworkRecord):
                changes.append(PutNetwork(record, record.revision - 1))
            elif isinstance(record, MemberRecord):
                changes.append(PutMember(record, record.revision - 1))
            elif key.address is None:
                changes.append(DeleteNetwork(key.network_id))
            else:
                changes.append(DeleteMember(key.network_id, key.address))
        return changes

    def _numbered(self) -> Iterator[tuple[RecordKey, NetworkRecord | MemberRecord | None]]:
        """The steps, with their revisions."""
        revisions: dict[RecordKey, int] = {}
        for key, record in self._steps:
            if record is not None:
                old = self._tables.get(key)
                before = revisions.get(key, 0 if old is None else old.revision)
                revisions[key] = before + 1
                record = replace(record, revision=before + 1)
            else:
                revisions[key] = 0
                if key.address is None:
                    members = self._draft.members(key.network_id)
                    revisions |= {RecordKey(key.network_id, address): 0 for address in members}
            yield key, record

    def _step(self, key: RecordKey, record: NetworkRecord | MemberRecord | None) -> None:
        if self._steps and self._steps[-1][0] == key and self._steps[-1][1] is not None:
            self._steps.pop()  # nobody has seen it
        self._steps.append((key, record))

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
            self._step(RecordKey(record.id), record)

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
        self._step(RecordKey(network_id, address), record)

    def delete_network(self, network_id: NetworkId) -> None:
        self._draft.delete_network(network_id)
        self._step(RecordKey(network_id), None)

    def delete_member(self, network_id: NetworkId, address: NodeAddress) -> None:
        self._draft.delete_member(network_id, address)
        self._step(RecordKey(network_id, address), None)

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
