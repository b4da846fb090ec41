"""What a fresh tally takes over from the one of an earlier rule."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seawall.core.verdict import Kind
from seawall.policies.circuit.adaptive import AdaptiveFailureCount
from seawall.policies.circuit.cusum import Cusum
from seawall.policies.circuit.rules import ConsecutiveFailures, FailureCount, FailureRate, TripRule
from seawall.policies.circuit.slow_calls import SlowCallRate
from seawall.policies.circuit.tallies import Tally
from seawall.policies.circuit.windows import Calls

GOOD, BAD = Kind.SUCCESS, Kind.FAILURE
NOW = 100.0


def tally_after(rule, outcomes, duration=0.0):
    tally = rule.start()
    for kind in outcomes:
        tally.record(kind, duration, NOW)
    return tally


def carried(old_rule, new_rule, outcomes, duration=0.0):
    """Return a tally of the new rule that took over from one of the old that heard these."""
    tally = new_rule.start()
    tally.carry_over(tally_after(old_rule, outcomes, duration))
    return tally


STREAK = ConsecutiveFailures(5)
COUNT = FailureCount(9, 60.0)
RATE = FailureRate(0.5, 60.0)
LAST = FailureRate(0.5, Calls(9))
SLOW = SlowCallRate(0.5, 1.0)
CUSUM = Cusum()
ADAPTIVE = AdaptiveFailureCount(9)
# Of a kind with none of these.
STALE = SlowCallRate(0.5, 7.0, Calls(7))


@pytest.mark.parametrize(
    "old,new,evidence",
    [
        (STREAK, ConsecutiveFailures(2), (4, 4)),
        (COUNT, FailureCount(2, 60), (4, 7)),
        (COUNT, FailureCount(2, 600.0), (4, 7)),
        (COUNT, FailureCount(2, 30.0), (4, 7)),
        (FailureCount(9, Calls(20)), FailureCount(2, Calls(5)), (4, 5)),
        (RATE, FailureRate(0.1, 30.0, 5), (4, 7)),
        (LAST, FailureRate(0.1, Calls(6)), (4, 6)),
        (SLOW, SlowCallRate(0.9, 1.0, 60.0, 99), (7, 7)),
        (CUSUM, Cusum(0.2, 0.5, 1e3), (4, 4)),
        (ADAPTIVE, AdaptiveFailureCount(5, 30.0), (4, 7)),
        # What is not of a kind begins empty.
        (COUNT, FailureCount(9, Calls(9)), (0, 0)),
        (LAST, RATE, (0, 0)),
        (SLOW, SlowCallRate(0.5, 1.5), (0, 0)),
        (STREAK, CUSUM, (0, 0)),
        (CUSUM, STREAK, (0, 0)),
        (COUNT, RATE, (0, 0)),
        (RATE, SLOW, (0, 0)),
        (COUNT, ADAPTIVE, (0, 0)),
        (ADAPTIVE, COUNT, (0, 0)),
    ],
)
def test_a_rule_takes_over_from_one_of_its_kind(old, new, evidence):
    """Evidence of the same kind is kept, as far as it fits, and any other is not."""
    outcomes = [GOOD, GOOD, GOOD, BAD, BAD, BAD, BAD]
    assert carried(old, new, outcomes, duration=2.0).evidence(NOW) == evidence


@pytest.mark.parametrize(
    "old,new",
    [
        (STREAK, ConsecutiveFailures(2)),
        (COUNT, FailureCount(4, 30.0)),
        (RATE, FailureRate(0.5, 30.0, 5)),
        (LAST, FailureRate(0.5, Calls(4))),
        (CUSUM, Cusum(false_trip_every=10.0)),
        (ADAPTIVE, AdaptiveFailureCount(2)),
    ],
)
def test_what_was_taken_over_trips_at_the_next_failure(old, new):
    """A stricter rule holds at the next failure, and until then at nothing."""
    tally = carried(old, new, [BAD] * 4)
    assert tally.record(BAD, 0.0, NOW)
    assert not carried(old, new, [BAD] * 4).record(GOOD, 0.0, NOW)
    assert not new.start().record(BAD, 0.0, NOW)


@pytest.mark.parametrize("rule", [STREAK, COUNT, RATE, LAST, SLOW, CUSUM, ADAPTIVE])
@given(
    calls=st.lists(st.tuples(st.sampled_from([GOOD, BAD]), st.sampled_from([0.0, 0.5, 9.0]))),
    half=st.integers(0, 10),
)
def test_a_tally_of_the_same_rule_goes_on_as_if_it_were_the_old_one(rule, calls, half):
    """Taking over from a tally of an equal rule changes nothing that is said afterwards."""
    old, now = rule.start(), NOW
    for kind, gap in calls[:half]:
        now += gap
        old.record(kind, gap, now)
    new = rule.start()
    new.carry_over(old)
    assert new.quiet_until == old.quiet_until
    for kind, gap in calls[half:]:
        now += gap
        assert new.record(kind, gap, now) == old.record(kind, gap, now)
        assert new.evidence(now) == old.evidence(now)


def test_the_old_tally_shares_nothing_with_the_new():
    """What the new tally hears, the old one does not."""
    for rule in (COUNT, LAST, SLOW):
        old = tally_after(rule, [BAD])
        new = rule.start()
        new.carry_over(old)
        new.record(BAD, 2.0, NOW + 50.0)
        new.reset()
        assert old.evidence(NOW)[1] == 1


def test_combinations_are_matched_rule_by_rule():
    """Each rule of a combination takes over from the first of its kind, whatever their order."""
    old = FailureCount(50, 60.0) | STREAK | FailureCount(60, 600.0)
    outcomes = [BAD, GOOD, BAD, BAD]
    streak = carried(old, ConsecutiveFailures(9) & FailureCount(9, 60.0), outcomes)
    parts = [single.evidence(NOW) for single in streak.singles()]
    assert parts == [(2, 2), (3, 4)]


def test_each_evidence_is_taken_over_once():
    """Two rules of a kind do not both take over from the only one there was."""
    new = carried(COUNT, FailureCount(8, 60.0) | FailureCount(9, 60.0), [BAD, BAD])
    assert [single.evidence(NOW) for single in new.singles()] == [(2, 2), (0, 0)]


@pytest.mark.parametrize("single", [STREAK, COUNT, LAST, SLOW, CUSUM, ADAPTIVE])
@pytest.mark.parametrize("other", [RATE, RATE & FailureCount(3, Calls(50))])
def test_a_single_rule_finds_its_match_in_a_combination_and_back(single, other):
    """From a rule to a combination, also a nested one, and back, nothing of it is lost."""
    first = tally_after(single, [BAD, BAD, BAD], duration=2.0)
    evidence = first.evidence(NOW)
    assert evidence == (3, 3)
    for combination in (single | other, other & single, (single & STALE) | other):
        combined, back = combination.start(), single.start()
        combined.carry_over(first)
        back.carry_over(combined)
        assert back.evidence(NOW) == evidence


def test_different_windows_and_limits_of_one_kind_find_each_other():
    """A match is looked for among all rules of a kind, not only the first."""
    old = FailureCount(9, 60.0) | FailureCount(9, Calls(9)) | SlowCallRate(0.5, 1.0) | SLOW
    assert carried(old, FailureCount(5, Calls(5)), [BAD] * 3).evidence(NOW) == (3, 3)
    old = SlowCallRate(0.5, 4.0) | SlowCallRate(0.5, 1.0)
    assert carried(old, SlowCallRate(0.7, 1.0), [GOOD], duration=2.0).evidence(NOW) == (1, 1)


def test_a_rule_of_the_users_takes_over_nothing_unless_it_says_so():
    """Without ``take_over`` a tally begins empty; with it it is offered each of the earlier."""

    class Plain(Tally):
        heard = 0

        def record(self, kind, duration, now):
            self.heard += 1
            return False

        def reset(self):
            self.heard = 0

    class Willing(Plain):
        def take_over(self, previous):
            if not isinstance(previous, Plain):
                return False
            self.heard = previous.heard
            return True

    class Own(TripRule):
        def __init__(self, make):
            self.make = make

        def start(self):
            return self.make()

    assert carried(Own(Plain), Own(Plain), [BAD] * 3).heard == 0
    assert carried(Own(Plain), Own(Willing), [BAD] * 3).heard == 3
    assert carried(STREAK | Own(Plain), Own(Willing), [BAD] * 3).heard == 3
    assert carried(STREAK, Own(Willing), [BAD] * 3).heard == 0
