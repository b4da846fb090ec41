"""Every way into a pipeline runs the same policies."""

from __future__ import annotations

import functools
import inspect
import warnings

import anyio
import pytest

from seawall import (
    Bulkhead,
    BulkheadFullError,
    CallTimeoutError,
    CircuitBreaker,
    CircuitOpenError,
    Classifier,
    Fallback,
    Keyed,
    Kind,
    Pipeline,
    Policy,
    Retry,
    Timeout,
    UsageError,
    Verdict,
)

pytestmark = pytest.mark.anyio


async def double(number, *, plus=0):
    await anyio.sleep(0)
    return 2 * number + plus


class Doubler:
    async def __call__(self, number, *, plus=0):
        return await double(number, plus=plus)

    async def method(self, number, *, plus=0):
        return await double(number, plus=plus)


class Promise:
    """An awaitable that is no coroutine."""

    def __init__(self, number):
        self.number = number

    def __await__(self):
        return double(self.number).__await__()


CALLABLES = {
    "async function": double,
    "partial": functools.partial(double),
    "bound method": Doubler().method,
    "object with async __call__": Doubler(),
    "function that returns a coroutine": lambda number, plus=0: double(number, plus=plus),
    "function that returns an awaitable": lambda number, plus=0: Promise(number + plus / 2),
}

STANDARD = Pipeline.standard(limit=10)


def standard():
    return Pipeline.standard(limit=10)


@pytest.mark.parametrize("function", CALLABLES.values(), ids=CALLABLES.keys())
async def test_callables_of_every_kind(function):
    """Any callable that returns an awaitable is called with its arguments."""
    assert await standard().execute(function, 4, plus=2) == 10


async def test_awaitables():
    """A coroutine object and any other awaitable are awaited."""
    assert await standard().execute(double(4)) == 8
    assert await standard().execute(Promise(4)) == 8


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_futures_and_tasks():
    """A Future and a Task are awaited."""
    import asyncio

    future = asyncio.get_running_loop().create_future()
    future.set_result(8)
    assert await standard().execute(future) == 8
    assert await standard().execute(asyncio.create_task(double(4))) == 8


async def test_decorator_keeps_the_function():
    """A decorated function keeps its name, its signature and that it is async."""
    decorated = standard()(double)
    assert await decorated(4, plus=1) == 9
    assert inspect.iscoroutinefunction(decorated)
    assert inspect.signature(decorated) == inspect.signature(double)
    assert decorated.__wrapped__ is double


@pytest.mark.parametrize(
    "policy",
    [
        lambda: Timeout(5),
        Retry,
        CircuitBreaker,
        lambda: Bulkhead(1),
        lambda: Fallback(value=0),
        lambda: Keyed(lambda key: Bulkhead(1), key=lambda number: "key"),
        Pipeline,
    ],
    ids=["Timeout", "Retry", "CircuitBreaker", "Bulkhead", "Fallback", "Keyed", "Pipeline"],
)
async def test_each_policy_alone(policy):
    """Each policy has the ways in of a pipeline."""
    policy = policy()
    assert await policy.execute(double, 4) == 8
    assert await policy(double)(4) == 8
    if isinstance(policy, Keyed):
        return
    assert await policy.execute(double(4)) == 8
    async with policy as attempt:
        assert attempt.number == 1
    async for attempt in policy:
        async with attempt:
            attempt.result = await double(4)
    assert attempt.result == 8


async def test_the_first_policy_is_the_outermost():
    """Pipeline(A, B) is A around B, nested pipelines included, and built but once."""
    order = []

    class Mark(Policy):
        def __init__(self, name):
            self.name = name

        async def run(self, call, proceed):
            order.append(self.name)
            return await proceed(call)

    pipeline = Pipeline(Mark("a"), Pipeline(Mark("b"), Pipeline(), Mark("c")), Mark("d"))
    assert await pipeline.execute(double, 4) == 8
    assert order == ["a", "b", "c", "d"]


async def test_bind_sets_what_belongs_to_the_call():
    """A bound view sets key, timeout, idempotent and tags; binding again changes only some."""
    calls = []

    class Look(Policy):
        async def run(self, call, proceed):
            calls.append((call.key, call.idempotent, call.tags, call.deadline - call.now() < 3))
            return await proceed(call)

    view = Pipeline(Look()).bind(key="a", timeout=2.0, idempotent=False)
    assert await view.execute(double, 4) == 8
    async with view.bind(key="b", tags={"tag": 1}):
        pass
    assert calls == [("a", False, None, True), ("b", False, {"tag": 1}, True)]
    with pytest.raises(CallTimeoutError):
        await Pipeline().bind(timeout=0.01).execute(anyio.sleep, 30)


async def test_the_innermost_classifier_decides():
    """In nested pipelines the innermost classifier given decides for all outside it."""
    breaker = CircuitBreaker(1)
    inner = Pipeline(Pipeline(), classify=lambda outcome: Verdict(Kind.SUCCESS))
    pipeline = Pipeline(breaker, inner, classify=Classifier(failures=OSError))

    async def fail():
        raise OSError("made up")

    with pytest.raises(OSError, match="made up"):
        await pipeline.execute(fail)
    assert breaker.state.value == "closed"


async def test_a_sync_function_is_shown_the_right_call():
    """A function that returns no awaitable is a UsageError that shows both calls."""

    def fetch():
        return 1

    with pytest.raises(UsageError) as caught:
        await standard().execute(fetch)
    assert "wrong: def " in str(caught.value)
    assert "right: async def " in str(caught.value)
    assert isinstance(caught.value, TypeError)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: STANDARD.execute(5),
        lambda: STANDARD.execute(double(1), 2),
        lambda: STANDARD(double(1)),
        lambda: STANDARD(5),
    ],
)
async def test_wrong_targets(wrong):
    """What is neither a callable nor an awaitable is refused, with the right call shown."""
    with pytest.raises(UsageError, match="right: "):
        await wrong()


async def test_a_coroutine_runs_once_and_says_so():
    """A coroutine object gets one attempt, and its exception a note on how to get more."""

    async def fail():
        raise OSError("made up")

    with pytest.raises(OSError, match="made up") as caught:
        await standard().execute(fail())
    (note,) = caught.value.__notes__
    assert "await pipeline.execute(fetch, url)" in note


async def test_a_refused_coroutine_is_closed():
    """A coroutine that a policy refuses is closed, and nothing warns that it was never awaited."""
    breaker, bulkhead = CircuitBreaker(), Bulkhead(1)
    breaker.trip()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        refused = double(1)
        with pytest.raises(CircuitOpenError):
            await breaker.execute(refused)
        assert inspect.getcoroutinestate(refused) == inspect.CORO_CLOSED
        async with bulkhead:
            refused = double(1)
            with pytest.raises(BulkheadFullError):
                await bulkhead.execute(refused)
        assert inspect.getcoroutinestate(refused) == inspect.CORO_CLOSED
