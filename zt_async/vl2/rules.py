"""The rules engine: what one table says of a frame. vl2.md 6.3."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from typing import Final, NamedTuple

from zt_async.vl2.matches import Looks, Match, Packet, compile_match
from zt_async.wire.rules import Rule, RuleType

_COPIES: Final = (RuleType.ACTION_TEE, RuleType.ACTION_WATCH, RuleType.ACTION_REDIRECT)
_ADDRESS: Final = (1 << 40) - 1
_BUCKETS: Final = 8
_DEFAULT_BUCKET: Final = 4


class Verdict(IntEnum):
    """What a table says of a frame."""

    NO_MATCH = 0
    DROP = 1
    REDIRECT = 2
    ACCEPT = 3
    SUPER_ACCEPT = 4
    """Delivered whatever the MACs are: we are the target of a copy."""


class Outcome(NamedTuple):
    """A verdict, and what else the table asks for."""

    verdict: Verdict
    matched: tuple[int, ...]
    """Entries that held (matches, with NOT considered) or whose set held (actions)."""
    copy_to: int = 0
    """Who gets a copy; 0 is nobody."""
    copy_length: int | None = None
    """The copy has the first so many bytes of the payload; None is all."""
    watch: bool = False
    """The copy is a WATCH, not a TEE."""
    redirect_to: int = 0
    """Where a REDIRECT sends the frame."""
    bucket: int | None = None
    """What a PRIORITY asks for; nothing depends on it."""


class _Step(NamedTuple):
    """An entry, compiled."""

    match: Match | None
    """None for an action."""
    alternative: bool
    otherwise: int
    """Where to go on if the set does not hold: the next entry that can change that."""
    action: int
    target: int
    """Of TEE, WATCH and REDIRECT; -1 otherwise."""
    number: int | None
    """Length of a copy, bucket of a PRIORITY."""


class Table:
    """A compiled table of rules. It belongs to no configuration: what it needs of one comes with the packet."""

    __slots__ = ("_steps", "counts", "looks", "rules")

    def __init__(self, rules: tuple[Rule, ...]) -> None:
        self.rules = rules
        self.counts = [0] * len(rules)
        """Per entry the frames that it matched."""
        self.looks = 0
        """All that the outcome can depend on: bits of ``Looks``."""
        self._steps: list[_Step] = []
        otherwise = len(rules)
        for index in range(len(rules) - 1, -1, -1):
            rule = rules[index]
            self._steps.append(self._compile(rule, otherwise))
            if rule.is_action or rule.alternative:
                otherwise = index
        self._steps.reverse()

    def _compile(self, rule: Rule, otherwise: int) -> _Step:
        kind, operand, _, alternative = rule
        if not rule.is_action:
            match, looks = compile_match(rule)
            self.looks |= looks
            return _Step(match, alternative, otherwise, -1, -1, None)
        target, number = -1, None
        if kind in _COPIES:
            self.looks |= Looks.MEMBER
            target, number = operand[0] & _ADDRESS, operand[2] or None
        elif kind == RuleType.ACTION_PRIORITY:
            bucket = operand[0] if operand else 0
            number = bucket if bucket <= _BUCKETS else _DEFAULT_BUCKET
        return _Step(None, False, otherwise, kind, target, number)

    def evaluate(self, packet: Packet) -> Outcome:
        """The outcome for a frame; what the evaluation of another table left in the packet does not matter."""
        packet.super_accept = packet.skip_drop = False
        steps, inbound, own = self._steps, packet.inbound, packet.local.address
        matched: list[int] = []
        copy_to, copy_length, watch = 0, None, False
        holds = True
        index, end = 0, len(steps)
        while index < end:
            match, alternative, otherwise, action, target, number = steps[index]
            if match is not None:
                if match(packet):
                    matched.append(index)
                    holds = True
                elif not alternative:
                    holds = False
                index = index + 1 if holds else otherwise
                continue
            index += 1
            if not holds:
                holds = True
                if inbound and target == own:
                    packet.super_accept = True
                continue
            matched.append(index - 1)
            match action:
                case RuleType.ACTION_ACCEPT:
                    verdict = Verdict.SUPER_ACCEPT if packet.super_accept else Verdict.ACCEPT
                    return Outcome(verdict, tuple(matched), copy_to, copy_length, watch)
                case RuleType.ACTION_DROP:
                    if not packet.skip_drop:
                        return Outcome(Verdict.DROP, tuple(matched), copy_to, copy_length, watch)
                    packet.skip_drop = False
                case RuleType.ACTION_BREAK:
                    break
                case RuleType.ACTION_PRIORITY:
                    return Outcome(Verdict.ACCEPT, tuple(matched), copy_to, copy_length, watch, bucket=number)
                case RuleType.ACTION_TEE | RuleType.ACTION_WATCH | RuleType.ACTION_REDIRECT:
                    if target == packet.source or (target == own and not inbound):
                        continue
                    if target == own:
                        return Outcome(Verdict.SUPER_ACCEPT, tuple(matched), copy_to, copy_length, watch)
                    if target == packet.destination:
                        continue
                    if action == RuleType.ACTION_REDIRECT:
                        return Outcome(Verdict.REDIRECT, tuple(matched), copy_to, copy_length, watch, target)
                    copy_to, copy_length, watch = target, number, action == RuleType.ACTION_WATCH
        return Outcome(Verdict.NO_MATCH, tuple(matched), copy_to, copy_length, watch)

    def count(self, matched: Iterable[int], frames: int) -> None:
        """Add frames to the counts of the entries they matched."""
        counts = self.counts
        for index in matched:
            counts[index] += frames
