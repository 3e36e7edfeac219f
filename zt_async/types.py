"""The small immutable values that everything speaks of: addresses of nodes, networks, cards and endpoints.

The three numbers are ``int`` subclasses: they hash, compare and index as the plain integers that the hot
path reads off the wire, and print as ZeroTier prints them. vl1.md 1.1, vl2.md 0 and 1.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from operator import index
from typing import NamedTuple, Self, TypeAlias

IPAddress: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
IPInterface: TypeAlias = ipaddress.IPv4Interface | ipaddress.IPv6Interface
IPNetwork: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

Frame: TypeAlias = tuple[int, int, int, bytes]
"""An Ethernet frame between the rooms: destination MAC, source MAC, ethertype, payload."""


class _Number(int):
    """An unsigned integer of a fixed number of bytes with a fixed-width hexadecimal text form."""

    SIZE = 8
    WHAT = "number"
    __slots__ = ()

    def __new__(cls, value: int) -> Self:
        value = index(value)  # nothing is cut off, and text has its own way in
        if not 0 <= value < 1 << (8 * cls.SIZE):
            raise ValueError(f"a {cls.WHAT} has {8 * cls.SIZE} bits; {value:#x} does not fit")
        return super().__new__(cls, value)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the text form. Raises ValueError saying what is wrong with it."""
        digits = text.strip()
        if len(digits) != 2 * cls.SIZE or not all(c in "0123456789abcdefABCDEF" for c in digits):
            raise ValueError(f"a {cls.WHAT} is {2 * cls.SIZE} hexadecimal digits, not {text!r}")
        return cls(int(digits, 16))

    @classmethod
    def from_packed(cls, data: bytes) -> Self:
        """Read the wire form, most significant byte first."""
        if len(data) != cls.SIZE:
            raise ValueError(f"a packed {cls.WHAT} is {cls.SIZE} bytes, not {len(data)}")
        return cls(int.from_bytes(data, "big"))

    @property
    def packed(self) -> bytes:
        """The wire form, most significant byte first."""
        return self.to_bytes(self.SIZE, "big")

    def __str__(self) -> str:
        return f"{int(self):0{2 * self.SIZE}x}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"

    def __format__(self, spec: str) -> str:
        return format(str(self), spec) if not spec or spec[-1] not in "bdoxX" else int(self).__format__(spec)


class NodeAddress(_Number):
    """A node's 40-bit address, ten hexadecimal digits (vl1.md 1.1)."""

    SIZE = 5
    WHAT = "node address"
    __slots__ = ()

    @property
    def is_reserved(self) -> bool:
        """No node may have it: zero, or a first byte of 0xff (which marks fragments on the wire)."""
        return self == 0 or self >> 32 == 0xFF


class NetworkId(_Number):
    """A network's 64-bit ID, sixteen hexadecimal digits (vl2.md 1.1)."""

    SIZE = 8
    WHAT = "network ID"
    __slots__ = ()

    @property
    def controller(self) -> NodeAddress:
        """The node that configures the network: the upper 40 bits."""
        return NodeAddress(self >> 24)

    @property
    def is_ad_hoc(self) -> bool:
        """The network has no controller; members derive its configuration from this ID (vl2.md 1.4)."""
        return self >> 56 == 0xFF

    @classmethod
    def ad_hoc(cls, first_port: int, last_port: int) -> Self:
        """The IPv6 ad-hoc network in which TCP connections can be made to ports ``first_port`` to ``last_port``."""
        if not 0 <= first_port <= last_port <= 0xFFFF:
            raise ValueError(f"ports {first_port} to {last_port} are no range within 0 to 65535")
        return cls(0xFF << 56 | first_port << 40 | last_port << 24)


class MACAddress(_Number):
    """A 48-bit Ethernet address; text is ``aa:bb:cc:dd:ee:ff``."""

    SIZE = 6
    WHAT = "MAC address"
    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        digits = text.strip()
        if len(digits) == 17 and {digits[i] for i in range(2, 17, 3)} <= {":", "-"}:
            digits = digits.replace(":", "").replace("-", "")
        return super().parse(digits)

    @property
    def is_multicast(self) -> bool:
        """The group bit of the first octet is set (broadcast included)."""
        return bool(self >> 40 & 1)

    @property
    def is_broadcast(self) -> bool:
        """All bits are set: everybody's."""
        return self == BROADCAST

    @property
    def is_local(self) -> bool:
        """Locally administered, as the card of every ZeroTier member is."""
        return bool(self >> 40 & 2)

    def __str__(self) -> str:
        return self.packed.hex(":")


BROADCAST = MACAddress(0xFFFFFFFFFFFF)


class MulticastGroup(NamedTuple):
    """What a member listens to on a network (vl2.md 7.1)."""

    mac: MACAddress
    adi: int = 0
    """Tells groups of one MAC apart: for address resolution it is the IPv4 address, else 0."""


@dataclass(frozen=True, slots=True)
class Route:
    """A route that a network's controller hands out; without ``via`` its addresses are on the network itself."""

    target: IPNetwork
    via: IPAddress | None = None
    flags: int = 0
    metric: int = 0


@dataclass(frozen=True, slots=True)
class DNS:
    """The search domain of a network, and the servers that know its names."""

    domain: str
    servers: tuple[IPAddress, ...] = ()
    ports: tuple[int, ...] = ()
    """The UDP port of each server; empty if it is the usual one for all of them."""


def _socket_text(ip: IPAddress) -> str:
    """The text that sockets give: an IPv4 address in an IPv6 one is written in its own way."""
    number = int(ip)
    if ip.version == 6 and (number >> 32 == 0xFFFF or 1 << 16 <= number < 1 << 32):
        return f"::{'ffff:' if number >> 32 else ''}{ipaddress.IPv4Address(number & 0xFFFFFFFF)}"
    return str(ip)


class Endpoint(NamedTuple):
    """A physical UDP endpoint: canonical IP text and port, so that it equals ``(host, port)`` of a socket."""

    host: str
    port: int

    @classmethod
    def make(cls, host: str | IPAddress, port: int) -> Self:
        """Check and canonicalise. Raises ValueError for anything but an IP address and a 16-bit port."""
        if not 0 <= port <= 0xFFFF:
            raise ValueError(f"a UDP port is 0 to 65535, not {port}")
        ip = ipaddress.ip_address(host) if isinstance(host, str) else host
        if getattr(ip, "scope_id", None) is not None:
            raise ValueError(f"an endpoint has no scope: {host}")
        return cls(_socket_text(ip), port)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ZeroTier's ``ip/port``. Raises ValueError."""
        host, slash, port = text.strip().partition("/")
        if not slash or not port.isascii() or not port.isdigit():
            raise ValueError(f"an endpoint is written ip/port, not {text!r}")
        return cls.make(host, int(port))

    @property
    def ip(self) -> IPAddress:
        """The host, as an object of ``ipaddress``."""
        return ipaddress.ip_address(self.host)

    @property
    def family(self) -> int:
        """4 or 6."""
        return 6 if ":" in self.host else 4

    def __str__(self) -> str:
        return f"{self.host}/{self.port}"


class Flight(NamedTuple):
    """Datagrams that leave together: from one local socket to one remote endpoint, in this order."""

    socket: int
    """Number of the local UDP socket; -1 sends out of every socket of the remote's family."""

    remote: Endpoint
    datagrams: list[bytes]
    ttl: int | None = None
    """IP time to live, where it is to die on the way (vl1.md 3.7); None is the host's ordinary one."""
