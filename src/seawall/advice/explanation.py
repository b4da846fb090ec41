"""What a pipeline does, in words and in numbers."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from seawall.core.json_ready import JsonReady


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation(JsonReady):
    """What :meth:`~seawall.Pipeline.explain` returns. ``str(explanation)`` tells all of it.

    Attributes:
        title: what is explained.
        lines: a line for each policy, the outermost first.
        worst_case: seconds after which a call has ended in any case; ``inf`` if nothing ends one
            that hangs.
        attempts: how often the function may run for one call.
        load: attempts per call that reach the dependency while everything fails, if budgets had no
            end.
        load_with_budget: the same once the budgets are empty. What comes back to a budget in time
            is in it if the calls per second were given.
        extra_per_second: attempts per second that come back to the budgets in time.
        totals: the last four in words.
        notes: what is not in them.
    """

    title: str
    lines: tuple[str, ...]
    worst_case: float = inf
    attempts: int = 1
    load: float = 1.0
    load_with_budget: float = 1.0
    extra_per_second: float = 0.0
    totals: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        parts = [f"{self.title}, the outermost first:", *_indent(self.lines)]
        parts += ["In all:", *_indent(self.totals)]
        if self.notes:
            parts += ["Not counted:", *_indent(self.notes)]
        return "\n".join(parts)


def _indent(lines: tuple[str, ...]) -> list[str]:
    return [f"  {line}" for line in lines]
