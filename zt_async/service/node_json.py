"""A node, its peers, networks and moons as JSON objects of upstream's fields. vl1.md 6.4, vl2.md 10."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any, Final

from zt_async.aio.node import Node
from zt_async.aio.storage import FileStorage
from zt_async.config import NodeConfig
from zt_async.events import NetworkInfo, PathInfo, PeerInfo
from zt_async.service.schemas import NETWORK_SETTINGS
from zt_async.types import Endpoint
from zt_async.vl1.handshake import OWN_VERSION
from zt_async.vl1.world import World

VERSION: Final = OWN_VERSION[1:]
"""What other nodes are told: the version of upstream's that this one does as."""
_UNKNOWN: Final = (-1, -1, -1)


def wall_ms() -> int:
    """Unix milliseconds."""
    return time.time_ns() // 1_000_000


def version_json(version: tuple[int, int, int] = VERSION) -> dict[str, Any]:
    major, minor, revision = version
    return {
        "versionMajor": major,
        "versionMinor": minor,
        "versionRev": revision,
        "version": f"{major}.{minor}.{revision}",
    }


def health_json(node: Node) -> dict[str, Any]:
    """What everybody on this machine may know."""
    return {"online": node.is_online, **version_json(), "versionBuild": 0, "clock": wall_ms()}


def status_json(node: Node, local_conf: Mapping[str, Any]) -> dict[str, Any]:
    """All about a node."""
    status = node.status
    ports = sorted({socket.local.port for socket in status.sockets})
    primary = node.config.port or (ports[0] if ports else 0)
    others = [port for port in ports if port != primary]
    storage = node.storage
    settings = {
        "allowTcpFallbackRelay": False,
        "forceTcpRelay": False,
        "portMappingEnabled": False,
        "softwareUpdate": "disable",
        "softwareUpdateChannel": "release",
        **local_conf.get("settings", {}),
        "primaryPort": primary,
        "secondaryPort": others[0] if others else 0,
        "tertiaryPort": 0,
        "homeDir": str(storage.folder) if isinstance(storage, FileStorage) else "",
        "listeningOn": [str(socket.local) for socket in status.sockets],
        "surfaceAddresses": [str(endpoint) for endpoint in status.surfaces],
    }
    return {
        "address": str(status.address),
        "publicIdentity": str(node.identity),
        "tcpFallbackActive": False,
        **health_json(node),
        "planetWorldId": status.planet_id or 0,
        "planetWorldTimestamp": status.planet_timestamp or 0,
        "config": {**local_conf, "settings": settings},
    }


def peers_json(peers: Iterable[PeerInfo], node: Node) -> list[dict[str, Any]]:
    """Other nodes."""
    now = wall_ms()
    ports = {socket.number: socket.local.port for socket in node.status.sockets}
    return [
        {
            "address": str(peer.address),
            **version_json(peer.version or _UNKNOWN),
            "latency": -1 if peer.latency is None else round(peer.latency),
            "role": peer.role,
            "isBonded": False,
            "tunneled": False,
            "paths": [_path_json(path, now, ports, node.config) for path in peer.paths],
        }
        for peer in peers
    ]


def _path_json(path: PathInfo, now: int, ports: Mapping[int, int], config: NodeConfig) -> dict[str, Any]:
    return {
        "address": str(path.endpoint),
        "lastSend": _time_json(path.last_send, now),
        "lastReceive": _time_json(path.last_receive, now),
        "trustedPathId": _trusted_path(path.endpoint, config),
        "active": True,
        "expired": False,
        "preferred": path.preferred,
        "localSocket": path.local_socket,
        "localPort": ports.get(path.local_socket, 0),
    }


def _time_json(age: float | None, now: int) -> int:
    return 0 if age is None else now - round(age * 1000)


def _trusted_path(endpoint: Endpoint, config: NodeConfig) -> int:
    ip = endpoint.ip
    return next((number for prefix, number in config.trusted_paths.items() if ip in prefix), 0)


def network_json(network: NetworkInfo) -> dict[str, Any]:
    """A network that the node is on, with all that its controller assigned, whether it is used or not."""
    key = str(network.id)
    dns = network.assigned_dns
    shown = {
        "id": key,
        "nwid": key,
        "mac": str(network.mac),
        "name": network.name,
        "status": network.status.name,
        "type": "PRIVATE" if network.private else "PUBLIC",
        "mtu": network.mtu,
        "dhcp": False,
        "bridge": network.bridge,
        "broadcastEnabled": network.broadcast,
        "portError": 0,
        "netconfRevision": network.revision,
        "portDeviceName": "",
        **{key: getattr(network.settings, name) for key, name in NETWORK_SETTINGS.items()},
        "assignedAddresses": [str(address) for address in network.assigned_addresses],
        "routes": [
            {
                "target": str(route.target),
                "via": None if route.via is None else str(route.via),
                "flags": route.flags,
                "metric": route.metric,
            }
            for route in network.assigned_routes
        ],
        "multicastSubscriptions": [{"mac": str(group.mac), "adi": group.adi} for group in network.groups],
        "dns": {
            "domain": "" if dns is None else dns.domain,
            "servers": [] if dns is None else [str(server) for server in dns.servers],
        },
    }
    if network.authentication_url or network.authentication_expiry:
        shown |= {
            "authenticationURL": network.authentication_url,
            "authenticationExpiryTime": network.authentication_expiry,
            "ssoEnabled": True,
        }
    return shown


def moon_json(moon: World) -> dict[str, Any]:
    """A moon that the node uses."""
    return {
        "id": f"{moon.id:016x}",
        "timestamp": moon.timestamp,
        "signature": moon.signature.hex(),
        "updatesMustBeSignedBy": moon.update_key.hex(),
        "roots": [
            {"identity": str(root.identity), "stableEndpoints": [str(e) for e in root.endpoints]}
            for root in moon.roots
        ],
        "waiting": False,
    }


def waiting_moon_json(moon_id: int) -> dict[str, Any]:
    """A moon that a seed was asked for."""
    return {
        "id": f"{moon_id:016x}",
        "timestamp": 0,
        "signature": None,
        "updatesMustBeSignedBy": None,
        "roots": [],
        "waiting": True,
    }
