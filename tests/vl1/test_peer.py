"""Peers and their paths: which are learned, which is best, what is alive (vl1.md 5.1 to 5.4 and 4.4)."""

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zt_async.crypto.keys import SessionKey
from zt_async.testing.identities import throwaway_identity
from zt_async.types import Endpoint, NodeAddress
from zt_async.vl1.path import (
    NEVER,
    PATH_ALIVE,
    PATH_EXPIRATION,
    PATH_QUIET,
    PROBE_INTERVAL,
    PROBE_TIME,
    Path,
    PathPolicy,
)
from zt_async.vl1.peer import CHOICE_LIFETIME, MAX_PATHS, Peer
from zt_async.wire.inetaddress import Scope
from zt_async.wire.packet import Suite
from zt_async.wire.verbs import Version

NOW = 1000.0


def make_peer():
    return Peer(throwaway_identity(1), SessionKey(bytes(48)), NodeAddress(5))


def make_path(host="10.0.0.1", port=1, *, socket=0, heard=NOW, latency=None):
    path = Path(socket, Endpoint(host, port))
    path.last_receive = path.last_answer = heard
    path.latency_ms = latency
    return path


# Paths


def test_latency_is_averaged():
    path = make_path()
    path.add_latency(100)
    assert path.latency_ms == 100
    path.add_latency(50)
    assert path.latency_ms == 75


def test_quality_is_the_latency_weighted_by_scope_age_and_priority():
    assert make_path("10.0.0.1", latency=30).quality(NOW, 1) == 30
    assert make_path("5.0.0.1", latency=30).quality(NOW, 1) == 120
    assert make_path("5.0.0.1", latency=30).quality(NOW, 3) == 40
    assert make_path("10.0.0.1").quality(NOW, 1) == 65_535
    assert make_path("10.0.0.1", latency=30).quality(NOW + 18.9, 1) == 30
    assert make_path("10.0.0.1", latency=30).quality(NOW + 19, 1) == 30 + 65_535 + 19_000
    assert make_path("10.0.0.1", latency=30).quality(NOW + 1000, 1) == 30 + 65_535 + 140_000
    assert make_path("10.0.0.1", latency=30, heard=NEVER).quality(NOW, 1) == 30 + 65_535 + 140_000


def test_a_silent_path_is_dead_after_nineteen_seconds():
    path = make_path()
    assert path.is_alive(NOW + PATH_ALIVE - 0.01)
    assert not path.is_alive(NOW + PATH_ALIVE)
    assert not make_path(heard=NEVER).is_alive(NOW)


def test_a_path_in_use_that_answers_nothing_is_probed_and_then_dead():
    path = make_path()
    assert not path.is_doubtful(NOW + 5)  # the first packet after a pause
    assert not path.is_doubtful(NOW + 5 + PATH_QUIET - 0.01)
    asked = NOW + 5 + PATH_QUIET
    assert path.is_doubtful(asked)
    assert not path.is_doubtful(asked + 0.1)
    assert path.is_alive(asked + PROBE_TIME - 0.01)
    assert not path.is_alive(asked + PROBE_TIME)
    assert path.is_doubtful(asked + PROBE_INTERVAL)
    path.last_receive = asked + 2  # a probe of the other side, which may not hear us
    assert not path.is_alive(asked + 2)
    path.last_answer = asked + 3
    assert path.is_alive(asked + 3)
    assert not path.is_doubtful(asked + 3.1)


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("10.0.0.1", True),
        ("172.16.0.1", True),
        ("11.0.0.1", True),  # pseudo-private
        ("8.8.8.8", True),
        ("2605::1", True),
        ("fd00::1", True),
        ("2001:470::1", False),
        ("127.0.0.1", False),
        ("::1", False),
        ("169.254.0.1", False),
        ("fe80::5", False),
        ("224.0.0.1", False),
        ("0.0.0.0", False),
        ("255.255.255.255", False),
        ("::", False),
        ("ff02::1", False),
    ],
)
def test_which_addresses_may_be_paths(host, allowed):
    assert PathPolicy().allows(Endpoint(host, 1)) is allowed
    assert not PathPolicy().allows(Endpoint(host, 0))


def test_what_else_the_policy_looks_at():
    policy = PathPolicy(allow_loopback=True, blacklist=[ip_network("10.9.0.0/16")])
    assert policy.allows(Endpoint("127.0.0.1", 1))
    assert not policy.allows(Endpoint("10.9.1.1", 1))
    policy.virtual = [ip_network("10.8.0.0/16"), ip_network("fc00::/40")]
    assert not policy.allows(Endpoint("10.8.0.1", 1))
    assert not policy.allows(Endpoint("fc00::5", 1))
    assert policy.allows(Endpoint("10.7.0.1", 1))
    assert policy.allows(Endpoint("10.7.0.1", 1), {ip_address("10.7.0.1")})
    assert not policy.allows(Endpoint("10.7.0.2", 1), {ip_address("10.7.0.1")})


# Peers


def test_the_cipher_follows_from_what_the_peer_answered():
    peer = make_peer()
    assert peer.suite == Suite.SALSA
    peer.version = Version(12, 1, 14, 1)
    assert peer.suite == Suite.SALSA
    peer.replied_hello = True
    assert peer.suite == Suite.AES
    peer.version = Version(11, 1, 4, 6)
    assert peer.suite == Suite.SALSA


def test_the_best_path_is_the_one_of_lowest_quality_that_has_not_expired():
    peer = make_peer()
    assert peer.best_path(NOW) is None
    far, near = make_path("5.0.0.1", latency=20), make_path("10.0.0.1", latency=30)
    peer.learn(far, NOW)
    assert peer.best_path(NOW) is far
    peer.learn(near, NOW)
    assert peer.best_path(NOW) is near
    near.last_receive = NOW - 30
    assert peer.best_path(NOW + CHOICE_LIFETIME / 2) is near  # kept for a moment
    assert peer.best_path(NOW + CHOICE_LIFETIME) is far
    assert peer.best_path(NOW + PATH_EXPIRATION) is None
    assert peer.expired_path(NOW + PATH_EXPIRATION) is near  # both are as old as ages count


def test_equal_paths_the_later_one_wins():
    peer = make_peer()
    paths = [make_path(f"10.0.0.{i}", latency=10) for i in range(3)]
    for path in paths:
        peer.learn(path, NOW)
    assert peer.best_path(NOW) is paths[-1]


def test_a_path_to_the_same_host_takes_the_place_of_the_old_one():
    peer = make_peer()
    old, other, new = make_path(port=1), make_path("10.0.0.2"), make_path(port=2)
    assert peer.learn(old, NOW) == []
    assert peer.learn(other, NOW) == []
    assert peer.learn(new, NOW) == [old]
    assert [entry.path for entry in peer.entries] == [other, new]
    assert peer.learn(make_path(port=3, socket=1), NOW) == []


def test_a_path_of_higher_priority_takes_the_place_of_all_lower_ones_and_of_its_host():
    peer = make_peer()
    low, high, highest = make_path("10.0.0.1"), make_path("10.0.0.2", port=1), make_path("10.0.0.2", port=2)
    peer.learn(low, NOW)
    assert peer.learn(high, NOW, 3) == [low]
    assert peer.learn(highest, NOW, 3) == [high]
    assert peer.learn(low, NOW, 3) == []
    assert [entry.path for entry in peer.entries] == [highest, low]


def test_a_live_twin_is_one_with_the_same_socket_and_host():
    peer = make_peer()
    peer.learn(make_path(port=1), NOW)
    assert peer.live_twin(make_path(port=2), NOW) is not None
    assert peer.live_twin(make_path(port=2, socket=1), NOW) is None
    assert peer.live_twin(make_path("10.0.0.2"), NOW) is None
    assert peer.live_twin(make_path(port=2), NOW + PATH_ALIVE) is None


def test_paths_are_bounded_and_the_one_silent_longest_goes():
    peer = make_peer()
    paths = [make_path(f"10.0.1.{i}") for i in range(MAX_PATHS)]
    for i, path in enumerate(paths):
        peer.learn(path, NOW + i)
    peer.entries[7].last_receive = NOW - 5
    assert peer.learn(make_path("10.0.2.1"), NOW) == [paths[7]]
    assert len(peer.entries) == MAX_PATHS


def test_the_best_path_of_each_scope_and_family():
    peer = make_peer()
    paths = {
        (Scope.PRIVATE, 4): make_path("10.0.0.1", latency=5),
        (Scope.PRIVATE, 6): make_path("fd00::1", latency=5),
        (Scope.GLOBAL, 4): make_path("5.0.0.1", latency=5),
    }
    for path in (*paths.values(), make_path("10.0.0.2", latency=9), make_path("5.0.0.2", latency=4)):
        peer.learn(path, NOW)
    best = peer.best_by_scope(NOW)
    assert best[Scope.PRIVATE, 4] is paths[Scope.PRIVATE, 4]
    assert best[Scope.PRIVATE, 6] is paths[Scope.PRIVATE, 6]
    assert best[Scope.GLOBAL, 4].endpoint.host == "5.0.0.2"
    assert peer.best_by_scope(NOW + PATH_EXPIRATION) == {}


def test_the_score_of_an_upstream():
    peer = make_peer()
    assert peer.score(NOW) == 0xFFFFFFFF
    peer.last_receive = NOW
    assert peer.score(NOW) == 65_535
    peer.learn(make_path(latency=20), NOW)
    assert peer.score(NOW) == 20
    assert peer.score(NOW + 61) == 40
    assert peer.score(NOW + 500) == 0xFFFFFFFF
    peer.entries[0].path.latency_ms = 0
    assert peer.score(NOW) == 65_535


@given(st.lists(st.tuples(st.integers(1, 6), st.integers(1, 3), st.integers(0, 2)), max_size=40))
def test_no_two_paths_of_a_peer_share_socket_and_host(paths):
    peer = make_peer()
    for host, port, socket in paths:
        path = make_path(f"10.0.0.{host}", port, socket=socket)
        if peer.live_twin(path, NOW) is None:
            peer.learn(path, NOW)
    seen = [(entry.path.socket, entry.path.endpoint.host) for entry in peer.entries]
    assert len(seen) == len(set(seen))
