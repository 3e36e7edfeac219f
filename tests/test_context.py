"""Random numbers as the core draws them."""

from zt_async.context import Context
from zt_async.testing import SimClock, seeded_context


def test_packet_ids_are_the_bytes_of_the_source_in_order():
    drawn = []

    def source(size):
        start = len(b"".join(drawn))
        drawn.append(bytes((start + i) * 7 % 251 for i in range(size)))
        return drawn[-1]

    context = Context(source, lambda: 0)
    ids = [context.packet_id() for _ in range(1100)]
    assert {len(packet_id) for packet_id in ids} == {8}
    assert b"".join(drawn).startswith(b"".join(ids))


def test_random_numbers_are_below_their_bound_and_reach_all_of_it():
    context = seeded_context(1, SimClock())
    for bound in (1, 2, 7, 256):
        assert {context.random_below(bound) for _ in range(40 * bound)} == set(range(bound))
    assert max(context.random_below(1 << 80) for _ in range(20)).bit_length() > 70


def test_what_was_drawn_is_not_shown():
    context = seeded_context(1, SimClock())
    context.packet_id()
    assert "_pool" not in repr(context)
