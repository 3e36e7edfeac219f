"""Networks and their members as a controller keeps them: fields, defaults and JSON as upstream's. vl2.md 8.5.

Records are frozen; ``updated`` and ``patched`` make changed copies, after a check of what they are given.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from dataclasses import field as member_of
from typing import Any, Final, NamedTuple, Self

from zt_async.controller import fields
from zt_async.controller.fields import (
    MILLISECONDS,
    REVISION,
    U32,
    Field,
    field,
    flag,
    integer,
    items,
    or_none,
    text,
)
from zt_async.crypto.identity import Identity
from zt_async.errors import RecordError
from zt_async.types import DNS, Endpoint, IPAddress, NetworkId, NodeAddress, Route
from zt_async.wire.rules import MAX_RULES, Rule, RuleType
from zt_async.wire.rules_json import rule_from_json, rule_to_json

MAX_CAPABILITY_RULES: Final = 64
MAX_LIST: Final = 128
"""Routes, capabilities and tags that a configuration holds (vl2.md 0.2)."""
MAX_ADDRESSES: Final = 32
ACCEPT_ALL: Final = (Rule(RuleType.ACTION_ACCEPT),)


class Pool(NamedTuple):
    """A range from which members get addresses, the last one when all others are given (vl2.md 8.3)."""

    start: IPAddress
    end: IPAddress


class CapabilityDefinition(NamedTuple):
    """Rules that members can be given besides the network's own."""

    id: int
    rules: tuple[Rule, ...]
    default: bool = False
    """New members get it."""


class TagDefinition(NamedTuple):
    """A tag that members can have."""

    id: int
    default: int | None = None
    """The value of members that were given none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A member as it was last seen; not a part of its record, because it changes with each request."""

    time: int = 0
    """Unix milliseconds of its last request."""
    endpoint: Endpoint | None = None
    """Where that came from: itself, or a root on its behalf; None for the controller's own node."""
    version: tuple[int, int, int] = (-1, -1, -1)
    protocol: int = -1

    def to_json(self) -> dict[str, Any]:
        """The keys that upstream has in a member's object."""
        major, minor, revision = self.version
        return {"vMajor": major, "vMinor": minor, "vRev": revision, "vProto": self.protocol}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Read those keys; what is missing or no number is not known."""
        major, minor, revision, protocol = (
            number if type(number := value.get(key)) is int else -1
            for key in ("vMajor", "vMinor", "vRev", "vProto")
        )
        return cls(version=(major, minor, revision), protocol=protocol)


NEVER_SEEN: Final = Seen()


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkRecord:
    """A network. Times are Unix milliseconds."""

    id: NetworkId
    name: str = ""
    private: bool = True
    """Members need to be authorized."""
    creation_time: int = 0
    revision: int = 0
    """Counts the stored changes; 0 was never stored."""
    broadcast: bool = True
    multicast_limit: int = 32
    """Recipients of one multicast; 0 turns multicast off."""
    mtu: int = 2800
    ipv4_auto: bool = False
    """Members get an address of an IPv4 pool."""
    ipv6_auto: bool = False
    """Members get an address of an IPv6 pool."""
    rfc4193: bool = False
    """Members get the /128 that follows from network and member."""
    sixplane: bool = False
    """Members get the /80 that follows from network and member."""
    routes: tuple[Route, ...] = ()
    pools: tuple[Pool, ...] = ()
    rules: tuple[Rule, ...] = ACCEPT_ALL
    capabilities: tuple[CapabilityDefinition, ...] = ()
    """By ascending ID."""
    tags: tuple[TagDefinition, ...] = ()
    """By ascending ID."""
    dns: DNS | None = None
    auth_tokens: tuple[tuple[str, int], ...] = member_of(default=(), repr=False)
    """Tokens that authorize who presents them, each with the time when it ends; 0 is never."""
    remote_trace_target: NodeAddress | None = None
    remote_trace_level: int = 0
    rules_source: str = member_of(default="", repr=False)
    """The text in the rule language that the rules were made from."""
    certificate_timeout: int | None = None
    """Milliseconds by which certificates of members may differ; None is half an hour."""
    sso_enabled: bool = False
    client_id: str = ""
    authorization_endpoint: str = ""

    def updated(self, **changes: Any) -> Self:
        """A copy with these attributes changed. Raises RecordError; TypeError for an unknown attribute."""
        return replace(self, **network_attributes(changes))

    def patched(self, changes: Mapping[str, Any]) -> Self:
        """A copy with the keys changed that users may set (vl2.md 8.6); others are passed over. Raises RecordError."""
        new = replace(self, **_checked(_NETWORK, changes, lambda key: key.writable, None))
        came_of_source = (new.rules, new.tags, new.capabilities) == (self.rules, self.tags, self.capabilities)
        return new if came_of_source else replace(new, rules_source="")

    def to_json(self) -> dict[str, Any]:
        """The object that upstream keeps and shows."""
        key = str(self.id)
        return {"id": key, "nwid": key, "objtype": "network", **_written(_NETWORK, self)}

    @classmethod
    def from_json(
        cls, value: Mapping[str, Any], *, on_error: Callable[[RecordError], None] | None = None
    ) -> Self:
        """Read such an object, with all of its keys. Raises RecordError.

        With ``on_error`` a value that is none is told there instead, and the default stands, as it does upstream.
        """
        network_id = _required(value, "id" if "id" in value else "nwid", NetworkId.parse)
        return cls(id=network_id, **_checked(_NETWORK, value, lambda _: True, on_error))


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberRecord:
    """A member of a network, or a node that asked to be one. Times are Unix milliseconds."""

    network_id: NetworkId
    address: NodeAddress
    identity: Identity | None = None
    """As it first asked; nobody else can have its place."""
    authorized: bool = False
    active_bridge: bool = False
    no_auto_assign: bool = False
    """It gets the addresses in ``addresses`` only."""
    addresses: tuple[IPAddress, ...] = ()
    tags: tuple[tuple[int, int], ...] = ()
    """IDs and values, by ascending ID."""
    capabilities: tuple[int, ...] = ()
    """IDs, ascending."""
    name: str | None = None
    creation_time: int = 0
    revision: int = 0
    """Counts the stored changes; 0 was never stored."""
    last_authorized: int = 0
    last_deauthorized: int = 0
    credential_type: str | None = None
    """What it was last authorized by: api, public or token."""
    credential: str | None = member_of(default=None, repr=False)
    """The token, if it was one."""
    authentication_expiry: int = 0
    sso_exempt: bool = False
    remote_trace_target: NodeAddress | None = None
    remote_trace_level: int = 0

    def updated(self, **changes: Any) -> Self:
        """A copy with these attributes changed. Raises RecordError; TypeError for an unknown attribute."""
        return replace(self, **member_attributes(changes))

    def patched(self, changes: Mapping[str, Any]) -> Self:
        """A copy with the keys changed that users may set (vl2.md 8.6); others are passed over. Raises RecordError.

        What a change of ``authorized`` brings with it is ``with_authorization``'s.
        """
        return replace(self, **_checked(_MEMBER, changes, lambda key: key.writable, None))

    def with_authorization(
        self, authorized: bool, now: int, credential_type: str = "api", credential: str | None = None
    ) -> Self:
        """A copy that is authorized or not, with the time when that came to be; itself if it is already."""
        if authorized == self.authorized:
            return self
        if not authorized:
            return replace(self, authorized=False, last_deauthorized=now)
        return replace(
            self,
            authorized=True,
            last_authorized=now,
            credential_type=credential_type,
            credential=credential,
        )

    def to_json(self, seen: Seen = NEVER_SEEN) -> dict[str, Any]:
        """The object that upstream keeps and shows, with the versions that were seen."""
        key = str(self.address)
        head = {"id": key, "address": key, "nwid": str(self.network_id), "objtype": "member"}
        return head | _written(_MEMBER, self) | seen.to_json()

    @classmethod
    def from_json(
        cls, value: Mapping[str, Any], *, on_error: Callable[[RecordError], None] | None = None
    ) -> Self:
        """Read such an object, with all of its keys. Raises RecordError; ``on_error`` as in NetworkRecord."""
        address = _required(value, "id" if "id" in value else "address", NodeAddress.parse)
        network_id = _required(value, "nwid", NetworkId.parse)
        record = cls(
            network_id=network_id, address=address, **_checked(_MEMBER, value, lambda _: True, on_error)
        )
        if record.identity is None or record.identity.address == address:
            return record
        problem = RecordError("identity", f"is that of {record.identity.address}, not of {address}")
        if on_error is None:
            raise problem
        on_error(problem)
        return replace(record, identity=None)


def network_attributes(changes: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes of a network, checked and made typed. Raises RecordError; TypeError for an unknown attribute."""
    return _checked_attributes(_NETWORK_ATTRIBUTES, "network", changes)


def member_attributes(changes: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes of a member, likewise."""
    return _checked_attributes(_MEMBER_ATTRIBUTES, "member", changes)


def _required(value: Mapping[str, Any], key: str, read: Callable[[str], Any]) -> Any:
    found = value.get(key)
    if not isinstance(found, str):
        raise RecordError(key, "is missing")
    try:
        return read(found)
    except ValueError as error:
        raise RecordError(key, str(error)) from None


def _checked(
    table: Mapping[str, Field],
    value: Mapping[str, Any],
    wanted: Callable[[Field], bool],
    on_error: Callable[[RecordError], None] | None,
) -> dict[str, Any]:
    """Attributes from the keys of a JSON object."""
    if not isinstance(value, Mapping):
        raise RecordError("record", f"is an object, not {value!r}")
    attributes: dict[str, Any] = {}
    for key, column in table.items():
        if key in value and wanted(column):
            try:
                attributes |= column.read(value[key])
            except ValueError as error:
                problem = RecordError(key, str(error))
                if on_error is None:
                    raise problem from None
                on_error(problem)
    return attributes


def _checked_attributes(table: Mapping[str, Field], what: str, changes: Mapping[str, Any]) -> dict[str, Any]:
    attributes: dict[str, Any] = {}
    for name, value in changes.items():
        if name not in table:
            raise TypeError(f"a {what} has no attribute {name!r} to be changed")
        try:
            attributes |= table[name].read(value)
        except ValueError as error:
            raise RecordError(name, str(error)) from None
    return attributes


def _written(table: Mapping[str, Field], record: object) -> dict[str, Any]:
    written = {key: column.write(record) for key, column in table.items()}
    return {key: value for key, value in written.items() if value is not None or not table[key].optional}


def _route(value: Any) -> Route:
    if isinstance(value, Route):
        return value
    if isinstance(value, str):
        return Route(fields.ip_network(value))
    value = fields.mapping(value)
    target = fields.ip_network(value.get("target"))
    via = or_none(fields.ip_address, "")(value.get("via"))
    if via is not None and via.version != target.version:
        raise ValueError(f"{target} cannot be reached via {via}, which is of the other family")
    u16 = integer(0, 0xFFFF)
    return Route(target, via, u16(value.get("flags", 0)), u16(value.get("metric", 0)))


def _route_json(route: Route) -> dict[str, Any]:
    written: dict[str, Any] = {"target": str(route.target), "via": fields.text_or_none(route.via)}
    return written | {key: n for key, n in (("flags", route.flags), ("metric", route.metric)) if n}


def _pool(value: Any) -> Pool:
    if isinstance(value, Mapping):
        start, end = value.get("ipRangeStart"), value.get("ipRangeEnd")
    elif isinstance(value, tuple | list) and len(value) == 2:
        start, end = value
    else:
        raise ValueError(f"is a range of two IP addresses, not {value!r}")
    pool = Pool(fields.ip_address(start), fields.ip_address(end))
    if pool.start.version != pool.end.version or int(pool.start) > int(pool.end):
        raise ValueError(f"{pool.start} to {pool.end} is no range")
    return pool


def _rule(value: Any) -> Rule:
    return value if isinstance(value, Rule) else rule_from_json(fields.mapping(value))


def _rules_json(rules: tuple[Rule, ...]) -> list[dict[str, Any]]:
    if rules == ACCEPT_ALL:  # the default of upstream has more keys than what users set
        return [{"type": "ACTION_ACCEPT", "not": False, "or": False}]
    return [rule_to_json(rule) for rule in rules]


def _capability(value: Any) -> CapabilityDefinition:
    if isinstance(value, CapabilityDefinition):
        return value
    value = fields.mapping(value)
    rules = items(_rule, MAX_CAPABILITY_RULES, "rules")(value.get("rules", ()))
    return CapabilityDefinition(U32(value.get("id")), rules, flag(value.get("default", False)))


def _tag(value: Any) -> TagDefinition:
    if isinstance(value, TagDefinition):
        return value
    value = fields.mapping(value)
    return TagDefinition(U32(value.get("id")), or_none(U32)(value.get("default")))


def _by_id(read: Callable[[Any], Any]) -> Callable[[Any], tuple[Any, ...]]:
    """A list whose entries begin with an ID: of two with the same ID the latter counts."""
    read_all = items(read, 16384)

    def read_sorted(value: Any) -> tuple[Any, ...]:
        found = {entry[0]: entry for entry in read_all(value)}
        if len(found) > MAX_LIST:
            raise ValueError(f"has at most {MAX_LIST} entries, not {len(found)}")
        return tuple(found[number] for number in sorted(found))

    return read_sorted


def _member_tags(value: Any) -> tuple[tuple[int, int], ...]:
    found: tuple[tuple[int, int], ...] = _by_id(fields.pair)(
        list(value.items()) if isinstance(value, Mapping) else value
    )
    return found


def _capability_ids(value: Any) -> tuple[int, ...]:
    return tuple(sorted(set(items(U32, MAX_LIST)(value))))


def _addresses(value: Any) -> tuple[IPAddress, ...]:
    return tuple(dict.fromkeys(items(fields.ip_address, MAX_ADDRESSES, "addresses")(value)))


def _dns(value: Any) -> DNS | None:
    if value is None or value in ([], {}, ()):
        return None
    if isinstance(value, DNS):
        value = {"domain": value.domain, "servers": value.servers}
    value = fields.mapping(value)
    return DNS(
        text(127)(value.get("domain", "")),
        items(fields.ip_address, 4, "servers")(value.get("servers", ())),
    )


def _dns_json(dns: DNS | None) -> Any:
    return [] if dns is None else {"domain": dns.domain, "servers": fields.texts(dns.servers)}


def _tokens(value: Any) -> tuple[tuple[str, int], ...]:
    if value is None or value in ([], [None], ()):
        return ()
    try:
        if isinstance(value, tuple):
            value = dict(value)
        return tuple((text(1023)(token), MILLISECONDS(end)) for token, end in fields.mapping(value).items())
    except (ValueError, TypeError):  # what is wrong would be told with the tokens
        raise ValueError("is an object of tokens and the milliseconds at which they end") from None


def _v4_mode(value: Any) -> dict[str, Any]:
    if isinstance(value, str):
        return {"ipv4_auto": value == "zt"}
    return {"ipv4_auto": flag(fields.mapping(value).get("zt", False))}


def _v6_mode(value: Any) -> dict[str, Any]:
    """What is not named is off, in an object as in a comma-separated text."""
    if isinstance(value, str):
        value = {mode.strip(): True for mode in value.split(",")}
    value = fields.mapping(value)
    return {attribute: flag(value.get(mode, False)) for mode, attribute in _V6_MODES.items()}


_V6_MODES: Final = {"rfc4193": "rfc4193", "zt": "ipv6_auto", "6plane": "sixplane"}

_TRACE: Final = {
    "remoteTraceTarget": field("remote_trace_target", or_none(fields.node_address, ""), fields.text_or_none),
    "remoteTraceLevel": field("remote_trace_level", integer(0, 1000)),
}

_NETWORK: Final[dict[str, Field]] = {
    "name": field("name", text(127)),
    "private": field("private", flag),
    "creationTime": field("creation_time", MILLISECONDS, writable=False),
    "revision": field("revision", REVISION, writable=False),
    "enableBroadcast": field("broadcast", flag),
    "multicastLimit": field("multicast_limit", U32),
    "mtu": field("mtu", integer(1280, 10000, clamp=True)),
    "v4AssignMode": Field(_v4_mode, lambda record: {"zt": record.ipv4_auto}),
    "v6AssignMode": Field(
        _v6_mode, lambda record: {mode: getattr(record, attribute) for mode, attribute in _V6_MODES.items()}
    ),
    "routes": field("routes", items(_route, MAX_LIST), lambda routes: [_route_json(r) for r in routes]),
    "ipAssignmentPools": field(
        "pools",
        items(_pool, MAX_LIST),
        lambda pools: [{"ipRangeStart": str(p.start), "ipRangeEnd": str(p.end)} for p in pools],
    ),
    "rules": field("rules", items(_rule, MAX_RULES), _rules_json),
    "capabilities": field(
        "capabilities",
        _by_id(_capability),
        lambda found: [
            {"id": c.id, "default": c.default, "rules": [rule_to_json(rule) for rule in c.rules]}
            for c in found
        ],
    ),
    "tags": field(
        "tags", _by_id(_tag), lambda found: [{"id": tag.id, "default": tag.default} for tag in found]
    ),
    "dns": field("dns", _dns, _dns_json),
    "authTokens": field("auth_tokens", _tokens, lambda tokens: dict(tokens) if tokens else [None]),
    **_TRACE,
    "rulesSource": field("rules_source", text(), writable=False),
    "certificateTimeoutWindowSize": field(
        "certificate_timeout", or_none(MILLISECONDS), writable=False, optional=True
    ),
    "ssoEnabled": field("sso_enabled", flag, writable=False),
    "clientId": field("client_id", text(), writable=False),
    "authorizationEndpoint": field("authorization_endpoint", text(), writable=False),
}

_MEMBER: Final[dict[str, Field]] = {
    "identity": field(
        "identity", or_none(fields.identity, ""), fields.text_or_none, writable=False, optional=True
    ),
    "authorized": field("authorized", flag),
    "activeBridge": field("active_bridge", flag),
    "noAutoAssignIps": field("no_auto_assign", flag),
    "ipAssignments": field("addresses", _addresses, fields.texts),
    "tags": field("tags", _member_tags, lambda tags: [list(tag) for tag in tags]),
    "capabilities": field("capabilities", _capability_ids, list),
    "name": field("name", or_none(text()), optional=True),
    "creationTime": field("creation_time", MILLISECONDS, writable=False),
    "revision": field("revision", REVISION, writable=False),
    "lastAuthorizedTime": field("last_authorized", MILLISECONDS, writable=False),
    "lastDeauthorizedTime": field("last_deauthorized", MILLISECONDS, writable=False),
    "lastAuthorizedCredentialType": field("credential_type", or_none(text()), writable=False),
    "lastAuthorizedCredential": field("credential", or_none(text()), writable=False),
    "authenticationExpiryTime": field("authentication_expiry", MILLISECONDS),
    "ssoExempt": field("sso_exempt", flag, writable=False),
    **_TRACE,
}


_NETWORK_ATTRIBUTES: Final = (
    {column.attribute: column for column in _NETWORK.values() if column.attribute and column.writable}
    | {attribute: field(attribute, flag) for attribute in ("ipv4_auto", *_V6_MODES.values())}
    | {_NETWORK[key].attribute: _NETWORK[key] for key in ("rulesSource", "certificateTimeoutWindowSize")}
)
_MEMBER_ATTRIBUTES: Final = {column.attribute: column for column in _MEMBER.values() if column.writable}
