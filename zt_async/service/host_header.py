"""zerotier-cli asks in HTTP/1.1 without the Host header that RFC 9112 section 3.2 demands, and aiohttp insists on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

MAX_HEAD: Final = 16_384  # bytes in which the end of a request's headers is looked for

_END: Final = b"\r\n\r\n"
_LINE_END: Final = b"\r\n"


class HostHeader(asyncio.Protocol):
    """Stands before a server's protocol, and adds the header to a connection's first request where it is missing."""

    def __init__(self, make_server: Callable[[], asyncio.Protocol]) -> None:
        self._server = make_server()
        self._head: bytes | None = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._server.connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        self._server.connection_lost(error)

    def pause_writing(self) -> None:
        self._server.pause_writing()

    def resume_writing(self) -> None:
        self._server.resume_writing()

    def data_received(self, data: bytes) -> None:
        if self._head is not None:
            self._head += data
            end = self._head.find(_END)
            if end < 0 and len(self._head) <= MAX_HEAD:
                return
            data, self._head = with_host(self._head, end), None
        self._server.data_received(data)

    def eof_received(self) -> bool | None:
        if self._head:
            self._server.data_received(self._head)
        return self._server.eof_received()


def with_host(request: bytes, end: int) -> bytes:
    """The request with the header; ``end`` is where its headers end, negative if that is not known."""
    lines = request[: max(end, 0)].split(_LINE_END)
    if end < 0 or any(line[:5].lower() == b"host:" for line in lines[1:]):
        return request
    return _LINE_END.join((lines[0], b"Host: localhost", *lines[1:])) + request[end:]
