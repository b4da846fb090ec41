"""The number of failures that adapts."""

from __future__ import annotations

from math import floor, inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

import seawall
from seawall.core.verdict import Kind
from seawall.policies.circuit.adaptive import AdaptiveFailureCount
from seawall.policies.circuit.windows import Calls

GOOD, BAD = Kind.SUCCESS, Kind.FAILURE


def period(tally, begin, failures, calls, length=60.0):
    """Record one period: the failures last, spread evenly; return whether it ever held."""
    held = False
    for number in range(calls):
        kind = BAD if number >= calls - failures else GOOD
        held |= tally.record(kind, 0.0, begin + number * length / calls)
    return held


def thresholds(rule, *periods):
    """Return the threshold after each period of (failures, calls)."""
    tally = rule.start()
    found = []
    for number, (failures, calls) in enumerate(periods):
        period(tally, number * 60.0, failures, calls)
        tally.record(GOOD, 0.0, (number + 1) * 60.0)
        # The call that ended the period is not to count for the next one.
        tally._calls = 0
        tally._period_end = -inf
        found.append(tally.threshold)
    return found


def test_it_begins_as_a_failure_count():
    """At first it trips at ``n`` failures in the window, also if they are the only calls."""
    tally = AdaptiveFailureCount(3).start()
    assert [tally.record(BAD, 0.0, 0.0) for _ in range(3)] == [False, False, True]
    tally = AdaptiveFailureCount(3, 2.0).start()
    assert [tally.record(BAD, 0.0, number * 5.0) for number in range(9)] == [False] * 9


@pytest.mark.parametrize(
    "periods,expected",
    [
        ([(4, 100)], [15.0]),
        ([(5, 100)], [10.0]),
        ([(30, 100)], [10.0]),
        ([(31, 100)], [7.0]),
        ([(0, 20), (7, 20), (0, 20)], [15.0, 10.5, 15.75]),
        # Too few calls say nothing.
        ([(0, 19), (19, 19)], [10.0, 10.0]),
        # Within half of n and four times n.
        ([(0, 20)] * 5, [15.0, 22.5, 33.75, 40.0, 40.0]),
        ([(20, 20)] * 3, [7.0, 5.0, 5.0]),
    ],
)
def test_a_period_moves_the_threshold(periods, expected):
    """Above 95 % successes it rises by half, below 70 % it falls to 70 %, within its limits."""
    assert thresholds(AdaptiveFailureCount(10), *periods) == pytest.approx(expected)


def test_the_limits_can_be_given():
    """``minimum`` and ``maximum`` hold the threshold."""
    rule = AdaptiveFailureCount(10, minimum=9, maximum=12)
    assert thresholds(rule, (0, 20), (20, 20), (20, 20)) == pytest.approx([12.0, 9.0, 9.0])


@pytest.mark.parametrize("threshold_up,needed", [(1, 8), (2, 11), (3, 17)])
def test_the_threshold_is_rounded_to_the_nearest(threshold_up, needed):
    """7.5 failures mean 8, 11.25 mean 11, 16.875 mean 17."""
    tally = AdaptiveFailureCount(5).start()
    for number in range(threshold_up):
        period(tally, number * 60.0, 0, 20)
    answers = [tally.record(BAD, 0.0, threshold_up * 60.0) for _ in range(needed)]
    assert answers == [False] * (needed - 1) + [True]


def test_a_window_of_calls_is_evaluated_each_time_it_was_filled_anew():
    """Of ``Calls(10)`` each ten calls are a period; the tenth is judged by the old threshold."""
    tally = AdaptiveFailureCount(4, Calls(10)).start()
    kinds = [*[GOOD] * 7, *[BAD] * 3, *[GOOD] * 10]
    found = []
    for number, kind in enumerate(kinds):
        tally.record(kind, 0.0, number * 1e5)
        found.append(tally.threshold)
    assert found == [4] * 19 + [6.0]
    assert [tally.record(BAD, 0.0, 0.0) for _ in range(6)] == [False] * 5 + [True]


def test_a_window_of_calls_bounds_the_threshold():
    """A threshold above what the window can hold would never be reached."""
    tally = AdaptiveFailureCount(8, Calls(10)).start()
    for _ in range(100):
        tally.record(GOOD, 0.0, 0.0)
    assert tally.threshold == 10
    assert [tally.record(BAD, 0.0, 0.0) for _ in range(10)] == [False] * 9 + [True]


def test_the_threshold_outlives_a_reset_and_a_period_does_not():
    """What was learned stays when the circuit closes anew; what was counted does not."""
    tally = AdaptiveFailureCount(10).start()
    period(tally, 0.0, 0, 20)
    tally.record(GOOD, 0.0, 60.0)
    tally.add_successes(30)
    tally.reset()
    assert tally.threshold == 15.0
    assert tally.evidence(60.0) == (0, 0)
    tally.record(GOOD, 0.0, 61.0)
    tally.record(GOOD, 0.0, 125.0)
    assert tally.threshold == 15.0


def test_a_pause_ends_a_period_but_does_not_prolong_it():
    """Calls after a pause belong to the next period, however many the last one held."""
    tally = AdaptiveFailureCount(10).start()
    period(tally, 0.0, 0, 20)
    period(tally, 1e6, 15, 20)
    assert tally.threshold == 15.0
    tally.record(GOOD, 0.0, 1e6 + 60.0)
    assert tally.threshold == pytest.approx(10.5)


def test_it_is_not_quiet_beyond_the_end_of_a_period():
    """The first success after a period ends it, also within a bucket of the window."""
    tally = AdaptiveFailureCount(10, 32.0).start()
    tally.record(GOOD, 0.0, 0.0)
    tally.record(GOOD, 0.0, 32.5)
    assert tally.quiet_until == 33.0
    tally.record(GOOD, 0.0, 64.25)
    assert tally.quiet_until == 64.5
    tally.record(GOOD, 0.0, 64.5)
    assert tally.quiet_until == 65.0


def test_shift_moves_the_period():
    """A period ends as late as before when a circuit moves to another event loop."""
    tally = AdaptiveFailureCount(10).start()
    period(tally, 1e6, 0, 20)
    tally.shift(-1e6)
    tally.record(GOOD, 0.0, 59.0)
    assert tally.threshold == 10
    tally.record(GOOD, 0.0, 60.0)
    assert tally.threshold == 15.0


def test_another_n_takes_the_threshold_over_in_proportion():
    """1.5 times the old ``n`` becomes 1.5 times the new one, within the new limits."""
    old = AdaptiveFailureCount(10).start()
    period(old, 0.0, 0, 20)
    old.record(GOOD, 0.0, 60.0)
    for rule, expected in (
        (AdaptiveFailureCount(100, 30.0), 150.0),
        (AdaptiveFailureCount(10, maximum=12), 12),
        (AdaptiveFailureCount(10), 15.0),
        (AdaptiveFailureCount(10, Calls(50)), 10),
    ):
        tally = rule.start()
        tally.carry_over(old)
        assert tally.threshold == expected


@given(
    window=st.sampled_from([10.0, Calls(8)]),
    lazy=st.booleans(),
    outcomes=st.lists(
        st.tuples(st.sampled_from([GOOD, GOOD, BAD]), st.sampled_from([0.0, 0.25, 0.5, 11.0])),
        max_size=200,
    ),
)
def test_it_is_a_failure_count_with_the_threshold_of_the_docstring(window, lazy, outcomes):
    """Threshold and answer are those of a model that keeps lists, with quiet successes or not."""
    tally = AdaptiveFailureCount(3, window, minimum_calls=4).start()
    threshold, begin, seen, now = 3.0, None, [], 100.0
    waiting = 0

    def adapt():
        share = seen.count(GOOD) / len(seen)
        factor = 1.5 if share > 0.95 else 0.7 if share < 0.7 else 1.0
        highest = 8 if window == Calls(8) else 12
        return min(max(threshold * factor, 2), highest)

    for kind, gap in outcomes:
        now += gap
        if window == 10.0 and begin is not None and now >= begin + 10.0:
            if len(seen) >= 4:
                threshold = adapt()
            begin, seen = None, []
        if begin is None:
            begin = now
        seen.append(kind)
        if lazy and kind is GOOD and now < tally.quiet_until:
            waiting += 1
            continue
        if waiting:
            tally.add_successes(waiting)
            waiting = 0
        held = tally.record(kind, 0.0, now)
        failures = tally.evidence(now)[0]
        assert held == (kind is BAD and failures >= floor(threshold + 0.5))
        if window == Calls(8) and len(seen) == 8:
            threshold, begin, seen = adapt(), None, []
        assert tally.threshold == threshold


@pytest.mark.parametrize(
    "parameter,values",
    [
        ("n", [0, -1, 1.5, "5", True, None]),
        ("window", [0, -1, nan, inf, "5", None, True]),
        ("minimum_calls", [0, 1.5, "1", True, None]),
        ("minimum", [0, 11, -1, 1.5, "1", True]),
        ("maximum", [9, 0, -1, 10.5, "20", True]),
    ],
)
def test_a_wrong_value_is_named(parameter, values):
    """A wrong argument names the parameter and the value."""
    for value in values:
        with pytest.raises((TypeError, ValueError), match=f"^{parameter} must be ") as caught:
            AdaptiveFailureCount(**({"n": 10} | {parameter: value}))
        assert repr(value) in str(caught.value)


def test_what_a_window_of_calls_cannot_hold_is_refused():
    """Neither ``n`` nor ``maximum`` may be more than the calls of the window."""
    with pytest.raises(ValueError, match="n must be at most the 9 of window, not 10"):
        AdaptiveFailureCount(10, Calls(9))
    with pytest.raises(ValueError, match="maximum must be at most the 20 of window, not 21"):
        AdaptiveFailureCount(10, Calls(20), maximum=21)


def test_it_is_a_value():
    """It is public, has the defaults of the reference, and equal settings are equal rules."""
    assert seawall.AdaptiveFailureCount is AdaptiveFailureCount
    assert AdaptiveFailureCount(5) == AdaptiveFailureCount(5, 60.0, minimum_calls=20)
    assert AdaptiveFailureCount(1).start().threshold == 1
    with pytest.raises(TypeError):
        AdaptiveFailureCount(5, 60.0, 20)
