"""Every exception of the package.

ZeroTierError
├── NodeNotRunning            a call on a node that is not started, or was stopped
├── NodeFailed                the node cannot run on: what happened is its ``__cause__`` or text
│   ├── IdentityCollision     a root knows another node under this node's address
│   └── PortUnavailable       (also OSError) no UDP socket could be bound
├── NetworkError              about one network, in ``.network_id``
│   ├── NetworkNotJoined
│   ├── NetworkNotFound       its controller does not know it, or cannot configure it
│   └── AccessDenied          its controller refuses this node
├── StorageError              a file of the node's folder cannot be read, written or understood
│   └── IdentityError         (also ValueError) not a valid identity
├── ControllerError           about networks that this node controls
│   ├── NoSuchNetwork         (also LookupError) the controller has no such network
│   ├── NoSuchMember          (also LookupError) the network has no such member
│   ├── RecordError           (also ValueError) a field of a record, in ``.field``, has no such value
│   ├── RuleLanguageError     (also ValueError) a text in the rule language is wrong at ``.line`` and ``.column``
│   ├── DamagedFiles          files of a ``controller.d``, in ``.problems``, cannot be imported
│   └── StoreError            the controller's store cannot be read or written
│       ├── Conflict          a record was changed by others meanwhile, or an address is taken
│       └── FenceLost         others hold the lease: this controller must not write any more
├── WorldError                (also ValueError) not a valid planet or moon
└── DecodeError               (also ValueError) bytes from the wire that are not what they should be

Sockets on networks fail as sockets do everywhere: ConnectionRefusedError, ConnectionResetError, TimeoutError
and the other kinds of OSError.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class ZeroTierError(Exception):
    """Base of all that is ZeroTier's own. Like other exceptions they can be copied, and go to other processes."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (type(self), self.args, self.__dict__)


def _again(
    kind: type[ZeroTierError], arguments: tuple[object, ...], attributes: dict[str, Any]
) -> ZeroTierError:
    """The same exception, whatever its own constructor takes."""
    error = kind.__new__(kind, *arguments)
    error.__dict__.update(attributes)
    return error


class NodeNotRunning(ZeroTierError):
    """The node is not started yet, or is stopped; or no node runs on this event loop."""


class NodeFailed(ZeroTierError):
    """The node came to an end that nobody asked for."""


class IdentityCollision(NodeFailed):
    """A root holds another identity under this node's address: this identity must not be used any more."""


class PortUnavailable(NodeFailed, OSError):
    """A UDP port could not be bound."""


class NetworkError(ZeroTierError):
    """Something about one network."""

    def __init__(self, network_id: int, message: str) -> None:
        super().__init__(f"network {network_id:016x}: {message}")
        self.network_id = network_id


class NetworkNotJoined(NetworkError):
    """The node is not on that network."""


class NetworkNotFound(NetworkError):
    """There is no such network."""


class AccessDenied(NetworkError):
    """The network's controller refuses this node."""


class StorageError(ZeroTierError):
    """The node's folder, or a file in it, is not usable."""


class IdentityError(StorageError, ValueError):
    """Not a valid identity. Never carries any part of the text that was read."""


class ControllerError(ZeroTierError):
    """Something about the networks that a node controls."""


class NoSuchNetwork(ControllerError, LookupError):
    """The controller has no such network."""

    def __init__(self, network_id: int) -> None:
        super().__init__(f"there is no network {network_id:016x} on this controller")
        self.network_id = network_id


class NoSuchMember(ControllerError, LookupError):
    """The network has no such member."""

    def __init__(self, network_id: int, address: int) -> None:
        super().__init__(f"network {network_id:016x} has no member {address:010x}")
        self.network_id = network_id
        self.address = address


class RecordError(ControllerError, ValueError):
    """A field of a network's or member's record has no such value."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field} {problem}")
        self.field = field


class RuleLanguageError(ControllerError, ValueError):
    """A text in the rule language says something else than was expected; lines and columns begin with 1."""

    def __init__(self, line: int, column: int, problem: str) -> None:
        super().__init__(f"line {line}, column {column}: {problem}")
        self.line = line
        self.column = column


class DamagedFiles(ControllerError):
    """Files of a ``controller.d`` that cannot be imported, in ``.problems`` by name; nothing was imported."""

    def __init__(self, problems: Mapping[str, str]) -> None:
        lines = "\n".join(f"  {name}: {problem}" for name, problem in problems.items())
        super().__init__(
            f"{len(problems)} files cannot be imported; correct or remove them, nothing was changed:\n{lines}"
        )
        self.problems = dict(problems)


class StoreError(ControllerError):
    """The store of a controller cannot be opened, read, written or understood."""


class Conflict(StoreError):
    """Nothing was written: others changed one of the records, or took one of the addresses."""


class FenceLost(StoreError):
    """Nothing was written: another process holds the lease on this controller's identity."""


class WorldError(ZeroTierError, ValueError):
    """Not a valid planet or moon."""


class DecodeError(ZeroTierError, ValueError):
    """Bytes that do not decode; the text is a short constant reason, used as a counter's name."""
