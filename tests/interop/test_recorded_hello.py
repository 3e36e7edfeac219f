"""A HELLO that our node sent once, sent again as it is: libzt answers it at first sight."""

from __future__ import annotations

import asyncio
import socket

import pytest

from tests.test_recorded import VERSIONS, Recording
from zt_async.wire.packet import Verb
from zt_async.wire.verbs import HelloReply

from .libzt_peer import LibztPeer
from .namespaces import Lab
from .peer import ROOT_PORT

pytestmark = [pytest.mark.interop, pytest.mark.xdist_group("ours")]


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_recorded_hello_is_accepted_at_first_sight(libzt: None, version: str) -> None:
    recording = Recording(version)
    mine, theirs = recording.identities["mine"], recording.identities["libzt"]
    key = mine.agree(theirs)
    hello = next(
        p for s, r, p in recording.packets() if (s, r, p[18], p[27]) == ("mine", "libzt", 0, Verb.HELLO)
    )
    with Lab("mine", "libzt") as lab:
        async with LibztPeer(lab["libzt"], version) as peer:
            await peer.start(recording.planet.to_bytes(), theirs.secret_text())
            with lab["mine"].entered():
                sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                sock.bind((lab["mine"].ipv4, ROOT_PORT))
            with sock:
                sock.setblocking(False)
                loop = asyncio.get_running_loop()
                await loop.sock_sendto(sock, hello, (lab["libzt"].ipv4, ROOT_PORT))
                async with asyncio.timeout(10):
                    while True:
                        packet = await loop.sock_recv(sock, 2048)
                        body = key.open(packet)
                        assert body is not None
                        if body[0] == Verb.OK:
                            break
    assert body[1] == Verb.HELLO
    assert body[2:10] == hello[:8]
    reply = HelloReply.decode(body[10:])
    assert reply.version[1:3] == {"1.8.4": (1, 8), "1.4.2": (1, 4)}[version]
    assert str(reply.seen_as) == f"{lab['mine'].ipv4}/{ROOT_PORT}"
