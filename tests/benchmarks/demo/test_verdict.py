"""The sentence at the end."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.demo.measure import Figures
from benchmarks.demo.verdict import sentence

ALONE = Figures(1_000, 500, 500, 100, 0, 1_000, 200, 900.0, 4.0, 0.5)


def test_gains():
    """What was gained is said with the figures of both sides."""
    seawall = replace(ALONE, answered=600, failed=400, most_blocked=20, blocked_in_vain=50.0)
    said = sentence(ALONE, seawall)
    assert "600 of 1,000 calls were answered instead of 500" in said
    assert "20 callers" in said
    assert "instead of 200" in said
    assert "but" not in said


def test_losses_are_said_too():
    """What was lost is said after what was gained."""
    said = sentence(ALONE, replace(ALONE, answered=450, most_blocked=20, blocked_in_vain=50.0))
    assert said.index("20 callers") < said.index("but") < said.index("450 of 1,000")


def test_nothing_gained():
    """A run without any gain says so."""
    assert "nothing was gained" in sentence(ALONE, ALONE)
