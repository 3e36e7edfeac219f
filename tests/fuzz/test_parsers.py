"""What controllers and members say of networks, damaged: each parser reads it or raises DecodeError, in little time.

The corpus is what the test vectors hold. Real packets of these kinds are in the siege too; here each parser gets its
full dose, without keys and signatures before it.
"""

import json
import random
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.vectors.credential_kinds import known_identities
from zt_async.errors import DecodeError
from zt_async.vl2.membership import Members, Outcome
from zt_async.wire.buffer import Reader
from zt_async.wire.config_chunks import ConfigChunk, decode_config_request, encode_config_request
from zt_async.wire.credentials import (
    Capability,
    CertificateOfMembership,
    CertificateOfOwnership,
    Credentials,
    Revocation,
    Tag,
)
from zt_async.wire.dictionary import Dictionary
from zt_async.wire.multicast import Gather, GatherReply, MulticastFrame, MulticastFrameReply, decode_likes
from zt_async.wire.network_config import NetworkConfig
from zt_async.wire.packet import Verb
from zt_async.wire.rules import decode_rules, encode_rules

VECTORS = Path(__file__).parent.parent / "vectors"


class Parser(NamedTuple):
    decode: Callable[[bytes], Any]
    encode: Callable[[Any], bytes] | None
    corpus: Callable[[], list[bytes]]


@cache
def vectors(kind: str) -> dict[str, Any]:
    return json.loads((VECTORS / f"{kind}.json").read_text())


def found(value: object, *names: str) -> Iterator[bytes]:
    """The binaries under these names, however deep."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if name in names and isinstance(inner, str):
                yield bytes.fromhex(inner)
            yield from found(inner, *names)
    elif isinstance(value, list):
        for inner in value:
            yield from found(inner, *names)


def binaries(kind: str, *names: str) -> list[bytes]:
    return list(found(vectors(kind)["cases"], *names))


def payloads(*verbs: int) -> list[bytes]:
    cases = vectors("payloads_sent")["cases"] + vectors("payloads_received")["cases"]
    return [bytes.fromhex(case["payload"]) for case in cases if case["verb"] in verbs]


def replies(verb: int) -> list[bytes]:
    sends = [bytes.fromhex(p["payload"]) for c in vectors("payloads_received")["cases"] for p in c["sends"]]
    return [payload[9:] for payload in sends if payload[:1] == bytes((verb,)) and len(payload) > 20]


def credential(kind: type, name: str) -> Parser:
    return Parser(
        lambda data: kind.read(Reader(data)), lambda value: value.encode(), lambda: binaries(name, "binary")
    )


def whole(kind: type, corpus: Callable[[], list[bytes]]) -> Parser:
    return Parser(kind.decode, lambda value: value.encode(), corpus)


PARSERS = {
    "com": credential(CertificateOfMembership, "certificate_of_membership"),
    "capability": credential(Capability, "capabilities"),
    "tag": credential(Tag, "tags"),
    "ownership": credential(CertificateOfOwnership, "certificates_of_ownership"),
    "revocation": credential(Revocation, "revocations"),
    "credentials": whole(Credentials, lambda: payloads(Verb.NETWORK_CREDENTIALS)),
    "dictionary": Parser(
        Dictionary.decode,
        None,
        lambda: binaries("dictionary", "text") + binaries("network_config", "dictionary"),
    ),
    "config": whole(NetworkConfig, lambda: binaries("network_config", "dictionary")),
    "chunk": whole(ConfigChunk, lambda: binaries("network_config_chunks", "chunk")),
    "request": Parser(
        decode_config_request,
        lambda value: encode_config_request(*value),
        lambda: payloads(Verb.NETWORK_CONFIG_REQUEST),
    ),
    "rules": Parser(decode_rules, encode_rules, lambda: binaries("rules_binary", "binary")),
    "likes": Parser(decode_likes, None, lambda: payloads(Verb.MULTICAST_LIKE)),
    "gather": whole(Gather, lambda: payloads(Verb.MULTICAST_GATHER)),
    "gathered": whole(GatherReply, lambda: replies(Verb.MULTICAST_GATHER)),
    "multicast frame": whole(MulticastFrame, lambda: payloads(Verb.MULTICAST_FRAME)),
    "multicast reply": whole(MulticastFrameReply, lambda: replies(Verb.MULTICAST_FRAME)),
}


def damaged(rng: random.Random, corpus: list[bytes]) -> bytes:
    """Some bytes of the corpus, not as they were."""
    data = bytearray(rng.choice(corpus))
    for _ in range(rng.choice((1, 1, 2, 5))):
        at = rng.randrange(len(data) + 1)
        match rng.randrange(7):
            case 0 if data:
                data[at % len(data)] ^= 1 << rng.randrange(8)
            case 1 if data:
                data[at % len(data)] = rng.choice((0, 1, 2, 4, 6, 0x3D, 0x5C, 0x7F, 0x80, 0xFF))
            case 2:
                del data[at:]
            case 3:
                del data[at : at + rng.choice((1, 2, 5, 24))]
            case 4:
                data[at:at] = rng.randbytes(rng.choice((1, 2, 8, 100)))
            case 5:
                data[at : at + 8] = rng.choice((bytes(8), b"\xff" * 8, rng.randbytes(8)))
            case _:
                other = rng.choice(corpus)
                data[at:] = other[rng.randrange(len(other) + 1) :]
    return bytes(data)


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("name", PARSERS)
def test_a_parser_reads_what_is_damaged_or_refuses_it(name, fuzz_count, report):
    decode, encode, make_corpus = PARSERS[name]
    corpus = make_corpus()
    assert corpus
    rng = random.Random(name)
    outcomes: Counter[str] = Counter()
    for _ in range(fuzz_count // 10):
        data = damaged(rng, corpus)
        try:
            value = decode(data)
        except DecodeError as error:
            outcomes[str(error)] += 1
            continue
        outcomes["read"] += 1
        if encode is not None:
            written = encode(decode(encode(value)))  # what is not understood is not written a second time
            assert encode(decode(written)) == written, data.hex()
    assert outcomes["read"]
    assert len(outcomes) < 30  # reasons are constant
    report(", ".join(f"{reason}: {count}" for reason, count in outcomes.most_common()))


@pytest.mark.timeout(7200)
def test_members_keep_nothing_but_what_was_signed(fuzz_count, report):
    """Damaged credentials by the thousand leave only those that were undamaged where it matters.

    That is in their signed parts, which leave out who holds a capability (vl2.md 4.4).
    """
    rng = random.Random(7)
    fields = vectors("tags")["fields"]
    identities = known_identities(fields)
    kinds = [
        (CertificateOfMembership, binaries("certificate_of_membership", "binary")),
        (Capability, binaries("capabilities", "binary")),
        (Tag, binaries("tags", "binary")),
        (CertificateOfOwnership, binaries("certificates_of_ownership", "binary")),
        (Revocation, binaries("revocations", "binary")),
    ]
    honest: set[bytes] = set()
    for kind, corpus in kinds:
        for data in corpus:
            try:
                honest.add(kind.read(Reader(data)).signed_part())
            except DecodeError:
                continue
    members: dict[int, Members] = {}
    outcomes: Counter[Outcome] = Counter()
    for _ in range(fuzz_count // 20):
        kind, corpus = rng.choice(kinds)
        try:
            credential = kind.read(Reader(damaged(rng, corpus)))
        except DecodeError:
            continue
        network_id = credential.network_id
        outcome = members.setdefault(network_id, Members(network_id)).add(credential, identities.get)
        outcomes[outcome] += 1
        if outcome is Outcome.NEW:
            assert credential.signed_part() in honest
    assert outcomes[Outcome.NEW]
    assert outcomes[Outcome.BAD_SIGNATURE]
    report(", ".join(f"{outcome.value}: {count}" for outcome, count in outcomes.most_common()))
