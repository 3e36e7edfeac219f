"""A controller without I/O: who is a member, what it is told, and what is to be written before. vl2.md 8.2 to 8.7.

Requests go in by ``receive_requests``. What needs no change of a record is answered at once; the rest waits for a
batch: ``begin`` decides, the batch's changes are committed to a store by the caller, then ``finish`` makes them
true, or ``abort`` forgets them. What nodes are to be sent is there in ``next_message``.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Mapping
from heapq import heappop, heappush
from itertools import islice
from math import inf
from typing import Final, NamedTuple

from zt_async.context import Context
from zt_async.controller.addresses import AddressBook
from zt_async.controller.batch import Batch
from zt_async.controller.config import ConfigPlan, certificate_timeout
from zt_async.controller.membership import admitted, completed, new_member
from zt_async.controller.messages import Claims, Configure, Message, Refuse, Request, Tell
from zt_async.controller.presence import TELL_INTERVAL, NetworkState, OrderedSet, Presence, RevocationLog
from zt_async.controller.records import NEVER_SEEN, MemberRecord, NetworkRecord, Seen
from zt_async.controller.store import MemberKey, PutSeen, RecordKey, Snapshot, Tables
from zt_async.crypto.identity import Identity
from zt_async.events import Event, MemberAuthorized, MemberConfigured, MemberDeauthorized, MemberWaiting
from zt_async.types import NetworkId, NodeAddress
from zt_async.wire.credentials import Credentials
from zt_async.wire.packet import ErrorCode

REQUEST_INTERVAL: Final = 1.0
"""Seconds that have to lie between two requests of a node for a network."""
MAX_WAITING: Final = 16_384
"""Nodes of a network that wait to be authorized; further ones are refused and not remembered."""
MAX_REFUSALS: Final = 4096
"""Refusals that wait to be sent; further nodes that nothing is known of are not answered."""
MAX_BATCH: Final = 64
"""Requests of a batch."""
MAX_KNOWN_CLAIMS: Final = 256
"""Different metadata that are read once."""
SWEEP_INTERVAL: Final = 60.0
"""Seconds between two times that what is over is forgotten."""
MAX_PAUSE: Final = 1000
"""Milliseconds for which time may stand still instead of getting ahead of the clock."""
UNSAVED_TIME: Final = 60_000
"""Milliseconds for which a controller may have served since the latest time that its store knows of."""
MAX_REVOKED_WITH_NETWORK: Final = 50
"""Members of a deleted network that are revoked one by one, to be told of in a packet."""


class _Asked(NamedTuple):
    request: Request
    token: str | None


class ControllerCore:
    """The networks of one controller."""

    def __init__(self, identity: Identity, context: Context) -> None:
        """``identity`` signs, and so has its secret key."""
        self.identity = identity
        self.tables = Tables()
        """The records, as they are committed."""
        self.counters: Counter[str] = Counter()
        """What became of requests."""
        self._context = context
        self._states: dict[NetworkId, NetworkState] = {}
        self._deleted: dict[NetworkId, NetworkState] = {}
        self._clock = 0  # Unix ms of the latest stamp
        self._ahead = 0  # ms by which stamps are ahead of the clock
        self._asked: dict[MemberKey, _Asked | None] = {}  # wait for a batch; None is to be pushed to
        self._deciding: dict[MemberKey, _Asked | None] = {}  # are in the batch
        self._answers: deque[Request] = deque()
        self._refusals: deque[Refuse] = deque()
        self._pushes: OrderedSet[MemberKey] = OrderedSet()
        self._tells: OrderedSet[MemberKey] = OrderedSet()
        self._later: list[tuple[float, MemberKey]] = []  # a heap of who is to be told when
        self._delayed: set[MemberKey] = set()  # those in it
        self._news: set[NetworkId] = set()  # networks with revocations that nobody was told yet
        self._unsaved: OrderedSet[MemberKey] = OrderedSet()
        self._events: list[Event] = []
        self._sweep_at = inf
        self._known_claims: dict[bytes, Claims] = {}

    # Records

    def load(self, snapshot: Snapshot) -> None:
        """Take over the records of a store, at the start or piece by piece; networks come before their members."""
        for network in snapshot.networks:
            self._install(RecordKey(network.id), network)
        for member in snapshot.members:
            self._install(RecordKey(member.network_id, member.address), member)
            self._clock = max(self._clock, member.last_deauthorized + 1)
        for (network_id, address), seen in snapshot.seen.items():
            if network_id in self._states:
                self._states[network_id].presences.setdefault(address, Presence(seen=seen))
                self._clock = max(self._clock, seen.time)

    def start(self, now: float) -> None:
        """All is loaded: members are told again of those who were deauthorized lately."""
        if self._clock > self._context.wall_ms():
            self._clock += UNSAVED_TIME
        wall = self._stamp()
        for network_id, state in self._states.items():
            lately = wall - certificate_timeout(state.plan.network)
            for member in self.tables.members[network_id].values():
                if not member.authorized and member.last_deauthorized > lately:
                    state.revocations.add(member.address, wall)
                    self._clock = wall + 1  # what it gets from now on is newer
        self._sweep_at = now + SWEEP_INTERVAL

    def stored(self, snapshot: Snapshot) -> dict[RecordKey, NetworkRecord | MemberRecord | None]:
        """All records that are here or in a store, as they are there, for ``replace``."""
        stored: dict[RecordKey, NetworkRecord | MemberRecord | None] = {}
        for network_id, members in self.tables.members.items():
            stored[RecordKey(network_id)] = None
            stored |= {RecordKey(network_id, address): None for address in members}
        stored |= {RecordKey(network.id): network for network in snapshot.networks}
        stored |= {RecordKey(member.network_id, member.address): member for member in snapshot.members}
        return stored

    def replace(self, records: Mapping[RecordKey, NetworkRecord | MemberRecord | None], now: float) -> None:
        """Records are others in the store; None for those that are gone. Networks come before their members."""
        for key, record in records.items():
            if record != self.tables.get(key):
                self._change(key, record, now)
        self._spread_news(now)

    def _install(self, key: RecordKey, record: NetworkRecord | MemberRecord | None) -> None:
        """Make a record what it is now, in all that is derived from it."""
        network_id, address = key
        old = self.tables.get(key)
        self.tables.put(key, record)
        state = self._states.get(network_id)
        if isinstance(record, NetworkRecord):
            if state is None:
                log = RevocationLog(network_id, self.identity, self._context)
                state = self._states[network_id] = NetworkState(ConfigPlan(record, (), self.identity), log)
            self._plan(state, record)
        elif address is None:
            self._states.pop(network_id, None)
        elif state is not None:
            assert not isinstance(old, NetworkRecord)
            self._install_member(state, old, record, address)

    def _install_member(
        self, state: NetworkState, old: MemberRecord | None, new: MemberRecord | None, address: NodeAddress
    ) -> None:
        for ip in old.addresses if old is not None else ():
            state.book.free(ip, address)
        for ip in new.addresses if new is not None else ():
            state.book.take(ip, address)
        state.waiting += (new is not None and not new.authorized) - (old is not None and not old.authorized)
        if (new is not None and new.active_bridge) != (address in state.bridges):
            state.bridges ^= {address}
            self._plan(state, state.plan.network)
        if new is None and old is not None:  # one that never was may be about to be made
            state.presences.pop(address, None)
            self._unsaved.discard((state.plan.network.id, address))

    def _plan(self, state: NetworkState, network: NetworkRecord) -> None:
        state.plan = ConfigPlan(network, state.bridges, self.identity)

    # Changes, and who is told

    def _change(self, key: RecordKey, new: NetworkRecord | MemberRecord | None, now: float) -> None:
        """Make a record what it is now, and note who is to be told."""
        network_id, address = key
        old = self.tables.get(key)
        state = self._states.get(network_id)
        if address is None:
            if new is None and state is not None:
                self._network_deleted(state, now)
            self._install(key, new)
            if old is not None and new is not None:
                self._push_to_all(self._states[network_id], now)
        elif state is not None:
            assert not isinstance(old, NetworkRecord)
            assert not isinstance(new, NetworkRecord)
            plan = state.plan
            presence = state.presences.get(address)
            self._install(key, new)
            if old is not None and old.authorized and (new is None or not new.authorized):
                self._deauthorized(state, address, presence, now)
            elif new is not None and new.authorized:
                if old is None or not old.authorized:
                    self._events.append(
                        MemberAuthorized(
                            network_id=network_id, address=address, credential_type=new.credential_type
                        )
                    )
                if presence is not None and presence.is_online(now):
                    presence.waiting = False
                    self._pushes.add((network_id, address))
            if state.plan is not plan:
                self._push_to_all(state, now)

    def _deauthorized(
        self, state: NetworkState, address: NodeAddress, presence: Presence | None, now: float
    ) -> None:
        network_id = state.plan.network.id
        threshold = self._stamp()
        self._clock = threshold + 1  # a certificate that the member gets later is newer than this
        state.revocations.add(address, threshold)
        self._news.add(network_id)
        self._pushes.discard((network_id, address))
        self._events.append(MemberDeauthorized(network_id=network_id, address=address))
        if presence is not None and presence.is_online(now):
            self._refusals.append(Refuse(network_id, address, None, ErrorCode.NETWORK_ACCESS_DENIED))

    def _network_deleted(self, state: NetworkState, now: float) -> None:
        """Its members get no more certificates, and forget the network. Few of them are revoked as well."""
        network_id = state.plan.network.id
        self._deleted[network_id] = state
        online = list(state.online(now))
        authorized = [m.address for m in self.tables.members[network_id].values() if m.authorized]
        for address in online:
            self._pushes.discard((network_id, address))
            self._refusals.append(Refuse(network_id, address, None, ErrorCode.OBJECT_NOT_FOUND))
        if len(authorized) + len(state.revocations) <= MAX_REVOKED_WITH_NETWORK:
            threshold = self._stamp()
            self._clock = threshold + 1
            for address in authorized:
                state.revocations.add(address, threshold)
        self._news.add(network_id)

    def _push_to_all(self, state: NetworkState, now: float) -> None:
        network_id = state.plan.network.id
        for address in state.online(now):
            self._pushes.add((network_id, address))

    def _spread_news(self, now: float) -> None:
        for network_id in self._news:
            state = self._states.get(network_id) or self._deleted[network_id]
            for address in state.online(now):
                self._tells.add((network_id, address))
        self._news.clear()

    # Requests

    def receive_requests(self, requests: Iterable[Request], now: float) -> None:
        """Take requests that VL1 has authenticated; those that come too soon after another are dropped."""
        wall = self._stamp()
        for request in requests:
            network_id, address = request.network_id, request.member
            if network_id.controller != self.identity.address:
                self.counters["not ours"] += 1
                continue
            state = self._states.get(network_id)
            if state is None:
                self.counters["no such network"] += 1
                self._refuse_stranger(request, ErrorCode.OBJECT_NOT_FOUND)
                continue
            presence = state.presences.get(address)
            if presence is None:
                if self._is_one_too_many(state, address):
                    self.counters["too many waiting"] += 1
                    self._refuse_stranger(request, ErrorCode.NETWORK_ACCESS_DENIED)
                    continue
                presence = state.presences[address] = Presence()
            if now - presence.asked <= REQUEST_INTERVAL:
                self.counters["too soon"] += 1
                continue
            token = self._note(presence, request, now, wall)
            self._decide(state, _Asked(request, token), wall)

    def _refuse_stranger(self, request: Request, code: ErrorCode) -> None:
        if len(self._refusals) < MAX_REFUSALS:
            self._refusals.append(Refuse(request.network_id, request.member, request, code))

    def _is_one_too_many(self, state: NetworkState, address: NodeAddress) -> bool:
        members = self.tables.members[state.plan.network.id]
        if address in members or not state.plan.network.private:
            return False
        return max(state.waiting, len(state.presences) - len(members)) >= MAX_WAITING

    def _note(self, presence: Presence, request: Request, now: float, wall: int) -> str | None:
        """Remember that and how the node asked; gives the token that it presents."""
        claims = self._claims_of(request.metadata)
        if not presence.is_online(now):
            presence.waiting = False
            presence.configured = None
        presence.asked = now
        presence.with_rules = claims.with_rules
        presence.seen = Seen(
            time=wall, endpoint=request.endpoint, version=claims.version, protocol=claims.protocol
        )
        self._unsaved.add((request.network_id, request.member))
        return claims.token

    def _claims_of(self, metadata: bytes) -> Claims:
        """Read metadata, of which most nodes send the same."""
        claims = self._known_claims.get(metadata)
        if claims is None:
            if len(self._known_claims) >= MAX_KNOWN_CLAIMS:
                self._known_claims.clear()
            claims = self._known_claims[metadata] = Claims.read(metadata)
        return claims

    def _decide(self, state: NetworkState, asked: _Asked, wall: int) -> None:
        """Answer at once what needs no change of the record."""
        request = asked.request
        key = (request.network_id, request.member)
        network = state.plan.network
        old = self.tables.members[network.id].get(request.member)
        if key not in self._asked and old is not None:
            new = admitted(network, old, request.identity, asked.token, wall)
            if new.authorized:
                new = completed(network, state.plan.addresses, state.book, new)
            if new is old:
                self._answers.append(request)
                return
        self._asked[key] = asked

    # Batches

    @property
    def has_undecided(self) -> bool:
        """Requests wait for a batch."""
        return bool(self._asked)

    def drop_undecided(self) -> None:
        """Forget the requests that wait for a batch."""
        self._asked.clear()

    def begin(self) -> Batch:
        """A batch with decisions on requests that wait; edits can be made in it besides. One at a time."""
        batch = Batch(self.tables, self._book, self._context, self.identity.address, self._stamp())
        for key in list(islice(self._asked, MAX_BATCH)):
            asked = self._deciding[key] = self._asked.pop(key)
            self._decide_in(batch, *key, asked)
        return batch

    def _decide_in(
        self, batch: Batch, network_id: NetworkId, address: NodeAddress, asked: _Asked | None
    ) -> None:
        if not batch.has_network(network_id):
            return
        network = batch.network(network_id)
        member = batch.find_member(network_id, address)
        if asked is not None:
            member = member or new_member(network, address, batch.now)
            member = admitted(network, member, asked.request.identity, asked.token, batch.now)
        if member is not None:
            batch.put_member(batch.completed(network, member) if member.authorized else member)

    def finish(self, batch: Batch, now: float) -> None:
        """The batch is committed."""
        records = batch.records
        for key in sorted(
            records, key=lambda key: key.address is not None
        ):  # a network takes its members along
            self._change(key, records[key], now)
        self._spread_news(now)
        batch.settle()
        for member, asked in self._deciding.items():
            if asked is not None:
                self._answers.append(asked.request)
            else:
                self._pushes.add(member)
        self._deciding.clear()

    def abort(self, batch: Batch, *, again: bool) -> None:
        """The batch is not committed: decide once more on its requests, or never."""
        batch.release()
        if again:
            self._asked = self._deciding | self._asked
        self._deciding = {}

    def _book(self, network_id: NetworkId) -> AddressBook | None:
        state = self._states.get(network_id)
        return None if state is None else state.book

    # What nodes are sent

    @property
    def has_messages(self) -> bool:
        """``next_message`` has something to look at."""
        return bool(self._tells or self._refusals or self._answers or self._pushes)

    def next_message(self, now: float) -> Message | None:
        """The most urgent message, None if there is none. A configuration takes a fraction of a millisecond."""
        while (key := self._tells.pop()) is not None:
            tell = self._make_tell(*key, now)
            if tell is not None:
                return tell
        if self._refusals:
            self.counters["refused"] += 1
            return self._refusals.popleft()
        if self._answers:
            return self._answer(self._answers.popleft())
        while (key := self._pushes.pop()) is not None:
            push = self._push(*key, now)
            if push is not None:
                return push
        return None

    def _make_tell(self, network_id: NetworkId, address: NodeAddress, now: float) -> Tell | None:
        state = self._states.get(network_id) or self._deleted.get(network_id)
        presence = state.presences.get(address) if state is not None else None
        if state is None or presence is None:
            return None
        due = presence.credentials_sent + TELL_INTERVAL
        if now < due:
            self._tell_later(due, network_id, address)
            return None
        revocations = state.revocations.next_for(presence)
        if not revocations:
            return None
        presence.credentials_sent = now
        if presence.told_twice < state.revocations.end:
            self._tell_later(now + TELL_INTERVAL, network_id, address)
        return Tell(network_id, address, Credentials(revocations=tuple(revocations)))

    def _tell_later(self, due: float, network_id: NetworkId, address: NodeAddress) -> None:
        key = (network_id, address)
        if key not in self._delayed:
            self._delayed.add(key)
            heappush(self._later, (due, key))

    def _answer(self, request: Request) -> Message:
        network_id, address = request.network_id, request.member
        state = self._states.get(network_id)
        code = ErrorCode.OBJECT_NOT_FOUND
        if state is not None:
            code = ErrorCode.NETWORK_ACCESS_DENIED
            member = self.tables.members[network_id].get(address)
            presence = state.presences.get(address)
            if member is not None and presence is not None and member.identity == request.identity:
                if member.authorized:
                    self.counters["answered"] += 1
                    self._pushes.discard((network_id, address))
                    return self._configure(state, member, presence, request)
                self._tell_of_waiting(member, presence)
        self.counters["refused"] += 1
        return Refuse(network_id, address, request, code)

    def _push(self, network_id: NetworkId, address: NodeAddress, now: float) -> Configure | None:
        state = self._states.get(network_id)
        member = self.tables.members[network_id].get(address) if state is not None else None
        presence = state.presences.get(address) if state is not None else None
        if state is None or member is None or presence is None:
            return None
        if not (member.authorized and member.identity is not None and presence.is_online(now)):
            return None
        if completed(state.plan.network, state.plan.addresses, state.book, member) is not member:
            self._asked.setdefault((network_id, address), None)
            return None
        self.counters["pushed"] += 1
        return self._configure(state, member, presence, None)

    def _configure(
        self, state: NetworkState, member: MemberRecord, presence: Presence, request: Request | None
    ) -> Configure:
        network = state.plan.network
        config = state.plan.build(member, self._stamp(), with_rules=presence.with_rules)
        if presence.told_twice < state.revocations.end:
            self._tells.add((network.id, member.address))
        revisions = (network.revision, member.revision)
        if presence.configured != revisions:
            presence.configured = revisions
            self._events.append(
                MemberConfigured(
                    network_id=network.id,
                    address=member.address,
                    addresses=config.addresses,
                    revision=network.revision,
                )
            )
        return Configure(network.id, member.address, request, config.encode())

    def _tell_of_waiting(self, member: MemberRecord, presence: Presence) -> None:
        if not presence.waiting and not member.last_deauthorized:
            presence.waiting = True
            seen = presence.seen
            self._events.append(
                MemberWaiting(
                    network_id=member.network_id,
                    address=member.address,
                    endpoint=seen.endpoint,
                    version=seen.version if seen.protocol >= 0 else None,
                )
            )

    # Time

    def next_timer(self) -> float:
        """When ``handle_timer`` is due, in the seconds of ``now``."""
        return min(self._sweep_at, self._later[0][0]) if self._later else self._sweep_at

    def handle_timer(self, now: float) -> None:
        """Do what the clock demands."""
        while self._later and self._later[0][0] <= now:
            key = heappop(self._later)[1]
            self._delayed.remove(key)
            self._tells.add(key)
        if now >= self._sweep_at:
            self._sweep_at = now + SWEEP_INTERVAL
            self._sweep(now)

    def _sweep(self, now: float) -> None:
        wall = self._stamp()
        for network_id, state in self._states.items():
            state.revocations.drop(wall - certificate_timeout(state.plan.network))
            members = self.tables.members[network_id]
            if len(state.presences) > len(members):
                for address in [a for a, p in state.presences.items() if not p.is_online(now)]:
                    if address not in members:
                        del state.presences[address]
        for network_id in [n for n, state in self._deleted.items() if not any(state.online(now))]:
            del self._deleted[network_id]

    def _stamp(self) -> int:
        """The time of what is made now, in Unix milliseconds: never earlier than before (vl2.md 12, 30).

        It runs on at its pace when the clock is set back, or is behind that of the machine that served before.
        """
        stamp = self._context.wall_ms() + self._ahead
        if stamp < self._clock - MAX_PAUSE:
            self._ahead += self._clock - stamp
        self._clock = max(self._clock, stamp)
        return self._clock

    # What is there to be known

    def take_events(self) -> list[Event]:
        """The events since the last call, in order."""
        events = self._events
        self._events = []
        return events

    def seen(self, network_id: NetworkId, address: NodeAddress) -> Seen:
        """How a member was last seen."""
        presence = self._presence(network_id, address)
        return NEVER_SEEN if presence is None else presence.seen

    def is_online(self, network_id: NetworkId, address: NodeAddress, now: float) -> bool:
        """Whether a member asked within the last two minutes."""
        presence = self._presence(network_id, address)
        return presence is not None and presence.is_online(now)

    def _presence(self, network_id: NetworkId, address: NodeAddress) -> Presence | None:
        state = self._states.get(network_id)
        return None if state is None else state.presences.get(address)

    def take_seen(self, limit: int) -> list[PutSeen]:
        """How members were seen, to be written some time; at most so many of those that were not taken yet."""
        taken: list[PutSeen] = []
        while len(taken) < limit and (key := self._unsaved.pop()) is not None:
            taken.append(PutSeen(*key, self.seen(*key)))
        return taken

    def return_seen(self, taken: Iterable[PutSeen]) -> None:
        """They could not be written."""
        for network_id, address, _ in taken:
            self._unsaved.add((network_id, address))
