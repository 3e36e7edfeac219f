"""The file ``local.conf`` of a node's folder, as far as the API is concerned with it. vl1.md 6.3."""

from __future__ import annotations

import asyncio
import ipaddress
import json
from collections.abc import Iterable, Mapping
from typing import Any

from zt_async.aio.storage import Kind, Storage
from zt_async.errors import StorageError
from zt_async.types import IPNetwork


class LocalConf:
    """What is in the file; the node takes nothing from it, but the API does: ``settings.allowManagementFrom``."""

    def __init__(self, storage: Storage, content: Mapping[str, Any]) -> None:
        self.content = dict(content)
        self._storage = storage
        self._lock = asyncio.Lock()

    @classmethod
    async def load(cls, storage: Storage) -> LocalConf:
        """Read the file; one that is missing is an empty object. Raises StorageError for what is none."""
        data = await storage.load(Kind.LOCAL_CONF)
        try:
            content = json.loads(data) if data is not None and data.strip() else {}
            settings = content.get("settings", {}) if isinstance(content, dict) else None
            if not isinstance(settings, dict):
                raise ValueError("it is no object, or its settings are none")
            allowed_prefixes(settings)
        except (ValueError, RecursionError) as error:
            raise StorageError(f"{storage.where(Kind.LOCAL_CONF)} is not usable: {error}") from None
        return cls(storage, content)

    @property
    def settings(self) -> dict[str, Any]:
        """A copy of the part that users may change."""
        return dict(self.content.get("settings", {}))

    @property
    def allowed(self) -> tuple[IPNetwork, ...]:
        """From where the API may be used besides this machine."""
        return allowed_prefixes(self.settings)

    async def merge(self, changes: Mapping[str, Any]) -> None:
        """Change settings. Raises ValueError and changes nothing; StorageError."""
        async with self._lock:
            settings = self.settings | dict(changes)
            allowed_prefixes(settings)
            content = self.content | {"settings": settings}
            await self._storage.save(Kind.LOCAL_CONF, json.dumps(content, indent=4).encode())
            self.content = content


def allowed_prefixes(settings: Mapping[str, Any]) -> tuple[IPNetwork, ...]:
    """What the settings allow. Raises ValueError."""
    listed = settings.get("allowManagementFrom", [])
    if not isinstance(listed, list) or not all(isinstance(prefix, str) for prefix in listed):
        raise ValueError("allowManagementFrom is a list of prefixes such as 10.0.0.0/8")
    try:
        return parse_prefixes(listed)
    except ValueError as error:
        raise ValueError(f"allowManagementFrom: {error}") from None


def parse_prefixes(prefixes: Iterable[IPNetwork | str]) -> tuple[IPNetwork, ...]:
    """Prefixes such as 10.0.0.0/8; host bits after them are passed over. Raises ValueError."""
    return tuple(ipaddress.ip_network(prefix, strict=False) for prefix in prefixes)
