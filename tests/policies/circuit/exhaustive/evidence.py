"""What a trip rule sees in a list of verdicts, computed anew each time (rule 3)."""

from __future__ import annotations

from typing import NamedTuple

from seawall.policies.circuit.rules import (
    AllOf,
    AnyOf,
    ConsecutiveFailures,
    FailureCount,
    FailureRate,
    TripRule,
)
from seawall.policies.circuit.windows import Calls


class UnsureError(Exception):
    """The rules leave open what happens here: the enumeration does not go on this way."""


class Verdict(NamedTuple):
    """A piece of evidence."""

    time: float
    failed: bool


class Finding(NamedTuple):
    """What a rule says of the evidence."""

    holds: bool
    failures: int
    calls: int


def judge(rule: TripRule, evidence: tuple[Verdict, ...], now: float) -> Finding:
    """Return whether the rule holds, and the failures and calls that it sees."""
    if isinstance(rule, AnyOf | AllOf):
        findings = [judge(part, evidence, now) for part in rule.rules]
        combine = any if isinstance(rule, AnyOf) else all
        widest = max(findings, key=lambda finding: finding.calls)
        return widest._replace(holds=combine(finding.holds for finding in findings))
    if isinstance(rule, ConsecutiveFailures):
        streak = 0
        while streak < len(evidence) and evidence[-1 - streak].failed:
            streak += 1
        return Finding(streak >= rule.n, streak, streak)
    seen = _window(rule.window, evidence, now)
    failures = sum(verdict.failed for verdict in seen)
    if isinstance(rule, FailureCount):
        return Finding(failures >= rule.n, failures, len(seen))
    assert isinstance(rule, FailureRate)
    minimum = rule.minimum_calls
    if isinstance(rule.window, Calls):
        minimum = min(minimum, rule.window.count)
    holds = len(seen) >= minimum and failures >= rule.ratio * len(seen)
    return Finding(holds, failures, len(seen))


def _window(
    window: float | Calls, evidence: tuple[Verdict, ...], now: float
) -> tuple[Verdict, ...]:
    if isinstance(window, Calls):
        return evidence[-window.count :]
    for verdict in evidence:
        if window <= now - verdict.time < window * 33 / 32:
            raise UnsureError  # a call counts up to 1/32 longer
    return tuple(verdict for verdict in evidence if now - verdict.time < window)


def relevant(
    rule: TripRule, evidence: tuple[Verdict, ...], now: float
) -> tuple[tuple[float, bool], ...]:
    """Return the evidence that can still matter, with ages, or -1 where ages do not matter."""
    rules = _parts(rule)
    lengths = [part.window for part in rules if not isinstance(part, ConsecutiveFailures)]
    times = [length for length in lengths if not isinstance(length, Calls)]
    longest = max(times, default=None)
    count = (
        max(
            (part.n if isinstance(part, ConsecutiveFailures) else part.window.count)
            for part in rules
            if isinstance(part, ConsecutiveFailures) or isinstance(part.window, Calls)
        )
        if len(times) < len(rules)
        else 0
    )
    if longest is None:
        return tuple((-1.0, verdict.failed) for verdict in evidence[-count:])
    return tuple(
        (now - verdict.time, verdict.failed)
        for number, verdict in enumerate(evidence)
        if now - verdict.time < longest * 33 / 32 or number >= len(evidence) - count
    )


def moments(rule: TripRule, evidence: tuple[Verdict, ...]) -> list[float]:
    """Return when the evidence loses its weight: surely not before, surely from then on."""
    found = []
    for part in _parts(rule):
        if not isinstance(part, ConsecutiveFailures) and not isinstance(part.window, Calls):
            for verdict in evidence:
                found.append(verdict.time + part.window)
                found.append(verdict.time + part.window * 33 / 32)
    return found


def _parts(rule: TripRule) -> list:
    if isinstance(rule, AnyOf | AllOf):
        return [part for each in rule.rules for part in _parts(each)]
    return [rule]
