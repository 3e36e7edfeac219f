"""A controller core with its store, nodes that ask it, and what they were sent."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

from zt_async.context import Context
from zt_async.controller import edits
from zt_async.controller.core import ControllerCore
from zt_async.controller.messages import Configure, Refuse, Tell
from zt_async.controller.settings import member_change, network_change
from zt_async.controller.store import Tables
from zt_async.crypto.identity import Identity
from zt_async.testing.identities import throwaway_identity
from zt_async.types import Endpoint, NetworkId, NodeAddress
from zt_async.wire.config_chunks import request_metadata
from zt_async.wire.network_config import NetworkConfig
from zt_async.wire.verbs import Version

CONTROLLER = throwaway_identity(0)
EPOCH = 1_700_000_000_000
VERSION = Version(12, 1, 14, 1)


class Ask(NamedTuple):
    """A request, as the member's room hands it over."""

    network_id: NetworkId
    identity: Identity
    metadata: bytes
    endpoint: Endpoint | None = Endpoint("192.0.2.1", 9993)

    @property
    def member(self) -> NodeAddress:
        return self.identity.address


class Stream:
    """Random bytes that are the same every time."""

    def __init__(self, seed: int = 0) -> None:
        self._state = seed.to_bytes(8, "big")

    def __call__(self, size: int) -> bytes:
        self._state = hashlib.sha256(self._state).digest()
        return (self._state * (size // 32 + 1))[:size]


class Office:
    """Runs a core by hand: ``settle`` commits and collects until nothing is left to do."""

    def __init__(self, store: Tables | None = None, seed: int = 0, wall_offset: int = 0) -> None:
        self.store = store or Tables()
        self.now = 1000.0
        self.wall_offset = wall_offset
        self.context = Context(
            random_bytes=Stream(seed), wall_ms=lambda: EPOCH + self.wall_offset + round(self.now * 1000)
        )
        self.core = ControllerCore(CONTROLLER, self.context)
        self.core.load(self.store.snapshot(CONTROLLER.address))
        self.core.start(self.now)
        self.commits = 0
        self.messages = []
        self.events = []

    def advance(self, seconds: float) -> None:
        """Let time pass, timers included."""
        end = self.now + seconds
        while self.core.next_timer() <= end:
            self.now = max(self.now, self.core.next_timer())
            self.core.handle_timer(self.now)
            self.settle()
        self.now = end

    def settle(self) -> None:
        """Commit what waits, and collect what is to be sent."""
        while True:
            while self.core.has_undecided:
                self.run(lambda batch: None)
            message = self.core.next_message(self.now)
            if message is None and not self.core.has_undecided:
                break
            if message is not None:
                self.messages.append(message)
        self.events += self.core.take_events()

    def run(self, work):
        """Make an edit in a batch of its own."""
        batch = self.core.begin()
        try:
            result = work(batch)
        except BaseException:
            self.core.abort(batch, again=True)
            raise
        changes = batch.changes()
        if changes:
            self.store.apply(changes)
            self.commits += 1
        self.core.finish(batch, self.now)
        return result

    # Users

    def create(self, **settings) -> NetworkId:
        network_id = self.run(lambda batch: edits.create_network(batch, network_change(settings)))
        self.settle()
        return network_id

    def update(self, network_id, **settings):
        self.run(lambda batch: edits.update_network(batch, network_id, network_change(settings)))
        self.settle()

    def update_member(self, network_id, identity, **settings):
        change = member_change(settings)
        self.run(lambda batch: edits.update_member(batch, network_id, identity.address, change))
        self.settle()
        return self.record(network_id, identity)

    def authorize(self, network_id, identity, **settings):
        return self.update_member(network_id, identity, authorized=True, **settings)

    def delete_member(self, network_id, identity):
        self.run(lambda batch: edits.delete_member(batch, network_id, identity.address))
        self.settle()

    def delete(self, network_id):
        self.run(lambda batch: edits.delete_network(batch, network_id))
        self.settle()

    # Nodes

    def ask(self, network_id, *identities, metadata=None, **changes):
        """Let nodes ask; gives what all nodes were sent because of it."""
        data = ask_metadata() if metadata is None else metadata
        self.core.receive_requests(
            [Ask(network_id, identity.public(), data)._replace(**changes) for identity in identities],
            self.now,
        )
        before = len(self.messages)
        self.settle()
        return self.messages[before:]

    def join(self, network_id, identity) -> NetworkConfig:
        """A node asks, and gets its configuration."""
        (message,) = self.ask(network_id, identity)
        return config_of(message)

    def record(self, network_id, identity):
        record = self.core.tables.members[network_id].get(identity.address)
        assert record == self.store.members[network_id].get(identity.address)
        return record

    def take(self, kind=object):
        """The messages since the last call, of one kind."""
        messages, self.messages = self.messages, []
        return [message for message in messages if isinstance(message, kind)]

    def take_events(self, kind=object):
        events, self.events = self.events, []
        return [event for event in events if isinstance(event, kind)]


def ask_metadata(credential=None, **changes):
    metadata = request_metadata(VERSION, "linux/x86_64", credential)
    return metadata.encode()


def config_of(message) -> NetworkConfig:
    assert isinstance(message, Configure), message
    return NetworkConfig.decode(message.dictionary)


def kinds(messages):
    """What they are, and to whom."""
    return [(type(message).__name__, message.member) for message in messages]


__all__ = [
    "CONTROLLER",
    "EPOCH",
    "Ask",
    "Configure",
    "Office",
    "Refuse",
    "Tell",
    "ask_metadata",
    "config_of",
    "kinds",
]
