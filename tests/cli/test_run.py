"""Commands that run, as processes of their own: a controller and a member, from nothing to a ping between them."""

import asyncio
import contextlib
import json
import os
import signal
import stat
import sys

import pytest
import pytest_asyncio
from typer.testing import CliRunner

from zt_async.aio.stores.memory import MemoryStore
from zt_async.cli.app import app
from zt_async.cli.client import Client
from zt_async.cli.failures import Failure
from zt_async.cli.run import options, run_node
from zt_async.testing import private_world

pytestmark = pytest.mark.timeout(120)


class Processes:
    """``zt`` on computers of a private world, whose root is in this process."""

    def __init__(self, world, folder):
        self.world = world
        self.folder = folder
        self._stack = contextlib.AsyncExitStack()
        self._planet = folder / "planet.file"
        self._planet.write_bytes(world.planet.to_bytes())

    async def start(self, number, *arguments):
        """A command that runs; gives it, and the facts that it tells when it does."""
        where = (
            "--bind",
            self.world.ip(number),
            "--allow-loopback-paths",
            "--planet",
            self._planet,
            "--json",
        )
        running = Running(await spawn(*arguments, *where))
        self._stack.push_async_callback(running.kill)
        return running

    async def close(self):
        await self._stack.aclose()


async def spawn(*arguments, stderr=None):
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "zt_async.cli", *map(str, arguments)),
        stdout=asyncio.subprocess.PIPE,
        stderr=stderr,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )


class Running:
    def __init__(self, process):
        self.process = process

    async def told(self, event):
        """The facts of the next line, which tells of that event."""
        facts = json.loads(await self.process.stdout.readline())
        assert facts["event"] == event
        return facts

    async def end(self, number):
        """Interrupt it; gives the exit status."""
        self.process.send_signal(number)
        await self.told("stopped")
        return await self.process.wait()

    async def kill(self):
        if self.process.returncode is None:
            self.process.kill()
        await self.process.communicate()


async def zt(home, *arguments):
    """The JSON that a command shows, which has to succeed."""
    process = await spawn(*arguments, "--home", home, "--json")
    shown, _ = await process.communicate()
    assert process.returncode == 0
    return json.loads(shown)


@pytest_asyncio.fixture
async def processes(tmp_path):
    async with private_world(0) as world:
        processes = Processes(world, tmp_path)
        try:
            yield processes
        finally:
            await processes.close()


async def test_a_controller_and_a_member(processes, tmp_path):
    home, member_home = tmp_path / "controller", tmp_path / "member"
    store = tmp_path / "networks.db"
    api = ("--api", "127.0.0.1:0")
    controller = await processes.start(1, "controller", "--store", store, "--home", home, *api)
    running = await controller.told("running")
    assert running["controller"] is True
    assert stat.S_IMODE((home / "authtoken.secret").stat().st_mode) == 0o600
    network = (await zt(home, "controller", "create", "--name", "mine", "--subnet", "10.9.0.0/24"))["id"]
    assert network.startswith(running["address"])
    member = await processes.start(2, "node", "--home", member_home, *api)
    address = (await member.told("running"))["address"]
    (allowed,) = await zt(home, "controller", "authorize", network, address)
    assert allowed["authorized"] is True
    await zt(member_home, "join", network)
    ready = await until(lambda: joined(member_home), lambda found: found["status"] == "OK")
    (assigned,) = ready["assignedAddresses"]
    assert assigned.startswith("10.9.0.")
    assert assigned.endswith("/24")
    (seen,) = await zt(home, "controller", "members", network)
    assert seen["ipAssignments"] == [assigned.removesuffix("/24")]
    assert seen["vMajor"] >= 1
    assert await member.end(signal.SIGTERM) == 0
    assert await controller.end(signal.SIGINT) == 0

    # All of it is there again.
    controller = await processes.start(1, "controller", "--store", store, "--home", home, *api)
    assert (await controller.told("running"))["address"] == running["address"]
    assert [each["id"] for each in await zt(home, "controller", "networks")] == [network]
    member = await processes.start(2, "node", "--home", member_home, *api)
    assert (await member.told("running"))["address"] == address
    again = await until(lambda: joined(member_home), lambda found: found["status"] == "OK")
    assert again["assignedAddresses"] == [assigned]
    await zt(home, "controller", "deauthorize", network, address)
    await until(lambda: joined(member_home), lambda found: found["status"] == "ACCESS_DENIED")


class NotUnderstood(MemoryStore):
    async def watch(self, controller):
        raise ValueError("not understood")
        yield


async def test_a_controller_that_comes_to_its_end_ends_the_command(tmp_path):
    async with private_world(0) as world:
        (tmp_path / "planet").write_bytes(world.planet.to_bytes())
        chosen = options(
            tmp_path / "home", "none", planet=tmp_path / "planet", bind=[world.ip(1)], loopback=True
        )
        with pytest.raises(Failure, match="came to an end: not understood"):
            await run_node(chosen, NotUnderstood())


async def joined(home):
    (network,) = await asyncio.to_thread(Client(home, None, None).get, "/network")
    return network


async def until(ask, wanted):
    """Ask again and again, which takes its time, until what is found is what is wanted."""
    async with asyncio.timeout(60):
        while not wanted(found := await ask()):
            pass
    return found


async def test_a_standby_takes_over(processes, tmp_path):
    store = tmp_path / "networks.db"
    made = await spawn("controller", "add-identity", "--store", store)
    shown, _ = await made.communicate()
    address = shown.decode().strip()
    first, second = [
        await processes.start(
            number,
            *("controller", "--store", store, "--standby", "--home", tmp_path / str(number)),
            *("--api", "127.0.0.1:0"),
        )
        for number in (1, 2)
    ]
    for process in (first, second):
        await process.told("standby")
    tasks = {asyncio.ensure_future(process.told("running")): process for process in (first, second)}
    (done,), (waiting,) = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    holder, other = tasks[done], tasks[waiting]
    assert done.result()["address"] == address
    home = tmp_path / ("1" if holder is first else "2")
    network = (await zt(home, "controller", "create", "--name", "kept"))["id"]
    process = await spawn("controller", "identities", "--store", store, "--json")
    listed, _ = await process.communicate()
    (status,) = json.loads(listed)
    assert status["address"] == address
    assert str(holder.process.pid) in status["holder"]
    assert len(status["identity"].split(":")) == 3  # without its secret
    holder.process.kill()
    assert (await waiting)["address"] == address
    home = tmp_path / ("2" if holder is first else "1")
    assert [each["name"] for each in await zt(home, "controller", "networks")] == ["kept"]
    assert network.startswith(address)
    assert await other.end(signal.SIGTERM) == 0


def run(*arguments):
    """A command that ends by itself, in this process."""
    return CliRunner().invoke(app, [str(each) for each in arguments])


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("controller",), "--store says where networks are kept"),
        (("controller", "--store", "x.db", "--identity", "0123456789"), "--standby"),
        (("controller", "--store", "x.db", "--standby", "--identity", "01234567"), "10 hexadecimal"),
        (("node", "--api", "9993"), "HOST:PORT"),
        (("node", "--allow-from", "x"), "'x'"),
        (("node", "--bind", "x"), "'x'"),
        (("node", "--port", "70000"), "65535"),
        (("node", "--nothing"), "--nothing"),
    ],
)
def test_mistakes_of_the_command_line(arguments, text):
    done = run(*arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    assert text in done.stderr


async def test_what_cannot_run_says_why(tmp_path):
    store, home = tmp_path / "x.db", tmp_path / "home"
    cases = [
        (("controller", "--store", store, "--standby"), "'zt controller add-identity' adds one"),
        (("controller", "--store", tmp_path, "--home", home, "--bind", "127.0.0.1"), str(tmp_path)),
        (("node", "--home", home, "--planet", tmp_path / "none"), "none: No such file"),
        (("node", "--home", home, "--bind", "1.2.3.4"), "1.2.3.4"),
    ]
    for arguments, text in cases:
        process = await spawn(*arguments, stderr=asyncio.subprocess.PIPE)
        shown, told = await process.communicate()
        assert (process.returncode, shown) == (1, b""), (arguments, told)
        assert told.startswith(b"zt: ")
        assert text in told.decode()
        assert len(told.splitlines()) == 1


def test_import_and_export(tmp_path):
    network, member = "0123456789000001", "89e92ceee5"
    folder = tmp_path / "controller.d"
    members = folder / "network" / network / "member"
    members.mkdir(parents=True)
    (folder / "network" / f"{network}.json").write_text(
        json.dumps({"id": network, "nwid": network, "name": "old"})
    )
    (members / f"{member}.json").write_text(
        json.dumps({"id": member, "nwid": network, "authorized": True, "ipAssignments": ["10.0.0.1"]})
    )
    (folder / "trace").write_text("")
    store = tmp_path / "networks.db"
    done = run("controller", "import", folder, "--store", store)
    assert (done.exit_code, done.stdout) == (0, "imported 1 networks with 1 members\n")
    again = run("controller", "import", folder, "--store", store)
    assert again.exit_code == 1
    assert again.stderr.startswith("zt: ")
    assert network in again.stderr
    done = run("controller", "export", tmp_path / "again", "0123456789", "--store", store)
    assert (done.exit_code, done.stdout) == (0, "exported 1 networks with 1 members\n")
    nobody = run("controller", "export", tmp_path / "nothing", member, "--store", store)
    assert (nobody.exit_code, nobody.stderr) == (1, f"zt: the store has no networks of {member}\n")
    assert not (tmp_path / "nothing").exists()
    written = json.loads((tmp_path / "again" / "network" / f"{network}.json").read_text())
    assert (written["name"], written["mtu"]) == ("old", 2800)
    path = tmp_path / "again" / "network" / network / "member" / f"{member}.json"
    assert json.loads(path.read_text())["ipAssignments"] == ["10.0.0.1"]
    (folder / "network" / f"{network}.json").write_text("{")
    damaged = run("controller", "import", folder, "--store", tmp_path / "other.db", "--json")
    assert damaged.exit_code == 1
    assert f"network/{network}.json: is no JSON" in damaged.stderr
    missing = run("controller", "import", tmp_path / "none", "--store", tmp_path / "other.db")
    assert (missing.exit_code, missing.stdout) == (1, "")
    assert "is no controller.d" in missing.stderr


def test_identities(tmp_path):
    store = tmp_path / "networks.db"
    assert "there are no identities" in run("controller", "identities", "--store", store).stdout
    address = run("controller", "add-identity", "--store", store).stdout.strip()
    shown = run("controller", "identities", "--store", store)
    assert shown.stdout.splitlines()[2].split() == [address, "-", "-"]
    removed = run("controller", "remove-identity", address, "--store", store)
    assert (removed.exit_code, removed.stdout) == (0, f"{address} is not in the store any more\n")
    gone = run("controller", "remove-identity", address, "--store", store)
    assert (gone.exit_code, gone.stderr) == (1, f"zt: {address} is not in the store\n")
    (tmp_path / "identity").write_text("nonsense")
    wrong = run("controller", "add-identity", tmp_path / "identity", "--store", store)
    assert wrong.exit_code == 1
    assert wrong.stderr.startswith("zt: ")
    assert "nonsense" not in wrong.stderr
