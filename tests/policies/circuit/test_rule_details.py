"""Small promises of the trip rules, each of which a change of one token would break."""

from __future__ import annotations

import pytest

from seawall.core.verdict import Kind
from seawall.policies.circuit.adaptive import AdaptiveFailureCount
from seawall.policies.circuit.core import Circuit
from seawall.policies.circuit.cusum import Cusum
from seawall.policies.circuit.rules import (
    ConsecutiveFailures,
    FailureCount,
    FailureRate,
    TripRule,
    as_rule,
)
from seawall.policies.circuit.slow_calls import SlowCallRate
from seawall.policies.circuit.tallies import Tally
from seawall.policies.circuit.trip_rule import AllOf, AnyOf
from seawall.policies.circuit.windows import Calls, CallWindow, TimeWindow, check_window

GOOD, BAD = Kind.SUCCESS, Kind.FAILURE


def test_the_least_that_is_allowed_is_allowed():
    """Every bound that a message calls allowed can be given."""
    rule = AdaptiveFailureCount(1, Calls(1), minimum_calls=1, minimum=1, maximum=1)
    assert rule.start().record(BAD, 0.0, 0.0)


def test_the_first_period_begins_with_the_first_call():
    """Nothing that was before it moves the threshold."""
    tally = AdaptiveFailureCount(4, minimum_calls=1).start()
    assert [tally.record(BAD, 0.0, 0.0) for _ in range(4)] == [False, False, False, True]


def test_successes_of_several_goes_are_of_one_period():
    """However they are handed over, the period has as many calls as there were."""
    tally = AdaptiveFailureCount(4, 60.0).start()
    tally.record(GOOD, 0.0, 0.0)
    tally.add_successes(20)
    tally.add_successes(5)
    tally.record(GOOD, 0.0, 60.0)
    assert tally.threshold == 6.0


def test_a_period_ends_after_a_reset_too():
    """What a reset forgets is the period, and not that periods end."""
    tally = AdaptiveFailureCount(4, 60.0).start()
    tally.reset()
    for number in range(20):
        tally.record(GOOD, 0.0, float(number))
    tally.record(GOOD, 0.0, 60.0)
    assert tally.threshold == 6.0


@pytest.mark.parametrize(
    "one,other",
    [
        (ConsecutiveFailures(9), ConsecutiveFailures(8)),
        (FailureCount(9, 60.0), FailureCount(8, 60.0)),
        (AdaptiveFailureCount(9), AdaptiveFailureCount(8)),
        (Cusum(), Cusum(0.2)),
    ],
    ids=lambda rule: type(rule).__name__,
)
def test_a_tally_is_taken_over_once(one, other):
    """Of two new rules of its kind the first has it, and the second begins empty."""
    previous = one.start()
    for _ in range(3):
        previous.record(BAD, 0.0, 1.0)
    both = (one | other).start()
    both.carry_over(previous)
    first, second = both.singles()
    assert (first.evidence(1.0), second.evidence(1.0)) == ((3, 3), (0, 0))


def test_a_rule_that_takes_nothing_over_leaves_it_to_the_next():
    """What a rule of one's own did not use is still there for another rule."""

    class Own(Tally):
        def record(self, kind, duration, now):
            return False

        def reset(self):
            pass

    class OwnRule(TripRule):
        def start(self):
            return Own()

    previous = ConsecutiveFailures(9).start()
    for _ in range(3):
        previous.record(BAD, 0.0, 1.0)
    both = (OwnRule() | ConsecutiveFailures(8)).start()
    both.carry_over(previous)
    assert both.evidence(1.0) == (3, 3)


def test_the_evidence_of_rules_that_do_not_hold_is_the_widest():
    """It is that of the rule that has seen most calls, not most failures."""
    tally = (SlowCallRate(1.0, slower_than=5.0, window=60.0) | FailureCount(9, 1.0)).start()
    for _ in range(7):
        tally.record(GOOD, 0.0, 0.0)
    for _ in range(3):
        tally.record(BAD, 0.0, 30.0)
    assert tally.evidence(30.0) == (0, 10)


@pytest.mark.parametrize("trip", [True, "5", [0.5]])
def test_what_trip_may_be_is_said(trip):
    """The message names all that is allowed, and what was given."""
    with pytest.raises(TypeError) as caught:
        as_rule(trip)
    assert str(caught.value) == (
        "trip must be a rule, an int (failures in a row), a float (share of failures) or None,"
        f" not {trip!r}"
    )


@pytest.mark.parametrize("window", [True, "60", None])
def test_what_a_window_may_be_is_said(window):
    """The message names both kinds of window, and what was given."""
    with pytest.raises(TypeError) as caught:
        check_window(window)
    expected = f"window must be a number of seconds > 0, or Calls(n), not {window!r}"
    assert str(caught.value) == expected


def test_what_is_no_rule_may_combine_by_itself():
    """An operand of another kind is asked, as Python's operators do."""

    class Other:
        def __ror__(self, rule):
            return "or", rule

        def __rand__(self, rule):
            return "and", rule

    rule = ConsecutiveFailures(5)
    assert rule | Other() == ("or", rule)
    assert rule & Other() == ("and", rule)


@pytest.mark.parametrize("kind", [AnyOf, AllOf])
def test_combinations_are_values(kind):
    """Those of the same rules are equal and have one hash; others are, and have, not."""
    one, two, three = ConsecutiveFailures(1), ConsecutiveFailures(2), FailureRate(0.5)
    other = AllOf if kind is AnyOf else AnyOf
    assert kind(one, two) == kind(one, two)
    assert hash(kind(one, two)) == hash(kind(one, two))
    assert kind(one, two) != kind(one, three)
    assert kind(one, two) != other(one, two)
    assert len({hash(kind(one, two)), hash(kind(one, three)), hash(other(one, two))}) == 3


def test_good_calls_of_a_window_of_calls_may_be_added_together():
    """They push out as many as if they had come one by one."""
    window = CallWindow(5)
    for _ in range(4):
        window.record(0.0, bad=True)
    window.add_good(3)
    assert (window.calls, window.bad) == (5, 2)


@pytest.mark.parametrize("count", [254, 255, 2**16 - 1, 2**16, 2**32 - 1, 2**32, 2**40])
def test_a_bucket_holds_any_number_of_calls(count):
    """More than one byte can hold, or two, or four, leave with their bucket like all others."""
    window = TimeWindow(32.0)
    window.record(0.0, bad=True)
    window.add_good(count)
    window.record(1.0, bad=False)
    assert (window.calls, window.bad) == (count + 2, 1)
    window.record(34.0, bad=False)
    assert (window.calls, window.bad) == (1, 0)


def test_successes_are_heard_after_a_change_of_the_rule():
    """The next success is counted by the new rule, whatever that is quiet about."""
    circuit = Circuit(FailureRate(0.5, Calls(10)))
    circuit.reconfigure(trip=3)
    for kind in (BAD, BAD, GOOD, BAD, BAD):
        circuit.settle(circuit.admit(1.0), kind, 1.0)
    assert circuit.evidence(1.0) == (2, 2)
    circuit.reconfigure(trip=FailureRate(0.5, 10.0))
    circuit.settle(circuit.admit(2.0), GOOD, 2.0)
    assert circuit.evidence(2.0) == (0, 1)
