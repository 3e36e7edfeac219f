"""A flow: packets of one protocol from an own address to a remote one, and the way they take."""

from __future__ import annotations

from zt_async.stack.host import Host
from zt_async.stack.interface import Connection, Interface
from zt_async.stack.neighbors import Neighbor
from zt_async.types import BROADCAST
from zt_async.wire import ip, ipv4, ipv6
from zt_async.wire.ethernet import multicast_mac

_CONFIRM_AHEAD = 5.0  # s; renewing a confirmation with every acknowledgement would be waste


class Flow:
    """Cached where the packets come from: a route is looked up once, a header is made once for each size."""

    __slots__ = (
        *("_cached_header", "_cached_length", "_ethertype", "_group_mac", "_host", "_neighbor"),
        *("_next_hop", "destination", "hop_limit", "interface", "is_broadcast", "is_local", "loops"),
        *("max_payload", "mtu", "protocol", "pseudo_sum", "source", "traffic_class"),
    )

    def __init__(
        self,
        host: Host,
        interface: Interface,
        source: bytes,
        destination: bytes,
        next_hop: bytes | None,
        protocol: int,
        mtu: int,
    ) -> None:
        """``next_hop`` is None for a packet to oneself."""
        self._host = host
        self._next_hop = next_hop
        self._neighbor: Neighbor | None = None
        self._cached_header = b""
        self._cached_length = -1
        self._ethertype = ip.ethertype(destination)
        self._group_mac: int | None = None
        self.interface = interface
        self.is_local = next_hop is None
        self.is_broadcast = next_hop is not None and interface.is_broadcast(next_hop)
        if self.is_broadcast:
            self._group_mac = BROADCAST
        elif next_hop is not None and ip.is_multicast(next_hop):
            self._group_mac = multicast_mac(next_hop)
        self.loops = True
        """What goes to a group comes to this stack as well, where it is in the group."""
        self.source = source
        self.destination = destination
        self.protocol = protocol
        self.pseudo_sum = ip.pseudo_header_sum(source, destination, protocol)
        self.set_mtu(mtu)
        self.hop_limit = host.config.hop_limit
        self.traffic_class = 0

    @property
    def table(self) -> dict[bytes, Connection]:
        """Where TCP connections of this flow are found."""
        return self.interface.tcp

    def set_mtu(self, mtu: int) -> None:
        self.mtu = mtu
        self.max_payload = mtu - (ipv6.HEADER_SIZE if ip.is_ipv6(self.source) else ipv4.HEADER_SIZE)
        """Of an unfragmented packet, upper-layer header included."""

    def path_changed(self, now: float) -> None:
        """The MTU of the interface or of the path changed."""
        self.set_mtu(self.interface.path_mtu(self.destination, now))

    def header(self, length: int) -> bytes:
        """The IP header of a packet with ``length`` bytes of payload."""
        if length != self._cached_length:
            self._cached_length = length
            make = ipv6.Header if ip.is_ipv6(self.source) else ipv4.Header
            self._cached_header = make(
                self.source, self.destination, self.protocol, length, self.hop_limit, self.traffic_class
            ).encode()
        return self._cached_header

    def send(self, packets: list[bytes], now: float) -> None:
        """Send whole IP packets, in order."""
        neighbor = self._neighbor
        if neighbor is not None and neighbor.fresh_until > now and neighbor.mac is not None:
            self.interface.link.send(neighbor.mac, packets, self._ethertype)
        elif self._group_mac is not None:
            if self.hop_limit:  # else they stay on this host (RFC 1112 section 6.1)
                self.interface.link.send(self._group_mac, packets, self._ethertype)
            if self.loops and self.interface.accepts(self.destination):
                self._host.looped += [(self.interface, packet) for packet in packets]
        elif self._next_hop is None:
            self._host.loopback += packets
        elif packets:
            self._neighbor = self.interface.neighbors.send(self._next_hop, packets, now)

    def confirm(self, now: float) -> None:
        """The remote was seen to receive what was sent."""
        neighbor = self._neighbor
        if neighbor is not None and neighbor.fresh_until < now + _CONFIRM_AHEAD:
            self.interface.neighbors.confirm(neighbor, now)

    def set_traffic(self, hop_limit: int, traffic_class: int) -> None:
        self.hop_limit = hop_limit
        self.traffic_class = traffic_class
        self._cached_length = -1
