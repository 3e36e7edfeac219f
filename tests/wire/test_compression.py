"""LZ4 payloads."""

from __future__ import annotations

import random

import lz4.block
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zt_async.errors import DecodeError
from zt_async.wire.compression import MAX_SIZE, compress, decompress


def test_the_examples_of_vl1_11():
    block = compress(b"abcd" * 100)
    assert block == bytes.fromhex("4f616263640400ff75506461626364")
    assert decompress(block) == b"abcd" * 100
    assert compress(b"abcd" * 16) is None
    assert compress(b"abcd" * 16 + b"\1") is not None


def test_what_does_not_shrink_is_left_alone():
    assert compress(random.Random(1).randbytes(1000)) is None
    assert compress(b"") is None


@given(st.binary(min_size=1, max_size=20), st.integers(1, 300))
def test_reads_back(pattern, times):
    payload = pattern * times
    block = compress(payload)
    if block is not None:
        assert len(block) < len(payload)
        assert decompress(block) == payload


def test_the_largest_payload():
    assert decompress(compress(bytes(MAX_SIZE))) == bytes(MAX_SIZE)


@pytest.mark.parametrize("size", [MAX_SIZE + 1, 10_024, 10_025, 10_000_000])
def test_more_than_fits_is_refused(size):
    with pytest.raises(DecodeError):
        decompress(lz4.block.compress(bytes(size), store_size=False))


def test_nothing_decodes_to_nothing_but_a_block_must_not():
    assert decompress(b"") == b""
    with pytest.raises(DecodeError):
        decompress(b"\0")


@given(st.binary(max_size=200))
def test_decodes_or_refuses(block):
    try:
        payload = decompress(block)
    except DecodeError:
        return
    assert len(payload) <= MAX_SIZE
