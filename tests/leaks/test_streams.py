"""Thousands of streams at once, and streams that fail in every way: nothing of them stays."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import aclosing
from typing import Any

import pytest

from seawall import (
    Bulkhead,
    CallTimeoutError,
    CircuitBreaker,
    Fallback,
    Pipeline,
    Retry,
    Timeout,
    UsageError,
)
from tests.leaks.collecting import check_all_freed, check_no_cycle

OURS = {"StreamCall", "Stream", "OpenStream", "ItemReader", "Ticket", "Running", "_ReadScope"}

KIND = {"ends": "successes", "fails": "failures", "falls silent": "failures"}


@pytest.mark.parametrize("timed", [False, True], ids=["as long as it takes", "timed"])
@pytest.mark.parametrize("streams", [1_000, pytest.param(10_000, marks=pytest.mark.soak)])
@pytest.mark.parametrize("end", ["ends", "fails", "falls silent", "left", "dropped", "cancelled"])
def test_streams_in_flight(end, timed, streams):
    """No task, timer, generator, ticket or scope stays, even while the collector is off."""
    if end == "falls silent" and not timed:
        pytest.skip("then it has all the time that there is")
    breaker, bulkhead = CircuitBreaker(10**9), Bulkhead(streams)
    retry = Retry(2, backoff=0.5, budget=None)
    stack = Pipeline(Timeout(1000.0), retry, breaker, bulkhead, Timeout(90.0))
    if not timed:
        stack = Pipeline(retry, breaker, bulkhead)
    view = stack.bind(first_item_timeout=60.0, idle_timeout=60.0) if timed else stack

    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        gate = asyncio.Event()
        failed = set()

        async def items(number):
            if number % 2 and number not in failed:
                failed.add(number)
                raise OSError("the first attempt")
            yield "first"
            await gate.wait()
            if end == "fails":
                raise OSError("made up")
            if end == "falls silent":
                await asyncio.sleep(3600)
            yield "last"

        async def consume(number):
            if end == "dropped":
                async for item in view.stream(items, number):
                    await gate.wait()
                    return item
            async with aclosing(view.stream(items, number)) as stream:
                async for item in stream:
                    if end == "left":
                        await gate.wait()
                        break
            return item

        tasks = [asyncio.create_task(consume(number)) for number in range(streams)]
        await asyncio.sleep(1.0)
        assert bulkhead.in_flight == streams
        # One alarm for each stream at most, and one timer for each Timeout.
        assert len(loop.timers()) <= (streams + 2 if timed else 0)
        if end == "cancelled":
            for task in tasks:
                task.cancel()
        gate.set()
        outcomes = Counter(map(outcome, await asyncio.gather(*tasks, return_exceptions=True)))
        expected = {"fails": "OSError", "falls silent": "CallTimeoutError"}
        expected |= {"left": "first", "dropped": "first", "cancelled": "CancelledError"}
        assert outcomes == {expected.get(end, "last"): streams}

    async def rest() -> None:
        loop: Any = asyncio.get_running_loop()
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert bulkhead.in_flight == 0
        snapshot = breaker.snapshot()
        assert snapshot.in_flight == 0
        # Half of them failed once before they began.
        counts = {"successes": 0, "failures": streams // 2, "neutral": 0}
        counts[KIND.get(end, "neutral")] += streams
        assert {kind: getattr(snapshot, kind) for kind in counts} == counts
        # Only the idle timers of the two Timeouts may wait for their time.
        assert len(loop.timers()) <= (2 if timed else 0)
        await asyncio.sleep(1001.0)
        assert loop.timers() == []

    check_all_freed(OURS, main, rest)


def outcome(value: object) -> str:
    return type(value).__name__ if isinstance(value, BaseException) else str(value)


class Subjects:
    """One stream of each kind that does not go well."""

    def __init__(self) -> None:
        self.five = Pipeline(
            Timeout(30), Retry(2, backoff=0, budget=None), CircuitBreaker(10**9), Bulkhead(9)
        )
        self.other = Pipeline(Fallback(self.fails_late), self.five)
        self.plain = Pipeline(Fallback(lambda: 1), self.five)
        self.brief = Timeout(0.001)

    async def fails_early(self):
        await asyncio.sleep(0)
        raise ValueError("made up")
        yield

    async def fails_late(self):
        yield 1
        await asyncio.sleep(0)
        raise ValueError("made up")

    async def hangs(self):
        yield 1
        await asyncio.sleep(3600)

    async def consume(self, stream) -> None:
        async for _ in stream:
            pass

    async def before_the_first_item(self):
        await self.consume(self.five.stream(self.fails_early))

    async def after_the_first_item(self):
        await self.consume(self.five.stream(self.fails_late))

    async def in_the_fallback(self):
        await self.consume(self.other.stream(self.fails_early))

    async def without_a_fallback(self):
        await self.consume(self.plain.stream(self.fails_early))

    async def late(self):
        await self.consume(self.five.stream(self.hangs, idle_timeout=0.001))

    async def first_late(self):
        async def hangs():
            await asyncio.sleep(3600)
            yield

        await self.consume(self.five.stream(hangs, first_item_timeout=0.001))

    async def cancelled(self):
        task = asyncio.create_task(self.consume(self.five.stream(self.hangs)))
        await asyncio.sleep(0.001)
        task.cancel()
        await task

    async def left(self):
        async for _ in self.five.stream(self.hangs, idle_timeout=9.0):
            break
        await asyncio.sleep(0.001)

    async def expired(self):
        stream = self.brief.stream(self.hangs)
        await anext(stream)
        await asyncio.sleep(0.01)

    async def no_function(self):
        await self.consume(self.five.stream(int))


KINDS = [name for name, value in vars(Subjects).items() if not name.startswith("_")]
KINDS = [name for name in KINDS if name not in {"fails_early", "fails_late", "hangs", "consume"}]


async def survive(call) -> None:
    try:
        await call()
    except (ValueError, UsageError, CallTimeoutError, asyncio.CancelledError):
        pass


@pytest.mark.parametrize("kind", KINDS)
def test_a_stream_that_fails_leaves_no_cycle(kind):
    """Everything that belongs to it is freed without the garbage collector."""
    call = getattr(Subjects(), kind)
    check_no_cycle(lambda: survive(call))
