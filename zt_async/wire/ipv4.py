"""IPv4 headers (RFC 791)."""

from __future__ import annotations

BROADCAST = b"\xff" * 4
ALL_SYSTEMS = bytes((224, 0, 0, 1))
