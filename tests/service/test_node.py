"""What the API says of the node, and does with it: fields and statuses as zerotier-one's."""

import asyncio
import json
import re

import aiohttp
import pytest

import zt_async as zt
from zt_async.aio.storage import FileStorage
from zt_async.service import serve
from zt_async.service.local_conf import LocalConf
from zt_async.testing import private_world, throwaway_identity

AD_HOC = "ff1b581b58000000"
CONTROLLED = "8056c2e21c000001"


async def test_status(api):
    status = await api.get("/status")
    node = api.node
    assert status["address"] == str(node.address)
    assert status["publicIdentity"] == str(node.identity)
    assert status["online"] is True
    assert status["tcpFallbackActive"] is False
    assert status["version"] == "{versionMajor}.{versionMinor}.{versionRev}".format_map(status)
    assert status["versionBuild"] == 0
    assert status["clock"] > 1_600_000_000_000
    assert status["planetWorldId"] == node.status.planet_id
    assert status["planetWorldTimestamp"] == node.status.planet_timestamp
    settings = status["config"]["settings"]
    assert settings["listeningOn"] == [f"{api.world.ip(1)}/{settings['primaryPort']}"]
    assert settings["surfaceAddresses"] == []  # loopback is none
    assert settings["homeDir"] == ""
    assert settings.keys() >= {
        "allowTcpFallbackRelay",
        "forceTcpRelay",
        "portMappingEnabled",
        "secondaryPort",
        "tertiaryPort",
        "softwareUpdate",
        "softwareUpdateChannel",
    }


async def test_the_version_is_that_which_peers_are_told(api):
    status = await api.get("/status")
    seen = api.world.root.peer(api.node.address)
    assert seen.version == (status["versionMajor"], status["versionMinor"], status["versionRev"])


async def test_health_is_there_for_all_on_this_machine(api):
    answer = await api.ask("GET", "/health", headers={})
    assert answer.status == 200
    assert answer.json["online"] is True
    assert answer.json.keys() == {
        *("online", "clock", "version", "versionMajor", "versionMinor", "versionRev", "versionBuild")
    }


async def test_peers(api):
    root = str(api.world.root.address)
    peers = await api.get("/peer")
    assert {peer["address"] for peer in peers} >= {root}
    (peer,) = (peer for peer in peers if peer["address"] == root)
    assert peer["role"] == "PLANET"
    assert peer["latency"] >= 0
    assert peer["isBonded"] is peer["tunneled"] is False
    (path,) = peer["paths"]
    status = await api.get("/status")
    assert path["address"].startswith(f"{api.world.ip(0)}/")
    assert path["active"] is path["preferred"] is True
    assert path["expired"] is False
    assert path["trustedPathId"] == 0
    assert path["localPort"] == status["config"]["settings"]["primaryPort"]
    for then in ("lastSend", "lastReceive"):
        assert status["clock"] - 60_000 < path[then] <= status["clock"] + 1000
    single = await api.get(f"/peer/{root}")
    assert single["address"] == root
    assert (await api.get(f"/peer/{root.upper()}"))["address"] == root


async def test_a_peer_that_nothing_is_known_of(api):
    answer = await api.ask("GET", "/peer/0123456789")
    assert answer.status == 404
    assert answer.json == {"error": 404, "description": "nothing is known of node 0123456789"}


async def test_join_look_at_and_leave_a_network(api):
    assert (await api.ask("GET", f"/network/{AD_HOC}")).status == 404
    joined = await api.post(f"/network/{AD_HOC}")
    assert joined["id"] == joined["nwid"] == AD_HOC
    network = api.node.networks[zt.NetworkId.parse(AD_HOC)]
    shown = await api.get(f"/network/{AD_HOC}")
    assert shown["status"] == "OK"
    assert shown["mac"] == str(network.mac)
    assert shown["type"] == "PUBLIC"
    assert shown["mtu"] == network.mtu
    assert shown["assignedAddresses"] == [str(address) for address in network.addresses]
    assert shown["dhcp"] is shown["bridge"] is False
    assert shown["portError"] == 0
    assert shown["allowManaged"] is True
    assert shown["allowGlobal"] is shown["allowDefault"] is shown["allowDNS"] is False
    assert shown["dns"] == {"domain": "", "servers": []}
    assert all(route.keys() == {"target", "via", "flags", "metric"} for route in shown["routes"])
    assert {AD_HOC} < {network["id"] for network in await api.get("/network")}
    assert await api.delete(f"/network/{AD_HOC}") == {"result": True}
    gone = await api.ask("DELETE", f"/network/{AD_HOC}")
    assert (gone.status, gone.json["description"]) == (404, f"this node is not on network {AD_HOC}")


async def test_a_network_whose_controller_does_not_answer_is_joined_nonetheless(api):
    joined = await api.post(f"/network/{CONTROLLED}", {})
    assert joined["status"] == "REQUESTING_CONFIGURATION"
    assert joined["type"] == "PRIVATE"
    assert joined["assignedAddresses"] == []
    assert {network["id"] for network in await api.get("/network")} >= {CONTROLLED}


async def test_settings_of_a_network(api):
    path = f"/network/{AD_HOC}"
    joined = await api.post(path, {"allowGlobal": True, "allowDNS": True, "somethingElse": 1})
    assert joined["allowGlobal"] is joined["allowDNS"] is joined["allowManaged"] is True
    assert joined["allowDefault"] is False
    changed = await api.post(path, {"allowGlobal": False})
    assert changed["allowGlobal"] is False
    assert changed["allowDNS"] is True
    changed = (await api.ask("PUT", path, {"allowManaged": False})).json
    assert changed["allowManaged"] is False
    assert api.node.networks[zt.NetworkId.parse(AD_HOC)].settings.allow_dns


async def test_settings_are_kept_in_the_folder(tmp_path):
    async with private_world(0) as world:
        for kept in ({}, {"allowDNS": True}):
            async with (
                await world.start(1, tmp_path) as node,
                serve(node, port=0) as service,
                aiohttp.ClientSession(headers={"X-ZT1-Auth": service.token}) as session,
            ):
                async with session.get(f"{service.url}/network") as response:
                    networks = await response.json()
                assert [network["allowDNS"] for network in networks] == list(kept.values())
                async with session.post(f"{service.url}/network/{AD_HOC}", json={"allowDNS": True}) as done:
                    assert done.status == 200
                async with session.get(f"{service.url}/status") as response:
                    assert (await response.json())["config"]["settings"]["homeDir"] == str(tmp_path)
        assert "allowDNS=1" in (tmp_path / "networks.d" / f"{AD_HOC}.local.conf").read_text()


async def test_an_ad_hoc_network_of_no_known_form(api):
    before = await api.everything()
    answer = await api.ask("POST", "/network/ff00000000000002")
    assert answer.status == 404
    assert "ad-hoc" in answer.json["description"]
    answer = await api.ask("POST", "/network/0000000000000001")
    assert answer.status == 404
    assert await api.everything() == before


async def test_moons(api):
    assert await api.get("/moon") == []
    root = api.world.root
    moon_id = int(root.address)
    moon = zt.World.make(
        zt.WorldType.MOON,
        moon_id,
        [(throwaway_identity(0), [zt.Endpoint(api.world.ip(0), 1)])],
        signing_key=zt.WorldKey.generate(bytes),
        timestamp=1_700_000_000_000,
    )
    path = f"/moon/{moon_id:010x}"
    assert (await api.ask("GET", path)).status == 404
    refused = await api.ask("POST", path)
    assert refused.status == 400
    assert "seed" in refused.json["description"]
    waiting = await api.post(path, {"seed": str(api.other.address)})
    assert waiting == await api.get(path)
    assert waiting == {
        "id": f"{moon_id:016x}",
        "timestamp": 0,
        "signature": None,
        "updatesMustBeSignedBy": None,
        "roots": [],
        "waiting": True,
    }
    assert await api.get("/moon") == []
    api.node.core.vl1.offer_world(moon, always_accept_new=True)
    (shown,) = await api.get("/moon")
    assert shown == await api.get(path) == await api.post(path, {"seed": str(api.other.address)})
    assert shown["waiting"] is False
    assert shown["timestamp"] == moon.timestamp
    assert shown["signature"] == moon.signature.hex()
    assert shown["updatesMustBeSignedBy"] == moon.update_key.hex()
    assert shown["roots"] == [{"identity": str(root.identity), "stableEndpoints": [f"{api.world.ip(0)}/1"]}]
    assert await api.get(f"/moon/{shown['id']}") == shown
    assert await api.delete(f"/moon/{shown['id'].upper()}") == {"result": True}
    assert (await api.ask("DELETE", path)).status == 404
    assert await api.get("/moon") == []


async def test_local_conf(tmp_path):
    content = {
        "physical": {"10.0.0.0/8": {"blacklist": True}},
        "settings": {"primaryPort": 9994, "mine": [1]},
    }
    (tmp_path / "local.conf").write_text(json.dumps(content))
    async with (
        private_world(0) as world,
        await world.start(1, tmp_path) as node,
        serve(node, port=0) as service,
        aiohttp.ClientSession(headers={"X-ZT1-Auth": service.token}) as session,
    ):
        async with session.get(f"{service.url}/config") as response:
            assert await response.json() == content
        async with session.post(f"{service.url}/config/settings", json={"other": {"a": 1}}) as response:
            assert await response.json() == {}
        content["settings"]["other"] = {"a": 1}
        assert json.loads((tmp_path / "local.conf").read_text()) == content
        async with session.get(f"{service.url}/status") as response:
            config = (await response.json())["config"]
        assert config["physical"] == content["physical"]
        assert config["settings"]["mine"] == [1]
        assert config["settings"]["primaryPort"] == node.status.sockets[0].local.port


async def test_settings_that_are_changed_at_once_are_all_kept(tmp_path):
    local_conf = await LocalConf.load(FileStorage(tmp_path))
    await asyncio.gather(*(local_conf.merge({f"number{n}": n}) for n in range(8)))
    assert local_conf.settings == {f"number{n}": n for n in range(8)}
    assert json.loads((tmp_path / "local.conf").read_text()) == local_conf.content


async def test_what_is_no_local_conf_is_said_before_anything_is_served(tmp_path):
    async with private_world(0) as world, await world.start(1, tmp_path) as node:
        for text in (
            "[]",
            "{",
            '{"settings": 1}',
            '{"settings": {"allowManagementFrom": "10.0.0.0/8"}}',
            '{"settings": {"allowManagementFrom": ["x"]}}',
        ):
            (tmp_path / "local.conf").write_text(text)
            with pytest.raises(zt.StorageError, match=r"local\.conf is not usable"):
                async with serve(node, port=0):
                    pass


async def test_bonds_are_not_there(api):
    assert (await api.ask("GET", "/bond/show/0123456789")).status == 400
    assert (await api.ask("POST", "/bond/rotate/0123456789")).status == 400


async def test_metrics(api):
    answer = await api.ask("GET", "/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain")
    assert "# TYPE zt_num_networks gauge\nzt_num_networks 1.0\n" in answer.text
    root = api.world.root.address
    assert f'zt_peer_path_count{{node_id="{root}",status="alive"}} 1.0\n' in answer.text
    assert re.search(r'zt_async_events_total\{room="vl1",what="[^"]+"\} [0-9.]+\n', answer.text)
    assert "controller_network_count 0.0\n" in answer.text
    await api.post("/controller/network")
    assert "controller_network_count 1.0\n" in (await api.ask("GET", "/metrics")).text
    for line in answer.text.splitlines():
        assert re.fullmatch(r'# (HELP|TYPE) \w+ .+|\w+(\{(\w+="([^"\\\n]|\\.)*",?)+\})? [0-9.e+-]+', line), (
            line
        )


async def test_jsonp(api):
    answer = await api.ask("GET", "/moon?jsonp=window.take_it")
    assert answer.text == "window.take_it([]);"
    assert answer.headers["Content-Type"].startswith("application/javascript")
    refused = await api.ask("GET", "/peer/0123456789?jsonp=f")
    assert refused.status == 404
    assert refused.text.startswith('f({"error": 404')
    before = await api.everything()
    for name in ("alert(1)", "", "1a", "a" * 200, "a;b"):
        answer = await api.ask("POST", f"/network/{AD_HOC}?jsonp={name}")
        assert (answer.status, answer.json["field"]) == (400, "jsonp")
    assert await api.everything() == before


async def test_a_node_that_has_stopped_is_503(api):
    await api.node.stop()
    for path in ("/status", "/peer", "/network", "/moon", "/metrics"):
        answer = await api.ask("GET", path)
        assert (answer.status, answer.json["description"]) == (503, "the node was stopped")
    assert (await api.get("/health"))["online"] is False


async def test_requests_under_way_end_when_the_api_does(api):
    async with aiohttp.ClientSession() as session, serve(api.node, port=0) as service:
        reader, writer = await asyncio.open_connection(*service.addresses[0])
        writer.write(b"POST /network/ff1b581b58000000 HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n")
        await writer.drain()
        async with session.get(f"{service.url}/health") as response:
            assert response.status == 200
    await reader.read()
    writer.close()
    await writer.wait_closed()
