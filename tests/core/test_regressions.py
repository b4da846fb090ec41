"""What a review found and was mended; each test names what it guards."""

from __future__ import annotations

import asyncio
from copy import copy
from dataclasses import dataclass

import anyio
import pytest

from seawall import (
    Bulkhead,
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
)
from seawall.core.call import Call
from seawall.core.open_attempt import OpenAttempt
from tests.doubles import virtual

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request):
    return virtual(request.param)


async def answer():
    return "answer"


async def fail():
    raise OSError("made up")


async def test_a_timeout_leaves_the_code_between_attempts_alone():
    """Between two attempts nothing is cancelled; when time is up, the last real error is raised."""
    between = 0
    with pytest.raises(OSError, match="made up") as caught:
        async for attempt in Pipeline(Timeout(1.0), Retry(9, backoff=0.0)):
            async with attempt:
                await fail()
            await anyio.sleep(0.4)
            between += 1
    assert between == 3
    assert "no time was left" in caught.value.__notes__[0]


async def test_a_timeout_that_is_up_between_attempts_ends_the_next_one():
    """A policy that goes on without looking at the deadline is ended by it all the same."""

    class Again(Policy):
        async def run(self, call, proceed):
            while True:
                try:
                    return await proceed(call)
                except OSError:
                    await call.sleep(0)

    entered = []
    with pytest.raises(TimeoutError):
        async for attempt in Pipeline(Timeout(1.0), Again()):
            async with attempt:
                entered.append(anyio.current_time())
                if len(entered) == 1:
                    await fail()
                await anyio.sleep(30)
            await anyio.sleep(2)
    assert len(entered) == 2


async def test_a_timeout_acts_in_the_attempt_after_a_pause():
    """After code between two attempts, the rest of the time is what the next attempt has."""
    begun = anyio.current_time()
    with pytest.raises(TimeoutError):
        async for attempt in Pipeline(Timeout(1.0), Retry(3, backoff=0.0)):
            async with attempt:
                if attempt.number == 1:
                    await fail()
                await anyio.sleep(30)
            await anyio.sleep(0.4)
    assert anyio.current_time() - begun == pytest.approx(1.0)


@dataclass(frozen=True)
class FrozenError(Exception):
    number: int = 1


class NotedError(Exception):
    def __init__(self, notes):
        self.__notes__ = notes


@pytest.mark.parametrize(
    "make", [FrozenError, lambda: NotedError(None), lambda: NotedError([1])], ids=["0", "1", "2"]
)
async def test_an_odd_exception_leaves_as_it_is(make):
    """A frozen exception, and one with odd notes, is raised itself and not replaced."""
    error = make()

    async def raises():
        raise error

    ways = [
        lambda: Retry(2, backoff=0.0).execute(raises),
        lambda: Retry(2).execute(raises()),
        lambda: block(Pipeline(Retry(2), Bulkhead(1)), raises),
    ]
    for way in ways:
        with pytest.raises(type(error)) as caught:
            await way()
        assert caught.value is error


async def block(policy, function):
    async with policy:
        await function()


async def test_a_call_that_outlives_its_callers_deadline_inherits_none():
    """Once the timeout that a call began inside has ended, it ends no retry of that call."""
    left = []

    async def outlives(scope):
        outcomes = [None, OSError, OSError]

        async def work():
            await anyio.sleep(0.1)
            if outcome := outcomes.pop():
                raise outcome("made up")
            return "answer"

        async for attempt in Retry(3, backoff=0.0):
            async with attempt:
                attempt.result = await work()
                left.append(attempt.remaining)
        scope.append(attempt.result)

    results = []
    async with anyio.create_task_group() as tasks:

        async def begin():
            tasks.start_soon(outlives, results)
            await anyio.sleep(0.01)

        await Timeout(0.15).execute(begin)
    assert results == ["answer"]
    assert left == [None]


async def test_a_fallback_ends_what_was_left_open():
    """Where a policy raises after the function returned, nothing of the attempt stays open."""
    bulkhead = Bulkhead(1)
    closed = []

    async def close():
        closed.append(1)

    call = Call()

    async def opens():
        call.open = OpenAttempt(close)
        return "head"

    call.begin(opens)
    pipeline = Pipeline(
        bulkhead, Fallback(value="spare"), CircuitBreaker(), classify=lambda outcome: 1 / 0
    )
    assert await pipeline.conduct(call) == "spare"
    assert bulkhead.in_flight == 0
    assert closed == [1]


async def test_a_body_that_fails_to_close_ends_no_retry():
    """An error while a discarded response is closed is not the outcome of the call."""
    statuses = [200, 500]
    call = Call()

    async def close():
        raise OSError("close")

    async def opens():
        call.open = OpenAttempt(close)
        return statuses.pop()

    call.begin(opens)
    pipeline = Pipeline(Retry(3, backoff=0.0), classify=Classifier(results=lambda v: v >= 500))
    assert await pipeline.conduct(call) == 200


async def test_a_policy_that_proceeds_several_times_at_once_leaves_no_waiter():
    """The circuit forgets who waited, also where calls of one call overlap."""

    class Race(Policy):
        async def run(self, call, proceed):
            async with anyio.create_task_group() as tasks:
                for _ in range(3):
                    tasks.start_soon(proceed, call)

    breaker, bulkhead = CircuitBreaker(), Bulkhead(1, queue=9)
    await Pipeline(Race(), breaker, bulkhead).execute(anyio.sleep, 0.1)
    assert not breaker._circuit.waiting
    assert bulkhead.in_flight == bulkhead.waiting == 0


async def test_a_shared_budget_drips_whoever_joins():
    """A new Retry on the same loop takes no time away from the budget that it shares."""
    budget = RetryBudget(0.0, capacity=1, floor=20.0)
    calls = 0

    async def failing():
        nonlocal calls
        calls += 1
        raise OSError("made up")

    for _ in range(20):
        await anyio.sleep(0.06)
        with pytest.raises(OSError, match="made up"):
            await Retry(2, backoff=0.0, budget=budget).execute(failing)
    assert calls == 40


@pytest.mark.parametrize(
    "classify",
    [
        lambda outcome: Verdict("failure", retryable=True),
        lambda outcome: Verdict(Kind.FAILURE, retryable=True, retry_after="5"),
        lambda outcome: Verdict(Kind.FAILURE, retryable=True, retry_after=float("nan")),
        Classifier(retry_after=lambda error: "5"),
        Classifier(retry_after=lambda error: float("nan")),
        Classifier(retry_after=lambda error: True),
    ],
)
async def test_nonsense_of_a_classifier_is_named(classify):
    """A kind that is none, or a wait that is no number, is a UsageError."""
    with pytest.raises(UsageError, match=r"Kind|retry_after"):
        await Pipeline(Retry(2), classify=classify).execute(fail)


async def test_a_pipeline_of_ones_own_runs_its_own_run():
    """A subclass that overrides `run` is a policy like any other, alone and nested."""
    order = []

    class Mine(Pipeline):
        async def run(self, call, proceed):
            order.append("mine")
            return await super().run(call, proceed)

    class Mark(Policy):
        async def run(self, call, proceed):
            order.append("mark")
            return await proceed(call)

    assert await Mine(Mark()).execute(answer) == "answer"
    assert await Pipeline(Mark(), Mine(Mark())).execute(answer) == "answer"
    assert order == ["mine", "mark", "mark", "mine", "mark"]


async def test_a_view_inside_a_pipeline_keeps_its_key_to_itself():
    """Outside a bound view the call has the key that it had before."""
    keys = []

    class Look(Policy):
        async def run(self, call, proceed):
            keys.append((call.key, call.tags))
            try:
                return await proceed(call)
            finally:
                keys.append((call.key, call.tags))

    view = Pipeline(Look()).bind(key="k", tags={"tag": 1})
    assert await Pipeline(Look(), view).execute(answer) == "answer"
    assert keys == [(None, None), ("k", {"tag": 1}), ("k", {"tag": 1}), (None, None)]


async def test_a_loop_is_refused_where_its_attempt_is_entered():
    """`async with attempt` raises the refusal, so that a `try` inside the loop sees it."""
    breaker = CircuitBreaker(open_for=5.0)
    breaker.trip()
    refused = 0
    async for attempt in breaker:
        try:
            async with attempt:
                pytest.fail("the body ran")
        except CircuitOpenError:
            refused += 1
    assert refused == 1


async def test_a_long_story_is_told_in_short():
    """The note of very many attempts tells the first and the last of them."""
    with pytest.raises(OSError, match="made up") as caught:
        await Retry(2000, backoff=0.0, budget=None).execute(fail)
    (note,) = caught.value.__notes__
    assert note.startswith("seawall: gave up after 2000 attempts: OSError, slept 0 s, ")
    assert ", ..., " in note
    assert len(note) < 500


@pytest.mark.parametrize(
    "make", [Timeout, lambda number: Retry(max_retry_after=number)], ids=["Timeout", "Retry"]
)
async def test_a_number_that_is_no_float_is_named(make):
    """A whole number beyond all floats is a ValueError like others out of range."""
    with pytest.raises(ValueError, match="must be a number"):
        make(10**400)


async def test_a_cancel_between_attempts_is_the_callers():
    """Who cancels the task between two attempts is not taken for a timeout."""
    if anyio.get_cancelled_exc_class() is not asyncio.CancelledError:
        pytest.skip("of asyncio")

    async def loops():
        async for attempt in Pipeline(Timeout(1.0), Retry(3, backoff=0.0)):
            async with attempt:
                await fail()
            await anyio.sleep(30)

    task = asyncio.create_task(loops())
    await anyio.sleep(0.5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()


async def test_a_copied_call_runs_its_own_function():
    """Where a kind of call has its function as a method, the method of a copy is the copy's."""

    class Request(Call):
        async def function(self):
            return self

    request = Request()
    request.begin(answer)
    del request.function
    request.key = "key"
    request.extra = []
    twin = copy(request)
    assert await twin.function() is twin
    assert (twin.key, twin.extra is request.extra) == ("key", True)
    twin.key = "other"
    assert request.key == "key"
