"""What goes over HTTP: bodies that are JSON objects, answers and errors that are JSON, and JSONP around them."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any, Final, NoReturn

from aiohttp import web

MAX_BODY: Final = 4 << 20
"""Bytes of a request's body; a network of the most capabilities and rules has less than two thirds of that."""
MAX_DESCRIPTION: Final = 1000
"""Characters of an error's description, which quotes what was wrong."""
MAX_DEPTH: Final = 64
"""Arrays and objects within each other; the fields of the API have no more than six."""

_CALLBACK: Final = re.compile(r"[A-Za-z_$][\w$.]{0,127}", re.ASCII)


class ApiError(Exception):
    """A request that is not done."""

    def __init__(
        self,
        status: int,
        description: str,
        field: str | None = None,
        *,
        extra: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """``field`` is the key of the body that is wrong; ``extra`` are further keys of the answer."""
        if len(description) > MAX_DESCRIPTION:
            description = f"{description[: MAX_DESCRIPTION - 3]}..."
        super().__init__(description)
        self.status = status
        self.field = field
        self.extra = dict(extra or {})
        self.headers = dict(headers or {})

    def to_json(self) -> dict[str, Any]:
        """The body; upstream's errors have the first two keys."""
        body: dict[str, Any] = {"error": self.status, "description": str(self)}
        if self.field is not None:
            body["field"] = self.field
        return body | self.extra


async def read_object(request: web.Request) -> dict[str, Any]:
    """The body, whatever its content type says; an empty one is an empty object. Raises ApiError, HTTPException."""
    try:
        data = await request.read()
    except web.RequestPayloadError:
        headers = {"Connection": "close"}  # for aiohttp hangs up
        raise ApiError(400, "the body is not encoded as its headers say", headers=headers) from None
    if not data:
        return {}
    try:
        value = json.loads(data.decode("utf-8-sig"), parse_constant=_refuse_constant, parse_float=_finite)
    except UnicodeDecodeError:
        raise ApiError(400, "the body is not UTF-8") from None
    except RecursionError:
        raise _too_deep() from None
    except ValueError as error:
        raise ApiError(400, f"the body is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise ApiError(400, f"the body is a JSON object, not {_kind(value)}")
    if _is_deeper(value, MAX_DEPTH):
        raise _too_deep()
    return value


def _is_deeper(value: object, depth: int) -> bool:
    if isinstance(value, dict):
        value = value.values()
    elif not isinstance(value, list):
        return False
    return depth == 0 or any(_is_deeper(each, depth - 1) for each in value)


def _too_deep() -> ApiError:
    return ApiError(400, f"the body is nested too deeply, beyond {MAX_DEPTH} levels")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"{digits[:20]} is too large a number")
    return number


def _kind(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "text"
    return "an array"


def callback_of(request: web.Request) -> str | None:
    """The function that a JSONP answer calls, None if it is to be JSON. Raises ApiError."""
    name = request.query.get("jsonp")
    if name is not None and not _CALLBACK.fullmatch(name):
        raise ApiError(400, "jsonp is the name of a JavaScript function", "jsonp")
    return name


def json_response(
    value: object, status: int = 200, callback: str | None = None, headers: Mapping[str, str] | None = None
) -> web.Response:
    """An answer. Scripts of other pages can read it only by ``callback``, for which they need the token."""
    text = json.dumps(value)
    kind = "application/json"
    if callback is not None:
        text, kind = f"{callback}({text});", "application/javascript"
    sent = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"} | dict(headers or {})
    return web.Response(text=text, status=status, content_type=kind, headers=sent)
