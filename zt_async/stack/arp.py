"""ARP of an interface: answering for own addresses, and learning those of others (RFC 826, RFC 5227).

A network says which address is whose: so own addresses are announced and defended, but not probed for before use.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from zt_async.stack.host import Host
from zt_async.types import BROADCAST
from zt_async.wire import arp, ipv4
from zt_async.wire.ethernet import ETHERTYPE_ARP

if TYPE_CHECKING:
    from zt_async.stack.interface import Interface

_DEFEND_INTERVAL = 10.0  # RFC 5227 section 1.1


class Arp:
    """One of each interface. What it learns is in the interface's neighbour cache, within its bounds."""

    __slots__ = ("_defended_at", "_host", "_interface")

    def __init__(self, host: Host, interface: Interface) -> None:
        self._host = host
        self._interface = interface
        self._defended_at = -inf

    def announce(self, address: bytes) -> None:
        """Tell all who know the address of its MAC (RFC 5227 section 2.3)."""
        mac = self._interface.link.mac
        self._send(BROADCAST, arp.Packet(arp.REQUEST, mac, address, 0, address))

    def receive(self, payload: bytes, now: float) -> None:
        """Take in a packet. Raises DecodeError."""
        interface = self._interface
        operation, sender_mac, sender, _, target = arp.parse(payload)
        own_mac = interface.link.mac
        if sender_mac == own_mac:
            return
        if interface.owns(sender):
            self._host.counters["arp conflict"] += 1
            if now - self._defended_at >= _DEFEND_INTERVAL:
                self._defended_at = now
                self.announce(sender)
            return
        is_host = ipv4.is_unicast(sender) and not interface.is_broadcast(sender)
        if operation == arp.REQUEST and interface.owns(target):
            if is_host:
                interface.neighbors.learn(sender, sender_mac, now)
            self._send(sender_mac, arp.Packet(arp.REPLY, own_mac, target, sender_mac, sender))
        elif is_host:
            solicited = operation == arp.REPLY and interface.neighbors.is_asked_for(sender)
            interface.neighbors.receive_answer(sender, sender_mac, now, solicited=solicited, override=True)

    def _send(self, mac: int, packet: arp.Packet) -> None:
        self._interface.link.send(mac, [packet.encode()], ETHERTYPE_ARP)
