"""libzt nodes as peers."""

from __future__ import annotations

import sys

from . import wheels
from .namespaces import Host
from .peer import Peer


class LibztPeer(Peer):
    """One libzt node, of the version whose wheel is named. Raises LabUnavailable.

    As published, libzt takes IPv6 frames in without its stack's lock: even paced transfers stall and kill the
    process. ``repaired`` adds the lock in this process (``lab/load.cpp``) and changes nothing on the wire.
    """

    def __init__(self, host: Host, version: str = "1.8.4", *, repaired: bool = True) -> None:
        program = [sys.executable, str(wheels.SOURCES / "libzt_node.py")]
        program += [str(wheels.libzt(version)), str(wheels.lab_library())]
        program += ["repaired" if repaired else "published"]
        super().__init__(host, program, f"libzt-{version}-{host.name}")
