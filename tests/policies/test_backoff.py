"""How long to wait: the formulas, their clamps, and the statistics of the jitters."""

from __future__ import annotations

import math
import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seawall import UsageError, constant, exponential, linear
from seawall.policies.retry.backoff import Exponential, as_backoff, delay_of

JITTERS = ["full", "equal", "decorrelated", None]


def delays(backoff, count):
    """Return the first delays, each given the one before."""
    last, found = 0.0, []
    for failed in range(1, count + 1):
        last = backoff(failed, last)
        found.append(last)
    return found


def seeded(base, *, factor=2.0, cap=10.0, jitter="full", seed=1):
    """Return a backoff whose chance can be repeated."""
    return Exponential(base, factor, cap, jitter, random.Random(seed).random)


def test_exponential_without_jitter_doubles_up_to_the_cap():
    """The first wait is the base, each further one is twice as long, none is above the cap."""
    backoff = exponential(0.1, jitter=None)
    expected = [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0]
    assert delays(backoff, 9) == pytest.approx(expected)


def test_the_factor_and_the_cap_can_be_chosen():
    """They are the user's; a factor of 1 is a constant wait."""
    assert delays(exponential(1, factor=3, cap=20, jitter=None), 4) == [1, 3, 9, 20]
    assert delays(exponential(2, factor=1, cap=20, jitter=None), 3) == [2, 2, 2]
    assert delays(exponential(5, cap=3, jitter=None), 3) == [3, 3, 3]


def test_constant_and_linear():
    """A constant wait stays the same, a linear one grows by its step up to the cap."""
    assert delays(constant(0.5), 3) == [0.5] * 3
    assert delays(constant(0), 3) == [0] * 3
    assert delays(linear(0.5, cap=1.2), 4) == [0.5, 1.0, 1.2, 1.2]
    assert delays(linear(3.0), 5) == [3.0, 6.0, 9.0, 10.0, 10.0]


@pytest.mark.parametrize("jitter", JITTERS)
@pytest.mark.parametrize("failed", [1100, 10_000, 10**6])
def test_no_number_of_attempts_overflows(jitter, failed):
    """At attempt 10,000 the wait is within the cap, where ``2 ** attempt`` would not be a float."""
    for base, factor, cap in [(0.1, 2.0, 10.0), (1, 2, 10), (1, 10.0, 3600.0), (1e-9, 1.5, 5.0)]:
        backoff = seeded(base, factor=factor, cap=cap, jitter=jitter)
        delay = backoff(failed, cap)
        assert 0.0 <= delay <= cap
        if jitter is None:
            assert delay == cap
    assert linear(1.0)(failed, 0.0) == 10.0


@given(
    sizes=st.tuples(st.floats(1e-320, 1e300), st.floats(1e-320, 1e300)),
    factor=st.floats(min_value=1, max_value=1e300) | st.integers(1, 10**30),
    jitter=st.sampled_from(JITTERS),
    failed=st.integers(1, 10**9),
    chance=st.tuples(st.floats(0, 1, exclude_max=True), st.floats(0, 1)),
)
def test_whatever_the_numbers_a_delay_is_within_the_cap(sizes, factor, jitter, failed, chance):
    """No setting that the constructor takes overflows, gives NaN, or leaves the range."""
    base, cap = sizes
    share, portion = chance
    backoff = Exponential(base, factor, cap, jitter, lambda: share)
    delay = backoff(failed, portion * cap)
    assert 0.0 <= delay <= cap


@pytest.mark.parametrize("jitter", ["full", "equal", None])
def test_it_never_shrinks_with_the_attempts(jitter):
    """With the same chance, a later wait is at least as long as an earlier one."""
    backoff = Exponential(0.1, 2.0, 10.0, jitter, lambda: 0.7)
    found = delays(backoff, 50)
    assert found == sorted(found)


@pytest.mark.parametrize("share", [0.0, 0.25, 0.999])
def test_the_formulas_of_the_jitters(share):
    """Full: share of the wait; equal: half and a share of half; decorrelated: by the last wait."""
    full, equal, walk = (
        Exponential(1.0, 2.0, 10.0, jitter, lambda: share)
        for jitter in ("full", "equal", "decorrelated")
    )
    assert full(4, 5.0) == pytest.approx(share * 8)
    assert full(9, 5.0) == pytest.approx(share * 10)
    assert equal(4, 5.0) == pytest.approx(4 + share * 4)
    assert walk(4, 3.0) == pytest.approx(1 + share * 8)
    assert walk(4, 9.0) == pytest.approx(min(10, 1 + share * 26))


def sample(jitter, failed, *, last=0.0, count=20_000):
    backoff = seeded(1.0, cap=100.0, jitter=jitter)
    return [backoff(failed, last) for _ in range(count)]


def spread(values, low, high):
    """Say whether values are spread evenly between two bounds, by tenths (chi-square)."""
    assert min(values) >= low
    assert max(values) <= high
    tenths = [0] * 10
    for value in values:
        tenths[min(9, int((value - low) / (high - low) * 10))] += 1
    expected = len(values) / 10
    # 9 degrees of freedom: 27.9 is exceeded once in a thousand; the seeds are fixed.
    return sum((found - expected) ** 2 / expected for found in tenths) < 27.9


def test_full_jitter_is_even_from_zero():
    """After the fourth failure a wait of 8 s is spread evenly from 0 s to 8 s."""
    assert spread(sample("full", 4), 0.0, 8.0)


def test_equal_jitter_is_even_from_the_half():
    """Equal jitter keeps half of the wait and spreads the other half evenly."""
    assert spread(sample("equal", 4), 4.0, 8.0)


def test_decorrelated_jitter_is_even_up_to_three_times_the_last():
    """It forgets the number of the attempt, and looks at the last wait only."""
    assert spread(sample("decorrelated", 4, last=5.0), 1.0, 15.0)
    assert spread(sample("decorrelated", 9, last=5.0), 1.0, 15.0)
    assert set(sample("decorrelated", 1, last=0.0, count=10)) == {1.0}


def test_the_cap_comes_before_the_jitter():
    """At the cap the waits are still spread: clients that failed together do not come together."""
    for jitter, low in [("full", 0.0), ("equal", 5.0)]:
        backoff = seeded(1.0, cap=10.0, jitter=jitter)
        values = [backoff(100, 10.0) for _ in range(20_000)]
        assert spread(values, low, 10.0)


def test_decorrelated_jitter_never_sticks_to_the_cap():
    """Its walk leaves the cap again, and stays within base and cap."""
    found = delays(seeded(0.1, cap=10.0, jitter="decorrelated"), 5000)
    assert min(found) >= 0.1
    assert max(found) == 10.0
    at_cap = sum(delay == 10.0 for delay in found) / len(found)
    assert 0.05 < at_cap < 0.8


def contention(jitter, clients, seed):
    """Return the calls, and the time of the last, until all clients got through.

    The experiment of the article: all begin together, and of those that come within the same
    instant one gets through.
    """
    backoff = seeded(0.005, cap=2.0, jitter=jitter, seed=seed)
    arrivals = dict.fromkeys(range(clients), 0.0)
    failed = dict.fromkeys(arrivals, 0)
    last = dict.fromkeys(arrivals, 0.0)
    calls, now = 0, 0.0
    while arrivals:
        now = min(arrivals.values())
        together = sorted(c for c, at in arrivals.items() if at <= now + 0.001)
        calls += len(together)
        del arrivals[together[0]]
        for client in together[1:]:
            failed[client] += 1
            last[client] = backoff(failed[client], last[client])
            arrivals[client] = now + 0.002 + last[client]
    return calls, now


def test_the_shape_of_the_article():
    """As AWS's article found: any jitter saves most of the calls, and full jitter is not slower.

    "Exponential Backoff and Jitter", Marc Brooker, 2015: without jitter the calls of contending
    clients grow with the square of their number; with it, nearly with the number.
    """
    calls = {}
    for jitter in JITTERS:
        runs = [contention(jitter, 60, seed)[0] for seed in range(5)]
        calls[jitter] = statistics.mean(runs)
    assert calls[None] == 60 * 61 / 2
    for jitter in ("full", "equal", "decorrelated"):
        assert calls[jitter] < calls[None] / 3
    assert calls["full"] < calls["equal"]


def test_what_retry_takes_as_a_backoff():
    """A number is a constant wait, and a callable is taken as it is."""
    assert as_backoff(0.5)(7, 3.0) == 0.5
    assert as_backoff(0)(1, 0.0) == 0
    backoff = exponential(1.0)
    assert as_backoff(backoff) is backoff

    def own(failed, last):
        return failed + last

    assert as_backoff(own) is own


@pytest.mark.parametrize("value", ["1", None, True, (1,)], ids=repr)
def test_what_is_no_backoff_is_refused(value):
    """The error shows what may be given."""
    with pytest.raises(TypeError, match=r"backoff must be a number .* not " + ".*"):
        as_backoff(value)


@pytest.mark.parametrize("answer", [None, "1", math.nan, True, math.inf, -math.inf], ids=repr)
def test_a_callable_that_returns_no_seconds_is_named(answer):
    """A user's backoff that returns no finite number is an error that shows what it returned."""

    def own(failed, last):
        return answer

    with pytest.raises(UsageError) as caught:
        delay_of(own, 1, 0.0)
    assert "own" in str(caught.value)
    assert repr(answer) in str(caught.value)


def test_a_negative_delay_is_none():
    """A callable that computes less than nothing means at once."""
    assert delay_of(lambda failed, last: -1.0, 1, 0.0) == 0.0


def test_backoffs_are_values():
    """They can be compared, hashed and shown, and the source of chance is no part of that."""
    assert exponential(0.1) == exponential(0.1)
    assert exponential(0.1) != exponential(0.1, jitter=None)
    assert len({linear(1), linear(1), constant(1)}) == 2
    assert "0.1" in repr(exponential(0.1))
    assert "random" not in repr(exponential(0.1))
