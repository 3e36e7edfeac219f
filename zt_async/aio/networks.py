"""The networks of one node: joins and leaves, what is kept of them, and their raw frames."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING
from weakref import WeakSet

from zt_async.aio.driver import Driver
from zt_async.aio.frames import FrameStream
from zt_async.aio.network import Network
from zt_async.aio.state import State
from zt_async.aio.stored import StoredNetwork
from zt_async.errors import NetworkNotFound, NetworkNotJoined
from zt_async.events import NetworkStatus
from zt_async.types import Frame, NetworkId
from zt_async.vl2.settings import NetworkSettings

if TYPE_CHECKING:
    from zt_async.aio.node import Node


class Networks:
    """Made by a node that starts; ``joined`` is what it is on."""

    def __init__(self, node: Node, driver: Driver, state: State) -> None:
        self.joined: dict[NetworkId, Network] = {}
        self._node = node
        self._driver = driver
        self._core = driver.core
        self._state = state
        self._joins: Counter[Network] = Counter()  # how many joins, done or still waiting, hold a network
        self._streams: dict[NetworkId, WeakSet[FrameStream]] = {}
        driver.collectors.append(self._collect)

    def restore(self, stored: Iterable[StoredNetwork]) -> None:
        """Be on the networks that the node was on when it stopped."""
        for network_id, config, settings in stored:
            self._enter(network_id, settings, config)

    async def join(
        self,
        network_id: NetworkId,
        settings: NetworkSettings | None,
        *,
        wait: bool,
        wait_for_authorization: bool,
    ) -> Network:
        """See ``Node.join``."""
        network = self._enter(network_id, settings)
        try:
            if network_id.is_ad_hoc and network.status == NetworkStatus.REQUESTING_CONFIGURATION:
                raise NetworkNotFound(network_id, "does not exist: the ID has no form of an ad-hoc network")
            if wait:
                await network.ready(wait_for_authorization=wait_for_authorization)
            await self._state.add_network(network_id, settings)
        except BaseException:
            if network in self._joins:
                self._joins[network] -= 1
                if not self._joins[network]:
                    self._leave(network)
                    self._state.forget_network(network_id)
            raise
        return network

    def _enter(self, network_id: NetworkId, settings: NetworkSettings | None, config: bytes = b"") -> Network:
        network = self.joined.get(network_id)
        if network is None:
            self._core.join(network_id, self._driver.now(), config or None, settings)
            network = self.joined[network_id] = Network(self._node, self, network_id)
        elif settings is not None:
            self._core.configure(network_id, settings)
        self._driver.schedule()
        self._joins[network] += 1
        return network

    async def configure(self, network_id: NetworkId, settings: NetworkSettings) -> None:
        """Change and keep the local settings. Raises NetworkNotJoined."""
        self._core.configure(network_id, settings)
        self._driver.schedule()
        await self._state.save_settings(network_id, settings)

    async def leave(self, network_id: NetworkId) -> None:
        """Raises NetworkNotJoined."""
        network = self.joined.get(network_id)
        if network is None:
            raise NetworkNotJoined(network_id, "is not joined")
        self._leave(network)
        await self._state.remove_network(network_id)

    def leave_all(self) -> None:
        """The node stops; what is kept stays."""
        for network in list(self.joined.values()):
            self._driver.call(self._leave, network)

    def _leave(self, network: Network) -> None:
        del self.joined[network.id]
        del self._joins[network]
        self._core.leave(network.id, self._driver.now())
        for stream in self._streams.pop(network.id, ()):
            stream.end()
        self._driver.schedule()

    # Raw frames

    def frames(self, network: Network, *, own: bool) -> FrameStream:
        """A stream of a network's frames, and the way to send some."""

        def send(frames: list[Frame]) -> None:
            self._node.check_running()
            self._core.send_frames(network.id, frames, self._driver.now())
            self._driver.schedule()

        def largest() -> int:
            return min(network.mtu, self._core.vl2.largest_payload)

        stream = FrameStream(network.mac, largest, send, own=own)
        self._streams.setdefault(network.id, WeakSet()).add(stream)
        self._core.watch(network.id)
        return stream

    def _collect(self) -> None:
        """Give watched frames to those who read them, and keep new configurations."""
        for network_id, received, sent in self._core.take_watched():
            streams = [stream for stream in self._streams.get(network_id, ()) if not stream.is_ended]
            for stream in streams:
                stream.put(*received)
                if stream.own:
                    stream.put(*sent)
            if not streams:
                self._core.unwatch(network_id)
        for network_id, config in self._core.take_configs().items():
            self._state.save_network(network_id, config)
