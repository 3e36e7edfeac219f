import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zt_async.crypto.credentials import sign_chunk
from zt_async.errors import DecodeError
from zt_async.testing.identities import throwaway_identity
from zt_async.types import NetworkId
from zt_async.vl2.assembly import MAX_CHUNKS, ConfigAssembly
from zt_async.wire.config_chunks import CHUNK_SIZE, ConfigChunk, split_config

CONTROLLER, MEMBER = throwaway_identity(0), throwaway_identity(1)
NETWORK = NetworkId(CONTROLLER.address << 24 | 1)
TEXT = random.Random(1).randbytes(3 * CHUNK_SIZE + 100)
PACKET = 0x1234


def signed(text=TEXT, update_id=5, flags=0):
    return [sign_chunk(chunk, CONTROLLER) for chunk in split_config(NETWORK, text, update_id, flags)]


CHUNKS = signed()


def part(update_id, total, offset, data):
    return sign_chunk(ConfigChunk(NETWORK, data, 0, update_id, total, offset), CONTROLLER)


def give(assembly, chunk, source=MEMBER.address):
    return assembly.add(chunk, source, CONTROLLER.public(), PACKET)


@given(st.permutations([0, 1, 2, 3]), st.lists(st.integers(0, 3), max_size=4))
def test_chunks_make_the_text_in_any_order_and_once(order, repeated):
    assembly = ConfigAssembly()
    whole = []
    for number in [*repeated, *order, *repeated]:
        assembled = give(assembly, CHUNKS[number])
        if assembled is not None:
            assert assembled.update_id == 5
            assert not assembled.forward
            whole.append(assembled.dictionary)
    assert whole == [None, None, None, TEXT]


def test_chunks_that_are_to_be_passed_on_say_so_once():
    (chunk,) = signed(b"text", flags=1)
    assembly = ConfigAssembly()
    assembled = give(assembly, chunk)
    assert assembled is not None
    assert assembled.forward
    assert assembled.dictionary == b"text"
    assert give(assembly, chunk) is None


@pytest.mark.parametrize(
    "change",
    [
        {"data": b"x" * CHUNK_SIZE},
        {"update_id": 6},
        {"flags": 1},
        {"total": 50_000},
        {"signature": bytes(96)},
    ],
)
def test_a_chunk_that_the_controller_did_not_sign_is_refused(change):
    assembly = ConfigAssembly()
    with pytest.raises(DecodeError, match="bad signature"):
        give(assembly, replace(CHUNKS[0], **change))
    with pytest.raises(DecodeError, match="bad signature"):
        give(assembly, sign_chunk(CHUNKS[0], MEMBER), CONTROLLER.address)
    results = [give(assembly, chunk) for chunk in CHUNKS]
    assert [result and result.dictionary for result in results] == [None, None, None, TEXT]


def test_an_unsigned_text_comes_from_the_controller_only():
    assembly = ConfigAssembly()
    chunk = ConfigChunk(NETWORK, b"text", 0, 0, 4, 0)
    assembled = give(assembly, chunk, CONTROLLER.address)
    assert assembled is not None
    assert (assembled.update_id, assembled.dictionary, assembled.forward) == (PACKET, b"text", False)
    with pytest.raises(DecodeError, match="unsigned configuration"):
        give(assembly, chunk)


def test_three_updates_are_under_way_at_a_time():
    assembly = ConfigAssembly()
    updates = {update_id: signed(update_id=update_id) for update_id in (1, 2, 3, 4)}
    for update_id in (1, 2, 3):
        give(assembly, updates[update_id][0])
    give(assembly, updates[1][1])
    give(assembly, updates[4][0])  # the second one is forgotten, for the first was used since
    for update_id, complete in ((1, True), (3, True), (4, True), (2, False)):
        texts = [r.dictionary for chunk in updates[update_id][1:] if (r := give(assembly, chunk)) is not None]
        assert (TEXT in texts) is complete


def test_chunks_that_overlap_make_nothing():
    assembly = ConfigAssembly()
    for offset in (0, 1):
        assembled = give(assembly, part(9, 10, offset, b"12345"))
        assert assembled is not None
        assert assembled.dictionary is None
    assembled = give(assembly, part(9, 10, 5, b"67890"))
    assert assembled is not None
    assert assembled.dictionary is None


def test_another_total_begins_anew():
    assembly = ConfigAssembly()
    give(assembly, part(9, 10, 0, b"12345"))
    assembled = give(assembly, part(9, 8, 5, b"678"))
    assert assembled is not None
    assert assembled.dictionary is None
    assembled = give(assembly, part(9, 8, 0, b"12345"))
    assert assembled is not None
    assert assembled.dictionary == b"12345678"


def test_the_number_of_chunks_has_a_bound():
    assembly = ConfigAssembly()
    for offset in range(MAX_CHUNKS):
        give(assembly, part(9, 2000, offset, b""))
    with pytest.raises(DecodeError, match="too many chunks"):
        give(assembly, part(9, 2000, MAX_CHUNKS, b""))
