"""Sequence numbers.

Inside the stack they are plain integers that never wrap: the low 32 bits go on the wire, and what comes from the
wire is the number nearest to one that is known (RFC 9293 section 3.4). So ``<`` means earlier everywhere.
"""

from __future__ import annotations

MASK = 0xFFFFFFFF
_HALF = 0x80000000


def unwrap(wire: int, near: int) -> int:
    """The sequence number with the low 32 bits ``wire`` that is nearest to ``near``."""
    return near + ((wire - near + _HALF) & MASK) - _HALF
