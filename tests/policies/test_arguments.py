"""A wrong argument names the parameter, the value and what is allowed."""

from __future__ import annotations

from math import inf, nan

import pytest

from seawall import (
    AdaptiveLimit,
    Bulkhead,
    Calls,
    CircuitBreaker,
    Classifier,
    ConsecutiveFailures,
    FailureCount,
    FailureRate,
    Fallback,
    Hedge,
    Keyed,
    LastGood,
    LoadShedder,
    Percentile,
    Pipeline,
    RateLimiter,
    Retry,
    RetryBudget,
    Timeout,
    constant,
    exponential,
    linear,
)


def make(kind, *before, **fixed):
    """Return what calls a constructor with one more argument, by keyword."""
    return lambda **wrong: kind(*before, **(fixed | wrong))


def policy(key):
    return Bulkhead(1)


WRONG = [
    (make(Timeout), "seconds", [0, -1, nan, inf, "1", True, None]),
    (make(Timeout, 1), "name", [5]),
    (make(Retry), "attempts", [0, -1, 1.5, "3", True, None]),
    (make(Retry), "backoff", [-1, nan, "1", None, True]),
    (make(Retry), "on", [5, "OSError", (OSError, 5)]),
    (make(Retry), "budget", [5, 0.1]),
    (make(Retry), "max_retry_after", [-1, nan, "30", None]),
    (make(RetryBudget), "ratio", [-0.1, 1.1, nan, "1"]),
    (make(RetryBudget), "capacity", [0, -1, nan, inf, "1"]),
    (make(RetryBudget), "floor", [-1, nan, inf, None]),
    (make(exponential), "base", [0, -1, nan, inf, "1", None]),
    (make(exponential, 1), "factor", [0.5, nan, "2"]),
    (make(exponential, 1), "cap", [0, nan, inf, "2"]),
    (make(exponential, 1), "jitter", ["some", 1]),
    (make(constant), "seconds", [-1, nan, inf, "1"]),
    (make(linear), "step", [-1, nan, inf, "1"]),
    (make(linear, 1), "cap", [0, nan, inf, "1"]),
    (make(Bulkhead), "limit", [0, -1, 1.5, "3", True, None]),
    (make(Bulkhead, 1), "queue", [-1, 1.5, "3", None]),
    (make(Bulkhead, 1), "max_wait", [-1, nan, "3"]),
    (make(AdaptiveLimit), "initial", [0, 1001, 1.5, "3", True, None]),
    (make(AdaptiveLimit, minimum=5), "initial", [4]),
    (make(AdaptiveLimit), "minimum", [0, -1, 1.5, "3", True, None]),
    (make(AdaptiveLimit, minimum=5), "maximum", [4, 1.5, "3", True, None]),
    (make(AdaptiveLimit), "max_wait", [-1, nan, "3"]),
    (make(LoadShedder), "k", [0.9, -1, nan, inf, "2", True, None]),
    (make(LoadShedder), "window", [0, -1, nan, inf, "10", None]),
    (make(LoadShedder), "max_reject", [0, 1.1, nan, "1", None]),
    (make(RateLimiter), "rate", [0, -1, nan, inf, "3", True]),
    (make(RateLimiter, 1), "per", [0, -1, nan, inf, "1", None]),
    (make(RateLimiter, 1), "burst", [0, 0.5, nan, inf, "1", None, True]),
    (make(RateLimiter, 1), "max_wait", [-1, nan, "3"]),
    (make(RateLimiter, 1), "max_pause", [-1, nan, inf, "3", None]),
    (make(RateLimiter, 1, burst=5), "cost", [-1, 5.1, 6, nan, inf, "1", None, True]),
    (make(RateLimiter, None), "cost", [-1, nan, inf, "1", None]),
    (make(RateLimiter, 1), "actual", [5, "usage"]),
    (make(CircuitBreaker), "trip", [0, -1, 1.5, nan, "5", True, OSError]),
    (make(CircuitBreaker), "open_for", [0, -1, nan, inf, "5"]),
    (make(CircuitBreaker, open_for=5), "max_open_for", [4, nan, inf, "5"]),
    (make(CircuitBreaker), "probes", [0, 1.5, "1", True, None]),
    (make(CircuitBreaker), "close_after", [0, 1.5, "1", True, None]),
    (make(CircuitBreaker), "probe_lease", [0, nan, inf, "1"]),
    (make(CircuitBreaker), "failures", [5, "OSError", (5,)]),
    (make(CircuitBreaker), "ignore", [5, "OSError", (5,), None]),
    (make(CircuitBreaker), "count_retries", [1, None, "yes"]),
    (make(CircuitBreaker), "shadow", [1, None, "yes"]),
    (make(CircuitBreaker), "name", [5]),
    (make(ConsecutiveFailures), "n", [0, 1.5, "1", True]),
    (make(FailureCount, window=5.0), "n", [0, 1.5, "1", True]),
    (make(FailureCount, 5), "window", [0, -1, nan, inf, "5", None]),
    (make(FailureRate), "ratio", [0, 1.1, nan, "1", True]),
    (make(FailureRate, 0.5), "window", [0, nan, inf, "5", None]),
    (make(FailureRate, 0.5), "minimum_calls", [0, 1.5, "1", True]),
    (make(Calls), "count", [0, 1.5, "1", True]),
    (make(Classifier), "failures", [5, (5,)]),
    (make(Classifier), "ignore", [5, (5,), None]),
    (make(Classifier), "results", [5]),
    (make(Classifier), "retry_after", [5]),
    (make(Hedge), "delay", [-1, nan, inf, "1", None, True, Percentile]),
    (make(Hedge, 1), "max_hedges", [0, -1, 1.5, "3", True, None]),
    (make(Hedge, 1), "budget", [5, 0.1]),
    (make(Percentile), "ratio", [0.4, 1, 95, nan, "1", True, None]),
    (make(Percentile, 0.9), "minimum_calls", [0, 1.5, "1", True]),
    (make(Percentile, 0.9), "at_least", [-1, nan, inf, None]),
    (make(Percentile, 0.9, at_least=1), "at_most", [0.5, nan, "1", None]),
    (make(Fallback), "function", [5]),
    (make(Fallback, value=1), "on", [5, "OSError", (5,)]),
    (make(Keyed), "factory", [5, Bulkhead, Bulkhead(1)]),
    (make(Keyed, policy), "key", [5]),
    (make(Keyed, policy), "max_keys", [0, 1.5, "1", True]),
    (make(LastGood), "ttl", [0, -1, nan, "1", True, None]),
    (make(LastGood, 60), "max_entries", [0, 1.5, "1", True]),
    (make(LastGood, 60), "key", [5, "url"]),
    (make(LastGood, 60), "mark", [5, "stale"]),
    (make(Pipeline), "name", [5]),
    (make(Pipeline), "classify", [5]),
    (make(Pipeline().bind), "timeout", [0, -1, nan, "1"]),
    (make(Pipeline().bind), "idempotent", [1, "no"]),
    (make(Pipeline().bind), "tags", [1, "no"]),
]

CASES = [
    pytest.param(call, name, value, id=f"{name}-{value!r}-{number}")
    for number, (call, name, values) in enumerate(WRONG)
    for value in values
]


@pytest.mark.parametrize("call, name, value", CASES)
def test_a_wrong_argument_is_named(call, name, value):
    """The error names the parameter, the value, and what is allowed."""
    with pytest.raises((ValueError, TypeError)) as caught:
        call(**{name: value})
    text = str(caught.value)
    assert text.startswith(name)
    assert repr(value) in text
    assert " must be " in text


@pytest.mark.parametrize("wrong", [Retry, "retry", None, lambda call: call])
def test_what_is_no_policy_is_named(wrong):
    """A pipeline names the position of what is no policy, and shows how to call a class."""
    with pytest.raises(TypeError, match=r"policies\[1\] must be a Policy") as caught:
        Pipeline(Timeout(1), wrong)
    if wrong is Retry:
        assert "right: Pipeline(Retry(...), ...)" in str(caught.value)


def test_a_fallback_has_a_function_or_a_value():
    """Both or neither are refused."""
    for arguments in ({}, {"function": policy, "value": 1}):
        with pytest.raises(TypeError, match="a function or a value"):
            Fallback(**arguments)


@pytest.mark.parametrize("name", ["key", "mark"])
def test_a_function_that_is_asked_may_not_be_async(name):
    """What a key or a mark returns is used at once, so a coroutine would be no answer."""

    async def function():
        pass

    with pytest.raises(TypeError, match=f"{name} must be a plain function of"):
        LastGood(60, **{name: function})
