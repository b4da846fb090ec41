from __future__ import annotations

import asyncio
from collections import Counter
from itertools import pairwise

import pytest

from benchmarks.overhead import measure
from benchmarks.overhead.measure import Group, Variant


def sleeper(calls, name):
    async def run(count):
        calls[name] += count

    return run


def test_no_variant_always_follows_the_same_one():
    """Over many rounds each pair of variants comes in both orders, and next to each other."""
    variants = [Variant(name, sleeper(Counter(), name)) for name in "abc"]
    orders = [
        [variant.name for variant in measure.shuffled(variants, number)] for number in range(600)
    ]
    assert all(sorted(order) == ["a", "b", "c"] for order in orders)
    following = Counter(pair for order in orders for pair in pairwise(order))
    assert len(following) == 6
    assert all(150 < count < 250 for count in following.values())


def test_what_comes_early_in_a_round_and_is_dear_is_no_difference(monkeypatch):
    """Three of the same, where the first of each round takes longest, have a ratio of one."""
    place = 0

    async def run_slice(variant):
        nonlocal place
        place = (place + 1) % 3
        return 100.0 + (20.0, 10.0, 0.0)[place - 1]

    async def calibrate(variant):
        variant.count = 1

    monkeypatch.setattr(measure, "run_slice", run_slice)
    monkeypatch.setattr(measure, "calibrate", calibrate)
    group = Group("same", [Variant(name, sleeper(Counter(), name)) for name in "abc"])
    asyncio.run(measure.measure([group], 200))
    for one in group.variants:
        for other in group.variants:
            assert measure.ratio(one, other) == pytest.approx(1.0, abs=0.02)
