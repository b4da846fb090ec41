"""What became of a call, as one record that fits on a line between two processes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Outcome(StrEnum):
    """How a call ended for its caller."""

    ANSWERED = "answered"
    LATE = "late"
    FAILED = "failed"
    REFUSED = "refused"
    UNFINISHED = "unfinished"


# An answer that comes too late has failed its caller.
FAILURES = (Outcome.LATE, Outcome.FAILED, Outcome.UNFINISHED)


@dataclass(frozen=True, slots=True)
class Call:
    """One call, in seconds.

    It was due `at` a time and sent `late`; its caller was blocked from when it was due.
    """

    at: float
    late: float
    outcome: Outcome
    blocked: float

    def line(self) -> str:
        """The record as one line of text."""
        return f"call {self.at:.6f} {self.late:.6f} {self.outcome} {self.blocked:.6f}"

    @classmethod
    def read(cls, line: str) -> Call:
        """The record that `line` has written."""
        _, at, late, outcome, blocked = line.split()
        return cls(float(at), float(late), Outcome(outcome), float(blocked))
