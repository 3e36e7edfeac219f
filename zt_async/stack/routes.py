"""Which way a packet goes: routes by longest prefix."""

from __future__ import annotations

from typing import NamedTuple

from zt_async.stack.interface import Interface
from zt_async.types import IPNetwork


class Route(NamedTuple):
    """Packets to ``network`` leave by ``interface``, to ``gateway`` or straight to their destination."""

    network: IPNetwork
    interface: Interface
    gateway: bytes | None = None
    metric: int = 0


class RouteTable:
    """A few routes: one for each address of an interface, and those that were added."""

    __slots__ = ("_matchers", "_routes")

    def __init__(self) -> None:
        self._routes: list[Route] = []
        self._matchers: list[tuple[int, int, int, Route]] = []

    def add(self, route: Route) -> None:
        """A route may be there several times, for each of those who want it."""
        self._routes.append(route)
        self._sort()

    def remove(self, route: Route) -> None:
        """Once. Raises ValueError when there is no such route."""
        self._routes.remove(route)
        self._sort()

    def remove_interface(self, interface: Interface) -> None:
        self._routes = [route for route in self._routes if route.interface is not interface]
        self._sort()

    def find(self, destination: bytes, interface: Interface | None = None) -> Route | None:
        """The longest prefix wins, then the lowest metric, then the route that was there first."""
        size, number = len(destination), int.from_bytes(destination, "big")
        for family, network, mask, route in self._matchers:
            if (
                number & mask == network
                and family == size
                and (interface is None or route.interface is interface)
            ):
                return route
        return None

    def _sort(self) -> None:
        self._routes.sort(key=lambda route: (-route.network.prefixlen, route.metric))
        self._matchers = [
            (
                route.network.max_prefixlen // 8,
                int(route.network.network_address),
                int(route.network.netmask),
                route,
            )
            for route in self._routes
        ]
