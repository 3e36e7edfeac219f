"""What VL1 does by the clock: meeting roots, keeping paths alive, retries, forgetting. vl1.md 5.5."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from zt_async.vl1.path import ANY_SOCKET, NEVER
from zt_async.vl1.peer import HINT_INTERVAL, Peer

if TYPE_CHECKING:
    from zt_async.vl1.core import VL1

RETRY_INTERVAL: Final = 0.5  # s
CHECK_INTERVAL: Final = 5.0  # s
HOUSEKEEPING_INTERVAL: Final = 30.0  # s
FULL_HELLO_INTERVAL: Final = 60.0  # s between HELLOs on all paths of an active peer
UPSTREAM_HELLO_INTERVAL: Final = 224.0  # s
SEED_HELLO_INTERVAL: Final = 28.0  # s
HEARTBEAT: Final = 10.0  # s; the reference's 14 s leave no time to repeat a lost one before the path is dead
MEETING_TIME: Final = 60.0  # s for which two try to meet after they last had something to say
PEERS_AT_ONCE: Final = 32  # that are looked after in one go
PEERS_PAUSE: Final = 0.005  # s for which others get their turn
IDLE_PATH: Final = 60.0  # s after which a path that no peer uses is forgotten
_FIRST_HELLOS: Final = (0.25, 0.5, 1.0, 2.0)  # s after the start and after each other, while no root answers


class Pulse:
    """The periodic work, on a few fixed intervals."""

    def __init__(self, vl1: VL1) -> None:
        self._vl1 = vl1
        self._next_retry = NEVER
        self._next_check = NEVER
        self._next_housekeeping = NEVER
        self._unchecked: list[Peer] = []  # whose turn it still is, the last one first
        self._next_peers = NEVER
        self._early = list(_FIRST_HELLOS)
        self._greet = True
        """Say HELLO to roots from all sockets at the next look, whatever paths there are."""
        self._retrying = False
        self._seeds_asked: dict[int, float] = {}

    def next_timer(self) -> float:
        times = [self._next_check, self._next_housekeeping]
        if self._retrying:
            times.append(self._next_retry)
        if self._unchecked:
            times.append(self._next_peers)
        return min(times)

    def wake(self, now: float) -> None:
        """Something waits for an answer: look after it every 500 ms."""
        if not self._retrying:
            self._retrying = True
            self._next_retry = now + RETRY_INTERVAL

    def hurry(self, now: float) -> None:
        """There is a way that was not there before: try at once what waits for one."""
        self._next_retry = min(self._next_retry, now)

    def handle_timer(self, now: float) -> None:
        vl1 = self._vl1
        if self._retrying and now >= self._next_retry:
            self._retry(now)
        if now >= self._next_check:
            self._check(now)
        if self._unchecked and now >= self._next_peers:
            self._check_peers(now)
        if now >= self._next_housekeeping:
            if self._next_housekeeping > NEVER:
                self._housekeeping(now)
            self._next_housekeeping = now + HOUSEKEEPING_INTERVAL
        if not self._retrying and not vl1.whois.is_idle:
            self.wake(now)

    def _retry(self, now: float) -> None:
        vl1 = self._vl1
        vl1.whois.handle_timer(now)
        for address in vl1.sender.waiting:
            if address not in vl1.topology.peers:
                vl1.whois.request(address, now)
            vl1.sender.retry(address, now)
        for address in vl1.sender.give_up(now):
            vl1.gave_up(address)
        self._retrying = bool(vl1.sender.waiting) or not vl1.whois.is_idle
        self._next_retry = now + RETRY_INTERVAL

    # Every 5 s, and sooner at the start

    def check_now(self) -> None:
        """Look at the roots and seeds at the next occasion: they, or our sockets, have changed."""
        self._seeds_asked.clear()
        self._greet = True
        self._next_check = NEVER
        self._early = list(_FIRST_HELLOS)

    def _check(self, now: float) -> None:
        vl1 = self._vl1
        topology = vl1.topology
        met = True
        greet, self._greet = self._greet, False
        for peer in topology.upstream_peers():
            met &= self._check_upstream(peer, greet, now)
        for seed in set(topology.seeds.values()):
            self._check_seed(seed, now)
        vl1.expire_fragments(now)
        if not self._unchecked:
            self._unchecked = list(reversed(topology.peers.values()))
            self._next_peers = now
        self._next_check = now + (CHECK_INTERVAL if met or not self._early else self._early.pop(0))

    def _check_peers(self, now: float) -> None:
        """Look after some peers; a controller has thousands, which others cannot wait for."""
        vl1 = self._vl1
        topology = vl1.topology
        for _ in range(min(len(self._unchecked), PEERS_AT_ONCE)):
            peer = self._unchecked.pop()
            if topology.peers.get(peer.address) is not peer:
                continue
            if not topology.is_upstream(peer.address):
                self._check_peer(peer, now)
            vl1.reporter.check(peer, now)
        self._next_peers = now + PEERS_PAUSE

    def _check_peer(self, peer: Peer, now: float) -> None:
        """Keep a peer in contact that is in use, and forget one that was silent for long."""
        if not peer.is_alive(now):
            del self._vl1.topology.peers[peer.address]
        elif not peer.is_active(now):
            self._drop_expired(peer, now)
        else:
            self._keep_alive(peer, FULL_HELLO_INTERVAL, now)
            if now - peer.last_nontrivial < MEETING_TIME and peer.is_trusted(now) and not peer.is_direct(now):
                self._vl1.contact.push_again(peer, now)

    def _check_upstream(self, peer: Peer, greet: bool, now: float) -> bool:
        """Keep a root in contact; False while it has no path."""
        vl1 = self._vl1
        full = now - peer.last_full_hello >= UPSTREAM_HELLO_INTERVAL
        self._keep_alive(peer, UPSTREAM_HELLO_INTERVAL, now)
        best = peer.best_path(now)
        met = best is not None and best.is_alive(now)
        if met and not (full or greet):
            return True
        reached = peer.entries if not greet else []
        families = {entry.path.endpoint.family for entry in reached if entry.path.is_alive(now)}
        for family in {4, 6} - families:
            stable = [e for e in vl1.topology.upstreams[peer.address] if e.family == family]
            if stable:
                endpoint = stable[vl1.context.random_below(len(stable))]
                vl1.handshake.say_hello(peer, vl1.paths.find(ANY_SOCKET, endpoint), now)
        if not met and not vl1.topology.upstreams[peer.address]:
            self._hello_through_root(peer, now)
        return met

    def _check_seed(self, address: int, now: float) -> None:
        """Ask the node that can deliver a moon we want; again at once where it does not answer."""
        vl1 = self._vl1
        peer = vl1.topology.peers.get(address)
        if peer is None:
            vl1.whois.request(address, now)
            return
        asked = self._seeds_asked.get(address, NEVER)
        if now - asked < SEED_HELLO_INTERVAL and peer.last_receive > asked:
            return
        self._seeds_asked[address] = now
        path = peer.best_path(now)
        if path is not None:
            vl1.handshake.say_hello(peer, path, now)
        else:
            self._hello_through_root(peer, now)

    def _hello_through_root(self, peer: Peer, now: float) -> None:
        relay = self._vl1.topology.best_upstream(now)
        through = relay.best_path(now) if relay is not None and relay is not peer else None
        if through is not None:
            self._vl1.handshake.say_hello(peer, through, now)

    def _keep_alive(self, peer: Peer, full_interval: float, now: float) -> None:
        """Probe the paths that were silent, all of them now and then, and drop those that have expired."""
        vl1 = self._vl1
        full = now - peer.last_full_hello >= full_interval
        self._drop_expired(peer, now)
        for entry in peer.entries:
            path = entry.path
            alive = path.is_alive(now)
            if full or not alive:
                vl1.handshake.say_hello(peer, path, now)
            if alive and now - entry.last_receive >= HEARTBEAT:
                vl1.contact.attempt(peer, path.socket, path.endpoint, now)
            elif now - path.last_send >= HEARTBEAT:
                vl1.contact.probe(peer, path, now)
        if not peer.entries:
            self.try_hints(peer, now)
        elif full:
            peer.last_full_hello = now

    def _drop_expired(self, peer: Peer, now: float) -> None:
        """Forget paths that were silent too long, or that the peer wants another one to be used for."""
        best = max((entry.priority for entry in peer.entries if not entry.is_expired(now)), default=1)
        for entry in peer.drop_entries(lambda entry: entry.is_expired(now) or entry.priority < best):
            self._vl1.reporter.removed(peer, entry.path.endpoint, now)

    def try_hints(self, peer: Peer, now: float) -> None:
        """Try remembered addresses of a peer that has no path, at most every 30 s."""
        vl1 = self._vl1
        if now - peer.hints_tried >= HINT_INTERVAL:
            peer.hints_tried = now
            for endpoint in (*peer.hints, *vl1.config.path_hints.get(peer.address, ())):
                if vl1.contact.allowed(peer, endpoint):
                    vl1.contact.attempt(peer, ANY_SOCKET, endpoint, now)

    # Every 30 s

    def _housekeeping(self, now: float) -> None:
        vl1 = self._vl1
        vl1.expire(now)
        vl1.forget_paths(IDLE_PATH, now)
