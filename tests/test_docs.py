"""What README and docs show is true: their Python blocks run, in order, on a private world of simulated time.

A block that awaits something is run as the body of a coroutine, in which ``node``, ``network`` and ``peer`` are what
``docs/how-to/index.md`` says; one that calls ``asyncio.run`` as a program, whose arguments are the ID of that network
and the last address that was printed; ``test_`` functions of the others as tests.
A comment on the line before a block tells what is different about it::

    <!-- runs on -->            it does not end by itself: the rest of the page runs beside it
    <!-- not run: REASON -->    it is only compiled
"""

from __future__ import annotations

import ast
import asyncio
import datetime
import inspect
import itertools
import re
import sys
from collections.abc import Coroutine, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

import zt_async as zt
from zt_async import errors, service, testing
from zt_async.testing import Link, SimNet, SimNode, SimUdp, VirtualLoop, throwaway_identity

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
OWNER = throwaway_identity(100)
LAZY = ["PostgresStore"]
"""Public, and yet not taken along by an import of everything."""
GIVEN = {"node", "network", "peer"}
SETTLED = 5.0  # simulated seconds in which a block that runs on has come to its work
PATIENCE = 60.0  # simulated seconds

INCLUDE = re.compile(r'^--8<-- "(?P<file>[^":]+)(?::(?P<section>\w+))?"$', re.MULTILINE)
SECTION = r"<!-- --8<-- \[start:{0}\] -->\n(.*?)<!-- --8<-- \[end:{0}\] -->"
BLOCK = re.compile(r"(?ms)^(?:<!-- (?P<mark>[^\n]+) -->\n)?```(?P<language>\w*)\n(?P<source>.*?)^```$")
LANGUAGES = {"python", "sh", "sql", "text"}

validate = cache(zt.Identity.validate)


class Block(NamedTuple):
    """A Python block of a page. Blank lines stand for all before it, so that errors tell its line in ``content``."""

    page: Path
    source: str
    runs_on: bool
    runs: bool


def content(page: Path) -> str:
    """The page as readers see it, with what it includes."""

    def included(found: re.Match[str]) -> str:
        text = (ROOT / found["file"]).read_text("utf-8")
        section = re.search(SECTION.format(found["section"]), text, re.DOTALL) if found["section"] else None
        return section[1] if section else text

    return INCLUDE.sub(included, page.read_text("utf-8"))


def blocks(page: Path) -> Iterator[Block]:
    text = content(page)
    for found in BLOCK.finditer(text):
        if found["language"] == "python":
            mark = found["mark"] or ""
            source = "\n" * text.count("\n", 0, found.start("source")) + found["source"]
            yield Block(page, source, mark == "runs on", not mark.startswith("not run: "))


class World:
    """A root on the simulated net, and the nodes that a page starts."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.net = SimNet(seed=1, link=Link(delay=0.010))
        self.runner = asyncio.Runner(loop_factory=lambda: VirtualLoop(self.net.clock))
        self.stable: dict[zt.Identity, tuple[zt.Endpoint, ...]] = {}
        """The endpoints of roots that pages made worlds with."""
        self._capsys = capsys
        self._output = ""
        self._programs: list[Coroutine[Any, Any, None]] = []
        self._background: list[asyncio.Task[None]] = []
        self._started: list[Any] = []
        self._network_id: zt.NetworkId | None = None
        self._start, self._make = zt.start, zt.World.make
        root = self.net.add_host("root")
        identity = throwaway_identity(0)
        context = self.net.context("planet")
        key = zt.WorldKey.generate(context.random_bytes)
        endpoints = root.sockets.values()
        self.planet = zt.World.make(
            zt.WorldType.PLANET, 1, [(identity, endpoints)], signing_key=key, timestamp=context.wall_ms()
        )
        SimNode.on(self.net, root, identity, planet=self.planet)
        monkeypatch.setattr(zt, "start", self.start)
        monkeypatch.setattr(zt.World, "make", staticmethod(self.make))
        monkeypatch.setattr(zt.World, "default_planet", staticmethod(lambda: self.planet))
        numbers = itertools.count(1)
        monkeypatch.setattr(
            zt.Identity, "generate", staticmethod(lambda _: throwaway_identity(next(numbers)))
        )
        monkeypatch.setattr(zt.Identity, "validate", validate)
        monkeypatch.setattr(asyncio, "run", self._programs.append)
        monkeypatch.setattr(sys, "argv", ["program.py"])

    def make(self, *arguments: Any, **named: Any) -> zt.World:
        """``zt.World.make``, noted."""
        world = self._make(*arguments, **named)
        self.stable.update((root.identity, root.endpoints) for root in world.roots)
        return world

    def start(self, path: Any = None, *, identity: zt.Identity | None = None, **arguments: Any) -> Any:
        """``zt.start`` on a host of the simulated net; the host of a root has the addresses that its world lists."""
        if "udp" in arguments:  # the page's own simulation
            return self._start(path, identity=identity, **arguments)
        endpoints = self.stable.get(identity, ()) if identity else ()
        name = f"host{len(self.net.hosts)}"
        if endpoints:
            ips, ports = ({e.host: None for e in endpoints}, {e.port: None for e in endpoints})
            host = self.net.add_host(name, ips, ports=ports)
        else:
            host = self.net.add_host(name)
        udp, context = SimUdp(self.net, host), self.net.context(name)
        starting = self._start(path, identity=identity, udp=udp, context=context, **arguments)
        self._started.append(starting)
        return starting

    async def network(self) -> zt.NetworkId:
        """A private network, whose owner lets everybody in."""
        if self._network_id is None:
            owner = await self.start(identity=OWNER)
            controller = owner.controller()
            await controller.open()
            network = await controller.create_network(name="docs", ipv4="10.147.20.0/24", sixplane=True)
            self._background.append(asyncio.create_task(let_in(owner.events(), network)))
            self._network_id = network.id
        return self._network_id

    async def members(self) -> dict[str, Any]:
        """What the how-tos speak of: a node, its network, and another member that echoes."""
        network_id = await self.network()
        node, other = await zt.start(), await zt.start()
        network, there = await node.join(network_id), await other.join(network_id)
        await other.start_server(echo, port=7000)
        await other.create_datagram_endpoint(UdpEcho, (None, 7000))
        return {"node": node, "network": network, "peer": str(there.ipv4)}

    def run(self, block: Block, names: dict[str, Any]) -> None:
        code = compile(block.source, str(block.page), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        before = set(names)
        if GIVEN & set(code.co_names) - names.keys():
            names |= self.runner.run(self.members()) | names
        if code.co_flags & inspect.CO_COROUTINE:
            self._programs.append(eval(code, names))
        else:
            if "sys.argv" in block.source:
                addresses = re.findall(r"\b(?:10\.[0-9.]+|fc[0-9a-f:]+)", self._output)
                sys.argv[1:] = [str(self.runner.run(self.network())), *addresses[-1:]]
            exec(code, names)
        for name in names.keys() - before:
            if name.startswith("test_"):
                names[name]()
        for program in self._programs:
            self.runner.run(self._await(program, block.runs_on))
        self._programs.clear()
        self._output += self._capsys.readouterr().out

    async def _await(self, program: Coroutine[Any, Any, None], runs_on: bool) -> None:
        task = asyncio.create_task(program)
        await asyncio.wait([task], timeout=SETTLED if runs_on else PATIENCE)
        if runs_on and not task.done():
            self._background.append(task)
        else:
            assert task.done(), "the block does not end; if that is meant, mark it: <!-- runs on -->"
            task.result()
            assert not runs_on, "the block is marked to run on, and ends"

    def close(self) -> None:
        """End what runs on; none of it may have failed meanwhile."""
        for task in self._background:
            if not task.done():
                task.cancel()
        results = self.runner.run(self._end())
        assert [r for r in results if not isinstance(r, asyncio.CancelledError | None)] == []

    async def _end(self) -> list[Any]:
        results = await asyncio.gather(*self._background, return_exceptions=True)
        for starting in self._started:
            await starting.__aexit__(None, None, None)
        return results


async def let_in(events: zt.EventStream, network: zt.ControlledNetwork) -> None:
    async for event in events:
        if isinstance(event, zt.MemberWaiting) and event.network_id == network.id:
            await network.authorize(event.address)


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1 << 16):
        writer.write(data)
        await writer.drain()
    writer.close()


class UdpEcho(asyncio.DatagramProtocol):
    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.transport.sendto(data, addr)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home and working folder of a page, with the certificate that the page on TLS asks for."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "echo.example")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("echo.example")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (tmp_path / "server.crt").write_bytes(certificate.public_bytes(pem))
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (tmp_path / "server.key").write_bytes(secret)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_shows_runs(page, folder, monkeypatch, capsys):
    world = World(monkeypatch, capsys)
    names: dict[str, Any] = {"asyncio": asyncio, "zt": zt, "__name__": "page"}
    with world.runner:
        for block in blocks(page):
            if block.runs:
                world.run(block, names)
            else:
                compile(block.source, str(page), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        world.close()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_block_of_a_page_is_seen_and_says_what_it_is(page):
    text = page.read_text("utf-8")
    found = list(BLOCK.finditer(text))
    assert text.count("```") == 2 * len(found)
    assert {block["language"] for block in found} <= LANGUAGES
    for block in found:
        assert re.fullmatch("|--8<-- .*|runs on|not run: .{10,}", block["mark"] or "")


def documented() -> list[str]:
    texts = [page.read_text("utf-8") for page in (ROOT / "docs/reference").glob("*.md")]
    return [name for text in texts for name in re.findall(r"^::: (\S+)$", text, re.MULTILINE)]


@pytest.mark.parametrize("package", [zt, testing, service], ids=lambda package: package.__name__)
def test_the_reference_has_every_public_name_once(package):
    prefix = package.__name__ + "."
    names = [name.removeprefix(prefix) for name in documented() if name.startswith(prefix)]
    names = [name for name in names if "." not in name]
    assert sorted(names) == sorted([*package.__all__, *(LAZY if package is zt else ())])


def test_the_tree_of_exceptions_is_that_of_the_code():
    page = (ROOT / "docs/reference/errors.md").read_text("utf-8")
    tree = next(block["source"] for block in BLOCK.finditer(page) if block["language"] == "text")
    assert tree in (errors.__doc__ or "")
    listed = set(re.findall(r"^[│├└─ ]*(\w+)", tree, re.MULTILINE))
    public = {name: getattr(zt, name) for name in zt.__all__}
    assert listed == {n for n, e in public.items() if isinstance(e, type) and issubclass(e, Exception)}


def test_a_block_that_fails_or_does_not_end_is_noticed(folder, monkeypatch, capsys):
    world = World(monkeypatch, capsys)
    page = folder / "page.md"
    page.write_text(
        "```python\nawait node.ping(peer)\n```\n"
        "```python\nawait node.open_connection(peer, 6999)\n```\n"
        "```python\nawait asyncio.Event().wait()\n```\n"
        "<!-- runs on -->\n```python\nawait asyncio.sleep(1)\n```\n"
        "<!-- runs on -->\n```python\nawait asyncio.sleep(10)\n1 / 0\n```\n"
        "```python\ndef test_one():\n    assert False\n```\n"
    )
    works, refused, endless, ends, fails_late, test = blocks(page)
    names: dict[str, Any] = {"asyncio": asyncio}
    with world.runner:
        world.run(works, names)
        for block, error in [
            (refused, ConnectionRefusedError),
            (endless, AssertionError),
            (ends, AssertionError),
            (test, AssertionError),
        ]:
            with pytest.raises(error):
                world.run(block, names)
            world._programs.clear()
        world.run(fails_late, names)
        world.runner.run(asyncio.sleep(20))
        with pytest.raises(AssertionError, match="ZeroDivisionError"):
            world.close()
