"""Hypothesis strategies for what travels on networks."""

from ipaddress import ip_interface, ip_network

from hypothesis import strategies as st

from tests.wire.rules import rules as any_rule
from zt_async.types import DNS, MACAddress, MulticastGroup, NetworkId, NodeAddress, Route
from zt_async.wire.credentials import (
    Capability,
    CertificateOfMembership,
    CertificateOfOwnership,
    Credentials,
    Custody,
    Qualifier,
    Revocation,
    Tag,
    Thing,
)
from zt_async.wire.network_config import NetworkConfig, SingleSignOn

u8, u16, u32, u64 = (st.integers(0, (1 << bits) - 1) for bits in (8, 16, 32, 64))
times = st.integers(-(1 << 63), (1 << 63) - 1)
addresses = st.integers(0, (1 << 40) - 1).map(NodeAddress)
nodes = st.integers(1, (1 << 40) - 1).map(NodeAddress)
network_ids = u64.map(NetworkId)
macs = st.integers(0, (1 << 48) - 1).map(MACAddress)
groups = st.builds(MulticastGroup, macs, u32)
signatures = st.binary(min_size=96, max_size=96)

rules = st.lists(any_rule, max_size=5).map(tuple)
qualifiers = st.lists(st.builds(Qualifier, u64, u64, u64), max_size=8).map(lambda q: tuple(sorted(q)))
coms = st.builds(CertificateOfMembership, qualifiers) | st.builds(
    CertificateOfMembership, qualifiers, nodes, signatures
)
tags = st.builds(Tag, network_ids, times, u32, u32, addresses, addresses, signatures)
capabilities = st.integers(1, 7).flatmap(
    lambda length: st.builds(
        Capability,
        network_ids,
        times,
        u32,
        rules,
        st.just(length),
        st.lists(st.builds(Custody, nodes, addresses, signatures), max_size=length).map(tuple),
    )
)
things = st.builds(Thing, u8, st.binary(min_size=16, max_size=16))
ownerships = st.builds(
    CertificateOfOwnership,
    network_ids,
    times,
    u64,
    u32,
    st.lists(things, max_size=16).map(tuple),
    addresses,
    addresses,
    signatures,
)
revocations = st.builds(Revocation, u32, network_ids, u32, times, u64, addresses, u8, addresses, signatures)


def _several(strategy, size):
    return st.lists(strategy, max_size=size).map(tuple)


credentials = st.builds(
    Credentials,
    _several(coms, 3),
    _several(capabilities, 3),
    _several(tags, 3),
    _several(revocations, 3),
    _several(ownerships, 3),
)

ips = st.ip_addresses()
interfaces = ips.flatmap(
    lambda ip: st.integers(0, ip.max_prefixlen).map(lambda length: ip_interface((ip, length)))
)
networks = interfaces.map(lambda interface: ip_network(interface.network))
routes = st.builds(Route, networks, st.none() | ips, u16, u16)
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)
dns = st.lists(st.tuples(ips, st.integers(1, 0xFFFF)), max_size=4).flatmap(
    lambda servers: st.builds(
        DNS,
        texts.filter(lambda domain: domain or servers),
        st.just(tuple(ip for ip, _ in servers)),
        st.just(tuple(port for _, port in servers)) | st.just(()),
    )
)
single_sign_ons = st.one_of(
    st.builds(
        SingleSignOn, enabled=st.just(True), authentication_url=texts, expiry=st.integers(0, (1 << 63) - 1)
    ),
    st.builds(
        SingleSignOn,
        version=st.just(1),
        enabled=st.just(True),
        issuer_url=texts,
        central_url=texts,
        nonce=texts,
        state=texts,
        client_id=texts,
        provider=texts.filter(bool),
    ),
)


def _sorted(strategy):
    return st.lists(strategy, max_size=4, unique_by=lambda c: c.id).map(
        lambda found: tuple(sorted(found, key=lambda c: c.id))
    )


configs = st.builds(
    NetworkConfig,
    network_id=st.integers(1, (1 << 64) - 1).map(NetworkId),
    issued_to=nodes,
    name=texts,
    private=st.booleans(),
    mtu=st.integers(1280, 10_000),
    revision=u64,
    timestamp=u64,
    credential_max_delta=u64,
    flags=u64,
    multicast_limit=u32,
    addresses=_several(interfaces, 4),
    routes=_several(routes, 4),
    dns=st.none() | dns,
    rules=rules,
    specialists=_several(u64, 4),
    certificate=st.none() | coms,
    capabilities=_sorted(capabilities),
    tags=_sorted(tags),
    ownerships=_several(ownerships, 4),
    trace_target=addresses,
    trace_level=u64,
    sso=st.none() | single_sign_ons,
)
