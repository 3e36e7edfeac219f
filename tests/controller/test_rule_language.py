"""The rule language, and the tables that come of it."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zt_async.controller.rule_language import MAX_INCLUDES, compile_rules
from zt_async.errors import RuleLanguageError
from zt_async.wire.rules import MAX_RULES, encode_rules
from zt_async.wire.rules_json import rule_from_json

EXAMPLE = """
# Whether a member is a server, and what it belongs to.
tag server
  id 2
  default no
  enum 0 no
  enum 1 yes
;
tag department
  id 1000
  default 100
  enum 100 sales
  enum 200 engineering
  flag 0 interns
  flag 1,2 bosses
  flag interns,bosses all
;

macro between($low,$high)
  accept ipprotocol tcp and dport $low chr tcp_syn not chr tcp_ack;
  break ipprotocol udp dport $high;
;

cap superuser
  id 2000 default
  accept; # everything
;

cap ssh
  id 1000
  accept ipprotocol tcp dport 22;
;

drop
  not ethertype ipv4
  and not ethertype arp
  and not ethertype ipv6
;
include between(1-1023,53)
accept ipprotocol 0x11 or ipprotocol icmp4;
tee -1 deadbeef01 chr inbound;
watch 128 deadbeef02 teq department engineering;
redirect deadbeef03 treq server yes or tand department all;
drop chr tcp_syn and not chr tcp_ack;
accept;
"""


def match(kind, *, inverted=False, alternative=False, **fields):
    return {"type": f"MATCH_{kind}", "not": inverted, "or": alternative, **fields}


def action(kind, **fields):
    return {"type": f"ACTION_{kind}", **fields}


def rules(source):
    return compile_rules(source).rules


def test_an_example_of_everything():
    compiled = compile_rules(EXAMPLE)
    assert compiled.rules == [
        match("ETHERTYPE", inverted=True, etherType=0x0800),
        match("ETHERTYPE", inverted=True, etherType=0x0806),
        match("ETHERTYPE", inverted=True, etherType=0x86DD),
        action("DROP"),
        match("IP_PROTOCOL", ipProtocol=6),
        match("IP_DEST_PORT_RANGE", start=1, end=1023),
        match("CHARACTERISTICS", mask="0000000000000002"),
        match("CHARACTERISTICS", inverted=True, mask="0000000000000010"),
        action("ACCEPT"),
        match("IP_PROTOCOL", ipProtocol=17),
        match("IP_DEST_PORT_RANGE", start=53, end=53),
        action("BREAK"),
        match("IP_PROTOCOL", ipProtocol=17),
        match("IP_PROTOCOL", alternative=True, ipProtocol=1),
        action("ACCEPT"),
        match("CHARACTERISTICS", mask="8000000000000000"),
        action("TEE", address="deadbeef01", length=-1),
        match("TAGS_EQUAL", id=1000, value=200),
        action("WATCH", address="deadbeef02", length=128),
        match("TAG_RECEIVER", id=2, value=1),
        match("TAGS_BITWISE_AND", alternative=True, id=1000, value=7),
        action("REDIRECT", address="deadbeef03"),
        match("CHARACTERISTICS", mask="0000000000000002"),
        match("CHARACTERISTICS", inverted=True, mask="0000000000000010"),
        action("DROP"),
        action("ACCEPT"),
    ]
    assert compiled.capabilities == [
        {"id": 2000, "default": True, "rules": [action("ACCEPT")]},
        {
            "id": 1000,
            "default": False,
            "rules": [
                match("IP_PROTOCOL", ipProtocol=6),
                match("IP_DEST_PORT_RANGE", start=22, end=22),
                action("ACCEPT"),
            ],
        },
    ]
    assert compiled.tags == [{"id": 2, "default": 0}, {"id": 1000, "default": 100}]
    assert compiled.capabilities_by_name == {"superuser": 2000, "ssh": 1000}
    assert compiled.tags_by_name == {
        "server": {"id": 2, "default": 0, "enums": {"no": 0, "yes": 1}, "flags": {}},
        "department": {
            "id": 1000,
            "default": 100,
            "enums": {"sales": 100, "engineering": 200},
            "flags": {"interns": 1, "bosses": 6, "all": 7},
        },
    }
    assert compiled.to_json() == {
        "config": {"rules": compiled.rules, "capabilities": compiled.capabilities, "tags": compiled.tags},
        "capabilitiesByName": compiled.capabilities_by_name,
        "tagsByName": compiled.tags_by_name,
    }


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("ztsrc DEADBEEF01", match("SOURCE_ZEROTIER_ADDRESS", zt="deadbeef01")),
        ("ztdest deadbeef01", match("DEST_ZEROTIER_ADDRESS", zt="deadbeef01")),
        ("vlan 7", match("VLAN_ID", vlanId=7)),
        ("vlanpcp 3", match("VLAN_PCP", vlanPcp=3)),
        ("vlandei 1", match("VLAN_DEI", vlanDei=1)),
        ("macsrc 00:11:22:aa:bb:CC", match("MAC_SOURCE", mac="00:11:22:aa:bb:cc")),
        ("macdest 0011.22aa.bbcc", match("MAC_DEST", mac="00:11:22:aa:bb:cc")),
        ("ipsrc 10.0.0.0/8", match("IPV4_SOURCE", ip="10.0.0.0/8")),
        ("ipdest 10.1.2.3/32", match("IPV4_DEST", ip="10.1.2.3/32")),
        ("ipsrc fd00::/8", match("IPV6_SOURCE", ip="fd00::/8")),
        ("ipdest ::/0", match("IPV6_DEST", ip="::/0")),
        ("iptos 0xfc 0x10-0x20", match("IP_TOS", mask=0xFC, start=16, end=32)),
        ("iptos 255 8", match("IP_TOS", mask=255, start=8, end=8)),
        ("ipprotocol sctp", match("IP_PROTOCOL", ipProtocol=132)),
        ("ipprotocol icmp", match("IP_PROTOCOL", ipProtocol=1)),
        ("ethertype 0x88cc", match("ETHERTYPE", etherType=0x88CC)),
        ("ethertype ipx_b", match("ETHERTYPE", etherType=0x8138)),
        ("icmp 8 -1", match("ICMP", icmpType=8, icmpCode=None)),
        ("icmp 3 0", match("ICMP", icmpType=3, icmpCode=0)),
        ("sport 80", match("IP_SOURCE_PORT_RANGE", start=80, end=80)),
        ("dport 80-0x51", match("IP_DEST_PORT_RANGE", start=80, end=81)),
        ("framesize 0-100", match("FRAME_SIZE_RANGE", start=0, end=100)),
        ("chr tcp_rs0,tcp_rs2", match("CHARACTERISTICS", mask="0000000000000a00")),
        ("chr inbound,broadcast,multicast", match("CHARACTERISTICS", mask="e000000000000000")),
        ("chr ipauth,,59,0x01", match("CHARACTERISTICS", mask="1800000000000002")),
        ("random 0.5", match("RANDOM", probability=0x7FFFFFFF)),
        ("random 1", match("RANDOM", probability=0xFFFFFFFF)),
        ("tdiff 1 2", match("TAGS_DIFFERENCE", id=1, value=2)),
        ("tor 0x10 4294967295", match("TAGS_BITWISE_OR", id=16, value=0xFFFFFFFF)),
        ("txor 1 0", match("TAGS_BITWISE_XOR", id=1, value=0)),
        ("tseq 1 2", match("TAG_SENDER", id=1, value=2)),
        (
            "and AND not Or NOT dport 1",
            match("IP_DEST_PORT_RANGE", inverted=True, alternative=True, start=1, end=1),
        ),
    ],
)
def test_every_match(source, expected):
    assert rules(f"drop {source};") == [expected, action("DROP")]


def test_words_are_divided_by_any_white_space_and_comments_end_with_the_line():
    assert rules("drop\tdport\r\n80 # accept;\r#\n; accept;") == rules("drop dport 80 ; accept;")
    with pytest.raises(RuleLanguageError, match="not '80;#then'"):
        compile_rules("drop dport 80;#then")


def test_nothing_is_an_empty_table():
    assert compile_rules("").config == {"rules": [], "capabilities": [], "tags": []}
    assert rules(" \n # only a comment") == []


@pytest.mark.parametrize(
    "end", ["accept;", "accept", "accept\n", "accept ;", "accept;\n\n#", "accept dport 1", "accept dport 1;"]
)
def test_the_last_statement_may_end_as_it_likes(end):
    assert rules("drop dport 80; " + end)[2:] == rules(end)
    assert rules(end)[-1] == action("ACCEPT")


def test_a_bare_action_ends_the_block_around_it():
    compiled = compile_rules("cap a id 1 accept; cap b id 2 drop dport 1; ;")
    assert compiled.capabilities_by_name == {"a": 1, "b": 2}
    # That is why it ends a capability although rules follow, which become the network's.
    compiled = compile_rules("cap a id 1 accept; drop dport 1; ;")
    assert compiled.capabilities == [{"id": 1, "default": False, "rules": [action("ACCEPT")]}]
    assert [rule["type"] for rule in compiled.rules] == ["MATCH_IP_DEST_PORT_RANGE", "ACTION_DROP"]


def test_a_bare_action_at_top_level_swallows_what_follows():
    with pytest.raises(
        RuleLanguageError, match=r"line 2, column 1: expected a match, not 'drop': a bare 'accept;'"
    ):
        compile_rules("accept;\ndrop dport 80;")


def test_names_are_defined_in_lower_case_and_words_may_be_in_any():
    compiled = compile_rules("tag Team id 1 enum 5 Red ; macro Web(P) accept; drop TEQ team red dport 80;")
    assert compiled.tags_by_name["team"]["enums"] == {"red": 5}
    with pytest.raises(
        RuleLanguageError, match=r"expected a tag, a number .* or a name \(team\), not 'Team'"
    ):
        compile_rules("tag Team id 1 ; drop teq Team 5;")
    with pytest.raises(RuleLanguageError, match=r"expected the name of a macro \(web\), not 'Web'"):
        compile_rules("macro Web accept; include Web")


def test_names_may_be_in_any_alphabet():
    assert "abteilung_süd2" in compile_rules("tag Abteilung_Süd2 id 1 ;").tags_by_name


def test_definitions_may_come_after_their_use():
    assert (
        rules("drop teq late red; include m tag late id 1 enum 3 red ; macro m accept dport 1; ;")[0]["value"]
        == 3
    )


def test_flags_go_before_enums_of_the_same_name():
    assert rules("tag t id 1 enum 5 x flag 31 x ; drop tand t x;")[0]["value"] == 1 << 31


@pytest.mark.parametrize(
    ("default", "value"),
    [("", None), ("default 7", 7), ("default red", 5), ("default late", 2), ("default 0x0", 0)],
)
def test_defaults_of_tags(default, value):
    assert compile_rules(f"tag t {default} id 1 enum 5 red flag 1 late ;").tags == [
        {"id": 1, "default": value}
    ]


def test_parameters_are_handed_on_from_macro_to_macro():
    text = "macro inner($p) drop dport $p; ; macro outer($q,$r) include inner($r) drop sport $q; ; include outer(1,2-3)"
    assert [(rule["start"], rule["end"]) for rule in rules(text) if "start" in rule] == [(2, 3), (1, 1)]


@pytest.mark.parametrize(
    ("source", "line", "column", "complaint"),
    [
        ("dorp dport 80;", 1, 1, r"expected an action \(drop, accept, .*\) or include, not 'dorp'"),
        ("\n  drop dprot 80;", 2, 8, "expected a match such as ethertype or dport, not 'dprot'"),
        ("drop dport;", 1, 6, "expected an argument after 'dport'"),
        ("drop dport http;", 1, 12, "expected a port, N or N-M from 0 to 65535, not 'http'"),
        ("drop dport 5-4;", 1, 12, "not '5-4'"),
        ("drop dport 1-2-3;", 1, 12, "not '1-2-3'"),
        ("drop dport 65536;", 1, 12, "not '65536'"),
        ("drop dport 80x;", 1, 12, "not '80x'"),
        (
            "drop ethertype ip;",
            1,
            16,
            r"expected an ethertype, a number from 0 to 65535 or a name \(ipv4, .*not 'ip'",
        ),
        ("drop ethertype 0x10000;", 1, 16, "not '0x10000'"),
        ("drop ipprotocol TCP;", 1, 17, "not 'TCP'"),
        ("drop ipsrc 10.0.0.1;", 1, 12, "expected an IP address and its netmask bits, such as 10.0.0.0/8"),
        ("drop ipsrc 10.0.0.1/33;", 1, 12, "not '10.0.0.1/33'"),
        ("drop ipsrc fe80::1%1/64;", 1, 12, "not 'fe80::1%1/64'"),
        ("drop ztsrc deadbeef;", 1, 12, "expected a ZeroTier address, 10 hexadecimal digits, not 'deadbeef'"),
        ("drop macsrc 00:11;", 1, 13, "expected a MAC address"),
        ("drop icmp 8;", 1, 11, "expected an argument after '8'"),
        ("drop icmp 8 -2;", 1, 13, "expected an ICMP code"),
        ("drop chr tcp_syn,tcp_sin;", 1, 10, "expected a characteristic, .* not 'tcp_sin'"),
        ("drop chr 64;", 1, 10, "not '64'"),
        ("drop random 1.5;", 1, 13, "expected a probability from 0.0 to 1.0, not '1.5'"),
        ("drop random nan;", 1, 13, "not 'nan'"),
        ("drop random 1e999;", 1, 13, "not '1e999'"),
        ("drop teq 1 x;", 1, 12, "expected a value, a number from 0 to 4294967295, not 'x'"),
        ("tag t id 1 enum 5 red ; drop teq t blue;", 1, 36, r"or a name \(red\), not 'blue'"),
        ("drop not;", 1, 6, "expected a match after 'not'"),
        ("drop dport 80 or ;", 1, 15, "expected a match after 'or'"),
        ("drop dport $p;", 1, 12, r"expected a parameter of the macro, not '\$p'"),
        (
            "macro m($q) drop dport $p; ; include m(1)",
            1,
            24,
            r"expected a parameter of the macro \(\$q\), not '\$p'",
        ),
        ("tee deadbeef01;", 1, 5, "expected a length"),
        ("tee 1 ;", 1, 5, "expected a target after '1'"),
        ("tee 65536 deadbeef01;", 1, 5, "expected a length"),
        ("tee;", 1, 1, "expected a length and a target after 'tee'"),
        ("watch 1 deadbeef;", 1, 9, "expected a ZeroTier address"),
        ("redirect ;", 1, 1, "expected a target after 'redirect'"),
        ("priority 5;", 1, 1, "expected an action"),
        ("include", 1, 1, "expected the name of a macro after 'include'"),
        ("include nothing", 1, 9, "expected the name of a macro, not 'nothing'"),
        ("macro m($a,$b) drop; include m(1)", 1, 30, r"expected m\(\$a,\$b\), not 'm\(1\)'"),
        ("macro m include m ; include m", 1, 17, "does 'm' include itself"),
        ("macro", 1, 1, "expected a name after 'macro'"),
        ("macro 1m drop;", 1, 7, "expected a name of letters, digits and _ for the macro, not '1m'"),
        ("macro include accept; ;", 1, 7, "expected a name for the macro, not the reserved word 'include'"),
        ("macro a drop; macro A drop;", 1, 21, "there is a macro 'a' already"),
        ("tag t ;", 1, 5, "expected an id in the definition of tag 't'"),
        ("tag t id 1 id 2 ;", 1, 12, "tag 't' has a second id"),
        ("tag t id x ;", 1, 10, "expected the ID of a tag"),
        ("tag t id 4294967296 ;", 1, 10, "expected the ID of a tag"),
        ("tag t id 1 default 2 default 3 ;", 1, 22, "tag 't' has a second default"),
        ("tag t id 1 default red ;", 1, 20, "expected a value, a number"),
        ("tag t id 1 enum 5 ;", 1, 17, "expected the name of the enum after '5'"),
        ("tag t id 1 enum 5 a enum 6 A ;", 1, 28, "the tag has a enum 'a' already"),
        ("tag t id 1 enum 5 a-b ;", 1, 19, "expected a name of letters"),
        ("tag t id 1 flag 32 a ;", 1, 17, "expected a bit, a number from 0 to 31"),
        ("tag t id 1 flag b,1 a ;", 1, 17, "expected a bit"),
        ("tag t id 1 colour 5 ;", 1, 12, "expected id, default, enum or flag, not 'colour'"),
        ("tag t id 1 ; tag T id 2 ;", 1, 18, "there is a tag 't' already"),
        ("cap c accept;", 1, 5, "expected an id in the definition of capability 'c'"),
        ("cap c id 1 id 2 ;", 1, 15, "capability 'c' has a second id"),
        ("cap a id 1 ; cap b id 1 ;", 1, 23, "there is a capability with the ID 1 already"),
        ("cap a id 1 ; cap a id 2 ;", 1, 18, "there is a capability 'a' already"),
        ("cap c id 1\nallow dport 5 ;", 2, 1, "expected an action"),
        ("cap c id 1 drop accept ;", 1, 24, "expected a ';' behind what stands in an open block before ';'"),
    ],
)
def test_what_is_wrong_is_said_and_where(source, line, column, complaint):
    with pytest.raises(RuleLanguageError, match=complaint) as caught:
        compile_rules(source)
    assert (caught.value.line, caught.value.column) == (line, column)
    assert str(caught.value).startswith(f"line {line}, column {column}: ")


def test_more_rules_than_there_is_room_for_are_refused():
    assert len(rules("drop dport 1; " * (MAX_RULES // 2))) == MAX_RULES
    with pytest.raises(RuleLanguageError, match="no more than 1024 rules"):
        compile_rules("drop dport 1; " * (MAX_RULES // 2 + 1))
    with pytest.raises(RuleLanguageError, match="no more than 64 rules"):
        compile_rules("cap c id 1 " + "drop dport 1; " * 33 + ";")


@pytest.mark.parametrize("what", ["tag", "cap"])
def test_more_definitions_than_a_configuration_holds_are_refused(what):
    source = "".join(f"{what} n{number} id {number};\n" for number in range(129))
    with pytest.raises(RuleLanguageError, match="no more definitions of this kind than 128") as caught:
        compile_rules(source)
    assert (caught.value.line, caught.value.column) == (129, 5)
    compile_rules(source[: source.rindex(what)])


def test_includes_are_counted_over_all_tables():
    doubling = "macro m0 ; " + "".join(f"macro m{n + 1} include m{n} include m{n} ; " for n in range(10))
    compile_rules(doubling + "cap a id 1 include m10 ;")
    with pytest.raises(RuleLanguageError, match="included too often"):
        compile_rules(doubling + "".join(f"cap c{n} id {n} include m10 ; " for n in range(3)))


def test_macros_that_double_one_another_come_to_an_end():
    doubling = "".join(f"macro m{n + 1} include m{n} include m{n} ; " for n in range(30))
    with pytest.raises(RuleLanguageError, match="included too often"):
        compile_rules("macro m0 ; " + doubling + "include m30")
    assert len(rules("macro m drop dport 1; ; " + "include m " * (MAX_INCLUDES // 8))) == 1024


def test_blocks_in_blocks_dig_no_deep_hole():
    with pytest.raises(RuleLanguageError):
        compile_rules("drop " * 100_000)


WORDS = """
macro tag cap drop accept tee watch redirect break priority include id default enum flag not or and drop; accept; ; #c
m m($a,$b) m(1,2) $a $b t 1 2 80; -1 0x10 deadbeef01 deadbeef01; ipv4 tcp ethertype ipprotocol dport sport teq icmp chr
inbound 10.0.0.0/8 ipsrc fd00::/8; random 0.5 iptos
"""
words = st.sampled_from(WORDS.split())


@given(
    st.lists(words, max_size=30).map(" ".join)
    | st.text(max_size=60)
    | st.text("drop acet;#\n$()t1", max_size=60)
)
def test_any_text_is_compiled_or_refused_with_a_place_in_it(source):
    try:
        compiled = compile_rules(source)
    except RuleLanguageError as error:
        line = re.split("\r\n|\r|\n", source or " ")[error.line - 1]
        assert line[error.column - 1 :]  # noqa: PT017
        return
    for table in (compiled.rules, *(capability["rules"] for capability in compiled.capabilities)):
        encode_rules([rule_from_json(rule) for rule in table])


@given(st.data())
def test_a_text_with_one_word_changed_is_compiled_or_refused(data):
    parts = EXAMPLE.split(" ")
    place = data.draw(st.integers(0, len(parts) - 1))
    changed = data.draw(st.lists(words, max_size=2))
    source = " ".join([*parts[:place], *changed, *parts[place + 1 :]])
    try:
        compiled = compile_rules(source)
    except RuleLanguageError:
        return
    encode_rules(map(rule_from_json, compiled.rules))
