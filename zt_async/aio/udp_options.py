"""The options of UDP sockets in the words of ``setsockopt``: groups, hops, broadcast."""

from __future__ import annotations

import errno
import operator
import os
import socket
import struct
import sys
from collections.abc import Callable
from typing import Any, Final

from zt_async.stack.interface import Interface
from zt_async.stack.stack import Stack
from zt_async.stack.udp import UdpEndpoint

_IP, _IPV6 = socket.IPPROTO_IP, socket.IPPROTO_IPV6

_ATTRIBUTES: Final = {
    (socket.SOL_SOCKET, socket.SO_BROADCAST): "broadcast",
    (_IP, socket.IP_TTL): "hop_limit",
    (_IPV6, socket.IPV6_UNICAST_HOPS): "hop_limit",
    (_IP, socket.IP_TOS): "traffic_class",
    (_IPV6, getattr(socket, "IPV6_TCLASS", None)): "traffic_class",
    (_IP, socket.IP_MULTICAST_TTL): "multicast_hops",
    (_IPV6, socket.IPV6_MULTICAST_HOPS): "multicast_hops",
    (_IP, socket.IP_MULTICAST_LOOP): "multicast_loop",
    (_IPV6, socket.IPV6_MULTICAST_LOOP): "multicast_loop",
}
"""The options of both families are the same here: a socket may have to do with both."""

_DEFAULTS: Final = {"traffic_class": 0, "multicast_hops": 1, "multicast_loop": 1}
"""For the value -1; all others have the hop limit of the stack."""

_JOIN: Final = ((_IP, socket.IP_ADD_MEMBERSHIP), (_IPV6, socket.IPV6_JOIN_GROUP))
_LEAVE: Final = ((_IP, socket.IP_DROP_MEMBERSHIP), (_IPV6, socket.IPV6_LEAVE_GROUP))
_MULTICAST_IF: Final = ((_IP, socket.IP_MULTICAST_IF), (_IPV6, socket.IPV6_MULTICAST_IF))

_MREQ = {8: struct.Struct("=4s4s"), 12: struct.Struct("=4s4si")}
_IPV6_MREQ = struct.Struct("=16sI")


class UdpOptions:
    """Of one endpoint. A value that makes no sense, and what cannot be done, is an OSError as sockets raise it."""

    def __init__(self, stack: Stack, endpoint: UdpEndpoint) -> None:
        self._stack = stack
        self._endpoint = endpoint

    def set(self, level: int, option: int, value: int | bytes) -> bool:
        """Set an option; False for one that is not known here."""
        endpoint, key = self._endpoint, (level, option)
        if key in _JOIN:
            self._change_groups(endpoint.join_group, level, value)
        elif key in _LEAVE:
            self._change_groups(endpoint.leave_group, level, value)
        elif key in _MULTICAST_IF:
            endpoint.multicast_interface = self._outgoing(level, value)
        elif key in _ATTRIBUTES:
            self._set_attribute(_ATTRIBUTES[key], number(value))
        else:
            return False
        return True

    def get(self, level: int, option: int) -> int | bytes | None:
        """The value of an option; None for one that is not known here."""
        interface = self._endpoint.multicast_interface
        if (level, option) == (_IPV6, socket.IPV6_MULTICAST_IF):
            return interface.index if interface else 0
        if (level, option) == (_IP, socket.IP_MULTICAST_IF):
            own = (address.ip.packed for address in interface.addresses) if interface else ()
            return next((packed for packed in own if len(packed) == 4), bytes(4))
        name = _ATTRIBUTES.get((level, option))
        return None if name is None else int(getattr(self._endpoint, name))

    def _set_attribute(self, name: str, value: int) -> None:
        if value == -1:  # the default
            value = _DEFAULTS.get(name, self._stack.config.hop_limit)
        try:
            setattr(self._endpoint, name, bool(value) if name in ("broadcast", "multicast_loop") else value)
        except ValueError as error:
            raise OSError(errno.EINVAL, str(error)) from None

    def _change_groups(
        self, change: Callable[[str, Interface | None], None], level: int, value: int | bytes
    ) -> None:
        """``value`` is a packed ``ip_mreq``, ``ip_mreqn`` or ``ipv6_mreq``: a group, and where it is."""
        if isinstance(value, int):
            raise _invalid()
        if level == _IPV6 and len(value) == _IPV6_MREQ.size:
            group, index = _IPV6_MREQ.unpack(value)
            change(socket.inet_ntop(socket.AF_INET6, group), self._by_index(index))
        elif level == _IP and len(value) in _MREQ:
            group, interface = self._read_mreq(value)
            change(socket.inet_ntop(socket.AF_INET, group), interface)
        else:
            raise _invalid()

    def _outgoing(self, level: int, value: int | bytes) -> Interface | None:
        """``value`` is an index; for IPv4 also an own address, ``ip_mreq`` or ``ip_mreqn``, packed."""
        if level == _IPV6 or isinstance(value, int):
            return self._by_index(number(value))
        if len(value) in _MREQ:
            return self._read_mreq(value)[1]
        if len(value) != 4:
            raise _invalid()
        return self._by_address(value)

    def _read_mreq(self, value: bytes) -> tuple[bytes, Interface | None]:
        """A group, and an interface by an own address or, before that, by its index."""
        group, own, *indexes = _MREQ[len(value)].unpack(value)
        return group, self._by_index(indexes[0]) if any(indexes) else self._by_address(own)

    def _by_index(self, index: int) -> Interface | None:
        if not index:
            return None
        for interface in self._stack.interfaces:
            if interface.index == index:
                return interface
        raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))

    def _by_address(self, own: bytes) -> Interface | None:
        if not any(own):
            return None
        for interface in self._stack.interfaces:
            if interface.owns(own):
                return interface
        raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))


def number(value: int | bytes) -> int:
    """An integer, or one packed as C's ``int`` or as a byte."""
    if isinstance(value, bytes):
        if len(value) not in (1, 4):
            raise _invalid()
        return int.from_bytes(value, sys.byteorder, signed=len(value) == 4)
    return value


def c_int(value: Any) -> int:
    """Raises TypeError for what is no integer of 32 bits, as sockets do."""
    integer = operator.index(value)
    if not -1 << 31 <= integer < 1 << 31:
        raise TypeError(f"an option is bytes or an integer of 32 bits, not {integer:#x}")
    return integer


def _invalid() -> OSError:
    return OSError(errno.EINVAL, os.strerror(errno.EINVAL))
