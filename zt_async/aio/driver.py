"""The only pump: feeds the core what arrived, carries out what it made, and keeps its one timer. DESIGN 3."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Protocol, cast

from zt_async.aio.udp import Udp
from zt_async.crypto.identity import Identity
from zt_async.events import Event
from zt_async.node import Node as Core
from zt_async.stack.host import Socket
from zt_async.types import Endpoint

MAX_ROUNDS = 16  # of one pump, so that two ends within one node that never tire leave the loop to others


class Owner(Protocol):
    """What stands between a socket of the stack and its application."""

    @property
    def is_draining(self) -> bool:
        """The application has closed it, and data of it is still under way."""

    def on_ready(self) -> None:
        """The socket has changed: look at it."""

    def end(self, error: Exception) -> None:
        """The node comes to its end: close at once, and tell the application why."""


class Driver:
    """Runs a node core on an event loop. Every entry ends in one pump, however many datagrams it brought."""

    def __init__(
        self,
        core: Core,
        udp: Udp,
        on_event: Callable[[Event], None],
        on_failure: Callable[[Exception], None],
    ) -> None:
        """``on_failure`` is told of a defect: of what the core raised, which is to raise nothing."""
        self.core = core
        self.loop = asyncio.get_running_loop()
        self.now = _clock(self.loop)
        """The time that the core is given, in seconds."""
        self._udp = udp
        self._on_event = on_event
        self._on_failure = on_failure
        self._owners: dict[Owner, None] = {}
        self._lingering: dict[Owner, None] = {}
        self._drained: tuple[dict[Owner, None], asyncio.Future[None]] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._scheduled: asyncio.Handle | None = None
        self._pumping = False
        self._validations: set[asyncio.Future[bool]] = set()
        self._stopped = False
        self.ended: Exception | None = None
        """Why the node stops: that connections break is no news then."""
        self.collectors: list[Callable[[], None]] = []
        """Called in each pump before and after sending, to fetch from the core what is not for its sockets."""

    def start(self) -> None:
        """Open the UDP sockets. Raises PortUnavailable."""
        self._udp.open(self._on_datagrams, self.pump)
        self.sockets_changed()

    def sockets_changed(self) -> None:
        """Tell the core at which addresses of this host it can be met."""
        self.core.vl1.use_sockets(self._udp.sockets, self.now())

    def stop(self) -> None:
        """Carry nothing any more."""
        self._stopped = True
        for handle in (self._timer, self._scheduled):
            if handle is not None:
                handle.cancel()
        for validation in self._validations:
            validation.cancel()
        self._udp.close()

    # What the application has open

    def add(self, owner: Owner) -> None:
        self._owners[owner] = None
        if self.ended is not None:
            self.loop.call_soon(self.call, owner.end, self.ended)

    def linger(self, owner: Owner) -> None:
        """The application has no more to do with it; that it was closed has yet to get across."""
        del self._owners[owner]
        self._lingering[owner] = None
        self._check_drained()

    def remove(self, owner: Owner) -> None:
        self._owners.pop(owner, None)
        self._lingering.pop(owner, None)
        self._check_drained()

    def end(self, error: Exception, *, draining: bool) -> None:
        """End all that is open; what is draining only if ``draining`` says so."""
        self.ended = error
        for owner in list(self._owners):
            if draining or not owner.is_draining:
                self.call(owner.end, error)

    async def drain(self, data_timeout: float, end_timeout: float) -> None:
        """Give what was closed the time to get across: first the data, then the news that no more comes."""
        for waiting, timeout in ((self._owners, data_timeout), (self._lingering, end_timeout)):
            if waiting:
                self._drained = waiting, self.loop.create_future()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(timeout):
                        await self._drained[1]

    def _check_drained(self) -> None:
        if self._drained is not None:
            waiting, done = self._drained
            if not waiting and not done.done():
                done.set_result(None)

    async def wait(self, socket: Socket, is_done: Callable[[], bool]) -> None:
        """Wait until ``is_done``, which is asked whenever the socket changes; what it raises is raised here."""
        waiter = _Waiter(self.loop)
        socket.owner = waiter
        self.add(waiter)
        self.schedule()
        try:
            while not is_done():
                await waiter.wait()
        finally:
            socket.owner = None
            self.remove(waiter)

    # Entries

    def _on_datagrams(self, socket: int, remote: Endpoint, datagrams: list[bytes]) -> None:
        """Take a batch that arrived; the pump runs when the socket is drained."""
        if not self._stopped:
            self.call(self.core.receive_datagrams, socket, remote, datagrams, self.now())

    def schedule(self) -> None:
        """Pump soon: what an application does in one go leaves in one flight."""
        if self._scheduled is None and not self._stopped and not self._pumping:
            self._scheduled = self.loop.call_soon(self.pump)

    def flush(self) -> None:
        """Send at once what a connection was given that had nothing under way; nobody is told anything meanwhile.

        Waiting for the next turn of the loop would only add to the round trip.
        """
        if self._scheduled is None and not self._stopped and not self._pumping:
            self._pumping = True
            try:
                self.call(self._flush)
            finally:
                self._pumping = False

    def _flush(self) -> None:
        flights = self.core.flights_to_send(self.now())
        if flights:
            self._udp.send(flights)
        if self.core.stack.has_ready:
            self._scheduled = self.loop.call_soon(self.pump)
        self._arm()

    def _on_timer(self) -> None:
        self._timer = None
        # A loop may call early by its clock's resolution; the deadline itself must not be missed.
        self.call(self.core.handle_timer, max(self._timer_at, self.now()))
        self.pump()

    def call(self, work: Callable[..., object], *arguments: object) -> None:
        """Every way into the core: a defect ends the node with its reason, rather than leave it half alive."""
        try:
            work(*arguments)
        except Exception as error:
            self.loop.call_exception_handler(
                {
                    "message": f"Node {self.core.address} fails: this is a defect of zt_async.",
                    "exception": error,
                }
            )
            self._on_failure(error)

    # The pump

    def pump(self) -> None:
        """Carry everything on, until there is nothing more to do at this moment."""
        if self._scheduled is not None:
            self._scheduled.cancel()
            self._scheduled = None
        if self._stopped or self._pumping:
            return
        self._pumping = True
        try:
            self.call(self._pump)
        finally:
            self._pumping = False

    def _pump(self) -> None:
        core, udp = self.core, self._udp
        # Applications see what arrived before anything leaves, so that acknowledgements can ride on answers.
        core.take_arrivals(self.now())
        for _ in range(MAX_ROUNDS):
            for socket in core.stack.take_ready():
                if socket.owner is not None:
                    cast("Owner", socket.owner).on_ready()
            self._collect()
            flights = core.flights_to_send(self.now())
            if flights:
                udp.send(flights)
            if not core.stack.has_ready:
                break
        else:
            self._scheduled = self.loop.call_soon(self.pump)
        for event in core.take_events():
            self._on_event(event)
        self._collect()
        for identity in core.vl1.take_validations():
            self._validate(identity)
        self._arm()

    def _collect(self) -> None:
        for collect in self.collectors:
            collect()

    def _arm(self) -> None:
        deadline = self.core.next_timer()
        if self._timer is not None:
            if self._timer_at <= deadline:
                return  # deadlines move away with each packet; a timer that comes early costs less than a new one
            self._timer.cancel()
        self._timer_at = deadline
        self._timer = self.loop.call_later(max(deadline - self.now(), 0.0), self._on_timer)

    # Proofs of work

    def _validate(self, identity: Identity) -> None:
        """Check an identity in a worker, because it takes milliseconds to seconds."""
        future = self.loop.run_in_executor(None, identity.validate)
        self._validations.add(future)

        def done(future: asyncio.Future[bool]) -> None:
            self._validations.discard(future)
            if not self._stopped and not future.cancelled():
                self.call(lambda: self.core.vl1.validated(identity, future.result(), self.now()))
                self.pump()

        future.add_done_callback(done)


class _Waiter:
    """Owns a socket for as long as a coroutine waits for it."""

    is_draining = False

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._woken: asyncio.Future[None] | None = None
        self._error: Exception | None = None

    async def wait(self) -> None:
        """Wait for the next ``on_ready``. Raises what ended the node."""
        self._woken = self._loop.create_future()
        await self._woken
        if self._error is not None:
            raise self._error

    def on_ready(self) -> None:
        if self._woken is not None and not self._woken.done():
            self._woken.set_result(None)

    def end(self, error: Exception) -> None:
        self._error = error
        self.on_ready()


def _clock(loop: asyncio.AbstractEventLoop) -> Callable[[], float]:
    """The loop's clock; but uvloop's stands still while callbacks run, which no round trip can be measured with."""
    return time.monotonic if type(loop).__module__.startswith("uvloop") else loop.time
