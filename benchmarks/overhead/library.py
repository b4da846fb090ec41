"""seawall itself, with its defaults wherever a peer's would do."""

from __future__ import annotations

from benchmarks.overhead.peers import BASE, OPEN_FOR
from seawall import Bulkhead, CircuitBreaker, Fallback, Pipeline, Retry, Timeout, exponential


def make_retry():
    return Retry(3, backoff=exponential(BASE))


def make_four(breaker=CircuitBreaker):
    return Pipeline(make_retry(), breaker(), Bulkhead(100), Timeout(10.0))


def make_five():
    return Pipeline(Timeout(30.0), make_retry(), CircuitBreaker(), Bulkhead(100), Timeout(10.0))


def make_three():
    return Pipeline(CircuitBreaker(), Bulkhead(100), Timeout(10.0))


def make_refusing_breaker():
    # The default would be half-open after a second, and each refusal a call.
    return CircuitBreaker(open_for=OPEN_FOR)


def make_refusing_four():
    return make_four(make_refusing_breaker)


ALONE = {
    "timeout": lambda: Timeout(10.0),
    "retry": make_retry,
    "circuit breaker": CircuitBreaker,
    "bulkhead": lambda: Bulkhead(100),
    "fallback": lambda: Fallback(value="fallback"),
}


def executed(policy, function):
    async def run(count):
        for _ in range(count):
            await policy.execute(function)

    return run


def refused(policy, function, error):
    async def run(count):
        for _ in range(count):
            try:
                await policy.execute(function)
            except error:
                pass

    return run


def block(policy, function):
    async def run(count):
        for _ in range(count):
            async with policy:
                await function()

    return run


def loop(policy, function):
    async def run(count):
        for _ in range(count):
            async for attempt in policy:
                async with attempt:
                    await function()

    return run
