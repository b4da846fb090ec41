"""Times of a clock, some of which are at no time."""

from __future__ import annotations

from math import inf, isfinite
from typing import Final

# Not written out as `-inf`, which makes an object of its own each time: circuits are many.
NEVER: Final = -inf


def moved(time: float, delta: float) -> float:
    """Return a time by another clock that is ``delta`` seconds ahead; what is no time stays."""
    return time + delta if isfinite(time) else time
