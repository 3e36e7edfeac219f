"""Requests as zerotier-cli writes them: HTTP/1.1 without a Host header, token and length in odd case."""

import asyncio

import pytest

from zt_async.service.host_header import MAX_HEAD


async def ask(api, *parts):
    reader, writer = await asyncio.open_connection(*api.service.addresses[0])
    for part in parts:
        writer.write(part)
        await writer.drain()
        await asyncio.sleep(0)
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


def request(api, *headers):
    lines = [
        b"GET /status HTTP/1.1",
        b"X-ZT1-Auth: " + api.service.token.encode(),
        b"Connection: close",
        *headers,
    ]
    return b"\r\n".join(lines) + b"\r\n\r\n"


@pytest.mark.parametrize("headers", [(), (b"Host: localhost",), (b"hOST:x",)])
async def test_a_request_with_and_without_the_header(api, headers):
    whole = request(api, *headers)
    for cut in (len(whole), 1, 10, len(whole) - 2):
        answer = await ask(api, whole[:cut], whole[cut:])
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b'"address"' in answer


async def test_a_body_follows(api):
    body = b'{"settings": {}}'
    head = (
        b"POST /config/settings HTTP/1.1\r\nX-ZT1-Auth: %b\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"
        % (api.service.token.encode(), len(body))
    )
    for parts in ((head + body,), (head, body), (head[:-1], head[-1:] + body)):
        assert (await ask(api, *parts)).startswith(b"HTTP/1.1 200 OK\r\n")


async def test_what_is_no_request(api):
    assert (await ask(api, b"\r\n\r\n" + bytes(100))).startswith(b"HTTP/1.")
    assert (await ask(api, b"GET /" + b"x" * (2 * MAX_HEAD))).startswith(b"HTTP/1.")
