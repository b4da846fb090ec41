"""What a rate limiter is doing now."""

from __future__ import annotations

from dataclasses import dataclass

from seawall.core.snapshot import Snapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimiterSnapshot(Snapshot):
    """The state of a :class:`~seawall.RateLimiter`.

    Attributes:
        rate: units in ``per`` seconds; ``None`` if it does not pace.
        per: seconds.
        burst: units that may be taken at once.
        available: units that can be taken now; negative while there are debts, ``inf`` without a
            rate.
        waiting: calls that wait for their turn.
        paused_for: seconds until the pause that the server asked for ends; 0.0 if there is none.
        rejected: calls that it has refused.
        throttled: attempts that the server has throttled.
    """

    rate: float | None
    per: float
    burst: float
    available: float
    waiting: int
    paused_for: float
    rejected: int
    throttled: int
