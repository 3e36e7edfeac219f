"""Hosts of their own on this machine: network namespaces joined through one router, with no route out.

    with Lab("root", "anna", "bert") as lab:
        lab["anna"].run("ping", "-c1", lab["bert"].ipv4)
        lab.block("anna", "bert")

Each host has the interface ``eth0`` with a /24 of its own (and a /48 for IPv6), since a root admits one new
identity per two seconds from each of these. The namespaces have no names: this process holds them open by
their file descriptors, so they are gone when it ends, however it ends, and parallel runs cannot collide. They
need CAP_NET_ADMIN and CAP_SYS_ADMIN: root, or a shell in ``unshare -rn``.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import subprocess
from collections.abc import Iterator
from typing import NamedTuple, Self

CLONE_NEWNET = 0x40000000


class LabUnavailable(Exception):
    """This machine cannot run real peers; the text says what is missing."""


class Counters(NamedTuple):
    """What a host's ``eth0`` has carried. A packet is a frame or a batch that the kernel carries as one."""

    rx_bytes: int
    rx_packets: int
    tx_bytes: int
    tx_packets: int

    def __sub__(self, earlier: Counters) -> Counters:
        return Counters(*(a - b for a, b in zip(self, earlier, strict=True)))


def _libc_call(name: str, *arguments: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")


@contextlib.contextmanager
def _namespace_changed(call: str, *arguments: int) -> Iterator[None]:
    """The calling thread is in another network namespace, by ``setns`` or ``unshare``."""
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _libc_call(call, *arguments, CLONE_NEWNET)
        try:
            yield
        finally:
            _libc_call("setns", before, CLONE_NEWNET)
    finally:
        os.close(before)


class Namespace:
    """A network namespace that lives as long as this object, and processes in it, do."""

    def __init__(self) -> None:
        with _namespace_changed("unshare"):
            self._fd = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        with contextlib.ExitStack() as undo:
            undo.callback(self.close)
            self.run("ip", "link", "set", "lo", "up")
            if os.path.exists("/proc/sys/net/ipv6"):
                self.set_sysctl("ipv6/conf/default/accept_dad", 0)
                self.set_sysctl("ipv6/conf/default/router_solicitations", 0)
            undo.pop_all()

    @property
    def path(self) -> str:
        """The namespace as a file, for ``ip`` and ``nsenter``."""
        return f"/proc/{os.getpid()}/fd/{self._fd}"

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """The calling thread is in the namespace: sockets made and processes started belong to it.

        Other tasks of an event loop that runs in this thread are in it too while this one awaits.
        """
        with _namespace_changed("setns", self._fd):
            yield

    def command(self, *argv: str) -> list[str]:
        """The command line that runs ``argv`` in the namespace, under the same process id."""
        return ["nsenter", f"--net={self.path}", "--", *argv]

    def run(self, *argv: str, stdin: str = "") -> str:
        """Run a command in the namespace to its end and return its output."""
        with self.entered():
            done = subprocess.run(argv, input=stdin, capture_output=True, text=True, check=False)
        if done.returncode:
            what = " ".join(argv)
            raise RuntimeError(f"{what} ended with {done.returncode}: {done.stderr.strip()}\n{stdin}")
        return done.stdout

    def set_sysctl(self, name: str, value: int) -> None:
        with self.entered(), open(f"/proc/sys/net/{name}", "w") as f:
            f.write(str(value))

    def close(self) -> None:
        os.close(self._fd)


class Host(Namespace):
    """One end system of a lab."""

    def __init__(self, name: str, number: int, ipv6: bool) -> None:
        super().__init__()
        self.name = name
        self.number = number
        self.ipv4 = f"10.77.{number}.1"
        self.ipv6 = f"fd77:0:{number:x}::1" if ipv6 else None

    @property
    def prefixes(self) -> list[str]:
        return [f"10.77.{self.number}.0/24"] + ([f"fd77:0:{self.number:x}::/48"] if self.ipv6 else [])

    def counters(self) -> Counters:
        with self.entered(), open("/proc/thread-self/net/dev") as f:
            fields = next(line for line in f if line.strip().startswith("eth0:")).split(":")[1].split()
        return Counters(*(int(fields[i]) for i in (0, 1, 8, 9)))


class Lab:
    """A router and the named hosts around it. Raises LabUnavailable where namespaces cannot be made."""

    def __init__(self, *names: str, ipv6: bool = False) -> None:
        if not 1 <= len(set(names)) == len(names) <= 250:
            raise ValueError(f"1 to 250 hosts with different names, not {names}")
        self._names = names
        self._ipv6 = ipv6

    def __enter__(self) -> Self:
        self.hosts: dict[str, Host] = {}
        try:
            with contextlib.ExitStack() as undo:
                self.router = Namespace()
                undo.callback(self.router.close)
                for number, name in enumerate(self._names, 1):
                    self.hosts[name] = host = Host(name, number, self._ipv6)
                    undo.callback(host.close)
                    self._connect(host)
                self.router.set_sysctl("ipv4/ip_forward", 1)
                if self._ipv6:
                    self.router.set_sysctl("ipv6/conf/all/forwarding", 1)
                self._close = undo.pop_all().close
        except FileNotFoundError as e:
            raise LabUnavailable(f"the lab needs iproute2 and util-linux: {e}") from e
        except PermissionError as e:
            raise LabUnavailable(f"network namespaces need root, or a shell in `unshare -rn`: {e}") from e
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def __getitem__(self, name: str) -> Host:
        return self.hosts[name]

    def _connect(self, host: Host) -> None:
        port, prefix, lines = f"host{host.number}", host.prefixes[0].removesuffix(".0/24"), []
        self.router.run("ip", "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", host.path)
        for namespace, interface, end in ((self.router, port, 254), (host, "eth0", 1)):
            lines = [f"address add {prefix}.{end}/24 dev {interface}", f"link set {interface} up"]
            if self._ipv6:
                lines.append(f"address add fd77:0:{host.number:x}::{end:x}/64 dev {interface} nodad")
            namespace.run("ip", "-batch", "-", stdin="\n".join(lines))
        host.run("ip", "route", "add", "default", "via", f"{prefix}.254")
        if self._ipv6:
            host.run("ip", "-6", "route", "add", "default", "via", f"fd77:0:{host.number:x}::fe")

    def block(self, a: str, b: str) -> None:
        """From now on the router silently drops what these two send each other."""
        self._rules("add", a, b)

    def unblock(self, a: str, b: str) -> None:
        self._rules("del", a, b)

    def _rules(self, verb: str, a: str, b: str) -> None:
        pairs = zip(self[a].prefixes, self[b].prefixes, strict=True)
        for one, other in pairs:
            for source, target in ((one, other), (other, one)):
                family = "-6" if ":" in source else "-4"
                self.router.run("ip", family, "rule", verb, "from", source, "to", target, "blackhole")
