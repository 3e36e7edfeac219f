"""Identities for tests, because making one takes a good part of a second. Everybody has their secrets."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from zt_async.crypto.identity import Identity


@cache
def _texts() -> list[str]:
    return (files(__package__) / "identities.txt").read_text("ascii").split()


@cache
def throwaway_identity(number: int) -> Identity:
    """The identity with that number, 0 to 127, secret key included. Never use one on a real network."""
    return Identity.parse(_texts()[number])
