"""Who gets in."""

import ipaddress
import re
import stat
from unittest.mock import Mock

import pytest
from aiohttp.test_utils import make_mocked_request

import zt_async as zt
from zt_async.aio.storage import Kind
from zt_async.service import serve
from zt_async.service.access import Gate
from zt_async.service.openapi import PATH
from zt_async.service.replies import ApiError
from zt_async.service.table import OPERATIONS, Access
from zt_async.testing import private_world

PARTS = {"network_id": "8056c2e21c000001", "address": "89e92ceee5", "moon_id": "0123456789"}
PATHS = [(method, operation.path.format(**PARTS)) for operation in OPERATIONS for method in operation.methods]
OPEN = {operation.path for operation in OPERATIONS if operation.access is Access.NEAR} | {PATH}


async def test_every_operation_but_the_open_ones_needs_the_token(api):
    before = await api.everything()
    for headers in ({}, {"X-ZT1-Auth": ""}, {"X-ZT1-Auth": "a" * 24}, {"Authorization": "Bearer no"}):
        for method, path in [*PATHS, ("GET", PATH), ("GET", "/nothing"), ("PATCH", "/status")]:
            answer = await api.ask(method, path, headers=headers)
            if path in OPEN:
                assert answer.status == 200
            else:
                assert (answer.status, answer.json["error"]) == (401, 401), (method, path)
                assert "authtoken.secret" in answer.json["description"]
                assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert await api.everything() == before


async def test_the_token_can_come_in_three_ways(api):
    token = api.service.token
    for headers in (
        {"X-ZT1-Auth": token},
        {"x-zt1-auth": f" {token} "},
        {"Authorization": f"Bearer {token}"},
        {"Authorization": f"bearer {token}"},
    ):
        assert (await api.ask("GET", "/status", headers=headers)).status == 200
    assert (await api.ask("GET", f"/status?auth={token}", headers={})).status == 200
    assert (await api.ask("GET", "/status", headers={"Authorization": f"Basic {token}"})).status == 401


async def test_the_first_place_that_has_a_token_counts(api):
    token = api.service.token
    assert (await api.ask("GET", f"/status?auth={token}", headers={"X-ZT1-Auth": "no"})).status == 401
    assert (
        await api.ask("GET", "/status?auth=no", headers={"Authorization": f"Bearer {token}"})
    ).status == 401


async def test_a_token_may_be_anything_but_does_not_raise(api):
    for path in ("/status?auth=%ff%fe", "/status?auth=%ED%A0%80", "/status?auth=\N{SNOWMAN}"):
        assert (await api.ask("GET", path, headers={})).status == 401


async def test_metrics_have_a_token_of_their_own(api):
    metrics_token = (await api.node.storage.load(Kind.METRICS_TOKEN)).decode()
    assert (await api.ask("GET", "/metrics", headers={"X-ZT1-Auth": metrics_token})).status == 200
    assert (await api.ask("GET", "/metrics", headers={"X-ZT1-Auth": api.service.token})).status == 200
    assert (await api.ask("GET", "/status", headers={"X-ZT1-Auth": metrics_token})).status == 401


def request_from(remote, path="/status", token="token"):
    transport = Mock()
    transport.get_extra_info = {"peername": (remote, 1)}.get
    headers = {"X-ZT1-Auth": token} if token else {}
    return make_mocked_request("GET", path, headers, transport=transport)


def refused(gate, remote, *, token="token", needs_token=True, metrics=False):
    try:
        gate.check(request_from(remote, token=token), needs_token=needs_token, metrics=metrics)
    except ApiError as error:
        return error.status == 401
    return False


def test_others_than_this_machine_are_turned_away():
    gate = Gate("token", "metrics")
    for near in ("127.0.0.1", "127.8.9.10", "::1", "::ffff:127.0.0.1"):
        assert not refused(gate, near)
        assert not refused(gate, near, token=None, needs_token=False)
        assert refused(gate, near, token="wrong")
    for far in ("10.0.0.1", "fe80::1%eth0", "::ffff:10.0.0.1", "8.8.8.8", "::"):
        assert refused(gate, far)
        assert refused(gate, far, token=None, needs_token=False)
        assert not refused(gate, far, metrics=True)


def test_prefixes_may_be_allowed():
    gate = Gate("token", "metrics", [ipaddress.ip_network("10.1.0.0/16")])
    assert not refused(gate, "10.1.2.3")
    assert not refused(gate, "::ffff:10.1.2.3")
    assert refused(gate, "10.1.2.3", token="no")
    assert refused(gate, "10.2.0.1")
    gate.allow([ipaddress.ip_network("fd00::/8")])
    assert not refused(gate, "fd12::1")
    assert not refused(gate, "10.1.2.3")
    gate.allow([])
    assert refused(gate, "fd12::1")


async def test_settings_say_from_where_the_api_may_be_used(api, tmp_path):
    gate = api.service._backend.gate
    assert refused(gate, "10.1.2.3", token=api.service.token)
    await api.post("/config/settings", {"allowManagementFrom": ["10.0.0.0/8"]})
    assert not refused(gate, "10.1.2.3", token=api.service.token)
    async with serve(api.node, port=0) as again:
        assert not refused(again._backend.gate, "10.1.2.3", token=again.token)
    await api.post("/config/settings", {"allowManagementFrom": []})
    assert refused(gate, "10.1.2.3", token=api.service.token)


async def test_the_token_is_kept_in_the_folder_for_its_owner_alone(tmp_path):
    async with private_world(0) as world:
        async with await world.start(1, tmp_path) as node, serve(node, port=0) as service:
            assert re.fullmatch("[a-z0-9]{24}", service.token)
            file = tmp_path / "authtoken.secret"
            assert file.read_text() == service.token
            assert stat.S_IMODE(file.stat().st_mode) == 0o600
            assert stat.S_IMODE((tmp_path / "metricstoken.secret").stat().st_mode) == 0o600
            assert (tmp_path / "zerotier-one.port").read_text() == str(service.addresses[0][1])
            first = service.token
        (tmp_path / "authtoken.secret").write_text(first + "\n")
        async with await world.start(1, tmp_path) as node, serve(node, port=0) as service:
            assert service.token == first
        (tmp_path / "authtoken.secret").write_text(" \n")
        async with await world.start(1, tmp_path) as node:
            with pytest.raises(zt.StorageError, match=r"authtoken.secret has no token"):
                async with serve(node, port=0):
                    pass
            with pytest.raises(ValueError, match="not empty"):
                async with serve(node, port=0, token=" "):
                    pass


async def test_what_is_around_a_token_is_none_of_it(api):
    """One that was read from a file has a line's end."""
    async with serve(api.node, port=0, token=" mine\n") as service:
        assert service.token == "mine"
        assert not refused(service._backend.gate, "127.0.0.1", token="mine")


async def test_prefixes_may_have_host_bits_as_in_local_conf(api):
    async with serve(api.node, port=0, allow_management_from=["10.1.2.3/16"]) as service:
        assert not refused(service._backend.gate, "10.1.0.1", token=service.token)
    with pytest.raises(ValueError, match="'x'"):
        async with serve(api.node, port=0, allow_management_from=["x"]):
            pass


async def test_a_port_that_is_taken_is_an_os_error_and_leaves_nothing(api):
    with pytest.raises(OSError, match="address already in use"):
        async with serve(api.node, port=api.service.addresses[0][1]):
            pass
    async with serve(api.node, host=("127.0.0.1", "::1"), port=0, token="mine") as service:
        (host, port), (other_host, other_port) = service.addresses
        assert (host, other_host, port) == ("127.0.0.1", "::1", other_port)
