"""The exceptions: their tree, and that they survive a copy and a trip between processes."""

from __future__ import annotations

import copy
import pickle
import re

import pytest

from zt_async import errors
from zt_async.wire.ipv6 import ParameterProblem

KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]
MADE = [
    errors.NetworkNotJoined(0x8056C2E21C000001, "leave me"),
    errors.NoSuchNetwork(0x8056C2E21C000001),
    errors.NoSuchMember(0x8056C2E21C000001, 0xDEADBEEF01),
    errors.RecordError("mtu", "is 1280 to 10000"),
    errors.RuleLanguageError(3, 14, "a match was expected"),
    errors.DamagedFiles({"a.json": "no JSON"}),
    errors.PortUnavailable(98, "Address already in use"),
    errors.DecodeError("truncated"),
    ParameterProblem("ipv6 option refused", 2, 42, answer_multicast=True),
]


@pytest.mark.parametrize("error", MADE, ids=lambda error: type(error).__name__)
def test_an_error_survives_a_copy_and_a_trip(error):
    error.add_note("noted")
    for again in (copy.copy(error), copy.deepcopy(error), pickle.loads(pickle.dumps(error))):
        assert type(again) is type(error)
        assert str(again) == str(error)
        assert vars(again) == vars(error)
        assert getattr(again, "errno", None) == getattr(error, "errno", None)


def test_the_tree_in_the_docstring_is_the_tree():
    depths = {}
    path = []
    for indent, name, more in re.findall("^([│├└─ ]*)([A-Z]\\w+)(.*)$", errors.__doc__, re.MULTILINE):
        if issubclass(kind := getattr(errors, name, str), errors.ZeroTierError):
            depth = len(indent) // 4
            path[depth:] = [kind]
            depths[kind] = depth
            assert kind.__bases__[0] is (path[depth - 1] if depth else Exception), name
            (also,) = re.findall(r"\(also (\w+)\)", more) or [None]
            assert [base.__name__ for base in kind.__bases__[1:]] == ([also] if also else []), name
    assert depths.keys() == set(KINDS)
