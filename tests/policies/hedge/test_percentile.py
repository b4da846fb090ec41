"""The learned delay: how exact it is, how fast it follows, and what cut-off attempts do to it."""

from __future__ import annotations

from math import exp, inf
from random import Random

import pytest

from seawall import Percentile
from seawall.policies.hedge.percentile import LearnedDelay
from tests.policies.hedge.p_square import PSquare

RATIOS = [0.5, 0.9, 0.95, 0.99]


def lognormal(scale, spread=1.0):
    """Return what draws latencies, and their percentiles, found by drawing many."""
    return lambda random: scale * exp(spread * random.gauss(0.0, 1.0))


def share_above(draw, delay, random, count=20_000):
    return sum(draw(random) > delay for _ in range(count)) / count


def window(ratio):
    """How many answers are remembered."""
    return round(50 / (1 - ratio))


@pytest.mark.parametrize("ratio", RATIOS)
def test_the_share_that_is_hedged(ratio):
    """It is what was asked for, to about 10 % of itself, and one bucket of 5 % less."""
    draw = lognormal(0.02)
    shares = []
    for seed in range(20):
        random = Random(f"share {seed}")
        learned = LearnedDelay(Percentile(ratio))
        for _ in range(3 * window(ratio)):
            learned.learn(draw(random), answered=True)
        shares.append(share_above(draw, learned.delay, random) / (1 - ratio))
    assert 0.85 <= sum(shares) / len(shares) <= 1.03
    assert max(shares) <= 1.4


@pytest.mark.parametrize("seconds", [0.00001, 0.0001, 0.02, 0.0305, 1.0, 7.7, 1000.0])
def test_answers_that_all_take_as_long_are_not_hedged(seconds):
    """The delay is never below what all of them take, and at most 5 % and 1 ms above."""
    learned = LearnedDelay(Percentile(0.95))
    for _ in range(200):
        learned.learn(seconds, answered=True)
    assert seconds < learned.delay
    assert learned.delay <= max(seconds * 1.0501, 0.0001) + 0.001


@pytest.mark.parametrize("scale", [0.00005, 0.0003, 0.001, 0.003, 0.02])
def test_a_clock_that_is_a_millisecond_coarse(scale):
    """As uvloop's is: what crosses one of its ticks is hedged no more often than it should be."""
    draw, random = lognormal(scale, 0.3), Random(f"coarse {scale}")
    learned = LearnedDelay(Percentile(0.95))
    now = hedged = 0.0
    for _ in range(20_000):
        began, now = int(now * 1000), now + draw(random)
        took = int(now * 1000) - began
        # The timer is due at a whole tick too.
        hedged += learned.delay < inf and took >= round(learned.delay * 1000)
        learned.learn(took / 1000, answered=True)
        now += random.random()
    assert hedged / 20_000 <= 0.06


def test_answers_that_take_hours_are_not_hedged():
    """Where the percentile is beyond what is known, only ``at_most`` is a delay."""
    for at_most in (inf, 600.0):
        learned = LearnedDelay(Percentile(0.95, at_most=at_most))
        for _ in range(200):
            learned.learn(7200.0, answered=True)
        assert learned.delay == at_most


@pytest.mark.parametrize("ratio", RATIOS)
def test_there_is_none_before_enough_is_known(ratio):
    """By default five answers above it are needed."""
    learned = LearnedDelay(Percentile(ratio))
    for _ in range(round(5 / (1 - ratio)) - 1):
        learned.learn(1.0, answered=True)
        assert learned.delay == inf
    learned.learn(1.0, answered=False)
    assert learned.delay == inf
    learned.learn(1.0, answered=True)
    assert 1.0 <= learned.delay <= 1.05


def test_it_stays_between_the_bounds():
    """They are asked for by who knows better than the percentile."""
    learned = LearnedDelay(Percentile(0.9, minimum_calls=1, at_least=0.5, at_most=2.0))
    learned.learn(0.1, answered=True)
    assert learned.delay == 0.5
    for _ in range(1000):
        learned.learn(60.0, answered=False)
    assert learned.delay == 2.0


@pytest.mark.parametrize(
    "factor, windows, forgetful",
    [(3.0, 2, 0.3), (1 / 3, 4, 1.5)],
    ids=["slower", "faster"],
)
def test_it_follows_a_shift(factor, windows, forgetful):
    """After two windows upward, and four downward, it is right; P², which forgets nothing, is not.

    The calls before the shift are those of a quarter of an hour at 20 a second.
    """
    ratio, before = 0.95, 18_000
    old, new = lognormal(0.2, 0.5), lognormal(0.2 * factor, 0.5)
    true = 0.2 * factor * exp(0.5 * 1.6449)
    errors, errors_of_p_square = [], []
    for seed in range(10):
        random = Random(f"shift {seed}")
        learned, p_square = LearnedDelay(Percentile(ratio)), PSquare(ratio)
        for draw, count in ((old, before), (new, windows * window(ratio))):
            for _ in range(count):
                seconds = draw(random)
                learned.learn(seconds, answered=True)
                p_square.add(seconds)
        errors.append(abs(learned.delay / true - 1))
        errors_of_p_square.append(abs(p_square.value / true - 1))
    assert sum(errors) / 10 <= 0.15
    assert sum(errors_of_p_square) / 10 >= forgetful


def test_attempts_that_are_cut_off_do_no_harm():
    """A first attempt that its hedge beats is cut off after the delay; the percentile is the same.

    Where they were left out instead, each delay would cut off what makes the next one: it falls
    until every third call is hedged.
    """
    draw = lognormal(0.02)
    shares, naive = [], []
    for seed in range(10):
        for counts, found in ((True, shares), (False, naive)):
            random = Random(f"cut {seed}")
            learned = LearnedDelay(Percentile(0.95))
            for _ in range(6000):
                first, hedge = draw(random), learned.delay + draw(random)
                if first <= hedge:
                    learned.learn(first, answered=True)
                elif counts:
                    learned.learn(hedge, answered=False)
            found.append(share_above(draw, learned.delay, random))
    assert 0.04 <= sum(shares) / 10 <= 0.055
    assert sum(naive) / 10 >= 0.08


def test_a_dependency_that_becomes_slow_is_followed_although_all_is_cut_off():
    """When everything takes ten times as long every attempt is hedged, until that is learned."""
    learned = LearnedDelay(Percentile(0.95))
    for draw in (lognormal(0.02, 0.3), lognormal(0.2, 0.3)):
        random = Random("slow")
        for _ in range(4000):
            first, hedge = draw(random), learned.delay + draw(random)
            learned.learn(min(first, hedge), answered=first <= hedge)
    assert share_above(draw, learned.delay, random) <= 0.07


def test_it_takes_constant_memory_and_does_not_drift():
    """After 300,000 answers it is as exact as after a thousand."""
    random = Random("long")
    learned = LearnedDelay(Percentile(0.9))
    draw = lognormal(0.02)
    buckets = len(learned._counts)
    for _ in range(300_000):
        learned.learn(draw(random), answered=True)
    assert len(learned._counts) == buckets
    assert learned._weight <= 1.1e9
    above = sum(learned._counts[learned._position + 1 :])
    assert learned._above == pytest.approx(above, abs=1e-6 * learned._total)
    assert learned._total == pytest.approx(sum(learned._counts))
    assert share_above(draw, learned.delay, random) == pytest.approx(0.1, abs=0.03)
