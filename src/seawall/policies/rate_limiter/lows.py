"""What may be given back: how low the level has been since a call took its part. Pure."""

from __future__ import annotations

from bisect import bisect_right
from typing import Final

_AT_MOST: Final = 64


class Lows:
    """The lowest level since each of the takes.

    The *level* is what has been taken and has not regenerated yet. Had a call taken nothing, the
    level would be lower by what it took, but it cannot have been below zero at any time since: what
    regenerated while the bucket was full for lack of that call is gone. So the lowest level since
    a take is what may be given back of it at most, and then every level since is so much lower.

    Only the levels before a take count, and of these only those that no later one undercuts: a
    stack of rising levels. It is bounded; beyond that two levels become the lower one of them, so
    that never too much is given back.
    """

    __slots__ = ("_levels", "_numbers")

    def __init__(self) -> None:
        self._numbers: list[int] = []
        self._levels: list[float] = []

    def note(self, number: int, level: float) -> None:
        """Remember the level before the take of this number; numbers rise."""
        numbers, levels = self._numbers, self._levels
        while levels and levels[-1] >= level:
            levels.pop()
            numbers.pop()
        numbers.append(number)
        levels.append(level)
        if len(levels) > _AT_MOST:
            self._merge_pairs()

    def since(self, number: int, level: float) -> float:
        """Return the lowest level since the take of this number, the present one included."""
        first = bisect_right(self._numbers, number)
        return min(level, self._levels[first]) if first < len(self._levels) else level

    def lower(self, number: int, amount: float) -> None:
        """Lower all levels since the take of this number."""
        numbers, levels = self._numbers, self._levels
        first = bisect_right(numbers, number)
        for index in range(first, len(levels)):
            levels[index] -= amount
        undercut = first
        while first < len(levels) and undercut > 0 and levels[undercut - 1] >= levels[first]:
            undercut -= 1
        del numbers[undercut:first], levels[undercut:first]

    def _merge_pairs(self) -> None:
        odd = len(self._levels) % 2
        # The later number with the lower level; an odd one out, the youngest, stays as it is.
        end = len(self._levels) - odd
        self._numbers = self._numbers[1:end:2] + self._numbers[end:]
        self._levels = self._levels[0:end:2] + self._levels[end:]
