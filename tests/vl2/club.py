"""A private network of whole nodes on the simulated wire, with a controller that decides by a list."""

from __future__ import annotations

from ipaddress import IPv4Interface

from tests.vl1.world import GOOD, make_planet
from zt_async.crypto.credentials import issue_com, issue_ownership, issue_revocation
from zt_async.events import Event
from zt_async.testing import Host, Link, SimNet, SimNode
from zt_async.testing.identities import throwaway_identity
from zt_async.types import Flight, NetworkId
from zt_async.vl2.addressing import sixplane
from zt_async.wire.credentials import Credentials
from zt_async.wire.network_config import FLAG_BROADCAST, FLAG_NDP_EMULATION, NetworkConfig
from zt_async.wire.packet import ErrorCode
from zt_async.wire.rules import Rule, RuleType

ACCEPT = Rule(RuleType.ACTION_ACCEPT)
MAX_DELTA = 1_800_000


class SimController(SimNode):
    """Serves one network: members whose address is in ``members`` get the configuration, others are refused."""

    members: dict[int, dict[str, object]]
    options: dict[str, object]

    def found(self, network_id: NetworkId) -> None:
        self.network_id = network_id
        self.members = {}
        self.options = {}
        self.asked: dict[int, float] = {}
        self.vl2.serves = True

    def config_for(self, identity) -> NetworkConfig:
        now = self.context.wall_ms()
        number = list(self.members).index(identity.address) + 1
        addresses = (IPv4Interface(f"10.7.0.{number}/24"), sixplane(self.network_id, identity.address))
        defaults = {
            "network_id": self.network_id,
            "issued_to": identity.address,
            "name": "club",
            "timestamp": now,
            "credential_max_delta": MAX_DELTA,
            "flags": FLAG_BROADCAST | FLAG_NDP_EMULATION,
            "multicast_limit": 32,
            "addresses": addresses,
            "rules": (ACCEPT,),
            "certificate": issue_com(self.identity, self.network_id, identity, now, MAX_DELTA),
            "ownerships": (
                issue_ownership(
                    self.identity, self.network_id, identity.address, now, [a.ip for a in addresses]
                ),
            ),
        }
        return NetworkConfig(**defaults | self.options | self.members[identity.address])

    def flights_to_send(self, now: float) -> list[Flight]:
        self.take_arrivals(now)
        for request in self.vl2.take_requests():
            self.asked[request.member] = now
            if request.member in self.members:
                self.vl2.answer_config(request, self.config_for(request.identity).encode(), now)
            else:
                self.vl2.refuse_request(request, ErrorCode.NETWORK_ACCESS_DENIED, b"", now)
        return super().flights_to_send(now)


class Club:
    """A root, a controller and members; who is in ``strangers`` has joined and is not admitted."""

    def __init__(self, members=2, *, strangers=0, link: Link = GOOD, seed=1, add_host=SimNet.add_host):
        self.net = SimNet(seed, link=link)
        self.add_host = add_host
        root_host = self.net.add_host("root")
        self._hosts: dict[int, Host] = {}
        self.planet = make_planet([(throwaway_identity(0), root_host.sockets.values())])
        self.root = SimNode.on(self.net, root_host, throwaway_identity(0), planet=self.planet)
        identity = throwaway_identity(1)
        self.id = NetworkId(identity.address << 24 | 0xC1)
        self.controller = SimController.on(
            self.net, self._host("controller", identity), identity, planet=self.planet
        )
        self.controller.found(self.id)
        self.members = [self.start(2 + n) for n in range(members + strangers)]
        for member in self.members[:members]:
            self.admit(member)

    def _host(self, name, identity) -> Host:
        host = self._hosts[identity.address] = self.add_host(self.net, name)
        return host

    def host(self, node) -> Host:
        return self._hosts[node.address]

    @property
    def now(self) -> float:
        return self.net.clock.now

    def start(self, number, *, join=True, host=None) -> SimNode:
        """A node, which joins the network at once; on a host of its own if none is given."""
        identity = throwaway_identity(number)
        host = host or self._host(f"m{len(self._hosts)}", identity)
        node = SimNode.on(self.net, host, identity, planet=self.planet)
        if join:
            node.join(self.id, self.now)
        return node

    def admit(self, node, **options) -> None:
        self.controller.members[node.address] = options

    def expel(self, node) -> None:
        """Strike a member off the list, and say so to all others."""
        del self.controller.members[node.address]
        revocation = issue_revocation(
            self.controller.identity, self.id, node.address, self.controller.context.wall_ms(), 5
        )
        for address in self.controller.asked:
            self.controller.vl2.send_credentials(address, Credentials(revocations=(revocation,)), self.now)
        self.net.wake()

    def push(self) -> None:
        """Give all members their configurations anew."""
        for address in list(self.controller.members):
            identity = self.controller.vl1.identity_of(address)
            if identity is not None:
                dictionary = self.controller.config_for(identity).encode()
                self.controller.vl2.push_config(self.id, identity.address, dictionary, self.now)
        self.net.wake()

    def run_until(self, predicate, timeout=30.0) -> float:
        return self.net.run_until(predicate, timeout)

    def ready(self, *nodes, timeout=10.0) -> float:
        """Run until these nodes have their configurations; the seconds that took."""
        nodes = nodes or tuple(self.members)
        return self.run_until(lambda: all(node.network(self.id).addresses for node in nodes), timeout)

    def ip(self, node, version=4):
        return str(next(a.ip for a in node.network(self.id).addresses if a.version == version))

    def ping(self, node, other, *, version=4, timeout=10.0) -> float:
        """Seconds until the echo is there."""
        start = self.now
        ping = node.stack.ping(self.ip(other, version), bytes(8), now=self.now)
        self.run_until(lambda: ping.rtt is not None or ping.error is not None, timeout)
        if ping.error is not None:
            raise ping.error
        return self.now - start

    def saw(self, node, kind: type[Event]) -> list[Event]:
        return [event for event in node.events if isinstance(event, kind)]
