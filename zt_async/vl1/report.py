"""What events say of peers and paths, and when they say it."""

from __future__ import annotations

from collections.abc import Sequence

from zt_async.events import Event, PathAdded, PathInfo, PathRemoved, PeerDirect, PeerInfo, PeerRelayed
from zt_async.types import Endpoint
from zt_async.vl1.path import NEVER, Path
from zt_async.vl1.peer import Peer
from zt_async.vl1.topology import Topology


def _age(then: float, now: float) -> float | None:
    return None if then == NEVER else now - then


def path_info(path: Path, preferred: bool, now: float) -> PathInfo:
    """A copy of a path's state."""
    return PathInfo(
        endpoint=path.endpoint,
        local_socket=path.socket,
        last_send=_age(path.last_send, now),
        last_receive=_age(path.last_receive, now),
        latency=path.latency_ms,
        alive=path.is_alive(now),
        preferred=preferred,
    )


class PeerReporter:
    """Tells apart peers that are met directly from those behind a root, and says so when it changes."""

    def __init__(self, topology: Topology, events: list[Event]) -> None:
        self._topology = topology
        self._events = events

    def info(self, peer: Peer, now: float) -> PeerInfo:
        """A copy of a peer's state."""
        best = peer.best_path(now)
        paths = [entry.path for entry in peer.entries if not entry.is_expired(now)]
        paths.sort(key=lambda path: path is not best)
        known = any(peer.version)
        return PeerInfo(
            address=peer.address,
            version=peer.version[1:] if known else None,
            protocol=peer.version.protocol if known else None,
            latency=best.latency_ms if best else None,
            role=self._topology.role(peer.address),
            paths=tuple(path_info(path, path is best, now) for path in paths),
        )

    def learned(self, peer: Peer, path: Path, replaced: Sequence[Path], now: float) -> None:
        """A path was learned in place of others, of which it may be one itself."""
        info = self.info(peer, now)
        added = path_info(path, peer.best_path(now) is path, now)
        if path not in replaced:
            self._events.append(PathAdded(peer=info, path=added))
        self._events += [PathRemoved(peer=info, endpoint=old.endpoint) for old in replaced if old is not path]
        if peer.reported is not True:
            peer.reported = True
            self._events.append(PeerDirect(peer=info, path=added))

    def relayed(self, peer: Peer, now: float) -> None:
        """The peer is reached through a root."""
        if peer.reported is not False:
            peer.reported = False
            self._events.append(PeerRelayed(peer=self.info(peer, now)))

    def removed(self, peer: Peer, endpoint: Endpoint, now: float) -> None:
        """A path expired."""
        self._events.append(PathRemoved(peer=self.info(peer, now), endpoint=endpoint))

    def check(self, peer: Peer, now: float) -> None:
        """Say so when the last live path of a peer is gone."""
        if peer.reported and not peer.is_direct(now):
            self.relayed(peer, now)
        elif peer.reported is False and peer.is_direct(now):
            best = peer.best_path(now)
            if best is not None:
                peer.reported = True
                self._events.append(PeerDirect(peer=self.info(peer, now), path=path_info(best, True, now)))
