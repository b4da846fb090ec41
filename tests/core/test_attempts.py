"""`async for attempt in pipeline`: what an attempt knows, and what is held when.

The ordinary use is tested in `test_blocks`.
"""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import anyio
import pytest

from seawall import (
    Attempts,
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
    RetryBudget,
    Timeout,
    UsageError,
    Verdict,
    constant,
)
from tests.doubles import turns, virtual

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request):
    return virtual(request.param)


on_asyncio = pytest.mark.parametrize("anyio_backend", [virtual("asyncio")], ids=["asyncio"])


class Oops(Exception):
    pass


class Kept:
    """An object that can be watched."""


def retry(attempts: int = 5, **settings: Any) -> Retry:
    return Retry(attempts, backoff=constant(1), budget=None, **settings)


# ---------------------------------------------------------------------------- what an attempt knows


async def test_what_each_attempt_knows():
    """Its number, what is left, and how the last one ended."""
    seen = []
    errors: dict[int, Exception] = {}
    async for attempt in Pipeline(Timeout(10), retry()):
        async with attempt:
            previous = attempt.previous
            seen.append((attempt.number, attempt.remaining, previous and previous.exception))
            if attempt.number < 4:
                raise errors.setdefault(attempt.number, Oops())
    assert seen == [
        (1, 10, None),
        (2, 9, errors[1]),
        (3, 8, errors[2]),
        (4, 7, errors[3]),
    ]


async def test_no_deadline_nothing_remaining():
    """Where no timeout is around, nothing is said about the time."""
    async for attempt in retry():
        assert attempt.remaining is None
        async with attempt:
            assert attempt.remaining is None


async def test_the_number_is_known_before_the_attempt_is_entered():
    """It can be logged before the block."""
    numbers = []
    async for attempt in retry():
        numbers.append(attempt.number)
        async with attempt:
            numbers.append(attempt.number)
            if attempt.number < 3:
                raise Oops
    assert numbers == [1, 1, 2, 2, 3, 3]


async def test_a_result_that_was_not_good_enough():
    """The next attempt sees the value that was judged a failure; the last value stays."""
    pipeline = Pipeline(retry(3), classify=Classifier(results=lambda value: value["status"] >= 500))
    seen = []
    async for attempt in pipeline:
        async with attempt:
            seen.append(attempt.previous)
            attempt.result = {"status": 500 + attempt.number}
    first, second, third = seen
    assert first is None
    assert (second.value, second.exception) == ({"status": 501}, None)
    assert third.value == {"status": 502}
    assert attempt.result == {"status": 503}


async def test_a_result_that_heals():
    """The loop ends with the first result that is good enough."""
    pipeline = Pipeline(retry(), classify=Classifier(results=lambda value: value < 3))
    async for attempt in pipeline:
        async with attempt:
            attempt.result = attempt.number
    assert (attempt.number, attempt.result) == (3, 3)


async def test_an_attempt_without_a_result_is_not_judged():
    """A body that sets no result has succeeded, whatever the classifier says about None."""
    asked = []

    def judge(outcome):
        asked.append(outcome)
        return Verdict(Kind.FAILURE, retryable=True)

    breaker = CircuitBreaker(1)
    count = 0
    async for attempt in Pipeline(retry(), breaker, classify=judge):
        async with attempt:
            count += 1
    assert (count, asked, breaker.state.value) == (1, [], "closed")
    # None, when it is set, is a result.
    async for attempt in Pipeline(retry(2), classify=judge):
        async with attempt:
            attempt.result = None
    assert attempt.number == 2
    assert len(asked) == 2


async def test_what_an_attempt_forgets():
    """When an attempt has ended, neither it nor its loop keeps anything of the one before."""
    kept: dict[int, weakref.ref[Exception]] = {}
    attempts = []
    iterator = aiter(retry())
    async for attempt in iterator:
        attempts.append(attempt)
        async with attempt:
            if attempt.number < 4:
                error = Oops()
                kept[attempt.number] = weakref.ref(error)
                try:
                    raise error
                finally:
                    del error
    gc.collect()
    assert [each.previous for each in attempts] == [None] * 4
    assert [each() for each in kept.values()] == [None] * 3
    with pytest.raises(StopAsyncIteration):
        await anext(iterator)


async def test_a_judged_result_is_not_kept():
    """A result that was judged is the attempt's alone: taken from it, it is gone."""
    pipeline = Pipeline(retry(), CircuitBreaker(), classify=Classifier(results=lambda value: False))
    async for attempt in pipeline:
        async with attempt:
            attempt.result = Kept()
    gone = weakref.ref(attempt.result)
    attempt.result = None
    gc.collect()
    assert gone() is None


# --------------------------------------------------------------------------------- retrying, or not


async def test_nothing_is_held_between_attempts():
    """While a loop waits for its next attempt, its slot is free for others."""
    bulkhead = Bulkhead(1)
    pipeline = Pipeline(retry(), bulkhead)
    holding = []

    async def watch() -> None:
        for _ in range(4):
            holding.append(bulkhead.in_flight)
            await anyio.sleep(0.5)

    async with anyio.create_task_group() as tasks:
        async for attempt in pipeline:
            assert bulkhead.in_flight == 0
            async with attempt:
                assert bulkhead.in_flight == 1
                if attempt.number == 1:
                    tasks.start_soon(watch)
                    await anyio.sleep(0.75)
                    raise Oops
            assert bulkhead.in_flight == 0
    assert holding == [1, 1, 0, 0]


async def test_the_pause_comes_after_the_code_between():
    """What stands between two attempts runs before the pause, which begins with the next one."""
    times = []
    async for attempt in Pipeline(retry(2)):
        times.append(anyio.current_time())
        async with attempt:
            times.append(anyio.current_time())
            if attempt.number == 1:
                raise Oops
    assert [time - times[0] for time in times] == [0, 0, 0, 1]


async def test_gives_up_with_the_story():
    """The last exception leaves the loop, with one note, and the loop is over."""
    last = None
    with pytest.raises(Oops) as caught:
        async for attempt in retry(3):
            async with attempt:
                last = Oops()
                raise last
    assert caught.value is last
    assert last.__notes__ == [
        "seawall: gave up after 3 attempts: Oops, slept 1 s, Oops, slept 1 s, Oops"
    ]


async def test_what_is_not_retried_leaves_at_once():
    """A programming error and what `on` does not name leave the loop in the first attempt."""
    for policy, error in ((retry(), TypeError), (retry(on=OSError), Oops)):
        count = 0
        with pytest.raises(error):
            async for attempt in policy:
                async with attempt:
                    count += 1
                    raise error("made up")
        assert count == 1


async def test_a_loop_never_outlives_its_deadline():
    """Where no time is left for a pause, the loop gives up at once and says so."""
    begun = anyio.current_time()
    with pytest.raises(Oops) as caught:
        async for attempt in Pipeline(Timeout(2.5), retry(9)):
            async with attempt:
                raise Oops
    assert anyio.current_time() - begun == 2
    assert "no time was left" in caught.value.__notes__[0]


async def test_a_timeout_for_each_attempt():
    """An attempt that hangs is ended and made again; the total ends the loop."""
    numbers = []
    with pytest.raises(CallTimeoutError) as caught:
        async for attempt in Pipeline(Timeout(6, name="all"), retry(9), Timeout(1.5, name="each")):
            async with attempt:
                numbers.append((attempt.number, attempt.remaining))
                await anyio.sleep(100)
    assert numbers == [(1, 1.5), (2, 1.5), (3, 1)]
    assert caught.value.name == "all"


async def test_an_empty_budget():
    """A loop pays its retries from the budget of its policy."""
    budget = RetryBudget(0.1, capacity=1, floor=0)
    numbers = []
    with pytest.raises(Oops):
        async for attempt in Retry(9, backoff=0, budget=budget):
            async with attempt:
                numbers.append(attempt.number)
                raise Oops
    assert numbers == [1, 2]


async def test_a_refusal_between_attempts():
    """A circuit that opens refuses the next attempt; the loop raises what the last one met."""
    breaker = CircuitBreaker(1, open_for=100)
    with pytest.raises(Oops) as caught:
        async for attempt in Pipeline(retry(), breaker):
            async with attempt:
                raise Oops
    assert "CircuitOpenError" in caught.value.__notes__[0]
    with pytest.raises(CircuitOpenError):
        async for attempt in Pipeline(retry(), breaker):
            async with attempt:
                pytest.fail("the body ran")


async def test_a_refusal_that_is_caught_inside_the_loop():
    """The loop is over with the refusal, also for who catches it and goes on."""
    breaker = CircuitBreaker()
    breaker.trip()
    refused = 0
    async for attempt in Pipeline(retry(), breaker):
        try:
            async with attempt:
                pytest.fail("the body ran")
        except CircuitOpenError:
            refused += 1
    assert refused == 1


async def test_a_fallback_cannot_skip_a_body():
    """Where an attempt is refused, a Fallback around raises; it answers only for bodies."""
    breaker = CircuitBreaker(1, open_for=100)
    pipeline = Pipeline(Fallback(value="spare"), retry(), breaker)
    numbers = []
    with pytest.raises(Oops):
        async for attempt in pipeline:
            async with attempt:
                numbers.append(attempt.number)
                raise Oops
    assert numbers == [1]
    with pytest.raises(CircuitOpenError):
        async for attempt in pipeline:
            async with attempt:
                pytest.fail("the body ran")


async def test_a_refusal_that_is_retried():
    """A refused attempt whose Retry names the refusal is made again, when there is room."""
    bulkhead = Bulkhead(1)
    pipeline = Pipeline(retry(on=BulkheadFullError), bulkhead)

    async def occupy() -> None:
        async with bulkhead:
            await anyio.sleep(1.5)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(occupy)
        await turns()
        async for attempt in pipeline:
            async with attempt:
                entered = attempt.number
    assert entered == 3
    assert bulkhead.in_flight == 0


async def test_a_fallback_answers_for_the_last_attempt():
    """A Fallback around the Retry swallows the last error; its answer is the result."""
    numbers = []
    async for attempt in Pipeline(Fallback(value="spare"), retry(3)):
        async with attempt:
            numbers.append(attempt.number)
            raise Oops
    assert numbers == [1, 2, 3]
    assert attempt.result == "spare"


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit])
async def test_what_is_no_exception_is_never_retried(error):
    """An interrupt leaves the loop at once, through all policies."""
    count = 0
    with pytest.raises(error):
        async for attempt in Pipeline(Fallback(value=1), retry(), CircuitBreaker(1)):
            async with attempt:
                count += 1
                raise error
    assert count == 1


@pytest.mark.parametrize("error", [StopIteration, StopAsyncIteration])
async def test_an_end_of_iteration_in_a_body(error):
    """A StopIteration of the body is retried like any error, and in the end leaves as it is."""
    last = None
    numbers = []
    with pytest.raises(error) as caught:
        async for attempt in Pipeline(retry(2), Bulkhead(1)):
            async with attempt:
                numbers.append(attempt.number)
                last = error("made up")
                raise last
    assert caught.value is last
    assert numbers == [1, 2]


async def test_a_cancelled_loop():
    """A loop that is cancelled in its body or in its pause ends, and holds nothing."""
    bulkhead = Bulkhead(1)
    for seconds in (0.25, 0.75):
        numbers = []
        with anyio.move_on_after(seconds) as scope:
            async for attempt in Pipeline(retry(), bulkhead):
                async with attempt:
                    numbers.append(attempt.number)
                    await anyio.sleep(0.5)
                    raise Oops
        assert scope.cancelled_caught
        assert numbers == [1]
        assert bulkhead.in_flight == 0


# --------------------------------------------------------------------------------- leaving the loop


@pytest.mark.parametrize("where", ["before", "inside", "after a failure", "by return", "by raise"])
async def test_leaving_holds_nothing(where):
    """However a loop is left, nothing is held, though the name of the attempt lives on."""
    bulkhead = Bulkhead(1)
    outer = CircuitBreaker(100)
    pipeline = Pipeline(Timeout(100), outer, retry(), bulkhead, Timeout(50))
    kept = []
    before = loops()

    async def loop() -> None:
        async for attempt in pipeline:
            kept.append(attempt)
            if where == "before":
                break
            async with attempt:
                assert bulkhead.in_flight == 1
                if where == "inside":
                    break
                if where == "by return":
                    return
                raise Oops
            if where == "by raise":
                raise ValueError
            break

    if where == "by raise":
        with pytest.raises(ValueError):
            await loop()
    else:
        await loop()
    assert len(kept) == 1
    assert bulkhead.in_flight == 0
    async with bulkhead:
        assert bulkhead.in_flight == 1
    # An attempt that lives on keeps no loop alive.
    assert loops() == before


def loops() -> int:
    gc.collect()
    return sum(isinstance(each, Attempts) for each in gc.get_objects())


async def test_an_iterator_that_is_kept_and_closed():
    """Who keeps the iterator closes it with `aclosing`."""
    bulkhead = Bulkhead(1)
    pipeline = Pipeline(bulkhead, retry())
    async with aclosing(aiter(pipeline)) as attempts:
        async for attempt in attempts:
            async with attempt:
                raise Oops
            # The slot around the Retry is held for the whole loop.
            assert bulkhead.in_flight == 1
            break
        assert bulkhead.in_flight == 1
    assert bulkhead.in_flight == 0
    with pytest.raises(StopAsyncIteration):
        await anext(attempts)
    await attempts.aclose()


async def test_an_attempt_of_a_closed_iterator():
    """An attempt whose loop is closed cannot be entered any more."""
    attempts = aiter(retry())
    attempt = await anext(attempts)
    await attempts.aclose()
    with pytest.raises(UsageError):
        async with attempt:
            pytest.fail("the body ran")
    del attempts
    with pytest.raises(UsageError, match="no loop"):
        async with attempt:
            pytest.fail("the body ran")


@on_asyncio
async def test_an_iterator_dropped_by_another_thread():
    """A loop whose last reference is dropped in another thread lets go on its own loop."""
    bulkhead = Bulkhead(1)
    attempts = [aiter(Pipeline(bulkhead, retry()))]
    attempt = await anext(attempts[0])
    async with attempt:
        assert bulkhead.in_flight == 1
        thread = threading.Thread(target=attempts.clear)
        thread.start()
        thread.join()
        assert bulkhead.in_flight == 1
        await asyncio.sleep(0)
        assert bulkhead.in_flight == 0


async def test_a_generator_with_a_loop_inside():
    """A generator that is closed in an attempt gives back what it holds."""
    bulkhead = Bulkhead(1)

    async def items() -> AsyncIterator[int]:
        async for attempt in Pipeline(retry(), bulkhead):
            async with attempt:
                yield attempt.number

    async with aclosing(items()) as generator:
        assert await anext(generator) == 1
        assert bulkhead.in_flight == 1
    assert bulkhead.in_flight == 0


# ------------------------------------------------------------------------------------- wrong uses


async def test_an_attempt_that_is_not_entered():
    """A turn that does not run its attempt would loop for ever: it is a UsageError."""
    count = 0
    with pytest.raises(UsageError, match="each turn of the loop must run its attempt"):
        async for _ in retry():
            count += 1
    assert count == 1


async def test_an_attempt_entered_twice():
    """In its own body or after it, an attempt cannot be entered again; the loop goes on."""
    bulkhead = Bulkhead(5)
    async for attempt in Pipeline(retry(), bulkhead):
        async with attempt:
            with pytest.raises(UsageError, match="entered once"):
                async with attempt:
                    pytest.fail("the body ran")
            assert bulkhead.in_flight == 1
            if attempt.number == 1:
                raise Oops
        with pytest.raises(UsageError, match="entered once"):
            async with attempt:
                pytest.fail("the body ran")
        assert bulkhead.in_flight == 0
    assert attempt.number == 2


async def test_an_old_attempt():
    """An attempt of an earlier turn cannot be entered in a later one."""
    old = None
    async for attempt in retry():
        if old is None:
            old = attempt
        else:
            with pytest.raises(UsageError, match="entered once"):
                async with old:
                    pytest.fail("the body ran")
        async with attempt:
            if attempt.number == 1:
                raise Oops
    assert attempt.number == 2


async def test_the_attempt_of_a_block_is_no_attempt_of_a_loop():
    """`async with attempt` inside `async with pipeline` shows how to write a loop."""
    async with retry() as attempt:
        with pytest.raises(UsageError, match="async for attempt in pipeline"):
            async with attempt:
                pytest.fail("the body ran")


# ---------------------------------------------------------------------------------- many at a time


async def test_many_loops_over_one_pipeline():
    """Fifty loops at a time, each with failures of its own, never cross."""
    bulkhead = Bulkhead(50)
    pipeline = Pipeline(Timeout(1000), retry(9), CircuitBreaker(10**6), bulkhead, Timeout(100))
    ends: dict[int, int] = {}

    async def work(number: int) -> None:
        async for attempt in pipeline:
            async with attempt:
                attempt.result = number
                if attempt.previous is not None:
                    assert attempt.previous.exception.args == (number, attempt.number - 1)
                await anyio.sleep(number * 7 % 5 / 8)
                if attempt.number <= number % 4:
                    raise Oops(number, attempt.number)
            # What a failed attempt set is its own.
            assert attempt.result == number
        ends[number] = attempt.number

    async with anyio.create_task_group() as tasks:
        for number in range(50):
            tasks.start_soon(work, number)
    assert ends == {number: number % 4 + 1 for number in range(50)}
    assert bulkhead.in_flight == 0


async def test_loops_inside_loops():
    """A loop in the body of an attempt has attempts of its own."""
    pipeline = Pipeline(retry(3))
    numbers = []
    async for outer in pipeline:
        async with outer:
            async for inner in pipeline:
                async with inner:
                    numbers.append((outer.number, inner.number))
                    if inner.number < 2:
                        raise Oops
            if outer.number < 2:
                raise Oops
    assert numbers == [(1, 1), (1, 2), (2, 1), (2, 2)]


async def test_a_policy_of_the_user_that_repeats():
    """A policy that goes on at once, without a pause, has its attempts too."""

    class Again(Policy):
        async def run(self, call, proceed):
            while True:
                try:
                    return await proceed(call)
                except Oops:
                    call.attempt += 1

    numbers = []
    async for attempt in Again():
        async with attempt:
            numbers.append(attempt.number)
            if attempt.number < 3:
                raise Oops
    assert numbers == [1, 2, 3]
