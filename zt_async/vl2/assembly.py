"""Putting the chunks of a network's configuration together. vl2.md 2.6."""

from __future__ import annotations

from typing import Final, NamedTuple

from zt_async.crypto.credentials import verify_chunk
from zt_async.crypto.identity import Identity
from zt_async.errors import DecodeError
from zt_async.types import NodeAddress
from zt_async.wire.config_chunks import CHUNK_FAST, ConfigChunk
from zt_async.wire.network_config import MAX_CONFIG

MAX_SLOTS: Final = 3
"""Configurations that may be under way at a time."""
MAX_CHUNKS: Final = MAX_CONFIG // 1024 + 1


class Assembled(NamedTuple):
    """What a chunk did that was not known before."""

    update_id: int
    dictionary: bytes | None
    """The whole text, if it is complete now."""
    forward: bool
    """The chunk is to be passed on to all members."""


class _Update:
    """A configuration under way; ``seen`` stays when it is complete, so that late copies of chunks are known."""

    __slots__ = ("parts", "seen", "size", "total")

    def __init__(self, total: int) -> None:
        self.total = total
        self.size = 0
        self.parts: dict[int, bytes] = {}
        self.seen: set[int] = set()


class ConfigAssembly:
    """The configurations of one network that are under way."""

    __slots__ = ("_updates",)

    def __init__(self) -> None:
        self._updates: dict[int, _Update] = {}  # the least recently used first

    def add(
        self, chunk: ConfigChunk, source: NodeAddress, controller: Identity, packet_id: int
    ) -> Assembled | None:
        """Take a chunk that came from ``source``; None if it is known already.

        Raises DecodeError if it is not the controller's. Anybody may pass on what the controller signed; an
        unsigned configuration, whose ID is that of its packet, comes from the controller itself.
        """
        if chunk.signature is None:
            if source != controller.address:
                raise DecodeError("unsigned configuration")
            return Assembled(packet_id, chunk.data, forward=False)
        update = self._updates.get(chunk.update_id)
        if update is not None and chunk.offset in update.seen:
            return None
        if not verify_chunk(chunk, controller):
            raise DecodeError("bad signature of a configuration")
        update = self._use(chunk)
        if len(update.seen) >= MAX_CHUNKS:
            raise DecodeError("too many chunks of a configuration")
        update.seen.add(chunk.offset)
        update.parts[chunk.offset] = chunk.data
        update.size += len(chunk.data)
        return Assembled(chunk.update_id, _complete(update), bool(chunk.flags & CHUNK_FAST))

    def _use(self, chunk: ConfigChunk) -> _Update:
        """The update of a signed chunk, as the most recently used one."""
        update = self._updates.pop(chunk.update_id, None)
        if update is None or update.total != chunk.total:
            update = _Update(chunk.total)
            if len(self._updates) >= MAX_SLOTS:
                del self._updates[next(iter(self._updates))]
        self._updates[chunk.update_id] = update
        return update


def _complete(update: _Update) -> bytes | None:
    """The text, if all of it is there; its parts are not needed any more then."""
    if update.size != update.total:
        return None
    end = 0
    for offset in sorted(update.parts):
        if offset != end:
            return None
        end += len(update.parts[offset])
    dictionary = b"".join(update.parts[offset] for offset in sorted(update.parts))
    update.parts.clear()
    return dictionary
