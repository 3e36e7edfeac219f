"""Whatever arrives: nothing is raised, nothing grows, and honest connections go on."""

import random
from collections import deque

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.stack.network import PORT, Network, Transfer, Wire
from tests.stack.script import OWN_ADDRESS, OWN_MAC, REMOTE_ADDRESS, REMOTE_MAC, Script, Seg
from zt_async.accel import checksum
from zt_async.stack.tcp.connection import TcpConnection
from zt_async.stack.tcp.state import State
from zt_async.types import Frame
from zt_async.wire import icmpv4, icmpv6, ip, ipv4, ipv6, tcp

FAMILY = st.sampled_from((4, 6))
FLAGS = st.text("FSRP.U", max_size=4)
NUMBER = st.integers(-3, 3) | st.integers(-70_000, 70_000) | st.integers(0, 0xFFFFFFFF)


def memory(s: Script) -> tuple[int, int]:
    """Entries a stranger could make: connections and neighbours."""
    return len(s.interface.tcp), len(s.interface.neighbors)


def fresh(family: int = 6) -> Script:
    """An established connection, a listener with few places and a UDP endpoint."""
    config = {"listen_backlog": 4, "max_neighbors": 16, "max_time_wait": 4}
    s = Script(sack=True, family=family, config=config).established()
    s.stack.listen_tcp(("::", PORT), now=s.now)
    s.stack.open_udp(("::", 53), now=s.now)
    return s


# -- arbitrary bytes


@settings(max_examples=150, deadline=None)
@given(FAMILY, st.lists(st.binary(max_size=200), max_size=10))
def test_any_bytes_as_a_packet(family, packets):
    s = fresh(family)
    s.send_packets(*packets)
    s.collect()
    assert s.connection.state is State.ESTABLISHED


@settings(max_examples=150, deadline=None)
@given(
    FAMILY,
    st.lists(
        st.tuples(
            st.sampled_from((0, 1, 2, 6, 17, 43, 44, 58, 59, 60)),
            st.binary(max_size=120),
            st.sampled_from((1, 64, 255)),
        ),
        max_size=10,
    ),
)
def test_any_bytes_behind_a_good_header(family, payloads):
    s = fresh(family)
    for protocol, payload, hops in payloads:
        s.send_packets(s.ip_packet(protocol, payload, hops))
        s.collect()
    assert memory(s)[0] <= 6


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 255), st.integers(0, 6), st.binary(max_size=100)), max_size=10))
def test_any_icmp_message(contents):
    for family in (4, 6):
        s = fresh(family)
        for kind, code, body in contents:
            body = body.ljust(4, b"\0")
            if family == 4:
                s.send_icmpv4(icmpv4.Message(kind, code, body))
            else:
                s.send_icmp(icmpv6.Message(kind, code, body), 255)
            s.collect()
        assert memory(s)[1] <= 16


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.binary(max_size=60),
            st.binary(max_size=10).map(lambda words: (words * 4)[: len(words) // 4 * 4]),
            st.booleans(),
            st.integers(0, 0x1FFF).map(lambda units: 8 * units) | st.just(0),
            st.integers(0, 3),
            st.sampled_from((1, 2, 6, 17)),
        ),
        max_size=12,
    )
)
def test_any_header_of_ipv4(packets):
    """Options and fragments as they come."""
    s = fresh(4)
    for payload, options, more, offset, identification, protocol in packets:
        header = ipv4.Header(
            s.remote_address,
            s.own_address,
            protocol,
            len(payload),
            identification=identification,
            more_fragments=more,
            offset=offset,
            options=options,
        )
        s.send_packets(header.encode() + payload)
        s.collect()
    assert memory(s)[0] <= 6
    s.pass_time(100)
    assert len(s.stack._ip.reassembler) == 0


@settings(max_examples=200, deadline=None)
@given(FAMILY, st.data())
def test_any_icmp_error_about_any_packet(family, data):
    s = fresh(family)
    s.connection.send(bytes(5000))
    s.collect()
    header = ipv6.Header if family == 6 else ipv4.Header
    protocol = data.draw(st.sampled_from((1, 6, 17, 58, 44)))
    quoted = bytearray(
        header(s.own_address, s.remote_address, protocol, 20).encode()
        + (4321).to_bytes(2, "big")
        + (4000).to_bytes(2, "big")
        + (s.own_iss + data.draw(st.integers(-10, 6000)) & 0xFFFFFFFF).to_bytes(4, "big")
        + bytes(20)
    )
    for _ in range(data.draw(st.integers(0, 3))):
        quoted[data.draw(st.integers(0, len(quoted) - 1))] = data.draw(st.integers(0, 255))
    body = data.draw(st.integers(0, 0xFFFFFFFF)).to_bytes(4, "big") + bytes(
        quoted[: data.draw(st.integers(0, 68))]
    )
    kind, code = data.draw(st.integers(1, 12)), data.draw(st.integers(0, 15))
    if family == 6:
        s.send_icmp(icmpv6.Message(kind, code, body))
    else:
        s.send_icmpv4(icmpv4.Message(kind, code, body))
    s.collect()
    assert s.connection.state is State.ESTABLISHED
    assert s.connection.info().mss == 1000


# -- arbitrary segments in arbitrary states


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from([state for state in State if state not in (State.CLOSED, State.LISTEN)]),
    st.lists(
        st.builds(
            Seg,
            FLAGS,
            NUMBER,
            NUMBER,
            st.binary(max_size=20) | st.builds(bytes, st.integers(0, 3000)),
            st.integers(0, 0xFFFF),
            st.lists(st.tuples(NUMBER, NUMBER), max_size=3).map(tuple),
        ),
        max_size=15,
    ),
    st.booleans(),
    st.booleans(),
    st.integers(0, 9000),
)
def test_any_segments_in_any_state(state, segments, timestamps, sack, unsent):
    s = Script(timestamps=timestamps, sack=sack).in_state(state)
    if state in (State.ESTABLISHED, State.CLOSE_WAIT):
        s.connection.send(bytes(unsent))
        s.collect()
    for segment in segments:
        s.send(segment)
        assert len(s.collect()) < 40
        s.pass_time(0.3)
        info = s.connection.info()
        assert info.in_flight >= 0
        assert info.unread <= 10_000_000
        assert len(s.interface.tcp) <= 1
    s.connection.receive()
    s.connection.abort()
    s.collect()
    s.pass_time(1000)
    assert not s.interface.tcp
    assert s.stack.next_timer() is None


@settings(max_examples=200, deadline=None)
@given(st.lists(st.binary(min_size=0, max_size=40), max_size=5), st.data())
def test_any_options(contents, data):
    s = fresh()
    for options in contents:
        options = options.ljust((len(options) + 3) // 4 * 4, b"\0")
        flags = data.draw(st.sampled_from((tcp.SYN, tcp.ACK, tcp.ACK | tcp.PSH)))
        header = tcp.Segment(data.draw(st.integers(1, 9)), PORT, 5, 6, flags, 500).encode(0)
        layout = (20 + len(options)) << 10 | flags
        blank = header[:12] + layout.to_bytes(2, "big") + header[14:16] + bytes(4) + options
        pseudo = ip.pseudo_header_sum(REMOTE_ADDRESS, OWN_ADDRESS, ip.TCP)
        check = ip.upper_checksum(blank, pseudo).to_bytes(2, "big")
        body = blank[:16] + check + blank[18:]
        s.send_packets(ipv6.Header(REMOTE_ADDRESS, OWN_ADDRESS, ip.TCP, len(body)).encode() + body)
        s.collect()
    assert memory(s)[0] <= 5


# -- mutations of real traffic


def recorded(family: int) -> list[Frame]:
    """Frames of every kind that a stack receives."""
    network = Network(1)
    a, b = (network.add_host(Wire(delay=0.001), family=family) for _ in range(2))
    frames: list[Frame] = []
    a.wire.drop = lambda number, frame: frames.append(frame) or False
    near, far = network.connect(a, b)
    a.stack.open_udp(now=network.now).send(bytes(4000), (b.address, 53), now=network.now)
    a.stack.open_udp(now=network.now).send(bytes(40), (b.address, 53), now=network.now)
    b.stack.open_udp(("::", 99), now=network.now).send(b"x", (a.address, 98), now=network.now)
    member = a.stack.open_udp(now=network.now)
    member.join_group("ff05::1" if family == 6 else "239.1.1.1")
    member.broadcast = True
    member.send(b"x", ("ff02::1" if family == 6 else "10.0.0.255", 53), now=network.now)
    a.stack.ping(b.address, bytes(100), now=network.now)
    transfer = Transfer(near, far, bytes(30_000))
    assert network.run(transfer, 10)
    far.close()
    network.run(limit=1)
    return frames


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("seed", range(3))
def test_mutated_traffic(seed, family):
    """A host at the address that the traffic was for; it knows nothing of its connections."""
    rng = random.Random(seed)
    frames = recorded(family)
    network = Network(seed)
    other = network.add_host(family=family)
    host = network.add_host(
        family=family, max_neighbors=16, listen_backlog=8, max_time_wait=8, reassembly_memory=50_000
    )
    near, far = network.connect(other, host)
    host.stack.listen_tcp(("::", PORT), now=network.now)
    endpoint = host.stack.open_udp(("::", 53), now=network.now)
    mac = int(host.interface.mac)
    for _ in range(4000):
        to, _, ethertype, payload = rng.choice(frames)
        packet = bytearray(payload)
        for _ in range(rng.randrange(4)):
            kind = rng.randrange(4)
            if kind == 0 and packet:
                packet[rng.randrange(len(packet))] = rng.randrange(256)
            elif kind == 1:
                del packet[rng.randrange(len(packet) + 1) :]
            elif kind == 2:
                packet += rng.randbytes(rng.randrange(20))
            elif len(packet) > 60:
                at = rng.randrange(40, 60)
                packet[at : at + 4] = rng.randbytes(4)
        if rng.random() < 0.9:
            mend(ethertype, packet)
        host.stack.receive_frames(
            host.interface, [(mac if not to >> 40 & 1 else to, 1, ethertype, bytes(packet))], network.now
        )
        if rng.random() < 0.1:
            host.stack.frames_to_send(network.now)
            network.now += rng.random()
            host.stack.handle_timer(network.now)
        endpoint.receive()
        assert len(host.interface.neighbors) <= 16
        assert len(host.interface.tcp) <= 8 + 8 + 8 + 1
    host.stack.frames_to_send(network.now)
    assert far.state is State.ESTABLISHED
    far.send(b"unimpressed")
    assert network.run(lambda: near.receive() == b"unimpressed", 60)


def mend(ethertype: int, packet: bytearray) -> None:
    """Make the header's length, and the checksum of IPv4's, right again, so that more than the header is looked at."""
    if ethertype == 0x86DD and len(packet) >= 40:
        packet[4:6] = (len(packet) - 40).to_bytes(2, "big")
    elif ethertype == 0x0800 and len(packet) >= 20:
        packet[2:4] = len(packet).to_bytes(2, "big")
        packet[10:12] = bytes(2)
        packet[10:12] = (checksum(packet[: (packet[0] & 0xF) * 4]) ^ 0xFFFF).to_bytes(2, "big")


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("seed", range(3))
def test_connections_survive_a_wire_that_damages_every_fifth_frame(seed, family):
    network = Network(seed)
    a, b = (network.add_host(Wire(corruption=0.2, delay=0.005), family=family) for _ in range(2))
    near, far = network.connect(a, b)
    data = random.Random(seed).randbytes(100_000)
    transfer = Transfer(near, far, data)
    assert network.run(transfer, 600)
    assert transfer.received == data


# -- floods


def test_a_flood_of_syns_leaves_room_for_an_honest_client():
    network = Network(2)
    a, b = network.add_host(Wire(delay=0.001)), network.add_host(Wire(delay=0.001), listen_backlog=16)
    listener = b.stack.listen_tcp(("::", PORT), now=network.now)
    rng = random.Random(2)
    client = a.stack.connect_tcp((b.address, PORT), now=network.now)

    for _ in range(200):
        for _ in range(3):
            source = REMOTE_ADDRESS[:15] + bytes((rng.randrange(3, 200),))
            destination = OWN_ADDRESS[:15] + b"\x02"
            segment = tcp.Segment(rng.randrange(1, 65536), PORT, rng.randrange(1 << 32), 0, tcp.SYN, 1000)
            body = segment.encode(ip.pseudo_header_sum(source, destination, ip.TCP))
            packet = ipv6.Header(source, destination, ip.TCP, len(body)).encode() + body
            network.inject(b, [(int(b.interface.mac), 1, 0x86DD, packet)])
        network.run(lambda: False, 0.001)
        network.now += 0.001
    assert client.state is State.ESTABLISHED
    assert b.stack.counters["tcp half-open dropped"] > 500
    assert len(b.interface.tcp) <= 17
    assert listener.accept() is not None


def test_a_million_tiny_pieces_cost_no_more_than_the_window():
    """Data in pieces of one byte that nobody reads: kept together, not as a million objects."""
    s = Script().established()
    for at in range(0, 20_000, 50):
        s.send(*(Seg(".", 1 + at + i, 1, b"x") for i in range(50)))
        s.collect()
    assert len(s.connection.receiver.pieces) < 1000
    assert s.read() == b"x" * 20_000


def test_a_stranger_cannot_fill_the_tables_with_connections_it_never_completes():
    s = Script(own_iss=0, config={"listen_backlog": 8}).listen()
    rng = random.Random(3)
    for _ in range(3000):
        source = REMOTE_ADDRESS[:14] + rng.randbytes(2)
        segment = tcp.Segment(rng.randrange(1, 65536), PORT, rng.randrange(1 << 32), 0, tcp.SYN, 1000)
        body = segment.encode(ip.pseudo_header_sum(source, OWN_ADDRESS, ip.TCP))
        packet = ipv6.Header(source, OWN_ADDRESS, ip.TCP, len(body)).encode() + body
        s.stack.receive_frames(s.interface, [(int(OWN_MAC), int(REMOTE_MAC), 0x86DD, packet)], s.now)
        s.stack.frames_to_send(s.now)
    assert len(s.interface.tcp) <= 8
    assert len(s.interface.neighbors) <= 4096
    s.now += 1000
    for _ in range(100):
        if (at := s.stack.next_timer()) is None:
            break
        s.stack.handle_timer(max(s.now, at))
        s.stack.frames_to_send(s.now)
    assert not s.interface.tcp


# -- a model


class TwoEnds(RuleBasedStateMachine):
    """Two connected ends over a wire whose every frame may be delivered, lost, repeated or delayed.

    The model is two byte strings. Whatever happens, what is read is a prefix of what was written.
    """

    @initialize(seed=st.integers(0, 1000), sack=st.booleans())
    def begin(self, seed, sack):
        self.now = 1000.0
        self.network = Network(seed)
        hosts = [self.network.add_host(Wire(delay=0.001)) for _ in range(2)]
        self.hosts = hosts
        self.ends: list[TcpConnection] = list(self.network.connect(*hosts))
        self.now = self.network.now
        self.written = [bytearray(), bytearray()]
        self.read = [bytearray(), bytearray()]
        self.finished = [False, False]
        self.aborted = False
        self.frames: list[deque] = [deque(), deque()]
        self.rng = random.Random(seed)

    def _collect(self):
        for index, host in enumerate(self.hosts):
            for _, frames in host.stack.frames_to_send(self.now):
                self.frames[index].extend(frames)

    def _deliver(self, index, frames):
        other = self.hosts[1 - index]
        other.stack.receive_frames(other.interface, frames, self.now)
        self._collect()

    @precondition(lambda self: not self.aborted)
    @rule(end=st.integers(0, 1), size=st.integers(1, 20_000))
    def write(self, end, size):
        if not self.finished[end]:
            data = self.rng.randbytes(size)
            self.ends[end].send(data)
            self.written[end] += data
            self._collect()

    @rule(end=st.integers(0, 1))
    def take(self, end):
        self.read[end] += self.ends[end].receive()
        self._collect()

    @precondition(lambda self: not self.aborted)
    @rule(end=st.integers(0, 1))
    def finish(self, end):
        self.ends[end].send_eof()
        self.finished[end] = True
        self._collect()

    @rule(end=st.integers(0, 1), count=st.integers(1, 30))
    def deliver(self, end, count):
        queue = self.frames[end]
        self._deliver(end, [queue.popleft() for _ in range(min(count, len(queue)))])

    @rule(end=st.integers(0, 1))
    def lose(self, end):
        if self.frames[end]:
            self.frames[end].popleft()

    @rule(end=st.integers(0, 1))
    def repeat(self, end):
        if self.frames[end]:
            self.frames[end].append(self.frames[end][0])

    @rule(end=st.integers(0, 1))
    def shuffle(self, end):
        frames = list(self.frames[end])
        self.rng.shuffle(frames)
        self.frames[end] = deque(frames)

    @rule(seconds=st.sampled_from((0.001, 0.05, 0.3, 2.0)))
    def wait(self, seconds):
        self.now += seconds
        for host in self.hosts:
            at = host.stack.next_timer()
            if at is not None and at <= self.now:
                host.stack.handle_timer(self.now)
        self._collect()

    @invariant()
    def what_is_read_was_written(self):
        for end in range(2):
            written = self.written[1 - end]
            assert written[: len(self.read[end])] == self.read[end]
            info = self.ends[end].info()
            assert 0 <= info.in_flight <= len(self.written[end]) + 2
            assert info.unacked + info.unsent <= len(self.written[end]) + 2
            if self.ends[end].eof_received and not self.ends[end].info().unread:
                assert self.read[end] == written
                assert self.finished[1 - end]

    def teardown(self):
        """When the wire heals, everything arrives."""
        if not hasattr(self, "ends"):
            return
        for end in range(2):
            self.ends[end].send_eof()
        for _ in range(2000):
            self._collect()
            for end in range(2):
                self._deliver(end, list(self.frames[end]))
                self.frames[end].clear()
                self.read[end] += self.ends[end].receive()
            if all(connection.eof_received for connection in self.ends) and not any(self.frames):
                break
            times = [at for host in self.hosts if (at := host.stack.next_timer()) is not None]
            self.now = max(self.now + 0.001, min(times, default=self.now))
            for host in self.hosts:
                host.stack.handle_timer(self.now)
        assert [bytes(data) for data in self.read] == [bytes(self.written[1]), bytes(self.written[0])]
        assert all(connection.error is None for connection in self.ends)


TwoEnds.TestCase.settings = settings(
    max_examples=40, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestTwoEnds = TwoEnds.TestCase
