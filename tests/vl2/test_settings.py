"""What of an assignment is put to use (vl2.md 10)."""

from __future__ import annotations

from ipaddress import ip_address, ip_interface, ip_network

import pytest

from zt_async.config import NetworkSettings
from zt_async.types import DNS, Route
from zt_async.vl2.settings import Applied, allows, apply_settings

ANY = NetworkSettings(allow_global=True, allow_default=True, allow_dns=True)


@pytest.mark.parametrize(
    ("address", "used"),
    [
        *(
            (text, True)
            for text in ("10.0.0.1/8", "172.16.5.5/16", "192.168.1.1/24", "100.64.0.1/10", "fd00::1/64")
        ),
        *((text, True) for text in ("192.0.2.1/24", "198.18.0.1/15", "203.0.113.9/24", "fc00::1/7")),
        *((text, True) for text in ("28.0.0.1/8", "25.1.1.1/8", "6.6.6.6/8", "240.0.0.1/4", "11.0.0.1/8")),
        *((text, False) for text in ("8.8.8.8/24", "1.1.1.1/32", "2001:db8::1/64", "42.0.0.1/8")),
        *(
            (text, None)
            for text in ("0.1.2.3/8", "255.0.0.1/8", "224.0.0.1/4", "127.0.0.1/8", "169.254.1.1/16")
        ),
        *((text, None) for text in ("::1/128", "fe80::5/64", "ff02::1/64", "::/64")),
    ],
)
def test_the_scope_of_an_address_decides(address, used):
    """True: in any case, False: if global ones are allowed, None: never."""
    interface = ip_interface(address)
    for target in (interface, ip_network(address, strict=False)):
        assert allows(NetworkSettings(), target) is bool(used)
    assert allows(ANY, interface) is (used is not None)
    assert not allows(NetworkSettings(allow_managed=False, allow_global=True), interface)


@pytest.mark.parametrize("target", ["0.0.0.0/0", "::/0"])
def test_default_routes_have_a_switch_of_their_own(target):
    network = ip_network(target)
    assert not allows(NetworkSettings(allow_global=True), network)
    assert allows(NetworkSettings(allow_default=True), network)
    assert not allows(NetworkSettings(allow_default=True, allow_managed=False), network)
    assert not allows(
        NetworkSettings(allow_default=True, managed_prefixes=(ip_network("10.0.0.0/8"),)), network
    )
    assert allows(NetworkSettings(allow_default=True, managed_prefixes=(network,)), network)


def test_a_list_of_prefixes_restricts():
    settings = NetworkSettings(managed_prefixes=(ip_network("10.1.0.0/16"), ip_network("fd00::/32")))
    assert allows(settings, ip_interface("10.1.2.3/24"))
    assert allows(settings, ip_interface("10.1.2.3/16"))
    assert not allows(settings, ip_interface("10.1.2.3/8"))  # the prefix reaches beyond
    assert not allows(settings, ip_interface("10.2.0.1/24"))
    assert allows(settings, ip_network("fd00:0:5::/48"))
    assert not allows(settings, ip_network("fd01::/48"))
    assert not allows(
        NetworkSettings(managed_prefixes=(ip_network("8.0.0.0/8"),)), ip_interface("8.8.8.8/32")
    )


OWN = (ip_interface("10.1.0.5/16"), ip_interface("fd00::5/64"))


def route(target, via=None, metric=0):
    return Route(ip_network(target), ip_address(via) if via else None, 0, metric)


@pytest.mark.parametrize(
    ("given", "used"),
    [
        (route("10.9.0.0/16", "10.1.0.1"), True),
        (route("10.9.0.0/16", "10.1.0.5"), False),  # through ourselves
        (route("10.1.0.0/16"), False),  # implied by our address
        (route("10.1.0.0/16", "10.1.0.1"), True),
        (route("10.1.4.0/24"), True),
        (route("10.2.0.0/16"), True),
        (route("fd00::/64"), False),
        (route("fd01::/64", "fd00::1"), True),
        (route("8.8.8.0/24", "10.1.0.1"), False),
        (route("0.0.0.0/0", "10.1.0.1"), False),
        (route("10.9.0.0/16", "fd00::1"), False),  # of another family
        (route("fd01::/64", "10.1.0.1"), False),
    ],
)
def test_routes(given, used):
    assert apply_settings(NetworkSettings(), OWN, [given], None).routes == ((given,) if used else ())


def test_what_is_assigned_twice_is_used_once():
    routes = [route("10.9.0.0/16", "10.1.0.1"), route("10.9.0.0/16", "10.1.0.2")] * 2
    wider = ip_interface("10.1.0.5/8")
    applied = apply_settings(NetworkSettings(), (OWN[0], *OWN, wider), routes, None)
    assert applied == Applied((wider, OWN[1]), tuple(routes[:2]))


def test_routes_of_a_family_without_address_are_left_out():
    routes = [route("10.9.0.0/16", "10.1.0.1"), route("fd01::/64", "fd00::1")]
    assert apply_settings(ANY, OWN[:1], routes, None).routes == (routes[0],)
    assert apply_settings(ANY, OWN[1:], routes, None).routes == (routes[1],)
    settings = NetworkSettings(managed_prefixes=(ip_network("fd00::/8"),))
    assert apply_settings(settings, OWN, routes, None) == Applied((OWN[1],), (routes[1],))


def test_routes_through_gateways_come_last():
    routes = [route("10.9.0.0/16", "10.2.0.1"), route("10.2.0.0/16"), route("0.0.0.0/0", "10.1.0.1")]
    applied = apply_settings(ANY, OWN, routes, None)
    assert applied.routes == (routes[1], routes[0], routes[2])


@pytest.mark.parametrize("settings", [NetworkSettings(), ANY])
@pytest.mark.parametrize("domain", ["", "corp"])
def test_dns(settings, domain):
    dns = DNS(domain, (ip_address("10.1.0.2"),))
    used = settings.allow_dns and domain
    assert apply_settings(settings, OWN, (), dns).dns == (dns if used else None)
    assert apply_settings(settings, OWN, (), None).dns is None
