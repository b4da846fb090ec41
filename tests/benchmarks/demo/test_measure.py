"""What the calls of a run amount to."""

from __future__ import annotations

import pytest

from benchmarks.demo.calls import Call, Outcome
from benchmarks.demo.measure import IN_A_ROW, answering_after, most_blocked, percentile


def test_most_blocked():
    """Callers that overlap are counted together; who leaves at an instant makes room first."""
    calls = [
        Call(0.0, 0.0, Outcome.ANSWERED, 1.0),
        Call(0.5, 0.0, Outcome.FAILED, 1.0),
        Call(1.0, 0.0, Outcome.ANSWERED, 1.0),
    ]
    assert most_blocked([]) == 0
    assert most_blocked(calls) == 2


def test_most_blocked_within_a_phase():
    """Within a stretch of time those count that were blocked since before it."""
    calls = [Call(0.0, 0.0, Outcome.FAILED, 5.0), Call(0.1, 0.0, Outcome.FAILED, 0.1)]
    calls.append(Call(3.0, 0.0, Outcome.FAILED, 0.1))
    assert most_blocked(calls, 0.0, 1.0) == 2
    assert most_blocked(calls, 1.0, 2.0) == 1
    assert most_blocked(calls, 2.0, 4.0) == 2
    assert most_blocked(calls, 6.0, 7.0) == 0


@pytest.mark.parametrize(
    "values,share,expected",
    [([], 0.99, 0.0), ([3.0], 0.99, 3.0), ([1.0, 2.0, 3.0, 4.0], 0.5, 2.0)],
)
def test_percentile(values, share, expected):
    """The smallest value that a share of all do not exceed."""
    assert percentile(values, share) == expected


def test_answering_after():
    """A side answers again at the first of some arrivals in a row that were all answered."""
    calls = [Call(1.0, 0.0, Outcome.ANSWERED, 0.1), Call(2.0, 0.0, Outcome.REFUSED, 0.0)]
    calls += [Call(3.0 + number, 0.0, Outcome.ANSWERED, 0.1) for number in range(IN_A_ROW)]
    assert answering_after(calls, 0.5) == pytest.approx(2.5)
    assert answering_after(calls, 4.0) is None
