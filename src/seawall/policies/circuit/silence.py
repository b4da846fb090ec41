"""Silence as evidence: what was sent lately, and nothing of it has been answered."""

# The idea: results come too late. With a timeout of 30 s, a dependency that swallows everything is
# seen after 30 s by whoever waits for results. But a call that is slow among others that are
# answered is only slow; a rule that counts it would lock out healthy dependencies.
#
# So the circuit looks at its lag: the age of the youngest call that was answered, by the time it
# was sent. While answers come, the lag is about their latency plus the gap between two calls. How
# large it usually becomes is learned as TCP learns its retransmission timeout (RFC 6298): a mean
# and a mean deviation. A lag far above that is silence, and then each call that has been in flight
# for as long is a failure.
#
# A client that was blocked itself finds the same: nothing has been answered, though the answers are
# there and only wait to be read. Then nothing has been sent for as long, either, or it has all been
# sent in one turn of the loop. So silence is believed only after it has been looked at for as long
# as there had been no call before, and after the loop has turned.

from __future__ import annotations

from math import inf
from typing import Final

from seawall.policies.circuit.times import NEVER, moved

_FLOOR: Final = 1.0
# While the patience is at its floor, samples up to here could not raise it: 3 * (s + 4 * s) <= 1.
_USUAL_LAG: Final = _FLOOR / 15.0
# What was only slow may be so again: seconds for which that is remembered, and a margin.
_MEMORY: Final = 600.0
_MARGIN: Final = 1.5


class Silence:
    """What a circuit knows about answers that do not come.

    Args:
        enabled: whether silence is ever found.

    Attributes:
        youngest: when the youngest call that was answered had been sent.
        patience: seconds of lag from which on it is silence, and seconds in flight from which on a
            call is then stalled: 3 · (mean + 4 · deviation) of the lag, at least 1 s, and at least
            1.5 times what a call took that was found stalled in the last 10 minutes and then
            succeeded. It is ``inf`` until the second answer.
        usual_lag: samples up to here change nothing.
    """

    __slots__ = (
        "_believed_from",
        "_deviation",
        "_least",
        "_least_until",
        "_mean",
        "_suspected",
        "patience",
        "usual_lag",
        "youngest",
    )

    def __init__(self, *, enabled: bool) -> None:
        self.enable(enabled)

    def enable(self, enabled: bool) -> None:  # noqa: FBT001 - a setter
        """Begin without any knowledge; with ``False``, learn nothing and find nothing."""
        # Later than everything: there is no younger call, and no lag.
        self.youngest = NEVER if enabled else inf
        self.patience = inf
        self.usual_lag = NEVER
        self._mean = self._deviation = 0.0
        self._least = _FLOOR
        self._least_until = inf
        # What the youngest answered call was when silence was first found, if it was.
        self._suspected = inf
        self._believed_from = inf

    def suspect(self, gap: float, now: float) -> bool:
        """Note that it is silent now, and say whether that is news.

        Args:
            gap: seconds since a call was last admitted; NaN if unknown.
            now: the time.
        """
        if self._suspected == self.youngest:
            return False
        self._suspected = self.youngest
        self._believed_from = now + min(self.patience, gap)
        return True

    def is_believed(self, now: float) -> bool:
        """Say whether silence that was noted can be held against the dependency now."""
        return now >= self._believed_from

    def learn(self, lag: float, now: float) -> None:
        """Take a sample of the lag, in seconds, just before a younger call is answered."""
        if lag < inf:
            self._sample(min(lag, self.patience), now)

    def learn_stall(self, duration: float, now: float, *, found: bool) -> None:
        """Learn that a call which seemed stalled was only slow: it took this many seconds.

        Args:
            duration: the seconds.
            now: the time.
            found: whether an arrival had found it stalled; it may be so again.
        """
        if self.patience == inf:
            return
        if found:
            self._least = max(self._least, _MARGIN * duration)
            self._least_until = now + _MEMORY
        self._sample(duration, now)

    def shift(self, delta: float) -> None:
        """Move all times along by ``delta`` seconds."""
        self.youngest = moved(self.youngest, delta)
        self._least_until = moved(self._least_until, delta)
        self._suspected = inf

    def _sample(self, seconds: float, now: float) -> None:
        if self.patience == inf:
            self._mean, self._deviation = seconds, seconds / 2
        else:
            error = seconds - self._mean
            self._mean += error / 8
            self._deviation += (abs(error) - self._deviation) / 4
        if now >= self._least_until:
            self._least = _FLOOR
            self._least_until = inf
        self.patience = max(self._least, 3.0 * (self._mean + 4.0 * self._deviation))
        self.usual_lag = _USUAL_LAG if self.patience == _FLOOR else NEVER
