"""How full a bulkhead is now."""

from __future__ import annotations

from dataclasses import dataclass

from seawall.core.snapshot import Snapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkheadSnapshot(Snapshot):
    """The state of a :class:`~seawall.Bulkhead`.

    Attributes:
        limit: calls that may run at a time.
        in_flight: calls that hold a slot now.
        waiting: calls that wait for one.
        queue: calls that may wait.
        rejected: calls that it has refused.
    """

    limit: int
    in_flight: int
    waiting: int
    queue: float
    rejected: int
