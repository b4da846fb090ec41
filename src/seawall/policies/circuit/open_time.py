"""For how long a circuit stays open."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from seawall.core.checks import check_number

if TYPE_CHECKING:
    from collections.abc import Callable


class OpenTime:
    """The open times of one circuit.

    Args:
        fixed: seconds; ``None`` to pace the probes by the traffic.
        longest: seconds up to which each re-opening doubles; ``None`` for no doubling.
        random: a function that returns 0.0 to 1.0.

    Attributes:
        last: the latest open time in seconds; 0.0 if there was none.
        fixed: as given.
        longest: as given.
        random: as given.

    Raises:
        TypeError: an argument is of the wrong type.
        ValueError: an argument is out of range.
    """

    __slots__ = ("_base", "fixed", "last", "longest", "random")

    def __init__(
        self, fixed: float | None, longest: float | None, random: Callable[[], float]
    ) -> None:
        check_number("open_for", fixed, above=0, optional=True)
        check_number("max_open_for", longest, above=0, optional=True)
        if fixed is not None and longest is not None and longest < fixed:
            raise ValueError(f"max_open_for must be at least open_for ({fixed!r}), not {longest!r}")
        if not callable(random):
            raise TypeError(f"random must be a function that returns 0.0 to 1.0, not {random!r}")
        self.fixed = fixed
        self.longest = longest
        self.random = random
        self._base = 0.0
        self.last = 0.0

    def take_over(self, other: OpenTime) -> OpenTime:
        """Go on where another one has come to; return this one."""
        self._base, self.last = other._base, other.last
        return self

    def forget(self) -> None:
        """Begin anew: the next opening is no re-opening."""
        self.last = 0.0

    def draw(self, mean_gap: float, *, again: bool) -> float:
        """Return the next open time.

        Args:
            mean_gap: seconds between two calls before the trip; 0.0 if unknown.
            again: whether this is a re-opening.
        """
        longest = inf if self.longest is None else self.longest
        if again and self.longest is not None:
            self._base = min(2.0 * self._base, longest)
        elif self.fixed is not None:
            self._base = self.last = self.fixed
            return self.last
        else:
            # A twentieth of the usual load.
            self._base = min(max(20.0 * mean_gap, 1.0), 30.0, longest)
        # The range ends at the cap and is not cut off there: jitter is needed most at the cap.
        low, high = 0.75 * self._base, min(1.25 * self._base, longest)
        self.last = low + (high - low) * self.random()
        return self.last
