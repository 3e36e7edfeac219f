import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.wire.strategies import network_ids, signatures, u8, u64
from zt_async.errors import DecodeError
from zt_async.types import NetworkId
from zt_async.wire.config_chunks import (
    CHUNK_SIZE,
    MAX_METADATA,
    ConfigChunk,
    ConfigRequestBody,
    decode_config_request,
    encode_config_request,
    request_metadata,
    split_config,
)
from zt_async.wire.dictionary import Dictionary
from zt_async.wire.network_config import MAX_CONFIG, SingleSignOn
from zt_async.wire.verbs import Version

NETWORK = NetworkId(0x8E4DF28B72000001)


@given(network_ids, st.binary(max_size=MAX_METADATA), u64, u64)
def test_a_request_is_read_as_it_was_written(network_id, metadata, revision, timestamp):
    payload = encode_config_request(network_id, metadata, revision, timestamp)
    wanted = ConfigRequestBody(network_id, metadata, revision, timestamp)
    assert decode_config_request(payload) == wanted
    assert decode_config_request(payload + b"more") == wanted
    assert decode_config_request(payload[:-16]) == wanted._replace(revision=0, timestamp=0)
    with pytest.raises(DecodeError):
        decode_config_request(payload[: len(metadata) + 9])


@given(st.binary(max_size=100))
def test_a_garbage_request_raises_nothing_but_decode_errors(payload):
    with contextlib.suppress(DecodeError):
        decode_config_request(payload)


def test_metadata_has_a_limit():
    long = encode_config_request(NETWORK, b"x" * (MAX_METADATA + 1), 3, 4)
    assert decode_config_request(long) == (NETWORK, b"x" * MAX_METADATA, 3, 4)  # cut, as by other controllers
    with pytest.raises(ValueError, match="does not fit"):
        request_metadata(Version(12, 1, 14, 1), "linux/x86_64", "x" * 900)


def test_metadata_says_what_the_member_is_and_what_lets_it_join():
    text = request_metadata(Version(12, 1, 14, 1), "linux/x86_64", "token:a=b").encode()
    d = Dictionary.decode(text)
    assert list(d) == [
        "v",
        "vend",
        "pv",
        "majv",
        "minv",
        "revv",
        "mr",
        "mc",
        "mcr",
        "mt",
        "f",
        "revr",
        "o",
        "a",
    ]
    assert [d.get_uint(key) for key in ("v", "pv", "majv", "minv", "revv", "revr")] == [7, 12, 1, 14, 1, 1]
    assert d.get("a") == b"token:a=b"
    assert "a" not in request_metadata(Version(12, 1, 14, 1), "linux/x86_64")


def test_what_lets_a_member_join_is_not_shown():
    metadata = request_metadata(Version(12, 1, 14, 1), "linux/x86_64", "token:hush").encode()
    body = decode_config_request(encode_config_request(NETWORK, metadata))
    assert b"hush" in body.metadata
    assert "hush" not in repr(body)
    assert "hush" not in repr(SingleSignOn(version=1, nonce="hush", state="hush"))


@given(network_ids, st.binary(max_size=300), u8, u64, st.integers(0, 1000), signatures)
def test_a_chunk_is_read_as_it_was_written(network_id, data, flags, update_id, offset, signature):
    chunk = ConfigChunk(network_id, data, flags, update_id, offset + len(data), offset, signature)
    payload = chunk.encode()
    assert ConfigChunk.decode(payload) == chunk
    assert ConfigChunk.decode(payload + b"more") == chunk
    assert payload.startswith(chunk.signed_part())
    for size in range(len(payload)):
        if size != 10 + len(data):  # the obsolete form ends there
            with pytest.raises(DecodeError):
                ConfigChunk.decode(payload[:size])


def test_the_obsolete_form_is_the_whole_text():
    chunk = ConfigChunk(NETWORK, b"v=7", 0, 0, 3, 0)
    assert ConfigChunk.decode(chunk.encode()) == chunk
    assert chunk.signature is None


@given(st.binary(max_size=300))
def test_a_garbage_chunk_raises_nothing_but_decode_errors(payload):
    with contextlib.suppress(DecodeError):
        ConfigChunk.decode(payload)


@pytest.mark.parametrize(
    ("total", "offset"), [(2, 0), (10, 8), (MAX_CONFIG + 1, 0), (0xFFFFFFFF, 0), (3, 0xFFFFFFFF)]
)
def test_a_chunk_lies_within_its_configuration(total, offset):
    with pytest.raises(DecodeError, match="bad size"):
        ConfigChunk.decode(ConfigChunk(NETWORK, b"v=7", 0, 1, total, offset, bytes(96)).encode())


@pytest.mark.parametrize("head", [b"\2\0\x60", b"\1\0\x5f", b"\0\0\0"])
def test_a_signature_has_one_form(head):
    chunk = ConfigChunk(NETWORK, b"v=7", 0, 1, 3, 0, bytes(96))
    with pytest.raises(DecodeError, match="bad signature of a configuration"):
        ConfigChunk.decode(chunk.signed_part() + head + bytes(96))


@pytest.mark.parametrize(
    ("size", "sizes"),
    [(1, [1]), (CHUNK_SIZE, [CHUNK_SIZE]), (2 * CHUNK_SIZE + 5, [CHUNK_SIZE, CHUNK_SIZE, 5])],
)
def test_a_configuration_is_split_where_a_packet_is_full(size, sizes):
    text = bytes(i % 251 for i in range(size))
    chunks = split_config(NETWORK, text, 77, flags=1)
    assert [len(chunk.data) for chunk in chunks] == sizes
    assert b"".join(chunk.data for chunk in chunks) == text
    assert {(chunk.total, chunk.update_id, chunk.flags) for chunk in chunks} == {(size, 77, 1)}
    assert [chunk.offset for chunk in chunks] == [sum(sizes[:i]) for i in range(len(sizes))]
