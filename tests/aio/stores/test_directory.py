import dataclasses
import json
import stat
import sys

import pytest

from zt_async.aio.stores.directory import Imported, export_directory, import_directory
from zt_async.aio.stores.memory import MemoryStore
from zt_async.controller.records import Seen
from zt_async.controller.store import PutSeen, Snapshot
from zt_async.errors import Conflict, ControllerError, DamagedFiles

from .records import CONTROLLER, NETWORK, OTHERS_NETWORK, member, network, put
from .test_contract import load

# As zerotier-one 1.14 writes them.
NETWORK_TEXT = (
    '{"authTokens":[null],"authorizationEndpoint":"","capabilities":[],"clientId":"","creationTime":1700000000000,'
    '"dns":[],"enableBroadcast":true,"id":"8056c2e21c000001","ipAssignmentPools":[{"ipRangeEnd":"10.9.0.254",'
    '"ipRangeStart":"10.9.0.1"}],"mtu":2800,"multicastLimit":32,"name":"office","nwid":"8056c2e21c000001",'
    '"objtype":"network","private":true,"remoteTraceLevel":0,"remoteTraceTarget":null,"revision":4,'
    '"routes":[{"target":"10.9.0.0/24","via":null}],"rules":[{"not":false,"or":false,"type":"ACTION_ACCEPT"}],'
    '"rulesSource":"","ssoEnabled":false,"tags":[],"v4AssignMode":{"zt":true},'
    '"v6AssignMode":{"6plane":false,"rfc4193":false,"zt":false}}'
)
MEMBER_TEXT = (
    '{"activeBridge":false,"address":"0000000001","authenticationExpiryTime":0,"authorized":true,"capabilities":[],'
    '"creationTime":1700000000001,"id":"0000000001","ipAssignments":["10.9.0.7"],'
    '"lastAuthorizedCredential":null,"lastAuthorizedCredentialType":"api","lastAuthorizedTime":1700000000002,'
    '"lastDeauthorizedTime":0,"noAutoAssignIps":false,"nwid":"8056c2e21c000001","objtype":"member",'
    '"remoteTraceLevel":0,"remoteTraceTarget":null,"revision":3,"ssoExempt":false,"tags":[],"vMajor":1,'
    '"vMinor":14,"vProto":13,"vRev":1}'
)


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "controller.d"
    (folder / "network" / str(NETWORK) / "member").mkdir(parents=True)
    (folder / "trace").mkdir()
    (folder / "network" / f"{NETWORK}.json").write_text(NETWORK_TEXT)
    write_member(folder, 1, MEMBER_TEXT)
    return folder


def write_member(folder, number, text, **changes):
    """Write a member's file, with changes to its object."""
    if changes:
        text = json.dumps(json.loads(text) | changes)
    name = f"network/{NETWORK}/member/{number:010x}.json"
    (folder / name).write_text(text)
    return name


async def test_a_folder_is_imported(open_store, folder):
    store = await open_store()
    assert await import_directory(store, str(folder)) == Imported(networks=1, members=1)
    for reader in (store, await open_store()):
        snapshot = await load(reader)
        (office,), (first,) = snapshot.networks, snapshot.members
        assert office.to_json() == json.loads(NETWORK_TEXT)
        assert first.to_json(snapshot.seen[NETWORK, first.address]) == json.loads(MEMBER_TEXT)
    await store.commit([put(dataclasses.replace(office, revision=5, name="new"))])
    assert (await load(store)).networks[0].name == "new"


async def test_damaged_files_are_named_and_nothing_is_imported(store, folder):
    (folder / "network" / f"{OTHERS_NETWORK}.json").write_text(NETWORK_TEXT)
    truncated = write_member(folder, 2, MEMBER_TEXT[:100])
    array = write_member(folder, 3, "[]")
    taken = write_member(folder, 4, MEMBER_TEXT, address="0000000004", id="0000000004")
    bad = write_member(
        folder, 5, MEMBER_TEXT, address="0000000005", id="0000000005", ipAssignments=["10.0.0"]
    )
    deep = write_member(folder, 6, "[" * 100_000)
    (folder / "network" / str(NETWORK) / "member" / "0000000007.json").write_bytes(b"\xff\xfe{")
    with pytest.raises(DamagedFiles) as caught:
        await import_directory(store, folder)
    problems = caught.value.problems
    assert problems.pop(f"network/{NETWORK}/member/0000000007.json").startswith("is no JSON")
    assert problems.pop(deep).startswith("is no JSON")
    assert problems.pop(truncated).startswith("is no JSON: ")
    assert problems == {
        f"network/{OTHERS_NETWORK}.json": f"has the id of another file, '{NETWORK}'",
        array: "is no JSON object",
        taken: f"10.9.0.7 is also an address of network/{NETWORK}/member/0000000001.json",
        bad: "ipAssignments entry 0: is an IP address, not '10.0.0'",
    }
    assert str(caught.value).startswith("7 files cannot be imported")
    assert f"  {array}: is no JSON object" in str(caught.value)
    assert await load(store) == Snapshot()


async def test_what_cannot_be_read_is_named(store, folder):
    (folder / "network" / f"{OTHERS_NETWORK}.json").symlink_to("nowhere")
    with pytest.raises(DamagedFiles, match="cannot be read: No such file"):
        await import_directory(store, folder)


async def test_files_of_other_names_are_left_alone_as_are_members_of_no_network(store, folder):
    (folder / "network" / "README").write_text("x")
    (folder / "network" / f"{NETWORK}.json.bak").write_text("x")
    orphan = folder / "network" / str(OTHERS_NETWORK) / "member" / "0000000001.json"
    orphan.parent.mkdir(parents=True)
    orphan.write_text("x")
    imported = await import_directory(store, folder)
    assert sorted(imported.ignored) == sorted(
        [
            "network/README",
            f"network/{NETWORK}.json.bak",
            f"network/{OTHERS_NETWORK}/member/0000000001.json",
        ]
    )
    assert (imported.networks, imported.members) == (1, 1)


async def test_a_network_that_is_there_already_is_not_overwritten(store, folder):
    await store.commit([put(network(name="mine"))])
    with pytest.raises(Conflict, match=str(NETWORK)):
        await import_directory(store, folder)
    assert (await load(store)) == Snapshot([network(name="mine")], [], {})


async def test_another_folder_is_refused(store, tmp_path):
    for place in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(ControllerError, match="there is no folder named network"):
            await import_directory(store, place)


async def test_what_is_exported_is_imported_again(open_store, tmp_path):
    store = await open_store()
    seen = Seen(time=5, version=(1, 2, 3), protocol=12)
    await store.commit(
        [
            put(network(name="one")),
            put(network(OTHERS_NETWORK)),
            put(member(1, "10.0.0.1", name="x")),
            put(member(2)),
            PutSeen(NETWORK, member(1).address, seen),
        ]
    )
    await export_directory(store, CONTROLLER, tmp_path / "copy")
    with pytest.raises(FileExistsError):
        await export_directory(store, CONTROLLER, tmp_path / "copy")
    if sys.platform != "win32":
        assert stat.S_IMODE((tmp_path / "copy" / "network").stat().st_mode) == 0o700
    other = MemoryStore()
    await other.open()
    assert await import_directory(other, tmp_path / "copy") == Imported(networks=1, members=2)
    exported, found = await load(store), await load(other)
    assert (found.networks, found.members) == (exported.networks, exported.members)
    assert found.seen == {(NETWORK, member(1).address): Seen(version=(1, 2, 3), protocol=12)}


async def test_many_members_are_imported_at_once(open_store, folder):
    for number in range(2, 502):
        text = f"{number:010x}"
        ip = f"10.9.{number // 256}.{number % 256}"
        write_member(
            folder, number, MEMBER_TEXT, address=text, id=text, ipAssignments=[ip] if number != 7 else []
        )
    store = await open_store()
    assert (await import_directory(store, folder)).members == 501
    assert len((await load(await open_store())).members) == 501
