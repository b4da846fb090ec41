"""How long the pauses of a retry are together, at least and at most."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Final

from seawall.policies.retry.backoff import Constant, Exponential, Linear

if TYPE_CHECKING:
    from collections.abc import Callable

    from seawall.policies.retry.backoff import Backoff

# Beyond so many pauses a sum is only bounded: a retry may have a million attempts.
_SUMMED: Final = 1000


def shortest(backoff: Backoff, pauses: int) -> float:
    """Return the least seconds that so many pauses in a row take; 0.0 if it is not known."""
    if isinstance(backoff, Exponential) and backoff.jitter == "full":
        return 0.0
    if isinstance(backoff, Exponential) and backoff.jitter == "decorrelated":
        return pauses * min(backoff.base, backoff.cap)
    half = 0.5 if isinstance(backoff, Exponential) and backoff.jitter == "equal" else 1.0
    return half * sum(_longest(backoff, number) for number in range(1, min(pauses, _SUMMED) + 1))


def longest(backoff: Backoff, pauses: int) -> float:
    """Return the most seconds that so many pauses in a row take; ``inf`` if it is not known."""
    if pauses == 0:
        return 0.0
    delay = longest_pause(backoff)
    if delay is None:
        return inf
    summed = min(pauses, _SUMMED)
    rest = (pauses - summed) * _cap(backoff)
    return sum(delay(number) for number in range(1, summed + 1)) + rest


def longest_pause(backoff: Backoff) -> Callable[[int], float] | None:
    """Return what tells the longest pause after so many failed attempts, if that is known."""
    if isinstance(backoff, Exponential | Constant | Linear):
        return lambda failed: _longest(backoff, failed)
    return None


def has_jitter(backoff: Backoff) -> bool | None:
    """Say whether chance plays a part in the pauses; ``None`` if it is not known."""
    if isinstance(backoff, Exponential):
        return backoff.jitter is not None
    return False if isinstance(backoff, Constant | Linear) else None


def _longest(backoff: Backoff, failed: int) -> float:
    if isinstance(backoff, Exponential):
        factor = 3.0 if backoff.jitter == "decorrelated" else float(backoff.factor)
        try:
            return min(backoff.cap, backoff.base * factor ** (failed - 1))
        except OverflowError:
            return backoff.cap
    return backoff(failed, 0.0) if isinstance(backoff, Constant | Linear) else 0.0


def _cap(backoff: Backoff) -> float:
    if isinstance(backoff, Exponential | Linear):
        return backoff.cap
    return backoff.seconds if isinstance(backoff, Constant) else inf
