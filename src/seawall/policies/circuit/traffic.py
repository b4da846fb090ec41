"""How fast calls come."""

from __future__ import annotations

from math import isnan
from typing import Final

from seawall.policies.circuit.times import NEVER

# Seconds; a longer gap is counted as this one, so that a pause does not hide the rate for long.
_LONGEST_GAP = 10.0
_STEADY = 64
STEADY_WEIGHT: Final = 1 / _STEADY


class Traffic:
    """The mean gap between two admissions: a bias-corrected exponentially weighted average.

    It is the plain mean of the first 64 gaps; from then on each new gap has a weight of 1/64.

    Attributes:
        mean_gap: seconds; 0.0 while unknown.
        usual: the longest gap that :meth:`Circuit.admit` may add by itself, without
            :meth:`learn`.
    """

    __slots__ = ("_count", "mean_gap", "usual")

    def __init__(self) -> None:
        self.mean_gap = 0.0
        self.usual = NEVER
        self._count = 0

    def learn(self, gap: float) -> None:
        """Count one gap of any length; NaN is none."""
        if isnan(gap):
            return
        self._count = count = min(self._count + 1, _STEADY)
        self.mean_gap += (min(max(gap, 0.0), _LONGEST_GAP) - self.mean_gap) / count
        if count == _STEADY:
            self.usual = _LONGEST_GAP
