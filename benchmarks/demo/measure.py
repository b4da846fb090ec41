"""What a side's calls amount to: plain functions of the records of one run."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.demo.calls import FAILURES, Call, Outcome

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.demo.lane import Lane
    from benchmarks.demo.script import Script

IN_A_ROW = 10


@dataclass(frozen=True, slots=True)
class Figures:
    """What a side's calls amount to, within one phase or in the whole run."""

    calls: int
    answered: int
    failed: int
    late: int
    refused: int
    requests: int
    most_blocked: int
    blocked_in_vain: float
    slowest_answers: float
    latest: float


def figures_of(lane: Lane, script: Script) -> tuple[list[Figures], Figures]:
    """A side's figures for each phase and for the whole run; a call belongs to where it began."""
    phases: list[list[Call]] = [[] for _ in script.phases]
    for call in lane.calls:
        phases[script.index_at(call.at)].append(call)
    requests = lane.server.requests
    by_phase = [
        _figures(calls, requests[index], most_blocked(lane.calls, *script.span(index)))
        for index, calls in enumerate(phases)
    ]
    return by_phase, _figures(lane.calls, requests.total(), most_blocked(lane.calls))


def _figures(calls: Sequence[Call], requests: int, blocked: int) -> Figures:
    count = Counter(call.outcome for call in calls)
    answers = [call.blocked for call in calls if call.outcome is Outcome.ANSWERED]
    return Figures(
        calls=len(calls),
        answered=count[Outcome.ANSWERED],
        failed=sum(count[outcome] for outcome in FAILURES),
        late=count[Outcome.LATE],
        refused=count[Outcome.REFUSED],
        requests=requests,
        most_blocked=blocked,
        blocked_in_vain=sum(call.blocked for call in calls) - sum(answers),
        slowest_answers=percentile(answers, 0.99),
        latest=max((call.late for call in calls), default=0.0),
    )


def most_blocked(calls: Sequence[Call], start: float = 0.0, end: float = math.inf) -> int:
    """How many callers were blocked at once, at most, from `start` to `end`."""
    # At the same instant, who leaves goes before who comes.
    steps = sorted([(c.at, 1) for c in calls] + [(c.at + c.blocked, -1) for c in calls])
    blocked = most = 0
    for time, step in steps:
        if time >= end:
            break
        blocked += step
        most = max(most, blocked) if time >= start else blocked
    return most


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that `share` of all values do not exceed; 0 if there is none."""
    if not values:
        return 0.0
    ordered = sorted(values)
    return ordered[max(0, round(share * len(ordered)) - 1)]


def answering_after(calls: Sequence[Call], start: float) -> float | None:
    """Seconds from `start` to the first of `IN_A_ROW` arrivals that were all answered."""
    row = 0
    since = sorted((call for call in calls if call.at >= start), key=lambda call: call.at)
    for index, call in enumerate(since):
        row = row + 1 if call.outcome is Outcome.ANSWERED else 0
        if row == IN_A_ROW:
            return since[index - IN_A_ROW + 1].at - start
    return None
