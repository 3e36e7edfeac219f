"""Captures that Wireshark and tshark read: classic pcap, Ethernet, times to the nanosecond."""

from __future__ import annotations

import struct
from typing import BinaryIO

from zt_async.testing.host import DEFAULT_TTL, Host
from zt_async.testing.trace import TraceEntry
from zt_async.types import Endpoint

FILE_HEADER = struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 262_144, 1)  # link type 1: Ethernet
RECORD = struct.Struct("<IIII")
IPV4 = struct.Struct("!BBHHHBBH4s4s")
IPV6 = struct.Struct("!IHBB16s16s")
UDP = struct.Struct("!HHHH")


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
    ip_source, ip_destination = source.ip.packed, destination.ip.packed
    length = UDP.size + len(payload)
    pseudo = ip_source + ip_destination + struct.pack("!II", length, 17)
    header = UDP.pack(source.port, destination.port, length, 0)
    header = header[:6] + (_checksum(pseudo + header + payload) or 0xFFFF).to_bytes(2, "big")
    if source.family == 4:
        ethertype = 0x0800
        ip = IPV4.pack(0x45, 0, 20 + length, 0, 0, ttl, 17, 0, ip_source, ip_destination)
        ip = ip[:10] + _checksum(ip).to_bytes(2, "big") + ip[12:]
    else:
        ethertype = 0x86DD
        ip = IPV6.pack(6 << 28, length, 17, ttl, ip_source, ip_destination)
    macs = b"\x02\x00" + ip_destination[-4:] + b"\x02\x00" + ip_source[-4:]
    return b"".join((macs, ethertype.to_bytes(2, "big"), ip, header, payload))


def _checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071) of data that is not all zero."""
    if len(data) % 2:
        data += b"\0"
    return 0xFFFF - (int.from_bytes(data, "big") % 0xFFFF or 0xFFFF)
