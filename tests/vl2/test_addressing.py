"""Addresses that follow from network IDs and node addresses."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, IPv6Interface

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zt_async.types import BROADCAST, MACAddress, NetworkId, NodeAddress
from zt_async.vl2.addressing import (
    address_of_mac,
    first_octet,
    member_mac,
    resolution_group,
    rfc4193,
    sixplane,
)

NETWORK = NetworkId.parse("e6b4e38f2bbb197b")
MEMBER = NodeAddress.parse("81d8d5d247")

network_ids = st.integers(0, 2**64 - 1)
addresses = st.integers(0, 2**40 - 1)


def test_a_member():
    mac = member_mac(NETWORK, MEMBER)
    assert mac == MACAddress.parse("7a:98:63:fe:5d:a4")
    assert address_of_mac(NETWORK, mac) == MEMBER
    assert sixplane(NETWORK, MEMBER) == IPv6Interface("fccd:ffa:f481:d8d5:d247::1/40")
    assert rfc4193(NETWORK, MEMBER) == IPv6Interface("fde6:b4e3:8f2b:bb19:7b99:9381:d8d5:d247/88")


@given(network_ids, addresses)
def test_the_mac_gives_the_address_back(network_id, address):
    mac = member_mac(network_id, address)
    assert address_of_mac(network_id, mac) == address
    assert mac >> 40 == first_octet(network_id)
    assert mac.is_local
    assert not mac.is_multicast


@given(network_ids, addresses)
def test_all_members_are_on_one_link(network_id, address):
    for derive in (sixplane, rfc4193):
        assert derive(network_id, address).network == derive(network_id, 0).network


@pytest.mark.parametrize(
    ("low", "octet"), [(0x52, 0x32), (0x50, 0x32), (0x53, 0x32), (0x32, 0x32), (0, 2), (0xFF, 0xFE)]
)
def test_first_octet(low, octet):
    assert first_octet(low) == octet


def test_resolution_groups():
    assert resolution_group(IPv4Address("10.1.2.3")) == (BROADCAST, 0x0A010203)
    assert resolution_group(IPv6Address("fd00::1234:5678")) == (MACAddress.parse("33:33:ff:34:56:78"), 0)
