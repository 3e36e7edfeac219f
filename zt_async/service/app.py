"""The HTTP server in front of a node: routes, access, and failures as JSON. vl1.md 6.4, vl2.md 8.6."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Final, TypeAlias

from aiohttp import web

from zt_async.aio.controller import Controller
from zt_async.aio.node import Node
from zt_async.aio.storage import Kind, Storage
from zt_async.errors import (
    Conflict,
    ControllerError,
    NetworkNotFound,
    NetworkNotJoined,
    NodeFailed,
    NodeNotRunning,
    NoSuchMember,
    NoSuchNetwork,
    RecordError,
    ZeroTierError,
)
from zt_async.service.access import Gate, stored_token
from zt_async.service.call import Backend, Call
from zt_async.service.host_header import HostHeader
from zt_async.service.local_conf import LocalConf, parse_prefixes
from zt_async.service.openapi import PATH, describe
from zt_async.service.replies import MAX_BODY, ApiError, callback_of, json_response, read_object
from zt_async.service.table import OPERATIONS, Access, Operation
from zt_async.types import IPNetwork

logger = logging.getLogger("zt_async.service")

DEFAULT_PORT: Final = 9993
"""The TCP port of the API, where tools look for zerotier-one's."""
SHUTDOWN_TIMEOUT: Final = 2.0
"""Seconds that requests have to end when the API stops."""

_STATUSES: Final[tuple[tuple[type[ZeroTierError], int], ...]] = (
    (RecordError, 400),
    (NoSuchNetwork, 404),
    (NoSuchMember, 404),
    (NetworkNotJoined, 404),
    (NetworkNotFound, 404),
    (Conflict, 409),
    (ControllerError, 503),
    (NodeNotRunning, 503),
    (NodeFailed, 503),
)
"""What becomes of exceptions, the first that fits; 500 of all others of the package."""

_ACCESS: Final = {operation.path: operation.access for operation in OPERATIONS} | {PATH: Access.NEAR}

Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Service:
    """The API of one node; made by ``serve``."""

    def __init__(self, backend: Backend, token: str) -> None:
        self.token = token
        """What requests have to come with."""
        self.addresses: tuple[tuple[str, int], ...] = ()
        """Where it listens: IP addresses and TCP ports."""
        self._backend = backend
        self._description = describe()
        self.app = web.Application(middlewares=[self._respond], client_max_size=MAX_BODY)
        """The application, for tests and other servers."""
        self.app.router.add_get(PATH, self._describe)
        for operation in OPERATIONS:
            handler = self._handler(operation)
            for method in ("GET", "HEAD") if operation.method == "GET" else operation.methods:
                self.app.router.add_route(method, _route(operation.path), handler)

    @property
    def url(self) -> str:
        """The address of the API, without a slash at the end."""
        host, port = self.addresses[0]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def _handler(self, operation: Operation) -> Handler:
        async def handle(request: web.Request) -> web.StreamResponse:
            body = await read_object(request) if operation.method == "POST" else {}
            answer = await operation.handler(Call(self._backend, request.match_info, body))
            if operation.answer is None:
                return web.Response(text=answer)
            return json_response(answer, callback=callback_of(request))

        return handle

    async def _describe(self, request: web.Request) -> web.StreamResponse:
        return json_response(self._description, callback=callback_of(request))

    @web.middleware
    async def _respond(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Ask who it is before anything else, and make JSON of failures."""
        try:
            access = _ACCESS.get(request.path, Access.TOKEN)
            self._backend.gate.check(
                request, needs_token=access is not Access.NEAR, metrics=access is Access.METRICS
            )
            callback_of(request)
            return await handler(request)
        except ApiError as error:
            return _failure(request, error)
        except web.HTTPException as error:
            return _failure(request, _of_http(request, error))
        except ZeroTierError as error:
            status = next((status for kind, status in _STATUSES if isinstance(error, kind)), 500)
            if status == 500:
                logger.error("%s %s: %s", request.method, request.path, error)
            return _failure(request, ApiError(status, str(error), getattr(error, "field", None)))


@asynccontextmanager
async def serve(
    node: Node,
    controller: Controller | None = None,
    *,
    host: str | Sequence[str] = "127.0.0.1",
    port: int = DEFAULT_PORT,
    token: str | None = None,
    allow_management_from: Sequence[IPNetwork | str] = (),
    storage: Storage | None = None,
) -> AsyncIterator[Service]:
    """Serve the API of a node, and of its controller, until the block is left.

    The token is kept as ``authtoken.secret`` in the node's folder, where clients find it, and the port as
    ``zerotier-one.port``.

    Args:
        node: It runs, and may stop first: then the API answers 503.
        controller: The controller of this node, which is open.
        host: IP addresses to listen on. Whoever is not on this machine is turned away, unless
            ``allow_management_from``, or ``settings.allowManagementFrom`` in ``local.conf``, has its address.
        port: TCP port; 0 picks one.
        token: The token, instead of that of the folder.
        allow_management_from: Prefixes such as 10.0.0.0/8.
        storage: Where the token, the port and ``local.conf`` are, instead of in the node's own folder.

    Raises:
        OSError: The port is taken, or an address is not this machine's.
        StorageError: A file cannot be read or written.
        ValueError: A prefix is none, or the token is empty.
    """
    prefixes = parse_prefixes(allow_management_from)
    token = None if token is None else token.strip()
    if token == "":
        raise ValueError("a token is not empty")
    kept = node.storage if storage is None else storage
    local_conf = await LocalConf.load(kept)
    token = token or await stored_token(kept, Kind.AUTH_TOKEN)
    gate = Gate(token, await stored_token(kept, Kind.METRICS_TOKEN), prefixes)
    gate.allow(local_conf.allowed)
    service = Service(Backend(node, controller, local_conf, gate), token)
    runner = web.AppRunner(service.app, access_log=None, shutdown_timeout=SHUTDOWN_TIMEOUT)
    await runner.setup()
    assert runner.server is not None
    servers: list[asyncio.Server] = []
    try:
        loop = asyncio.get_running_loop()
        for each in [host] if isinstance(host, str) else host:
            server = await loop.create_server(partial(HostHeader, runner.server), each, port)
            servers.append(server)
            port = port or server.sockets[0].getsockname()[1]
        service.addresses = tuple(
            listening.getsockname()[:2] for server in servers for listening in server.sockets
        )
        await kept.save(Kind.API_PORT, str(port).encode())
        yield service
    finally:
        for server in servers:
            server.close()
        await runner.cleanup()


def _route(path: str) -> str:
    """Names end at the next slash; what stands beside one tells it apart from others at the same place."""
    return path.replace("{address}______", "{address:[0-9a-fA-F]{10}}______")


def _failure(request: web.Request, error: ApiError) -> web.Response:
    try:
        callback = callback_of(request)
    except ApiError:
        callback = None
    return json_response(error.to_json(), error.status, callback, error.headers)


def _of_http(request: web.Request, error: web.HTTPException) -> ApiError:
    """What aiohttp finds wrong."""
    if isinstance(error, web.HTTPMethodNotAllowed):
        allowed = ", ".join(sorted(error.allowed_methods))
        text = f"{request.path} takes {allowed}, not {request.method}"
        return ApiError(405, text, headers={"Allow": allowed})
    if isinstance(error, web.HTTPNotFound):
        return ApiError(404, f"there is nothing at {request.path}")
    if isinstance(error, web.HTTPRequestEntityTooLarge):
        return ApiError(413, f"a body has at most {MAX_BODY} bytes")
    return ApiError(error.status, error.reason)
