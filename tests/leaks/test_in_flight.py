"""10,000 calls at once, through each policy and a stack of five: nothing of them stays.

Most are left to the soak, and are a thousand here.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from functools import partial
from math import inf
from typing import Any

import pytest

from seawall import Bulkhead, CallTimeoutError, CircuitBreaker, Hedge, Pipeline, Retry, Timeout
from tests.cancellation.policies import PARTS, Case
from tests.leaks.collecting import check_all_freed, made_by
from tests.virtual_time import run

MANY = pytest.param(10_000, marks=pytest.mark.soak)
OURS = {
    "Call",
    "RaceOnAsyncio",
    "Runner",
    "Ticket",
    "Turn",
    "Waiter",
    "Running",
    "_Block",
    "Driver",
    "Attempt",
    "Attempts",
}


async def execute(pipeline: Pipeline, work: Any) -> Any:
    return await pipeline.execute(work)


async def block(pipeline: Pipeline, work: Any) -> Any:
    async with pipeline:
        return await work()


async def loop(pipeline: Pipeline, work: Any) -> Any:
    async for attempt in pipeline:
        async with attempt:
            return await work()
    return None


@pytest.mark.parametrize("end", ["answers", "fails", "times out", "cancelled"])
@pytest.mark.parametrize("calls", [1_000, MANY])
@pytest.mark.parametrize("limit", [inf, 100])
@pytest.mark.parametrize("way", [execute, block, loop])
def test_calls_in_flight(way, limit, calls, end):
    """No task, timer, coroutine, ticket or waiter stays, even while the collector is off."""
    limit = min(limit, calls)
    outer, inner = Timeout(1000.0), Timeout(9.0)
    bulkhead = Bulkhead(limit, queue=calls)
    retry = Retry(2, backoff=0.5, budget=None)
    stack = Pipeline(outer, retry, CircuitBreaker(10**9), bulkhead, inner)

    async def main() -> None:
        current: Any = asyncio.get_running_loop()
        gate = asyncio.Event()

        async def work() -> str:
            await gate.wait()
            await asyncio.sleep(0)
            if end == "fails":
                raise OSError("made up")
            if end == "times out":
                await asyncio.sleep(3600)
            return "answer"

        tasks = [asyncio.create_task(way(stack, work)) for _ in range(calls)]
        for _ in range(5):
            await asyncio.sleep(0)
        assert (bulkhead.in_flight, bulkhead.waiting) == (limit, calls - limit)
        # One timer for each Timeout, whatever the number of calls.
        assert len(current.timers()) == 2
        if end == "cancelled":
            for task in tasks:
                task.cancel()
        gate.set()
        outcomes = Counter(map(outcome, await asyncio.gather(*tasks, return_exceptions=True)))
        expected = {
            "answers": "answer",
            "fails": "OSError",
            "times out": "CallTimeoutError",
            "cancelled": "CancelledError",
        }
        assert outcomes == {expected[end]: calls}

    async def rest() -> None:
        current: Any = asyncio.get_running_loop()
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert (bulkhead.in_flight, bulkhead.waiting) == (0, 0)
        idle = [timer._callback.__self__ for timer in current.timers()]
        assert len(idle) <= 2
        assert len(set(map(id, idle))) == len(idle)
        assert all(lane.entries == {} for lane in idle)
        await asyncio.sleep(1001.0)
        assert current.timers() == []

    check_all_freed(OURS, main, rest)


# What a policy itself makes at its first calls: a line, lanes, the buckets of a window.
FEW = 100


@pytest.mark.parametrize("calls", [1_000, MANY])
@pytest.mark.parametrize(
    "way",
    [
        execute,
        pytest.param(block, marks=pytest.mark.soak),
        pytest.param(loop, marks=pytest.mark.soak),
    ],
)
@pytest.mark.parametrize("case", PARTS, ids=str)
def test_calls_of_each_policy(case: Case, way: Any, calls: int):
    """Answered, failed, timed out or cancelled side by side: nothing stays, whatever the policy."""
    policy = (case.roomy or case.make)()
    pipeline = Pipeline(Timeout(1000.0), Retry(2, backoff=0.5, budget=None), policy, Timeout(9.0))

    async def main() -> None:
        if case.prepare is not None:
            case.prepare(policy)
            await asyncio.sleep(2.0)
        gate = asyncio.Event()

        async def work(end: str) -> str:
            await gate.wait()
            if end == "hangs":
                # Not a long sleep: asyncio keeps the context of a timer that is cancelled.
                await asyncio.Event().wait()
            if end == "fails":
                raise OSError("made up")
            return "answer"

        ends = ["answers", "fails", "hangs", "leaves"] * (calls // 4)
        tasks = [asyncio.create_task(way(pipeline, partial(work, end))) for end in ends]
        for _ in range(5):
            await asyncio.sleep(0)
        gate.set()
        for task, end in zip(tasks, ends, strict=True):
            if end == "leaves":
                task.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        left = [isinstance(each, asyncio.CancelledError) for each in outcomes]
        assert sum(left) <= calls // 4
        assert case.held(policy) == 0
        assert asyncio.all_tasks() == {asyncio.current_task()}

    async def rest() -> None:
        current: Any = asyncio.get_running_loop()
        await asyncio.sleep(1001.0)
        assert current.timers() == []
        assert case.held(policy) == 0

    before = made_by("seawall", "write-your-own-policy")
    check_all_freed(OURS, main, rest)
    grown = made_by("seawall", "write-your-own-policy") - before
    assert {kind: number for kind, number in grown.items() if number > FEW} == {}


def outcome(value: object) -> str:
    return type(value).__name__ if isinstance(value, BaseException) else str(value)


def test_an_idle_timer_is_one_for_each_timeout():
    """Calls that come and go arm no more than one timer, which fires once and holds no call."""
    timeouts = [Timeout(seconds) for seconds in (1.0, 2.0, 3.0)]
    stack = Pipeline(*timeouts)

    async def main() -> None:
        current: Any = asyncio.get_running_loop()
        for _ in range(1000):
            await stack.execute(asyncio.sleep, 0.01)
            assert len(current.timers()) <= len(timeouts)
        await asyncio.sleep(4.0)
        assert current.timers() == []

    run(main())


def test_a_view_leaves_no_timer():
    """A view made for one call, with a timeout, leaves nothing for the loop to keep."""
    policy = Retry(2)

    async def main() -> None:
        current: Any = asyncio.get_running_loop()
        for _ in range(100):
            await policy.bind(timeout=5.0).execute(asyncio.sleep, 0.01)
        assert current.timers() == []
        view = policy.bind(timeout=5.0)
        both = view.execute(asyncio.sleep, 0.01), view.execute(asyncio.sleep, 100.0)
        done, late = await asyncio.gather(*both, return_exceptions=True)
        assert done is None
        assert isinstance(late, CallTimeoutError)

    run(main())


@pytest.mark.parametrize("calls", [1_000, MANY])
@pytest.mark.parametrize("end", ["answers", "fails", "cancelled"])
def test_hedged_calls_in_flight(end, calls):
    """Each with two attempts: no task, timer or race stays when the calls have ended."""
    hedge = Hedge(1.0, budget=None)
    bulkhead = Bulkhead(2 * calls)
    stack = Pipeline(hedge, bulkhead)

    async def main() -> None:
        current: Any = asyncio.get_running_loop()
        begun = 0

        async def work() -> str:
            nonlocal begun
            begun += 1
            await asyncio.sleep(3600 if end == "cancelled" or begun <= calls else 1.0)
            if end == "fails":
                raise OSError("made up")
            return "answer"

        tasks = [asyncio.create_task(stack.execute(work)) for _ in range(calls)]
        await asyncio.sleep(1.5)
        assert (bulkhead.in_flight, hedge.snapshot().in_flight) == (2 * calls, calls)
        if end == "cancelled":
            for task in tasks:
                task.cancel()
        outcomes = Counter(map(outcome, await asyncio.gather(*tasks, return_exceptions=True)))
        expected = {"answers": "answer", "fails": "OSError", "cancelled": "CancelledError"}
        assert outcomes == {expected[end]: calls}
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert (bulkhead.in_flight, hedge.snapshot().in_flight) == (0, 0)
        assert current.timers() == []

    check_all_freed(OURS, main)
