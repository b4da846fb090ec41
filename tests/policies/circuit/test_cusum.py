"""The cumulative sum."""

from __future__ import annotations

from math import inf, log, nan
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

import seawall
from seawall.core.verdict import Kind
from seawall.policies.circuit.cusum import Cusum

GOOD, BAD = Kind.SUCCESS, Kind.FAILURE


def calls_to_trip(rule, share, random):
    tally = rule.start()
    calls = 1
    while not tally.record(BAD if random() < share else GOOD, 0.0, 0.0):
        calls += 1
    return calls


@pytest.mark.parametrize("share,expected,tolerance", [(1.0, 8, 0), (0.7, 14, 2.1), (0.5, 27, 4)])
def test_how_soon_it_trips(share, expected, tolerance):
    """With the defaults a dead dependency is seen after 8 calls, a bad one after 14 or 27."""
    random = Random(1954).random
    runs = 10_000 if tolerance else 1
    mean = sum(calls_to_trip(Cusum(), share, random) for _ in range(runs)) / runs
    assert abs(mean - expected) <= tolerance


def test_a_healthy_dependency_trips_at_most_as_often_as_was_said():
    """At the share of ``healthy`` false trips are at least ``false_trip_every`` calls apart."""
    random = Random(1971).random
    rule = Cusum(0.1, 0.6, false_trip_every=1000.0)
    mean = sum(calls_to_trip(rule, 0.1, random) for _ in range(100)) / 100
    assert 1000.0 <= mean <= 30_000.0


@given(
    healthy=st.floats(0.01, 0.5),
    factor=st.floats(1.05, 1.9),
    every=st.floats(2.0, 1e6),
    outcomes=st.lists(st.sampled_from([GOOD, BAD, BAD]), max_size=60),
)
def test_it_is_the_formula(healthy, factor, every, outcomes):
    """The answer at each call is that of Page's sum, except within rounding of the threshold."""
    sick = healthy * factor
    tally, total = Cusum(healthy, sick, every).start(), 0.0
    for kind in outcomes:
        held = tally.record(kind, 0.0, 0.0)
        if kind is BAD:
            total += log(sick / healthy)
            if abs(total - log(every)) > 1e-9:
                assert held == (total >= log(every))
            total = min(total, log(every))
        else:
            assert not held
            total = max(0.0, total + log((1 - sick) / (1 - healthy)))


def test_successes_are_never_asked_about_and_cost_one_step():
    """However many successes are handed over, the sum stops at 0, and so it is quiet for ever."""
    tally = Cusum().start()
    assert tally.quiet_until == inf
    tally.record(BAD, 0.0, 0.0)
    tally.add_successes(10**100)
    assert tally.evidence(0.0) == (0, 0)
    assert [tally.record(BAD, 0.0, 0.0) for _ in range(8)] == [False] * 7 + [True]


def test_the_evidence_begins_where_the_sum_was_last_0():
    """What is told are the calls by which the change is believed, not those long before it."""
    tally = Cusum().start()
    for kind in [GOOD] * 50 + [BAD] + [GOOD] * 3 + [BAD, BAD, GOOD, BAD]:
        tally.record(kind, 0.0, 0.0)
    assert tally.evidence(0.0) == (3, 4)


def test_a_sum_of_exactly_0_is_no_evidence():
    """A success that takes away exactly what a failure added leaves nothing to tell of."""
    tally = Cusum(0.25, 0.75).start()
    tally.record(BAD, 0.0, 0.0)
    assert tally.evidence(0.0) == (1, 1)
    tally.record(GOOD, 0.0, 0.0)
    assert tally.evidence(0.0) == (0, 0)


def test_no_more_is_taken_over_than_the_threshold():
    """A sum from a rule with a higher threshold is forgotten as soon as one of its own."""
    old, new = Cusum(false_trip_every=1e300).start(), Cusum().start()
    for _ in range(300):
        old.record(BAD, 0.0, 0.0)
    new.carry_over(old)
    assert new.evidence(0.0) == (300, 300)
    new.add_successes(18)
    assert new.evidence(0.0) == (0, 0)


def test_an_outage_that_did_not_trip_is_forgotten_in_bounded_time():
    """Beside a rule that keeps it from tripping the sum rises no higher than the threshold."""
    tally = Cusum().start()
    for _ in range(10_000):
        tally.record(BAD, 0.0, 0.0)
    tally.add_successes(18)
    assert tally.evidence(0.0) == (0, 0)


def test_time_does_not_matter():
    """It trips the same at a thousand calls a second and at one in a day, as no window would."""
    for gap in (0.001, 86_400.0):
        tally = Cusum().start()
        answers = [tally.record(BAD, 0.0, number * gap) for number in range(8)]
        assert answers == [False] * 7 + [True]


@pytest.mark.parametrize(
    "parameter,values",
    [
        ("healthy", [0, -0.1, 1, 1.5, nan, inf, "0.1", True, None]),
        ("sick", [0.1, 0.05, 0, 1, 1.5, nan, inf, "0.6", True, None]),
        ("false_trip_every", [1, 0.5, -5, nan, inf, "9", True, None]),
    ],
)
def test_a_wrong_value_is_named(parameter, values):
    """A wrong argument names the parameter and the value."""
    for value in values:
        with pytest.raises((TypeError, ValueError), match=f"^{parameter} must be ") as caught:
            Cusum(**{parameter: value})
        assert repr(value) in str(caught.value)


@pytest.mark.parametrize(
    "rule", [Cusum(0.5, 0.5 + 1e-16), Cusum(1e-300, 1 - 1e-16), Cusum(0.3, 0.4, 1e308)]
)
def test_extreme_settings_count(rule):
    """Whatever settings are allowed, failures add to the sum and successes take away from it."""
    tally = rule.start()
    tally.record(BAD, 0.0, 0.0)
    assert tally.evidence(0.0) == (1, 1)
    tally.add_successes(10**6)
    assert tally.evidence(0.0) == (0, 0)


def test_it_is_a_value():
    """It is public, has the defaults of the reference, and equal settings are equal rules."""
    assert seawall.Cusum is Cusum
    assert Cusum() == Cusum(0.1, 0.6, 1e6)
    assert len({Cusum(), Cusum()}) == 1
