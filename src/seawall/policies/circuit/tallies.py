"""Tallies: what the trip rules count, each for one circuit."""

# ruff: noqa: D102 - Tally says what its methods do

from __future__ import annotations

from abc import ABC, abstractmethod
from math import inf
from typing import TYPE_CHECKING, Final

from seawall.core.verdict import Kind

if TYPE_CHECKING:
    from seawall.policies.circuit.windows import Window

_FAILURE: Final = Kind.FAILURE


class Tally(ABC):
    """The counts of one circuit by one rule.

    A rule of your own (:class:`TripRule` shows one) has a tally with :meth:`record` and
    :meth:`reset`. It should have :meth:`evidence` too, which is what snapshots and
    ``CircuitOpenError`` tell; by default they tell of 0 failures among 0 calls. The rest is
    optional. No method may wait or raise, and none is told the time otherwise than by ``now``,
    in seconds of a monotonic clock.

    Attributes:
        quiet_until: a time until which no success can make the rule trip. Until then the circuit
            only counts the successes, and hands them over with :meth:`add_successes` before it
            calls anything else. It is read again after each other call. By default each success
            is recorded.
    """

    __slots__ = ()

    @property
    def quiet_until(self) -> float:
        """Time until which successes need not be recorded one by one."""
        return -inf

    @abstractmethod
    def record(self, kind: Kind, duration: float, now: float) -> bool:
        """Count one call that ended, and say whether the rule holds now, so that the circuit trips.

        Args:
            kind: ``Kind.SUCCESS`` or ``Kind.FAILURE``; nothing else is evidence.
            duration: how many seconds it was in flight: without the time that it waited for a slot
                or a turn, and only until its response began; never negative.
            now: when it ended.
        """

    @abstractmethod
    def reset(self) -> None:
        """Forget all evidence: a new closed period begins."""

    def add_successes(self, count: int) -> None:
        """Count successes from before ``quiet_until``, all at once."""
        raise NotImplementedError(f"{type(self).__name__} has a quiet_until but no add_successes")

    def shift(self, delta: float) -> None:  # noqa: B027 - for those that keep times
        """Move all times along by ``delta`` seconds, as the clock does between two event loops."""

    def evidence(self, now: float) -> tuple[int, int]:  # noqa: ARG002 - for those that count them
        """Return the failures, and the calls among which they were, that the rule goes by."""
        return 0, 0

    def carry_over(self, previous: Tally) -> None:
        """Take over what the tally of an earlier rule counted, as far as it makes sense here.

        It is called once, while this tally is fresh, when a circuit gets another rule. Nothing
        trips by it; the next call that is recorded may. Of combined rules each takes over from the
        first of its kind that no other took; a rule of your own does it in :meth:`take_over`.
        """
        left = previous.singles()
        for single in self.singles():
            for earlier in left:
                if single.take_over(earlier):
                    left.remove(earlier)
                    break

    def take_over(self, previous: Tally) -> bool:  # noqa: ARG002 - for those that can
        """Take over what the tally of one earlier rule counted, and say whether it was usable.

        By default nothing is.
        """
        return False

    def singles(self) -> list[Tally]:
        """Return the tallies of single rules of which this one is made; by default itself."""
        return [self]


class StreakTally(Tally):
    """Counts failures with no success between them."""

    __slots__ = ("_n", "_streak")

    def __init__(self, n: int) -> None:
        self._n = n
        self._streak = 0

    @property
    def quiet_until(self) -> float:
        return inf

    def record(self, kind: Kind, duration: float, now: float) -> bool:  # noqa: ARG002
        if kind is not _FAILURE:
            self._streak = 0
            return False
        self._streak += 1
        return self._streak >= self._n

    def reset(self) -> None:
        self._streak = 0

    def add_successes(self, count: int) -> None:
        if count:
            self._streak = 0

    def evidence(self, now: float) -> tuple[int, int]:  # noqa: ARG002
        return self._streak, self._streak

    def take_over(self, previous: Tally) -> bool:
        if not isinstance(previous, StreakTally):
            return False
        self._streak = previous._streak
        return True


class WindowTally(Tally):
    """Counts in a window."""

    __slots__ = ("_window",)

    _window: Window

    @property
    def quiet_until(self) -> float:
        return self._window.quiet_until

    def reset(self) -> None:
        self._window.reset()

    def add_successes(self, count: int) -> None:
        self._window.add_good(count)

    def shift(self, delta: float) -> None:
        self._window.shift(delta)

    def evidence(self, now: float) -> tuple[int, int]:
        self._window.advance(now)
        return self._window.bad, self._window.calls

    def take_over(self, previous: Tally) -> bool:
        return (
            isinstance(previous, WindowTally)
            and type(previous) is type(self)
            and self._window.take_over(previous._window)
        )


class CountTally(WindowTally):
    """Counts the failures in a window."""

    __slots__ = ("_n",)

    def __init__(self, n: int, window: Window) -> None:
        self._n = n
        self._window = window

    def record(self, kind: Kind, duration: float, now: float) -> bool:  # noqa: ARG002
        window = self._window
        failed = kind is _FAILURE
        window.record(now, bad=failed)
        return failed and window.bad >= self._n


class RateTally(WindowTally):
    """Counts the share of failures in a window."""

    __slots__ = ("_minimum", "_ratio")

    def __init__(self, ratio: float, minimum: int, window: Window) -> None:
        self._ratio = ratio
        self._minimum = minimum
        self._window = window

    def record(self, kind: Kind, duration: float, now: float) -> bool:  # noqa: ARG002
        window = self._window
        failed = kind is _FAILURE
        window.record(now, bad=failed)
        # Divided, not multiplied: 7 of 100 is 0.07, but 0.07 * 100 is more than 7.
        calls = window.calls
        return failed and calls >= self._minimum and window.bad / calls >= self._ratio
