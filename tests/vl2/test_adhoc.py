"""Ad-hoc networks: who they let pass, and what their IDs make of them."""

from __future__ import annotations

import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from zt_async.testing import SimClock, seeded_context
from zt_async.types import NetworkId, NodeAddress
from zt_async.vl2.addressing import member_mac
from zt_async.vl2.adhoc import NoSuchNetwork, ad_hoc_config
from zt_async.vl2.filter import ACCEPTED, REFUSED, Filter

OWN, OTHER = NodeAddress(0x1111111111), NodeAddress(0x2222222222)
NETWORK = NetworkId.ad_hoc(7000, 7999)
OWN_MAC, OTHER_MAC = member_mac(NETWORK, OWN), member_mac(NETWORK, OTHER)


def tcp(port, flags, source_port=5555):
    header = struct.pack("!HHIIBBHHH", source_port, port, 1, 2, 0x50, flags, 9, 9, 0)
    return struct.pack("!IHBB16s16s", 6 << 28, 20, 6, 64, b"\xfc" * 16, b"\xfd" * 16) + header


def udp(port):
    return struct.pack("!IHBB16s16s", 6 << 28, 9, 17, 64, b"\xfc" * 16, b"\xfd" * 16) + struct.pack(
        "!HHHHB", 5, port, 9, 0, 0
    )


def icmp(kind):
    return (
        struct.pack("!IHBB16s16s", 6 << 28, 8, 58, 64, b"\xfc" * 16, b"\xfd" * 16) + bytes((kind,)) + bytes(7)
    )


@pytest.fixture(params=["in", "out"])
def decide(request):
    """Asks for the decision on a frame that comes from, or goes to, another member."""
    config = ad_hoc_config(NETWORK, OWN, 0)
    tested = Filter(config, OWN, seeded_context("ad hoc", SimClock(0.0)))
    if request.param == "in":
        return lambda payload, ethertype: tested.incoming(payload, ethertype, OWN_MAC, OTHER_MAC, OTHER)
    return lambda payload, ethertype: tested.outgoing(payload, ethertype, OTHER_MAC, OWN_MAC, OTHER)


@pytest.mark.parametrize(
    ("payload", "ethertype", "passes"),
    [
        (tcp(7000, 0x02), 0x86DD, True),
        (tcp(7999, 0x02), 0x86DD, True),
        (tcp(6999, 0x02), 0x86DD, False),
        (tcp(8000, 0x02), 0x86DD, False),
        (tcp(8000, 0x12), 0x86DD, True),
        (tcp(8000, 0x10), 0x86DD, True),
        (tcp(8000, 0x04), 0x86DD, True),
        (udp(7000), 0x86DD, True),
        (udp(53), 0x86DD, True),
        (icmp(128), 0x86DD, True),
        (icmp(135), 0x86DD, True),
        (bytes(40), 0x0800, False),
        (bytes(28), 0x0806, False),
    ],
)
def test_who_may_pass_on_an_ad_hoc_network(payload, ethertype, passes, decide):
    """Only a bare SYN to another port is refused, and what is not IPv6."""
    for _ in range(2):
        assert decide(payload, ethertype) is (ACCEPTED if passes else REFUSED)


def test_what_is_remembered_of_one_flow_does_not_leak_into_others(decide):
    assert decide(tcp(7000, 0x02), 0x86DD) is ACCEPTED
    assert decide(tcp(7000, 0x10), 0x86DD) is ACCEPTED
    assert decide(tcp(80, 0x02, source_port=7000), 0x86DD) is REFUSED
    assert decide(tcp(80, 0x10), 0x86DD) is ACCEPTED
    assert decide(tcp(80, 0x02), 0x86DD) is REFUSED
    assert decide(tcp(80, 0x02)[:59], 0x86DD) is REFUSED
    # A header between the IPv6 and the TCP header is not looked over.
    hidden = bytearray(tcp(80, 0x02))
    hidden[6] = 60
    hidden[40:40] = b"\x06\0" + bytes(6)
    assert decide(bytes(hidden), 0x86DD) is REFUSED


@given(st.integers(0, 65535), st.integers(0, 65535))
@example(80, 79)
def test_every_ad_hoc_network_of_ports(first, last):
    network = NetworkId(0xFF << 56 | first << 40 | last << 24)
    if last < first:
        with pytest.raises(NoSuchNetwork, match="backwards"):
            ad_hoc_config(network, OWN, 0)
        return
    config = ad_hoc_config(network, OWN, 5)
    assert config.name == f"adhoc-{first:04x}-{last:04x}"
    assert (config.mtu, config.multicast_limit, config.private, config.timestamp) == (2800, 0, False, 5)
    assert len(config.rules) == 14
    assert config.ndp_emulation


@given(st.integers(0, 2**56 - 1))
def test_other_ids_of_that_prefix(number):
    network = NetworkId(0xFF << 56 | number & ~0xFF | 2)
    assert ad_hoc_config(network, OWN, 0) is None
    assert ad_hoc_config(NetworkId(number), OWN, 0) is None
