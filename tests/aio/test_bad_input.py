"""Mistakes of users: each has a clear exception, and nothing is overwritten or left behind."""

import asyncio
import errno
import os
import socket
import subprocess
import sys
import textwrap
from pathlib import Path
from ssl import PROTOCOL_TLS_SERVER, SSLContext

import pytest

import zt_async as zt
from zt_async.testing.identities import throwaway_identity

from .places import REAL, SIMULATED, Recorder, address_of, echo
from .test_folder import files, make_moon

SECRET = throwaway_identity(1).secret_text()
KEY = SECRET.rpartition(":")[2]


def zero_digit(text, at):
    return text[:at] + ("0" if text[at] != "0" else "1") + text[at + 1 :]


IDENTITIES = {
    "empty": b"",
    "something else": b"-----BEGIN OPENSSH PRIVATE KEY-----\n",
    "bytes": bytes(range(256)),
    "cut off": SECRET[:-10].encode(),
    "without its secret key": str(throwaway_identity(1)).encode(),
    "another type": SECRET.replace(":0:", ":1:").encode(),
    "another address": zero_digit(SECRET, 3).encode(),
    "another public key": zero_digit(SECRET, 40).encode(),
    "another secret key": zero_digit(SECRET, 150).encode(),
    "a reserved address": ("ff" + SECRET[2:]).encode(),
    "too long": (SECRET + "0" * 200).encode(),
}


async def start(path=None, **settings):
    settings = {
        "bind": ("127.0.0.1",),
        "allow_loopback_paths": True,
        "secondary_port": None,
        "identity": throwaway_identity(1),  # to make one takes long without the extension
        **settings,
    }
    async with zt.start(path, **settings):
        pass


@SIMULATED
@pytest.mark.parametrize("kind", IDENTITIES)
async def test_an_identity_file_that_is_none(tmp_path, reports, kind):
    (tmp_path / "identity.secret").write_bytes(IDENTITIES[kind])
    (tmp_path / "identity.public").write_bytes(b"whatever")
    before = files(tmp_path)
    with pytest.raises(
        zt.IdentityError, match=r"identity.secret is not usable: .*Nothing was changed"
    ) as caught:
        await start(tmp_path)
    assert files(tmp_path) == before
    assert KEY[:20] not in str(caught.value)
    assert KEY[-20:-10] not in str(caught.value)
    assert isinstance(caught.value, zt.StorageError)
    assert isinstance(caught.value, ValueError)


@SIMULATED
async def test_an_identity_that_is_not_the_folders(tmp_path, reports):
    await start(tmp_path)
    before = files(tmp_path)
    with pytest.raises(
        zt.IdentityError, match=f"{throwaway_identity(1).address}.*{throwaway_identity(2).address}"
    ):
        await start(tmp_path, identity=throwaway_identity(2))
    assert files(tmp_path) == before


async def test_an_identity_without_its_secret_key():
    with pytest.raises(zt.IdentityError, match="needs its secret key"):
        zt.start(identity=throwaway_identity(1).public())


async def test_an_identity_with_the_secret_key_of_another():
    """Nobody could talk to such a node, and its own folder would not let it start again."""
    one, another = throwaway_identity(1), throwaway_identity(2)
    mixed = zt.Identity.parse(f"{one}:{another.secret_text().rpartition(':')[2]}")
    with pytest.raises(zt.IdentityError, match="secret key does not belong to its public key"):
        zt.start(identity=mixed)


# Folders


def a_file(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    return tmp_path / "file"


FOLDERS = {
    "a file": (a_file, "is no folder"),
    "below a file": (lambda tmp_path: a_file(tmp_path) / "folder", "Not a directory"),
    "where nothing can be made": (lambda _: Path("/proc/no/folder"), "cannot write /proc"),
}


@REAL
@pytest.mark.parametrize("kind", FOLDERS)
async def test_a_folder_that_is_none(tmp_path, reports, kind):
    make, text = FOLDERS[kind]
    with pytest.raises(zt.StorageError, match=text):
        await start(make(tmp_path))


@SIMULATED
@pytest.mark.parametrize(
    "name",
    [
        *("identity.secret", "planet", "moons.d/0123456789abcdef.moon", "peers.d/0123456789.peer"),
        *("networks.d/0123456789abcdef.conf", "networks.d/0123456789abcdef.local.conf"),
    ],
)
async def test_a_folder_in_place_of_a_file(tmp_path, reports, name):
    (tmp_path / name).mkdir(parents=True)
    if name.endswith(".local.conf"):
        (tmp_path / name.replace(".local", "")).touch()
    before = files(tmp_path)
    with pytest.raises(zt.StorageError, match=f"cannot read .*{name}: Is a directory"):
        await start(tmp_path)
    assert files(tmp_path) == before


def test_a_folder_that_the_user_may_not_write(tmp_path):
    """As another user, because root may do everything."""
    if os.getuid() != 0:
        pytest.skip("only root can become another user")
    folder = tmp_path / "folder"
    folder.mkdir(mode=0o555)
    script = f"""
        import asyncio, concurrent.futures.thread, os
        import zt_async as zt
        from zt_async.testing.identities import throwaway_identity

        identity = throwaway_identity(1)  # while files can be read
        os.setgid(65534)
        os.setuid(65534)

        async def main():
            try:
                await zt.start({str(folder)!r}, identity=identity)
            except zt.StorageError as error:
                print(error)

        asyncio.run(main())
    """
    for path in (folder, *folder.parents):
        if path.is_relative_to(tmp_path.parent):
            path.chmod(0o555 if path == folder else 0o755)
    command = [sys.executable, "-c", textwrap.dedent(script)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "Permission denied" in done.stdout, done.stderr
    assert str(folder) in done.stdout
    assert list(folder.iterdir()) == []


# Roots


@SIMULATED
@pytest.mark.parametrize(
    "content", [b"", b"no planet", bytes(200), zt.World.default_planet().to_bytes()[:-1]]
)
async def test_a_planet_that_is_none(tmp_path, reports, content):
    (tmp_path / "planet").write_bytes(content)
    before = files(tmp_path)
    with pytest.raises(zt.WorldError, match="planet is not usable"):
        await start(tmp_path)
    assert files(tmp_path) == before
    file = tmp_path / "other file"
    file.write_bytes(content)
    with pytest.raises(zt.WorldError, match="other file is not a planet"):
        await start(roots=file)
    with pytest.raises(zt.WorldError):
        await start(roots=content)


@SIMULATED
async def test_a_moon_in_place_of_a_planet(tmp_path, reports):
    moon = make_moon()
    for roots in (moon, moon.to_bytes()):
        with pytest.raises(zt.WorldError, match=r"use orbit\(\) for a moon"):
            await start(roots=roots)
    (tmp_path / "planet").write_bytes(moon.to_bytes())
    with pytest.raises(zt.WorldError, match="it is a moon"):
        await start(tmp_path)


@SIMULATED
async def test_roots_that_cannot_be_read(tmp_path, reports):
    with pytest.raises(zt.StorageError, match=r"cannot read .*missing: No such file"):
        await start(roots=tmp_path / "missing")
    with pytest.raises(zt.StorageError, match="Is a directory"):
        await start(roots=str(tmp_path))


# Settings


@pytest.mark.parametrize(
    ("settings", "error", "text"),
    [
        ({"prot": 9993}, TypeError, "no such setting: prot"),
        ({"port": 65_536}, ValueError, "port is 0 to 65535"),
        ({"secondary_port": -1}, ValueError, "secondary_port is 0 to 65535"),
        ({"mtu": 500}, ValueError, "mtu is 1400 to 10324"),
        ({"event_queue": 0}, ValueError, "at least 1"),
        ({"offline_after": 0}, ValueError, "more than 0"),
        ({"bind": "127.0.0.1"}, TypeError, "bind is a tuple"),
        ({"path_blacklist": ("10.0.0.0/8",)}, TypeError, "path_blacklist has networks"),
        ({"trusted_paths": {"10.0.0.0/8": 1}}, TypeError, "trusted_paths has networks"),
        ({"path": "x", "storage": zt.MemoryStorage()}, ValueError, "either a path or a storage"),
    ],
)
def test_settings_that_make_no_sense(settings, error, text):
    with pytest.raises(error, match=text):
        zt.start(**settings)


@REAL
async def test_a_port_in_use(tmp_path, reports):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with pytest.raises(zt.PortUnavailable, match=f"port {port} on 127.0.0.1 is in use.*port=0") as caught:
            await start(tmp_path, port=port)
        assert caught.value.errno == errno.EADDRINUSE
        assert isinstance(caught.value, OSError)
    await start(tmp_path, port=port)


@REAL
async def test_an_address_of_another_host(reports):
    with pytest.raises(zt.PortUnavailable, match=r"192\.0\.2\.1 is no address of this host") as caught:
        await start(bind=("192.0.2.1",))
    assert caught.value.errno == errno.EADDRNOTAVAIL
    with pytest.raises(ValueError, match="localhost"):
        await start(bind=("localhost",))


# Names, ports and options of sockets


@SIMULATED
async def test_names_are_not_resolved(world):
    node = world.members[0]
    for call in (
        lambda: node.open_connection("www.example.com", 80),
        lambda: node.start_server(echo, "www.example.com", 80),
        lambda: node.create_datagram_endpoint(asyncio.DatagramProtocol, ("www.example.com", 80)),
        lambda: node.ping("www.example.com"),
    ):
        with pytest.raises(
            socket.gaierror, match=r"'www.example.com' is not an IP address, and names"
        ) as caught:
            await call()
        assert caught.value.errno == socket.EAI_NONAME


@SIMULATED
@pytest.mark.parametrize(
    ("host", "port", "error"),
    [
        ("::1", "http", socket.gaierror),
        ("::1", -1, OverflowError),
        ("::1", 65_536, OverflowError),
        ("::1", 80.5, TypeError),
        ("::1", 0, OSError),
        ("::1", None, OSError),
        ("::", 80, OSError),
        ("ff02::1", 80, OSError),
        ("fe80::1%eth0", 80, socket.gaierror),
        ("127.0.0.1", 80, OSError),
        (80, "::1", TypeError),
    ],
)
async def test_addresses_that_nobody_can_connect_to(world, host, port, error):
    with pytest.raises(error):
        await world.members[0].open_connection(host, port)


@SIMULATED
@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"server_hostname": "x"}, ValueError),
        ({"ssl_handshake_timeout": 1.0}, ValueError),
        ({"ssl_shutdown_timeout": 1.0}, ValueError),
        ({"ssl": "yes"}, TypeError),
        ({"no_such_option": 1}, TypeError),
        ({"local_addr": ("fd00::1", 0)}, OSError),
        ({"local_addr": ("somewhere", 0)}, socket.gaierror),
    ],
)
async def test_options_that_make_no_sense(world, options, error):
    client, server = world.members
    async with await server.create_server(Recorder, address_of(server), 7000):
        with pytest.raises(error):
            await client.open_connection(address_of(server), 7000, **options)
        with pytest.raises(ValueError, match="server_hostname"):
            await client.open_connection(None, 7000, ssl=True)
        for name in ("ssl_handshake_timeout", "ssl_shutdown_timeout"):
            with pytest.raises(ValueError, match=f"{name} should be a positive number"):
                await client.open_connection(address_of(server), 7000, ssl=True, **{name: 0})
            with pytest.raises(ValueError, match=f"{name} should be a positive number"):
                await server.start_server(echo, port=1, ssl=SSLContext(PROTOCOL_TLS_SERVER), **{name: -1})
