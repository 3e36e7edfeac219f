"""Checks of the vectors about what whole nodes send, and what they do with packets of each verb."""

from __future__ import annotations

from typing import Any

from tests.vectors.registry import Case, vector_kind
from tests.vectors.rules_kinds import rules_of
from tests.vectors.vl1_kinds import NOW, SOCKET, Sent, join_fields, make_vl1, unhex
from zt_async.crypto.credentials import issue_com
from zt_async.crypto.identity import Identity
from zt_async.types import Endpoint, MACAddress, MulticastGroup, NetworkId, NodeAddress
from zt_async.vl1.handshake import OWN_VERSION
from zt_async.vl1.path import NEVER
from zt_async.vl1.world import World, WorldKey, WorldType
from zt_async.vl2.addressing import member_mac
from zt_async.vl2.configurations import PLATFORM
from zt_async.vl2.core import VL2
from zt_async.vl2.groups import GroupKey
from zt_async.vl2.network import EVERYBODY, Multicast, Network
from zt_async.vl2.serving import ConfigRequest
from zt_async.wire.buffer import Reader
from zt_async.wire.compression import compress, decompress
from zt_async.wire.config_chunks import decode_config_request, encode_config_request
from zt_async.wire.credentials import CertificateOfMembership, Credentials
from zt_async.wire.dictionary import Dictionary
from zt_async.wire.multicast import Gather, Gathered, MulticastFrame, decode_likes, encode_likes
from zt_async.wire.network_config import (
    FLAG_BROADCAST,
    FLAG_PLAIN_MULTICAST,
    ROLE_BRIDGE,
    ROLE_REPLICATOR,
    NetworkConfig,
)
from zt_async.wire.packet import COMPRESSED, VERB_MASK, ErrorCode, Verb
from zt_async.wire.rules import Rule, RuleType
from zt_async.wire.verbs import (
    ExtFrame,
    Rendezvous,
    decode_direct_paths,
    decode_error,
    decode_user_message,
    decode_whois,
    encode_direct_paths,
    encode_user_message,
    encode_whois,
)

TIMESTAMP = 1_700_000_000_000
MAX_DELTA = 600_000
LIMIT = 32  # of a multicast
AT = {
    "root": Endpoint("198.51.100.1", 9993),
    "b": Endpoint("198.51.100.3", 20002),
    "controller": Endpoint("198.51.100.4", 20003),
}
ACCEPT = Rule(RuleType.ACTION_ACCEPT)


class Stage:
    """The node ``self`` and the others that the vectors name; it has paths to the root, B and the controller."""

    def __init__(self, fields: dict[str, Any], *, root: bool = False) -> None:
        self.identities = {name: Identity.parse(text) for name, text in fields["identities"].items()}
        self.own = self.identities["self"]
        self.at = {self.identities[name].address: at for name, at in AT.items()}
        roots = [(self.identities["root"], [AT["root"]])]
        if root:
            roots.append((self.own, [Endpoint("198.51.100.2", 9993)]))
        key = WorldKey.generate(lambda size: bytes(range(size)))
        planet = World.make(WorldType.PLANET, 77, roots, signing_key=key, timestamp=1_600_000_000_000)
        self.vl1 = make_vl1(self.own, planet)
        for identity in self.identities.values():
            if identity != self.own:
                peer = self.vl1.topology.add_peer(identity, NOW)
                peer.version = OWN_VERSION
                peer.replied_hello = True
                peer.last_receive = NOW
                if peer.address in self.at:
                    path = self.vl1.paths.keep(self.vl1.paths.find(SOCKET, self.at[peer.address]))
                    path.last_receive = path.last_answer = NOW
                    peer.learn(path, NOW)
        self.vl2 = VL2(self.vl1, self.vl1.context)

    def join(self, network_id: NetworkId, **options: Any) -> Network:
        """Be on a network, with a configuration."""
        network = self.vl2.join(network_id, NOW)
        config: dict[str, Any] = {
            "network_id": network_id,
            "issued_to": self.own.address,
            "private": False,
            "timestamp": TIMESTAMP,
            "credential_max_delta": MAX_DELTA,
            "multicast_limit": LIMIT,
            "rules": (ACCEPT,),
        }
        assert self.vl2.configurations.apply(network, NetworkConfig(**config | options), NOW)
        self.sent()
        return network

    def certificate(self, network_id: NetworkId, name: str) -> CertificateOfMembership:
        controller = self.identities["controller"]
        return issue_com(controller, network_id, self.identities[name], TIMESTAMP, MAX_DELTA)

    def sent(self) -> list[tuple[NodeAddress, str, int, bytes, bytes]]:
        """What was sent since the last look: to whom, where, verb byte, decompressed payload, packet."""
        keys = {identity.address: self.own.agree(identity) for identity in self.identities.values()}
        return [
            (to, at, verb, decompress(data) if verb & COMPRESSED else data, packet)
            for to, at, verb, data, packet in Sent(self.vl1, keys).packets
        ]


# What is sent


@vector_kind("payloads_sent")
def check_payloads_sent(case: Case, fields: dict[str, Any]) -> None:
    payload = unhex(case["payload"])
    assert join_fields(case["fields"]) == payload
    assert Verb[case["verb_name"]] == case["verb"]
    assert case["valid"]
    stage = Stage(fields)
    assert str(stage.own.address) == case["source"]
    destination = NodeAddress.parse(case["destination"])
    make = _ON_STAGE.get(case["verb"])
    if make is None:
        compressible = case["verb"] in (Verb.USER_MESSAGE, Verb.PUSH_DIRECT_PATHS)
        made = _make_alone(case, payload)
        stage.vl1.send(destination, Verb(case["verb"]), made, NOW, compressible=compressible)
    else:
        make(stage, case, payload)
    _, _, verb, made, packet = next(
        sent for sent in stage.sent() if sent[0] == destination and sent[2] & VERB_MASK == case["verb"]
    )
    assert packet[18] >> 3 & 7 == case["cipher"]
    if case["verb"] == Verb.NETWORK_CONFIG_REQUEST:
        made = _on_platform_of(payload, made)
    assert bool(verb & 0x80) is case["compressed_on_wire"]
    assert made == payload


def _make_alone(case: Case, payload: bytes) -> bytes:
    """Payloads of VL1, which depend on nothing else."""
    values = [field["value"] for field in case["fields"]]
    context = case.get("context", {})
    match case["verb"]:
        case Verb.PUSH_DIRECT_PATHS:
            endpoints = [Endpoint.parse(text) for text in context["paths"]]
            assert {path.endpoint for path in decode_direct_paths(payload)} <= set(endpoints)
            return next(made for made in encode_direct_paths(endpoints) if made == payload)
        case Verb.WHOIS:
            asked = [NodeAddress.parse(value) for value in values]
            assert decode_whois(payload) == asked
            return encode_whois(asked)
        case Verb.RENDEZVOUS:
            peer, at = "second", "second_at"
            if case["destination"] == context["second"]:
                peer, at = "first", "first_at"
            meeting = Rendezvous(NodeAddress.parse(context[peer]), Endpoint.parse(context[at]))
            assert Rendezvous.decode(payload) == meeting
            return meeting.encode()
        case Verb.USER_MESSAGE:
            kind, data = int(values[0], 16), unhex(values[1]) if len(values) > 1 else b""
            assert decode_user_message(payload) == (kind, data)
            return encode_user_message(kind, data)
        case Verb.ECHO:
            return b""
    raise AssertionError(f"no check for {case['verb_name']}")


def _ask_for_configuration(stage: Stage, case: Case, payload: bytes) -> None:
    context = case.get("context", {})
    network_id = NetworkId.from_packed(payload[:8])
    held = None
    if context:
        config = NetworkConfig(network_id=network_id, issued_to=stage.own.address, **context)
        held = config.encode()
    stage.vl2.join(network_id, NOW, held)


def _on_platform_of(payload: bytes, made: bytes) -> bytes:
    """A request as it would be on the machine that the vector is from."""
    other = Dictionary.decode(decode_config_request(payload).metadata).get("o") or b""
    network_id, metadata, revision, timestamp = decode_config_request(made)
    metadata = metadata.replace(b"o=" + PLATFORM.encode(), b"o=" + other)
    return encode_config_request(network_id, metadata, revision, timestamp)


def _announce(stage: Stage, case: Case, payload: bytes) -> None:
    likes = decode_likes(payload)
    groups = [group for _, group in likes]
    network_id = likes[0].network_id
    network = stage.join(network_id, flags=FLAG_BROADCAST if EVERYBODY in groups else 0)
    stage.vl2.set_groups(network_id, frozenset(groups) - {EVERYBODY}, NOW)
    stage.sent()
    if "context" in case:  # in the order in which they were given
        named = [MulticastGroup(MACAddress.parse(g["mac"]), g["adi"]) for g in case["context"]["groups"]]
        assert sorted(named) == network.announced_groups()
        network.announced_groups = lambda: named  # type: ignore[method-assign]
        assert payload in encode_likes(network_id, named)
    stage.vl2.multicast.announce_to(network, network.record(NodeAddress.parse(case["destination"])), NOW)


def _gather(stage: Stage, case: Case, payload: bytes) -> None:
    gather = Gather.decode(payload)
    context = case["context"]
    assert gather.group == (int(context["group_mac"], 16), context["adi"])
    network = stage.join(
        gather.network_id,
        private=gather.certificate is not None,
        certificate=gather.certificate,
        multicast_limit=gather.limit - 1,
    )
    stage.vl2.multicast.send(network, Multicast(gather.group, None, 0x86DD, bytes(50)), NOW)


def _send_multicast(stage: Stage, case: Case, payload: bytes) -> None:
    frame = MulticastFrame.decode(payload)
    context, own = case["context"], stage.own.address
    receiver = NodeAddress.parse(case["destination"])
    limit = max(LIMIT, frame.gather_limit - 1)
    known = limit + 1 - frame.gather_limit
    roles = {own: 0, receiver: 0}
    if frame.replicate:
        roles[receiver] = ROLE_REPLICATOR
    elif not known:
        roles[receiver] = ROLE_BRIDGE
    plain = not case["compressed_on_wire"] and compress(payload) is not None
    foreign = frame.source not in (None, member_mac(frame.network_id, own))
    if foreign:
        roles[own] = ROLE_BRIDGE
    network = stage.join(
        frame.network_id,
        multicast_limit=limit,
        flags=FLAG_PLAIN_MULTICAST if plain else 0,
        specialists=tuple(address | role for address, role in roles.items() if role),
    )
    if not frame.replicate and known:
        key = GroupKey(frame.network_id, frame.group)
        members = [receiver, *(NodeAddress(0x1234500000 + i) for i in range(known - 1))]
        stage.vl2.multicast.learn(key, members, NOW)
    source = frame.source if foreign and frame.source is not None else network.mac
    destination = frame.group.mac
    if "tap_destination_mac" in context:
        destination = MACAddress.parse(context["tap_destination_mac"])
        assert source == MACAddress.parse(context["tap_source_mac"])
        assert (frame.ethertype, frame.data) == (context["ethertype"], unhex(context["frame"]))
        stage.vl2.send_frames(network.id, [(destination, source, frame.ethertype, frame.data)], NOW)
    else:
        assert frame.group == (int(context["group_mac"], 16), context["adi"])
        multicast = Multicast(frame.group, source if foreign else None, frame.ethertype, frame.data)
        stage.vl2.multicast.send(network, multicast, NOW)


def _send_frame(stage: Stage, case: Case, payload: bytes) -> None:
    context = case["context"]
    network_id, own = NetworkId.from_packed(payload[:8]), stage.own.address
    source, destination = (int(context[f"tap_{end}_mac"], 16) for end in ("source", "destination"))
    rules: tuple[Rule, ...] = (ACCEPT,)
    credentials = Credentials()
    bridges = []
    if case["verb"] == Verb.EXT_FRAME:
        ext = ExtFrame.decode(payload)
        if kind := _COPIES.get(ext.flags):
            target = NodeAddress.parse(case["destination"])
            rules = (Rule(kind, (target, 0, len(ext.data))), ACCEPT)
        else:
            bridges = [own, NodeAddress.parse(case["destination"])]
    elif case["verb"] == Verb.NETWORK_CREDENTIALS:
        credentials = Credentials.decode(payload)
        network_id = next(iter(credentials)).network_id
    specialists = tuple(bridge | ROLE_BRIDGE for bridge in bridges)
    stage.join(network_id, rules=rules, specialists=specialists, **_holding(credentials))
    frame = (destination, source, context["ethertype"], unhex(context["frame"]))
    stage.vl2.send_frames(network_id, [frame], NOW)


_COPIES = {0x02: RuleType.ACTION_TEE, 0x04: RuleType.ACTION_REDIRECT, 0x16: RuleType.ACTION_WATCH}


def _holding(credentials: Credentials) -> dict[str, Any]:
    """Options of a configuration that gives a member these credentials."""
    return {
        "private": bool(credentials.coms),
        "certificate": next(iter(credentials.coms), None),
        "capabilities": credentials.capabilities,
        "tags": credentials.tags,
        "ownerships": credentials.ownerships,
    }


def _send_credentials(stage: Stage, case: Case, payload: bytes) -> None:
    if "context" in case:  # they go before a frame
        _send_frame(stage, case, payload)
        return
    credentials = Credentials.decode(payload)
    receiver = NodeAddress.parse(case["destination"])
    if credentials.revocations:
        stage.vl2.send_credentials(receiver, credentials, NOW)
        return
    network_id = next(iter(credentials)).network_id
    network = stage.join(network_id, **_holding(credentials))
    stage.vl2.credentials.push(network, network.record(receiver), NOW)


def _refuse(stage: Stage, case: Case, payload: bytes) -> None:
    in_re, packet_id, code, data = decode_error(payload)
    assert in_re == Verb.NETWORK_CONFIG_REQUEST
    receiver = stage.identities["b"]
    request = ConfigRequest(
        network_id=NetworkId.from_packed(data[:8]),
        member=receiver.address,
        identity=receiver.public(),
        packet_id=packet_id,
        metadata=b"",
        endpoint=AT["b"],
        version=OWN_VERSION,
    )
    stage.vl2.refuse_request(request, ErrorCode(code), data[8:], NOW)


_ON_STAGE = {
    Verb.NETWORK_CONFIG_REQUEST: _ask_for_configuration,
    Verb.MULTICAST_LIKE: _announce,
    Verb.MULTICAST_GATHER: _gather,
    Verb.MULTICAST_FRAME: _send_multicast,
    Verb.FRAME: _send_frame,
    Verb.EXT_FRAME: _send_frame,
    Verb.NETWORK_CREDENTIALS: _send_credentials,
    Verb.ERROR: _refuse,
}


# What is received


@vector_kind("payloads_received")
def check_payloads_received(case: Case, fields: dict[str, Any]) -> None:
    situation, payload = case["situation"], unhex(case["payload"])
    assert case["verb_name"] == (Verb(case["verb"]).name if case["verb"] in set(Verb) else "?")
    stage = Stage(fields, root=situation.get("self_is_root", False))
    network = _prepare(stage, situation)
    groups_before = _memberships(stage)
    if case.get("fields"):
        assert join_fields(case["fields"]) == payload
    sender = next(i for i in stage.identities.values() if str(i.address) == case["from"])
    packet = sender.agree(stage.own).seal(
        unhex(case["packet_id"]),
        stage.own.address.packed + sender.address.packed,
        0,
        bytes((case["verb"],)) + payload,
        1,
    )
    packet = packet[:18] + bytes((packet[18] | case.get("hops", 0),)) + packet[19:]
    stage.vl1.receive_datagrams(SOCKET, stage.at[sender.address], [packet], NOW)
    stage.vl2.receive_packets(stage.vl1.take_packets(), NOW)

    got = [
        {"to": str(to), "at": at, "verb": verb & VERB_MASK, "payload": data.hex()}
        for to, at, verb, data, _ in stage.sent()
        if verb & VERB_MASK != Verb.PUSH_DIRECT_PATHS
    ]
    candidates = {entry["member"] for entry in situation.get("known_members", ())} - {case["from"]}
    _assert_same(got, case["sends"], {NodeAddress.parse(member) for member in candidates})
    delivered = [
        {
            "source_mac": f"{source:012x}",
            "destination_mac": f"{destination:012x}",
            "ethertype": ethertype,
            "frame": data.hex(),
        }
        for frames in stage.vl2.take_frames().values()
        for destination, source, ethertype, data in frames
    ]
    assert delivered == case["delivers"]
    messages = [event.data.hex() for event in stage.vl1.take_events() if hasattr(event, "data")]
    assert messages == case.get("user_messages", [])
    groups = _memberships(stage)
    if "multicast_members_after" in case:
        assert groups == {tuple(entry.values()) for entry in case["multicast_members_after"]}
    if "network_status_after" in case:
        assert network.status == case["network_status_after"]
    routes = {f"{mac:012x}": str(member) for mac, member in network.bridge_routes.items()}
    assert routes == case.get("bridge_routes_after", {})
    changed = groups != groups_before or network.status != 1
    assert case["valid"] is bool(got or delivered or messages or routes or changed)


def _prepare(stage: Stage, situation: dict[str, Any]) -> Network:
    """Bring the node into a situation."""
    assert str(stage.own.address) == situation["self"]
    network_id = NetworkId.parse(situation["network_id"])
    b = stage.identities["b"].address
    assert str(b) == situation["member_b"]
    private = situation["network_private"]
    bridges = [
        address | ROLE_BRIDGE
        for address, flag in ((stage.own.address, "self_is_bridge"), (b, "b_is_bridge"))
        if situation.get(flag)
    ]
    network = stage.join(
        network_id,
        private=private,
        certificate=stage.certificate(network_id, "self") if private else None,
        flags=FLAG_BROADCAST,
        multicast_limit=situation["multicast_limit"],
        rules=rules_of(situation["rules"]) if "rules" in situation else (ACCEPT,),
        specialists=tuple(bridges),
    )
    if private and situation["b_is_member"]:
        stage.vl2.credentials.take_inline(stage.certificate(network_id, "b"), NOW)
    subscribed = [
        MulticastGroup(MACAddress.parse(g["mac"]), g["adi"]) for g in situation.get("subscribed", ())
    ]
    stage.vl2.set_groups(network_id, frozenset(subscribed), NOW)
    for entry in situation.get("known_members", ()):
        group = MulticastGroup(MACAddress.parse(entry["mac"]), entry["adi"])
        stage.vl2.multicast.learn(GroupKey(network_id, group), [NodeAddress.parse(entry["member"])], NOW)
    record = network.record(b)
    record.announce_due = NEVER if "groups_not_announced_lately" in situation else NOW + 60
    record.push_due = record.pushed = NEVER
    stage.vl2.credentials._due.clear()
    if not situation["joined"]:
        stage.vl2.leave(network_id)
    stage.sent()
    return network


def _memberships(stage: Stage) -> set[tuple[str, str, int, str]]:
    """All that is known of groups: network, MAC, ADI, member."""
    return {
        (str(network_id), f"{int(group.mac):012x}", group.adi, str(NodeAddress(member)))
        for (network_id, group), members in stage.vl2.multicast.table.items()
        for member in members
    }


def _assert_same(
    got: list[dict[str, Any]], expected: list[dict[str, Any]], candidates: set[NodeAddress]
) -> None:
    """Packets are what they should be; members of groups may come in any order, and be any that are known."""

    def comparable(packet: dict[str, Any]) -> tuple[Any, ...]:
        data = unhex(packet["payload"])
        members: tuple[NodeAddress, ...] = ()
        start = 9 + 8 + 10 + (data[:1] == bytes((Verb.MULTICAST_FRAME,)))
        if packet["verb"] == Verb.OK and data[0] in (Verb.MULTICAST_GATHER, Verb.MULTICAST_FRAME):
            members = Gathered.read(Reader(data, start)).members
            data = data[: start + 6]
        others = [member for member in members if member in candidates]
        own = [member for member in members if member not in candidates]
        return packet["to"], packet["at"], packet["verb"], data, tuple(own), len(set(others))

    assert sorted(map(comparable, got)) == sorted(map(comparable, expected))
