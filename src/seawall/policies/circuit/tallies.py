"""Tallies: what the trip rules count, each for one circuit."""

# ruff: noqa: D102, FBT001 - Tally says what its methods do; `failed` is a fact, not an option

from __future__ import annotations

from abc import ABC, abstractmethod
from math import inf
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from seawall.policies.circuit.windows import Window


class Tally(ABC):
    """The counts of one circuit by one rule.

    A rule of your own has a tally with :meth:`record` and :meth:`reset`; the rest is optional.

    Attributes:
        quiet_until: a time until which no success can make the rule trip. Until then the circuit
            only counts the successes, and hands them over with :meth:`add_successes` before it
            calls anything else. By default each one is recorded.
    """

    __slots__ = ()

    @property
    def quiet_until(self) -> float:
        """Time until which successes need not be recorded one by one."""
        return -inf

    @abstractmethod
    def record(self, failed: bool, duration: float, now: float) -> bool:
        """Count one call that ended, and say whether the rule holds now.

        Args:
            failed: whether it failed.
            duration: how many seconds it took; never negative.
            now: when it ended, in seconds of a monotonic clock.
        """

    @abstractmethod
    def reset(self) -> None:
        """Forget all evidence: a new closed period begins."""

    def add_successes(self, count: int) -> None:
        """Count successes from before ``quiet_until``, all at once."""
        raise NotImplementedError(f"{type(self).__name__} has a quiet_until but no add_successes")

    def shift(self, delta: float) -> None:  # noqa: B027 - for those that keep times
        """Move all times along by ``delta`` seconds, as the clock does between two event loops."""

    def evidence(self, now: float) -> tuple[int, int]:  # noqa: ARG002 - for those with a window
        """Return the failures, and the calls among which they were, that the rule goes by."""
        return 0, 0


class StreakTally(Tally):
    """Counts failures with no success between them."""

    __slots__ = ("_n", "_streak")

    def __init__(self, n: int) -> None:
        self._n = n
        self._streak = 0

    @property
    def quiet_until(self) -> float:
        return inf

    def record(self, failed: bool, duration: float, now: float) -> bool:  # noqa: ARG002
        if not failed:
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


class _WindowTally(Tally):
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


class CountTally(_WindowTally):
    """Counts the failures in a window."""

    __slots__ = ("_n",)

    def __init__(self, n: int, window: Window) -> None:
        self._n = n
        self._window = window

    def record(self, failed: bool, duration: float, now: float) -> bool:  # noqa: ARG002
        window = self._window
        window.record(now, bad=failed)
        return failed and window.bad >= self._n


class RateTally(_WindowTally):
    """Counts the share of failures in a window."""

    __slots__ = ("_minimum", "_ratio")

    def __init__(self, ratio: float, minimum: int, window: Window) -> None:
        self._ratio = ratio
        self._minimum = minimum
        self._window = window

    def record(self, failed: bool, duration: float, now: float) -> bool:  # noqa: ARG002
        window = self._window
        window.record(now, bad=failed)
        # Divided, not multiplied: 7 of 100 is 0.07, but 0.07 * 100 is more than 7.
        calls = window.calls
        return failed and calls >= self._minimum and window.bad / calls >= self._ratio


class _CombinedTally(Tally):
    """Has several tallies count the same calls."""

    __slots__ = ("_tallies",)

    def __init__(self, tallies: tuple[Tally, ...]) -> None:
        self._tallies = tallies

    @property
    def quiet_until(self) -> float:
        quiet = inf
        # Written out, as below: this runs at each call that is not a quiet success.
        for tally in self._tallies:
            until = tally.quiet_until
            if until < quiet:  # noqa: PLR1730 - min() is slower
                quiet = until
        return quiet

    def reset(self) -> None:
        for tally in self._tallies:
            tally.reset()

    def add_successes(self, count: int) -> None:
        for tally in self._tallies:
            tally.add_successes(count)

    def shift(self, delta: float) -> None:
        for tally in self._tallies:
            tally.shift(delta)

    def evidence(self, now: float) -> tuple[int, int]:
        # The widest view.
        return max((t.evidence(now) for t in self._tallies), key=lambda evidence: evidence[1])


class AnyTally(_CombinedTally):
    """Holds while one of its tallies does."""

    __slots__ = ("_held",)

    def __init__(self, tallies: tuple[Tally, ...]) -> None:
        super().__init__(tallies)
        self._held: Tally | None = None

    def record(self, failed: bool, duration: float, now: float) -> bool:
        held: Tally | None = None
        # All are asked, also when the answer is known: each has to count the call.
        for tally in self._tallies:
            if tally.record(failed, duration, now) and held is None:
                held = tally
        self._held = held
        return held is not None

    def evidence(self, now: float) -> tuple[int, int]:
        # The rule that tripped is what a refusal should tell of.
        return super().evidence(now) if self._held is None else self._held.evidence(now)

    def reset(self) -> None:
        super().reset()
        self._held = None


class AllTally(_CombinedTally):
    """Holds while all of its tallies do."""

    __slots__ = ()

    def record(self, failed: bool, duration: float, now: float) -> bool:
        holds = True
        for tally in self._tallies:
            if not tally.record(failed, duration, now):
                holds = False
        return holds
