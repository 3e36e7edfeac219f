"""A private ZeroTier world on this machine: a root that is also a controller, and three members of its network.

Each is a process of its own. The members are authorized as they ask, get IPv4 and IPv6 addresses, ping each other
and stream over both; then one of them is deauthorized, and cut off. Nothing leaves the machine, and no root rights
are needed: the nodes talk over loopback addresses.

    python examples/demo.py
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import json
import os
import secrets
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

import zt_async as zt

SUBNET = "10.147.20.0/24"
UPLOAD_PORT, HTTP_PORT = 7000, 80
SIZE = 32 << 20
CHUNK = 256 << 10
PAGE = b"<h1>Hello from a ZeroTier network</h1>\n"
HOSTS = {"root": "127.0.1.1", "alice": "127.0.2.1", "bob": "127.0.3.1", "carol": "127.0.4.1"}
SILENCE = 0.5  # s without an answer after which a member is cut off


def say(**facts: object) -> None:
    """One line of JSON to the parent process."""
    print(json.dumps(facts, default=str), flush=True)


async def tell_events(events: zt.EventStream) -> None:
    async for event in events:
        match event:
            case zt.PeerDirect(peer=peer, path=path):
                say(event=f"direct path to {peer.address} ({peer.role.lower()}) at {path.endpoint}")
            case zt.PeerRelayed(peer=peer):
                say(event=f"{peer.address} is reached through the root")
            case zt.AddressAdded(address=address):
                say(event=f"has the address {address}")
            case zt.NetworkReady(network=network):
                say(event=f"network {network.name} is ready")
            case zt.NetworkUpdated(network=network, changed=changed) if "status" in changed:
                say(event=f"network {network.id}: {network.status.name}")
            case zt.MemberWaiting(address=address):
                say(event=f"{address} waits to be authorized")
            case zt.MemberAuthorized(address=address):
                say(event=f"{address} is authorized")
            case zt.MemberConfigured(address=address, addresses=addresses):
                say(event=f"{address} gets {', '.join(map(str, addresses))}")
            case zt.MemberDeauthorized(address=address):
                say(event=f"{address} is deauthorized")
            case zt.NodeUp() | zt.NodeOnline() | zt.NodeOffline() | zt.NodeDown():
                say(event=type(event).__name__)


@contextlib.asynccontextmanager
async def running(name: str, folder: Path, planet: Path, port: int = 0) -> AsyncIterator[zt.Node]:
    """A node that tells its events."""
    async with zt.start(
        folder, roots=planet, port=port, bind=(HOSTS[name],), allow_loopback_paths=True
    ) as node:
        events = asyncio.create_task(tell_events(node.events()))
        yield node
        await node.stop()
        await events


async def orders() -> AsyncIterator[str]:
    """What the parent writes, until it closes our standard input because it is time to stop."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    async for line in reader:
        yield line.decode().strip()


# The processes


async def run_root(folder: Path, planet: Path, port: int) -> None:
    """The root, and the controller: whoever asks is authorized, until the parent says otherwise."""

    async def authorize(events: zt.EventStream, network: zt.ControlledNetwork) -> None:
        async for event in events:
            if isinstance(event, zt.MemberWaiting) and event.address not in banned:
                await network.authorize(event.address)

    banned: set[zt.NodeAddress] = set()
    async with running("root", folder, planet, port) as node, node.controller() as controller:
        network = await controller.create_network(name="demo", ipv4=SUBNET, sixplane=True)
        authorizing = asyncio.create_task(authorize(node.events(), network))
        say(ready=str(network.id))
        async for order in orders():
            address = zt.NodeAddress.parse(order)
            banned.add(address)
            say(cut=time.monotonic())
            await network.deauthorize(address)
        authorizing.cancel()


async def take_upload(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    digest = hashlib.sha256()
    while data := await reader.read(CHUNK):
        digest.update(data)
    writer.write(digest.digest())
    await writer.drain()
    writer.close()


async def serve_page(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%b" % (len(PAGE), PAGE))
    await writer.drain()
    writer.close()


async def run_alice(folder: Path, planet: Path, network_id: str) -> None:
    """Serves, on her addresses of both families."""
    async with running("alice", folder, planet) as node:
        network = await node.join(network_id)
        async with (
            await zt.start_server(take_upload, None, UPLOAD_PORT),
            await zt.start_server(serve_page, None, HTTP_PORT),
        ):
            say(ready=f"{network.ipv4} {network.ipv6}")
            async for _ in orders():
                pass


async def upload(host: str) -> bool:
    """Send random bytes; whether the other side got just these."""
    reader, writer = await zt.open_connection(host, UPLOAD_PORT)
    digest = hashlib.sha256()
    for sent in range(0, SIZE, CHUNK):
        data = secrets.token_bytes(CHUNK)
        digest.update(data)
        writer.write(data)
        await writer.drain()
        say(progress=sent + CHUNK, host=host)
    writer.write_eof()
    same = await reader.readexactly(32) == digest.digest()
    writer.close()
    await writer.wait_closed()
    say(event=f"upload to {host}: " + ("the same SHA-256 there" if same else "THE HASHES DIFFER"))
    return same


async def fetch(host: str) -> bool:
    """Get the page over HTTP."""
    reader, writer = await zt.open_connection(host, HTTP_PORT)
    writer.write(b"GET / HTTP/1.1\r\nHost: alice\r\nConnection: close\r\n\r\n")
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    say(event=f"HTTP from {host}: {head.decode().splitlines()[0]}: {body.decode().strip()}")
    return body == PAGE


async def run_bob(folder: Path, planet: Path, network_id: str, *hosts: str) -> None:
    """Pings Alice, uploads to her and fetches a page from her, over IPv4 and over IPv6."""
    async with running("bob", folder, planet) as node:
        network = await node.join(network_id)
        say(ready=f"{network.ipv4} {network.ipv6}")
        done = True
        for host in hosts:
            say(event=f"ping {host}: {await network.ping(host) * 1000:.1f} ms")
            done &= await upload(host)
            done &= await fetch(host)
        say(done=done)


async def run_carol(folder: Path, planet: Path, network_id: str, host: str) -> None:
    """Pings Alice until no answer comes any more."""
    async with running("carol", folder, planet) as node:
        network = await node.join(network_id)
        last = await answered(network, host)
        say(ready=str(node.address))
        with contextlib.suppress(TimeoutError):
            while True:
                async with asyncio.timeout(SILENCE):
                    last = await answered(network, host)
        say(event=f"{host} answers no more", last=last)


async def answered(network: zt.Network, host: str) -> float:
    """When a ping came back."""
    await network.ping(host)
    await asyncio.sleep(0.01)
    return time.monotonic()


# The parent


class Child:
    """One of the processes; its lines are printed as they come."""

    def __init__(self, name: str, console: Console, progress: Progress) -> None:
        self.name = name
        self._console = console
        self._progress = progress
        self._ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._process: asyncio.subprocess.Process | None = None
        self.facts: dict[str, float] = {}

    async def start(self, *arguments: object) -> str:
        """Start, and wait for what it says when it is ready."""
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, __file__, "--role", self.name, *map(str, arguments)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert self._process.stdout is not None
        self._reading = asyncio.create_task(self._read(self._process.stdout))
        return await self._ready

    async def _read(self, lines: asyncio.StreamReader) -> None:
        bars = {}
        async for line in lines:
            facts = json.loads(line)
            if "progress" in facts:
                host = facts["host"]
                if host not in bars:
                    bars[host] = self._progress.add_task(f"to {host}", total=SIZE)
                self._progress.update(bars[host], completed=facts["progress"])
                continue
            if "ready" in facts:
                self._ready.set_result(facts["ready"])
            if text := facts.pop("event", None) or (f"ready: {facts['ready']}" if "ready" in facts else ""):
                self._console.print(f"[bold]{self.name:>6}[/] {text}", highlight=False)
            self.facts |= facts
        if not self._ready.done():
            self._ready.set_exception(RuntimeError(f"{self.name} ended before it was ready"))

    def order(self, text: str) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(f"{text}\n".encode())

    async def finish(self) -> int:
        """Ask it to stop, and wait until it has."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self._reading
        return await self._process.wait()

    async def kill(self) -> None:
        """Make sure that it is gone."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._reading
            await self._process.wait()


async def make_planet(folder: Path) -> int:
    """Write a planet with one root, and the root's identity; returns the root's port."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind((HOSTS["root"], 0))
        port: int = probe.getsockname()[1]
    identity = await asyncio.to_thread(zt.Identity.generate, secrets.token_bytes)
    world = zt.World.make(
        zt.WorldType.PLANET,
        1,
        [(identity, [zt.Endpoint(HOSTS["root"], port)])],
        signing_key=zt.WorldKey.generate(secrets.token_bytes),
        timestamp=time.time_ns() // 1_000_000,
    )
    (folder / "planet").write_bytes(world.to_bytes())
    (folder / "root").mkdir()
    secret = os.open(folder / "root" / "identity.secret", os.O_WRONLY | os.O_CREAT, 0o600)
    os.write(secret, identity.secret_text().encode())
    os.close(secret)
    return port


async def run_demo() -> int:
    console = Console()
    columns = (
        TextColumn("       {task.description}"),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
    )
    with tempfile.TemporaryDirectory() as scratch, Progress(*columns, console=console) as progress:
        folder = Path(scratch)
        planet = folder / "planet"
        console.print("making a planet of our own")
        port = await make_planet(folder)
        root, alice, bob, carol = children = [Child(name, console, progress) for name in HOSTS]
        try:
            async with asyncio.timeout(90):
                network_id = await root.start(folder / "root", planet, port)
                ipv4, ipv6 = (await alice.start(folder / "alice", planet, network_id)).split()
                carols_address = await carol.start(folder / "carol", planet, network_id, ipv4)
                await bob.start(folder / "bob", planet, network_id, ipv4, ipv6)
                statuses = [await bob.finish()]
                root.order(carols_address)
                statuses += [await child.finish() for child in (carol, alice, root)]
        except (TimeoutError, RuntimeError) as error:
            console.print(f"[red]failed[/]: {error or 'this took too long'}")
            return 1
        finally:
            for child in children:
                await child.kill()
    if any(statuses) or not bob.facts.get("done") or "last" not in carol.facts:
        console.print(f"[red]failed[/]: exit statuses {statuses}")
        return 1
    after = max(0.0, carol.facts["last"] - root.facts["cut"])
    console.print(f"carol was cut off {after:.2f} s after she was deauthorized")
    console.print("[green]all went well[/]")
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--role", choices=list(HOSTS), help=argparse.SUPPRESS)
    parser.add_argument("arguments", nargs="*", help=argparse.SUPPRESS)
    options = parser.parse_args()
    match options.role, options.arguments:
        case "root", [folder, planet, port]:
            asyncio.run(run_root(Path(folder), Path(planet), int(port)))
        case "alice", [folder, planet, network_id]:
            asyncio.run(run_alice(Path(folder), Path(planet), network_id))
        case "bob", [folder, planet, network_id, *hosts]:
            asyncio.run(run_bob(Path(folder), Path(planet), network_id, *hosts))
        case "carol", [folder, planet, network_id, host]:
            asyncio.run(run_carol(Path(folder), Path(planet), network_id, host))
        case _:
            return asyncio.run(run_demo())
    return 0


if __name__ == "__main__":
    sys.exit(main())
