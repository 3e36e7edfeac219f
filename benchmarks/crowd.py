"""Thousands of members in one process: just enough of a node to ask a controller, and to read its answer.

Their addresses are made up, without the proof of work that would take hours; so proofs have to be switched off.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable

from zt_async.aio.udp import OnDrained
from zt_async.aio.udp_socket import OnDatagrams, UdpSocketStatus
from zt_async.crypto import curve25519
from zt_async.crypto.identity import Identity
from zt_async.crypto.keys import SessionKey
from zt_async.types import Endpoint, Flight, IPInterface, NetworkId, NodeAddress
from zt_async.vl1.handshake import OWN_VERSION
from zt_async.wire.compression import decompress
from zt_async.wire.config_chunks import ConfigChunk, encode_config_request, request_metadata
from zt_async.wire.network_config import NetworkConfig
from zt_async.wire.packet import COMPRESSED, VERB_MASK, Suite, Verb
from zt_async.wire.verbs import Hello, HelloReply, encode_ok

HOME = Endpoint("10.0.0.1", 9993)
FIRST_ADDRESS = 0x1000000000
METADATA = request_metadata(OWN_VERSION, "linux/x86_64").encode()


class Member:
    """A node that asks."""

    def __init__(self, number: int, controller: Identity) -> None:
        secret = os.urandom(64)
        self.identity = Identity(
            NodeAddress(FIRST_ADDRESS + number), curve25519.public_key_of(secret), secret
        )
        self.at = Endpoint(f"10.{1 + (number >> 16)}.{number >> 8 & 255}.{number & 255}", 9993)
        self.address: IPInterface | None = None
        """The last address of its first configuration."""
        self.configs = 0
        self._key: SessionKey = self.identity.agree(controller)
        self._addresses = controller.address.packed + self.identity.address.packed
        self.packet(Verb.NOP, b"")  # derives its keys, which are none of the controller's memory

    def packet(self, verb: Verb, payload: bytes, suite: Suite = Suite.AES) -> bytes:
        return self._key.seal(os.urandom(8), self._addresses, 0, bytes((verb,)) + payload, suite)

    def hello(self) -> bytes:
        packet_id = os.urandom(8)
        tail = self._key.crypt_field(packet_id, b"\0\0")
        hello = Hello(OWN_VERSION, 1, self.identity.to_bytes(), HOME, planet=(0, 0), tail=tail)
        body = bytes((Verb.HELLO,)) + hello.encode()
        return self._key.seal(packet_id, self._addresses, 0, body, Suite.CLEAR)

    def request(self, network_id: NetworkId) -> bytes:
        return self.packet(Verb.NETWORK_CONFIG_REQUEST, encode_config_request(network_id, METADATA))

    def receive(self, packet: bytes) -> tuple[int, bytes]:
        """Verb and payload of a packet for this node."""
        body = self._key.open(packet)
        assert body is not None
        return body[0] & VERB_MASK, decompress(body[1:]) if body[0] & COMPRESSED else body[1:]


class Crowd:
    """The members, and the wire between them and the controller: the ``udp`` of its node."""

    def __init__(self, size: int, controller: Identity) -> None:
        self.counts: Counter[str] = Counter()
        self.members = [Member(number, controller) for number in range(size)]
        self.by_endpoint = {member.at: member for member in self.members}
        self.seconds = 0.0
        """What the members themselves took."""
        self.greeted = 0
        self.configured = 0
        self._progress = asyncio.Event()
        self._on_datagrams: OnDatagrams
        self._on_drained: OnDrained

    # As UDP

    @property
    def sockets(self) -> dict[int, Endpoint]:
        return {0: HOME}

    def open(self, on_datagrams: OnDatagrams, on_drained: OnDrained, /) -> None:
        self._on_datagrams, self._on_drained = on_datagrams, on_drained

    def refresh(self, *, new_secondary: bool = False) -> bool:
        return False

    def status(self) -> tuple[UdpSocketStatus, ...]:
        return ()

    def close(self) -> None:
        self._on_datagrams = lambda *_: None

    def send(self, flights: Iterable[Flight], /) -> None:
        start = time.thread_time()
        for flight in flights:
            packets: list[bytes] = []
            for datagram in flight.datagrams:
                if datagram[13] == 0xFF:  # a fragment follows its packet
                    packets[-1] += datagram[16:]
                else:
                    packets.append(datagram)
            member = self.by_endpoint.get(flight.remote)
            if member is not None:
                for packet in packets:
                    self._deliver(member, packet)
        self._progress.set()
        self.seconds += time.thread_time() - start

    def _deliver(self, member: Member, packet: bytes) -> None:
        verb, payload = member.receive(packet)
        if verb == Verb.HELLO:
            reply = HelloReply(Hello.decode(payload).clock_ms, OWN_VERSION, HOME, b"")
            body = encode_ok(Verb.HELLO, int.from_bytes(packet[:8], "big"), reply.encode())
            asyncio.get_running_loop().call_soon(self._feed, member.at, member.packet(Verb.OK, body))
        elif verb == Verb.OK and payload[0] == Verb.HELLO:
            self.greeted += 1
        elif verb == Verb.OK and payload[0] == Verb.NETWORK_CONFIG_REQUEST:
            self._configure(member, payload[9:])
        elif verb == Verb.NETWORK_CONFIG:
            self._configure(member, payload)

    def _feed(self, at: Endpoint, packet: bytes) -> None:
        self._on_datagrams(0, at, [packet])
        self._on_drained()

    def _configure(self, member: Member, body: bytes) -> None:
        chunk = ConfigChunk.decode(body)
        self.configured += 1
        member.configs += 1
        if len(chunk.data) == chunk.total and member.address is None:
            member.address = NetworkConfig.decode(chunk.data).addresses[-1]

    # What members do

    async def greet(self) -> None:
        """All exchange HELLOs with the controller."""
        await self._each(lambda member: member.hello(), lambda: self.greeted, window=32)

    async def ask(self, network_id: NetworkId) -> None:
        """All ask for their configurations, so many at a time that the controller is never idle."""
        await self._each(lambda member: member.request(network_id), lambda: self.configured, window=512)

    async def pushed(self) -> None:
        """Wait until all got one more configuration that they did not ask for."""
        await self._until(lambda: self.configured, self.configured + len(self.members))

    async def _each(self, make: Callable[[Member], bytes], done: Callable[[], int], window: int) -> None:
        before = done()
        for number, member in enumerate(self.members):
            start = time.thread_time()
            packet = make(member)
            self.seconds += time.thread_time() - start
            self._on_datagrams(0, member.at, [packet])
            if number % 16 == 15:
                self._on_drained()
            await self._until(done, before + number + 1 - window)
        self._on_drained()
        await self._until(done, before + len(self.members))

    async def _until(self, done: Callable[[], int], count: int) -> None:
        while done() < count:
            self._progress.clear()
            await self._progress.wait()
