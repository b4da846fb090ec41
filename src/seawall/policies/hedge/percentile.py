"""How long to wait for an answer, learned from the answers before. Pure: it needs no clock.

The rules:

1. Durations are counted in buckets, each 5 % wider than the one before. Every new one weighs a
   little more than the last, so that old ones fade.
2. The delay is the upper edge of the bucket with the percentile in it: never less than the
   percentile, so that no larger share of the calls is hedged, and at most 5 % more. A millisecond
   is added, for uvloop's clock is that coarse: it may show as much too little, and its timers may
   come as much too early. Beyond about 1,000 seconds the delay is not known.
3. What was ended early has lasted at least so long. Where that is longer than the delay, it counts
   as it is: only the share above the delay matters, not how far above it is. Where it is shorter,
   it says nothing.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from math import ceil, exp, inf, log
from typing import Final

from seawall.core.checks import check_count, check_number
from seawall.core.resolution import RESOLUTION

_SHORTEST: Final = 0.0001
_GROWTH: Final = log(1.05)
_BUCKETS: Final = ceil(log(1000.0 / _SHORTEST) / _GROWTH) + 2
# The last bucket is for whatever is longer than that.
_EDGES: Final = [_SHORTEST * exp(_GROWTH * number) for number in range(_BUCKETS - 1)] + [inf]
# Durations above the percentile that are remembered: the share that is hedged is right to
# about 1 / sqrt(2 * 50) = 10 % of itself.
_ABOVE: Final = 50
_FIRST_ABOVE: Final = 5
_HEAVIEST: Final = 1e9


@dataclass(frozen=True, slots=True)
class Percentile:
    """The delay of a :class:`~seawall.Hedge`: as long as this share of the answers takes.

    It is learned from the last ``50 / (1 - ratio)`` first attempts or so, 1,000 of them for 0.95:
    older ones fade. Until ``minimum_calls`` are known there is no hedge. Where more calls than
    ``1 - ratio`` hang, the percentile is as long as a hang; ``at_most`` hedges them all the same.
    To what was learned a millisecond is added: the clocks of some event loops are that coarse.

    Args:
        ratio: the share of the answers, from 0.5 to 0.999.
        minimum_calls: answers to learn from before the first hedge; ``5 / (1 - ratio)`` by default,
            100 for 0.95.
        at_least: the shortest delay, in seconds.
        at_most: the longest delay, in seconds.

    Raises:
        ValueError: a number is out of range.
        TypeError: an argument is of the wrong type.
    """

    ratio: float
    _: KW_ONLY
    minimum_calls: int | None = None
    at_least: float = 0.0
    at_most: float = inf

    def __post_init__(self) -> None:
        check_number("ratio", self.ratio, at_least=0.5, at_most=0.999)
        check_count("minimum_calls", self.minimum_calls, at_least=1, optional=True)
        check_number("at_least", self.at_least, at_least=0)
        check_number("at_most", self.at_most, at_least=self.at_least, infinite=True)


class LearnedDelay:
    """What is known of how long answers take.

    Attributes:
        delay: seconds to wait for an answer; ``inf`` while too few are known.
        known: answers learned from so far.
    """

    __slots__ = (
        "_above",
        "_counts",
        "_fade",
        "_minimum_calls",
        "_percentile",
        "_position",
        "_total",
        "_weight",
        "delay",
        "known",
    )

    def __init__(self, percentile: Percentile) -> None:
        share_above = 1 - percentile.ratio
        calls = percentile.minimum_calls
        # 5 / 0.05 is a little more than 100 in binary fractions.
        self._minimum_calls = ceil(_FIRST_ABOVE / share_above - 1e-6) if calls is None else calls
        self._percentile = percentile
        self._fade = exp(share_above / _ABOVE)
        self._counts = [0.0] * _BUCKETS
        self._weight = 1.0
        self._total = self._above = 0.0
        self._position = 0
        self.delay = inf
        self.known = 0

    def learn(self, seconds: float, *, answered: bool) -> None:
        """Take in how long a first attempt took, or how long it lasted until it was ended."""
        if not answered and seconds < self.delay:
            return
        bucket = 0
        if seconds > _SHORTEST:
            bucket = min(ceil(log(seconds / _SHORTEST) / _GROWTH), _BUCKETS - 1)
        weight = self._weight = self._weight * self._fade
        self._counts[bucket] += weight
        self._total += weight
        if bucket > self._position:
            self._above += weight
        self._find()
        self.known += 1
        if self.known >= self._minimum_calls:
            at_least, at_most = self._percentile.at_least, self._percentile.at_most
            self.delay = min(max(_EDGES[self._position] + RESOLUTION, at_least), at_most)
        if weight > _HEAVIEST:
            self._lighten()

    def _find(self) -> None:
        """Move to the bucket with the percentile in it, which is seldom far."""
        counts, position, above = self._counts, self._position, self._above
        allowed = (1 - self._percentile.ratio) * self._total
        while above > allowed and position < _BUCKETS - 1:
            position += 1
            above -= counts[position]
        while position > 0 and above + counts[position] <= allowed:
            above += counts[position]
            position -= 1
        self._position, self._above = position, above

    def _lighten(self) -> None:
        self._counts = [count / self._weight for count in self._counts]
        self._weight = 1.0
        self._total = sum(self._counts)
        self._above = sum(self._counts[self._position + 1 :])
