"""The load that benchmarks/controller.py measures, in a small dose: every member gets one address, and what is new."""

import pytest

from benchmarks.controller import run

MEMBERS = 150


@pytest.mark.parametrize("store", ["memory", "sqlite"])
def test_a_crowd_is_served(store, tmp_path, monkeypatch):
    """``run`` itself asserts that no two members share an address, and that each got all three configurations."""
    monkeypatch.chdir(tmp_path)
    figures = run(store, MEMBERS)
    assert figures.members == MEMBERS
    assert min(figures.first, figures.again, figures.pushes) > 20
    assert figures.memory < 100_000
