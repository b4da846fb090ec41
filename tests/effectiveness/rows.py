"""The policies that are compared, and the figures of a run.

"Goodput" is the share of the calls that are served within a second of their arrival. "Recovery" is
the time from the end of a fault until the first second from which on 95 % of the calls of each
second are. "Amplification" is the number of attempts for each call.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from statistics import fmean
from typing import Any

from seawall import (
    AdaptiveLimit,
    CircuitBreaker,
    LoadShedder,
    Pipeline,
    Policy,
    Retry,
    RetryBudget,
    Timeout,
)
from tests.effectiveness.simulation import REFUSED, SERVED, Run
from tests.effectiveness.tables import show

SLO = 1.0
HEALTHY = 0.95


def none(timeout: float) -> Policy:
    return Timeout(timeout)


def naive(timeout: float, attempts: int = 3) -> Policy:
    return Pipeline(Retry(attempts, backoff=0, budget=None), Timeout(timeout))


def classic(timeout: float) -> Policy:
    """Return what the tutorials show: five failures in a row, 30 s open, one probe."""
    breaker = CircuitBreaker(5, open_for=30.0, count_retries=True, stalls=False)
    return Pipeline(Retry(3, budget=None), breaker, Timeout(timeout))


def standard(timeout: float) -> Policy:
    return Pipeline.standard(attempt_timeout=timeout)


def adaptive(timeout: float) -> Policy:
    return Pipeline.standard(attempt_timeout=timeout, limit=AdaptiveLimit())


def shedding(timeout: float) -> Policy:
    return Pipeline(Timeout(30), Retry(3, budget=RetryBudget()), LoadShedder(), Timeout(timeout))


POLICIES = {
    "none": none,
    "naive": naive,
    "classic": classic,
    "standard": standard,
    "adaptive": adaptive,
    "shedding": shedding,
}


def policy(name: str, timeout: float) -> Callable[[], Policy]:
    """Return what makes the policies of this name, with this timeout for each attempt."""
    return partial(POLICIES[name], timeout)


def in_time(run: Run, start: float, end: float, slo: float = SLO) -> tuple[int, int]:
    """Return how many calls arrived in this time, and how many of them were served in time."""
    calls = run.since(start)
    calls = calls[: len(calls) - len(run.since(end))]
    return len(calls), sum(c.outcome == SERVED and c.end - c.arrival <= slo for c in calls)


def goodput(run: Run, start: float, end: float, slo: float = SLO) -> float:
    calls, served = in_time(run, start, end, slo)
    return served / calls


def recovery(run: Run, fault_ends: float, end: float, slo: float = SLO) -> float:
    """Return the seconds until it is healthy for good, in whole seconds; all there are if never."""
    seconds = 0
    for second in range(int(end - fault_ends)):
        calls, served = in_time(run, fault_ends + second, fault_ends + second + 1, slo)
        if served < HEALTHY * calls:
            seconds = second + 1
    return float(seconds)


def refused(run: Run, start: float, end: float) -> int:
    calls = run.since(start)
    return sum(c.outcome == REFUSED for c in calls[: len(calls) - len(run.since(end))])


def means(title: str, seeds: Sequence[int], rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Show the figures of each seed, and return their means."""
    result = {name: float(fmean(row[name] for row in rows)) for name in rows[0]}
    table = [[seed, *row.values()] for seed, row in zip(seeds, rows, strict=True)]
    show(title, ["seed", *result], [*table, ["mean", *result.values()]])
    return result
