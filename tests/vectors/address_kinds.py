"""Checks of the vectors about MAC, IP and physical addresses."""

from __future__ import annotations

from ipaddress import IPv6Interface, ip_address

from tests.vectors.registry import Case, vector_kind
from zt_async.errors import DecodeError
from zt_async.types import Endpoint, MACAddress, NetworkId, NodeAddress
from zt_async.vl2.addressing import (
    address_of_mac,
    first_octet,
    member_mac,
    resolution_group,
    rfc4193,
    sixplane,
)
from zt_async.wire import inetaddress
from zt_async.wire.buffer import Reader
from zt_async.wire.inetaddress import ip_scope, pack_endpoint, parse_address, read_endpoint
from zt_async.wire.ipv6 import link_local_address

unhex = bytes.fromhex


@vector_kind("inetaddress")
def check_inetaddress(case: Case, fields: dict[str, str]) -> None:
    {
        "serialize": _check_serialize,
        "deserialize": _check_deserialize,
        "from_string": _check_from_string,
        "scope": _check_scope,
        "contains": _check_contains,
    }[case["kind"]](case)


def _check_endpoint(case: Case, endpoint: Endpoint | None) -> None:
    if endpoint is None:
        stated = case["family"], case["string"], case["ip_string"], case["port"], case["scope"]
        assert stated == (0, "", "", 0, 0)
        return
    assert endpoint.family == case["family"]
    assert str(endpoint) == case["string"]
    assert endpoint.host == case["ip_string"]
    assert endpoint.port == case["port"]
    assert ip_scope(endpoint.ip) == case["scope"]


def _check_serialize(case: Case) -> None:
    endpoint = parse_address(case["string"])
    binary = unhex(case["binary"])
    assert case["valid"]
    _check_endpoint(case, endpoint)
    assert pack_endpoint(endpoint) == binary
    reader = Reader(binary)
    assert read_endpoint(reader) == endpoint
    assert not reader.remaining


def _check_deserialize(case: Case) -> None:
    data = unhex(case["binary"])
    reader = Reader(data)
    try:
        endpoint = read_endpoint(reader)
    except DecodeError:
        assert case["valid"] is False
        return
    assert case["valid"] is True
    _check_endpoint(case, endpoint)
    assert reader.offset == case["consumed"]
    if endpoint is not None:
        assert pack_endpoint(endpoint) == data[: reader.offset]


def _check_from_string(case: Case) -> None:
    try:
        endpoint = parse_address(case["input"])
    except ValueError:
        assert case["valid"] is False
        return
    assert case["valid"] is True
    _check_endpoint(case, endpoint)
    if endpoint is None:
        return
    length = endpoint.port
    netmask, network = inetaddress.prefix_netmask(endpoint), inetaddress.prefix_network(endpoint)
    broadcast = inetaddress.prefix_broadcast(endpoint)
    assert length == case["netmask_bits"]
    assert inetaddress.is_network(endpoint) is case["is_network"]
    assert str(Endpoint.make(netmask, length)) == case["netmask"]
    assert str(Endpoint.make(network, length)) == case["network"]
    assert (f"{broadcast}/{length}" if broadcast else None) == case.get("broadcast")


def _check_scope(case: Case) -> None:
    assert case["valid"]
    assert ip_scope(ip_address(case["input"])) == case["scope"]


def _check_contains(case: Case) -> None:
    assert case["valid"]
    network = Endpoint.parse(case["network"])
    assert inetaddress.prefix_contains(network, ip_address(case["address"])) is case["contains"]


@vector_kind("mac_ip")
def check_mac_ip(case: Case, fields: dict[str, str]) -> None:
    {"derive": _check_derive, "reverse": _check_reverse, "class": _check_class, "address": _check_reserved}[
        case["kind"]
    ](case)


def _check_derive(case: Case) -> None:
    network_id, address = NetworkId.parse(case["network_id"]), NodeAddress.parse(case["address"])
    mac = member_mac(network_id, address)
    assert case["valid"]
    assert mac.packed == unhex(case["mac"])
    assert str(mac) == case["mac_string"]
    assert MACAddress.parse(case["mac_string"]) == mac
    assert first_octet(network_id) == mac >> 40 == case["first_octet"]
    assert str(address_of_mac(network_id, mac)) == case["address_back"] == str(address)
    _check_interface(sixplane(network_id, address), case["sixplane"])
    _check_interface(rfc4193(network_id, address), case["rfc4193"])
    _check_interface(IPv6Interface((link_local_address(mac), 64)), case["link_local"])


def _check_interface(interface: IPv6Interface, stated: Case) -> None:
    assert interface.ip.packed == unhex(stated["raw"])
    assert interface.network.prefixlen == stated["port"]
    assert str(interface) == stated["string"]


def _check_reverse(case: Case) -> None:
    network_id, mac = NetworkId.parse(case["network_id"]), MACAddress.from_packed(unhex(case["mac"]))
    assert str(address_of_mac(network_id, mac)) == case["address_back"]
    assert (first_octet(network_id) == mac >> 40) is case["first_octet_matches"]
    assert case["valid"] is case["first_octet_matches"]


def _check_class(case: Case) -> None:
    mac = MACAddress.from_packed(unhex(case["mac"]))
    assert case["valid"]
    assert mac.is_broadcast is case["broadcast"]
    assert mac.is_multicast is case["multicast"]
    assert mac.is_local is case["locally_administered"]


def _check_reserved(case: Case) -> None:
    assert NodeAddress.parse(case["address"]).is_reserved is case["reserved"]
    assert case["valid"] is not case["reserved"]


@vector_kind("multicast_groups")
def check_multicast_groups(case: Case, fields: dict[str, str]) -> None:
    assert case["valid"]
    mac, adi = resolution_group(ip_address(case["ip"]))
    assert mac.packed == unhex(case["mac"])
    assert adi == case["adi"]
