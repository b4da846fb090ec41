"""Blocks over one shared pipeline: results never cross, and nothing is held."""

from __future__ import annotations

import asyncio
import gc
from contextlib import AsyncExitStack, asynccontextmanager

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
    Kind,
    Pipeline,
    Policy,
    Retry,
    Timeout,
    UsageError,
    constant,
)

pytestmark = pytest.mark.anyio


class Ledger(Policy):
    """Writes down the outcome that each block's own chain sees."""

    def __init__(self) -> None:
        self.outcomes: list[object] = []

    async def run(self, call, proceed):
        try:
            result = await proceed(call)
        except BaseException as error:
            self.outcomes.append((call.judge_error(error).kind, str(error)))
            raise
        self.outcomes.append(result)
        return result


@pytest.fixture
def ledger():
    return Ledger()


@pytest.fixture
def pipeline(ledger):
    return Pipeline(Timeout(30), CircuitBreaker(), Bulkhead(50), ledger, Timeout(10))


def held(pipeline):
    return pipeline.find(Bulkhead).in_flight


async def test_two_interleaved_generators(pipeline, ledger, anyio_backend_name):
    """Two generators that hold a block open in turn each end their own."""
    if anyio_backend_name == "trio":
        # There a Timeout is a cancel scope, and scopes cannot be interleaved.
        pipeline = Pipeline(CircuitBreaker(), Bulkhead(50), ledger)

    async def items(name):
        async with pipeline as attempt:
            attempt.result = name
            yield 1
            yield 2

    first, second = items("first"), items("second")
    await anext(first)
    await anext(second)
    assert held(pipeline) == 2
    await anext(first)
    await anext(second)
    with pytest.raises(StopAsyncIteration):
        await anext(first)
    assert ledger.outcomes == ["first"]
    with pytest.raises(ValueError, match="second fails"):
        await second.athrow(ValueError("second fails"))
    assert ledger.outcomes == ["first", (Kind.FAILURE, "second fails")]
    assert held(pipeline) == 0


async def test_nested_blocks_in_one_frame(pipeline, ledger):
    """Blocks nested in one function end innermost first."""
    async with pipeline as outer:
        async with pipeline as inner:
            assert held(pipeline) == 2
            outer.result, inner.result = "outer", "inner"
        assert ledger.outcomes == ["inner"]
    assert ledger.outcomes == ["inner", "outer"]
    assert held(pipeline) == 0


async def test_concurrent_blocks(pipeline, ledger):
    """Blocks in 20 tasks, ended in another order than begun, never cross."""
    seen = []

    async def work(number):
        async with pipeline as attempt:
            attempt.result = number
            await anyio.sleep(0.001 * (20 - number))
        seen.append(number)

    async with anyio.create_task_group() as tasks:
        for number in range(20):
            tasks.start_soon(work, number)
    assert ledger.outcomes == seen
    assert held(pipeline) == 0


async def test_exit_stacks_in_twenty_tasks(pipeline, ledger):
    """AsyncExitStack finds the block of its own task."""

    async def work(number):
        async with AsyncExitStack() as stack:
            attempt = await stack.enter_async_context(pipeline)
            attempt.result = number
            await anyio.sleep(0.001 * (number % 5))

    async with anyio.create_task_group() as tasks:
        for number in range(20):
            tasks.start_soon(work, number)
    assert sorted(ledger.outcomes) == list(range(20))
    assert held(pipeline) == 0


async def test_a_block_inside_an_exit_stack_and_around_it(pipeline, ledger):
    """A block of a frame and one of an exit stack in the same task are told apart."""
    async with AsyncExitStack() as stack:
        (await stack.enter_async_context(pipeline)).result = "stack"
        async with pipeline as attempt:
            attempt.result = "frame"
        assert ledger.outcomes == ["frame"]
    assert ledger.outcomes == ["frame", "stack"]


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_block_that_ends_in_another_task():
    """A fixture or a dependency may begin a block in one task and end it in another."""
    ledger = Ledger()
    pipeline = Pipeline(Timeout(30), CircuitBreaker(), Bulkhead(5), ledger)

    async def dependency():
        async with pipeline as attempt:
            attempt.result = "set up"
            yield attempt

    generator = dependency()
    await asyncio.create_task(anext(generator))
    assert held(pipeline) == 1

    async def end():
        with pytest.raises(StopAsyncIteration):
            await anext(generator)
        assert asyncio.current_task().cancelling() == 0

    await asyncio.create_task(end())
    assert ledger.outcomes == ["set up"]
    assert held(pipeline) == 0


async def test_a_managed_block(pipeline, ledger):
    """A block inside an @asynccontextmanager function sees the outcome of the outer body."""

    @asynccontextmanager
    async def managed():
        async with pipeline:
            yield

    with pytest.raises(OSError, match="outer body"):
        async with managed():
            raise OSError("outer body")
    assert ledger.outcomes == [(Kind.FAILURE, "outer body")]


@pytest.mark.parametrize(
    "error", [ValueError, StopIteration, StopAsyncIteration, KeyboardInterrupt]
)
async def test_the_traceback_gains_no_frames(pipeline, error):
    """What the body raises leaves as it came, the traceback included."""
    made = error("made up")
    with pytest.raises(error) as caught:
        async with pipeline:
            raise made
    assert caught.value is made
    files = [entry.frame.code.path.name for entry in caught.traceback]
    assert set(files) == {"test_blocks.py"}
    assert held(pipeline) == 0


async def test_a_fallback_swallows_what_the_body_raises():
    """A Fallback answers for a body that failed, and its answer is the attempt's result."""
    async with Pipeline(Fallback(value="spare"), Retry(3)) as attempt:
        raise OSError("made up")
    assert attempt.result == "spare"


@pytest.mark.parametrize(
    "outer", [[], [Fallback(value="spare")], [Retry(3)]], ids=["bare", "fallback", "retry"]
)
async def test_a_block_cannot_be_skipped(outer):
    """A refusal is raised by the `async with`, also where a fallback would answer a function."""
    breaker = CircuitBreaker(1, open_for=30)
    breaker.trip()
    with pytest.raises(CircuitOpenError):
        async with Pipeline(*outer, breaker):
            pytest.fail("the body ran")
    full = Bulkhead(1)
    async with full:
        with pytest.raises(BulkheadFullError):
            async with Pipeline(*outer, full):
                pytest.fail("the body ran")
    assert full.in_flight == 0


async def test_retry_makes_one_attempt_and_says_why():
    """A block is not retried, and the exception says how to write a loop."""
    with pytest.raises(OSError, match="made up") as caught:
        async with Retry(3):
            raise OSError("made up")
    (note,) = caught.value.__notes__
    assert "async for attempt in pipeline" in note


async def test_a_timeout_ends_a_block():
    """A body that takes too long ends with CallTimeoutError."""
    with pytest.raises(CallTimeoutError):
        async with Timeout(0.01):
            await anyio.sleep(30)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_dropped_block_releases():
    """A block whose generator is dropped gives back what it holds."""
    bulkhead = Bulkhead(1)

    async def items():
        async with bulkhead:
            yield 1

    async for _ in (generator := items()):
        break
    assert bulkhead.in_flight == 1
    del generator
    gc.collect()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert bulkhead.in_flight == 0


async def test_a_loop_runs_until_it_succeeds():
    """Each attempt knows its number and how the last one ended."""
    seen = []
    async for attempt in Retry(5, backoff=0):
        async with attempt:
            previous = attempt.previous
            seen.append((attempt.number, previous and str(previous.exception)))
            if attempt.number < 3:
                raise OSError(f"failed {attempt.number}")
    assert seen == [(1, None), (2, "failed 1"), (3, "failed 2")]


async def test_a_loop_gives_up_with_the_story():
    """When the attempts are spent, the last exception leaves the loop, with its note."""
    with pytest.raises(OSError, match="failed 3") as caught:
        async for attempt in Retry(3, backoff=constant(0)):
            async with attempt:
                raise OSError(f"failed {attempt.number}")
    assert caught.value.__notes__ == [
        "seawall: gave up after 3 attempts: OSError, slept 0 s, OSError, slept 0 s, OSError"
    ]


async def test_results_of_a_loop_are_judged():
    """A result that is judged a failure is asked for again, and returned in the end."""
    pipeline = Pipeline(Retry(3, backoff=0), classify=Classifier(results=lambda value: value < 9))
    numbers = []
    async for attempt in pipeline:
        async with attempt:
            numbers.append(attempt.number)
            attempt.result = attempt.number
    assert numbers == [1, 2, 3]
    assert attempt.result == 3


async def test_break_leaves_nothing():
    """Leaving a loop before, inside or after an attempt holds nothing, though the name lives on."""
    bulkhead = Bulkhead(1)
    pipeline = Pipeline(Retry(3, backoff=0), bulkhead)
    async for attempt in pipeline:
        assert attempt.number == 1
        break
    assert bulkhead.in_flight == 0
    async for attempt in pipeline:
        async with attempt:
            assert bulkhead.in_flight == 1
            break
    assert bulkhead.in_flight == 0
    async for attempt in pipeline:
        async with attempt:
            raise OSError("made up")
        assert bulkhead.in_flight == 0
        break
    assert bulkhead.in_flight == 0


async def test_wrong_uses_of_a_loop():
    """An attempt that is skipped, entered twice or that is no loop's is a UsageError."""
    with pytest.raises(UsageError, match="async with attempt"):
        async for attempt in Retry(3):
            pass
    async for attempt in Retry(3):
        async with attempt:
            pass
        with pytest.raises(UsageError):
            async with attempt:
                pass
    async with Retry(3) as attempt:
        with pytest.raises(UsageError, match="async for attempt"):
            async with attempt:
                pass
