"""The gate, certificates on their way, what waits for them, and revocations (vl2.md 4)."""

from __future__ import annotations

import pytest

from tests.vl2.desk import IPV6, MAX_DELTA, START, ControlledDesk, icmp_packet
from zt_async.crypto.credentials import issue_capability, issue_ownership, issue_tag
from zt_async.types import NetworkId
from zt_async.vl2.waiting import MAX_WAITING, MAX_WAITING_OF_PEER
from zt_async.wire.credentials import Credentials, CredentialType
from zt_async.wire.packet import ErrorCode, Verb
from zt_async.wire.rules import Rule, RuleType
from zt_async.wire.verbs import decode_error, encode_error


@pytest.fixture
def desk():
    """On a private network, configured."""
    desk = ControlledDesk()
    desk.configure_private()
    desk.requests()
    return desk


def taken(desk, *packets, remote=None):
    """How many frames come of packets."""
    return len(desk.receive(*packets, remote=remote)[0])


def want(desk, remote=None):
    """Have a member say that it has no certificate of ours."""
    remote = remote or desk.a
    error = encode_error(Verb.FRAME, 1, ErrorCode.NEED_MEMBERSHIP_CERTIFICATE, desk.id.packed)
    desk.receive(remote.packet(Verb.ERROR, error), remote=remote)
    return remote.take(Verb.NETWORK_CREDENTIALS)


# In


def test_frames_wait_until_their_sender_has_shown_its_certificate(desk):
    frames, (refusal,) = desk.receive(desk.frame(icmp_packet(size=41)), desk.ext(icmp_packet(size=42)))
    assert frames == []
    in_re, _, code, data = decode_error(refusal.payload)
    assert (in_re, code, data) == (Verb.FRAME, ErrorCode.NEED_MEMBERSHIP_CERTIFICATE, desk.id.packed)
    assert not desk.a.peer.is_trusted(desk.now)
    assert desk.fates() == {"in: waiting": 2}
    credentials = Credentials(coms=(desk.certificate(desk.a.identity),)).encode()
    frames, _ = desk.receive(desk.a.packet(Verb.NETWORK_CREDENTIALS, credentials))
    assert [len(frame[3]) for frame in frames] == [81, 82]
    assert desk.a.peer.is_trusted(desk.now)
    assert taken(desk, desk.frame(), desk.ext()) == 2
    assert desk.fates() == {"in: delivered": 4, "in: credentials": 1}


def test_frames_do_not_wait_for_ever(desk):
    desk.receive(desk.frame())
    desk.wait(5.1)
    assert desk.fates() == {"in: not a member": 1}
    desk.admit(desk.a)
    assert desk.vl2.take_frames() == {}


def test_news_that_do_not_help_let_frames_wait_no_longer(desk):
    desk.receive(desk.frame())
    for number in range(3):
        desk.wait(1.6)
        desk.configure_private()
        tag = issue_tag(desk.controller.identity, desk.id, desk.a.address, START + number, 1, 2)
        desk.give(desk.a, tags=(tag,))
    assert desk.fates()["in: waiting"] == 1
    desk.wait(0.3)
    assert "in: waiting" not in desk.fates()
    assert desk.fates()["in: not a member"] == 1


def test_while_frames_wait_their_sender_is_asked_once_a_second(desk):
    desk.receive(desk.frame())
    desk.wait(4.5)
    assert len(desk.a.take(Verb.ERROR)) == 4
    desk.wait(10)
    assert len(desk.a.take(Verb.ERROR)) <= 1


def test_nobody_is_forgotten_for_another_who_goes_on_sending(desk):
    desk.receive(desk.frame())
    b = desk.meet(2, "10.0.5.1")
    for _ in range(45):
        desk.receive(desk.frame(remote=b), remote=b)
        desk.wait(0.1)
    assert 4 <= len(desk.a.take(Verb.ERROR)) <= 5


def test_a_configuration_of_ours_lets_in_what_waited_for_it():
    desk = ControlledDesk()
    assert taken(desk, desk.frame()) == 0
    desk.admit(desk.a)
    assert taken(desk) == 0
    desk.push(desk.private())
    assert desk.fates()["in: delivered"] == 1
    assert taken(desk, desk.frame()) == 1


def test_the_queue_is_bounded_for_each_and_for_all(desk):
    for _ in range(MAX_WAITING_OF_PEER + 5):
        desk.receive(desk.frame())
    assert desk.fates() == {"in: waiting": MAX_WAITING_OF_PEER, "in: not a member": 5}
    for number in range(4, 30):
        stranger = desk.meet(number, f"10.1.{number}.1")
        desk.receive(*(desk.frame(remote=stranger) for _ in range(20)), remote=stranger)
    assert desk.fates()["in: waiting"] == MAX_WAITING
    desk.wait(6)
    assert "in: waiting" not in desk.fates()


def certificates(desk):
    """Certificates that do not make ``a`` a member, by what is wrong with them."""
    identity = desk.a.identity
    good = desk.certificate(identity)
    return {
        "signed by itself": desk.certificate(identity, signer=identity),
        "of another network": desk.certificate(identity, network_id=NetworkId(desk.id + 1)),
        "of another controller": desk.certificate(
            identity, network_id=NetworkId(identity.address << 24 | 1), signer=identity
        ),
        "expired": desk.certificate(identity, START - MAX_DELTA - 1),
        "of the future": desk.certificate(identity, START + MAX_DELTA + 1),
        "of another member": desk.certificate(desk.bench.remote(9, "10.0.9.1").identity),
        "damaged": type(good)(good.qualifiers, good.signed_by, good.signature[:-1] + b"\0"),
        "unsigned": type(good)(good.qualifiers),
    }


@pytest.mark.parametrize("kind", certificates(ControlledDesk()))
def test_bad_certificates_open_no_door(desk, kind):
    desk.give(desk.a, coms=(certificates(desk)[kind],))
    assert taken(desk, desk.frame()) == 0
    assert desk.a.peer.is_trusted(desk.now) is (kind in ("of another member", "of the future"))
    desk.wait(1)
    desk.give(desk.a, coms=(desk.certificate(desk.a.identity, START + MAX_DELTA),))
    assert taken(desk, desk.frame()) == (kind != "of the future")


@pytest.mark.parametrize("distance", [-MAX_DELTA, -1, 0, 1, MAX_DELTA])
def test_certificates_may_differ_by_what_ours_says(desk, distance):
    desk.give(desk.a, coms=(desk.certificate(desk.a.identity, START + distance),))
    assert taken(desk, desk.frame()) == 1


def test_members_who_are_not_renewed_are_left_behind(desk):
    desk.admit(desk.a)
    assert taken(desk, desk.frame()) == 1
    desk.push(desk.private(timestamp=START + MAX_DELTA))
    assert taken(desk, desk.frame()) == 1
    desk.push(desk.private(timestamp=START + MAX_DELTA + 1))
    assert taken(desk, desk.frame()) == 0


def test_without_a_certificate_of_our_own_nobody_is_let_in(desk):
    desk.push(desk.config(private=True))
    desk.admit(desk.a)
    assert taken(desk, desk.frame()) == 0


def test_a_public_network_lets_everybody_in(desk):
    desk.push(desk.config())
    assert taken(desk, desk.frame()) == 1
    assert desk.a.peer.is_trusted(desk.now)


def test_credentials_are_taken_once_a_second(desk):
    b = desk.meet(2, "10.0.5.1")
    desk.give(desk.a)
    desk.admit(desk.a)
    assert desk.fates() == {"in: credentials": 1, "in: too many credentials": 1}
    desk.give(b, coms=(desk.certificate(desk.a.identity),))  # anybody may bring them
    assert taken(desk, desk.frame()) == 1
    assert taken(desk, desk.frame(remote=b), remote=b) == 0


def test_credentials_cut_short_change_nothing(desk):
    payload = Credentials(coms=(desk.certificate(desk.a.identity),)).encode()
    for size in range(1, len(payload) - 9, 31):
        desk.tell(desk.a, Verb.NETWORK_CREDENTIALS, payload[:size])
    assert len(desk.network.memberships) == 0
    desk.tell(desk.a, Verb.NETWORK_CREDENTIALS, payload[:-9])  # old nodes leave out the last parts
    assert len(desk.network.memberships) == 1


def test_credentials_wait_for_the_identity_of_the_controller():
    first = ControlledDesk()
    desk = ControlledDesk(known=False, cached=first.configure_private().encode())
    desk.admit(desk.a)
    assert taken(desk, desk.frame()) == 0
    upstream = desk.bench.upstream
    question = upstream.take(Verb.WHOIS)[0]
    upstream.say(upstream.ok(question, desk.controller.identity.to_bytes()))
    desk.wait(0.6)
    assert desk.vl2.counters["credentials: new"] == 1
    assert [len(frames) for frames in desk.vl2.take_frames().values()] == [1]


def test_credentials_whose_signer_nobody_knows_are_given_up():
    first = ControlledDesk()
    desk = ControlledDesk(known=False, cached=first.configure_private().encode())
    for _ in range(50):
        desk.admit(desk.a)
        desk.wait(1)
    desk.wait(6)
    assert desk.credentials_waiting == []
    assert len(desk.network.memberships) == 0


# Out


def test_our_certificate_goes_before_the_first_frame(desk):
    desk.vl2.send_frames(desk.id, [(desk.a_mac, desk.own_mac, IPV6, icmp_packet())] * 3, desk.now)
    desk.bench.collect()
    credentials, *frames = desk.a.take()
    assert credentials.verb == Verb.NETWORK_CREDENTIALS
    assert Credentials.decode(credentials.payload) == Credentials(coms=(desk.network.config.certificate,))
    assert [frame.verb for frame in frames] == [Verb.FRAME] * 3
    desk.send((desk.a_mac, desk.own_mac, IPV6, icmp_packet()))
    assert desk.a.take(Verb.NETWORK_CREDENTIALS) == []


def pushes(desk):
    """How often our credentials go out with a frame."""
    desk.vl2.send_frames(desk.id, [(desk.a_mac, desk.own_mac, IPV6, icmp_packet())], desk.now)
    desk.bench.collect()
    return len(desk.a.take(Verb.NETWORK_CREDENTIALS))


def test_it_goes_again_with_every_configuration_and_when_it_was_long_ago(desk):
    assert [pushes(desk) for _ in range(3)] == [1, 0, 0]
    desk.wait(1.1)
    desk.push(desk.private())
    assert [pushes(desk) for _ in range(3)] == [1, 0, 0]
    desk.network.request_due = desk.now + 1e6
    desk.bench.clock.advance_to(desk.now + 499)
    desk.a.say(desk.a.hello())
    assert pushes(desk) == 0
    desk.bench.clock.advance_to(desk.now + 2)
    assert pushes(desk) == 1


def test_who_wants_it_gets_it_once_a_second(desk):
    assert len(want(desk)) == 1
    assert len(want(desk)) == 0
    desk.wait(1.06)
    assert len(want(desk)) == 1
    desk.push(desk.private())
    assert len(want(desk)) == 0  # it would not be taken yet
    desk.wait(1.06)
    assert len(desk.a.take(Verb.NETWORK_CREDENTIALS)) == 1


def test_without_certificate_nothing_is_given(desk):
    desk.push(
        desk.config(tags=(issue_tag(desk.controller.identity, desk.id, desk.own.address, START, 1, 2),))
    )
    assert want(desk) == []
    assert pushes(desk) == 1  # but the tag goes with frames
    desk.push(desk.config())
    assert pushes(desk) == 0


def test_everything_that_we_have_goes_along(desk):
    controller, own = desk.controller.identity, desk.own.address
    config = desk.configure_private(
        capabilities=(issue_capability(controller, desk.id, own, START, 4, [Rule(RuleType.ACTION_ACCEPT)]),),
        tags=(issue_tag(controller, desk.id, own, START, 1, 2),),
        ownerships=(issue_ownership(controller, desk.id, own, START, [desk.own_mac]),),
    )
    (got,) = want(desk)
    assert Credentials.decode(got.payload) == Credentials(
        (config.certificate,), config.capabilities, config.tags, (), config.ownerships
    )


def test_more_than_a_packet_holds_goes_in_several_that_the_receiver_takes(desk):
    controller, own = desk.controller.identity, desk.own.address
    tags = tuple(issue_tag(controller, desk.id, own, START, n, n) for n in range(128))
    desk.configure_private(tags=tags)
    (first,) = want(desk)
    assert len(Credentials.decode(first.payload).coms) == 1
    desk.wait(1)
    assert desk.a.take(Verb.NETWORK_CREDENTIALS) == []
    desk.wait(0.1)
    (second,) = desk.a.take(Verb.NETWORK_CREDENTIALS)
    parts = [Credentials.decode(got.payload).tags for got in (first, second)]
    assert parts[0] + parts[1] == tags
    desk.wait(10)
    assert desk.a.take(Verb.NETWORK_CREDENTIALS) == []


# Revocations


def test_a_revocation_cuts_a_member_off_at_once_and_goes_on_to_the_others_once(desk):
    desk.admit(desk.a)
    b = desk.meet(2, "10.0.5.1")
    desk.admit(b)
    assert taken(desk, desk.frame()) == 1
    taken(desk, desk.frame(remote=b), remote=b)
    revocation = desk.revocation(desk.a, START)
    desk.give(desk.controller, revocations=(revocation,))
    for member in (desk.a, b):
        (passed,) = member.take(Verb.NETWORK_CREDENTIALS)
        assert Credentials.decode(passed.payload) == Credentials(revocations=(revocation,))
    assert taken(desk, desk.frame()) == 0
    assert desk.controller.take(Verb.NETWORK_CREDENTIALS) == []
    desk.wait(1)
    desk.give(b, revocations=(revocation,))  # it comes back, and the flood ends
    assert desk.a.take(Verb.NETWORK_CREDENTIALS) == desk.controller.take(Verb.NETWORK_CREDENTIALS) == []
    desk.wait(1)
    desk.admit(desk.a)  # the old certificate
    assert taken(desk, desk.frame()) == 0
    assert desk.vl2.counters["credentials: revoked"] == 1
    desk.wait(1)
    desk.give(desk.a, coms=(desk.certificate(desk.a.identity, START + 1),))
    assert taken(desk, desk.frame()) >= 1


def test_a_revocation_without_haste_is_not_passed_on(desk):
    desk.admit(desk.a)
    b = desk.meet(2, "10.0.5.1")
    desk.admit(b)
    b.take()
    desk.give(desk.controller, revocations=(desk.revocation(desk.a, START, fast=False),))
    assert b.take(Verb.NETWORK_CREDENTIALS) == []
    assert taken(desk, desk.frame()) == 0


def test_a_revocation_by_somebody_else_has_no_effect(desk):
    desk.admit(desk.a)
    forged = desk.revocation(desk.a, START, signer=desk.meet(2, "10.0.5.1").identity)
    desk.give(desk.bench.upstream, revocations=(forged,))
    assert taken(desk, desk.frame()) == 1
    assert desk.vl2.counters["credentials: bad signature"] == 1


def test_a_revocation_outlives_its_member_s_absence(desk):
    desk.admit(desk.a)
    desk.give(desk.controller, revocations=(desk.revocation(desk.a, START),))
    desk.vl1.topology.peers.pop(desk.a.address)
    desk.wait(60)
    desk.a.meet()
    desk.admit(desk.a)
    assert taken(desk, desk.frame()) == 0


def test_tags_decide_and_their_revocation_too(desk):
    """Frames pass only between members whose tags are equal."""
    controller = desk.controller.identity

    def tag(identity, value):
        return issue_tag(controller, desk.id, identity.address, START, 7, value)

    rules = (
        Rule(RuleType.MATCH_TAGS_DIFFERENCE, (7, 0), inverted=True),
        Rule(RuleType.ACTION_DROP),
        Rule(RuleType.ACTION_ACCEPT),
    )
    desk.configure_private(rules=rules, tags=(tag(desk.own, 5),), timestamp=START)
    certificate = desk.certificate(desk.a.identity)
    desk.give(desk.a, coms=(certificate,), tags=(tag(desk.a.identity, 6),))
    assert taken(desk, desk.frame()) == 0
    assert desk.fates()["in: rules"] == 1
    desk.wait(1)
    newer = issue_tag(controller, desk.id, desk.a.address, START + 1, 7, 5)
    desk.give(desk.a, tags=(newer,))
    assert taken(desk, desk.frame()) == 1
    revocation = desk.revocation(desk.a, START + 1, credential_type=CredentialType.TAG, credential_id=7)
    desk.give(desk.controller, revocations=(revocation,))
    assert taken(desk, desk.frame()) == 0
