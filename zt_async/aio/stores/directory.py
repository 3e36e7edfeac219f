"""Folders of other controllers: ``controller.d`` of zerotier-one, to a store and from one. vl2.md 8.5."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from zt_async.aio.stores.rows import to_text
from zt_async.controller.records import NEVER_SEEN, MemberRecord, NetworkRecord, Seen
from zt_async.controller.store import Change, PutMember, PutNetwork, PutSeen, Store
from zt_async.errors import ControllerError, DamagedFiles
from zt_async.types import IPAddress, NodeAddress

RECORD_FILE: Final = re.compile(r"network/([0-9a-f]{16})(?:/member/([0-9a-f]{10}))?\.json")


@dataclass(slots=True)
class Imported:
    """What was imported."""

    networks: int = 0
    members: int = 0
    ignored: list[str] = field(default_factory=list)
    """Files in the folder that are no network's or member's."""


async def import_directory(store: Store, folder: str | os.PathLike[str]) -> Imported:
    """Write all networks and members of a ``controller.d`` folder to an open store, which must not have them yet.

    All or nothing is imported. A controller that runs on this very store object does not notice; one on another store
    of the same place does. Raises DamagedFiles, Conflict if the store has one of the networks, and StoreError.
    """
    changes, imported = await asyncio.to_thread(_read, folder)
    await store.commit(changes)
    return imported


async def export_directory(store: Store, controller: NodeAddress, folder: str | os.PathLike[str]) -> None:
    """Write the networks of a controller as a ``controller.d`` folder, which must not be there yet. Raises OSError."""
    snapshot = await store.load(controller)
    files = {f"{network.id}.json": to_text(network.to_json()) for network in snapshot.networks}
    for member in snapshot.members:
        seen = snapshot.seen.get((member.network_id, member.address), NEVER_SEEN)
        files[f"{member.network_id}/member/{member.address}.json"] = to_text(member.to_json(seen))
    await asyncio.to_thread(_write, folder, files)


def _read(place: str | os.PathLike[str]) -> tuple[list[Change], Imported]:
    """The changes that make the folder's records. Raises DamagedFiles; ControllerError if it is no such folder."""
    folder = Path(place).expanduser()
    root = folder / "network"
    if not root.is_dir():
        raise ControllerError(f"{folder} is no controller.d: there is no folder named network in it")
    changes: list[Change] = []
    imported = Imported()
    problems: dict[str, str] = {}
    networks: set[str] = set()
    owners: dict[tuple[str, IPAddress], str] = {}
    # In the order of these names each network comes before its members.
    for name in sorted(path.relative_to(folder).as_posix() for path in root.rglob("*") if not path.is_dir()):
        found = RECORD_FILE.fullmatch(name)
        if found is None:
            imported.ignored.append(name)
            continue
        network, address = found.groups()
        try:
            if address is None:
                networks.add(network)
                changes.append(_read_network(folder / name, network))
                imported.networks += 1
            elif network not in networks:
                imported.ignored.append(name)  # as zerotier-one does
            else:
                changes += _read_member(folder / name, name, network, address, owners)
                imported.members += 1
        except OSError as error:
            problems[name] = f"cannot be read: {error.strerror}"
        except ValueError as error:
            problems[name] = str(error)
    if problems:
        raise DamagedFiles(problems)
    return changes, imported


def _read_network(path: Path, network: str) -> PutNetwork:
    value = _parse(path, {"id": network, "nwid": network})
    record = NetworkRecord.from_json(value)
    return PutNetwork(dataclasses.replace(record, revision=max(record.revision, 1)), 0)


def _read_member(
    path: Path, name: str, network: str, address: str, owners: dict[tuple[str, IPAddress], str]
) -> list[Change]:
    value = _parse(path, {"id": address, "address": address, "nwid": network})
    record = MemberRecord.from_json(value)
    for ip in record.addresses:
        owner = owners.setdefault((network, ip), name)
        if owner != name:
            raise ValueError(f"{ip} is also an address of {owner}")
    changes: list[Change] = [PutMember(dataclasses.replace(record, revision=max(record.revision, 1)), 0)]
    seen = Seen.from_json(value)
    if seen != NEVER_SEEN:
        changes.append(PutSeen(record.network_id, record.address, seen))
    return changes


def _parse(path: Path, names: dict[str, str]) -> dict[str, Any]:
    """The object in a file, whose own names must be those of the file. Raises ValueError, OSError."""
    try:
        value = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"is no JSON: {error}") from None
    if not isinstance(value, dict):
        raise ValueError("is no JSON object")
    for key, name in names.items():
        if value.setdefault(key, name) != name:
            raise ValueError(f"has the {key} of another file, {value[key]!r}")
    return value


def _write(place: str | os.PathLike[str], files: Mapping[str, str]) -> None:
    root = Path(place).expanduser() / "network"
    root.mkdir(0o700, parents=True)  # there may be tokens in the files
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
