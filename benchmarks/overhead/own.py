"""What of the library is measured by itself: each policy, each way in, stacks, refusals, clients.

A case builds what it runs from any copy of the library, so that the same cases serve a comparison
of two.
"""

from __future__ import annotations

import asyncio
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks.overhead import library as ways
from benchmarks.overhead import runners
from benchmarks.overhead.runners import answer, one_item

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from benchmarks.overhead.measure import Runner

ALONE = "Each policy alone, `execute`"
EMPTY_WAYS = "Each way in, no policy"
FOUR_WAYS = "Each way in, four policies"
STACKS = "Stacks of policies, `execute`"
REFUSALS = "Refusals"
MOCK = "A `GET` on `MockTransport`"

RATE_WINDOW = "`CircuitBreaker(FailureRate(0.5))`"
ASYNC_WITH = "`async with`"
STREAM = "`stream(fn)`, one item"
STANDARD = "`seawall.httpx.AsyncClient`"


class Case(NamedTuple):
    group: str
    name: str
    build: Callable[[Any], Awaitable[Runner]]


def case(group, name, build):
    async def built(library):
        return build(library)

    return Case(group, name, built)


# ---------------------------------------------------------------------- policies

POLICIES = {
    "`Pipeline()`, empty": lambda own: own.seawall.Pipeline(),
    "`Timeout(10)`": lambda own: own.timeout(),
    "`Retry(3)`": lambda own: own.retry(),
    "`CircuitBreaker()`": lambda own: own.breaker(),
    RATE_WINDOW: lambda own: own.seawall.CircuitBreaker(own.seawall.FailureRate(0.5)),
    "`CircuitBreaker(FailureRate(0.5, Calls(100)))`": lambda own: own.seawall.CircuitBreaker(
        own.seawall.FailureRate(0.5, own.seawall.Calls(100))
    ),
    "`CircuitBreaker(5)`": lambda own: own.seawall.CircuitBreaker(5),
    "`CircuitBreaker(stalls=False)`": lambda own: own.seawall.CircuitBreaker(stalls=False),
    "`Bulkhead(100)`": lambda own: own.bulkhead(),
    "`AdaptiveLimit()`": lambda own: own.seawall.AdaptiveLimit(),
    # More than any slice of a run can use up.
    "`RateLimiter(10**9)`": lambda own: own.seawall.RateLimiter(10**9, burst=10**9),
    "`RateLimiter(None)`": lambda own: own.seawall.RateLimiter(None),
    "`LoadShedder()`": lambda own: own.seawall.LoadShedder(),
    "`Hedge(1)`": lambda own: own.seawall.Hedge(1.0),
    "`Hedge(Percentile(0.95))`": lambda own: own.seawall.Hedge(own.seawall.Percentile(0.95)),
    '`Fallback(value="fallback")`': lambda own: own.fallback(),
    "`LastGood(60)`": lambda own: own.seawall.LastGood(60.0),
    "`Keyed(lambda key: CircuitBreaker())`": lambda own: own.seawall.Keyed(
        lambda key: own.breaker(), key=lambda: "key"
    ),
}


def alone():
    for name, policy in POLICIES.items():
        yield case(
            ALONE, name, lambda library, policy=policy: ways.executed(policy(library), answer)
        )


# ---------------------------------------------------------------------- ways in

WAYS = {
    "`execute(fn)`": lambda policy: ways.executed(policy, answer),
    "`execute(coroutine)`": lambda policy: ways.executed_once(policy, answer),
    "decorated": lambda policy: runners.awaited(policy(answer)),
    '`bind(key="key")` once, `execute(fn)`': lambda policy: ways.executed(
        policy.bind(key="key"), answer
    ),
    ASYNC_WITH: lambda policy: ways.block(policy, answer),
    "`async for`, `async with`": lambda policy: ways.loop(policy, answer),
    STREAM: lambda policy: ways.streamed(policy, one_item),
}


def ways_in():
    for name, way in WAYS.items():
        yield case(EMPTY_WAYS, name, lambda library, way=way: way(library.seawall.Pipeline()))
        yield case(FOUR_WAYS, name, lambda library, way=way: way(library.four()))


# ---------------------------------------------------------------------- stacks

# From the inside out: four of them are the four policies, and five the five.
LAYERS = {
    "`Timeout(10)`": lambda own: own.timeout(),
    "`Bulkhead(100)`": lambda own: own.bulkhead(),
    "`CircuitBreaker()`": lambda own: own.breaker(),
    "`Retry(3)`": lambda own: own.retry(),
    "`Timeout(30)`": lambda own: own.seawall.Timeout(30.0),
    "`RateLimiter(None)`": lambda own: own.seawall.RateLimiter(None),
    "`LastGood(60)`": lambda own: own.seawall.LastGood(60.0),
    '`Fallback(value="fallback")`': lambda own: own.fallback(),
}


def stack(size):
    layers = list(LAYERS.values())[:size]

    def build(library):
        policies = [layer(library) for layer in layers]
        return ways.executed(library.seawall.Pipeline(*reversed(policies)), answer)

    return build


def stacks():
    for size, layer in enumerate(["none", *LAYERS]):
        around = "around them " if size > 1 else ""
        yield case(STACKS, f"{size}, {around}{layer}", stack(size))


# ---------------------------------------------------------------------- refusals


async def opened(policy):
    """Call what fails until the circuit opens."""
    await runners.open_circuit(lambda function: lambda: policy.execute(function))
    return policy


async def full(library):
    bulkhead = library.seawall.Bulkhead(1)
    # It holds the only slot for as long as the loop runs.
    bulkhead.held = asyncio.ensure_future(bulkhead.execute(asyncio.Event().wait))
    await asyncio.sleep(0)
    return bulkhead


async def spent(library):
    limiter = library.seawall.RateLimiter(1, per=3600.0, max_wait=0.0)
    await limiter.execute(answer)
    return limiter


def refusing(name, policy, refuse=ways.refused):
    async def build(library):
        return refuse(await policy(library), answer, library.seawall.RejectedError)

    return Case(REFUSALS, name, build)


def refusals():
    def breaker(library):
        return opened(library.refusing_breaker())

    def four(library):
        return opened(library.refusing_four())

    yield refusing("`CircuitBreaker`, `execute`", breaker)
    yield refusing("`CircuitBreaker`, `async with`", breaker, ways.refused_block)
    yield refusing("four policies, `execute`", four)
    yield refusing("four policies, `async with`", four, ways.refused_block)
    yield refusing("`Bulkhead`, `execute`", full)
    yield refusing("`RateLimiter`, `execute`", spent)


# ---------------------------------------------------------------------- a client


def mock():
    import httpx

    return httpx.MockTransport(lambda request: httpx.Response(200, text="answer"))


def client_of(library, **options):
    return import_module(f"{library.seawall.__name__}.httpx").AsyncClient(**options)


def on_mock():
    yield case(MOCK, STANDARD, lambda library: runners.got(client_of(library, transport=mock())))


def all_cases():
    return [*alone(), *ways_in(), *stacks(), *refusals(), *on_mock()]
