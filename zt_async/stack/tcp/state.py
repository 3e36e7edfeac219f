"""The states of a connection and the moves between them that do not depend on anything else (RFC 9293 3.3.2)."""

from __future__ import annotations

from enum import Enum


class State(Enum):
    """RFC 9293 section 3.3.2."""

    CLOSED = "CLOSED"
    LISTEN = "LISTEN"
    SYN_SENT = "SYN-SENT"
    SYN_RECEIVED = "SYN-RECEIVED"
    ESTABLISHED = "ESTABLISHED"
    FIN_WAIT_1 = "FIN-WAIT-1"
    FIN_WAIT_2 = "FIN-WAIT-2"
    CLOSE_WAIT = "CLOSE-WAIT"
    CLOSING = "CLOSING"
    LAST_ACK = "LAST-ACK"
    TIME_WAIT = "TIME-WAIT"


AFTER_OWN_FIN = {State.ESTABLISHED: State.FIN_WAIT_1, State.CLOSE_WAIT: State.LAST_ACK}
"""The application sends no more."""

AFTER_FIN_ACKED = {
    State.FIN_WAIT_1: State.FIN_WAIT_2,
    State.CLOSING: State.TIME_WAIT,
    State.LAST_ACK: State.CLOSED,
}
"""The peer has all that was sent, and knows that it is all."""

AFTER_PEER_FIN = {
    State.ESTABLISHED: State.CLOSE_WAIT,
    State.FIN_WAIT_1: State.CLOSING,
    State.FIN_WAIT_2: State.TIME_WAIT,
}
"""The peer sends no more; an acknowledgement of the own FIN in the same segment has been counted before."""

HANDSHAKE = frozenset((State.SYN_SENT, State.SYN_RECEIVED))
MAY_SEND = frozenset((State.SYN_SENT, State.SYN_RECEIVED, State.ESTABLISHED, State.CLOSE_WAIT))
"""The application may still queue data."""
MAY_RECEIVE = frozenset((State.ESTABLISHED, State.FIN_WAIT_1, State.FIN_WAIT_2))
"""The peer may still send data."""
