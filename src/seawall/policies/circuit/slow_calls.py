"""The share of slow calls as a reason to trip."""

# ruff: noqa: D102 - Tally says what its methods do

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING

from seawall.core.checks import check_count, check_number
from seawall.policies.circuit.tallies import WindowTally
from seawall.policies.circuit.trip_rule import TripRule
from seawall.policies.circuit.windows import Calls, check_window, make_window

if TYPE_CHECKING:
    from seawall.core.verdict import Kind
    from seawall.policies.circuit.tallies import Tally
    from seawall.policies.circuit.windows import Window


@dataclass(frozen=True, slots=True)
class SlowCallRate(TripRule):
    """Trip when this share of the calls in a window was slow, whether they succeeded or failed.

    How long a call took is the time that it was in flight: without the time that it waited for a
    slot or a turn, and only until its response began. Only a slow call makes the rule trip. What
    refusals and snapshots tell as its failures are the slow calls.

    Each success has to be recorded, so a healthy call costs a little more than with rules that
    are about failures.

    Args:
        ratio: slow calls by calls at which it trips; above 0, at most 1.
        slower_than: seconds; a call that took longer was slow.
        window: seconds of sliding time (a call counts up to 1/32 longer), or ``Calls(n)``.
            Default 30 s.
        minimum_calls: with fewer calls in the window it never trips. Default 20. A window of fewer
            ``Calls`` must be full instead.

    Raises:
        TypeError: an argument is of the wrong type.
        ValueError: an argument is out of range.
    """

    ratio: float
    slower_than: float
    window: float | Calls = 30.0
    minimum_calls: int = 20

    def __post_init__(self) -> None:
        check_number("ratio", self.ratio, above=0, at_most=1)
        check_number("slower_than", self.slower_than, above=0)
        check_window(self.window)
        check_count("minimum_calls", self.minimum_calls, at_least=1)

    def start(self) -> Tally:
        """Return a fresh tally for one circuit."""
        minimum = self.minimum_calls
        if isinstance(self.window, Calls):
            minimum = min(minimum, self.window.count)
        return SlowCallTally(self.ratio, self.slower_than, minimum, make_window(self.window))


class SlowCallTally(WindowTally):
    """Counts the share of slow calls in a window."""

    __slots__ = ("_minimum", "_ratio", "_slower_than")

    def __init__(self, ratio: float, slower_than: float, minimum: int, window: Window) -> None:
        self._ratio = ratio
        self._slower_than = slower_than
        self._minimum = minimum
        self._window = window

    @property
    def quiet_until(self) -> float:
        # Of a success that was only counted nobody knows whether it was slow.
        return -inf

    def record(self, kind: Kind, duration: float, now: float) -> bool:  # noqa: ARG002
        window = self._window
        slow = duration > self._slower_than
        window.record(now, bad=slow)
        calls = window.calls
        return slow and calls >= self._minimum and window.bad / calls >= self._ratio

    def take_over(self, previous: Tally) -> bool:
        return (
            isinstance(previous, SlowCallTally)
            and previous._slower_than == self._slower_than
            and super().take_over(previous)
        )
