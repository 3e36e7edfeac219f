"""Bytes that begin as a good packet, so that what lies behind the first checks is reached too."""

from hypothesis import strategies as st

from zt_async.accel import checksum


def spoiled(good: bytes) -> st.SearchStrategy[bytes]:
    """Any bytes; and ``good`` with up to three bytes changed, cut off or added to."""
    changes = st.lists(st.tuples(st.integers(0, len(good) - 1), st.integers(0, 255)), max_size=3)
    cut = st.integers(0, 8) | st.integers(0, len(good))
    return st.binary(max_size=64) | st.builds(_spoil, st.just(good), changes, cut, st.binary(max_size=8))


def _spoil(good: bytes, changes: list[tuple[int, int]], cut: int, more: bytes) -> bytes:
    data = bytearray(good)
    for at, value in changes:
        data[at] = value
    return bytes(data[: len(data) - cut]) + more


def with_checksum(data: bytes, at: int, size: int | None = None, pseudo_sum: int = 0) -> bytes:
    """``data`` with the right checksum of its first ``size`` bytes at ``at``, if it reaches so far."""
    if len(data) < at + 2:
        return data
    zeroed = data[:at] + b"\0\0" + data[at + 2 :]
    check = checksum(zeroed[:size], pseudo_sum) ^ 0xFFFF
    return data[:at] + check.to_bytes(2, "big") + data[at + 2 :]
