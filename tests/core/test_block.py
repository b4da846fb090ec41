"""Where a block ends: exit stacks, interleaved generators, fixtures, other tasks.

Blocks in ordinary use are tested in `test_blocks`.
"""

from __future__ import annotations

import asyncio
import gc
import random
import threading
import weakref
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, suppress
from typing import Any

import anyio
import pytest

from seawall import (
    Bulkhead,
    CallTimeoutError,
    CircuitBreaker,
    CircuitOpenError,
    Kind,
    Pipeline,
    Policy,
    Retry,
    Timeout,
    UsageError,
    deadline,
)
from tests.virtual_time import VirtualLoop

pytestmark = pytest.mark.anyio

on_asyncio = pytest.mark.parametrize(
    "anyio_backend", [("asyncio", {"loop_factory": VirtualLoop})], ids=["asyncio"]
)


class Ledger(Policy):
    """Writes down how each block ended, as its own chain sees it."""

    def __init__(self) -> None:
        self.outcomes: list[Any] = []

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
    # Without a Timeout: on trio a scope ends in the order in which it began.
    return Pipeline(CircuitBreaker(), Bulkhead(100), ledger)


def held(pipeline) -> int:
    return pipeline.find(Bulkhead).in_flight


# ------------------------------------------------------------------------------------ exit stacks


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 0, 1], [1, 2, 0]])
async def test_exit_stacks_of_one_task_end_in_any_order(pipeline, ledger, order):
    """Each of several exit stacks in one task ends its own block."""
    stacks = [AsyncExitStack() for _ in range(3)]
    for number, stack in enumerate(stacks):
        (await stack.enter_async_context(pipeline)).result = number
    for number in order:
        await stacks[number].aclose()
    assert ledger.outcomes == order
    assert held(pipeline) == 0


async def test_an_exit_stack_holds_several_blocks(pipeline, ledger):
    """Blocks of one exit stack end last first."""
    async with AsyncExitStack() as stack:
        for number in range(3):
            (await stack.enter_async_context(pipeline)).result = number
        assert held(pipeline) == 3
    assert ledger.outcomes == [2, 1, 0]


async def test_an_exit_stack_that_was_handed_on(pipeline, ledger):
    """A block ends with the stack that `pop_all` moved it to."""
    async with AsyncExitStack() as first:
        (await first.enter_async_context(pipeline)).result = "handed on"
        second = first.pop_all()
        (await first.enter_async_context(pipeline)).result = "first"
    del first
    gc.collect()
    assert ledger.outcomes == ["first"]
    assert held(pipeline) == 1
    await second.aclose()
    assert ledger.outcomes == ["first", "handed on"]


async def test_twenty_exit_stacks_ended_by_another_task(pipeline, ledger):
    """Stacks begun in 20 tasks and ended by one, with a block of its own, end their own blocks."""
    stacks: dict[int, AsyncExitStack] = {}

    async def begin(number: int) -> None:
        stacks[number] = AsyncExitStack()
        (await stacks[number].enter_async_context(pipeline)).result = number
        if number % 2:
            await anyio.sleep(0.001)

    async with anyio.create_task_group() as tasks:
        for number in range(20):
            tasks.start_soon(begin, number)
    order = random.Random(5).sample(range(20), 20)
    async with pipeline as attempt:
        attempt.result = "own"
        for number in order:
            await stacks[number].aclose()
    assert ledger.outcomes == [*order, "own"]
    assert held(pipeline) == 0


async def test_an_exit_stack_in_each_of_twenty_tasks(pipeline, ledger):
    """Errors and results of stacks that overlap in 20 tasks never cross."""
    expected = []
    errors = []

    async def work(number: int) -> None:
        try:
            async with AsyncExitStack() as stack:
                attempt = await stack.enter_async_context(pipeline)
                attempt.result = number
                await anyio.sleep(0.001 * (number * 7 % 5))
                if number % 3 == 0:
                    raise OSError(f"made up {number}")
        except OSError as error:
            errors.append((number, str(error)))
        expected.append((Kind.FAILURE, f"made up {number}") if number % 3 == 0 else number)

    async with anyio.create_task_group() as tasks:
        for number in range(20):
            tasks.start_soon(work, number)
    assert ledger.outcomes == expected
    assert sorted(errors) == [(number, f"made up {number}") for number in range(0, 20, 3)]
    assert held(pipeline) == 0


async def test_a_dropped_exit_stack_holds_nothing(pipeline):
    """A stack that nobody closes gives back what it holds when it is collected."""
    stack = AsyncExitStack()
    attempt = await stack.enter_async_context(pipeline)
    attempt.result = kept = Kept()
    gone = weakref.ref(kept)
    del stack, attempt, kept
    gc.collect()
    assert held(pipeline) == 0
    assert gone() is None


@on_asyncio
async def test_an_exit_stack_dropped_by_another_thread(pipeline):
    """A block that is dropped in another thread lets go on the loop that owns it."""
    stacks = [AsyncExitStack()]
    await stacks[0].enter_async_context(pipeline)
    thread = threading.Thread(target=stacks.clear)
    thread.start()
    thread.join()
    assert held(pipeline) == 1
    await asyncio.sleep(0)
    assert held(pipeline) == 0


class Kept:
    """An object that can be watched."""


# ------------------------------------------------------------------------- generators, other tasks


@pytest.mark.parametrize("seed", range(20))
async def test_generators_interleaved_at_random(pipeline, ledger, seed):
    """Ten generators, advanced, closed and failed in random order, each end their own block."""
    rng = random.Random(seed)

    async def items(name: int) -> AsyncIterator[int]:
        async with pipeline as attempt:
            attempt.result = name
            for number in range(3):
                yield number

    expected: list[Any] = []
    generators = {name: items(name) for name in range(10)}
    begun = set()
    while generators:
        name = rng.choice(list(generators))
        generator = generators[name]
        if name not in begun or rng.random() < 0.7:
            begun.add(name)
            try:
                await anext(generator)
            except StopAsyncIteration:
                expected.append(name)
                del generators[name]
        elif rng.random() < 0.5:
            with pytest.raises(OSError, match=str(name)):
                await generator.athrow(OSError(f"{name}"))
            expected.append((Kind.FAILURE, f"{name}"))
            del generators[name]
        else:
            await generator.aclose()
            expected.append((Kind.NEUTRAL, ""))
            del generators[name]
    assert ledger.outcomes == expected
    assert held(pipeline) == 0


@on_asyncio
async def test_interleaved_generators_keep_their_deadlines():
    """When one of two generators ends, the other still sees its own deadline."""

    async def left(timeout: Timeout) -> AsyncIterator[float | None]:
        async with timeout:
            while True:
                yield deadline()

    async with aclosing(left(Timeout(10))) as first, aclosing(left(Timeout(20))) as second:
        assert await anext(first) == 10
        # It began inside the first, as the context has it.
        assert await anext(second) == 10
        await first.aclose()
        assert await anext(second) == 20
    assert deadline() is None


@on_asyncio
async def test_a_dependency_with_yield(ledger):
    """Many dependencies, begun and ended in tasks of their own, in any order, never cross."""
    pipeline = Pipeline(Timeout(30), CircuitBreaker(), Bulkhead(100), ledger, Timeout(10))

    @asynccontextmanager
    async def dependency(name: int) -> AsyncIterator[None]:
        async with pipeline as attempt:
            attempt.result = name
            yield

    managers = {name: dependency(name) for name in range(20)}
    for manager in managers.values():
        await asyncio.create_task(manager.__aenter__())
    assert held(pipeline) == 20
    order = random.Random(7).sample(range(20), 20)
    for name in order:
        await asyncio.create_task(managers[name].__aexit__(None, None, None))
    assert ledger.outcomes == order
    assert held(pipeline) == 0


@on_asyncio
async def test_a_cancellation_of_the_second_task_is_no_timeout():
    """A block begun in one task, whose time is up, ends in another: its cancellation is a caller's.

    The timeout can only cancel the task in which it began; that one is over.
    """
    timeout = Timeout(1)

    @asynccontextmanager
    async def dependency() -> AsyncIterator[None]:
        async with timeout:
            yield

    manager = dependency()
    await asyncio.create_task(manager.__aenter__())

    async def request() -> None:
        try:
            await asyncio.sleep(5)
        except asyncio.CancelledError as error:
            await manager.__aexit__(type(error), error, error.__traceback__)
            raise

    task = asyncio.create_task(request())
    await asyncio.sleep(2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelling() == 1


@on_asyncio
async def test_a_timeout_in_the_task_that_waits_for_the_end():
    """Begun here and ended in another task, a timeout that fired leaves `cancelling` as it was."""
    timeout = Timeout(1)
    manager = asynccontextmanager(block_of)(timeout)
    await manager.__aenter__()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.sleep(5)
    assert asyncio.current_task().cancelling() == 1
    await asyncio.create_task(manager.__aexit__(None, None, None))
    assert asyncio.current_task().cancelling() == 0


async def block_of(policy: Policy) -> AsyncIterator[Any]:
    async with policy as attempt:
        yield attempt


@pytest.fixture
async def resource() -> AsyncIterator[Any]:
    pipeline = Pipeline(Bulkhead(5), Retry(2))
    async with pipeline:
        yield pipeline
    assert held(pipeline) == 0


async def test_a_fixture_of_anyio(resource):
    """The same in a fixture of anyio's plugin, on asyncio and trio."""
    assert held(resource) == 1


async def test_a_manager_written_by_hand(pipeline, ledger):
    """`__aenter__` and `__aexit__` of a class that call those of a pipeline find their block."""

    class Client:
        async def __aenter__(self):
            self.attempt = await pipeline.__aenter__()
            return self.attempt

        async def __aexit__(self, *details):
            return await pipeline.__aexit__(*details)

    async with Client() as outer, Client() as inner:
        outer.result, inner.result = "outer", "inner"
        async with pipeline as attempt:
            attempt.result = "between"
    assert ledger.outcomes == ["between", "inner", "outer"]
    assert held(pipeline) == 0


async def test_managers_written_by_hand_in_two_tasks(pipeline, ledger):
    """Each task finds its own block, in whatever order they end."""

    class Client:
        async def __aenter__(self):
            return await pipeline.__aenter__()

        async def __aexit__(self, *details):
            return await pipeline.__aexit__(*details)

    async def work(name: str, begin: float, end: float) -> None:
        await anyio.sleep(begin)
        async with Client() as attempt:
            attempt.result = name
            await anyio.sleep(end - begin)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(work, "first to end", 0, 0.02)
        tasks.start_soon(work, "second", 0.01, 0.04)
    assert ledger.outcomes == ["first to end", "second"]


async def test_a_block_that_was_never_entered(pipeline):
    """`__aexit__` alone is a UsageError."""
    with pytest.raises(UsageError, match="never entered"):
        await pipeline.__aexit__(None, None, None)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(pipeline)
        await stack.aclose()
        stack.push_async_exit(pipeline)
        with pytest.raises(UsageError, match="never entered"):
            await stack.aclose()


# ------------------------------------------------------------------------------ ends of many kinds


async def test_recursion_over_one_pipeline(pipeline, ledger):
    """A function that calls itself inside its block ends the innermost first."""

    async def dive(depth: int) -> None:
        async with pipeline as attempt:
            attempt.result = depth
            if depth:
                await dive(depth - 1)

    await dive(10)
    assert ledger.outcomes == list(range(11))
    assert held(pipeline) == 0


async def test_blocks_in_a_loop_of_one_frame(pipeline, ledger):
    """`continue`, `break` and `return` end the block of their turn."""

    async def work() -> str:
        for number in range(5):
            async with pipeline as attempt, pipeline as inner:
                attempt.result, inner.result = number, -number
                if number == 1:
                    continue
                if number == 2:
                    break
        async with pipeline as attempt:
            attempt.result = "returned"
            return "done"

    assert await work() == "done"
    assert ledger.outcomes == [0, 0, -1, 1, -2, 2, "returned"]
    assert held(pipeline) == 0


async def test_a_cancelled_body_holds_nothing(pipeline, ledger):
    """A body that is cancelled leaves nothing behind, and counts for nothing."""
    with anyio.move_on_after(0.001) as scope:
        async with pipeline:
            await anyio.sleep_forever()
    assert scope.cancelled_caught
    assert [kind for kind, _ in ledger.outcomes] == [Kind.NEUTRAL]
    assert held(pipeline) == 0


async def test_cancelled_while_entering():
    """A block that is cancelled while it waits for its slot was never entered."""
    bulkhead = Bulkhead(1, queue=5)
    async with bulkhead:
        with anyio.move_on_after(0.001) as scope:
            async with bulkhead:
                pytest.fail("the body ran")
        assert scope.cancelled_caught
        assert (bulkhead.in_flight, bulkhead.waiting) == (1, 0)
    async with bulkhead:
        assert bulkhead.in_flight == 1


async def test_a_block_waits_for_its_slot():
    """What the chain waits for on its way in is waited for, on both event loops."""
    bulkhead = Bulkhead(2, queue=100)
    most = 0

    async def work(number: int) -> None:
        nonlocal most
        async with bulkhead:
            most = max(most, bulkhead.in_flight)
            await anyio.sleep(0.0005)
        done.append(number)

    done: list[int] = []
    async with anyio.create_task_group() as tasks:
        for number in range(20):
            tasks.start_soon(work, number)
    assert (most, bulkhead.in_flight, len(done)) == (2, 0, 20)


async def test_nothing_is_kept():
    """After the block, nothing of the library refers to the exception or to the result."""
    pipeline = Pipeline(Retry(2), CircuitBreaker(), Bulkhead(2), Timeout(5))
    error: Exception = Oops()
    gone = weakref.ref(error)
    with pytest.raises(Oops):
        async with pipeline:
            raise error
    del error
    async with pipeline as attempt:
        attempt.result = Kept()
        also_gone = weakref.ref(attempt.result)
    del attempt
    gc.collect()
    assert gone() is None
    assert also_gone() is None


@on_asyncio
async def test_an_error_thrown_while_entering_makes_no_cycle():
    """What ends the wait for a slot is freed at once, without the collector."""
    bulkhead = Bulkhead(1, queue=1)

    async def enter() -> None:
        async with bulkhead:
            pytest.fail("the body ran")

    async with bulkhead:
        coroutine = enter()
        coroutine.send(None)
        error: Exception = Oops()
        gone = weakref.ref(error)
        gc.collect()
        gc.disable()
        try:
            with suppress(Oops):
                coroutine.throw(error)
            del error, coroutine
            assert gone() is None
        finally:
            gc.enable()


class Oops(Exception):
    pass


async def test_a_traceback_through_an_exit_stack_and_a_loop(pipeline):
    """Neither a stack nor a loop adds a frame of the library to what the body raises."""
    with pytest.raises(Oops) as caught:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(pipeline)
            raise Oops
    assert not any("seawall" in str(entry.path.parts[-3:]) for entry in caught.traceback)
    with pytest.raises(Oops) as caught:
        async for attempt in Pipeline(Retry(2, backoff=0), pipeline):
            async with attempt:
                raise Oops
    assert [entry.path.name for entry in caught.traceback] == ["test_block.py"]


async def test_a_new_error_of_a_policy_has_the_bodys_as_its_cause():
    """A timeout of a block says what it cancelled, as asyncio.timeout does."""
    with pytest.raises(CallTimeoutError) as caught:
        async with Timeout(0.001, name="block"):
            await anyio.sleep_forever()
    assert (caught.value.seconds, caught.value.name, caught.value.phase) == (0.001, "block", "call")


async def test_a_refused_block_counts_its_refusal(pipeline, ledger):
    """A policy outside sees the refusal of a block as it sees that of a function."""
    inner = CircuitBreaker()
    inner.trip()
    with pytest.raises(CircuitOpenError):
        async with Pipeline(ledger, inner):
            pytest.fail("the body ran")
    ((kind, _),) = ledger.outcomes
    assert kind is Kind.NEUTRAL


async def test_a_policy_that_repeats_a_block():
    """A policy of the user that runs a block twice is told that it cannot."""

    class Twice(Policy):
        async def run(self, call, proceed):
            await proceed(call)
            return await proceed(call)

    with pytest.raises(UsageError, match="only once"):
        async with Twice():
            pass


async def test_a_policy_that_skips_a_block():
    """A policy that answers instead of a block is told that a block cannot be skipped."""

    class Cached(Policy):
        async def run(self, call, proceed):
            return "cached"

    with pytest.raises(UsageError, match="cannot be skipped"):
        async with Cached():
            pytest.fail("the body ran")
    with pytest.raises(UsageError, match="cannot be skipped"):
        async for attempt in Cached():
            async with attempt:
                pytest.fail("the body ran")


async def test_what_an_attempt_knows():
    """A block's attempt is number 1, has no previous, and knows what is left."""
    async with Pipeline(Timeout(30), Timeout(20)) as attempt:
        assert (attempt.number, attempt.previous, attempt.result) == (1, None, None)
        assert 19 < attempt.remaining <= 20
    async with Pipeline() as attempt:
        assert attempt.remaining is None
