"""The controller's part of the API, as the tools for self-hosted controllers use it. vl2.md 8.5 and 8.6."""

import pytest

import zt_async as zt
from zt_async.errors import Conflict, StoreError
from zt_async.events import MemberWaiting
from zt_async.service.node_json import VERSION

MEMBER = "0123456789"
OTHER = "89e92ceee5"

NETWORK_DEFAULTS = {
    "objtype": "network",
    "name": "",
    "private": True,
    "revision": 1,
    "enableBroadcast": True,
    "multicastLimit": 32,
    "mtu": 2800,
    "v4AssignMode": {"zt": False},
    "v6AssignMode": {"rfc4193": False, "zt": False, "6plane": False},
    "routes": [],
    "ipAssignmentPools": [],
    "rules": [{"type": "ACTION_ACCEPT", "not": False, "or": False}],
    "capabilities": [],
    "tags": [],
    "dns": [],
    "authTokens": [None],
    "remoteTraceTarget": None,
    "remoteTraceLevel": 0,
    "rulesSource": "",
    "ssoEnabled": False,
    "clientId": "",
    "authorizationEndpoint": "",
}
MEMBER_DEFAULTS = {
    "objtype": "member",
    "authorized": False,
    "activeBridge": False,
    "noAutoAssignIps": False,
    "ipAssignments": [],
    "tags": [],
    "capabilities": [],
    "revision": 1,
    "lastAuthorizedTime": 0,
    "lastDeauthorizedTime": 0,
    "lastAuthorizedCredentialType": None,
    "lastAuthorizedCredential": None,
    "authenticationExpiryTime": 0,
    "ssoExempt": False,
    "vMajor": -1,
    "vMinor": -1,
    "vRev": -1,
    "vProto": -1,
    "remoteTraceTarget": None,
    "remoteTraceLevel": 0,
}


async def test_the_controller(api):
    shown = await api.get("/controller")
    assert shown.keys() == {"controller", "apiVersion", "clock", "databaseReady"}
    assert shown["controller"] is shown["databaseReady"] is True
    assert shown["apiVersion"] == 4


async def test_a_new_network_has_the_defaults(api):
    made = await api.post("/controller/network", {})
    network_id = made.pop("id")
    assert made.pop("nwid") == network_id
    assert network_id.startswith(str(api.node.address))
    assert not network_id.endswith("000000")
    clock = (await api.get("/controller"))["clock"]
    assert clock - 60_000 < made.pop("creationTime") <= clock
    assert made == NETWORK_DEFAULTS
    assert await api.get("/controller/network") == [network_id]
    assert (await api.get(f"/controller/network/{network_id}"))["nwid"] == network_id


@pytest.mark.parametrize("method", ["POST", "PUT"])
async def test_three_ways_to_make_a_network(api, method):
    address = str(api.node.address)
    paths = (
        "/controller/network",
        f"/controller/network/{address}______",
        f"/controller/network/{address}000123",
    )
    made = [(await api.ask(method, path, {"name": "mine"})).json for path in paths]
    assert [network["name"] for network in made] == ["mine"] * 3
    ids = [network["id"] for network in made]
    assert all(network_id.startswith(address) for network_id in ids)
    assert ids[2] == f"{address}000123"
    assert await api.get("/controller/network") == sorted(ids)


async def test_networks_of_other_controllers_are_refused(api):
    for path, field in ((f"{OTHER}______", None), (f"{OTHER}000001", "id")):
        answer = await api.ask("POST", f"/controller/network/{path}", {})
        assert answer.status == 400
        assert answer.json.get("field") == field
        assert str(api.node.address) in answer.json["description"]
    assert await api.get("/controller/network") == []


async def test_the_fields_of_a_network(api):
    path = f"/controller/network/{api.node.address}000001"
    changes = {
        "name": "all of it",
        "private": False,
        "enableBroadcast": False,
        "multicastLimit": 7,
        "mtu": 1400,
        "remoteTraceTarget": OTHER,
        "remoteTraceLevel": 1,
        "v4AssignMode": {"zt": True},
        "v6AssignMode": {"rfc4193": True, "zt": False, "6plane": True},
        "routes": [{"target": "10.1.0.0/16", "via": None}, {"target": "10.2.0.0/16", "via": "10.1.0.1"}],
        "ipAssignmentPools": [{"ipRangeStart": "10.1.0.10", "ipRangeEnd": "10.1.0.99"}],
        "rules": [
            {"type": "MATCH_ETHERTYPE", "not": True, "or": False, "etherType": 2048},
            {"type": "ACTION_DROP"},
            {"type": "ACTION_ACCEPT"},
        ],
        "capabilities": [{"id": 9, "default": True, "rules": [{"type": "ACTION_ACCEPT"}]}],
        "tags": [{"id": 5, "default": None}, {"id": 1, "default": 3}],
        "dns": {"domain": "example", "servers": ["10.1.0.1"]},
        "authTokens": {"a": 0, "b": 5},
    }
    made = await api.post(path, changes)
    assert made["tags"] == [{"id": 1, "default": 3}, {"id": 5, "default": None}]
    changes["tags"] = made["tags"]
    assert changes.items() <= made.items()
    assert made["revision"] == 1
    assert await api.get(path) == made
    again = await api.post(path, made)  # what is shown can be sent back
    assert again == made
    for empty in ({}, None):
        assert await api.post(path, empty) == made
    changed = await api.post(path, {"name": "other", "nothing": [1], "revision": 99, "creationTime": 1})
    assert changed == made | {"name": "other", "revision": 2}


async def test_older_spellings_of_modes_are_taken(api):
    path = f"/controller/network/{api.node.address}000001"
    made = await api.post(path, {"v4AssignMode": "zt", "v6AssignMode": "rfc4193,6plane", "mtu": 100})
    assert made["v4AssignMode"] == {"zt": True}
    assert made["v6AssignMode"] == {"rfc4193": True, "zt": False, "6plane": True}
    assert made["mtu"] == 1280


async def test_forms_of_web_pages_send_booleans_as_text(api):
    """As ztncui does."""
    network = f"/controller/network/{api.node.address}000001"
    made = await api.post(network, {"private": "false", "v4AssignMode": {"zt": "true"}})
    assert made["private"] is False
    assert made["v4AssignMode"] == {"zt": True}
    made = await api.post(network, {"private": "true", "v6AssignMode": {"6plane": "true", "zt": "false"}})
    assert made["private"] is True
    assert made["v6AssignMode"] == {"rfc4193": False, "zt": False, "6plane": True}
    member = await api.post(f"{network}/member/{MEMBER}", {"authorized": "true"})
    assert member["authorized"] is True
    member = await api.post(f"{network}/member/{MEMBER}", {"authorized": "False", "activeBridge": "true"})
    assert member["authorized"] is False
    assert member["activeBridge"] is True


async def test_what_else_tools_send(api):
    """A path by hand, an unknown content type, a body in a PUT, extra keys in entries."""
    path = f"/controller/network/{str(api.node.address).upper()}000001"
    headers = {"X-ZT1-Auth": api.service.token, "Content-Type": "application/x-www-form-urlencoded"}
    made = await api.ask("POST", path, data=b' {"name": "caf\xc3\xa9"}\n', headers=headers)
    assert made.json["name"] == "café"
    marked = await api.ask("POST", path, data=b"\xef\xbb\xbf{}")  # as Windows' shells write it
    assert marked.json == made.json
    assert made.json["id"] == f"{api.node.address}000001"
    routes = [{"target": "10.1.0.0/16", "via": "", "id": "a", "notes": "mine"}, {"target": "10.1.2.3/24"}]
    changed = await api.post(path, {"routes": routes, "config": {"name": "no"}, "dns": {}})
    assert changed["routes"] == [
        {"target": "10.1.0.0/16", "via": None},
        {"target": "10.1.2.0/24", "via": None},
    ]
    assert changed["dns"] == []
    assert changed["name"] == "café"


async def test_members(api):
    network_id = (await api.post("/controller/network", {}))["id"]
    path = f"/controller/network/{network_id}/member"
    assert await api.get(path) == {}
    made = await api.post(f"{path}/{MEMBER}", {})
    assert made.pop("id") == made.pop("address") == MEMBER
    assert made.pop("nwid") == network_id
    assert made.pop("creationTime") > 1_600_000_000_000
    assert made == MEMBER_DEFAULTS
    assert await api.get(path) == {MEMBER: 1}
    changes = {
        "name": "router",
        "activeBridge": True,
        "noAutoAssignIps": True,
        "ipAssignments": ["10.1.0.5", "fd00::5"],
        "authenticationExpiryTime": 5,
    }
    changed = await api.post(
        f"{path}/{MEMBER}", changes | {"tags": [[7, 1], [3, 2]], "capabilities": [4, 1, 4]}
    )
    assert changes.items() <= changed.items()
    assert changed["tags"] == [[3, 2], [7, 1]]
    assert changed["capabilities"] == [1, 4]
    assert changed["revision"] == 2
    assert await api.get(f"{path}/{MEMBER}") == changed
    assert await api.post(f"{path}/{MEMBER}", changed) == changed
    assert await api.delete(f"{path}/{MEMBER}") == changed
    assert await api.get(path) == {}


async def test_authorization_leaves_its_time(api):
    network_id = (await api.post("/controller/network", {}))["id"]
    path = f"/controller/network/{network_id}/member/{MEMBER}"
    allowed = await api.post(path, {"authorized": True})
    assert allowed["authorized"] is True
    assert allowed["lastAuthorizedTime"] > 1_600_000_000_000
    assert allowed["lastDeauthorizedTime"] == 0
    assert (allowed["lastAuthorizedCredentialType"], allowed["lastAuthorizedCredential"]) == ("api", None)
    assert await api.post(path, {"authorized": True}) == allowed
    denied = await api.post(path, {"authorized": False})
    assert denied["authorized"] is False
    assert denied["lastAuthorizedTime"] == allowed["lastAuthorizedTime"]
    assert denied["lastDeauthorizedTime"] >= allowed["lastAuthorizedTime"]


async def test_pages_of_all(api):
    first, second = sorted([(await api.post("/controller/network", {}))["id"] for _ in range(2)])
    await api.post(f"/controller/network/{first}/member/{MEMBER}", {"authorized": True})
    await api.post(f"/controller/network/{first}/member/{OTHER}", {})
    page = await api.get("/unstable/controller/network")
    assert page["meta"] == {"networkCount": 2}
    assert [network.pop("meta") for network in page["data"]] == [
        {"totalMemberCount": 2, "authorizedMemberCount": 1},
        {"totalMemberCount": 0, "authorizedMemberCount": 0},
    ]
    assert page["data"] == [await api.get(f"/controller/network/{each}") for each in (first, second)]
    members = await api.get(f"/unstable/controller/network/{first}/member")
    assert members["meta"] == {"totalCount": 2, "authorizedCount": 1}
    assert {member["id"] for member in members["data"]} == {MEMBER, OTHER}


async def test_deleted_networks_take_their_members_along(api):
    made = await api.post("/controller/network", {"name": "gone"})
    path = f"/controller/network/{made['id']}"
    await api.post(f"{path}/member/{MEMBER}", {"authorized": True})
    assert await api.delete(path) == made
    for gone in (path, f"{path}/member", f"{path}/member/{MEMBER}", f"/unstable{path}/member"):
        answer = await api.ask("GET", gone)
        assert answer.status == 404
        assert answer.json["description"] == f"there is no network {made['id']} on this controller"
    assert await api.get("/controller/network") == []


async def test_a_controller_that_has_ended_is_503(api):
    await api.controller.close()
    answer = await api.ask("GET", "/controller")
    assert answer.status == 503
    assert answer.json["controller"] is True
    assert answer.json["databaseReady"] is False
    for method, path in (
        ("GET", "/controller/network"),
        ("POST", "/controller/network"),
        ("GET", "/unstable/controller/network"),
        ("DELETE", f"/controller/network/{api.node.address}000001"),
    ):
        answer = await api.ask(method, path)
        assert answer.status == 503
        assert "controller" in answer.json["description"]
    assert (await api.ask("GET", "/status")).status == 200
    assert (await api.ask("GET", "/metrics")).status == 200


async def told(events, kind):
    """Wait for an event of a kind."""
    async for event in events:
        if isinstance(event, kind):
            return event
    raise AssertionError(f"no {kind.__name__} was told")


async def test_a_real_member(api):
    """It asks, waits, is let in, follows changes, and is cut off."""
    network_id = (
        await api.post(
            "/controller/network",
            {
                "v4AssignMode": {"zt": True},
                "routes": [{"target": "10.9.0.0/24"}],
                "ipAssignmentPools": [{"ipRangeStart": "10.9.0.7", "ipRangeEnd": "10.9.0.8"}],
            },
        )
    )["id"]
    path = f"/controller/network/{network_id}/member/{api.other.address}"
    with api.node.events() as events, api.other.events() as others:
        network = await api.other.join(network_id, wait=False)
        await told(events, MemberWaiting)
        waiting = await api.get(path)
        assert waiting["authorized"] is False
        assert waiting["identity"] == str(api.other.identity)
        assert (waiting["vMajor"], waiting["vMinor"], waiting["vRev"]) == VERSION
        assert waiting["vProto"] >= 11
        allowed = await api.post(path, {"authorized": True})
        assert allowed["ipAssignments"] == ["10.9.0.7"]
        await network.ready()
        assert str(network.ipv4) == "10.9.0.7"
        shown = await api.get(f"/unstable/controller/network/{network_id}/member")
        assert shown["meta"] == {"totalCount": 1, "authorizedCount": 1}
        changed = await api.post(f"/controller/network/{network_id}", {"mtu": 1400, "name": "renamed"})
        assert changed["revision"] == 2
        while network.mtu != 1400:
            await told(others, zt.NetworkUpdated)
        assert network.name == "renamed"
        await api.post(path, {"authorized": False})
        while network.status != zt.NetworkStatus.ACCESS_DENIED:
            await told(others, zt.NetworkUpdated)
        await api.post(path, {"authorized": True})
        await network.ready()
        await api.delete(f"/controller/network/{network_id}")
        while network.status == zt.NetworkStatus.OK:
            await told(others, zt.NetworkUpdated)


@pytest.mark.parametrize(
    ("failure", "status"), [(StoreError("the disk is full"), 503), (Conflict("taken"), 409)]
)
async def test_what_the_store_does_not_take_is_not_done(api, store, failure, status):
    made = await api.post("/controller/network", {"name": "kept"})
    path = f"/controller/network/{made['id']}"
    await api.post(f"{path}/member/{MEMBER}", {})
    before = await api.everything()
    store.failure = failure
    for method, place in (
        ("POST", "/controller/network"),
        ("POST", path),
        ("DELETE", path),
        ("POST", f"{path}/member/{MEMBER}"),
        ("POST", f"{path}/member/{OTHER}"),
        ("DELETE", f"{path}/member/{MEMBER}"),
    ):
        answer = await api.ask(method, place, {"name": "lost", "authorized": True})
        assert answer.status == status
        assert answer.json["description"] == str(failure)
    assert await api.everything() == before
    assert (await api.ask("GET", "/controller")).status == 503
    store.failure = None
    assert (await api.post(path, {"name": "changed"}))["revision"] == 2
    assert (await api.get("/controller"))["databaseReady"] is True
