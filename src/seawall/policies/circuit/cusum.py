"""Trip by a cumulative sum: the quickest test for a change of the failure rate."""

# ruff: noqa: D102 - Tally says what its methods do

from __future__ import annotations

from dataclasses import dataclass
from math import inf, log, log1p
from typing import Final

from seawall.core.checks import check_number
from seawall.core.verdict import Kind
from seawall.policies.circuit.tallies import Tally
from seawall.policies.circuit.trip_rule import TripRule

_FAILURE: Final = Kind.FAILURE

# Sums are whole numbers of this fraction, so that they do not depend on how successes are grouped.
_PRECISION: Final = 1 << 48


@dataclass(frozen=True, slots=True)
class Cusum(TripRule):
    """Trip when the calls look more like a sick dependency than like a healthy one.

    A sum starts at 0. A failure adds ln(sick / healthy), a success ln((1 - sick) / (1 - healthy)),
    which is negative, and the sum never goes below 0. It trips when the sum reaches
    ln(false_trip_every). With the defaults a failure adds 1.79, a success takes 0.81 away, and it
    trips at 13.8: after 8 failures in a row, or on average after 14 calls at 70 % failures and 27
    at 50 %. It has no window and no minimum of calls, and old calls never lose their weight, so it
    also works at one call an hour.

    Of all rules with as few false trips this one is the quickest to see a change from ``healthy``
    to ``sick``. Between the two it trips too: with the defaults about 4 times in 360,000 calls at
    15 % failures and 66 times at 20 %. A dependency that often fails so much needs a higher
    ``healthy``. What refusals and snapshots tell are the failures and calls since the sum was last
    at 0: the calls by which the change is believed.

    Source: E. S. Page, "Continuous inspection schemes", Biometrika 41 (1954), 100-115; that the
    mean number of calls between false trips is at least ``false_trip_every``: G. Lorden,
    "Procedures for reacting to a change in distribution", Annals of Mathematical Statistics 42
    (1971), 1897-1908.

    Args:
        healthy: share of failures of a healthy dependency; above 0. Default 0.1.
        sick: share of failures that shall be seen; above ``healthy``, below 1. Default 0.6.
        false_trip_every: calls, at least so many on average, between two trips of a dependency
            that is ``healthy``; above 1. Default 1,000,000.

    Raises:
        TypeError: an argument is not a number.
        ValueError: an argument is out of range.
    """

    healthy: float = 0.1
    sick: float = 0.6
    false_trip_every: float = 1e6

    def __post_init__(self) -> None:
        _check_share("healthy", self.healthy, 0)
        _check_share("sick", self.sick, self.healthy)
        check_number("false_trip_every", self.false_trip_every, above=1)

    def start(self) -> Tally:
        """Return a fresh tally for one circuit."""
        return CusumTally(
            log(self.sick) - log(self.healthy),
            log1p(-self.healthy) - log1p(-self.sick),
            log(self.false_trip_every),
        )


class CusumTally(Tally):
    """Sums up the evidence for a change."""

    __slots__ = ("_calls", "_failure", "_failures", "_success", "_sum", "_threshold")

    def __init__(self, failure: float, success: float, threshold: float) -> None:
        self._failure = _whole(failure)
        self._success = _whole(success)
        self._threshold = _whole(threshold)
        self._sum = self._failures = self._calls = 0

    @property
    def quiet_until(self) -> float:
        return inf

    def record(self, kind: Kind, duration: float, now: float) -> bool:  # noqa: ARG002
        if kind is not _FAILURE:
            self.add_successes(1)
            return False
        self._calls += 1
        self._failures += 1
        # Where another rule keeps it from tripping, a long outage must not take as long to forget.
        self._sum = min(self._sum + self._failure, self._threshold)
        return self._sum == self._threshold

    def reset(self) -> None:
        self._sum = self._failures = self._calls = 0

    def add_successes(self, count: int) -> None:
        self._sum -= count * self._success
        self._calls += count
        if self._sum <= 0:
            self.reset()

    def evidence(self, now: float) -> tuple[int, int]:  # noqa: ARG002
        return self._failures, self._calls

    def take_over(self, previous: Tally) -> bool:
        if not isinstance(previous, CusumTally):
            return False
        self._sum = min(previous._sum, self._threshold)
        self._failures, self._calls = previous._failures, previous._calls
        return True


def _whole(number: float) -> int:
    return max(1, round(number * _PRECISION))


def _check_share(parameter: str, value: float, above: float) -> None:
    check_number(parameter, value, above=above)
    if value >= 1:
        raise ValueError(f"{parameter} must be a number > {above:g} and < 1, not {value!r}")
