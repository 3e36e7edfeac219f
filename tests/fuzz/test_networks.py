"""A member of a network under authentic packets whose payloads are damaged, and under a controller gone mad."""

import random

import pytest

from tests.vl2.club import Club
from tests.vl2.test_hostile import SAMPLES, Target
from zt_async.config import NetworkSettings
from zt_async.vl2 import credentials, serving, waiting
from zt_async.wire.dictionary import Dictionary
from zt_async.wire.packet import Verb

from .siege import Memory
from .test_parsers import binaries, damaged

pytestmark = pytest.mark.timeout(7200)  # of a million


def test_packets_of_members_and_controllers_are_counted_once_and_leave_little(fuzz_count, report):
    """The target is bridge, replicator and controller too; see ``tests/vl2/test_hostile.py``."""
    rng = random.Random(11)
    target = Target()
    vl2 = target.vl2
    payloads: dict[int, list[bytes]] = {}
    for verb, payload in SAMPLES:
        payloads.setdefault(verb, []).append(payload)
    all_payloads = [payload for _, payload in SAMPLES]

    def besiege(count):
        for number in range(count):
            verb = rng.choice(list(payloads))
            data = damaged(rng, payloads[verb] if rng.random() < 0.9 else all_payloads)
            # The controller's own refusals would be believed.
            sender = target.a if verb == Verb.ERROR else rng.choice((target.a, target.controller))
            before = sum(target.fates().values())
            target.hit(sender, verb, data)
            assert sum(target.fates().values()) - before in (0, 1), (verb, data)  # VL1 may not hand it on
            if number % 8 == 0:
                target.wait(2 * rng.random())
                vl2.take_frames()
                vl2.take_requests()
                target.vl1.take_events()

    count = fuzz_count // 8
    besiege(count // 2)
    with Memory() as memory:
        memory.mark()
        besiege(count - count // 2)
        assert memory.growth() < 3_000_000
    assert min(vl2.counters.values()) >= 0
    assert len(vl2._waiting) <= waiting.MAX_WAITING
    assert len(vl2.credentials._waiting) <= credentials.MAX_WAITING
    assert len(vl2.serving._requests) <= serving.MAX_REQUESTS
    assert {name for name in target.fates() if not name.startswith("in: ")} == set()
    target.wait(10)
    config = target.private(timestamp=target.network.config.timestamp + 10)
    target.push(config)
    target.give(target.a, coms=(target.certificate(target.a.identity, config.timestamp),))
    frames, _ = target.receive(target.frame())
    assert len(frames) == 1
    report(", ".join(f"{name}: {n}" for name, n in sorted(target.fates().items())))


def entries_of(text):
    """A dictionary's keys and values."""
    dictionary = Dictionary.decode(text)
    return {key: dictionary.get(key) for key in dictionary}


def test_whatever_a_controller_signs_is_applied_or_refused(fuzz_count, report):
    """And the next good configuration makes the member what it was."""
    rng = random.Random(12)
    club = Club(2)
    member, other = club.members
    controller = club.controller
    member.leave(club.id, club.now)
    everything = NetworkSettings(allow_global=True, allow_default=True, allow_dns=True)
    member.join(club.id, club.now, settings=everything)
    club.ready()
    network = member.vl2.networks[club.id]
    corpus = [entries for text in binaries("network_config", "dictionary") if (entries := entries_of(text))]
    applied = refused = 0

    def push(mad):
        own = entries_of(controller.config_for(member.identity.public()).encode())
        entries = own | {key: mad[key] for key in rng.sample(list(mad), rng.randint(0, len(mad)))}
        for key in rng.sample(list(entries), rng.choice((0, 0, 1, 2)) if mad else 0):
            entries[key] = damaged(rng, [entries[key], b"0", b"ffffffffffffffff"])
        entries |= {key: own[key] for key in ("id", "nwid", "ts")}  # or else it is nobody's, or the last one
        made = Dictionary()
        for key, value in entries.items():
            made.put(key, value)
        before = network.config
        controller.vl2.push_config(club.id, member.address, made.encode(), club.now)
        club.net.wake()
        club.net.run_for(0.05)
        return network.config is not before

    for number in range(fuzz_count // 40):
        if push(rng.choice(corpus)):
            applied += 1
        else:
            refused += 1
        if number % 10 == 0:
            for ip in (club.ip(other, 4), club.ip(other, 6)):
                try:
                    member.stack.ping(ip, bytes(8), now=club.now)
                except OSError:
                    continue  # there need be no way
            club.net.wake()
            club.net.run_for(rng.choice((0.2, 3)))
    assert applied
    assert refused
    assert push({})
    club.net.run_for(1)
    assert member.network(club.id).addresses == member.network(club.id).assigned_addresses != ()
    for version in (4, 6):
        assert club.ping(member, other, version=version) < 1
    report(f"{applied} applied, {refused} refused")
