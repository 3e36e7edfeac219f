"""Rules and capabilities that controllers might send, whatever they are, and frames of whoever sends any."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path

from zt_async.controller.rule_language import compile_rules
from zt_async.errors import DecodeError, RuleLanguageError
from zt_async.testing import SimClock, seeded_context
from zt_async.types import NetworkId, NodeAddress
from zt_async.vl2.filter import Filter, Verdict
from zt_async.vl2.membership import Membership
from zt_async.wire.network_config import NetworkConfig
from zt_async.wire.rules import RuleType, decode_rules, encode_rules
from zt_async.wire.rules_json import rule_from_json, rule_to_json

CASES = json.loads((Path(__file__).parent.parent / "vectors" / "rules.json").read_text())["cases"]
TABLES = [bytes.fromhex(case["rules_binary"]) for case in CASES]
FRAMES = [bytes.fromhex(case["frame"]) for case in CASES]
STATEMENTS = """
macro m($a) drop not dport $a; accept ipprotocol tcp; ;
include m(80-90)
tag t id 1 default 2 enum 2 two flag 0 even ;
cap c id 1 default accept dport 22; tee -1 deadbeef01 teq t two; ;
drop not ethertype ipv4 and not ethertype ipv6;
redirect deadbeef01 ipsrc 10.0.0.0/8 or ipdest fd00::/8;
watch 64 deadbeef01 chr tcp_syn,inbound random 0.5;
priority 3 icmp 8 -1; break teq t 5;
accept;
""".strip().splitlines()
WORDS = [
    *{word for line in STATEMENTS for word in line.split()},
    "",
    "#",
    "é\u0661",
    "0x",
    "$",
    "(",
    "1" * 30,
]
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
    assert judged
    assert refused
    report(f"{refused} tables refused, {judged} frames judged")


def test_whatever_a_rule_is_in_json_it_is_read_or_refused(fuzz_count, report):
    rng = random.Random(f"JSON {fuzz_count}")
    written = [
        rule_to_json(rule) for table in TABLES for rule in decode_rules(table) if rule.type in set(RuleType)
    ]
    values = (None, True, -1, 0, 1 << 70, 2.5, "", "x", "7", [], {}, "10.0.0.0/8", "ffffffffff", float("nan"))
    outcomes = Counter()
    for _ in range(fuzz_count // 4):
        rule = dict(rng.choice(written))
        for key in rng.choices([*rule, "more"], k=rng.choice((0, 1, 2))):
            rule[key] = rng.choice((*values, *rng.choice(written).values()))
        try:
            read = rule_from_json(rule)
        except ValueError:
            outcomes["refused"] += 1
            continue
        assert encode_rules([read])
        outcomes["read"] += 1
    assert outcomes.keys() == {"read", "refused"}
    report(f"{dict(outcomes)}")


def test_whatever_is_written_in_the_rule_language_it_is_compiled_or_refused(fuzz_count, report):
    rng = random.Random(f"language {fuzz_count}")
    compiled = refused = 0
    for _ in range(fuzz_count // 4):
        words = " ".join(rng.choices(STATEMENTS, k=rng.randint(0, 5))).split()
        for _ in range(rng.choice((0, 1, 1, 3))):
            place = rng.randint(0, len(words))
            words[place : place + rng.choice((0, 1))] = rng.choices(WORDS, k=rng.choice((0, 1, 2)))
        try:
            made = compile_rules(rng.choice((" ", "\n", "\t")).join(words))
        except RuleLanguageError:
            refused += 1
            continue
        compiled += bool(made.rules)
        for rules in (made.rules, *(capability["rules"] for capability in made.capabilities)):
            encode_rules(map(rule_from_json, rules))
    assert compiled > refused / 20
    assert refused
    report(f"{refused} refused, {compiled} tables")
