"""Who may use the API: those with the token, from this machine or where the configuration allows. vl1.md 6.4."""

from __future__ import annotations

import hmac
import ipaddress
import secrets
from collections.abc import Sequence
from typing import Final

from aiohttp import web

from zt_async.aio.storage import Kind, Storage
from zt_async.errors import StorageError
from zt_async.service.replies import ApiError
from zt_async.types import IPAddress, IPNetwork

TOKEN_SIZE: Final = 24
_ALPHABET: Final = "abcdefghijklmnopqrstuvwxyz0123456789"


def make_token() -> str:
    """A token as zerotier-one makes them."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(TOKEN_SIZE))


async def stored_token(storage: Storage, kind: Kind) -> str:
    """The token of a node's storage, made if there is none. Raises StorageError."""
    data = await storage.load(kind)
    if data is None:
        token = make_token()
        await storage.save(kind, token.encode())
        return token
    try:
        token = data.decode("utf-8").strip()
    except UnicodeDecodeError:
        token = ""
    if not token:
        raise StorageError(
            f"{storage.where(kind)} has no token in it; delete the file to get a new one at the next start"
        )
    return token


class Gate:
    """Lets requests pass, or raises ApiError 401."""

    def __init__(self, token: str, metrics_token: str, allowed: Sequence[IPNetwork] = ()) -> None:
        self._token = _bytes(token)
        self._metrics_token = _bytes(metrics_token)
        self._always = tuple(allowed)
        self._allowed = self._always

    def allow(self, prefixes: Sequence[IPNetwork]) -> None:
        """From where, besides this machine and what was said at first, the API may be used from now on."""
        self._allowed = (*self._always, *prefixes)

    def check(self, request: web.Request, *, needs_token: bool, metrics: bool) -> None:
        """Raises ApiError. ``metrics`` may be asked for from anywhere, and have a token of their own besides."""
        if not metrics and not self._is_near(request.remote):
            raise _refusal(f"{request.remote} may not use this API: allowManagementFrom names those who may")
        given = _given(request)
        if given is None:
            if needs_token:
                raise _refusal(
                    "this needs the token in authtoken.secret: as X-ZT1-Auth, Authorization: Bearer, or ?auth="
                )
            return
        found = _bytes(given)
        is_right = hmac.compare_digest(found, self._token)
        is_right |= hmac.compare_digest(found, self._metrics_token) and metrics
        if needs_token and not is_right:
            raise _refusal("this is not the token in authtoken.secret")

    def _is_near(self, remote: str | None) -> bool:
        if remote is None:
            return False
        ip: IPAddress = ipaddress.ip_address(remote.partition("%")[0])
        ip = getattr(ip, "ipv4_mapped", None) or ip
        return ip.is_loopback or any(ip in prefix for prefix in self._allowed)


def _refusal(description: str) -> ApiError:
    return ApiError(401, description, headers={"WWW-Authenticate": "Bearer"})


def _given(request: web.Request) -> str | None:
    """The token in a request: the first place that has one counts."""
    if (header := request.headers.get("X-ZT1-Auth")) is not None:
        return header.strip()
    if (parameter := request.query.get("auth")) is not None:
        return parameter
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def _bytes(token: str) -> bytes:
    return token.encode("utf-8", "surrogatepass")
