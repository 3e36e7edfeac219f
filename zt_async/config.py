"""Every setting with its default and unit."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class StackConfig:
    """The TCP/IP stack of a node."""
