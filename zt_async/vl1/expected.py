"""Which packets of ours may be answered: only such an OK has any effect. vl1.md 3.5."""

from __future__ import annotations

from typing import Final, NamedTuple

from zt_async.types import Endpoint

MAX_EXPECTED: Final = 8192
EXPIRY: Final = 60.0  # s


class Question(NamedTuple):
    """A packet that awaits its OK."""

    verb: int
    peer: int
    asked_at: Endpoint
    """Where it was sent: only from there an OK makes a path, so that one replayed from elsewhere makes none."""
    sent: float


class ExpectedReplies:
    """The packet IDs, as they stood on the wire, of what was asked. Bounded in number and time."""

    def __init__(self) -> None:
        self._questions: dict[int, Question] = {}

    def __len__(self) -> int:
        return len(self._questions)

    def add(self, packet_id: int, verb: int, peer: int, endpoint: Endpoint, now: float) -> None:
        if len(self._questions) >= MAX_EXPECTED:
            del self._questions[next(iter(self._questions))]
        self._questions[packet_id] = Question(verb, peer, endpoint, now)

    def match(self, packet_id: int, verb: int, peer: int) -> Question | None:
        """The question that this answers. It stays: copies of a HELLO are answered once for each path."""
        question = self._questions.get(packet_id)
        return question if question and question.verb == verb and question.peer == peer else None

    def expire(self, now: float) -> None:
        for packet_id, question in list(self._questions.items()):
            if now - question.sent < EXPIRY:
                break  # questions are in order of sending
            del self._questions[packet_id]
