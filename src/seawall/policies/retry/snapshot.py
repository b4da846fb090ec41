"""What a retry is doing now."""

from __future__ import annotations

from dataclasses import dataclass

from seawall.core.snapshot import Snapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrySnapshot(Snapshot):
    """The state of a :class:`~seawall.Retry`.

    Attributes:
        attempts: attempts at most.
        retries: attempts beyond the first that were scheduled.
        budget_left: tokens left in the budget; ``None`` without one.
        budget_capacity: tokens that the budget holds at most; ``None`` without one.
    """

    attempts: int
    retries: int
    budget_left: float | None
    budget_capacity: float | None
