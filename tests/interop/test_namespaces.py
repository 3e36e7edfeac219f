"""The lab itself: its hosts reach each other and nothing else, and nothing of it stays."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from zt_async.types import Endpoint

from .capture import Capture
from .namespaces import Host, Lab

pytestmark = [pytest.mark.netns, pytest.mark.usefixtures("network_namespaces")]

UDP_SEGMENT = 103


def udp_socket(host: Host, ip: str) -> socket.socket:
    with host.entered():
        s = socket.socket(socket.AF_INET6 if ":" in ip else socket.AF_INET, socket.SOCK_DGRAM)
    s.bind((ip, 5000))
    s.settimeout(1)
    return s


def passes(lab: Lab, a: str, b: str, family: int) -> bool:
    """Whether a datagram gets from one host to the other."""
    ends = [host.ipv4 if family == 4 else host.ipv6 or "" for host in (lab[a], lab[b])]
    with udp_socket(lab[a], ends[0]) as one, udp_socket(lab[b], ends[1]) as other:
        one.sendto(b"hello", (ends[1], 5000))
        try:
            return other.recv(100) == b"hello"
        except TimeoutError:
            return False


@pytest.mark.parametrize("family", [4, 6])
def test_hosts_reach_each_other_until_blocked(family: int) -> None:
    with Lab("anna", "bert", "carl", ipv6=True) as lab:
        assert passes(lab, "anna", "bert", family)
        lab.block("anna", "bert")
        assert not passes(lab, "anna", "bert", family)
        assert not passes(lab, "bert", "anna", family)
        assert passes(lab, "anna", "carl", family)
        assert passes(lab, "carl", "bert", family)
        lab.unblock("bert", "anna")
        assert passes(lab, "bert", "anna", family)


@pytest.mark.parametrize("target", ["198.51.100.1", "2001:db8::1"])
def test_no_route_leads_out(target: str) -> None:
    with Lab("anna", ipv6=True) as lab:
        host = lab["anna"]
        with host.entered():
            s = socket.socket(socket.AF_INET6 if ":" in target else socket.AF_INET)
        s.settimeout(10)
        with s, pytest.raises(OSError, match="unreachable"):
            s.connect((target, 9993))
        assert host.run("ip", "-o", "link").count("\n") == 2
        assert "default" not in lab.router.run("ip", "route")


def test_labs_do_not_meet_and_leave_nothing() -> None:
    files, namespace = len(os.listdir("/proc/self/fd")), os.readlink("/proc/thread-self/ns/net")
    with Lab("anna", "bert") as one, Lab("anna", "bert") as other:
        assert one["bert"].ipv4 == other["bert"].ipv4
        with udp_socket(other["bert"], other["bert"].ipv4) as bystander:
            assert passes(one, "anna", "bert", 4)
            with pytest.raises(TimeoutError):
                bystander.recv(100)
    with pytest.raises(ZeroDivisionError), Lab("anna"):
        raise ZeroDivisionError
    assert len(os.listdir("/proc/self/fd")) == files
    assert os.readlink("/proc/thread-self/ns/net") == namespace


def test_commands_run_in_their_namespace_and_failures_say_why() -> None:
    with Lab("anna") as lab:
        assert lab["anna"].ipv4 in lab["anna"].run("ip", "address")
        assert lab["anna"].ipv4 in lab.router.run(*lab["anna"].command("ip", "address"))
        with pytest.raises(RuntimeError, match="Cannot find device"):
            lab["anna"].run("ip", "link", "set", "eth9", "up")


@pytest.mark.parametrize("names", [(), ("anna", "anna")])
def test_host_names_must_differ(names: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="different names"):
        Lab(*names)


@pytest.mark.parametrize("family", [4, 6])
def test_capture_has_every_datagram_of_a_batch(family: int, tmp_path: Path) -> None:
    with Lab("anna", "bert", ipv6=True) as lab:
        ends = [host.ipv4 if family == 4 else host.ipv6 or "" for host in (lab["anna"], lab["bert"])]
        payload = bytes(range(250)) * 10
        with Capture(lab["bert"]) as capture, udp_socket(lab["anna"], ends[0]) as one:
            one.sendto(payload[:7], (ends[1], 5000))
            one.setsockopt(socket.SOL_UDP, UDP_SEGMENT, 1000)
            one.sendto(payload, (ends[1], 5000))
        assert capture.lost == 0
        datagrams = [d for d in capture.datagrams() if d.target == Endpoint(ends[1], 5000)]
        parts = [payload[:7], payload[:1000], payload[1000:2000], payload[2000:]]
        assert [d.payload for d in datagrams] == parts
        assert {d.source for d in datagrams} == {Endpoint(ends[0], 5000)}
        capture.save(tmp_path / "bert.pcap")
        sizes = [len(frame) + 16 for _, frame in capture.frames]
        assert (tmp_path / "bert.pcap").stat().st_size == 24 + sum(sizes)
