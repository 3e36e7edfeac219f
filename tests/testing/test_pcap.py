import io
import struct

import pytest

from tests.testing.cores import Echo, Recorder
from zt_async.testing import Capture, Link, PcapWriter, SimNet, datagram_frame
from zt_async.types import Endpoint


def ones_complement_sum(data):
    """RFC 1071 as it is written: 16-bit words, carries folded in."""
    total = 0
    for (word,) in struct.iter_unpack("!H", data + b"\0" * (len(data) % 2)):
        total += word
        total = (total & 0xFFFF) + (total >> 16)
    return total


def records(capture):
    data = capture.getvalue()
    assert data[:24].hex() == "4d3cb2a1020004000000000000000000000004000100" + "0000"
    offset = 24
    while offset < len(data):
        seconds, nanoseconds, size, original = struct.unpack_from("<IIII", data, offset)
        assert size == original
        yield seconds, nanoseconds, data[offset + 16 : offset + 16 + size]
        offset += 16 + size


@pytest.mark.parametrize("payload", [b"", b"a", b"hello", bytes(1400), b"\xff" * 1473])
@pytest.mark.parametrize(("a", "b"), [("10.1.2.3", "192.168.0.9"), ("fd00::1", "2001:db8::2:3")])
def test_frames_have_right_lengths_and_checksums(a, b, payload):
    source, destination = Endpoint(a, 9993), Endpoint(b, 40000)
    frame = datagram_frame(source, destination, payload, ttl=7)
    if source.family == 4:
        assert frame[12:14].hex() == "0800"
        ip, udp = frame[14:34], frame[34:]
        assert ones_complement_sum(ip) == 0xFFFF
        version, length, ttl, protocol = ip[0], int.from_bytes(ip[2:4], "big"), ip[8], ip[9]
        assert (version, length, ttl, protocol) == (0x45, 20 + len(udp), 7, 17)
        addresses = ip[12:20]
    else:
        assert frame[12:14].hex() == "86dd"
        ip, udp = frame[14:54], frame[54:]
        assert struct.unpack_from("!IHBB", ip) == (6 << 28, len(udp), 17, 7)
        addresses = ip[8:40]
    assert addresses == source.ip.packed + destination.ip.packed
    assert struct.unpack_from("!HHH", udp) == (9993, 40000, len(udp))
    assert udp[8:] == payload
    assert ones_complement_sum(addresses + struct.pack("!II", len(udp), 17) + udp) == 0xFFFF


def test_a_udp_checksum_is_never_sent_as_zero():
    source, destination = Endpoint("10.0.0.1", 1), Endpoint("10.0.0.2", 2)
    checksums = {
        datagram_frame(source, destination, word.to_bytes(2, "big"))[40:42] for word in range(0x10000)
    }
    assert bytes(2) not in checksums
    assert b"\xff\xff" in checksums


def test_times_are_exact_to_the_nanosecond():
    file = io.BytesIO()
    writer = PcapWriter(file, epoch_ms=1_700_000_000_123)
    writer.write_frame(86400.000000001, b"frame")
    assert list(records(file)) == [(1_700_086_400, 123_000_001, b"frame")]


def test_a_capture_on_a_host_sees_what_it_sends_and_receives():
    net = SimNet(1, link=Link(delay=0.25))
    a, b, c = (net.add_host(name) for name in "abc")
    core = Recorder()
    net.attach(core, a)
    net.attach(Echo(), b)
    net.attach(Echo(), c)
    everything, on_b = io.BytesIO(), io.BytesIO()
    net.observers += [Capture(everything), Capture(on_b, b)]
    core.say(b.sockets[0], b"to b")
    core.say(c.sockets[0], b"to c")
    core.say(Endpoint("10.77.0.1", 1), b"lost")
    net.run_for(1)
    seen = [(nanoseconds, frame[42:]) for _, nanoseconds, frame in records(on_b)]
    assert seen == [(250_000_000, b"to b"), (250_000_000, b"to b")]
    assert sorted(frame[42:] for _, _, frame in records(everything)) == [
        b"lost", b"to b", b"to b", b"to c", b"to c"
    ]  # fmt: skip
