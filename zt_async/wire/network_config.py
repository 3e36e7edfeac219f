"""The configuration of a network, as its controller makes it for one member. vl2.md 3.2 to 3.4."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import ip_interface
from typing import Final, Self, TypeVar

from zt_async.errors import DecodeError
from zt_async.types import DNS, Endpoint, IPAddress, IPInterface, NetworkId, NodeAddress, Route
from zt_async.wire.buffer import Reader
from zt_async.wire.credentials import (
    NO_NODE,
    Capability,
    CertificateOfMembership,
    CertificateOfOwnership,
    Tag,
)
from zt_async.wire.dictionary import Dictionary
from zt_async.wire.inetaddress import read_endpoint
from zt_async.wire.rules import MAX_RULES, Rule, decode_rules, encode_rules

CONFIG_VERSION: Final = 7
OLDEST_VERSION: Final = 6
MAX_CONFIG: Final = 1 << 19
"""Bytes of a configuration that are read."""

DEFAULT_MTU: Final = 2800
MIN_MTU: Final = 1280
MAX_MTU: Final = 10_000
MAX_NAME: Final = 127
MAX_ADDRESSES: Final = 32
MAX_ROUTES: Final = 128
MAX_SPECIALISTS: Final = 256
MAX_CAPABILITIES: Final = 128
MAX_TAGS: Final = 128
MAX_OWNERSHIPS: Final = 4
MAX_DNS_SERVERS: Final = 4
_DOMAIN_SIZE: Final = 128

FLAG_BROADCAST: Final = 0x02
FLAG_NDP_EMULATION: Final = 0x04
FLAG_UNKNOWN_RULES_MATCH: Final = 0x08
FLAG_PLAIN_MULTICAST: Final = 0x10

ROLE_BRIDGE: Final = 1 << 41
ROLE_ANCHOR: Final = 1 << 42
ROLE_REPLICATOR: Final = 1 << 43
_ADDRESS_MASK: Final = (1 << 40) - 1

_NO_ADDRESS: Final = b"\0"


@dataclass(frozen=True, slots=True, kw_only=True)
class SingleSignOn:
    """How a member is to authenticate itself; version 0 has the URL to open and its expiry, version 1 the rest."""

    version: int = 0
    enabled: bool = False
    authentication_url: str = ""
    expiry: int = 0
    """Unix milliseconds."""
    issuer_url: str = ""
    central_url: str = ""
    nonce: str = field(default="", repr=False)
    state: str = field(default="", repr=False)
    client_id: str = ""
    provider: str = "default"


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkConfig:
    """What a network is for one member. Times are Unix milliseconds.

    Two are equal if nothing of them differs. Of a value with a largest size ``encode`` writes no more than that.
    """

    network_id: NetworkId
    issued_to: NodeAddress
    name: str = ""
    private: bool = True
    mtu: int = DEFAULT_MTU
    revision: int = 0
    timestamp: int = 0
    """When it was made, by the clock of the controller: what times of credentials are compared with."""
    credential_max_delta: int = 0
    """Milliseconds by which credentials may differ in time."""
    flags: int = 0
    multicast_limit: int = 0
    """The most members that a multicast is sent to; 0 switches multicast off."""
    addresses: tuple[IPInterface, ...] = ()
    routes: tuple[Route, ...] = ()
    dns: DNS | None = None
    rules: tuple[Rule, ...] = ()
    specialists: tuple[int, ...] = ()
    """Node addresses with role bits above the 40 bits of the address."""
    certificate: CertificateOfMembership | None = None
    capabilities: tuple[Capability, ...] = ()
    tags: tuple[Tag, ...] = ()
    ownerships: tuple[CertificateOfOwnership, ...] = ()
    trace_target: NodeAddress = NO_NODE
    trace_level: int = 0
    sso: SingleSignOn | None = None
    """None is the same as version 0, not enabled."""

    @property
    def bridges(self) -> frozenset[NodeAddress]:
        """Members that may carry frames of cards that are not theirs."""
        return self._having(ROLE_BRIDGE)

    @property
    def anchors(self) -> frozenset[NodeAddress]:
        """Members that are always kept in contact, and asked for members of multicast groups."""
        return self._having(ROLE_ANCHOR)

    @property
    def replicators(self) -> frozenset[NodeAddress]:
        """Members that are always kept in contact, and send multicasts on for others."""
        return self._having(ROLE_REPLICATOR)

    def _having(self, role: int) -> frozenset[NodeAddress]:
        return frozenset(NodeAddress(s & _ADDRESS_MASK) for s in self.specialists if s & role)

    @property
    def broadcast(self) -> bool:
        """Frames to ff:ff:ff:ff:ff:ff are carried."""
        return bool(self.flags & FLAG_BROADCAST)

    @property
    def ndp_emulation(self) -> bool:
        """Neighbour solicitations for derived addresses are answered on the spot (vl2.md 5.4)."""
        return bool(self.flags & FLAG_NDP_EMULATION)

    @property
    def unknown_rules_match(self) -> bool:
        """What a match rule of unknown type says of every frame."""
        return bool(self.flags & FLAG_UNKNOWN_RULES_MATCH)

    @property
    def compress_multicast(self) -> bool:
        """Multicast frames may be compressed."""
        return not self.flags & FLAG_PLAIN_MULTICAST

    def encode(self) -> bytes:
        """The dictionary's text. Raises ValueError for a number that has no place in it."""
        d = Dictionary()
        d.put_int("v", CONFIG_VERSION)
        d.put_int("nwid", self.network_id)
        d.put_int("ts", self.timestamp)
        d.put_int("ctmd", self.credential_max_delta)
        d.put_int("r", self.revision)
        d.put_address("id", self.issued_to)
        d.put_address("tt", self.trace_target)
        d.put_int("tl", self.trace_level)
        d.put_int("f", self.flags)
        d.put_int("ml", self.multicast_limit)
        d.put_int("t", 0 if self.private else 1)
        d.put_text("n", _cut(self.name, MAX_NAME))
        d.put_int("mtu", self.mtu)
        if self.certificate:
            d.put("C", self.certificate.encode())
        for key, blob in (
            ("CAP", b"".join(c.encode() for c in self.capabilities[:MAX_CAPABILITIES])),
            ("TAG", b"".join(t.encode() for t in self.tags[:MAX_TAGS])),
            ("COO", b"".join(o.encode() for o in self.ownerships[:MAX_OWNERSHIPS])),
            ("S", b"".join(_pack("!Q", specialist) for specialist in self.specialists[:MAX_SPECIALISTS])),
            ("RT", b"".join(map(_pack_route, self.routes[:MAX_ROUTES]))),
            ("I", b"".join(_pack_ip(a.ip, a.network.prefixlen) for a in self.addresses[:MAX_ADDRESSES])),
            ("R", encode_rules(self.rules[:MAX_RULES])),
        ):
            if blob:
                d.put(key, blob)
        d.put("DNS", _pack_dns(self.dns))
        _put_sso(d, self.sso or SingleSignOn())
        return d.encode()

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read a dictionary's text. Raises DecodeError.

        Of what there is too much the first is kept; capabilities and tags are sorted by their IDs, and one that is
        damaged ends their list.
        """
        d = Dictionary.decode(data, MAX_CONFIG)
        if d.get_uint("v") < OLDEST_VERSION:
            raise DecodeError("old format of configuration")
        network_id, issued_to = d.get_uint("nwid"), d.get_address("id")
        if not network_id:
            raise DecodeError("configuration of no network")
        if not issued_to:
            raise DecodeError("configuration for nobody")
        return cls(
            network_id=NetworkId(network_id),
            issued_to=issued_to,
            name=d.get_text("n", MAX_NAME),
            private=d.get_uint("t") != 1,
            mtu=max(MIN_MTU, min(d.get_uint("mtu", DEFAULT_MTU), MAX_MTU)),
            revision=d.get_uint("r"),
            timestamp=d.get_uint("ts"),
            credential_max_delta=d.get_uint("ctmd"),
            flags=d.get_uint("f"),
            multicast_limit=d.get_uint("ml") & 0xFFFFFFFF,
            addresses=_read_all(d.get("I"), _read_address, MAX_ADDRESSES),
            routes=_read_all(d.get("RT"), _read_route, MAX_ROUTES),
            dns=_read_dns(d.get("DNS")),
            rules=decode_rules(d.get("R") or b""),
            specialists=_read_specialists(d.get("S") or b""),
            certificate=None if (com := d.get("C")) is None else CertificateOfMembership.read(Reader(com)),
            capabilities=_read_sorted(d.get("CAP"), Capability.read, MAX_CAPABILITIES),
            tags=_read_sorted(d.get("TAG"), Tag.read, MAX_TAGS),
            ownerships=_read_all(d.get("COO"), CertificateOfOwnership.read)[:MAX_OWNERSHIPS],
            trace_target=d.get_address("tt"),
            trace_level=d.get_uint("tl"),
            sso=_get_sso(d),
        )


_Item = TypeVar("_Item")
_Credential = TypeVar("_Credential", Capability, Tag)


def _read_all(
    blob: bytes | None, read: Callable[[Reader], _Item | None], limit: int = MAX_CONFIG
) -> tuple[_Item, ...]:
    """The first items of a blob, without the Nones among them. Damage raises DecodeError."""
    reader = Reader(blob or b"")
    items: list[_Item] = []
    for _ in range(limit):
        if reader.remaining <= 0:
            break
        item = read(reader)
        if item is not None:
            items.append(item)
    if reader.remaining < 0:
        raise DecodeError("truncated")
    return tuple(items)


def _read_sorted(
    blob: bytes | None, read: Callable[[Reader], _Credential], limit: int
) -> tuple[_Credential, ...]:
    """The first credentials of a blob, up to any damage, by their IDs."""
    reader = Reader(blob or b"")
    credentials: list[_Credential] = []
    try:
        while reader.remaining and len(credentials) < limit:
            credentials.append(read(reader))
    except DecodeError:
        pass  # as on other nodes, which so are in agreement about what their members have
    return tuple(sorted(credentials, key=lambda credential: credential.id))


def _cut(text: str, limit: int) -> str:
    """A text that has no more than ``limit`` bytes."""
    return text.encode("utf-8", "replace")[:limit].decode("utf-8", "ignore")


def _pack(layout: str, *numbers: int) -> bytes:
    try:
        return struct.pack(layout, *numbers)
    except struct.error as error:
        raise ValueError(f"a number of a configuration does not fit: {numbers}") from error


def _pack_ip(ip: IPAddress, number: int = 0) -> bytes:
    return b"%c%b%b" % (ip.version, ip.packed, _pack("!H", number))


def _pack_route(route: Route) -> bytes:
    target = _pack_ip(route.target.network_address, route.target.prefixlen)
    via = _pack_ip(route.via) if route.via is not None else _NO_ADDRESS
    return target + via + _pack("!HH", route.flags, route.metric)


def _read_route(reader: Reader) -> Route | None:
    target = read_endpoint(reader)
    via = read_endpoint(reader)
    flags, metric = reader.u16(), reader.u16()
    return Route(_interface(target).network, via and via.ip, flags, metric) if target else None


def _read_address(reader: Reader) -> IPInterface | None:
    address = read_endpoint(reader)
    return _interface(address) if address else None


def _interface(prefix: Endpoint) -> IPInterface:
    """An address with the length of its prefix; one that is too long is a single address."""
    ip = prefix.ip
    return ip_interface((ip, min(prefix.port, ip.max_prefixlen)))


def _pack_dns(dns: DNS | None) -> bytes:
    dns = dns or DNS("")
    domain = _cut(dns.domain, _DOMAIN_SIZE - 1).encode().ljust(_DOMAIN_SIZE, b"\0")
    ports = dns.ports or (0,) * len(dns.servers)
    servers = [_pack_ip(server, port) for server, port in zip(dns.servers, ports, strict=True)]
    return domain + b"".join((servers + [_NO_ADDRESS] * MAX_DNS_SERVERS)[:MAX_DNS_SERVERS])


def _read_dns(blob: bytes | None) -> DNS | None:
    if blob is None:
        return None
    reader = Reader(blob)
    domain = reader.take(_DOMAIN_SIZE)[:-1].split(b"\0", 1)[0].decode("utf-8", "replace")
    servers = [server for _ in range(MAX_DNS_SERVERS) if (server := read_endpoint(reader))]
    if not domain and not servers:
        return None
    ports = tuple(server.port for server in servers)
    return DNS(domain, tuple(server.ip for server in servers), ports if any(ports) else ())


def _read_specialists(blob: bytes) -> tuple[int, ...]:
    whole = min(len(blob) // 8, MAX_SPECIALISTS)
    return struct.unpack_from(f"!{whole}Q", blob)


_MAX_URL: Final = 2047
_MAX_NONCE: Final = 127
_MAX_STATE: Final = 255
_MAX_CLIENT_ID: Final = 255
_MAX_PROVIDER: Final = 63


def _put_sso(d: Dictionary, sso: SingleSignOn) -> None:
    if sso.version not in (0, 1):
        return
    d.put_int("ssov", sso.version)
    d.put_bool("ssoe", sso.enabled)
    if sso.version == 1:
        d.put_text("iurl", _cut(sso.issuer_url, _MAX_URL))
        d.put_text("ssoce", _cut(sso.central_url, _MAX_URL))
        d.put_text("sson", _cut(sso.nonce, _MAX_NONCE))
        d.put_text("ssos", _cut(sso.state, _MAX_STATE))
        d.put_text("ssocid", _cut(sso.client_id, _MAX_CLIENT_ID))
        d.put_text("ssop", _cut(sso.provider, _MAX_PROVIDER))
    elif sso.enabled:
        if sso.authentication_url:
            d.put_text("aurl", _cut(sso.authentication_url, _MAX_URL))
        d.put_int("aexpt", sso.expiry)


def _get_sso(d: Dictionary) -> SingleSignOn | None:
    version, enabled = d.get_uint("ssov"), d.get_bool("ssoe")
    if version not in (0, 1):
        return SingleSignOn(version=version, enabled=enabled)
    if not enabled:
        return SingleSignOn(version=1, provider="") if version else None
    url, expiry = d.get_text("aurl", _MAX_URL), d.get_int("aexpt")
    if version == 0:
        return SingleSignOn(enabled=True, authentication_url=url, expiry=expiry)
    return SingleSignOn(
        version=1,
        enabled=True,
        authentication_url=url,
        issuer_url=d.get_text("iurl", _MAX_URL),
        central_url=d.get_text("ssoce", _MAX_URL),
        nonce=d.get_text("sson", _MAX_NONCE),
        state=d.get_text("ssos", _MAX_STATE),
        client_id=d.get_text("ssocid", _MAX_CLIENT_ID),
        provider=d.get_text("ssop", _MAX_PROVIDER) or "default",
    )
