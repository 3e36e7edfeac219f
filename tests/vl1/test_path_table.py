"""Which path records are kept, and for how long."""

from ipaddress import ip_network

from zt_async.types import Endpoint
from zt_async.vl1.path import PathPolicy
from zt_async.vl1.paths import MAX_LEARNED, MAX_VISITORS, PathTable

AT = Endpoint("10.0.0.1", 1)


def test_a_record_of_nobody_is_not_kept():
    table = PathTable(PathPolicy())
    assert table.find(0, AT) is not table.find(0, AT)
    assert table.learned == table.visitors == {}


def test_a_visitor_is_kept_and_becomes_a_way():
    table = PathTable(PathPolicy())
    path = table.keep(table.find(0, AT))
    assert table.find(0, AT) is path
    assert table.find(1, AT) is not path
    assert not table.is_learned(path)
    stale = type(path)(0, AT)  # made before, and still under way with a packet
    assert table.keep(stale) is path
    assert table.learn(path)
    assert table.is_learned(stale)
    assert table.keep(stale) is path
    assert table.visitors == {}


def test_trusted_paths_are_marked():
    table = PathTable(PathPolicy(trusted={ip_network("10.0.0.0/24"): 7}))
    assert table.find(0, AT).trusted_path_ids == (7,)
    assert table.find(0, Endpoint("10.0.1.1", 1)).trusted_path_ids == ()
    assert table.find(0, Endpoint("fd00::1", 1)).trusted_path_ids == ()


def test_records_are_bounded():
    table = PathTable(PathPolicy())
    first = table.keep(table.find(0, AT))
    for i in range(MAX_VISITORS):
        table.keep(table.find(i + 1, AT))
    assert len(table.visitors) == MAX_VISITORS
    assert table.find(0, AT) is not first
    for i in range(MAX_LEARNED):
        assert table.learn(table.find(i, AT))
    assert not table.learn(table.find(MAX_LEARNED, AT))
    assert table.learn(table.find(5, AT))
    assert len(table.learned) == MAX_LEARNED


def test_what_nobody_uses_is_forgotten_when_it_was_silent():
    table = PathTable(PathPolicy())
    used, silent, fresh, visitor = (table.find(i, AT) for i in range(4))
    for path in (used, silent, fresh):
        table.learn(path)
    table.keep(visitor)
    fresh.last_receive = 100.0
    visitor.last_receive = 40.0
    table.forget({used}, 60.0, 100.0)
    assert list(table.learned.values()) == [used, fresh]
    assert table.visitors == {}
