"""What zerotier-one 1.14.1's controller made of its records: our member takes it, our controller makes the same.

The controller had the throw-away identity 2, so that its signatures can be made anew.
"""

import json
from pathlib import Path

import pytest

from zt_async.controller.config import ConfigPlan
from zt_async.controller.records import MemberRecord, NetworkRecord, Seen
from zt_async.crypto.credentials import com_agrees, sign_chunk, verify_chunk
from zt_async.crypto.identity import Identity
from zt_async.testing.identities import throwaway_identity
from zt_async.types import NetworkId
from zt_async.vl2.assembly import ConfigAssembly
from zt_async.wire.config_chunks import ConfigChunk
from zt_async.wire.network_config import NetworkConfig

CONTROLLER = throwaway_identity(2)


@pytest.fixture(scope="module")
def recorded():
    path = Path(__file__).parents[1] / "data/config-zerotier-one-1.14.1.json"
    return json.loads(path.read_text("utf-8"))


@pytest.fixture(scope="module")
def config(recorded):
    return NetworkConfig.decode(bytes.fromhex(recorded["dictionary"]))


def test_our_member_takes_it(recorded, config):
    chunk = ConfigChunk.decode(bytes.fromhex(recorded["chunk"]))
    assert Identity.parse(recorded["controller"]) == CONTROLLER
    assert verify_chunk(chunk, CONTROLLER)
    assembled = ConfigAssembly().add(chunk, CONTROLLER.address, CONTROLLER, 1)
    assert assembled.dictionary.hex() == recorded["dictionary"]
    member = Identity.parse(recorded["member"])
    assert (config.network_id, config.issued_to) == (NetworkId.parse(recorded["network_id"]), member.address)
    assert com_agrees(config.certificate, config.certificate, member)


def test_it_is_written_as_it_was_read(recorded, config):
    assert config.encode().hex() == recorded["dictionary"]


def test_our_chunk_is_theirs(recorded):
    chunk = ConfigChunk.decode(bytes.fromhex(recorded["chunk"]))
    assert sign_chunk(chunk, CONTROLLER).encode().hex() == recorded["chunk"]


def test_our_controller_makes_the_same_of_the_same_records(recorded, config):
    """Down to the last byte of the credentials' signatures."""
    network = NetworkRecord.from_json(recorded["network"])
    member, bridge = map(MemberRecord.from_json, recorded["members"])
    assert bridge.active_bridge
    ours = ConfigPlan(network, [bridge.address], CONTROLLER).build(member, config.timestamp)
    assert ours == config
    assert ours.encode().hex() == recorded["dictionary"]


def test_records_are_written_as_they_were_read(recorded):
    network = NetworkRecord.from_json(recorded["network"]).to_json()
    assert network["v6AssignMode"].pop("zt") is False  # theirs leaves out what it was not told
    assert network == recorded["network"]
    for record in recorded["members"]:
        assert MemberRecord.from_json(record).to_json(Seen.from_json(record)) == record
