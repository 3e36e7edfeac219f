"""The rules engine against a slow and literal reading of vl2.md 6.3 and 6.4."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.vl2.drawing import NETWORK, OTHER, OWN, THIRD, frames, macs, nodes, owned, tables, tags
from tests.vl2.reading import Frame, Side, read_table
from zt_async.errors import DecodeError
from zt_async.types import MACAddress
from zt_async.vl2.addressing import rfc4193, sixplane
from zt_async.vl2.matches import Local, Packet
from zt_async.vl2.rules import Outcome, Table, Verdict
from zt_async.wire.rules import Rule, RuleType, decode_rules

ACCEPT, DROP = Rule(RuleType.ACTION_ACCEPT), Rule(RuleType.ACTION_DROP)


def highest():
    return 0xFFFFFFFF


class Owns(frozenset):
    """Stands for one certificate of ownership."""

    def owns(self, thing):
        return thing in self


def derived(source, ip):
    """Both kinds of derived addresses are ours, so that those of others are believed if they are the sender's."""
    return int(sixplane(NETWORK, source)) >> 48 == int(ip) >> 48 or int(rfc4193(NETWORK, source)) == int(ip)


@given(
    tables,
    frames,
    macs,
    macs,
    nodes,
    nodes,
    st.booleans(),
    st.tuples(tags, owned),
    st.none() | st.tuples(tags, owned),
    st.booleans(),
    st.booleans(),
)
def test_a_table_says_what_the_page_says(
    rules, frame, to_mac, from_mac, source, destination, inbound, ours, theirs, emulation, unknown
):
    payload, ethertype = frame
    own = Side(OWN, *ours, emulated=derived if emulation else None, unknown_matches=unknown)
    remote = Side(OTHER, *theirs) if theirs else None
    read = read_table(
        rules, Frame(payload, ethertype, to_mac, from_mac, source, destination, inbound, own, remote)
    )

    local = Local(
        address=OWN,
        random=highest,
        tags=own.tags,
        ownerships=(Owns(own.owned),),
        derived=tuple(
            (lambda node, of=of: of(NETWORK, node), bits) for of, bits in ((sixplane, 48), (rfc4193, 0))
        )
        if emulation
        else (),
        unknown_matches=unknown,
    )
    packet = Packet(local, payload, ethertype, to_mac, from_mac, source, destination, inbound, remote)
    table = Table(rules)
    outcome = table.evaluate(packet)
    assert outcome.verdict.name == read.result
    assert list(outcome.matched) == read.matched
    copy = (outcome.copy_to, payload[: outcome.copy_length], outcome.watch) if outcome.copy_to else None
    assert copy == read.copy
    assert (outcome.redirect_to or None) == read.redirect
    assert table.evaluate(packet) == outcome


@given(
    st.binary(max_size=200),
    st.lists(st.binary(max_size=120), min_size=1, max_size=4),
    st.integers(0, 0xFFFF) | st.sampled_from((0x0800, 0x86DD, 0x0806)),
    st.booleans(),
)
def test_no_table_and_no_frame_of_random_bytes_raises_anything(table, payloads, ethertype, inbound):
    try:
        rules = decode_rules(table)
    except DecodeError:
        return
    local = Local(address=OWN, random=highest, tags={1: 1})
    compiled = Table(rules)
    for payload in payloads:
        packet = Packet(local, payload, ethertype, 0xFFFFFFFFFFFF, 0, OTHER, OWN, inbound, Side(OTHER))
        assert isinstance(compiled.evaluate(packet), Outcome)


# What that means


def outcome_of(*rules, payload=bytes(60), ethertype=0x9999, inbound=True, remote=None, **local):
    packet = Packet(
        Local(address=OWN, random=highest, **local),
        payload,
        ethertype,
        2,
        1,
        *((OTHER, OWN) if inbound else (OWN, OTHER)),
        inbound,
        remote,
    )
    return Table(rules).evaluate(packet)


def verdict_of(*rules, **circumstances):
    return outcome_of(*rules, **circumstances).verdict


YES, NO = Rule(RuleType.MATCH_ETHERTYPE, (0x9999,)), Rule(RuleType.MATCH_ETHERTYPE, (1,))


def test_matches_combine_from_left_to_right():
    def holds(*matches):
        return verdict_of(*matches, ACCEPT) == Verdict.ACCEPT

    assert holds()
    assert holds(YES)
    assert holds(YES, NO._replace(alternative=True))
    assert holds(NO, YES._replace(alternative=True))
    assert not holds(YES, YES._replace(alternative=True), NO)  # (A or B) and C
    assert holds(NO._replace(alternative=True))  # the set starts true
    assert holds(NO._replace(inverted=True))
    assert verdict_of(NO, DROP, ACCEPT) == Verdict.ACCEPT  # an unmatched action ends its set


def test_the_end_of_a_table_is_no_match():
    assert verdict_of() == verdict_of(YES) == verdict_of(NO, ACCEPT) == Verdict.NO_MATCH
    assert verdict_of(Rule(RuleType.ACTION_BREAK), ACCEPT) == Verdict.NO_MATCH
    assert verdict_of(Rule(12), ACCEPT) == Verdict.ACCEPT


def test_not_does_not_rescue_a_match_that_does_not_apply():
    ipv4 = bytes((0x45, *bytes(8), 1)) + bytes(20)
    not_tcp = Rule(RuleType.MATCH_IP_PROTOCOL, (6,), inverted=True)
    assert verdict_of(not_tcp, ACCEPT, payload=bytes(28), ethertype=0x0806) == Verdict.NO_MATCH
    assert verdict_of(not_tcp, ACCEPT, payload=ipv4, ethertype=0x0800) == Verdict.ACCEPT
    not_http = Rule(RuleType.MATCH_IP_DEST_PORT_RANGE, (80, 80), inverted=True)
    assert verdict_of(not_http, ACCEPT, payload=ipv4, ethertype=0x0800) == Verdict.ACCEPT


def test_an_ipv6_prefix_with_host_bits_never_matches_and_an_ipv4_one_does():
    packet = struct.pack("!IHBB16s16s", 6 << 28, 0, 59, 64, b"\xfd" + bytes(14) + b"\1", bytes(16))
    for operand, matches in (((0xFD << 120, 8), True), ((0xFD << 120 | 1, 8), False)):
        rule = Rule(RuleType.MATCH_IPV6_SOURCE, operand)
        assert (verdict_of(rule, ACCEPT, payload=packet, ethertype=0x86DD) == Verdict.ACCEPT) is matches
    ipv4 = bytes(12) + bytes((10, 1, 2, 3)) + bytes(4)
    rule = Rule(RuleType.MATCH_IPV4_SOURCE, (10 << 24 | 9, 8))
    assert verdict_of(rule, ACCEPT, payload=ipv4, ethertype=0x0800) == Verdict.ACCEPT


def test_random_is_fresh_for_each_frame():
    drawn = iter((5, 6, 7))
    local = Local(address=OWN, random=lambda: next(drawn))
    table = Table((Rule(RuleType.MATCH_RANDOM, (6,)), ACCEPT))
    verdicts = [
        table.evaluate(Packet(local, b"", 1, 2, 1, OTHER, OWN, True)).verdict == Verdict.ACCEPT
        for _ in range(3)
    ]
    assert verdicts == [True, True, False]


def test_a_tag_of_the_receiver_that_is_not_known_yet_saves_a_frame_from_one_drop():
    tagged = Rule(RuleType.MATCH_TAG_RECEIVER, (1, 7))
    assert verdict_of(tagged, DROP, DROP, inbound=False) == Verdict.DROP
    assert verdict_of(tagged, DROP, ACCEPT, inbound=False) == Verdict.ACCEPT
    assert verdict_of(tagged, DROP, ACCEPT, inbound=False, remote=Side(OTHER, {1: 7})) == Verdict.DROP


def test_the_target_of_a_copy_takes_what_the_rules_let_through():
    tee = Rule(RuleType.ACTION_TEE, (OWN, 0, 0))
    assert verdict_of(tee, DROP) == Verdict.SUPER_ACCEPT
    assert verdict_of(NO, tee, ACCEPT) == Verdict.SUPER_ACCEPT
    assert verdict_of(NO, tee, DROP) == Verdict.DROP
    assert verdict_of(tee, DROP, inbound=False) == Verdict.DROP


def test_the_last_copy_counts_and_keeps_its_length():
    first = Rule(RuleType.ACTION_TEE, (THIRD, 0, 0))
    second = Rule(RuleType.ACTION_WATCH, (THIRD, 0, 9))
    outcome = outcome_of(first, second, ACCEPT)
    assert (outcome.copy_to, outcome.copy_length, outcome.watch) == (THIRD, 9, True)
    assert outcome_of(first, ACCEPT).copy_length is None


def test_a_mac_needs_a_certificate():
    authenticated = Rule(RuleType.MATCH_CHARACTERISTICS, (1 << 59,))
    assert verdict_of(authenticated, ACCEPT) == Verdict.NO_MATCH
    owner = Side(OTHER, owned=(MACAddress(1),))
    assert verdict_of(authenticated, ACCEPT, remote=owner) == Verdict.ACCEPT
    assert verdict_of(authenticated, ACCEPT, remote=owner, inbound=False) == Verdict.NO_MATCH
    assert (
        verdict_of(authenticated, ACCEPT, inbound=False, ownerships=(Owns((MACAddress(1),)),))
        == Verdict.ACCEPT
    )


@pytest.mark.parametrize("inbound", [False, True])
def test_entries_that_matched_are_told(inbound):
    outcome = outcome_of(
        YES, NO._replace(alternative=True), NO, DROP, NO, YES, ACCEPT, ACCEPT, inbound=inbound
    )
    assert outcome.matched == (0, 7)


def test_long_tables_do_not_dig_deep():
    rules = (*(rule for _ in range(500) for rule in (NO, YES, DROP)), ACCEPT)
    assert outcome_of(*rules).matched == (1500,)
