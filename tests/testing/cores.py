"""Small cores to run on a simulated network."""

import hashlib
import struct

from zt_async.types import Flight


class Recorder:
    """Takes what comes and sends what it is told to; has no timer."""

    def __init__(self):
        self.received = []
        self.batches = []
        self.outbox = []

    def say(self, remote, *datagrams, socket=0, ttl=None):
        self.outbox.append(Flight(socket, remote, list(datagrams), ttl))

    def receive_datagrams(self, socket, remote, datagrams, now):
        self.batches.append((now, socket, remote, list(datagrams)))
        self.received += datagrams

    def flights_to_send(self, now):
        flights, self.outbox = self.outbox, []
        return flights

    def next_timer(self):
        return None

    def handle_timer(self, now):
        raise AssertionError("it has no timer")


class Echo(Recorder):
    """Sends every datagram back to where it came from."""

    def receive_datagrams(self, socket, remote, datagrams, now):
        super().receive_datagrams(socket, remote, datagrams, now)
        self.say(remote, *datagrams, socket=socket)


class Gossip(Recorder):
    """Every 20 ms sends one of the others a hash over all that it has heard; wants to hear from ``goal``."""

    def __init__(self, context, remotes):
        super().__init__()
        self.context = context
        self.remotes = remotes
        self.state = context.random_bytes(16)
        self.heard = set()
        self.deadline = 0.0

    def receive_datagrams(self, socket, remote, datagrams, now):
        super().receive_datagrams(socket, remote, datagrams, now)
        self.heard.add(remote)
        self.state = hashlib.sha256(self.state + b"".join(datagrams)).digest()

    def next_timer(self):
        return self.deadline

    def handle_timer(self, now):
        assert now >= self.deadline
        self.deadline = now + 0.020
        self.say(self.remotes[self.context.random_below(len(self.remotes))], self.state)


class Transfer(Recorder):
    """Go-back-N: brings ``data`` to the other side over a bad wire, acknowledging what comes in order."""

    SEGMENT = 1000
    WINDOW = 16
    RTO = 0.250

    def __init__(self, remote, data=b""):
        super().__init__()
        self.remote = remote
        self.data = data
        self.acked = 0
        self.sent = 0
        self.got = bytearray()
        self.deadline = None

    def receive_datagrams(self, socket, remote, datagrams, now):
        for datagram in datagrams:
            kind, number = struct.unpack_from("!cI", datagram)
            if kind == b"A" and number > self.acked:
                self.acked = number
                self.sent = max(self.sent, number)
                self.deadline = now + self.RTO
            elif kind == b"D":
                if number == len(self.got):
                    self.got += datagram[5:]
                self.say(remote, struct.pack("!cI", b"A", len(self.got)))

    def flights_to_send(self, now):
        segments = []
        while self.sent < min(len(self.data), self.acked + self.WINDOW * self.SEGMENT):
            segment = self.data[self.sent : self.sent + self.SEGMENT]
            segments.append(struct.pack("!cI", b"D", self.sent) + segment)
            self.sent += len(segment)
        if segments:
            self.say(self.remote, *segments)
            self.deadline = self.deadline or now + self.RTO
        return super().flights_to_send(now)

    def next_timer(self):
        return self.deadline if self.acked < len(self.data) else None

    def handle_timer(self, now):
        self.sent = self.acked
        self.deadline = now + self.RTO
