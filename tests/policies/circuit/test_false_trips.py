"""How often the default rule trips a circuit whose dependency only fails now and then."""

from __future__ import annotations

from math import ceil, log
from random import Random

import pytest

from seawall.core.verdict import Kind
from seawall.policies.circuit.rules import as_rule

GOOD, BAD = Kind.SUCCESS, Kind.FAILURE
PER_SECOND = 100
CALLS = 3600 * PER_SECOND


def trips_in_an_hour(rule, share, seed):
    """Count the trips at 100 calls/s, as a circuit would that closes again at once."""
    random = Random(seed).random
    tally = rule.start()
    trips = number = 0
    while number < CALLS:
        # The successes before the next failure: a geometric number.
        failure = number + int(log(1.0 - random()) / log(1.0 - share))
        while number < min(failure, CALLS):
            quiet = ceil(max(0.0, tally.quiet_until) * PER_SECOND) - number
            if quiet > 0:
                quiet = min(quiet, failure - number)
                tally.add_successes(quiet)
                number += quiet
            else:
                assert not tally.record(GOOD, 0.0, number / PER_SECOND)
                number += 1
        if failure < CALLS and tally.record(BAD, 0.0, failure / PER_SECOND):
            trips += 1
            tally.reset()
        number = failure + 1
    return trips


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.05, 0.1, 0.15])
def test_the_default_rule_does_not_trip_a_dependency_that_fails_now_and_then(share):
    """At 100 calls/s with up to 15 % errors no simulated hour has a false trip."""
    assert [trips_in_an_hour(as_rule(None), share, seed) for seed in (1, 2, 3)] == [0, 0, 0]


@pytest.mark.slow
@pytest.mark.parametrize("share,least,most", [(0.2, 0.0, 1.5), (0.3, 5.0, 40.0)])
def test_false_trips_of_a_bad_dependency(share, least, most):
    """With 20 % errors it trips less than once an hour (.74 times), with 30 % about 17 times."""
    hours = [trips_in_an_hour(as_rule(None), share, seed) for seed in (1, 2, 3)]
    assert least <= sum(hours) / len(hours) <= most
