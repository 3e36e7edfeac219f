"""The description of the API, its routes, and what they answer agree."""

import jsonschema_rs
import pytest

from zt_async.service.openapi import PATH, describe
from zt_async.service.schemas import SCHEMAS
from zt_async.service.table import OPERATIONS

MEMBER = "0123456789"


async def test_the_description_is_served_to_all_on_this_machine(api):
    answer = await api.ask("GET", PATH, headers={})
    assert answer.status == 200
    assert answer.json == describe()


async def test_the_description_has_the_routes_and_no_others(api):
    described = {
        (method.upper(), path) for path, methods in describe()["paths"].items() for method in methods
    }
    routed = {
        (route.method, route.resource.canonical.replace("{address:[0-9a-fA-F]{10}}", "{address}"))
        for route in api.service.app.router.routes()
        if route.method != "HEAD"
    }
    assert described == routed - {("GET", PATH)}
    assert len(described) == sum(len(operation.methods) for operation in OPERATIONS)


def test_every_schema_is_used_and_every_operation_has_a_name_of_its_own():
    text = str(describe())
    assert [name for name in SCHEMAS if f"'#/components/schemas/{name}'" not in text] == []
    operations = [operation for methods in describe()["paths"].values() for operation in methods.values()]
    assert len({operation["operationId"] for operation in operations}) == len(operations)


@pytest.mark.parametrize("name", SCHEMAS)
def test_schemas_are_valid(name):
    jsonschema_rs.meta.validate({"$schema": "https://json-schema.org/draft/2020-12/schema", **SCHEMAS[name]})


def conforms(value, name):
    schema = {"$ref": f"#/components/schemas/{name}", "components": {"schemas": SCHEMAS}}
    jsonschema_rs.validate(schema, value)
    known = SCHEMAS[name]["properties"].keys()
    assert value.keys() <= known, value.keys() - known


async def test_what_is_answered_is_as_described(api):
    """With no key that the description does not have."""
    network = await api.post("/controller/network", {"dns": {"domain": "x", "servers": ["10.0.0.1"]}})
    path = f"/controller/network/{network['id']}"
    await api.post(path, {"authTokens": {"x": 1}, "routes": [{"target": "10.0.0.0/8"}]})
    await api.post(f"{path}/member/{MEMBER}", {"name": "x", "tags": [[1, 2]]})
    joined = await api.post("/network/ff1b581b58000000", {})
    await api.post(f"/moon/{MEMBER}", {"seed": MEMBER})
    for place, name in (
        ("/status", "Status"),
        ("/health", "Health"),
        (f"/network/{joined['id']}", "Network"),
        (f"/peer/{api.world.root.address}", "Peer"),
        (f"/moon/{MEMBER}", "Moon"),
        ("/controller", "Controller"),
        (path, "ControlledNetwork"),
        (f"{path}/member/{MEMBER}", "Member"),
        ("/unstable/controller/network", "NetworkPage"),
        (f"/unstable{path}/member", "MemberPage"),
    ):
        conforms(await api.get(place), name)
    conforms((await api.ask("GET", "/nothing")).json, "Error")
    conforms((await api.ask("POST", path, {"mtu": []})).json, "Error")
