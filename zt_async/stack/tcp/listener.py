"""Listening sockets: half-open connections, and established ones that wait to be accepted."""

from __future__ import annotations

from collections import deque

from zt_async.stack.addresses import Address, address_text
from zt_async.stack.host import Host, Socket
from zt_async.stack.ports import Binding, PortTable
from zt_async.stack.tcp.connection import TcpConnection
from zt_async.stack.tcp.options import TcpOptions


class TcpListener(Socket):
    """Made by ``Stack.listen_tcp``. ``take_ready`` names it when there is something to accept."""

    __slots__ = (
        *("_accepted", "_half_open", "_host", "_table", "backlog", "binding", "closed"),
        *("error", "listening", "local", "options"),
    )

    def __init__(
        self,
        host: Host,
        table: PortTable[TcpListener],
        binding: Binding,
        backlog: int,
        options: TcpOptions,
    ) -> None:
        super().__init__()
        self._host = host
        self._table = table
        self._half_open: dict[TcpConnection, None] = {}
        self._accepted: deque[TcpConnection] = deque()
        self.binding = binding
        self.backlog = backlog
        self.options = options
        """Of the connections to come."""
        self.local: Address = (address_text(binding.address), binding.port)
        self.listening = True
        """False: the port is taken, and connections are refused all the same."""
        self.closed = False
        self.error: OSError | None = None
        """Why it was closed from below: ENETDOWN when its interface went."""

    def __repr__(self) -> str:
        return f"<TcpListener {self.local} waiting={len(self._accepted)} half-open={len(self._half_open)}>"

    def accept(self) -> TcpConnection | None:
        """The connection that was established first, or None. It may have ended meanwhile; see its ``error``."""
        if not self._accepted:
            return None
        connection = self._accepted.popleft()
        connection.listener = None
        connection.ready = False
        return connection

    def close(self, error: OSError | None = None) -> None:
        """Listen no more; connections that were not accepted are reset."""
        if self.closed:
            return
        self.closed = True
        self.error = error
        self._table.remove(self.binding, self)
        for connection in [*self._half_open, *self._accepted]:
            connection.listener = None
            connection.abort()
        self._half_open.clear()
        self._accepted.clear()
        if error is not None:
            self._host.mark_ready(self)

    def has_room(self) -> bool:
        """Whether a SYN may be answered: there is no use in it while nobody accepts."""
        return len(self._accepted) < self.backlog

    def add(self, connection: TcpConnection) -> None:
        """A SYN came. Too many half-open connections: the oldest makes room, as the likeliest to be dead."""
        if len(self._half_open) >= self.backlog:
            self._host.counters["tcp half-open dropped"] += 1
            next(iter(self._half_open)).end(None)
        self._half_open[connection] = None
        connection.ready = True  # nobody can look at it before it is accepted

    def established(self, connection: TcpConnection) -> bool:
        """The handshake was completed; False when no more connections may wait."""
        if not self.has_room():
            self._host.counters["tcp accept queue full"] += 1
            return False
        del self._half_open[connection]
        self._accepted.append(connection)
        self._host.mark_ready(self)
        return True

    def forget(self, connection: TcpConnection) -> None:
        """A connection ended before it was accepted. One that was established waits on, with its error."""
        self._half_open.pop(connection, None)
