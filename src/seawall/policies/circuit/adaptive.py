"""A number of failures that adapts to how the dependency usually does."""

# ruff: noqa: D102 - Tally says what its methods do

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from math import floor, inf
from typing import TYPE_CHECKING, Final

from seawall.core.checks import check_count
from seawall.core.verdict import Kind
from seawall.policies.circuit.tallies import WindowTally
from seawall.policies.circuit.trip_rule import TripRule
from seawall.policies.circuit.windows import Calls, check_window, make_window

if TYPE_CHECKING:
    from seawall.policies.circuit.tallies import Tally

_FAILURE: Final = Kind.FAILURE

# Shares of successes, and by what the threshold is multiplied above and below them.
_WELL: Final = 0.95
_RAISE: Final = 1.5
_BADLY: Final = 0.7
_LOWER: Final = 0.7


@dataclass(frozen=True, slots=True)
class AdaptiveFailureCount(TripRule):
    """Trip when a window holds so many failures as a threshold, which follows the dependency.

    The threshold begins at ``n``. After each period in which more than 95 % of the calls succeeded
    it is multiplied by 1.5, after one in which less than 70 % did by 0.7, within ``minimum`` and
    ``maximum``; the failures are compared with the nearest whole number (7.5 means 8).

    A period is as long as the window: so many seconds, from the first call after the last period,
    and if it held fewer than ``minimum_calls`` it changes nothing; or each ``n`` of ``Calls(n)``.
    A period that a trip cuts short changes nothing either. The threshold outlives openings and
    resets of its circuit: it is what was learned, not evidence.

    It counts failures, not their share: choose ``n`` by the traffic. A good start is a tenth of
    the calls that a window holds, and at least 5.

    Args:
        n: how many failures at first; at least 1.
        window: seconds of sliding time (a call counts up to 1/32 longer), or ``Calls(n)``.
            Default 60 s.
        minimum_calls: a period of time with fewer calls changes nothing; at least 1. Default 20.
        minimum: lowest threshold; at least 1, at most ``n``. Default: half of ``n``, rounded up.
        maximum: highest threshold; at least ``n``, at most the calls that the window can hold.
            Default: four times ``n``, or fewer if the window cannot hold so many.

    Raises:
        TypeError: an argument is of the wrong type.
        ValueError: an argument is out of range.
    """

    n: int
    window: float | Calls = 60.0
    _: KW_ONLY
    minimum_calls: int = 20
    minimum: int | None = None
    maximum: int | None = None

    def __post_init__(self) -> None:
        n, window, minimum, maximum = self.n, self.window, self.minimum, self.maximum
        check_count("n", n, at_least=1)
        check_window(window)
        check_count("minimum_calls", self.minimum_calls, at_least=1)
        if isinstance(window, Calls) and n > window.count:
            raise ValueError(f"n must be at most the {window.count} of window, not {n}")
        if minimum is not None:
            check_count("minimum", minimum, at_least=1)
            if minimum > n:
                raise ValueError(f"minimum must be at most n ({n}), not {minimum}")
        if maximum is not None:
            check_count("maximum", maximum, at_least=n)
            if isinstance(window, Calls) and maximum > window.count:
                raise ValueError(
                    f"maximum must be at most the {window.count} of window, not {maximum}"
                )

    def start(self) -> Tally:
        """Return a fresh tally for one circuit."""
        return AdaptiveTally(self)


class AdaptiveTally(WindowTally):
    """Counts the failures in a window, and the calls of a period.

    Attributes:
        threshold: the present threshold, before rounding.
    """

    __slots__ = (
        "_calls",
        "_failures",
        "_highest",
        "_length",
        "_lowest",
        "_minimum_calls",
        "_n",
        "_needed",
        "_period_calls",
        "_period_end",
        "threshold",
    )

    def __init__(self, rule: AdaptiveFailureCount) -> None:
        n, window = rule.n, rule.window
        self._window = make_window(window)
        self._n = n
        self._lowest = (n + 1) // 2 if rule.minimum is None else rule.minimum
        self._highest = 4 * n if rule.maximum is None else rule.maximum
        # A period ends by time or by its number of calls; the other end is never reached.
        if isinstance(window, Calls):
            self._highest = min(self._highest, window.count)
            self._length, self._period_calls = inf, float(window.count)
        else:
            self._length, self._period_calls = window, inf
        self._minimum_calls = rule.minimum_calls
        self._period_end = -inf
        self._calls = self._failures = 0
        self._set_threshold(n)

    @property
    def quiet_until(self) -> float:
        return min(self._window.quiet_until, self._period_end)

    def record(self, kind: Kind, duration: float, now: float) -> bool:  # noqa: ARG002
        if now >= self._period_end:
            if self._calls >= self._minimum_calls:
                self._adapt()
            self._begin_period()
            self._period_end = now + self._length
        window = self._window
        failed = kind is _FAILURE
        window.record(now, bad=failed)
        self._calls += 1
        self._failures += failed
        holds = failed and window.bad >= self._needed
        if self._calls >= self._period_calls:
            self._adapt()
            self._begin_period()
        return holds

    def reset(self) -> None:
        super().reset()
        self._begin_period()

    def add_successes(self, count: int) -> None:
        super().add_successes(count)
        self._calls += count

    def shift(self, delta: float) -> None:
        super().shift(delta)
        self._period_end += delta

    def take_over(self, previous: Tally) -> bool:
        if not isinstance(previous, AdaptiveTally) or not super().take_over(previous):
            return False
        # In proportion: another n is another idea of what is usual.
        self._set_threshold(self._n * (previous.threshold / previous._n))
        if (self._length, self._period_calls) == (previous._length, previous._period_calls):
            self._period_end = previous._period_end
            self._calls, self._failures = previous._calls, previous._failures
        return True

    def _begin_period(self) -> None:
        self._period_end = -inf
        self._calls = self._failures = 0

    def _adapt(self) -> None:
        share = (self._calls - self._failures) / self._calls
        if share > _WELL:
            self._set_threshold(self.threshold * _RAISE)
        elif share < _BADLY:
            self._set_threshold(self.threshold * _LOWER)

    def _set_threshold(self, threshold: float) -> None:
        self.threshold = min(max(threshold, self._lowest), self._highest)
        self._needed = floor(self.threshold + 0.5)
