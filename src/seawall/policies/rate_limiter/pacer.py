"""Pacing by the generic cell rate algorithm. Pure: the time is passed in.

The rules:

1. What calls take fills a bucket; what is in it, the *level*, regenerates at ``rate`` units in
   ``per`` seconds. A call may go when the level, with what it costs, is at most ``burst``. So any
   window of w seconds gets at most ``rate * w / per + burst``.
2. Nothing is counted up and nothing is drained: the level is what was taken since the bucket was
   last empty, less what has regenerated since. Both are computed from that moment, not summed up
   from step to step, so no rounding error grows.
3. Debts (a call that cost more than it took) raise the level above ``burst``: all that come later
   wait for them. What is given back lowers it, by no more than has not regenerated since.
4. A pause ends at a time; until then nobody goes. The level sinks meanwhile.
5. Time that runs backward stands still.
"""

from __future__ import annotations

from math import inf
from typing import Final

from seawall.policies.rate_limiter.lows import Lows

# What nobody took part of a bucket for; such a take is never given back.
_UNPACED: Final = 1


class Pacer:
    """Says when a call may go. O(1) for each call.

    After "Traffic Management Specification", ATM Forum af-tm-0121.000 (1999), the generic cell rate
    algorithm in its virtual scheduling form, with costs.

    Args:
        rate: units in ``per`` seconds; ``None`` for no pace at all, only pauses.
        per: seconds.
        burst: units that may be taken at once.
    """

    __slots__ = ("_lows", "_resume", "_since", "_taken", "_takes", "burst", "now", "per", "rate")

    def __init__(self, rate: float | None, per: float, burst: float) -> None:
        self.rate = rate
        self.per = per
        self.burst = burst
        # The last time that was seen.
        self.now = -inf
        # When the bucket was last empty, and what was taken since.
        self._since = -inf
        self._taken = 0.0
        self._takes = 0
        self._lows = Lows()
        self._resume = -inf

    def admit(self, now: float, cost: float) -> int:
        """Take what a call costs if it may go now; return the number of the take, or 0."""
        if now < self.now:
            self.follow(now)
        self.now = now
        if now < self._resume:
            return 0
        rate = self.rate
        if rate is None:
            return _UNPACED
        taken = self._taken
        if (
            self._since + taken * self.per / rate > now
            and self._since + (taken + cost - self.burst) * self.per / rate > now
        ):
            return 0
        return self._take(now, cost)

    def turn(self, now: float, units: float) -> float:
        """Return when so many units can have been taken: ``now``, if they can be at once.

        For a call that waits, that is what it costs, and what those before it cost.
        """
        if now < self.now:
            self.follow(now)
        self.now = now
        start = max(now, self._resume)
        rate = self.rate
        if rate is None:
            return start
        if self._since + self._taken * self.per / rate <= start:
            return start + max(0.0, units - self.burst) * self.per / rate
        return max(start, self._since + (self._taken + units - self.burst) * self.per / rate)

    def owe(self, now: float, units: float) -> float:
        """Take more, without asking; return the seconds by which later turns move back."""
        if now < self.now:
            self.follow(now)
        self.now = now
        if self.rate is None:
            return 0.0
        self._take(now, units)
        return units * self.per / self.rate

    def give_back(self, now: float, number: int, units: float) -> float:
        """Give back so much of a take, as far as it has not regenerated since; return how much."""
        if now < self.now:
            self.follow(now)
        self.now = now
        if self.rate is None:
            return 0.0
        units = min(units, self._lows.since(number, self._level(now)))
        self._lows.lower(number, units)
        self._taken -= units
        return units

    def pause(self, now: float, seconds: float) -> float:
        """Let nobody go for so long; return the seconds by which the pause now ends later."""
        if now < self.now:
            self.follow(now)
        self.now = now
        later = now + seconds - max(now, self._resume)
        if later <= 0:
            return 0.0
        self._resume = now + seconds
        return later

    def follow(self, now: float) -> None:
        """Go by a clock that shows this time: none has passed since the last time seen."""
        if self.now > -inf:
            self._since += now - self.now
            self._resume += now - self.now
        self.now = now

    def available(self, now: float) -> float:
        """Return the units that can be taken at once; negative where there are debts."""
        if self.rate is None:
            return inf
        return self.burst - self._level(max(now, self.now))

    def paused_for(self, now: float) -> float:
        """Return the seconds until the pause ends; 0.0 if there is none."""
        return max(0.0, self._resume - max(now, self.now))

    def _level(self, now: float) -> float:
        rate: float = self.rate  # type: ignore[assignment]
        return max(0.0, self._taken - (now - self._since) * rate / self.per)

    def _take(self, now: float, cost: float) -> int:
        rate: float = self.rate  # type: ignore[assignment]
        if self._since + self._taken * self.per / rate < now:
            # Empty for a while. If only just now, it is counted on from where it was: see rule 2.
            self._since = now
            self._taken = level = 0.0
        else:
            level = self._level(now)
        self._takes = number = self._takes + 1
        self._lows.note(number, level)
        self._taken += cost
        return number
