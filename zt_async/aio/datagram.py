"""UDP on networks as asyncio transports."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypedDict, TypeVar

from zt_async.aio.driver import Driver
from zt_async.aio.network import Network
from zt_async.aio.resolve import (
    Host,
    Port,
    family_of,
    resolve_addresses,
    resolve_host,
    socket_address,
)
from zt_async.aio.vsocket import VirtualSocket
from zt_async.errors import NetworkNotJoined, NodeFailed
from zt_async.stack.addresses import Address
from zt_async.stack.interface import Interface
from zt_async.stack.udp import UdpEndpoint
from zt_async.types import NetworkId

DatagramProtocolT = TypeVar("DatagramProtocolT", bound=asyncio.DatagramProtocol)


class DatagramOptions(TypedDict, total=False):
    """What ``create_datagram_endpoint`` takes besides addresses, as asyncio's own does."""

    family: int
    """``socket.AF_INET`` or ``AF_INET6``: addresses of this family only."""
    proto: int
    flags: int
    """Both without effect."""
    reuse_port: bool | None
    """Share the port with other endpoints of the node that say so as well."""
    allow_broadcast: bool | None
    """Send to broadcast addresses; else that fails with EACCES."""


class DatagramTransport(asyncio.DatagramTransport):
    """A UDP socket on ZeroTier networks, of both IP families where it is not bound to an address.

    Datagrams may have up to 65,527 bytes, over IPv4 20 fewer; beyond the MTU they are fragmented. Extra info:
    ``sockname``, ``peername``, and ``socket`` (a socket-like object).
    """

    is_draining = False  # what is sent is out of our hands

    def __init__(self, driver: Driver, endpoint: UdpEndpoint, protocol: asyncio.BaseProtocol) -> None:
        super().__init__()
        self._driver = driver
        self._endpoint = endpoint
        self._protocol: Any = protocol
        self._socket = VirtualSocket(endpoint, driver)
        self._closing = False
        endpoint.owner = self
        driver.add(self)

    # What the stack reports

    def on_ready(self) -> None:
        """Deliver what arrived."""
        endpoint = self._endpoint
        for error, _ in endpoint.take_errors():
            self._call(self._protocol.error_received, error)
        for data, source in endpoint.receive():
            self._call(self._protocol.datagram_received, data, socket_address(source))
        if endpoint.closed:
            self._finish(endpoint.error)

    def end(self, error: Exception) -> None:
        """The node ends."""
        self._finish(error if isinstance(error, NodeFailed) else None)

    def _call(self, method: Callable[..., object], *arguments: object) -> None:
        """Call the protocol, unless it is told of nothing any more; what it raises is reported, and that is all."""
        if self._closing:
            return
        try:
            method(*arguments)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:  # also the CancelledError of a future that it looked at
            self._driver.loop.call_exception_handler(
                {
                    "message": "The protocol of a ZeroTier datagram endpoint failed.",
                    "exception": error,
                    "transport": self,
                    "protocol": self._protocol,
                }
            )

    def _finish(self, error: Exception | None) -> None:
        if self._closing:
            return
        self._closing = True
        self._endpoint.owner = None
        self._endpoint.close()
        self._driver.remove(self)
        self._driver.schedule()  # its groups are left
        self._driver.loop.call_soon(self._protocol.connection_lost, error)

    # asyncio.DatagramTransport

    def sendto(self, data: bytes | bytearray | memoryview, addr: Any = None) -> None:
        """Send one datagram; what cannot be sent is reported to ``error_received``.

        Raises ValueError for another address than the one it is connected to, and socket.gaierror for a name.
        """
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise TypeError(f"data argument must be a bytes-like object, not {type(data).__name__!r}")
        remote = None if addr is None else self._resolve(addr)
        peer = self._endpoint.remote
        if peer is not None and remote not in (None, peer):
            raise ValueError(f"Invalid address: must be None or {peer}")
        if self._closing:
            return
        if isinstance(data, memoryview):
            data = data.tobytes()
        try:
            self._endpoint.send(data, remote, now=self._driver.now())
        except OSError as error:
            self._call(self._protocol.error_received, error)
        else:
            self._driver.schedule()

    def _resolve(self, address: Any) -> Address:
        """Of several addresses that of the endpoint's own family."""
        found = resolve_addresses(address)
        own = family_of(self._endpoint.local[0])
        return next((one for one in found if family_of(one[0]) == own), found[0])

    # Groups

    def join_group(self, group: Host, network: Network | NetworkId | str | None = None) -> None:
        """Receive what is sent to a multicast group of a network; the other members are told.

        Without a network: on that of the local address, or the only one. Raises OSError: EADDRINUSE when it is in the
        group already, EINVAL for what is no group, or where it is not clear which network is meant.
        """
        self._endpoint.join_group(resolve_host(group), self._interface(network))
        self._driver.schedule()

    def leave_group(self, group: Host, network: Network | NetworkId | str | None = None) -> None:
        """Raises OSError: EADDRNOTAVAIL when it is not in the group."""
        self._endpoint.leave_group(resolve_host(group), self._interface(network))
        self._driver.schedule()

    def set_multicast(
        self,
        *,
        hops: int | None = None,
        loop: bool | None = None,
        network: Network | NetworkId | str | None = None,
    ) -> None:
        """How it sends to groups; what is None stays as it is.

        ``hops`` is how far, by default 1: to members of the network and no further. ``loop``: to this node's own
        members of the group as well, which is the default. ``network``: where to.
        """
        if hops is not None:
            self._endpoint.multicast_hops = hops
        if loop is not None:
            self._endpoint.multicast_loop = loop
        if network is not None:
            self._endpoint.multicast_interface = self._interface(network)

    def set_traffic(self, *, hop_limit: int | None = None, traffic_class: int | None = None) -> None:
        """Hop limit (TTL) of what is sent to single hosts, and traffic class (TOS); what is None stays as it is."""
        if hop_limit is not None:
            self._endpoint.hop_limit = hop_limit
        if traffic_class is not None:
            self._endpoint.traffic_class = traffic_class

    def set_broadcast(self, *, allowed: bool) -> None:
        """Whether it may send to broadcast addresses; else that fails with EACCES."""
        self._endpoint.broadcast = allowed

    def _interface(self, network: Network | NetworkId | str | None) -> Interface | None:
        if network is None:
            return None
        if isinstance(network, Network):
            network_id = network.id
        else:
            network_id = NetworkId.parse(network) if isinstance(network, str) else NetworkId(network)
        for interface in self._driver.core.stack.interfaces:
            if interface.name == network_id:
                return interface
        raise NetworkNotJoined(network_id, "is not joined")

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        """Give the port back. What was sent is on its way already."""
        self._finish(None)

    def abort(self) -> None:
        """As ``close``."""
        self._finish(None)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        protocol: asyncio.BaseProtocol = self._protocol
        return protocol

    def get_write_buffer_size(self) -> int:
        """Always 0: datagrams do not wait here."""
        return 0

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """Always zeros: datagrams do not wait here."""
        return 0, 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Without effect: datagrams do not wait here."""

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        endpoint = self._endpoint
        match name:
            case "sockname":
                return socket_address(endpoint.local)
            case "peername":
                return default if endpoint.remote is None else socket_address(endpoint.remote)
            case "socket":
                return self._socket
        return default

    def __repr__(self) -> str:
        return f"<DatagramTransport {self._endpoint.local} {'closed' if self._closing else 'open'}>"


async def create_datagram_endpoint(
    driver: Driver,
    protocol_factory: Callable[[], DatagramProtocolT],
    local_addr: tuple[Host, Port] | None,
    remote_addr: tuple[Host, Port] | None,
    *,
    family: int = 0,
    proto: int = 0,
    flags: int = 0,
    reuse_port: bool | None = None,
    allow_broadcast: bool | None = None,
) -> tuple[DatagramTransport, DatagramProtocolT]:
    """As ``loop.create_datagram_endpoint``. Raises OSError."""
    local, remote = _choose(local_addr, remote_addr, family)
    endpoint = driver.core.stack.open_udp(local, remote, reuse_port=bool(reuse_port), now=driver.now())
    endpoint.broadcast = bool(allow_broadcast)
    try:
        protocol = protocol_factory()
    except BaseException:
        endpoint.close()
        raise
    transport = DatagramTransport(driver, endpoint, protocol)
    transport._call(protocol.connection_made, transport)
    return transport, protocol


def _choose(
    local_addr: tuple[Host, Port] | None, remote_addr: tuple[Host, Port] | None, family: int
) -> tuple[Address | None, Address | None]:
    """The first pair of addresses of one family. Raises ValueError where there is none."""
    locals_ = resolve_addresses(local_addr or (None, None), family, passive=True)
    if remote_addr is None:
        return locals_[0], None
    for remote in resolve_addresses(remote_addr, family):
        for local in locals_:
            if not local[0] or family_of(local[0]) == family_of(remote[0]):
                return local, remote
    raise ValueError("can not get address information")
