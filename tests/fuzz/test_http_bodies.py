"""The operations of the HTTP API under random bodies: either it is done, or it is refused and nothing is done."""

import json
import random

import pytest

from zt_async.controller.records import MemberRecord, NetworkRecord
from zt_async.errors import RecordError
from zt_async.service import controller_api, node_api
from zt_async.service.access import Gate
from zt_async.service.call import Backend, Call
from zt_async.service.local_conf import LocalConf
from zt_async.service.replies import ApiError
from zt_async.service.schemas import SCHEMAS
from zt_async.testing import private_world, run
from zt_async.wire.rules import RuleType

pytestmark = pytest.mark.timeout(7200)  # of a million

AD_HOC = "ff1b581b58000000"
MEMBERS = ("0123456789", "89e92ceee5", "0000000000", "ff00000001")
KEYS = sorted(
    {key for schema in SCHEMAS.values() for key in schema.get("properties", ())}
    | {"type", "not", "or", "etherType", "ip", "start", "end", "mask", "zt", "target", "via", "id", "default"}
    | {
        "ipRangeStart",
        "ipRangeEnd",
        "domain",
        "servers",
        "6plane",
        "rfc4193",
        "value",
        "icmpType",
        "icmpCode",
    }
)
WORDS = (
    *("", "zt", "true", "False", "10.0.0.1", "10.0.0.0/8", "10.0.0.9", "fd00::1", "fd00::/64", "::/0", "x"),
    *("0123456789", "ff" * 8, "\0", "\ud800", "é" * 64, "a" * 200, "rfc4193,6plane", "fe80::1%0", "1" * 20),
    *(kind.name for kind in RuleType),
)
NUMBERS = (
    0,
    1,
    -1,
    2,
    64,
    255,
    1280,
    65535,
    65536,
    2**32 - 1,
    2**32,
    2**63 - 1,
    2**63,
    2**64,
    10**30,
    1.5,
    7.0,
)


def value(rng, depth=0):
    """Any JSON, mostly of what the API knows."""
    match rng.randrange(8 if depth < 4 else 5):
        case 0:
            return rng.choice((True, False, None))
        case 1 | 2:
            return rng.choice(NUMBERS)
        case 3 | 4:
            return rng.choice(WORDS)
        case 5 | 6:
            return [value(rng, depth + 1) for _ in range(rng.choice((0, 1, 1, 2, 3)))]
    return {rng.choice(KEYS): value(rng, depth + 1) for _ in range(rng.randrange(4))}


def mutated(rng, good):
    """An object that was good, with a part of it replaced, doubled or gone."""
    body = json.loads(json.dumps(good))
    for _ in range(rng.choice((1, 1, 2, 4))):
        place = body
        while isinstance(place, dict | list) and place:
            key = rng.choice(list(place)) if isinstance(place, dict) else rng.randrange(len(place))
            if isinstance(place[key], dict | list) and place[key] and rng.random() < 0.7:
                place = place[key]
                continue
            if isinstance(place, list) and rng.random() < 0.2:
                place += [place[key]] * rng.choice((1, 40, 200))
            elif rng.random() < 0.2:
                del place[key]
            else:
                place[key] = value(rng, 2)
            break
    return body


async def besiege(count):
    """Make requests; gives how many were done, and how many refused with which status."""
    rng = random.Random(7)
    outcomes = {}
    async with private_world(1) as world:
        (node,) = world.members
        async with node.controller() as controller:
            network = str(controller.address) + "000001"
            backend = Backend(node, controller, await LocalConf.load(node.storage), Gate("token", "metrics"))

            async def state():
                networks = await controller_api.get_network_page(Call(backend, {}, {}))
                members = [
                    await controller_api.get_member_page(Call(backend, {"network_id": each["id"]}, {}))
                    for each in networks["data"]
                ]
                moons = node.core.vl1.topology.seeds.copy()
                settings = [joined.settings for joined in node.networks.values()]
                return networks, members, moons, settings, backend.local_conf.content.copy()

            paths = {"network_id": network}
            operations = [
                (controller_api.post_network, paths),
                (controller_api.post_member, None),
                (node_api.post_network, {"network_id": AD_HOC}),
                (node_api.post_moon, {"moon_id": "0123456789"}),
                (node_api.post_settings, {}),
            ]
            weights = (10, 6, 1, 1, 1)
            for number in range(count):
                operation, path = rng.choices(operations, weights)[0]
                path = {**paths, "address": rng.choice(MEMBERS)} if path is None else path
                known = controller.networks and operation is controller_api.post_network
                if known and rng.random() < 0.7:
                    body = mutated(rng, controller.record(next(iter(controller.networks))).to_json())
                else:
                    body = {rng.choice(KEYS): value(rng, 1) for _ in range(rng.choice((1, 1, 2, 4)))}
                look = number % 16 == 0
                before = await state() if look else None
                try:
                    answer = await operation(Call(backend, path, body))
                except (ApiError, RecordError, LookupError) as error:
                    name = type(error).__name__
                    refused = True
                else:
                    refused = False
                    json.dumps(answer)
                    name = operation.__name__
                    if operation is controller_api.post_network:
                        assert NetworkRecord.from_json(answer).to_json() == answer
                    elif operation is controller_api.post_member:
                        record = MemberRecord.from_json(answer)
                        assert record == controller.member(record.network_id, record.address)
                assert not (refused and look) or await state() == before, (operation, body)
                outcomes[name] = outcomes.get(name, 0) + 1
                if number % 2000 == 1999:
                    await controller.delete_network(next(iter(controller.networks)))
    return outcomes


def test_random_bodies(fuzz_count, report):
    outcomes = run(besiege(fuzz_count // 4), limit=1e9)
    assert outcomes.keys() >= {"ApiError", "RecordError", "NoSuchNetwork", "post_network", "post_member"}
    report(", ".join(f"{count} {name}" for name, count in outcomes.items()))
