"""How long to wait between attempts. Pure: no clock, and the source of chance is passed in.

Exponential backoff and its jitters follow "Exponential Backoff and Jitter" (M. Brooker, AWS
Architecture Blog, 2015). The cap comes first and the jitter after it: the other way round, all
clients that have reached the cap would wait the same time.
"""

from __future__ import annotations

import random as chance
from collections.abc import Callable
from dataclasses import dataclass, field
from math import isfinite
from typing import Literal, TypeAlias

from seawall.core.checks import check_number
from seawall.core.errors import UsageError

Backoff: TypeAlias = Callable[[int, float], float]
Jitter: TypeAlias = Literal["full", "equal", "decorrelated"]

_JITTERS = ("full", "equal", "decorrelated", None)


@dataclass(frozen=True, slots=True)
class Exponential:
    """Delays that grow by a factor; see :func:`exponential`."""

    base: float
    factor: float = 2.0
    cap: float = 10.0
    jitter: Jitter | None = "full"
    random: Callable[[], float] = field(default=chance.random, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_number("base", self.base, above=0)
        check_number("factor", self.factor, at_least=1)
        check_number("cap", self.cap, above=0)
        if self.jitter not in _JITTERS:
            message = f"jitter must be one of {', '.join(map(repr, _JITTERS))}, not {self.jitter!r}"
            raise ValueError(message)

    def __call__(self, failed: int, last: float) -> float:
        """Return the seconds to wait after so many failed attempts, given the last wait."""
        if self.jitter == "decorrelated":
            highest = max(self.base, 3 * last)
            return min(self.cap, self.base + self.random() * (highest - self.base))
        delay = self._delay(failed)
        if self.jitter == "full":
            return self.random() * delay
        if self.jitter == "equal":
            return delay / 2 + self.random() * delay / 2
        return delay

    def _delay(self, failed: int) -> float:
        try:
            return min(self.cap, self.base * float(self.factor) ** (failed - 1))
        except OverflowError:
            return self.cap


@dataclass(frozen=True, slots=True)
class Constant:
    """The same delay each time; see :func:`constant`."""

    seconds: float

    def __post_init__(self) -> None:
        check_number("seconds", self.seconds, at_least=0)

    def __call__(self, failed: int, last: float) -> float:  # noqa: ARG002
        """Return the seconds to wait."""
        return self.seconds


@dataclass(frozen=True, slots=True)
class Linear:
    """Delays that grow by a step; see :func:`linear`."""

    step: float
    cap: float = 10.0

    def __post_init__(self) -> None:
        check_number("step", self.step, at_least=0)
        check_number("cap", self.cap, above=0)

    def __call__(self, failed: int, last: float) -> float:  # noqa: ARG002
        """Return the seconds to wait after so many failed attempts."""
        return min(self.cap, self.step * failed)


def exponential(
    base: float, *, factor: float = 2.0, cap: float = 10.0, jitter: Jitter | None = "full"
) -> Exponential:
    """Wait ``base`` seconds after the first failed attempt, ``factor`` times as long each time.

    Args:
        base: seconds, more than 0.
        factor: at least 1.
        cap: longest wait in seconds, applied before the jitter.
        jitter: ``"full"`` spreads a wait evenly from 0 to its length, ``"equal"`` from half its
            length, ``"decorrelated"`` from ``base`` to three times the last wait (and the cap),
            ``None`` not at all. Without jitter, clients that failed together come back together.

    Raises:
        ValueError: a number is out of range, or the jitter is unknown.
        TypeError: an argument is no number.
    """
    return Exponential(base, factor, cap, jitter)


def constant(seconds: float) -> Constant:
    """Wait the same number of seconds after each failed attempt.

    Raises:
        ValueError: ``seconds`` is negative.
        TypeError: it is no number.
    """
    return Constant(seconds)


def linear(step: float, *, cap: float = 10.0) -> Linear:
    """Wait ``step`` seconds after the first failed attempt, and a step longer each time.

    Args:
        step: seconds, not negative.
        cap: longest wait in seconds.

    Raises:
        ValueError: a number is out of range.
        TypeError: an argument is no number.
    """
    return Linear(step, cap)


def as_backoff(value: Backoff | float) -> Backoff:
    """Return the backoff that an argument stands for: a number of seconds, or a callable.

    Raises:
        TypeError: it is neither.
        ValueError: the number is negative.
    """
    if callable(value):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        message = (
            "backoff must be a number of seconds, exponential(...), constant(...), linear(...) or "
            f"a callable (number of the failed attempt, last delay) -> seconds, not {value!r}"
        )
        raise TypeError(message)
    check_number("backoff", value, at_least=0)
    return Constant(value)


def delay_of(backoff: Backoff, failed: int, last: float) -> float:
    """Ask a backoff for its delay in seconds; a negative one is 0.

    Raises:
        UsageError: a callable of the user's returned something else than a finite number.
    """
    delay = backoff(failed, last)
    if isinstance(delay, bool) or not isinstance(delay, int | float) or not isfinite(delay):
        message = f"backoff {backoff!r} returned {delay!r}, not a finite number of seconds"
        raise UsageError(message)
    return max(0.0, delay)
