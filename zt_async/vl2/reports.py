"""What the events say of a network: how it was before something happened, and how it is then."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from typing import TypeVar

from zt_async.events import (
    AddressAdded,
    AddressRemoved,
    Event,
    NetworkInfo,
    NetworkReady,
    NetworkStatus,
    NetworkUpdated,
    RouteAdded,
    RouteRemoved,
)

ItemT = TypeVar("ItemT", bound=Hashable)


def events_of_change(old: NetworkInfo, new: NetworkInfo) -> Iterator[Event]:
    """What there is to tell: addresses and routes that go and come, readiness each time, and what else changed."""
    for address in _missing(old.addresses, new.addresses):
        yield AddressRemoved(network_id=new.id, address=address)
    for route in _missing(old.routes, new.routes):
        yield RouteRemoved(network_id=new.id, route=route)
    for address in _missing(new.addresses, old.addresses):
        yield AddressAdded(network_id=new.id, address=address)
    for route in _missing(new.routes, old.routes):
        yield RouteAdded(network_id=new.id, route=route)
    if new.status == NetworkStatus.OK != old.status:
        yield NetworkReady(network=new)
    elif changed := frozenset(f for f in new.__slots__ if getattr(old, f) != getattr(new, f)):
        yield NetworkUpdated(network=new, changed=changed)


def _missing(items: Iterable[ItemT], others: Iterable[ItemT]) -> Iterator[ItemT]:
    """Those items that are not among the others."""
    held = frozenset(others)
    return (item for item in items if item not in held)
