"""The rules engine: which frames a network lets pass. vl2.md 6.

A table is compiled once per configuration into closures over the frame; what a verdict can depend on decides
whether it may be remembered for a flow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import IntEnum
from typing import Final, TypeAlias

from zt_async.types import NodeAddress
from zt_async.wire.rules import Rule, RuleType

IPV4: Final = 0x0800
IPV6: Final = 0x86DD
MAX_REMEMBERED: Final = 4096

_MULTICAST: Final = 1 << 62
_BROADCAST: Final = 1 << 61
_INBOUND: Final = 1 << 63
_HEADERS_TO_SKIP: Final = (0, 43, 60, 135)
_PORT_PROTOCOLS: Final = (6, 17, 132, 136)


class Verdict(IntEnum):
    """What a table says of a frame."""

    NO_MATCH = 0
    DROP = 1
    ACCEPT = 2
    SUPER_ACCEPT = 3
    """Delivered whatever the MACs are: we are the target of a copy."""


class Packet:
    """A frame under evaluation, with what the matches ask for worked out when they ask."""

    __slots__ = ("_transport", "destination", "ethertype", "inbound", "payload", "source", "to_mac")

    def __init__(
        self, payload: bytes, ethertype: int, to_mac: int, source: int, destination: int, inbound: bool
    ) -> None:
        self.payload = payload
        self.ethertype = ethertype
        self.to_mac = to_mac
        self.source = source
        self.destination = destination
        self.inbound = inbound
        self._transport: tuple[int, int] | None = None

    def transport(self) -> tuple[int, int]:
        """IP protocol and offset of its header; (-1, 0) where there is none (vl2.md 6.4)."""
        if self._transport is None:
            self._transport = self._find_transport()
        return self._transport

    def _find_transport(self) -> tuple[int, int]:
        payload = self.payload
        if self.ethertype == IPV4 and len(payload) >= 20:
            return payload[9], (payload[0] & 0x0F) * 4
        if self.ethertype == IPV6 and len(payload) >= 40:
            protocol, offset = payload[6], 40
            while protocol in _HEADERS_TO_SKIP:
                if offset + 8 > len(payload):
                    return -1, 0
                protocol, offset = payload[offset], offset + payload[offset + 1] * 8 + 8
            return (protocol, offset) if offset <= len(payload) else (-1, 0)
        return -1, 0

    def characteristics(self) -> int:
        """The bits of vl2.md 6.4 that need no credentials."""
        bits = _INBOUND if self.inbound else 0
        if self.to_mac >> 40 & 1:
            bits |= _MULTICAST
            if self.to_mac == 0xFFFFFFFFFFFF:
                bits |= _BROADCAST
        protocol, offset = self.transport()
        if protocol == 6 and len(self.payload) >= offset + 14:
            bits |= self.payload[offset + 13] | (self.payload[offset + 12] & 0x0F) << 8
        return bits


_Match: TypeAlias = Callable[[Packet], bool | None]
"""True or False, which NOT inverts; None where the match does not apply, which is false even with NOT."""


def _ip_protocol(wanted: int) -> _Match:
    def match(packet: Packet) -> bool | None:
        protocol = packet.transport()[0]
        return None if protocol < 0 else protocol == wanted

    return match


def _ethertype(wanted: int) -> _Match:
    return lambda packet: packet.ethertype == wanted


def _destination_port(low: int, high: int) -> _Match:
    def match(packet: Packet) -> bool | None:
        protocol, offset = packet.transport()
        if protocol < 0:
            return None
        if protocol not in _PORT_PROTOCOLS or len(packet.payload) <= offset + 4:
            return False
        port = int.from_bytes(packet.payload[offset + 2 : offset + 4], "big")
        return low <= port <= high and not (packet.ethertype == IPV6 and port == 0)

    return match


def _characteristics(mask: int) -> _Match:
    return lambda packet: bool(packet.characteristics() & mask)


_MATCHES: Final[dict[int, Callable[..., _Match]]] = {
    RuleType.MATCH_IP_PROTOCOL: _ip_protocol,
    RuleType.MATCH_ETHERTYPE: _ethertype,
    RuleType.MATCH_IP_DEST_PORT_RANGE: _destination_port,
    RuleType.MATCH_CHARACTERISTICS: _characteristics,
}

_Step: TypeAlias = tuple[Rule, _Match | None]
_COPIES: Final = (RuleType.ACTION_TEE, RuleType.ACTION_WATCH, RuleType.ACTION_REDIRECT)


class RuleTable:
    """A table of rules, compiled for the member ``own``."""

    def __init__(self, rules: Iterable[Rule], own: NodeAddress) -> None:
        self._own = own
        self._steps: list[_Step] = [
            (rule, _MATCHES[rule.type](*rule.operand) if rule.type in _MATCHES else None) for rule in rules
        ]
        self._remembered: tuple[dict[bytes, Verdict], dict[bytes, Verdict]] = ({}, {})
        self._by_flow = all(rule.type not in _COPIES for rule, _ in self._steps)

    def check(
        self, payload: bytes, ethertype: int, to_mac: int, source: int, destination: int, inbound: bool
    ) -> Verdict:
        """The verdict on a frame; for TCP over plain IPv6 that of an equal packet before it (vl2.md 6.3)."""
        if not (self._by_flow and ethertype == IPV6 and len(payload) >= 60 and payload[6] == 6):
            return self._evaluate(Packet(payload, ethertype, to_mac, source, destination, inbound))
        # All that these rules can look at in such a packet: the destination port and the flags.
        flow = payload[42:44] + payload[52:54]
        remembered = self._remembered[inbound]
        verdict = remembered.get(flow)
        if verdict is None or to_mac >> 40 & 1:
            verdict = self._evaluate(Packet(payload, ethertype, to_mac, source, destination, inbound))
            if len(remembered) >= MAX_REMEMBERED:
                remembered.clear()
            if not to_mac >> 40 & 1:
                remembered[flow] = verdict
        return verdict

    def _evaluate(self, packet: Packet) -> Verdict:
        holds = True
        super_accept = False
        for rule, match in self._steps:
            if match is not None:
                if not holds and not rule.alternative:
                    continue
                result = match(packet)
                matched = result is not None and result != rule.inverted
                holds = holds or matched if rule.alternative else holds and matched
                continue
            ours = rule.type in _COPIES and rule.operand[0] == self._own
            if not holds:
                super_accept |= packet.inbound and ours
                holds = True
            elif rule.type == RuleType.ACTION_ACCEPT:
                return Verdict.SUPER_ACCEPT if super_accept else Verdict.ACCEPT
            elif rule.type == RuleType.ACTION_DROP:
                return Verdict.DROP
            elif rule.type == RuleType.ACTION_BREAK:
                return Verdict.NO_MATCH
            elif ours and packet.inbound and rule.operand[0] != packet.source:
                return Verdict.SUPER_ACCEPT
        return Verdict.NO_MATCH
