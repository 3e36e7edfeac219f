"""The accelerator and its plain Python twin: right, and the same in everything."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zt_async import accel
from zt_async.accel import pure

try:
    from zt_async import _speedups
except ImportError:
    _speedups = None

KEY = bytes(range(32))
NONCE = bytes(range(8))


@pytest.fixture(
    scope="class",
    params=[
        pure,
        pytest.param(_speedups, marks=pytest.mark.skipif(_speedups is None, reason="extension not built")),
    ],
    ids=["pure", "speedups"],
)
def twin(request):
    return request.param


def summed(data: bytes, initial: int) -> int:
    """RFC 1071, word by word."""
    data += bytes(len(data) % 2)
    total = initial + sum(int.from_bytes(data[i : i + 2], "big") for i in range(0, len(data), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


class TestChecksum:
    def test_the_example_of_rfc_1071(self, twin):
        assert twin.checksum(bytes.fromhex("0001f203f4f5f6f7")) == 0xDDF2

    @given(st.binary(max_size=100), st.integers(0, 2**64 - 1))
    def test_is_the_folded_sum_of_words(self, twin, data, initial):
        assert twin.checksum(data, initial) == summed(data, initial)

    @pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 1399, 1400, 9001])
    def test_zero_only_for_nothing_but_zeros(self, twin, size):
        assert twin.checksum(bytes(size)) == 0
        assert twin.checksum(b"\xff" * (size + size % 2)) == 0xFFFF
        assert twin.checksum(bytes(size), 0xFFFF) == 0xFFFF

    def test_parts_add_up(self, twin):
        data = random.Random(1).randbytes(1000)
        assert twin.checksum(data[400:], twin.checksum(data[:400])) == twin.checksum(data)

    def test_takes_any_buffer(self, twin):
        data = random.Random(1).randbytes(33)
        assert twin.checksum(bytearray(data)) == twin.checksum(memoryview(data)) == twin.checksum(data)
        assert twin.checksum(memoryview(data)[1:]) == summed(data[1:], 0)

    @pytest.mark.parametrize("initial", [-1, 2**64])
    def test_refuses_a_sum_that_is_no_64_bit_number(self, twin, initial):
        with pytest.raises(OverflowError):
            twin.checksum(b"", initial)

    @pytest.mark.parametrize("arguments", [(), ("text",), (5,), (b"", "1"), (b"", 1, 2)])
    def test_refuses_other_arguments(self, twin, arguments):
        with pytest.raises(TypeError):
            twin.checksum(*arguments)


class TestSalsa20:
    def test_the_first_vector_of_ecrypt(self, twin):
        key = b"\x80" + bytes(31)
        expected = "e3be8fdd8beca2e3ea8ef9475b29a6e7003951e1097a5c38d23b7a5fad9f6844"
        assert twin.salsa20_xor(key, bytes(8), bytes(32), 20).hex() == expected

    @given(st.binary(max_size=700), st.binary(min_size=32, max_size=32), st.binary(min_size=8, max_size=8))
    def test_undoes_itself(self, twin, data, key, nonce):
        assert twin.salsa20_xor(key, nonce, twin.salsa20_xor(key, nonce, data)) == data

    @pytest.mark.parametrize("rounds", [8, 12, 20])
    @pytest.mark.parametrize("counter", [0, 1, 2**32 - 3, 2**64 - 2])
    def test_counts_blocks_through_both_halves_of_the_counter(self, twin, rounds, counter):
        whole = twin.salsa20_xor(KEY, NONCE, bytes(64 * 9), rounds, counter)
        for block in range(9):
            at = (counter + block) % 2**64
            assert twin.salsa20_xor(KEY, NONCE, bytes(64), rounds, at) == whole[64 * block :][:64]

    def test_every_length_has_the_same_keystream(self, twin):
        whole = twin.salsa20_xor(KEY, NONCE, bytes(600))
        for size in (*range(140), 255, 256, 257, 511, 512, 513, 599):
            assert twin.salsa20_xor(KEY, NONCE, bytes(size)) == whole[:size]

    def test_takes_any_buffer(self, twin):
        data = random.Random(1).randbytes(100)
        expected = twin.salsa20_xor(KEY, NONCE, data)
        for kind in (bytearray, memoryview):
            assert twin.salsa20_xor(kind(KEY), kind(NONCE), kind(data)) == expected

    @pytest.mark.parametrize(
        ("arguments", "error"),
        [
            ((KEY[1:], NONCE, b""), ValueError),
            ((KEY, NONCE[1:], b""), ValueError),
            ((KEY, NONCE, b"", 13), ValueError),
            ((KEY, NONCE, b"", 1 << 70), ValueError),
            ((KEY, NONCE, b"", 12, -1), OverflowError),
            ((KEY, NONCE, b"", 12, 2**64), OverflowError),
            ((KEY, NONCE), TypeError),
            ((KEY, NONCE, "text"), TypeError),
            (("text" * 8, NONCE, b"data"), TypeError),
            ((KEY, "nonce678", b"data"), TypeError),
            ((KEY, NONCE, b"", 12, 0, 0), TypeError),
            ((KEY, NONCE, b"", 12, 0.5), TypeError),
        ],
    )
    def test_refuses_other_arguments(self, twin, arguments, error):
        with pytest.raises(error):
            twin.salsa20_xor(*arguments)


class TestMemoryHardHash:
    def test_of_a_known_seed(self, twin):
        assert twin.memory_hard_hash(bytes(range(64))).hex() == (
            "c436cb72a9ace44d363d2c4d1ae2e706c915d2f3e59e02e7fbbcc20e5a8db246"
            "abaf5aaf7d6021b93b57796a55599313496c86b72af28cdf0af2ab99629047ad"
        )

    @pytest.mark.parametrize("seed", [b"", bytes(63), bytes(65)])
    def test_refuses_a_seed_of_another_size(self, twin, seed):
        with pytest.raises(ValueError, match="64 bytes"):
            twin.memory_hard_hash(seed)

    def test_refuses_text(self, twin):
        with pytest.raises(TypeError):
            twin.memory_hard_hash("s" * 64)


@pytest.mark.skipif(_speedups is None, reason="extension not built")
class TestTwins:
    @given(st.binary(max_size=3000), st.integers(0, 2**64 - 1))
    def test_checksums_are_equal(self, data, initial):
        assert _speedups.checksum(data, initial) == pure.checksum(data, initial)

    @given(
        st.binary(min_size=32, max_size=32),
        st.binary(min_size=8, max_size=8),
        st.binary(max_size=3000),
        st.sampled_from([8, 12, 20]),
        st.integers(0, 2**64 - 1),
    )
    def test_streams_are_equal(self, key, nonce, data, rounds, counter):
        arguments = key, nonce, data, rounds, counter
        assert _speedups.salsa20_xor(*arguments) == pure.salsa20_xor(*arguments)

    def test_long_streams_are_equal(self):
        data = random.Random(1).randbytes(100_001)
        assert _speedups.salsa20_xor(KEY, NONCE, data) == pure.salsa20_xor(KEY, NONCE, data)

    @pytest.mark.parametrize("seed", [bytes(64), b"\xff" * 64], ids=["zeros", "ones"])
    def test_hashes_are_equal(self, seed):
        assert _speedups.memory_hard_hash(seed) == pure.memory_hard_hash(seed)

    @pytest.mark.parametrize(
        "work",
        [
            lambda: _speedups.memory_hard_hash(bytes(64)),
            lambda: _speedups.salsa20_xor(KEY, NONCE, bytes(8_000_000)),
        ],
        ids=["hash", "long stream"],
    )
    def test_other_threads_run_meanwhile(self, work):
        """With such a switch interval a thread only lets others run where it gives the interpreter up."""
        started, finished = threading.Event(), threading.Event()

        def run():
            started.set()
            for _ in range(20):
                work()
            finished.set()

        interval = sys.getswitchinterval()
        sys.setswitchinterval(1000)
        try:
            thread = threading.Thread(target=run)
            thread.start()
            started.wait()
            assert not finished.is_set()
            thread.join()
        finally:
            sys.setswitchinterval(interval)
        assert finished.is_set()


class TestDoor:
    def test_identity_hash_of_the_key_of_vl1_11(self):
        key = bytes.fromhex(
            "843852ce43e378466817d1a09221edf5ad14bd46ccde8a6a62ee958f6f6b8b50"
            "3e2906a035c88286fdf7d5eef8073bf9cb8d989863ab2d5d2b293dd01805b811"
        )
        assert accel.identity_hash(key).hex() == (
            "0553b2b29e548fcd7163f11054c2c110f77b051b9aa10a2c088e95cff4dab98b"
            "3ba3e75733a666945b7bd7f64b5ede10d023ded27b011717a0df47d957df9e1b"
        )

    def test_identity_hash_refuses_a_key_of_another_size(self):
        with pytest.raises(ValueError, match="64 bytes, not 63"):
            accel.identity_hash(bytes(63))

    @pytest.mark.parametrize(
        ("setting", "module"), [("", "_speedups" if _speedups else "accel.pure"), ("1", "accel.pure")]
    )
    def test_the_environment_decides(self, setting, module):
        program = (
            "from zt_async import accel\n"
            "assert accel.ACCELERATED is (accel.checksum.__module__ == 'zt_async._speedups')\n"
            "print({f.__module__ for f in (accel.checksum, accel.salsa20_xor, accel.memory_hard_hash)})"
        )
        environment = os.environ | {"ZT_ASYNC_PURE": setting}
        run = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
        )
        assert run.stdout == f"{{'zt_async.{module}'}}\n"
