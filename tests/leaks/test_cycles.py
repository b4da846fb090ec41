"""No failed call leaves a reference cycle: the collector is off, and finds nothing."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from contextlib import AsyncExitStack, suppress
from contextvars import ContextVar, copy_context

import pytest

from seawall import (
    AdaptiveLimit,
    Bulkhead,
    Call,
    CircuitBreaker,
    Classifier,
    Fallback,
    Hedge,
    Keyed,
    LastGood,
    LoadShedder,
    Pipeline,
    RateLimiter,
    Retry,
    SeawallError,
    Timeout,
    deadline,
)
from seawall.core.deadline import Scope, current_scope
from seawall.core.open_attempt import OpenAttempt
from seawall.events import TimedOut
from tests.leaks.collecting import check_no_cycle
from tests.virtual_time import run


async def answer():
    await asyncio.sleep(0)
    return 1


async def fail():
    raise ValueError("made up")


async def fail_soon():
    await asyncio.sleep(0.001)
    raise ValueError("made up")


async def hang():
    await asyncio.sleep(3600)


def quits(event):
    if isinstance(event, TimedOut):
        raise SystemExit


class Subjects:
    """One pipeline of each kind, made before anything is counted."""

    def __init__(self) -> None:
        self.five = Pipeline(
            Timeout(30),
            Retry(3, backoff=0, budget=None),
            CircuitBreaker(10**9),
            Bulkhead(1),
            Timeout(0.01),
        )
        self.open = Pipeline(Retry(3, backoff=0), CircuitBreaker(open_for=3600))
        self.open.find(CircuitBreaker).trip()
        self.full = Pipeline(Retry(2), Bulkhead(1))
        self.short_wait = Bulkhead(1, queue=1, max_wait=0.001)
        self.value = Pipeline(Fallback(value=1), self.five)
        self.function = Fallback(answer)
        self.chain = Pipeline(Fallback(value=1), Fallback(fail), self.five)
        self.last_good = LastGood(3600, key=lambda: "key")
        self.nothing_good = LastGood(3600)
        self.results = Pipeline(
            Retry(2, backoff=0, budget=None), classify=Classifier(results=lambda value: value)
        )
        self.keyed = Keyed(lambda key: CircuitBreaker(10**9, name=key), key=lambda: "key")
        self.long_wait = Bulkhead(1, queue=1)
        self.behind = Pipeline(CircuitBreaker(10**9, open_for=3600), self.long_wait)

        def confused(outcome):
            raise ValueError("made up")

        self.confused = Pipeline(Retry(2), CircuitBreaker(10**9), Timeout(9), classify=confused)
        self.watched = Pipeline(Timeout(9), CircuitBreaker(10**9), Timeout(0.001))
        self.watched.subscribe(quits)
        self.seldom = RateLimiter(1e-6, max_wait=0)
        self.paced = Pipeline(Timeout(30), RateLimiter(200, cost=1, actual=lambda result: 1))
        self.unpaced = RateLimiter(None)
        self.narrow = CircuitBreaker(10**9, failures=OSError)
        self.hedged = Pipeline(
            Retry(2, backoff=0, budget=None), Hedge(0, budget=None), CircuitBreaker(10**9)
        )
        self.gives_way = Pipeline(Hedge(0, budget=None), Bulkhead(1))
        self.begun = 0
        self.adaptive = Pipeline(AdaptiveLimit(2, max_wait=0.001), Timeout(0.01))
        self.shedder = LoadShedder()

    async def raises(self):
        await self.five.execute(fail)

    async def coroutine(self):
        await self.five.execute(fail())

    async def refused(self):
        await self.open.execute(answer)

    async def times_out(self):
        await self.five.execute(hang)

    async def fallback_value(self):
        await self.value.execute(fail)

    async def fallback_function(self):
        await self.function.execute(fail)

    async def fallback_fails(self):
        await self.chain.execute(fail)

    async def last_good_value(self):
        await self.last_good.execute(answer)
        await self.last_good.execute(fail)

    async def no_last_good_value(self):
        await self.nothing_good.execute(fail)

    async def failed_result(self):
        await self.results.execute(answer)

    async def of_a_key(self):
        await self.keyed.execute(fail)

    async def narrowed(self):
        await self.narrow.execute(fail)

    async def hedged_in_vain(self):
        await self.hedged.execute(fail_soon)

    async def hedge_cancelled_before_it_begins(self):
        async def work():
            for _ in range(2):
                await answer()

        await self.hedged.execute(work)

    async def hedge_that_wins(self):
        async def work():
            self.begun += 1
            if self.begun % 2:
                await hang()
            await answer()

        await self.hedged.execute(work)

    async def hedge_that_loses(self):
        async def work():
            self.begun += 1
            if self.begun % 2 == 0:
                await hang()
            await asyncio.sleep(0.001)

        await self.hedged.execute(work)

    async def hedge_that_gives_way(self):
        await self.gives_way.execute(fail_soon)

    async def hedged_and_cancelled(self):
        task = asyncio.create_task(self.hedged.execute(hang))
        await asyncio.sleep(0.001)
        task.cancel()
        await task

    async def hedged_and_closed(self):
        call = self.hedged.execute(hang)
        begin(call)
        await asyncio.sleep(0.001)
        call.close()
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    async def hedged_and_interrupted(self):
        async def interrupts():
            await asyncio.sleep(0.001)
            raise KeyboardInterrupt

        with suppress(KeyboardInterrupt):
            await self.hedged.execute(interrupts)

    async def adaptive_limit(self):
        await self.adaptive.execute(fail)

    async def adaptive_limit_full(self):
        async with self.adaptive, self.adaptive:
            await self.adaptive.execute(answer)

    async def lost_by_adaptive_limit(self):
        await self.adaptive.execute(hang)

    async def load_shed(self):
        await self.shedder.execute(fail)

    async def block(self):
        async with self.five:
            await fail()

    async def loop(self):
        async for attempt in self.five:
            async with attempt:
                await fail()

    async def loop_left_between_attempts(self):
        async for attempt in self.five:
            if attempt.number == 2:
                break
            async with attempt:
                await fail()

    async def cancelled(self):
        task = asyncio.create_task(self.five.execute(hang))
        await asyncio.sleep(0)
        task.cancel()
        await task

    async def bulkhead_full(self):
        holder = asyncio.create_task(self.full.execute(asyncio.sleep, 0))
        await asyncio.sleep(0)
        try:
            await self.full.execute(answer)
        finally:
            await holder

    async def waited_too_long(self):
        holder = asyncio.create_task(self.short_wait.execute(asyncio.sleep, 0.005))
        await asyncio.sleep(0)
        try:
            await self.short_wait.execute(answer)
        finally:
            await holder

    async def rate_limited(self):
        await self.seldom.execute(answer)

    async def waited_for_its_turn(self):
        await self.paced.execute(fail)

    async def cancelled_in_line(self):
        await self.paced.execute(answer)
        task = asyncio.create_task(self.paced.execute(answer))
        await asyncio.sleep(0)
        task.cancel()
        await task

    async def throttled(self):
        async def refuses():
            error = ValueError("made up")
            error.status_code = 429
            try:
                raise error
            finally:
                del error

        await self.unpaced.execute(refuses)

    async def a_group(self):
        async def fails():
            raise ExceptionGroup("made up", [ValueError("1"), OSError("2")])

        with suppress(ExceptionGroup):
            await self.five.execute(fails)

    async def interrupted(self):
        async def interrupts():
            raise KeyboardInterrupt

        with suppress(KeyboardInterrupt):
            await self.five.execute(interrupts)

    async def closed(self):
        call = self.five.execute(hang)
        begin(call)
        call.close()

    async def dropped(self):
        begin(self.five.execute(hang))

    async def dropped_while_it_waits(self):
        async with self.long_wait:
            begin(self.long_wait.execute(answer))

    async def dropped_block(self):
        async def holds():
            async with self.five:
                await hang()

        begin(holds())

    async def dropped_loop(self):
        async def loops():
            async for attempt in self.five:
                async with attempt:
                    await hang()

        begin(loops())

    async def dropped_exit_stack(self):
        await AsyncExitStack().enter_async_context(self.five)

    async def cancelled_while_it_waits(self):
        async with self.long_wait:
            task = asyncio.create_task(self.long_wait.execute(answer))
            await asyncio.sleep(0)
            task.cancel()
            await task

    async def timed_out_while_it_waits(self):
        async with self.long_wait:
            await Pipeline(Timeout(0.001), self.long_wait).execute(answer)

    async def refused_while_it_waits(self):
        breaker = self.behind.find(CircuitBreaker)
        async with self.behind:
            task = asyncio.create_task(self.behind.execute(answer))
            await asyncio.sleep(0)
            breaker.trip()
            try:
                await task
            finally:
                breaker.reset()
                # It has the error, whose traceback has this frame: the test's own cycle.
                del task

    async def body_left_open(self):
        async def opens():
            call.open = OpenAttempt(answer)
            await answer()
            raise ValueError("made up")

        call = Call()
        call.begin(opens)
        try:
            await self.five.conduct(call)
        finally:
            # The function knows its call: that is this test's own cycle.
            call.function = answer

    async def usage_error(self):
        await self.five.execute(int)

    async def classifier_raises(self):
        task = asyncio.create_task(self.confused.execute(fail))
        try:
            await task
        finally:
            # It has the error, whose traceback has this frame.
            del task

    async def listener_quits(self):
        with suppress(SystemExit):
            await self.watched.execute(hang)


def begin(call) -> None:
    """Run a coroutine up to where it waits."""
    future = call.send(None)
    if future is not None:
        future._asyncio_future_blocking = False


KINDS = [name for name in vars(Subjects) if not name.startswith("_")]


async def survive(call) -> None:
    try:
        await call()
    except (ValueError, SeawallError, asyncio.CancelledError):
        pass


@pytest.mark.parametrize("kind", KINDS)
def test_a_failed_call_leaves_no_cycle(kind):
    """Everything that belongs to a failed call is freed without the garbage collector."""
    call = getattr(Subjects(), kind)
    check_no_cycle(lambda: survive(call))


async def block_that_hangs(policy):
    async with policy:
        await hang()


async def loop_that_hangs(policy):
    async for attempt in policy:
        async with attempt:
            await hang()


async def cleanup_that_asks(policy):
    try:
        await hang()
    finally:
        deadline()


def abandon(call) -> None:
    """Leave a call where it waits, in a context of its own, for the collector to find."""
    cycle = [call]
    cycle.append(cycle)
    copy_context().run(begin, call)


@pytest.mark.parametrize(
    "way",
    [lambda policy: policy.execute(hang), block_that_hangs, loop_that_hangs, cleanup_that_asks],
    ids=["call", "block", "loop", "cleanup"],
)
def test_the_collector_comes_while_a_scope_leaves_its_context(way):
    """A call that the collector ends just then does not bring back what is about to be freed.

    On Python 3.11 the collector may come at any allocation, and a context variable remembers what
    was last found in it, without keeping it.
    """

    async def main():
        # With nothing else in the context, there is nothing to allocate.
        ContextVar("other").set(1)
        timeout = Timeout(9)
        for more in range(8):
            gc.collect()
            abandon(way(timeout))
            scope = Scope()
            scope.ended, scope.outer = True, None
            token = current_scope.set(scope)
            gc.set_threshold(gc.get_count()[0] + more, 1000, 1000)
            gc.enable()
            current_scope.reset(token)
            gc.disable()
            assert current_scope.get() is None
        gc.collect()

    threshold = gc.get_threshold()
    gc.disable()
    try:
        run(main())
    finally:
        gc.set_threshold(*threshold)
        gc.enable()


def traced():
    """Bytes that are traced, without those of the thread that brings the tests to a worker."""
    others = [tracemalloc.Filter(False, f"*/{package}/*") for package in ("execnet", "xdist")]
    return sum(trace.size for trace in tracemalloc.take_snapshot().filter_traces(others).traces)


@pytest.mark.parametrize(
    "calls", [20_000, pytest.param(1_000_000, marks=pytest.mark.soak)], ids=["some", "a million"]
)
def test_memory_does_not_grow_with_calls(calls):
    """Sequential calls, each tenth of them failing, take no more memory the longer they go on."""

    async def main() -> tuple[int, int]:
        subjects = Subjects()

        async def run(count: int) -> int:
            for number in range(count):
                if number % 10:
                    await subjects.five.execute(answer)
                else:
                    await survive(subjects.narrowed)
                    await survive(subjects.refused)
            return traced()

        before = await run(2_000)
        return before, await run(calls)

    gc.disable()
    tracemalloc.start()
    try:
        before, after = asyncio.run(main())
    finally:
        tracemalloc.stop()
        gc.enable()
    assert after - before < 20_000
