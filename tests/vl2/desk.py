"""A core with one network joined, and other nodes whose every packet is made and read by hand."""

from __future__ import annotations

import struct

from tests.vl1.remote import Bench, Got, Remote
from zt_async.crypto.credentials import issue_com, issue_revocation, sign_chunk
from zt_async.events import Event
from zt_async.types import Endpoint, MACAddress, NetworkId
from zt_async.vl2.addressing import member_mac
from zt_async.vl2.core import VL2
from zt_async.wire.config_chunks import split_config
from zt_async.wire.credentials import Credentials, Revocation
from zt_async.wire.network_config import NetworkConfig
from zt_async.wire.packet import Verb
from zt_async.wire.rules import Rule, RuleType
from zt_async.wire.verbs import ExtFrame, encode_frame

AD_HOC = NetworkId.ad_hoc(1, 65535)
IPV6 = 0x86DD
ACCEPT = Rule(RuleType.ACTION_ACCEPT)
AT = Endpoint("10.0.2.1", 9993)
START = 1_700_000_000_000  # of the controller's clock, in ms
MAX_DELTA = 1_800_000


def icmp_packet(kind=128, size=40):
    return struct.pack("!IHBB32x", 6 << 28, size, 58, 64) + bytes((kind,)) + bytes(size - 1)


class Desk:
    """A core with one network joined, and one other member, ``a``."""

    def __init__(self, network_id=AD_HOC, bench=None, *, cached=None):
        self.bench = bench or Bench()
        self.vl1 = self.bench.core
        self.vl2 = VL2(self.vl1, self.vl1.context)
        self.id = network_id
        self.network = self.vl2.join(network_id, self.now, cached)
        self.own_mac = self.network.mac
        self.a = self.meet(1, AT)
        self.a_mac = self.mac(self.a)
        self.vl2.take_events()

    @property
    def now(self):
        return self.bench.now

    def meet(self, number, at) -> Remote:
        """Another node, to which there is a path."""
        remote = self.bench.remote(number, at)
        remote.meet()
        return remote

    def mac(self, remote) -> MACAddress:
        return member_mac(self.id, remote.address)

    def config(self, **options) -> NetworkConfig:
        """A configuration of a public network, newer than the one held."""
        held = self.network.config
        defaults = {
            "network_id": self.id,
            "issued_to": self.vl1.address,
            "rules": (ACCEPT,),
            "private": False,
            "timestamp": held.timestamp + 1 if held else START,
            "credential_max_delta": MAX_DELTA,
        }
        return NetworkConfig(**defaults | options)

    def configure(self, **options) -> NetworkConfig:
        config = self.config(**options)
        assert self.vl2.configurations.apply(self.network, config, self.now)
        self.bench.collect()
        return config

    def receive(self, *packets, remote=None):
        """The frames that come of packets of another node, and the answers it gets."""
        remote = remote or self.a
        remote.take()
        self.vl1.receive_datagrams(0, remote.at, packets, self.now)
        self.vl2.receive_packets(self.vl1.take_packets(), self.now)
        self.bench.collect()
        answers = [got for got in remote.got if got.verb in (Verb.OK, Verb.ERROR)]
        remote.got = [got for got in remote.got if got not in answers]
        return self.vl2.take_frames().get(self.id, []), answers

    def tell(self, remote, verb, payload) -> list[Got]:
        """Give the core a packet of another node; the answers that this gets."""
        return self.receive(remote.packet(verb, payload), remote=remote)[1]

    def send(self, *frames):
        """The bodies that go to the other member, and the frames that come straight back."""
        self.vl2.send_frames(self.id, list(frames), self.now)
        self.bench.collect()
        packets = [
            (got.verb, got.payload) for got in self.a.take() if got.verb in (Verb.FRAME, Verb.EXT_FRAME)
        ]
        return packets, self.vl2.take_frames().get(self.id, [])

    def wait(self, seconds) -> None:
        """Let time pass, with the timers of both rooms."""
        end = self.now + seconds
        while (due := min(self.vl1.next_timer(), self.vl2.next_timer())) <= end:
            self.bench.clock.advance_to(max(due, self.now))
            self.vl1.handle_timer(self.now)
            self.vl2.handle_timer(self.now)
            self.bench.collect()
        self.bench.clock.advance_to(end)

    def events(self) -> list[Event]:
        return self.vl2.take_events()

    def fates(self) -> dict[str, int]:
        """What became of packets and frames."""
        return {
            name: count
            for name, count in self.vl2.counters.items()
            if count and name.startswith(("in: ", "out: "))
        }

    # Packets of ``a`` or another member

    def frame(self, payload=None, ethertype=IPV6, network=None, remote=None):
        payload = icmp_packet() if payload is None else payload
        return (remote or self.a).packet(Verb.FRAME, encode_frame(network or self.id, ethertype, payload))

    def ext(self, payload=None, *, source=None, destination=None, flags=0, ethertype=IPV6, certificate=None):
        return self.a.packet(
            Verb.EXT_FRAME,
            ExtFrame(
                self.id,
                flags,
                MACAddress(self.own_mac if destination is None else destination),
                MACAddress(self.a_mac if source is None else source),
                ethertype,
                icmp_packet() if payload is None else payload,
                certificate,
            ).encode(),
        )


class ControlledDesk(Desk):
    """The same on a private network of the node ``controller``."""

    def __init__(self, *, known=True, cached=None):
        bench = Bench()
        self.updates = 0
        self.controller = bench.remote(3, "10.0.4.1")
        if known:
            self.controller.meet()
        super().__init__(NetworkId(self.controller.address << 24 | 1), bench, cached=cached)

    @property
    def own(self):
        return self.vl1.identity

    def certificate(self, identity, timestamp=START, network_id=None, signer=None):
        """A certificate of membership."""
        signer = signer or self.controller.identity
        return issue_com(signer, network_id or self.id, identity, timestamp, MAX_DELTA)

    def private(self, **options) -> NetworkConfig:
        """A configuration of the private network."""
        config = self.config(**{"private": True, **options})
        certificate = self.certificate(self.own, config.timestamp)
        return self.config(**{"private": True, "certificate": certificate, **options})

    def configure_private(self, **options) -> NetworkConfig:
        config = self.private(**options)
        assert self.vl2.configurations.apply(self.network, config, self.now)
        self.bench.collect()
        return config

    def chunks(self, config, *, signer=None, update_id=None, flags=0) -> list[bytes]:
        """A configuration in the chunks in which it travels; its ID is another each time."""
        if update_id is None:
            self.updates += 1
            update_id = self.updates
        dictionary = config if isinstance(config, bytes) else config.encode()
        chunks = split_config(self.id, dictionary, update_id, flags)
        return [sign_chunk(chunk, signer or self.controller.identity).encode() for chunk in chunks]

    def push(self, config, *, remote=None, **options) -> list[Got]:
        """Send a configuration that nobody asked for; the acknowledgements."""
        remote = remote or self.controller
        packets = [remote.packet(Verb.NETWORK_CONFIG, c) for c in self.chunks(config, **options)]
        return self.receive(*packets, remote=remote)[1]

    def give(self, remote, **credentials) -> None:
        """Have another node send credentials."""
        payload = Credentials(**credentials).encode()
        self.receive(remote.packet(Verb.NETWORK_CREDENTIALS, payload), remote=remote)

    def admit(self, remote) -> None:
        """Have another node show a certificate that agrees with ours."""
        self.give(remote, coms=(self.certificate(remote.identity),))

    def requests(self) -> list[Got]:
        """The requests that the controller got since the last look."""
        return self.controller.take(Verb.NETWORK_CONFIG_REQUEST)

    @property
    def credentials_waiting(self):
        return self.vl2.credentials._waiting

    def revocation(self, target, threshold, *, signer=None, **options) -> Revocation:
        """Of the credentials of a node that were made at ``threshold`` or before."""
        signer = signer or self.controller.identity
        return issue_revocation(signer, self.id, target.address, threshold, 99, **options)
