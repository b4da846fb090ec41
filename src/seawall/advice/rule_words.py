"""When a circuit opens, in words."""

from __future__ import annotations

from functools import singledispatch

from seawall.policies.circuit import (
    Calls,
    ConsecutiveFailures,
    FailureCount,
    FailureRate,
    TripRule,
)
from seawall.policies.circuit.adaptive import AdaptiveFailureCount
from seawall.policies.circuit.cusum import Cusum
from seawall.policies.circuit.slow_calls import SlowCallRate
from seawall.policies.circuit.trip_rule import AllOf, AnyOf


@singledispatch
def rule_words(rule: TripRule) -> str:
    """Return when a rule trips, as the end of a sentence that begins with "when"."""
    return f"{rule!r} says so"


@rule_words.register
def consecutive_words(rule: ConsecutiveFailures) -> str:
    """Tell of failures in a row."""
    return "1 call failed" if rule.n == 1 else f"{rule.n} calls in a row failed"


@rule_words.register
def count_words(rule: FailureCount) -> str:
    """Tell of failures in a window."""
    return f"{rule.n} of {_window(rule.window)} failed"


@rule_words.register
def rate_words(rule: FailureRate) -> str:
    """Tell of a share of failures."""
    return f"{_percent(rule.ratio)} of {_window(rule.window, rule.minimum_calls)} failed"


@rule_words.register
def slow_words(rule: SlowCallRate) -> str:
    """Tell of a share of slow calls."""
    calls = _window(rule.window, rule.minimum_calls)
    return f"{_percent(rule.ratio)} of {calls} took longer than {rule.slower_than:.4g} s"


@rule_words.register
def adaptive_words(rule: AdaptiveFailureCount) -> str:
    """Tell of an adaptive number of failures."""
    return f"{rule.n} of {_window(rule.window)} failed, a number that follows how things go"


@rule_words.register
def cusum_words(rule: Cusum) -> str:
    """Tell of a cumulative sum."""
    sick, healthy = _percent(rule.sick), _percent(rule.healthy)
    return f"the failures look like {sick} of all calls rather than {healthy}"


@rule_words.register
def any_words(rule: AnyOf) -> str:
    """Tell of alternatives."""
    return ", or ".join(map(rule_words, rule.rules))


@rule_words.register
def all_words(rule: AllOf) -> str:
    """Tell of conditions that must hold together."""
    told = [rule_words(each) for each in rule.rules]
    pairs = zip(rule.rules, told, strict=True)
    return " and ".join(f"({text})" if isinstance(each, AnyOf) else text for each, text in pairs)


def _window(window: float | Calls, minimum: int = 0) -> str:
    least = f"at least {minimum} calls in " if minimum else "the calls in "
    if isinstance(window, Calls):
        return f"the last {window.count} calls"
    return f"{least}{window:.4g} s"


def _percent(share: float) -> str:
    return f"{100 * share:.4g} %"
