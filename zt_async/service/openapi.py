"""The description of the API in OpenAPI 3.1, made from the table of its operations."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Any, Final

from zt_async.service.node_json import VERSION
from zt_async.service.schemas import MOON_ID, NETWORK_ID, NODE_ADDRESS, SCHEMAS, Schema, ref
from zt_async.service.table import OPERATIONS, Access, Operation

PATH: Final = "/openapi.json"

_NAME: Final = re.compile(r"\{(\w+)\}")
_PARTS: Final[dict[str, tuple[str, Schema]]] = {
    "network_id": ("The ID of a network", NETWORK_ID),
    "address": ("The address of a node", NODE_ADDRESS),
    "moon_id": ("The ID of a moon", MOON_ID),
}
_TOKENS: Final[list[dict[str, list[str]]]] = [{"header": []}, {"bearer": []}, {"parameter": []}]
_SECURITY: Final[dict[Access, list[dict[str, list[str]]]]] = {
    Access.TOKEN: _TOKENS,
    Access.METRICS: _TOKENS,
    Access.NEAR: [],
}


def describe() -> dict[str, Any]:
    """The document."""
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS:
        for method in operation.methods:
            paths.setdefault(operation.path, {})[method.lower()] = _operation(operation, method)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "zt_async",
            "version": ".".join(map(str, VERSION)),
            "summary": "The local API of a ZeroTier node, and of its controller",
            "description": (
                "Paths, fields and defaults are those of zerotier-one. Unknown keys of bodies are passed over; "
                "known ones whose value is none are refused with 400, and nothing is changed. PUT is POST. "
                "With ?jsonp=name answers are JavaScript that calls that function."
            ),
        },
        "paths": paths,
        "components": {
            "schemas": SCHEMAS,
            "securitySchemes": {
                "header": {"type": "apiKey", "in": "header", "name": "X-ZT1-Auth"},
                "bearer": {"type": "http", "scheme": "bearer"},
                "parameter": {"type": "apiKey", "in": "query", "name": "auth"},
            },
        },
    }


def _operation(operation: Operation, method: str) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": _operation_id(method, operation.path),
        "summary": operation.summary,
        "tags": [operation.path.removeprefix("/unstable").split("/")[1]],
        "security": _SECURITY[operation.access],
        "responses": _responses(operation),
    }
    parts = _NAME.findall(operation.path)
    if parts:
        described["parameters"] = [_part(name) for name in parts]
    if operation.body is not None:
        described["requestBody"] = {"content": {"application/json": {"schema": ref(operation.body)}}}
    return described


def _operation_id(method: str, path: str) -> str:
    """Such as getNetwork for GET /network, and getNetworkByNetworkId for GET /network/{network_id}."""
    words = [method.lower()]
    for segment in path.split("/"):
        found = _NAME.match(segment)
        words.append(f"By{found[1].title().replace('_', '')}" if found else segment.capitalize())
    return "".join(words)


def _part(name: str) -> dict[str, Any]:
    description, schema = _PARTS[name]
    return {"name": name, "in": "path", "required": True, "description": description, "schema": schema}


def _responses(operation: Operation) -> dict[str, Any]:
    kind, schema = "application/json", operation.answer
    if schema is None:
        kind, schema = "text/plain", {"type": "string"}
    responses: dict[str, Any] = {"200": {"description": "Done", "content": {kind: {"schema": schema}}}}
    for status in operation.statuses:
        responses[str(status)] = {
            "description": HTTPStatus(status).phrase,
            "content": {"application/json": {"schema": ref("Error")}},
        }
    return responses
