"""Trip rules that cannot hold, and those that hold too soon."""

from __future__ import annotations

from functools import singledispatch
from math import inf
from typing import TYPE_CHECKING, Final, NamedTuple

from seawall.advice.finding import Finding
from seawall.advice.formulas import failure_threshold
from seawall.policies.circuit import (
    Calls,
    CircuitBreaker,
    FailureCount,
    FailureRate,
    TripRule,
)
from seawall.policies.circuit.adaptive import AdaptiveFailureCount
from seawall.policies.circuit.slow_calls import SlowCallRate
from seawall.policies.circuit.trip_rule import AllOf, AnyOf
from seawall.policies.timeout import Timeout

if TYPE_CHECKING:
    from collections.abc import Iterator

    from seawall.advice.lint.facts import Facts
    from seawall.advice.onion import Onion


class Obstacle(NamedTuple):
    """Why a rule cannot hold: the number that it needs, and the one that there is."""

    needs: str
    needed: float
    there: float


def check_rules(onion: Onion, facts: Facts) -> Iterator[Finding]:
    """SW104: a rule that cannot hold at the stated traffic, or under the timeouts."""
    for place, breaker in onion.each(CircuitBreaker):
        timeouts = [timeout.seconds for timeout in onion.inside(place, Timeout)]
        # An attempt that times out does take a little longer than the timeout.
        longest = min(timeouts, default=inf) + 0.001
        obstacle = obstacle_of(breaker._circuit.rule, facts.requests_per_second or inf, longest)
        if obstacle is not None:
            needs, needed, there = obstacle
            yield Finding(
                code="SW104",
                sentence=f"its rule cannot hold: it needs {needs}",
                numbers={"needed": needed, "there": there},
                remedy="Take a number that can be reached, or add | ConsecutiveFailures(8)",
                policy=breaker,
            )


def check_counts(onion: Onion, facts: Facts) -> Iterator[Finding]:
    """SW109: a number of failures that healthy traffic comes to."""
    rate = facts.requests_per_second
    if rate is None:
        return
    for _, breaker in onion.each(CircuitBreaker):
        rule = _too_soon(breaker._circuit.rule, rate)
        if rule is not None and not isinstance(rule.window, Calls):
            calls, advised = rate * rule.window, failure_threshold(rate, rule.window)
            yield Finding(
                code="SW109",
                sentence=(
                    f"{rule.n} failures in {rule.window:g} s open it, of about {calls:.4g} calls: "
                    f"{100 * rule.n / calls:.3g} %"
                ),
                numbers={"n": rule.n, "calls": calls, "advised": advised},
                remedy=f"Take n={advised}, a tenth of the calls, or FailureRate(0.5)",
                policy=breaker,
            )


def _too_soon(rule: TripRule, rate: float) -> FailureCount | None:
    """Return the rule in it that holds at fewer failures than the formula says, if one does."""
    if isinstance(rule, AnyOf | AllOf):
        found = [_too_soon(each, rate) for each in rule.rules]
        # All conditions at once hold no sooner than one of them.
        return next(filter(None, found), None) if isinstance(rule, AnyOf) or all(found) else None
    if not isinstance(rule, FailureCount) or isinstance(rule.window, Calls):
        return None
    return rule if rule.n < failure_threshold(rate, rule.window) else None


@singledispatch
def obstacle_of(rule: TripRule, rate: float, longest: float) -> Obstacle | None:
    """Return why a rule can never hold, if so.

    Args:
        rule: the rule.
        rate: calls per second; ``inf`` if unknown.
        longest: seconds that a call may be in flight; ``inf`` if there is no limit.
    """
    return None


@obstacle_of.register
def rate_obstacle(rule: FailureRate, rate: float, longest: float) -> Obstacle | None:
    """A minimum of calls that its window never holds."""
    return _too_few("minimum_calls", rule.minimum_calls, rule.window, rate)


@obstacle_of.register
def count_obstacle(rule: FailureCount, rate: float, longest: float) -> Obstacle | None:
    """More failures than its window ever holds calls."""
    return _too_few("n", rule.n, rule.window, rate)


@obstacle_of.register
def adaptive_obstacle(rule: AdaptiveFailureCount, rate: float, longest: float) -> Obstacle | None:
    """More failures than its window ever holds calls, however far its threshold goes down."""
    lowest = (rule.n + 1) // 2 if rule.minimum is None else rule.minimum
    return _too_few("a threshold of", lowest, rule.window, rate)


@obstacle_of.register
def slow_obstacle(rule: SlowCallRate, rate: float, longest: float) -> Obstacle | None:
    """A minimum of calls that its window never holds, or calls slower than a timeout allows."""
    if rule.slower_than > longest:
        needs = f"calls slower than {rule.slower_than:g} s, and a timeout ends them before"
        return Obstacle(needs, rule.slower_than, longest)
    return _too_few("minimum_calls", rule.minimum_calls, rule.window, rate)


@obstacle_of.register
def any_obstacle(rule: AnyOf, rate: float, longest: float) -> Obstacle | None:
    """None of the alternatives can hold."""
    obstacles = [obstacle_of(each, rate, longest) for each in rule.rules]
    return obstacles[0] if all(obstacles) else None


@obstacle_of.register
def all_obstacle(rule: AllOf, rate: float, longest: float) -> Obstacle | None:
    """One of the conditions cannot hold."""
    obstacles = [obstacle_of(each, rate, longest) for each in rule.rules]
    return next(filter(None, obstacles), None)


def _too_few(name: str, needed: int, window: float | Calls, rate: float) -> Obstacle | None:
    if isinstance(window, Calls) or needed <= rate * window:
        return None
    there = rate * window
    needs = f"{name}={needed} in {window:g} s, where about {there:.3g} calls come"
    return Obstacle(needs, needed, there)


RULE_CHECKS: Final = (check_rules, check_counts)
