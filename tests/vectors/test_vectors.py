"""The vectors of this folder hold, and the checker would notice if they did not."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.vectors.__main__ import main
from tests.vectors.registry import Case, known_kinds
from tests.vectors.runner import check_file
from zt_async.errors import DecodeError

FOLDER = Path(__file__).parent
KINDS = known_kinds()

# Parts of inputs that do not matter to what their cases state.
WITHOUT_CONSEQUENCE = {
    "credential_sequences com-then-newer config_timestamp",  # only certificates of membership in it
    "credential_sequences com-then-newer credential_time_max_delta",
    "credential_sequences com-then-newer network_public",
    "dictionary all-bytes capacity",  # there is room to spare
    "dictionary lf capacity",
    "dictionary lf valid",  # whether anything is odd about a text; it is read all the same
    "dictionary single capacity",
    "fragments split-1432-mtu-1432 mtu",  # it fits into either
    *(f"hello {name} receiver_knows_sender" for name in ("hello-0", "hello-3", "proto-12-no-moons")),
    *(f"hello {name} receiver_time" for name in ("hello-0", "hello-3")),
    "key_agreement pair-0-ab local_secret_string",  # its address
    "key_agreement pair-0-ab remote_public_string",
    "key_agreement low-order-zero local_secret_string",
    "mac_ip address-fe000017ff address",
    "network_config_chunks receive-0-in-order controller_public_string",  # its address
    "ndp_emulation sixplane-0 destination_mac",
    "ndp_emulation sixplane-0 frame",  # its version: the Ethernet type has said it
    "ndp_emulation sixplane-0 network_flags",  # the bit of another flag
    "packets key-tail-ignored aes_k0",
    "packets key-tail-ignored aes_k1",
    "payloads_received echo-hops hops",
    *(f"payloads_received {name} packet_id" for name in ("like-1", "like-root", "mcframe-bridged-ok")),
    *(f"payloads_received {name} packet_id" for name in ("user-message", "error-need-credentials")),
    "poly1305 len-0 key",  # only its second half counts without a message
    "revocations ok binary",  # it begins with bytes that have no meaning
    "salsa20 keystream-12-0 key",
    "salsa20 keystream-12-0 iv",
    "signatures S-plus-L signer_public_string",  # its address
    "world_topology planet-update always_accept_new",  # it is about moons
    "world_topology planet-update self",  # in neither planet
}


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.json")), ids=lambda path: path.stem)
def test_every_case_of_the_file_holds(path):
    outcome = check_file(path, KINDS[path.stem])
    assert outcome.failures == []
    assert outcome.passed


def changed(value: object) -> object:
    """The value with one thing about it wrong; None if it is empty."""
    match value:
        case bool():
            return not value
        case int():
            return value + 1
        case str() if value:
            return ("1" if value[0] == "0" else "0") + value[1:]
        case list() if value:
            return [changed(value[0]), *value[1:]]
        case dict():
            key = next(key for key in value if key != "name")
            return value | {key: changed(value[key])}
    return None


def planted_failures(kind: str, cases: list[Case]) -> Iterator[tuple[str, Case]]:
    """The first valid case of each shape, with each of its statements made wrong in turn."""
    seen = set()
    for case in cases:
        shape = (case.get("kind"), *sorted(case))
        if case["valid"] and shape not in seen:
            seen.add(shape)
            for statement in case.keys() - {"name", "note", "kind"}:
                wrong = changed(case[statement])
                if wrong is not None:
                    yield f"{kind} {case['name']} {statement}", case | {statement: wrong}


@pytest.mark.parametrize(
    "kind",
    [
        *("aes_gmac_siv", "crypt_field", "identities", "inetaddress", "key_agreement", "lz4", "mac_ip"),
        *("multicast_groups", "packets", "poly1305", "salsa20", "signatures", "worlds"),
        *("capabilities", "certificate_of_membership", "certificates_of_ownership", "credential_sequences"),
        *("dictionary", "network_config", "network_config_chunks", "revocations", "tags"),
        *("adhoc_networks", "fragments", "hello", "ndp_emulation", "payloads_received", "payloads_sent"),
        "world_topology",
    ],
)
def test_every_wrong_statement_is_noticed(kind):
    unnoticed = set()
    content = json.loads((FOLDER / f"{kind}.json").read_text())
    for what, case in planted_failures(kind, content["cases"]):
        try:
            KINDS[kind](case, content["fields"])
        except Exception:  # an error is a failure too: the input may not even parse
            continue
        unnoticed.add(what)
    assert unnoticed == {what for what in WITHOUT_CONSEQUENCE if what.split()[0] == kind}


@pytest.mark.parametrize(
    ("kind", "statements"),
    [
        ("rules", ("inbound", "outbound", "rules_binary", "valid")),
        ("network_filter", ("result", "rules_binary", "sent_aside", "valid")),
        ("rules_binary", ("consumed", "reserialized", "rules", "valid")),
    ],
)
def test_every_wrong_outcome_is_noticed(kind, statements):
    """Much of a frame does not matter to the rules, but all does that they make of it."""
    for case in json.loads((FOLDER / f"{kind}.json").read_text())["cases"]:
        for statement in case.keys() & statements:
            wrong = changed(case[statement])
            if wrong is not None:
                with pytest.raises((AssertionError, DecodeError)):
                    KINDS[kind](case | {statement: wrong}, {})


@pytest.mark.parametrize(
    ("binary", "rule"),
    [
        (
            "3313ffffffffffffffff0000000000000005000007",
            {"type": 51, "name": "MATCH_INTEGER_RANGE", "start": (1 << 64) - 1, "end_relative": 6}
            | {"idx": 0, "format": 7},
        ),
        ("1f050a000001ff", {"type": 31, "name": "MATCH_IPV4_SOURCE", "ip": "10.0.0.1/255"}),
    ],
)
def test_rules_with_odd_operands_hold(binary, rule):
    case = {
        "binary": binary,
        "max_rules": 9,
        "valid": True,
        "consumed": len(binary) // 2,
        "reserialized": binary,
    }
    KINDS["rules_binary"](case | {"rules": [rule | {"not": False, "or": False}]}, {})


def test_a_configuration_with_an_odd_route_and_type_holds():
    cases = json.loads((FOLDER / "network_config.json").read_text())["cases"]
    case = next(case for case in cases if case["name"] == "base")
    route = {"target": "10.1.2.3/8", "via": "", "flags": 0, "metric": 0}
    text = bytes.fromhex(case["dictionary"])
    text = b"t=2\nRT=\x04\\n\x01\x02\x03\\0\x08\\0\\0\\0\\0\\0\n" + text
    config = case["config"] | {"routes": [route], "type": 2}
    KINDS["network_config"](case | {"dictionary": text.hex(), "config": config}, {})


@pytest.fixture
def folder(tmp_path):
    """A folder with a small file of vectors, two cases long."""
    content = json.loads((FOLDER / "multicast_groups.json").read_text())
    write(tmp_path / "multicast_groups.json", content["cases"][:2])
    return tmp_path


def write(path: Path, cases: list[Case]) -> None:
    path.write_text(json.dumps({"description": "", "fields": {}, "cases": cases}))


def test_the_command_line_names_what_it_checks_and_what_it_does_not_know(folder, capsys):
    (folder / "README.md").write_text("not vectors")
    write(folder / "tea_leaves.json", [{"name": "a"}])
    assert main([str(folder)]) == 0
    assert capsys.readouterr() == (
        "multicast_groups: 2 passed, 0 failed\ntea_leaves: unknown kind, not checked\n",
        "",
    )


def test_the_command_line_fails_for_a_planted_failure(folder):
    path = folder / "multicast_groups.json"
    cases = json.loads(path.read_text())["cases"]
    cases[1]["adi"] += 1
    write(path, cases)
    run = subprocess.run(
        [sys.executable, "-m", "tests.vectors", str(folder)],
        cwd=FOLDER.parent.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 1
    assert run.stdout == "multicast_groups: 1 passed, 1 failed\n"
    assert run.stderr.startswith(f"multicast_groups/{cases[1]['name']}: does not hold: assert adi == ")


@pytest.mark.parametrize("content", ["", "[]", '{"fields": {}}', '{"fields": {}, "cases": [{}]}', "\udcff"])
def test_a_file_that_holds_no_vectors_is_a_failure(folder, capsys, content):
    (folder / "worlds.json").write_bytes(content.encode(errors="surrogateescape"))
    assert main([str(folder)]) == 1
    output, errors = capsys.readouterr()
    assert output.splitlines()[1] == "worlds: 0 passed, 1 failed"
    assert "worlds.json: not a file of test vectors" in errors


def test_a_folder_without_vectors_is_an_error(tmp_path, capsys):
    assert main([str(tmp_path)]) == 2
    assert "there are no test vectors" in capsys.readouterr().err
    assert main([str(tmp_path / "missing")]) == 2
    assert "cannot read the folder" in capsys.readouterr().err
    assert main([]) == 2
    assert "usage" in capsys.readouterr().err
