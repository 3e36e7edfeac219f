"""Captures that Wireshark and tshark read: classic pcap, Ethernet, times to the nanosecond."""

from __future__ import annotations

import struct
from typing import BinaryIO

from zt_async.testing.host import DEFAULT_TTL, Host
from zt_async.testing.trace import TraceEntry
from zt_async.types import Endpoint
from zt_async.wire import ethernet, ip, ipv4, ipv6, udp

FILE_HEADER = struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 262_144, 1)  # link type 1: Ethernet
RECORD = struct.Struct("<IIII")


class PcapWriter:
    """Writes frames to a binary file, which stays the caller's to close."""

    def __init__(self, file: BinaryIO, epoch_ms: int = 1_700_000_000_000) -> None:
        """``epoch_ms`` is the Unix time of time 0, as in ``SimClock``."""
        self._file = file
        self._epoch_ns = epoch_ms * 1_000_000
        file.write(FILE_HEADER)

    def write_frame(self, time: float, frame: bytes) -> None:
        """An Ethernet frame, from the destination MAC to the end of its payload."""
        seconds, nanoseconds = divmod(self._epoch_ns + round(time * 1e9), 10**9)
        self._file.write(RECORD.pack(seconds, nanoseconds, len(frame), len(frame)) + frame)

    def write_datagram(
        self, time: float, source: Endpoint, destination: Endpoint, payload: bytes, ttl: int = DEFAULT_TTL
    ) -> None:
        """A UDP datagram, in an IP packet and a frame made up for it."""
        self.write_frame(time, datagram_frame(source, destination, payload, ttl))


class Capture:
    """Observes a SimNet as a packet sniffer does: ``net.observers.append(Capture(file))``."""

    def __init__(self, file: BinaryIO, host: Host | None = None) -> None:
        """Capture on one host what it sends and receives; without one, all that any host sends."""
        self._writer = PcapWriter(file)
        self._host = host

    def __call__(self, entry: TraceEntry) -> None:
        datagram = entry.datagram
        if entry.event == "sent":
            end = datagram.source
        elif entry.event == "delivered" and self._host is not None:
            end = datagram.destination
        else:
            return
        if self._host is None or self._host.socket_at(end) is not None:
            self._writer.write_datagram(
                entry.time, datagram.source, datagram.destination, datagram.payload, datagram.ttl
            )


def datagram_frame(source: Endpoint, destination: Endpoint, payload: bytes, ttl: int = DEFAULT_TTL) -> bytes:
    """An Ethernet frame with a UDP datagram in it. The MACs are made from the IP addresses."""
    here, there = source.ip.packed, destination.ip.packed
    pseudo_sum = ip.pseudo_header_sum(here, there, ip.UDP)
    datagram = udp.Datagram(source.port, destination.port, payload).encode(pseudo_sum)
    header: ipv4.Header | ipv6.Header
    if source.family == 4:
        header = ipv4.Header(here, there, ip.UDP, len(datagram), ttl, dont_fragment=False)
    else:
        header = ipv6.Header(here, there, ip.UDP, len(datagram), ttl)
    return ethernet.encode((_mac(there), _mac(here), ip.ethertype(here), header.encode() + datagram))


def _mac(address: bytes) -> int:
    return int.from_bytes(b"\x02\x00" + address[-4:], "big")
