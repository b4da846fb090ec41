"""10,000 calls at once through the stack of five: nothing of them stays."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from seawall import Bulkhead, CallTimeoutError, CircuitBreaker, Hedge, Pipeline, Retry, Timeout
from tests.leaks.collecting import check_all_freed
from tests.virtual_time import run

CALLS = 10_000
OURS = {
    "Call",
    "RaceOnAsyncio",
    "Runner",
    "Ticket",
    "Waiter",
    "_Running",
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


@pytest.mark.parametrize("limit", [CALLS, 100], ids=["all at once", "a hundred at a time"])
@pytest.mark.parametrize("end", ["answers", "fails", "times out", "cancelled"])
@pytest.mark.parametrize("way", [execute, block, loop])
def test_ten_thousand_calls_in_flight(way, end, limit):
    """No task, timer, coroutine, ticket or waiter stays, even while the collector is off."""
    outer, inner = Timeout(1000.0), Timeout(9.0)
    bulkhead = Bulkhead(limit, queue=CALLS)
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

        tasks = [asyncio.create_task(way(stack, work)) for _ in range(CALLS)]
        for _ in range(5):
            await asyncio.sleep(0)
        assert (bulkhead.in_flight, bulkhead.waiting) == (limit, CALLS - limit)
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
        assert outcomes == {expected[end]: CALLS}

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


@pytest.mark.parametrize("end", ["answers", "fails", "cancelled"])
def test_ten_thousand_hedged_calls_in_flight(end):
    """Each with two attempts: no task, timer or race stays when the calls have ended."""
    hedge = Hedge(1.0, budget=None)
    bulkhead = Bulkhead(2 * CALLS)
    stack = Pipeline(hedge, bulkhead)

    async def main() -> None:
        current: Any = asyncio.get_running_loop()
        begun = 0

        async def work() -> str:
            nonlocal begun
            begun += 1
            await asyncio.sleep(3600 if end == "cancelled" or begun <= CALLS else 1.0)
            if end == "fails":
                raise OSError("made up")
            return "answer"

        tasks = [asyncio.create_task(stack.execute(work)) for _ in range(CALLS)]
        await asyncio.sleep(1.5)
        assert (bulkhead.in_flight, hedge.snapshot().in_flight) == (2 * CALLS, CALLS)
        if end == "cancelled":
            for task in tasks:
                task.cancel()
        outcomes = Counter(map(outcome, await asyncio.gather(*tasks, return_exceptions=True)))
        expected = {"answers": "answer", "fails": "OSError", "cancelled": "CancelledError"}
        assert outcomes == {expected[end]: CALLS}
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert (bulkhead.in_flight, hedge.snapshot().in_flight) == (0, 0)
        assert current.timers() == []

    check_all_freed(OURS, main)
