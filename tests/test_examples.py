"""Each example runs as it is, in a private world on this machine."""

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path

import pytest_asyncio

import zt_async as zt
from zt_async.testing import private_world
from zt_async.testing.identities import throwaway_identity

EXAMPLES = Path(__file__).parents[1] / "examples"
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(EXAMPLES.parent), "PYTHONWARNINGS": "error"}
TESTED = {"chat", "controller", "demo", "echo_client", "echo_server", "events", "multicast", "options", "web"}


def test_every_example_is_tested():
    assert {path.stem for path in EXAMPLES.glob("*.py")} == TESTED


class Program:
    """An example on a computer of its own."""

    def __init__(self, process):
        self.process = process

    async def line(self):
        return (await self.process.stdout.readline()).decode().rstrip("\n")

    async def type(self, text):
        self.process.stdin.write(f"{text}\n".encode())
        await self.process.stdin.drain()

    async def end(self, how=None):
        """End it by a signal, or else by the end of its input; all that it still says."""
        if how is not None:
            self.process.send_signal(how)
        self.process.stdin.close()
        said, errors = await self.process.communicate()
        assert errors.decode() == ""
        assert self.process.returncode == 0
        return said.decode()


@pytest_asyncio.fixture
async def run(tmp_path):
    """Starts examples; each has its own identity, so that none has to be made."""
    programs = []

    async def start(name, *arguments):
        number = len(programs) + 1
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "identity.secret").write_text(throwaway_identity(number).secret_text())
        options = ("--roots", tmp_path / "planet", "--folder", folder, "--bind", world.ip(number))
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, EXAMPLES / f"{name}.py", *options, *arguments),
            env=ENVIRONMENT,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        programs.append(process)
        return Program(process)

    async with private_world(0) as world, asyncio.timeout(60):
        (tmp_path / "planet").write_bytes(world.planet.to_bytes())
        try:
            yield start
        finally:
            for process in programs:
                if process.returncode is None:
                    with contextlib.suppress(ProcessLookupError):
                        process.kill()
                    await process.wait()


def address(number):
    return str(throwaway_identity(number).address)


async def test_echo(run):
    server = await run("echo_server")
    host = await server.line()
    client = await run("echo_client", host)
    assert await client.line() == f"connected: {address(1)}"
    for text in ("hello", "world"):
        await client.type(text)
        assert await client.line() == text
    assert await server.line() == f"connected: {address(2)}"
    assert await client.end() == ""
    assert await server.end(signal.SIGINT) == ""


async def test_chat(run):
    host = await run("chat")
    where = await host.line()
    guests = []
    for number in (2, 3):
        guests.append(await run("chat", "--connect", where))
        for program in (host, *guests):
            assert await program.line() == f"{address(number)} is here"
    await guests[0].type("good morning")
    for program in (host, *guests):
        assert await program.line() == f"{address(2)}: good morning"
    await host.type("same to you")
    for program in (host, *guests):
        assert await program.line() == f"{address(1)}: same to you"
    await guests[1].end()
    for program in (host, guests[0]):
        assert await program.line() == f"{address(3)} has left"
    guests[0].process.kill()
    await host.end(signal.SIGINT)


async def test_web(run):
    server = await run("web")
    host = await server.line()
    page = await (await run("web", "--get", host)).end()
    assert page.splitlines() == ["HTTP/1.1 200 OK", f"Hello, {address(2)}!"]
    page = await (await run("web", "--get", host, "--path", "/nowhere")).end()
    assert page.splitlines() == ["HTTP/1.1 404 Not Found", "no /nowhere"]
    assert await server.end(signal.SIGINT) == ""


async def test_events(run):
    program = await run("events")
    lines = [await program.line() for _ in range(6)]
    assert lines[0] == f"NodeUp(address=NodeAddress('{address(1)}'))"
    network = zt.NetworkId.ad_hoc(7000, 7999)
    assert any(line.startswith(f"network {network} is ready: fc") for line in lines)
    assert any(line.startswith("PLANET ") for line in [*lines, await program.line()])
    await program.type("")
    assert (await program.end()).splitlines()[-1] == "NodeDown(error=None)"


async def test_controller_and_multicast(run, tmp_path):
    owner = await run("controller", "--store", tmp_path / "networks.db")
    network = await owner.line()
    assert zt.NetworkId.parse(network).controller == throwaway_identity(1).address
    members = []
    for number in (2, 3):
        member = await run("multicast", network)
        assert await owner.line() == f"{address(number)} wants in"
        await owner.type(address(number))
        name, _, _ipv6, ipv4 = (await owner.line()).split()
        assert name == address(number)
        assert await member.line() == f"I am {ipv4.removesuffix('/24')}"
        members.append(member)
    for speaker in members:
        await speaker.type("good morning")
        assert len({await hearer.line() for hearer in members}) == 1
    await owner.type("nonsense")
    assert "10 hexadecimal digits" in await owner.line()
    await owner.type(f"-{address(9)}")
    assert f"no member {address(9)}" in await owner.line()
    await owner.type(f"-{address(3)}")
    assert await owner.line() == f"{address(3)} is out"
    for program in (*members, owner):
        assert await program.end() == ""


async def test_demo():
    demo = await asyncio.create_subprocess_exec(
        sys.executable, EXAMPLES / "demo.py", env=ENVIRONMENT, stdout=asyncio.subprocess.PIPE
    )
    said, _ = await demo.communicate()
    assert demo.returncode == 0, said.decode()
    text = said.decode()
    for expected in (
        "waits to be authorized",
        "alice ready: 10.147.20.",
        "bob ping 10.147.20.",
        "bob ping fc",
        "the same SHA-256 there",
        "HTTP/1.1 200 OK",
        "32.0/32.0 MiB",
        "carol network",
        "ACCESS_DENIED",
        "carol was cut off",
        "bob NodeDown",
        "all went well",
    ):
        assert expected in text
