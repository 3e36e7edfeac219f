"""Raw Ethernet on a network: every frame that arrives, and any frame to send. vl2.md 5."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Self

from zt_async.aio.subscription import Subscription
from zt_async.types import Frame, MACAddress

MAX_QUEUED = 1000  # frames that wait for a slow reader
MAX_ETHERTYPE = 0xFFFF


class EthernetFrame(NamedTuple):
    """An Ethernet frame without check sequence; a VLAN tag stands at the start of the payload."""

    destination: MACAddress
    source: MACAddress
    ethertype: int
    payload: bytes


class FrameStream(Subscription[Frame]):
    """The frames of one network from the moment this was made, as an asynchronous iterator, and the way to send some.

    They are copies: the node's own TCP/IP stack works on. A reader that falls behind by more than the queue holds
    loses the oldest, as many as ``lost`` counts. The iteration ends when the network is left. ``close``, or leaving a
    ``with`` block, ends it earlier.
    """

    def __init__(
        self,
        mac: MACAddress,
        mtu: Callable[[], int],
        send: Callable[[list[Frame]], None],
        *,
        own: bool,
        limit: int = MAX_QUEUED,
    ) -> None:
        super().__init__(limit)
        self.mac = mac
        """The MAC of this node's card."""
        self.own = own
        """Frames that this node's own stack sends are among those read."""
        self._mtu = mtu
        self._send = send

    @property
    def lost(self) -> int:
        """Frames that the reader was too slow for."""
        return self._lost

    def send(
        self, destination: MACAddress, ethertype: int, payload: bytes, *, source: MACAddress | None = None
    ) -> None:
        """Send a frame, from this node's own card where no source is given.

        Frames of other cards leave only if the network made this node a bridge; what may not pass is dropped and
        counted, as on any Ethernet. Raises ValueError for a payload longer than the network's MTU, or than a packet
        of seven datagrams holds (some 9,860 bytes), or an ethertype of more than 16 bits, NetworkNotJoined when the
        network was left.
        """
        if len(payload) > (mtu := self._mtu()):
            raise ValueError(
                f"the network carries frames of up to {mtu} bytes of payload, not {len(payload)}"
            )
        if not 0 <= ethertype <= MAX_ETHERTYPE:
            raise ValueError(f"an ethertype has 16 bits, not {ethertype:#x}")
        own = self.mac if source is None else MACAddress(source)
        self._send([(MACAddress(destination), own, ethertype, bytes(payload))])

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> EthernetFrame:
        await self._wait()
        destination, source, ethertype, payload = self._queue.popleft()
        return EthernetFrame(MACAddress(destination), MACAddress(source), ethertype, payload)
