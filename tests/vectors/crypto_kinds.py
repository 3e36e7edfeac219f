"""Checks of the vectors about ciphers, keys, identities, signatures and compression."""

from __future__ import annotations

import hashlib

from tests.vectors.registry import Case, assert_refused, vector_kind
from zt_async import accel
from zt_async.accel import pure
from zt_async.crypto import curve25519
from zt_async.crypto.identity import Identity
from zt_async.crypto.keys import SessionKey, kbkdf, poly1305, seal_trusted
from zt_async.crypto.siv import AesGmacSiv
from zt_async.errors import DecodeError, IdentityError
from zt_async.wire.compression import compress, decompress

unhex = bytes.fromhex


@vector_kind("salsa20")
def check_salsa20(case: Case, fields: dict[str, str]) -> None:
    assert case["valid"]
    key, iv = unhex(case["key"]), unhex(case["iv"])
    for salsa20_xor in (accel.salsa20_xor, pure.salsa20_xor):
        block = 0
        for call in case["calls"]:
            length, output = call["length"], unhex(call["output"])
            data = unhex(call["input"]) if "input" in call else bytes(length)
            assert len(data) == len(output) == length
            assert salsa20_xor(key, iv, data, case["rounds"], block) == output
            assert salsa20_xor(key, iv, output, case["rounds"], block) == data
            block += (length + 63) // 64


@vector_kind("poly1305")
def check_poly1305(case: Case, fields: dict[str, str]) -> None:
    tag = poly1305(unhex(case["key"]), unhex(case["message"]))
    assert (tag == unhex(case["tag"])) is case["valid"]


@vector_kind("aes_gmac_siv")
def check_aes_gmac_siv(case: Case, fields: dict[str, str]) -> None:
    siv = AesGmacSiv(unhex(case["k0"]), unhex(case["k1"]))
    aad = unhex(case["aad"])
    aad += bytes(-len(aad) % 16)
    tag, ciphertext = unhex(case["tag"]), unhex(case["ciphertext"])
    opened = siv.decrypt(tag, aad, ciphertext)
    assert (opened is not None) is case["valid"]
    if opened is not None:
        assert opened == unhex(case["plaintext"])
        assert siv.encrypt(unhex(case["iv"]), aad, opened) == (tag, ciphertext)


@vector_kind("crypt_field")
def check_crypt_field(case: Case, fields: dict[str, str]) -> None:
    assert case["valid"]
    key = SessionKey(unhex(case["key"]))
    start, end = case["start"], case["start"] + case["length"]

    def crypt(packet: bytes) -> bytes:
        return packet[:start] + key.crypt_field(packet[:8], packet[start:end]) + packet[end:]

    before, after = unhex(case["before"]), unhex(case["after"])
    assert end <= len(before)
    assert crypt(before) == after
    assert crypt(after) == before


@vector_kind("key_agreement")
def check_key_agreement(case: Case, fields: dict[str, str]) -> None:
    if "kbkdf_key" in case:
        label, context, iteration = case["kbkdf_label"], case["kbkdf_context"], case["kbkdf_iter"]
        derived = kbkdf(unhex(case["kbkdf_key"]), label, context, iteration)
        assert (derived == unhex(case["kbkdf_out"])) is case["valid"]
        return
    local = Identity.parse(case["local_secret_string"])
    remote_key = unhex(case["remote_public_key"])
    if "remote_public_string" in case:
        remote = Identity.parse(case["remote_public_string"])
        assert remote.public_key == remote_key
    else:
        remote = Identity(local.address, remote_key)
    agreed = curve25519.agree(local.to_bytes(secret=True)[71:], remote_key)
    assert (agreed == unhex(case["agreed_key"])) is case["valid"]
    arguments = bytes(8), bytes(10), 0, b"\x08", 3
    assert local.agree(remote).seal(*arguments) == SessionKey(agreed).seal(*arguments)
    if case["valid"]:
        for label in "01":
            derived = kbkdf(agreed, label)
            assert derived == unhex(case[f"kbkdf_{label}"])
            assert derived[:32] == unhex(case[f"aes_k{label}"])


@vector_kind("identities")
def check_identities(case: Case, fields: dict[str, str]) -> None:
    {"identity": _check_whole_identity, "string": _check_identity_text, "binary": _check_identity_bytes}[
        case["kind"]
    ](case)


def _check_whole_identity(case: Case) -> None:
    identity = Identity.parse(case["secret_string"])
    public = Identity.parse(case["public_string"])
    assert identity == public == identity.public()
    assert identity.has_secret
    assert not public.has_secret
    assert identity.secret_text() == case["secret_string"]
    assert str(identity) == str(public) == case["public_string"]
    assert str(identity.address) == case["address"]
    assert identity.public_key == unhex(case["public_key"])

    binary, binary_secret = unhex(case["binary_public"]), unhex(case["binary_secret"])
    assert identity.to_bytes() == binary
    assert identity.to_bytes(secret=True) == binary_secret
    assert Identity.from_bytes(binary) == (public, len(binary))
    read, consumed = Identity.from_bytes(binary_secret)
    assert read.secret_text() == case["secret_string"]
    assert consumed == len(binary_secret)

    private = unhex(case["private_key"])
    assert binary_secret[71:] == private
    assert hashlib.sha512(private).digest() == unhex(case["private_key_sha512"])
    address_and_key = identity.address.packed + identity.public_key
    assert hashlib.sha384(address_and_key).digest() == unhex(case["public_key_hash"])
    assert accel.identity_hash(identity.public_key) == unhex(case["memory_hard_digest"])
    assert identity.validate() is case["valid"]
    assert identity.secret_matches()


def _check_identity_text(case: Case) -> None:
    try:
        identity = Identity.parse(case["input_string"])
    except IdentityError:
        _check_refused(case)
        return
    _check_parsed(case, identity)
    assert str(identity) == case["canonical_public_string"]
    assert identity.public_key == unhex(case["public_key"])


def _check_identity_bytes(case: Case) -> None:
    data = unhex(case["input_binary"])
    try:
        identity, consumed = Identity.from_bytes(data)
    except DecodeError:
        _check_refused(case)
        return
    _check_parsed(case, identity)
    assert consumed == case["consumed"]
    assert identity.to_bytes(secret=identity.has_secret) == data[:consumed]


def _check_refused(case: Case) -> None:
    assert case["parses"] is False
    assert case["locally_valid"] is False
    assert case["valid"] is False


def _check_parsed(case: Case, identity: Identity) -> None:
    assert case["parses"] is True
    assert str(identity.address) == case["address"]
    assert identity.has_secret is case["has_private"]
    assert identity.validate() is case["locally_valid"]
    assert case["valid"] is case["locally_valid"]
    if "memory_hard_digest" in case:
        assert accel.identity_hash(identity.public_key) == unhex(case["memory_hard_digest"])


@vector_kind("signatures")
def check_signatures(case: Case, fields: dict[str, str]) -> None:
    signer = Identity.parse(case["signer_public_string"])
    assert signer.public_key == unhex(case["public_key"])
    message, signature = unhex(case["message"]), unhex(case["signature"])
    assert signer.verify(message, signature) is case["valid"]
    if "signer_secret_string" in case:
        secret = Identity.parse(case["signer_secret_string"])
        assert secret == signer
        assert secret.sign(message) == signature


@vector_kind("packets")
def check_packets(case: Case, fields: dict[str, str]) -> None:
    agreed, armored = unhex(case["key"]), unhex(case["armored"])
    aes_keys = unhex(case["aes_k0"]), unhex(case["aes_k1"])
    if case.get("aes_keys_available", True):
        key = SessionKey(agreed)
        key._siv = AesGmacSiv(*aes_keys)  # some cases try AES keys that do not belong to the agreed key
    else:
        key = SessionKey(agreed[:32])
    if "packet_id" in case:
        assert aes_keys == (kbkdf(agreed, "0")[:32], kbkdf(agreed, "1")[:32])
        _check_sealing(case, SessionKey(agreed))
    if "trusted_path_id" in case:
        plain, path_id = unhex(case["plaintext"]), int(case["trusted_path_id"], 16)
        assert case["cipher"] == 2
        assert seal_trusted(plain[:8], plain[8:18], 0, plain[27:], path_id) == armored
    received = unhex(case.get("armored_after_hops", case["armored"]))
    body = key.open(received)
    assert (body is not None) is case["valid"]
    if body is not None:
        assert received[18] >> 3 & 7 == case["cipher"]
        if "dearmored" in case:
            assert received[:27] + body == unhex(case["dearmored"])


def _check_sealing(case: Case, key: SessionKey) -> None:
    plain, armored = unhex(case["plaintext"]), unhex(case["armored"])
    addresses = unhex(case["destination"]) + unhex(case["source"])
    packet_id = unhex(case["packet_id"])
    flags = 0x40 if case["fragmented_flag"] else 0
    verb = case["verb"] | (0x80 if case["compressed_flag"] else 0)
    body = plain[27:]
    assert plain[:27] == packet_id + addresses + bytes((flags,)) + bytes(8)
    assert body[0] == verb
    assert len(plain) == len(armored) == case["size"]
    assert key.seal(packet_id, addresses, flags, body, case["cipher"]) == armored
    assert armored[:8] == unhex(case["wire_packet_id"])
    assert key.open(armored) == body
    if "mangled_key" in case:
        assert key._packet_key(armored[:19], len(armored)) == unhex(case["mangled_key"])
    if "armored_after_hops" in case:
        hops = bytes((armored[18] | case["hops"] % 8,))
        assert armored[:18] + hops + armored[19:] == unhex(case["armored_after_hops"])
    else:
        assert case["hops"] == 0


@vector_kind("lz4")
def check_lz4(case: Case, fields: dict[str, str]) -> None:
    {"compress": _check_compress, "decompress": _check_decompress}[case["kind"]](case)


def _check_decompress(case: Case) -> None:
    block = unhex(case["block"])
    if case["valid"]:
        assert decompress(block) == unhex(case["output"])
    else:
        assert_refused(DecodeError, decompress, block)


def _check_compress(case: Case) -> None:
    assert case["valid"]
    payload = unhex(case["payload"])
    packed = compress(payload)
    assert (packed is not None) is case["compressed"]
    assert case["verb_byte_after"] == case["verb"] | (0x80 if case["compressed"] else 0)
    if packed is not None:
        assert decompress(packed) == payload
        assert (decompress(unhex(case["payload_after"])) == payload) is case["roundtrip"]
        assert len(unhex(case["payload_after"])) < len(payload)
