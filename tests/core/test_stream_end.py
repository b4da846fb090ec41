"""A stream that is left, cancelled, closed or dropped gives everything back."""

from __future__ import annotations

import asyncio
import gc
import threading
import warnings
from contextlib import aclosing, suppress

import anyio
import pytest
import trio

from seawall import (
    Bulkhead,
    CallTimeoutError,
    CircuitBreaker,
    Pipeline,
    Policy,
    Retry,
    State,
    Timeout,
    UsageError,
)
from tests.core.test_stream import Feed, consume, policies
from tests.doubles import company, virtual
from tests.virtual_time import VirtualLoop, run


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request):
    """Both event loops, in virtual time."""
    return virtual(request.param)


@pytest.fixture
def no_collector():
    """Let only reference counts free anything."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def assert_neutral(breaker):
    snapshot = breaker.snapshot()
    assert (snapshot.neutral, snapshot.successes, snapshot.failures) == (1, 0, 0)
    assert snapshot.in_flight == 0


# Left early.


@pytest.mark.anyio
async def test_a_stream_that_is_closed_early_is_neutral():
    """The generator cleans up first, and by then all is given back."""
    feed = Feed([1, 2, 3])
    pipeline, breaker, bulkhead = policies()
    async with aclosing(pipeline.stream(feed)) as stream:
        async for _ in stream:
            break
        assert (feed.closed, bulkhead.in_flight) == (0, 1)
    assert (feed.closed, bulkhead.in_flight) == (1, 0)
    assert_neutral(breaker)
    await stream.aclose()
    assert await consume(stream) == []


@pytest.mark.anyio
async def test_the_verdict_does_not_wait_for_the_cleanup_but_the_slot_does():
    """A probe's place is free at once; a slot stands for work that still goes on."""
    cleaning = anyio.Event()

    async def tokens():
        try:
            yield 1
        finally:
            cleaning.set()
            await anyio.sleep(5)

    breaker, bulkhead = CircuitBreaker(1, open_for=1.0), Bulkhead(1)
    breaker.trip()
    with suppress(Exception):
        await breaker.execute(anyio.sleep, 0)
    await anyio.sleep(1)
    stream = Pipeline(breaker, bulkhead).stream(tokens)
    await anext(stream)
    assert breaker.state is State.HALF_OPEN
    async with company() as group:
        group.start_soon(stream.aclose)
        await cleaning.wait()
        await breaker.execute(anyio.sleep, 0)
        assert (breaker.state, bulkhead.in_flight) == (State.CLOSED, 1)
        await anyio.sleep(6)
        assert bulkhead.in_flight == 0


@pytest.mark.anyio
async def test_an_error_in_the_cleanup_reaches_who_closes():
    """As with a generator; everything is given back all the same."""

    async def tokens():
        try:
            yield 1
        finally:
            raise OSError("made up")

    pipeline, breaker, bulkhead = policies()
    stream = pipeline.stream(tokens)
    await anext(stream)
    with pytest.raises(OSError, match="made up"):
        await stream.aclose()
    assert bulkhead.in_flight == 0
    assert_neutral(breaker)


@pytest.mark.anyio
async def test_a_function_that_yields_while_it_is_closed():
    """Python's own error for that reaches who closes, once; everything is given back."""

    async def stubborn():
        try:
            yield 1
        except GeneratorExit:
            yield 2

    pipeline, breaker, bulkhead = policies()
    stream = pipeline.stream(stubborn)
    await anext(stream)
    with pytest.raises(RuntimeError, match="ignored GeneratorExit"):
        await stream.aclose()
    await stream.aclose()
    assert bulkhead.in_flight == 0
    assert_neutral(breaker)


@pytest.mark.anyio
async def test_a_cancelled_cleanup_gives_back():
    """A function that hangs when it cleans up can be cancelled there."""

    async def tokens():
        try:
            yield 1
        finally:
            await anyio.sleep(3600)

    pipeline, breaker, bulkhead = policies()
    stream = pipeline.stream(tokens)
    await anext(stream)
    with anyio.move_on_after(1) as scope:
        await stream.aclose()
    assert scope.cancelled_caught
    assert bulkhead.in_flight == 0
    assert_neutral(breaker)


@pytest.mark.anyio
@pytest.mark.parametrize("plan", [[60.0, 1], [1, 60.0, 2]], ids=["before", "after"])
async def test_a_cancelled_read_gives_back(plan):
    """Before the first item and after it, a cancellation is NEUTRAL, and ends the stream."""
    feed = Feed(plan)
    pipeline, breaker, bulkhead = policies()
    stream = pipeline.stream(feed)
    with anyio.move_on_after(1) as scope:
        await consume(stream)
    assert scope.cancelled_caught
    assert (feed.opened, feed.closed, bulkhead.in_flight) == (1, 1, 0)
    assert_neutral(breaker)
    assert await consume(stream) == []


@pytest.mark.anyio
async def test_an_exception_of_the_consumer_does_not_pass_through_the_function():
    """The stream is closed; the function sees GeneratorExit, as with any generator."""
    seen = []

    async def tokens():
        try:
            yield 1
        except BaseException as error:
            seen.append(type(error))
            raise

    pipeline, breaker, bulkhead = policies()
    with pytest.raises(OSError, match="made up"):
        async with aclosing(pipeline.stream(tokens)) as stream:
            async for _ in stream:
                raise OSError("made up")
    assert seen == [GeneratorExit]
    assert bulkhead.in_flight == 0
    assert_neutral(breaker)


# One consumer.


@pytest.mark.anyio
async def test_a_second_consumer_is_a_usage_error():
    """It is refused, with the way to do it; the first one gets its items."""
    stream = Bulkhead(1).stream(Feed([1.0, 1, 1.0, 2]))
    items = []

    async def reads():
        async for item in stream:
            items.append(item)

    async with company() as group:
        group.start_soon(reads)
        for _ in range(2):
            await anyio.sleep(0.5)
            with pytest.raises(UsageError, match="one consumer at a time"):
                await anext(stream)
            with pytest.raises(UsageError, match="cancel the task that reads it"):
                await stream.aclose()
            await anyio.sleep(0.5)
    assert items == [1, 2]


@pytest.mark.anyio
async def test_each_item_may_be_read_in_another_task():
    """No scope stays open between two reads."""
    pipeline = Pipeline(Timeout(60), Retry(2), Bulkhead(1), Timeout(9))
    stream = pipeline.stream(Feed([1, 1.0, 2, 1.0, 3]), first_item_timeout=5, idle_timeout=5)
    items = []

    async def read():
        items.append(await anext(stream))

    for _ in range(3):
        async with company() as group:
            group.start_soon(read)
    assert items == [1, 2, 3]
    assert await consume(stream) == []


def test_wait_for_around_an_item():
    """A read that somebody else limits is cancelled, and that is the end of the stream."""

    async def main():
        pipeline, breaker, bulkhead = policies()
        stream = pipeline.stream(Feed([1, 60.0, 2]))
        assert await asyncio.wait_for(anext(stream), 1) == 1
        with pytest.raises(TimeoutError) as caught:
            await asyncio.wait_for(anext(stream), 1)
        assert not isinstance(caught.value, CallTimeoutError)
        assert bulkhead.in_flight == 0
        assert_neutral(breaker)
        assert await consume(stream) == []

    run(main())


# Dropped.


def test_break_gives_back_at_once(no_collector):
    """A loop that is left drops the stream: slot and ticket are free on the next line."""
    feed = Feed([1, 2])

    async def main():
        pipeline, breaker, bulkhead = policies()
        timed = pipeline.bind(first_item_timeout=9.0, idle_timeout=9.0, timeout=60.0)
        async for _ in timed.stream(feed):
            assert bulkhead.in_flight == 1
            break
        assert bulkhead.in_flight == 0
        assert_neutral(breaker)
        assert asyncio.get_running_loop().timers() == []
        # The generator is left to the loop, which closes it in a task of its own.
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert feed.closed == 1

    run(main())


@pytest.mark.filterwarnings("ignore:Async generator:ResourceWarning")
def test_break_gives_back_at_once_on_trio(no_collector):
    """There too; trio says that the generator was left to it."""
    feed = Feed([1, 2])

    async def main():
        pipeline, breaker, bulkhead = policies()
        async for _ in pipeline.stream(feed, idle_timeout=9.0):
            assert bulkhead.in_flight == 1
            break
        assert bulkhead.in_flight == 0
        assert_neutral(breaker)

    trio.run(main)
    assert feed.closed == 1


def test_a_dropped_task_that_reads_gives_back(no_collector):
    """A coroutine that is closed while it waits for an item ends the stream on the spot.

    Before Python 3.13 the generator itself is not closed by that, and Python finds it running.
    """

    async def main():
        for plan in ([60.0, 1], [1, 60.0, 2]):
            for times in ({}, {"first_item_timeout": 99.0, "idle_timeout": 99.0}):
                pipeline, breaker, bulkhead = policies()
                reading = consume(pipeline.stream(Feed(plan), **times))
                future = reading.send(None)
                future._asyncio_future_blocking = False
                assert bulkhead.in_flight == 1
                reading.close()
                assert bulkhead.in_flight == 0
                assert_neutral(breaker)
                ours = [timer for timer in loop.timers() if "_ring" in repr(timer)]
                assert ours == []

    loop = VirtualLoop()
    loop.set_exception_handler(lambda loop, context: None)
    loop.run_until_complete(main())
    loop.close()


def test_a_stream_dropped_by_another_thread_is_ended_by_its_loop():
    """A finalizer may run anywhere; the policies hear of it on the loop that they belong to."""
    threads = []

    class Traced(Policy):
        async def run(self, call, proceed):
            result = await proceed(call)
            call.open.on_release(lambda: threads.append(threading.get_ident()))
            return result

    async def main():
        bulkhead = Bulkhead(1)
        streams = [Pipeline(Traced(), bulkhead).stream(Feed([1, 2]))]
        await anext(streams[0])
        thread = threading.Thread(target=streams.clear)
        thread.start()
        thread.join()
        assert bulkhead.in_flight == 1
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert bulkhead.in_flight == 0

    asyncio.run(main())
    assert threads == [threading.get_ident()]


def test_a_stream_may_be_dropped_after_its_loop_is_closed():
    """All is given back, and the next loop begins with all slots."""
    pipeline, breaker, bulkhead = policies()
    kept = []

    async def begin():
        kept.append(pipeline.stream(Feed([1, 2]), idle_timeout=9.0))
        assert await anext(kept[0]) == 1

    async def later():
        assert await consume(pipeline.stream(Feed([1, 2]))) == [1, 2]
        assert bulkhead.in_flight == 0

    run(begin())
    run(later(), start=7.0)
    kept.clear()
    run(later(), start=3.0)
    snapshot = breaker.snapshot()
    assert (snapshot.successes, snapshot.in_flight, bulkhead.in_flight) == (2, 0, 0)


def test_a_stream_that_was_left_behind_changes_nothing_on_the_next_loop():
    """A holder of the loop before gives its slot back to that one's."""
    bulkhead = Bulkhead(1)
    kept = []

    async def begin():
        kept.append(bulkhead.stream(Feed([1, 2])))
        await anext(kept[0])

    async def later():
        stream = bulkhead.stream(Feed([1, 2]))
        await anext(stream)
        kept.clear()
        assert bulkhead.in_flight == 1
        await stream.aclose()
        assert bulkhead.in_flight == 0

    asyncio.run(begin())
    asyncio.run(later())


def test_two_running_loops():
    """A second loop is refused while the first one runs."""
    policy = Bulkhead(1)
    refused = []

    async def elsewhere():
        with pytest.raises(UsageError, match="another event loop"):
            await anext(policy.stream(Feed([1])))
        refused.append(True)

    async def main():
        async with aclosing(policy.stream(Feed([1, 2]))) as stream:
            await anext(stream)
            thread = threading.Thread(target=asyncio.run, args=(elsewhere(),))
            thread.start()
            await asyncio.to_thread(thread.join)
            assert await consume(stream) == [2]

    asyncio.run(main())
    assert refused == [True]


def test_no_loop_is_a_usage_error():
    """A read that is driven by hand, outside any loop, is told so."""
    reading = Bulkhead(1).stream(Feed([1])).__anext__()
    with pytest.raises(UsageError, match="no event loop is running"):
        reading.send(None)


def test_a_stream_that_never_began_is_dropped_without_a_word():
    """There is nothing to close, and nothing to warn about."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        stream = Bulkhead(1).stream(Feed([1]))
        del stream
        gc.collect()


def test_streams_on_uvloop():
    """Whole, left early, timed out and dropped, in real time on a loop in C."""
    uvloop = pytest.importorskip("uvloop")

    async def main():
        pipeline, breaker, bulkhead = policies()
        timed = pipeline.bind(first_item_timeout=5.0, idle_timeout=0.01)
        assert await consume(timed.stream(Feed([1, 2, 3]))) == [1, 2, 3]
        with pytest.raises(CallTimeoutError, match="idle"):
            await consume(timed.stream(Feed([1, 60.0, 2])))
        async with aclosing(timed.stream(Feed([1, 2]))) as stream:
            assert await anext(stream) == 1
        async for _ in timed.stream(Feed([1, 2])):
            break
        assert bulkhead.in_flight == 0
        snapshot = breaker.snapshot()
        assert (snapshot.successes, snapshot.failures, snapshot.neutral) == (1, 1, 2)
        stream = Pipeline(Timeout(0.01), bulkhead).stream(Feed([1, 2]))
        assert await anext(stream) == 1
        while bulkhead.in_flight:
            await asyncio.sleep(0.001)
        with pytest.raises(CallTimeoutError, match="call"):
            await anext(stream)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
