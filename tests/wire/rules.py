"""Hypothesis strategies for rules of every type."""

from __future__ import annotations

from hypothesis import strategies as st

from zt_async.wire.rules import Rule, RuleType


def _number(bits):
    top = (1 << bits) - 1
    return st.integers(0, top) | st.sampled_from((0, 1, top))


_node = _number(40)
_copy = st.tuples(_node, _number(32), _number(16))
_range = st.tuples(_number(16), _number(16))
_tag = st.tuples(_number(32), _number(32))


@st.composite
def _integer_ranges(draw):
    start = draw(_number(64))
    end = min(start + draw(_number(32)), (1 << 64) - 1)
    return start, end, draw(_number(16)), draw(_number(6)) | draw(st.sampled_from((0, 0x80)))


_OPERANDS = {
    RuleType.ACTION_TEE: _copy,
    RuleType.ACTION_WATCH: _copy,
    RuleType.ACTION_REDIRECT: st.tuples(_node, _number(32), st.just(0)),
    RuleType.MATCH_SOURCE_ZEROTIER_ADDRESS: st.tuples(_node),
    RuleType.MATCH_DEST_ZEROTIER_ADDRESS: st.tuples(_node),
    RuleType.MATCH_VLAN_ID: st.tuples(_number(16)),
    RuleType.MATCH_VLAN_PCP: st.tuples(_number(8)),
    RuleType.MATCH_VLAN_DEI: st.tuples(_number(8)),
    RuleType.MATCH_MAC_SOURCE: st.tuples(_number(48)),
    RuleType.MATCH_MAC_DEST: st.tuples(_number(48)),
    RuleType.MATCH_IPV4_SOURCE: st.tuples(_number(32), st.integers(0, 32)),
    RuleType.MATCH_IPV4_DEST: st.tuples(_number(32), st.integers(0, 32)),
    RuleType.MATCH_IPV6_SOURCE: st.tuples(_number(128), st.integers(0, 128)),
    RuleType.MATCH_IPV6_DEST: st.tuples(_number(128), st.integers(0, 128)),
    RuleType.MATCH_IP_TOS: st.tuples(_number(8), _number(8), _number(8)),
    RuleType.MATCH_IP_PROTOCOL: st.tuples(_number(8)),
    RuleType.MATCH_ETHERTYPE: st.tuples(_number(16)),
    RuleType.MATCH_ICMP: st.tuples(_number(8), _number(8), st.just(1))
    | st.tuples(_number(8), st.just(0), st.just(0)),
    RuleType.MATCH_IP_SOURCE_PORT_RANGE: _range,
    RuleType.MATCH_IP_DEST_PORT_RANGE: _range,
    RuleType.MATCH_CHARACTERISTICS: st.tuples(_number(64)),
    RuleType.MATCH_FRAME_SIZE_RANGE: _range,
    RuleType.MATCH_RANDOM: st.tuples(_number(32)),
    RuleType.MATCH_TAGS_DIFFERENCE: _tag,
    RuleType.MATCH_TAGS_BITWISE_AND: _tag,
    RuleType.MATCH_TAGS_BITWISE_OR: _tag,
    RuleType.MATCH_TAGS_BITWISE_XOR: _tag,
    RuleType.MATCH_TAGS_EQUAL: _tag,
    RuleType.MATCH_TAG_SENDER: _tag,
    RuleType.MATCH_TAG_RECEIVER: _tag,
    RuleType.INTEGER_RANGE: _integer_ranges(),
}

rules = st.sampled_from(RuleType).flatmap(
    lambda kind: st.builds(
        Rule, st.just(kind), _OPERANDS.get(kind, st.just(())), st.booleans(), st.booleans()
    )
)
"""Whatever has a form on the wire and in JSON."""
