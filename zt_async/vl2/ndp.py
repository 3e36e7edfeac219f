"""NDP emulation: neighbour solicitations for derived addresses are answered without a packet. vl2.md 5.4."""

from __future__ import annotations

from collections.abc import Iterable

from zt_async.accel import checksum
from zt_async.types import Frame, IPInterface, NetworkId, NodeAddress
from zt_async.vl2.addressing import member_mac
from zt_async.wire.ethernet import ETHERTYPE_IPV6 as IPV6

_SOLICITATION = 0x87
_ICMPV6 = 58


def emulated_advertisement(
    payload: bytes,
    requester_mac: int,
    network_id: NetworkId,
    own: NodeAddress,
    addresses: Iterable[IPInterface],
) -> Frame | None:
    """The advertisement that a member would send, if ``payload`` solicits an address that tells its owner."""
    if len(payload) < 64 or payload[6] != _ICMPV6 or payload[40] != _SOLICITATION:
        return None
    target = payload[48:64]
    for address in addresses:
        owner = _owner(target, address, network_id)
        if owner is None:
            continue
        if owner in (0, own):
            return None
        mac = member_mac(network_id, owner)
        message = b"\x88\0%b\x60\0\0\0%b\x02\x01%b" % (b"\0\0", target, mac.packed)
        ends = target + address.ip.packed
        total = checksum(ends + len(message).to_bytes(4, "big") + b"\0\0\0\x3a" + message)
        message = b"%b%b%b" % (message[:2], (~total & 0xFFFF).to_bytes(2, "big"), message[4:])
        header = b"\x60\0\0\0" + len(message).to_bytes(2, "big") + b"\x3a\xff"
        return requester_mac, mac, IPV6, header + ends + message
    return None


def _owner(target: bytes, address: IPInterface, network_id: NetworkId) -> NodeAddress | None:
    """Whose the target is, by the scheme of one of our own addresses; None where it is of no such scheme."""
    ours = address.ip.packed
    bits = address.network.prefixlen
    if bits == 88 and ours[0] == 0xFD and ours[9:11] == b"\x99\x93" and target[:11] == ours[:11]:
        return NodeAddress.from_packed(target[11:])
    folded = ((network_id ^ network_id >> 32) & 0xFFFFFFFF).to_bytes(4, "big")
    if bits == 40 and ours[0] == 0xFC and ours[1:5] == folded and target[:5] == ours[:5]:
        return NodeAddress.from_packed(target[5:10])
    return None
