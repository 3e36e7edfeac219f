"""Checks of the vectors about networks."""

from __future__ import annotations

from ipaddress import ip_interface

from tests.vectors.registry import Case, assert_refused, vector_kind
from tests.vectors.rules_kinds import rules_of
from tests.vectors.vl1_kinds import make_vl1
from zt_async.crypto.identity import Identity
from zt_async.events import NetworkStatus
from zt_async.testing import SimClock, seeded_context
from zt_async.types import NetworkId, NodeAddress
from zt_async.vl2.addressing import member_mac
from zt_async.vl2.adhoc import NoSuchNetwork, ad_hoc_config
from zt_async.vl2.core import VL2
from zt_async.vl2.network import Network
from zt_async.wire.network_config import NetworkConfig

unhex = bytes.fromhex


@vector_kind("adhoc_networks")
def check_adhoc_networks(case: Case, fields: dict[str, str]) -> None:
    network_id, own = NetworkId.parse(case["network_id"]), NodeAddress.parse(case["address"])
    vl1 = make_vl1(Identity(own, bytes(64), bytes(64)))
    network = VL2(vl1, vl1.context).join(network_id, 0.0)
    assert network.status == case["status"]
    assert case["valid"] is case["self_configured"]
    if case["status"] == NetworkStatus.NOT_FOUND:
        assert_refused(NoSuchNetwork, ad_hoc_config, network_id, own, 0)
        return
    config = ad_hoc_config(network_id, own, 0)
    assert (config is not None) is case["self_configured"]
    if config is None:
        return
    wanted = case["config"]
    assert config.issued_to == own
    assert config.name == wanted["name"]
    assert (0 if config.private else 1) == wanted["type"]
    assert config.mtu == wanted["mtu"]
    assert config.multicast_limit == wanted["multicast_limit"]
    assert config.flags == wanted["flags"]
    assert config.credential_max_delta == wanted["credential_time_max_delta"]
    assert config.revision == wanted["revision"]
    assert config.addresses == tuple(map(ip_interface, wanted["static_ips"]))
    assert config.specialists == tuple(int(text, 16) for text in wanted["specialists"])
    assert config.rules == rules_of(wanted["rules"])
    info = network.info()
    assert (info.name, info.assigned_addresses, info.mtu) == (config.name, config.addresses, config.mtu)


@vector_kind("ndp_emulation")
def check_ndp_emulation(case: Case, fields: dict[str, str]) -> None:
    network_id, own = NetworkId.parse(case["network_id"]), NodeAddress.parse(case["address"])
    network = Network(network_id, own, seeded_context("ndp", SimClock()))
    source = int(case["source_mac"], 16)
    assert source == member_mac(network_id, own)
    network.configure(
        NetworkConfig(
            network_id=network_id,
            issued_to=own,
            private=False,
            flags=case["network_flags"],
            addresses=tuple(map(ip_interface, case["static_ips"])),
        )
    )
    frame = (int(case["destination_mac"], 16), source, 0x86DD, unhex(case["frame"]))
    network.outgoing([frame], 0.0)
    replies = [
        {
            "source_mac": f"{from_mac:012x}",
            "destination_mac": f"{to_mac:012x}",
            "ethertype": ethertype,
            "frame": data.hex(),
        }
        for to_mac, from_mac, ethertype, data in network.back
    ]
    assert replies == case["replies"]
    assert case["valid"] is bool(replies)
