import ipaddress
import socket
import sys

import pytest

from zt_async.aio.interfaces import LocalAddress, local_addresses, usable_addresses


def address(interface, ip, temporary=False):
    return LocalAddress(interface, ipaddress.ip_address(ip), temporary)


ADDRESSES = [
    address("lo", "127.0.0.1"),
    address("lo", "::1"),
    address("lo", "10.255.0.1"),
    address("eth0", "192.168.1.5"),
    address("eth0", "fd00::5"),
    address("eth0", "fe80::5"),
    address("eth0", "2001:db8::1"),
    address("eth0", "2001:db8::cafe", temporary=True),
    address("eth0:1", "8.8.4.4"),
    address("eth1", "192.168.1.5"),
    address("wlan0", "169.254.1.1"),
    address("wlan0", "100.64.0.9"),
    address("zt0", "10.147.17.1"),
    address("tun3", "10.8.0.2"),
    address("tap0", "10.9.0.2"),
    address("utun4", "10.10.0.2"),
    address("feth12", "10.11.0.2"),
    address("docker0", "172.17.0.1"),
]


def test_usable_are_addresses_of_wires_that_reach_beyond_the_link():
    assert usable_addresses(ADDRESSES) == [
        "192.168.1.5", "fd00::5", "2001:db8::1", "8.8.4.4", "100.64.0.9", "172.17.0.1"
    ]  # fmt: skip


def test_loopback_is_usable_where_allowed():
    assert usable_addresses(ADDRESSES[:4], allow_loopback=True) == ["127.0.0.1", "::1", "192.168.1.5"]


def test_interfaces_and_prefixes_can_be_blacklisted():
    networks = [ipaddress.ip_network("100.64.0.0/10"), ipaddress.ip_network("2001:db8::/32")]
    assert usable_addresses(ADDRESSES, interface_blacklist=["dock", "eth0:"], blacklist=networks) == [
        "192.168.1.5", "fd00::5"
    ]  # fmt: skip


def test_the_hosts_own_addresses_can_be_bound():
    found = local_addresses()
    assert any(entry.ip.is_loopback and not entry.temporary for entry in found)
    for ip in usable_addresses(found, allow_loopback=True):
        with socket.socket(socket.AF_INET6 if ":" in ip else socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind((ip, 0))
            assert sock.getsockname()[0] == ip


@pytest.mark.netns
@pytest.mark.skipif(sys.platform != "linux", reason="namespaces are Linux's")
def test_interfaces_that_are_down_have_no_addresses(in_new_network_namespace):
    script = """
        import fcntl, socket, struct
        from zt_async.aio.interfaces import local_addresses
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            def up(flag):
                fcntl.ioctl(s, 0x8914, struct.pack("16sh14x", b"lo", flag))  # SIOCSIFFLAGS
            up(1)
            address = struct.pack("16sHH4s8x", b"lo", socket.AF_INET, 0, bytes([10, 1, 2, 3]))
            fcntl.ioctl(s, 0x8916, address)  # SIOCSIFADDR
            print([(entry.interface, str(entry.ip)) for entry in local_addresses() if entry.ip.version == 4])
            up(0)
            print(local_addresses())
    """
    assert in_new_network_namespace(script) == ["[('lo', '10.1.2.3')]", "[]"]
