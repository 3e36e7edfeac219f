"""Packet scripts: one stack, and a remote that a test plays segment by segment.

Sequence numbers are relative to the initial ones, as a trace shows them: a SYN has 0, the first byte 1. Both initial
numbers lie so that they wrap after a few hundred bytes.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field, replace
from typing import Any

from tests.stack.network import PORT, seeded_context, settled
from zt_async.config import StackConfig
from zt_async.stack.stack import Stack
from zt_async.stack.tcp.connection import TcpConnection
from zt_async.stack.tcp.listener import TcpListener
from zt_async.stack.tcp.state import State
from zt_async.types import MACAddress
from zt_async.wire import arp, ethernet, icmpv4, icmpv6, ip, ipv4, ipv6, ndp, tcp

OWN, REMOTE = "fd00::1", "fd00::2"
OWN_MAC, REMOTE_MAC = MACAddress(0x020000000001), MACAddress(0x020000000002)
OWN_ADDRESS, REMOTE_ADDRESS = (ipaddress.IPv6Address(a).packed for a in (OWN, REMOTE))
HOSTS = {6: (OWN, REMOTE), 4: ("10.0.0.1", "10.0.0.2")}
REMOTE_PORT = 4000
REMOTE_ISS = 0xFFFFFF80
OWN_ISS = 0xFFFFFF40
MASK = 0xFFFFFFFF
MSS = 1000
_FLAGS = {"F": tcp.FIN, "S": tcp.SYN, "R": tcp.RST, "P": tcp.PSH, ".": tcp.ACK, "U": tcp.URG}


@dataclass(frozen=True)
class Seg:
    """A segment as the remote sends it, or as it is expected of the stack; None: whatever it is."""

    flags: str
    seq: int = 0
    ack: int = 0
    payload: bytes = b""
    win: int | None = None
    sacks: tuple[tuple[int, int], ...] = ()

    def __repr__(self) -> str:
        win = "" if self.win is None else f" win={self.win}"
        sacks = f" sacks={self.sacks}" if self.sacks else ""
        size = f" len={len(self.payload)}" if self.payload else ""
        return f"<{self.flags} {self.seq} ack {self.ack}{size}{win}{sacks}>"


@dataclass
class Script:
    """``options`` are what the remote's segments carry; by default none but the MSS in its SYN."""

    family: int = 6
    config: dict[str, Any] = field(default_factory=dict)
    mss: int | None = MSS
    timestamps: bool = False
    sack: bool = False
    scale: int | None = None
    window: int = 60000
    own_iss: int = OWN_ISS
    remote_iss: int = REMOTE_ISS
    mtu: int = 2800

    def __post_init__(self) -> None:
        self.own, self.remote = HOSTS[self.family]
        self.own_address, self.remote_address = (ipaddress.ip_address(a).packed for a in HOSTS[self.family])
        self.now = 5000.0
        self.stack = self._make_stack()
        self.own_port = 0
        self.clock = 0
        """TSval of the remote's next segment."""
        self.echo = 0
        self.connection: TcpConnection = None  # type: ignore[assignment]
        self.listener: TcpListener = None  # type: ignore[assignment]
        self.others: list[bytes] = []
        """Packets sent that are no TCP segments."""
        self.arps: list[arp.Packet] = []
        """ARP packets sent that ask for something else than the remote's address."""
        self.last: tcp.Segment = None  # type: ignore[assignment]
        """The last segment seen, as it was on the wire."""

    def _make_stack(self) -> Stack:
        stack = Stack(seeded_context(7), StackConfig(**{"prompt_ack": 0.0} | self.config))
        self.interface = stack.add_interface("net", OWN_MAC, self.mtu, self.now)
        self.interface.add_address(
            ipaddress.ip_interface(f"{self.own}/{64 if self.family == 6 else 24}"), self.now
        )
        return settled(stack, self.now)

    # -- the remote's side

    def packet(self, segment: Seg, own_port: int | None = None, options: tcp.Options | None = None) -> bytes:
        flags = sum(_FLAGS[letter] for letter in segment.flags)
        if options is None:
            stamps = (self.clock & MASK, self.echo) if self.timestamps else None
            sacks = tuple((a + self.own_iss & MASK, b + self.own_iss & MASK) for a, b in segment.sacks)
            options = tcp.Options(timestamps=stamps, sacks=sacks)
            if flags & tcp.SYN:
                options = tcp.Options(self.mss, self.scale, self.sack, stamps)
        data = tcp.Segment(
            REMOTE_PORT,
            self.own_port if own_port is None else own_port,
            segment.seq + self.remote_iss & MASK,
            segment.ack + self.own_iss & MASK if flags & tcp.ACK else 0,
            flags,
            self.window if segment.win is None else segment.win,
            options,
            segment.payload,
        ).encode(ip.pseudo_header_sum(self.remote_address, self.own_address, ip.TCP))
        return self.ip_packet(ip.TCP, data)

    def ip_packet(self, protocol: int, payload: bytes, hop_limit: int = 64) -> bytes:
        header = ipv6.Header if self.family == 6 else ipv4.Header
        return (
            header(self.remote_address, self.own_address, protocol, len(payload), hop_limit).encode()
            + payload
        )

    def send(self, *segments: Seg, options: tcp.Options | None = None) -> None:
        """One batch of segments arrives."""
        self.send_packets(*(self.packet(segment, options=options) for segment in segments))

    def send_packets(self, *packets: bytes) -> None:
        ethertype = ip.ethertype(self.own_address)
        frames = [(int(OWN_MAC), int(REMOTE_MAC), ethertype, packet) for packet in packets]
        self.stack.receive_frames(self.interface, frames, self.now)

    def send_icmp(self, message: icmpv6.Message, hop_limit: int = 64) -> None:
        self.send_packets(self.ip_packet(ip.ICMPV6, message.encode(REMOTE_ADDRESS, OWN_ADDRESS), hop_limit))

    def send_icmpv4(self, message: icmpv4.Message) -> None:
        self.send_packets(self.ip_packet(ip.ICMPV4, message.encode()))

    def send_arp(self, packet: arp.Packet, *, to: int = OWN_MAC) -> None:
        frame = (int(to), int(REMOTE_MAC), ethernet.ETHERTYPE_ARP, packet.encode())
        self.stack.receive_frames(self.interface, [frame], self.now)

    # -- the stack's side

    def collect(self) -> list[Seg]:
        """What the stack sends now. The remote answers when it is asked for its MAC address."""
        result = []
        while frames := [frame for _, batch in self.stack.frames_to_send(self.now) for frame in batch]:
            for _, _, ethertype, packet in frames:
                if ethertype == ethernet.ETHERTYPE_ARP:
                    self._answer_arp(packet)
                    continue
                segment = self._read(packet)
                if segment is not None:
                    result.append(segment)
        return result

    def _read(self, packet: bytes) -> Seg | None:
        size, protocol = (40, packet[6]) if self.family == 6 else (20, packet[9])
        if protocol != ip.TCP:
            if protocol == ip.ICMPV6 and packet[40] == icmpv6.NEIGHBOR_SOLICITATION:
                self._advertise()
            else:
                self.others.append(packet)
            return None
        data = packet[size:]
        assert ip.checksum_holds(data, ip.pseudo_header_sum(*ip.addresses_of(packet), ip.TCP))
        if self.family == 4:
            assert ipv4.parse_header(packet).dont_fragment
        assert len(packet) <= self.mtu
        segment = self.last = tcp.parse(data)
        if segment.flags & tcp.SYN:
            self.own_iss = segment.seq
            self.own_port = segment.source_port
        if segment.options.timestamps:
            self.echo = segment.options.timestamps[0]
        sacks = tuple(
            (a - self.remote_iss & MASK, b - self.remote_iss & MASK) for a, b in segment.options.sacks
        )
        return Seg(
            "".join(letter for letter, bit in _FLAGS.items() if segment.flags & bit),
            segment.seq - self.own_iss & MASK,
            segment.ack - self.remote_iss & MASK if segment.flags & tcp.ACK else 0,
            segment.payload,
            segment.window,
            sacks,
        )

    def _advertise(self) -> None:
        body = ndp.NeighborAdvertisement(
            REMOTE_ADDRESS, REMOTE_MAC, router=False, solicited=True, override=True
        )
        self.send_icmp(icmpv6.Message(icmpv6.NEIGHBOR_ADVERTISEMENT, 0, body.encode()), ndp.HOP_LIMIT)

    def _answer_arp(self, packet: bytes) -> None:
        question = arp.parse(packet)
        if question.operation == arp.REQUEST and question.target == self.remote_address:
            self.send_arp(
                arp.Packet(arp.REPLY, REMOTE_MAC, self.remote_address, question.sender_mac, question.sender)
            )
        else:
            self.arps.append(question)

    def expect(self, *expected: Seg) -> None:
        """Exactly these segments are sent now."""
        sent = self.collect()
        wanted = list(expected)
        shown = list(sent)
        for at, (have, want) in enumerate(zip(sent, wanted, strict=False)):
            if want.win is None:
                shown[at] = replace(have, win=None)
        assert shown == wanted

    def quiet(self) -> None:
        """Nothing is sent now."""
        self.expect()

    def pass_time(self, seconds: float) -> list[tuple[float, Seg]]:
        """Let timers run; what is sent meanwhile, with the time since the call."""
        begin, deadline = self.now, self.now + seconds
        sent = [(0.0, segment) for segment in self.collect()]
        while (at := self.stack.next_timer()) is not None and at <= deadline:
            self.now = max(self.now, at)
            self.stack.handle_timer(self.now)
            sent += [(self.now - begin, segment) for segment in self.collect()]
        self.now = deadline
        return sent

    def wait(self, seconds: float) -> None:
        """Let timers run; nothing may be sent meanwhile."""
        assert self.pass_time(seconds) == []

    def read(self) -> bytes:
        return self.connection.receive()

    # -- ways into the states

    def connect(self, **kwargs: Any) -> Script:
        """SYN-SENT: the SYN was seen."""
        self._wind_clock(lambda: self._start_connect(**kwargs))
        (syn,) = self.collect()
        assert syn.flags == "S"
        self.stack.take_ready()
        return self

    def listen(self, **kwargs: Any) -> Script:
        self.listener = self.stack.listen_tcp(("::", PORT), now=self.now, **kwargs)
        self.own_port = PORT
        return self

    def syn_received(self, **kwargs: Any) -> Script:
        """The remote's SYN was answered."""

        def begin() -> None:
            self.listen(**kwargs)
            self.send(Seg("S"))

        self._wind_clock(begin)
        (answer,) = self.collect()
        assert answer.flags == "S."
        return self

    def established(self, *, passive: bool = False, **kwargs: Any) -> Script:
        if passive:
            self.syn_received(**kwargs)
            self.send(Seg(".", 1, 1))
            self.quiet()
            connection = self.listener.accept()
            assert connection is not None
            self.connection = connection
        else:
            self.connect(**kwargs)
            self.send(Seg("S.", 0, 1))
            self.expect(Seg(".", 1, 1))
        assert self.connection.state is State.ESTABLISHED
        self.stack.take_ready()
        return self

    def in_state(self, state: State) -> Script:
        """Any state of a connection that was opened actively; no data was exchanged."""
        if state is State.SYN_SENT:
            return self.connect()
        if state is State.SYN_RECEIVED:
            self.connect()
            self.send(Seg("S"))
            self.expect(Seg("S.", 0, 1))
            return self
        self.established()
        if state in (State.CLOSE_WAIT, State.LAST_ACK):
            self.send(Seg("F.", 1, 1))
            self.expect(Seg(".", 1, 2))
        if state is State.LAST_ACK:
            self.connection.send_eof()
            self.expect(Seg("F.", 1, 2))
        if state in (State.FIN_WAIT_1, State.FIN_WAIT_2, State.CLOSING, State.TIME_WAIT):
            self.connection.send_eof()
            self.expect(Seg("F.", 1, 1))
        if state is State.CLOSING:
            self.send(Seg("F.", 1, 1))
            self.expect(Seg(".", 2, 2))
        if state in (State.FIN_WAIT_2, State.TIME_WAIT):
            self.send(Seg(".", 1, 2))
            self.quiet()
        if state is State.TIME_WAIT:
            self.send(Seg("F.", 1, 2))
            self.expect(Seg(".", 2, 2))
        assert self.connection.state is state
        self.stack.take_ready()
        return self

    def _start_connect(self, **kwargs: Any) -> None:
        self.connection = self.stack.connect_tcp(
            (self.remote, REMOTE_PORT), local=(self.own, 4321), now=self.now, **kwargs
        )

    def _wind_clock(self, begin: Any) -> None:
        """Start at the moment at which the initial sequence number of RFC 6528 is the wanted one."""
        wanted = self.own_iss
        begin()
        (syn,) = self.collect()
        self.now += ((wanted - self.own_iss) & MASK) * 4e-6 + 2e-6
        self.stack = self._make_stack()
        begin()
        assert syn.seq == 0
