"""Checks of the vectors about configurations of networks."""

from __future__ import annotations

from ipaddress import ip_address, ip_interface
from typing import Any

from tests.vectors.registry import Case, assert_refused, vector_kind
from tests.vectors.rules_kinds import rules_of
from zt_async.crypto.credentials import sign_chunk
from zt_async.crypto.identity import Identity
from zt_async.errors import DecodeError
from zt_async.types import DNS, NetworkId, NodeAddress, Route
from zt_async.vl2.assembly import ConfigAssembly
from zt_async.wire.buffer import Reader
from zt_async.wire.config_chunks import ConfigChunk, split_config
from zt_async.wire.credentials import Capability, CertificateOfMembership, CertificateOfOwnership, Tag
from zt_async.wire.dictionary import Dictionary
from zt_async.wire.network_config import NetworkConfig, SingleSignOn
from zt_async.wire.packet import Verb
from zt_async.wire.verbs import decode_ok

unhex = bytes.fromhex


@vector_kind("dictionary")
def check_dictionary(case: Case, fields: dict[str, str]) -> None:
    {"build": _check_build, "typed": _check_typed, "parse": _check_parse}[case["kind"]](case)


def _value(d: Dictionary, key: str) -> str | None:
    value = d.get(key)
    return None if value is None else value.hex()


def _check_build(case: Case) -> None:
    d = Dictionary(case["capacity"] - 1)
    for entry in case["add"]:
        before = d.encode()
        if entry["added"]:
            d.put(entry["key"], unhex(entry["value"]))
        else:
            assert_refused(ValueError, d.put, entry["key"], unhex(entry["value"]))
            assert d.encode() == before
    assert case["valid"] is all(entry["added"] for entry in case["add"])
    assert d.encode().hex() == case["text"]
    again = Dictionary.decode(d.encode())
    for key, value in case["get"].items():
        assert _value(d, key) == _value(again, key) == value
    assert again.encode() == d.encode()


def _check_typed(case: Case) -> None:
    d = Dictionary()
    key, value = case["key"], case["value"]
    match case["type"]:
        case "uint64":
            d.put_int(key, value)
            assert d.get_uint(key) == value
        case "int64":
            d.put_int(key, value)
            assert d.get_int(key) == abs(value)
        case "bool":
            d.put_bool(key, value)
            assert d.get_bool(key, not value) is value
        case "address":  # written like any integer, but for the two addresses in a configuration
            d.put_int(key, NodeAddress.parse(value))
            assert d.get_address(key) == NodeAddress.parse(value)
        case other:
            raise AssertionError(other)
    assert d.encode().hex() == case["text"]
    assert case["valid"]


def _check_parse(case: Case) -> None:
    text, limit = unhex(case["text"]), case["capacity"] - 1
    if not case["loaded"]:
        assert_refused(DecodeError, Dictionary.decode, text, limit)
        assert not case["valid"]
    d = Dictionary.decode(text[:limit], limit)
    for key, wanted in case["get"].items():
        assert _value(d, key) == wanted["value"]
        assert d.get_uint(key, 4660) == _number(wanted["uint"])
        assert d.get_int(key, -5) == wanted["int"]
        assert d.get_bool(key) is wanted["bool"]


def _number(value: int | str) -> int:
    return int(value, 16) if isinstance(value, str) else value


def _dns(text: dict[str, Any]) -> DNS | None:
    servers = [server.split("/") for server in text["servers"] if server]
    ports = tuple(int(port) for _, port in servers)
    dns = DNS(text["domain"], tuple(ip_address(host) for host, _ in servers), ports if any(ports) else ())
    return None if dns == DNS("") else dns


def _sso(text: dict[str, Any]) -> SingleSignOn | None:
    sso = SingleSignOn(
        version=text["sso_version"],
        enabled=text["sso_enabled"],
        authentication_url=text["authentication_url"],
        expiry=text["authentication_expiry_time"],
        issuer_url=text["issuer_url"],
        central_url=text["central_auth_url"],
        nonce=text["sso_nonce"],
        state=text["sso_state"],
        client_id=text["sso_client_id"],
        provider=text["sso_provider"],
    )
    return None if sso == SingleSignOn() else sso


def _route(text: dict[str, Any]) -> Route:
    via = ip_address(text["via"].split("/")[0]) if text["via"] else None
    target = ip_interface(text["target"]).network  # its host bits do not matter
    return Route(target, via, text["flags"], text["metric"])


def config_of(text: dict[str, Any]) -> NetworkConfig:
    """A configuration as the cases write it."""
    return NetworkConfig(
        network_id=NetworkId.parse(text["network_id"]),
        issued_to=NodeAddress.parse(text["issued_to"]),
        name=text["name"],
        private=text["type"] != 1,
        mtu=text["mtu"],
        revision=text["revision"],
        timestamp=text["timestamp"],
        credential_max_delta=text["credential_time_max_delta"],
        flags=text["flags"],
        multicast_limit=text["multicast_limit"],
        addresses=tuple(map(ip_interface, text["static_ips"])),
        routes=tuple(map(_route, text["routes"])),
        dns=_dns(text["dns"]),
        rules=rules_of(text["rules"]),
        specialists=tuple(int(specialist, 16) for specialist in text["specialists"]),
        certificate=CertificateOfMembership.read(Reader(unhex(text["com"]))) if text["com"] else None,
        capabilities=tuple(Capability.read(Reader(unhex(c["binary"]))) for c in text["capabilities"]),
        tags=tuple(Tag.read(Reader(unhex(tag["binary"]))) for tag in text["tags"]),
        ownerships=tuple(
            CertificateOfOwnership.read(Reader(unhex(c if isinstance(c, str) else c["binary"])))
            for c in text["certificates_of_ownership"]
        ),
        trace_target=NodeAddress.parse(text["remote_trace_target"]),
        trace_level=text["remote_trace_level"],
        sso=_sso(text),
    )


@vector_kind("network_config")
def check_network_config(case: Case, fields: dict[str, str]) -> None:
    text = unhex(case["dictionary"])
    if case["kind"] == "read":
        if case["valid"]:
            assert NetworkConfig.decode(text) == config_of(case["config"])
        else:
            assert_refused(DecodeError, NetworkConfig.decode, text)
        return
    config = config_of(case["config"])
    assert case["valid"]
    assert config.encode() == text
    assert case["read_back_ok"]
    assert NetworkConfig.decode(text) == config_of(case.get("read_back", case["config"]))


@vector_kind("network_config_chunks")
def check_network_config_chunks(case: Case, fields: dict[str, str]) -> None:
    if "steps" in case:
        _check_steps(case)
    else:
        _check_chunks(case)


def _check_chunks(case: Case) -> None:
    controller = Identity.parse(case["controller_secret_string"])
    assert controller.public() == Identity.parse(case["controller_public_string"])
    network_id = NetworkId.parse(case["network_id"])
    chunks = []
    for wanted in case["chunks"]:
        payload = body = unhex(wanted["payload"])
        request = int(case["request_packet_id"], 16)
        assert wanted["verb"] == (Verb.OK if request else Verb.NETWORK_CONFIG)
        if request:
            in_re_verb, in_re, body = decode_ok(payload)
            assert (in_re_verb, in_re) == (Verb.NETWORK_CONFIG_REQUEST, request)
        chunk = ConfigChunk.decode(body)
        assert chunk.encode() == body
        assert chunk.signed_part() == payload[wanted["signed_from"] :][: wanted["signed_length"]]
        assert wanted["signed_from"] == len(payload) - len(body)
        assert len(chunk.data) == wanted["chunk_length"]
        assert chunk.flags == wanted["flags"]
        assert chunk.update_id == int(wanted["update_id"], 16)
        assert chunk.total == wanted["total_length"]
        assert chunk.offset == wanted["chunk_index"]
        assert chunk.signature == unhex(wanted["signature"])
        chunks.append(chunk)
    dictionary = b"".join(chunk.data for chunk in chunks)
    assert len(dictionary) == case["dictionary_length"]
    assert dictionary.hex() == case.get("dictionary", dictionary.hex())
    unsigned = split_config(network_id, dictionary, chunks[0].update_id)
    assert [sign_chunk(chunk, controller) for chunk in unsigned] == chunks
    config = NetworkConfig.decode(dictionary)
    assert (config.network_id, str(config.issued_to)) == (network_id, case["member_public_string"][:10])
    assert config.encode() == dictionary
    assert case["valid"]


_PACKET_ID = 0x1111


def _check_steps(case: Case) -> None:
    controller = Identity.parse(case["controller_public_string"])
    member = Identity.parse(case["member_public_string"])
    network_id = NetworkId.parse(case["network_id"])
    assembly = ConfigAssembly()
    config = None
    for step in case["steps"]:
        source = controller.address if step["from_controller"] else member.address
        completed, parsed = 0, False
        try:
            chunk = ConfigChunk.decode(unhex(step["chunk"]))
            parsed = True
            assembled = assembly.add(chunk, source, controller, _PACKET_ID)
            if assembled is not None and assembled.dictionary is not None:
                config = NetworkConfig.decode(assembled.dictionary)
                completed = assembled.update_id
                assert (config.network_id, config.issued_to) == (network_id, member.address)
        except DecodeError:
            pass
        assert completed == int(step["result_update_id"], 16)
        assert not (parsed and step.get("result_error"))
    assert case["valid"] is case["configured_after"] is (config is not None)
