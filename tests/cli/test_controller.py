"""Commands on the networks of a controller."""

import json

import pytest

MEMBER = "0123456789"
OTHER = "89e92ceee5"


@pytest.fixture
def network(done):
    network_id = done(
        "controller", "create", "--name", "mine", "--subnet", "10.9.0.0/24", "--rfc4193"
    ).strip()
    yield network_id
    done("controller", "delete", network_id)


def test_create(done, zt, network):
    made = json.loads(done("controller", "network", network, "--json"))
    assert made["name"] == "mine"
    assert made["private"] is True
    assert made["routes"] == [{"target": "10.9.0.0/24", "via": None}]
    assert made["ipAssignmentPools"] == [{"ipRangeStart": "10.9.0.1", "ipRangeEnd": "10.9.0.254"}]
    assert made["v4AssignMode"] == {"zt": True}
    assert made["v6AssignMode"] == {"rfc4193": True, "zt": False, "6plane": False}
    text = done("controller", "network", network)
    for fact in ("mine", "private", "10.9.0.1 - 10.9.0.254", "10.9.0.0/24", "2800", "IPv4 pools"):
        assert fact in text
    row = done("controller", "networks").splitlines()[2]
    assert row.split() == [network, "mine", "private", "0", "0", "10.9.0.0/24"]
    assert [each["id"] for each in json.loads(done("controller", "networks", "--json"))] == [network]
    for taken_id in (network, network.upper()):
        taken = zt("controller", "create", "--id", taken_id)
        assert taken.exit_code == 1
        assert f"there is a network {network} already" in taken.stderr
    assert json.loads(done("controller", "network", network, "--json")) == made
    other = json.loads(done("controller", "create", "--id", f"{network[:10]}000001", "--public", "-j"))
    assert other["private"] is False
    assert json.loads(done("controller", "delete", other["id"], "-j")) == other


def test_mistakes_in_networks(zt):
    for wrong in (("--subnet", "10.0.0.0/33"), ("--subnet", "10.0.0.1"), ("--id", "x y"), ("--id", "..")):
        assert zt("controller", "create", *wrong).exit_code == 2
    assert json.loads(zt("controller", "networks", "--json").stdout) == []
    elsewhere = zt("controller", "create", "--id", "8056c2e21c000001")
    assert elsewhere.exit_code == 1
    assert "has to begin with the address of its controller" in elsewhere.stderr
    for command in ("network", "members", "delete"):
        unknown = zt("controller", command, "8056c2e21c000001")
        assert unknown.exit_code == 1
        assert unknown.stderr == "zt: there is no network 8056c2e21c000001 on this controller\n"


def test_set(done, zt, network):
    changed = json.loads(
        done(
            "controller",
            "set",
            network,
            "mtu=1400",
            "private=false",
            "name=two words",
            'dns={"domain": "x"}',
            "-j",
        )
    )
    assert (changed["mtu"], changed["private"], changed["name"]) == (1400, False, "two words")
    assert changed["dns"] == {"domain": "x", "servers": []}
    assert "1400" in done("controller", "set", network, "mtu=1400")
    wrong = zt("controller", "set", network, "name=other", "mtu=large")
    assert (wrong.exit_code, wrong.stderr) == (1, "zt: mtu is a whole number, not 'large'\n")
    for wrong in ("mut=1400", "id=8056c2e21c000001", "revision=9", "rulesSource=x", "mtu", "=1"):
        assert zt("controller", "set", network, wrong).exit_code == 2, wrong
    assert zt("controller", "set", "8056c2e21c000001", "mtu=1400").exit_code == 1
    assert json.loads(done("controller", "network", network, "-j")) == changed
    for text in ("NaN", "-Infinity", "[" * 9999, "a=b", ""):
        answered = zt("controller", "set", network, f"name={text}", "-j")
        if len(text) < 128:
            assert json.loads(answered.stdout)["name"] == text
        else:
            assert (answered.exit_code, answered.stderr[:20]) == (1, "zt: name is at most ")


def test_names_are_no_commands_to_the_terminal(done, network):
    name = "\x1b[31mred\x07\x9b2J\nline"
    done("controller", "set", network, f"name={json.dumps(name)}")
    done("controller", "authorize", network, MEMBER)
    for command in (("network", network), ("networks",), ("networks", "--json"), ("network", network, "-j")):
        text = done("controller", *command)
        assert "red" in text
        assert all(line.isprintable() for line in text.split("\n"))
    assert json.loads(done("controller", "network", network, "-j"))["name"] == name
    plain = done("controller", "set", network, "name=café", "-j")
    assert "café" in plain


def test_options_before_the_command_are_not_taken_for_its_own(zt, network, tmp_path):
    """Else another controller would be asked than was meant."""
    for option in (
        ("--home", tmp_path),
        ("--store", "x.db"),
        ("--api", "127.0.0.1:1"),
        ("-D", tmp_path),
        ("-j",),
    ):
        refused = zt("controller", *option, "members", network)
        assert (refused.exit_code, refused.stdout) == (2, ""), option
        assert "goes after the command" in refused.stderr


def test_rules(done, zt, network, tmp_path):
    text = "tag x id 1; cap y id 2 accept; ; drop not ethertype ipv4; accept;"
    changed = json.loads(done("controller", "rules", network, "-", "--json", stdin=text))
    assert [rule["type"] for rule in changed["rules"]] == ["MATCH_ETHERTYPE", "ACTION_DROP", "ACTION_ACCEPT"]
    assert changed["tags"] == [{"id": 1, "default": None}]
    assert [capability["id"] for capability in changed["capabilities"]] == [2]
    wrong = zt("controller", "rules", network, "-", stdin="nonsense")
    assert (wrong.exit_code, wrong.stderr[:33]) == (1, "zt: standard input, line 1, colum")
    assert json.loads(done("controller", "network", network, "-j")) == changed


def test_members(done, zt, network):
    assert done("controller", "members", network) == "nobody has asked to be a member\n"
    text = done("controller", "authorize", network, MEMBER, OTHER)
    assert text == f"{MEMBER} is authorized\n{OTHER} is authorized\n"
    text = done("controller", "authorize", network, MEMBER, "--ip", "10.9.0.7")
    assert text == f"{MEMBER} is authorized, 10.9.0.7\n"
    assert zt("controller", "authorize", network, MEMBER, OTHER, "--ip", "10.9.0.7").exit_code == 2
    taken = zt("controller", "authorize", network, OTHER, "--ip", "10.9.0.7")
    assert taken.exit_code == 1
    assert "ipAssignments has 10.9.0.7, which is the address of member" in taken.stderr
    text = done("controller", "deauthorize", network, OTHER)
    assert text == f"{OTHER} is not authorized any more\n"
    members = {each["id"]: each for each in json.loads(done("controller", "members", network, "-j"))}
    assert [members[MEMBER]["authorized"], members[OTHER]["authorized"]] == [True, False]
    rows = {
        row.split()[0]: row.split() for row in done("controller", "members", network).splitlines()[2:] if row
    }
    assert rows[MEMBER] == [MEMBER, "-", "authorized", "-", "10.9.0.7"]
    assert rows[OTHER] == [OTHER, "-", "waits", "-", "-"]
    assert "10.9.0.7" in done("controller", "member", network, MEMBER)
    assert json.loads(done("controller", "member", network, MEMBER, "--json")) == members[MEMBER]
    for command in ("deauthorize", "forget", "member"):
        unknown = zt("controller", command, network, "aaaaaaaaaa")
        assert (unknown.exit_code, unknown.stdout) == (1, "")
        assert "has no member aaaaaaaaaa" in unknown.stderr
    assert zt("controller", "forget", network, MEMBER, "aaaaaaaaaa").exit_code == 1
    assert done("controller", "member", network, MEMBER)
    text = done("controller", "forget", network, MEMBER, OTHER, MEMBER)
    assert text == f"{MEMBER} is forgotten\n{OTHER} is forgotten\n"
    assert json.loads(done("controller", "members", network, "-j")) == []
