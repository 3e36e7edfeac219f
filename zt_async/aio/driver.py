"""The only pump: feeds the core what arrived, carries out what it made, and keeps its one timer. DESIGN 3."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol, cast

from zt_async.aio.udp import Udp
from zt_async.crypto.identity import Identity
from zt_async.events import Event
from zt_async.node import Node as Core
from zt_async.types import Endpoint

logger = logging.getLogger("zt_async.aio")


class ReadyOwner(Protocol):
    """What stands between a socket of the stack and its application."""

    def on_ready(self) -> None:
        """The socket's state has changed: look at it."""


class Driver:
    """Runs a node core on an event loop. Every entry ends in one pump, however many datagrams it brought."""

    def __init__(
        self,
        core: Core,
        loop: asyncio.AbstractEventLoop,
        on_event: Callable[[Event], None],
        on_failure: Callable[[Exception], None],
    ) -> None:
        self.core = core
        self.loop = loop
        self._on_event = on_event
        self._on_failure = on_failure
        self._udp: Udp | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = float("inf")
        self._scheduled: asyncio.Handle | None = None
        self._pumping = False
        self._validations: set[asyncio.Future[bool]] = set()
        self._stopped = False

    def start(self, udp: Udp) -> None:
        """Open the sockets and begin to carry datagrams. Raises PortUnavailable."""
        udp.open(self.on_datagrams, self.pump)
        self._udp = udp
        self.sockets_changed()
        self.pump()

    def sockets_changed(self) -> None:
        """Tell the core at which addresses of this host it can be met."""
        if self._udp is not None:
            self.core.vl1.local_endpoints = tuple(self._udp.sockets.values())

    def stop(self) -> None:
        """Carry nothing any more."""
        self._stopped = True
        for handle in (self._timer, self._scheduled):
            if handle is not None:
                handle.cancel()
        for validation in self._validations:
            validation.cancel()

    def now(self) -> float:
        return self.loop.time()

    # Entries

    def on_datagrams(self, socket: int, remote: Endpoint, datagrams: list[bytes]) -> None:
        """Take a batch that arrived; the pump runs when the socket is drained."""
        self.core.receive_datagrams(socket, remote, datagrams, self.loop.time())

    def schedule(self) -> None:
        """Pump soon: what an application does in one go leaves in one flight."""
        if self._scheduled is None and not self._stopped and not self._pumping:
            self._scheduled = self.loop.call_soon(self.pump)

    def _on_timer(self) -> None:
        self._timer = None
        # A loop may call early by its clock's resolution; the deadline itself must not be missed.
        now = max(self._timer_at, self.loop.time())
        self._timer_at = float("inf")
        self.core.handle_timer(now)
        self.pump()

    # The pump

    def pump(self) -> None:
        """Carry everything on, until there is nothing more to do at this moment."""
        if self._scheduled is not None:
            self._scheduled.cancel()
            self._scheduled = None
        if self._stopped or self._pumping or self._udp is None:
            return
        self._pumping = True
        core = self.core
        try:
            # Applications see what arrived before anything leaves, so that acknowledgements can ride on answers.
            core.take_arrivals(self.loop.time())
            more = True
            while more:
                self._tell_owners()
                flights = core.flights_to_send(self.loop.time())
                if flights:
                    self._udp.send(flights)
                more = core.stack.has_ready
            for event in core.take_events():
                self._on_event(event)
            for identity in core.vl1.take_validations():
                self._validate(identity)
        except Exception as error:
            # A defect of ours must end the node with its reason, not leave it half alive.
            self._on_failure(error)
            raise
        finally:
            self._pumping = False
        self._arm()

    def _tell_owners(self) -> None:
        for socket in self.core.stack.take_ready():
            owner = socket.owner
            if owner is not None:
                cast(ReadyOwner, owner).on_ready()

    def _arm(self) -> None:
        deadline = self.core.next_timer()
        if self._timer is not None:
            if self._timer_at <= deadline:
                return  # deadlines move away with each packet; a timer that comes early costs less than a new one
            self._timer.cancel()
        self._timer_at = deadline
        self._timer = self.loop.call_at(max(deadline, self.loop.time()), self._on_timer)

    # Proofs of work

    def _validate(self, identity: Identity) -> None:
        """Check an identity in a worker, because it takes milliseconds to seconds."""
        future = self.loop.run_in_executor(None, identity.validate)
        self._validations.add(future)

        def done(future: asyncio.Future[bool]) -> None:
            self._validations.discard(future)
            if not self._stopped and not future.cancelled():
                self.core.vl1.validated(identity, future.result(), self.loop.time())
                self.pump()

        future.add_done_callback(done)
