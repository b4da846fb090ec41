"""One pipeline on several event loops: what a loop left behind is forgotten by the next one."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
import trio
import trio.testing

import seawall
from seawall import (
    AdaptiveLimit,
    Bulkhead,
    CircuitBreaker,
    CircuitOpenError,
    LoadShedder,
    Pipeline,
    Policy,
    RateLimiter,
    Retry,
    State,
    Timeout,
    UsageError,
)
from tests.cancellation.policies import (
    Case,
    adaptive_limit,
    bulkhead,
    eager,
    five,
    half_open,
    hedged,
    keyed,
    limiter,
    timeout,
    twice,
)
from tests.cancellation.product import by_each_way, named
from tests.cancellation.trial import Trial
from tests.cancellation.ways import Way
from tests.cancellation.work import Situation
from tests.virtual_time import VirtualLoop, run

# Closing a coroutine does not close the generators that it waits in: Python leaves that to the
# event loop, and here that is gone.
GENERATORS = {"generator", "manager", "stream", "timed_stream", "stream_left_early"}
GENERATORS |= {"decorated_stream"}


def abandon(case: Case, way: Way, situation: Situation, step: int) -> tuple[Trial, list[Any]]:
    """Close the loop in the middle of a call; return its trial, and the tasks that stay open."""
    loop = VirtualLoop()
    trial = Trial(loop, case, way, situation)
    tasks = [trial.start(trial.call())]
    count = 0

    def on_step() -> None:
        nonlocal count
        if trial.begun and not trial.ended:
            if count == step:
                loop.stop()
            count += 1

    loop.on_step = on_step
    with suppress(RuntimeError):
        # It says that the loop stopped before the task was done.
        loop.run_until_complete(tasks[0])
    loop.on_step = None
    tasks += [task for _, task in trial.company]
    trial.company.clear()
    # Those of the calls, and those that a policy has begun.
    for task in asyncio.all_tasks(loop):
        task._log_destroy_pending = False
    loop.close()
    return trial, tasks


def go_on(trial: Trial, case: Case, way: Way, at_step: int, late: Callable[[], object]) -> None:
    """Use the policy on another loop, whose clock is far behind; meanwhile the old calls end."""
    loop = VirtualLoop(start=3.0)
    # A half-open circuit has room for one call only, and some policies soon refuse who waits.
    alone = case.prepare is not None or case.impatient
    situation = "answers" if alone else "waits"
    later = Trial(loop, replace(case, prepare=None), way, named(situation)[0])
    later.policy = trial.policy
    count = 0

    def on_step() -> None:
        nonlocal count
        if count == at_step:
            late()
        count += 1

    task = later.start(later.call())
    later.run(task, on_step)
    assert later.error is None
    later.check()
    late()
    later.check_idle()
    loop.run_until_complete(later._check_next(harmed=False))
    loop.close()


@pytest.mark.parametrize("situation", named("answers", "waits"), ids=str)
@by_each_way(
    [timeout, half_open, bulkhead, adaptive_limit, limiter, keyed, eager, five, hedged, twice]
)
def test_a_loop_closed_in_the_middle_of_a_call(case, way, situation):
    """The next loop has all slots and places at once, whenever the calls of the old one end."""
    if way.name in GENERATORS:
        pytest.skip("Python itself leaves the generator of this way open")
    step = 0
    while True:
        for at_step in (-1, 0, 6):
            trial, tasks = abandon(case, way, situation, step)
            ended = trial.ended
            trial.work.inside = 0

            def late() -> None:
                while tasks:
                    task = tasks.pop()
                    if not task.done():
                        task.get_coro().close()

            if at_step < 0:
                late()
            go_on(trial, case, way, at_step, late)
        if ended:
            break
        step += 1
    # Only a refusal takes no tick at all.
    assert step >= 1 or trial.work.attempts == 0


async def answer() -> str:
    await asyncio.sleep(0)
    return "answer"


async def fail() -> None:
    raise OSError("made up")


def stack(trip: int = 1) -> Pipeline:
    return Pipeline(
        Timeout(30),
        Retry(2, backoff=0),
        CircuitBreaker(trip, open_for=5.0),
        Bulkhead(1, queue=1),
        Timeout(10),
    )


def test_a_stack_keeps_its_state_from_run_to_run():
    """A circuit that opened in one ``asyncio.run`` is as open in the next; no time has passed."""
    pipeline = stack()
    breaker = pipeline.find(CircuitBreaker)

    async def open_it() -> None:
        with pytest.raises(OSError, match="made up"):
            await pipeline.execute(fail)
        await asyncio.sleep(2.0)
        assert await left() == 3.0

    async def left() -> float | None:
        with pytest.raises(CircuitOpenError) as caught:
            await pipeline.execute(answer)
        return caught.value.retry_after

    async def wait_for_it() -> None:
        assert await left() == pytest.approx(3.0)
        await asyncio.sleep(3.0)
        assert await pipeline.execute(answer) == "answer"

    run(open_it())
    for start in (5.0, 10.0**6):
        # Nothing but its clock changes from run to run.
        async def look() -> None:
            assert await left() == pytest.approx(3.0)

        run(look(), start=start)
    run(wait_for_it(), start=77.0)
    assert breaker.state is State.CLOSED


@pytest.mark.parametrize("child", [False, True])
def test_a_late_end_of_a_call_tells_no_time(child):
    """A call that ends when its loop is gone does not make time pass for the circuit."""
    breaker = CircuitBreaker(1, open_for=10.0)
    used = CircuitBreaker(parent=breaker) if child else breaker
    old = VirtualLoop(start=1000.0)
    call = used.execute(asyncio.sleep, 3600)
    task = old.create_task(call)
    task._log_destroy_pending = False
    old.run_until_complete(asyncio.sleep(0))
    old.close()

    async def trips():
        breaker.trip()

    async def asks():
        return breaker.snapshot().retry_after, await breaker.wait_until_admitting(0)

    run(trips(), start=50.0)
    call.close()
    assert breaker.snapshot().retry_after == 10.0
    assert run(asks(), start=700.0) == (10.0, False)


def test_asyncio_then_trio_then_asyncio():
    """A stack goes from asyncio to trio and back; the calls that each left behind are forgotten."""
    pipeline = stack()
    limit = pipeline.find(Bulkhead)
    kept: list[Any] = []

    async def on_asyncio() -> None:
        assert await pipeline.execute(answer) == "answer"

        async def left_behind() -> None:
            call = pipeline.execute(asyncio.sleep, 3600)
            kept.append(call)
            await call

        task = asyncio.create_task(left_behind())
        task._log_destroy_pending = False
        kept.append(task)
        await asyncio.sleep(0)
        assert limit.in_flight == 1

    async def on_trio() -> None:
        for _ in range(2):
            await pipeline.execute(trio.sleep, 1)
            async with pipeline:
                assert limit.in_flight == 1
        while kept:
            close = getattr(kept.pop(), "close", None)
            if close is not None:
                close()
        assert limit.in_flight == 0
        assert seawall.deadline() is None

    for _ in range(2):
        loop = VirtualLoop()
        loop.run_until_complete(on_asyncio())
        # Not as `asyncio.run` does, which would cancel what is left.
        loop.close()
        trio.run(on_trio, clock=trio.testing.MockClock(autojump_threshold=0))
    run(pipeline.execute(answer), start=9.0)


@pytest.mark.parametrize(
    "make",
    [
        CircuitBreaker,
        lambda: Bulkhead(1),
        AdaptiveLimit,
        LoadShedder,
        lambda: RateLimiter(1e9),
        lambda: Timeout(9.0),
        Retry,
        stack,
    ],
    ids=[
        "breaker",
        "bulkhead",
        "adaptive_limit",
        "load_shedder",
        "limiter",
        "timeout",
        "retry",
        "stack",
    ],
)
def test_two_running_loops(make: Callable[[], Policy]):
    """A second loop is refused while the first one runs, by every way in, and may go on after."""
    policy = make()
    refused: list[str] = []

    async def elsewhere() -> None:
        with pytest.raises(UsageError, match="another event loop"):
            await policy.execute(answer)
        coroutine = answer()
        with pytest.raises(UsageError, match="another event loop"):
            await policy.execute(coroutine)
        with pytest.raises(UsageError, match="another event loop"):
            async with policy:
                refused.append("never")
        with pytest.raises(UsageError, match="another event loop"):
            async for attempt in policy:
                async with attempt:
                    refused.append("never")
        refused.append("four times")

    async def main() -> None:
        async with policy:
            thread = threading.Thread(target=asyncio.run, args=(elsewhere(),))
            thread.start()
            await asyncio.to_thread(thread.join)
        # The stranger changed nothing here.
        assert await policy.execute(answer) == "answer"

    asyncio.run(main())
    assert refused == ["four times"]
    assert asyncio.run(policy.execute(answer)) == "answer"
