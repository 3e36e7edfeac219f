"""Rules and capabilities that controllers might send, whatever they are, and frames of whoever sends any."""

from __future__ import annotations

import json
import random
from pathlib import Path

from zt_async.controller.rule_language import compile_rules
from zt_async.errors import DecodeError, RuleLanguageError
from zt_async.testing import SimClock, seeded_context
from zt_async.types import NetworkId, NodeAddress
from zt_async.vl2.filter import Filter, Verdict
from zt_async.vl2.membership import Membership
from zt_async.wire.network_config import NetworkConfig
from zt_async.wire.rules import RuleType, decode_rules, encode_rules
from zt_async.wire.rules_json import lenient_rule_from_json, rule_from_json, rule_to_json

CASES = json.loads((Path(__file__).parent.parent / "vectors" / "rules.json").read_text())["cases"]
TABLES = [bytes.fromhex(case["rules_binary"]) for case in CASES]
FRAMES = [bytes.fromhex(case["frame"]) for case in CASES]
WORDS = """
macro m($a) m(1) include tag t id 1 cap c default enum flag drop accept tee watch redirect break priority not or and
dport 80 80-90; ipprotocol tcp ethertype ipv4; ipsrc 10.0.0.0/8 chr tcp_syn,inbound teq t 5; icmp 8 -1 random 0.5; -1
deadbeef01; drop; accept; ; $a # é\u0661 0x
"""
OWN, OTHER = NodeAddress(0x19EA7D3D01), NodeAddress(0x4574065370)
NETWORK = NetworkId(0x022DA8BB320000BB)


def damaged(rng, pieces):
    """Some of the pieces in a row, with a few bytes or the end of it changed."""
    data = bytearray(b"".join(rng.choices(pieces, k=rng.randint(1, 3))))
    for _ in range(rng.choice((0, 1, 1, 4))):
        if data:
            data[rng.randrange(len(data))] = rng.randrange(256)
    return bytes(data[: rng.choice((len(data), len(data), rng.randint(0, len(data))))])


def test_frames_are_judged_by_whatever_table_there_is(fuzz_count, report):
    rng = random.Random(f"rules {fuzz_count}")
    context = seeded_context("rules", SimClock(0.0))
    refused = judged = 0
    for _ in range(fuzz_count // 10):
        try:
            rules = decode_rules(damaged(rng, TABLES))
        except DecodeError:
            refused += 1
            continue
        assert decode_rules(encode_rules(rules)) == rules
        tested = Filter(NetworkConfig(network_id=NETWORK, issued_to=OWN, rules=rules), OWN, context)
        remote = rng.choice((None, Membership(NETWORK, OTHER)))
        for _ in range(10):
            frame = damaged(rng, FRAMES), rng.choice((0x0800, 0x86DD, 0x0806, 7)), rng.getrandbits(48), 5
            decide = rng.choice((tested.outgoing, tested.incoming))
            assert decide(*frame, OTHER, remote).verdict in Verdict
            judged += 1
        assert len(tested.matched) == len(rules)
    report(f"{refused} tables refused, {judged} frames judged")


def test_whatever_a_rule_is_in_json_it_is_read_or_refused(fuzz_count):
    rng = random.Random(f"JSON {fuzz_count}")
    written = [
        rule_to_json(rule) for table in TABLES for rule in decode_rules(table) if rule.type in set(RuleType)
    ]
    values = (None, True, -1, 0, 1 << 70, 2.5, "", "x", "7", [], {}, "10.0.0.0/8", "ffffffffff", float("nan"))
    for _ in range(fuzz_count // 4):
        rule = dict(rng.choice(written))
        for key in rng.choices([*rule, "more"], k=rng.choice((0, 1, 2))):
            rule[key] = rng.choice((*values, *rng.choice(written).values()))
        lenient = lenient_rule_from_json(rule)
        assert lenient is None or encode_rules([lenient])
        try:
            assert encode_rules([rule_from_json(rule)])
        except ValueError:
            continue


def test_whatever_is_written_in_the_rule_language_it_is_compiled_or_refused(fuzz_count):
    rng = random.Random(f"language {fuzz_count}")
    for _ in range(fuzz_count // 4):
        source = rng.choice((" ", "\n", "\t")).join(rng.choices(WORDS.split(), k=rng.randint(0, 25)))
        try:
            compiled = compile_rules(source)
        except RuleLanguageError:
            continue
        for rules in (compiled.rules, *(capability["rules"] for capability in compiled.capabilities)):
            encode_rules(map(rule_from_json, rules))
