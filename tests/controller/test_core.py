"""What a controller decides: who is a member, what it is sent, and whom others are to forget. vl2.md 8."""

from collections import Counter
from ipaddress import IPv4Interface
from itertools import pairwise

import pytest

from zt_async.controller import edits
from zt_async.controller.core import MAX_WAITING
from zt_async.controller.messages import Configure, Refuse, Tell
from zt_async.controller.presence import MAX_TOLD
from zt_async.controller.records import MemberRecord
from zt_async.controller.settings import member_change
from zt_async.controller.store import DeleteMember, DeleteNetwork, RecordKey
from zt_async.crypto.credentials import Verification, com_agrees, verify
from zt_async.crypto.identity import Identity
from zt_async.errors import Conflict, ControllerError, NoSuchMember, NoSuchNetwork, RecordError
from zt_async.events import MemberAuthorized, MemberConfigured, MemberDeauthorized, MemberWaiting
from zt_async.testing.identities import throwaway_identity
from zt_async.types import NetworkId, NodeAddress
from zt_async.wire.packet import ErrorCode
from zt_async.wire.rules import Rule, RuleType

from .office import CONTROLLER, EPOCH, Ask, Office, ask_metadata, config_of, kinds

ALICE, BOB, CAROL = map(throwaway_identity, (1, 2, 3))
DENIED, NOT_FOUND = ErrorCode.NETWORK_ACCESS_DENIED, ErrorCode.OBJECT_NOT_FOUND


@pytest.fixture
def office():
    return Office()


def codes(messages):
    return [message.code for message in messages if isinstance(message, Refuse)]


# Requests


def test_a_stranger_waits_until_it_is_authorized_and_has_its_configuration_at_once(office):
    network = office.create(name="home", ipv4="10.1.0.0/24")
    assert codes(office.ask(network, ALICE)) == [DENIED]
    waiting = office.record(network, ALICE)
    assert (waiting.authorized, waiting.identity, waiting.addresses) == (False, ALICE, ())
    office.take()
    record = office.authorize(network, ALICE)
    (message,) = office.take()
    config = config_of(message)
    assert message.request is None
    assert config.addresses == (IPv4Interface((record.addresses[0], 24)),)
    assert (config.name, config.issued_to, config.private) == ("home", ALICE.address, True)
    told = [type(event) for event in office.take_events()]
    assert told == [MemberWaiting, MemberAuthorized, MemberConfigured]


def test_a_member_that_was_authorized_before_it_asks_is_answered(office):
    network = office.create(ipv4="10.1.0.0/24")
    assert office.authorize(network, ALICE, name="alice").addresses == ()
    config = office.join(network, ALICE)
    assert config.addresses == (IPv4Interface((office.record(network, ALICE).addresses[0], 24)),)
    assert office.record(network, ALICE).credential_type == "api"


def test_a_public_network_authorizes_by_itself(office):
    network = office.create(private=False)
    assert not office.join(network, ALICE).private
    record = office.record(network, ALICE)
    assert (record.authorized, record.credential_type) == (True, "public")
    assert [e.credential_type for e in office.take_events(MemberAuthorized)] == ["public"]


def test_a_token_authorizes_until_its_end(office):
    end = EPOCH + 2_000_000
    network = office.create(auth_tokens={"good": end, "always": 0})
    assert codes(office.ask(network, ALICE, metadata=ask_metadata("token:bad"))) == [DENIED]
    assert codes(office.ask(network, BOB, metadata=ask_metadata("good"))) == [DENIED]
    office.advance(2)
    (message,) = office.ask(network, ALICE, metadata=ask_metadata("token:good"))
    assert isinstance(message, Configure)
    assert office.record(network, ALICE).credential == "good"
    office.advance(1000)
    assert codes(office.ask(network, CAROL, metadata=ask_metadata("token:good"))) == [DENIED]
    (message,) = office.ask(network, BOB, metadata=ask_metadata("token:always"))
    assert isinstance(message, Configure)


def test_requests_within_a_second_are_dropped(office):
    network = office.create(private=False)
    office.join(network, ALICE)
    office.advance(1.0)
    assert office.ask(network, ALICE) == []
    office.advance(0.01)
    assert kinds(office.ask(network, ALICE)) == [("Configure", ALICE.address)]
    assert office.core.counters["too soon"] == 1


def test_another_identity_under_the_same_address_is_refused(office):
    network = office.create(private=False)
    office.join(network, ALICE)
    office.advance(2)
    impostor = Identity(ALICE.address, BOB.public_key)
    assert codes(office.ask(network, impostor)) == [DENIED]
    assert office.record(network, ALICE).identity == ALICE
    assert office.commits == 2


def test_a_network_that_is_not_there_is_not_found_and_those_of_others_are_passed_over(office):
    missing = NetworkId(CONTROLLER.address << 24 | 7)
    assert codes(office.ask(missing, ALICE)) == [NOT_FOUND]
    assert office.ask(NetworkId(ALICE.address << 24 | 7), BOB) == []


@pytest.mark.parametrize("metadata", [b"", b"\xff" * 40, b"revr=0", b"=", b"a" * 2000])
def test_a_node_without_a_rules_engine_is_sent_a_table_that_accepts_all(office, metadata):
    network = office.create(
        private=False,
        rules=[Rule(RuleType.ACTION_DROP)],
        tags=[{"id": 1, "default": 2}],
        capabilities=[{"id": 3, "default": True, "rules": [{"type": "ACTION_ACCEPT"}]}],
    )
    (message,) = office.ask(network, ALICE, metadata=metadata)
    config = config_of(message)
    assert config.rules == (Rule(RuleType.ACTION_ACCEPT),)
    assert (config.tags, config.capabilities) == ((), ())
    assert office.core.seen(network, ALICE.address).version == (-1, -1, -1)


def test_members_are_known_as_they_were_last_seen(office):
    network = office.create(private=False)
    office.join(network, ALICE)
    seen = office.core.seen(network, ALICE.address)
    assert (seen.version, seen.protocol, seen.endpoint.host) == ((1, 14, 1), 12, "192.0.2.1")
    assert seen.time == office.context.wall_ms()
    assert office.core.is_online(network, ALICE.address, office.now)
    office.advance(121)
    assert not office.core.is_online(network, ALICE.address, office.now)
    assert office.core.seen(network, BOB.address).time == 0


def test_asking_again_writes_nothing_but_what_was_seen(office):
    network = office.create(private=False, ipv4="10.1.0.0/24", tags=[{"id": 1, "default": 2}])
    office.join(network, ALICE)
    commits = office.commits
    for _ in range(5):
        office.advance(60)
        office.join(network, ALICE)
    assert office.commits == commits
    (put,) = office.core.take_seen(100)
    assert put[:2] == (network, ALICE.address)
    assert put.seen.time == office.context.wall_ms()
    assert office.core.take_seen(100) == []
    office.core.return_seen([put])
    office.store.apply(office.core.take_seen(100))
    assert Office(office.store).core.seen(network, ALICE.address) == put.seen


def test_refusals_of_strangers_wait_within_a_bound(office, monkeypatch):
    monkeypatch.setattr("zt_async.controller.core.MAX_REFUSALS", 2)
    missing = [NetworkId(CONTROLLER.address << 24 | number) for number in range(1, 5)]
    requests = [Ask(network, ALICE.public(), ask_metadata()) for network in missing]
    office.core.receive_requests(requests, office.now)
    office.settle()
    assert [(m.network_id, m.code) for m in office.take()] == [(n, NOT_FOUND) for n in missing[:2]]
    assert office.core.counters["no such network"] == 4
    assert codes(office.ask(missing[3], ALICE)) == [NOT_FOUND]


def test_strangers_are_remembered_within_a_bound(office, monkeypatch):
    monkeypatch.setattr("zt_async.controller.core.MAX_WAITING", 2)
    network = office.create()
    assert MAX_WAITING > 10_000
    office.authorize(network, CAROL)
    for stranger in (ALICE, BOB, throwaway_identity(4)):
        assert codes(office.ask(network, stranger)) == [DENIED]
    assert set(office.core.tables.members[network]) == {CAROL.address, ALICE.address, BOB.address}
    assert office.core.counters["too many waiting"] == 1
    office.join(network, CAROL)
    office.authorize(network, ALICE)
    office.ask(network, throwaway_identity(4))
    assert throwaway_identity(4).address in office.core.tables.members[network]


# Configurations


def test_credentials_are_of_one_moment_and_verify(office):
    network = office.create(
        private=False,
        ipv4="10.1.0.0/24",
        sixplane=True,
        tags=[{"id": 9, "default": 1}, {"id": 7, "default": 2}, {"id": 8}],
        capabilities=[
            {"id": 5, "default": True, "rules": [{"type": "ACTION_ACCEPT"}]},
            {"id": 6, "rules": []},
        ],
    )
    config = office.join(network, ALICE)
    assert [(tag.id, tag.value) for tag in config.tags] == [(7, 2), (9, 1)]
    assert [capability.id for capability in config.capabilities] == [5]
    (ownership,) = config.ownerships
    assert all(ownership.owns(address.ip) for address in config.addresses)
    credentials = (config.certificate, *config.tags, *config.capabilities, ownership)
    find = {CONTROLLER.address: CONTROLLER.public()}.get
    for credential in credentials:
        assert verify(credential, find) == Verification.GOOD
        assert (credential.timestamp, credential.issued_to) == (config.timestamp, ALICE.address)
        assert credential.network_id == network
    assert com_agrees(config.certificate, office.join(network, BOB).certificate, BOB)


def test_a_configuration_says_what_the_records_say(office):
    network = office.create(
        name="x" * 127,
        broadcast=False,
        multicast_limit=0,
        mtu=1400,
        routes=["10.1.0.0/16", {"target": "0.0.0.0/0", "via": "10.1.0.1"}],
        dns={"domain": "home.arpa", "servers": ["10.1.0.1"]},
        remote_trace_target=BOB.address,
        remote_trace_level=10,
        certificate_timeout=1,
        rules=[{"type": "MATCH_ETHERTYPE", "etherType": 2048}, {"type": "ACTION_ACCEPT"}],
    )
    office.authorize(network, ALICE, addresses=["10.1.0.7"])
    office.authorize(network, CAROL, active_bridge=True, no_auto_assign=True)
    office.update_member(network, BOB, active_bridge=True)
    config = office.join(network, ALICE)
    record = office.core.tables.networks[network]
    assert config.routes == record.routes
    assert (config.dns.domain, config.rules, config.mtu) == ("home.arpa", record.rules, 1400)
    assert (config.broadcast, config.ndp_emulation, config.multicast_limit) == (False, False, 0)
    assert config.bridges == {BOB.address, CAROL.address}
    assert list(config.specialists) == sorted(config.specialists)
    assert (config.trace_target, config.trace_level) == (BOB.address, 10)
    assert config.credential_max_delta == 300_000
    assert config.certificate.qualifiers[0].max_delta == 300_000
    assert config.revision == record.revision
    office.update_member(network, ALICE, remote_trace_target=CAROL.address, remote_trace_level=20)
    assert (config_of(office.take()[-1]).trace_target, config.trace_level) == (CAROL.address, 10)


def test_default_capabilities_are_those_of_the_first_request_authorized_or_not(office):
    network = office.create(capabilities=[{"id": 5, "default": True, "rules": []}])
    office.ask(network, ALICE)
    office.authorize(network, ALICE)
    assert office.record(network, ALICE).capabilities == (5,)
    office.authorize(network, BOB)  # known before it asked: a user decides
    office.join(network, BOB)
    assert office.record(network, BOB).capabilities == ()


def test_time_runs_on_when_the_clock_is_set_back(office):
    network = office.create(private=False)
    times = [office.join(network, ALICE).timestamp]
    office.wall_offset = -3_600_000
    for _ in range(3):
        office.advance(2)
        times.append(office.join(network, ALICE).timestamp)
    assert [later - earlier for earlier, later in pairwise(times)][1:] == [2000, 2000]
    assert times[1] >= times[0]
    office.update_member(network, ALICE, authorized=False)
    (revocation,) = office.take(Tell)[0].credentials.revocations
    office.authorize(network, ALICE)
    assert config_of(office.take(Configure)[-1]).timestamp > revocation.threshold


def test_a_controller_whose_clock_is_behind_goes_on_after_the_one_before_it(office):
    network = office.create(private=False)
    first = office.join(network, ALICE)
    office.store.apply(office.core.take_seen(10))
    office.advance(30)  # the store has not heard of this one
    second = office.join(network, ALICE)
    standby = Office(office.store, wall_offset=-3_600_000)
    third = standby.join(network, ALICE)
    assert first.timestamp < second.timestamp < third.timestamp
    standby.advance(2)
    assert standby.join(network, ALICE).timestamp == third.timestamp + 2000
    assert Office(office.store).join(network, ALICE).timestamp == first.timestamp  # its clock is right


# Addresses


def test_everybody_has_an_address_of_its_own(office):
    network = office.create(private=False, ipv4="10.1.0.0/29")
    members = [throwaway_identity(n) for n in range(1, 9)]
    office.ask(network, *members)
    given = [office.record(network, member).addresses for member in members]
    assert len({ip for ips in given for ip in ips}) == 6  # of 10.1.0.1 to 10.1.0.6
    assert given.count(()) == 2
    assert office.commits == 2


def test_an_address_that_becomes_free_is_given_again(office):
    network = office.create(
        private=False, routes=["10.1.0.0/24"], pools=[("10.1.0.9", "10.1.0.9")], ipv4_auto=True
    )
    office.join(network, ALICE)
    assert office.join(network, BOB).addresses == ()
    office.delete_member(network, ALICE)
    office.advance(5)
    assert len(office.join(network, BOB).addresses) == 1
    office.advance(5)
    configure, _ = office.ask(network, ALICE)
    assert config_of(configure).addresses == ()


def test_what_a_network_adds_to_a_record_fits_into_it(office):
    """A record that had more would be read without any of it after a restart."""
    network = office.create(
        ipv4="10.1.0.0/24", ipv6="fd00::/64", tags=[{"id": n, "default": 1} for n in range(128)]
    )
    useless = [f"192.168.0.{n}" for n in range(31)]
    office.authorize(network, ALICE, addresses=useless, tags=dict.fromkeys(range(100, 200), 2))
    config = office.join(network, ALICE)
    record = office.record(network, ALICE)
    assert MemberRecord.from_json(record.to_json()) == record
    assert [address.version for address in config.addresses] == [6]
    assert [(tag.id, tag.value) for tag in config.tags] == [(n, 1) for n in range(28)] + [
        (n, 2) for n in range(100, 200)
    ]
    office.advance(60)
    commits = office.commits
    assert office.join(network, ALICE).addresses == config.addresses
    assert office.commits == commits


def test_a_network_has_no_more_subnets_than_its_record_is_read_with(office):
    network = office.create()
    for number in range(128):
        office.update(network, ipv4=f"10.1.{number}.0/24")
    with pytest.raises(RecordError, match="routes has at most 128 entries"):
        office.update(network, ipv4="10.2.0.0/24")
    office.update(network, ipv4="10.1.7.0/24", name="x")
    record = office.store.networks[network]
    assert (len(record.routes), record.name) == (128, "x")


def test_a_user_gives_nobody_the_address_of_another(office):
    network = office.create(ipv4="10.1.0.0/24")
    office.authorize(network, ALICE, addresses=["10.1.0.7", "10.1.0.8"])
    with pytest.raises(RecordError, match=r"10\.1\.0\.7, which is the address of member"):
        office.authorize(network, BOB, addresses=["10.1.0.9", "10.1.0.7"])
    office.authorize(network, BOB, addresses=["10.1.0.9"])
    office.update_member(network, ALICE, addresses=["10.1.0.8"])
    office.authorize(network, BOB, addresses=["10.1.0.7", "10.1.0.9"])
    other = office.create(ipv4="10.1.0.0/24")
    office.authorize(other, ALICE, addresses=["10.1.0.7"])


def test_addresses_of_a_batch_that_fails_are_free_again(office):
    network = office.create(
        private=False, routes=["10.1.0.0/24"], pools=[("10.1.0.9", "10.1.0.9")], ipv4_auto=True
    )

    def change_and_fail(batch):
        edits.update_member(
            batch, network, ALICE.address, lambda record: record.updated(addresses=["10.1.0.9"])
        )
        raise RuntimeError

    with pytest.raises(RuntimeError):
        office.run(change_and_fail)
    assert len(office.join(network, BOB).addresses) == 1


def test_an_address_that_a_batch_gives_and_takes_back_is_free_again(office):
    network = office.create(
        private=False, routes=["10.1.0.0/24"], pools=[("10.1.0.9", "10.1.0.9")], ipv4_auto=True
    )

    def give_and_take(batch):
        for addresses in (["10.1.0.9"], []):
            edits.update_member(
                batch, network, ALICE.address, lambda record, a=addresses: record.updated(addresses=a)
            )

    office.run(give_and_take)
    assert len(office.join(network, BOB).addresses) == 1


# Changes


def test_changes_of_a_network_are_pushed_to_those_who_asked_lately(office):
    network = office.create(ipv4="10.1.0.0/24")
    for member in (ALICE, BOB, CAROL):
        office.authorize(network, member)
    office.join(network, CAROL)
    office.advance(121)
    office.join(network, ALICE)
    office.join(network, BOB)
    office.take()
    office.update(network, mtu=1500)
    pushes = office.take()
    assert kinds(pushes) == [("Configure", ALICE.address), ("Configure", BOB.address)]
    assert {config_of(push).mtu for push in pushes} == {1500}
    office.update(network, mtu=1500)
    assert office.take() == []


def test_a_new_subnet_gives_members_that_are_there_their_addresses(office):
    network = office.create()
    office.authorize(network, ALICE)
    assert office.join(network, ALICE).addresses == ()
    office.take()
    office.update(network, ipv4="10.1.0.0/24")
    assert len(config_of(office.take()[-1]).addresses) == 1
    assert office.record(network, ALICE).addresses


def test_a_change_of_a_member_is_its_own(office):
    network = office.create(private=False)
    office.join(network, ALICE)
    office.join(network, BOB)
    office.take()
    office.update_member(network, ALICE, tags={1: 2})
    (push,) = office.take()
    assert [(tag.id, tag.value) for tag in config_of(push).tags] == [(1, 2)]


def test_a_bridge_is_everybodys_business(office):
    network = office.create(private=False)
    office.join(network, ALICE)
    office.join(network, BOB)
    office.take()
    office.update_member(network, ALICE, active_bridge=True)
    pushes = office.take()
    assert {push.member for push in pushes} == {ALICE.address, BOB.address}
    assert {config_of(push).bridges for push in pushes} == {frozenset((ALICE.address,))}


def test_a_member_is_told_that_it_is_configured_when_something_is_new(office):
    network = office.create(private=False)
    for _ in range(3):
        office.join(network, ALICE)
        office.advance(60)
    assert len(office.take_events(MemberConfigured)) == 1
    office.update(network, name="new")
    assert [event.revision for event in office.take_events(MemberConfigured)] == [2]
    office.advance(200)
    office.join(network, ALICE)
    assert len(office.take_events(MemberConfigured)) == 1


def test_who_waits_is_told_once_and_again_after_an_absence(office):
    network = office.create()
    for _ in range(3):
        office.ask(network, ALICE)
        office.advance(5)
    assert len(office.take_events(MemberWaiting)) == 1
    office.advance(120)
    office.ask(network, ALICE)
    assert len(office.take_events(MemberWaiting)) == 1
    office.authorize(network, ALICE)
    office.update_member(network, ALICE, authorized=False)
    office.advance(200)
    office.ask(network, ALICE)
    assert office.take_events(MemberWaiting) == []  # somebody has decided


# Farewells


def test_deauthorizing_tells_those_who_are_there(office):
    network = office.create(private=False)
    before = office.join(network, ALICE).certificate
    office.join(network, BOB)
    office.update(network, private=True)
    office.take()
    office.update_member(network, ALICE, authorized=False)
    messages = office.take()
    assert kinds(messages) == [("Tell", ALICE.address), ("Tell", BOB.address), ("Refuse", ALICE.address)]
    assert messages[2].code == DENIED
    (revocation,) = messages[1].credentials.revocations
    assert verify(revocation, {CONTROLLER.address: CONTROLLER}.get) == Verification.GOOD
    assert (revocation.target, revocation.network_id, revocation.fast) == (ALICE.address, network, True)
    assert revocation.threshold >= before.timestamp
    assert [event.address for event in office.take_events(MemberDeauthorized)] == [ALICE.address]
    office.advance(5)
    assert kinds(office.take()) == [("Tell", ALICE.address), ("Tell", BOB.address)]  # once more
    assert codes(office.ask(network, ALICE)) == [DENIED]
    office.authorize(network, ALICE)
    (push,) = office.take(Configure)
    assert config_of(push).certificate.timestamp > revocation.threshold


def test_deleting_a_member_revokes_it(office):
    network = office.create()
    office.authorize(network, ALICE)
    office.authorize(network, BOB)
    office.join(network, ALICE)
    office.join(network, BOB)
    office.take()
    office.delete_member(network, ALICE)
    assert kinds(office.take()) == [("Tell", BOB.address), ("Refuse", ALICE.address)]
    assert office.record(network, ALICE) is None
    office.advance(5)
    assert codes(office.ask(network, ALICE)) == [DENIED]  # and is there again, to wait
    assert not office.record(network, ALICE).authorized


def test_who_was_away_is_told_when_it_comes_back(office):
    network = office.create(private=False)
    office.join(network, ALICE)
    office.join(network, BOB)
    office.advance(200)
    office.update_member(network, ALICE, authorized=False)
    assert office.take(Tell) == []
    office.ask(network, BOB)
    (tell,) = office.take(Tell)
    assert tell.member == BOB.address
    office.advance(60)
    assert len(office.take(Tell)) == 1
    office.ask(network, BOB)
    assert office.take(Tell) == []


def test_farewells_are_told_again_after_a_restart_while_they_matter(office):
    network = office.create()
    for member in (ALICE, BOB):
        office.authorize(network, member)
        office.join(network, member)
    office.update_member(network, ALICE, authorized=False)
    restarted = Office(office.store)
    restarted.now = office.now
    (_, tell) = restarted.ask(network, BOB)
    assert [r.target for r in tell.credentials.revocations] == [ALICE.address]
    late = Office(office.store, wall_offset=1_900_000)
    assert kinds(late.ask(network, BOB)) == [("Configure", BOB.address)]


def test_many_farewells_go_in_packets_a_second_apart(office):
    """A member takes credentials once a second: one packet for each would be lost."""
    network = office.create()
    office.authorize(network, ALICE)
    office.join(network, ALICE)
    for number in range(1, 2 * MAX_TOLD + 2):
        address = NodeAddress(number)
        office.run(
            lambda batch, a=address: edits.update_member(
                batch, network, a, lambda r: r.updated(authorized=True)
            )
        )
    for number in range(1, 2 * MAX_TOLD + 2):
        address = NodeAddress(number)
        office.run(lambda batch, a=address: edits.delete_member(batch, network, a))
    office.take()
    office.settle()
    told = Counter()
    while tells := office.take(Tell):
        (tell,) = tells
        told.update(revocation.target for revocation in tell.credentials.revocations)
        assert len(tell.credentials.revocations) <= MAX_TOLD
        office.advance(1.1)
    assert told == {NodeAddress(number): 2 for number in range(1, 2 * MAX_TOLD + 2)}


def test_farewells_of_one_second_are_one_appointment_with_each_member(office):
    network = office.create()
    for member in (ALICE, BOB):
        office.authorize(network, member)
        office.join(network, member)
    for _ in range(10):
        office.authorize(network, CAROL)
        office.update_member(network, CAROL, authorized=False)
    assert len(office.core._later) == 2
    office.take()
    office.advance(60)
    told = Counter(r.threshold for m in office.take(Tell) for r in m.credentials.revocations)
    assert len(told) == 10
    assert set(told.values()) <= {2, 4}  # the first went out before
    assert office.core._later == []


def test_a_network_that_is_deleted_is_over_for_all(office):
    network = office.create(private=False)
    for member in (ALICE, BOB):
        office.join(network, member)
    office.take()
    office.delete(network)
    messages = office.take()
    tells = [message for message in messages if isinstance(message, Tell)]
    assert {tell.member for tell in tells} == {ALICE.address, BOB.address}
    assert {r.target for r in tells[0].credentials.revocations} == {ALICE.address, BOB.address}
    assert codes(messages) == [NOT_FOUND, NOT_FOUND]
    office.advance(5)
    assert codes(office.ask(network, ALICE)) == [NOT_FOUND]
    assert office.store.networks == {}
    assert office.store.members == {}
    office.advance(200)
    assert office.core._deleted == {}


def test_deleting_a_large_network_is_one_change_and_no_flood(office):
    network = office.create(private=False)

    def populate(batch):
        for number in range(1, 200):
            edits.update_member(batch, network, NodeAddress(number), lambda r: r.updated(authorized=True))

    office.run(populate)
    office.join(network, ALICE)
    office.take()
    batch = office.core.begin()
    edits.delete_network(batch, network)
    assert batch.changes() == [DeleteNetwork(network)]
    office.core.finish(batch, office.now)
    office.settle()
    assert kinds(office.take()) == [("Refuse", ALICE.address)]


# Others who write


def test_a_batch_that_conflicts_is_decided_anew(office):
    network = office.create(private=False, ipv4="10.1.0.0/29")
    other = Office(office.store, seed=1)
    batch = office.core.begin()
    edits.update_network(batch, network, lambda record: record.updated(name="ours"))
    other.update(network, name="theirs", mtu=1500)
    with pytest.raises(Conflict):
        office.store.apply(batch.changes())
    office.core.abort(batch, again=True)
    office.core.replace({RecordKey(network): office.store.networks[network]}, office.now)
    office.update(network, name="ours")
    record = office.store.networks[network]
    assert (record.name, record.mtu, record.revision) == ("ours", 1500, 3)


def test_a_request_whose_batch_conflicts_is_answered_after_all(office):
    network = office.create(
        private=False, routes=["10.1.0.0/24"], pools=[("10.1.0.8", "10.1.0.9")], ipv4_auto=True
    )
    other = Office(office.store, seed=1)
    other.join(network, ALICE)
    taken = other.record(network, ALICE).addresses
    office.core.receive_requests([Ask(network, BOB.public(), ask_metadata())], office.now)
    batch = office.core.begin()
    with pytest.raises(Conflict):
        office.store.apply(batch.changes())
    office.core.abort(batch, again=True)
    office.core.replace(office.core.stored(office.store.snapshot(CONTROLLER.address)), office.now)
    office.settle()
    (message,) = office.take(Configure)
    assert config_of(message).addresses[0].ip not in taken


def test_what_others_change_reaches_the_members(office):
    network = office.create(private=False)
    for member in (ALICE, BOB):
        office.join(network, member)
    office.take()
    other = Office(office.store, seed=1)
    other.update(network, mtu=1300)
    other.update_member(network, ALICE, authorized=False)
    other.delete_member(network, BOB)
    third = other.create(name="third")
    office.core.replace(office.core.stored(office.store.snapshot(CONTROLLER.address)), office.now)
    office.settle()
    messages = office.take()
    refused = [m.member for m in messages if isinstance(m, Refuse)]
    assert set(refused) == {ALICE.address, BOB.address}
    assert {r.target for r in messages[0].credentials.revocations} == {ALICE.address, BOB.address}
    assert office.core.tables.networks[third].name == "third"
    other.delete(third)
    office.core.replace({RecordKey(third): None}, office.now)
    assert third not in office.core.tables.networks
    assert office.core.tables.networks == office.store.networks
    assert office.core.tables.members == office.store.members


# Edits


def test_edits_of_what_is_not_there(office):
    network = office.create()
    gone = NetworkId(CONTROLLER.address << 24 | 1)
    with pytest.raises(NoSuchNetwork):
        office.update(gone, name="x")
    with pytest.raises(NoSuchNetwork):
        office.authorize(gone, ALICE)
    with pytest.raises(NoSuchMember):
        office.delete_member(network, ALICE)
    with pytest.raises(NoSuchMember):
        office.run(
            lambda batch: edits.update_member(
                batch, network, ALICE.address, lambda record: record, create=False
            )
        )
    with pytest.raises(RecordError, match="which no node has"):
        office.run(lambda batch: edits.update_member(batch, network, NodeAddress(0), lambda record: record))


def test_the_id_of_a_network(office):
    first, second = office.create(), office.create()
    assert first != second
    assert {first.controller, second.controller} == {CONTROLLER.address}
    with pytest.raises(ControllerError, match="already"):
        office.run(lambda batch: edits.create_network(batch, lambda record: record, first))
    with pytest.raises(RecordError, match="begin with the address"):
        office.run(lambda batch: edits.create_network(batch, lambda record: record, NetworkId(1)))


def test_addresses_change_hands_within_a_batch(office):
    """In any order, and in a circle: the store takes the steps as they were made."""
    network = office.create(ipv4="10.1.0.0/24")
    office.authorize(network, ALICE, addresses=["10.1.0.7"])
    office.authorize(network, BOB, addresses=["10.1.0.8"])
    office.join(network, ALICE)
    office.take()

    def trade(batch):
        def change(identity, **settings):
            edits.update_member(batch, network, identity.address, member_change(settings))

        change(BOB, name="bob")
        change(ALICE, addresses=[])
        change(BOB, addresses=["10.1.0.7"])
        change(ALICE, addresses=["10.1.0.8"])
        edits.delete_member(batch, network, BOB.address)
        change(CAROL, addresses=["10.1.0.7"])
        change(BOB, name="again")

    office.run(trade)
    office.settle()
    (push,) = office.take(Configure)
    assert [str(address.ip) for address in config_of(push).addresses] == ["10.1.0.8"]
    assert office.core.tables.members == office.store.members
    assert office.core.tables.owners == office.store.owners
    assert (office.record(network, BOB).name, office.record(network, BOB).revision) == ("again", 1)
    office.update_member(network, BOB, addresses=["10.1.0.9"])


def test_a_network_that_is_deleted_takes_what_the_batch_made_along(office):
    network = office.create()
    office.authorize(network, ALICE)

    def work(batch):
        for member in (ALICE, BOB):
            edits.update_member(batch, network, member.address, lambda r: r.updated(name="x"))
        edits.delete_network(batch, network)
        edits.create_network(batch, lambda record: record, network)
        edits.update_member(batch, network, ALICE.address, lambda r: r.updated(name="new"))
        return batch.changes()

    assert len(office.run(work)) == 5
    assert office.store.members == office.core.tables.members
    assert office.record(network, ALICE).revision == 1
    assert office.core.tables.members[network].keys() == {ALICE.address}


def test_a_batch_counts_revisions_and_deletes_what_it_made(office):
    network = office.create()

    def work(batch):
        for name in ("a", "b"):
            edits.update_network(batch, network, lambda record, name=name: record.updated(name=name))
        edits.update_member(batch, network, ALICE.address, lambda record: record)
        edits.delete_member(batch, network, ALICE.address)
        return batch.changes()

    changes = office.run(work)
    assert [type(change) for change in changes][1:] == [DeleteMember]
    assert (changes[0].record.name, changes[0].record.revision, changes[0].expected_revision) == ("b", 2, 1)


def test_a_network_can_be_made_again_in_the_batch_that_deletes_it(office):
    network = office.create(name="old")
    office.authorize(network, ALICE)

    def again(batch):
        edits.delete_network(batch, network)
        edits.create_network(batch, lambda record: record.updated(name="new"), network)

    office.run(again)
    assert office.store.networks[network].name == "new"
    assert office.store.members[network] == office.core.tables.members[network] == {}


def test_records_hold_no_secrets_of_the_controller(office):
    network = office.create(private=False)
    office.join(network, ALICE)
    record = office.record(network, ALICE)
    assert not record.identity.has_secret
    assert isinstance(record, MemberRecord)
