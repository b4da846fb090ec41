"""Trip rules by themselves."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seawall.core.verdict import Kind
from seawall.policies.circuit.adaptive import AdaptiveFailureCount
from seawall.policies.circuit.cusum import Cusum
from seawall.policies.circuit.rules import (
    AllOf,
    AnyOf,
    ConsecutiveFailures,
    FailureCount,
    FailureRate,
    TripRule,
    as_rule,
)
from seawall.policies.circuit.slow_calls import SlowCallRate
from seawall.policies.circuit.tallies import Tally
from seawall.policies.circuit.windows import Calls


def trips_at(rule, outcomes, gap=0.0):
    """Return the number of the first call, from 1, at which a fresh tally holds."""
    tally = rule.start()
    for number, kind in enumerate(outcomes, 1):
        if tally.record(kind, 0.0, number * gap):
            return number
    return None


GOOD, BAD = Kind.SUCCESS, Kind.FAILURE
KINDS = st.sampled_from([GOOD, BAD])


@pytest.mark.parametrize(
    "rule,outcomes,expected",
    [
        (ConsecutiveFailures(3), [BAD, BAD, GOOD, BAD, BAD, BAD], 6),
        (ConsecutiveFailures(1), [GOOD, BAD], 2),
        (FailureCount(3, 60.0), [BAD, GOOD, BAD, GOOD, GOOD, BAD], 6),
        (FailureCount(3, Calls(4)), [BAD, BAD, GOOD, GOOD, BAD, BAD, GOOD, BAD], 8),
        (FailureRate(0.5, 60.0, 4), [BAD, BAD, BAD, BAD], 4),
        (FailureRate(0.5, 60.0, 4), [GOOD, GOOD, GOOD, BAD, BAD, BAD], 6),
        (FailureRate(0.5, Calls(4), 1), [GOOD, GOOD, GOOD, BAD, BAD], 5),
        (FailureRate(1.0, 60.0, 2), [GOOD, *[BAD] * 50], None),
        # A success completes the minimum, but trips nothing; the next failure does.
        (FailureRate(0.5, 60.0, 4), [BAD, BAD, BAD, GOOD, GOOD, BAD], 6),
        # 7 of 100 are 0.07, although 0.07 * 100 is more than 7 in binary.
        (FailureRate(0.07, 60.0, 100), [*[GOOD] * 93, *[BAD] * 7], 100),
    ],
)
def test_where_a_rule_holds_first(rule, outcomes, expected):
    """Each rule holds exactly where its sentence says."""
    assert trips_at(rule, outcomes) == expected


def test_old_failures_leave_the_window():
    """Three failures in ten seconds are too few for a window of two."""
    assert trips_at(FailureCount(3, 2.0), [BAD] * 3, gap=5.0) is None
    assert trips_at(FailureCount(3, 2.0), [BAD] * 3, gap=0.5) == 3


def test_a_small_window_of_calls_must_be_full():
    """With fewer ``Calls`` than ``minimum_calls`` the rule can still trip: once they are full."""
    assert trips_at(FailureRate(0.5, Calls(10)), [BAD] * 30) == 10


RULES = [
    ConsecutiveFailures(2),
    FailureCount(3, Calls(5)),
    FailureRate(0.4, Calls(6), 3),
    FailureCount(4, 10.0),
    SlowCallRate(0.5, 1.0, Calls(4)),
    SlowCallRate(0.5, 1.0, 10.0, 3),
    Cusum(0.3, 0.7, 20.0),
]
ADAPTIVE = [
    AdaptiveFailureCount(2, 10.0, minimum_calls=3),
    AdaptiveFailureCount(2, Calls(5)),
]
# Where one rule hears each success, all do: these are without.
QUIET = [ConsecutiveFailures(2), FailureCount(4, 10.0), Cusum(0.3, 0.7, 20.0), ADAPTIVE[0]]
QUIET_SUMS = [kind(*rules) for kind in (AnyOf, AllOf) for rules in (RULES + ADAPTIVE, QUIET)]
# Seconds that a call took.
DURATIONS = (0.0, 2.0, 0.5, 1.5)


@given(
    chosen=st.lists(st.sampled_from(RULES + ADAPTIVE), min_size=1, max_size=4),
    outcomes=st.lists(KINDS, max_size=40),
    gap=st.sampled_from([0.0, 1.0, 3.0]),
)
def test_combinations_hold_where_any_and_where_all_of_their_rules_hold(chosen, outcomes, gap):
    """``|`` is *or* and ``&`` is *and* of what the rules say of the same call."""
    singles = [rule.start() for rule in chosen]
    any_tally, all_tally = AnyOf(*chosen).start(), AllOf(*chosen).start()
    for number, kind in enumerate(outcomes):
        duration, now = DURATIONS[number % 4], number * gap
        answers = [tally.record(kind, duration, now) for tally in singles]
        assert any_tally.record(kind, duration, now) == any(answers)
        assert all_tally.record(kind, duration, now) == all(answers)


@pytest.mark.parametrize("rule", [*RULES, *ADAPTIVE, *QUIET_SUMS])
@given(outcomes=st.lists(KINDS, max_size=60), gap=st.sampled_from([0.0, 0.1, 4.0]))
def test_successes_may_be_handed_over_together(rule, outcomes, gap):
    """Until ``quiet_until`` successes can wait for the next failure, and nothing changes."""
    plain, late = rule.start(), rule.start()
    waiting = 0
    for number, kind in enumerate(outcomes):
        duration, now = DURATIONS[number % 4], number * gap
        holds = plain.record(kind, duration, now)
        if kind is GOOD and now < late.quiet_until:
            assert not holds
            waiting += 1
            continue
        if waiting:
            late.add_successes(waiting)
            waiting = 0
        assert late.record(kind, duration, now) == holds
        assert late.evidence(now) == plain.evidence(now)


@pytest.mark.parametrize("rule", [*RULES, AnyOf(*RULES), AllOf(*RULES)])
@given(outcomes=st.lists(KINDS, max_size=30))
def test_reset_makes_a_tally_as_new(rule, outcomes):
    """After ``reset`` a tally says what a fresh one says."""
    used, fresh = rule.start(), rule.start()
    for kind in outcomes:
        used.record(kind, 2.0, 50.0)
    used.reset()
    assert used.evidence(50.0) == fresh.evidence(50.0)
    for kind in reversed(outcomes):
        assert used.record(kind, 2.0, 60.0) == fresh.record(kind, 2.0, 60.0)


def test_the_evidence_is_that_of_the_rule_that_holds():
    """What tripped is told, not what was counted beside it."""
    tally = (FailureRate(0.5, 60.0, 20) | ConsecutiveFailures(3)).start()
    for kind in (GOOD, GOOD, BAD, BAD):
        tally.record(kind, 0.0, 0.0)
    assert tally.evidence(0.0) == (2, 4)
    assert tally.record(BAD, 0.0, 0.0)
    assert tally.evidence(0.0) == (3, 3)


def test_where_several_rules_hold_the_first_tells_the_evidence():
    """Of two rules that hold at the same call, the one that was named first is told."""
    rules = (FailureCount(2, 60.0), ConsecutiveFailures(2))
    for rule, evidence in ((AnyOf(*rules), (2, 3)), (AnyOf(*reversed(rules)), (2, 2))):
        tally = rule.start()
        assert [tally.record(kind, 0.0, 0.0) for kind in (GOOD, BAD, BAD)] == [0, 0, 1]
        assert tally.evidence(0.0) == evidence


def test_evidence_ages():
    """The evidence of a window of time is that of the moment when it is asked for."""
    tally = FailureCount(5, 10.0).start()
    tally.record(BAD, 0.0, 0.0)
    assert tally.evidence(5.0) == (1, 1)
    assert tally.evidence(50.0) == (0, 0)


def test_shift_moves_every_window_of_a_combination():
    """Nothing ages while a circuit moves to another event loop."""
    tally = (FailureCount(2, 10.0) & ConsecutiveFailures(1)).start()
    tally.record(BAD, 0.0, 0.0)
    tally.shift(1e6)
    assert tally.record(BAD, 0.0, 1e6 + 5.0)


def test_combinations_are_flat_and_keep_their_order():
    """``a | b | c`` is one rule of three; ``&`` inside ``|`` stays together."""
    a, b, c = ConsecutiveFailures(1), ConsecutiveFailures(2), ConsecutiveFailures(3)
    assert (a | b | c).rules == (a | (b | c)).rules == (a, b, c)
    assert (a & b & c).rules == (a, b, c)
    assert (a & b | c).rules == (AllOf(a, b), c)
    assert (a | b) == AnyOf(a, b) != AllOf(a, b)
    assert hash(a | b) == hash(AnyOf(a, b))
    assert repr(a & (b | c)) == (
        "ConsecutiveFailures(n=1) & (ConsecutiveFailures(n=2) | ConsecutiveFailures(n=3))"
    )


@pytest.mark.parametrize(
    "trip,expected",
    [
        (None, FailureRate(0.5, window=30.0, minimum_calls=20) | ConsecutiveFailures(8)),
        (5, ConsecutiveFailures(5)),
        (1, ConsecutiveFailures(1)),
        (0.5, FailureRate(0.5)),
        (1.0, FailureRate(1.0)),
        (FailureCount(2, 3.0), FailureCount(2, 3.0)),
    ],
)
def test_what_a_trip_argument_means(trip, expected):
    """``None``, a number and a rule are all spellings of a rule."""
    rule = as_rule(trip)
    assert rule == expected
    assert type(rule) is type(expected)


def test_quiet_successes_need_add_successes():
    """A tally that promises a quiet time but cannot count successes together says so."""

    class Half(Tally):
        quiet_until = 10.0

        def record(self, kind, duration, now):
            return False

        def reset(self):
            pass

    with pytest.raises(NotImplementedError, match="Half"):
        Half().add_successes(3)


def test_a_reset_combination_forgets_which_rule_held():
    """After a reset the evidence is the widest view again."""

    class Counting(Tally):
        quiet_until = 1e9
        successes = 0

        def record(self, kind, duration, now):
            return False

        def reset(self):
            self.successes = 0

        def add_successes(self, count):
            self.successes += count

        def evidence(self, now):
            return 0, self.successes

    class Count(TripRule):
        def start(self):
            return Counting()

    tally = (ConsecutiveFailures(1) | Count()).start()
    assert tally.record(BAD, 0.0, 0.0)
    tally.reset()
    tally.add_successes(5)
    assert tally.evidence(0.0) == (0, 5)
