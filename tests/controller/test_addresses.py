"""Addresses of members: those that are theirs, and those of pools. vl2.md 8.3."""

import time
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zt_async.controller.addresses import AddressBook, AddressPlan, Span
from zt_async.controller.records import MemberRecord, NetworkRecord
from zt_async.types import NetworkId, NodeAddress
from zt_async.wire.addressing import rfc4193, sixplane

NETWORK = NetworkRecord(id=NetworkId(0x8056C2E21C000001))
ADDRESS = NodeAddress(0xDEADBEEF01)


def member(address=ADDRESS, **settings):
    return MemberRecord(network_id=NETWORK.id, address=NodeAddress(address)).updated(**settings)


def plan(**settings):
    return AddressPlan(NETWORK.updated(**settings))


def ipv4_plan(target, start, end, **settings):
    return plan(routes=[target], pools=[(start, end)], ipv4_auto=True, **settings)


def texts(addresses):
    return [str(address) for address in addresses]


def test_derived_addresses_come_first_and_are_off_for_members_without_automatic_ones():
    network = plan(rfc4193=True, sixplane=True, routes=["10.1.0.0/16"])
    derived = [rfc4193(NETWORK.id, ADDRESS), sixplane(NETWORK.id, ADDRESS)]
    own = IPv4Interface("10.1.0.5/16")
    assert network.assigned(member(addresses=["10.1.0.5"])) == (*derived, own)
    assert network.assigned(member(addresses=["10.1.0.5"], no_auto_assign=True)) == (own,)


def test_an_address_has_the_length_of_the_longest_route_and_counts_only_in_one():
    network = plan(routes=[{"target": "10.0.0.0/8", "via": "10.1.0.1"}, "10.1.0.0/16", "fd00::/64"])
    found = network.assigned(member(addresses=["10.1.0.5", "10.9.0.5", "192.168.0.1", "fd00::7", "fe00::7"]))
    assert texts(found) == ["10.1.0.5/16", "10.9.0.5/8", "fd00::7/64"]


def test_a_configuration_has_room_for_32():
    network = plan(sixplane=True, routes=["10.1.0.0/16"])
    found = network.assigned(member(addresses=[f"10.1.0.{n}" for n in range(1, 33)]))
    assert len(found) == 32
    assert found[-1] == IPv4Interface("10.1.0.31/16")


def test_the_first_choice_is_that_of_other_controllers():
    """start + (low 32 bits of the node's address) modulo the length of the pool."""
    network = ipv4_plan("10.1.0.0/16", "10.1.1.0", "10.1.3.200")
    length = int(IPv4Address("10.1.3.200")) - int(IPv4Address("10.1.1.0"))
    expected = IPv4Address(int(IPv4Address("10.1.1.0")) + 0xADBEEF01 % length)
    assert network.find(4, ADDRESS, AddressBook()) == expected


def test_a_roomy_ipv6_pool_gives_the_start_and_the_nodes_address():
    network = plan(routes=["fd00::/64"], pools=[("fd00::1:0:0:0", "fd00::1:ffff:ffff:ffff")], ipv6_auto=True)
    assert network.find(6, ADDRESS, AddressBook()) == IPv6Address("fd00::1:de:adbe:ef01")


def test_no_address_has_a_meaning_of_its_own():
    network = plan(
        routes=["10.1.0.0/23", {"target": "0.0.0.0/0", "via": "10.1.0.1"}],
        pools=[("10.1.0.0", "10.1.1.255")],
        ipv4_auto=True,
    )
    book = AddressBook()
    while (ip := network.find(4, NodeAddress(1 + len(book)), book)) is not None:
        book.take(ip, ADDRESS)
    missing = {str(IPv4Address("10.1.0.0") + n) for n in range(512)} - {str(ip) for ip in book}
    assert missing == {"10.1.0.0", "10.1.0.1", "10.1.0.255", "10.1.1.255"}


@pytest.mark.parametrize(
    ("routes", "pools", "found"),
    [
        (["10.1.0.0/24"], [("10.1.0.7", "10.1.0.7")], "10.1.0.7"),
        (["10.1.0.0/24"], [("10.2.0.1", "10.2.0.9"), ("10.1.0.7", "10.1.0.7")], "10.1.0.7"),
        (["10.1.0.7/32"], [("10.0.0.0", "10.255.255.255")], "10.1.0.7"),
        (["10.1.0.6/31"], [("10.1.0.7", "10.1.0.200")], "10.1.0.7"),
        (["0.0.0.0/0"], [("10.1.0.7", "10.1.0.9")], None),
        (["10.1.0.0/24"], [("0.0.0.0", "0.0.0.9")], None),
        (["10.1.0.0/24"], [], None),
        ([], [("10.1.0.7", "10.1.0.9")], None),
        (["fd00::/64"], [("fd00::7", "fd00::7")], "fd00::7"),
        ([{"target": "fd00::/64", "via": "fe80::1"}], [("fd00::7", "fd00::7")], None),
        (["fd00::7/128"], [("fd00::", "fdff::")], "fd00::7"),
    ],
)
def test_pools_give_what_routes_lead_to(routes, pools, found):
    network = plan(routes=routes, pools=pools, ipv4_auto=True, ipv6_auto=True)
    version = 6 if "fd00" in str(routes) else 4
    ip = network.find(version, ADDRESS, AddressBook())
    assert (ip and str(ip)) == found
    assert network.missing(member()) == ((version,) if found else ())


def test_families_are_missing_until_an_address_counts():
    network = plan(
        routes=["10.1.0.0/24", "fd00::/64"],
        pools=[("10.1.0.1", "10.1.0.9"), ("fd00::1", "fd00::9")],
        ipv4_auto=True,
        ipv6_auto=True,
        sixplane=True,
    )
    assert network.missing(member()) == (6, 4)
    assert network.missing(member(no_auto_assign=True)) == ()
    assert network.missing(member(addresses=["10.1.0.200"])) == (6,)
    assert network.missing(member(addresses=["10.2.0.1", "fd00::99"])) == (4,)
    assert plan(routes=["10.1.0.0/24"], pools=[("10.1.0.1", "10.1.0.9")]).missing(member()) == ()


def test_an_interface_is_of_its_family():
    (found,) = plan(routes=["fd00::/64"]).assigned(member(addresses=["fd00::5"]))
    assert type(found) is IPv6Interface


@given(st.integers(0, 300), st.integers(0, 300), st.sets(st.integers(0, 320)))
def test_the_next_free_number_is_that_of_a_scan(first, size, taken):
    book = AddressBook()
    for number in taken:
        book.take(IPv4Address(number), ADDRESS)
    span = Span(first, first + size)
    expected = next((number for number in range(span.first, span.last + 1) if number not in taken), None)
    assert book.next_free(4, span) == expected


@given(
    st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), min_size=1, max_size=3),
    st.lists(st.tuples(st.integers(0, 60), st.integers(26, 32)), min_size=1, max_size=3),
    st.lists(st.integers(1, (1 << 40) - 1), max_size=70, unique=True),
)
def test_addresses_are_given_once_within_pools_and_routes_until_none_is_left(pools, targets, addresses):
    base = int(IPv4Address("10.1.0.0"))
    ranges = [(base + min(pool), base + max(pool)) for pool in pools]
    network = NETWORK.updated(
        routes=[f"{IPv4Address(base + start)}/{length}" for start, length in targets],
        pools=[(str(IPv4Address(a)), str(IPv4Address(b))) for a, b in ranges],
        ipv4_auto=True,
    )
    usable = {
        number
        for a, b in ranges
        for number in range(a, b + 1)
        for route in network.routes
        if IPv4Address(number) in route.target
    }
    edges = [r.target for r in network.routes if r.target.prefixlen <= 30]
    usable -= {int(end) for target in edges for end in (target.network_address, target.broadcast_address)}
    the_plan, book = AddressPlan(network), AddressBook()
    given_out = []
    for address in addresses:
        ip = the_plan.find(4, NodeAddress(address), book)
        if ip is not None:
            book.take(ip, NodeAddress(address))
            given_out.append(int(ip))
    assert len(set(given_out)) == len(given_out)
    assert set(given_out) <= usable
    assert len(given_out) == min(len(addresses), len(usable))


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 20), st.integers(1, 3))))
def test_a_book_tells_who_has_what(steps):
    book, expected = AddressBook(), {}
    for take, number, owner in steps:
        ip, owner = IPv6Address(number), NodeAddress(owner)
        if take:
            book.take(ip, owner)
            expected[ip] = owner
        else:
            book.free(ip, owner)
            if expected.get(ip) == owner:
                del expected[ip]
    assert {ip: book.owner(ip) for ip in book} == expected
    assert len(book) == len(expected)
    free = next(number for number in range(22) if IPv6Address(number) not in expected)
    assert book.next_free(6, Span(0, 100)) == free


@pytest.mark.parametrize("taken", [10_000, 65_000])
def test_many_members_make_it_no_slower(taken):
    """The reference scans all members for each candidate: 10^8 steps here."""
    network = ipv4_plan("10.1.0.0/16", "10.1.0.1", "10.1.255.254")
    book = AddressBook()
    for number in range(taken):
        book.take(IPv4Address("10.1.0.1") + number, NodeAddress(number + 1))
    start = time.process_time()
    for number in range(100):
        assert network.find(4, NodeAddress(number + 1), book) is not None
    assert time.process_time() - start < 0.2
