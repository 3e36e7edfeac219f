"""Asking for configurations, taking what the controller sends and nothing else, and what is told of it (vl2.md 2)."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network

import pytest

from tests.vl2.desk import START, ControlledDesk, Desk
from zt_async.config import NetworkSettings
from zt_async.crypto.credentials import issue_com
from zt_async.events import (
    AddressAdded,
    AddressRemoved,
    NetworkDown,
    NetworkReady,
    NetworkStatus,
    NetworkUpdated,
    RouteAdded,
    RouteRemoved,
)
from zt_async.types import DNS, NetworkId, Route
from zt_async.vl2.configurations import PLATFORM
from zt_async.wire.config_chunks import CHUNK_FAST, CHUNK_SIZE, ConfigChunk, decode_config_request
from zt_async.wire.dictionary import Dictionary
from zt_async.wire.packet import ErrorCode, Verb
from zt_async.wire.verbs import decode_ok, encode_error, encode_ok

ADDRESS = ip_interface("10.1.0.5/16")


@pytest.fixture
def desk():
    """On a private network, whose controller has been asked for the first time."""
    return ControlledDesk()


def answer(desk, request, config, *, remote=None, **options):
    """The controller's answer to a request; with another ``remote``, what that one makes of it."""
    remote = remote or desk.controller
    packets = [
        remote.packet(Verb.OK, encode_ok(Verb.NETWORK_CONFIG_REQUEST, request.packet_id, chunk))
        for chunk in desk.chunks(config, **options)
    ]
    desk.receive(*packets, remote=remote)


def refuse(desk, code, *, remote=None, in_re=Verb.NETWORK_CONFIG_REQUEST, data=b""):
    remote = remote or desk.controller
    desk.receive(
        remote.packet(Verb.ERROR, encode_error(in_re, 1, code, desk.id.packed + data)), remote=remote
    )


def times_of_requests(desk, seconds):
    """When the controller is asked, from now on, in seconds."""
    start = desk.now
    times = []
    for tenth in range(round(seconds * 10)):
        desk.wait(start + (tenth + 1) / 10 - desk.now)
        times += [round(desk.now - start, 1)] * len(desk.requests())
    return times


# Asking


def test_the_controller_is_asked_at_once_with_all_that_it_wants_to_know(desk):
    desk.bench.collect()
    (request,) = desk.requests()
    network_id, metadata, revision, timestamp = decode_config_request(request.payload)
    assert (network_id, revision, timestamp) == (desk.id, 0, 0)
    d = Dictionary.decode(metadata)
    assert list(d) == ["v", "vend", "pv", "majv", "minv", "revv", "mr", "mc", "mcr", "mt", "f", "revr", "o"]
    assert (d.get_uint("v"), d.get_uint("revr"), d.get_uint("pv")) == (7, 1, 12)
    assert d.get_text("o", 99) == PLATFORM


def test_it_is_asked_again_ever_more_slowly(desk):
    desk.bench.collect()
    desk.requests()
    assert times_of_requests(desk, 20) == pytest.approx([1, 3, 7, 12, 17], abs=0.11)


def test_a_request_to_a_controller_that_nobody_knows_yet_leaves_when_it_is_known():
    desk = ControlledDesk(known=False)
    desk.bench.collect()
    upstream = desk.bench.upstream
    assert desk.requests() == []
    (question,) = upstream.take(Verb.WHOIS)
    assert question.payload == desk.controller.address.packed
    desk.wait(0.2)
    upstream.say(upstream.ok(question, desk.controller.identity.to_bytes()))
    (request,) = desk.requests()
    answer(desk, request, desk.private())
    assert desk.network.status == NetworkStatus.OK


def test_a_configuration_is_refreshed_every_minute_and_sooner_if_that_fails(desk):
    desk.bench.collect()
    (request,) = desk.requests()
    answer(desk, request, desk.private(addresses=(ADDRESS,)))
    assert times_of_requests(desk, 80) == pytest.approx([60, 65, 70, 75, 80], abs=0.2)
    config = desk.network.config
    desk.push(desk.private(revision=4))
    assert desk.network.config.timestamp > config.timestamp
    desk.wait(59)
    assert desk.requests() == []
    desk.wait(1.1)
    (request,) = desk.requests()
    assert decode_config_request(request.payload)[2:] == (4, config.timestamp + 1)


def test_after_a_refusal_the_controller_is_asked_every_five_seconds(desk):
    desk.bench.collect()
    desk.requests()
    refuse(desk, ErrorCode.NETWORK_ACCESS_DENIED)
    assert times_of_requests(desk, 16) == pytest.approx([5, 10, 15], abs=0.11)


def test_coming_online_the_controller_is_asked_at_once(desk):
    desk.bench.collect()
    desk.requests()
    desk.wait(8)
    desk.requests()
    desk.vl2.came_online(desk.now)
    assert times_of_requests(desk, 1)[:1] == pytest.approx([0.1], abs=0.11)


def test_an_ad_hoc_network_asks_nobody():
    desk = Desk()
    desk.wait(100)
    desk.vl2.came_online(desk.now)
    desk.wait(100)
    assert desk.vl1.sender.waiting == []
    assert desk.network.status == NetworkStatus.OK


@pytest.mark.parametrize(
    ("number", "status"),
    [
        (0xFF << 56 | 9 << 40 | 8 << 24, NetworkStatus.NOT_FOUND),
        (0xFF << 56 | 2, NetworkStatus.REQUESTING_CONFIGURATION),
    ],
)
def test_an_id_of_the_ad_hoc_kind_that_means_nothing_has_nobody_to_ask(number, status):
    desk = Desk(NetworkId(number))
    desk.vl2.came_online(desk.now)
    desk.wait(100)
    assert desk.vl1.sender.waiting == []
    assert desk.network.status == status


# Getting


def test_a_configuration_is_applied_and_told(desk):
    desk.bench.collect()
    (request,) = desk.requests()
    routes = (Route(ip_network("10.9.0.0/16"), ip_address("10.1.0.1")),)
    dns = DNS("corp", (ip_address("10.1.0.2"),))
    config = desk.private(addresses=(ADDRESS,), name="office", mtu=1400, revision=3, routes=routes, dns=dns)
    answer(desk, request, config)
    added, route, ready = desk.events()
    assert added == AddressAdded(network_id=desk.id, address=ADDRESS)
    assert route == RouteAdded(network_id=desk.id, route=routes[0])
    assert isinstance(ready, NetworkReady)
    info = ready.network
    assert (info.status, info.name, info.mtu, info.revision) == (NetworkStatus.OK, "office", 1400, 3)
    assert (info.addresses, info.routes, info.dns) == ((ADDRESS,), routes, None)
    assert (info.assigned_addresses, info.assigned_routes, info.assigned_dns) == ((ADDRESS,), routes, dns)
    assert desk.vl2.take_configs() == {desk.id: config.encode()}
    assert desk.vl2.take_configs() == {}


def test_changes_are_told_and_so_is_every_return_to_readiness(desk):
    desk.push(desk.private(addresses=(ADDRESS,)))
    desk.events()
    second = ip_interface("fd00::5/64")
    desk.push(desk.private(addresses=(ADDRESS, second)))
    added, updated = desk.events()
    assert added == AddressAdded(network_id=desk.id, address=second)
    assert isinstance(updated, NetworkUpdated)
    assert updated.changed == {"addresses", "assigned_addresses"}
    refuse(desk, ErrorCode.NETWORK_ACCESS_DENIED)
    (denied,) = desk.events()
    assert denied.changed == {"status"}
    desk.push(desk.private(addresses=(second,)))
    removed, ready = desk.events()
    assert removed == AddressRemoved(network_id=desk.id, address=ADDRESS)
    assert isinstance(ready, NetworkReady)
    desk.vl2.leave(desk.id)
    removed, down = desk.events()
    assert removed == AddressRemoved(network_id=desk.id, address=second)
    assert isinstance(down, NetworkDown)


def test_a_refresh_that_changes_nothing_but_its_time_tells_nothing(desk):
    desk.push(desk.private(addresses=(ADDRESS,)))
    desk.events()
    desk.push(desk.private(addresses=(ADDRESS,)))
    assert desk.events() == []
    assert desk.vl2.counters["configurations: applied"] == 2


def test_a_configuration_comes_in_chunks_in_any_order(desk):
    payloads = desk.chunks(desk.private().encode() + b"\nzz=" + b"x" * (2 * CHUNK_SIZE), update_id=6)
    assert len(payloads) == 3
    packets = [desk.controller.packet(Verb.NETWORK_CONFIG, payload) for payload in payloads]
    _, answers = desk.receive(packets[2], packets[1], packets[1], remote=desk.controller)
    assert answers == []
    assert desk.network.status == NetworkStatus.REQUESTING_CONFIGURATION
    _, (ack,) = desk.receive(packets[0], remote=desk.controller)
    assert desk.network.status == NetworkStatus.OK
    assert desk.fates()["in: repeated chunk"] == 1
    in_re, packet_id, data = decode_ok(ack.payload)
    assert (in_re, packet_id) == (Verb.ECHO, int.from_bytes(packets[0][:8], "big"))
    assert data == desk.id.packed + (6).to_bytes(8, "big")


def test_another_member_may_pass_a_signed_configuration_on(desk):
    (ack,) = desk.push(desk.private(), remote=desk.a)
    assert desk.network.status == NetworkStatus.OK
    assert decode_ok(ack.payload)[0] == Verb.ECHO


def test_chunks_of_fast_propagation_go_on_to_other_members_once(desk):
    desk.configure_private()
    b = desk.meet(2, "10.0.5.1")
    for member in (desk.a, b, desk.controller):
        desk.network.record(member.address)
    config = desk.private()
    (payload,) = desk.chunks(config, flags=CHUNK_FAST)
    for _ in range(2):
        desk.receive(desk.a.packet(Verb.NETWORK_CONFIG, payload))
    (passed,) = b.take(Verb.NETWORK_CONFIG)
    assert passed.payload == payload
    assert desk.a.take(Verb.NETWORK_CONFIG) == desk.controller.take(Verb.NETWORK_CONFIG) == []
    # Old ones in turn do not circulate for ever.
    for number in range(20):
        (payload,) = desk.chunks(config, flags=CHUNK_FAST, update_id=100 + number)
        desk.receive(desk.a.packet(Verb.NETWORK_CONFIG, payload))
    assert b.take(Verb.NETWORK_CONFIG) == []


# What is not taken


def unchanged(desk, before=None):
    """Nothing came of it."""
    assert desk.network.config == before
    assert desk.events() == []
    assert desk.vl2.take_configs() == {}


def test_an_unsigned_configuration_is_the_controllers_or_nobodys(desk):
    dictionary = desk.private().encode()
    legacy = ConfigChunk(desk.id, dictionary, 0, 0, len(dictionary), 0).encode()
    assert desk.tell(desk.a, Verb.NETWORK_CONFIG, legacy) == []
    unchanged(desk)
    assert desk.fates() == {"in: malformed, unsigned configuration": 1}
    assert len(desk.tell(desk.controller, Verb.NETWORK_CONFIG, legacy)) == 1
    assert desk.network.status == NetworkStatus.OK


def test_a_configuration_signed_by_somebody_else_is_dropped(desk):
    assert desk.push(desk.private(), signer=desk.a.identity) == []
    unchanged(desk)
    (payload,) = desk.chunks(desk.private())
    for place in (10, 40, len(payload) - 1, len(payload) - 97):
        damaged = payload[:place] + bytes((payload[place] ^ 1,)) + payload[place + 1 :]
        assert desk.tell(desk.controller, Verb.NETWORK_CONFIG, damaged) == []
    unchanged(desk)
    for size in range(0, len(payload), 37):
        assert desk.tell(desk.a, Verb.NETWORK_CONFIG, payload[:size]) == []
    unchanged(desk)


def test_an_answer_that_was_not_asked_for_is_dropped(desk):
    desk.bench.collect()
    (request,) = desk.requests()
    answer(desk, request, desk.private(), remote=desk.a)  # it was not asked
    unchanged(desk)
    answer(desk, request._replace(packet=bytes(8) + request.packet[8:]), desk.private())
    unchanged(desk)
    assert desk.fates() == {}
    assert desk.bench.fates()["unexpected reply"] == 2


def test_configurations_for_another_member_or_network_are_dropped(desk):
    other = desk.private()
    desk.push(replace(other, issued_to=desk.a.address))
    desk.push(replace(other, network_id=NetworkId(desk.id + 1)))
    assert desk.vl2.counters["configurations: for another"] == 2
    unchanged(desk)


def test_an_older_configuration_is_not_taken_again(desk):
    old, new = desk.private(), desk.private(timestamp=START + 60_000, addresses=(ADDRESS,))
    desk.push(old, update_id=11)
    desk.push(new)
    desk.events()
    desk.vl2.take_configs()
    for update_id in (11, 12):  # the very packets, and the same signed anew
        desk.push(old, update_id=update_id)
    assert desk.vl2.counters["configurations: old"] == 1
    unchanged(desk, new)


def test_what_cannot_be_read_is_dropped(desk):
    for text in (b"", b"v=5", b"v=0000000000000007\nnwid=0", b"\xff" * 100, desk.private().encode()[:60]):
        assert desk.push(text) == []
    unchanged(desk)
    assert desk.network.status == NetworkStatus.REQUESTING_CONFIGURATION


def test_configurations_of_networks_that_were_not_joined_are_dropped(desk):
    desk.vl2.leave(desk.id)
    desk.push(desk.private())
    assert desk.fates() == {"in: not joined": 1}


def test_a_flood_of_first_chunks_leaves_no_more_than_three(desk):
    config = desk.private().encode() + b"\nzz=" + b"x" * CHUNK_SIZE
    for number in range(1, 50):
        desk.tell(desk.controller, Verb.NETWORK_CONFIG, desk.chunks(config, update_id=number)[0])
    assert len(desk.network.assembly._updates) == 3


# Saying no


@pytest.mark.parametrize(
    ("code", "in_re", "status"),
    [
        (ErrorCode.OBJECT_NOT_FOUND, Verb.NETWORK_CONFIG_REQUEST, NetworkStatus.NOT_FOUND),
        (ErrorCode.UNSUPPORTED_OPERATION, Verb.NETWORK_CONFIG_REQUEST, NetworkStatus.NOT_FOUND),
        (ErrorCode.NETWORK_ACCESS_DENIED, Verb.NETWORK_CONFIG_REQUEST, NetworkStatus.ACCESS_DENIED),
        (ErrorCode.NETWORK_ACCESS_DENIED, Verb.NOP, NetworkStatus.ACCESS_DENIED),
        (ErrorCode.AUTHENTICATION_REQUIRED, Verb.NOP, NetworkStatus.AUTHENTICATION_REQUIRED),
        (ErrorCode.OBJECT_NOT_FOUND, Verb.FRAME, None),
        (ErrorCode.INVALID_REQUEST, Verb.NETWORK_CONFIG_REQUEST, None),
        (0x77, Verb.NETWORK_CONFIG_REQUEST, None),
    ],
)
@pytest.mark.parametrize("held", [True, False])
def test_a_refusal_keeps_what_is_held(desk, code, in_re, status, held):
    config = desk.configure_private(addresses=(ADDRESS,)) if held else None
    before = desk.network.status
    desk.events()
    refuse(desk, code, in_re=in_re)
    refuse(desk, code, in_re=in_re)
    assert desk.network.status == (before if status is None else status)
    assert [type(event) for event in desk.events()] == [NetworkUpdated] * (status is not None)
    assert desk.network.config == config
    ignored = desk.vl2.counters["in: error ignored"]
    refuse(desk, ErrorCode.NETWORK_ACCESS_DENIED, remote=desk.a)  # which is not the controller
    assert desk.vl2.counters["in: error ignored"] == ignored + 1
    assert desk.network.status == (before if status is None else status)
    desk.push(desk.private())
    assert desk.network.status == NetworkStatus.OK


@pytest.mark.parametrize(
    ("text", "url"),
    [(b"aV=0\naU=https://a/b", "https://a/b"), (b"aV=1\niU=https://c", "https://c"), (None, ""), (b"", "")],
)
def test_where_to_log_in(desk, text, url):
    data = b"" if text is None else len(text).to_bytes(2, "big") + text
    refuse(desk, ErrorCode.AUTHENTICATION_REQUIRED, data=data)
    (event,) = desk.events()
    assert event.network.status == NetworkStatus.AUTHENTICATION_REQUIRED
    assert event.network.authentication_url == url


# Kept from an earlier run


def test_a_cached_configuration_holds_until_a_newer_one_comes():
    first = ControlledDesk()
    config = first.configure_private(addresses=(ADDRESS,), revision=9)
    desk = ControlledDesk(cached=config.encode())
    assert desk.network.status == NetworkStatus.OK
    assert desk.network.info().addresses == (ADDRESS,)
    assert desk.vl2.take_configs() == {}
    desk.bench.collect()
    (request,) = desk.requests()  # at once
    assert decode_config_request(request.payload)[2:] == (9, START)
    desk.push(desk.private(timestamp=START - 1))
    assert desk.network.config == config
    desk.push(desk.private())
    assert desk.network.config.timestamp == START + 1


@pytest.mark.parametrize("cached", [b"", b"\n", b"v=7", b"\0\0"])
def test_a_cache_that_holds_nothing_does_no_harm(cached):
    desk = ControlledDesk(cached=cached)
    assert desk.network.status == NetworkStatus.REQUESTING_CONFIGURATION
    assert desk.vl2.counters["configurations: unreadable"] == 1


def test_a_cache_of_another_node_is_not_used():
    first = ControlledDesk()
    config = replace(first.private(), issued_to=first.a.address)
    desk = ControlledDesk(cached=config.encode())
    assert desk.network.config is None


# Settings


def test_settings_decide_what_is_used_and_changes_are_told(desk):
    public = ip_interface("8.8.8.8/24")
    desk.push(desk.private(addresses=(ADDRESS, public)))
    desk.events()
    assert desk.network.info().addresses == (ADDRESS,)
    desk.vl2.configure_settings(desk.id, NetworkSettings(allow_global=True))
    added, updated = desk.events()
    assert added == AddressAdded(network_id=desk.id, address=public)
    assert updated.changed == {"addresses", "settings"}
    desk.vl2.configure_settings(desk.id, NetworkSettings(allow_managed=False))
    assert [type(event) for event in desk.events()] == [AddressRemoved, AddressRemoved, NetworkUpdated]
    assert desk.network.info().assigned_addresses == (ADDRESS, public)


def test_a_route_that_goes_is_told(desk):
    route = Route(ip_network("10.9.0.0/16"), ip_address("10.1.0.1"))
    desk.push(desk.private(addresses=(ADDRESS,), routes=(route,)))
    desk.events()
    desk.push(desk.private(addresses=(ADDRESS,)))
    removed, updated = desk.events()
    assert removed == RouteRemoved(network_id=desk.id, route=route)
    assert updated.changed == {"routes", "assigned_routes"}


def test_our_own_revocation_makes_us_ask_what_we_are_now(desk):
    desk.configure_private()
    desk.wait(10)
    desk.requests()
    desk.give(desk.a, revocations=(desk.revocation(desk.own, START + 10),))
    desk.wait(0.1)
    assert len(desk.requests()) == 1


def test_a_certificate_of_another_controller_in_the_configuration_is_no_matter(desk):
    """The signature of the chunk vouches for all of it, and members look at ours themselves."""
    certificate = issue_com(desk.a.identity, desk.id, desk.own, START, 1000)
    desk.push(desk.config(private=True, certificate=certificate))
    assert desk.network.status == NetworkStatus.OK
