"""Which hosts there are, what lies between them, and who cannot reach whom."""

from __future__ import annotations

import ipaddress
import random
from collections.abc import Iterable, Sequence

from zt_async.testing.host import Host, Middlebox
from zt_async.testing.link import Link, Wire
from zt_async.types import Endpoint, IPNetwork


class Topology:
    """Hosts and links.

    A datagram crosses the access line of the sender (if it has one), the path between the two hosts, and the
    access line of the receiver. The path is the one set for the two hosts, else the one of the subnet that
    both addresses lie in, else the default one.
    """

    def __init__(self, rng: random.Random, link: Link) -> None:
        self.hosts: list[Host] = []
        self._rng = rng
        self._owners: dict[str, Host] = {}
        self._default = link
        self._subnets: list[tuple[IPNetwork, Link]] = []
        self._paths: dict[tuple[Host, Host], Link] = {}
        self._access: dict[Host, tuple[Wire, Wire]] = {}
        self._cut: set[tuple[Host, Host]] = set()
        self._wires: dict[tuple[Host, Host, Link], Wire] = {}
        self._routes: dict[tuple[Host, str, str], tuple[Host, tuple[Wire, ...]]] = {}

    def add_host(
        self,
        name: str | None = None,
        addresses: str | Iterable[str] | None = None,
        *,
        ports: Iterable[int] = (9993,),
        middleboxes: Sequence[Middlebox] = (),
    ) -> Host:
        """Add a computer that has a UDP socket on each of ``ports`` of each of its IP ``addresses``.

        Without addresses it gets one IPv4 address in a /24 of its own. Sockets are numbered from 0: all ports
        of the first address, then those of the next.
        """
        number = len(self.hosts) + 1
        if addresses is None:
            addresses = f"10.{number >> 8}.{number & 0xFF}.2"
        host = Host(name or f"host{number}", middleboxes, self._rng)
        ports = list(ports)
        for address in [addresses] if isinstance(addresses, str) else addresses:
            ip = self.add_address(host, address)
            for port in ports:
                host.bind(ip, port)
        self.hosts.append(host)
        return host

    def add_address(self, host: Host, address: str) -> str:
        """Give a host one more IP address; it still has to bind sockets there. Returns its canonical text."""
        ip = Endpoint.make(address, 0).host
        if ip in self._owners:
            raise ValueError(f"{ip} belongs to {self._owners[ip].name} already")
        self._owners[ip] = host
        host.addresses.append(ip)
        return ip

    def remove_address(self, host: Host, address: str) -> None:
        """Take an IP address away from a host, with the sockets on it."""
        ip = Endpoint.make(address, 0).host
        if self._owners.get(ip) is not host:
            raise ValueError(f"{ip} does not belong to {host.name}")
        host.close([number for number, local in host.sockets.items() if local.host == ip])
        host.addresses.remove(ip)
        del self._owners[ip]
        self._routes.clear()

    def set_default(self, link: Link) -> None:
        """The path between hosts for which nothing else is set."""
        self._default = link
        self._routes.clear()

    def set_subnet(self, prefix: str, link: Link) -> None:
        """The path between addresses that are both in this prefix. The longest prefix counts."""
        network = ipaddress.ip_network(prefix)
        self._subnets = [entry for entry in self._subnets if entry[0] != network]
        self._subnets.append((network, link))
        self._subnets.sort(key=lambda entry: -entry[0].prefixlen)
        self._routes.clear()

    def set_path(self, a: Host, b: Host, link: Link, back: Link | None = None) -> None:
        """The path from ``a`` to ``b``, and back (alike unless ``back`` is given)."""
        self._paths[a, b] = link
        self._paths[b, a] = back or link
        self._routes.clear()

    def set_access(self, host: Host, up: Link, down: Link | None = None) -> None:
        """The line that all traffic of a host shares, up and down (alike unless ``down`` is given)."""
        self._access[host] = Wire(up), Wire(down or up)
        self._routes.clear()

    def partition(self, group: Iterable[Host], others: Iterable[Host] | None = None) -> None:
        """Cut every host of ``group`` off from each of ``others`` (by default all hosts outside the group).

        Adds to what is cut already. What is on its way still arrives.
        """
        group = list(group)
        others = [host for host in self.hosts if host not in group] if others is None else list(others)
        for a in group:
            self._cut.update((a, b) for b in others)
            self._cut.update((b, a) for b in others)

    def heal(self) -> None:
        """End all partitions."""
        self._cut.clear()

    def _route(self, host: Host, source: str, destination: str) -> tuple[Host, tuple[Wire, ...]] | None:
        """The host that has the address ``destination``, and the wires to it; None if nobody has it."""
        key = (host, source, destination)
        route = self._routes.get(key)
        if route is None:
            target = self._owners.get(destination)
            if target is None:
                return None
            route = self._routes[key] = target, self._wires_between(host, target, source, destination)
        return route

    def _wires_between(self, host: Host, target: Host, source: str, destination: str) -> tuple[Wire, ...]:
        if host is target:
            return ()
        link = self._paths.get((host, target)) or self._subnet_link(source, destination) or self._default
        wires = [self._wires.setdefault((host, target, link), Wire(link))]
        if host in self._access:
            wires.insert(0, self._access[host][0])
        if target in self._access:
            wires.append(self._access[target][1])
        return tuple(wires)

    def _subnet_link(self, source: str, destination: str) -> Link | None:
        if not self._subnets:
            return None
        ends = ipaddress.ip_address(source), ipaddress.ip_address(destination)
        return next((link for network, link in self._subnets if all(ip in network for ip in ends)), None)
