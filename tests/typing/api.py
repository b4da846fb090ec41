"""Typed uses of the public API: read by type checkers, never run."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Coroutine
from functools import partial
from typing import Any, TypeVar, assert_type

import seawall
from seawall import (
    AdaptiveLimit,
    Attempt,
    Bulkhead,
    Call,
    Calls,
    CircuitBreaker,
    CircuitOpenError,
    Classifier,
    ConsecutiveFailures,
    FailureCount,
    FailureRate,
    Fallback,
    Hedge,
    Keyed,
    Kind,
    LastGood,
    LoadShedder,
    Outcome,
    Percentile,
    Pipeline,
    Policy,
    Proceed,
    RateLimitedError,
    RateLimiter,
    Retry,
    RetryBudget,
    State,
    Stream,
    Timeout,
    Verdict,
    constant,
    exponential,
    linear,
)
from seawall.advice import Explanation, Finding

T = TypeVar("T")


async def fetch(url: str, *, size: int = 1) -> bytes:
    return url.encode() * size


class Announce(Policy):
    async def run(self, call: Call[T], proceed: Proceed[T]) -> T:
        return await proceed(call)


def classify(outcome: Outcome) -> Verdict:
    return Verdict(Kind.FAILURE, retryable=outcome.exception is not None)


def key_of(url: str, *, size: int = 1) -> str:
    return url * size


def cost_of(url: str, *, size: int = 1) -> float:
    return len(url) * size


budget = RetryBudget(0.2, capacity=20, floor=0.1)
pipeline = Pipeline(
    Timeout(30, name="total"),
    Retry(
        3, backoff=exponential(0.1, cap=5, jitter="equal"), on=(OSError, KeyError), budget=budget
    ),
    Retry(2, backoff=lambda failed, last: failed * last, on=lambda error: bool(error.args)),
    Retry(2, backoff=constant(1), budget=None, on=CircuitOpenError),
    Retry(2, backoff=linear(1, cap=4)),
    Retry(2, backoff=0.5),
    Keyed(lambda key: CircuitBreaker(5, name=str(key)), key=key_of),
    CircuitBreaker(0.5),
    CircuitBreaker(
        (FailureRate(0.5, window=Calls(100)) | ConsecutiveFailures(8)) & FailureCount(5, 10.0),
        open_for=5.0,
        failures=OSError,
        ignore=(KeyError,),
    ),
    RateLimiter(None),
    RateLimiter(90_000, 60, burst=9_000, cost=cost_of, actual=len, max_wait=5, max_pause=30),
    RateLimiter(0.5, burst=1.5, cost=0.25, actual=lambda result: result.size),
    Bulkhead(10, queue=5, max_wait=1.5),
    AdaptiveLimit(10, minimum=2, maximum=50, max_wait=None),
    LoadShedder(1.5, window=30.0, max_reject=0.5),
    Fallback(value=b""),
    Fallback(fetch, on=(OSError, TimeoutError)),
    Hedge(0.05, max_hedges=2, budget=budget),
    Hedge(Percentile(0.95, minimum_calls=10, at_most=1), budget=None),
    LastGood(300),
    LastGood(300, max_entries=10, key=key_of, mark=lambda value, age: (value, age + 1)),
    Announce(),
    Pipeline.standard(limit=Bulkhead(3)),
    name="api",
    classify=Classifier(failures=OSError, results=lambda value: not value),
)
also = Pipeline(classify=classify)


@pipeline
async def decorated(url: str, *, size: int = 1) -> bytes:
    return url.encode() * size


async def tokens(prompt: str, *, size: int = 1) -> AsyncIterator[str]:
    yield prompt * size


async def numbers(prompt: str) -> AsyncGenerator[int, None]:
    yield len(prompt)


async def opens(prompt: str) -> AsyncIterable[str]:
    return tokens(prompt)


@pipeline
async def decorated_tokens(prompt: str, *, size: int = 1) -> AsyncIterator[str]:
    yield prompt * size


@pipeline.bind(first_item_timeout=5.0, idle_timeout=2.0)
async def decorated_numbers(prompt: str) -> AsyncGenerator[int, None]:
    yield len(prompt)


class Model:
    @pipeline
    async def tokens(self, prompt: str) -> AsyncIterator[str]:
        yield prompt


async def streams() -> None:
    async for token in pipeline.stream(tokens, "prompt", size=2):
        assert_type(token, str)
    assert_type(pipeline.stream(numbers, "prompt"), Stream[int])
    assert_type(pipeline.stream(opens, "prompt"), Stream[str])
    assert_type(pipeline.stream(partial(tokens, "prompt")), Stream[str])
    assert_type(pipeline.stream(tokens, "prompt", first_item_timeout=5.0), Stream[str])
    assert_type(pipeline.stream(tokens, "prompt", idle_timeout=2.0), Stream[str])
    timed = pipeline.stream(tokens, "prompt", size=2, first_item_timeout=5.0, idle_timeout=2.0)
    assert_type(timed, Stream[str])
    assert_type(await anext(timed), str)
    await timed.aclose()
    assert_type(decorated_tokens("prompt", size=2), Stream[str])
    assert_type(decorated_numbers("prompt"), Stream[int])
    assert_type(Model().tokens("prompt"), Stream[str])


async def ways_in() -> None:
    assert_type(await pipeline.execute(fetch, "url", size=2), bytes)
    assert_type(await pipeline.execute(partial(fetch, "url")), bytes)
    assert_type(await pipeline.execute(fetch("url")), bytes)
    assert_type(await decorated("url", size=2), bytes)
    call: Coroutine[Any, Any, bytes] = decorated("url")
    assert_type(await pipeline.bind(key="k", timeout=1.0, idempotent=False).execute(call), bytes)
    async with pipeline as attempt:
        assert_type(attempt, Attempt)
        assert_type(attempt.remaining, float | None)
        assert_type(attempt.previous, Outcome | None)
    async for each in pipeline:
        async with each:
            each.result = await fetch("url")
    assert_type(pipeline.find(CircuitBreaker).state, State)
    assert_type(pipeline.explain(key="k", requests_per_second=50), Explanation)
    assert_type(Timeout(5).lint(latency=0.2, clients=3, keys=["a", "b"]), tuple[Finding, ...])
    assert_type(seawall.deadline(), float | None)


def limited(error: RateLimitedError) -> float | None:
    assert_type(pipeline.find(RateLimiter).snapshot().available, float)
    return error.retry_after


def refused(error: CircuitOpenError) -> tuple[float | None, str | None, int]:
    return error.retry_after, error.cause, error.failures
