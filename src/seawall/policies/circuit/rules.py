"""The rules about failures, and what the ``trip`` argument of a circuit means.

Only a failure can make these rules trip: a success is no reason to cut a dependency off, even where
it completes the minimum of calls.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from seawall.core.checks import check_count, check_number
from seawall.policies.circuit.tallies import CountTally, RateTally, StreakTally
from seawall.policies.circuit.trip_rule import AllOf, AnyOf, TripRule
from seawall.policies.circuit.windows import Calls, check_window, make_window

if TYPE_CHECKING:
    from seawall.policies.circuit.tallies import Tally

__all__ = [
    "DEFAULT_RULE",
    "AllOf",
    "AnyOf",
    "ConsecutiveFailures",
    "FailureCount",
    "FailureRate",
    "TripRule",
    "as_rule",
]


@dataclass(frozen=True, slots=True)
class ConsecutiveFailures(TripRule):
    """Trip at ``n`` failures with no success between them.

    Args:
        n: how many failures; at least 1.

    Raises:
        TypeError: ``n`` is not an ``int``.
        ValueError: ``n`` is less than 1.
    """

    n: int

    def __post_init__(self) -> None:
        check_count("n", self.n, at_least=1)

    def start(self) -> Tally:
        """Return a fresh tally for one circuit."""
        return StreakTally(self.n)


@dataclass(frozen=True, slots=True)
class FailureCount(TripRule):
    """Trip when a window holds ``n`` failures, however many successes there are.

    Args:
        n: how many failures; at least 1.
        window: seconds of sliding time (a call counts up to 1/32 longer), or ``Calls(n)``.

    Raises:
        TypeError: ``n`` is not an ``int``, or ``window`` neither a number nor ``Calls``.
        ValueError: ``n`` is less than 1 or more than the window can hold, or ``window`` is not
            finite or not above 0.
    """

    n: int
    window: float | Calls

    def __post_init__(self) -> None:
        check_count("n", self.n, at_least=1)
        check_window(self.window)
        if isinstance(self.window, Calls) and self.n > self.window.count:
            raise ValueError(f"n must be at most the {self.window.count} of window, not {self.n}")

    def start(self) -> Tally:
        """Return a fresh tally for one circuit."""
        return CountTally(self.n, make_window(self.window))


@dataclass(frozen=True, slots=True)
class FailureRate(TripRule):
    """Trip when this share of the calls in a window failed.

    Args:
        ratio: failures by calls at which it trips; above 0, at most 1.
        window: seconds of sliding time (a call counts up to 1/32 longer), or ``Calls(n)``.
            Default 30 s.
        minimum_calls: with fewer calls in the window it never trips. Default 20. A window of fewer
            ``Calls`` must be full instead.

    Raises:
        TypeError: an argument is of the wrong type.
        ValueError: an argument is out of range.
    """

    ratio: float
    window: float | Calls = 30.0
    minimum_calls: int = 20

    def __post_init__(self) -> None:
        check_number("ratio", self.ratio, above=0, at_most=1)
        check_window(self.window)
        check_count("minimum_calls", self.minimum_calls, at_least=1)

    def start(self) -> Tally:
        """Return a fresh tally for one circuit."""
        minimum = self.minimum_calls
        if isinstance(self.window, Calls):
            minimum = min(minimum, self.window.count)
        return RateTally(self.ratio, minimum, make_window(self.window))


DEFAULT_RULE: Final = FailureRate(0.5, window=30.0, minimum_calls=20) | ConsecutiveFailures(8)


def as_rule(trip: object) -> TripRule:
    """Return the rule that is meant by the ``trip`` argument of a circuit.

    Args:
        trip: a rule; an ``int`` for that many failures in a row; a ``float`` for that share of
            failures (see :class:`FailureRate` for its defaults); ``None`` for half of at least 20
            calls in 30 s, or 8 in a row.

    Raises:
        TypeError: it is none of these; a ``bool`` is no number.
        ValueError: the number is out of range.
    """
    if trip is None:
        return DEFAULT_RULE
    if isinstance(trip, TripRule):
        return trip
    if isinstance(trip, bool) or not isinstance(trip, int | float):
        raise TypeError(
            "trip must be a rule, an int (failures in a row), a float (share of failures) or None,"
            f" not {trip!r}"
        )
    if isinstance(trip, int):
        check_count("trip", trip, at_least=1)
        return ConsecutiveFailures(trip)
    check_number("trip", trip, above=0, at_most=1)
    return FailureRate(trip)
