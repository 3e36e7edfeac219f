"""Records what passes a host's interface, without tcpdump.

    with Capture(lab["anna"]) as capture:
        ...
    capture.save(Path("anna.pcap"))             # for Wireshark
    for datagram in capture.datagrams(): ...    # to keep an exchange as test data

The kernel carries several datagrams of one sender as one packet where it can; they are recorded one by one,
as on a wire, in frames made up for them.
"""

from __future__ import annotations

import os
import select
import socket
import struct
import threading
import time
from pathlib import Path
from typing import NamedTuple, Self

from zt_async.testing.pcap import PcapWriter, datagram_frame
from zt_async.types import Endpoint

from .namespaces import Namespace

SOL_PACKET, PACKET_VNET_HDR, PACKET_STATISTICS = 263, 15, 6
SO_RCVBUFFORCE = 33
ALL_PROTOCOLS = 3
GSO_UDP = 5
VNET_HEADER = struct.Struct("=BBHHHH")
BUFFER = 64 << 20


class Datagram(NamedTuple):
    """A UDP datagram: when (seconds since 1970), from where, to where, and what."""

    at: float
    source: Endpoint
    target: Endpoint
    payload: bytes


class Capture:
    """A context manager; ``frames`` has (seconds since 1970, Ethernet frame) from its start to its end."""

    def __init__(self, namespace: Namespace, interface: str = "eth0") -> None:
        self._namespace = namespace
        self._interface = interface
        self.frames: list[tuple[float, bytes]] = []
        self.lost = 0

    def __enter__(self) -> Self:
        with self._namespace.entered():
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER)
        except PermissionError:  # only root outside of user namespaces may
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
        self._socket.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
        self._socket.bind((self._interface, ALL_PROTOCOLS))
        self._wake, self._end = os.pipe()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._end)
        self._thread.join()
        os.close(self._wake)
        self.lost = struct.unpack("=II", self._socket.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))[1]
        self._socket.close()

    def _run(self) -> None:
        """Records until the pipe closes, and then what was already there."""
        self._socket.setblocking(False)
        ended = False
        while not ended:
            ready, _, _ = select.select([self._socket.fileno(), self._wake], [], [])
            ended = self._wake in ready
            while True:
                try:
                    data = self._socket.recv(1 << 18)
                except BlockingIOError:
                    break
                _, gso_type, _, gso_size, _, _ = VNET_HEADER.unpack_from(data)
                frame, now = data[VNET_HEADER.size :], time.time()
                parts = split_datagrams(frame, gso_size) if gso_type == GSO_UDP else [frame]
                self.frames.extend((now, part) for part in parts)

    def save(self, path: Path) -> None:
        """Write a pcap file."""
        with path.open("wb") as f:
            writer = PcapWriter(f, epoch_ms=0)
            for at, frame in self.frames:
                writer.write_frame(at, frame)

    def datagrams(self) -> list[Datagram]:
        """The UDP datagrams, leaving out those that IP cut into fragments."""
        read = ((at, parse_datagram(frame)) for at, frame in self.frames)
        return [Datagram(at, *parts) for at, parts in read if parts]


def parse_datagram(frame: bytes) -> tuple[Endpoint, Endpoint, bytes] | None:
    """Source, target and payload of the UDP datagram in an Ethernet frame; None if there is no whole one."""
    version = frame[14] >> 4 if len(frame) >= 42 else 0
    if version == 4 and frame[23] == 17 and not int.from_bytes(frame[20:22], "big") & 0x3FFF:
        family, addresses, offset = socket.AF_INET, (frame[26:30], frame[30:34]), 14 + 4 * (frame[14] & 15)
    elif version == 6 and frame[20] == 17 and len(frame) >= 62:
        family, addresses, offset = socket.AF_INET6, (frame[22:38], frame[38:54]), 54
    else:
        return None
    ports = struct.unpack_from("!HH", frame, offset)
    source, target = (Endpoint(socket.inet_ntop(family, a), p) for a, p in zip(addresses, ports, strict=True))
    return source, target, frame[offset + 8 :]


def split_datagrams(frame: bytes, size: int) -> list[bytes]:
    """The datagrams of ``size`` bytes (the last may be shorter) that a frame carries as one, each in a frame."""
    parts = parse_datagram(frame)
    if not parts:
        return [frame]
    source, target, payload = parts
    return [datagram_frame(source, target, payload[i : i + size]) for i in range(0, len(payload), size)]
