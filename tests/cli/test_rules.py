"""``zt rules compile``."""

import json

import pytest
from typer.testing import CliRunner

from zt_async.cli.app import app

TEXT = """
tag department id 1000 default 100 enum 100 sales enum 200 engineering;
cap superuser id 7 default accept; ;
drop not ethertype ipv4 and not ethertype arp;
accept ipprotocol tcp and dport 80-81;
accept;
"""


@pytest.fixture
def rules(tmp_path):
    path = tmp_path / "rules.txt"
    path.write_text(TEXT)
    return str(path)


def zt(*arguments, stdin=None):
    return CliRunner().invoke(app, arguments, input=stdin)


def test_json_is_that_of_upstream_s_compiler(rules):
    for arguments in ((rules,), (rules, "-o", "json")):
        result = zt("rules", "compile", *arguments)
        assert result.exit_code == 0
        shown = json.loads(result.stdout)
        assert shown.keys() == {"config", "capabilitiesByName", "tagsByName"}
        assert [rule["type"] for rule in shown["config"]["rules"]] == [
            *("MATCH_ETHERTYPE", "MATCH_ETHERTYPE", "ACTION_DROP"),
            *("MATCH_IP_PROTOCOL", "MATCH_IP_DEST_PORT_RANGE", "ACTION_ACCEPT"),
            "ACTION_ACCEPT",
        ]
        assert shown["config"]["capabilities"] == [
            {"id": 7, "default": True, "rules": [{"type": "ACTION_ACCEPT"}]}
        ]
        assert shown["capabilitiesByName"] == {"superuser": 7}


def test_a_byte_order_mark_is_no_rule(tmp_path):
    (tmp_path / "rules.txt").write_bytes(b"\xef\xbb\xbfaccept;")
    assert zt("rules", "compile", str(tmp_path / "rules.txt")).exit_code == 0


def test_standard_input(rules):
    assert zt("rules", "compile", "-", stdin=TEXT).stdout == zt("rules", "compile", rules).stdout


def test_tables_are_for_people(rules):
    result = zt("rules", "compile", rules, "-o", "table")
    assert result.exit_code == 0
    lines = [line.split() for line in result.stdout.splitlines()]
    assert ["0", "not", "MATCH_ETHERTYPE", "etherType", "2048"] in lines
    assert ["4", "MATCH_IP_DEST_PORT_RANGE", "start", "80,", "end", "81"] in lines
    assert ["capability", "superuser", "(7,", "by", "default)"] in lines
    assert ["department", "1000", "100", "sales", "=", "100"] in lines


def test_mistakes_are_told_with_their_place(tmp_path):
    path = tmp_path / "rules.txt"
    path.write_text("drop ethertype arp;\ndrop ethertype nonsense;\n")
    result = zt("rules", "compile", str(path))
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.startswith(f"zt: {path}, line 2, column 16: ")
    result = zt("rules", "compile", "-", stdin="drop what;")
    assert result.stderr.startswith("zt: standard input, line 1, column 6: ")


def test_files_that_are_no_texts(tmp_path):
    result = zt("rules", "compile", str(tmp_path / "missing"))
    assert (result.exit_code, result.stdout) == (1, "")
    assert "No such file" in result.stderr
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    result = zt("rules", "compile", str(tmp_path / "binary"))
    assert result.exit_code == 1
    assert "is not UTF-8" in result.stderr


def test_unknown_forms_are_a_mistake_of_the_command_line(rules):
    assert zt("rules", "compile", rules, "-o", "xml").exit_code == 2
    assert zt("rules", "compile").exit_code == 2
    assert zt("rules").exit_code == 2
