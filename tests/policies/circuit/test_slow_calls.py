"""Slow calls as a reason to trip."""

from __future__ import annotations

from math import inf, nan

import pytest

import seawall
from seawall.core.verdict import Kind
from seawall.policies.circuit.rules import FailureRate
from seawall.policies.circuit.slow_calls import SlowCallRate
from seawall.policies.circuit.windows import Calls

GOOD, BAD = Kind.SUCCESS, Kind.FAILURE


def trips_at(rule, durations, kind=GOOD):
    """Return the number of the first call, from 1, at which a fresh tally holds."""
    tally = rule.start()
    for number, duration in enumerate(durations, 1):
        if tally.record(kind, duration, 0.0):
            return number
    return None


@pytest.mark.parametrize(
    "rule,durations,expected",
    [
        (SlowCallRate(0.5, 1.0, 60.0, 4), [0.1, 0.1, 2.0, 2.0], 4),
        # As slow as the limit is not slower.
        (SlowCallRate(0.5, 1.0, 60.0, 4), [1.0] * 50, None),
        # A fast call completes the minimum, but trips nothing; the next slow one does.
        (SlowCallRate(0.5, 1.0, 60.0, 4), [2.0, 2.0, 2.0, 0.0, 0.0, 2.0], 6),
        (SlowCallRate(0.5, 1.0, Calls(4), 1), [0.0, 0.0, 0.0, 2.0, 2.0], 5),
        (SlowCallRate(0.5, 1.0, Calls(10)), [2.0] * 30, 10),
        (SlowCallRate(0.5, 1.0), [2.0] * 30, 20),
        (SlowCallRate(1.0, 1.0, 60.0, 2), [0.0, *[2.0] * 50], None),
        # 7 of 100 are 0.07, although 0.07 * 100 is more than 7 in binary.
        (SlowCallRate(0.07, 1.0, 60.0, 100), [*[0.0] * 93, *[2.0] * 7], 100),
    ],
)
@pytest.mark.parametrize("kind", [GOOD, BAD])
def test_where_the_rule_holds_first(rule, durations, expected, kind):
    """It holds at the slow call that makes the share, whether calls succeed or fail."""
    assert trips_at(rule, durations, kind) == expected


def test_old_slow_calls_leave_the_window():
    """Three slow calls within ten seconds are too few in a window of two."""
    rule = SlowCallRate(1.0, 1.0, 2.0, 3)
    for gap, holds in ((5.0, False), (0.5, True)):
        tally = rule.start()
        answers = [tally.record(GOOD, 3.0, number * gap) for number in range(3)]
        assert answers == [False, False, holds]


def test_the_evidence_is_slow_calls_among_calls():
    """What is told as failures are the slow calls, whatever their kind."""
    tally = SlowCallRate(0.5, 1.0).start()
    for kind, duration in ((GOOD, 2.0), (BAD, 2.0), (BAD, 0.0), (GOOD, 0.0)):
        tally.record(kind, duration, 0.0)
    assert tally.evidence(0.0) == (2, 4)
    assert tally.evidence(50.0) == (0, 0)


def test_each_success_is_heard_also_in_a_combination():
    """No success is only counted: nobody would know how long it took."""
    assert SlowCallRate(0.5, 1.0).start().quiet_until == -inf
    assert (FailureRate(0.5) | SlowCallRate(0.5, 1.0)).start().quiet_until == -inf


@pytest.mark.parametrize(
    "parameter,values",
    [
        ("ratio", [0, -0.1, 1.1, nan, "1", True, None]),
        ("slower_than", [0, -1, nan, inf, "1", True, None]),
        ("window", [0, -1, nan, inf, "5", None, True]),
        ("minimum_calls", [0, 1.5, "1", True, None]),
    ],
)
def test_a_wrong_value_is_named(parameter, values):
    """A wrong argument names the parameter and the value."""
    for value in values:
        with pytest.raises((TypeError, ValueError), match=f"^{parameter} must be ") as caught:
            SlowCallRate(**({"ratio": 0.5, "slower_than": 1.0} | {parameter: value}))
        assert repr(value) in str(caught.value)


def test_it_is_a_value():
    """It is public, has the defaults of the reference, and equal settings are equal rules."""
    assert seawall.SlowCallRate is SlowCallRate
    assert SlowCallRate(0.5, 2.0) == SlowCallRate(0.5, 2.0, 30.0, 20)
    assert len({SlowCallRate(0.5, 2.0), SlowCallRate(0.5, 2.0)}) == 1
