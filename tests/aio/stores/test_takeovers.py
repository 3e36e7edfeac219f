"""Controllers that take over from each other while nodes join: no address is given twice, and none is lost.

The processes are as many workers with cores and stores of their own. One that is paused goes on where it was: in the
middle of a commit, before one, or before an answer.
"""

import asyncio
import contextlib
import dataclasses
import ipaddress
import itertools
import secrets
import time
from collections import namedtuple

import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from zt_async.aio.controller_worker import Worker
from zt_async.context import Context
from zt_async.controller.core import Configure, ControllerCore
from zt_async.controller.records import Pool
from zt_async.controller.store import PutMember, RecordKey
from zt_async.errors import Conflict, FenceLost
from zt_async.testing import throwaway_identity
from zt_async.types import NetworkId, Route
from zt_async.wire.config_chunks import request_metadata
from zt_async.wire.network_config import NetworkConfig
from zt_async.wire.verbs import Version

from .records import delete, network, put

CONTROLLER = throwaway_identity(0)
NODES = [throwaway_identity(number) for number in range(1, 9)]
TTL = 60.0  # s: leases end when the schedule says so
CONTEXT = Context(secrets.token_bytes, lambda: time.time_ns() // 1_000_000)
METADATA = request_metadata(Version(13, 1, 8, 4), "linux/x86_64").encode()

Request = namedtuple("Request", "network_id member identity metadata endpoint")


def end_lease(connection):
    """What time does in the database."""
    return connection.execute("UPDATE identity SET expires = 'epoch'")


KINDS = ["join"] * 5 + ["take over", "pause"] * 2 + ["resume", "turn", "assign"]
STEPS = st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, len(NODES) - 1)), min_size=8, max_size=30)


class Network:
    """What nodes were told, by whichever controller."""

    def __init__(self, number):
        self.record = network(
            NetworkId(CONTROLLER.address << 24 | number),
            private=False,
            ipv4_auto=True,
            routes=(Route(ipaddress.ip_network("10.0.0.0/24")),),
            pools=(Pool(ipaddress.ip_address("10.0.0.1"), ipaddress.ip_address("10.0.0.24")),),
        )
        self.id = self.record.id
        self.now = 1000.0
        self.told = {}  # member to its addresses
        self.news = asyncio.Event()

    def tell(self, message):
        config = NetworkConfig.decode(message.dictionary)
        addresses = {interface.ip for interface in config.addresses}
        assert len(addresses) >= 1
        assert addresses >= self.told.get(message.member, set()), "a member has lost its address"
        for other, taken in self.told.items():
            assert other == message.member or not taken & addresses, "an address was given twice"
        self.told[message.member] = addresses
        self.news.set()


class Process:
    """A process that holds, or held, the lease; it is the store and the door of its worker."""

    def __init__(self, network, store, lease):
        self.network = network
        self.store = store
        self.lease = lease
        self.running = asyncio.Event()
        self.running.set()
        self.failure = None
        self.arrived = []
        self.messages = []
        self.worker = Worker(ControllerCore(lease.identity, CONTEXT), self, lease.token, self)

    def resume(self):
        self.running.set()
        requests, self.arrived = self.arrived, []
        messages, self.messages = self.messages, []
        self.send(messages)
        if requests and self.failure is None:
            self.worker.receive(requests)

    def receive(self, request):
        if not self.running.is_set():
            self.arrived.append(request)
        elif self.failure is None:
            self.worker.receive([request])

    # As the store

    async def load(self, controller):
        return await self.store.load(controller)

    async def read(self, keys):
        await self.running.wait()
        return await self.store.read(keys)

    async def commit(self, changes, fence=None):
        await self.running.wait()
        try:
            await self.store.commit(changes, fence)
        finally:
            await self.running.wait()

    def watch(self, controller):
        return self.store.watch(controller)

    # As the door

    def now(self):
        return self.network.now

    def send(self, messages):
        if not self.running.is_set():
            self.messages += messages
        elif self.lease.is_valid:  # right before datagrams leave
            for message in messages:
                assert isinstance(message, Configure)
                self.network.tell(message)

    def tell(self, events):
        pass

    def failed(self, error):
        self.failure = error
        self.network.news.set()


class World:
    """One network, and the processes that were its controller, the last of which is."""

    def __init__(self, network, stores):
        self.network = network
        self.stores = stores
        self.processes = []

    async def take_over(self):
        """The lease of the present holder ends, and another one gets it."""
        if self.processes:
            self.processes[-1].lease.deadline = float("-inf")
        await self.stores[0]._pool.run(end_lease)
        store = self.stores[len(self.processes) % len(self.stores)]
        process = Process(self.network, store, await store.acquire(CONTROLLER.address))
        self.processes.append(process)
        await process.worker.start()

    def join(self, node):
        self.network.now += 2.0
        request = Request(self.network.id, node.address, node.public(), METADATA, None)
        for process in self.processes:
            process.receive(request)

    async def assign(self, node, number):
        """Somebody who is no controller gives an address to a member, by the rules of the store."""
        key = RecordKey(self.network.id, node.address)
        (record,) = await self.stores[-1].read([key])
        if record is not None:
            addresses = (*record.addresses, ipaddress.ip_address(f"10.0.0.{1 + number}"))
            changed = dataclasses.replace(record, addresses=addresses, revision=record.revision + 1)
            with contextlib.suppress(Conflict):
                await self.stores[-1].commit([PutMember(changed, record.revision)])

    async def run(self, steps):
        await self.take_over()
        for step, number in steps:
            process = self.processes[-1 - number % len(self.processes)]
            match step:
                case "join":
                    self.join(NODES[number])
                case "pause":
                    process.running.clear()
                case "resume":
                    process.resume()
                case "take over":
                    await self.take_over()
                case "turn":
                    for _ in range(number):
                        await asyncio.sleep(0)
                case "assign":
                    await self.assign(NODES[number], number)
        for process in self.processes:
            process.resume()

    async def settle(self):
        """All nodes ask until they are answered."""
        while len(self.network.told) < len(NODES):
            if self.processes[-1].failure is not None:
                raise self.processes[-1].failure
            for node in NODES:
                if node.address not in self.network.told:
                    self.join(node)
            self.network.news.clear()
            try:
                async with asyncio.timeout(1.0):
                    await self.network.news.wait()
            except TimeoutError:
                continue

    async def stop(self):
        for process in self.processes:
            process.resume()
            await process.worker.stop()


@pytest_asyncio.fixture
async def stores(postgres):
    stores = [postgres(ttl=TTL) for _ in range(4)]
    for store in stores:
        await store.open()
    await stores[0].add_identity(CONTROLLER)
    yield stores
    for store in stores:
        await store.close()


numbers = itertools.count(1)


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps=STEPS)
async def test_no_address_is_given_twice_and_no_member_loses_its_own(stores, steps):
    network = Network(next(numbers))
    world = World(network, stores)
    await stores[0].commit([put(network.record)])
    try:
        async with asyncio.timeout(60):
            await world.run(steps)
            await world.settle()
        snapshot = await stores[0].load(CONTROLLER.address)
        kept = {member.address: set(member.addresses) for member in snapshot.members}
        for address, told in network.told.items():
            assert told <= kept[address], "a member was told what is not kept"
        assert len(set().union(*kept.values())) == sum(map(len, kept.values()))
        assert all(isinstance(process.failure, FenceLost | None) for process in world.processes)
    finally:
        await world.stop()
        await stores[0].commit([delete(network.record)])
