"""Bad input: the right status, a message that says what is wrong and where, and nothing changed."""

import json

import aiohttp
import pytest

from zt_async.service import serve
from zt_async.service.replies import MAX_BODY, MAX_DEPTH, MAX_DESCRIPTION

MEMBER = "0123456789"
AD_HOC = "ff1b581b58000000"
BAD = "must not change anything"

BODIES = {
    "no JSON": (b"{", "not JSON"),
    "two values": (b"{} {}", "not JSON"),
    "NaN": (b'{"name": NaN}', "NaN is no number"),
    "Infinity": (b'{"mtu": -Infinity}', "-Infinity is no number"),
    "too large a float": (b'{"mtu": 1e999}', "1e999 is too large"),
    "too long a number": (b'{"mtu": ' + b"1" * 5000 + b"}", "not JSON"),
    "an array": (b"[]", "not an array"),
    "null": (b"null", "not null"),
    "text": (b'"x"', "not text"),
    "a number": (b"1.5", "not a number"),
    "a boolean": (b"true", "not a boolean"),
    "not UTF-8": (b'{"name": "\xff"}', "not UTF-8"),
    "UTF-16": ('{"name": "x"}'.encode("utf-16"), "not UTF-8"),
    "too deep": (b"[" * 100_000, "nested too deeply"),
}

NETWORK_FIELDS = {
    "name": (1, None, ["x"], "x" * 128, "a\0b", "\ud800"),
    "private": (1, None, "yes", "", [], {}),
    "enableBroadcast": (0, "on", None),
    "multicastLimit": ("32", -1, 1 << 32, 1.5, True, None),
    "mtu": ("1400", None, 1400.5, True, []),
    "remoteTraceTarget": ("012345678", "zzzzzzzzzz", [], 1.5),
    "remoteTraceLevel": ("1", -1, None, 10_000),
    "v4AssignMode": (True, None, [], {"zt": 1}, {"zt": "maybe"}),
    "v6AssignMode": (1, None, [], {"zt": None}, {"6plane": "x"}),
    "routes": (
        None,
        {},
        "10.0.0.0/8",
        [{}],
        [{"target": "x"}],
        [{"target": "10.0.0.0/33"}],
        [{"target": "10.0.0.0"}],
        [{"target": 1}],
        [{"target": "10.0.0.0/8", "via": "x"}],
        [{"target": "10.0.0.0/8", "via": "fd00::1"}],
        [{"target": "10.0.0.0/8", "via": 5}],
        [1],
        [{"target": f"10.{i}.0.0/16"} for i in range(129)],
    ),
    "ipAssignmentPools": (
        None,
        {},
        [{}],
        [{"ipRangeStart": "10.0.0.1"}],
        [{"ipRangeStart": "10.0.0.1", "ipRangeEnd": "x"}],
        [{"ipRangeStart": "10.0.0.1", "ipRangeEnd": "fd00::1"}],
        [{"ipRangeStart": "10.0.0.9", "ipRangeEnd": "10.0.0.1"}],
        [7],
    ),
    "rules": (
        None,
        {},
        "accept;",
        [1],
        [{}],
        [{"type": 1}],
        [{"type": "MATCH_NOTHING"}],
        [{"type": "MATCH_ETHERTYPE"}],
        [{"type": "MATCH_ETHERTYPE", "etherType": "ipv4"}],
        [{"type": "MATCH_ETHERTYPE", "etherType": 70_000}],
        [{"type": "MATCH_IPV4_SOURCE", "ip": "10.0.0.0/40"}],
        [{"type": "ACTION_ACCEPT", "not": "true"}],
        [{"type": "ACTION_ACCEPT"}] * 1025,
    ),
    "capabilities": (
        None,
        [1],
        [{}],
        [{"id": -1}],
        [{"id": 1, "rules": 1}],
        [{"id": 1, "default": "x"}],
        [{"id": 1, "rules": [{"type": "x"}]}],
        [{"id": 1, "rules": [{"type": "ACTION_ACCEPT"}] * 65}],
        [{"id": i} for i in range(129)],
    ),
    "tags": (None, [1], [{}], [{"id": "1"}], [{"id": 1, "default": "x"}], [{"id": 1 << 32}]),
    "dns": (
        "x",
        1,
        [1],
        {"domain": 1},
        {"domain": "x" * 128},
        {"domain": "x", "servers": "10.0.0.1"},
        {"domain": "x", "servers": ["x"]},
        {"domain": "x", "servers": ["10.0.0.1"] * 5},
    ),
    "authTokens": (1, "x", [1], {"a": "x"}, {"a": -1}, {"a": None}),
}
MEMBER_FIELDS = {
    "authorized": (1, None, "yes", [], {}),
    "activeBridge": (0, "", None),
    "noAutoAssignIps": ("x", 1, None),
    "ipAssignments": (None, "10.0.0.1", {}, ["x"], [1], ["10.0.0.300"], ["10.0.0.9"]),
    "tags": (None, 1, [1], [[1]], [[1, 2, 3]], [["a", 1]], [[1, -1]]),
    "capabilities": (None, 1, ["x"], [-1], [1 << 32]),
    "name": (1, [], "a\0b"),
    "authenticationExpiryTime": ("x", -1, 1.5, None),
    "remoteTraceTarget": ("x", [], "0123456789ab"),
    "remoteTraceLevel": ("x", -1),
}
CASES = {
    "network": [(field, value) for field, values in NETWORK_FIELDS.items() for value in values],
    "member": [(field, value) for field, values in MEMBER_FIELDS.items() for value in values],
    "join": [
        (field, value)
        for field in ("allowManaged", "allowGlobal", "allowDefault", "allowDNS")
        for value in ("true", 1, None, [], {})
    ],
    "moon": [("seed", value) for value in (1, "x", "0123456789ab", [], "0000000000", "ff00000000")],
}


@pytest.fixture
async def paths(api):
    """A network, and a member that has an address."""
    network = f"/controller/network/{api.node.address}000001"
    await api.post(network, {"name": "fine", "private": False})
    await api.post(f"{network}/member/{MEMBER}", {"name": "fine"})
    await api.post(f"{network}/member/89e92ceee5", {"ipAssignments": ["10.0.0.9"]})
    return {
        "network": network,
        "member": f"{network}/member/{MEMBER}",
        "join": f"/network/{AD_HOC}",
        "moon": f"/moon/{MEMBER}",
        "settings": "/config/settings",
    }


def mentions(answer, text):
    assert answer.json["error"] == answer.status
    assert text in answer.json["description"], answer.json
    return True


@pytest.mark.parametrize("kind", BODIES)
async def test_bodies_that_are_no_objects(api, paths, kind):
    data, text = BODIES[kind]
    before = await api.everything()
    for path in (*paths.values(), "/controller/network", f"{paths['network'][:-6]}______"):
        for method in ("POST", "PUT"):
            answer = await api.ask(method, path, data=data)
            assert answer.status == 400
            assert mentions(answer, text)
    assert await api.everything() == before


@pytest.mark.parametrize("kind", CASES)
async def test_values_that_fields_cannot_have(api, paths, kind):
    before = await api.everything()
    for field, value in CASES[kind]:
        for body in ({field: value}, {"name": BAD, "authorized": True, "allowDNS": True, field: value}):
            answer = await api.ask("POST", paths[kind], body)
            assert answer.status == 400, (field, value, answer.text)
            assert answer.json["field"] == field
            assert mentions(answer, field)
            assert len(answer.json["description"]) < 1000
            assert api.service.token not in answer.text
    assert await api.everything() == before


async def test_bodies_that_are_not_encoded_as_their_headers_say(api, paths):
    before = await api.everything()
    for encoding in ("gzip", "deflate"):
        headers = {"X-ZT1-Auth": api.service.token, "Content-Encoding": encoding}
        for path in paths.values():
            answer = await api.ask("POST", path, data=b'{"name": "x"}', headers=headers)
            assert answer.status == 400
            assert mentions(answer, "not encoded as its headers say")
    assert await api.everything() == before


async def test_descriptions_do_not_quote_all_that_was_sent(api, paths):
    for path, body in (
        (paths["network"], {"private": "x" * 100_000}),
        (paths["join"], {"allowDNS": [0] * 50_000}),
    ):
        answer = await api.ask("POST", path, body)
        assert answer.status == 400
        assert len(answer.json["description"]) <= MAX_DESCRIPTION
    answer = await api.ask("GET", "/" + "x" * 5000)
    assert (answer.status, len(answer.json["description"])) == (404, MAX_DESCRIPTION)


async def test_new_networks_are_not_made_of_bad_fields(api):
    for path in ("/controller/network", f"/controller/network/{api.node.address}______"):
        answer = await api.ask("POST", path, {"name": BAD, "mtu": "large"})
        assert (answer.status, answer.json["field"]) == (400, "mtu")
    assert await api.get("/controller/network") == []


async def test_settings_that_cannot_be(api, paths):
    before = await api.everything()
    for value in ("10.0.0.0/8", ["x"], [1], None, {}):
        answer = await api.ask("POST", "/config/settings", {"allowManagementFrom": value, "mine": BAD})
        assert answer.status == 400
        assert mentions(answer, "allowManagementFrom")
    assert await api.everything() == before


async def test_bodies_have_a_limit_to_their_depth(api, paths):
    def nested(levels):
        return b'{"deep": %b%b}' % (b"[" * (levels - 1), b"]" * (levels - 1))

    for path in paths.values():
        before = await api.everything()
        for levels in (MAX_DEPTH + 1, 900, 5000):
            answer = await api.ask("POST", path, data=nested(levels))
            assert answer.status == 400
            assert mentions(answer, f"beyond {MAX_DEPTH} levels")
        assert await api.everything() == before
    for path in (paths["network"], paths["settings"]):
        assert (await api.ask("POST", path, data=nested(MAX_DEPTH))).status == 200
    assert (await api.get("/config"))["settings"]["deep"]


UNKNOWN = [
    ("GET", "/network/8056c2e21c000001"),
    ("DELETE", "/network/8056c2e21c000001"),
    ("GET", "/peer/0123456789"),
    ("GET", "/moon/0123456789"),
    ("DELETE", "/moon/0123456789"),
    ("GET", "/moon/0123456789abcdef"),
    ("GET", "/controller/network/8056c2e21c000001"),
    ("DELETE", "/controller/network/8056c2e21c000001"),
    ("GET", "/controller/network/8056c2e21c000001/member"),
    ("GET", "/controller/network/8056c2e21c000001/member/0123456789"),
    ("POST", "/controller/network/8056c2e21c000001/member/0123456789"),
    ("DELETE", "/controller/network/8056c2e21c000001/member/0123456789"),
    ("GET", "/unstable/controller/network/8056c2e21c000001/member"),
    ("GET", "/controller/network/{address}000001/member/aaaaaaaaaa"),
    ("DELETE", "/controller/network/{address}000001/member/aaaaaaaaaa"),
]


@pytest.mark.parametrize(("method", "path"), UNKNOWN)
async def test_unknown_ids(api, paths, method, path):
    before = await api.everything()
    path = path.format(address=api.node.address)
    answer = await api.ask(method, path, {} if method == "POST" else None)
    assert answer.status == 404
    assert mentions(
        answer,
        "aaaaaaaaaa" if "aaaa" in path else path.split("/")[path.count("/") if "member" not in path else 3],
    )
    assert await api.everything() == before


async def test_ids_of_the_wrong_form_are_nothing_that_is_there(api, paths):
    before = await api.everything()
    for path, what in (
        ("/network/zz", "16 hexadecimal digits"),
        ("/network/8056c2e21c0000011", "16 hexadecimal digits"),
        ("/peer/zz", "10 hexadecimal digits"),
        ("/moon/0123456789abcde", "10 or 16 hexadecimal digits"),
        ("/moon/000000000000000g", "10 or 16 hexadecimal digits"),
        ("/moon/0000000000", "not zero"),
        ("/controller/network/1", "16 hexadecimal digits"),
        (f"{paths['network']}/member/x", "10 hexadecimal digits"),
        ("/nothing", "nothing at /nothing"),
        ("/status/", "nothing at"),
        ("//status", "nothing at"),
        ("/network/", "nothing at"),
        (f"{paths['network']}/members", "nothing at"),
    ):
        answer = await api.ask("GET", path)
        assert answer.status == 404, path
        assert mentions(answer, what)
    assert await api.everything() == before


async def test_nodes_that_cannot_be_members(api, paths):
    before = await api.everything()
    for address in ("0000000000", "ff00000001"):
        answer = await api.ask("POST", f"{paths['network']}/member/{address}", {"authorized": True})
        assert (answer.status, answer.json["field"]) == (400, "id")
    assert await api.everything() == before


async def test_methods_that_are_not_there(api, paths):
    for method, path, allowed in (
        ("POST", "/status", {"GET", "HEAD"}),
        ("DELETE", "/peer", {"GET", "HEAD"}),
        ("PATCH", paths["network"], {"GET", "HEAD", "POST", "PUT", "DELETE"}),
        ("GET", "/config/settings", {"POST", "PUT"}),
        ("DELETE", "/controller/network", {"GET", "HEAD", "POST", "PUT"}),
        ("OPTIONS", "/controller", {"GET", "HEAD"}),
    ):
        answer = await api.ask(method, path)
        assert answer.status == 405
        assert set(answer.headers["Allow"].split(", ")) == allowed
        assert mentions(answer, method)


async def test_bodies_that_are_too_long(api, paths):
    before = await api.everything()
    body = json.dumps({"name": "x", "unknown": "y" * MAX_BODY}).encode()
    for path in (paths["network"], paths["join"], "/config/settings"):
        answer = await api.ask("POST", path, data=body)
        assert answer.status == 413
        assert mentions(answer, str(MAX_BODY))
    longest = json.dumps({"unknown": "y" * (MAX_BODY - 20)}).encode()
    assert (await api.ask("POST", paths["network"], data=longest)).status == 200
    assert await api.everything() == before


async def test_a_node_without_a_controller(api):
    async with serve(api.other, port=0) as service, aiohttp.ClientSession() as session:
        for path in ("/controller", "/controller/network", "/unstable/controller/network"):
            headers = {"X-ZT1-Auth": service.token}
            async with session.get(service.url + path, headers=headers) as response:
                assert response.status == 404
                assert (await response.json())["description"] == "this node is no controller"
