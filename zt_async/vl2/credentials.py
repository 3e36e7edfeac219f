"""Credentials on their way: ours to members we talk to, theirs to us, and revocations to everybody. vl2.md 4.7, 4.8."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Final

from zt_async.crypto.identity import Identity
from zt_async.types import NetworkId, NodeAddress
from zt_async.vl1.path import Path
from zt_async.vl1.peer import Peer
from zt_async.vl2.member import Member
from zt_async.vl2.membership import Outcome
from zt_async.vl2.network import NO_TIME, Network
from zt_async.wire.credentials import CertificateOfMembership, Credential, Credentials, Revocation
from zt_async.wire.network_config import NetworkConfig
from zt_async.wire.packet import Verb

if TYPE_CHECKING:
    from zt_async.vl2.core import VL2

RECEIVE_INTERVAL: Final = 1.0  # s between two packets of credentials from one peer
SEND_INTERVAL: Final = 1.05  # s between two to one peer, who takes no more
PUSH_INTERVAL: Final = 500.0  # s
WANTED_INTERVAL: Final = 1.0  # s between two pushes that a peer asks for
RETRY_INTERVAL: Final = 0.5  # s between two looks whether a controller is known by now
WAITING_TIME: Final = 5.0  # s
MAX_WAITING: Final = 32
MAX_QUEUED: Final = 65_536
MAX_DELAY: Final = 10.0  # s


class CredentialExchange:
    """Gives and takes the credentials of all networks."""

    def __init__(self, vl2: VL2) -> None:
        self._vl2 = vl2
        self._vl1 = vl2.vl1
        self._waiting: list[tuple[float, Credentials, Peer | None]] = []
        """Until when to keep what came from whom, while the controller that signed it is not known."""
        self._retry_at = NO_TIME
        self._queue: list[tuple[float, int, bytes]] = []
        """What to send whom when."""
        self._due: dict[int, float] = {}
        """When a node takes another packet, if not yet."""

    @property
    def next_timer(self) -> float:
        return min(self._retry_at, self._queue[0][0]) if self._queue else self._retry_at

    def handle_timer(self, now: float) -> None:
        if now >= self._retry_at:
            waiting, self._waiting, self._retry_at = self._waiting, [], NO_TIME
            for until, credentials, source in waiting:
                if now < until:
                    self.take(credentials, source, now, until)
        while self._queue and now >= self._queue[0][0]:
            _, address, body = heapq.heappop(self._queue)
            self._vl1.send_all(address, (body,), now)

    # Out

    def send(self, address: int, body: bytes, now: float) -> None:
        """Send a packet of credentials when its receiver takes one, which may be a second after the last."""
        due = max(now, self._due.pop(address, now))
        if due - now > MAX_DELAY or len(self._queue) >= MAX_QUEUED:
            self._vl2.counters["credentials: not sent"] += 1
            self._due[address] = due
            return
        self._vl2.counters["credentials: sent"] += 1
        self._due[address] = due + SEND_INTERVAL  # those who can be sent to soonest are first
        while self._due[first := next(iter(self._due))] <= now:
            del self._due[first]
        if due > now:
            heapq.heappush(self._queue, (due, address, body))
        else:
            self._vl1.send_all(address, (body,), now)

    def push(self, network: Network, member: Member, now: float) -> None:
        """Send a member all credentials that we have; later ones go only when these are old, or if it asks."""
        member.push_due = now + PUSH_INTERVAL if network.credential_bodies else NO_TIME
        member.pushed = now
        for body in network.credential_bodies:
            self.send(member.address, body, now)

    def tell_changes(self, network: Network, before: NetworkConfig, now: float) -> None:
        """Push credentials that say something new to those who have the old ones.

        By the old ones rules on either side may refuse every frame, and with it the push that comes before a frame.
        """
        if network.config is None or _powers(network.config) == _powers(before):
            return
        for member in network.members.values():
            if now - member.pushed < PUSH_INTERVAL:
                self.push(network, member, now)

    def wanted(self, network: Network, peer: Peer, now: float) -> None:
        """A peer says that it has no certificate of ours."""
        self._vl2.counters["in: credentials wanted"] += 1
        if network.config is None or network.config.certificate is None:
            return
        member = network.record(peer.address)
        if now >= member.push_due or now - member.pushed > WANTED_INTERVAL:
            self.push(network, member, now)

    # In

    def receive(self, peer: Peer, path: Path, payload: bytes, now: float) -> None:
        """Take credentials, of whichever members (vl2.md 4.7). Raises DecodeError."""
        if now - peer.credentials_received < RECEIVE_INTERVAL:
            self._vl2.counters["in: too many credentials"] += 1
            return
        credentials = Credentials.decode(payload)
        peer.credentials_received = now
        self._vl2.counters["in: credentials"] += 1
        if self.take(credentials, peer, now):
            self._vl1.trust(peer, path, now)

    def take_inline(self, certificate: CertificateOfMembership | None, now: float) -> None:
        """Take a certificate that came with something else."""
        if certificate is not None:
            self.take(Credentials(coms=(certificate,)), None, now)

    def take(
        self, credentials: Credentials, source: Peer | None, now: float, keep_until: float | None = None
    ) -> bool:
        """Keep what is good and new; True if the controllers of our networks signed any of it."""
        accepted = waits = False
        news: dict[NetworkId, list[Revocation]] = {}
        for credential in credentials:
            network = self._vl2.networks.get(credential.network_id)
            if network is None:
                continue
            outcome = self._take_one(network, credential, now)
            self._vl2.counters[f"credentials: {outcome.value}"] += 1
            accepted |= outcome.accepted
            waits |= outcome is Outcome.UNKNOWN_SIGNER
            if isinstance(credential, Revocation) and outcome is Outcome.NEW and credential.fast:
                news.setdefault(network.id, []).append(credential)
        for network_id, revocations in news.items():
            self._spread(self._vl2.networks[network_id], revocations, source, now)
        if waits and len(self._waiting) < MAX_WAITING:
            self._waiting.append((keep_until or now + WAITING_TIME, credentials, source))
            self._retry_at = min(self._retry_at, now + RETRY_INTERVAL)
        return accepted

    def _take_one(self, network: Network, credential: Credential, now: float) -> Outcome:
        vl2 = self._vl2

        def find(signer: NodeAddress) -> Identity | None:
            if signer == network.id.controller:
                return vl2.configurations.controller_of(network, now)
            return self._vl1.identify(signer, now)

        outcome = network.add_credential(credential, find)
        if outcome is not Outcome.NEW:
            return outcome
        if credential.issued_to != network.own:
            vl2.look_again(network, now)
            peer = self._vl1.topology.peers.get(credential.issued_to)
            if peer is not None:
                vl2.gate(network, peer, now)  # a new member hears of our groups
        elif isinstance(credential, Revocation):
            vl2.configurations.ask_soon(network, now)  # the controller will tell us what we are now
        return outcome

    def _spread(
        self, network: Network, revocations: list[Revocation], source: Peer | None, now: float
    ) -> None:
        """Send revocations that are news to all other members (vl2.md 4.6)."""
        payload = Credentials(revocations=tuple(revocations)).encode()
        know = {network.id.controller, source.address if source is not None else None}
        for address in (network.members.keys() & self._vl1.topology.peers.keys()) - know:
            self._vl2.counters["credentials: passed on"] += 1
            self.send(address, bytes((Verb.NETWORK_CREDENTIALS,)) + payload, now)


def _powers(config: NetworkConfig) -> tuple[object, ...]:
    """What the rules of others look at in a member's credentials."""
    return (
        [(tag.id, tag.value) for tag in config.tags],
        [(capability.id, capability.rules) for capability in config.capabilities],
        [sorted(ownership.things) for ownership in config.ownerships],
    )
