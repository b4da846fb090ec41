"""How many calls a dependency takes at a time, estimated from how it answers. Pure.

1. A *window* lasts for at least 1 s, and until min(10, limit) attempts were answered or lost. One
   that has too few of them after 10 s changes nothing, and the next one begins.
2. More than 5 % of its attempts *lost* (timed out, or throttled by the dependency): × 0.7. An
   attempt that is lost, and that was sent before the limit last shrank so, says nothing new: after
   an outage those that hung in it would go on to shrink the limit, for as long as they may hang.
3. Else, if at least half of the limit was in flight at some moment: with the mean latency of the
   window (*short*), the usual one (*long*) and the gradient g = 2 · long / short, clamped to
   .5 … 1, a fifth of the way towards g · limit + max(4, √limit). Up to twice the usual latency is
   no sign of a queue, and the limit grows.
4. *Long* is the mean of the windows without loss, the latest with a weight of 5 %. It comes down by
   another 5 % while it is more than twice as long as *short*.
5. Until the first sign of overload (loss as in 2, or g < 1) it also grows by one with each answer,
   once the limit of the beginning of the window was reached, to twice its size in one window.
6. An error that came fast says nothing about queues: it is an attempt, and nothing else.

After Netflix' concurrency-limits (``Gradient2Limit``); less by a factor after loss, as in TCP.
"""

from __future__ import annotations

from math import inf, isnan, nan, sqrt
from typing import Final, Literal, TypeAlias

Loss: TypeAlias = Literal["timeouts", "throttled"]
Reason: TypeAlias = Literal["initial", "grew", "latency", "timeouts", "throttled"]

_SHORTEST: Final = 1.0
_LONGEST: Final = 10.0
_ENOUGH: Final = 10
_TOLERATED_LOSS: Final = 0.05
_AFTER_LOSS: Final = 0.7
_TOLERATED_LATENCY: Final = 2.0
_SMALLEST_GRADIENT: Final = 0.5
_STEP: Final = 0.2
_WEIGHT: Final = 0.05


class Estimate:
    """The limit, and what it is concluded from.

    Args:
        initial: the limit at the start.
        minimum: what it never falls below.
        maximum: what it never exceeds.

    Attributes:
        limit: calls that may be in flight now.
        reason: why it last moved.
        moved: when it last moved; NaN if it never has.
        learning: whether no sign of overload was seen yet.
        long: the usual latency in seconds; NaN while unknown.
        short: the mean latency of the last window that had answers; NaN while unknown.
    """

    __slots__ = (
        "_answers",
        "_attempts",
        "_ceiling",
        "_exact",
        "_latency",
        "_lost",
        "_peak",
        "_shrank",
        "_start",
        "_throttled",
        "learning",
        "limit",
        "long",
        "maximum",
        "minimum",
        "moved",
        "reason",
        "short",
    )

    _attempts: int
    _answers: int
    _latency: float
    _lost: int
    _throttled: int
    _peak: int
    _ceiling: float

    def __init__(self, initial: int, minimum: int, maximum: int) -> None:
        self.minimum = minimum
        self.maximum = maximum
        self.limit = initial
        self.reason: Reason = "initial"
        self.moved = nan
        self.learning = True
        self.long = nan
        self.short = nan
        self._exact = float(initial)
        # When it last shrank because of loss.
        self._shrank = -inf
        self._begin(0, nan)

    # Each of these says whether the limit has moved. `in_flight` counts the call itself.

    def answered(self, latency: float, in_flight: int, now: float) -> bool:
        """Count an attempt that the dependency answered after so many seconds."""
        moved = not now - self._start <= _LONGEST and self._expire(in_flight, now)
        self._attempts += 1
        self._answers += 1
        self._latency += latency
        if in_flight > self._peak:  # noqa: PLR1730 - a call of max() costs more than the rest
            self._peak = in_flight
        if self.learning and 2.0 * self._peak >= self._ceiling:
            moved |= self._move(min(self._exact + 1.0, self._ceiling), "grew", now)
        if now - self._start >= _SHORTEST:
            moved |= self._conclude(in_flight, now)
        return moved

    def failed(self, in_flight: int, now: float) -> bool:
        """Count an attempt that ended with an error other than a loss."""
        moved = not now - self._start <= _LONGEST and self._expire(in_flight, now)
        self._attempts += 1
        return self._look(in_flight, now) or moved

    def lost(
        self,
        loss: Loss,
        in_flight: int,
        now: float,
        *,
        sent: float = inf,
        counted: bool = False,
    ) -> bool:
        """Count an attempt that timed out or was throttled.

        ``sent`` is when it was sent. ``counted`` says that it was counted as answered before: its
        response has broken off.
        """
        if sent < self._shrank:
            self.saw(in_flight)
            return False
        moved = not now - self._start <= _LONGEST and self._expire(in_flight, now)
        self._attempts += not counted
        self._lost += 1
        self._throttled += loss == "throttled"
        return self._look(in_flight, now) or moved

    def saw(self, in_flight: int) -> None:
        """Note how many calls were in flight when one left that says nothing else."""
        self._peak = max(self._peak, in_flight)

    def restart(self, now: float) -> None:
        """Go by another clock from now on: keep the limit, and begin a new window."""
        self._begin(0, nan)
        self._shrank = -inf
        if not isnan(self.moved):
            self.moved = now

    def _look(self, in_flight: int, now: float) -> bool:
        self.saw(in_flight)
        return now - self._start >= _SHORTEST and self._conclude(in_flight, now)

    def _expire(self, in_flight: int, now: float) -> bool:
        """End a window that has lasted too long."""
        moved = self._conclude(in_flight, now)
        self._begin(in_flight, now)
        return moved

    def _begin(self, in_flight: int, now: float) -> None:
        """Begin a window; at NaN if it is to begin with the next attempt."""
        self._start = now
        self._peak = in_flight
        self._attempts = self._answers = self._lost = self._throttled = 0
        self._latency = 0.0
        self._ceiling = 2.0 * int(self._exact)

    def _conclude(self, in_flight: int, now: float) -> bool:
        """Draw the conclusions from a window, if enough is in it."""
        if self._answers + self._lost < min(_ENOUGH, self.limit):
            return False
        exact, reason = self._exact, self.reason
        if self._lost > _TOLERATED_LOSS * max(self._attempts, self._lost):
            self.learning = False
            exact *= _AFTER_LOSS
            self._shrank = now
            reason = "throttled" if 2 * self._throttled > self._lost else "timeouts"
        elif self._answers:
            gradient = self._learn(self._latency / self._answers)
            if 2 * self._peak >= self.limit:
                self.learning = self.learning and gradient == 1.0
                aim = gradient * exact + max(4.0, sqrt(exact))
                reason = "latency" if aim < exact else "grew"
                exact += _STEP * (aim - exact)
        moved = self._move(exact, reason, now)
        self._begin(in_flight, now)
        return moved

    def _learn(self, short: float) -> float:
        """Take in the mean latency of a window; return the gradient."""
        self.short = short
        self.long = short if isnan(self.long) else self.long + _WEIGHT * (short - self.long)
        if self.long > 2.0 * short:
            self.long *= 1.0 - _WEIGHT
        if short <= _TOLERATED_LATENCY * self.long:
            return 1.0
        return max(_SMALLEST_GRADIENT, _TOLERATED_LATENCY * self.long / short)

    def _move(self, exact: float, reason: Reason, now: float) -> bool:
        self._exact = min(max(exact, float(self.minimum)), float(self.maximum))
        limit = int(self._exact)
        if limit == self.limit:
            return False
        self.limit = limit
        self.reason = reason
        self.moved = now
        return True
