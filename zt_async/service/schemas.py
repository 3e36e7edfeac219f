"""The objects of the API as JSON Schema, for its description. vl1.md 6.4, vl2.md 8.5, 8.6 and 8.8."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeAlias

from zt_async.wire.rules import MAX_RULES, RuleType

Schema: TypeAlias = dict[str, Any]

TEXT: Final[Schema] = {"type": "string"}
FLAG: Final[Schema] = {"type": "boolean"}
COUNT: Final[Schema] = {"type": "integer", "minimum": 0}
U32: Final[Schema] = {"type": "integer", "minimum": 0, "maximum": 0xFFFFFFFF}
VERSION_PART: Final[Schema] = {"type": "integer", "minimum": -1, "description": "-1 while unknown"}
MILLISECONDS: Final[Schema] = {
    "type": "integer",
    "minimum": 0,
    "maximum": (1 << 63) - 1,
    "description": "Unix milliseconds",
}
NODE_ADDRESS: Final[Schema] = {"type": "string", "pattern": "^[0-9a-fA-F]{10}$"}
NETWORK_ID: Final[Schema] = {"type": "string", "pattern": "^[0-9a-fA-F]{16}$"}
MOON_ID: Final[Schema] = {"type": "string", "pattern": "^([0-9a-fA-F]{10}|[0-9a-fA-F]{16})$"}
IP: Final[Schema] = {"type": "string", "description": "IPv4 or IPv6 address"}
PREFIX: Final[Schema] = {"type": "string", "description": "ip/length"}
ENDPOINT: Final[Schema] = {"type": "string", "description": "ip/port"}
FLAG_OR_TEXT: Final[Schema] = {
    "oneOf": [FLAG, {"type": "string", "pattern": "^([tT][rR][uU][eE]|[fF][aA][lL][sS][eE])$"}],
    "description": "A boolean, which may be written as text",
}


def ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def array(items: Schema, most: int | None = None) -> Schema:
    found: Schema = {"type": "array", "items": items}
    return found if most is None else found | {"maxItems": most}


def nullable(schema: Schema) -> Schema:
    return {"oneOf": [schema, {"type": "null"}]}


def answer(properties: Mapping[str, Schema], *, optional: Mapping[str, Schema] | None = None) -> Schema:
    """An object with all of these keys, and maybe the others."""
    return {
        "type": "object",
        "properties": {**properties, **(optional or {})},
        "required": list(properties),
    }


def request(properties: Mapping[str, Schema]) -> Schema:
    """An object of which any of these keys may be given; others are passed over."""
    return {"type": "object", "properties": dict(properties)}


_VERSION: Final = {
    "versionMajor": VERSION_PART,
    "versionMinor": VERSION_PART,
    "versionRev": VERSION_PART,
    "version": TEXT,
}
_HEALTH: Final = {"online": FLAG, **_VERSION, "versionBuild": COUNT, "clock": MILLISECONDS}
NETWORK_SETTINGS: Final = {
    "allowManaged": "allow_managed",
    "allowGlobal": "allow_global",
    "allowDefault": "allow_default",
    "allowDNS": "allow_dns",
}
"""What a network may decide for this node: the key, and the field of NetworkSettings."""
_DNS: Final = answer({"domain": TEXT, "servers": array(IP)})
_V6_MODES: Final = ("rfc4193", "zt", "6plane")
_RULE: Final = {
    "type": "object",
    "properties": {
        "type": {"enum": [kind.name for kind in RuleType]},
        "not": FLAG,
        "or": FLAG,
    },
    "required": ["type"],
    "description": "A rule; its type says which keys it has besides",
}
_TRACE: Final = {
    "remoteTraceTarget": nullable(NODE_ADDRESS),
    "remoteTraceLevel": {"type": "integer", "minimum": 0, "maximum": 1000},
}

_NETWORK_FIELDS: Final = {
    "name": TEXT,
    "enableBroadcast": FLAG,
    "multicastLimit": U32,
    "mtu": {"type": "integer", "minimum": 1280, "maximum": 10000},
    "routes": array(
        answer({"target": PREFIX, "via": nullable(IP)}, optional={"flags": COUNT, "metric": COUNT})
    ),
    "ipAssignmentPools": array(answer({"ipRangeStart": IP, "ipRangeEnd": IP})),
    "rules": array(ref("Rule")),
    "capabilities": array(answer({"id": U32, "default": FLAG, "rules": array(ref("Rule"))})),
    "tags": array(answer({"id": U32, "default": nullable(U32)})),
    **_TRACE,
}
_MEMBER_FIELDS: Final = {
    "activeBridge": FLAG,
    "noAutoAssignIps": FLAG,
    "ipAssignments": array(IP),
    "tags": array({"type": "array", "prefixItems": [U32, U32], "items": U32, "minItems": 2, "maxItems": 2}),
    "capabilities": array(U32),
    "authenticationExpiryTime": MILLISECONDS,
    **_TRACE,
}

SCHEMAS: Final[dict[str, Schema]] = {
    "Error": {
        "type": "object",
        "properties": {
            "error": {"type": "integer", "description": "The HTTP status"},
            "description": {"type": "string", "description": "What was wrong, and what to do"},
            "field": {"type": "string", "description": "The key of the body that was wrong"},
        },
        "required": ["error", "description"],
    },
    "Health": answer(_HEALTH),
    "Status": answer(
        {
            "address": NODE_ADDRESS,
            "publicIdentity": TEXT,
            "tcpFallbackActive": FLAG,
            **_HEALTH,
            "planetWorldId": COUNT,
            "planetWorldTimestamp": COUNT,
            "config": answer({"settings": ref("Settings")}),
        }
    ),
    "Settings": answer(
        {
            "primaryPort": COUNT,
            "secondaryPort": COUNT,
            "tertiaryPort": COUNT,
            "homeDir": TEXT,
            "listeningOn": array(ENDPOINT),
            "surfaceAddresses": array(ENDPOINT),
        }
    ),
    "SettingsChange": request({"allowManagementFrom": array(PREFIX)}),
    "Peer": answer(
        {
            "address": NODE_ADDRESS,
            **_VERSION,
            "latency": {"type": "integer", "minimum": -1, "description": "Milliseconds, -1 while unknown"},
            "role": {"enum": ["LEAF", "MOON", "PLANET"]},
            "isBonded": FLAG,
            "tunneled": FLAG,
            "paths": array(ref("Path")),
        }
    ),
    "Path": answer(
        {
            "address": ENDPOINT,
            "lastSend": COUNT,
            "lastReceive": COUNT,
            "trustedPathId": COUNT,
            "active": FLAG,
            "expired": FLAG,
            "preferred": FLAG,
            "localSocket": COUNT,
            "localPort": COUNT,
        }
    ),
    "Network": answer(
        {
            "id": NETWORK_ID,
            "nwid": NETWORK_ID,
            "mac": TEXT,
            "name": TEXT,
            "status": TEXT,
            "type": {"enum": ["PRIVATE", "PUBLIC"]},
            "mtu": COUNT,
            "dhcp": FLAG,
            "bridge": FLAG,
            "broadcastEnabled": FLAG,
            "portError": COUNT,
            "netconfRevision": COUNT,
            "portDeviceName": TEXT,
            **dict.fromkeys(NETWORK_SETTINGS, FLAG),
            "assignedAddresses": array(PREFIX),
            "routes": array(answer({"target": PREFIX, "via": nullable(IP), "flags": COUNT, "metric": COUNT})),
            "multicastSubscriptions": array(answer({"mac": TEXT, "adi": COUNT})),
            "dns": _DNS,
        },
        optional={
            "authenticationURL": TEXT,
            "authenticationExpiryTime": MILLISECONDS,
            "ssoEnabled": FLAG,
        },
    ),
    "NetworkSettings": request(dict.fromkeys(NETWORK_SETTINGS, FLAG)),
    "Moon": answer(
        {
            "id": {"type": "string", "pattern": "^[0-9a-f]{16}$"},
            "timestamp": COUNT,
            "signature": nullable(TEXT),
            "updatesMustBeSignedBy": nullable(TEXT),
            "roots": array(answer({"identity": TEXT, "stableEndpoints": array(ENDPOINT)})),
            "waiting": FLAG,
        }
    ),
    "Seed": request({"seed": nullable(NODE_ADDRESS)}),
    "Result": answer({"result": FLAG}),
    "Controller": answer(
        {"controller": FLAG, "apiVersion": COUNT, "clock": MILLISECONDS, "databaseReady": FLAG}
    ),
    "Rule": _RULE,
    "ControlledNetwork": answer(
        {
            "id": NETWORK_ID,
            "nwid": NETWORK_ID,
            "objtype": {"const": "network"},
            "private": FLAG,
            "creationTime": MILLISECONDS,
            "revision": COUNT,
            "v4AssignMode": answer({"zt": FLAG}),
            "v6AssignMode": answer(dict.fromkeys(_V6_MODES, FLAG)),
            "dns": {"oneOf": [_DNS, {"type": "array", "maxItems": 0}]},
            "authTokens": {
                "oneOf": [
                    {"type": "object", "additionalProperties": MILLISECONDS},
                    {"type": "array", "items": {"type": "null"}},
                ]
            },
            "rulesSource": TEXT,
            "ssoEnabled": FLAG,
            "clientId": TEXT,
            "authorizationEndpoint": TEXT,
            **_NETWORK_FIELDS,
        },
        optional={"certificateTimeoutWindowSize": MILLISECONDS},
    ),
    "ControlledNetworkChange": request(
        {
            **_NETWORK_FIELDS,
            "name": {"type": "string", "maxLength": 127},
            "private": FLAG_OR_TEXT,
            "enableBroadcast": FLAG_OR_TEXT,
            "mtu": {"type": "integer", "description": "Moved to the nearer of 1280 and 10000"},
            "v4AssignMode": {"oneOf": [request({"zt": FLAG_OR_TEXT}), TEXT]},
            "v6AssignMode": {"oneOf": [request(dict.fromkeys(_V6_MODES, FLAG_OR_TEXT)), TEXT]},
            "rules": array(ref("Rule"), MAX_RULES),
            "routes": array(
                {
                    "type": "object",
                    "properties": {"target": PREFIX, "via": nullable(IP)},
                    "required": ["target"],
                }
            ),
            "capabilities": array(
                {
                    "type": "object",
                    "properties": {"id": U32, "default": FLAG, "rules": array(ref("Rule"))},
                    "required": ["id"],
                }
            ),
            "tags": array(
                {
                    "type": "object",
                    "properties": {"id": U32, "default": nullable(U32)},
                    "required": ["id"],
                }
            ),
            "dns": {
                "oneOf": [
                    request({"domain": TEXT, "servers": array(IP, 4)}),
                    {"type": "array", "maxItems": 0},
                    {"type": "null"},
                ]
            },
            "authTokens": {
                "oneOf": [
                    {"type": "object", "additionalProperties": MILLISECONDS},
                    {"type": "array", "items": {"type": "null"}, "maxItems": 1},
                    {"type": "null"},
                ]
            },
        }
    ),
    "Member": answer(
        {
            "id": NODE_ADDRESS,
            "address": NODE_ADDRESS,
            "nwid": NETWORK_ID,
            "objtype": {"const": "member"},
            "authorized": FLAG,
            "creationTime": MILLISECONDS,
            "revision": COUNT,
            "lastAuthorizedTime": MILLISECONDS,
            "lastDeauthorizedTime": MILLISECONDS,
            "lastAuthorizedCredentialType": nullable(TEXT),
            "lastAuthorizedCredential": nullable(TEXT),
            "ssoExempt": FLAG,
            "vMajor": VERSION_PART,
            "vMinor": VERSION_PART,
            "vRev": VERSION_PART,
            "vProto": VERSION_PART,
            **_MEMBER_FIELDS,
        },
        optional={"identity": TEXT, "name": TEXT},
    ),
    "MemberChange": request(
        {
            **_MEMBER_FIELDS,
            "authorized": FLAG_OR_TEXT,
            "activeBridge": FLAG_OR_TEXT,
            "noAutoAssignIps": FLAG_OR_TEXT,
            "name": nullable(TEXT),
        }
    ),
    "NetworkPage": answer(
        {
            "data": array(
                {
                    "allOf": [
                        ref("ControlledNetwork"),
                        answer({"meta": answer({"totalMemberCount": COUNT, "authorizedMemberCount": COUNT})}),
                    ]
                }
            ),
            "meta": answer({"networkCount": COUNT}),
        }
    ),
    "MemberPage": answer(
        {
            "data": array(ref("Member")),
            "meta": answer({"totalCount": COUNT, "authorizedCount": COUNT}),
        }
    ),
}
