"""What both servers go through: the phases of a run, and how a server behaves in each."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from itertools import accumulate


@dataclass(frozen=True, slots=True)
class Phase:
    """One stretch of a run; ``share`` is its part of the whole, and all shares add up to 1."""

    name: str
    share: float
    story: str
    workers: int = 8
    service: float = 0.02
    errors: float = 0.0
    hangs: bool = False


REPAIRED = Phase("repaired", 0.10, "healthy again")
PHASES = (
    Phase("healthy", 0.10, "8 workers, 20 ms a request"),
    Phase("flaky", 0.15, "1 request in 8 ends in a 502, a 503 or a reset", errors=0.125),
    Phase("down", 0.15, "every request ends in a 500, a 502, a 503 or a reset", errors=1.0),
    REPAIRED,
    Phase("hanging", 0.20, "requests are accepted and never answered", hangs=True),
    Phase(
        "overload",
        0.15,
        "back with 1 worker of 8: it answers 25 a second, or 503 + Retry-After",
        workers=1,
        service=0.04,
    ),
    Phase("recovery", 0.15, "healthy again"),
)


class Script:
    """The phases laid out over a run of some seconds."""

    def __init__(self, seconds: float, phases: tuple[Phase, ...] = PHASES) -> None:
        self.seconds = seconds
        self.phases = phases
        ends = accumulate(phase.share * seconds for phase in phases)
        self.starts = (0.0, *ends)[:-1]

    def index_at(self, elapsed: float) -> int:
        """Which phase runs ``elapsed`` seconds after the start; the last one has no end."""
        return max(0, bisect_right(self.starts, elapsed) - 1)

    def at(self, elapsed: float) -> Phase:
        """The phase that runs ``elapsed`` seconds after the start."""
        return self.phases[self.index_at(elapsed)]

    def span(self, index: int) -> tuple[float, float]:
        """When a phase starts and ends."""
        starts = (*self.starts, self.seconds)
        return starts[index], starts[index + 1]
