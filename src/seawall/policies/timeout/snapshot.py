"""What a timeout is doing now."""

from __future__ import annotations

from dataclasses import dataclass

from seawall.core.snapshot import Snapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeoutSnapshot(Snapshot):
    """The state of a :class:`~seawall.Timeout`.

    Attributes:
        seconds: its limit.
        in_flight: calls that run inside now.
        timed_out: calls that it has ended.
    """

    seconds: float
    in_flight: int
    timed_out: int
