"""Credentials on their way: ours to members we talk to, theirs to us, and revocations to everybody. vl2.md 4.7, 4.8."""

from __future__ import annotations

import heapq
import math
from typing import TYPE_CHECKING, Final

from zt_async.crypto.identity import Identity
from zt_async.types import NetworkId, NodeAddress
from zt_async.vl1.path import Path
from zt_async.vl1.peer import Peer
from zt_async.vl2.member import Member
from zt_async.vl2.membership import Outcome
from zt_async.vl2.network import Network
from zt_async.wire.credentials import CertificateOfMembership, Credential, Credentials, Revocation
from zt_async.wire.packet import Verb

if TYPE_CHECKING:
    from zt_async.vl2.core import VL2

RECEIVE_INTERVAL: Final = 1.0  # s between two packets of credentials from one peer
PUSH_INTERVAL: Final = 500.0  # s
WANTED_INTERVAL: Final = 1.0  # s between two pushes that a peer asks for
PACKET_GAP: Final = 1.05  # s between two packets of credentials to one peer, who takes but one a second
RETRY_INTERVAL: Final = 0.5  # s between two looks whether a controller is known by now
WAITING_TIME: Final = 5.0  # s
MAX_WAITING: Final = 32
MAX_PARTS: Final = 4096
NO_TIME: Final = math.inf


class CredentialExchange:
    """Gives and takes the credentials of all networks."""

    def __init__(self, vl2: VL2) -> None:
        self._vl2 = vl2
        self._vl1 = vl2.vl1
        self._waiting: list[tuple[float, Credentials, Peer | None]] = []
        """Until when to keep what came from whom, while the controller that signed it is not known."""
        self._retry_at = NO_TIME
        self._parts: list[tuple[float, NetworkId, int, int]] = []
        """When a member is to get the next packet of a push that needs several, and its number."""

    @property
    def next_timer(self) -> float:
        return min(self._retry_at, self._parts[0][0]) if self._parts else self._retry_at

    def handle_timer(self, now: float) -> None:
        if now >= self._retry_at:
            waiting, self._waiting, self._retry_at = self._waiting, [], NO_TIME
            for until, credentials, source in waiting:
                if now < until:
                    self.take(credentials, source, now, until)
                else:
                    self._vl2.counters["credentials: unknown signer"] += 1
        while self._parts and now >= self._parts[0][0]:
            _, network_id, address, number = heapq.heappop(self._parts)
            network = self._vl2.networks.get(network_id)
            if network is not None and (member := network.members.get(address)) is not None:
                self._send_part(network, member, number, now)

    # Out

    def push(self, network: Network, member: Member, now: float) -> None:
        """Send a member all credentials that we have; later ones go only when these are old, or if it asks."""
        if not network.credential_bodies:
            member.push_due = NO_TIME
            return
        member.push_due = now + PUSH_INTERVAL
        member.pushed = now
        self._send_part(network, member, 0, now)

    def _send_part(self, network: Network, member: Member, number: int, now: float) -> None:
        bodies = network.credential_bodies
        if number < len(bodies):
            self._vl2.counters["credentials: sent"] += 1
            self._vl1.send_all(member.address, bodies[number : number + 1], now)
        if number + 1 < len(bodies) and len(self._parts) < MAX_PARTS:
            heapq.heappush(self._parts, (now + PACKET_GAP, network.id, member.address, number + 1))

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
        for credential in credentials:
            network = self._vl2.networks.get(credential.network_id)
            if network is None:
                continue
            outcome = self._take_one(network, credential, source, now)
            self._vl2.counters[f"credentials: {outcome.value}"] += 1
            accepted |= outcome.accepted
            waits |= outcome is Outcome.UNKNOWN_SIGNER
        if waits and len(self._waiting) < MAX_WAITING:
            self._waiting.append((keep_until or now + WAITING_TIME, credentials, source))
            self._retry_at = min(self._retry_at, now + RETRY_INTERVAL)
        return accepted

    def _take_one(self, network: Network, credential: Credential, source: Peer | None, now: float) -> Outcome:
        vl2 = self._vl2

        def find(signer: NodeAddress) -> Identity | None:
            if signer == network.id.controller:
                return vl2.configurations.controller_of(network, now)
            return self._vl1.identify(signer, now)

        outcome = network.add_credential(credential, find)
        if outcome is not Outcome.NEW:
            return outcome
        if credential.issued_to != network.own:
            vl2.look_again(network, now, credential.issued_to)
            peer = self._vl1.topology.peers.get(credential.issued_to)
            if peer is not None:
                vl2.gate(network, peer, now)  # a new member hears of our groups
        elif isinstance(credential, Revocation):
            vl2.configurations.ask_soon(network, now)  # the controller will tell us what we are now
        if isinstance(credential, Revocation) and credential.fast:
            self._spread(network, credential, source, now)
        return outcome

    def _spread(self, network: Network, revocation: Revocation, source: Peer | None, now: float) -> None:
        """Send a revocation that is news to all other members (vl2.md 4.6)."""
        body = bytes((Verb.NETWORK_CREDENTIALS,)) + Credentials(revocations=(revocation,)).encode()
        knows = {revocation.signed_by, source.address if source is not None else None}
        for address in (network.members.keys() & self._vl1.topology.peers.keys()) - knows:
            self._vl2.counters["credentials: passed on"] += 1
            self._vl1.send_all(address, (body,), now)
