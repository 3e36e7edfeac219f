"""What a controller's node does on the wire: requests, answers, pushes, refusals, and whom it serves (vl2.md 8.2)."""

from __future__ import annotations

import pytest

from tests.vl1.remote import Bench
from tests.vl2.desk import ACCEPT, START, Desk
from zt_async.config import NodeConfig
from zt_async.crypto.credentials import issue_com, issue_revocation, verify_chunk
from zt_async.events import NetworkReady, NetworkStatus
from zt_async.types import MACAddress, MulticastGroup, NetworkId
from zt_async.vl2 import serving
from zt_async.vl2.assembly import ConfigAssembly
from zt_async.vl2.core import VL2
from zt_async.vl2.serving import MAX_REQUESTS, OWN_REQUEST
from zt_async.wire.config_chunks import ConfigChunk, encode_config_request
from zt_async.wire.credentials import Credentials
from zt_async.wire.multicast import Gather, encode_likes
from zt_async.wire.network_config import NetworkConfig
from zt_async.wire.packet import ErrorCode, Verb
from zt_async.wire.verbs import decode_error, decode_ok

METADATA = b"v=0000000000000007"
GROUP = MulticastGroup(MACAddress(0x3333FF000001))


class Controller(Desk):
    """A controller that is not on its own network, and ``a``, who asks."""

    def __init__(self, bench=None):
        super().__init__(bench=bench)
        self.served = NetworkId(self.vl1.address << 24 | 5)
        self.vl2.serves = True

    def ask(self, remote=None, network_id=None, metadata=METADATA):
        """What a request is answered with at once, and the packet."""
        remote = remote or self.a
        payload = encode_config_request(network_id or self.served, metadata, 3, START)
        packet = remote.packet(Verb.NETWORK_CONFIG_REQUEST, payload)
        return self.receive(packet, remote=remote)[1], packet

    def config_for(self, remote, **options):
        identity = remote.identity
        certificate = issue_com(self.vl1.identity, self.served, identity, START, 1000)
        return NetworkConfig(
            network_id=self.served,
            issued_to=identity.address,
            rules=(ACCEPT,),
            timestamp=START,
            certificate=certificate,
            **options,
        )


@pytest.fixture
def controller():
    return Controller()


def test_without_a_controller_who_asks_is_told_so():
    desk = Controller()
    desk.vl2.serves = False
    (answer,), packet = desk.ask()
    assert decode_error(answer.payload) == (
        Verb.NETWORK_CONFIG_REQUEST,
        int.from_bytes(packet[:8], "big"),
        ErrorCode.UNSUPPORTED_OPERATION,
        desk.served.packed,
    )
    assert desk.vl2.take_requests() == []


def test_what_lets_a_member_join_is_not_shown(controller):
    controller.ask(metadata=METADATA + b"\na=token:hush")
    (request,) = controller.vl2.take_requests()
    assert b"hush" in request.metadata
    assert "hush" not in repr(request)


def test_a_request_waits_to_be_taken_and_is_answered_in_chunks(controller):
    answers, packet = controller.ask()
    assert answers == []
    (request,) = controller.vl2.take_requests()
    assert controller.vl2.take_requests() == []
    a = controller.a
    assert (request.network_id, request.member, request.metadata) == (controller.served, a.address, METADATA)
    assert (request.identity, request.endpoint, request.version) == (a.identity, a.at, a.version)
    dictionary = controller.config_for(a).encode() + b"\nzz=" + b"x" * 20_000
    controller.vl2.answer_config(request, dictionary, controller.now)
    controller.bench.collect()
    assembly = ConfigAssembly()
    whole = None
    chunks = a.take(Verb.OK)
    assert len(chunks) == 3
    for got in chunks:
        in_re, packet_id, data = decode_ok(got.payload)
        assert (in_re, packet_id) == (Verb.NETWORK_CONFIG_REQUEST, int.from_bytes(packet[:8], "big"))
        whole = assembly.add(ConfigChunk.decode(data), controller.vl1.address, controller.vl1.identity, 1)
    assert whole.dictionary == dictionary


@pytest.mark.parametrize("mtu", [1400, 1432, 2000])
def test_chunks_fit_into_what_seven_datagrams_carry(mtu):
    controller = Controller(Bench(config=NodeConfig(mtu=mtu)))
    dictionary = b"n=" + controller.vl1.context.random_bytes(30_000).hex().encode()[:30_000]
    controller.ask()
    (request,) = controller.vl2.take_requests()
    controller.vl2.answer_config(request, dictionary, controller.now)
    controller.vl2.push_config(controller.served, controller.a.address, dictionary, controller.now)
    controller.bench.collect()
    answers, pushes = controller.a.take(Verb.OK), controller.a.take(Verb.NETWORK_CONFIG)
    for texts in ([decode_ok(got.payload)[2] for got in answers], [got.payload for got in pushes]):
        assembly = ConfigAssembly()
        chunks = [ConfigChunk.decode(text) for text in texts]
        done = [assembly.add(c, controller.a.address, controller.vl1.identity, 0).dictionary for c in chunks]
        assert done[-1] == dictionary
    assert controller.vl1.counters["send: too large"] == 0


def test_requests_for_networks_of_others_are_left_alone(controller):
    assert controller.ask(network_id=NetworkId(0x8056C2E21C000001))[0] == []
    assert controller.vl2.take_requests() == []
    assert controller.fates() == {"in: request for another controller": 1}


def test_a_member_is_heard_once_a_second_for_each_network(controller):
    b = controller.meet(2, "10.0.5.1")
    other = NetworkId(controller.served + 1)
    for _ in range(5):
        controller.ask()
        controller.ask(network_id=other)
        controller.ask(b)
    assert len(controller.vl2.take_requests()) == 3
    controller.wait(1.0)
    controller.ask()
    assert controller.vl2.take_requests() == []
    controller.wait(0.01)
    controller.ask()
    assert len(controller.vl2.take_requests()) == 1
    controller.wait(0.5)  # what was not heard does not put off what will be
    controller.ask()
    controller.wait(0.51)
    controller.ask()
    assert len(controller.vl2.take_requests()) == 1


def test_the_queue_and_the_memory_are_bounded(controller, monkeypatch):
    monkeypatch.setattr(serving, "MAX_REQUESTS", 10)
    monkeypatch.setattr(serving, "MAX_REMEMBERED", 15)
    for number in range(20):
        controller.ask(network_id=NetworkId(controller.served + number))
    assert len(controller.vl2.take_requests()) == 10
    assert len(controller.vl2.serving._asked) == 15
    for number in range(20):
        network_id = NetworkId(controller.served + number)
        controller.vl2.push_config(network_id, controller.a.address, b"x", controller.now)
    assert len(controller.vl2.serving._served) == 15
    controller.wait(200)
    controller.ask()
    assert len(controller.vl2.serving._asked) == 1
    assert controller.vl2.serving._served == {}
    assert MAX_REQUESTS > 10_000


@pytest.mark.parametrize("payload", [b"", bytes(9), bytes(8) + b"\xff\xff", bytes(8) + b"\0\x09" + b"x" * 8])
def test_requests_cut_short_are_dropped(controller, payload):
    assert controller.tell(controller.a, Verb.NETWORK_CONFIG_REQUEST, payload) == []
    assert controller.vl2.take_requests() == []
    assert sum(controller.fates().values()) == 1


def test_refusals_say_what_they_are_about(controller):
    controller.ask()
    (request,) = controller.vl2.take_requests()
    controller.vl2.refuse_request(request, ErrorCode.AUTHENTICATION_REQUIRED, b"\0\3a=b", controller.now)
    controller.vl2.push_refusal(
        controller.served, controller.a.address, ErrorCode.NETWORK_ACCESS_DENIED, controller.now
    )
    controller.bench.collect()
    asked, unasked = controller.a.take(Verb.ERROR)
    assert decode_error(asked.payload) == (
        Verb.NETWORK_CONFIG_REQUEST,
        request.packet_id,
        ErrorCode.AUTHENTICATION_REQUIRED,
        controller.served.packed + b"\0\3a=b",
    )
    assert decode_error(unasked.payload)[2:] == (ErrorCode.NETWORK_ACCESS_DENIED, controller.served.packed)


def test_a_push_is_signed_and_goes_to_whoever_it_is_for(controller):
    config = controller.config_for(controller.a)
    controller.vl2.push_config(controller.served, controller.a.address, config.encode(), controller.now)
    controller.bench.collect()
    (got,) = controller.a.take(Verb.NETWORK_CONFIG)
    chunk = ConfigChunk.decode(got.payload)
    assert NetworkConfig.decode(chunk.data) == config
    assert chunk.update_id
    assert verify_chunk(chunk, controller.vl1.identity)


def test_credentials_go_out_as_they_are(controller):
    identity = controller.vl1.identity
    credentials = Credentials(
        revocations=(issue_revocation(identity, controller.served, controller.a.address, START, 1),)
    )
    controller.vl2.send_credentials(controller.a.address, credentials, controller.now)
    controller.bench.collect()
    (got,) = controller.a.take(Verb.NETWORK_CREDENTIALS)
    assert Credentials.decode(got.payload) == credentials


def test_who_got_a_configuration_may_tell_and_ask_of_groups_for_three_minutes(controller):
    b = controller.meet(2, "10.0.5.1")
    (likes,) = encode_likes(controller.served, [GROUP])
    question = Gather(controller.served, GROUP, 9).encode()
    controller.tell(controller.a, Verb.MULTICAST_LIKE, likes)
    assert len(controller.vl2.multicast.table) == 0
    for member in (controller.a, b):
        controller.vl2.push_config(controller.served, member.address, b"x", controller.now)
    controller.wait(179)
    controller.tell(controller.a, Verb.MULTICAST_LIKE, likes)
    assert len(controller.tell(b, Verb.MULTICAST_GATHER, question)) == 1
    controller.wait(2)
    assert controller.tell(b, Verb.MULTICAST_GATHER, question) == []
    controller.tell(b, Verb.MULTICAST_LIKE, likes)
    assert len(controller.vl2.multicast.table) == 1


# The controller's own node as a member


class Own:
    """A node on a network of its own."""

    def __init__(self):
        self.bench = Bench()
        self.vl1 = self.bench.core
        self.vl2 = VL2(self.vl1, self.vl1.context)
        self.network_id = NetworkId(self.vl1.address << 24 | 5)

    @property
    def now(self):
        return self.bench.now

    def config(self, **options):
        identity = self.vl1.identity
        return NetworkConfig(
            network_id=self.network_id,
            issued_to=identity.address,
            certificate=issue_com(identity, self.network_id, identity, START, 1000),
            timestamp=START,
            **options,
        )

    def sent_to_itself(self):
        self.bench.collect()
        return [data for _, data in self.bench.sent if data[8:13] == self.vl1.address.packed]


def test_without_controller_there_is_no_such_network():
    own = Own()
    network = own.vl2.join(own.network_id, own.now)
    assert network.status == NetworkStatus.NOT_FOUND
    own.vl2.serves = True
    own.vl2.handle_timer(own.now)
    assert len(own.vl2.take_requests()) == 1


def test_own_requests_and_answers_are_no_packets():
    own = Own()
    own.vl2.serves = True
    network = own.vl2.join(own.network_id, own.now)
    (request,) = own.vl2.take_requests()
    assert (request.packet_id, request.endpoint) == (OWN_REQUEST, None)
    assert request.identity == own.vl1.identity
    own.vl2.answer_config(request, own.config().encode(), own.now)
    assert network.status == NetworkStatus.OK
    assert any(isinstance(event, NetworkReady) for event in own.vl2.take_events())
    own.vl2.refuse_request(request, ErrorCode.NETWORK_ACCESS_DENIED, b"", own.now)
    assert network.status == NetworkStatus.ACCESS_DENIED
    config = own.config(revision=7, private=False)
    own.vl2.push_config(own.network_id, own.vl1.address, config.encode(), own.now)
    assert network.status == NetworkStatus.OK
    assert network.config == config
    own.vl2.push_refusal(own.network_id, own.vl1.address, ErrorCode.NETWORK_ACCESS_DENIED, own.now)
    assert network.status == NetworkStatus.ACCESS_DENIED
    revocation = issue_revocation(own.vl1.identity, own.network_id, own.vl1.address, START, 1)
    own.vl2.send_credentials(own.vl1.address, Credentials(revocations=(revocation,)), own.now)
    own.bench.clock.advance_to(own.now + 1.2)
    own.vl2.handle_timer(own.now)
    assert len(own.vl2.take_requests()) == 1
    assert own.sent_to_itself() == []


def test_an_own_network_is_refreshed_as_any_other():
    own = Own()
    own.vl2.serves = True
    own.vl2.join(own.network_id, own.now)
    (request,) = own.vl2.take_requests()
    own.vl2.answer_config(request, own.config().encode(), own.now)
    assert own.vl2.networks[own.network_id].request_due == own.now + 60
