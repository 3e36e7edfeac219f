"""A private ZeroTier world on this machine: a root and two members, each a process of its own.

One member serves; the other sends it 64 MiB and then fetches a page over HTTP, both through an ad-hoc network.
Nothing leaves the machine, and no root rights are needed: the nodes talk over loopback addresses.

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
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

import zt_async as zt

NETWORK = zt.NetworkId.ad_hoc(7000, 7999)
UPLOAD_PORT, HTTP_PORT = 7000, 7080
SIZE = 64 << 20
CHUNK = 256 << 10
PAGE = b"<h1>Hello from a ZeroTier network</h1>\n"
ADDRESSES = {"root": "127.0.1.1", "server": "127.0.2.1", "client": "127.0.3.1"}


def say(**facts: object) -> None:
    """One line of JSON to the parent process."""
    print(json.dumps(facts), flush=True)


async def tell_events(events: zt.EventStream) -> None:
    async for event in events:
        match event:
            case zt.PeerDirect(peer=peer, path=path):
                say(event=f"direct path to {peer.address} ({peer.role.lower()}) at {path.endpoint}")
            case zt.PeerRelayed(peer=peer):
                say(event=f"{peer.address} is reached through the root")
            case zt.NetworkReady(network=network):
                say(event=f"network {network.name} is ready, address {network.addresses[0]}")
            case zt.NodeUp() | zt.NodeOnline() | zt.NodeOffline() | zt.NodeDown():
                say(event=type(event).__name__)


# The three processes


async def run_root(folder: Path, planet: Path, port: int) -> None:
    async with zt.start(
        folder, roots=planet, port=port, bind=(ADDRESSES["root"],), allow_loopback_paths=True
    ) as node:
        say(ready=str(node.address))
        await until_stdin_ends()


async def run_server(folder: Path, planet: Path) -> None:
    async def take_upload(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        digest = hashlib.sha256()
        while data := await reader.read(CHUNK):
            digest.update(data)
        writer.write(digest.digest())
        await writer.drain()
        writer.close()

    async def serve_page(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%b" % (len(PAGE), PAGE)
        )
        await writer.drain()
        writer.close()

    async with zt.start(folder, roots=planet, bind=(ADDRESSES["server"],), allow_loopback_paths=True) as node:
        events = asyncio.create_task(tell_events(node.events()))
        await node.online()
        network = await node.join(NETWORK)
        async with (
            await zt.start_server(take_upload, network.ipv6, UPLOAD_PORT),
            await zt.start_server(serve_page, network.ipv6, HTTP_PORT),
        ):
            say(ready=str(network.ipv6))
            await until_stdin_ends()
        await node.stop()
        await events


async def run_client(folder: Path, planet: Path, server: str) -> None:
    async with zt.start(folder, roots=planet, bind=(ADDRESSES["client"],), allow_loopback_paths=True) as node:
        events = asyncio.create_task(tell_events(node.events()))
        await node.online()
        network = await node.join(NETWORK)
        started = time.monotonic()
        say(event=f"ping {server}: {await network.ping(server) * 1000:.1f} ms")

        reader, writer = await zt.open_connection(server, UPLOAD_PORT)
        say(
            event=f"connected to {writer.get_extra_info('peer')} {time.monotonic() - started:.3f} s after the first try"
        )
        digest = hashlib.sha256()
        for sent in range(0, SIZE, CHUNK):
            data = secrets.token_bytes(CHUNK)
            digest.update(data)
            writer.write(data)
            await writer.drain()
            say(progress=sent + CHUNK)
        writer.write_eof()
        same = await reader.readexactly(32) == digest.digest()
        writer.close()
        await writer.wait_closed()
        say(event="the other side has the same SHA-256" if same else "THE HASHES DIFFER")

        reader, writer = await zt.open_connection(server, HTTP_PORT)
        writer.write(f"GET / HTTP/1.1\r\nHost: [{server}]\r\nConnection: close\r\n\r\n".encode())
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        writer.close()
        await writer.wait_closed()
        say(event=f"HTTP: {head.decode().splitlines()[0]}: {body.decode().strip()}")
        say(done=same and body == PAGE)
        await node.stop()
        await events


async def until_stdin_ends() -> None:
    """The parent closes our standard input when it is time to stop."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    await reader.read()


# The parent


class Child:
    """One of the processes; its lines are printed as they come."""

    def __init__(self, name: str, console: Console, progress: Progress) -> None:
        self.name = name
        self._console = console
        self._progress = progress
        self._ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.succeeded: bool | None = None

    async def start(self, *arguments: object) -> str:
        """Start, and wait for what it says when it is ready."""
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, __file__, "--role", self.name, *map(str, arguments)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        self._reading = asyncio.create_task(self._read())
        return await self._ready

    async def _read(self) -> None:
        assert self._process.stdout is not None
        upload = None
        async for line in self._process.stdout:
            facts = json.loads(line)
            if "progress" in facts:
                if upload is None:
                    upload = self._progress.add_task("upload", total=SIZE)
                self._progress.update(upload, completed=facts["progress"])
            elif "ready" in facts:
                self._console.print(f"[bold]{self.name:>6}[/] ready: {facts['ready']}")
                self._ready.set_result(facts["ready"])
            elif "done" in facts:
                self.succeeded = facts["done"]
            else:
                self._console.print(f"[bold]{self.name:>6}[/] {facts['event']}")
        if not self._ready.done():
            self._ready.set_result("")

    async def finish(self) -> int:
        """Ask it to stop, and wait until it has."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self._reading
        return await self._process.wait()

    async def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()


async def run_demo() -> int:
    console = Console()
    columns = (TextColumn("        "), BarColumn(), DownloadColumn(binary_units=True), TransferSpeedColumn())
    with tempfile.TemporaryDirectory() as scratch, Progress(*columns, console=console) as progress:
        folder = Path(scratch)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind((ADDRESSES["root"], 0))
            port = probe.getsockname()[1]
        console.print("making a planet of our own")
        identity = await asyncio.to_thread(zt.Identity.generate, secrets.token_bytes)
        endpoint = zt.Endpoint(ADDRESSES["root"], port)
        key = zt.WorldKey.generate(secrets.token_bytes)
        world = zt.World.make(
            zt.WorldType.PLANET,
            1,
            [(identity, [endpoint])],
            signing_key=key,
            timestamp=time.time_ns() // 1_000_000,
        )
        planet = folder / "planet"
        planet.write_bytes(world.to_bytes())
        (folder / "root").mkdir()
        secret = os.open(folder / "root" / "identity.secret", os.O_WRONLY | os.O_CREAT, 0o600)
        os.write(secret, identity.secret_text().encode())
        os.close(secret)

        children = [Child(name, console, progress) for name in ("root", "server", "client")]
        root, server, client = children
        try:
            async with asyncio.timeout(60):
                await root.start(folder / "root", planet, port)
                address = await server.start(folder / "server", planet)
                await client.start(folder / "client", planet, address)
                statuses = [await child.finish() for child in (client, server, root)]
        except TimeoutError:
            console.print("[red]this took too long[/]")
            for child in children:
                await child.kill()
            return 1
    if client.succeeded and not any(statuses):
        console.print("[green]all went well[/]")
        return 0
    console.print(f"[red]failed[/]: exit statuses {statuses}")
    return 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--role", choices=list(ADDRESSES), help=argparse.SUPPRESS)
    parser.add_argument("arguments", nargs="*", help=argparse.SUPPRESS)
    options = parser.parse_args()
    match options.role, options.arguments:
        case "root", [folder, planet, port]:
            asyncio.run(run_root(Path(folder), Path(planet), int(port)))
        case "server", [folder, planet]:
            asyncio.run(run_server(Path(folder), Path(planet)))
        case "client", [folder, planet, server]:
            asyncio.run(run_client(Path(folder), Path(planet), server))
        case _:
            return asyncio.run(run_demo())
    return 0


if __name__ == "__main__":
    sys.exit(main())
