"""What a network's rules and its members' capabilities say of a frame. vl2.md 6.5 and 6.6."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, NamedTuple, Protocol

from zt_async.context import Context
from zt_async.types import IPAddress, MACAddress, NodeAddress
from zt_async.vl2.config import NetworkConfig
from zt_async.vl2.rules import RuleTable
from zt_async.vl2.rules import Verdict as _TableVerdict
from zt_async.wire.rules import Rule


class Verdict(IntEnum):
    """Whether a frame passes."""

    REFUSED = 0
    ACCEPTED = 1
    SUPER_ACCEPTED = 2
    """Inbound only: delivered whatever the MACs are, because the rules send us a copy of it."""


class Copy(NamedTuple):
    """An EXT_FRAME to send aside, with the MACs and the ethertype of the frame; no filter looks at it again."""

    target: NodeAddress
    flags: int
    """Its flags byte (vl2.md 5.1): TEE, WATCH (to be acknowledged) or REDIRECT."""
    length: int | None
    """It carries ``payload[:length]``; None is all of it."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of a frame. ``copies`` are to be sent even if it is refused: a redirected frame is."""

    verdict: Verdict
    copies: tuple[Copy, ...] = ()


REFUSED: Final = Decision(Verdict.REFUSED)
ACCEPTED: Final = Decision(Verdict.ACCEPTED)
SUPER_ACCEPTED: Final = Decision(Verdict.SUPER_ACCEPTED)


class Granted(Protocol):
    """A capability, for all that a filter knows of it."""

    @property
    def id(self) -> int: ...

    @property
    def rules(self) -> tuple[Rule, ...]: ...


class Remote(Protocol):
    """What is known of the member at the other end; only credentials that are valid now count (vl2.md 4.9)."""

    @property
    def state(self) -> object:
        """Another object (say, a new ``object()``) whenever an answer of the methods below may have changed.

        Verdicts that depend on them are remembered under it.
        """

    def tag(self, tag_id: int) -> int | None:
        """The value of its tag."""

    def capabilities(self) -> Iterable[Granted]:
        """Its capabilities, in whatever order."""

    def owns(self, thing: IPAddress | MACAddress) -> bool:
        """Whether one of its certificates of ownership names this IP or MAC address."""


class Filter:
    """The rules of one applied configuration, compiled, for the member ``own``.

    Made anew for every configuration; ``previous`` is the filter of the one before, whose counts and compiled tables
    go on to live here where the rules are the same.
    """

    def __init__(
        self, config: NetworkConfig, own: NodeAddress, context: Context, previous: Filter | None = None
    ) -> None:
        self._own = own
        self._rules = RuleTable(config.rules, own)

    def outgoing(
        self,
        payload: bytes,
        ethertype: int,
        to_mac: int,
        from_mac: int,
        destination: int,
        remote: Remote | None = None,
        copies: bool = True,
    ) -> Decision:
        """Decide on a frame that we send to the member ``destination``; 0 in the first pass of a multicast.

        ``remote`` is what is known of the destination. Without ``copies`` the decision asks for no TEE or WATCH, but
        still for redirection.
        """
        verdict = self._rules.check(payload, ethertype, to_mac, self._own, destination, False)
        return ACCEPTED if verdict >= _TableVerdict.ACCEPT else REFUSED

    def incoming(
        self,
        payload: bytes,
        ethertype: int,
        to_mac: int,
        from_mac: int,
        source: int,
        remote: Remote | None = None,
    ) -> Decision:
        """Decide on a frame that the member ``source`` sent us; ``remote`` is what is known of it."""
        verdict = self._rules.check(payload, ethertype, to_mac, source, self._own, True)
        if verdict == _TableVerdict.SUPER_ACCEPT:
            return SUPER_ACCEPTED
        return ACCEPTED if verdict == _TableVerdict.ACCEPT else REFUSED
