import pytest
from hypothesis import given
from hypothesis import strategies as st

from zt_async.wire.packet import MAX_FRAGMENTS, split, split_evenly

PACKET = bytes(range(256)) * 40


def rejoin(pieces: list[bytes]) -> bytes:
    for number, piece in enumerate(pieces[1:], 1):
        assert piece[:13] == pieces[0][:13]
        assert piece[13] == 0xFF
        assert piece[14] == len(pieces) << 4 | number
        assert piece[15] == 0
    return pieces[0] + b"".join(piece[16:] for piece in pieces[1:])


@given(st.integers(1433, 9928), st.integers(1400, 1432))
def test_even_pieces_are_as_few_as_possible_and_equal(size, mtu):
    packet = PACKET[:size]
    fewest = 1 + -(-(size - mtu) // (mtu - 16))
    if fewest > MAX_FRAGMENTS:
        return
    pieces = split_evenly(packet, mtu)
    assert rejoin(pieces) == packet
    assert len(pieces) == fewest
    assert max(map(len, pieces)) <= mtu
    assert len({len(piece) for piece in pieces[:-1]}) == 1
    assert len(pieces[0]) - len(pieces[-1]) <= len(pieces)


@given(st.integers(100, 9928), st.integers(60, 1432))
def test_pieces_join_to_the_packet(size, mtu):
    packet = PACKET[:size]
    try:
        pieces = split(packet, mtu, mtu - 16)
    except ValueError:
        assert size > mtu + 6 * (mtu - 16)
    else:
        assert rejoin(pieces) == packet


def test_eight_pieces_are_refused():
    assert len(split(PACKET[:9928], 1432, 1416)) == 7
    with pytest.raises(ValueError, match="7 fragments"):
        split(PACKET[:9929], 1432, 1416)
