"""Commands on a node that runs."""

import json
import re
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from zt_async import __version__

AD_HOC = "ff1b581b58000000"
CONTROLLED = "8056c2e21c000001"
MOON = "0123456789"


def test_status(done, service):
    for command in ("status", "info"):
        shown = json.loads(done(command, "--json"))
        assert shown["online"] is True
        text = done(command)
        assert re.search(rf"address +{shown['address']}\n", text)
        assert re.search(r"state +online\n", text)
        assert str(service.home) in text


def test_peers(done):
    (peer,) = json.loads(done("peers", "-j"))
    assert peer["role"] == "PLANET"
    for command in ("peers", "listpeers"):
        header, _, row, *_ = [line for line in done(command).splitlines() if line.strip()]
        assert header.split()[:3] == ["address", "version", "role"]
        assert row.split()[:3] == [peer["address"], peer["version"], "PLANET"]
        assert row.split()[-1] == peer["paths"][0]["address"]
        assert "direct" in row


def test_join_and_leave(done, zt):
    assert done("networks") == "the node is on no network; 'zt join NETWORK' joins one\n"
    assert done("join", AD_HOC) == f"joined {AD_HOC}: OK\n"
    joined = json.loads(done("join", AD_HOC.upper(), "--allow-dns", "--no-allow-managed", "--json"))
    assert (joined["allowDNS"], joined["allowManaged"], joined["allowGlobal"]) == (True, False, False)
    (network,) = json.loads(done("networks", "--json"))
    assert network["id"] == AD_HOC
    row = done("networks").splitlines()[2]
    assert row.split()[0] == AD_HOC
    assert row.split()[-1] == network["assignedAddresses"][0]
    assert done("leave", AD_HOC) == f"left {AD_HOC}\n"
    result = zt("leave", AD_HOC)
    assert (result.exit_code, result.stderr) == (1, f"zt: this node is not on network {AD_HOC}\n")


def test_a_private_network_has_to_be_told_who_asks(done):
    address = json.loads(done("status", "-j"))["address"]
    text = done("join", CONTROLLED)
    assert text.startswith(f"joined {CONTROLLED}: REQUESTING_CONFIGURATION\n")
    assert address in text
    assert json.loads(done("leave", CONTROLLED, "--json")) == {"result": True}


def test_get_and_set(done, zt):
    done("join", AD_HOC)
    (network,) = json.loads(done("networks", "-j"))
    ip = network["assignedAddresses"][0].partition("/")[0]
    assert done("get", AD_HOC, "mtu") == "2800\n"
    assert done("get", AD_HOC, "status") == "OK\n"
    assert done("get", AD_HOC, "allowDNS") == "false\n"
    assert json.loads(done("get", AD_HOC, "dns")) == {"domain": "", "servers": []}
    for name in ("ip", "ip6", "ip6plane"):
        assert done("get", AD_HOC, name) == f"{ip}\n"
    assert done("get", AD_HOC, "ip4") == ""
    assert json.loads(done("get", AD_HOC, "ip", "--json")) == [ip]
    assert re.search("allowDNS +yes", done("set", AD_HOC, "allowDNS=true", "allowGlobal=1"))
    changed = json.loads(done("set", AD_HOC, "allowGlobal=no", "--json"))
    assert (changed["allowDNS"], changed["allowGlobal"]) == (True, False)
    unknown = zt("get", AD_HOC, "nothing")
    assert unknown.exit_code == 1
    assert "a network has no nothing; it has ip, " in unknown.stderr
    for wrong in ("allowDNS", "allowDNS=maybe", "mtu=1400", "=true"):
        assert zt("set", AD_HOC, wrong).exit_code == 2
    done("leave", AD_HOC)
    assert zt("set", AD_HOC, "allowDNS=true").exit_code == 1
    assert json.loads(done("networks", "--json")) == []


def test_moons(done, zt):
    assert done("moons") == "the node uses no moons\n"
    assert done("orbit", MOON, "89e92ceee5") == f"moon {MOON}: waiting for it\n"
    assert json.loads(done("orbit", MOON, "89e92ceee5", "-j"))["waiting"] is True
    assert json.loads(done("moons", "--json")) == []
    assert done("deorbit", f"000000{MOON}") == f"moon {MOON} is not used any more\n"
    for moon in (MOON, "0123456789abcdef"):
        unknown = zt("deorbit", moon)
        assert (unknown.exit_code, "does not use a moon" in unknown.stderr) == (1, True)
    assert zt("deorbit", f"00{MOON}").exit_code == 2


def test_the_version(done):
    assert done("--version") == f"{__version__}\n"


# Mistakes


def test_ids_that_are_none_are_mistakes_of_the_command_line(zt):
    for arguments in (
        ("join", "abc"),
        ("leave", AD_HOC + "0"),
        ("get", "zzzzzzzzzzzzzzzz", "mtu"),
        ("orbit", MOON, "x"),
        ("controller", "authorize", AD_HOC, "x"),
        ("join",),
        ("nothing",),
        ("status", "--nothing"),
    ):
        assert zt(*arguments).exit_code == 2, arguments


def test_no_node_there(zt, tmp_path, service):
    result = zt("status", home=tmp_path)
    assert (result.exit_code, result.stdout) == (1, "")
    assert f"there is no {tmp_path}/zerotier-one.port: no node runs there" in result.stderr
    for text in ("none", "", "0", "65536", "-1", "1" * 5000):
        (tmp_path / "zerotier-one.port").write_text(text)
        assert "has no port in it" in zt("status", home=tmp_path).stderr
    (tmp_path / "zerotier-one.port").write_text("1\n")
    assert f"{tmp_path}/authtoken.secret" in zt("status", home=tmp_path).stderr
    (tmp_path / "authtoken.secret").write_text("x")
    result = zt("status", home=tmp_path)
    assert result.exit_code == 1
    assert "no node answers at 127.0.0.1:1: Connection refused" in result.stderr


class Elsewhere(BaseHTTPRequestHandler):
    """Another service, which answers with JSON as well."""

    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_):
        pass


def test_what_answers_is_no_node(zt):
    with HTTPServer(("127.0.0.1", 0), Elsewhere) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            for command in (("status",), ("controller", "networks"), ("get", AD_HOC, "ip")):
                result = zt(*command, "--api", f"127.0.0.1:{server.server_port}", "--token", "x")
                assert (result.exit_code, result.stdout) == (1, "")
                assert "no node" in result.stderr
        finally:
            server.shutdown()
            thread.join()


def test_the_api_by_address(zt, tmp_path, service):
    place = service.url.removeprefix("http://")
    good = zt("status", "--api", place, "--token", service.token, home=tmp_path)
    assert good.exit_code == 0
    wrong = zt("status", "--api", place, "--token", "wrong", home=tmp_path)
    assert (wrong.exit_code, wrong.stderr) == (1, "zt: this is not the token in authtoken.secret\n")
    assert service.token not in wrong.output
    for nowhere in (
        *("127.0.0.1", "127.0.0.1:x", ":1", "127.0.0.1:70000", "127.0.0.1:-1"),
        *("fe80::1", "::1:1", "[::1:1", "[]:1", "http://127.0.0.1:1", "a b:1"),
    ):
        result = zt("status", "--api", nowhere, "--token", "x")
        assert result.exit_code == 2
        assert "HOST:PORT" in result.output


@pytest.mark.parametrize(
    "token", ["two\nlines-of-it", "a\0secret", "ein-geh\N{LATIN SMALL LETTER E WITH ACUTE}imnis"]
)
def test_a_token_is_never_shown(zt, tmp_path, service, token):
    (tmp_path / "authtoken.secret").write_text(token)
    place = ("--api", service.url.removeprefix("http://"))
    for given in ((), ("--token", token)):
        result = zt("status", *place, *given, home=tmp_path)
        assert (result.exit_code, result.stdout) == (1, "")
        assert "token" in result.stderr
        assert "lines-of-it" not in result.stderr
        assert "secret" not in result.stderr.replace("authtoken.secret", "")
        assert "ein-" not in result.stderr
