"""A network of UDP hosts on simulated time: hours in a second, and the same every time for one seed.

    net = SimNet(seed=7, link=Link(loss=0.1, delay=0.040, jitter=0.010))
    a, b = net.add_host("a"), net.add_host("b")
    net.attach(node_a, a)
    net.attach(node_b, b)
    net.run_until(lambda: node_a.has_direct_path(b_address), timeout=30)

The simulation jumps from event to event. All that happens to one core at one instant reaches it before it is
asked what to send, as a driver does that drains its sockets and then flushes once.
"""

from __future__ import annotations

import asyncio
import heapq
import math
import random
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol, TypeAlias

from zt_async.context import Context
from zt_async.testing.clock import SimClock, seeded_context
from zt_async.testing.host import DEFAULT_TTL, Datagram, Host
from zt_async.testing.link import PERFECT, Link, Wire
from zt_async.testing.topology import Topology
from zt_async.testing.trace import Trace, TraceEntry
from zt_async.types import Endpoint, Flight

HEADERS = {4: 28, 6: 48}  # of IP and UDP
STANDSTILL = 100_000  # rounds of events without time passing

Pass: TypeAlias = Callable[[Datagram, float], Datagram | None]


class Core(Protocol):
    """What can be attached to a host: anything with the verbs of a node's core (DESIGN 3)."""

    def receive_datagrams(
        self, socket: int, remote: Endpoint, datagrams: Sequence[bytes], now: float, /
    ) -> None:
        """Take datagrams that arrived together on a local socket from one remote."""

    def flights_to_send(self, now: float, /) -> list[Flight]:
        """Hand over what has become sendable."""

    def next_timer(self) -> float | None:
        """When ``handle_timer`` wants to be called; None (or infinity) for never."""

    def handle_timer(self, now: float, /) -> None:
        """Do what has become due."""


class _Attached:
    """A core on a host, with the earliest event that will look at its timer."""

    __slots__ = ("core", "host", "timer_event")

    def __init__(self, core: Core, host: Host) -> None:
        self.core = core
        self.host = host
        self.timer_event: float | None = None

    def __repr__(self) -> str:
        return f"<core on {self.host.name}>"


class SimNet(Topology):
    """Hosts, the links between them (see ``Topology``), and the cores that run on them."""

    def __init__(
        self,
        seed: int,
        *,
        link: Link = PERFECT,
        clock: SimClock | None = None,
        trace: bool | int = False,
    ) -> None:
        """Make an empty network.

        ``link`` lies between hosts for which nothing else is set. ``trace=True`` keeps every event in
        ``net.trace``; a number keeps that many.
        """
        super().__init__(random.Random(seed), link)
        self.seed = seed
        self.clock = clock or SimClock()
        self.counts: Counter[str] = Counter()
        """Datagrams by what became of them: sent, delivered, lost, duplicated, ... (``TraceEntry.event``)."""

        self.observers: list[Callable[[TraceEntry], None]] = []
        """Called for every event in a datagram's life."""

        self.trace = Trace(None if trace is True else trace)
        if trace:
            self.observers.append(self.trace)
        self._events: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._event_count = 0
        self._attached: dict[Host, _Attached] = {}
        self._dirty: dict[_Attached, None] = {}
        self._instant = -1.0
        self._rounds = 0  # of events at this instant
        self._stepping = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._loop_timer: asyncio.TimerHandle | None = None

    def context(self, name: str) -> Context:
        """A node's context that follows from the network's seed and ``name`` (give each node its own)."""
        return seeded_context(f"{self.seed}/{name}", self.clock)

    # Cores

    def attach(self, core: Core, host: Host) -> None:
        """Run ``core`` on ``host``: it gets what arrives there, and its flights leave from there."""
        if host.on_datagrams is not None:
            raise ValueError(f"something runs on {host.name} already")
        attached = self._attached[host] = _Attached(core, host)

        def on_datagrams(socket: int, remote: Endpoint, datagrams: list[bytes]) -> None:
            core.receive_datagrams(socket, remote, datagrams, self.clock.now)
            self._dirty[attached] = None

        host.on_datagrams = on_datagrams
        self._touch([attached])

    def detach(self, host: Host) -> None:
        """End what runs on ``host``, at once: what arrives there from now on is dropped."""
        attached = self._attached.pop(host)
        self._dirty.pop(attached, None)
        host.on_datagrams = None

    def wake(self) -> None:
        """Look at every core, as something was called on one from outside. ``run_...`` begins with it."""
        self._touch(self._attached.values())

    def _touch(self, cores: Iterable[_Attached]) -> None:
        """Have cores looked at when the present instant ends."""
        self._dirty.update(dict.fromkeys(cores))
        if not self._stepping:
            self._schedule(self.clock.now, self._collect)
            self._arm_loop()

    def _collect(self) -> None:
        """Send what touched cores have to send, and note their timers."""
        now = self.clock.now
        while self._dirty:
            dirty, self._dirty = self._dirty, {}
            for attached in dirty:
                for flight in attached.core.flights_to_send(now):
                    self.send(attached.host, flight)
                self._set_timer(attached)

    def _set_timer(self, attached: _Attached) -> None:
        deadline = attached.core.next_timer()
        if deadline is None or deadline == math.inf:
            return
        deadline = max(deadline, self.clock.now)
        if attached.timer_event is None or deadline < attached.timer_event:
            attached.timer_event = deadline
            self._schedule(deadline, self._timer, attached, deadline)

    def _timer(self, attached: _Attached, when: float) -> None:
        if attached.timer_event != when or self._attached.get(attached.host) is not attached:
            return
        attached.timer_event = None
        deadline = attached.core.next_timer()
        if deadline is not None and deadline <= self.clock.now:
            attached.core.handle_timer(self.clock.now)
        self._dirty[attached] = None

    # Datagrams

    def send(self, host: Host, flight: Flight) -> None:
        """Send a flight from a host's socket. What cannot leave is counted, as all that is dropped."""
        if not flight.datagrams:
            return
        remote = flight.remote
        family = remote.family
        ttl = DEFAULT_TTL if flight.ttl is None else flight.ttl
        for number in [flight.socket] if flight.socket >= 0 else list(host.sockets):
            local = host.sockets.get(number)
            if local is None or local.family != family:
                if flight.socket >= 0:
                    self.counts["no socket"] += len(flight.datagrams)
                continue
            datagrams = [Datagram(local, remote, payload, ttl) for payload in flight.datagrams]
            host.sent += len(datagrams)
            for datagram in datagrams:
                self._note("sent", datagram)
            if not host.middleboxes:
                self._depart(host, datagrams)
                continue
            for datagram in self._filter(datagrams, [box.outward for box in host.middleboxes]):
                self._depart(host, [datagram])
        self._arm_loop()

    def _note(self, event: str, datagram: Datagram) -> None:
        self.counts[event] += 1
        for observer in self.observers:
            observer(TraceEntry(self.clock.now, event, datagram))

    def _drop(self, reason: str, datagrams: list[Datagram]) -> None:
        for datagram in datagrams:
            self._note(reason, datagram)

    def _filter(self, datagrams: list[Datagram], boxes: list[Pass]) -> list[Datagram]:
        """What is left of datagrams on their way through middleboxes."""
        passed = []
        for datagram in datagrams:
            on_its_way: Datagram | None = datagram
            for box in boxes:
                if on_its_way is not None:
                    on_its_way = box(on_its_way, self.clock.now)
            if on_its_way is None:
                self._note("filtered", datagram)
            else:
                passed.append(on_its_way)
        return passed

    def _depart(self, host: Host, datagrams: list[Datagram]) -> None:
        """Put datagrams of one source and destination on the first wire."""
        source, destination, _, ttl = datagrams[0]
        route = self._route(host, source.host, destination.host)
        if route is None:
            self._drop("no route", datagrams)
            return
        target, wires = route
        if (host, target) in self._cut:
            self._drop("partitioned", datagrams)
        elif wires and ttl <= sum(wire.link.hops for wire in wires):
            self._drop("ttl expired", datagrams)
        elif wires:
            self._carry(target, wires, datagrams)
        else:  # to itself: not before it has finished sending
            self._schedule(self.clock.now, self._arrive, target, datagrams)

    def _carry(self, target: Host, wires: tuple[Wire, ...], datagrams: list[Datagram]) -> None:
        """Take datagrams over the first of ``wires``; those that arrive at one time stay together."""
        if not wires:
            self._arrive(target, datagrams)
            return
        rng = self._rng
        now = self.clock.now
        wire, wires = wires[0], wires[1:]
        link = wire.link
        headers = HEADERS[datagrams[0].destination.family]
        together: list[Datagram] = []
        together_at = -1.0
        for datagram in datagrams:
            copies = 2 if link.duplicate and rng.random() < link.duplicate else 1
            for copy in range(copies):
                fate, arrival = wire.carry(len(datagram.payload) + headers, now, rng)
                if fate:
                    self._note(fate, datagram)
                    continue
                if copy:
                    self.counts["duplicated"] += 1
                passed = datagram
                if link.corrupt and datagram.payload and rng.random() < link.corrupt:
                    self.counts["corrupted"] += 1
                    passed = datagram._replace(payload=_with_a_bit_turned(datagram.payload, rng))
                if arrival != together_at:
                    together = []
                    together_at = arrival
                    self._schedule(arrival, self._carry, target, wires, together)
                together.append(passed)

    def _arrive(self, host: Host, datagrams: list[Datagram]) -> None:
        if not host.middleboxes:
            self._deliver(host, datagrams)
            return
        for datagram in self._filter(datagrams, [box.inward for box in reversed(host.middleboxes)]):
            self._deliver(host, [datagram])

    def _deliver(self, host: Host, datagrams: list[Datagram]) -> None:
        source, destination, _, _ = datagrams[0]
        number = host.socket_at(destination)
        if number is None or host.on_datagrams is None:
            self._drop("no socket", datagrams)
            return
        host.received += len(datagrams)
        for datagram in datagrams:
            self._note("delivered", datagram)
        host.on_datagrams(number, source, [datagram.payload for datagram in datagrams])

    # Time

    def call_at(self, when: float, action: Callable[..., None], *args: Any) -> None:
        """Call ``action`` at a time of the clock; afterwards every core is looked at."""
        self._schedule(when, self._call, action, args)
        self._arm_loop()

    def _call(self, action: Callable[..., None], args: tuple[Any, ...]) -> None:
        action(*args)
        self.wake()

    def _schedule(self, when: float, action: Callable[..., None], *args: Any) -> None:
        self._event_count += 1  # events of one time happen in the order in which they were scheduled
        heapq.heappush(self._events, (when, self._event_count, action, args))

    def _step(self) -> None:
        """Let all happen that is scheduled for the next instant."""
        events = self._events
        when = events[0][0]
        if when > self._instant:
            self._instant = when
            self._rounds = 0
        self._rounds += 1
        self.clock.advance_to(when)
        self._stepping = True
        try:
            if self._rounds > STANDSTILL:
                raise RuntimeError(f"time stands still at {events[0][2].__name__} {events[0][3]}")
            while events and events[0][0] <= when:
                _, _, action, args = heapq.heappop(events)
                action(*args)
            self._collect()
        except Exception as error:
            error.add_note(f"simulated with seed {self.seed}, at {self.clock.now:.6f} s")
            raise
        finally:
            self._stepping = False

    def run_until(self, predicate: Callable[[], object], timeout: float) -> float:
        """Run until ``predicate()`` is true, which is asked after each instant. Returns the seconds it took.

        Raises TimeoutError, which tells the seed, if it is not true within ``timeout`` simulated seconds or
        nothing more will ever happen.
        """
        start = self.clock.now
        self._start()
        while not predicate():
            if not self._events:
                raise TimeoutError(self._failure("nothing is left to happen"))
            if self._events[0][0] > start + timeout:
                self.clock.advance_to(start + timeout)
                raise TimeoutError(self._failure(f"not reached within {timeout} s"))
            self._step()
        return self.clock.now - start

    def run_for(self, seconds: float) -> None:
        """Run for so much simulated time."""
        end = self.clock.now + seconds
        self._start()
        while self._events and self._events[0][0] <= end:
            self._step()
        self.clock.advance_to(end)

    def _start(self) -> None:
        if self._loop is not None and not self._loop.is_closed():
            raise RuntimeError("an event loop drives this network: wait for things there")
        self.wake()

    def _failure(self, what: str) -> str:
        counts = ", ".join(f"{event} {count}" for event, count in sorted(self.counts.items()))
        where = f"seed {self.seed}, simulated time {self.clock.now:.3f} s"
        return f"{what} ({where}; {counts or 'no datagrams'})"

    # On an event loop

    def run_on(self, loop: asyncio.AbstractEventLoop) -> None:
        """Let a loop that runs on this network's clock (``VirtualLoop``) drive it from now on."""
        if self._loop is loop:
            return
        if abs(loop.time() - self.clock.now) > 1e-6:
            raise ValueError("the loop does not run on this network's clock: use VirtualLoop(net.clock)")
        self._loop = loop
        self._loop_timer = None
        self._arm_loop()

    def _arm_loop(self) -> None:
        """Have the loop call for the next event."""
        if self._loop is None or self._stepping or self._loop.is_closed():
            return
        if not self._events:
            return
        when = self._events[0][0]
        if self._loop_timer is not None:
            if self._loop_timer.when() <= when:
                return
            self._loop_timer.cancel()
        self._loop_timer = self._loop.call_at(when, self._run_due)

    def _run_due(self) -> None:
        self._loop_timer = None
        now = self.clock.now + 1e-9  # the loop calls that much early
        try:
            while self._events and self._events[0][0] <= now:
                self._step()
        finally:
            self._arm_loop()

    def __repr__(self) -> str:
        return f"<SimNet seed {self.seed}, {len(self.hosts)} hosts, {self.clock.now:.3f} s>"


def _with_a_bit_turned(payload: bytes, rng: random.Random) -> bytes:
    bit = rng.randrange(len(payload) * 8)
    return (int.from_bytes(payload, "big") ^ 1 << bit).to_bytes(len(payload), "big")
