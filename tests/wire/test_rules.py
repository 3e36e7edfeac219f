"""Rules on the wire."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.wire.rules import rules
from zt_async.errors import DecodeError
from zt_async.wire.buffer import Reader
from zt_async.wire.rules import MAX_RULES, Rule, RuleType, decode_rules, encode_rules, read_rules


@given(st.lists(rules, max_size=20).map(tuple))
def test_a_table_survives_writing_and_reading(table):
    assert decode_rules(encode_rules(table)) == table


@given(st.binary(max_size=300), st.integers(0, 40))
def test_what_is_read_of_any_bytes_is_the_same_when_written_and_read_again(data, limit):
    try:
        table = decode_rules(data, limit)
    except DecodeError:
        return
    assert len(table) <= limit
    assert decode_rules(encode_rules(table)) == table
    assert all(type(rule.type) is RuleType or rule.type not in set(RuleType) for rule in table)


@given(st.lists(rules, min_size=1, max_size=5), st.data())
def test_a_table_that_is_cut_inside_an_operand_is_refused(table, data):
    encoded = encode_rules(table)
    last = len(encode_rules(table[-1:]))
    cut = data.draw(st.integers(len(encoded) - last + 1, len(encoded) - 1))
    if table[-1].operand or cut == len(encoded) - 1:
        with pytest.raises(DecodeError, match="truncated"):
            decode_rules(encoded[:cut])


@pytest.mark.parametrize(
    ("hexadecimal", "rule"),
    [
        ("020e000000deadbeef01000000000080", Rule(RuleType.ACTION_TEE, (0xDEADBEEF01, 0, 128))),
        ("9d06000102030405", Rule(RuleType.MATCH_MAC_SOURCE, (0x000102030405,), inverted=True)),
        ("1f050a00000008", Rule(RuleType.MATCH_IPV4_SOURCE, (10 << 24, 8))),
        (
            "6111fd00000000000000000000000000000008",
            Rule(RuleType.MATCH_IPV6_SOURCE, (0xFD << 120, 8), alternative=True),
        ),
        ("2603080001", Rule(RuleType.MATCH_ICMP, (8, 0, 1))),
        ("3008000003e800000064", Rule(RuleType.MATCH_TAGS_EQUAL, (1000, 100))),
        (
            "331300000000000000100000000000000015000c8f",
            Rule(RuleType.INTEGER_RANGE, (0x10, 0x15, 12, 0x8F)),
        ),
    ],
)
def test_entries_look_like_this(hexadecimal, rule):
    """vl2.md Appendix C."""
    assert encode_rules([rule]).hex() == hexadecimal
    assert decode_rules(bytes.fromhex(hexadecimal)) == (rule,)


def test_unknown_types_survive_without_their_operands():
    (rule,) = decode_rules(b"\x3f\x03abc")
    assert rule == Rule(63)
    assert encode_rules([rule]) == b"\x3f\0"


def test_a_bucket_stays_at_home():
    assert encode_rules([Rule(RuleType.ACTION_PRIORITY, (3,))]) == b"\x06\0"


def test_no_more_rules_are_read_than_a_network_may_have():
    assert len(decode_rules(b"\1\0" * (MAX_RULES + 5))) == MAX_RULES


def test_reading_stops_where_the_last_length_says():
    reader = Reader(b"\1\0\1\0rest")
    assert len(read_rules(reader, 2)) == 2
    assert reader.rest() == b"rest"


def test_an_integer_range_ends_at_most_32_bits_behind_its_start():
    far = encode_rules([Rule(RuleType.INTEGER_RANGE, (5, 5 + (7 << 32) + 9, 0, 63))])
    assert decode_rules(far) == (Rule(RuleType.INTEGER_RANGE, (5, 14, 0, 63)),)


@pytest.mark.parametrize(
    "rule",
    [
        Rule(RuleType.MATCH_ETHERTYPE),
        Rule(RuleType.MATCH_ETHERTYPE, (1, 2)),
        Rule(RuleType.MATCH_ETHERTYPE, (0x10000,)),
        Rule(RuleType.MATCH_ETHERTYPE, (-1,)),
        Rule(RuleType.ACTION_DROP, (1,)),
        Rule(63, (1,)),
        Rule(64),
        Rule(-1),
    ],
)
def test_what_is_no_rule_is_not_written(rule):
    with pytest.raises(ValueError, match="type"):
        encode_rules([rule])
